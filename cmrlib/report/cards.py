"""Model cards: training data of weights, and their error by subgroup."""

from pathlib import Path

import pandas as pd

from cmrlib.cine.anatomy import VIEW_STRUCTURES
from cmrlib.cohort.files import read_json
from cmrlib.cohort.provenance import data_sets, phantoms_alone
from cmrlib.learning.weightsets import card_beside, views_served


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
    """Training data of weights, as in `provenance.data_sets`."""
    return data_sets(card) or card.get("cohort", "not stated")


def error_by_subgroup(path) -> list[dict]:
    """Error by sex and group from the run's table by_characteristics: rows of who, what, value, low, high, n.

    Only rows of the views that the weights serve; empty where the run wrote no such table.
    """
    path = Path(path)
    table = path.parents[1] / "tables" / "by_characteristics.csv"
    if not table.exists():
        return []
    found = pd.read_csv(table).rename(columns={"level_of_it": "level"}).dropna(subset=["level"])  # older runs
    others = set(VIEW_STRUCTURES) - set(views_served(path) or card_beside(path)["preprocessing"]["views"])
    found = found[~found["structure"].str.rpartition(", ")[2].isin(others)]
    value = next(name.removesuffix("_low") for name in found if name.endswith("_low"))
    rows = pd.DataFrame(
        {
            "who": found["characteristic"] + " " + found["level"].astype(str),
            "what": value + " " + found["structure"],
            "value": found[value].round(3),
            "low": found[f"{value}_low"].round(3),
            "high": found[f"{value}_high"].round(3),
            "n": found["n"].astype(int),
        }
    )
    return rows.to_dict("records")
