"""Files with defects: what is written is what the truth says, and what readers make of defects."""

from dataclasses import replace
from pathlib import PurePath

import nibabel as nib
import numpy as np
import pydicom
import pytest
from corpus import DEFECTS, FORMATS, build, judge, write_source
from corpus.dicom import MARKS
from corpus.source import encode, sha, write_files
from trees import LABEL, read, written

from cmrlib.cohort.study import Study
from cmrlib.datasets import acdc, dicom, ingest
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


def of_kind(*kinds):
    return sorted(name for name, one in DEFECTS.items() if set(kinds) & set(one.kinds))


# --- clean files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["dicom", "dicom-flat", "dicom-big-endian", "dicom-enhanced", "acdc"])
def test_clean_files_are_read_as_the_truth_says(three_views, tmp_path, form):
    truth = written(three_views, tmp_path / "src", form)
    found = read(acdc if form == "acdc" else dicom, tmp_path / "src")
    rows = judge(truth, found)
    assert [row["outcome"] for row in rows] == ["read"] * (1 if form == "acdc" else 3), rows
    assert not found.rejected and {cine.view for cine in found.cines} == {
        cine.rpartition("-")[2] for cine in truth["cines"]
    }


def test_classic_files_hold_the_truth_by_hand(study, tmp_path):
    truth = written(study, tmp_path / "src")
    files = [pydicom.dcmread(path) for path in (tmp_path / "src").rglob("*.dcm")]
    for true in truth["cines"].values():
        for one in true["slices"]:
            there = [
                data
                for data in files
                if np.allclose(np.array(data.ImagePositionPatient, float) * [-1, -1, 1], one["position_mm"], atol=1e-3)
            ]
            assert sorted(float(data.TriggerTime) for data in there) == one["frame_times_ms"]
            files = [data for data in files if data not in there]
            for data, image in zip(sorted(there, key=lambda data: data.TriggerTime), one["sha256"]):
                assert sha(data.pixel_array) == image and data.CardiacNumberOfImages == 5
                assert [float(x) for x in data.PixelSpacing] == pytest.approx(true["spacing_mm"])
                assert data.NominalInterval == pytest.approx(one["rr_ms"], abs=0.51)
                assert abs(float(data.RepetitionTime) - one["rr_ms"] / 5) > 50  # no frame step
    assert not files


def test_every_uid_is_its_own_and_nothing_names_a_machine(study):
    files = build(study, 1, "dicom").files
    assert len({file.content.SOPInstanceUID for file in files}) == len(files)
    assert len({file.content.SeriesInstanceUID for file in files}) == 6  # a series a slice, and one
    assert len({file.content.StudyInstanceUID for file in files}) == 1
    other = build(study, 2, "dicom").files
    assert not {f.content.SOPInstanceUID for f in files} & {f.content.SOPInstanceUID for f in other}


def test_acdc_counts_frames_from_1_and_codes_the_rv_as_1(study, tmp_path):
    truth = written(study, tmp_path / "src", "acdc")["cines"]["sub-P0001_view-sax"]
    folder = tmp_path / "src" / "patient001"
    info = (folder / "Info.cfg").read_text()
    assert f"ED: {truth['ed'] + 1}\n" in info and f"ES: {truth['es'] + 1}\n" in info and "NbFrame: 5\n" in info
    mask = np.asarray(nib.load(folder / f"patient001_frame{truth['ed'] + 1:02d}_gt.nii.gz").dataobj).T
    ours = study.observers["truth"]["sub-P0001_view-sax"].mask[truth["ed"]]
    assert ((mask == 1) == (ours == 3)).all() and ((mask == 3) == (ours == 1)).all() and (mask == 1).any()


def test_no_mark_reaches_a_cohort(tmp_path):
    specs = subject_specs(2, **TINY | {"slices": 3}, views=("sax",))
    sources = (build(make_study(label, spec), 1, "dicom", ["letter_beside"]) for label, spec in specs.items())
    write_source(tmp_path / "src", sources, "dicom")
    raw = b"".join(path.read_bytes() for path in (tmp_path / "src").rglob("*.dcm"))
    assert all(mark.encode() in raw for mark in MARKS)
    cohort = ingest("dicom", tmp_path / "src", tmp_path / "cohort", workers=1, progress=False)
    found = b"".join(str(path).encode() + path.read_bytes() for path in cohort.path.rglob("*") if path.is_file())
    assert len(cohort.subjects) == 2 and not [mark for mark in MARKS if mark.encode() in found]


# --- defects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", of_kind("dicom"))
def test_the_dicom_reader_meets_a_defect(study, three_views, tmp_path, name):
    mixed = name in ("long_axes_in_one_series", "description_of_another_view")
    truth = written(three_views if mixed else study, tmp_path / "src", "dicom", name)
    rows = judge(truth, read(dicom, tmp_path / "src"))
    assert rows and all(row["met"] for row in rows), rows


@pytest.mark.parametrize("name", of_kind("acdc"))
def test_the_acdc_reader_meets_a_defect(study, tmp_path, name):
    truth = written(study, tmp_path / "src", "acdc", name)
    rows = judge(truth, read(acdc, tmp_path / "src"))
    assert rows and all(row["met"] for row in rows), rows


@pytest.mark.parametrize("name", of_kind("enhanced"))
def test_the_dicom_reader_meets_a_defect_of_enhanced_files(study, tmp_path, name):
    rows = judge(written(study, tmp_path / "src", "dicom-enhanced", name), read(dicom, tmp_path / "src"))
    assert rows and all(row["met"] for row in rows), rows


def test_defects_repeat_themselves():
    (spec,) = subject_specs(1, **TINY | {"frames": 3, "slices": 3}, views=("sax",)).values()
    small = make_study(LABEL, spec)
    for name, one in DEFECTS.items():
        form = next(form for form, layout in FORMATS.items() if layout.kind == one.kinds[0])
        first, second = (build(small, 1, form, [name]) for _ in range(2))
        assert [file.path for file in first.files] == [file.path for file in second.files], name
        assert first.cines == second.cines and first.participant == second.participant, name
        for one_file, other in zip(first.files[-1:], second.files[-1:]):
            if not isinstance(other.content, PurePath):
                assert encode(one_file) == encode(other), name


def test_another_subject_or_seed_has_the_defect_elsewhere(study):
    places = {
        tuple(
            (one["slice"], tuple(one["sha256"]).index(None))
            for one in build(study, seed, "dicom", ["frame_missing"]).cines["sub-P0001_view-sax"]["slices"]
            if None in one["sha256"]
        )
        for seed in range(8)
    }
    assert len(places) > 2


@pytest.mark.parametrize("seed", range(4))
def test_pairs_of_defects_are_met_together(study, tmp_path, seed):
    pair = [str(name) for name in np.random.default_rng(seed).choice(of_kind("dicom"), 2, replace=False)]
    rows = judge(written(study, tmp_path / "src", "dicom", *pair), read(dicom, tmp_path / "src"))
    assert all(row["met"] for row in rows), (pair, rows)


@pytest.mark.parametrize(("name", "years"), [("age_in_months", 2.5), ("age_in_weeks", 0.5), ("age_empty", None)])
def test_ages_in_all_units(study, tmp_path, name, years):
    truth = written(study, tmp_path / "src", "dicom", name)
    assert truth["participant"]["age"] == years
    found = read(dicom, tmp_path / "src").participant["age"]
    assert found is None if years is None else found == pytest.approx(years, rel=0.01)


def test_what_cannot_follow_another_defect_says_so(study):
    with pytest.raises(ValueError, match="'acdc_ed_not_first' cannot follow acdc_no_info"):
        build(study, 1, "acdc", ["acdc_no_info", "acdc_ed_not_first"])


def test_of_two_defects_the_graver_expectation_stays(study):
    cine = build(study, 1, "dicom", ["frame_missing", "nothing_orders_frames"]).cines["sub-P0001_view-sax"]
    assert (cine["expectation"], cine["words"]) == ("refuse", ["cannot be ordered"])
    cine = build(study, 1, "dicom", ["spacing_zero", "frame_missing"]).cines["sub-P0001_view-sax"]
    assert (cine["expectation"], cine["words"]) == ("flag", ["spacing_unknown", "missing_frames"])


def test_defects_that_do_not_suit_are_refused(study, tmp_path):
    with pytest.raises(ValueError, match="belongs to nifti files, the format 'dicom' is dicom"):
        build(study, 1, "dicom", ["time_zero"])
    with pytest.raises(FileExistsError, match="exists: choose an empty folder"):
        write_files(tmp_path / "src", build(study, 1, "nifti").files * 2)


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
