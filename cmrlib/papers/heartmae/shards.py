"""Results of single sections kept in a few files, one a group of subjects: made in parallel, resumed, found again."""

import hashlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from cmrlib.cohort.files import atomic, write_json
from cmrlib.cohort.progress import with_progress


def subject_jobs(cohort, sections: pd.DataFrame) -> dict[str, list]:
    """participant_id → [(cohort, cine name, slices), …] of a section table."""
    jobs = {}
    for (subject, name), part in sections.groupby(["participant_id", "cine"], sort=True):
        jobs.setdefault(subject, []).append((cohort, name, sorted(part["k"].tolist())))
    return jobs


class Shards:
    """A folder NAME_DIGEST of .npz files, each with the arrays of a share of the subjects under `cine/slice`.

    settings: what the results depend on; other settings are another folder. A file is there whole or not at all; a
    killed run loses the shard at work. Several machines may share the work: `make(…, only=[k])`.
    """

    def __init__(self, folder, name: str, settings: dict, n_shards: int = 16):
        key = hashlib.blake2b(repr(sorted(settings.items())).encode(), digest_size=6).hexdigest()
        self.folder, self.n_shards = Path(folder) / f"{name}_{key}_{n_shards}", n_shards
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(settings, self.folder / "settings.json")
        self._open = {}

    def shard_of(self, subject: str) -> int:
        """A subject's shard, by a hash of the id: the same whoever else is in the cohort."""
        return int(hashlib.blake2b(subject.encode(), digest_size=4).hexdigest(), 16) % self.n_shards

    def _file(self, shard):
        return self.folder / f"{shard:04d}.npz"

    def __getstate__(self):
        return self.__dict__ | {"_open": {}}  # loader processes open the files themselves

    def __getitem__(self, key) -> np.ndarray:
        """The array of (cine name, slice). Raises KeyError where it was never made."""
        name, k = key
        shard = self.shard_of(name.split("_")[0].removeprefix("sub-"))
        if shard not in self._open:
            if not self._file(shard).exists():
                raise KeyError(f"{name}, slice {k}: shard {shard} of {self.folder.name} was not made yet")
            self._open[shard] = np.load(self._file(shard))
        try:
            return self._open[shard][f"{name}/{k}"]
        except KeyError:
            raise KeyError(f"{name}, slice {k} is not in shard {shard} of {self.folder.name}") from None

    def missing(self, jobs: dict) -> dict[int, list]:
        """Shard → jobs of its subjects, for shards that lack any of them."""
        wanted = {}
        for subject, parts in sorted(jobs.items()):
            wanted.setdefault(self.shard_of(subject), []).extend(parts)
        return {shard: parts for shard, parts in sorted(wanted.items()) if not self._complete(shard, parts)}

    def _complete(self, shard, parts):
        if not self._file(shard).exists():
            return False
        with np.load(self._file(shard)) as found:
            there = set(found.files)
        return all(f"{name}/{k}" in there for _, name, slices in parts for k in slices)

    def make(self, jobs: dict, work, workers: int = 1, only=None) -> int:
        """Make what is missing: `work(cine, slices)` → {"cine/slice": array}. Returns the number of shards made now.

        workers: processes. only: numbers of shards, default all.
        """
        todo = {shard: parts for shard, parts in self.missing(jobs).items() if only is None or shard in only}
        tasks = [(self._file(shard), parts, work) for shard, parts in todo.items()]
        said = self.folder.name.split("_")[0], "shard", len(tasks)
        if workers > 1 and len(tasks) > 1:
            with ProcessPoolExecutor(min(workers, len(tasks)), get_context("spawn")) as pool:
                list(with_progress(pool.map(_fill, tasks), *said))
        else:
            for task in with_progress(tasks, *said):
                _fill(task)
        for shard in todo:
            self._open.pop(shard, None)
        return len(todo)


def _fill(task):
    """One shard: what is there already stays."""
    path, parts, work = task
    arrays = {}
    if path.exists():
        with np.load(path) as found:
            arrays = {name: found[name] for name in found.files}
    for cohort, name, slices in parts:
        lacking = [k for k in slices if f"{name}/{k}" not in arrays]
        if lacking:
            arrays |= work(cohort.cine(name), lacking)
    with atomic(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)
