"""How far networks err: on hearts that they had never seen, and on those of which they were as sure as of this one."""

import math
from pathlib import Path

import pandas as pd

from cmrlib.agreement import expected_dice
from cmrlib.agreement.confidence import structures_of
from cmrlib.cohort.files import read_json
from cmrlib.learning.weightsets import NOTEBOOKS, by_view
from cmrlib.measures import MEASURES
from cmrlib.measures.valve import METRICS

ERROR = ["bias", "sd", "n", "real"]
PART = ["confidence_low", "confidence_high"]
"""Columns of `errors.csv` beside the measure; PART is empty in rows of all hearts."""


def errors_of(homes: dict[str, list[Path]]) -> dict[str, dict]:
    """`known_errors` of each measure from where its own networks come from: those of the views that it needs."""
    outlines = by_view([home / "01_segmentation" / "weights" for home in homes["01_segmentation"]])
    home_of = {view: path.parents[2] for view, path in outlines.items()}
    known = {home: known_errors(home) for home in {*home_of.values(), *homes["04_mvnet"][:1]}}
    errors = {}
    for name in MEASURES:
        used = homes["04_mvnet"][:1] if name in METRICS else [home_of.get(view) for view in _views_behind(name)]
        if len(set(used)) == 1 and name in known.get(used[0], {}):
            errors[name] = known[used[0]][name]
    return errors


def _views_behind(name) -> tuple[str, ...]:
    """Views whose outlines a measure comes from."""
    if "biplane" in name or name.startswith(("la", "lv_gls", "lv_sphericity")):
        return "2ch", "4ch"
    return ("4ch",) if name.startswith("ra") else ("sax",)


def at_confidence(errors: dict[str, dict], values: dict) -> dict[str, dict]:
    """Errors of hearts whose outlines were as confident as these, where they are known (`by_confidence`), else of all.

    values: a row of `features`. With `like`: True where the error is that of hearts of like confidence.
    """
    found = {}
    for name, error in errors.items():
        sure = [values.get(f"confidence_{one}", math.nan) for one in structures_of(name)]
        parts = error.get("by_confidence", [])
        if parts and sure and all(map(math.isfinite, sure)):
            reached = [part for part in parts if min(sure) >= part["confidence_low"]]
            part = max(reached, key=lambda one: one["confidence_low"], default=parts[0])
            error = error | {key: part[key] for key in ("bias", "sd", "n")} | {"like": True}
        found[name] = error
    return found


def outline_rows(views: dict, homes) -> list[dict]:
    """A row a view and structure outlined: view, structure, confidence, and the Dice that networks of this recipe had
    at such a confidence (NaN where no validation patients told)."""
    rows, paths = [], by_view([home / "01_segmentation" / "weights" for home in homes]) if views else {}
    for view, (_, annotation) in views.items():
        told = read_json(paths[view].with_suffix(".json")).get("calibration", {}) if view in paths else {}
        for name, value in annotation.confidence.items():
            curve = told.get(view, {}).get(name)
            dice = float(expected_dice(pd.DataFrame(curve), value)) if curve else math.nan
            rows.append({"view": view, "structure": name, "confidence": value, "dice": dice})
    return rows


def known_errors(weights) -> dict[str, dict]:
    """Measure → bias, sd, n, real: how far these networks were from a reference on subjects they had never seen; where
    it is known also `by_confidence`, the rows of `agreement.error_by_confidence`.

    From `errors.csv` beside the runs (shipped weights), else from the runs' own tables of 09_agreement and 04_mvnet.
    """
    weights = Path(weights)
    errors, parts = _tables_of_errors(weights)
    for name, rows in parts.groupby("measure") if len(parts) else ():
        if name in errors:
            ordered = rows.sort_values("confidence_low").drop(columns="measure")
            errors[name] = errors[name] | {"by_confidence": ordered.to_dict("records")}
    return errors


def _tables_of_errors(weights):
    """(measure → bias, sd, n, real; rows by confidence) of a folder of runs or of shipped weights."""
    if (weights / "errors.csv").exists():
        table = pd.read_csv(weights / "errors.csv").reindex(columns=["measure", *ERROR, *PART])
        whole = table["confidence_low"].isna()
        return table[whole].set_index("measure")[ERROR].to_dict("index"), table.loc[~whole, ["measure", *PART, *ERROR]]
    path = weights / "09_agreement" / "tables" / "by_confidence.csv"
    return _errors_of_runs(weights), pd.read_csv(path) if path.exists() else pd.DataFrame()


def _errors_of_runs(weights) -> dict[str, dict]:
    errors = {}
    for made, table in (
        (NOTEBOOKS[0], "09_agreement/tables/agreement.csv"),
        (NOTEBOOKS[2], "04_mvnet/tables/table_3.csv"),
    ):
        cards = [read_json(path) for path in (weights / made / "weights").glob("*.json")]
        if (weights / table).exists():
            rows = pd.read_csv(weights / table).dropna(subset="sd").set_index("measure")[["bias", "sd", "n"]]
            real = not any(card.get("synthetic", False) for card in cards)
            errors |= rows.astype({"n": int}).assign(real=real).to_dict("index")
    return errors
