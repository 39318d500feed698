"""Purpose of an MR image: cine, or another part of the examination, which is excluded with a reason.

Header fields decide (ImageType, SequenceName, InversionTime, velocity encoding); the description only where they are
silent, and never against the user's word. DERIVED alone says little: scanners write it on cines that they corrected
for distortion. It becomes a flag, and gives way to an original of the same place (see order.py).

Many people export end-diastole alone. Such a stack becomes a cine of one frame, flagged `single_frame`: it is segmented
and measured, without curves, timing or ejection fraction. Scouts, late enhancement, maps and anatomy are single images
too, so a stack must be deep enough, and must not be called one of these (NIfTI), or must be called a short-axis cine
(DICOM, where examinations are full of them).
"""

import re
from dataclasses import replace

from cmrlib.cine import Cine
from cmrlib.datasets.qc import FEWEST_SLICES
from cmrlib.datasets.views import view_in

LOCALISER = "localiser, no cine"
PHASE = "phase image of a flow measurement, no cine"
FLOW = "magnitude of a flow measurement (phase contrast), no cine"
MAP = "parametric map or mapping images, no cine"
PREPARED = "inversion or saturation pulse (late enhancement, perfusion or mapping), no cine"
LATE = "late enhancement, no cine"
PERFUSION = "perfusion, no cine"
COMPUTED = "derived image (projection, reformat or subtraction), no cine"
TAGGED = "tagged images, no cine to measure"

_TYPES = (
    ({"LOCALIZER"}, LOCALISER),
    ({"P", "PHASE", "VELOCITY", "PHASE MAP", "VELOCITY MAP", "PHASE CONTRAST P"}, PHASE),
    ({"PCA", "M_PCA", "PHASE CONTRAST M", "FLOW_ENCODED", "PHASE CONTRAST"}, FLOW),
    ({"T1 MAP", "T2 MAP", "T2* MAP", "T2_STAR MAP", "ECV", "ECV MAP", "MAP"}, MAP),
    ({"PERFUSION"}, PERFUSION),
    ({"TAGGING"}, TAGGED),
    ({"MPR", "CSA MPR", "MIP", "PROJECTION IMAGE", "MIN_IP", "SUBTRACTION", "CSAPARALLEL", "REFORMATTED"}, COMPUTED),
)
_WORDS = (
    (r"locali[sz]er|scout|survey", LOCALISER),
    (r"\bflow|venc|phase.?contrast|\bqf\b|\bpc.?mr", FLOW),
    (r"molli|t[12]\*?.?map|\becv\b|t2.?star", MAP),
    (r"\bperf", PERFUSION),
    (r"\blge\b|psir|late.?(gad|enh)|delayed.?enh", LATE),
    (r"tagging|tagged|\bspamm\b|\bcspamm\b", TAGGED),
)


def exclusion_reason(
    image_type, sequence_name: str, scanning_sequence, inversion_ms: float, velocity: bool, description: str
) -> str:
    """Reason why an image is not part of a cine, or empty.

    image_type, scanning_sequence: header values, upper case. inversion_ms: NaN or 0 where none. velocity: flow was
    encoded. description: empty where the user said what the series is; the text that is returned quotes none of it.
    """
    named = next((why for words, why in _WORDS if re.search(words, description.lower().replace("_", " "))), "")
    typed = next((why for types, why in _TYPES if types & set(image_type)), "")
    if typed:
        return typed
    if velocity or re.search(r"_v\d+(in|fh|ap|rl|x|y|z)?\b", sequence_name.lower()):
        return FLOW
    if "IR" in scanning_sequence or inversion_ms > 0:
        return named or PREPARED
    return named


# --- stacks of one frame ---------------------------------------------------------------------------------------------

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
