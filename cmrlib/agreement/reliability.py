"""Intraclass correlation: share of the variance between ratings that is variance between subjects.

pingouin computes it (McGraw & Wong, Psychol Methods 1996;1:30; Shrout & Fleiss call A,1 2,1 and C,1 3,1). Here stand
what is undefined and why, and the interval over subjects with several rows.
"""

import warnings

import numpy as np
import pandas as pd

from cmrlib.agreement.resampling import FEWEST, N_BOOT, bounded, complete, interval

FORMS = ("ICC(1,1)", "ICC(A,1)", "ICC(C,1)", "ICC(1,k)", "ICC(A,k)", "ICC(C,k)")
COLUMNS = ("form", "icc", "icc_low", "icc_high", "f", "df1", "df2", "p")

_FLAT = 1e-12
"""A mean square below this share of the largest is rounding: (1e-6)² of the spread."""


def icc(ratings: pd.DataFrame) -> pd.DataFrame:
    """All six intraclass correlations with 95 % intervals, one row per form.

    ratings: one row per target, one column per rater. Default form to report: ICC(A,1), two-way, absolute agreement,
    single rating; A is agreement, C consistency (blind to a constant difference), k the mean of the raters. Returns
    form, icc, icc_low, icc_high, f, df1, df2, p, n, n_raters, n_missing, note. `p` tests whether the ICC is zero; it
    says nothing about bias between raters (see `bland_altman`).
    """
    rows = complete(*(ratings[c] for c in ratings))
    scores = np.column_stack(rows.columns)  # (targets, raters)
    counts = {"n": len(scores), "n_raters": scores.shape[1], "n_missing": rows.counts["n_missing"]}
    value, note = _special_case(scores)
    if note:
        bounds = (np.nan, np.nan) if rows.note else (value, value)
        table = pd.DataFrame([{"form": form} | bounded("icc", value, *bounds) for form in FORMS])
        return table.reindex(columns=COLUMNS).assign(**counts, note=note)
    table = _undefined(_six_forms(scores), *_mean_squares(*rows.columns)).assign(**counts)
    if rows.note:
        table[["icc_low", "icc_high", "p"]] = np.nan
        table["note"] = table["note"].where(table["note"] != "", rows.note)
    return table


def _special_case(scores):
    """→ what every form then is, and why; note "" where there is something to compute. scores: (targets, raters)."""
    if len(scores) < FEWEST:
        return np.nan, f"{len(scores)} complete targets: undefined below {FEWEST}"
    if np.ptp(scores) == 0:
        return np.nan, "constant ratings: no variance to divide"
    if (scores == scores[:, :1]).all():
        return 1.0, "identical ratings"
    between, raters, error = _mean_squares(*scores.T)
    flat = max(between, error) <= _FLAT * raters
    return np.nan, "targets do not differ: all variance is between raters" if flat else ""


def _six_forms(scores):
    import pingouin  # seconds to import

    pingouin.options["round.column.CI95"] = None  # two digits otherwise
    long = pd.DataFrame(scores).melt(var_name="rater", value_name="rating", ignore_index=False).reset_index()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # divisions by 0, named in `note`
        table = pingouin.intraclass_corr(long, "index", "rater", "rating").set_index("Type").loc[list(FORMS)]
    table[["icc_low", "icc_high"]] = np.vstack(table["CI95"])
    table = table.rename_axis("form").reset_index().rename(columns={"ICC": "icc", "F": "f", "pval": "p"})
    return table[list(COLUMNS)].assign(note="")


def _undefined(table, between, raters, error):
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
    # a single ICC near -1/(k-1) becomes a mean of -1e34: ratings that carry no information
    beyond = table["icc"].abs() > 1 + 1e-9
    table.loc[beyond, ["icc", "icc_low", "icc_high"]] = np.nan
    table.loc[beyond, "note"] = "raters contradict each other: the formula leaves the range of a correlation"
    return table


def _mean_squares(*ratings):
    """→ mean squares between targets, between raters, of the residual; ratings: one (…, targets) per rater."""
    scores = np.stack(ratings, -1)  # (…, targets, raters)
    n, k = scores.shape[-2:]
    target, rater = scores.mean(-1, keepdims=True), scores.mean(-2, keepdims=True)
    residual = scores - target - rater + scores.mean((-2, -1), keepdims=True)
    error = (residual**2).sum((-2, -1)) / ((n - 1) * (k - 1))
    return k * target[..., 0].var(-1, ddof=1), n * rater[..., 0, :].var(-1, ddof=1), error


def icc_a1(a, b, subjects=None, n_boot=N_BOOT, seed=0) -> pd.DataFrame:
    """The default ICC of two observers, in one row: agreement, and consistency beside it.

    Returns icc_a1, icc_c1 with `_low`, `_high`, n, n_subjects, n_missing, note. Intervals: F (McGraw & Wong) with one
    row per subject; where `subjects` repeat, rows are not independent and a bootstrap over subjects takes their place.
    """

    def agreement(a, b, axis=-1):
        between, raters, error = _mean_squares(a, b)
        return (between - error) / (between + error + 2 * (raters - error) / a.shape[-1])

    def consistency(a, b, axis=-1):
        between, _, error = _mean_squares(a, b)
        return (between - error) / (between + error)

    rows = complete(a, b, subjects=subjects)
    table = icc(pd.DataFrame(np.column_stack(rows.columns))).set_index("form")
    row = {}
    for name, form, statistic in (("icc_a1", "ICC(A,1)", agreement), ("icc_c1", "ICC(C,1)", consistency)):
        estimate, low, high = table.loc[form, ["icc", "icc_low", "icc_high"]]
        if rows.repeated and not np.isnan(low):
            _, low, high, _ = interval(rows, statistic, n_boot, seed)
        row |= bounded(name, estimate, low, high)
    return pd.DataFrame([row | rows.counts | {"note": table.loc["ICC(A,1)", "note"]}])
