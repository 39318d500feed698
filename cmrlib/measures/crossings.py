"""Where a long-axis plane cuts a short-axis slice both show the same line of the heart: outlines must agree there.

It needs no truth. `crossings` reads the labels of both along each such line; `agreement` is their Dice, low where one
of two networks drew something else than the heart; `slice_shifts_mm` says how far breathing moved each slice against
the long axes, and `shifted` moves it back.
"""

from dataclasses import dataclass, replace

import numpy as np

from cmrlib.cine import Cine, Plane
from cmrlib.cine.anatomy import LONG_AXIS, NOT_ANNOTATED, codes
from cmrlib.cine.display import orientation_known
from cmrlib.cohort import Annotation

STEP_MM = 0.5
SHORTEST_MM = 40.0
"""A line that lies in both images for less says nothing of a heart."""

LEAST_AGREEMENT = 0.75
"""Below this a long axis and the stack do not show one heart. Outlines that one would sign agree by .85 and more."""

FARTHEST_SHIFT_MM = 12.0
STEADY_PER_MM2 = 0.001
"""What a square millimetre of shift must bring in agreement (ours): where nothing speaks for a shift there is none."""


@dataclass(frozen=True, eq=False)
class Crossing:
    """The line that a long-axis plane and short-axis slice k share, in every frame that both annotated.

    line_px, long_px: (n, 2) as (column, row) of the slice and of the long axis, STEP_MM apart. frames: of the stack.
    mask: (frames, rows, columns) of the slice. long: (frames, n) labels of the long axis on the line.
    """

    k: int
    frames: list[int]
    line_px: np.ndarray
    long_px: np.ndarray
    mask: np.ndarray
    long: np.ndarray

    def short(self, shift_px=(0.0, 0.0)) -> np.ndarray:
        """(frames, n) labels of the slice on the line, after it moved by (columns, rows); 255 beyond the image."""
        columns, rows = np.rint(self.line_px - shift_px).astype(int).T
        height, width = self.mask.shape[1:]
        outside = (columns < 0) | (columns >= width) | (rows < 0) | (rows >= height)
        labels = self.mask[:, rows.clip(0, height - 1), columns.clip(0, width - 1)]
        return np.where(outside, NOT_ANNOTATED, labels)


def comparable(views: dict[str, tuple[Cine, Annotation]]) -> list[str]:
    """Long-axis views of an examination whose planes can be laid against its short-axis stack: LV drawn in both, and
    places known."""

    def placed(cine, annotation):
        drawn = any("lv" in structures for structures in annotation.annotated.values())
        return drawn and cine.spacing_known and orientation_known(cine)

    if "sax" not in views or not placed(*views["sax"]):
        return []
    return [view for view in LONG_AXIS if view in views and placed(*views[view])]


def crossings(short: tuple[Cine, Annotation], long: tuple[Cine, Annotation]) -> list[Crossing]:
    """Lines of a short-axis stack and a long-axis view, a slice each. A frame of the stack meets the long axis's
    nearest in phase."""
    (sax, drawn), (lax, seen) = short, long
    frames = [t for t, structures in drawn.annotated.items() if "lv" in structures and t not in sax.incomplete_frames]
    known = np.array([t for t, structures in seen.annotated.items() if "lv" in structures], int)
    known = known[~np.isin(known, lax.incomplete_frames)]
    if not frames or not len(known):
        return []
    apart = np.abs((lax.phase()[known] - sax.phase()[frames, None] + 0.5) % 1 - 0.5)
    partners = known[np.nan_to_num(apart, nan=0.0).argmin(1)]
    found = []
    for k in range(sax.slices):
        line_px = _line(sax, lax, k)
        if line_px is None:
            continue
        in_lax = lax.to_pixels(sax.to_world(line_px, k))[:, :2]
        inside = _inside(line_px, sax) & _inside(in_lax, lax)
        if inside.sum() * STEP_MM < SHORTEST_MM:
            continue
        columns, rows = np.rint(in_lax[inside]).astype(int).T
        seen_there = np.asarray(seen.mask)[partners, 0][:, rows, columns]
        found.append(
            Crossing(k, frames, line_px[inside], in_lax[inside], np.asarray(drawn.mask)[frames][:, k], seen_there)
        )
    return found


def _line(sax, lax, k):
    """(n, 2) as (column, row) of slice k: where it meets a long-axis image's plane; None where they are parallel."""
    normal = np.cross(*(np.asarray(lax.affine, float)[:3, axis] for axis in (0, 1)))
    normal /= np.linalg.norm(normal)
    origin = np.asarray(lax.affine, float)[:3, 3]
    axes, spacing = np.asarray(sax.affine, float)[:3, :2], np.array(sax.spacing_mm[:0:-1])
    slope = normal @ (axes / spacing)  # per mm along columns and rows
    steep = np.linalg.norm(slope)
    if steep < 0.5:
        return None
    slope /= steep
    reach = np.hypot(*(np.array(sax.pixels.shape[:1:-1]) * spacing))
    middle = (np.array(sax.pixels.shape[:1:-1]) - 1) / 2
    off = normal @ (sax.to_world([middle], k)[0] - origin) / steep
    along = np.array([-slope[1], slope[0]])
    steps = np.arange(-reach / 2, reach / 2, STEP_MM)[:, None]
    return middle + (steps * along - off * slope) / spacing


def _inside(points_px, cine):
    limit = np.array(cine.pixels.shape[:1:-1]) - 0.51
    return ((points_px > -0.49) & (points_px < limit)).all(1)


def agreement(lines: list[Crossing], structures=("lv",), shift_px=(0.0, 0.0)) -> float:
    """Dice of some structures, taken together, along all lines and frames; NaN where neither drew them. shift_px: by
    which the slices' masks are moved."""
    both, either = 0, 0
    for line in lines:
        short = line.short(shift_px)
        known = (short != NOT_ANNOTATED) & (line.long != NOT_ANNOTATED)
        ours, theirs = (np.isin(labels, codes(structures)) & known for labels in (short, line.long))
        both, either = both + (ours & theirs).sum(), either + ours.sum() + theirs.sum()
    return float(2 * both / either) if either else float("nan")


def agreements(views: dict[str, tuple[Cine, Annotation]]) -> dict[str, float]:
    """Long-axis view → its agreement with the short-axis stack of the same examination, where they can be compared."""
    found = {view: agreement(crossings(views["sax"], views[view])) for view in comparable(views)}
    return {view: value for view, value in found.items() if np.isfinite(value)}


def slice_shifts_mm(sax: Cine, by_view: dict[str, list[Crossing]]) -> np.ndarray:
    """(slices, 2) mm along columns and rows by which each slice must move to agree best with the long axes.

    Agreement counts cavity, and cavity with wall, in each view alike; `STEADY_PER_MM2` holds a slice where it is. NaN
    for slices that fewer than two long axes cross, or in which neither shows the LV.
    """
    spacing, shifts = np.array(sax.spacing_mm[:0:-1]), np.full((sax.slices, 2), np.nan)
    for k in range(sax.slices):
        lines = [line for found in by_view.values() for line in found if line.k == k]
        if len(lines) < 2:
            continue

        def gain(shift_mm, lines=lines):
            found = [agreement([line], one, shift_mm / spacing) for line in lines for one in (("lv",), ("lv", "myo"))]
            return np.mean(found) - STEADY_PER_MM2 * (shift_mm**2).sum()  # NaN where a line shows no LV

        if np.isfinite(gain(np.zeros(2))):
            best = np.zeros(2)
            for reach, step in ((FARTHEST_SHIFT_MM, 3.0), (3.0, 1.0), (1.0, 0.5)):
                steps = np.arange(-reach, reach + step / 2, step)
                tried = [best + np.array([across, down]) for across in steps for down in steps]
                best = max(tried, key=gain)
            shifts[k] = best
    return shifts


def shifted(cine: Cine, annotation: Annotation, shifts_mm) -> tuple[Cine, Annotation]:
    """A short-axis stack and its masks with every slice moved by `slice_shifts_mm` (NaN: not at all)."""
    pixels, mask = np.array(cine.pixels), np.array(annotation.mask)
    shape = pixels.shape[2:]
    for k, (across, down) in enumerate(np.nan_to_num(np.asarray(shifts_mm) / cine.spacing_mm[:0:-1])):
        plane = Plane(np.array([[1.0, 0, -across], [0, 1, -down]]), shape, shape)
        for t in range(cine.frames):
            pixels[t, k] = np.rint(plane.pixels(pixels[t, k])).astype(pixels.dtype)
            mask[t, k] = plane.mask(mask[t, k])
    return replace(cine, pixels=pixels), replace(annotation, mask=mask)
