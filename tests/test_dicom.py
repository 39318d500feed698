"""DICOM by rule: what an image is for, which of two takes counts, whose files are whose, multi-frame files."""

import numpy as np
import pydicom
import pytest
import trees
from corpus import build
from corpus.source import write_files
from pydicom.dataset import Dataset
from trees import long_axis, write_cine

from cmrlib.datasets import dicom, ingest
from cmrlib.datasets.finding import FileSubset
from cmrlib.datasets.purpose import exclusion_reason
from cmrlib.phantom import make_study, subject_specs


def read_folder(folder, **options):
    return dicom.read("s1", folder, **options)


def reasons(study):
    return sorted({row["reason"] for row in study.rejected})


def corners(cine):
    return cine.pixels[:, :, 0, 0].T


# --- what for --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "word"),
    [
        ({"image_type": ["ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"]}, ""),
        ({"image_type": ["DERIVED", "PRIMARY", "M", "DIS2D"]}, ""),
        ({"description": "cine_trufi_retro_SA"}, ""),
        ({"description": "imperfect trigger"}, ""),
        ({"sequence_name": "*tfi2d1_14"}, ""),
        ({"inversion_ms": 0.0}, ""),
        ({"image_type": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localiser"),
        ({"description": "3-plane scout"}, "locali"),
        ({"image_type": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "phase image"),
        ({"velocity": True}, "flow"),
        ({"sequence_name": "*fl2d1_v150in"}, "flow"),
        ({"description": "Flow_AO_venc150"}, "flow"),
        ({"image_type": ["DERIVED", "PRIMARY", "T1 MAP"]}, "map"),
        ({"description": "MOLLI_5b3s"}, "map"),
        ({"scanning_sequence": ["GR", "IR"]}, "inversion"),
        ({"inversion_ms": 280.0, "description": "PSIR_sa"}, "late enh"),
        ({"inversion_ms": 100.0, "description": "stress perfusion"}, "perfusion"),
        ({"description": "SPAMM"}, "tagged"),
        ({"image_type": ["DERIVED", "SECONDARY", "MPR"]}, "derived"),
    ],
)
def test_what_an_image_was_taken_for(header, word):
    given = {
        "image_type": ["ORIGINAL"],
        "sequence_name": "",
        "scanning_sequence": ["GR"],
        "inversion_ms": float("nan"),
        "velocity": False,
        "description": "",
    } | header
    assert word in exclusion_reason(**given) and bool(word) == bool(exclusion_reason(**given))


def test_a_cine_that_the_scanner_corrected_is_read_and_flagged(tmp_path):
    write_cine(tmp_path, ImageType=["DERIVED", "PRIMARY", "M", "DIS2D"])
    (cine,) = read_folder(tmp_path).cines
    assert "derived_images" in cine.flags


def test_a_computed_cine_of_another_matrix_comes_after_its_original(tmp_path):
    write_cine(tmp_path / "4ch", orientation=long_axis(118), SeriesInstanceUID="1.2.1")
    write_cine(
        tmp_path / "fine",
        orientation=long_axis(118),
        SeriesInstanceUID="1.2.2",
        spacing=(0.75, 0.625),
        ImageType=["DERIVED", "SECONDARY"],
        pixels=lambda k, t: trees.image(k, t, (24, 20)),
    )
    original, computed = read_folder(tmp_path).cines
    assert original.pixels.shape[2:] == (12, 10) and "derived_images" not in original.flags
    assert "derived_images" in computed.flags


# --- which take ------------------------------------------------------------------------------------------------------


def two_takes(folder, **tags):
    """A slice taken twice, the second take 100 brighter in a corner; only `tags`, functions of take and frame, tell."""
    for take in range(2):
        own = {name: (lambda k, t, value=value, take=take: value(take, t)) for name, value in tags.items()}
        write_cine(
            folder / f"take{take}",
            SeriesInstanceUID="1.2.1",
            StudyInstanceUID="1.2.9",
            pixels=lambda k, t, take=take: trees.image(take, t),
            **own,
        )


@pytest.mark.parametrize(("tags", "rejected", "words"), [
    ({"AcquisitionTime": lambda take, t: f"10{take}000", "InstanceNumber": lambda take, t: t + 1}, 6, "acquired again"),
    ({"InstanceNumber": lambda take, t: 6 * take + t + 1}, 12, "nothing in the headers tells apart"),
])  # fmt: skip
def test_takes_of_one_series_are_told_apart_by_time_or_not_at_all(tmp_path, tags, rejected, words):
    two_takes(tmp_path, **tags)
    study = read_folder(tmp_path)
    assert len(study.rejected) == rejected and words in reasons(study)[0]
    assert [corners(cine).tolist() for cine in study.cines] == [[list(range(101, 107))]] * (rejected == 6)


def test_takes_are_told_apart_by_the_number_in_the_file_name(tmp_path):
    two_takes(tmp_path)
    for take in range(2):
        for path in (tmp_path / f"take{take}").iterdir():
            t = int(pydicom.dcmread(path).TriggerTime / 40)
            path.rename(tmp_path / f"IM-0001-{t + 1:04d}{'-0002' * take}.dcm")
    study = read_folder(tmp_path)
    np.testing.assert_array_equal(corners(study.cines[0]), [100 + np.arange(6) + 1])


def test_one_shifted_header_moves_no_slice(tmp_path):
    along = np.cross(*trees.SHORT_AXIS)
    write_cine(tmp_path, slices=3, position=lambda k, t: 8.0 * k * along + (t == 0) * 0.9 * trees.SHORT_AXIS[0])
    (cine,) = read_folder(tmp_path).cines
    np.testing.assert_allclose(cine.to_world([(0, 0)], 1)[0], 8.0 * along * [-1, -1, 1], atol=1e-9)
    assert "frames_shifted" in cine.flags


def test_a_tilted_slice_is_a_cine_of_its_own(tmp_path):
    row, column = trees.SHORT_AXIS
    tilted = np.cos(np.deg2rad(8)) * column + np.sin(np.deg2rad(8)) * np.cross(row, column)
    write_cine(tmp_path / "a", slices=4)
    write_cine(tmp_path / "b", orientation=np.stack([row, tilted]), position=lambda k, t: 32 * np.cross(row, column))
    assert sorted(cine.slices for cine in read_folder(tmp_path).cines) == [1, 4]


# --- whose -----------------------------------------------------------------------------------------------------------


def test_patients_who_lie_in_one_folder_become_subjects(tmp_path):
    for name, corner in (("anna", 1), ("bert", 2)):
        write_cine(tmp_path / "src" / name, PatientID=f"MARKED{name}", pixels=lambda k, t, c=corner: trees.image(c, t))
    for n, path in enumerate(sorted((tmp_path / "src").rglob("IM*"))):
        path.rename(tmp_path / "src" / f"{n:03d}")
    (tmp_path / "src" / "letter.txt").write_text("Dear colleague")
    items = dicom.find(tmp_path / "src")
    assert len(items) == 2 and all(isinstance(item, FileSubset) for item in items.values())
    assert items == dicom.find(tmp_path / "src") and not any("anna" in label or "MARK" in label for label in items)
    cohort = ingest("dicom", tmp_path / "src", tmp_path / "cohort", workers=1, progress=False)
    assert sorted(int(cohort.cine(name).pixels[0, 0, 0, 0]) for name in cohort.cines["cine"]) == [101, 201]
    assert "MARKED" not in (cohort.path / "participants.tsv").read_text()
    assert len((cohort.path / "rejected.tsv").read_text().splitlines()) == 2


@pytest.mark.parametrize(("keyword", "values", "word"), [
    ("PatientSex", "MF", "2 sexes"),
    ("PatientBirthDate", ("19500101", "19600101"), "2 dates of birth"),
    ("PatientID", ("a", ""), "2 patient numbers"),
])  # fmt: skip
def test_people_who_share_a_number_are_no_subject(tmp_path, keyword, values, word):
    write_cine(tmp_path, **{"PatientID": "ANON", keyword: lambda k, t: values[t % 2]})
    with pytest.raises(ValueError, match=f"^sub-s1: images of several patients in one folder: {word}") as error:
        read_folder(tmp_path)
    assert "1950" not in str(error.value)


def test_headers_that_do_not_say_who_join_those_that_do(tmp_path):
    known = {"PatientBirthDate": "19500101", "PatientSex": "F"}
    write_cine(tmp_path, **{key: lambda k, t, value=value: value if t else "" for key, value in known.items()})
    assert len(read_folder(tmp_path).cines) == 1


def test_studies_of_a_patient_become_sessions_in_order_of_date(tmp_path):
    for name, date, corner in (("b", "20190102", 1), ("a", "20210304", 2)):
        write_cine(
            tmp_path / "src" / "p1" / name,
            StudyInstanceUID=f"1.2.{date}",
            StudyDate=date,
            SeriesDescription="cine 4ch",
            pixels=lambda k, t, c=corner: trees.image(c, t),
            orientation=long_axis(118),
        )
    cohort = ingest("dicom", tmp_path / "src", tmp_path / "cohort", workers=1, progress=False)
    assert list(cohort.cines["cine"]) == ["sub-p1_ses-1_view-4ch", "sub-p1_ses-2_view-4ch"]
    for name, corner in zip(cohort.cines["cine"], (101, 201)):  # whichever corner the display makes of it
        assert corner in cohort.cine(name).pixels[0, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (cohort.path / "sub-p1" / "ses-2" / "sub-p1_ses-2_view-4ch_cine.nii").exists() and len(cohort.subjects) == 1


# --- wrappings -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study():
    order = next(iter(subject_specs(1, frames=5, size=32, spacing_mm=6.0, subslices=1, views=("4ch",)).values()))
    return make_study("P0001", order)


def enhanced(folder, study, **groups):
    """A multi-frame file of a long-axis cine; groups: sequence name → function of the frame, giving its item's tags."""
    (file,) = files = build(study, 1, "dicom-enhanced").files
    for t, group in enumerate(file.content.PerFrameFunctionalGroupsSequence):
        for sequence, tags in groups.items():
            item = Dataset()
            for keyword, value in tags(t).items():
                setattr(item, keyword, value)
            setattr(group, sequence, [item])
    write_files(folder, files)


def test_classic_files_made_of_enhanced_ones_keep_empty_groups(tmp_path):
    write_cine(tmp_path, PerFrameFunctionalGroupsSequence=[Dataset()])  # as in Sunnybrook's
    np.testing.assert_array_equal(corners(read_folder(tmp_path).cines[0]), [np.arange(6) + 1])


def test_multi_frame_files_rescale_frame_by_frame(tmp_path, study):
    def slope(t):
        return {"RescaleSlope": 1 + t, "RescaleIntercept": -3}

    enhanced(tmp_path, study, PixelValueTransformationSequence=slope)
    (cine,), (true,) = read_folder(tmp_path).cines, study.cines
    np.testing.assert_allclose(cine.pixels, true.pixels * (1.0 + np.arange(5)[:, None, None, None]) - 3)
    np.testing.assert_allclose(cine.frame_times_ms, true.frame_times_ms, atol=0.01)
    np.testing.assert_allclose(cine.affine[:, [0, 1, 3]], true.affine[:, [0, 1, 3]], atol=1e-4)


@pytest.mark.parametrize(
    ("groups", "word"),
    [
        (
            {"MRImageFrameTypeSequence": lambda t: {"FrameType": ["ORIGINAL", "PRIMARY", "VELOCITY", "NONE"]}},
            "phase image",
        ),
        ({"MRModifierSequence": lambda t: {"PhaseContrast": "YES"}}, "flow"),
        ({"MRModifierSequence": lambda t: {"InversionRecovery": "YES"}}, "inversion"),
        ({"PlanePositionSequence": lambda t: {}}, "no position"),
    ],
)
def test_multi_frame_files_that_are_no_cine(tmp_path, study, groups, word):
    enhanced(tmp_path, study, **groups)
    study = read_folder(tmp_path)
    assert not study.cines and len(study.rejected) == 1 and word in reasons(study)[0]


def test_some_frames_of_a_file_may_be_left_out(tmp_path, study):
    def kind(t):
        return {"FrameType": ["ORIGINAL", "PRIMARY", "VELOCITY" if t == 2 else "CARDIAC", "NONE"]}

    enhanced(tmp_path, study, MRImageFrameTypeSequence=kind)
    found = read_folder(tmp_path)
    np.testing.assert_array_equal(found.cines[0].pixels[[0, 1, 3, 4]], study.cines[0].pixels[[0, 1, 3, 4]])
    assert found.cines[0].meta["missing"] == [[0, 2]]
    assert [row["reason"] for row in found.rejected] == ["phase image of a flow measurement, no cine"]
