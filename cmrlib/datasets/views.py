"""Which view a stack shows: from its geometry relative to the short-axis stack, from its description, by name.

Angles: the long axis a points to the apex (left, front, down). Around it, from the anterior wall towards the septum,
a long-axis plane cuts at about 0° (2CH), 60° (3CH), 120° (4CH); the standard planes of Cerqueira et al.,
Circulation 2002.
"""

import re

import numpy as np

from cmrlib.anatomy import VIEWS
from cmrlib.datasets.geometry import Stack, normal

_WORDS = {"4ch": r"4.?ch|four.?ch|\bhla\b", "2ch": r"2.?ch|two.?ch|\bvla\b", "3ch": r"3.?ch|three.?ch",
          "sax": r"sax|short.?ax|(?<![a-z])sa(?![a-z])", "lax": r"lax|long.?ax"}
_APEX_LPS = np.array([0.66, -0.53, -0.53])
"""Where the apex points in most people: what tells a short-axis stack from an axial or coronal one."""


def view_in(text: str) -> str:
    """The view a description or folder name speaks of, empty where it names none."""
    return next((view for view, words in _WORDS.items() if re.search(words, text.lower())), "")


def check_views(label: str, views: dict):
    """Raise ValueError where the `views` option names a view that does not exist."""
    strange = sorted(set(views.values()) - set(VIEWS))
    if strange:
        raise ValueError(f"sub-{label}: unknown views {strange} in the option `views`; known are {', '.join(VIEWS)}")


def name_views(stacks: list[Stack], views: dict) -> list[tuple[str, tuple[str, ...]]]:
    """(view, flags) of every stack of one study.

    views: {series description or folder name: view}, the user's word. Else geometry where there is a short-axis
    stack (flagged where the description says otherwise), else the description, else the innermost folder's name; where
    these two name different views it is unknown.
    """
    short_axis = next((s for s in stacks if _is_short_axis(s)), None)
    return [_name(stack, short_axis, {key.lower(): view for key, view in views.items()}) for stack in stacks]


def repeated_beside(stack: Stack, view: str) -> bool:
    """Whether parallel long-axis planes are one view taken again beside the first, rather than a stack.

    So where each slice is a series of its own, or where they are but two.
    """
    if len(stack.grid) < 2 or view not in ("2ch", "3ch", "4ch", "lax"):
        return False
    series = [{frame.series for frame in row if frame is not None} for row in stack.grid]
    return len(stack.grid) == 2 or sum(map(len, series)) == len(set().union(*series))


def _name(stack, short_axis, views):
    first = stack.first
    *_, innermost = ["", *first.folder.split("/")]
    for name in (first.description, *reversed(first.folder.split("/"))):
        if name.lower() in views:
            return views[name.lower()], ("view_as_named",)
    told, seen = view_in(first.description), _seen(stack, short_axis) if short_axis else ""
    if seen:
        agree = not told or told == seen or (told == "lax" and seen != "sax")
        return seen, () if agree else ("view_disagrees_with_description",)
    named = view_in(innermost)
    if told and named and told != named and "lax" not in (told, named):  # nothing tells which of the two is wrong
        return "unknown", ("view_disagrees_with_description",)
    if told:
        return told, ("view_from_description",)
    return (named, ("view_from_folder_name",)) if named else ("unknown", ("view_unknown",))


def _is_short_axis(stack) -> bool:
    """At least five parallel slices across the usual long axis, or three that are called short-axis."""
    across = abs(normal(stack.first.orientation) @ _APEX_LPS) > np.cos(np.deg2rad(45))
    return len(stack.grid) >= 3 and ((across and len(stack.grid) >= 5) or view_in(stack.first.description) == "sax")


def _seen(stack, short_axis) -> str:
    """View of a stack by its angle to the short-axis stack and around the long axis; empty where it is neither."""
    axis = normal(short_axis.first.orientation)
    axis = axis if axis @ _APEX_LPS > 0 else -axis
    across = normal(stack.first.orientation)
    tilt = np.rad2deg(np.arccos(min(1.0, abs(across @ axis))))
    if tilt < 20:
        return "sax"
    if tilt < 60:
        return ""
    up = np.array([0.0, 0.0, 1.0])
    anterior = up - (up @ axis) * axis
    cut = np.cross(axis, across)
    around = np.rad2deg(np.arctan2(cut @ np.cross(axis, anterior), cut @ anterior)) % 180
    return "3ch" if 30 <= around < 85 else "4ch" if 85 <= around < 150 else "2ch"
