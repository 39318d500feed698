"""Numbers that no heart has, and stacks that show too little of one: n/a takes the number's place, with the reason.

A reason is a flag `name` or `name:detail` of a features table. `RULES` says which measures fall with it and how it
reads. What is derived from a measure falls with the measure.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from cmrlib.cine.anatomy import NAMES
from cmrlib.measures.names import FEATURES, MEASURES, indexed_name

EF_PCT = (0.0, 90.0)
"""Ejection fraction of a ventricle, %. Below 0, ESV lies above EDV."""

EMPTYING_PCT = (0.0, 100.0)
"""Emptying fraction of an atrium, %."""

LV_MASS_G = (20.0, 500.0)
"""LV mass of an adult, g."""

LIMITS = {
    "lvef_pct": EF_PCT, "rvef_pct": EF_PCT, "lvef_biplane_pct": EF_PCT,
    "laef_pct": EMPTYING_PCT, "raef_pct": EMPTYING_PCT, "lvm_g": LV_MASS_G,
}  # fmt: skip
"""Measure → lowest and highest possible value, both included."""

LEAST_SHARE = 0.5
"""Of the slices between base and apex so many must be drawn, or their sum is no volume of a ventricle."""

LONGEST_LV_MM = 100.0
"""A stack may reach beyond the heart: no more of it than this lies between base and apex."""

_JUDGED = {"ed": ("lv", "myo", "rv"), "es": ("lv", "rv")}
"""Phase → structures whose slices there make a volume or a mass."""


class Rule(NamedTuple):
    """What falls with a flag, and what the flag means; `{}` in the text is the flag's detail, `negative` the text of
    one below 0."""

    measures: tuple[str, ...]
    text: str
    negative: str = ""


def slice_faults(counts: dict, drawn: dict, widths_mm) -> list[str]:
    """Flags of stacks that show too little of the heart, from the slices that hold each structure at ED and ES.

    counts: "ed", "es" → (slices, 3) voxels of LV, myocardium, RV, annotated phases only. drawn: the same keys →
    structures that were annotated there. widths_mm: (slices,), ones where spacing is unknown. Flags: `heart_few_slices`
    (of the stack), then by phase and structure `…_absent`, `…_few_slices` (of those between base and apex),
    `lv_absent_mid` (in the middle third of that phase's slices), `…_gap` (in slices between slices with it). Base and
    apex are the first and last slice that hold anything at ED or ES. An RV may end early at ES: its slices are counted
    at ED only.
    """
    widths = np.asarray(widths_mm, float)
    heart = np.flatnonzero(sum(found.sum(axis=1) for found in counts.values()))
    flags = []
    if len(heart) and widths[heart].sum() < LEAST_SHARE * min(widths.sum(), LONGEST_LV_MM):
        flags.append(f"heart_few_slices:{len(heart)}_of_{len(widths)}")
    n_between = heart[-1] - heart[0] + 1 if len(heart) else 0
    for phase, found in counts.items():
        for column, structure in enumerate(("lv", "myo", "rv")):
            if structure in _JUDGED[phase] and structure in drawn[phase]:
                few = LEAST_SHARE * n_between if (phase, structure) != ("es", "rv") else 0
                flags += [f"{phase}_{structure}_{fault}" for fault in _faults(found, column, few, n_between)]
    return flags


def _faults(counts, column, few, n_between):
    """Faults of one structure in one phase. few: fewest slices that must hold it."""
    held = counts[:, column] > 0
    slices = np.flatnonzero(held)
    if len(slices) == 0:
        return ["absent"]
    faults = [f"few_slices:{len(slices)}_of_{n_between}"] if len(slices) < few else []
    if column == 0:
        heart = np.flatnonzero(counts.any(axis=1))
        middle = heart[len(heart) // 3 : len(heart) - len(heart) // 3]
        faults += [] if held[middle].all() else [f"absent_mid:{listed(middle[~held[middle]])}"]
    if len(slices) <= slices[-1] - slices[0]:
        faults.append(f"gap:{listed(k for k in range(slices[0], slices[-1]) if not held[k])}")
    return faults


def listed(slices) -> str:
    """Slice numbers as the detail of a flag."""
    return ",".join(str(int(k)) for k in slices)


def withhold(row: dict, flags=()) -> list[str]:
    """Set what cannot be to NaN in a row of measures, and return a flag for every value beyond its limits.

    flags: those of `slice_faults`, whose measures are withheld as well.
    """
    found = [_flag(name, row[name]) for name in LIMITS if impossible(name, row.get(name, np.nan))]
    for flag in (*flags, *found):
        for name in rule_of(flag).measures:
            if name in row:
                row[name] = float("nan")
    return found


def impossible(measure: str, value: float) -> str:
    """Why a value cannot be that of a heart; empty where it can, is unknown, or where no limit is known."""
    low, high = LIMITS.get(measure, (-np.inf, np.inf))
    return "" if np.isnan(value) or low <= value <= high else explain(_flag(measure, value))


def _flag(measure, value=None):
    """`lvef_pct` → `lvef_implausible`, with the value as its detail."""
    name = f"{measure.rsplit('_', 1)[0]}_implausible"
    return name if value is None else f"{name}:{value:.4g}"


def rule_of(flag: str) -> Rule:
    """The rule of a flag with or without its detail; one without measures for any other flag."""
    return RULES.get(flag.partition(":")[0], Rule((), ""))


def explain(flag: str) -> str:
    """A flag of `RULES` as a reader understands it."""
    rule, detail = rule_of(flag), flag.partition(":")[2].replace("_", " ")
    return (rule.negative if rule.negative and detail.startswith("-") else rule.text).format(detail)


def reasons(flags, measure: str) -> list[str]:
    """Those flags with which a measure falls. flags: a list, or the text of a features table."""
    flags = flags.split(";") if isinstance(flags, str) else flags
    return [flag for flag in flags if measure in rule_of(flag).measures]


def withheld(table: pd.DataFrame) -> pd.DataFrame:
    """What a features table leaves out and why, a row a reason: observer (where the table has it), participant_id,
    session, measures (of the 18 and biplane), flag, reason."""
    keys, rows = [name for name in ("observer", "participant_id", "session") if name in table], []
    for row in table[[*keys, "flags"]].to_dict("records"):
        for flag in str(row.pop("flags")).split(";"):
            names = [name for name in rule_of(flag).measures if name in FEATURES or "biplane" in name]
            if names:
                rows.append(row | {"measures": " ".join(names), "flag": flag, "reason": explain(flag)})
    return pd.DataFrame(rows, columns=[*keys, "measures", "flag", "reason"])


def _rules() -> dict[str, Rule]:
    rates = ("per_ml_s", "per_time_ms", "pfr_ml_s", "pfr_time_ms")
    rest = {c: (f"{c}sv_ml", f"{c}ef_pct", *(f"{c}_{rate}" for rate in rates)) for c in ("lv", "rv")}
    rest["lv"] = (*rest["lv"], "lvco_l_min")
    ventricle = {c: (f"{c}edv_ml", f"{c}esv_ml", *rest[c]) for c in ("lv", "rv")}
    rules = {
        "heart_few_slices": Rule((*ventricle["lv"], "lvm_g", *ventricle["rv"]),
                                 "{} slices of the stack drawn, fewer than half of base to apex"),
    }  # fmt: skip
    for phase, structures in _JUDGED.items():
        for structure in structures:
            measures = (f"{structure}{phase}v_ml", *rest[structure]) if structure in rest else ()
            measures += ("lvm_g",) if phase == "ed" and structure != "rv" else ()
            what = f"{NAMES[structure]} at {phase.upper()}"
            texts = {
                "absent": f"no {what}",
                "few_slices": f"{what} in {{}} slices between base and apex, fewer than half",
                "gap": f"no {what} in slice {{}} (counted from 0), between slices with it",
            }
            if structure == "lv":
                texts["absent_mid"] = f"no {what} in the middle of the stack, slice {{}} (counted from 0)"
            rules |= {f"{phase}_{structure}_{fault}": Rule(measures, text) for fault, text in texts.items()}
    # two volumes of an impossible ratio cannot both be right, and which one is wrong is not known
    falls = {f"{c}ef_pct": measures for c, measures in ventricle.items()}
    falls |= {f"{c}ef_pct": (f"{c}_max_ml", f"{c}_min_ml", f"{c}sv_ml", f"{c}ef_pct") for c in ("la", "ra")}
    falls["lvef_biplane_pct"] = ("lvedv_biplane_ml", "lvesv_biplane_ml", "lvef_biplane_pct")
    for name, (low, high) in LIMITS.items():
        unit, description = MEASURES[name].unit, MEASURES[name].description.partition(":")[0]
        text = f"{description} of {{}} {unit}, outside {low:g} to {high:g} {unit}"
        below = f"ESV above EDV ({description} of {{}} {unit})" if (low, high) == EF_PCT else ""
        rules[_flag(name)] = Rule(falls.get(name, (name,)), text, below)
    return {flag: rule._replace(measures=_with_indexed(rule.measures)) for flag, rule in rules.items()}


def _with_indexed(measures):
    """Measures and what they are divided by body surface area."""
    return (*measures, *(indexed_name(name) for name in measures if name in FEATURES))


RULES = _rules()
"""Flag → its rule."""
