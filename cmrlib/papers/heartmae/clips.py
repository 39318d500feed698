"""Sections as clips: which are used, how a crop and a stretch of time are cut, what training varies (appendix A)."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from fastai.data.block import DataBlock, TransformBlock
from fastai.data.transforms import IndexSplitter
from fastai.torch_core import TensorBase
from fasttransform import ItemTransform

from cmrlib.cine import Cine
from cmrlib.measures import whole_sections

LARGEST = 2**15 - 1
"""Clips travel as 16-bit integers; pixels beyond that are scaled down."""


@dataclass(frozen=True)
class Preprocessing:
    """How a section reaches the network; stored beside the weights.

    size: pixels a side of a clip. frames: of a clip, consecutive; a shorter cine goes round its cycle again.
    crop_low, crop_high: side of training crops in pixels of the image (224 and 256 in the paper) before they are
    resized to `size`; where the image's short side is smaller, the whole of it is the crop. spacing_mm: these pixels'
    size, 0 for the image's own, whatever it is (the paper).
    """

    size: int = 224
    frames: int = 24
    crop_low: int = 224
    crop_high: int = 256
    spacing_mm: float = 0.0

    def __post_init__(self):
        if not 0 < self.crop_low <= self.crop_high:
            raise ValueError(f"crops of {self.crop_low} to {self.crop_high} pixels: expected 0 < crop_low ≤ crop_high")


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

    def clip(self, section, preprocessing: Preprocessing, factor: float = 1.0) -> np.ndarray:
        """(frames, size, size) int16 of a section (frames, rows, columns), times `factor`."""
        size, n = preprocessing.size, preprocessing.frames
        out = np.empty((n, size, size), np.int16)
        for place, frame in enumerate(wrapped(self.start, n, len(section))):
            if place >= len(section):  # a second time round the cycle
                out[place] = out[place - len(section)]
                continue
            image = section[frame]
            if factor != 1 or image.dtype not in (np.uint8, np.uint16, np.int16):
                image = np.asarray(image, np.float32) * factor
            cut = self.image(image, size)
            out[place] = np.rint(cut) if cut.dtype.kind == "f" else cut
        return out


def wrapped(start: int, n: int, frames: int) -> np.ndarray:
    """n consecutive frame numbers from `start` on, round the cycle of `frames`."""
    return (start + np.arange(n)) % frames


_SCALES = {}
"""Of cines that lie in files, which never change: reading all of a cine for its maximum is done once a process."""


def stored_scale(cine: Cine) -> tuple[float, float]:
    """(factor that brings the cine's pixels into 16 bits, their maximum after that): max-scaling is left to the device.

    Raises ValueError for a cine without a positive pixel.
    """
    file = getattr(cine.pixels, "filename", None)
    if file is None:
        return _scale(cine)
    key = file, Path(file).stat().st_mtime_ns
    if key not in _SCALES:
        _SCALES[key] = _scale(cine)
    return _SCALES[key]


def _scale(cine):
    peak = float(cine.pixels.max())
    if not np.isfinite(peak) or peak <= 0:
        raise ValueError(
            f"{cine.name}: its largest pixel is {peak}; intensities are divided by it, so it must be a "
            "positive number: leave the cine out or ingest it again"
        )
    whole = np.issubdtype(cine.pixels.dtype, np.integer) and peak <= LARGEST
    return (1.0, peak) if whole else (LARGEST / peak, float(LARGEST))


def crop_side(cine: Cine, side: float, spacing_mm: float) -> int:
    """A crop's side in pixels of the cine, at most its short side."""
    if spacing_mm and cine.spacing_known:
        side = side * spacing_mm / np.mean(cine.spacing_mm[1:])
    return int(min(round(side), *cine.pixels.shape[2:]))


def random_cut(cine: Cine, preprocessing: Preprocessing, rng=np.random) -> Cut:
    """A crop of random side and place, a random first frame, mirrored either way in half of the cases."""
    rows, columns = cine.pixels.shape[2:]
    side = crop_side(cine, rng.uniform(preprocessing.crop_low, preprocessing.crop_high), preprocessing.spacing_mm)
    top, left = rng.randint(rows - side + 1), rng.randint(columns - side + 1)
    return Cut(
        rng.randint(first_frames(cine.frames, preprocessing.frames)),
        top,
        left,
        side,
        rng.random() < 0.5,
        rng.random() < 0.5,
    )


def first_frames(frames: int, n: int) -> int:
    """How many first frames a clip of n frames may have: all of the cycle where it goes round, else as many as fit."""
    return frames if n >= frames else frames - n + 1


def even_cuts(cine: Cine, preprocessing: Preprocessing, crops: int = 3, times: int = 2) -> list[Cut]:
    """The views of § 4.3: `crops` along the longer side × `times` clips over the cycle, each only once.

    Crops have the largest side seen in training. Of a square image all crops are one; pooled with equal weight, copies
    of one feature say the same as the feature itself, so nothing is lost.
    """
    rows, columns = cine.pixels.shape[2:]
    side = crop_side(cine, preprocessing.crop_high, preprocessing.spacing_mm)
    spare_rows, spare_columns = rows - side, columns - side
    along = np.linspace(0, 1, crops) if crops > 1 else np.array([0.5])
    if spare_rows >= spare_columns:
        places = [(round(share * spare_rows), spare_columns // 2) for share in along]
    else:
        places = [(spare_rows // 2, round(share * spare_columns)) for share in along]
    last = first_frames(cine.frames, preprocessing.frames)
    starts = (
        np.arange(times) * last // times
        if preprocessing.frames >= cine.frames
        else (np.linspace(0, last - 1, times).round().astype(int))
    )
    cuts = [Cut(int(start), top, left, side) for top, left in places for start in starts]
    return list(dict.fromkeys(cuts))


def section_table(cohort, split: pd.Series, views=None, sax_share: float = 0.5, seed: int = 1) -> pd.DataFrame:
    """One row a section: participant_id, cine, view, k, frames, split.

    sax_share: of the short-axis sections so many are kept, drawn for each cine by seed and name (§ 3: half, because
    they outnumber the long axis 10 to 3). split: participant_id → side; subjects who are not in it are left out, and
    sections that lack a frame.
    Raises ValueError where nothing is left.
    """
    rows = []
    for row in cohort.cines.itertuples():
        if row.participant_id not in split.index or (views is not None and row.view not in views):
            continue
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


def intensity_moments(cohort, sections: pd.DataFrame, most: int = 200) -> tuple[float, float]:
    """Mean and SD of the training sections' pixels as shares of each cine's maximum, from at most so many sections."""
    used = sections[sections["split"] == "train"]
    used = used.iloc[np.linspace(0, len(used) - 1, min(most, len(used))).astype(int)]
    sums = np.zeros(3)
    for row in used.itertuples():
        cine = cohort.cine(row.cine)
        factor, peak = stored_scale(cine)
        pixels = np.asarray(cine.pixels[:, row.k], np.float64)[:: max(1, cine.frames // 4)] * (factor / peak)
        sums += pixels.size, pixels.sum(), (pixels**2).sum()
    mean = sums[1] / sums[0]
    return float(mean), float(max(1e-6, np.sqrt(sums[2] / sums[0] - mean**2)))


class TensorClips(TensorBase):
    """(clips, frames, size, size) int16: several clips of one section; shows the first one's first frame."""

    def show(self, ctx=None, **kwargs):
        if ctx is not None:
            ctx.imshow(self[0, 0], cmap="gray")
            ctx.set_axis_off()
        return ctx


@dataclass(frozen=True)
class SectionRef:
    """One section of a cine and its flow weights, (rows, columns) uint8 or None, before it becomes a tensor."""

    cine: Cine
    k: int
    weights: np.ndarray | None = None


class _Clips(ItemTransform):
    """(SectionRef, 0) → (TensorClips, the cine's maximum, weights of each clip, 0); random in training, else even."""

    def __init__(self, preprocessing: Preprocessing, repeats: int):
        self.preprocessing, self.repeats, self.training = preprocessing, repeats, False

    def __call__(self, item, split_idx=None, **kwargs):
        self.training = split_idx == 0  # as blocks.StandardSlice: one transform that looks at the split
        return super().__call__(item, split_idx=split_idx, **kwargs)

    def encodes(self, item):
        reference = item[0]
        cine, size = reference.cine, self.preprocessing.size
        if self.training:
            cuts = [random_cut(cine, self.preprocessing) for _ in range(self.repeats)]
        else:
            middle = even_cuts(cine, self.preprocessing, 1, 1)[0]
            cuts = [
                replace(
                    middle, start=n * cine.frames // self.repeats % first_frames(cine.frames, self.preprocessing.frames)
                )
                for n in range(self.repeats)
            ]
        factor, peak = stored_scale(cine)
        section = cine.pixels[:, reference.k]
        clips = np.stack([cut.clip(section, self.preprocessing, factor) for cut in cuts])
        maps = [] if reference.weights is None else [weights_of(reference, cut, size) for cut in cuts]
        maps = torch.from_numpy(np.stack(maps)) if maps else torch.zeros(self.repeats, 0, dtype=torch.uint8)
        return TensorClips(torch.from_numpy(clips)), torch.tensor(peak, dtype=torch.float32), maps, torch.tensor(0)


def weights_of(reference: SectionRef, cut: Cut, size: int) -> np.ndarray:
    """(size, size) uint8: the section's flow weights, cut as the pixels are."""
    rows, columns = reference.cine.pixels.shape[2:]
    whole = cv2.resize(reference.weights, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(cut.image(whole, size))


def clips_block(cohort, preprocessing: Preprocessing, repeats: int = 4, flow=None) -> DataBlock:
    """DataBlock from rows of `section_table` to (clips, peak, weights, 0): three inputs, nothing to be told.

    flow: weights (rows, columns) uint8 by (cine name, slice), such as Shards; None for none.
    """

    def reference(row):
        return SectionRef(cohort.cine(row["cine"]), row["k"], None if flow is None else flow[row["cine"], row["k"]])

    return DataBlock(
        blocks=(TransformBlock, TransformBlock, TransformBlock, TransformBlock),
        n_inp=3,
        get_items=lambda table: table.to_dict("records"),
        getters=[reference, lambda row: 0, lambda row: 0, lambda row: 0],
        splitter=lambda rows: IndexSplitter([i for i, r in enumerate(rows) if r["split"] == "validation"])(rows),
        item_tfms=_Clips(preprocessing, repeats),
    )


def rows_digest(sections: pd.DataFrame) -> str:
    """Of the sections that a training sees."""
    used = sections[sections["split"] != "test"]
    return hashlib.blake2b(used.to_csv(index=False).encode(), digest_size=8).hexdigest()
