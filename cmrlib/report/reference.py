"""Reference ranges, and how far two people differ: what a number of a report is held against."""

import math

from cmrlib.measures import HUMAN_SD

AGES = (45, 74)
"""Years for which RANGES hold."""

RANGES = {
    "lvedv_ml": {"M": (109, 218), "F": (88, 161)},
    "lvesv_ml": {"M": (39, 97), "F": (31, 68)},
    "lvsv_ml": {"M": (59, 132), "F": (49, 100)},
    "lvef_pct": {"M": (48, 69), "F": (51, 70)},
    "lvm_g": {"M": (64, 141), "F": (46, 93)},
    "rvedv_ml": {"M": (124, 248), "F": (85, 168)},
    "rvesv_ml": {"M": (47, 123), "F": (27, 77)},
    "rvef_pct": {"M": (45, 65), "F": (47, 68)},
    "la_max_ml": {"M": (37, 108), "F": (33, 93)},
    "ra_max_ml": {"M": (43, 143), "F": (38, 101)},
    "mapse_mm": {"M": (8, 20), "F": (8, 20)},
}
"""95 % ranges: Petersen et al., JCMR 2017;19:18 (UK Biobank; papillary muscles count as cavity, as in ACDC's outlines
and the phantom's, with which the networks learn). MAPSE: 14 ± 3 mm of healthy adults, Seemann et al. 2017."""


def place(measure: str, value: float, sex, age, error: dict | None = None) -> tuple[str, str]:
    """(range as text, within | below | above | unclear | ""). Empty where there is no range for this person, with the
    reason. error: of `known_errors`; outside the range by no more than the model's own error (bias taken off, ± 1.96
    SD) is unclear."""
    if measure not in RANGES:
        return "none known", ""
    if sex not in ("M", "F") and len(set(RANGES[measure].values())) > 1:
        return "sex unknown", ""
    low, high = RANGES[measure][sex if sex in ("M", "F") else "M"]
    text = f"{low}–{high}"
    if not math.isfinite(value):
        return text, ""
    if age is not None and math.isfinite(age) and not AGES[0] <= age <= AGES[1]:
        text += f" at {AGES[0]}–{AGES[1]} years"
    if low <= value <= high:
        return text, "within"
    if error is not None:
        middle, reach = value - error["bias"], 1.96 * error["sd"]
        if middle - reach <= high and middle + reach >= low:
            return text, "unclear"
    return text, "below" if value < low else "above"


def refused(measure: str, error: dict | None) -> str:
    """Why a measure is not reported; empty where it is. error: bias, sd, n, real, of `known_errors`."""
    if error is None or not error["real"] or measure not in HUMAN_SD:
        return ""
    typical = math.hypot(error["bias"], error["sd"])
    if not typical > 2 * HUMAN_SD[measure]:
        return ""
    return (
        f"the model errs by {typical:.1f} (root mean square, {error['n']:.0f} real hearts"
        f"{' of like confidence' if error.get('like') else ''}), more than twice the {HUMAN_SD[measure]} by which two "
        "people differ"
    )
