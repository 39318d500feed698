"""Rows of a report: each measure through one gate, with its range, its model's error, and why it is not reported."""

import math

import pandas as pd

from cmrlib.measures import INDEXED, MEASURES, indexed_name
from cmrlib.measures.plausible import explain, reasons
from cmrlib.report.reference import limits, place, refused

REPORTED = {
    "Left ventricle": (
        "lvef_pct", "lvedv_ml", "lvesv_ml", "lvsv_ml", "lvco_l_min", "lvm_g", "lvedv_biplane_ml", "lvef_biplane_pct",
        "wall_ed_max_mm", "lv_mass_volume_g_ml", "lv_sphericity", "lv_gls_pct", "lv_gcs_pct", "lv_pfr_edv_s",
        "lv_pfr_time_ms",
    ),
    "Right ventricle": ("rvef_pct", "rvedv_ml", "rvesv_ml", "rvsv_ml"),
    "Atria": (
        "la_max_ml", "la_prea_ml", "la_min_ml", "laef_pct", "la_conduit_pct", "la_booster_pct", "ra_max_ml",
        "ra_min_ml", "raef_pct",
    ),
    "Mitral annulus": ("mapse_mm", "sprime_cm_s", "eprime_cm_s", "aprime_cm_s"),
}  # fmt: skip
"""Measures of a page by part of the heart, in its order."""
DERIVED = dict.fromkeys(("lvsv_ml", "lvco_l_min"), ("lvedv_ml", "lvesv_ml"))
"""What is a difference of others falls with them."""
TIMED = ("lvco_l_min", "lv_pfr_edv_s", "lv_pfr_time_ms")
"""Measures of the stack that take its times as well."""
NEEDS = {
    "lv_gls": "2CH and 4CH cines with LV and LA that agree within 8 points",
    "lv_sphericity": "a short-axis stack and a long axis",
    "la_conduit": "two waves of emptying of the LA in 2CH and 4CH cines",
    "la_booster": "two waves of emptying of the LA in 2CH and 4CH cines",
    "la_prea": "two waves of emptying of the LA in 2CH and 4CH cines",
    "wall_": "a short-axis stack",
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
    """A row a measure of REPORTED.

    part, measure, description, unit, value, range, place; index_value, index_unit, index_range, index_place: divided by
    body surface area, where that is customary and known; bias, sd, low, high (limits of agreement of the model),
    checked_on; reason why there is no value, refused (the model errs by too much), withheld (no heart has this value,
    or too few slices show it). A measure whose error nobody knows is not placed in its range. flags: of the table of
    `features`, where they say why a value is NaN.
    """
    person = cohort.subjects.iloc[0]
    sex, age = person.get("sex"), pd.to_numeric(person.get("age"), errors="coerce")
    rows = [
        {"part": part, "measure": name} | _row(name, values, cohort, errors, flags, sex, age)
        for part, names in REPORTED.items()
        for name in names
    ]
    return pd.DataFrame(rows)


def _row(name, values, cohort, errors, flags, sex, age) -> dict:
    value, error = float(values.get(name, math.nan)), errors.get(name)
    known, doubt, withheld = math.isfinite(value), "", ""
    if known:
        doubt = refused(name, error) or _rests_on(name, errors)
    else:
        withheld = next(map(explain, reasons(flags, name)), "")
    reason = doubt or withheld or ("" if known else _why_not(name, cohort))
    value = math.nan if reason else value
    span, where = place(name, value, sex, age, error)
    low, high = (math.nan, math.nan) if error is None else limits(error)
    hearts = "real hearts" if error and error["real"] else "phantoms"
    like = bool(error and error.get("like"))
    return {
        "description": MEASURES[name].description,
        "unit": MEASURES[name].unit,
        "value": value,
        "range": span,
        "place": "" if error is None else where,
        **_index(name, value, float(values.get("bsa_m2", math.nan)), sex, age, error),
        "bias": math.nan if error is None else error["bias"],
        "sd": math.nan if error is None else error["sd"],
        "low": low,
        "high": high,
        "checked_on": "" if error is None else f"{error['n']:.0f} {hearts}{' of like confidence' * like}",
        "reason": reason,
        "refused": bool(doubt),
        "withheld": bool(withheld),
    }


def _index(name, value, bsa_m2, sex, age, error) -> dict:
    """The columns index_… of a row: the value by body surface area, whose error is the value's by the same."""
    index, shown, span, where = math.nan, "", "", ""
    if name in INDEXED and bsa_m2 > 0:
        index, shown = value / bsa_m2, indexed_name(name)
        scaled = None if error is None else error | {key: error[key] / bsa_m2 for key in ("bias", "sd")}
        span, where = place(shown, index, sex, age, scaled)
    unit = MEASURES[shown].unit if shown else ""
    where = "" if error is None else where
    return {"index_value": index, "index_unit": unit, "index_range": span, "index_place": where}


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
    if name in TIMED and len(sax):
        return "frame times or heart rate unknown"
    need = next((need for start, need in NEEDS.items() if name.startswith(start)), "")
    return f"not found; needs {need}" if need else "not found"
