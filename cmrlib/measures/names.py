"""The one list of measures: name → unit and description. Tables, agreement, figures and reports all use it.

A name ends in its unit, as everywhere in this library; `indexed_name` derives the name of a measure divided
by body surface area. The 18 features are those of the CUSSP paper (LA and RA: 4 each, LV: 6, RV: 4).
"""

from importlib.resources import files
from typing import NamedTuple

import pandas as pd
import yaml


class Measure(NamedTuple):
    """Unit and description of one measure."""

    unit: str
    description: str


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
    for name, (unit, description) in _TABLES["features"].items():
        rows[indexed_name(name)] = f"{unit}/m²", f"{description}, by body surface area"
    rows |= _TABLES["more"]
    for number, segment in AHA_SEGMENTS.items():
        for name, (unit, description) in _TABLES["segments"].items():
            rows[name.format(number)] = unit, description.format(segment)
    return {name: Measure(*row) for name, row in (rows | _TABLES["motion"]).items()}


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
