"""What is read of a source's folder, and what is never opened: links, pipes, devices, folders without end."""

import json
import os
import tarfile

import pytest
from test_fuzz import no_hang
from trees import write_cine, write_sunnybrook

from cmrlib.cohort.files import alone, read_tsv
from cmrlib.datasets import acdc, finding, header, ingest, nifti, sunnybrook
from cmrlib.phantom import make_cohort


def read(kind, src, **options):
    """The cohort of a source and the reasons in its rejected.tsv."""
    with no_hang():
        cohort = ingest(kind, src, src.parent / "cohort", workers=1, progress=False, **options)
    return cohort, read_tsv(cohort.path / "rejected.tsv")["reason"].tolist()


@pytest.fixture
def src(tmp_path):
    for name in ("P1", "P2"):
        write_cine(tmp_path / "src" / name / "sax", slices=3)
    return tmp_path / "src"


def test_pipes_and_devices_are_listed_and_never_opened(src):
    os.mkfifo(src / "readme.txt")
    os.mkfifo(src / "P1" / "pipe")
    (src / "notes.txt").symlink_to("/dev/zero")
    (src / "P2" / "cpu").symlink_to("/proc/cpuinfo")
    cohort, reasons = read("dicom", src)
    assert len(cohort.subjects) == 2 and sorted(reasons) == sorted(
        ["a pipe, socket or device, no file"] * 2 + ["a link to what is no file"] * 2
    )


def test_a_folder_that_is_a_link_is_read_once(src, tmp_path):
    (src / "P1" / "sax").rename(tmp_path / "elsewhere")
    (src / "P1" / "sax").symlink_to(tmp_path / "elsewhere")
    (src / "P1" / "again").symlink_to(tmp_path / "elsewhere")
    (src / "P1" / "up").symlink_to(src)
    cohort, reasons = read("dicom", src)
    assert cohort.cines["participant_id"].tolist() == ["P1", "P2"]
    assert sorted(reasons) == ["a link to a folder that is read already", "a link to a folder that it lies in"]


def test_a_link_to_another_subjects_folder_joins_nobody(src):
    (src / "P1" / "other").symlink_to(src / "P2" / "sax")
    (src / "P3").mkdir()
    (src / "P3" / "twin").symlink_to(src / "P2")
    cohort, reasons = read("dicom", src)
    assert cohort.cines["cine"].tolist() == ["sub-P1_view-sax", "sub-P2_view-sax"]
    assert reasons == [finding.READ_ALREADY] * 2


def test_links_to_the_whole_machine_are_not_followed(src):
    (src / "root").symlink_to("/")
    (src / "P1" / "kernel").symlink_to("/proc/self")
    (src / "twin").symlink_to(src / "P2")  # one person would be two
    cohort, reasons = read("dicom", src)
    assert cohort.subjects["participant_id"].tolist() == ["P1", "P2"]
    assert reasons.count("a link to the machine's own folders") == 2


def test_the_cohorts_folder_is_tested_before_the_source_is_read(src, monkeypatch):
    monkeypatch.setattr("cmrlib.datasets.dicom.find", None)  # never reached
    with pytest.raises(OSError, match="cannot write in"):
        ingest("dicom", src, next(path for path in src.rglob("*") if path.is_file()) / "cohort", progress=False)


def test_names_of_any_encoding(src, tmp_path):
    odd = os.fsdecode(b"M\xfcller.txt")
    for path in (src / odd, src / "P1" / odd):
        path.write_text("a letter to " + str(path.parent))
    cohort, reasons = read("dicom", src)
    assert len(cohort.subjects) == 2 and len(reasons) == 2
    assert (tmp_path / ".cohort.sources.tsv").read_bytes().count(b"M\xfcller.txt") == 2


def test_folders_that_give_no_label_of_their_own_are_named_and_the_others_read(src, capsys):
    (src / "P2").rename(src / "心臓")
    for name in ("A-1", "A_1"):
        write_cine(src / name)
    cohort, reasons = read("dicom", src)
    assert cohort.subjects["participant_id"].tolist() == ["P1"] and set(reasons) == {finding.STRAY}
    assert "'A-1', 'A_1': two folders" in capsys.readouterr().err


def test_a_walk_says_where_it_stopped(src, monkeypatch):
    monkeypatch.setattr(finding, "MOST_FILES", 3)
    found = list(finding.walk(src / "P1"))
    assert len(found) == 4 and "more than 3 files" in found[-1][1]
    monkeypatch.setattr(finding, "MOST_DEPTH", 1)
    assert list(finding.walk(src / "P1")) == [(src / "P1" / "sax", "a folder more than 1 deep")]


def test_a_sparse_file_costs_itself_only(src, tmp_path):
    with (src / "P1" / "huge").open("wb") as file:
        file.write(bytes(128) + b"DICM")
        file.truncate(40 * 2**30)
    cohort, reasons = read("dicom", src)
    assert len(cohort.subjects) == len(cohort.cines) == 2 and reasons == [header.TOO_LARGE]


@pytest.mark.parametrize("name", ["x.nii", "x.json", "participants.tsv"])
def test_nifti_meets_pipes(tmp_path, name):
    (tmp_path / "P1").mkdir()
    (tmp_path / "P1" / "y.nii").write_bytes(b"no image")
    (tmp_path / "P1" / "x.nii.gz").write_bytes(b"no image")
    os.mkfifo(tmp_path / name if name == "participants.tsv" else tmp_path / "P1" / name)
    with no_hang():
        ((label, item),) = nifti.find(tmp_path).items()
        assert len(nifti.read(label, item).rejected) == 2


def test_acdc_meets_a_pipe(tmp_path):
    (tmp_path / "patient001").mkdir()
    (tmp_path / "patient001" / "patient001_4d.nii.gz").write_bytes(b"no image")
    os.mkfifo(tmp_path / "patient001" / "Info.cfg")
    with no_hang(), pytest.raises(ValueError, match="Info.cfg is missing"):
        acdc.read("patient001", acdc.find(tmp_path)["patient001"])


def test_members_of_an_archive_that_are_no_files_are_listed(tmp_path):
    write_sunnybrook(tmp_path)
    (path,) = tmp_path.rglob("*.tar.xz")
    with tarfile.open(path) as old:
        members = [(member, old.extractfile(member)) for member in old if member.isfile()]
        with tarfile.open(tmp_path / "new", "w:xz") as new:
            for member, content in members:
                new.addfile(member, content)
            for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
                odd = tarfile.TarInfo(f"odd{kind}")
                odd.type, odd.linkname = kind, members[0][0].name
                new.addfile(odd)
    (tmp_path / "new").replace(path)
    reasons = [row["reason"] for row in sunnybrook.read("a", sunnybrook.find(tmp_path)["SCHFI1"]).rejected]
    assert reasons == ["a link, pipe or device in the archive"] * 4


def test_a_member_that_is_too_large_is_not_unpacked(tmp_path, monkeypatch):
    write_sunnybrook(tmp_path)
    monkeypatch.setattr(sunnybrook, "LARGEST_BYTES", 1)
    study = sunnybrook.read("a", sunnybrook.find(tmp_path)["SCHFI1"])
    assert not study.cines and {row["reason"] for row in study.rejected} == {header.TOO_LARGE}


def test_a_cut_archive_gives_what_lies_before_the_cut(tmp_path):
    write_sunnybrook(tmp_path)
    (path,) = tmp_path.rglob("*.tar.xz")
    with tarfile.open(path) as old, tarfile.open(tmp_path / "plain", "w:") as new:
        for member in old:
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    content = (tmp_path / "plain").read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    study = sunnybrook.read("a", sunnybrook.find(tmp_path)["SCHFI1"])
    assert len(study.cines) == 1 and any("only what lies before" in row["reason"] for row in study.rejected)
    path.write_bytes(b"")
    assert "archive is damaged" in sunnybrook.read("a", sunnybrook.find(tmp_path)["SCHFI1"]).rejected[0]["reason"]


def test_two_ingests_of_one_folder_do_not_meet(tmp_path):
    """The second would take what the first is reading for what a crash left behind, and refuse it."""
    settings = {"frames": 4, "size": 32, "spacing_mm": 6.0, "slices": 3, "views": ("sax",), "workers": 1}
    make_cohort(tmp_path / "whole", 2, progress=False, **settings)
    plan = json.loads((tmp_path / "whole" / "dataset_description.json").read_text())
    lock = tmp_path / "c" / ".ingest" / "lock-all"
    lock.parent.mkdir(parents=True)
    (lock.parent / "plan.json").write_text(json.dumps(plan))
    with alone(lock, "held"), pytest.raises(FileExistsError, match="another ingest is writing .*wait"):
        make_cohort(tmp_path / "c", 2, progress=False, **settings)
    assert len(make_cohort(tmp_path / "c", 2, progress=False, **settings).cines) == 2
