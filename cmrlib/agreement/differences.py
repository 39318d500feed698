"""Differences between two observers: Bland-Altman, regression, repeatability. A difference is always a - b."""

import numpy as np
import pandas as pd
from scipy import stats

from cmrlib.agreement.resampling import FEWEST, N_BOOT, bounded, complete, estimates_alone, interval, intervals

Z = 1.96
"""Limits of agreement are bias ± 1.96 SD, as Bland and Altman and the papers print them."""


def bland_altman(a, b, subjects=None, names=("a", "b")) -> pd.DataFrame:
    """Bias and limits of agreement of a - b with intervals, and tests of proportional bias and spread, in one row.

    a, b: (rows,) ratings of the same cases in one unit. subjects: where a subject has several rows (visits, frames)
    while the true value changes, limits count variance between and within subjects (Bland & Altman, J Biopharm Stat
    2007;17:571); `pooled_*` limits ignore the repeats, as papers print them.
    Returns difference ("a - b"), n, n_subjects, n_missing, bias, sd, loa_low, loa_high, each limit and the bias with
    `_low`, `_high`; sd_between, sd_within (NaN without repeats); pooled_sd, pooled_loa_low, pooled_loa_high; bias_slope
    (of the difference on the mean: proportional bias) with `_low`, `_high`, `_p`; spread_slope (of the residual's size
    on the mean: heteroscedasticity, Bland & Altman 1999, section 3.2) with `_low`, `_high`, `_p`; note.
    Intervals: t for the bias; limits exact by the noncentral t (Carkeet, Optom Vis Sci 2015;92:e71), with repeats MOVER
    on the two mean squares (Zou, Stat Methods Med Res 2013;22:630); slopes with cluster-robust errors.
    """
    rows = complete(a, b, subjects=subjects)
    a, b = rows.columns
    d, note = a - b, rows.note
    row = {"difference": f"{names[0]} - {names[1]}"} | rows.counts | dict.fromkeys(_COLUMNS, np.nan)
    if rows.counts["n_subjects"] >= FEWEST:
        if _flat(d, a):
            d, note = np.full_like(d, d.mean()), note or "differences do not vary"
        row |= _repeated_limits(d, rows.subjects) if rows.repeated else _limits(d)
        pooled, bias = d.std(ddof=1), d.mean()
        row |= {"pooled_sd": pooled, "pooled_loa_low": bias - Z * pooled, "pooled_loa_high": bias + Z * pooled}
        mean = (a + b) / 2
        trend = _line(mean, d, rows)
        spread = _line(mean, np.abs(d - trend["intercept"] - trend["slope"] * mean), rows, scale=d)
        for name, fit in (("bias_slope", trend), ("spread_slope", spread)):
            row |= {f"{name}{end}": fit[f"slope{end}"] for end in ("", "_low", "_high")} | {f"{name}_p": fit["p"]}
    return pd.DataFrame([(estimates_alone(row) if rows.note else row) | {"note": note}])


_COLUMNS = (
    *bounded("bias"), "sd", *bounded("loa_low"), *bounded("loa_high"), "sd_between", "sd_within",
    "pooled_sd", "pooled_loa_low", "pooled_loa_high", *bounded("bias_slope"), "bias_slope_p",
    *bounded("spread_slope"), "spread_slope_p",
)  # fmt: skip


def _flat(values, scale=None):
    """Whether values are one constant but for the last bits (of `scale`): that noise has no slope."""
    return np.ptp(values) <= 1e-12 * np.abs(values if scale is None else scale).max()


def _limits(d):
    """One difference per subject: bias + 1.96 SD is a quantile whose exact bounds are noncentral t."""
    n, bias, sd = len(d), d.mean(), d.std(ddof=1)
    near, far = stats.nct.ppf([0.025, 0.975], n - 1, Z * np.sqrt(n)) / np.sqrt(n)  # in SD from the bias
    half = stats.t.ppf(0.975, n - 1) * sd / np.sqrt(n)
    row = bounded("bias", bias, bias - half, bias + half) | {"sd": sd}
    row |= bounded("loa_low", bias - Z * sd, bias - far * sd, bias - near * sd)
    return row | bounded("loa_high", bias + Z * sd, bias + near * sd, bias + far * sd)


def _repeated_limits(d, subjects):
    """Several differences per subject: one-way analysis of variance (Bland & Altman 2007)."""
    sizes = np.bincount(subjects)
    n, k, bias = len(d), len(sizes), d.mean()
    means = np.bincount(subjects, d) / sizes
    ms_within = ((d - means[subjects]) ** 2).sum() / (n - k)
    ms_between = (sizes * (means - bias) ** 2).sum() / (k - 1)
    m = (n**2 - (sizes**2).sum()) / ((k - 1) * n)  # rows per subject, weighted for unequal numbers
    between = max(0.0, (ms_between - ms_within) / m)
    sd = np.sqrt(between + ms_within)
    half = stats.t.ppf(0.975, k - 1) * np.sqrt(between * (sizes**2).sum() / n**2 + ms_within / n)

    # bounds of a sum of variances from the chi-square bounds of its parts (Zou 2013)
    parts, degrees = np.array([ms_between / m, (1 - 1 / m) * ms_within]), np.array([k - 1, n - k])
    below = parts * (1 - degrees / stats.chi2.ppf(0.975, degrees))
    above = parts * (degrees / stats.chi2.ppf(0.025, degrees) - 1)
    low, high = max(0.0, sd**2 - np.sqrt((below**2).sum())), sd**2 + np.sqrt((above**2).sum())
    inner, outer = np.hypot(half, Z * (sd - np.sqrt(low))), np.hypot(half, Z * (np.sqrt(high) - sd))
    row = bounded("bias", bias, bias - half, bias + half) | {"sd": sd}
    row |= bounded("loa_low", bias - Z * sd, bias - Z * sd - outer, bias - Z * sd + inner)
    row |= bounded("loa_high", bias + Z * sd, bias + Z * sd - inner, bias + Z * sd + outer)
    return row | {"sd_between": np.sqrt(between), "sd_within": np.sqrt(ms_within)}


_NO_LINE = bounded("slope") | bounded("intercept") | {"p": np.nan}


def _line(x, y, rows, scale=None):
    """Least squares y = intercept + slope·x, intervals by t, cluster-robust where subjects repeat.

    Returns slope and intercept with bounds, and p of the slope; NaN where x or y does not vary.
    """
    if _flat(x) or _flat(y, scale):
        return _NO_LINE
    from statsmodels.regression.linear_model import OLS  # half a second to import

    fit = OLS(y, np.column_stack([np.ones(len(x)), x])).fit()
    with np.errstate(divide="ignore"):  # a perfect line has no error
        fit = fit.get_robustcov_results("cluster", groups=rows.subjects, use_t=True) if rows.repeated else fit
        (intercept, slope), bounds, p = fit.params, fit.conf_int(), fit.pvalues[1]
    return bounded("slope", slope, *bounds[1]) | bounded("intercept", intercept, *bounds[0]) | {"p": float(p)}


def regression(a, b, subjects=None, n_boot=N_BOOT, seed=0) -> pd.DataFrame:
    """The line a = intercept + slope·b, Pearson's r and the mean absolute error |a - b|, in one row.

    a: test, b: reference, in one unit. Returns n, n_subjects, n_missing, r, slope, intercept, mae, each with
    `_low`, `_high`; p (of slope 0); note.
    Intervals: Fisher's z for r, with repeated subjects a bootstrap over them; bootstrap for mae; else t.
    """
    rows = complete(a, b, subjects=subjects)
    a, b = rows.columns
    row, few = rows.counts | bounded("r") | _NO_LINE, rows.counts["n_subjects"] < FEWEST
    flat = not few and (_flat(a) or _flat(b))
    if not (few or flat):
        fit = stats.pearsonr(a, b)
        bounds = interval(rows, pearson, n_boot, seed)[1:3] if rows.repeated else fit.confidence_interval(0.95)
        row |= bounded("r", fit.statistic, *bounds) | _line(b, a, rows)
    row = estimates_alone(row) if rows.note else row
    row |= intervals(rows, n_boot, seed, mae=lambda a, b, axis=-1: np.abs(a - b).mean(axis))
    return pd.DataFrame([row | {"note": "ratings of one observer do not vary: no line" if flat else rows.note}])


def pearson(a, b, axis=-1):
    """Pearson's r along an axis."""
    a, b = a - a.mean(axis, keepdims=True), b - b.mean(axis, keepdims=True)
    return (a * b).sum(axis) / np.sqrt((a**2).sum(axis) * (b**2).sum(axis))


def repeatability(a, b, subjects=None, n_boot=N_BOOT, seed=0) -> pd.DataFrame:
    """Within-subject SD of one rating, coefficient of variation, repeatability coefficient, in one row.

    within_sd = sqrt(mean((a - b)²) / 2), so a bias counts; cv_pct = 100 within_sd / mean of all ratings, NaN unless all
    are positive; rc = 1.96 √2 within_sd, which two ratings of one subject exceed in 5 %. Some papers print
    100 SD(a - b) / mean as CV: that is √2 larger. Each with `_low`, `_high` (bootstrap over subjects), n, n_subjects,
    n_missing, note. Source: Bland & Altman, BMJ 1996;312:1654 and 313:106.
    """

    def within_sd(a, b, axis=-1):
        return np.sqrt(((a - b) ** 2).mean(axis) / 2)

    def rc(a, b, axis=-1):
        return Z * np.sqrt(2) * within_sd(a, b, axis)

    def cv_pct(a, b, axis=-1):
        return 100 * within_sd(a, b, axis) / ((a + b) / 2).mean(axis)

    rows = complete(a, b, subjects=subjects)
    positive = all((c > 0).all() for c in rows.columns)
    note = rows.note or ("" if positive else "ratings not all positive: no coefficient of variation")
    statistics = {"within_sd": within_sd, "rc": rc} | ({"cv_pct": cv_pct} if positive else {})
    row = rows.counts | bounded("within_sd") | bounded("cv_pct") | intervals(rows, n_boot, seed, **statistics)
    return pd.DataFrame([row | {"note": note}])
