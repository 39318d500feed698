"""Canonical display: every view as radiology shows it, whatever order its source file stores.

Files store either handedness of a plane, rows or columns first, slices in either direction; the affine says which.
`displayed` brings a cine into one order, so that storage changes no result of any network or measure.
"""

from dataclasses import asdict, dataclass, replace

import numpy as np

from cmrlib.cine import Cine

DISPLAYS = {
    "sax": ((-0.63, -0.78, 0.0), (0.41, -0.33, -0.85)),  # from the apex: RV on the left, anterior wall on top
    "4ch": ((-1.0, 0.0, 0.0), (0.0, -0.78, 0.62)),  # from the feet: patient's right on the left, chest wall on top
    "2ch": ((0.78, -0.63, 0.0), (0.0, 0.0, -1.0)),  # sagittal: chest wall on the left, head on top
    "3ch": ((-0.10, -0.98, 0.10), (-0.80, 0.05, -0.60)),  # sagittal likewise
}
"""View → patient directions (RAS) in which its picture runs, from left to right and from top to bottom, as radiology
shows it. Slices come towards the viewer, those of a short-axis stack from base to apex. A view that is not listed is
shown like the one whose plane lies closest."""

LARGEST_TILT_DEG = 50.0
"""As far as a plane may lean from the usual one of its view. Long axes of hearts differ by some 25°; an axial plane,
which archives that lost the true directions write, leans 58° from a short-axis one."""


@dataclass(frozen=True)
class Reorientation:
    """How pixels of one order become those of another: rows and columns change places, then axes are reversed."""

    transposed: bool = False
    reversed_slices: bool = False
    reversed_rows: bool = False
    reversed_columns: bool = False

    def __call__(self, array):
        """(…, slices, rows, columns) → the new order, as a view."""
        array = array.swapaxes(-1, -2) if self.transposed else array
        return array[..., *self._steps]

    def back(self, array):
        """(…, slices, rows, columns) in the new order → the old one, as a view."""
        array = array[..., *self._steps]
        return array.swapaxes(-1, -2) if self.transposed else array

    @property
    def _steps(self):
        reverse = self.reversed_slices, self.reversed_rows, self.reversed_columns
        return [slice(None, None, -1 if one else 1) for one in reverse]

    def matrix(self, shape) -> np.ndarray:
        """(4, 4): new (i, j, k, 1) → old, for an old shape (…, slices, rows, columns)."""
        slices, rows, columns = shape[-3:]
        if self.transposed:
            rows, columns = columns, rows
        turn = np.eye(4)
        ends = (columns, self.reversed_columns), (rows, self.reversed_rows), (slices, self.reversed_slices)
        for axis, (size, reverse) in enumerate(ends):
            if reverse:
                turn[axis, axis], turn[axis, 3] = -1, size - 1
        return turn[[1, 0, 2, 3]] if self.transposed else turn


def displayed(cine: Cine) -> tuple[Cine, Reorientation]:
    """A cine in its canonical display, and what was done to it; `back` of that leads to the order of its source, also
    later (`Reorientation(**cine.meta["stored_as"]).back`).

    A cine whose affine is not possible for its view stays as it is, with the flag `orientation_unknown`.
    """
    if "orientation_unknown" in cine.flags:
        return cine, Reorientation()
    if not orientation_known(cine):
        return replace(cine, flags=(*cine.flags, "orientation_unknown")), Reorientation()
    by = reorientation(cine)
    if by == Reorientation():
        return cine, by
    shown = reoriented(cine, by)
    return replace(shown, meta=shown.meta | {"stored_as": asdict(by)}), by


def orientation_known(cine: Cine) -> bool:
    """Whether the affine's directions are possible for the view: neither nominal (exactly along the body's axes) nor
    those of a plane that leans far from the view's usual one."""
    if "orientation_unknown" in cine.flags:
        return False
    columns, rows, across = _directions(cine.affine)
    nominal = min(abs(columns).max(), abs(rows).max()) > 0.9999
    return not nominal and _cosine(across, _display(cine)) > np.cos(np.deg2rad(LARGEST_TILT_DEG))


def is_mirrored(cine: Cine) -> bool:
    """Whether a cine's pixels show the heart as in a mirror, by the affine; False where its directions or its spacing
    are unknown."""
    if not (cine.spacing_known and orientation_known(cine)):
        return False
    by = reorientation(cine)
    return bool(by.transposed ^ by.reversed_rows ^ by.reversed_columns)


def reorientation(cine: Cine) -> Reorientation:
    """Which of the eight orders of rows and columns, and which order of slices, is closest to the canonical display."""
    columns, rows, slices = _display(cine)
    stored = _directions(cine.affine)
    straight = abs(stored[0] @ columns) + abs(stored[1] @ rows)
    crossed = abs(stored[1] @ columns) + abs(stored[0] @ rows)
    across, down = (1, 0) if crossed > straight else (0, 1)
    step = np.asarray(cine.affine)[:3, 2]  # not the planes' normal, which knows no order of slices
    return Reorientation(
        bool(crossed > straight),
        bool(step @ slices < 0),
        bool(stored[down] @ rows < 0),
        bool(stored[across] @ columns < 0),
    )


def reoriented(cine: Cine, by: Reorientation) -> Cine:
    """The same cine in another order of pixels: affine, times and missing pictures follow, nothing is copied."""

    def turned(values):
        return values if values is None or not by.reversed_slices else np.asarray(values)[::-1]

    place, meta = cine.slice_position_mm, cine.meta
    if by.reversed_slices:
        place = None if place is None else np.max(place) - np.asarray(place)
        if "missing" in meta:
            meta = meta | {"missing": [[cine.slices - 1 - k, t] for k, t in meta["missing"]]}
    return replace(
        cine,
        pixels=by(cine.pixels),
        affine=np.asarray(cine.affine) @ by.matrix(cine.pixels.shape),
        frame_times_ms=turned(cine.frame_times_ms),
        rr_ms=turned(cine.rr_ms),
        slice_position_mm=turned(place),
        meta=meta,
    )


def _display(cine):
    """Directions of the canonical display of a cine's view, or of the view whose plane lies closest."""
    across = _directions(cine.affine)[2]
    near = cine.view if cine.view in DISPLAYS else max(DISPLAYS, key=lambda view: _cosine(across, _frame(view)))
    return _frame(near)


def _frame(view):
    """Unit vectors (RAS) of a view's columns, rows and slices, made orthogonal."""
    columns, rows = map(np.array, DISPLAYS[view])
    columns = columns / np.linalg.norm(columns)
    rows = rows - (rows @ columns) * columns
    rows = rows / np.linalg.norm(rows)
    return columns, rows, np.cross(rows, columns)


def _directions(affine):
    """Unit vectors (RAS) of columns, rows and the plane's normal, which points to the viewer."""
    columns, rows = (np.asarray(affine, float)[:3, axis] for axis in (0, 1))
    across = np.cross(rows, columns)
    return tuple(direction / np.linalg.norm(direction) for direction in (columns, rows, across))


def _cosine(across, display) -> float:
    return float(abs(across @ display[2]))
