"""Two classes and a score: areas, metrics at a fixed threshold, curves. Positive is score ≥ threshold."""

import numpy as np
import pandas as pd

from cmrlib.agreement.ranks import superiority
from cmrlib.agreement.resampling import N_BOOT, batches, complete, percentiles

METRICS = ("roc_auc", "average_precision", "f1", "precision", "recall", "accuracy")
METRICS += ("accuracy_positive", "accuracy_negative")
_NEED_BOTH = METRICS[:5]


def classification(y_true, score, threshold, n_boot=N_BOOT, seed=0) -> pd.DataFrame:
    """How well a score finds the positive class: one row per metric, with a bootstrap interval.

    y_true: (subjects,) 0 or 1. score: (subjects,), or (subjects, runs) of several runs (seeds) of one model, of which
    the mean of each metric is reported. threshold: a number, or (runs,), fixed beforehand on validation data
    (`choose_threshold`). All runs see the same resamples, so the interval is that of the mean.
    Metrics: METRICS, dimensionless, 0 to 1; accuracy_positive and accuracy_negative are sensitivity and specificity.
    Returns metric, estimate, low, high, sd (between runs; NaN for one), threshold (mean), n, n_subjects, n_missing,
    n_positive, n_runs, n_undefined (resamples without one of the classes, left out), note. With one class only, metrics
    that need both are NaN and the note says so.
    """
    scores, threshold = [score] if np.ndim(score) == 1 else np.asarray(score).T, np.atleast_1d(threshold).astype(float)
    if not len(scores) or len(scores) != len(threshold):
        raise ValueError(f"expected one threshold per run, got {len(threshold)} for {len(scores)} runs")
    if np.isnan(threshold).any():
        raise ValueError("expected a number as threshold, got NaN; choose_threshold gives one")
    rows, positive = _classes(y_true, *scores)
    both = 0 < positive.sum() < len(positive)
    note = rows.note or ("" if both else "one class only: nothing to tell apart")
    runs = list(zip(rows.columns[1:], threshold, strict=True))
    whole = [_metrics(np.ones((1, len(positive))), positive, *run) for run in runs]
    drawn = [] if rows.note else [_resampled(positive, *run, n_boot, seed) for run in runs]
    counts = rows.counts | {"n_positive": int(positive.sum()), "n_runs": len(runs)}
    table = []
    for name in METRICS:
        each = np.array([one[name][0] for one in whole])
        resampled = np.mean([one[name] for one in drawn], axis=0) if drawn else np.empty(0)
        low, high, n_undefined = percentiles(resampled, rows.counts["n_subjects"])
        row = {"metric": name, "estimate": float(each.mean()), "low": low, "high": high}
        row |= {"sd": float(each.std(ddof=1)) if len(each) > 1 else np.nan, "threshold": float(threshold.mean())}
        table.append(row | counts | {"n_undefined": n_undefined, "note": note})
    return pd.DataFrame(table)


def _classes(y_true, *scores):
    rows = complete(y_true, *scores)
    classes = np.unique(rows.columns[0])
    if not set(classes) <= {0.0, 1.0}:
        raise ValueError(f"expected classes 0 and 1 in y_true, got {classes[:5].tolist()}; code them so")
    return rows, rows.columns[0] == 1


def _resampled(positive, score, threshold, n_boot, seed):
    """metric → (n_boot,). A resample is how often each subject was drawn, so one sort by score serves all."""
    rng, n = np.random.default_rng(seed), len(positive)
    draws = (rng.multinomial(n, np.full(n, 1 / n), size=size) for size in batches(n_boot, n))  # (resamples, subjects)
    parts = [_metrics(counts, positive, score, threshold) for counts in draws]
    return {name: np.hstack([p[name] for p in parts]) for name in METRICS}


def _sweep(counts, positive, score):
    """Thresholds (steps,) from infinity down over the distinct scores; true, false positives (resamples, steps).

    counts: (resamples, rows), how often each row was drawn.
    """
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=np.nan))  # of equal scores, which are called together
    called = (np.cumsum(counts[:, order] * label[order], axis=1)[:, last] for label in (positive, ~positive))
    none = np.zeros((len(counts), 1))
    return np.r_[np.inf, score[order][last]], *(np.hstack([none, found]) for found in called)


def _metrics(counts, positive, score, threshold):
    """metric → (resamples,); counts: (resamples, rows) says how often each row was drawn."""
    thresholds, hits, alarms = _sweep(counts, positive, score)
    p, q = (counts * positive).sum(1), (counts * ~positive).sum(1)
    called = np.searchsorted(-thresholds, -threshold, side="right") - 1
    tp, fp = hits[:, called], alarms[:, called]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = hits[:, 1:] / (hits + alarms)[:, 1:]
        values = {
            "roc_auc": np.trapezoid(hits, alarms, axis=1) / (p * q),
            "average_precision": np.nansum(np.diff(hits) * precision, axis=1) / p,  # none drawn: 0/0
            "f1": 2 * tp / (tp + fp + p), "precision": tp / (tp + fp), "recall": tp / p,
            "accuracy": (tp + q - fp) / (p + q),
            "accuracy_positive": tp / p, "accuracy_negative": (q - fp) / q,
        }  # fmt: skip
    single = (p == 0) | (q == 0)
    return {name: np.where(single, np.nan, v) if name in _NEED_BOTH else v for name, v in values.items()}


def roc_auc(y_true, score) -> float:
    """Area under the ROC curve from ranks (Mann–Whitney), for resamples: thirty times as fast as scikit-learn's. NaN
    with one class only."""
    positive, score = np.asarray(y_true) > 0.5, np.asarray(score)
    return float(superiority(score[positive], score[~positive])) if 0 < positive.sum() < len(positive) else np.nan


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
    return float(curve["threshold"][merit.index[merit >= merit.max() - 1e-12][0]])  # 1 - 1/3 and 2/3 are a tie


def roc_pr(y_true, score, threshold=None) -> pd.DataFrame:
    """ROC and precision-recall curve as one table, one row per threshold from none called positive to all.

    Returns threshold (inf first), recall, fpr, precision, f1, chosen, n, n_positive, n_missing. `chosen` marks the
    point at `threshold`, for a figure to annotate with recall, precision, F1. One class only: what needs the other is
    NaN.
    """
    rows, positive = _classes(y_true, score)
    thresholds, (tp,), (fp,) = _sweep(np.ones((1, len(positive))), positive, rows.columns[1])
    p, q = positive.sum(), (~positive).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        table = pd.DataFrame({
            "threshold": thresholds, "recall": tp / p, "fpr": fp / q,
            "precision": tp / (tp + fp), "f1": 2 * tp / (tp + fp + p) if p else np.nan,
        })  # fmt: skip
    called = -1 if threshold is None else np.searchsorted(-thresholds, -threshold, side="right") - 1
    counts = {"n": len(positive), "n_positive": int(p), "n_missing": rows.counts["n_missing"]}
    return table.assign(chosen=table.index == called, **counts)
