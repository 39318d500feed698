"""Ingest: a source to a cohort, parallel over subjects, resumable; a broken subject never stops the others."""

import hashlib
import json
import os
import shutil
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from importlib import import_module
from inspect import signature
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

from cmrlib.cohort import Cohort
from cmrlib.cohort.files import alone, read_json, require_writable, short_digest, write_json
from cmrlib.cohort.progress import with_progress
from cmrlib.cohort.study import Study, check_study, finish_cohort, rejected_rows, write_sources, write_study
from cmrlib.datasets.bounds import with_possible_values
from cmrlib.datasets.finding import STRAY, files_of, fingerprint, mark_of, unassigned_files
from cmrlib.datasets.masks import with_mask_flags
from cmrlib.datasets.qc import with_qc_flags

KINDS = (
    *("acdc", "sunnybrook", "dsb2015", "dicom", "nifti", "ukbb", "mnms", "mnms2", "dsb2015_dicom"),
    "sunnybrook_endo",
)
"""Kinds of data that are read: modules with `DESCRIPTION`, `find(src) -> {label: item}` and `read(label, item, …)`."""

ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".iso")


def reader_of(kind: str):
    """The module that reads a kind of data. Raises ValueError for an unknown one."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind of data {kind!r}; known are {', '.join(KINDS)}, and `phantom` by `cmr phantom`")
    return import_module(f"cmrlib.datasets.{kind}")


def other_kinds(src, kind: str) -> str:
    """`; this looks like acdc: …` where readers of other kinds find subjects in a source, else which archives it holds,
    else empty."""
    src, found = Path(src).resolve(), []
    for name in (one for one in KINDS if one not in (kind, "dicom")):
        with suppress(Exception):  # of a reader that does not know this layout
            found += [name] * bool(reader_of(name).find(src))
    found = [name for name in found if name != "nifti"] or found  # any NIfTI file is that kind
    if found:
        return f"; this looks like {' or '.join(found)}: name that kind"
    files = [src] if src.is_file() else files_of(src)
    packed = sorted(path.relative_to(src.parent).as_posix() for path in files if path.name.lower().endswith(ARCHIVES))
    more = f" and {len(packed) - 3} more" if len(packed) > 3 else ""
    return f"; archives are not opened, unpack them first: {', '.join(packed[:3])}{more}" if packed else ""


def ingest(
    kind: str,
    src,
    dest,
    workers: int | None = None,
    progress: bool = True,
    limit: int | None = None,
    shard=None,
    keep_names: bool = False,
    **options,
) -> Cohort | None:
    """Turn the folder `src` into a cohort at `dest`; a finished one is opened, an interrupted one continued.

    kind: one of KINDS. limit: the first so many subjects only. shard: read these subjects only (`in` decides), return
    None, and leave the cohort's tables to a call without it. keep_names: dicom and nifti call subjects after their
    folders, also where a name looks like an identifier. options go to the reader (see its module). Cines get the flags
    of `cmrlib.datasets.qc` besides the reader's.
    Raises ValueError for an unknown kind or an empty source, FileNotFoundError where `src` does not exist,
    FileExistsError where `dest` holds something else, or where files of the source changed since.
    """
    reader = reader_of(kind)
    if not Path(src).exists():
        raise FileNotFoundError(f"the source {src} does not exist; name the folder that holds the {kind} data")
    src, dest = Path(src).resolve(), Path(dest)
    told = options | ({"keep_names": True} if keep_names else {})
    description = reader.DESCRIPTION | {"Options": told, "Source": fingerprint(src, limit, dest.resolve())}
    if _finished(dest, description):  # without looking into any file
        return Cohort.open(dest)
    require_writable((dest if dest.exists() else dest.parent) / "dataset_description.json")
    try:
        found = found_by(reader, src, keep_names)
    except NotADirectoryError:
        told = f"the source {src} is no folder; name the one that holds the {kind} data{other_kinds(src, kind)}"
        raise NotADirectoryError(told) from None
    left = [(path, why) for path, why in unassigned_files(src, found) if dest.resolve() not in path.parents]
    read = partial(read_with_qc, reader=reader.read, options=options)
    try:
        return build_cohort(dict(list(found.items())[:limit]), read, dest, description, workers, progress, left, shard)
    except ValueError as error:  # nothing was read
        raise ValueError(f"{error}{other_kinds(src, kind)}") from None


def found_by(reader, src, keep_names: bool = False) -> dict:
    """Subject label → what the reader's `read` needs. Raises ValueError for keep_names where it calls no subject after
    a folder."""
    if keep_names and "keep_names" not in signature(reader.find).parameters:
        raise ValueError(f"keep_names is not for {reader.DESCRIPTION['Name']}: its subjects are called by its own rule")
    return reader.find(src, **({"keep_names": True} if keep_names else {}))


def read_with_qc(label, item, reader, options) -> Study:
    """One subject by a module's `read`, impossible values removed, with the flags of `cmrlib.datasets.qc` besides."""
    study = with_mask_flags(with_possible_values(reader(label, item, **options)))
    study.cines = with_qc_flags(study.cines)
    return study


def build_cohort(
    items: dict,
    read,
    dest,
    description: dict,
    workers: int | None = None,
    progress: bool = True,
    left=(),
    shard=None,
) -> Cohort | None:
    """Read every item and write it below `dest` as one cohort.

    items: subject label → whatever `read(label, item)` needs (picklable); `read` returns a `Study`. A complete
    cohort of the same description and items is opened as it is; an interrupted one continues. Subjects that raise,
    or whose process dies, are listed in rejected.tsv with the reason, and so is `left`: (path, reason) of no subject.
    shard: only the labels in it are read and nothing is returned; a call without it, after all of them, writes the
    cohort's tables.
    Raises FileExistsError where `dest` holds something else, ValueError where no subject could be read.
    """
    dest = Path(dest)
    if not items:
        raise ValueError(
            f"nothing to ingest for {description['Name']}: no subject was found; check the folder and kind"
        )
    settings = {name: value for name, value in description.items() if name != "Source"}  # that tells of changed files
    plan = json.dumps([settings, {label: repr(item) for label, item in items.items()}], sort_keys=True)
    description = description | {"Plan": hashlib.blake2b(plan.encode(), digest_size=16).hexdigest()}
    if _complete(dest):
        made = read_json(dest / "dataset_description.json")
        _require_same(description, made, f"{dest} holds another cohort, and a cohort never changes")
        return Cohort.open(dest)
    _claim(dest, dest / ".ingest", description)
    own = [label for label in items if shard is None or label in shard]
    with alone(dest / ".ingest" / f"lock-{str(shard or 'all').replace('/', '-')}", f"another ingest is writing {dest}"):
        todo = [label for label in own if not _state(dest, label).exists()]
        done = _run(todo, items, read, dest, workers)
        if progress:
            done = with_progress(done, f"ingest {description['Name']}", "subject", len(own), len(own) - len(todo))
        for _ in done:  # rows wait on disk
            pass
        return None if shard is not None else _tabulate(dest, items, description, left)


def _tabulate(dest, items, description, left) -> Cohort:
    """The cohort's tables, from the rows of all its subjects."""
    results = [read_json(_state(dest, label)) for label in items]
    if not any(result["cines"] for result in results):
        reasons = sorted({rejected["reason"] for result in results for rejected in result["rejected"]})
        shutil.rmtree(dest)
        raise ValueError(f"no cine could be read for {description['Name']}; reasons: {'; '.join(reasons[:5])}")
    strays = [(mark_of(path) if why == STRAY else short_digest(os.fsencode(path.name)), why) for path, why in left]
    sources = {mark: str(path) for (mark, _), (path, _) in zip(strays, left)}
    for result in results:
        sources |= result.pop("sources")
    if sources:
        write_sources(dest.parent / f".{dest.name}.sources.tsv", sources)
    for part in dest.rglob(".part-*"):  # what a killed run was writing
        part.unlink()
    cohort = finish_cohort(dest, description, results, rejected_rows("n/a", strays))
    shutil.rmtree(dest / ".ingest")
    return cohort


# --- what was made of what -------------------------------------------------------------------------------------------


def _finished(dest, description) -> bool:
    """Whether `dest` holds the finished cohort of this description, made of these very files."""
    made = read_json(dest / "dataset_description.json") if _complete(dest) else {}
    return all(made.get(name) == value for name, value in json.loads(json.dumps(description)).items())


def _complete(dest) -> bool:
    return (dest / "dataset_description.json").exists() and not (dest / ".ingest").exists()


def _require_same(description, made, what):
    """Raise FileExistsError where a cohort was made of other items, settings or files."""
    if made.get("Plan") != description["Plan"]:
        raise FileExistsError(f"{what}: choose another folder or delete it")
    if "Source" in description and made.get("Source", description["Source"]) != description["Source"]:
        raise FileExistsError(f"{what}: files of its source were added, removed or changed; delete it to read them")


def _claim(dest, state, description):
    """Make the state folder, or accept one that an interrupted run with the same plan left behind."""
    if dest.exists() and any(dest.iterdir()) and not state.exists():
        raise FileExistsError(f"{dest} is not empty and holds no cohort: choose an empty folder")
    plan = state / "plan.json"
    if plan.exists():
        _require_same(description, read_json(plan), f"{dest} holds an interrupted ingest of other settings")
    try:
        write_json(description, plan)
        state.chmod(0o700)  # until the end the source paths wait here
    except OSError as error:
        raise OSError(f"cannot write the cohort {dest}: {error}") from error


# --- subjects --------------------------------------------------------------------------------------------------------


def _run(todo, items, read, dest, workers):
    """Yield labels as their rows reach the disk. Subjects in flight at a crash are rerun one by one."""
    workers, suspects = min(workers or os.cpu_count() or 1, max(1, len(todo))), []
    while todo:
        suspects += [label for label in todo if _state(dest, label, "started").exists()]
        for label in dict.fromkeys(suspects):
            if not list(_pool([label], items, read, dest, 1)):
                _refuse(label, dest)
            yield label
        todo = [label for label in todo if not _state(dest, label).exists()]
        if workers == 1:
            for label in todo:
                _one(label, items[label], read, dest)
                yield label
            return
        yield from _pool(todo, items, read, dest, workers)
        before, todo = todo, [label for label in todo if not _state(dest, label).exists()]
        suspects = todo[:1] if todo == before else []  # a crash before any subject began: go on without the pool


def _pool(labels, items, read, dest, workers):
    """Yield labels as their rows reach the disk; ends early where a process dies."""
    context = get_context("forkserver")
    callables = [getattr(read, "func", read), *filter(callable, getattr(read, "keywords", {}).values())]
    context.set_forkserver_preload([__name__, *(one.__module__ for one in callables)])  # imported once, not per worker
    with ProcessPoolExecutor(workers, context, end_with_parent) as pool:
        futures = {pool.submit(_one, label, items[label], read, dest): label for label in labels}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool:
            return
        except BaseException:  # a full disk: the other subjects would only fail too
            pool.shutdown(cancel_futures=True)
            raise


def end_with_parent():
    """Let this process end when the one that started it is killed: a survivor would wait for ever, or write into the
    next run."""
    Thread(target=lambda: parent_process().join() or os._exit(1), daemon=True).start()


def _state(dest, label, end="json") -> Path:
    """What is known of a finished subject until the tables are written; `started`: there while it is being read."""
    return Path(dest) / ".ingest" / f"{label}.{end}"


def _one(label, item, read, dest):
    """Read and write one subject; what fails in reading becomes a rejected row, what fails in writing stops the run."""
    _state(dest, label, "started").touch()
    try:
        study = read(label, item)
        check_study(study)
    except Exception as error:
        study = Study({"participant_id": label}, [], rejected=rejected_rows(label, [("n/a", reason_of(error))]))
    _finish(label, study, dest)


def _finish(label, study, dest):
    write_json(write_study(dest, study) | {"sources": study.sources}, _state(dest, label))
    _state(dest, label, "started").unlink(missing_ok=True)


def _refuse(label, dest):
    """A subject whose process died (a decoder's crash, no memory left): what it wrote goes, a rejected row stays."""
    for folder in (dest, *(dest / "derivatives").glob("*")):
        shutil.rmtree(folder / f"sub-{label}", ignore_errors=True)
    why = "reading it ended the process, alone too: too little memory, or a file that crashes its decoder"
    rejected = rejected_rows(label, [("n/a", f"sub-{label}: {why}")])
    _finish(label, Study({"participant_id": label}, [], rejected=rejected), dest)


def reason_of(error: Exception) -> str:
    """Our own errors speak for themselves; a foreign error's text may hold paths or header text, so only its type."""
    return str(error) if isinstance(error, ValueError) and str(error).startswith("sub-") else type(error).__name__
