"""What restoration has to undo: local pixel shuffling, patch covering, frame covering (section III B).

All three work in place on a clip (frames, rows, columns) float32. Random values are uniform with the mean 0 and the SD
1 of a z-scored patch. Compiled: on 288×288×40 together a few hundredths of a second.
"""

from dataclasses import dataclass

import numba
import numpy as np

KINDS = ("shuffle", "patches", "frames")
MODES = ("paper", "any")

LEAST_AREA, MOST_AREA = 1 / 36, 1 / 9
"""Bounds of a covered patch's share of the frame; both excluded."""

_HALF = np.sqrt(3.0)  # uniform in ± √3 has an SD of 1


@dataclass(frozen=True)
class Transformations:
    """How hard restoration is.

    kinds: of KINDS; every sample gets one or more of them. shuffle: "paper" permutes a window's rows and its columns
    (equation 1), "any" all its pixels (Models Genesis). windows: so many that their areas add up to this share of a
    frame; window_px: their longest side. Neither is stated in the paper. covered: most patches a frame. groups, length:
    groups of consecutive frames, and most frames of one.
    """

    kinds: tuple[str, ...] = KINDS
    shuffle: str = "paper"
    window_px: int = 16
    windows: float = 0.5
    covered: int = 5
    groups: int = 5
    length: int = 3

    def __post_init__(self):
        if self.shuffle not in MODES:
            raise ValueError(f"unknown shuffle {self.shuffle!r}; expected one of {', '.join(MODES)}")
        if unknown := set(self.kinds) - set(KINDS):
            raise ValueError(f"unknown transformations {sorted(unknown)}; there are {', '.join(KINDS)}")
        if not self.kinds:
            raise ValueError("at least one transformation is needed: a clip that nothing changed teaches nothing")

    def draw(self, rng=np.random) -> tuple[str, ...]:
        """One or more of `kinds`, every such choice as likely as any other. rng: with numpy's old `randint`."""
        chosen = rng.randint(1, 2 ** len(self.kinds))
        return tuple(kind for n, kind in enumerate(self.kinds) if chosen >> n & 1)

    def __call__(self, clip, chosen=None, rng=np.random) -> np.ndarray:
        """A transformed copy of a clip (frames, rows, columns). chosen: of KINDS, default `draw()`."""
        chosen = self.draw(rng) if chosen is None else chosen
        seeds = rng.randint(2**31, size=3)
        clip = np.array(clip, np.float32)
        if "shuffle" in chosen:
            shuffle_windows(clip, seeds[0], self.window_px, self.windows, self.shuffle == "paper")
        if "patches" in chosen:
            cover_patches(clip, seeds[1], self.covered)
        if "frames" in chosen:
            cover_frames(clip, seeds[2], self.groups, self.length)
        return clip


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
            for i in range(r, r + height):
                for j in range(c, c + width):
                    clip[t, i, j] = np.random.uniform(-_HALF, _HALF)


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
        for i in range(clip.shape[1]):
            for j in range(clip.shape[2]):
                clip[t, i, j] = np.random.uniform(-_HALF, _HALF)


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


@numba.njit(cache=True)
def neighbour_average(clip, corrupted):
    """Each corrupted pixel from the same pixel's nearest sound frames before and after, linearly, round the cycle.

    clip (frames, rows, columns) float32, corrupted: the same shape, bool. It is told what is corrupted; the network is
    not. A pixel that is never sound becomes 0, the mean of a z-scored patch.
    """
    frames, rows, columns = clip.shape
    result = clip.copy()
    for i in range(rows):
        for j in range(columns):
            for t in range(frames):
                if not corrupted[t, i, j]:
                    continue
                before, after = 1, 1
                while before < frames and corrupted[(t - before) % frames, i, j]:
                    before += 1
                while after < frames and corrupted[(t + after) % frames, i, j]:
                    after += 1
                if before == frames:
                    result[t, i, j] = 0
                    continue
                share = before / (before + after)
                result[t, i, j] = (
                    clip[(t - before) % frames, i, j] * (1 - share) + clip[(t + after) % frames, i, j] * share
                )
    return result
