"""Two classes and a score: areas, metrics at a fixed threshold, curves. Positive is score ≥ threshold."""

import numpy as np
import pandas as pd

from cmrlib.agreement.resampling import (
    MIN_SUBJECTS,
    N_BOOT,
    Rows,
    batches,
    complete,
    few_subjects,
    percentiles,
)

METRICS = (
    "roc_auc",
    "average_precision",
    "f1",
    "precision",
    "recall",
    "accuracy",
    "accuracy_positive",
    "accuracy_negative",
)
_NEED_BOTH = METRICS[:5]


def classification(y_true, score, threshold, subjects=None, n_boot=N_BOOT, seed=0) -> pd.DataFrame:
    """How well a score finds the positive class: a row a metric, with a bootstrap interval over subjects.

    y_true: (rows,) 0 or 1. threshold: fixed beforehand on validation data (`choose_threshold`).
    Metrics: METRICS; accuracy_positive and accuracy_negative are the accuracies of each class (sensitivity
    and specificity). Dimensionless, 0 to 1. Returns metric, estimate, low, high, threshold, n, n_subjects,
    n_missing, n_positive, n_undefined (resamples without one of the classes, left out), note. With one class
    only, metrics that need both are NaN and the note says so.
    """
    rows, positive = _classes(y_true, score, subjects)
    if np.isnan(threshold):
        raise ValueError("expected a number as threshold, got NaN; choose_threshold gives one")
    both = 0 < positive.sum() < rows.n
    note = few_subjects(rows) or ("" if both else "one class only: nothing to tell apart")
    estimates = _metrics(np.ones((1, rows.n)), positive, rows.columns[1], threshold)
    drawn = _resampled(rows, threshold, n_boot, seed) if rows.n_subjects >= MIN_SUBJECTS else {}
    table = []
    for name in METRICS:
        low, high, n_undefined = percentiles(drawn.get(name, np.empty(0)), rows.n_subjects)
        row = {"metric": name, "estimate": float(estimates[name][0]), "low": low, "high": high}
        row |= {"threshold": float(threshold)} | rows.counts | {"n_positive": int(positive.sum())}
        table.append(row | {"n_undefined": n_undefined, "note": note})
    return pd.DataFrame(table)


def classification_over_runs(y_true, scores, thresholds, subjects=None, n_boot=N_BOOT, seed=0) -> pd.DataFrame:
    """Mean of each metric over several runs (seeds) of one model, with a bootstrap interval over subjects.

    scores: (rows, runs). thresholds: (runs,), each fixed on validation data of its run. All runs see the same
    resamples, so the interval is that of the mean. Returns metric, estimate, low, high, sd (between runs; NaN for one),
    n, n_positive, n_runs, n_undefined, note.
    """
    scores, thresholds = np.asarray(scores, float), np.asarray(thresholds, float)
    if scores.ndim != 2 or scores.shape[1] != len(thresholds) or not len(thresholds):
        raise ValueError(f"expected scores (rows, runs) and a threshold a run, got {scores.shape}, {thresholds.shape}")
    whole, drawn, rows = [], [], None
    for column, threshold in zip(scores.T, thresholds):
        rows, positive = _classes(y_true, np.where(np.isnan(scores).any(1), np.nan, column), subjects)
        whole.append({k: v[0] for k, v in _metrics(np.ones((1, rows.n)), positive, rows.columns[1], threshold).items()})
        drawn.append(_resampled(rows, threshold, n_boot, seed) if rows.n_subjects >= MIN_SUBJECTS else {})
    both, table = 0 < positive.sum() < rows.n, []
    for name in METRICS:
        each = np.array([one[name] for one in whole])
        low, high, n_undefined = percentiles(np.mean([d.get(name, np.empty(0)) for d in drawn], 0), rows.n_subjects)
        table.append(
            {
                "metric": name,
                "estimate": float(each.mean()),
                "low": low,
                "high": high,
                "sd": float(each.std(ddof=1)) if len(each) > 1 else np.nan,
                **rows.counts,
                "n_positive": int(positive.sum()),
                "n_runs": len(each),
                "n_undefined": n_undefined,
                "note": few_subjects(rows) or ("" if both else "one class only: nothing to tell apart"),
            }
        )
    return pd.DataFrame(table)


def _classes(y_true, score, subjects=None):
    rows = complete(y_true, score, subjects=subjects)
    classes = np.unique(rows.columns[0])
    if not set(classes) <= {0.0, 1.0}:
        raise ValueError(f"expected classes 0 and 1 in y_true, got {classes[:5].tolist()}; code them so")
    return rows, rows.columns[0] == 1


def _resampled(rows: Rows, threshold, n_boot, seed):
    """metric → (n_boot,). A resample is how often each subject was drawn, so one sort by score serves all."""
    rng, k = np.random.default_rng(seed), rows.n_subjects
    parts = []
    for size in batches(n_boot, max(rows.n, k)):
        counts = rng.multinomial(k, np.full(k, 1 / k), size=size)[:, rows.subjects]  # (resamples, rows)
        parts.append(_metrics(counts, rows.columns[0] == 1, rows.columns[1], threshold))
    return {name: np.hstack([p[name] for p in parts]) for name in METRICS}


def _sweep(counts, positive, score):
    """Lower the threshold past each score: → scores (steps,), true, false positives (resamples, steps)."""
    order = np.argsort(-score, kind="stable")
    score = score[order]
    last = np.flatnonzero(np.diff(score, append=np.nan))  # of equal scores, which are called together
    hits = np.cumsum(counts[:, order] * positive[order], axis=1)[:, last]
    alarms = np.cumsum(counts[:, order] * ~positive[order], axis=1)[:, last]
    return score[last], hits, alarms


def _metrics(counts, positive, score, threshold):
    """metric → (resamples,); counts: (resamples, rows) says how often each row was drawn."""
    steps, hits, alarms = _sweep(counts, positive, score)
    p, q = (counts * positive).sum(1), (counts * ~positive).sum(1)
    none = np.zeros((len(counts), 1))
    hits, alarms = np.hstack([none, hits]), np.hstack([none, alarms])  # (resamples, 1 + steps)
    called = np.searchsorted(-steps, -threshold, side="right")  # distinct scores at or above the threshold
    tp, fp = hits[:, called], alarms[:, called]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = hits / (hits + alarms)
        area = np.diff(alarms) * (hits[:, 1:] + hits[:, :-1]) / 2
        values = {
            "roc_auc": area.sum(1) / (p * q),
            "average_precision": np.nansum(np.diff(hits) * precision[:, 1:], axis=1) / p,  # none drawn: 0/0
            "f1": 2 * tp / (tp + fp + p), "precision": tp / (tp + fp), "recall": tp / p,
            "accuracy": (tp + q - fp) / (p + q),
            "accuracy_positive": tp / p, "accuracy_negative": (q - fp) / q,
        }  # fmt: skip
    single = (p == 0) | (q == 0)
    return {name: np.where(single, np.nan, v) if name in _NEED_BOTH else v for name, v in values.items()}


def choose_threshold(y_true, score, by="f1") -> float:
    """The threshold that is best on validation data, never on test data; of equal ones the highest.

    by: "f1", or "youden" (recall + specificity). Raises ValueError for another rule or one class only.
    """
    if by not in ("f1", "youden"):
        raise ValueError(f"unknown rule {by!r} for a threshold; known are 'f1' and 'youden'")
    curve = roc_pr(y_true, score)
    n, n_positive = curve["n"][0], curve["n_positive"][0]
    if not 0 < n_positive < n:
        raise ValueError(f"choosing a threshold needs both classes, got {n_positive} positive of {n} cases")
    merit = (curve["f1"] if by == "f1" else curve["recall"] - curve["fpr"])[1:]  # [0]: inf
    best = merit.index[merit >= merit.max() - 1e-12]  # 1 - 1/3 and 2/3 are a tie
    return float(curve["threshold"][best[0]])


def roc_pr(y_true, score, threshold=None) -> pd.DataFrame:
    """ROC and precision-recall curve as one table, a row a threshold from none called positive to all.

    Returns threshold (inf first), recall, fpr, precision, f1, chosen, n, n_positive, n_missing. `chosen`
    marks the point at `threshold`, for a figure to annotate with recall, precision, F1. One class only: what
    needs the other is NaN.
    """
    rows, positive = _classes(y_true, score)
    steps, hits, alarms = _sweep(np.ones((1, rows.n)), positive, rows.columns[1])
    tp, fp = np.r_[0, hits[0]], np.r_[0, alarms[0]]
    p, q = positive.sum(), (~positive).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        table = pd.DataFrame({
            "threshold": np.r_[np.inf, steps], "recall": tp / p, "fpr": fp / q,
            "precision": tp / (tp + fp), "f1": 2 * tp / (tp + fp + p) if p else np.nan,
        })  # fmt: skip
    called = -1 if threshold is None else np.searchsorted(-steps, -threshold, side="right")
    return table.assign(chosen=table.index == called, n=rows.n, n_positive=int(p), n_missing=rows.n_missing)
