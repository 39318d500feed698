"""What other systems are given: every file opened again by the libraries that they use, every voxel compared with the
source's own image."""

import shutil

import highdicom as hd
import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk
from corpus import build
from corpus.source import write_files
from typer.testing import CliRunner

from cmrlib.app.cli import app
from cmrlib.app.cli.observers import measured
from cmrlib.app.export import export
from cmrlib.app.export.segmentations import drawn_by
from cmrlib.cine.anatomy import NOT_ANNOTATED
from cmrlib.cohort import Annotation, Cohort, Observer
from cmrlib.datasets import ingest, sample
from cmrlib.datasets.decoding import pixels
from cmrlib.datasets.header import parsed
from cmrlib.datasets.images import frames_of
from cmrlib.measures import Conventions
from cmrlib.phantom import make_study, subject_specs

SHARES = {1: 97, 2: 90, 3: 80}
"""Label → percentile of an image above which the observer `person` sees it: the image says where its mask is."""


def outlined(image):
    """(rows, columns) → labels."""
    labels = np.zeros(image.shape, np.uint8)
    for code, share in sorted(SHARES.items(), reverse=True):
        labels[image > np.percentile(image, share)] = code
    return labels


def discs(cine, t):
    """Of one frame, what can be measured: an LV of 25 mm radius, 15 mm at ES, in its wall, and an RV beside it."""
    _, row_mm, column_mm = cine.spacing_mm
    rows, columns = np.indices(cine.pixels.shape[2:])
    y, x = (rows - rows.mean()) * row_mm, (columns - columns.mean()) * column_mm
    radius, labels = (15 if t else 25), np.zeros(rows.shape, np.uint8)
    labels[(np.hypot(x + 40, y) < radius)] = 3
    labels[np.hypot(x, y) < radius + 12] = 2
    labels[np.hypot(x, y) < radius] = 1
    return np.stack([labels] * cine.slices)


def opened(source, folder):
    """A cohort of a source; `person` outlined the first and third frames by grey value, `doctor` SAX as discs."""
    cohort = ingest("dicom", source, folder / "cohort", workers=1, progress=False)
    for name in cohort.cines["cine"]:
        cine = cohort.cine(name)
        draws = {"person": lambda cine, t: [outlined(one) for one in cine.pixels[t]]}
        for who, draw in (draws | ({"doctor": discs} if cine.view == "sax" else {})).items():
            mask = np.full(cine.pixels.shape, NOT_ANNOTATED, np.uint8)
            mask[[0, 2]] = draw(cine, 0), draw(cine, 2)
            annotation = Annotation(mask, dict.fromkeys((0, 2), ("lv", "myo", "rv")), frames={"ed": 0, "es": 2})
            Observer(folder / who).write(cine, annotation)
    return Cohort.open(folder / "cohort", [folder / "person", folder / "doctor"])


def phantom_source(form, folder):
    """A short-axis stack and a 4CH as files of a format."""
    sizes = {"frames": 4, "size": 48, "spacing_mm": 4.0, "slices": 5, "subslices": 1, "views": ("sax", "4ch")}
    (spec,) = subject_specs(1, **sizes).values()
    write_files(folder, build(make_study("P0001", spec), 1, form).files)
    return folder


@pytest.fixture(scope="module", params=["sample", "dicom", "dicom-flat", "dicom-enhanced"])
def place(request, tmp_path_factory):
    """(source, cohort with `person`)."""
    folder = tmp_path_factory.mktemp(request.param)
    source = sample() if request.param == "sample" else phantom_source(request.param, folder / "source")
    return source, opened(source, folder)


def images_of(source):
    """(instance UID, number in a multi-frame file or None) → (header, image as the file stores it)."""
    found = {}
    for path in filter(lambda path: path.is_file(), source.rglob("*")):
        for frame in frames_of(parsed(path.read_bytes()), "", "", path.name)[0]:
            header, _, _, index = frame.source
            number = None if index is None else index + 1
            found[str(header["SOPInstanceUID"]), number] = header, pixels(frame, keep=True)
    return found


def test_segmentations_lie_on_their_source_images(place, tmp_path):
    source, cohort = place
    images, files, seen = images_of(source), export(cohort, "person", "dicom-seg", tmp_path / "o", source), []
    assert len({pydicom.dcmread(path).SOPInstanceUID for path in files}) == len(files)
    for path in files:
        seg = hd.seg.segread(path)
        assert [one.SegmentAlgorithmType for one in seg.SegmentSequence] == ["MANUAL"] * 3
        codes = [one.SegmentedPropertyTypeCodeSequence[0].CodeValue for one in seg.SegmentSequence]
        assert codes == ["87878005", "49848007", "53085002"]
        for group, frame in zip(
            seg.PerFrameFunctionalGroupsSequence, seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
        ):
            (origin,) = group.DerivationImageSequence[0].SourceImageSequence
            key = str(origin.ReferencedSOPInstanceUID), origin.get("ReferencedFrameNumber")
            header, image = images[key]
            label = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            np.testing.assert_array_equal(frame, outlined(image) == label)
            position = group.PlanePositionSequence[0].ImagePositionPatient
            np.testing.assert_allclose(position, [float(x) for x in header["ImagePositionPatient"]], atol=1e-3)
            seen.append((*key, label))
        assert seg.StudyInstanceUID == header["StudyInstanceUID"] and seg.PatientID == header["PatientID"]
    drawn = sum(2 * row.slices for row in cohort.cines.itertuples())
    assert len(set(seen)) == len(seen) == 3 * drawn, "every structure of every image that was outlined"


def test_itk_sees_the_same(tmp_path):
    """ITK opens segmentations of several places; those of one slice have no distance of slices, which it insists on."""
    source = phantom_source("dicom-flat", tmp_path / "source")
    cohort = opened(source, tmp_path)
    path = next(path for path in export(cohort, "person", "dicom-seg", tmp_path / "o", source) if "sax" in path.name)
    read, seg = sitk.ReadImage(str(path)), pydicom.dcmread(path)
    assert np.array_equal(sitk.GetArrayFromImage(read) > 0, seg.pixel_array > 0)
    for path in export(cohort, "person", "nifti", tmp_path / "n"):
        read, mask = sitk.ReadImage(str(path)), nib.load(path)
        assert np.array_equal(sitk.GetArrayFromImage(read), np.asarray(mask.dataobj).T)
        corner = read.TransformIndexToPhysicalPoint((0, 0, 0, 0))[:3]
        np.testing.assert_allclose(corner, mask.affine[:3, 3] * [-1, -1, 1], atol=1e-3)


def test_nifti_lies_on_the_grid_of_the_source(place, tmp_path):
    source, cohort = place
    images = images_of(source).values()
    for path in export(cohort, "person", "nifti", tmp_path / "o"):
        mask = nib.load(path)
        for k in range(mask.shape[2]):
            corner = (mask.affine @ [0, 0, k, 1])[:3] * [-1, -1, 1]
            directions = (mask.affine[:3, :2] / np.linalg.norm(mask.affine[:3, :2], axis=0)).T * [-1, -1, 1]
            there = [
                outlined(image)
                for header, image in images
                if np.allclose([float(x) for x in header["ImagePositionPatient"]], corner, atol=0.1)
                and np.allclose([float(x) for x in header["ImageOrientationPatient"]], directions.ravel(), atol=1e-2)
            ]
            data = np.asarray(mask.dataobj)
            for t in (0, 2):
                assert any(np.array_equal(data[:, :, k, t].T, labels) for labels in there)
            assert (data[:, :, k, 1] == NOT_ANNOTATED).all()
    labels = pd.read_csv(tmp_path / "o" / "labels.csv", index_col="name")["label"]
    assert labels["lv"] == 1 and labels["not annotated"] == NOT_ANNOTATED


def test_a_report_holds_the_measures_and_refers_to_the_images(place, tmp_path):
    source, cohort = place
    (path,) = export(cohort, "doctor", "dicom-sr", tmp_path / "o", source)
    report = hd.sr.srread(path)
    table, _ = measured(cohort, "doctor", Conventions())
    told = {
        (one.name.value, group.finding_sites[0].value.value if group.finding_sites else ""): (one.value, one.unit.value)
        for group in report.content.get_image_measurement_groups()
        for one in group.get_measurements()
    }
    np.testing.assert_allclose(told["8821-1", "87878005"][0], table["lvedv_ml"][0], rtol=1e-6)
    assert told["8811-2", "87878005"][1] == "%" and told["8822-9", "53085002"][1] == "mL"
    series = [
        one for study in report.CurrentRequestedProcedureEvidenceSequence for one in study.ReferencedSeriesSequence
    ]
    referred = {str(one.ReferencedSOPInstanceUID) for part in series for one in part.ReferencedSOPSequence}
    assert referred <= {uid for uid, _ in images_of(source)} and referred


def test_a_spreadsheet_says_what_its_columns_mean(place, tmp_path):
    _, cohort = place
    measures, columns = (pd.read_csv(path) for path in export(cohort, "doctor", "csv", tmp_path / "o"))
    assert set(columns["column"]) <= set(measures) and measures["lvedv_ml"][0] > 0
    assert columns.set_index("column").loc["lvedv_ml", "unit"] == "mL"


def test_who_drew_is_said(tmp_path):
    person = Observer(tmp_path / "person")
    for name, text, kind in [("a", "", "MANUAL"), ("made_by.json", '{"made_by": "cmr correct"}', "SEMIAUTOMATIC")]:
        person.path.mkdir(exist_ok=True)
        (person.path / name).write_text(text)
        assert drawn_by(person).value == kind
    (person.path / "weights.json").write_text("[]")
    assert drawn_by(person).value == "AUTOMATIC"


def changed_pixel(data):
    data.PixelData = data.PixelData[:-2] + b"\1\1"


def moved(data):
    data.ImagePositionPatient = [x + 4 for x in data.ImagePositionPatient]


def nowhere(data):
    del data.FrameOfReferenceUID


MISMATCHES = [
    (changed_pixel, "no image in .* has the pixels of slice"),
    (moved, "lies 6.9 mm from"),
    (nowhere, "highdicom .*Frame"),
]


@pytest.mark.parametrize(("change", "words"), MISMATCHES)
def test_a_source_that_does_not_match_is_refused(tmp_path, change, words):
    source = phantom_source("dicom-flat", tmp_path / "source")
    cohort = opened(source, tmp_path)
    other = shutil.copytree(source, tmp_path / "other" / "source")
    for path in [path for path in other.rglob("*") if path.is_file()]:
        data = pydicom.dcmread(path)
        change(data)
        data.save_as(path)
    with pytest.raises(ValueError, match=words):
        export(cohort, "person", "dicom-seg", tmp_path / "o", other)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"to": "png"}, ValueError, "unknown format 'png'; expected dicom-seg"),
        ({"to": "dicom-sr"}, ValueError, "name their folder with --source"),
        ({"subjects": ["nobody"]}, ValueError, "nobody"),
        ({"out": "cohort/x"}, ValueError, "lies inside the cohort"),
        ({"out": "person"}, FileExistsError, "not empty"),
    ],
)
def test_what_cannot_be_exported_is_said(tmp_path, given, error, words):
    cohort = opened(phantom_source("dicom", tmp_path / "source"), tmp_path)
    out = tmp_path / given.get("out", "o")
    with pytest.raises(error, match=words):
        export(cohort, "person", given.get("to", "nifti"), out, subjects=given.get("subjects"))


def test_the_command(tmp_path):
    source = phantom_source("dicom", tmp_path / "source")
    opened(source, tmp_path)
    given = {"--observer": tmp_path / "person", "--to": "dicom-seg", "-o": tmp_path / "o", "--source": source}
    words = ["export", tmp_path / "cohort", *(word for pair in given.items() for word in pair)]
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 0 and result.output.startswith("12 files"), result.output
    assert len(list((tmp_path / "o").rglob("*_seg.dcm"))) == 12
