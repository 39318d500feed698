"""Rows of a report: every measure with its range, its model's error, and the reason where it is not reported."""

import math

import pandas as pd

from cmrlib.measures import MEASURES
from cmrlib.measures.plausible import explain, reasons
from cmrlib.report.reference import place, refused

REPORTED = (
    "lvedv_ml", "lvesv_ml", "lvsv_ml", "lvef_pct", "lvco_l_min", "lvm_g",
    "rvedv_ml", "rvesv_ml", "rvsv_ml", "rvef_pct",
    "la_max_ml", "la_min_ml", "laef_pct", "ra_max_ml", "ra_min_ml", "raef_pct",
    "lvedv_biplane_ml", "lvef_biplane_pct",
    "mapse_mm", "sprime_cm_s", "eprime_cm_s", "aprime_cm_s", "heart_rate_bpm",
)  # fmt: skip
"""Measures of a page, in its order."""
DERIVED = dict.fromkeys(("lvsv_ml", "lvco_l_min"), ("lvedv_ml", "lvesv_ml"))
"""What is a difference of others falls with them."""
NEEDS = {
    "lvedv_biplane": "2CH and 4CH cines",
    "lvef_biplane": "2CH and 4CH cines",
    "lv": "a short-axis stack",
    "rv": "a short-axis stack",
    "la": "2CH and 4CH cines",
    "ra": "a 4CH cine",
    "mapse": "a 2CH or 4CH cine",
    "sprime": "a 2CH or 4CH cine",
    "eprime": "a 2CH or 4CH cine",
    "aprime": "a second diastolic wave in a 2CH or 4CH cine",
}
"""Start of a measure's name → what it needs."""


def measured_rows(values, cohort, errors, flags=()) -> pd.DataFrame:
    """A row a measure: measure, description, unit, value, range, place, bias, sd, checked_on, reason, refused (the
    model errs by too much), withheld (no heart has this value, or too few slices show it). flags: of the table of
    `features`, where they say why a value is NaN."""
    person = cohort.subjects.iloc[0]
    sex, age = person.get("sex"), pd.to_numeric(person.get("age"), errors="coerce")
    rows = [_row(name, float(values.get(name, math.nan)), cohort, errors, flags, sex, age) for name in REPORTED]
    return pd.DataFrame(rows)


def _row(name, value, cohort, errors, flags, sex, age) -> dict:
    error, known, doubt, withheld = errors.get(name), math.isfinite(value), "", ""
    if known:
        doubt = refused(name, error) or _rests_on(name, errors)
    else:
        withheld = next(map(explain, reasons(flags, name)), "")
    reason = doubt or withheld or ("" if known else _why_not(name, cohort))
    span, where = place(name, value, sex, age, error)
    return {
        "measure": name,
        "description": MEASURES[name].description,
        "unit": MEASURES[name].unit,
        "value": math.nan if reason else value,
        "range": span,
        "place": "" if reason else where,
        "bias": math.nan if error is None else error["bias"],
        "sd": math.nan if error is None else error["sd"],
        "checked_on": _checked_on(error),
        "reason": reason,
        "refused": bool(doubt),
        "withheld": bool(withheld),
    }


def _checked_on(error) -> str:
    if error is None:
        return ""
    like = " of like confidence" if error.get("like") else ""
    return f"{error['n']:.0f} {'real hearts' if error['real'] else 'phantoms'}{like}"


def _rests_on(name, errors) -> str:
    """Why a difference is not reported: one of its parts is not."""
    parents = [parent for parent in DERIVED.get(name, ()) if refused(parent, errors.get(parent))]
    return (
        f"rests on what is not reported: {', '.join(MEASURES[one].description for one in parents)}" if parents else ""
    )


def _why_not(name, cohort) -> str:
    known = all(cohort.cine(cine).spacing_known for cine in cohort.cines["cine"])
    if not known and MEASURES[name].unit in ("mL", "g", "mm", "L/min"):
        return "pixel size unknown"
    sax = cohort.cines[cohort.cines["view"] == "sax"]
    if name.startswith(("lv", "rv")) and "biplane" not in name and len(sax) and (sax["frames"] == 1).all():
        known = [phase.upper() for phase in ("ed", "es") if sax[phase].notna().any()]
        return f"one frame, at {known[0]}" if known else "one frame, and nothing says whether it is ED or ES"
    need = next((need for start, need in NEEDS.items() if name.startswith(start)), "")
    return f"not found; needs {need}" if need else "not found"
