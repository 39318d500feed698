"""Rank tests with effect sizes: paired, unpaired, and rank correlation."""

import numpy as np
import pandas as pd
from scipy import stats

from cmrlib.agreement.areas import Estimate, delong
from cmrlib.agreement.differences import pearson
from cmrlib.agreement.resampling import FEWEST, MIN_SUBJECTS, N_BOOT, bounded, complete, interval, intervals


def paired_test(a, b, n_boot=N_BOOT, seed=0) -> pd.DataFrame:
    """Wilcoxon signed-rank test of a - b, one row.

    a, b: (pairs,) of independent pairs, such as two models' scores over tasks. Pairs without a difference are
    left out of test and effect (Wilcoxon's rule) and counted in n_zero.
    Returns n, n_subjects, n_missing, n_zero, median_difference, rank_biserial, both with `_low`, `_high` (bootstrap), w
    (smaller rank sum), p (two-sided, exact up to 50 pairs without ties), note. rank_biserial: share of rank sums where
    a is larger minus where b is, -1 to 1 (Kerby, Compr Psychol 2014;3:11).
    """

    def rank_biserial(a, b, axis=-1):
        difference = a - b
        zeros = (difference == 0).sum(axis, keepdims=True)
        ranks = (stats.rankdata(np.abs(difference), axis=axis) - zeros) * (difference != 0)  # zeros rank first
        return (np.sign(difference) * ranks).sum(axis) / ranks.sum(axis)

    statistics = {"median_difference": lambda a, b, axis=-1: np.median(a - b, axis), "rank_biserial": rank_biserial}
    rows = complete(a, b)
    a, b = rows.columns
    n_zero = int((a == b).sum())
    row = intervals(rows, n_boot, seed, **statistics)
    note = "no pair differs: no test" if n_zero == len(a) > 0 else rows.note
    w, p = (np.nan, np.nan) if note else stats.wilcoxon(a, b)
    return pd.DataFrame([rows.counts | {"n_zero": n_zero} | row | {"w": float(w), "p": float(p), "note": note}])


def unpaired_test(a, b) -> pd.DataFrame:
    """Mann-Whitney test of two independent groups, one row.

    a: (n_a,), b: (n_b,), one value per subject. Returns n_a, n_b, n_missing, median_a, median_b, superiority
    (P(a > b) + P(a = b) / 2, the area under the ROC curve), rank_biserial (2·superiority - 1), both with `_low`,
    `_high` (DeLong's, `areas.Estimate`), u, p (two-sided), note.
    """
    groups = [complete(a), complete(b)]
    (a,), (b,) = (g.columns for g in groups)
    row = {"n_a": len(a), "n_b": len(b), "n_missing": sum(g.counts["n_missing"] for g in groups)}
    if min(len(a), len(b)) < MIN_SUBJECTS:
        row |= {"median_a": np.nan, "median_b": np.nan} | bounded("superiority") | bounded("rank_biserial")
        note = f"groups of {len(a)} and {len(b)}: no test below {MIN_SUBJECTS}"
        return pd.DataFrame([row | {"u": np.nan, "p": np.nan, "note": note}])
    area, moved = delong(np.repeat([1, 0], [len(a), len(b)]), np.r_[a, b])
    fewer = min(len(a), len(b))
    shares = np.array([area, *Estimate(area, (moved**2).sum(), fewer - 1, fewer, "area").bounds()])
    row |= {"median_a": float(np.median(a)), "median_b": float(np.median(b))}
    row |= bounded("superiority", *shares) | bounded("rank_biserial", *(2 * shares - 1))
    test = stats.mannwhitneyu(a, b)
    return pd.DataFrame([row | {"u": float(test.statistic), "p": float(test.pvalue), "note": ""}])


def rank_correlation(confidence, dice, subjects=None, n_boot=N_BOOT, seed=0) -> pd.DataFrame:
    """Spearman's rho of a confidence with the real Dice (positive is good), or of any two columns, one row.

    Returns rho, rho_low, rho_high (bootstrap over subjects), p (NaN where subjects repeat: rows are not independent),
    n, n_subjects, n_missing, n_undefined, note.
    """

    def spearman(a, b, axis=-1):
        return pearson(stats.rankdata(a, axis=axis), stats.rankdata(b, axis=axis), axis)

    rows = complete(confidence, dice, subjects=subjects)
    few = rows.counts["n_subjects"] < FEWEST
    flat = not few and not all(np.ptp(c) for c in rows.columns)
    note = "one column does not vary: no ranks to correlate" if flat else rows.note
    *rho, n_undefined = (np.nan, np.nan, np.nan, 0) if few or flat else interval(rows, spearman, n_boot, seed)
    p = np.nan if note or rows.repeated else float(stats.spearmanr(*rows.columns).pvalue)
    row = bounded("rho", *rho) | {"p": p} | rows.counts | {"n_undefined": n_undefined, "note": note}
    return pd.DataFrame([row])
