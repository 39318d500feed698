"""Numbers that no heart has, and stacks that show too little of one: n/a takes the number's place, with the reason.

A reason is a flag `name` or `name:detail` of a features table. `RULES` says which measures fall with it and how it
reads. What is derived from a measure falls with the measure.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from cmrlib.cine.anatomy import NAMES
from cmrlib.measures.names import FEATURES, MEASURES, indexed_name

EF_PCT, EMPTYING_PCT, VOLUME_ML = (0.0, 90.0), (0.0, 85.0), (0.0, 1000.0)
LIMITS = {
    "lvef_pct": EF_PCT, "rvef_pct": EF_PCT, "lvef_biplane_pct": EF_PCT,
    "laef_pct": EMPTYING_PCT, "raef_pct": EMPTYING_PCT, "lvm_g": (20.0, 500.0),
} | dict.fromkeys(
    ("lvedv_ml", "lvesv_ml", "rvedv_ml", "rvesv_ml", "la_max_ml", "ra_max_ml", "lvedv_biplane_ml"), VOLUME_ML
)  # fmt: skip
"""Measure → lowest and highest possible value of an adult, both included. Below an EF of 0, ESV lies above EDV; an
atrium that seems to empty by more than 85 % was outlined too small. A chamber of a litre was outlined too large."""

LEAST_SHARE = 0.5
"""Of the slices between base and apex so many must be drawn, or their sum is no volume of a ventricle."""

LONGEST_LV_MM = 100.0
"""A stack may reach beyond the heart: no more of it than this lies between base and apex."""

_JUDGED = {"ed": ("lv", "myo", "rv"), "es": ("lv", "rv")}
"""Phase → structures whose slices there make a volume or a mass."""


class Rule(NamedTuple):
    """What falls with a flag, and what the flag means; `{}` in the text is the flag's detail."""

    measures: tuple[str, ...] = ()
    text: str = ""


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

    flags: those of `slice_faults` and of views that disagree with the stack, whose measures are withheld as well.
    """
    found = [_flag(name, row[name]) for name in LIMITS if impossible(name, row.get(name, np.nan))]
    for flag in (*flags, *found):
        row |= dict.fromkeys(set(rule_of(flag).measures) & set(row), np.nan)
    return found


def impossible(measure: str, value: float) -> str:
    """Why a value cannot be that of a heart; empty where it can, is unknown, or where no limit is known."""
    low, high = LIMITS.get(measure, (-np.inf, np.inf))
    return "" if np.isnan(value) or low <= value <= high else explain(_flag(measure, value))


def _flag(measure, value):
    """Flag `lvef_implausible:-12` of `lvef_pct`."""
    return f"{measure.rsplit('_', 1)[0]}_implausible:{value:.4g}"


def rule_of(flag: str) -> Rule:
    """The rule of a flag with or without its detail; one without measures for any other flag."""
    return RULES.get(flag.partition(":")[0], Rule())


def explain(flag: str) -> str:
    """A flag of `RULES` as a reader understands it."""
    name, _, detail = flag.partition(":")
    text = rule_of(name).text
    if name.startswith(("lvef", "rvef")) and detail.startswith("-"):
        text = f"ESV above EDV ({text.rpartition(', outside')[0]})"
    return text.format(detail.replace("_", " "))


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


_ATRIAL = {c: (f"{c}_max_ml", f"{c}_min_ml", f"{c}sv_ml", f"{c}ef_pct") for c in ("la", "ra")}
_BIPLANE = ("lvedv_biplane_ml", "lvesv_biplane_ml", "lvef_biplane_pct")


def off_sax(agreements: dict[str, float], least: float) -> list[str]:
    """Flags of long-axis views whose outlines disagree with the short axis (`cmrlib.measures.crossings`); where all of
    several do, the stack is doubted too."""
    off = {view: value for view, value in agreements.items() if value < least}
    flags = [f"{view}_off_sax:{value:.2f}" for view, value in off.items()]
    return flags + ([f"sax_off_long_axes:{len(off)}"] if len(off) == len(agreements) > 1 else [])


def _rules() -> dict[str, Rule]:
    rest, lvm = {}, ("lvm_g",)
    for c in ("lv", "rv"):
        rates = tuple(f"{c}_{rate}" for rate in ("per_ml_s", "per_time_ms", "pfr_ml_s", "pfr_time_ms"))
        rest[c] = (f"{c}sv_ml", f"{c}ef_pct", *rates, *(("lvco_l_min",) if c == "lv" else ()))
    falls = {f"{c}ef_pct": (f"{c}edv_ml", f"{c}esv_ml", *rest[c]) for c in ("lv", "rv")}
    few = "{} slices of the stack drawn, fewer than half of base to apex"
    whole = (*falls["lvef_pct"], *lvm, *falls["rvef_pct"])
    rules = {"heart_few_slices": Rule(whole, few)}
    for phase, structures in _JUDGED.items():
        for structure in structures:
            measures = (f"{structure}{phase}v_ml", *rest[structure]) if structure in rest else ()
            measures += lvm if phase == "ed" and structure != "rv" else ()
            what, flag = f"{NAMES[structure]} at {phase.upper()}", f"{phase}_{structure}"
            rules |= {
                f"{flag}_absent": Rule(measures, f"no {what}"),
                f"{flag}_few_slices": Rule(measures, f"{what} in {{}} slices between base and apex, fewer than half"),
                f"{flag}_gap": Rule(measures, f"no {what} in slice {{}} (counted from 0), between slices with it"),
            }
            if structure == "lv":
                where = "in the middle of the stack, slice {} (counted from 0)"
                rules[f"{flag}_absent_mid"] = Rule(measures, f"no {what} {where}")
    rules |= {"sax_off_long_axes": Rule(whole, "all {} long axes show another heart than the short axis")}
    hearts = "the outlines in {} and in the short axis show different hearts (Dice {{}} where the planes cross)"
    views = {"4ch": (*_ATRIAL["la"], *_ATRIAL["ra"], *_BIPLANE), "2ch": (*_ATRIAL["la"], *_BIPLANE), "3ch": ()}
    rules |= {f"{view}_off_sax": Rule(measures, hearts.format(view.upper())) for view, measures in views.items()}
    rules["valve_doubtful"] = Rule(
        tuple(name for name in MEASURES if name.startswith(("mapse", "sprime", "eprime", "aprime"))),
        "mitral points found with too little confidence, or elsewhere than the outlines have the valve",
    )
    # two volumes of an impossible ratio cannot both be right, and which one is wrong is not known
    falls |= {f"{c}ef_pct": _ATRIAL[c] for c in _ATRIAL} | {"lvef_biplane_pct": _BIPLANE, "lvm_g": lvm}
    falls |= {f"{c}{phase}v_ml": falls[f"{c}ef_pct"] for c in ("lv", "rv") for phase in ("ed", "es")}
    falls |= {f"{c}_max_ml": _ATRIAL[c] for c in _ATRIAL} | {"lvedv_biplane_ml": _BIPLANE}
    for name, (low, high) in LIMITS.items():
        unit, description = MEASURES[name].unit, MEASURES[name].description.partition(":")[0]
        text = f"{description} of {{}} {unit}, outside {low:g} to {high:g} {unit}"
        rules[_flag(name, 0).partition(":")[0]] = Rule(falls[name], text)
    # what is divided by body surface area falls too
    indexed = {flag: tuple(indexed_name(m) for m in rule.measures if m in FEATURES) for flag, rule in rules.items()}
    return {flag: rule._replace(measures=rule.measures + indexed[flag]) for flag, rule in rules.items()}


RULES = _rules()
"""Flag → its rule."""
