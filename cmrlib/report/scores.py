"""Scores of one examination: CUSSP, SSLHF, and predictions from HeartMAE's features."""

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cmrlib.cohort.files import read_json
from cmrlib.learning.task import Task
from cmrlib.learning.weightsets import weights_files
from cmrlib.measures import MEASURES, RefusedError
from cmrlib.measures.curves import FEWEST_FRAMES
from cmrlib.measures.plausible import impossible
from cmrlib.papers.heartmae import make_bags
from cmrlib.report.cards import card_of
from cmrlib.report.reference import refused

CLASSIFIERS = ("siam25", "siam", "sslhf")
"""Of several classifiers in a run's folder the first of these, where no file is named."""

CHANCE = 0.5
"""Area under the ROC curve of no use; a score whose interval reaches it is not reported."""

PREDICTED = ("lvef_pct", "rvef_pct", "laef_pct", "raef_pct", "lvedv_ml", "lvm_g")
"""Of what HeartMAE's heads predict, what stands beside a measured value."""

CONDITIONS = {"mr": "mitral regurgitation", "hf_type": "heart failure with {}, if it is heart failure"}
"""Label column → what its classifier is asked."""

TABLES = {"05_cussp": ("table_2", "model", "auc"), "06_sslhf": ("performance", "method", "patient_auc")}
"""Notebook → table of its run, the column that names the model, and its area under the ROC curve."""

SCORES = {
    "05_cussp": "score of mitral regurgitation (CUSSP)",
    "06_sslhf": "score of the kind of heart failure (SSLHF)",
    "08_heartmae_predict": "predictions from features (HeartMAE)",
}


@dataclass(frozen=True)
class Classifier:
    """A task whose last row of a cine is its `score`, a probability; its networks, their card and file."""

    task: Task
    models: list
    card: dict
    path: Path

    @property
    def name(self) -> str:
        return type(self.task).__name__

    @property
    def view(self) -> str:
        return self.task.views[0]

    @property
    def threshold(self) -> float:
        """From which on a score counts as positive."""
        return self.card["threshold"]


def load_classifier(run) -> Classifier:
    """The classifier of a run's folder, a folder of weights, or one file, whichever paper it is from.

    Raises FileNotFoundError where there are no weights, ValueError for those of other networks.
    """
    files = {path.stem: path for path in weights_files(run)}
    known = [files[name] for name in CLASSIFIERS if name in files] or list(files.values())
    if len(known) > 1 and known[0].stem not in CLASSIFIERS:
        raise ValueError(f"{run} holds {', '.join(files)}; name one of the files")
    card = known[0].with_suffix(".json")
    if card.exists() and "threshold" not in (said := read_json(card)):
        name = said.get("architecture", {}).get("name", "an unknown network")
        raise ValueError(f"{known[0].name}: weights of {name} do not classify: no threshold")
    return Classifier(*Task.load(known[0]), known[0].with_suffix(".safetensors"))


def score_cine(cohort, looked, classifier: Classifier, row) -> tuple[float, str]:
    """(probability, "") of a row of `cohort.cines` by an observer's masks, or (NaN, why there is none)."""
    if looked is None or not looked.has(row.cine):
        return math.nan, "not segmented" + (f" by {looked.name}" if looked else "")
    cine, annotation = cohort.cine(row.cine), looked.annotation(row.cine)
    try:
        score = classifier.task.predict_cine(classifier.models, cine, annotation)[1][-1]["score"]
    except RefusedError as error:  # any other error is a defect, not a reason
        return math.nan, error.reason
    return score, "nothing in it that can be judged" if math.isnan(score) else ""


def classify_examination(cohort, homes: dict) -> tuple[list[dict], list[str], list[dict]]:
    """(scores, what is missing, cards) of the notebooks in SCORES whose weights are there.

    homes: notebook → the folders of runs that have weights of it (`homes_of`), of which the first is used. A score is a
    row: name, value, unit, threshold, checked (how good it was on hearts it had not seen), reason (why there is no
    value).
    """
    scores, missing, cards = [], [], []
    for notebook, what in SCORES.items():
        if not homes.get(notebook):
            missing.append(f"{what}: not computed, no weights")
            continue
        step = _predicted if notebook == "08_heartmae_predict" else _classified
        rows, path = step(cohort, Path(homes[notebook][0]) / notebook)
        scores, cards = scores + rows, [*cards, card_of(what, path)]
    return scores, missing, cards


def _classified(cohort, run):
    classifier = load_classifier(run)
    card, view, observer = classifier.card, classifier.view, cohort.observers.get("ternausnet")
    value, reason = math.nan, f"needs a {view.upper()} cine"
    for cine in cohort.cines[cohort.cines["view"] == view].itertuples():
        value, reason = score_cine(cohort, observer, classifier, cine)
        if math.isfinite(value):
            break
    name = CONDITIONS.get(card.get("label"), str(card.get("label"))).format(card.get("positive", ""))
    checked, lowest = _auc(run, classifier.path.stem, card)
    if lowest <= CHANCE:
        value, reason = math.nan, f"no better than chance: {checked}"
    return [_row(f"probability of {name}", value, "", checked, reason, classifier.threshold)], classifier.path


def _row(name, value, unit, checked, reason, threshold=None):
    said = {"threshold": threshold, "checked": checked, "reason": reason}
    return {"name": name, "value": value, "unit": unit} | said


def _auc(run, stem, card) -> tuple[str, float]:
    """How good a classifier was on hearts it had not seen, as text, and the lower end of its interval; ("", NaN) where
    nobody knows."""
    table, column, value = TABLES[run.name]
    path = run / "tables" / f"{table}.csv"
    rows = pd.read_csv(path).set_index(column) if path.exists() else pd.DataFrame()
    if (model := stem.split("_seed")[0]) not in rows.index:
        return "", math.nan
    one = rows.loc[[model]].iloc[0]
    n = one["n_patients" if "n_patients" in one else "n"]
    low, high = one[f"{value}_low"], one[f"{value}_high"]
    return f"AUC {one[value]:.2f} ({low:.2f} to {high:.2f}), {n:.0f} {_hearts(card)}", low


def _predicted(cohort, run):
    weights = run / "weights"
    encoder = read_json(weights / "heads.json")["encoder"]
    task, [model], card = Task.load(weights / encoder)
    sections = task.items(cohort, "", pd.Series("test", cohort.subjects["participant_id"]))
    sections, values = sections[sections["frames"] >= FEWEST_FRAMES], {}
    if len(sections):
        bags = make_bags(lambda name, k: task.embed(model, cohort.cine(name), k), sections)
        probe, heads, _ = Task.load(weights / "heads")
        values = probe.predict(heads, bags).drop(columns="participant_id").iloc[0].astype(float).to_dict()
    seen = ", ".join(view.upper() for view in sorted(set(sections["view"])))
    errors, rows = _errors(run, encoder, card), []
    for name in PREDICTED:
        value, error = float(values.get(name, math.nan)), errors.get(name)
        reason = "not among what these heads learned" if values else "needs a cine of a whole cycle"
        reason = impossible(name, value) or refused(name, error) or _chance(error) if name in values else reason
        checked = "" if error is None else f"{error['bias']:+.1f} ± {error['sd']:.1f}, {error['n']} {_hearts(card)}"
        title = f"predicted {MEASURES[name].description.split(':')[0]}, from {seen}"
        rows.append(_row(title, math.nan if reason else value, MEASURES[name].unit, checked, reason))
    return rows, weights / encoder


def _chance(error) -> str:
    """Why predictions tell nothing: they err as much as the mean of all subjects would."""
    useless = error is not None and math.hypot(error["bias"], error["sd"]) >= error["spread"]
    return f"no better than the mean of all: subjects differ by {error['spread']:.1f} (SD)" if useless else ""


def _errors(run, encoder, card) -> dict:
    """Measure → bias, sd, n, spread (SD of the truth), real, of the run's predictions for its test subjects, mean over
    the heads' seeds."""
    path = run / "tables" / "predictions_cardiac.csv"
    if not path.exists():
        return {}
    table = pd.read_csv(path, dtype={"participant_id": str})
    table = table[table["model"] == encoder].groupby(["target", "participant_id"])[["predicted", "true"]].mean()
    errors = (table["predicted"] - table["true"]).groupby("target").agg(bias="mean", sd="std", n="count")
    errors["spread"] = table["true"].groupby("target").std()
    return errors[errors["n"] > 0].assign(real=not card.get("synthetic", False)).to_dict("index")


def _hearts(card) -> str:
    return "phantoms" if card.get("synthetic", False) else "hearts"
