"""Which view a stack shows: from its geometry relative to the short-axis stack, from its description, by name.

A long-axis plane of the LV holds its axis: the normal of the short-axis stack, through the place of the moving cavity.
Planes beside it on the right cut the right heart (`rv`) or its outflow tract (`rvot`). Angles: the long axis a points
to the apex (left, front, down). Around it, from the anterior wall towards the septum, a long-axis plane cuts at about
0° (2CH), 60° (3CH), 120° (4CH); the standard planes of Cerqueira et al., Circulation 2002.

The axis is found in the moving picture without a network: in every short-axis slice the cavity is a bright disc inside
a dark ring, and its border moves all around. The right ventricle moves as much but is no disc; vessels and stomach are
discs that hardly move. The mean over slices leaves what continues along the stack's normal.
"""

import re
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from cmrlib.cine.anatomy import VIEWS
from cmrlib.cine.display import DISPLAYS, LARGEST_TILT_DEG
from cmrlib.datasets.geometry import Stack, normal

_WORDS = {
    "rvot": r"rvot|rv.?outflow|right.ventric\w*.outflow|pulm\w*.outflow",
    "rv": r"(?<![a-z])rv.?[234]?.?ch|rv.?(vla|lax|long)|right.heart|rv.in.?(flow|out)",
    "4ch": r"4.?ch|four.?ch|\bhla\b",
    "2ch": r"2.?ch|two.?ch|\bvla\b",
    "3ch": r"3.?ch|three.?ch",
    "sax": r"sax|short.?ax|(?<![a-z])sa(?![a-z])",
    "lax": r"lax|long.?ax",
}
_APEX_LPS = np.array([0.66, -0.53, -0.53])
"""Where the apex points in most people: what tells a short-axis stack from an axial or coronal one."""
_RIGHT_LPS = np.array([-1.0, 0.0, 0.0])
FARTHEST_MM = 15.0
"""As far as a plane that shows the LV may pass its axis, in the median of the slices: scouts and breath-holds move
planes by some mm; planes of the right heart pass it by 25 mm and more."""


def view_in(text: str) -> str:
    """The view a description or folder name speaks of, empty where it names none."""
    return next((view for view, words in _WORDS.items() if re.search(words, text.lower())), "")


def check_views(label: str, views: dict):
    """Raise ValueError where the `views` option names a view that does not exist."""
    strange = sorted(set(views.values()) - set(VIEWS))
    if strange:
        raise ValueError(f"sub-{label}: unknown views {strange} in the option `views`; known are {', '.join(VIEWS)}")


@dataclass(frozen=True, eq=False)
class _Axis:
    """The LV's axis. direction: unit vector (LPS) to the apex. points: (n, 3) LPS mm on it, None where unknown."""

    direction: np.ndarray
    points: np.ndarray | None


def name_views(stacks: list[Stack], views: dict, slices_of=None) -> list[tuple[str, tuple[str, ...]]]:
    """(view, flags) of every stack of one study.

    views: {series description or folder name: view}, the user's word. Else geometry where there is a short-axis
    stack (flagged where the description says otherwise), else the description, else the innermost folder's name; where
    these two name different views, or where the plane is impossible for the view, it is unknown. slices_of: stack → its
    pixels, (frames, rows, columns) a slice; asked for the short-axis stack, whose moving cavity says where the LV lies.
    """
    short_axis = next((s for s in stacks if _is_short_axis(s)), None)
    axis = None
    if short_axis:
        direction = normal(short_axis.first.orientation)
        direction = direction if direction @ _APEX_LPS > 0 else -direction
        alone = len(stacks) == 1 or slices_of is None
        axis = _Axis(direction, None if alone else lv_axis_lps(short_axis.affine, slices_of(short_axis)))
    return [_name(stack, axis, {key.lower(): view for key, view in views.items()}) for stack in stacks]


def repeated_beside(stack: Stack, view: str) -> bool:
    """Whether parallel long-axis planes are one view taken again beside the first, rather than a stack.

    So where each slice is a series of its own, or where they are but two.
    """
    if len(stack.grid) < 2 or view not in ("2ch", "3ch", "4ch", "lax"):
        return False
    series = [{frame.series for frame in row if frame is not None} for row in stack.grid]
    return len(stack.grid) == 2 or sum(map(len, series)) == len(set().union(*series))


def _name(stack, axis, views):
    first = stack.first
    *_, innermost = ["", *first.folder.split("/")]
    for name in (first.description, *reversed(first.folder.split("/"))):
        if name.lower() in views:
            return views[name.lower()], ("view_as_named",)
    told = view_in(first.description)
    seen = _seen(stack, axis, told) if axis else ""
    if seen:
        agree = not told or told == seen or (told == "lax" and seen != "sax")
        return seen, () if agree else ("view_disagrees_with_description",)
    if axis and axis.points is not None and told in DISPLAYS and told != "sax" and _beside(stack, axis):
        return "unknown", ("plane_misses_lv",)
    named = view_in(innermost)
    if told and named and told != named and "lax" not in (told, named):  # nothing tells which of the two is wrong
        return "unknown", ("view_disagrees_with_description",)
    said, by = (told, "view_from_description") if told else (named, "view_from_folder_name")
    if not said:
        return "unknown", ("view_unknown",)
    return (said, (by,)) if _possible(stack, said) else ("unknown", ("view_disagrees_with_geometry",))


def _is_short_axis(stack) -> bool:
    """At least five parallel slices across the usual long axis, or three that are called short-axis."""
    across = abs(normal(stack.first.orientation) @ _APEX_LPS) > np.cos(np.deg2rad(45))
    return len(stack.grid) >= 3 and ((across and len(stack.grid) >= 5) or view_in(stack.first.description) == "sax")


def _possible(stack, view) -> bool:
    """Whether a plane may be of a view, by how far it leans from the usual one; nominal directions say nothing."""
    directions = np.asarray(stack.first.orientation, float)
    if view not in DISPLAYS or abs(directions).max(1).min() > 0.9999:
        return True
    usual = np.cross(*DISPLAYS[view]) * [-1, -1, 1]
    usual = usual / np.linalg.norm(usual)
    return abs(normal(directions) @ usual) > np.cos(np.deg2rad(LARGEST_TILT_DEG))


def _seen(stack, axis, told="") -> str:
    """View of a stack by its angle to the short-axis stack, its distance from the LV's axis and the angle around it;
    empty where geometry does not tell. Planes of the right heart that lie alike are told apart by their description."""
    across = normal(stack.first.orientation)
    tilt = np.rad2deg(np.arccos(min(1.0, abs(across @ axis.direction))))
    if tilt < 20:
        return "sax"
    if tilt < 60:
        return ""
    up = np.array([0.0, 0.0, 1.0])
    anterior = up - (up @ axis.direction) * axis.direction
    cut = np.cross(axis.direction, across)
    around = np.rad2deg(np.arctan2(cut @ np.cross(axis.direction, anterior), cut @ anterior)) % 180
    view = "3ch" if 30 <= around < 85 else "4ch" if 85 <= around < 150 else "2ch"
    if axis.points is None:
        return told if told in ("rv", "rvot") else view
    if not _beside(stack, axis):
        return view
    if (axis.points.mean(0) - _place(stack)) @ across * (across @ _RIGHT_LPS) > 0:
        return ""  # on the left of the LV: neither ventricle
    sagittal = abs(across @ _RIGHT_LPS) > np.cos(np.deg2rad(30))
    return told if told in ("rv", "rvot") else "rvot" if sagittal else "rv"


def _beside(stack, axis) -> bool:
    """Whether a plane passes the LV's axis at a distance."""
    away = (axis.points - _place(stack)) @ normal(stack.first.orientation)
    return float(np.median(np.abs(away))) > FARTHEST_MM


def _place(stack) -> np.ndarray:
    """A point of the (first) plane, LPS mm."""
    return np.median([frame.position for frame in next(filter(any, stack.grid)) if frame is not None], axis=0)


PIXEL_MM = 2.5
RADII_MM = (12, 15, 18, 22, 26, 31, 36, 42)
"""Of the cavity in a short-axis slice, averaged over the cycle."""
_DIRECTIONS = 12
_STEP_MM = 3.0
"""Half the distance over which the border is looked for."""
_QUANTILE = 0.2
"""Of the directions, how many may miss the border: the papillary muscles and the valve are there."""
_CLEARNESS = 1.2
"""The best place scores at least so many times what any place farther than `_ELSEWHERE_MM` scores."""
_ELSEWHERE_MM = 25.0


MOST_FRAMES = 10
"""Of a slice; more of a cycle tell no more."""


def lv_axis_lps(affine, slices) -> np.ndarray | None:
    """(slices, 3) LPS mm: where the LV's axis meets the slices of a short-axis stack; None where the pictures do not
    tell. affine: (4, 4) RAS. slices: (frames, rows, columns) each."""
    affine = np.asarray(affine, float)
    spacing_mm = [float(np.linalg.norm(affine[:3, axis])) for axis in (1, 0)]
    centre = lv_centre([frames[:: -(-len(frames) // MOST_FRAMES)] for frames in slices], spacing_mm)
    if centre is None:
        return None
    ijk1 = np.array([[*centre, k, 1] for k in range(len(slices))])
    return (ijk1 @ affine.T)[:, :3] * [-1, -1, 1]


def lv_centre(slices, spacing_mm) -> np.ndarray | None:
    """(column, row) px of the LV's axis, averaged over a stack's slices; None where nothing stands out.

    slices: one (frames, rows, columns) each, frames in any order. spacing_mm: (row, column).
    """
    score = np.mean([_score(*_resampled(frames, spacing_mm)) for frames in slices], axis=0)
    score = ndimage.gaussian_filter(score, 1)
    best = np.array(np.unravel_index(score.argmax(), score.shape))
    rows, columns = np.indices(score.shape)
    elsewhere = score[np.hypot(rows - best[0], columns - best[1]) * PIXEL_MM > _ELSEWHERE_MM]
    if elsewhere.size == 0 or not score.max() > _CLEARNESS * elsewhere.max():
        return None
    shape = np.array(np.shape(slices[0])[1:])
    row, column = (best + 0.5) * shape / score.shape - 0.5
    return np.array([column, row])


def _resampled(frames, spacing_mm) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over time on pixels of about `PIXEL_MM`, relative to the brightest tissue."""
    frames = np.asarray(frames, np.float32)
    size = np.maximum(1, np.round(np.array(frames.shape[1:]) * spacing_mm / PIXEL_MM)).astype(int)
    mean, variation = (
        cv2.resize(image, tuple(size.tolist())[::-1], interpolation=cv2.INTER_AREA)
        for image in (frames.mean(0), frames.std(0))
    )
    bright = max(float(np.percentile(mean, 99)), 1e-6)
    return ndimage.gaussian_filter(np.clip(mean / bright, 0, 1.2), 0.5), ndimage.gaussian_filter(variation / bright, 1)


def _score(mean, variation) -> np.ndarray:
    """How well each pixel serves as the centre of a bright disc with a moving border: (rows, columns), at least 0.

    The geometric mean of contrast and motion across the border, each as it is in the worst directions but a fifth.
    """
    contrast, motion = np.zeros(mean.shape), np.zeros(mean.shape)
    for radius in RADII_MM:
        inner, outer = _around(mean, radius - _STEP_MM), _around(mean, radius + _STEP_MM)
        contrast = np.maximum(contrast, _worst((inner - outer) / (inner + outer + 0.05)))
        motion = np.maximum(motion, _worst(_around(variation, radius - _STEP_MM)))
    return np.sqrt(contrast * motion)


def _around(image, radius_mm) -> np.ndarray:
    """(directions, rows, columns): each pixel's neighbours at a distance, the image continued by its edge."""
    angles = np.arange(_DIRECTIONS) * 2 * np.pi / _DIRECTIONS
    steps = np.rint(np.stack([np.sin(angles), np.cos(angles)], 1) * radius_mm / PIXEL_MM).astype(int)
    margin, (rows, columns) = int(abs(steps).max()), image.shape
    padded = np.pad(image, margin, mode="edge")
    return np.stack([padded[margin + r : margin + r + rows, margin + c : margin + c + columns] for r, c in steps])


def _worst(values) -> np.ndarray:
    kth = int(_QUANTILE * (len(values) - 1))
    return np.partition(values, kth, axis=0)[kth]
