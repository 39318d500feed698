"""Stacks of one frame: what is taken for a heart at one instant, and which phase it shows.

Many people export end-diastole alone. Such a stack becomes a cine of one frame, flagged `single_frame`: it is segmented
and measured, without curves, timing or ejection fraction. Scouts, late enhancement, maps and anatomy are single images
too, so a stack must be deep enough, and must not be called one of these (NIfTI), or must be called a short-axis cine
(DICOM, where examinations are full of them).
"""

import re
from dataclasses import replace

from cmrlib.cine import Cine
from cmrlib.datasets.purpose import exclusion_reason
from cmrlib.datasets.qc import FEWEST_SLICES
from cmrlib.datasets.views import view_in

FEWEST_SLICES_ALONE = 3
PHASES = {"ed": "end-diastole", "es": "end-systole"}
_CINE = r"cine|tru.?fi|fiesta|\bssfp\b"


def phase_in(text: str) -> str:
    """`ed` or `es` where a file's or folder's name says so, else empty."""
    found = set(re.findall(r"(?<![a-z])(ed|es)(?![a-z])", text.lower()))
    return found.pop() if len(found) == 1 else ""


def check_phase(label: str, phase: str):
    """Raise ValueError for an option `phase` that is none."""
    if phase not in ("", *PHASES):
        raise ValueError(
            f"sub-{label}: the option `phase` is {phase!r}; expected ed or es, which is what stacks of one frame show"
        )


def at_phase(cine: Cine, phase: str) -> Cine:
    """A cine of one frame with its flag, and that frame as ED or ES where that is known; others as they are."""
    if cine.frames > 1:
        return cine
    return replace(cine, flags=(*cine.flags, "single_frame"), **({phase: 0} if phase else {}))


def no_volume(slices: int, name: str) -> str:
    """Why a single 3-D file is no stack of one frame; empty where nothing speaks against it. name: file and folder."""
    if slices < FEWEST_SLICES_ALONE:
        return (
            f"a single 3-D frame of {slices} slices, where a 4-D cine, numbered frames or a stack of "
            f"{FEWEST_SLICES_ALONE} or more slices are needed"
        )
    return exclusion_reason((), "", (), 0.0, False, name)


def no_stack(stack, view: str, flags) -> str:
    """Why single images of a DICOM study are no short-axis stack; empty for cines, and where the user named it."""
    if len(stack.grid[0]) > 1 or "view_as_named" in flags:
        return ""
    called = f"{stack.first.description} {stack.first.folder}".lower().replace("_", " ")
    if view == "sax" and len(stack.grid) >= FEWEST_SLICES and (view_in(called) == "sax" or re.search(_CINE, called)):
        return ""
    return "a single image at its place, no cine"
