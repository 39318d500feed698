"""The one list of measures: name → unit and description. Tables, agreement, figures and reports all use it.

A name ends in its unit, as everywhere in this library; `indexed_name` derives the name of a measure divided
by body surface area. The 18 features are those of the CUSSP paper (LA and RA: 4 each, LV: 6, RV: 4).
"""

from typing import NamedTuple

import pandas as pd


class Measure(NamedTuple):
    """Unit and description of one measure."""

    unit: str
    description: str


_CHAMBERS = {
    "lvedv_ml": Measure("mL", "LV end-diastolic volume"),
    "lvesv_ml": Measure("mL", "LV end-systolic volume"),
    "lvsv_ml": Measure("mL", "LV stroke volume"),
    "lvef_pct": Measure("%", "LV ejection fraction"),
    "lvco_l_min": Measure("L/min", "LV cardiac output: stroke volume × heart rate"),
    "lvm_g": Measure("g", "LV mass: end-diastolic myocardial volume × 1.05 g/mL"),
    "rvedv_ml": Measure("mL", "RV end-diastolic volume"),
    "rvesv_ml": Measure("mL", "RV end-systolic volume"),
    "rvsv_ml": Measure("mL", "RV stroke volume"),
    "rvef_pct": Measure("%", "RV ejection fraction"),
    "la_max_ml": Measure("mL", "LA maximum volume, biplane area–length"),
    "la_min_ml": Measure("mL", "LA minimum volume, biplane area–length"),
    "lasv_ml": Measure("mL", "LA stroke volume: maximum − minimum"),
    "laef_pct": Measure("%", "LA emptying fraction"),
    "ra_max_ml": Measure("mL", "RA maximum volume, single-plane area–length"),
    "ra_min_ml": Measure("mL", "RA minimum volume, single-plane area–length"),
    "rasv_ml": Measure("mL", "RA stroke volume: maximum − minimum"),
    "raef_pct": Measure("%", "RA emptying fraction"),
}

FEATURES = tuple(_CHAMBERS)
"""The 18 features, in the order of the tables."""

INDEXED = tuple(name for name in FEATURES if not name.endswith("_pct"))
"""What is customarily divided by body surface area; a fraction is not."""

AHA_SEGMENTS = {
    1: "basal anterior", 2: "basal anteroseptal", 3: "basal inferoseptal",
    4: "basal inferior", 5: "basal inferolateral", 6: "basal anterolateral",
    7: "mid anterior", 8: "mid anteroseptal", 9: "mid inferoseptal",
    10: "mid inferior", 11: "mid inferolateral", 12: "mid anterolateral",
    13: "apical anterior", 14: "apical septal", 15: "apical inferior", 16: "apical lateral",
}  # fmt: skip
"""Cerqueira et al., Circulation 2002, without the apical cap (17), which short-axis masks do not show."""


def indexed_name(name: str) -> str:
    """Name of a measure divided by body surface area: `lvedv_ml` → `lvedvi_ml_m2`."""
    for unit in ("_l_min", "_ml", "_pct", "_g"):
        if name.endswith(unit):
            return f"{name.removesuffix(unit)}i{unit}_m2"
    raise ValueError(f"{name!r} is not one of the measures that are divided by body surface area: {list(FEATURES)}")


def _all() -> dict[str, Measure]:
    table = dict(_CHAMBERS)
    table |= {"bsa_m2": Measure("m²", "body surface area"), "heart_rate_bpm": Measure("1/min", "heart rate")}
    table |= {
        indexed_name(n): Measure(f"{m.unit}/m²", f"{m.description}, by body surface area") for n, m in _CHAMBERS.items()
    }
    for chamber in ("lv", "rv"):
        name = chamber.upper()
        table |= {
            f"{chamber}_per_ml_s": Measure("mL/s", f"{name} peak ejection rate"),
            f"{chamber}_per_time_ms": Measure("ms", f"{name} time from end-diastole to the peak ejection rate"),
            f"{chamber}_pfr_ml_s": Measure("mL/s", f"{name} peak filling rate"),
            f"{chamber}_pfr_time_ms": Measure("ms", f"{name} time from end-systole to the peak filling rate"),
        }
    table |= {
        "lvedv_biplane_ml": Measure("mL", "LV end-diastolic volume, biplane area–length (cross-check)"),
        "lvesv_biplane_ml": Measure("mL", "LV end-systolic volume, biplane area–length (cross-check)"),
        "lvef_biplane_pct": Measure("%", "LV ejection fraction, biplane area–length (cross-check)"),
        "wall_ed_max_mm": Measure("mm", "largest end-diastolic thickness of a sector of one slice"),
        "wall_es_max_mm": Measure("mm", "largest end-systolic thickness of a sector of one slice"),
    }
    for number, segment in AHA_SEGMENTS.items():
        table |= {
            f"wall_ed_{number:02d}_mm": Measure("mm", f"end-diastolic wall thickness, {segment}"),
            f"wall_es_{number:02d}_mm": Measure("mm", f"end-systolic wall thickness, {segment}"),
            f"thickening_{number:02d}_pct": Measure("%", f"systolic wall thickening, {segment}"),
        }
    return table | {
        "mapse_mm": Measure("mm", "mitral annular plane systolic excursion, mean of 2CH and 4CH"),
        "sprime_cm_s": Measure("cm/s", "s': peak systolic annular velocity"),
        "eprime_cm_s": Measure("cm/s", "e': peak early diastolic annular speed"),
        "aprime_cm_s": Measure("cm/s", "a': peak late diastolic annular speed"),
        "lv_length_mm": Measure("mm", "LV length at end-diastole, mitral plane to apex"),
        "annulus_mm": Measure("mm", "mitral annulus, diameter at end-diastole"),
        "regurgitant_ml": Measure("mL", "mitral regurgitant volume: LV stroke volume − forward stroke volume"),
        "forward_sv_ml": Measure("mL", "LV stroke volume that reaches the aorta"),
    }


MEASURES: dict[str, Measure] = _all()


def indexed_features(table: pd.DataFrame, literal: bool = False) -> pd.DataFrame:
    """Keys of a features table and its measures divided by `bsa_m2`, in columns named by `indexed_name`.

    literal: all 18, fractions too, as the CUSSP paper feeds its random forest; else what is customarily
    indexed. NaN where body surface area or the measure is. Raises ValueError where columns lack.
    """
    names = FEATURES if literal else INDEXED
    lacking = [n for n in (*names, "bsa_m2") if n not in table]
    if lacking:
        raise ValueError(f"the table lacks {lacking}; make it with cmrlib.measures.features")
    keys = [n for n in ("participant_id", "session") if n in table]
    columns = {indexed_name(n): table[n] / table["bsa_m2"] for n in names}
    return pd.concat([table[keys], pd.DataFrame(columns, index=table.index)], axis=1)
