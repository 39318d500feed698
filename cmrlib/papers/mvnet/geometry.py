"""Where MVnet looks: the whole image made small (stage 1), the valve made upright (stage 2), and the way back.

Both are one `Plane` each, so points stay floating-point numbers from the network to the native image. Points are
(…, 2, 2): two points as (column, row), first the one that stands left in stage 2 (anterior or lateral).
"""

import numpy as np

from cmrlib.cine import Cine, Plane
from cmrlib.cine.anatomy import MITRAL_POINTS
from cmrlib.cine.display import DISPLAYS, orientation_known

STAGE1_SHAPE = (160, 160)
STAGE2_SHAPE, STAGE2_MM = (118, 162), 0.75
"""118×162 is taken as rows×columns: the valve lies across, and its plane must fit more than its motion."""


def require_valve_view(cine: Cine):
    if cine.view not in MITRAL_POINTS:
        raise ValueError(f"{cine.name}: view {cine.view!r} has no mitral points; MVnet tracks {list(MITRAL_POINTS)}")


def knows_orientation(cine: Cine) -> bool:
    """Whether the affine says how the patient lies: images that lost their spacing lost that too."""
    return cine.spacing_known and orientation_known(cine)


def is_mirrored(cine: Cine) -> bool:
    """Whether the image shows the heart as in a mirror, by the affine; False where that is unknown."""
    if not knows_orientation(cine):
        return False
    column, row = np.asarray(cine.affine, float)[:3, :2].T
    return float(np.cross(column, row) @ np.cross(*DISPLAYS[cine.view])) < 0


_RIGHT, _DOWN = np.array([1.0, 0.0]), np.array([0.0, 1.0])
WAYS = [
    (across, down)
    for right in (_RIGHT, -_RIGHT)
    for across, down in ((right, _DOWN), (_DOWN, -right), (-right, -_DOWN), (-_DOWN, right))
]
"""The eight ways to lay an image, four of them mirrored: axes of the picture, (across, down), as (column, row) of the
image."""
_VALVE_DEG = {"4ch": -136.0, "2ch": 62.0}
"""Direction of the line from the first point to the second in upright images, clockwise from the picture's right."""


def turns_over(way) -> bool:
    """Whether a way of `WAYS` mirrors the image."""
    return bool(np.linalg.det(way) < 0)


def stage1_plane(cine: Cine, shape=STAGE1_SHAPE, way=None) -> Plane:
    """The whole image resized to `shape`, so pixels become anisotropic, as the paper has it.

    way: one of `WAYS`. By default the one that the affine tells: the same heart, stored in any of the eight ways,
    reaches the network as the same picture. Where the affine is not known, as the image is stored.
    """
    rows, columns = cine.pixels.shape[2:]
    across, down = _upright(cine) if way is None else way
    size = np.array([columns, rows], float)
    linear = np.stack([across * (np.abs(across) @ size) / shape[1], down * (np.abs(down) @ size) / shape[0]], 1)
    middle = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
    return Plane(np.c_[linear, (size - 1) / 2 - linear @ middle], tuple(shape), (rows, columns))


def _upright(cine):
    """Of the eight ways to lay an image, the one nearest to how its view is usually shown."""
    if not knows_orientation(cine):
        return WAYS[0]
    axes = np.asarray(cine.affine, float)[:3, :2].T
    column, row = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    wanted, mirrored = np.ravel(DISPLAYS[cine.view]), is_mirrored(cine)
    ways = [way for way in WAYS if turns_over(way) == mirrored]
    return max(ways, key=lambda way: np.r_[way[0] @ [column, row], way[1] @ [column, row]] @ wanted)


def upright_way(points_px, view: str):
    """The way of `WAYS`, unmirrored, that lays an image of unknown orientation so that its points (2, 2) lie as those
    of upright images do."""
    along, wanted = points_px[1] - points_px[0], np.deg2rad(_VALVE_DEG[view])
    return max(WAYS[:4], key=lambda way: along @ way[0] * np.cos(wanted) + along @ way[1] * np.sin(wanted))


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

    points_px: (2, 2) of the frame that gives orientation and centre. spacing_mm: (column, row). mirrored: turned over
    too (see `is_mirrored` and `apical_side`). Raises ValueError for points that coincide or are not finite.
    """
    mm = np.asarray(points_px, float) * spacing_mm
    along = mm[1] - mm[0]
    if not np.isfinite(mm).all() or np.hypot(*along) < 1e-6:
        raise ValueError(f"two different mitral points are needed to set a valve upright, got {np.asarray(points_px)}")
    angle = np.degrees(np.arctan2(along[1], along[0])) + (180.0 if mirrored else 0.0)
    step_px = step_mm / np.asarray(spacing_mm, float)[::-1]  # input pixels an output pixel, (row, column)
    return Plane.around(source_shape, step_px, shape, (mm.mean(0) / spacing_mm), angle, mirrored)


def jittered(plane: Plane, scale: float, rotation_deg: float, shift_px) -> Plane:
    """A plane whose grid is scaled, turned and shifted (output pixels): augmentation in the network's own pixels."""
    angle = np.deg2rad(rotation_deg)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([(plane.shape[1] - 1) / 2, (plane.shape[0] - 1) / 2])
    linear = plane.matrix[:, :2] @ turn
    offset = plane.matrix[:, :2] @ (middle + shift_px - turn @ middle) + plane.matrix[:, 2]
    return Plane(np.c_[linear, offset], plane.shape, plane.source_shape)


def flipped(plane: Plane) -> Plane:
    """The same picture as in a mirror."""
    turned = plane.matrix.copy()
    turned[:, 2] += turned[:, 0] * (plane.shape[1] - 1)
    turned[:, 0] *= -1
    return Plane(turned, plane.shape, plane.source_shape)
