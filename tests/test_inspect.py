"""cmr inspect: what is in a folder, before anything is converted and without a name of anyone."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pydicom
import pytest
import trees
from corpus import build, write_source
from typer.testing import CliRunner

from cmrlib import datasets, plots
from cmrlib.app.cli import app
from cmrlib.cohort import Cohort
from cmrlib.datasets import ingest
from cmrlib.phantom import make_study, subject_specs


def cmr(*words):
    return CliRunner().invoke(app, list(map(str, words)))


def contents(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Two subjects: one with a flow measurement and a letter, one with a hole and a damaged file."""
    folder = tmp_path_factory.mktemp("inspect") / "src"
    orders = subject_specs(2, frames=5, size=32, spacing_mm=6.0, slices=5, subslices=1, views=("sax", "4ch"))
    defects = (["flow_magnitude_beside", "letter_beside"], ["frame_missing", "file_cut_in_header", "file_there_twice"])
    write_source(
        folder,
        [build(make_study(label, order), 1, "dicom", names) for (label, order), names in zip(orders.items(), defects)],
    )
    return folder


def test_the_table_says_what_ingest_will_make(source, tmp_path):
    before = contents(source)
    table = datasets.inspect(source)
    assert contents(source) == before
    cines = table[table["content"] == "cine"]
    cohort = ingest("dicom", source, tmp_path / "cohort", workers=1, progress=False)
    made = cohort.cines.rename(columns={"participant_id": "subject"})
    for name in ("frames", "slices", "rows", "columns", "row_spacing_mm", "rr_ms", "frame_step_ms"):
        ours, theirs = (frame.sort_values(["subject", "view"])[name].astype(float) for frame in (cines, made))
        np.testing.assert_allclose(ours, theirs, atol=0.01, err_msg=name)
    stack = cines[(cines["subject"] == "P0002") & (cines["view"] == "sax")].iloc[0]
    assert "missing_frames" in stack["flags"] and stack["files"] == 23 and stack["ordered_by"] == "TriggerTime"


@pytest.mark.parametrize("kind", ["nifti", "acdc", "ukbb"])
def test_other_files_than_dicom_are_told_by_their_reader(kind, tmp_path):
    orders = subject_specs(2, frames=5, size=32, spacing_mm=6.0, slices=5, subslices=1, views=("sax",))
    write_source(tmp_path / "src", [build(make_study(*one), 1, kind, ()) for one in orders.items()])
    victim = sorted(path for path in (tmp_path / "src").rglob("*") if path.suffix in (".gz", ".zip"))[0]
    trees.cut_short(victim)
    table = datasets.inspect(tmp_path / "src", kind=kind, thumbnails=True)
    left, (cine,) = table[table["content"] == "left out"], table[table["content"] == "cine"].to_dict("records")
    assert len(left) == 1 and "damaged" in left["reason"].iloc[0] and cine["thumbnail"].dtype == np.uint8
    made = ingest(kind, tmp_path / "src", tmp_path / "cohort", workers=1, progress=False).cines.iloc[0]
    for name in ("frames", "slices", "rows", "row_spacing_mm", "slice_distance_mm", "rr_ms"):
        assert cine[name] == pytest.approx(made[name], abs=0.01, nan_ok=True), name
    said = cmr("inspect", tmp_path / "src", "--kind", kind)
    assert said.exit_code == 0 and "cines: 1, subjects: 2" in said.output and str(tmp_path) not in said.output


def test_paths_and_descriptions_only_on_request(source):
    assert not {"folder", "description"} & set(datasets.inspect(source).columns)
    shown, asked = cmr("inspect", source), cmr("inspect", source, "--paths")
    assert shown.exit_code == asked.exit_code == 0, shown.output
    assert "cines: 4, subjects: 2, files left out:" in shown.output and "missing_frames" in shown.output
    for name in ("flow_aorta", "cine_4ch", str(source)):
        assert name not in shown.output
    assert "flow_aorta" in "".join(asked.output.split())  # wrapped in its column


def test_the_users_word_names_views_and_keeps_a_series(tmp_path):
    trees.write_cine(tmp_path / "anna" / "x", SeriesDescription="flow void cine")
    assert "flow measurement" in datasets.inspect(tmp_path)["reason"][0]
    table = datasets.inspect(tmp_path, views={"flow void cine": "3ch"})
    assert table["view"].tolist() == ["3ch"] and "view_as_named" in table["flags"][0]


def test_thumbnails_are_the_middle_slices(tmp_path):
    bright = {1: 3000}
    trees.write_cine(
        tmp_path / "anna" / "sax",
        slices=3,
        pixels=lambda k, t: np.pad(np.full((60, 180), bright.get(k, 500), np.uint16), ((20, 20), (10, 10))),
    )
    trees.write_cine(tmp_path / "anna" / "4ch", orientation=trees.long_axis(118))
    for path in (tmp_path / "anna" / "4ch").iterdir():
        data = pydicom.dcmread(path)
        data.PixelData = data.PixelData[:-40]
        data.save_as(path)
    table = datasets.inspect(tmp_path, thumbnails=True).set_index("view")
    small = table.loc["sax", "thumbnail"]
    assert small.dtype == np.uint8 and small.shape == (50, 100) and small[25, 50] == 255 and small[0, 0] == 0
    assert "pixels cannot be read" in table.loc["", "reason"] and table.loc["", "files"] == 6  # as in ingest
    figure = plots.thumbnails(table.reset_index())
    assert [ax.get_title() for ax in figure.axes if ax.get_title()] == ["0 · sax · 3 × 6 ⚑"]
    assert len(figure.axes[0].images) == 1
    with pytest.raises(ValueError, match="no thumbnail"):
        plots.thumbnails(table.iloc[:0].reset_index())


# --- privacy ---------------------------------------------------------------------------------------------------------

MARK = "ZZMARKED"
TEXT_VRS = {"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UT", "UR"}
NEEDED = {"SeriesDescription"}  # names the view: marked beside its word


def mark_everything(data):
    """A mark in every text element of the dictionary, in private tags and in sequences within sequences."""
    with pydicom.config.disable_value_validation():
        for tag, (vr, *_, keyword) in pydicom.datadict.DicomDictionary.items():
            if vr in TEXT_VRS and 0x0008 <= tag >> 16 < 0x7000 and keyword not in NEEDED:
                data.add_new(tag, vr, MARK)
        for name in ("PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
            setattr(data, name, "19590714")
        data.SeriesDescription = f"cine_4ch {MARK}"
        inner, outer = pydicom.Dataset(), pydicom.Dataset()
        inner.PatientName = inner.PatientComments = MARK
        block = inner.private_block(0x0031, MARK, create=True)
        block.add_new(1, "LO", MARK)
        block.add_new(2, "UN", MARK.encode())
        outer.RequestAttributesSequence = [inner]
        data.ReferencedStudySequence = [outer]
        data.private_block(0x0029, MARK, create=True).add_new(1, "OB", MARK.encode())


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """A subject whose every name is marked, with files that break in many places."""
    folder = tmp_path_factory.mktemp("privacy") / "src" / "p1" / f"{MARK}folder"
    trees.write_cine(folder, frames=8, StudyInstanceUID="1.2.77123", PatientSex="F")
    for n, path in enumerate(sorted(folder.iterdir())):
        data = pydicom.dcmread(path)
        mark_everything(data)
        path.unlink()
        with pydicom.config.disable_value_validation():
            data.save_as(folder / f"{MARK}{n}.dcm")
    names = sorted(folder.iterdir())
    for n, keyword in enumerate(("InstanceNumber", "ImagePositionPatient", "Rows", "PixelSpacing", "WindowCenter")):
        data = names[0].read_bytes()
        damaged = pydicom.dcmread(names[0])
        with pydicom.config.disable_value_validation():
            damaged.add_new(keyword, "LO", MARK)
            damaged.save_as(folder / f"{MARK}broken{n}.dcm")
        (folder / f"{MARK}cut{n}.dcm").write_bytes(data[: (n + 1) * len(data) // 7])
    (folder / f"{MARK}.txt").write_text(f"{MARK} was seen today")
    (folder.parent / f"{MARK}.zip").write_bytes(b"PK" + MARK.encode() * 50)
    return folder.parents[1]


def test_nothing_that_names_a_patient_is_written_or_said(marked, tmp_path, capfd, caplog):
    raw = b"".join(path.read_bytes() for path in marked.rglob("*") if path.is_file())
    assert raw.count(MARK.encode()) > 5000
    caplog.set_level(0)
    dest = tmp_path / "cohort"
    said = [
        cmr("--debug", "ingest", "dicom", marked, dest, "--workers", 2).output,
        cmr("inspect", marked).output,
        cmr("check", dest).output,
        repr(datasets.inspect(marked)),
        caplog.text,
        *capfd.readouterr(),
    ]
    assert len(Cohort.open(dest).cines) == 1 and "rejected: 1" in said[0]
    written = "".join(f"{path}{path.read_bytes().decode('latin1')}" for path in dest.rglob("*") if path.is_file())
    for secret in (MARK, "19590714", "1.2.77123", str(marked)):
        for n, text in enumerate([written, *said]):
            assert secret not in text, (secret, n)
    private = tmp_path / ".cohort.sources.tsv"
    assert private.stat().st_mode & 0o777 == 0o600 and MARK in private.read_text()


def test_archives_are_named_with_what_to_do(tmp_path):
    """Loose, in subjects' folders, or in place of the folder: by inspect, ingest and report."""
    for name in ("a/2.zip", "a/1.tar.gz", "a/3.7z", "a/4.tar", "b/P1/x.zip", "b/P2/y.tgz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"PK, or any other packed file")
    for name, files in {
        "a": "a/1.tar.gz, a/2.zip, a/3.7z and 1 more",
        "b": "b/P1/x.zip, b/P2/y.tgz",
        "a/2.zip": "2.zip",
    }.items():
        for words in (("inspect", name), ("ingest", "dicom", name, "cohort"), ("report", name, "-o", "page.html")):
            said = cmr(*[tmp_path / word if word in (name, "cohort", "page.html") else word for word in words])
            told = " ".join(said.output.split())
            assert said.exit_code and f"archives are not opened, unpack them first: {files}" in told, (words, told)
