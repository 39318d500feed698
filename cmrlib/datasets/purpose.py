"""Purpose of an MR image: cine, or another part of the examination, which is excluded with a reason.

Header fields decide (ImageType, SequenceName, InversionTime, velocity encoding); the description only where they are
silent, and never against the user's word. DERIVED alone says little: scanners write it on cines that they corrected
for distortion. It becomes a flag, and gives way to an original of the same place (see order.py).
"""

import re

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
