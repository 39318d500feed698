"""Sections as clips: which are used, how a crop and a stretch of time are cut, what training varies (appendix A).

task: a `HeartMAE`, whose sizes count.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pandas as pd
import torch
from fastai.torch_core import TensorBase, TensorImage
from fastai.vision.data import get_grid
from fasttransform import ItemTransform
from plum import dispatch

from cmrlib.cine import Cine
from cmrlib.learning import blocks
from cmrlib.measures import whole_sections


@dataclass(frozen=True)
class Cut:
    """One clip of a section: a square crop, a first frame, mirrored or not; for pixels and weights alike.

    top, left, side: pixels of the image. flip_rows, flip_columns: upside down, left to right.
    """

    start: int
    top: int
    left: int
    side: int
    flip_rows: bool = False
    flip_columns: bool = False

    def image(self, image, size: int) -> np.ndarray:
        """(rows, columns) → (size, size) of the same type: cropped, resized, mirrored."""
        part = image[self.top : self.top + self.side, self.left : self.left + self.side]
        if part.shape != (size, size):
            shrinks = part.shape[0] > size
            part = cv2.resize(
                np.ascontiguousarray(part), (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            )
        return part[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]

    def clip(self, section, task, peak: float) -> np.ndarray:
        """(frames, size, size) float32 of a section (frames, rows, columns), as shares of `peak`; consecutive frames,
        round the cycle."""
        order = [(self.start + n) % len(section) for n in range(task.frames)]
        made = {frame: self.image(np.asarray(section[frame], np.float32), task.size) for frame in set(order)}
        return np.stack([made[frame] for frame in order]) / np.float32(peak)


def peak_of(cine: Cine) -> float:
    """The cine's largest pixel, by which intensities are divided. Raises ValueError where it is not positive."""
    if "peak" not in cine.memo:
        cine.memo["peak"] = float(cine.pixels.max())
    peak = cine.memo["peak"]
    if not np.isfinite(peak) or peak <= 0:
        raise ValueError(
            f"{cine.name}: its largest pixel is {peak}; intensities are divided by it, so it must be a "
            "positive number: leave the cine out or ingest it again"
        )
    return peak


def crop_side(cine: Cine, side: float, spacing_mm: float) -> int:
    """A crop's side in pixels of the cine, at most its short side."""
    if spacing_mm and cine.spacing_known:
        side = side * spacing_mm / np.mean(cine.spacing_mm[1:])
    return int(min(round(side), *cine.pixels.shape[2:]))


def random_cut(cine: Cine, task, rng=np.random) -> Cut:
    """A crop of random side and place, a random first frame, mirrored either way in half of the cases."""
    rows, columns = cine.pixels.shape[2:]
    side = crop_side(cine, rng.uniform(task.crop_low, task.crop_high), task.spacing_mm)
    top, left = rng.randint(rows - side + 1), rng.randint(columns - side + 1)
    start = rng.randint(first_frames(cine.frames, task.frames))
    return Cut(start, top, left, side, rng.random() < 0.5, rng.random() < 0.5)


def first_frames(frames: int, n: int) -> int:
    """How many first frames a clip of n frames may have: all of the cycle where it goes round, else as many as fit."""
    return frames if n >= frames else frames - n + 1


def even_cuts(cine: Cine, task, crops: int = 3, times: int = 2) -> list[Cut]:
    """The views of § 4.3: `crops` along the longer side × `times` clips over the cycle, each only once.

    Crops have the largest side seen in training. Of a square image all crops are one; pooled with equal weight, copies
    of one feature say the same as the feature itself, so nothing is lost.
    """
    side = crop_side(cine, task.crop_high, task.spacing_mm)
    spare = np.array(cine.pixels.shape[2:]) - side
    corners = np.tile(spare // 2, (crops, 1))  # (row, column)
    corners[:, spare.argmax()] = np.round((np.linspace(0, 1, crops) if crops > 1 else 0.5) * spare.max())
    last = first_frames(cine.frames, task.frames)
    if task.frames >= cine.frames:
        starts = np.arange(times) * last // times
    else:
        starts = np.linspace(0, last - 1, times).round().astype(int)
    cuts = [Cut(start, top, left, side) for top, left in corners.tolist() for start in starts.tolist()]
    return list(dict.fromkeys(cuts))


def section_table(cohort, split: pd.Series, views=None, sax_share: float = 0.5, seed: int = 1) -> pd.DataFrame:
    """One row per section: participant_id, cine, view, k, frames, split.

    sax_share: of the short-axis sections so many are kept, drawn for each cine by seed and name (§ 3: half, because
    they outnumber the long axis 10 to 3). split: participant_id → side; subjects who are not in it are left out, and
    sections that lack a frame.
    Raises ValueError where nothing is left.
    """
    cines = cohort.cines[cohort.cines["participant_id"].isin(split.index)]
    cines, rows = cines if views is None else cines[cines["view"].isin(list(views))], []
    for row in cines.itertuples():
        slices = range(row.slices)
        if row.view == "sax" and sax_share < 1:
            rng = np.random.default_rng([seed, *row.cine.encode()])
            slices = sorted(rng.permutation(row.slices)[: max(1, round(sax_share * row.slices))].tolist())
        rows += [
            (row.participant_id, row.cine, row.view, k, row.frames, split[row.participant_id])
            for k in slices
            if k in whole_sections(cohort, row)
        ]
    if not rows:
        raise ValueError(
            f"{cohort.path.name} has no section of these subjects and views ({views or 'all'}); it has "
            f"{', '.join(sorted(set(cohort.cines['view'])))}"
        )
    return pd.DataFrame(rows, columns=["participant_id", "cine", "view", "k", "frames", "split"])


def intensity_moments(sections, most: int = 200) -> tuple[float, float]:
    """Mean and SD of sections' pixels as shares of each cine's maximum, from at most so many of them.

    sections: a sequence of `Section`.
    """
    sums = np.zeros(3)
    for n in np.linspace(0, len(sections) - 1, min(most, len(sections))).astype(int):
        section = sections[n]
        pixels = np.asarray(section.pixels[:: max(1, section.cine.frames // 4)], np.float64) / peak_of(section.cine)
        sums += pixels.size, pixels.sum(), (pixels**2).sum()
    mean = sums[1] / sums[0]
    return float(mean), float(max(1e-6, np.sqrt(sums[2] / sums[0] - mean**2)))


class TensorClips(TensorImage):
    """(clips, frames, size, size) float, shares of the cine's maximum; shows the first clip as four frames."""

    def show(self, ctx=None, **kwargs):
        return blocks.TensorClip(self[0]).show(ctx=ctx, **kwargs)


class TensorPixels(TensorBase):
    """(clips, size, size) float: a number for every place of a clip, such as its weight or its error; shows itself over
    the first of the four frames."""

    def show(self, ctx=None, **kwargs):
        shown, limits = self[0].float().cpu().numpy(), ctx.axis()
        alpha = 0.6 * shown / max(shown.max(), 1e-9)
        ctx.imshow(shown, cmap="magma", alpha=alpha, extent=(-0.5, len(shown) - 0.5, len(shown) - 0.5, -0.5))
        ctx.axis(limits)
        return ctx


@dispatch
def show_results(x: TensorClips, y: TensorPixels, samples, outs, ctxs=None, max_n=6, figsize=None, **kwargs):
    """Clips, and over their first frame where hidden pixels were not reconstructed."""
    ctxs = get_grid(min(len(samples), max_n), figsize=figsize) if ctxs is None else ctxs
    for sample, out, ctx in zip(samples, outs, ctxs):
        TensorPixels(out[0]).show(ctx=sample[0].show(ctx=ctx))
    return ctxs


class SectionClips(ItemTransform):
    """(Section, weights (rows, columns) uint8) → (TensorClips, TensorPixels 0 to 1): `repeats` clips of one section
    and the weights cut alike; random in training, else even."""

    def __init__(self, task):
        self.task, self.training = task, False

    def __call__(self, item, split_idx=None, **kwargs):
        self.training = split_idx == 0  # as blocks.StandardSlice: one transform that looks at the split
        return super().__call__(item, split_idx=split_idx, **kwargs)

    def encodes(self, item):
        section, weights = item
        cine = section.cine
        if self.training:
            cuts = [random_cut(cine, self.task) for _ in range(self.task.repeats)]
        else:
            middle, last = even_cuts(cine, self.task, 1, 1)[0], first_frames(cine.frames, self.task.frames)
            repeats = self.task.repeats
            cuts = [replace(middle, start=n * cine.frames // repeats % last) for n in range(repeats)]
        clips = [cut.clip(section.pixels, self.task, peak_of(cine)) for cut in cuts]
        maps = [cut_weights(weights, cine, cut, self.task.size) for cut in cuts]
        return TensorClips(torch.from_numpy(np.stack(clips))), TensorPixels(torch.from_numpy(np.stack(maps)))


def cut_weights(weights, cine: Cine, cut: Cut, size: int) -> np.ndarray:
    """(size, size) float32, 0 to 1: a section's weights (uint8, of any resolution), cut as its pixels are."""
    rows, columns = cine.pixels.shape[2:]
    whole = cv2.resize(np.asarray(weights, np.float32) / 255, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(cut.image(whole, size))
