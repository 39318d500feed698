"""Cohort: a folder of cines and tables that never changes after ingest; observers are laid over it."""

import copy
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from cmrlib.cine import Cine
from cmrlib.cohort import digests
from cmrlib.cohort.files import digest, map_nifti, read_json, read_tsv
from cmrlib.cohort.observer import POINT_COLUMNS, Annotation, Observer, stem
from cmrlib.cohort.sidecar import check_tables, cine_from_sidecar

__all__ = ["FORMAT_VERSION", "POINT_COLUMNS", "Annotation", "Cohort", "Examination", "Observer"]

FORMAT_VERSION = "3"
TABLES = ("dataset_description.json", "participants.tsv", "cines.tsv", "rejected.tsv")
MOST_OPEN = 256
"""Cines that a process keeps open, over all cohorts: each holds a file descriptor, of which it usually has 1,024."""


class Examination(NamedTuple):
    """What one observer annotated of one subject in one session: view → (cine, annotation)."""

    participant_id: str
    session: str
    views: dict[str, tuple[Cine, Annotation]]


class Cohort:
    """Subjects, cines and observers of one folder. Opening reads tables only; pixels are mapped when asked for."""

    def __init__(self, path, description: dict, subjects: pd.DataFrame, cines: pd.DataFrame, observers: dict):
        self.path, self.description = Path(path), description
        self.subjects, self.cines, self.observers = subjects, cines, observers
        self._rows = cines.set_index("cine", drop=False)  # of all cines, also where this is a part
        self._memos = {}  # cine → its values computed so far, kept when the cine itself is closed

    def cine(self, name: str) -> Cine:
        """A cine by its name in `cines`, pixels as a memory map; the `MOST_OPEN` last used stay open."""
        return _open_cine(self, name)

    @classmethod
    def open(cls, path, observers=()) -> "Cohort":
        """Open a cohort, with further observers' folders (a run's `observers/NAME`) laid over it."""
        path = Path(path)
        missing = [name for name in TABLES if not (path / name).exists()]
        if missing:
            hint = "its ingest was interrupted: run it again" if (path / ".ingest").exists() else "make one: cmr ingest"
            raise FileNotFoundError(f"{path} is no complete cohort, it lacks {', '.join(missing)} ({hint})")
        description = read_json(path / "dataset_description.json")
        version = description.get("FormatVersion") if isinstance(description, dict) and "Name" in description else None
        if version != FORMAT_VERSION:
            raise ValueError(
                f"{path} has cohort format {version} in dataset_description.json, expected {FORMAT_VERSION}: "
                "ingest it again with this version"
            )
        tables = [read_tsv(path / f"{name}.tsv") for name in ("participants", "cines")]
        check_tables(path, *tables)
        for name in TABLES:
            digests.require_unchanged(path / name, own=False)
        cohort = cls(path, description, *tables, {})
        for folder in [*(p for p in sorted((path / "derivatives").glob("*")) if p.is_dir()), *observers]:
            cohort.lay_over(folder)
        return cohort

    def lay_over(self, folder) -> Observer:
        """Lay the observer of a folder over the cohort, by the folder's name. FileNotFoundError where there is none."""
        observer = Observer(folder, cines=self._rows["digest"].to_dict())
        if not observer.path.is_dir():
            raise FileNotFoundError(f"observer folder {folder} does not exist; run the notebook that writes it")
        self.observers[observer.name] = observer
        return observer

    def part(self, cines) -> "Cohort":
        """The same cohort, as if it held these cines (names) and their subjects only."""
        part = copy.copy(self)
        part.cines = self.cines[self.cines["cine"].isin(list(cines))]
        part.subjects = self.subjects[self.subjects["participant_id"].isin(part.cines["participant_id"])]
        part.observers = dict(self.observers)
        return part

    def __repr__(self):
        return (
            f"Cohort {self.description['Name']}: {len(self.subjects)} subjects, {len(self.cines)} cines, "
            f"observers {', '.join(self.observers) or 'none'}"
        )

    @property
    def synthetic(self) -> bool:
        return bool(self.description.get("Synthetic", False))

    @property
    def digest(self) -> str:
        """Digest of the tables; they hold a digest of every array."""
        parts = [digest(self.path / name) for name in ("participants.tsv", "cines.tsv")]
        return hashlib.blake2b("".join(parts).encode(), digest_size=16).hexdigest()

    def observer(self, name: str) -> Observer:
        if name not in self.observers:
            raise KeyError(f"no observer {name!r} looked at this cohort; there are {list(self.observers) or 'none'}")
        return self.observers[name]

    def examinations(self, observer: str, subjects=None, frames_from: str | None = None, of: str = "masks"):
        """Yield an `Examination` for each subject and session of which an observer annotated any cine.

        subjects: participant ids, all where None. frames_from: another observer whose ED and ES count. of: `masks`
        or `points`, what a cine must have to be included; of several runs of a view the first that has it.
        Raises ValueError for unknown subjects, KeyError for unknown observers.
        """
        annotated, timed = self.observer(observer), self.observer(frames_from or observer)
        unknown = sorted(set(() if subjects is None else subjects) - set(self.subjects["participant_id"]))
        if unknown:
            raise ValueError(f"subjects {unknown} are not in {self.path}")
        cines = self.cines if subjects is None else self.cines[self.cines["participant_id"].isin(set(subjects))]
        ordered = cines.sort_values(["participant_id", "session", "view", "run"])
        file = {"masks": "dseg.json", "points": "points.tsv"}[of]
        for keys, rows in ordered.groupby(["participant_id", "session"], sort=True):
            views = {}
            for name, view in zip(rows["cine"], rows["view"]):
                if view not in views and annotated.has(name, file):
                    annotation, shape = annotated.annotation(name), self.cine(name).pixels.shape
                    if annotation.mask is not None and annotation.mask.shape != shape:
                        raise ValueError(
                            f"{name}: the mask of {observer} has shape {annotation.mask.shape}; expected {shape}, its "
                            "cine's: restore it, or draw it again"
                        )
                    if timed.has(name, "frames.tsv"):
                        annotation.frames = timed.frames(name)
                    views[view] = self.cine(name), annotation
            if views:
                yield Examination(*keys, views)

    def _row(self, name: str) -> dict:
        if name not in self._rows.index:
            raise KeyError(f"no cine {name!r} in this cohort; Cohort.cines lists them")
        return self._rows.loc[name].to_dict()

    def check(self) -> pd.DataFrame:
        """Compare every file of the cohort and of the observers laid over it with its digest: file (an observer's
        outside the cohort with its folder), state (`digests.state`)."""
        cines = self._rows["digest"].to_dict()
        found = digests.compare(self.path, cines)
        for name in self._rows.index:  # a folder may be gone with its digests
            for path in (self._array(name), self._array(name).with_suffix(".json")):
                found.setdefault(str(path.relative_to(self.path)), "unknown" if path.exists() else "missing")
        for observer in self.observers.values():
            if not observer.path.is_relative_to(self.path):
                states = digests.compare(observer.path, cines)
                found |= {str(observer.path / name): state for name, state in states.items()}
        return pd.DataFrame(sorted(found.items()), columns=["file", "state"])

    def _array(self, name: str) -> Path:
        return self.path / stem(name).with_name(f"{name}_cine.nii")


@lru_cache(maxsize=MOST_OPEN)
def _open_cine(cohort: Cohort, name: str) -> Cine:
    path, mark = cohort._array(name), cohort._row(name)["digest"]
    for file in (path, path.with_suffix(".json")):
        digests.require_unchanged(file, own=False)
    if digests.noted(path.parent)[path.name]["digest"] != mark:
        raise ValueError(f"{name}: {path.name} has another digest in cines.tsv; restore it or ingest the cohort again")
    pixels, affine = map_nifti(path)
    cine = cine_from_sidecar(pixels, affine, read_json(path.with_suffix(".json")), name)
    object.__setattr__(cine, "memo", cohort._memos.setdefault(name, {"digest": mark}))
    return cine
