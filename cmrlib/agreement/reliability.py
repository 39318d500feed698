"""Intraclass correlation: how much of the variance between ratings is variance between subjects."""

from contextlib import contextmanager

import numpy as np
import pandas as pd

from cmrlib.agreement.resampling import MIN_SUBJECTS, N_BOOT, bounded, complete, interval

FORMS = ("ICC(1,1)", "ICC(A,1)", "ICC(C,1)", "ICC(1,k)", "ICC(A,k)", "ICC(C,k)")
_OLD_NAMES = dict(zip(("ICC1", "ICC2", "ICC3", "ICC1k", "ICC2k", "ICC3k"), FORMS, strict=True))
"""What pingouin called them before 0.7."""

_FLAT = 1e-12
"""A mean square below this share of the largest is rounding: (1e-6)² of the spread."""


def icc(ratings: pd.DataFrame, targets=None, raters=None, values=None) -> pd.DataFrame:
    """All six intraclass correlations with 95 % intervals, one row a form.

    ratings: one column a rater and one row a target, a table of `paired_ratings`, or a long table whose
    columns `targets`, `raters` and `values` name. Default form to report: ICC(A,1), two-way, absolute
    agreement, single rating; A is agreement, C consistency (blind to a constant difference), k the mean.
    Returns form, icc, icc_low, icc_high, f, df1, df2, p, n, n_raters, n_missing, note. `p` tests whether the
    ICC is zero; it says nothing about bias between raters (see `bland_altman`).
    Raises ValueError for a target that one rater rated twice, or fewer than two raters.
    Source: McGraw & Wong, Psychol Methods 1996;1:30, by pingouin; Shrout & Fleiss say 2,1 for A,1 and 3,1
    for C,1.
    """
    wide = _wide(ratings, targets, raters, values)
    rows = complete(*(wide[c] for c in wide))
    scores = np.column_stack(rows.columns)  # (targets, raters)
    counts = {"n": rows.n, "n_raters": scores.shape[1], "n_missing": rows.n_missing}
    nothing = bounded("icc") | dict.fromkeys(("f", "df1", "df2", "p"), np.nan)
    fixed, note = _special_case(scores)
    if note:
        return pd.DataFrame([{"form": f} | nothing | fixed | counts | {"note": note} for f in FORMS])
    return _guarded(_pingouin_icc(scores), scores).assign(**counts)[["form", *nothing, *counts, "note"]]


def _wide(ratings, targets, raters, values):
    if targets is None:
        wide = ratings[["a", "b"]] if {"a", "b", "missing"} <= set(ratings.columns) else ratings
    else:
        twice = ratings.duplicated([targets, raters], keep=False)
        if twice.any():  # pingouin would average them without a word
            raise ValueError(
                f"{twice.sum()} ratings share target and rater, first "
                f"{ratings[twice].iloc[0].to_dict()}; keep one of each"
            )
        wide = ratings.pivot(index=targets, columns=raters, values=values)
    if wide.shape[1] < 2:
        raise ValueError(f"expected ratings of at least two raters, got columns {list(wide.columns)}")
    return wide


def _special_case(scores):
    """→ what every form then is, and why; (None, "") where there is something to compute."""
    if len(scores) < MIN_SUBJECTS:
        return {}, f"{len(scores)} complete targets: undefined below {MIN_SUBJECTS}"
    if np.ptp(scores) == 0:
        return {}, "constant ratings: no variance to divide"
    if (scores == scores[:, :1]).all():
        return bounded("icc", 1, 1, 1), "identical ratings"
    between, raters, error = _mean_squares(scores)
    if max(between, error) <= _FLAT * raters:
        return {}, "targets do not differ: all variance is between raters"
    return None, ""


def _mean_squares(scores):
    """→ mean squares between targets, between raters, of the residual; scores: (targets, raters)."""
    n, k = scores.shape
    target, rater, mean = scores.mean(1, keepdims=True), scores.mean(0), scores.mean()
    residual = scores - target - rater + mean
    return k * target.var(ddof=1), n * rater.var(ddof=1), (residual**2).sum() / ((n - 1) * (k - 1))


def _pingouin_icc(scores):
    """→ form, icc, f, df1, df2, p, icc_low, icc_high, under the names of any pingouin since 0.5."""
    import pingouin  # takes seconds to import

    n, k = scores.shape
    long = pd.DataFrame({"target": np.arange(n).repeat(k), "rater": [*range(k)] * n, "score": scores.ravel()})
    with _unrounded(pingouin), np.errstate(all="ignore"):
        table = pingouin.intraclass_corr(long, targets="target", raters="rater", ratings="score")
    table = table.rename(columns={"Type": "form", "ICC": "icc", "F": "f", "pval": "p"})
    table["form"] = table["form"].replace(_OLD_NAMES)
    bounds = next(column for column in table if column.startswith("CI95"))
    table[["icc_low", "icc_high"]] = np.vstack(table[bounds])
    return table.set_index("form").loc[list(FORMS)].reset_index()


@contextmanager
def _unrounded(pingouin):
    """Without pingouin's rounding of intervals to two decimals, which turns .996 into 1; then set back."""
    before = dict(pingouin.options)
    pingouin.options.update({"round.column.CI95": None, "round.column.CI95%": None})
    try:
        yield
    finally:
        pingouin.options.clear()
        pingouin.options.update(before)


def _guarded(table, scores):
    """NaN where F is 0, infinite or rounding, and where a formula leaves the range of a correlation."""
    between, _, error = _mean_squares(scores)
    table, inference = table.assign(note=""), ["icc_low", "icc_high", "f", "p"]
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

    Returns icc_a1, icc_c1 with `_low`, `_high`, n, n_subjects, n_missing, note. Intervals: F (McGraw & Wong)
    with one row a subject; where `subjects` repeat, rows are not independent and a bootstrap over subjects
    takes their place.
    """
    rows = complete(a, b, subjects=subjects)
    table = icc(pd.DataFrame(dict(zip("ab", rows.columns, strict=True)))).set_index("form")
    row = {}
    for name, form in (("icc_a1", "ICC(A,1)"), ("icc_c1", "ICC(C,1)")):
        estimate, low, high = table.loc[form, ["icc", "icc_low", "icc_high"]]
        if rows.repeated and not np.isnan(low):
            _, low, high, _ = interval(rows, _STATISTICS[name], n_boot, seed)
        row |= bounded(name, estimate, low, high)
    return pd.DataFrame([row | rows.counts | {"note": table.loc["ICC(A,1)", "note"]}])


def _two_way(a, b, axis):
    """→ the mean squares of two raters, along an axis: between targets, between raters, residual."""
    n = a.shape[axis]
    difference = a - b
    return (a + b).var(axis, ddof=1) / 2, n * difference.mean(axis) ** 2 / 2, difference.var(axis, ddof=1) / 2


def _agreement(a, b, axis=-1):
    between, raters, error = _two_way(a, b, axis)
    return (between - error) / (between + error + 2 * (raters - error) / a.shape[axis])


def _consistency(a, b, axis=-1):
    between, _, error = _two_way(a, b, axis)
    return (between - error) / (between + error)


_STATISTICS = {"icc_a1": _agreement, "icc_c1": _consistency}
