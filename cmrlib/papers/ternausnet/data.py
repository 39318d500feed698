"""Slices with masks: which of them a network learns from, and how pixels and labels reach it."""

from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from fastai.torch_core import TensorImage, TensorMask
from fasttransform import ItemTransform
from matplotlib.colors import ListedColormap

from cmrlib.cine import Cine, Plane
from cmrlib.cine.anatomy import COLOURS, NOT_ANNOTATED, STRUCTURES, codes
from cmrlib.learning.blocks import CentrePlane, RandomPlane, SliceRef

NOT_DRAWN = 254
"""In a slice where only some structures were drawn: "none of those", which is not the same as background."""

_PALETTE = ListedColormap(["#00000000"] + [COLOURS[name] for name in STRUCTURES])


class TensorSlice(TensorImage):
    """(3 or 4, rows, columns) float, about 0 to 1: a slice between its neighbours, and perhaps its antiphase; shows the
    slice itself."""

    def show(self, ctx=None, **kwargs):
        return TensorImage(self[1]).show(ctx=ctx, cmap="gray", vmin=0, vmax=1, **kwargs)


class TensorLabels(TensorMask):
    """(rows, columns) integer label codes; shows structures as a translucent overlay."""

    def show(self, ctx=None, **kwargs):
        shown = torch.where(self < NOT_DRAWN, self, torch.zeros_like(self))
        style = {"cmap": _PALETTE, "vmin": 0, "vmax": len(STRUCTURES), "alpha": 0.45, "interpolation": "nearest"}
        return TensorMask(shown).show(ctx=ctx, **(style | kwargs))


def slice_table(cohort, annotations: str, views, split: pd.Series, frames_per_cine: int = 0) -> pd.DataFrame:
    """One row per annotated slice of a training or validation subject: participant_id, cine, frame, k, split.

    frames_per_cine: at most so many of a cine's annotated frames, spread over the cycle (neighbours in time are nearly
    copies); 0 for all. Of `Pooled` cohorts, rows of a small one are repeated until they make about a fifth of the first
    one's, so that few real hearts are not lost among many.
    """
    annotator, rows = cohort.observer(annotations), []
    for row in cohort.cines[cohort.cines["view"].isin(list(views))].itertuples():
        side = split.get(row.participant_id)
        if side not in ("train", "validation") or not annotator.has(row.cine):
            continue
        annotation, source = annotator.mask(row.cine), getattr(row, "source", 0)
        frames = sorted(annotation.annotated)
        most = min(frames_per_cine or len(frames), len(frames))
        for frame in (frames[i * len(frames) // most] for i in range(most)):
            annotated = (annotation.mask[frame] != NOT_ANNOTATED).reshape(row.slices, -1).any(1)
            rows += [(row.participant_id, row.cine, frame, k, side, source) for k in np.flatnonzero(annotated)]
    table = pd.DataFrame(rows, columns=["participant_id", "cine", "frame", "k", "split", "source"])
    parts = [part for _, part in table.groupby("source")]
    repeats = [1, *(max(1, round(len(parts[0]) / (5 * len(part)))) for part in parts[1:])]
    return pd.concat([table[:0], *(part for part, n in zip(parts, repeats) for _ in range(n))], ignore_index=True)


class SliceReader:
    """Getters of a DataBlock: rows of `slice_table` → SliceRef and label slice; keeps masks open."""

    def __init__(self, cohort, annotations: str, structures):
        self.cohort, self.structures = cohort, tuple(structures)
        self.annotation = lru_cache(maxsize=128)(cohort.observer(annotations).mask)
        self.centre = lru_cache(maxsize=4096)(self._centre)

    def slice(self, row) -> SliceRef:
        return SliceRef(self.cohort.cine(row["cine"]), row["frame"], row["k"], self.centre(row["cine"], row["frame"]))

    def labels(self, row) -> np.ndarray:
        annotation, frame = self.annotation(row["cine"]), row["frame"]
        return partial_labels(annotation.mask[frame, row["k"]], annotation.annotated[frame], self.structures)

    def _centre(self, cine, frame):
        """Centre of all that was drawn in a frame, (column, row): only training crops use it."""
        mask = self.annotation(cine).mask[frame]
        _, rows, columns = np.nonzero((mask > 0) & (mask != NOT_ANNOTATED))
        return (float(columns.mean()), float(rows.mean())) if len(rows) else None


def partial_labels(mask, annotated, structures) -> np.ndarray:
    """Label slice for a network that learns `structures`: others become background, and where one of them was not
    annotated, what looks like background becomes NOT_DRAWN. Nothing un-annotated is background."""
    labels = np.where(np.isin(mask, [*codes(structures), NOT_ANNOTATED]), mask, 0).astype(np.uint8)
    if set(structures) - set(annotated):
        labels[labels == 0] = NOT_DRAWN
    return labels


def standard_slice(cine: Cine, frame: int, k: int, plane: Plane, antiphase: bool = False) -> np.ndarray:
    """(rows, columns, 3 or 4) float32 on the plane's grid: a slice between its neighbours, the cine's percentiles 1 to
    99 mapped to 0 to 1 and clipped. The one way pixels reach the network, in training and after.

    antiphase: the slice half a cycle later is a fourth channel; of a cine of ED and ES alone, the other of the two.
    """
    return standard_pixels(cine, seen_slice(cine, frame, k, antiphase), plane)


def seen_slice(cine: Cine, frame: int, k: int, antiphase: bool = False) -> np.ndarray:
    """(rows, columns, 3 or 4): the channels of `standard_slice` as the cine has them."""
    seen = cine.context(frame, k)
    if antiphase:
        later = cine.pixels[(frame + cine.frames // 2) % cine.frames, k]
        later = later if later.any() else cine.pixels[frame, k]  # a missing image
        seen = np.concatenate([seen, later[..., None]], axis=-1)
    return seen


def standard_pixels(cine: Cine, seen, plane: Plane) -> np.ndarray:
    """Channels of `seen_slice` on the plane's grid, in the intensities of `standard_slice`."""
    low, high = cine.intensity_window()
    return np.clip((plane.pixels(seen, outside=low) - low) / (high - low), 0, 1)


class StandardSlice(ItemTransform):
    """(SliceRef, labels) → (TensorSlice, TensorLabels) by one warp for both: random in training, central elsewhere."""

    def __init__(self, central: CentrePlane, random: RandomPlane, antiphase: bool = False):
        self.central, self.random, self.antiphase, self.training = central, random, antiphase, False

    def __call__(self, pair, split_idx=None, **kwargs):
        # fastai probes a pipeline without a split before the first epoch, so two transforms with a `split_idx` each
        # would both stand aside; one transform that looks at the split cannot
        self.training = split_idx == 0
        return super().__call__(pair, split_idx=split_idx, **kwargs)

    def encodes(self, pair):
        (reference, labels), warp = pair, self.random if self.training else self.central
        plane = warp.plane(reference)
        image = standard_slice(reference.cine, reference.frame, reference.k, plane, self.antiphase)
        image = warp.intensities(image).astype(np.float32).transpose(2, 0, 1)
        target = plane.mask(labels, outside=NOT_ANNOTATED)  # no annotation outside the image
        return TensorSlice(torch.from_numpy(np.ascontiguousarray(image))), TensorLabels(torch.from_numpy(target)).long()
