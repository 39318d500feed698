"""Scores of one examination: CUSSP, SSLHF, and predictions from HeartMAE's features."""

import math
from pathlib import Path

import pandas as pd

from cmrlib.cohort.files import read_json
from cmrlib.learning.task import Task
from cmrlib.measures import MEASURES
from cmrlib.measures.curves import FEWEST_FRAMES
from cmrlib.measures.plausible import impossible
from cmrlib.papers.heartmae import Fitted, make_bags
from cmrlib.report.cards import card_of
from cmrlib.report.classifiers import load_classifier, score_cine
from cmrlib.report.reference import refused

PREDICTED = ("lvef_pct", "rvef_pct", "laef_pct", "raef_pct", "lvedv_ml", "lvm_g")
"""Of what HeartMAE's heads predict, what stands beside a measured value."""

CONDITIONS = {"mr": "mitral regurgitation", "hf_type": "heart failure with {}, if it is heart failure"}
"""Label column → what its classifier is asked."""

TABLES = {"05_cussp": ("table_2", "model", "auc"), "06_sslhf": ("performance", "method", "patient_auc")}
"""Notebook → table of its run, the column that names the model, and its area under the ROC curve."""


def classify_examination(cohort, homes: dict) -> tuple[list[dict], list[str], list[dict]]:
    """(scores, what is missing, cards) of the notebooks 05, 06 and 08 whose weights are there.

    homes: notebook → the folders of runs that have weights of it (`homes_of`), of which the first is used. A score is a
    row: name, value, unit, threshold, checked (how good it was on hearts it had not seen), reason (why there is no
    value).
    """
    scores, missing, cards = [], [], []
    for notebook, what in (
        ("05_cussp", "score of mitral regurgitation (CUSSP)"),
        ("06_sslhf", "score of the kind of heart failure (SSLHF)"),
        ("08_heartmae_predict", "predictions from features (HeartMAE)"),
    ):
        if not homes.get(notebook):
            missing.append(f"{what}: not computed, no weights")
            continue
        step = _predicted if notebook == "08_heartmae_predict" else _classified
        rows, path = step(cohort, Path(homes[notebook][0]) / notebook)
        scores, cards = scores + rows, [*cards, card_of(what, path)]
    return scores, missing, cards


def _classified(cohort, run):
    classifier = load_classifier(run)
    card = read_json(classifier.path.with_suffix(".json"))
    name = CONDITIONS.get(card.get("label"), str(card.get("label"))).format(card.get("positive", ""))
    row = {
        "name": f"probability of {name}",
        "value": math.nan,
        "unit": "",
        "threshold": classifier.threshold,
        "checked": _auc(run, classifier.path.stem, card),
        "reason": f"needs a {classifier.view.upper()} cine",
    }
    looked = cohort.observers.get("ternausnet")
    for cine in cohort.cines[cohort.cines["view"] == classifier.view].itertuples():
        value, row["reason"] = (
            (None, "not segmented") if looked is None else score_cine(cohort, looked, classifier, cine)
        )
        if value is not None:
            row["value"] = value
            break
    return [row], classifier.path


def _auc(run, stem, card) -> str:
    table, column, value = TABLES[run.name]
    path = run / "tables" / f"{table}.csv"
    rows = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=[column])
    rows = rows[rows[column] == stem.split("_seed")[0]]
    if rows.empty:
        return ""
    one = rows.iloc[0]
    n = one["n_patients" if "n_patients" in one else "n"]
    return f"AUC {one[value]:.2f} ({one[f'{value}_low']:.2f} to {one[f'{value}_high']:.2f}), {n:.0f} {_hearts(card)}"


def _predicted(cohort, run):
    weights = run / "weights"
    encoder = read_json(weights / "heads.json")["encoder"]
    task, [model], card = Task.load(weights / encoder)
    people = cohort.subjects["participant_id"]
    sections = task.items(cohort, "", pd.Series("test", people))
    sections, values = sections[sections["frames"] >= FEWEST_FRAMES], {}
    if len(sections):
        bags = make_bags(lambda name, k: task.embed(model, cohort.cine(name), k), sections)
        values = Fitted.load(weights / "heads").predict(bags).iloc[0].to_dict()
    seen = ", ".join(view.upper() for view in sorted(set(sections["view"])))
    errors, rows = _errors(run, encoder, card), []
    for name in PREDICTED:
        error = errors.get(name)
        reason = "not among what these heads learned" if values else "needs a cine of a whole cycle"
        reason = impossible(name, float(values[name])) or refused(name, error) if name in values else reason
        checked = "" if error is None else f"{error['bias']:+.1f} ± {error['sd']:.1f}, {error['n']} {_hearts(card)}"
        rows.append(
            {
                "name": f"predicted {MEASURES[name].description.split(':')[0]}, from {seen}",
                "value": math.nan if reason else float(values[name]),
                "unit": MEASURES[name].unit,
                "threshold": None,
                "checked": checked,
                "reason": reason,
            }
        )
    return rows, weights / encoder


def _errors(run, encoder, card) -> dict:
    """Measure → bias, sd, n, real, of the run's predictions for its test subjects, mean over the heads' seeds."""
    path = run / "tables" / "predictions_cardiac.csv"
    if not path.exists():
        return {}
    table = pd.read_csv(path, dtype={"participant_id": str})
    table = table[table["model"] == encoder].groupby(["target", "participant_id"])[["predicted", "true"]].mean()
    apart = (table["predicted"] - table["true"]).dropna().groupby("target")
    return {
        name: {"bias": part.mean(), "sd": part.std(), "n": len(part), "real": not card.get("synthetic", False)}
        for name, part in apart
    }


def _hearts(card) -> str:
    return "phantoms" if card.get("synthetic", False) else "hearts"
