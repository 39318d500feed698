"""Table 2 and figure 5: every model on the same test subjects, thresholds from validation subjects."""

from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from scipy.stats import binomtest, rankdata
from sklearn.metrics import brier_score_loss

from cmrlib.agreement import bootstrap, choose_threshold, classification, roc_pr
from cmrlib.papers.cussp.task import CusspJoint, CusspPairs, CusspPretraining, MitralRegurgitation

MODELS = {
    "rf": "RF",
    "cnnlstm": "CNN-LSTM",
    "cussp1": "CUSSP-1",
    "cussp2": "CUSSP-2",
    "cussp3": "CUSSP-3",
    "siam": "CUSSP-SIAM",
    "siam25": "CUSSP-SIAM-25",
    "scratch25": "no pretraining, half cycle",
    "floor": "forest on the true features",
    "ceiling": "regression on the true parameters",
}
"""Rows of table 2 in its order, then what labels teach alone, and the two bounds that only a phantom has."""

SHARES = {"cussp1": 0.9, "cussp2": 0.5, "cussp3": 0.1, "scratch25": 0.0}
"""Weight of the cross-correlation loss; the cross-entropy has the rest (section 3.4)."""

METRICS = {
    "roc_auc": "auc",
    "average_precision": "ap",
    "f1": "f1",
    "precision": "precision",
    "recall": "recall",
    "accuracy_positive": "pos_acc",
    "accuracy_negative": "neg_acc",
}

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


class Chain:
    """The trainings of one cohort: every step starts from the one before and is found again in `state`.

    told: parameters of 05_cussp: task, epochs, rates and batch_sizes, each by step (barlow, siamese, classifier), and
    joint too for CUSSP-1 to -3. learners: step → learner of all that was asked for.
    """

    def __init__(self, cohort, annotations: str, roles: pd.Series, told: dict, state):
        self.cohort, self.annotations, self.roles, self.told, self.state = cohort, annotations, roles, told, state
        self.learners = {}

    def train(self, row: str, seed: int, pretraining_seed: int):
        """(task, classifier) of a row of table 2 among CUSSP's and `scratch25`.

        SIAM-25 looks at half of the cycle, 25 of 50 frames, from ED on, and has its own pretraining; all others but
        scratch25 see all frames. scratch25, not in the paper, learns from the labels alone, all layers at once.
        """
        settings = self.told["task"] | {"cache": self.state}
        settings |= {"window": settings["frames"] // 2 if row.endswith("25") else 0, "share": SHARES.get(row)}
        task, twins = MitralRegurgitation.of(settings), None
        if row != "scratch25":
            cycle = "half cycle" if task.window else "whole cycle"
            what = f"Barlow Twins, {cycle}, seed {pretraining_seed}"
            twins = self._step("barlow", what, CusspPretraining.of(settings), pretraining_seed)
        if row in SHARES:
            start = {} if twins is None else {f"classifier.{k}": v for k, v in _encoder(twins).items()}
            start |= {} if twins is None else {f"projector.{k}": v for k, v in twins.projector.state_dict().items()}
            joint = self._step("joint", f"both losses, {row}, seed {seed}", CusspJoint.of(settings), seed, start)
            return task, joint.classifier
        siamese = self._step("siamese", f"Siamese, {row}, seed {seed}", CusspPairs.of(settings), seed, _encoder(twins))
        return task, self._step("classifier", f"classifier, {row}, seed {seed}", task, seed, _encoder(siamese))

    def _step(self, step, what, task, seed, start=None):
        """One training from the weights `start`; of several numbers of epochs validation subjects choose."""
        tried = []
        for epochs in np.atleast_1d(self.told["epochs"][step]).tolist():
            torch.manual_seed(seed)
            model = task.network()
            model.load_state_dict(model.state_dict() | (start or {}))
            learn = task.train(
                self.cohort,
                self.annotations,
                self.roles,
                epochs,
                self.told["rates"][step],
                bs=self.told["batch_sizes"][step],
                seed=seed,
                precision=self.told["precision"],
                state=self.state,
                model=model,
            )
            tried.append((learn.recorder.values[-1][-1], len(tried), learn))
        self.learners[what] = min(tried)[2]
        return self.learners[what].model


def _encoder(model) -> dict:
    return {f"encoder.{name}": value for name, value in model.encoder.state_dict().items()}


def score_rows(model: str, seed: int, scores: pd.Series, labels: pd.Series, roles: pd.Series) -> pd.DataFrame:
    """Rows of mr_scores.csv: participant_id, model, seed, score, label, split, of all labelled subjects.

    scores: participant_id → probability, NaN where a model has no answer.
    """
    split = roles[roles != "unlabelled"]
    found = scores[~scores.index.duplicated()].reindex(split.index).astype(float)
    table = pd.DataFrame({"model": model, "seed": seed, "score": found, "label": labels.reindex(split.index)})
    return table.assign(split=split).rename_axis("participant_id").reset_index()


def thresholds(scores: pd.DataFrame, by: str = "f1") -> pd.DataFrame:
    """Model, seed → the threshold that is best on its validation subjects. by: of `choose_threshold`."""
    checked = scores[(scores["split"] == "validation") & scores["score"].notna()]
    rows = [
        {"model": model, "seed": seed, "threshold": choose_threshold(part["label"], part["score"], by)}
        for (model, seed), part in checked.groupby(["model", "seed"], sort=False)
    ]
    return pd.DataFrame(rows)


def table_2(scores: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
    """A row a model: METRICS on test subjects, mean over seeds, `_low` and `_high` over subjects, `_sd` over seeds, and
    `_paper` as printed. Subjects without a score (no usable cine) are counted in n_missing, never called negative."""
    rows, printed = [], PAPER.set_index("model")
    for model in [name for name in MODELS if name in set(scores["model"])]:
        wide = _wide(scores, model)
        limits = chosen[chosen["model"] == model].set_index("seed")["threshold"]
        seeds = list(wide.columns[1:])
        result = classification(wide["label"], wide[seeds], limits[seeds]).set_index("metric")
        row = {"model": model, "name": MODELS[model]}
        for metric, name in METRICS.items():
            for end, column in (("", "estimate"), ("_low", "low"), ("_high", "high"), ("_sd", "sd")):
                row[name + end] = result.loc[metric, column]
            row[f"{name}_paper"] = printed.loc[model].get(name, np.nan) if model in printed.index else np.nan
        rows.append(row | result.iloc[0][["n", "n_positive", "n_missing", "n_runs"]].to_dict())
    return pd.DataFrame(rows)


def _wide(scores, model):
    """participant_id → label and one column a seed, test subjects."""
    part = scores[(scores["model"] == model) & (scores["split"] == "test")]
    wide = part.pivot(index="participant_id", columns="seed", values="score")
    wide.insert(0, "label", part.drop_duplicates("participant_id").set_index("participant_id")["label"])
    return wide


def metrics_of(table: pd.DataFrame) -> dict:
    """`rf_auc`, `rf_auc_low`, … of a table 2."""
    return {
        f"{row['model']}_{name}{end}": row[f"{name}{end}"]
        for row in table.to_dict("records")
        for name in METRICS.values()
        for end in ("", "_low", "_high")
    }


def gap_closed(scores: pd.DataFrame, model: str = "siam25") -> dict:
    """Share of the way from floor to ceiling that a model's AUC has come, with its interval over test subjects.

    NaN without both bounds. gap_closed, gap_closed_low, gap_closed_high.
    """
    names = ("gap_closed", "gap_closed_low", "gap_closed_high")
    if not {"floor", "ceiling", model} <= set(scores["model"]):
        return dict.fromkeys(names, np.nan)

    def share(own, low, high):
        return (own - low) / (high - low) if high > low else np.nan

    return dict(zip(names, _compared_auc(scores, (model, "floor", "ceiling"), share)[["estimate", "low", "high"]]))


def paired_auc(scores: pd.DataFrame, better: str, worse: str) -> dict:
    """Difference of two models' AUC on the same test subjects, mean over seeds: model, other, difference, low, high."""
    row = _compared_auc(scores, (better, worse), lambda one, other: one - other)
    return {"model": better, "other": worse, "difference": row["estimate"]} | row[["low", "high", "n"]].to_dict()


def _compared_auc(scores, models, compare):
    """Estimate, low, high, n of `compare`, a function of the models' AUC, each a mean over seeds."""
    wide = [_wide(scores, name) for name in models]
    columns = [wide[0]["label"], *(one.drop(columns="label") for one in wide)]
    table = pd.concat(columns, axis=1, ignore_index=True).dropna()
    ends = np.cumsum([0, *(one.shape[1] - 1 for one in wide)])

    def statistic(label, *runs):
        return compare(*(np.mean([auc(label, run) for run in runs[a:b]]) for a, b in pairwise(ends)))

    return bootstrap(table, statistic, n_boot=1000).iloc[0]


def auc(label, score) -> float:
    """Area under the ROC curve from ranks (Mann–Whitney): thirty times as fast as scikit-learn's, for resamples. NaN
    with one class only."""
    positive = np.asarray(label) == 1
    n, m = positive.sum(), (~positive).sum()
    return float((rankdata(score)[positive].sum() - n * (n + 1) / 2) / (n * m)) if n and m else float("nan")


def curves(scores: pd.DataFrame, chosen: pd.DataFrame, seed: int) -> pd.DataFrame:
    """ROC and precision–recall curves of one seed, all models: `roc_pr` with a column model."""
    limits, tables = chosen.set_index(["model", "seed"])["threshold"], []
    for model in [name for name in MODELS if name in set(scores["model"])]:
        one = seed if (model, seed) in limits.index else limits[model].index[0]
        wide = _wide(scores, model).dropna(subset=[one])
        tables.append(roc_pr(wide["label"], wide[one], limits[model, one]).assign(model=model))
    return pd.concat(tables, ignore_index=True)


def calibration(scores: pd.DataFrame, model: str, bins: int = 5) -> pd.DataFrame:
    """Do the probabilities hold? Bins of equally many test cases: model, predicted, observed, low, high (Wilson), n;
    `brier` of the model and of always answering with the test prevalence, `brier_prevalence`."""
    part = scores[(scores["model"] == model) & (scores["split"] == "test")].dropna(subset=["score"])
    rank = part["score"].rank(method="first")
    cells = part.groupby(pd.cut(rank, min(bins, len(part)), labels=False))
    table = cells.agg(predicted=("score", "mean"), observed=("label", "mean"), n=("label", "size"))
    bounds = [
        binomtest(round(share * n), n).proportion_ci(method="wilson") for share, n in zip(table["observed"], table["n"])
    ]
    table[["low", "high"]] = [(bound.low, bound.high) for bound in bounds]
    prevalence = np.full(len(part), part["label"].mean())
    table["brier"] = brier_score_loss(part["label"], part["score"])
    table["brier_prevalence"] = brier_score_loss(part["label"], prevalence)
    return table.assign(model=model).reset_index(drop=True)
