"""Files with defects: what is written is what the truth says, and what readers make of defects."""

from dataclasses import replace

import numpy as np
import pytest
from corpus import DEFECTS, FORMATS, build, judge, write_source
from corpus.dicom import MARKS
from trees import LABEL, read, written

from cmrlib.cohort.study import Study
from cmrlib.datasets import acdc, dicom, ingest, nifti, ukbb
from cmrlib.phantom import make_study, subject_specs

TINY = {"frames": 5, "size": 32, "spacing_mm": 6.0, "slices": 5, "subslices": 1}


@pytest.fixture(scope="module")
def three_views():
    (spec,) = subject_specs(1, **TINY).values()
    return make_study(LABEL, spec)


@pytest.fixture(scope="module")
def study(three_views):
    cines = [cine for cine in three_views.cines if cine.view != "2ch"]
    return Study(three_views.participant, cines, three_views.observers)


# --- clean files, and files with one defect ---------------------------------------------------------------------------

READERS = {"nifti": nifti, "nifti-3d": nifti, "ukbb": ukbb, "acdc": acdc}
MIXED = ("long_axes_in_one_series",)
CASES = [
    (form, name)
    for form in ("dicom", "dicom-enhanced", "nifti", "nifti-3d", "ukbb", "acdc")
    for name in sorted(DEFECTS)
    if FORMATS[form].kind in DEFECTS[name].kinds
]


@pytest.mark.parametrize("form", FORMATS)
def test_clean_files_are_read_as_the_truth_says(three_views, tmp_path, form):
    truth = written(three_views, tmp_path / "src", form)
    found = read(READERS.get(form, dicom), tmp_path / "src")
    rows = judge(truth, found)
    assert [row["outcome"] for row in rows] == ["read"] * (1 if form == "acdc" else 3), rows
    assert not found.rejected and {cine.view for cine in found.cines} == {
        cine.rpartition("-")[2] for cine in truth["cines"]
    }


@pytest.mark.parametrize(("form", "name"), CASES)
def test_a_reader_meets_a_defect(study, three_views, tmp_path, form, name):
    truth = written(three_views if name in MIXED else study, tmp_path / "src", form, name)
    rows = judge(truth, read(READERS.get(form, dicom), tmp_path / "src"))
    assert rows and all(row["met"] for row in rows), rows
    assert not list(tmp_path.rglob("climbed.dcm"))


def test_no_mark_reaches_a_cohort(tmp_path):
    specs = subject_specs(2, **TINY | {"slices": 3}, views=("sax",))
    sources = (build(make_study(label, spec), 1, "dicom", ["letter_beside"]) for label, spec in specs.items())
    write_source(tmp_path / "src", sources)
    raw = b"".join(path.read_bytes() for path in (tmp_path / "src").rglob("*.dcm"))
    assert all(mark.encode() in raw for mark in MARKS)
    cohort = ingest("dicom", tmp_path / "src", tmp_path / "cohort", workers=1, progress=False)
    found = b"".join(str(path).encode() + path.read_bytes() for path in cohort.path.rglob("*") if path.is_file())
    assert len(cohort.subjects) == 2 and not [mark for mark in MARKS if mark.encode() in found]


@pytest.mark.parametrize("seed", range(4))
def test_pairs_of_defects_are_met_together(study, tmp_path, seed):
    pair = [
        str(name)
        for name in np.random.default_rng(seed).choice(
            [name for form, name in CASES if form == "dicom"], 2, replace=False
        )
    ]
    rows = judge(written(study, tmp_path / "src", "dicom", *pair), read(dicom, tmp_path / "src"))
    assert all(row["met"] for row in rows), (pair, rows)


# --- the judge -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda c: {"pixels": np.roll(c.pixels, 1, axis=0)}, "other pixels"),
        (lambda c: {"pixels": c.pixels[:, ::-1]}, "other pixels"),
        (lambda c: {"affine": c.affine * [1.1, 1, 1, 1]}, "spacing"),
        (lambda c: {"affine": np.c_[c.affine[:, :3], c.affine[:, 3] + [5, 0, 0, 0]]}, "mm away"),
        (lambda c: {"frame_times_ms": c.frame_times_ms * 1.1}, "other times"),
        (lambda c: {"rr_ms": c.rr_ms * 1.1}, "RR"),
        (lambda c: {"view": "2ch"}, "view 2ch for sax"),
        (lambda c: {"pixels": c.pixels[1:], "frame_times_ms": c.frame_times_ms[:, 1:]}, "4 frames for 5"),
        (lambda c: {"pixels": c.pixels[:, 1:], "frame_times_ms": None, "rr_ms": None}, "4 slices for 5"),
    ],
)
def test_the_judge_sees_what_is_wrong(study, tmp_path, change, problem):
    truth = written(study, tmp_path / "src")
    right = judge(truth, Study({}, study.cines))
    assert [row["outcome"] for row in right] == ["read", "read"], right
    wrong = judge(truth, Study({}, [replace(study.cines[0], **change(study.cines[0])), study.cines[1]]))
    assert wrong[0]["outcome"] == "wrong" and not wrong[0]["met"] and wrong[1]["met"]
    assert any(problem in text for text in wrong[0]["problems"]), wrong[0]["problems"]


def test_the_judge_tells_flagged_refused_and_silent_apart(study, tmp_path):
    truth = written(study, tmp_path / "src")
    sax, other = study.cines
    truth["cines"][sax.name] |= {"expectation": "flag", "words": ["missing_frames"]}
    assert judge(truth, Study({}, [sax, other]))[0]["problems"] == ["silent"]
    assert judge(truth, Study({}, [replace(sax, flags=("missing_frames",)), other]))[0]["outcome"] == "flagged"
    row = judge(truth, Study({}, [other], rejected=[{"digest": "x", "reason": "broken"}]))[0]
    assert (row["outcome"], row["met"]) == ("refused", False)
    truth["cines"][sax.name]["expectation"] = "refuse"
    row = judge(truth, Study({}, [other], rejected=[{"digest": "x", "reason": "has missing_frames"}]))[0]
    assert (row["outcome"], row["met"]) == ("refused", True)
    strange = replace(other, pixels=other.pixels + 1, subject="other")
    assert judge(truth, Study({}, [sax, other, strange]))[-1]["problems"] == ["a cine that nobody made"]
