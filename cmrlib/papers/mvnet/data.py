"""Frames and points for fastai: one joint plane for picture and points, and typed tensors that show themselves."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import pandas as pd
import torch
from fastai.torch_core import TensorBase, TensorImage, TensorMask
from fasttransform import ItemTransform

from cmrlib.cine import Cine, Plane
from cmrlib.cine.anatomy import NOT_ANNOTATED, STRUCTURES
from cmrlib.learning import blocks  # noqa: F401  its show_results draws typed tensors
from cmrlib.measures.valve import point_array
from cmrlib.papers.mvnet.geometry import jittered

COLOURS = ("#E69F00", "#56B4E9")


class TensorFrame(TensorImage):
    """(1, rows, columns) float: one standardised grey frame."""

    def show(self, ctx=None, **kwargs):
        return TensorImage(self[0]).show(ctx=ctx, cmap="gray", **kwargs)


class TensorPoints(TensorBase):
    """(2, 2) float: two points as (column, row) of the frame, a circle and a star; hollow over points drawn before."""

    def show(self, ctx=None, **kwargs):
        hollow = len(ctx.collections) >= 2
        for point, marker, colour in zip(self.cpu().numpy(), "o*", COLOURS):
            style = {"color": "none", "edgecolors": colour, "s": 60} if hollow else {"color": colour, "s": 30}
            ctx.scatter(*point, marker=marker, linewidths=0.8, **({"edgecolors": "black"} | style))
        return ctx


class TensorCavity(TensorMask):
    """(rows, columns) uint8 labels around the valve, 255 where nobody looked; shows the LV's outline, dashed over one
    drawn before."""

    def show(self, ctx=None, **kwargs):
        style = {"linestyles": "dashed" if len(ctx.collections) > 2 else "solid", "linewidths": 0.8}
        ctx.contour(self.cpu().numpy() == STRUCTURES["lv"], levels=[0.5], colors=["#009E73"], **style)
        return ctx


def standardised(image, plane: Plane) -> np.ndarray:
    """(rows, columns) float32 on the plane's grid, cubic, then (value − median) / interquartile range, −4 to 8.

    Where half a picture is one value the range would be next to nothing: at least a tenth of the 1–99 % range counts.
    """
    grey = plane.pixels(np.asarray(image), cv2.INTER_CUBIC)
    low, first, middle, third, high = np.percentile(grey, [1, 25, 50, 75, 99])
    return np.clip((grey - middle) / max(third - first, 0.1 * (high - low), 1e-6), -4, 8)


def pictures(cine: Cine, frames, planes) -> torch.Tensor:
    """(frames, 1, rows, columns) float32: what a network sees of these frames, each on its plane."""
    images = [standardised(cine.pixels[t, 0], plane) for t, plane in zip(frames, planes)]
    return torch.from_numpy(np.stack(images)[:, None].astype(np.float32))


@dataclass(frozen=True)
class FrameRef:
    """One frame of a cine before it becomes a tensor; reference_px: (2, 2) points that set stage 2 upright."""

    cine: Cine
    frame: int
    reference_px: np.ndarray


def frame_table(cohort, observer: str, views, split: pd.Series, frames: int = 0, n_repeats: int = 1):
    """One row per frame to learn from: participant_id, cine, frame, split; without subjects that `split` lacks.

    frames: at most so many of a cine, spread over the cycle; 0 for all. n_repeats: how often a training frame comes in
    an epoch, each time augmented anew.
    """
    annotations, rows = cohort.observer(observer), []
    for row in cohort.cines[cohort.cines["view"].isin(list(views))].itertuples():
        side = split.get(row.participant_id)
        if side is None or not annotations.has(row.cine, "points.tsv"):
            continue
        known = sorted(annotations.points(row.cine)["frame"].unique())
        if 0 < frames < len(known):
            known = [known[i * len(known) // frames] for i in range(frames)]
        repeats = n_repeats if side == "train" else 1
        rows += [(row.participant_id, row.cine, int(t), side) for t in known for _ in range(repeats)]
    return pd.DataFrame(rows, columns=["participant_id", "cine", "frame", "split"])


def frame_of(cohort, points):
    """Function from a row of `frame_table` to a FrameRef. points: of `points_of`."""

    def get(row):
        cine, known = cohort.cine(row["cine"]), points(row["cine"])
        first = int(np.isfinite(known).all((1, 2)).argmax())
        # the paper's frame 0, which every frame of the cine shares; where a cohort keeps single frames, each its own
        return FrameRef(cine, row["frame"], known[first if cine.spacing_known else row["frame"]])

    return get


def points_of(cohort, observer: str):
    """Function from a cine's name to an observer's points (frames, 2, 2); each table is read once."""

    @cache
    def get(name):
        cine = cohort.cine(name)
        return point_array(cohort.observer(observer).points(name), cine.view, cine.frames)

    return get


def labels_of(cohort, observer: str):
    """Function from a row of `frame_table` to an observer's labels (rows, columns) of that frame, 255 where nobody
    looked; keeps masks open."""
    masks = cache(cohort.observer(observer).mask)
    return lambda row: np.asarray(masks(row["cine"]).mask[row["frame"], 0])


class StandardFrame(ItemTransform):
    """(FrameRef, points[, labels]) → (TensorFrame, TensorPoints[, TensorCavity]) by one plane of a `MitralPoints` for
    all, random in training only. With `augment_mirror` every second picture is turned over too and its points change
    names, so that the first still lies left when the apex is down."""

    def __init__(self, task):
        self.task, self.training = task, False

    def __call__(self, pair, split_idx=None, **kwargs):
        self.training = split_idx == 0  # see blocks.StandardSlice
        return super().__call__(pair, split_idx=split_idx, **kwargs)

    def encodes(self, pair):
        reference, points, *labels = pair
        plane = self.task.plane(reference.cine, reference.reference_px)
        plane, points = self.augmented(plane, points) if self.training else (plane, points)
        image = standardised(reference.cine.pixels[reference.frame, 0], plane)
        image = varied(image) if self.training else image
        picture = TensorFrame(torch.from_numpy(image.astype(np.float32)[None]))
        points = TensorPoints(torch.from_numpy(plane.points(points).astype(np.float32)))
        return picture, points, *(TensorCavity(torch.from_numpy(plane.mask(one, NOT_ANNOTATED))) for one in labels)

    def augmented(self, plane, points):
        """(plane, points) drawn at random."""
        task, (scale, rotation, *shift, over) = self.task, np.random.uniform(-1, 1, 5)
        mirror, shift_px = task.augment_mirror and over < 0, task.augment_shift_px * np.array(shift)
        plane = jittered(plane, 1 + task.augment_scale * scale, task.augment_rotation_deg * rotation, shift_px, mirror)
        return plane, points[::-1] if mirror else points


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
