"""Table 2 and figure 5: every model on the same test subjects, thresholds from validation subjects."""

import numpy as np
import pandas as pd
import torch

from cmrlib.agreement import choose_threshold, classification
from cmrlib.agreement.resampling import bounded
from cmrlib.papers.cussp.roles import PRETRAINING
from cmrlib.papers.cussp.task import CusspJoint, CusspPairs, CusspPretraining, MitralRegurgitation

MODELS = {
    "prevalence": "prevalence",
    "shadow": "systolic shadow",
    "pca": "principal components",
    "random": "random encoder",
    "rf": "RF",
    "cnnlstm": "CNN-LSTM",
    "cussp1": "CUSSP-1",
    "cussp2": "CUSSP-2",
    "cussp3": "CUSSP-3",
    "siam": "CUSSP-SIAM",
    "siam25": "CUSSP-SIAM-25",
    "scratch25": "no pretraining, half cycle",
    "siam25_oracle": "SIAM-25, true masks and phases (oracle)",
    "fraction": "true regurgitant fraction (oracle)",
}
"""Rows of table 2 in its order after those in which no network learns, then what labels teach alone, and oracles, which
only a phantom has: SIAM-25 with the truth's masks at test time, and the leak itself against labels, some of them
wrong."""

TRAINED = ("cussp1", "cussp2", "cussp3", "siam", "siam25", "scratch25")
"""Rows of `train_row`."""

SHARES = {"cussp1": 0.9, "cussp2": 0.5, "cussp3": 0.1, "scratch25": 0.0}
"""Weight of the cross-correlation loss; the cross-entropy has the rest (section 3.4)."""

METRICS = {
    "roc_auc": "auc", "average_precision": "ap", "f1": "f1", "precision": "precision", "recall": "recall",
    "accuracy_positive": "pos_acc", "accuracy_negative": "neg_acc",
}  # fmt: skip

PAPER = pd.DataFrame(
    [
        ("rf", 0.09, 0.99, 0.43, 0.09, 0.14, 0.58),
        ("cnnlstm", 0.53, 0.86, 0.45, 0.53, 0.44, 0.72),
        ("cussp1", 0.38, 0.87, 0.29, 0.38, 0.32, 0.65),
        ("cussp2", 0.29, 0.87, 0.25, 0.29, 0.27, 0.63),
        ("cussp3", 0.38, 0.90, 0.35, 0.38, 0.36, 0.66),
        ("siam", 0.55, 0.96, 0.66, 0.55, 0.60, 0.80),
        ("siam25", 0.62, 0.96, 0.80, 0.62, 0.69, 0.88),
    ],
    columns=["model", "pos_acc", "neg_acc", "precision", "recall", "f1", "auc"],
)
"""Table 2 as printed. Its rows do not all follow from each other: 0.62 is no multiple of 1/25, and SIAM-25's class
accuracies give a precision of 0.71, not 0.80. They must be means over runs, or their threshold came from test data."""


def arm(row: str, last: str) -> tuple[str, str, str, str]:
    """Start, pairs, layers and cycle of `siam` and `siam25`, or of an arm of the factorial, whose name says them:
    (random or barlow)-(pairs or plain)-(block or all)-(whole or half). last: layers of the two that do not say them."""
    paper = {"siam": ("barlow", "pairs", last, "whole"), "siam25": ("barlow", "pairs", last, "half")}
    return paper.get(row) or tuple(row.split("-"))


def train_row(row: str, cohort, annotations: str, roles: pd.Series, told: dict, seed: int, pretraining_seed: int):
    """(task, classifier, {step: learner}) of a row of table 2 among `TRAINED`, or of an `arm`; every step starts from
    the one before, and is found again in the folder `told["task"]["cache"]`.

    told: parameters of 05_cussp: task, precision, and steps (barlow, siamese, classifier, and joint for CUSSP-1 to -3),
    each with epochs, lr and bs. SIAM-25 looks at half of the cycle, 25 of 50 frames, from ED on, and
    has its own pretraining; all others but scratch25 see all frames. scratch25, not in the paper, learns from the
    labels alone, all layers at once. Arms of the factorial take equally many steps: what one leaves out its classifier
    trains longer.
    """
    last, half = told["task"].get("last", MitralRegurgitation.last), row.endswith(("25", "half"))
    start, pairs, layers, cycle = ("", "", last, "whole") if row in SHARES else arm(row, last)
    settings = told["task"] | {"window": told["task"]["frames"] // 2 if half else 0, "last": layers}
    settings["share"] = SHARES.get(row)
    task, learners, twins, encoder = MitralRegurgitation.of(settings), {}, None, None

    def step(name, what, of, one_seed, more=0, **start):
        learners[what] = _trained(name, of.of(settings), cohort, annotations, roles, told, one_seed, start, more)
        return learners[what].model

    if start == "barlow" or SHARES.get(row):
        what = f"Barlow Twins, {cycle} cycle, seed {pretraining_seed}"
        twins = step("barlow", what, CusspPretraining, pretraining_seed)
        encoder = twins.encoder
    if row in SHARES:
        start = {"classifier.encoder": twins.encoder, "projector": twins.projector} if twins else {}
        return task, step("joint", f"both losses, {row}, seed {seed}", CusspJoint, seed, **start).classifier, learners
    given = {"encoder": encoder} if encoder else {}
    if pairs == "pairs":
        given = {"encoder": step("siamese", f"Siamese, {row}, seed {seed}", CusspPairs, seed, **given).encoder}
    left_out = ["barlow"] * (start == "random") + ["siamese"] * (pairs == "plain")
    more = sum(_steps(one, told, roles) for one in left_out) / _steps("classifier", told | {"epochs": 1}, roles)
    what = f"classifier, {row}, seed {seed}"
    return task, step("classifier", what, MitralRegurgitation, seed, round(more), **given), learners


def _steps(name, told, roles):
    """Of an optimiser in one of the steps, or in one epoch of it."""
    n = roles.isin(PRETRAINING if name == "barlow" else ["train"]).sum()
    epochs = told.get("epochs") or np.max(told["steps"][name]["epochs"])
    return epochs * np.ceil(n / min(told["steps"][name]["bs"], n))


def _trained(step, task, cohort, annotations, roles, told, seed, start, more):
    """Learner of one training; start: part of the network → module that it starts from; more: further epochs. Of
    several numbers of epochs validation subjects choose."""
    tried, given = [], told["steps"][step]
    for epochs in (np.atleast_1d(given["epochs"]) + more).tolist():
        torch.manual_seed(seed)
        model = task.network()
        for part, module in start.items():
            model.get_submodule(part).load_state_dict(module.state_dict())
        how = given | {"epochs": epochs, "seed": seed, "model": model}
        tried.append(task.train(cohort, annotations, roles, **how, precision=told["precision"], state=task.cache))
    return min(tried, key=lambda learn: learn.recorder.values[-1][-1])


def score_rows(model: str, seed: int, scores: pd.Series, labels: pd.Series, roles: pd.Series) -> pd.DataFrame:
    """Rows of mr_scores.csv: participant_id, model, seed, score, label, split, of all labelled subjects.

    scores: participant_id → probability, NaN where a model has no answer.
    """
    split = roles[roles != "unlabelled"]
    found = scores[~scores.index.duplicated()].reindex(split.index).astype(float)
    table = pd.DataFrame({"model": model, "seed": seed, "score": found, "label": labels.reindex(split.index)})
    return table.assign(split=split).rename_axis("participant_id").reset_index()


def thresholds(scores: pd.DataFrame) -> pd.DataFrame:
    """Model, seed → the threshold with the best F1 on its validation subjects."""
    checked = scores[(scores["split"] == "validation") & scores["score"].notna()].groupby(["model", "seed"], sort=False)
    found = {key: choose_threshold(part["label"], part["score"]) for key, part in checked}
    return pd.Series(found, name="threshold").rename_axis(["model", "seed"]).reset_index()


def tested(scores: pd.DataFrame, model: str) -> pd.DataFrame:
    """Rows of mr_scores.csv of a model's test subjects."""
    return scores[(scores["model"] == model) & (scores["split"] == "test")]


def table_2(scores: pd.DataFrame, chosen: pd.DataFrame, names=MODELS) -> pd.DataFrame:
    """A row a model of `names`: METRICS on test subjects, mean over seeds, `_low` and `_high` over subjects, `_sd` over
    seeds, and `_paper` as printed. Subjects without a score (no usable cine) are counted in n_missing, never called
    negative."""
    rows = []
    for model in [name for name in names if name in set(scores["model"])]:
        part = tested(scores, model)
        wide = part.pivot(index="participant_id", columns="seed", values="score")
        labels = part.drop_duplicates("participant_id").set_index("participant_id")["label"]
        limits = chosen[chosen["model"] == model].set_index("seed")["threshold"]
        result = classification(labels[wide.index], wide, limits[wide.columns]).set_index("metric")
        row = {"model": model, "name": names[model]}
        for metric, name in METRICS.items():
            row |= bounded(name, *result.loc[metric, ["estimate", "low", "high"]])
            row[f"{name}_sd"] = result.loc[metric, "sd"]
        rows.append(row | result.iloc[0][["n", "n_positive", "n_missing", "n_runs"]].to_dict())
    return pd.DataFrame(rows).join(PAPER.set_index("model").add_suffix("_paper"), on="model")


def metrics_of(table: pd.DataFrame) -> dict:
    """`rf_auc`, `rf_auc_low`, … of a table 2."""
    names = [name + end for name in METRICS.values() for end in ("", "_low", "_high")]
    return {f"{row['model']}_{name}": row[name] for row in table.to_dict("records") for name in names}
