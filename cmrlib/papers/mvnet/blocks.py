"""Frames and points for fastai: one joint plane for picture and points, and blocks that show themselves."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import fastai.vision.learner  # noqa: F401  registers grids of images for show_batch
import numpy as np
import pandas as pd
import torch
from fastai.data.block import DataBlock, TransformBlock
from fastai.data.transforms import IndexSplitter
from fastai.torch_core import TensorBase, TensorImage
from fasttransform import ItemTransform

from cmrlib.cine import Cine, Plane
from cmrlib.measures.valve import point_array
from cmrlib.papers.mvnet.geometry import (
    STAGE1_SHAPE,
    STAGE2_MM,
    STAGE2_SHAPE,
    flipped,
    is_mirrored,
    jittered,
    knows_orientation,
    spacing_or_one,
    stage1_plane,
    stage2_plane,
    upright_way,
)


class TensorFrame(TensorImage):
    """(1, rows, columns) float: one standardised grey frame."""

    def show(self, ctx=None, **kwargs):
        return TensorImage(self[0]).show(ctx=ctx, cmap="gray", **kwargs)


class TensorPoints(TensorBase):
    """(2, 2) float: two points as (column, row) of the frame; the first is drawn as a circle, the second as a star."""

    def show(self, ctx=None, **kwargs):
        for point, marker, colour in zip(self.cpu().numpy(), "o*", ("#E69F00", "#56B4E9")):
            ctx.scatter(*point, s=30, marker=marker, color=colour, edgecolors="black", linewidths=0.5)
        return ctx


@dataclass(frozen=True)
class Look:
    """How a network of one view and stage sees: stored beside its weights, the same in training and prediction.

    stage: 1 the whole image, 2 the upright valve. shape: (rows, columns). spacing_mm: of stage 2; where a cohort lost
    its spacing, a 40th of the annulus per .75 mm takes its place (`relative`).
    """

    view: str
    stage: int = 1
    shape: tuple[int, int] = STAGE1_SHAPE
    spacing_mm: float = STAGE2_MM

    def plane(self, cine: Cine, points_px=None, mirrored: bool | None = None) -> Plane:
        """points_px: (2, 2) of the frame that gives orientation and centre, for stage 2; for stage 1 they lay an image
        upright that does not know how it lies."""
        if self.stage == 1:
            knows = points_px is None or knows_orientation(cine)
            return stage1_plane(cine, self.shape, None if knows else upright_way(points_px, self.view))
        mirrored = is_mirrored(cine) if mirrored is None else mirrored
        step = self.spacing_mm
        if not cine.spacing_known:
            step *= float(np.hypot(*(points_px[1] - points_px[0]))) / ANNULUS_MM
        return stage2_plane(points_px, spacing_or_one(cine), cine.pixels.shape[2:], mirrored, self.shape, step)


ANNULUS_MM = 32.0
"""Where pixel size was lost, an annulus counts as so long (Ricci 2020: 24 to 41 mm): it only sets the enlargement."""


def standard_look(view: str, stage: int, scale: float = 1.0) -> Look:
    """The paper's pictures (scale 1), or the same field of view with fewer pixels."""
    shape = STAGE1_SHAPE if stage == 1 else STAGE2_SHAPE
    return Look(view, stage, tuple(round(n * scale) for n in shape), STAGE2_MM / scale)


def picture(image, plane: Plane) -> np.ndarray:
    """(rows, columns) float32 on the plane's grid, cubic, then (value − median) / interquartile range of the picture.

    Where half a picture is one value the range would be next to nothing: at least a tenth of the 1–99 % range counts.
    """
    grey = plane.pixels(np.asarray(image), cv2.INTER_CUBIC)
    low, first, middle, third, high = np.percentile(grey, [1, 25, 50, 75, 99])
    return np.clip((grey - middle) / max(third - first, 0.1 * (high - low), 1e-6), -4, 8)


@dataclass(frozen=True)
class FrameRef:
    """One frame of a cine before it becomes a tensor; reference_px: (2, 2) points that set stage 2 upright."""

    cine: Cine
    frame: int
    reference_px: np.ndarray


def frame_table(cohort, observers, view: str, split: pd.Series, frames: int = 0, copies: int = 1) -> pd.DataFrame:
    """One row a frame to learn from or to check: cine, frame, split, observer.

    Test subjects and subjects that `split` does not name are left out.

    observers: one name, or participant_id → name where several people annotated a cohort. frames: at most so many of a
    cine, spread over the cycle; 0 for all. copies: how often a training frame comes an epoch, each time otherwise
    scaled, turned and shifted.
    """
    rows = []
    for row in cohort.cines[cohort.cines["view"] == view].itertuples():
        name = observers if isinstance(observers, str) else observers.get(row.participant_id)
        side = split.get(row.participant_id)
        if side not in ("train", "validation") or name is None or not cohort.observer(name).has(row.cine, "points.tsv"):
            continue
        pointed = sorted(cohort.observer(name).points(row.cine)["frame"].unique())
        repeats = copies if side == "train" else 1
        rows += [(row.cine, int(frame), side, name) for frame in _spread(pointed, frames) for _ in range(repeats)]
    table = pd.DataFrame(rows, columns=["cine", "frame", "split", "observer"])
    if absent := {"train", "validation"} - set(table["split"]):
        raise ValueError(
            f"no {view} points of a {' or '.join(sorted(absent))} subject in {cohort.path.name}; choose "
            "another observer, view or split"
        )
    return table


def _spread(frames, most):
    """At most `most` of a list, evenly spaced; all for 0."""
    return frames if not 0 < most < len(frames) else [frames[i * len(frames) // most] for i in range(most)]


class _Reader:
    """Getters for a DataBlock: rows of `frame_table` → FrameRef and points; tables are read once."""

    def __init__(self, cohort, view):
        self.cohort, self.view = cohort, view
        self.points = lru_cache(maxsize=8192)(self._points)

    def x(self, row):
        cine, points = self.cohort.cine(row["cine"]), self.points(row["cine"], row["observer"])
        first = int(np.flatnonzero(np.isfinite(points).all((1, 2)))[0])
        # the paper's frame 0, which every frame of the cine shares; where a cohort keeps single frames, each its own
        reference = points[first] if cine.spacing_known else points[row["frame"]]
        return FrameRef(cine, row["frame"], reference)

    def y(self, row):
        return self.points(row["cine"], row["observer"])[row["frame"]]

    def _points(self, cine, observer):
        return point_array(self.cohort.observer(observer).points(cine), self.view, self.cohort.cine(cine).frames)


@dataclass(frozen=True)
class Augmentation:
    """Random scale ±, rotation ±°, shift ± pixels of the picture: the paper's by default. mirror: every second picture
    is turned over too, and its two points change names, so that the first still lies left when the apex is down: for
    images that lost their orientation."""

    scale: float = 0.1
    rotation_deg: float = 10.0
    shift_px: float = 3.0
    mirror: bool = False

    def __call__(self, plane: Plane, points) -> tuple[Plane, np.ndarray]:
        draw = np.random.uniform(-1, 1, 5)
        plane = jittered(plane, 1 + self.scale * draw[0], self.rotation_deg * draw[1], self.shift_px * draw[2:4])
        return (flipped(plane), points[::-1]) if self.mirror and draw[4] < 0 else (plane, points)


class StandardFrame(ItemTransform):
    """(FrameRef, points) → (TensorFrame, TensorPoints) by one plane for both, random in training only."""

    def __init__(self, look: Look, augmentation: "Augmentation"):
        self.look, self.augmentation, self.training = look, augmentation, False

    def __call__(self, pair, split_idx=None, **kwargs):
        self.training = split_idx == 0  # see blocks.StandardSlice
        return super().__call__(pair, split_idx=split_idx, **kwargs)

    def encodes(self, pair):
        reference, points = pair
        plane = self.look.plane(reference.cine, reference.reference_px)
        if self.training:
            plane, points = self.augmentation(plane, points)
        image = picture(reference.cine.pixels[reference.frame, 0], plane)
        if self.training:
            image = varied(image)
        return (
            TensorFrame(torch.from_numpy(image.astype(np.float32)[None])),
            TensorPoints(torch.from_numpy(plane.points(points).astype(np.float32))),
        )


def varied(image):
    """Grey values as other scanners might give them: contrast, brightness, coil shading, noise; each now and then."""
    chance = np.random.random(3)
    if chance[0] < 0.5:
        image = image * np.exp(np.random.normal(0, 0.2)) + np.random.normal(0, 0.2)
    if chance[1] < 0.3:
        field = np.random.normal(0, 0.25, (3, 3)).astype(np.float32)
        image = image * np.exp(cv2.resize(field, image.shape[::-1], interpolation=cv2.INTER_CUBIC))
    if chance[2] < 0.3:
        image = image + np.random.normal(0, np.random.uniform(0.02, 0.15), image.shape)
    return image


def points_block(cohort, look: Look, augmentation: Augmentation | None = None) -> DataBlock:
    """DataBlock from rows of `frame_table` to (TensorFrame, TensorPoints)."""
    reader = _Reader(cohort, look.view)
    return DataBlock(
        blocks=(TransformBlock, TransformBlock),
        get_items=lambda table: table.to_dict("records"),
        get_x=lambda row: reader.x(row),
        get_y=lambda row: reader.y(row),
        splitter=lambda rows: IndexSplitter([i for i, r in enumerate(rows) if r["split"] == "validation"])(rows),
        item_tfms=StandardFrame(look, augmentation or Augmentation()),
    )
