"""Table 2 and figure 5: every model on the same test subjects, thresholds from validation subjects."""

from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from cmrlib.agreement import bootstrap, choose_threshold, classification, roc_pr

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


def score_rows(model: str, seed: int, scores: pd.Series, labels: pd.Series, roles: pd.Series) -> pd.DataFrame:
    """Rows of mr_scores.csv: participant_id, model, seed, score, label, split. scores: participant_id → probability,
    NaN where a model has no answer. Who is unlabelled has no label here."""
    split = roles.reindex(scores.index)
    label = labels.reindex(scores.index).where(split != "unlabelled")
    return pd.DataFrame(
        {
            "participant_id": scores.index,
            "model": model,
            "seed": seed,
            "score": scores.to_numpy(float),
            "label": label.to_numpy(float),
            "split": split.to_numpy(),
        }
    )


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
        result = classification(wide["label"], wide[seeds], limits[seeds])
        row = {"model": model, "name": MODELS[model]}
        for one in result.to_dict("records"):
            if name := METRICS.get(one["metric"]):
                row |= {
                    name: one["estimate"],
                    f"{name}_low": one["low"],
                    f"{name}_high": one["high"],
                    f"{name}_sd": one["sd"],
                }
                row[f"{name}_paper"] = printed.loc[model].get(name, np.nan) if model in printed.index else np.nan
        rows.append(row | {key: one[key] for key in ("n", "n_positive", "n_missing", "n_runs")})
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
    if not {"floor", "ceiling", model} <= set(scores["model"]):
        return dict.fromkeys(("gap_closed", "gap_closed_low", "gap_closed_high"), np.nan)
    columns, counts = [], []
    for name in (model, "floor", "ceiling"):
        wide = _wide(scores, name)
        columns.append(wide.drop(columns="label").add_prefix(f"{name}_"))
        counts.append(wide.shape[1] - 1)
    table = pd.concat([wide["label"], *columns], axis=1).dropna()

    def share(label, *runs):
        ends = np.cumsum([0, *counts])
        own, low, high = (np.mean([auc(label, run) for run in runs[a:b]]) for a, b in pairwise(ends))
        return (own - low) / (high - low) if high > low else np.nan

    row = bootstrap(table, share, n_boot=1000).iloc[0]
    return {"gap_closed": row["estimate"], "gap_closed_low": row["low"], "gap_closed_high": row["high"]}


def auc(label, score) -> float:
    """Area under the ROC curve (Mann–Whitney), ties count half; NaN with one class only."""
    label = np.asarray(label) == 1
    positive, negative = np.sort(np.asarray(score)[label]), np.sort(np.asarray(score)[~label])
    if not len(positive) or not len(negative):
        return float("nan")
    below = np.searchsorted(negative, positive, side="left") + np.searchsorted(negative, positive, side="right")
    return float(below.sum() / 2 / len(positive) / len(negative))


def paired_auc(scores: pd.DataFrame, better: str, worse: str) -> dict:
    """Difference of two models' AUC on the same test subjects, mean over seeds: model, other, difference, low, high."""
    one, other = (_wide(scores, name) for name in (better, worse))
    table = one.join(other.drop(columns="label"), lsuffix="_a", rsuffix="_b").dropna()
    k = one.shape[1] - 1

    def difference(label, *runs):
        return np.mean([auc(label, r) for r in runs[:k]]) - np.mean([auc(label, r) for r in runs[k:]])

    row = bootstrap(table, difference, n_boot=1000).iloc[0]
    return {
        "model": better,
        "other": worse,
        "difference": row["estimate"],
        "low": row["low"],
        "high": row["high"],
        "n": int(row["n"]),
    }


def curves(scores: pd.DataFrame, chosen: pd.DataFrame, seed: int) -> pd.DataFrame:
    """ROC and precision–recall curves of one seed, all models: `roc_pr` with a column model."""
    limits, tables = chosen.set_index(["model", "seed"])["threshold"], []
    for model in [name for name in MODELS if name in set(scores["model"])]:
        one = seed if (model, seed) in limits.index else limits[model].index[0]
        wide = _wide(scores, model)
        known = wide[one].notna()
        tables.append(roc_pr(wide.loc[known, "label"], wide.loc[known, one], limits[model, one]).assign(model=model))
    return pd.concat(tables, ignore_index=True)


def calibration(scores: pd.DataFrame, model: str, bins: int = 5) -> pd.DataFrame:
    """Do the probabilities hold? Bins of equally many test cases: model, predicted, observed, low, high (Wilson), n;
    `brier` of the model and of always answering with the test prevalence, `brier_prevalence`."""
    part = scores[(scores["model"] == model) & (scores["split"] == "test")].dropna(subset=["score"])
    order = part.sort_values("score", kind="stable")
    rows = []
    for places in np.array_split(np.arange(len(order)), min(bins, len(order))):
        cell = order.iloc[places]
        share = binomtest(int(cell["label"].sum()), len(cell))
        low, high = share.proportion_ci(method="wilson")
        row = {"model": model, "predicted": cell["score"].mean(), "observed": share.statistic}
        rows.append(row | {"low": low, "high": high, "n": len(cell)})
    share = part["label"].mean()
    return pd.DataFrame(rows).assign(
        brier=((part["score"] - part["label"]) ** 2).mean(), brier_prevalence=share * (1 - share)
    )


def embedding_table(subjects, values) -> pd.DataFrame:
    """participant_id, e000, e001, …: a row a cine."""
    table = pd.DataFrame(np.round(values, 5), columns=[f"e{i:03d}" for i in range(values.shape[1])])
    table.insert(0, "participant_id", list(subjects))
    return table
