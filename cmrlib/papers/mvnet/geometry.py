"""Where MVnet looks: the whole image made small (stage 1), the valve made upright (stage 2), and the way back.

Both are one `Plane` each, so points stay floating-point numbers from the network to the native image. Points are
(…, 2, 2): two points as (column, row), first the one that stands left in stage 2 (anterior or lateral).
"""

from itertools import product

import numpy as np

from cmrlib.cine import Cine, Plane
from cmrlib.cine.display import Reorientation, orientation_known, reorientation

STAGE1_SHAPE = (160, 160)
STAGE2_SHAPE, STAGE2_MM = (118, 162), 0.75
"""118×162 is taken as rows×columns: the valve lies across, and its plane must fit more than its motion."""

ORIENTATIONS = [Reorientation(transposed, False, *turned) for transposed, *turned in product((False, True), repeat=3)]
"""The eight orders of rows and columns in which an image can be looked at."""
_VALVE_DEG = {"4ch": -136.0, "2ch": 62.0}
"""Direction of the line from the first point to the second in upright images, clockwise from the picture's right."""


def knows_orientation(cine: Cine) -> bool:
    """Whether the affine says how the patient lies: images that lost their spacing lost that too."""
    return cine.spacing_known and orientation_known(cine)


def axes(by: Reorientation) -> np.ndarray:
    """(2, 2): column 0 runs across the picture that a reorientation makes, column 1 down, as (column, row) stored."""
    return by.matrix((1, 1, 1))[:2, :2]


def is_reflection(by: Reorientation) -> bool:
    return bool(np.linalg.det(axes(by)) < 0)


def orientation_from_points(points_px, view: str) -> Reorientation:
    """The unmirrored one of `ORIENTATIONS` in which points (2, 2) lie as those of upright images do."""
    along, wanted = points_px[1] - points_px[0], np.deg2rad(_VALVE_DEG[view])
    unmirrored = [by for by in ORIENTATIONS if not is_reflection(by)]
    return max(unmirrored, key=lambda by: along @ axes(by) @ [np.cos(wanted), np.sin(wanted)])


def stage1_plane(cine: Cine, shape=STAGE1_SHAPE, by: Reorientation | None = None) -> Plane:
    """The whole image resized to `shape`, so pixels become anisotropic, as the paper has it.

    by: one of `ORIENTATIONS`. Default that of the affine, so that a heart stored in any of eight orders gives one
    picture; as it is stored where that is unknown.
    """
    rows, columns = cine.pixels.shape[2:]
    if by is None:
        by = reorientation(cine) if knows_orientation(cine) else Reorientation()
    size, shown = np.array([columns, rows], float), (rows, columns) if by.transposed else (columns, rows)
    linear = axes(by) * shown / shape[::-1]
    middle = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
    return Plane(np.c_[linear, (size - 1) / 2 - linear @ middle], tuple(shape), (rows, columns))


def spacing_or_one(cine: Cine) -> np.ndarray:
    """Pixel size (column, row) in mm; 1 where it was lost, so that relative sizes still hold."""
    return np.array(cine.spacing_mm[:0:-1] if cine.spacing_known else (1.0, 1.0))


def apical_side(points_px, spacing_mm, ed: int = 0) -> float:
    """Which way the valve moves from frame `ed`, seen along the line from the first point to the second: +1 where the
    apex lies a quarter turn from that direction towards (−row, column), −1 on the other side, 0 where nothing moves.

    points_px: (frames, 2, 2). The motion of the other frames decides, as in the paper.
    """
    mm = np.asarray(points_px, float) * spacing_mm
    along = mm[ed, 1] - mm[ed, 0]
    apical = np.array([-along[1], along[0]])
    return float(np.sign(np.round((mm - mm[ed]).mean((0, 1)) @ apical, 9)))


def stage2_plane(
    points_px, spacing_mm, source_shape, mirrored: bool = False, shape=STAGE2_SHAPE, step_mm: float = STAGE2_MM
) -> Plane:
    """The standardised picture: isotropic `step_mm`, valve across and in the middle, apex down, first point left.

    points_px: (2, 2) of the frame that gives orientation and centre. spacing_mm: (column, row). mirrored: see
    `is_mirrored` and `apical_side`. Raises ValueError for points that coincide or are not finite.
    """
    mm = np.asarray(points_px, float) * spacing_mm
    along = mm[1] - mm[0]
    if not np.isfinite(mm).all() or np.hypot(*along) < 1e-6:
        raise ValueError(f"two different mitral points are needed to set a valve upright, got {np.asarray(points_px)}")
    angle = np.degrees(np.arctan2(along[1], along[0])) + (180.0 if mirrored else 0.0)
    step_px = step_mm / np.asarray(spacing_mm, float)[::-1]  # input pixels per output pixel, (row, column)
    return Plane.around(source_shape, step_px, shape, (mm.mean(0) / spacing_mm), angle, mirrored)


def jittered(plane: Plane, scale: float, rotation_deg: float, shift_px, mirror: bool = False) -> Plane:
    """A plane whose grid is mirrored, scaled, turned and shifted (output pixels): augmentation in the network's own
    pixels."""
    angle = np.deg2rad(rotation_deg)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([(plane.shape[1] - 1) / 2, (plane.shape[0] - 1) / 2])
    offset = middle + shift_px - turn @ middle
    if mirror:
        turn, offset = turn * [-1, 1], offset + turn[:, 0] * (plane.shape[1] - 1)
    linear = plane.matrix[:, :2] @ turn
    return Plane(np.c_[linear, plane.matrix[:, :2] @ offset + plane.matrix[:, 2]], plane.shape, plane.source_shape)
