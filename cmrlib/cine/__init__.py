"""Cine: a beating heart's pixels and the geometry and times that belong to them; with Section and Plane.

Conventions, stated once for the whole library:

* `pixels[t, k, j, i]` is a NIfTI file's data (i, j, k, t) seen in C order: j = row, i = column, k = slice, t = frame.
* `affine` maps (i, j, k, 1) to RAS millimetres; pixel centres lie at integers; frames count from 0.
* points are `(column_px, row_px)`, floating point.
* times are per slice: `frame_times_ms[k, t]`, `rr_ms[k]`; NaN is "unknown".
* a cohort keeps every cine in its canonical display (`cmrlib.cine.display`), whatever order its source file stores.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from cmrlib.cine.plane import Plane
from cmrlib.cine.section import Section

__all__ = ["Cine", "Plane", "Section"]


@dataclass(frozen=True, eq=False)
class Cine:
    """One view of one heart through one cycle: a long-axis view or a whole SAX stack.

    pixels: (frames, slices, rows, columns), any numeric type, possibly a memory map.
    affine: (4, 4) RAS mm. frame_times_ms: (slices, frames). rr_ms, slice_position_mm: (slices,).
    frames_of: for cohorts that kept a few frames, their original 0-based indices and the original count.
    """

    pixels: np.ndarray
    affine: np.ndarray
    view: str
    subject: str
    session: str = ""
    run: int = 1
    frame_times_ms: np.ndarray | None = None
    rr_ms: np.ndarray | None = None
    slice_position_mm: np.ndarray | None = None
    spacing_known: bool = True
    ed: int | None = None
    es: int | None = None
    frames_of: tuple[tuple[int, ...], int] | None = None
    flags: tuple[str, ...] = ()
    meta: dict = field(default_factory=dict)
    memo: dict = field(default_factory=dict, init=False, repr=False)  # computed values; a cohort keeps it

    def __post_init__(self):
        if self.pixels.ndim != 4 or 0 in self.pixels.shape:
            raise ValueError(
                f"{self.name}: pixels have shape {self.pixels.shape}; expected four axes "
                "(frames, slices, rows, columns), none empty"
            )
        if np.shape(self.affine) != (4, 4) or not abs(np.linalg.det(np.asarray(self.affine)[:3, :3])) > 1e-9:
            raise ValueError(f"{self.name}: the affine is not an invertible 4×4 matrix; repair the file's geometry")
        for attribute, size in (("frame_times_ms", (self.slices, self.frames)), ("rr_ms", (self.slices,))):
            value = getattr(self, attribute)
            if value is not None and np.shape(value) != size:
                raise ValueError(f"{self.name}: {attribute} has shape {np.shape(value)}, expected {size}")

    @property
    def name(self) -> str:
        """BIDS-like name without folder and suffix, e.g. `sub-001_ses-2_view-sax`."""
        parts = [f"sub-{self.subject}"]
        parts += [f"ses-{self.session}"] if self.session else []
        parts += [f"view-{self.view}"]
        parts += [f"run-{self.run}"] if self.run != 1 else []
        return "_".join(parts)

    @property
    def frames(self) -> int:
        return self.pixels.shape[0]

    @property
    def slices(self) -> int:
        return self.pixels.shape[1]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """(slice distance, row spacing, column spacing) in mm; raises ValueError where spacing is unknown."""
        if not self.spacing_known:
            raise ValueError(
                f"{self.name}: pixel spacing is unknown, so nothing can be measured in millimetres; "
                "use relative measures (EF, area ratios) or give the spacing when the data is ingested"
            )
        row_mm, column_mm = (float(np.linalg.norm(self.affine[:3, axis])) for axis in (1, 0))
        # along the slices' normal, not along the step: in a sheared stack the step is longer than the distance
        distance_mm = abs(float(np.linalg.det(np.asarray(self.affine, float)[:3, :3]))) / (row_mm * column_mm)
        return distance_mm, row_mm, column_mm

    @property
    def voxel_ml(self) -> float:
        return float(np.prod(self.spacing_mm)) / 1000

    @property
    def frame_step_ms(self) -> float:
        """Median step between frames over all slices, NaN where times are unknown."""
        steps = np.diff([] if self.frame_times_ms is None else self.frame_times_ms)
        return float(np.nanmedian(steps)) if np.isfinite(steps).any() else float("nan")

    @property
    def heart_rate_bpm(self) -> float:
        if self.rr_ms is None or not np.isfinite(self.rr_ms).any():
            return float("nan")
        return 60_000 / float(np.nanmedian(self.rr_ms))

    @property
    def times_ms(self) -> np.ndarray:
        """Time of each frame (frames,) after the R wave, median over slices; all NaN where any is unknown."""
        times = self.frame_times_ms
        if times is None or not np.isfinite(times).any(axis=0).all():
            return np.full(self.frames, np.nan)
        return np.nanmedian(times, axis=0)

    @property
    def cycle_ms(self) -> float:
        """RR interval, median over slices, else frames × frame step; NaN where neither is known."""
        if self.rr_ms is not None and np.isfinite(self.rr_ms).any():
            return float(np.nanmedian(self.rr_ms))
        return float(self.frames * self.frame_step_ms)

    def phase(self, ed: int | None = None) -> np.ndarray:
        """Phase of each frame (frames,) as a fraction of the cycle: since frame `ed` (0 ≤ phase < 1), else since the
        R wave.

        By time where times and cycle length are known, else by frame number in the whole cycle; NaN where only a few
        frames are left of an unknown number. `phase(ed)[es]` is the systolic fraction.
        """
        phase = self.times_ms / (self.cycle_ms if self.cycle_ms > 0 else np.nan)
        if not np.isfinite(phase).all():
            kept, total = self.frames_of or (range(self.frames), self.frames)
            phase = np.asarray(kept, float) / (total or np.nan)
        return phase if ed is None else (phase - phase[ed]) % 1

    @property
    def missing(self) -> np.ndarray:
        """(slices, frames) bool: images that the source lacks; their pixels are zero and say nothing."""
        missing = np.zeros((self.slices, self.frames), bool)
        for k, t in self.meta.get("missing", ()):
            missing[int(k), int(t)] = True
        return missing

    @property
    def incomplete_frames(self) -> list[int]:
        """Frames of which at least one slice is missing: nothing is measured on them."""
        return np.flatnonzero(self.missing.any(0)).tolist()

    @property
    def complete_slices(self) -> list[int]:
        """Slices of which no frame is missing."""
        return np.flatnonzero(~self.missing.any(1)).tolist()

    def section(self, k: int, order=None) -> Section:
        """Slice k through time. order: which frames, from which on; default all."""
        return Section(self, k, order)

    def select(self, frames) -> "Cine":
        """The same cine with a list of frames only (ED and ES are dropped; they would point elsewhere)."""
        frames = list(frames)
        times = None if self.frame_times_ms is None else self.frame_times_ms[:, frames]
        kept, total = self.frames_of or (range(self.frames), self.frames)
        return replace(
            self,
            pixels=self.pixels[frames],
            frame_times_ms=times,
            ed=None,
            es=None,
            frames_of=(tuple(kept[t] for t in frames), total),
        )

    def to_world(self, points_px, k: int) -> np.ndarray:
        """Points (n, 2) as (column, row) in slice k → (n, 3) RAS mm."""
        points = np.asarray(points_px, float).reshape(-1, 2)
        ijk1 = np.c_[points, np.full(len(points), k), np.ones(len(points))]
        return (ijk1 @ np.asarray(self.affine).T)[:, :3]

    def to_pixels(self, points_mm) -> np.ndarray:
        """Points (n, 3) RAS mm → (n, 3) as (column, row, slice), floating point."""
        points = np.asarray(points_mm, float).reshape(-1, 3)
        return (np.c_[points, np.ones(len(points))] @ np.linalg.inv(self.affine).T)[:, :3]

    def context(self, t: int, k: int, distance_mm: float = 10.0) -> np.ndarray:
        """Slice k of frame t between its neighbours about `distance_mm` away: (rows, columns, 3).

        Beyond the ends of the stack, and in single-slice views, the nearest slice is repeated.
        """
        step = max(1, round(distance_mm / self.spacing_mm[0])) if self.spacing_known and self.slices > 1 else 1
        neighbours = np.clip([k - step, k, k + step], 0, self.slices - 1)
        return np.stack([self.pixels[t, n] for n in neighbours], axis=-1)

    def intensity_window(self, low_pct: float = 1, high_pct: float = 99) -> tuple[float, float]:
        """Percentiles over the whole cine, from at most about 200,000 pixels at a fixed stride; computed once."""
        key = "intensity_window", low_pct, high_pct
        if key not in self.memo:
            stride = max(1, self.pixels.size // 200_000)
            while math.gcd(stride, self.pixels.shape[-1]) > 1:  # else it would meet the same few columns in every row
                stride += 1
            sample = np.asarray(self.pixels.reshape(-1)[::stride], np.float32)
            low, high = np.percentile(sample, [low_pct, high_pct])
            self.memo[key] = float(low), float(max(high, low + 1e-6))
        return self.memo[key]
