"""Intraclass correlation: share of the variance between ratings that is variance between subjects.

Formulas: McGraw & Wong, Psychol Methods 1996;1:30, tables 4 and 7; Shrout & Fleiss call A,1 2,1 and C,1 3,1.
"""

import numpy as np
import pandas as pd
from scipy import stats

from cmrlib.agreement.resampling import MIN_SUBJECTS, N_BOOT, bounded, complete, interval

FORMS = ("ICC(1,1)", "ICC(A,1)", "ICC(C,1)", "ICC(1,k)", "ICC(A,k)", "ICC(C,k)")

_FLAT = 1e-12
"""A mean square below this share of the largest is rounding: (1e-6)² of the spread."""


def icc(ratings: pd.DataFrame, targets=None, raters=None, values=None) -> pd.DataFrame:
    """All six intraclass correlations with 95 % intervals, one row per form.

    ratings: one column per rater and one row per target, a table of `paired_ratings`, or a long table whose columns
    `targets`, `raters` and `values` name. Default form to report: ICC(A,1), two-way, absolute agreement, single rating;
    A is agreement, C consistency (blind to a constant difference), k the mean of the raters. Returns form, icc,
    icc_low, icc_high, f, df1, df2, p, n, n_raters, n_missing, note. `p` tests whether the ICC is zero; it says nothing
    about bias between raters (see `bland_altman`).
    Raises ValueError for a target that one rater rated twice, or fewer than two raters.
    """
    wide = _wide(ratings, targets, raters, values)
    rows = complete(*(wide[c] for c in wide))
    n, k = rows.n, wide.shape[1]
    counts = {"n": n, "n_raters": k, "n_missing": rows.n_missing}
    nothing = bounded("icc") | dict.fromkeys(("f", "df1", "df2", "p"), np.nan)
    fixed, note = _special_case(np.column_stack(rows.columns))
    if note:
        return pd.DataFrame([{"form": f} | nothing | fixed | counts | {"note": note} for f in FORMS])
    squares = _mean_squares(*rows.columns)
    with np.errstate(divide="ignore", invalid="ignore"):
        single = pd.DataFrame(_single_forms(*squares, n, k))
        mean = single.copy()
        for column in ("icc", "icc_low", "icc_high"):
            mean[column] = k * single[column] / (1 + (k - 1) * single[column])  # Spearman-Brown
    table = pd.concat([single, mean], ignore_index=True).assign(form=FORMS, df1=n - 1, note="", **counts)
    table["p"] = stats.f.sf(table["f"], n - 1, table["df2"])
    return _guarded(table, *squares)[["form", *nothing, *counts, "note"]]


def _wide(ratings, targets, raters, values):
    if targets is None:
        wide = ratings[["a", "b"]] if {"a", "b", "missing"} <= set(ratings.columns) else ratings
    else:
        twice = ratings[ratings.duplicated([targets, raters], keep=False)]
        if len(twice):
            first = twice.iloc[0].to_dict()
            raise ValueError(f"{len(twice)} ratings share target and rater, first {first}; keep one of each")
        wide = ratings.pivot(index=targets, columns=raters, values=values)
    if wide.shape[1] < 2:
        raise ValueError(f"expected ratings of at least two raters, got columns {list(wide.columns)}")
    return wide


def _special_case(scores):
    """→ what every form then is, and why; (None, "") where there is something to compute. scores: (targets, raters)."""
    if len(scores) < MIN_SUBJECTS:
        return {}, f"{len(scores)} complete targets: undefined below {MIN_SUBJECTS}"
    if np.ptp(scores) == 0:
        return {}, "constant ratings: no variance to divide"
    if (scores == scores[:, :1]).all():
        return bounded("icc", 1, 1, 1), "identical ratings"
    between, raters, error = _mean_squares(*scores.T)
    if max(between, error) <= _FLAT * raters:
        return {}, "targets do not differ: all variance is between raters"
    return None, ""


def _mean_squares(*ratings, axis=-1):
    """→ mean squares between targets, between raters, of the residual; ratings: one (…, targets) per rater."""
    scores = np.stack(ratings, axis)  # (…, targets, raters)
    n, k = scores.shape[-2:]
    target, rater, mean = scores.mean(-1), scores.mean(-2), scores.mean((-2, -1))
    residual = scores - target[..., None] - rater[..., None, :] + mean[..., None, None]
    error = (residual**2).sum((-2, -1)) / ((n - 1) * (k - 1))
    return k * target.var(-1, ddof=1), n * rater.var(-1, ddof=1), error


def _agreement(*ratings, axis=-1):
    """ICC(A,1)."""
    (n, k), (between, raters, error) = (ratings[0].shape[-1], len(ratings)), _mean_squares(*ratings)
    return (between - error) / (between + (k - 1) * error + k * (raters - error) / n)


def _consistency(*ratings, axis=-1):
    """ICC(C,1)."""
    between, _, error = _mean_squares(*ratings)
    return (between - error) / (between + (len(ratings) - 1) * error)


def _single_forms(between, raters, error, n, k):
    """icc with its bounds, f and df2 of ICC(1,1), ICC(A,1), ICC(C,1)."""
    within = (raters + (n - 1) * error) / n
    one_way, consistency = (
        _from_f(between / noise, (between - noise) / (between + (k - 1) * noise), n, k, df2)
        for noise, df2 in ((within, n * (k - 1)), (error, (n - 1) * (k - 1)))
    )
    a = (between - error) / (between + (k - 1) * error + k * (raters - error) / n)
    whole = n * (1 + (k - 1) * a) - k * a
    df = (k * a * raters / error + whole) ** 2 / (
        (k * a * raters / error) ** 2 / (k - 1) + whole**2 / consistency["df2"]
    )
    above, below = stats.f.ppf(0.975, n - 1, df), stats.f.ppf(0.975, df, n - 1)
    rest = k * raters + (k * n - k - n) * error
    low = n * (between - above * error) / (above * rest + n * between)
    high = n * (below * between - error) / (rest + n * below * between)
    return [one_way, consistency | bounded("icc", a, low, high), consistency]


def _from_f(f, estimate, n, k, df2):
    low, high = f / stats.f.ppf(0.975, n - 1, df2), f * stats.f.ppf(0.975, df2, n - 1)
    return bounded("icc", estimate, (low - 1) / (low + k - 1), (high - 1) / (high + k - 1)) | {"f": f, "df2": df2}


def _guarded(table, between, raters, error):
    """NaN where F is 0, infinite or rounding, and where a formula leaves the range of a correlation."""
    inference = ["icc_low", "icc_high", "f", "p"]
    if error <= _FLAT * between:
        two_way = ~table["form"].str.startswith("ICC(1")
        table.loc[two_way, inference] = np.nan
        table.loc[two_way, "note"] = "raters differ by a constant: no residual variance, no interval"
    if between <= _FLAT * error:
        table[inference] = np.nan
        table.loc[table["form"].str.endswith("k)"), "icc"] = np.nan
        table["note"] = "opposite raters: targets' means do not differ, so no interval and no average form"
    # Spearman-Brown turns a single ICC near -1/(k-1) into -1e34: mean ratings that carry no information
    beyond = table["icc"].abs() > 1 + 1e-9
    table.loc[beyond, ["icc", "icc_low", "icc_high"]] = np.nan
    table.loc[beyond, "note"] = "raters contradict each other: the formula leaves the range of a correlation"
    return table


def icc_a1(a, b, subjects=None, n_boot=N_BOOT, seed=0) -> pd.DataFrame:
    """The default ICC of two observers, in one row: agreement, and consistency beside it.

    Returns icc_a1, icc_c1 with `_low`, `_high`, n, n_subjects, n_missing, note. Intervals: F (McGraw & Wong) with one
    row per subject; where `subjects` repeat, rows are not independent and a bootstrap over subjects takes their place.
    """
    rows = complete(a, b, subjects=subjects)
    table = icc(pd.DataFrame(dict(zip("ab", rows.columns, strict=True)))).set_index("form")
    row = {}
    for name, form, statistic in (("icc_a1", "ICC(A,1)", _agreement), ("icc_c1", "ICC(C,1)", _consistency)):
        estimate, low, high = table.loc[form, ["icc", "icc_low", "icc_high"]]
        if rows.repeated and not np.isnan(low):
            _, low, high, _ = interval(rows, statistic, n_boot, seed)
        row |= bounded(name, estimate, low, high)
    return pd.DataFrame([row | rows.counts | {"note": table.loc["ICC(A,1)", "note"]}])
