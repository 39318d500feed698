"""Two classes and a score: areas, metrics at a fixed threshold, curves. Positive is score ≥ threshold."""

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from cmrlib.agreement.areas import RUN, delong, over_runs, ratio
from cmrlib.agreement.resampling import MIN_SUBJECTS, complete

_NEED_BOTH = ("roc_auc", "average_precision", "f1", "precision", "recall")
METRICS = (*_NEED_BOTH, "accuracy", "accuracy_positive", "accuracy_negative")


def classification(y_true, score, threshold) -> pd.DataFrame:
    """How well a score finds the positive class: one row per metric, with its interval.

    y_true: (subjects,) 0 or 1. score: (subjects,), or (subjects, runs) of several runs (seeds) of one model, of which
    the mean of each metric is reported. threshold: a number, or (runs,), fixed beforehand on validation data
    (`choose_threshold`).
    Metrics: METRICS, dimensionless, 0 to 1; accuracy_positive and accuracy_negative are sensitivity and specificity.
    Intervals (`areas.Estimate`): DeLong's on the logit scale for roc_auc; Wilson's for the others, for F1 and average
    precision with as many cases as their variance amounts to; over subjects, and over runs where there are several.
    Returns metric, estimate, low, high, sd (between runs; NaN for one), threshold (mean), n, n_subjects, n_missing,
    n_positive, n_runs, note. With one class only, metrics that need both are NaN and the note says so.
    """
    scores, threshold = [score] if np.ndim(score) == 1 else np.asarray(score).T, np.atleast_1d(threshold).astype(float)
    if not len(scores) or len(scores) != len(threshold):
        raise ValueError(f"expected one threshold per run, got {len(threshold)} for {len(scores)} runs")
    if np.isnan(threshold).any():
        raise ValueError("expected a number as threshold, got NaN; choose_threshold gives one")
    rows, positive = _classes(y_true, *scores)
    sizes = {"n_positive": int(positive.sum()), "n_runs": len(scores)}
    rarer = min(positive.sum(), (~positive).sum())
    note = rows.note if rarer else "one class only: nothing to tell apart"
    if not note and rarer < MIN_SUBJECTS:
        note = f"{rarer} in the smaller class: areas have no interval below {MIN_SUBJECTS}"
    runs = [_metrics(positive, *run) for run in zip(rows.columns[1:], threshold, strict=True)]
    index = pd.MultiIndex.from_tuples([(0, n, 0) for n in range(len(runs))], names=RUN)
    table = []
    for name in METRICS:
        each = pd.Series([run[name][0] for run in runs], index)
        area = name == "roc_auc"
        cases = rarer if area else np.mean([run[name][2] for run in runs])
        found = over_runs(each, [run[name][1] for run in runs], max(rarer - 1, 1) if area else np.inf, cases,
                          "area" if area else "share")  # fmt: skip
        low, high = found.bounds()
        row = {"metric": name, "estimate": found.value, "low": low, "high": high, "sd": each.std()}
        table.append(row | {"threshold": float(threshold.mean())} | rows.counts | sizes | {"note": note})
    return pd.DataFrame(table)


def _classes(y_true, *scores):
    rows = complete(y_true, *scores)
    classes = np.unique(rows.columns[0])
    if not set(classes) <= {0.0, 1.0}:
        raise ValueError(f"expected classes 0 and 1 in y_true, got {classes[:5].tolist()}; code them so")
    return rows, rows.columns[0] == 1


def _metrics(positive, score, threshold):
    """metric → (value, influence of each subject, cases that decide it), of one run."""
    called, every = score >= threshold, np.ones(len(score))
    hit = positive & called
    parts = {
        "f1": (2 * hit, 1.0 * called + positive), "precision": (hit, called), "recall": (hit, positive),
        "accuracy": (called == positive, every),
        "accuracy_positive": (hit, positive), "accuracy_negative": (~positive & ~called, ~positive),
    }  # fmt: skip
    found = {name: (*ratio(*part), np.sum(part[1])) for name, part in parts.items()}
    found["f1"] = (*found["f1"][:2], positive.sum())
    found |= {"roc_auc": (*delong(positive, score), np.nan), "average_precision": _average_precision(positive, score)}
    if positive.all() or not positive.any():
        found |= dict.fromkeys(_NEED_BOTH, (np.nan, pd.Series(dtype=float), 0))
    return found


def _average_precision(positive, score):
    """Mean over positives of the precision at their own score, its derivatives by each subject's weight."""
    m, order = max(positive.sum(), 1), np.argsort(-score, kind="stable")
    last = np.searchsorted(-score[order], -score, side="right") - 1  # of equal scores, which are called together
    above = (last + 1).astype(float)
    precision = np.cumsum(positive[order])[last] / above
    value = precision[positive].mean() if positive.any() else np.nan
    # a subject counts in the precision of every positive whose score is not above its own
    shares = np.stack([positive / above, positive * precision / above])[:, order][:, ::-1].cumsum(1)[:, ::-1]
    first = np.searchsorted(-score[order], -score, side="left")
    ones, precisions = shares[:, first]
    moved = positive * (precision - value) + positive * ones - precisions
    return float(value), pd.Series(moved / m), positive.sum()


def roc_auc(y_true, score) -> float:
    """Area under the ROC curve from ranks (Mann–Whitney), thirty times as fast as scikit-learn's; NaN with one class
    only."""
    positive = np.asarray(y_true) > 0.5
    p, q = positive.sum(), (~positive).sum()
    return float((rankdata(score)[positive].sum() - p * (p + 1) / 2) / (p * q)) if p and q else np.nan


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
    (_, score), p, q = rows.columns, positive.sum(), (~positive).sum()
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=np.nan))  # of equal scores, which are called together
    thresholds = np.r_[np.inf, score[order][last]]
    tp, fp = (np.r_[0, np.cumsum(side[order])[last]] for side in (positive, ~positive))
    with np.errstate(divide="ignore", invalid="ignore"):
        table = pd.DataFrame({
            "threshold": thresholds, "recall": tp / p, "fpr": fp / q,
            "precision": tp / (tp + fp), "f1": 2 * tp / (tp + fp + p) if p else np.nan,
        })  # fmt: skip
    called = -1 if threshold is None else np.searchsorted(-thresholds, -threshold, side="right") - 1
    counts = {"n": len(positive), "n_positive": int(p), "n_missing": rows.counts["n_missing"]}
    return table.assign(chosen=table.index == called, **counts)
