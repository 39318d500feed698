"""Studies to a cohort: parallel over subjects, resumable, and a broken subject never stops the others."""

import hashlib
import json
import os
import shutil
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

from tqdm import tqdm

from cmrlib.cohort import Cohort
from cmrlib.files import read_json, write_json
from cmrlib.study import Study, check_study, finish_cohort, write_sources, write_study


def build_cohort(items: dict, read, dest, description: dict, workers: int | None = None,
                 progress: bool = True) -> Cohort:
    """Read every item and write it below `dest` as one cohort.

    items: subject label → whatever `read(label, item)` needs (picklable); `read` returns a `Study`. A complete
    cohort of the same description and items is opened as it is; an interrupted one continues. Subjects that raise
    are listed in rejected.tsv with the reason.
    Raises FileExistsError where `dest` holds something else, ValueError where no subject could be read.
    """
    dest = Path(dest)
    if not items:
        raise ValueError(f"nothing to ingest for {description['Name']}: no subject was found; "
                         "check the folder and kind")
    description = description | {"Plan": _plan_digest(items, description)}
    if (dest / "dataset_description.json").exists():
        if read_json(dest / "dataset_description.json").get("Plan") == description["Plan"]:
            return Cohort.open(dest)
        raise FileExistsError(f"{dest} holds another cohort and a cohort never changes: "
                              "choose another folder or delete it")
    state = dest / ".ingest"
    _claim(dest, state, description)
    todo = [label for label in items if not (state / f"{label}.json").exists()]
    for label in tqdm(_run(todo, items, read, dest, workers), total=len(items), initial=len(items) - len(todo),
                      desc=f"ingest {description['Name']}", unit="subject", disable=not progress):
        del label  # the bar is all we want; rows wait on disk
    results = [read_json(state / f"{label}.json") for label in items]
    if not any(result["cines"] for result in results):
        reasons = sorted({rejected["reason"] for result in results for rejected in result["rejected"]})
        shutil.rmtree(dest)
        raise ValueError(f"no cine could be read for {description['Name']}; reasons: {'; '.join(reasons[:5])}")
    sources = {}
    for result in results:
        sources |= result.pop("sources")
    if sources:
        write_sources(dest.parent / f".{dest.name}.sources.tsv", sources)
    for part in dest.rglob(".part-*"):  # what a killed run was writing
        part.unlink()
    cohort = finish_cohort(dest, description, results)
    shutil.rmtree(state)
    return cohort


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
        raise FileExistsError(f"{dest} holds an interrupted ingest with other settings: "
                              "delete it or choose another folder")
    try:
        write_json(description, plan)
        state.chmod(0o700)  # until the end the source paths wait here
    except OSError as error:
        raise OSError(f"cannot write the cohort {dest}: {error}") from error


def _run(todo, items, read, dest, workers):
    """Yield labels as their rows reach the disk."""
    workers = min(workers or os.cpu_count() or 1, max(1, len(todo)))
    if workers == 1:
        for label in todo:
            _one(label, items[label], read, dest)
            yield label
        return
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, getattr(read, "func", read).__module__])  # imported once, not per worker
    with ProcessPoolExecutor(workers, context, _end_with_parent) as pool:
        futures = {pool.submit(_one, label, items[label], read, dest): label for label in todo}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BaseException:  # a full disk: the other subjects would only fail too
            pool.shutdown(cancel_futures=True)
            raise


def _end_with_parent():
    """End this worker when the ingest is killed: a survivor would wait for ever, and write into the next run."""
    def wait():
        parent_process().join()
        os._exit(1)
    Thread(target=wait, daemon=True).start()


def _one(label, item, read, dest):
    """Read and write one subject; what fails in reading becomes a rejected row, what fails in writing stops the run."""
    try:
        study = read(label, item)
        check_study(study)
    except Exception as error:
        study = Study({"participant_id": label}, [], rejected=[
            {"participant_id": label, "digest": "n/a", "reason": _reason(error)}])
    rows = write_study(dest, study) | {"sources": study.sources}
    write_json(rows, Path(dest) / ".ingest" / f"{label}.json")


def _reason(error: Exception) -> str:
    """Our own errors speak for themselves; a foreign error's text may hold paths or header text, so only its type."""
    return str(error) if isinstance(error, ValueError) and str(error).startswith("sub-") else type(error).__name__
