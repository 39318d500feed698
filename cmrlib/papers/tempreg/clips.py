"""Sections through time as the network sees them: where the heart moves, how a cycle is cut, what training varies."""

from functools import lru_cache

import cv2
import numpy as np
import pandas as pd
import torch
from fastai.torch_core import TensorBase
from fasttransform import ItemTransform

from cmrlib.cine import Cine, Plane
from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.cohort import missing_pictures
from cmrlib.learning.blocks import CentrePlane, RandomPlane, SliceRef, TensorClip, intensity_window
from cmrlib.measures import whole_sections
from cmrlib.measures.curves import FEWEST_FRAMES
from cmrlib.papers.tempreg.targets import target_curve


def section_table(cohort, observer: str, split: pd.Series, views=None) -> pd.DataFrame:
    """One row a section whose ED and ES an observer knows: participant_id, cine, view, k, kind, frames, ed, es, split.

    kind: the view; of a short-axis slice whether the observer drew the LV there at ED, `sax with LV` or `sax without
    LV`: beyond base and apex its phases show only in what lies around it. split: participant_id → train, validation,
    test; subjects who are not in it are left out. views: default all.
    Cines of fewer than 8 frames are no cycle and are left out, and sections that lack a frame. Raises ValueError where
    nothing is left.
    """
    looked, rows = cohort.observer(observer), []
    for row in cohort.cines[cohort.cines["frames"] >= FEWEST_FRAMES].itertuples():
        wanted = row.participant_id in split.index and (views is None or row.view in views)
        if not wanted or not looked.has(row.cine, "frames.tsv"):
            continue
        ed, es = (int(looked.frames(row.cine)[phase]) for phase in ("ed", "es"))
        kinds = _kinds(row, looked, ed)
        rows += [
            (row.participant_id, row.cine, row.view, k, kinds[k], row.frames, ed, es, split[row.participant_id])
            for k in whole_sections(cohort, row)
        ]
    if not rows:
        raise ValueError(
            f"observer {observer!r} knows ED and ES of no cine with {FEWEST_FRAMES} or more frames in "
            f"{cohort.path.name}; choose another observer, views or cohort"
        )
    return pd.DataFrame(rows, columns=["participant_id", "cine", "view", "k", "kind", "frames", "ed", "es", "split"])


def _kinds(row, looked, ed) -> list[str]:
    """Of every slice of a cine, see `section_table`."""
    if row.view != "sax" or not looked.has(row.cine):
        return [row.view] * row.slices
    drawn = (looked.mask(row.cine).mask[ed] == STRUCTURES["lv"]).any((1, 2))
    return ["sax with LV" if there else "sax without LV" for there in drawn]


def cycle_positions(cine: Cine, k: int) -> np.ndarray:
    """(frames,) where in the cycle each frame of a slice lies, 0 to 1, by its time; evenly where times are unknown."""
    evenly = np.arange(cine.frames) / cine.frames
    if cine.frame_times_ms is None:
        return evenly
    times = cine.frame_times_ms[k] - cine.frame_times_ms[k, 0]
    steps = np.diff(times)
    if not np.isfinite(times).all() or (steps <= 0).any():
        return evenly
    rr_ms = np.nan if cine.rr_ms is None else cine.rr_ms[k]
    whole = times[-1] + np.median(steps)
    return times / (rr_ms if rr_ms > times[-1] and rr_ms > 0.9 * whole else whole)


def even_frames(positions, frames: int):
    """How to make `frames` evenly spaced ones: (index of the frame before, of the frame after, weight of the latter).

    None where the cine's own frames do, each within a quarter of a step: nothing is blurred without need.
    """
    n = len(positions)
    if n == frames and np.abs(positions * n - np.arange(n)).max() < 0.25:
        return None
    wanted, extended = np.arange(frames) / frames, np.r_[positions, positions[0] + 1]
    before = np.searchsorted(extended, wanted, side="right") - 1
    weight = (wanted - extended[before]) / (extended[before + 1] - extended[before])
    return before, (before + 1) % n, weight.astype(np.float32)


def to_grid(frame: float, positions, frames: int) -> float:
    """A frame number of the cine → of the even grid."""
    if even_frames(positions, frames) is None:
        return float(frame)
    n = len(positions)
    return float(np.interp(frame, np.arange(n + 1), np.r_[positions, positions[0] + 1]) * frames % frames)


def from_grid(frame: float, positions, frames: int) -> float:
    """A frame number of the even grid → of the cine."""
    if even_frames(positions, frames) is None:
        return float(frame)
    n = len(positions)
    return float(np.interp(frame / frames, np.r_[positions, positions[0] + 1], np.arange(n + 1)) % n)


@lru_cache(maxsize=4096)
def moving_region(cine: Cine) -> np.ndarray:
    """(rows, columns) bool: the largest connected region that changes over the cycle, over all slices together.

    Standard deviation over time, smoothed, split by Otsu's threshold. No mask is asked where the heart is.
    """
    frames = np.linspace(0, cine.frames, min(cine.frames, 12), endpoint=False).astype(int)
    low, high = intensity_window(cine)
    stack = np.clip((np.asarray(cine.pixels[frames], np.float32) - low) / (high - low), 0, 1)
    there = ~missing_pictures(cine)[:, frames]
    motion = np.mean([stack[there[k], k].std(0) for k in range(cine.slices)], axis=0)
    motion = cv2.GaussianBlur(motion, (0, 0), max(1.0, min(motion.shape) / 40))
    motion = cv2.normalize(motion, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    _, moving = cv2.threshold(motion, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    count, regions, stats, _ = cv2.connectedComponentsWithStats(moving)
    return regions == 1 + stats[1:, cv2.CC_STAT_AREA].argmax() if count > 1 else np.ones(moving.shape, bool)


@lru_cache(maxsize=4096)
def moving_centre(cine: Cine) -> tuple[float, float]:
    """(column, row) of the moving region's middle."""
    rows, columns = np.nonzero(moving_region(cine))
    return float(columns.mean()), float(rows.mean())


def clip_of(reference: SliceRef, plane: Plane, frames: int) -> np.ndarray:
    """(rows, columns, frames) float32, 0 to 1: a section on the plane's grid, its cycle in `frames` even steps."""
    cine, k = reference.cine, reference.k
    low, high = intensity_window(cine)
    images = np.stack([plane.pixels(image, outside=low) for image in cine.pixels[:, k]])
    images = np.moveaxis(images, 0, -1)  # in memory a frame stays in one piece
    even = even_frames(cycle_positions(cine, k), frames)
    if even is not None:
        before, after, weight = even
        images = images[..., before] * (1 - weight) + images[..., after] * weight
    return np.clip((images - low) / (high - low), 0, 1)


def section_clip(cine: Cine, k: int, spacing_mm: float, size: int, frames: int) -> np.ndarray:
    """(frames, size, size) float32, 0 to 255, around the moving region: what the network sees of slice k."""
    reference = SliceRef(cine, 0, k, moving_centre(cine))
    plane = _CentrePlane(spacing_mm, size).plane(reference)
    return 255 * clip_of(reference, plane, frames).transpose(2, 0, 1)


class TensorCurve(TensorBase):
    """(frames,) float: a target or a prediction; shows itself as a title."""

    def show(self, ctx=None, **kwargs):
        if ctx is not None:
            ctx.set_title(f"ED {int(self.argmax())}, ES {int(self.argmin())}", fontsize=9)
        return ctx


class _CentrePlane(CentrePlane):
    """`size` pixels around the moving region."""

    def _step(self, reference):
        return _step(self.spacing_mm, reference.cine)

    def plane(self, reference):
        shape = (self.size, self.size)
        return Plane.around(reference.cine.pixels.shape[2:], self._step(reference), shape, reference.centre_px)


class _RandomPlane(RandomPlane):
    """Around the moving region, shifted, turned, scaled; all frames alike."""

    def _step(self, reference):
        return _step(self.spacing_mm, reference.cine)


def _step(spacing_mm, cine):
    """Image pixels a pixel of the grid, (rows, columns); pixels of unknown size count as 1.4 mm, as in most cines."""
    return spacing_mm / np.array(cine.spacing_mm[1:] if cine.spacing_known else (1.4, 1.4))


class SectionClip(ItemTransform):
    """(SliceRef, (ed, es)) → (TensorClip, TensorCurve): one warp for all frames, the cycle in `frames` even steps.

    In training the crop is shifted, turned and scaled, grey values vary, and the first frame is random, so that ED
    cannot be known from where a recording begins (not with target `paper`, which knows a first frame).
    """

    def __init__(self, spacing_mm: float, size: int, frames: int, target: str = "cyclic"):
        self.frames, self.target, self.training = frames, target, False
        self.central = _CentrePlane(spacing_mm, size)
        self.random = _RandomPlane(spacing_mm, size, rotation_deg=30.0, shift_mm=8.0, anywhere=0.0)

    def __call__(self, pair, split_idx=None, **kwargs):
        self.training = split_idx == 0  # as blocks.StandardSlice: one transform that looks at the split
        return super().__call__(pair, split_idx=split_idx, **kwargs)

    def encodes(self, pair):
        reference, (ed, es) = pair
        plane = self.random if self.training else self.central
        clip = clip_of(reference, plane.plane(reference), self.frames)
        positions = cycle_positions(reference.cine, reference.k)
        ed, es = (to_grid(frame, positions, self.frames) for frame in (ed, es))
        if self.training:
            clip = plane.intensities(clip)
            offset = np.random.randint(self.frames) if self.target == "cyclic" else 0
            clip, ed, es = np.roll(clip, offset, 2), (ed + offset) % self.frames, (es + offset) % self.frames
        clip = np.ascontiguousarray(255 * np.clip(clip, 0, 1).transpose(2, 0, 1), np.float32)
        curve = target_curve(ed, es, self.frames, self.target).astype(np.float32)
        return TensorClip(torch.from_numpy(clip)), TensorCurve(torch.from_numpy(curve))
