"""Cine, Cohort, Observer and ingest: what is written is read back, whole or not at all, whatever goes wrong."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import trees

from cmrlib.cine import Cine
from cmrlib.cohort import POINT_COLUMNS, Annotation, Cohort, Observer, files
from cmrlib.cohort.study import Study, check_study, finish_cohort, label_folders, subject_label, write_study
from cmrlib.datasets import ingest
from cmrlib.datasets.ingestion import build_cohort

ROOT = Path(__file__).parents[1]
DESCRIPTION = {"Name": "Test", "License": "none"}


def make_cine(label="a1", frames=4, slices=3, shape=(8, 6), **changes):
    rng = np.random.default_rng(len(label))
    affine = np.diag([-1.25, -1.5, 8.0, 1.0])
    affine[:3, 3] = 10, 20, -30
    times = np.tile(np.arange(frames) * 40.0, (slices, 1))
    times[-1, -1] = np.nan
    values = {
        "ed": 0,
        "es": 2,
        "flags": ("one", "two"),
        "meta": {"vendor": "GE", "missing": [[2, 3]]},
        "frame_times_ms": times,
        "rr_ms": np.full(slices, 800.0),
        "slice_position_mm": np.arange(slices) * 8.0,
    }
    pixels = rng.integers(0, 4000, (frames, slices, *shape)).astype(np.int16)
    return Cine(pixels, affine, "sax", label, **(values | changes))


def make_annotation(cine):
    mask = np.full(cine.pixels.shape, 255, np.uint8)
    mask[0], mask[0, :, 2:4, 2:4] = 0, 1
    points = pd.DataFrame([[0, 1, "septal", 2.25, 3.5, 1.0, 2.0, 3.0, 0.9]], columns=POINT_COLUMNS)
    return Annotation(mask, {0: ("lv",)}, points, {"ed": 0, "es": 2, "ed_frac": 0.1, "es_frac": 2.3, "confidence": 0.8})


def read_made(label, item):
    """A reader for build_cohort: pixels from the label, `broken` raises."""
    if item == "broken":
        raise KeyError("a foreign error that quotes Jane Doe")
    if item == "refused":
        raise ValueError(f"sub-{label}: refused for a reason")
    cine = make_cine(label)
    return Study(
        {"participant_id": label, "group": "x"},
        [cine],
        {"manual": {cine.name: make_annotation(cine)}},
        {"manual": {"lvef_pct": 50.0}},
        sources={label * 4: f"/private/{label}"},
    )


def tree(folder):
    """Relative path → (bytes, modification time) of everything below a folder."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in paths}


def contents(folder):
    return {name: data for name, (data, _) in tree(folder).items()}


@pytest.fixture
def cohort(tmp_path):
    return build_cohort({"a1": "", "b2": ""}, read_made, tmp_path / "cohort", DESCRIPTION, workers=1, progress=False)


# --- round trips -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"frame_times_ms": None, "rr_ms": None, "ed": None, "es": None, "flags": (), "meta": {}},
        {"frames_of": ((3, 9, 11, 14), 20), "session": "2", "run": 3, "spacing_known": False},
    ],
)
def test_a_cine_comes_back_as_it_was(tmp_path, changes):
    cine = make_cine(**changes)
    rows = write_study(tmp_path, Study({"participant_id": "a1"}, [cine]))
    back = finish_cohort(tmp_path, DESCRIPTION, [rows]).cine(cine.name)
    assert isinstance(back.pixels.base, np.memmap) or isinstance(back.pixels, np.memmap)
    assert back.pixels.flags.c_contiguous and back.pixels.dtype == cine.pixels.dtype
    for name in ("pixels", "affine", "frame_times_ms", "rr_ms", "slice_position_mm"):
        mine, yours = getattr(cine, name), getattr(back, name)
        assert (mine is None and yours is None) or np.array_equal(mine, yours, equal_nan=True), name
    for name in ("view", "subject", "session", "run", "spacing_known", "ed", "es", "frames_of", "meta"):
        assert getattr(back, name) == getattr(cine, name), name
    assert back.flags == (*cine.flags, "orientation_unknown")  # its affine is nominal


def test_an_annotation_comes_back_as_it_was(cohort):
    name = "sub-a1_view-sax"
    annotation, manual = make_annotation(cohort.cine(name)), cohort.observer("manual")
    back = manual.mask(name)
    np.testing.assert_array_equal(back.mask, annotation.mask)
    assert back.annotated == annotation.annotated and manual.has(name)
    pd.testing.assert_frame_equal(manual.points(name), annotation.points, check_dtype=False)
    assert manual.frames(name) == annotation.frames
    assert manual.measures()["lvef_pct"].tolist() == [50, 50]


def test_masks_corrected_by_hand_are_read(cohort, tmp_path):
    name, observer = "sub-a1_view-sax", Observer(tmp_path / "corrected")
    cine = cohort.cine(name)
    observer.write(cine, make_annotation(cine))
    plain = next(observer.path.rglob("*_dseg.nii"))
    corrected = np.array(observer.mask(name).mask)
    corrected[0, 0] = 0
    files.write_nifti(plain.with_name("by-hand.nii"), corrected.astype(np.int16), cine.affine)
    trees.gzip_file(plain.with_name("by-hand.nii")).rename(plain.with_name(plain.name + ".gz"))
    np.testing.assert_array_equal(observer.mask(name).mask, corrected)  # also while the first .nii is still there
    plain.unlink()
    again = Cohort.open(cohort.path, [observer.path]).observer("corrected")
    np.testing.assert_array_equal(again.mask(name).mask, corrected)


@pytest.mark.parametrize("first_compressed", [True, False])
def test_a_new_mask_replaces_the_older_one_of_either_suffix(cohort, tmp_path, first_compressed):
    """Few frames are written compressed, all frames plain; the compressed one is read where both are there."""
    cine, observer = cohort.cine("sub-a1_view-sax"), Observer(tmp_path / "o")
    few = make_annotation(cine)
    every = Annotation(np.ones(cine.pixels.shape, np.uint8), dict.fromkeys(range(cine.frames), ("lv",)))
    long = replace(cine, pixels=np.tile(cine.pixels, (2, 1, 1, 1)), frame_times_ms=None)
    few.mask, every.mask = np.tile(few.mask, (2, 1, 1, 1)), np.tile(every.mask, (2, 1, 1, 1))
    every.annotated = dict.fromkeys(range(8), ("lv",))
    for annotation in (few, every) if first_compressed else (every, few):
        observer.write(long, annotation)
    np.testing.assert_array_equal(observer.mask(cine.name).mask, annotation.mask)
    assert len(list(observer.path.rglob("*_dseg.nii*"))) == 1


def test_examinations_hold_what_one_observer_annotated(cohort):
    (first, second) = cohort.examinations("manual")
    assert (first.participant_id, first.session, list(first.views)) == ("a1", "", ["sax"])
    cine, annotation = second.views["sax"]
    assert cine.name == "sub-b2_view-sax" and annotation.annotated == {0: ("lv",)}
    assert annotation.frames["es"] == 2 and len(annotation.points) == 1
    assert [one.participant_id for one in cohort.examinations("manual", ["b2"])] == ["b2"]
    assert [one.participant_id for one in cohort.examinations("manual", of="points")] == ["a1", "b2"]
    with pytest.raises(ValueError, match=r"subjects \['nobody'\] are not in"):
        next(cohort.examinations("manual", ["nobody"]))
    with pytest.raises(KeyError, match="no observer 'net'"):
        next(cohort.examinations("net"))


def test_examinations_take_the_first_run_annotated_and_frames_of_another_observer(tmp_path):
    cines = [make_cine(run=run) for run in (1, 2, 3)]
    drawn = {cine.name: make_annotation(cine) for cine in cines[1:]}
    study = Study(
        {"participant_id": "a1"},
        cines,
        {"manual": drawn, "net": {cines[1].name: Annotation(frames={"ed": 3, "es": 1})}},
    )
    cohort = finish_cohort(tmp_path, DESCRIPTION, [write_study(tmp_path, study)])
    ((_, _, views),) = cohort.examinations("manual", frames_from="net")
    cine, annotation = views["sax"]
    assert cine.run == 2 and (annotation.frames["ed"], annotation.frames["es"]) == (3, 1)
    assert not list(cohort.examinations("net"))  # it has no masks


def test_few_cines_stay_open_and_their_values_are_kept(cohort, tmp_path, monkeypatch):
    """Each open cine holds a file descriptor, of which a process has 1,024: a training reads more cines than that."""
    from cmrlib.cohort import _open_cine

    assert _open_cine.cache_info().maxsize <= 256
    cines = [make_cine(run=run) for run in range(1, 301)]
    many = finish_cohort(tmp_path, DESCRIPTION, [write_study(tmp_path, Study({"participant_id": "a1"}, cines))])
    before, first = len(list(Path("/proc/self/fd").iterdir())), many.cines["cine"][0]
    window = many.cine(first).intensity_window()
    for name in many.cines["cine"]:
        many.cine(name).intensity_window()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 256
    assert many.cine(first).memo["intensity_window", 1, 99] == window  # not read again
    assert many.cine(first) is many.cine(first)


def test_a_mask_that_does_not_fit_is_refused(cohort, tmp_path):
    cine, observer = cohort.cine("sub-a1_view-sax"), Observer(tmp_path / "o")
    with pytest.raises(ValueError, match="mask has shape"):
        observer.write(cine, Annotation(np.zeros((1, 1, 8, 6), np.uint8), {}))
    with pytest.raises(ValueError, match=r"mask values \[2\] belong to no annotated structure"):
        observer.write(cine, Annotation(np.full(cine.pixels.shape, 2, np.uint8), {0: ("lv",)}))
    assert not observer.path.exists()


def test_unknown_spacing_raises_where_millimetres_are_asked_for():
    cine = make_cine(spacing_known=False)
    for ask in (lambda: cine.spacing_mm, lambda: cine.voxel_ml):
        with pytest.raises(ValueError, match="spacing is unknown"):
            ask()


# --- nothing half written --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.float32, ">u2"])
def test_arrays_are_written_as_nibabel_writes_them(tmp_path, kind):
    pixels, affine = np.arange(4 * 3 * 6 * 5).reshape(4, 3, 6, 5).astype(kind), np.diag([-1.5, -1.2, 8, 1])
    for name in ("a.nii", "a.nii.gz"):
        assert files.write_nifti(tmp_path / name, pixels[:, ::-1], affine, 35.5) == files.digest(tmp_path / name)
        image = files.nib.load(tmp_path / name)
        np.testing.assert_array_equal(np.asanyarray(image.dataobj).T, pixels[:, ::-1])
    files.nib.save(files.nib.load(tmp_path / "a.nii"), tmp_path / "b.nii")
    assert (tmp_path / "a.nii").read_bytes() == (tmp_path / "b.nii").read_bytes()


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

    monkeypatch.setattr(files, "atomic", full_disk)
    with pytest.raises(OSError, match="No space left"):
        build_cohort(items, read_made, dest, DESCRIPTION, workers=1, progress=False)
    assert not list(dest.rglob(".part-*")) and not list(dest.rglob("sub-b2*.nii"))
    with pytest.raises(FileNotFoundError, match="interrupted"):
        Cohort.open(dest)
    monkeypatch.setattr(files, "atomic", atomic)
    build_cohort(items, read_made, dest, DESCRIPTION, workers=1, progress=False)
    build_cohort(items, read_made, tmp_path / "undisturbed", DESCRIPTION, workers=1, progress=False)
    assert contents(dest) == contents(tmp_path / "undisturbed")


def read_or_die(label, item):
    """The subject `item` names ends its process as a crashing decoder does."""
    if label == item:
        os.kill(os.getpid(), signal.SIGSEGV)
    return read_made(label, "")


def test_a_process_that_dies_costs_its_subject_only(tmp_path):
    items = dict.fromkeys(["a1", "b2", "c3", "d4"], "b2")
    cohort = build_cohort(items, read_or_die, tmp_path / "cohort", DESCRIPTION, workers=2, progress=False)
    assert list(cohort.cines["participant_id"]) == ["a1", "c3", "d4"]
    rejected = files.read_tsv(cohort.path / "rejected.tsv")
    assert list(rejected["participant_id"]) == ["b2"] and "ended the process" in rejected["reason"][0]
    assert not (cohort.path / ".ingest").exists()


SLOW = """
    import sys, time
    sys.path[:0] = [{root!r}, {tests!r}]
    from cmrlib.datasets.ingestion import build_cohort
    import test_cohort
    from functools import partial

    if __name__ == "__main__":
        items = {{f"s{{n}}": {pids!r} for n in range(12)}}
        build_cohort(items, test_cohort.read_slowly, {dest!r}, test_cohort.DESCRIPTION, {workers}, progress=False)
"""


def read_slowly(label, item):
    (Path(item) / str(os.getpid())).touch()
    time.sleep(0.15)
    return read_made(label, item)


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_started_again_gives_the_same_cohort(tmp_path, workers):
    dest, script, pids = tmp_path / "cohort", tmp_path / "slow.py", tmp_path / "pids"
    pids.mkdir()
    names = {"root": str(ROOT), "tests": str(ROOT / "tests"), "dest": str(dest), "pids": str(pids)}
    script.write_text(textwrap.dedent(SLOW).format(**names, workers=workers))
    process = subprocess.Popen([sys.executable, script], env=os.environ | {"PYTHONPATH": str(ROOT)})
    wait_for(lambda: len(list(dest.glob(".ingest/s*.json"))) >= 2 or process.poll() is not None)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(alive(int(path.name)) for path in pids.iterdir()), 10)
    assert not any(alive(int(path.name)) for path in pids.iterdir())  # no worker outlives its parent
    assert 2 <= len(list(dest.glob(".ingest/s*.json"))) < 12
    items = {f"s{n}": str(pids) for n in range(12)}
    (dest / "sub-s0").mkdir(exist_ok=True)
    (dest / "sub-s0" / ".part-x-sub-s0_view-sax_cine.nii").write_bytes(b"half")
    build_cohort(items, read_made, dest, DESCRIPTION, workers=1, progress=False)
    build_cohort(items, read_made, tmp_path / "undisturbed", DESCRIPTION, workers=1, progress=False)
    assert contents(dest) == contents(tmp_path / "undisturbed")


def wait_for(condition, seconds=60):
    end = time.time() + seconds
    while not condition() and time.time() < end:
        time.sleep(0.02)


def alive(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_a_rerun_changes_nothing(cohort, tmp_path):
    before = tree(cohort.path)
    again = build_cohort({"a1": "", "b2": ""}, read_made, cohort.path, DESCRIPTION, workers=1, progress=False)
    assert tree(cohort.path) == before and again.digest == cohort.digest
    with pytest.raises(FileExistsError, match="another cohort"):
        build_cohort({"a1": ""}, read_made, cohort.path, DESCRIPTION, workers=1, progress=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="not empty"):
        build_cohort({"a1": ""}, read_made, tmp_path / "mine", DESCRIPTION, workers=1, progress=False)
    assert list((tmp_path / "mine").iterdir()) == [tmp_path / "mine" / "thesis.txt"]


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
    path = next((tmp_path / "src").rglob("*_gt.nii.gz"))
    os.utime(path, (1, 1))
    with pytest.raises(FileExistsError, match="files of its source were added, removed or changed"):
        again()
    earlier = files.read_json(cohort.path / "dataset_description.json")  # made before sources were noted
    files.write_json({k: v for k, v in earlier.items() if k != "Source"}, cohort.path / "dataset_description.json")
    assert again().digest == cohort.digest


def test_one_and_two_workers_write_the_same(tmp_path):
    for name in ("patient001", "patient002", "patient003"):
        trees.write_acdc(tmp_path / "src", name)
    for workers in (1, 2):
        ingest("acdc", tmp_path / "src", tmp_path / f"c{workers}", workers=workers, progress=False)
    assert contents(tmp_path / "c1") == contents(tmp_path / "c2")


# --- a cohort that is not as it was ----------------------------------------------------------------------------------


def test_missing_and_changed_arrays_are_found(cohort):
    first, second = (next(cohort.path.rglob(f"sub-{label}_*_cine.nii")) for label in ("a1", "b2"))
    data = bytearray(first.read_bytes())
    data[-1] ^= 1
    first.write_bytes(data)
    os.utime(first, (time.time() + 10,) * 2)
    second.unlink()
    again = Cohort.open(cohort.path)
    assert again.check()["state"].tolist() == ["changed", "missing"]
    with pytest.raises(ValueError, match="changed after ingest"):
        again.cine("sub-a1_view-sax")
    with pytest.raises(FileNotFoundError, match="missing from the cohort"):
        again.cine("sub-b2_view-sax")
    trees.cut_short(first)
    with pytest.raises(ValueError, match="changed after ingest"):
        Cohort.open(cohort.path).cine("sub-a1_view-sax")


def test_a_copied_cohort_opens(cohort, tmp_path):
    subprocess.run(["cp", "-r", cohort.path, tmp_path / "copy"], check=True)
    copy = Cohort.open(tmp_path / "copy")
    np.testing.assert_array_equal(copy.cine("sub-a1_view-sax").pixels, cohort.cine("sub-a1_view-sax").pixels)
    assert copy.digest == cohort.digest


def test_asking_for_what_is_not_there_says_so(cohort, tmp_path):
    with pytest.raises(KeyError, match="no cine"):
        cohort.cine("sub-zz_view-sax")
    with pytest.raises(KeyError, match="no observer 'yale'"):
        cohort.observer("yale")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Cohort.open(cohort.path, [tmp_path / "nobody"])
    with pytest.raises(FileNotFoundError, match="no complete cohort"):
        Cohort.open(tmp_path)


# --- ingest ----------------------------------------------------------------------------------------------------------


def test_a_broken_subject_is_listed_and_the_others_are_read(tmp_path):
    items = {"a1": "", "b2": "broken", "c3": "refused"}
    cohort = build_cohort(items, read_made, tmp_path / "c", DESCRIPTION, workers=1, progress=False)
    assert cohort.cines["participant_id"].tolist() == ["a1"]
    rejected = files.read_tsv(cohort.path / "rejected.tsv")
    assert rejected["participant_id"].tolist() == ["b2", "c3"]
    assert rejected["reason"].tolist() == ["KeyError", "sub-c3: refused for a reason"]  # no foreign text
    private = tmp_path / ".c.sources.tsv"
    assert private.stat().st_mode & 0o777 == 0o600 and "/private/a1" in private.read_text()
    assert b"/private/" not in b"".join(contents(cohort.path).values())


def test_a_reader_that_contradicts_itself_is_listed(tmp_path):
    cohort = build_cohort({"a1": "", "b2": ""}, read_twins, tmp_path / "c", DESCRIPTION, workers=1, progress=False)
    assert cohort.cines["participant_id"].tolist() == ["b2"]
    assert "several cines of one name" in files.read_tsv(cohort.path / "rejected.tsv")["reason"].iloc[0]


def test_measures_of_several_sessions_are_refused(tmp_path):
    cines = [make_cine(session=session) for session in "12"]
    with pytest.raises(ValueError, match="measures of one of the sessions 1, 2"):
        check_study(Study({"participant_id": "a1"}, cines, measures={"manual": {"lvef_pct": 50.0}}))
    check_study(Study({"participant_id": "a1"}, cines))


def test_sessions_that_contradict_each_other_are_refused_others_complete_each_other(tmp_path):
    def rows(session, **known):
        person = {"participant_id": "a1", "sex": None, "age": None, **known}
        return write_study(tmp_path, Study(person, [make_cine(session=session)]))

    cohort = finish_cohort(tmp_path, DESCRIPTION, [rows("1", sex="F"), rows("2", sex="F", age=50)])
    assert cohort.subjects[["sex", "age"]].to_numpy().tolist() == [["F", 50]]
    with pytest.raises(ValueError, match=r"sub-a1: its sessions disagree on sex: \['F', 'M'\]"):
        finish_cohort(tmp_path, DESCRIPTION, [rows("1", sex="F"), rows("2", sex="M")])


def read_twins(label, item):
    study = read_made(label, item)
    if label == "a1":
        study.cines.append(study.cines[0])
    return study


def test_nothing_usable_is_an_error_that_says_why(tmp_path):
    with pytest.raises(ValueError, match="no cine could be read.*refused for a reason"):
        build_cohort({"a": "refused"}, read_made, tmp_path / "c", DESCRIPTION, workers=1, progress=False)
    with pytest.raises(ValueError, match="nothing to ingest"):
        build_cohort({}, read_made, tmp_path / "c", DESCRIPTION, workers=1, progress=False)
    assert not (tmp_path / "c").exists()


def test_unknown_kinds_and_sources_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown kind of data 'adcd'; known are acdc"):
        ingest("adcd", tmp_path, tmp_path / "c")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        ingest("acdc", tmp_path / "nowhere", tmp_path / "c")
    with pytest.raises(ValueError, match="no subject was found"):
        ingest("acdc", tmp_path, tmp_path / "c")


def test_a_destination_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write the cohort .*file/c"):
        build_cohort({"a1": ""}, read_made, tmp_path / "file" / "c", DESCRIPTION, workers=1, progress=False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_destination_is_named(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OSError, match="cannot write the cohort"):
        build_cohort({"a1": ""}, read_made, tmp_path / "locked" / "c", DESCRIPTION, workers=1, progress=False)


# --- names, tables, splits -------------------------------------------------------------------------------------------


def test_labels_are_legal_and_never_collide(tmp_path):
    assert subject_label("SC-HF-I-1") == "SCHFI1"
    with pytest.raises(ValueError, match="no letter or digit"):
        subject_label("---")
    with pytest.raises(ValueError, match="two folders"):
        label_folders([tmp_path / "a b", tmp_path / "ab"])
    hashed = label_folders([tmp_path / "1234567_20209_2_0"], salt=lambda folder: b"content")
    other = label_folders([tmp_path / "1234567_20209_2_0"], salt=lambda folder: b"other content")
    assert "1234567" not in str(list(hashed)) and list(hashed) != list(other)


def test_tables_keep_identifiers_as_text(tmp_path):
    table = pd.DataFrame({"participant_id": ["001", "1e5"], "digest": ["12345678", "123e4567"], "age": [None, 40.0]})
    files.write_tsv(table, tmp_path / "t.tsv")
    assert "n/a" in (tmp_path / "t.tsv").read_text()
    pd.testing.assert_frame_equal(files.read_tsv(tmp_path / "t.tsv"), table, check_dtype=False)


def test_a_part_holds_these_cines_and_their_subjects_and_leaves_the_whole_as_it_was(cohort):
    name, person = cohort.cines.iloc[-1][["cine", "participant_id"]]
    sizes = len(cohort.cines), len(cohort.subjects)
    part = cohort.part([name])
    assert part.cines["cine"].tolist() == [name] and part.subjects["participant_id"].tolist() == [person]
    assert (len(cohort.cines), len(cohort.subjects)) == sizes
    np.testing.assert_array_equal(part.cine(name).pixels, cohort.cine(name).pixels)
    before = list(cohort.observers)
    part.observers["another"] = None
    assert list(cohort.observers) == before
    with pytest.raises(KeyError, match="no cine 'sub-nobody'"):
        part.cine("sub-nobody")
