"""Section: one slice of a Cine through time, its phases, and its cycle on an even grid of another length."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cmrlib.cine import Cine


@dataclass(frozen=True, eq=False)
class Section:
    """Slice k of a cine through time.

    order: which frames are shown, in this order round the cycle; default all, from the first on. Where some are left
    out nothing tells how long they lasted: the others count as evenly spaced.
    """

    cine: "Cine"
    k: int
    order: np.ndarray | None = None

    def __post_init__(self):
        if not 0 <= self.k < self.cine.slices:
            raise IndexError(f"{self.cine.name}: slice {self.k} of {self.cine.slices} (slices count from 0)")

    @property
    def pixels(self) -> np.ndarray:
        """(frames, rows, columns), a view on the cine's own where these are in its order."""
        return self.cine.pixels[:, self.k] if self.order is None else self.cine.pixels[self.order, self.k]

    @property
    def frame_times_ms(self) -> np.ndarray | None:
        times = self.cine.frame_times_ms
        return None if times is None else times[self.k]

    @property
    def phase(self) -> np.ndarray:
        """(frames,) since the first frame, 0 ≤ phase < 1, by this slice's own times; even where they are unknown.

        An RR interval too short for the frames (below .9 of their span) is not believed.
        """
        frames, times = self.cine.frames, self.frame_times_ms
        if self.order is not None and len(self.order) < frames:
            return np.arange(len(self.order)) / len(self.order)
        if self.order is not None:
            phase = Section(self.cine, self.k).phase[self.order]
            return (phase - phase[0]) % 1
        even = np.arange(frames) / frames
        if times is None:
            return even
        times = times - times[0]
        steps = np.diff(times)
        if not np.isfinite(times).all() or (steps <= 0).any():
            return even
        rr_ms = np.nan if self.cine.rr_ms is None else self.cine.rr_ms[self.k]
        span = times[-1] + np.median(steps)
        return times / (rr_ms if rr_ms > times[-1] and rr_ms > 0.9 * span else span)

    def resampled(self, images, frames: int) -> np.ndarray:
        """Images (frames of the section, …) → (frames, …), evenly spaced in the cycle, by interpolation round it.

        Unchanged where the cine's own frames lie within a quarter of a step of the even ones: no needless blur.
        """
        phase = self.phase
        if _is_even(phase, frames):
            return images
        wanted, extended = np.arange(frames) / frames, np.r_[phase, phase[0] + 1]
        before = np.searchsorted(extended, wanted, side="right") - 1
        weight = (wanted - extended[before]) / (extended[before + 1] - extended[before])
        weight = weight.astype(np.float32).reshape(-1, *[1] * (np.ndim(images) - 1))
        return images[before] * (1 - weight) + images[(before + 1) % len(phase)] * weight

    def to_even(self, frame: float, frames: int) -> float:
        """A frame's place in the section → among the `frames` of `resampled`."""
        phase = self.phase
        if _is_even(phase, frames):
            return float(frame)
        return float(np.interp(frame, np.arange(len(phase) + 1), np.r_[phase, phase[0] + 1]) * frames % frames)

    def from_even(self, frame: float, frames: int) -> float:
        """A place among the `frames` of `resampled` → a frame's place in the section."""
        phase = self.phase
        n = len(phase)
        if _is_even(phase, frames):
            return float(frame)
        return float(np.interp(frame / frames, np.r_[phase, phase[0] + 1], np.arange(n + 1)) % n)


def _is_even(phase, frames) -> bool:
    return len(phase) == frames and np.abs(phase * frames - np.arange(frames)).max() < 0.25
