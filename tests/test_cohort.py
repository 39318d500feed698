"""Cohort, Observer and ingest: what is written is read back, whole or not at all, whatever goes wrong."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import trees

from cmrlib.app.cli import observers
from cmrlib.cine import Cine
from cmrlib.cohort import POINT_COLUMNS, Annotation, Cohort, Observer, digests, files
from cmrlib.cohort.study import Study, check_study, finish_cohort, label_folders, subject_label, write_study
from cmrlib.datasets import ingest
from cmrlib.datasets.ingestion import build_cohort

ROOT = Path(__file__).parents[1]
DESCRIPTION = {"Name": "Test", "License": "none"}
NAME = "sub-a1_view-sax"
TIMES = ("frame_times_ms", "rr_ms", "slice_position_mm")


def make_cine(label="a1", frames=4, **changes):
    times = np.tile(np.arange(frames) * 40.0, (3, 1))
    times[-1, -1] = np.nan
    values = dict(zip(TIMES, (times, np.full(3, 800.0), np.arange(3) * 8.0)))
    values |= {"ed": 0, "es": 2, "flags": ("one", "two"), "meta": {"vendor": "GE", "missing": [[2, 3]]}}
    pixels = np.random.default_rng(len(label)).integers(0, 4000, (frames, 3, 8, 6)).astype(np.int16)
    affine = np.array([[-1.25, 0, 0, 10], [0, -1.5, 0, 20], [0, 0, 8, -30], [0, 0, 0, 1]])
    return Cine(pixels, affine, "sax", label, **(values | changes))


def make_annotation(cine):
    mask = np.full(cine.pixels.shape, 255, np.uint8)
    mask[0], mask[0, :, 2:4, 2:4] = 0, 1
    points = pd.DataFrame([[0, 1, "septal", 2.25, 3.5, 1.0, 2.0, 3.0, 0.9]], columns=POINT_COLUMNS)
    return Annotation(mask, {0: ("lv",)}, points, {"ed": 0, "es": 2, "ed_frac": 0.1, "es_frac": 2.3, "confidence": 0.8})


def read_made(label, item):
    """A reader: pixels from the label; what `item` asks for goes wrong."""
    if item == "broken":
        raise KeyError("a foreign error that quotes Jane Doe")
    if item == "refused":
        raise ValueError(f"sub-{label}: refused for a reason")
    if item == "dies":
        os.kill(os.getpid(), signal.SIGSEGV)  # as a crashing decoder does
    if item.startswith("/"):
        (Path(item) / str(os.getpid())).touch()
        time.sleep(0.15)
    cine, person = make_cine(label), {"participant_id": label, "group": "x"}
    drawn, measures = {"manual": {cine.name: make_annotation(cine)}}, {"manual": {"lvef_pct": 50.0}}
    cines = [cine, cine] if item == "twins" else [cine]
    return Study(person, cines, drawn, measures, sources={label * 4: f"/private/{label}"})


def built(items, dest, workers=1):
    return build_cohort(items, read_made, dest, DESCRIPTION, workers, progress=False)


def made_of(folder, cines, observers=None):
    """A cohort of one person with these cines."""
    study = Study({"participant_id": "a1"}, cines, observers or {})
    return finish_cohort(folder, DESCRIPTION, [write_study(folder, study)])


def contents(folder, times=False):
    """Relative path → bytes, with time of change if asked, of everything below a folder."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns if times else 0) for p in paths}


@pytest.fixture
def cohort(tmp_path):
    return built({"a1": "", "b2": ""}, tmp_path / "cohort")


# --- round trips


@pytest.mark.parametrize("changes", [
    {},
    {"frame_times_ms": None, "rr_ms": None, "ed": None, "es": None, "flags": (), "meta": {}},
    {"frames_of": ((3, 9, 11, 14), 20), "session": "2", "run": 3, "spacing_known": False},
])  # fmt: skip
def test_a_cine_comes_back_as_it_was(tmp_path, changes):
    cine = make_cine(**changes)
    back = made_of(tmp_path, [cine]).cine(cine.name)
    assert isinstance(back.pixels.base, np.memmap) and back.pixels.flags.c_contiguous
    assert back.pixels.dtype == cine.pixels.dtype
    for name in ("pixels", "affine", *TIMES):
        mine, yours = getattr(cine, name), getattr(back, name)
        assert (mine is None and yours is None) or np.array_equal(mine, yours, equal_nan=True), name
    for name in ("view", "subject", "session", "run", "spacing_known", "ed", "es", "frames_of", "meta"):
        assert getattr(back, name) == getattr(cine, name), name
    assert back.flags == (*cine.flags, "orientation_unknown")  # its affine is nominal


def test_an_annotation_comes_back_as_it_was(cohort):
    annotation, manual = make_annotation(cohort.cine(NAME)), cohort.observer("manual")
    back = manual.annotation(NAME)
    np.testing.assert_array_equal(back.mask, annotation.mask)
    assert back.annotated == annotation.annotated and back.frames == annotation.frames
    pd.testing.assert_frame_equal(back.points, annotation.points, check_dtype=False)
    assert manual.measures()["lvef_pct"].tolist() == [50, 50]


def test_of_two_masks_of_one_cine_none_is_read(cohort, tmp_path):
    """Somebody's own folder: no digests, so both a mask with and one without .gz are as good."""
    cine, observer = cohort.cine(NAME), Observer(tmp_path / "mine")
    observer.write(cine, Annotation(np.ones(cine.pixels.shape, np.uint8), dict.fromkeys(range(4), ("lv",))))
    next(observer.path.rglob(digests.NAME)).unlink()
    plain, mine = next(observer.path.rglob("*_dseg.nii")), np.array(observer.mask(NAME).mask)
    mine[0, 0] = 0
    files.write_nifti(plain.with_name(f"{plain.name}.gz"), mine.astype(np.int16), cine.affine)
    with pytest.raises(ValueError, match=r"dseg\.nii: a mask with and one without \.gz.*remove one.*cmr correct"):
        observer.mask(NAME)
    plain.unlink()
    np.testing.assert_array_equal(observer.mask(NAME).mask, mine)


@pytest.mark.parametrize("first_compressed", [True, False])
def test_a_new_mask_replaces_the_older_one_of_either_suffix(tmp_path, first_compressed):
    """Few frames are written compressed, all frames plain; the compressed one is read where both are there."""
    cine, observer = make_cine(frames=8), Observer(tmp_path / "o")
    few, every = make_annotation(cine), np.ones(cine.pixels.shape, np.uint8)
    every = Annotation(every, dict.fromkeys(range(8), ("lv",)))
    for annotation in (few, every) if first_compressed else (every, few):
        observer.write(cine, annotation)
    np.testing.assert_array_equal(observer.mask(cine.name).mask, annotation.mask)
    assert len(list(observer.path.rglob("*_dseg.nii*"))) == 1
    with pytest.raises(ValueError, match="mask has shape"):
        observer.write(cine, Annotation(np.zeros((1, 1, 8, 6), np.uint8), {}))
    with pytest.raises(ValueError, match=r"mask values \[2\] belong to no annotated structure"):
        observer.write(cine, Annotation(np.full(cine.pixels.shape, 2, np.uint8), {0: ("lv",)}))


def test_examinations_take_the_first_run_annotated_and_frames_of_another_observer(tmp_path):
    cines = [make_cine(run=run) for run in (1, 2, 3)]
    drawn = {cine.name: make_annotation(cine) for cine in cines[1:]}
    net = {cines[1].name: Annotation(frames={"ed": 3, "es": 1})}
    cohort = made_of(tmp_path, cines, {"manual": drawn, "net": net})
    ((subject, session, views),) = cohort.examinations("manual", ["a1"], frames_from="net")
    cine, annotation = views["sax"]
    assert (subject, session, list(views), cine.run) == ("a1", "", ["sax"], 2)
    assert (annotation.frames["ed"], annotation.frames["es"]) == (3, 1) and len(annotation.points) == 1
    assert not list(cohort.examinations("net"))  # it has no masks
    assert len(list(cohort.examinations("manual", of="points"))) == 1
    with pytest.raises(ValueError, match=r"subjects \['nobody'\] are not in"):
        next(cohort.examinations("manual", ["nobody"]))


def test_few_cines_stay_open_and_their_values_are_kept(tmp_path):
    """Each open cine holds a file descriptor, of which a process has 1,024: a training reads more cines than that."""
    many = made_of(tmp_path, [make_cine(run=run) for run in range(1, 301)])
    before, first = len(list(Path("/proc/self/fd").iterdir())), many.cines["cine"][0]
    window = many.cine(first).intensity_window()
    for name in many.cines["cine"]:
        many.cine(name)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 256
    assert many.cine(first).memo["intensity_window", 1, 99] == window  # not read again
    assert many.cine(first) is many.cine(first)


def test_a_part_holds_these_cines_and_their_subjects_and_leaves_the_whole_as_it_was(cohort):
    part = cohort.part([NAME])
    part.observers["another"] = None
    assert part.cines["cine"].tolist() == [NAME] and part.subjects["participant_id"].tolist() == ["a1"]
    assert (len(cohort.cines), len(cohort.subjects), list(cohort.observers)) == (2, 2, ["manual"])
    np.testing.assert_array_equal(part.cine(NAME).pixels, cohort.cine(NAME).pixels)


def test_tables_keep_identifiers_as_text(tmp_path):
    table = pd.DataFrame({"participant_id": ["001", "1e5"], "digest": ["12345678", "123e4567"], "age": [None, 40.0]})
    files.write_tsv(table, tmp_path / "t.tsv")
    assert "n/a" in (tmp_path / "t.tsv").read_text()
    pd.testing.assert_frame_equal(files.read_tsv(tmp_path / "t.tsv"), table, check_dtype=False)


def test_no_table_holds_a_formula(tmp_path):
    texts = ["=cmd|' /C calc'!A0", "@SUM(1)", "-1+1", "+A1", "-", "-1.5", "+2e3", "n/a", None, "HCM", "a=b"]
    write = pd.DataFrame({"group": texts, "value": -1.5, "kind": pd.Categorical(["=1"] * len(texts))})
    files.write_tsv(write, tmp_path / "t.tsv")
    observers.write_table(write, tmp_path / "t.csv")
    safe = ["'=cmd|' /C calc'!A0", "'@SUM(1)", "'-1+1", "'+A1", *texts[4:7]]
    for table in (pd.read_csv(tmp_path / "t.tsv", sep="\t", dtype=str), pd.read_csv(tmp_path / "t.csv", dtype=str)):
        assert table["group"][:7].tolist() == safe and table["group"][9:].tolist() == ["HCM", "a=b"]
        assert set(table["value"]) == {"-1.5"} and set(table["kind"]) == {"'=1"}
    assert write["group"][0] == texts[0]  # the table itself stays


@pytest.mark.parametrize("kind", [np.uint8, np.float32, ">u2"])
def test_arrays_are_written_as_nibabel_writes_them(tmp_path, kind):
    pixels, affine = np.arange(4 * 3 * 6 * 5).reshape(4, 3, 6, 5).astype(kind), np.diag([-1.5, -1.2, 8, 1])
    for name in ("a.nii", "a.nii.gz"):
        assert files.write_nifti(tmp_path / name, pixels[:, ::-1], affine, 35.5) == files.digest(tmp_path / name)
        image = files.nib.load(tmp_path / name)
        np.testing.assert_array_equal(np.asanyarray(image.dataobj).T, pixels[:, ::-1])
    files.nib.save(files.nib.load(tmp_path / "a.nii"), tmp_path / "b.nii")
    assert (tmp_path / "a.nii").read_bytes() == (tmp_path / "b.nii").read_bytes()


# --- nothing half written


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), files.atomic(tmp_path / "x.json") as part:
        part.write_text("half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    files.write_json({"a": 1}, tmp_path / "x.json")
    with pytest.raises(TypeError):
        files.write_json({"a": object()}, tmp_path / "x.json")
    assert files.read_json(tmp_path / "x.json") == {"a": 1} and len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_stops_the_ingest_and_a_rerun_completes_it(tmp_path, monkeypatch):
    items, dest = {"a1": "", "b2": "", "c3": ""}, tmp_path / "cohort"
    atomic, calls = files.atomic, []

    @contextmanager
    def full_disk(path):
        calls.extend([path] * (Path(path).suffix in (".nii", ".gz")))
        with atomic(path) as part:
            if len(calls) == 3:
                part.write_bytes(b"half a file")
                raise OSError(errno.ENOSPC, "No space left on device")
            yield part

    with (
        pytest.raises(OSError, match="No space left on device for .*table.tsv: make room"),
        atomic(tmp_path / "table.tsv"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patched:
        patched.setattr(files, "atomic", full_disk)
        with pytest.raises(OSError, match="No space left"):
            built(items, dest)
    assert not list(dest.rglob(".part-*")) and not list(dest.rglob("sub-b2*.nii"))
    with pytest.raises(FileNotFoundError, match="interrupted"):
        Cohort.open(dest)
    assert contents(built(items, dest).path) == contents(built(items, tmp_path / "undisturbed").path)


SLOW = """
    import sys
    sys.path[:0] = [{root!r}, {tests!r}]
    import test_cohort

    if __name__ == "__main__":
        test_cohort.built({{f"s{{n}}": {pids!r} for n in range(12)}}, {dest!r}, 2)
"""


def wait_for(condition, seconds=60):
    end = time.time() + seconds
    while not condition() and time.time() < end:
        time.sleep(0.02)
    return condition()


def alive(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_killed_and_started_again_gives_the_same_cohort(tmp_path):
    dest, script, pids = tmp_path / "cohort", tmp_path / "slow.py", tmp_path / "pids"
    pids.mkdir()
    names = {"root": str(ROOT), "tests": str(ROOT / "tests"), "dest": str(dest), "pids": str(pids)}
    script.write_text(textwrap.dedent(SLOW).format(**names))
    process = subprocess.Popen([sys.executable, script], env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert wait_for(lambda: len(list(dest.glob(".ingest/s*.json"))) >= 2 or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert wait_for(lambda: not any(alive(int(path.name)) for path in pids.iterdir()), 10)  # no worker outlives it
    assert 2 <= len(list(dest.glob(".ingest/s*.json"))) < 12
    (dest / "sub-s0").mkdir(exist_ok=True)
    (dest / "sub-s0" / ".part-x-sub-s0_view-sax_cine.nii").write_bytes(b"half")
    items = {f"s{n}": str(pids) for n in range(12)}
    assert contents(built(items, dest).path) == contents(built(items, tmp_path / "undisturbed").path)


# --- ingest


def test_a_bad_subject_is_listed_and_the_others_are_read(tmp_path):
    items = {"a1": "", "b2": "broken", "c3": "refused", "d4": "twins", "e5": "dies", "f6": ""}
    cohort = built(items, tmp_path / "c", workers=2)
    assert cohort.cines["participant_id"].tolist() == ["a1", "f6"] and not (cohort.path / ".ingest").exists()
    why = files.read_tsv(cohort.path / "rejected.tsv").set_index("participant_id")["reason"]
    assert (why["b2"], why["c3"]) == ("KeyError", "sub-c3: refused for a reason")  # no foreign text
    assert "several cines of one name" in why["d4"] and "ended the process" in why["e5"] and len(why) == 4
    private = tmp_path / ".c.sources.tsv"
    assert private.stat().st_mode & 0o777 == 0o600 and "/private/a1" in private.read_text()
    assert not any(b"/private/" in data for data, _ in contents(cohort.path).values())
    with pytest.raises(ValueError, match="no cine could be read.*refused for a reason"):
        built({"a": "refused"}, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_rerun_changes_nothing(cohort, tmp_path):
    before = contents(cohort.path, times=True)
    assert built({"a1": "", "b2": ""}, cohort.path).digest == cohort.digest
    assert contents(cohort.path, times=True) == before
    with pytest.raises(FileExistsError, match="another cohort"):
        built({"a1": ""}, cohort.path)
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="not empty"):
        built({"a1": ""}, tmp_path)
    with pytest.raises(OSError, match=r"cannot write the cohort .*thesis.txt/c"):
        built({"a1": ""}, tmp_path / "thesis.txt" / "c")
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_a_changed_source_is_noticed_and_a_finished_cohort_opens_without_a_look_inside(tmp_path, monkeypatch):
    for name in ("patient001", "patient002"):
        trees.write_acdc(tmp_path / "src", name)

    def again(**options):
        return ingest("acdc", tmp_path / "src", tmp_path / "c", workers=1, progress=False, **options)

    cohort = again()
    with monkeypatch.context() as patched:
        patched.setattr("cmrlib.datasets.acdc.find", None)
        assert again().digest == cohort.digest
        (tmp_path / "src").rename(tmp_path / "moved")
        assert ingest("acdc", tmp_path / "moved", tmp_path / "c").digest == cohort.digest
        (tmp_path / "moved").rename(tmp_path / "src")
    with pytest.raises(FileExistsError, match="holds another cohort"):
        again(limit=1)
    os.utime(next((tmp_path / "src").rglob("*_gt.nii.gz")), (1, 1))
    with pytest.raises(FileExistsError, match="files of its source were added, removed or changed"):
        again()


def test_sessions_that_contradict_each_other_are_refused_others_complete_each_other(tmp_path):
    def rows(session, **known):
        person = {"participant_id": "a1", "sex": None, "age": None, **known}
        return write_study(tmp_path, Study(person, [make_cine(session=session)]))

    cohort = finish_cohort(tmp_path, DESCRIPTION, [rows("1", sex="F"), rows("2", sex="F", age=50)])
    assert cohort.subjects[["sex", "age"]].to_numpy().tolist() == [["F", 50]]
    with pytest.raises(ValueError, match=r"sub-a1: its sessions disagree on sex: \['F', 'M'\]"):
        finish_cohort(tmp_path, DESCRIPTION, [rows("1", sex="F"), rows("2", sex="M")])
    cines = [make_cine(session=session) for session in "12"]
    with pytest.raises(ValueError, match="measures of one of the sessions 1, 2"):
        check_study(Study({"participant_id": "a1"}, cines, measures={"manual": {"lvef_pct": 50.0}}))


def test_labels_are_legal_and_never_collide(tmp_path):
    assert subject_label("SC-HF-I-1") == "SCHFI1"
    with pytest.raises(ValueError, match="no letter or digit"):
        subject_label("---")
    with pytest.raises(ValueError, match="two folders"):
        label_folders([tmp_path / "a b", tmp_path / "ab"])
    hashed, other = (label_folders([tmp_path / "1234567_20209_2_0"], lambda _, s=salt: s) for salt in (b"one", b"two"))
    assert "1234567" not in str(list(hashed)) and list(hashed) != list(other)


@pytest.mark.parametrize("name, hidden", [
    *((name, True) for name in ("12345678", "4857773456", "485 777 3456", "DOE_JOHN_19540312", "1954-03-12", "12.3.54",
                                "3 Mar 1954", "Doe_John 54", "JohnDoe7", "Müller_3", "LEE KIM 2", "MRN0012345")),
    *((name, False) for name in ("patient001", "sub-P0001", "case 12", "HealthyVolunteer_3", "SC-HF-I-1", "01-0007",
                                 "Anna", "HCM_003", "A0S9V9", "site2_scan-01", "P1_ED")),
])  # fmt: skip
def test_names_that_look_like_identifiers_become_hashes(tmp_path, capsys, name, hidden):
    assert (set(label_folders([tmp_path / name], lambda _: b"")) != {subject_label(name)}) == hidden
    assert ("--keep-names" in capsys.readouterr().err) == hidden
    assert set(label_folders([tmp_path / name])) == {subject_label(name)}


# --- a cohort that is not as it was


def read_all(path, observers=()):
    """All that a cohort's files say of one subject."""
    cohort = Cohort.open(path, observers)
    cohort.cine(NAME)
    return [(one.annotation(NAME), one.measures()) for one in cohort.observers.values()]


def altered(path):
    """Another last byte; size and time of change as they were, as `cp -p` and `rsync -t` leave them."""
    data, stat = bytearray(path.read_bytes()), path.stat()
    data[-2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def wrong(path, observers=()):
    states = Cohort.open(path, observers).check()
    return states[states["state"] != "ok"].values.tolist()


FILES = ["sub-a1/*cine.nii", "sub-a1/*cine.json", "derivatives/manual/sub-a1/*dseg.nii*", "*.tsv", "*description.json"]
FILES += [f"derivatives/manual/{name}" for name in ("sub-a1/*dseg.json", "sub-a1/*points.tsv", "sub-a1/*frames.tsv")]


@pytest.mark.parametrize("pattern", [*FILES, "derivatives/manual/measures.tsv"])
def test_a_changed_file_is_refused_and_found_by_check(cohort, pattern):
    assert wrong(cohort.path) == []
    read_all(cohort.path)
    path = sorted(cohort.path.glob(pattern))[-1]
    altered(path)
    with pytest.raises(ValueError, match=re.escape(path.name)):
        read_all(cohort.path)
    if path.parent != cohort.path:
        assert wrong(cohort.path) == [[str(path.relative_to(cohort.path)), "changed"]]
        path.unlink()
        assert wrong(cohort.path) == [[str(path.relative_to(cohort.path)), "missing"]]


def test_what_kept_its_times_is_found_by_check_alone(cohort, monkeypatch):
    """As after damage by the disk itself, or where the system keeps no time of change."""
    path = next(cohort.path.rglob("sub-a1_*_dseg.nii*"))
    altered(path)
    (path.parent / digests.NAME).touch()
    read_all(cohort.path)
    assert [state for _, state in wrong(cohort.path)] == ["changed"]


def test_an_observer_of_another_image_is_refused(cohort, tmp_path):
    cine, mine = cohort.cine(NAME), Observer(tmp_path / "mine")
    mine.write(cine, make_annotation(cine))
    read_all(cohort.path, [mine.path])
    other = make_cine()
    other.pixels[0, 0, 0, 0] += 1
    again = made_of(tmp_path / "again", [other])
    with pytest.raises(ValueError, match="drawn on another image.*ingested anew, or files changed places"):
        read_all(again.path, [mine.path])
    assert {state for _, state in wrong(again.path, [mine.path])} == {"of another image"}
    next(mine.path.rglob(digests.NAME)).unlink()  # somebody vouches for it
    read_all(again.path, [mine.path])


def test_a_mask_of_nobody_knows_whom_is_no_correction(cohort):
    path = next(cohort.path.rglob("sub-a1_*_dseg.nii"))
    path.rename(path.with_name(f"{path.name}.gz"))
    with pytest.raises(ValueError, match=r"dseg\.nii\.gz of .* is not in digests\.json.*cmr correct"):
        read_all(cohort.path)
    assert {state for _, state in wrong(cohort.path)} == {"added", "missing"}
    (cohort.path / "sub-a1" / digests.NAME).unlink()
    with pytest.raises(ValueError, match="has no digests.json"):
        cohort.cine(NAME)
    assert ["sub-a1/sub-a1_view-sax_cine.nii", "unknown"] in wrong(cohort.path)


@pytest.mark.parametrize("side", [[], {}, {"annotated": 5}, {"annotated": {"0": ["liver"]}}])
def test_a_damaged_list_of_what_was_drawn_is_named(cohort, side):
    looked = next(iter(cohort.observers.values()))
    path = looked.path / "sub-a1" / f"{NAME}_dseg.json"
    files.write_json(side, path)
    digests.note({path: None})
    with pytest.raises(ValueError, match="dseg.json does not list what was drawn"):
        looked.mask(NAME)


def test_a_sidecar_of_another_cine_is_refused(cohort):
    path = next(cohort.path.rglob("sub-a1_*_cine.json"))
    files.write_json(files.read_json(path) | {"view": "2ch"}, path)
    digests.note({path: None})
    with pytest.raises(ValueError, match="sidecar .* is that of sub-a1_view-2ch"):
        cohort.cine(NAME)


def test_a_mask_of_another_shape_is_refused(cohort):
    path = next(cohort.path.rglob("sub-a1_*_dseg.nii*"))
    mask, affine = files.map_nifti(path)
    digests.note({path: files.write_nifti(path, np.array(mask[:, :2]), affine)})
    with pytest.raises(ValueError, match=rf"{NAME}: the mask of .* expected \(4, 3, 8, 6\)"):
        list(cohort.examinations(next(iter(cohort.observers))))


def test_a_copied_cohort_opens_and_what_is_not_there_is_named(cohort, tmp_path):
    copy = Cohort.open(shutil.copytree(cohort.path, tmp_path / "copy", copy_function=shutil.copyfile))
    np.testing.assert_array_equal(copy.cine(NAME).pixels, cohort.cine(NAME).pixels)
    assert copy.digest == cohort.digest
    with pytest.raises(KeyError, match="no cine"):
        cohort.cine("sub-zz_view-sax")
    with pytest.raises(KeyError, match="no observer 'yale'"):
        cohort.observer("yale")
    for words in ([cohort.path, [tmp_path / "nobody"]], [tmp_path]):
        with pytest.raises(FileNotFoundError, match="does not exist|no complete cohort"):
            Cohort.open(*words)
