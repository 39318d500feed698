"""The one list of measures: name → unit and description. Tables, agreement, figures and reports all use it.

A name ends in its unit, as everywhere in this library; `indexed_name` derives the name of a measure divided
by body surface area. The 18 features are those of the CUSSP paper (LA and RA: 4 each, LV: 6, RV: 4).
"""

from importlib.resources import files
from typing import NamedTuple

import pandas as pd
import yaml


class Measure(NamedTuple):
    """Unit, description and short name of one measure."""

    unit: str
    description: str
    short: str


_TABLES = yaml.safe_load(files("cmrlib.measures").joinpath("measures.yaml").read_text(encoding="utf-8"))

FEATURES = tuple(_TABLES["features"])
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
    rows = _TABLES["features"] | _TABLES["body"]
    for name, (unit, description, short) in _TABLES["features"].items():
        rows[indexed_name(name)] = f"{unit}/m²", f"{description}, by body surface area", f"{short} index"
    rows |= _TABLES["more"]
    for number, segment in AHA_SEGMENTS.items():
        for name, (unit, description, short) in _TABLES["segments"].items():
            rows[name.format(number)] = unit, description.format(segment), short.format(number)
    return {name: Measure(*row) for name, row in (rows | _TABLES["motion"]).items()}


MEASURES: dict[str, Measure] = _all()

HUMAN_SD = {"lvedv_ml": 15.2, "lvesv_ml": 14.0, "lvm_g": 20.2, "lvef_pct": 4.6, "mapse_mm": 1.2, "eprime_cm_s": 1.7}
HUMAN_SD |= {"rvedv_ml": 19.5, "rvesv_ml": 9.1, "rvef_pct": 6.5, "laef_pct": 4.9, "raef_pct": 11.5}
"""How far two people differ (SD): the best pair of seven core laboratories (Suinesiaputra et al., JCMR 2015;17:63);
MAPSE and e' as in MVnet (Gonzales et al., JCMR 2021, table 4). RV: 13 % of usual values (150 mL, 70 mL, 50 %), the
upper end of two observers' coefficients of variation (Catalano et al., J Cardiovasc Med 2007). Emptying fractions:
8.2 % of 60 % (LA) and 24 % of 48 % (RA), the upper ends between two examinations (Kowallick et al., JCMR 2015;17:36).
The others have no figure that fits our conventions."""


_UNITS = {"years": "years", "kg_m2": "kg/m²", "ml_s": "mL/s", "kg": "kg", "mm": "mm", "m": "m"}


def label(name: str, full: bool = False) -> str:
    """How a measure is called in figures and tables: `LVEF (%)`, or in full `LV ejection fraction (%)`; another column
    (age, height_m, pfr_early_ml_s) in words with its unit."""
    if name in MEASURES:
        measure = MEASURES[name]
        return f"{measure.description.split(':')[0] if full else measure.short} ({measure.unit})"
    name = "age_years" if name == "age" else name
    unit = next((end for end in _UNITS if name.endswith(f"_{end}")), "")
    words = name.removesuffix(f"_{unit}").replace("_", " ")
    return f"{words} ({_UNITS[unit]})" if unit else words


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
