"""Model cards: what weights learned from, and by whom they err."""

from pathlib import Path

import pandas as pd

from cmrlib.cine.anatomy import VIEW_STRUCTURES
from cmrlib.cohort.files import read_json
from cmrlib.cohort.provenance import learned, people_of, phantoms_alone
from cmrlib.learning.weightsets import views_served


def card_of(what: str, path) -> dict:
    """What a page says of weights: model, weights, learned from, licence, synthetic, checked (rows of `by_whom`, of
    the card itself where they travelled without their run)."""
    card = read_json(Path(path).with_suffix(".json"))
    return {
        "model": what,
        "weights": Path(path).stem,
        "learned from": learned_text(card),
        "licence": card.get("licence", "not stated"),
        "synthetic": phantoms_alone(card),
        "checked": card.get("checked") or by_whom(path),
    }


def learned_text(card: dict) -> str:
    """From whom weights learned: data sets with the number of subjects where their ids are listed."""
    known = learned(card).get("trained_on", {})
    return ", ".join(
        f"{name} ({len(who)} subjects)" if people_of(name) else name for name, who in known.items()
    ) or card.get("cohort", "not stated")


def by_whom(path) -> list[dict]:
    """How far weights were off by sex and group, from their run's table by_characteristics: rows of who, what, value,
    low, high, n, of the view that they are for. Empty where the run wrote no such table."""
    path = Path(path)
    table = path.parents[1] / "tables" / "by_characteristics.csv"
    rows = pd.read_csv(table).dropna(subset=["level_of_it"]).to_dict("records") if table.exists() else []
    views = {view: view in views_served(path) for view in VIEW_STRUCTURES}
    rows = [row for row in rows if views.get(row["structure"].rsplit(", ", 1)[-1], True)]
    value = next((name.removesuffix("_low") for name in (rows[0] if rows else {}) if name.endswith("_low")), "")
    return [
        {
            "who": f"{row['characteristic']} {row['level_of_it']}",
            "what": f"{value} {row['structure']}",
            **{
                name: round(float(row[f"{value}{end}"]), 3)
                for name, end in (("value", ""), ("low", "_low"), ("high", "_high"))
            },
            "n": int(row["n"]),
        }
        for row in rows
    ]
