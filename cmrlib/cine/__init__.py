"""Cine and Section: a beating heart's pixels and the geometry that belongs to them.

Conventions, stated once for the whole library:

* `pixels[t, k, j, i]` is a NIfTI file's data (i, j, k, t) seen in C order: j = row, i = column, k = slice, t = frame.
* `affine` maps (i, j, k, 1) to RAS millimetres; pixel centres lie at integers; frames count from 0.
* points are `(column_px, row_px)`, floating point.
* times are per slice: `frame_times_ms[k, t]`, `rr_ms[k]`; NaN is "unknown".
* a cohort keeps every cine in its canonical display (`cmrlib.cine.display`), whatever order its source file stores.
"""

import math
from dataclasses import dataclass, field, replace

import cv2
import numpy as np


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
        if self.frame_times_ms is None or self.frames < 2:
            return float("nan")
        return float(np.nanmedian(np.diff(self.frame_times_ms, axis=1)))

    @property
    def heart_rate_bpm(self) -> float:
        if self.rr_ms is None or not np.isfinite(self.rr_ms).any():
            return float("nan")
        return 60_000 / float(np.nanmedian(self.rr_ms))

    def section(self, k: int) -> "Section":
        """Slice k through time."""
        return Section(self, k)

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
        """Percentiles over the whole cine, from at most about 200,000 pixels taken at a fixed stride."""
        stride = max(1, self.pixels.size // 200_000)
        while math.gcd(stride, self.pixels.shape[-1]) > 1:  # else it would meet the same few columns in every row
            stride += 1
        low, high = np.percentile(np.asarray(self.pixels.reshape(-1)[::stride], np.float32), [low_pct, high_pct])
        return float(low), float(max(high, low + 1e-6))


@dataclass(frozen=True, eq=False)
class Section:
    """One slice of a Cine through time: `pixels` (frames, rows, columns), a view on the cine's own."""

    cine: Cine
    k: int

    def __post_init__(self):
        if not 0 <= self.k < self.cine.slices:
            raise IndexError(f"{self.cine.name}: slice {self.k} of {self.cine.slices} (slices count from 0)")

    @property
    def pixels(self) -> np.ndarray:
        return self.cine.pixels[:, self.k]

    @property
    def frame_times_ms(self) -> np.ndarray | None:
        times = self.cine.frame_times_ms
        return None if times is None else times[self.k]


@dataclass(frozen=True)
class Plane:
    """An in-plane map for pixels, masks and points together, and the way back.

    matrix: (2, 3), takes (column, row) of the *output* grid to (column, row) of the input.
    shape: (rows, columns) of the output. One warp does crop, resampling, rotation and mirror at once.
    bend_px: (rows, columns, 2) or None, what is added to each output (column, row) before the matrix: training crops
    change the shape of a heart by it. Only `pixels` and `mask` know of it.
    """

    matrix: np.ndarray
    shape: tuple[int, int]
    source_shape: tuple[int, int]
    bend_px: np.ndarray | None = None

    @classmethod
    def around(cls, source_shape, spacing_px, shape, centre_px=None, rotation_deg=0.0, mirror=False) -> "Plane":
        """Output of `shape` around `centre_px` (column, row; default the image's centre).

        spacing_px: input pixels per output pixel, (rows, columns) or one number. rotation_deg turns the
        sampling grid, mirror flips its columns.
        """
        rows, columns = source_shape
        centre = np.array([(columns - 1) / 2, (rows - 1) / 2] if centre_px is None else centre_px, float)
        step_row, step_column = np.broadcast_to(np.asarray(spacing_px, float), (2,))
        angle = np.deg2rad(rotation_deg)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        # rotate in a square grid of output pixels, then stretch to the input's (possibly anisotropic) pixels
        linear = np.diag([step_column, step_row]) @ turn @ np.diag([-1.0 if mirror else 1.0, 1.0])
        middle = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
        return cls(np.c_[linear, centre - linear @ middle], tuple(shape), tuple(source_shape))

    @property
    def inverse(self) -> np.ndarray:
        """(2, 3): (column, row) of the input → output."""
        return cv2.invertAffineTransform(self.matrix)

    def pixels(self, image, interpolation=cv2.INTER_LINEAR, outside: float = 0) -> np.ndarray:
        """Image (rows, columns[, channels]) → float32 on the output grid; `outside` where the input ends.

        8- and 16-bit images are warped as they are and converted after: the output is usually the smaller one.
        """
        small = image.dtype in (np.uint8, np.uint16, np.int16)
        image = np.ascontiguousarray(image) if small else np.ascontiguousarray(image, np.float32)
        return self._taken(image, interpolation, outside).astype(np.float32, copy=False)

    def mask(self, mask, outside: int = 0) -> np.ndarray:
        """Label map → output grid by nearest neighbour; labels never mix."""
        return self._taken(np.ascontiguousarray(mask, np.uint8), cv2.INTER_NEAREST, outside)

    def _taken(self, image, interpolation, outside):
        if self.bend_px is None:
            return self._warp(image, self.matrix, self.shape, interpolation, outside)
        columns, rows = np.meshgrid(np.arange(self.shape[1]), np.arange(self.shape[0]))
        places = (np.stack([columns, rows], -1) + self.bend_px) @ self.matrix[:, :2].T + self.matrix[:, 2]
        return cv2.remap(image, places.astype(np.float32), None, interpolation, borderValue=(outside,) * 4)

    def points(self, points_px) -> np.ndarray:
        """Points (n, 2) of the input → output."""
        return np.asarray(points_px, float) @ self.inverse[:, :2].T + self.inverse[:, 2]

    def back_pixels(self, image, interpolation=cv2.INTER_LINEAR) -> np.ndarray:
        """Output grid → input grid, zero where the output did not reach."""
        return self._warp(np.ascontiguousarray(image, np.float32), self.inverse, self.source_shape, interpolation)

    def back_points(self, points_px) -> np.ndarray:
        return np.asarray(points_px, float) @ self.matrix[:, :2].T + self.matrix[:, 2]

    @staticmethod
    def _warp(image, matrix, shape, interpolation, outside=0):
        flags = interpolation | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(image, matrix, shape[::-1], flags=flags, borderValue=(outside,) * 4)
