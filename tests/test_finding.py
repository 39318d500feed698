"""What is read of a source's folder, and what is never opened: links, pipes, devices, folders without end."""

import json

import pytest
from test_fuzz import no_hang
from trees import write_cine

from cmrlib.cohort.files import alone, read_tsv
from cmrlib.datasets import finding, ingest
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


def test_the_cohorts_folder_is_tested_before_the_source_is_read(src, monkeypatch):
    monkeypatch.setattr("cmrlib.datasets.dicom.find", None)  # never reached
    with pytest.raises(OSError, match="cannot write in"):
        ingest("dicom", src, next(path for path in src.rglob("*") if path.is_file()) / "cohort", progress=False)


def test_a_walk_says_where_it_stopped(src, monkeypatch):
    monkeypatch.setattr(finding, "MOST_FILES", 3)
    found = list(finding.walk(src / "P1"))
    assert len(found) == 4 and "more than 3 files" in found[-1][1]
    monkeypatch.setattr(finding, "MOST_DEPTH", 1)
    assert list(finding.walk(src / "P1")) == [(src / "P1" / "sax", "a folder more than 1 deep")]


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
