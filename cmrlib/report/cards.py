"""Model cards: training data of weights, and their error by subgroup."""

from pathlib import Path

import pandas as pd

from cmrlib.cine.anatomy import VIEW_STRUCTURES
from cmrlib.cohort.files import read_json
from cmrlib.cohort.provenance import learned, people_of, phantoms_alone
from cmrlib.learning.weightsets import views_served


def card_of(what: str, path) -> dict:
    """A page's entry for weights: model, weights, learned from, licence, synthetic, checked.

    checked: rows of `error_by_subgroup`, taken from the card where the weights travelled without their run.
    """
    card = read_json(Path(path).with_suffix(".json"))
    return {
        "model": what,
        "weights": Path(path).stem,
        "learned from": learned_text(card),
        "licence": card.get("licence", "not stated"),
        "synthetic": phantoms_alone(card),
        "checked": card.get("checked") or error_by_subgroup(path),
    }


def learned_text(card: dict) -> str:
    """Training data of weights: data sets, with the number of subjects where their ids are listed."""
    known = learned(card).get("trained_on", {})
    return ", ".join(
        f"{name} ({len(who)} subjects)" if people_of(name) else name for name, who in known.items()
    ) or card.get("cohort", "not stated")


def error_by_subgroup(path) -> list[dict]:
    """Error by sex and group from the run's table by_characteristics: rows of who, what, value, low, high, n.

    Only rows of the views that the weights serve; empty where the run wrote no such table.
    """
    path = Path(path)
    table = path.parents[1] / "tables" / "by_characteristics.csv"
    found = pd.read_csv(table).rename(columns={"level_of_it": "level"}) if table.exists() else None  # older runs
    rows = [] if found is None else found.dropna(subset=["level"]).to_dict("records")
    views = {view: view in views_served(path) for view in VIEW_STRUCTURES}
    rows = [row for row in rows if views.get(row["structure"].rsplit(", ", 1)[-1], True)]
    value = next((name.removesuffix("_low") for name in (rows[0] if rows else {}) if name.endswith("_low")), "")
    return [
        {
            "who": f"{row['characteristic']} {row['level']}",
            "what": f"{value} {row['structure']}",
            **{
                name: round(float(row[f"{value}{end}"]), 3)
                for name, end in (("value", ""), ("low", "_low"), ("high", "_high"))
            },
            "n": int(row["n"]),
        }
        for row in rows
    ]
