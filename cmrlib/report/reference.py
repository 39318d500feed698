"""Reference ranges, and how far two people differ: what a number of a report is held against."""

import math
from importlib.resources import files

import pandas as pd

from cmrlib.measures import HUMAN_SD

RANGES = pd.read_csv(files("cmrlib.report").joinpath("ranges.tsv"), sep="\t").convert_dtypes()
"""95 % ranges of healthy adults: measure, sex, age_low, age_high (years, both included), low, high, source.

Papillary muscles count as cavity throughout, as in ACDC's outlines and the phantom's, with which the networks learn.

* Petersen et al., JCMR 2017;19:18 (UK Biobank); stroke volume and mass by body surface area: mean ± 1.96 SD.
* SCMR 2025: Kawel-Boehm et al., JCMR 2025;27:101853. Not read in the original: figures that tables of other programs
  cite from it; for the LV's EDV and the RV of all ages two of them agree, for atria and decades there is one.
* SCMR 2020: Kawel-Boehm et al., JCMR 2020;22:87, cardiac index, mean ± 1.96 SD.
* MAPSE: 14 ± 3 mm, Seemann et al. 2017.
"""


def place(measure: str, value: float, sex, age, error: dict | None = None) -> tuple[str, str]:
    """(range as text, within | below | above | unclear | "") for a person; ("", "") where none is known.

    The range of the person's age where there is one, else the widest, with its years where the age lies outside. Of
    unknown sex both are shown, and judged where they agree. error: of `known_errors`; outside the range by no more than
    the model's own error (bias taken off, ± 1.96 SD) is unclear.
    """
    found = {one: row for one in "MF" if (sex == one or sex not in ("M", "F")) and (row := _range(measure, one, age))}
    if not found:
        return "", ""
    text = {one: f"{row['low']:g}–{row['high']:g}" for one, row in found.items()}
    alike = len(set(text.values())) == 1
    shown = next(iter(text.values())) if alike else ", ".join(f"{text[one]} ({one})" for one in text)
    row = next(iter(found.values()))
    if _known(age) and not row["age_low"] <= age <= row["age_high"]:
        shown += f" at {row['age_low']}–{row['age_high']} years"
    verdicts = {_verdict(value, row["low"], row["high"], error) for row in found.values()}
    return shown, verdicts.pop() if len(verdicts) == 1 else ""


def _range(measure, sex, age) -> dict | None:
    """The row of RANGES for a person: the narrowest of those that hold the age, else the widest."""
    rows = RANGES[(RANGES["measure"] == measure) & (RANGES["sex"] == sex)]
    rows = rows.assign(years=rows["age_high"] - rows["age_low"]).sort_values("years").to_dict("records")
    own = [row for row in rows if _known(age) and row["age_low"] <= age <= row["age_high"]]
    return own[0] if own else rows[-1] if rows else None


def _known(age) -> bool:
    return age is not None and math.isfinite(age)


def _verdict(value, low, high, error) -> str:
    if not math.isfinite(value):
        return ""
    if low <= value <= high:
        return "within"
    if error is not None:
        least, most = (value - end for end in reversed(limits(error)))
        if least <= high and most >= low:
            return "unclear"
    return "below" if value < low else "above"


def limits(error: dict) -> tuple[float, float]:
    """Limits of agreement of a model with its reference: bias ± 1.96 SD (Bland and Altman, Lancet 1986)."""
    return error["bias"] - 1.96 * error["sd"], error["bias"] + 1.96 * error["sd"]


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
