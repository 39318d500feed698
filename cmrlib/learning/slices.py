"""Which slices a segmentation learns from, and how they are read: tables of samples, their pixels and labels."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import NOT_ANNOTATED, codes, views_of

NOT_DRAWN = 254
"""In a slice where only some structures were drawn: "none of those", which is not the same as background."""


@dataclass(frozen=True)
class SliceRef:
    """One slice of one frame of a cine, before it becomes a tensor. centre_px: (column, row) or None."""

    cine: Cine
    frame: int
    k: int
    centre_px: tuple[float, float] | None = None


def sample_table(cohort, observer: str, view: str, split: pd.Series, frames: int = 0) -> pd.DataFrame:
    """One row a slice to learn from or to check: cine, frame, k, split.

    view: `lax` stands for all long-axis views. split: participant_id → train, validation or test; test subjects and
    subjects that it does not name are left out, and slices without annotation (all 255). frames: at most so many of a
    cine's annotated frames, spread over the cycle (neighbours in time are nearly copies); 0 for all.
    """
    looked, rows = cohort.observer(observer), []
    for row in cohort.cines[cohort.cines["view"].isin(views_of(view))].itertuples():
        side = split.get(row.participant_id)
        if side not in ("train", "validation") or not looked.has(row.cine):
            continue
        annotation = looked.mask(row.cine)
        for frame in _spread(sorted(annotation.annotated), frames):
            drawn = (annotation.mask[frame] != NOT_ANNOTATED).reshape(row.slices, -1).any(1)
            rows += [(row.cine, frame, k, side) for k in range(row.slices) if drawn[k]]
    table = pd.DataFrame(rows, columns=["cine", "frame", "k", "split"])
    absent = {"train", *split.unique()} - {"test", *table["split"]}  # a split may keep nobody for validation
    if absent:
        raise ValueError(
            f"observer {observer!r} drew no {view} slice of a {' or '.join(sorted(absent))} subject in "
            f"{cohort.path.name}; choose another observer, view or split"
        )
    return table


def pooled_samples(tables) -> pd.DataFrame:
    """Tables of several cohorts as one, with `source` 0, 1, …; a small one is repeated until it makes about a fifth of
    the first, so that few real hearts are not lost among many."""
    first = len(tables[0])
    repeats = [max(1, round(first / (5 * len(table)))) for table in tables]
    return pd.concat(
        [table.assign(source=n) for n, table in enumerate(tables) for _ in range(repeats[n])], ignore_index=True
    )


def _spread(frames, most):
    """At most `most` of a list, evenly spaced; all for 0."""
    if not most or len(frames) <= most:
        return frames
    return [frames[i * len(frames) // most] for i in range(most)]


class Reader:
    """Getters for a DataBlock: rows of `sample_table` → SliceRef and label slice; keeps masks open.

    sources: (cohort, observer) pairs; a row's `source` is its place among them, 0 where the table has no such column.
    """

    def __init__(self, sources, structures):
        self.cohorts, self.observers = zip(*[(cohort, cohort.observer(name)) for cohort, name in sources])
        self.codes = codes(structures)
        self.annotation = lru_cache(maxsize=128)(lambda source, cine: self.observers[source].mask(cine))
        self.centre = lru_cache(maxsize=4096)(self._centre)

    def x(self, row):
        source = row.get("source", 0)
        return SliceRef(
            self.cohorts[source].cine(row["cine"]),
            row["frame"],
            row["k"],
            self.centre(source, row["cine"], row["frame"]),
        )

    def y(self, row):
        annotation = self.annotation(row.get("source", 0), row["cine"])
        return partial_labels(annotation.mask[row["frame"], row["k"]], annotation.annotated[row["frame"]], self.codes)

    def _centre(self, source, cine, frame):
        """Centre of all that was drawn in a frame, (column, row): only training crops use it."""
        mask = self.annotation(source, cine).mask[frame]
        _, rows, columns = np.nonzero((mask > 0) & (mask != NOT_ANNOTATED))
        return (float(columns.mean()), float(rows.mean())) if len(rows) else None


def partial_labels(mask, drawn, wanted_codes) -> np.ndarray:
    """Label slice for a network that learns `wanted_codes`: other structures become background, and where a wanted
    structure was not drawn, what looks like background becomes NOT_DRAWN. Nothing un-annotated is background."""
    labels = np.where(np.isin(mask, [*wanted_codes, NOT_ANNOTATED]), mask, 0).astype(np.uint8)
    if set(wanted_codes) - set(codes(drawn)):
        labels[labels == 0] = NOT_DRAWN
    return labels
