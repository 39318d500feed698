"""Studies to a cohort: parallel over subjects, resumable, and a broken subject never stops the others."""

import hashlib
import json
import os
import shutil
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

from cmrlib.cohort import Cohort
from cmrlib.cohort.files import digest, read_json, short_digest, write_json
from cmrlib.cohort.progress import with_progress
from cmrlib.cohort.study import Study, check_study, finish_cohort, rejected_rows, write_sources, write_study

STRAY = "belongs to no subject: a table, or not of this kind of data"
LARGEST_STRAY_BYTES = 2**26


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
    or whose process dies, are listed in rejected.tsv with the reason, and so is `left`: files that belong to nobody.
    shard: only the labels in it are read and nothing is returned; a call without it, after all of them, writes the
    cohort's tables.
    Raises FileExistsError where `dest` holds something else, ValueError where no subject could be read.
    """
    dest = Path(dest)
    if not items:
        raise ValueError(
            f"nothing to ingest for {description['Name']}: no subject was found; check the folder and kind"
        )
    description = description | {"Plan": _plan_digest(items, description)}
    if (dest / "dataset_description.json").exists():
        if read_json(dest / "dataset_description.json").get("Plan") == description["Plan"]:
            return Cohort.open(dest)
        raise FileExistsError(
            f"{dest} holds another cohort and a cohort never changes: choose another folder or delete it"
        )
    state = dest / ".ingest"
    _claim(dest, state, description)
    own = [label for label in items if shard is None or label in shard]
    todo = [label for label in own if not _rows(dest, label).exists()]
    done = _run(todo, items, read, dest, workers)
    if progress:
        done = with_progress(done, f"ingest {description['Name']}", "subject", len(own), len(own) - len(todo))
    for label in done:
        del label  # rows wait on disk
    return None if shard is not None else _finish(dest, items, description, left)


def _finish(dest, items, description, left) -> Cohort:
    """The cohort's tables, from the rows of all its subjects."""
    results = [read_json(_rows(dest, label)) for label in items]
    if not any(result["cines"] for result in results):
        reasons = sorted({rejected["reason"] for result in results for rejected in result["rejected"]})
        shutil.rmtree(dest)
        raise ValueError(f"no cine could be read for {description['Name']}; reasons: {'; '.join(reasons[:5])}")
    strays = [(_short(path), str(path)) for path in left]
    sources = dict(strays)
    for result in results:
        sources |= result.pop("sources")
    if sources:
        write_sources(dest.parent / f".{dest.name}.sources.tsv", sources)
    for part in dest.rglob(".part-*"):  # what a killed run was writing
        part.unlink()
    cohort = finish_cohort(dest, description, results, rejected_rows("n/a", [(mark, STRAY) for mark, _ in strays]))
    shutil.rmtree(dest / ".ingest")
    return cohort


def _short(path) -> str:
    """A file's short digest; of one that is too large to be read for that, of its name."""
    try:
        return digest(path)[:16] if path.stat().st_size <= LARGEST_STRAY_BYTES else short_digest(path.name.encode())
    except OSError:
        return short_digest(path.name.encode())


def _plan_digest(items, description):
    """Same sources and settings, same digest: what a rerun compares."""
    text = json.dumps([description, {label: repr(item) for label, item in items.items()}], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _claim(dest, state, description):
    """Make the state folder, or accept one that an interrupted run with the same plan left behind."""
    if dest.exists() and any(dest.iterdir()) and not state.exists():
        raise FileExistsError(f"{dest} is not empty and holds no cohort: choose an empty folder")
    plan = state / "plan.json"
    if plan.exists() and read_json(plan).get("Plan") != description["Plan"]:
        raise FileExistsError(
            f"{dest} holds an interrupted ingest with other settings: delete it or choose another folder"
        )
    try:
        write_json(description, plan)
        state.chmod(0o700)  # until the end the source paths wait here
    except OSError as error:
        raise OSError(f"cannot write the cohort {dest}: {error}") from error


def _run(todo, items, read, dest, workers):
    """Yield labels as their rows reach the disk. Whom an earlier run was reading when it ended has a process alone."""
    waiting = [label for label in todo if not _started(dest, label).exists()]
    for label in (label for label in todo if label not in set(waiting)):
        yield _alone(label, items[label], read, dest)
    workers = min(workers or os.cpu_count() or 1, max(1, len(waiting)))
    if workers == 1:
        for label in waiting:
            _one(label, items[label], read, dest)
            yield label
        return
    while waiting:
        done = set()
        for label in _pool(waiting, items, read, dest, workers):
            done.add(label)
            yield label
        waiting = [label for label in waiting if label not in done]  # where a process died and took the pool with it
        suspects = [label for label in waiting if _started(dest, label).exists()] or waiting[:1]
        for label in waiting:
            if label in suspects and not _rows(dest, label).exists():
                _alone(label, items[label], read, dest)
            if _rows(dest, label).exists():
                yield label
        waiting = [label for label in waiting if not _rows(dest, label).exists()]


def _pool(waiting, items, read, dest, workers):
    """Yield labels as their rows reach the disk; ends early where a process dies."""
    with _executor(workers, read) as pool:
        futures = {pool.submit(_one, label, items[label], read, dest): label for label in waiting}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool:
            return
        except BaseException:  # a full disk: the other subjects would only fail too
            pool.shutdown(cancel_futures=True)
            raise


def _executor(workers, read):
    context = get_context("forkserver")
    callables = [getattr(read, "func", read), *filter(callable, getattr(read, "keywords", {}).values())]
    context.set_forkserver_preload([__name__, *(one.__module__ for one in callables)])  # imported once, not per worker
    return ProcessPoolExecutor(workers, context, end_with_parent)


def _alone(label, item, read, dest) -> str:
    """Read one subject in a process of its own; where that dies (a decoder's crash, no memory left), refuse it."""
    with _executor(1, read) as pool:
        try:
            pool.submit(_one, label, item, read, dest).result()
        except BrokenProcessPool:
            for folder in (dest, *(dest / "derivatives").glob("*")):
                shutil.rmtree(folder / f"sub-{label}", ignore_errors=True)  # what it wrote before
            why = "reading it ended the process, alone too: too little memory, or a file that crashes its decoder"
            rows = {
                "participant": {"participant_id": label},
                "cines": [],
                "measures": {},
                "sources": {},
                "rejected": rejected_rows(label, [("n/a", f"sub-{label}: {why}")]),
            }
            write_json(rows, _rows(dest, label))
    return label


def _rows(dest, label) -> Path:
    """What is known of a finished subject until the tables are written."""
    return Path(dest) / ".ingest" / f"{label}.json"


def _started(dest, label) -> Path:
    """There while a subject is being read."""
    return Path(dest) / ".ingest" / f"{label}.started"


def end_with_parent():
    """Let this process end when the one that started it is killed: a survivor would wait for ever, or write into the
    next run."""

    def wait():
        parent_process().join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()


def _one(label, item, read, dest):
    """Read and write one subject; what fails in reading becomes a rejected row, what fails in writing stops the run."""
    _started(dest, label).touch()
    try:
        study = read(label, item)
        check_study(study)
    except Exception as error:
        study = Study({"participant_id": label}, [], rejected=rejected_rows(label, [("n/a", reason_of(error))]))
    rows = write_study(dest, study) | {"sources": study.sources}
    write_json(rows, _rows(dest, label))
    _started(dest, label).unlink()


def reason_of(error: Exception) -> str:
    """Our own errors speak for themselves; a foreign error's text may hold paths or header text, so only its type."""
    return str(error) if isinstance(error, ValueError) and str(error).startswith("sub-") else type(error).__name__
