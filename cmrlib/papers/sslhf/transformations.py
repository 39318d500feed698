"""What restoration has to undo: local pixel shuffling, patch covering, frame covering (section III B); and the items of
both stages.

All three work in place on a clip (frames, rows, columns) float32. Random values are uniform with the mean 0 and the SD
1 of a z-scored patch. Compiled: on 288×288×40 together a few hundredths of a second.
"""

from zlib import crc32

import numba
import numpy as np
import torch
from fasttransform import ItemTransform

from cmrlib.learning.blocks import TensorClip, TensorLabel

KINDS = ("shuffle", "patches", "frames")
MODES = ("paper", "any")

LEAST_AREA, MOST_AREA = 1 / 36, 1 / 9
"""Bounds of a covered patch's share of the frame; both excluded."""

_HALF = np.sqrt(3.0)  # uniform in ± √3 has an SD of 1


@numba.njit(cache=True)
def shuffle_windows(clip, seed, window_px, share, paper):
    """Shuffle pixels inside small windows, other ones in every frame. Sides are 2 to `window_px` pixels."""
    np.random.seed(seed)
    frames, rows, columns = clip.shape
    most = max(2, min(window_px, rows, columns))
    windows = max(1, round(share * rows * columns / ((2 + most) / 2) ** 2))
    for t in range(frames):
        for _ in range(windows):
            height, width = np.random.randint(2, most + 1), np.random.randint(2, most + 1)
            r, c = np.random.randint(rows - height + 1), np.random.randint(columns - width + 1)
            window = clip[t, r : r + height, c : c + width]
            if paper:
                shuffle_rows_and_columns(window)
            else:
                shuffle_pixels(window)


@numba.njit(cache=True)
def shuffle_rows_and_columns(window):
    """Equation 1: W̃ = P̄ W P; whole rows and whole columns change places."""
    for i in range(window.shape[0] - 1, 0, -1):
        j = np.random.randint(i + 1)
        for c in range(window.shape[1]):
            window[i, c], window[j, c] = window[j, c], window[i, c]
    for i in range(window.shape[1] - 1, 0, -1):
        j = np.random.randint(i + 1)
        for r in range(window.shape[0]):
            window[r, i], window[r, j] = window[r, j], window[r, i]


@numba.njit(cache=True)
def shuffle_pixels(window):
    """Every pixel of the window may come to lie anywhere in it."""
    width = window.shape[1]
    for i in range(window.size - 1, 0, -1):
        j = np.random.randint(i + 1)
        a, b, c, d = i // width, i % width, j // width, j % width
        window[a, b], window[c, d] = window[c, d], window[a, b]


@numba.njit(cache=True)
def cover_patches(clip, seed, most):
    """Cover one to `most` rectangles of every frame, each between 1/36 and 1/9 of it, sides in a ratio of up to 2."""
    np.random.seed(seed)
    for t in range(clip.shape[0]):
        for _ in range(np.random.randint(1, most + 1)):
            r, c, height, width = draw_rectangle(clip.shape[1], clip.shape[2])
            clip[t, r : r + height, c : c + width] = np.random.uniform(-_HALF, _HALF, (height, width))


@numba.njit(cache=True)
def draw_rectangle(rows, columns):
    """(row, column, height, width) of a rectangle whose area is between the bounds, both excluded."""
    area = rows * columns
    wanted = np.random.uniform(LEAST_AREA, MOST_AREA) * area
    ratio = np.exp(np.random.uniform(-np.log(2.0), np.log(2.0)))
    height = min(rows, max(1, round(np.sqrt(wanted * ratio))))
    least, most = int(np.floor(area * LEAST_AREA / height)) + 1, int(np.ceil(area * MOST_AREA / height)) - 1
    width = max(1, min(columns, most, max(least, round(wanted / height))))
    return np.random.randint(rows - height + 1), np.random.randint(columns - width + 1), height, width


@numba.njit(cache=True)
def cover_frames(clip, seed, groups, length):
    """Cover `groups` groups of at most `length` consecutive frames; between two groups a frame stays as it is."""
    np.random.seed(seed)
    for t in np.flatnonzero(draw_frames(clip.shape[0], groups, length)):
        clip[t] = np.random.uniform(-_HALF, _HALF, clip[t].shape)


@numba.njit(cache=True)
def draw_frames(frames, groups, length):
    """(frames,) bool, which frames are covered, round the cycle. A short cycle has shorter, then fewer groups."""
    groups = min(groups, frames // 2)
    sizes = np.array([np.random.randint(1, length + 1) for _ in range(groups)])
    while frames - sizes.sum() < groups:  # a frame between any two groups
        sizes[sizes.argmax()] -= 1
    gaps = np.ones(groups, np.int64)
    for _ in range(frames - sizes.sum() - groups):
        gaps[np.random.randint(groups)] += 1
    covered, t = np.zeros(frames, np.bool_), np.random.randint(frames)
    for size, gap in zip(sizes, gaps):
        for n in range(size):
            covered[(t + n) % frames] = True
        t += size + gap
    return covered


def neighbour_average(clip, corrupted) -> np.ndarray:
    """Each corrupted pixel from the same pixel's nearest sound frames before and after, linearly, round the cycle.

    clip (frames, rows, columns) float32, corrupted: the same shape, bool. It is told what is corrupted; the network is
    not. A pixel that is never sound becomes 0, the mean of a z-scored patch.
    """
    frames, t = len(clip), np.arange(3 * len(clip))[:, None, None]
    sound = np.tile(~corrupted, (3, 1, 1))  # a cycle before and a cycle after
    own = slice(frames, 2 * frames)
    last = np.maximum.accumulate(np.where(sound, t, -1))[own]
    following = np.minimum.accumulate(np.where(sound, t, 3 * frames)[::-1])[::-1][own]
    share = np.where(corrupted, (t[own] - last) / np.maximum(following - last, 1), 0).astype(np.float32)
    earlier, later = (np.take_along_axis(clip, found % frames, 0) for found in (last, following))
    return np.where(last < 0, 0, earlier * (1 - share) + later * share)


class PatchItem(ItemTransform):
    """(clip, label) → (clip, label); with `transformed`, a function, (clip, None) → (transformed clip, clip).

    In training the clip is flipped in x, y and t and turned about time by quarters, which blurs nothing; elsewhere what
    is drawn depends on the clip alone, so that every epoch is checked by the same task.
    """

    def __init__(self, transformed=None):
        self.transformed, self.training = transformed, False

    def __call__(self, pair, split_idx=None, **kwargs):
        self.training = split_idx == 0  # as blocks.StandardSlice: one transform that looks at the split
        return super().__call__(pair, split_idx=split_idx, **kwargs)

    def encodes(self, pair):
        clip, label = pair
        clip = np.ascontiguousarray(augmented(clip) if self.training else clip, np.float32)
        if self.transformed is None:
            return TensorClip(torch.from_numpy(clip)), TensorLabel(torch.tensor(label, dtype=torch.float32))
        rng = np.random if self.training else np.random.RandomState(crc32(clip))
        return TensorClip(torch.from_numpy(self.transformed(clip, rng=rng))), TensorClip(torch.from_numpy(clip))


def augmented(clip, rng=np.random) -> np.ndarray:
    """A view of a clip (frames, size, size): turned by quarters, flipped in t, y and x, each at random."""
    clip = np.rot90(clip, rng.randint(4), (1, 2))
    steps = [1 - 2 * rng.randint(2) for _ in range(3)]
    return clip[:: steps[0], :: steps[1], :: steps[2]]
