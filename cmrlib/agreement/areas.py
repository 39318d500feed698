"""Areas under the ROC curve and shares, with intervals over subjects and over seeds or draws of labels.

A statistic of one run comes with each subject's influence on it; the squares of influences sum to its variance over
subjects (for an area DeLong's, Biometrics 1988;44:837; of subjects with several rows: Obuchowski, Biometrics
1997;53:567). What runs vary by is added, and degrees of freedom follow Satterthwaite.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit, logit

from cmrlib.agreement.resampling import MIN_SUBJECTS

RUN = ("fold", "seed", "draw")
"""Columns that name a run, where a table has them."""


class Estimate(NamedTuple):
    """A mean over runs with its variance and degrees of freedom. kind: area, share or difference (of two areas);
    cases: how many decide it, of an area those of the smaller class."""

    value: float
    variance: float
    df: float
    cases: float
    kind: str

    def bounds(self) -> tuple[float, float]:
        """95 % interval, NaN below MIN_SUBJECTS cases and for a difference that does not vary.

        Areas: t on the logit scale; of normal scores, 25 positives of 179 and a true area of .97, 93 % hold it (fewer
        where a few negatives lie above all positives). Shares: Wilson's, of as many cases as the variance amounts to.
        Areas of 0 and 1: Clopper–Pearson of that many independent pairs.
        """
        p, error = self.value, np.sqrt(self.variance)
        if not (self.cases >= MIN_SUBJECTS and np.isfinite(p)) or (self.kind == "difference" and not error):
            return np.nan, np.nan
        t, inside = stats.t.ppf(0.975, self.df), 0 < p < 1
        if self.kind == "difference":
            return p - t * error, p + t * error
        if self.kind == "area" and inside:
            low, high = expit(logit(p) + np.array([-t, t]) * error / (p * (1 - p)))
            return float(low), float(high)
        from statsmodels.stats.proportion import proportion_confint  # half a second to import

        n, alpha = (p * (1 - p) / self.variance, 2 * stats.norm.sf(t)) if inside else (self.cases, 0.05)
        low, high = proportion_confint(p * n, n, alpha, "wilson" if self.kind == "share" else "beta")
        return min(float(low), p), max(float(high), p)  # rounding at 0 and 1

    def p(self) -> float:
        """Two-sided p of a difference of 0; NaN where there is no interval."""
        error = np.sqrt(self.variance)
        return float(2 * stats.t.sf(abs(self.value) / error, self.df)) if np.isfinite(self.bounds()[0]) else np.nan


def delong(label, score, subjects=None) -> tuple[float, pd.Series]:
    """(area under the ROC curve, influence of each subject on it); NaN and none with one class only.

    label, score: (rows,), positive where label > .5. subjects: (rows,), by default every row is its own.
    """
    positive, score = np.asarray(label) > 0.5, np.asarray(score, float)
    subjects = np.arange(len(score)) if subjects is None else np.asarray(subjects)
    sizes = {side: np.count_nonzero(positive == side) for side in (True, False)}
    if not all(sizes.values()):
        return np.nan, pd.Series(dtype=float)
    ranks, right = stats.rankdata(score), np.empty(len(score))
    for side in sizes:  # share of the other class that a row stands on the right side of
        mine = positive == side
        below = (ranks[mine] - stats.rankdata(score[mine])) / sizes[not side]
        right[mine] = below if side else 1 - below
    area = float(right[positive].mean())
    names, code = np.unique(subjects, return_inverse=True)
    moved = np.zeros(len(names))
    for side, n in sizes.items():
        part = np.bincount(code[positive == side], (right - area)[positive == side] / n, len(names))
        drawn = len(np.unique(code[positive == side]))
        moved += part * np.sqrt(drawn / max(drawn - 1, 1))
    return area, pd.Series(moved, names)


def ratio(hits, cases, subjects=None) -> tuple[float, pd.Series]:
    """(sum of hits / sum of cases, influence of each subject on it); NaN and none without cases. Both (rows,)."""
    hits, cases = np.asarray(hits, float), np.asarray(cases, float)
    if not cases.sum():
        return np.nan, pd.Series(dtype=float)
    value = hits.sum() / cases.sum()
    moved = pd.Series((hits - value * cases) / cases.sum())
    return float(value), moved if subjects is None else moved.groupby(np.asarray(subjects)).sum()


def over_runs(values: pd.Series, influences: list, df: float, cases: float, kind: str) -> Estimate:
    """Mean over the runs that have a value. values: indexed by RUN; influences: of the same runs; df: of subjects.

    Runs differ by draw where there are several, else by seed. Folds are averaged before: their subjects differ.
    """
    kept = values.notna().to_numpy()
    if not kept.any():
        return Estimate(np.nan, np.nan, np.nan, cases, kind)
    values, influences = values[kept], [one for one, there in zip(influences, kept) if there]
    moved = pd.concat(influences).groupby(level=0).sum() / len(values)
    parts, index = [((moved**2).sum(), df)], values.index
    several = [name for name in ("draw", "seed") if index.get_level_values(name).nunique() > 1]
    if several:
        units = values.groupby(level=several[0]).mean()
        parts.append((units.var(ddof=1) / len(units), len(units) - 1))
    variance = sum(one for one, _ in parts)
    spent = sum(one**2 / own for one, own in parts)
    df = variance**2 / spent if spent else df
    return Estimate(float(values.mean()), float(variance), df, cases, kind)


def runs_of(table: pd.DataFrame) -> list:
    """(values of RUN, rows) of each run; a column that the table lacks counts as one run."""
    keys = [table[name].fillna(0) if name in table else pd.Series(0, table.index) for name in RUN]
    return list(table.groupby([key.rename(name) for key, name in zip(keys, RUN)]))


def by_runs(table: pd.DataFrame, statistic, kind: str) -> Estimate:
    """Mean over runs of `statistic(rows)`, which returns what `delong` and `ratio` do. table: participant_id, label,
    RUN."""
    found = [(key, *statistic(part)) for key, part in runs_of(table)]
    index = pd.MultiIndex.from_tuples([key for key, *_ in found], names=RUN)
    values = pd.Series([value for _, value, _ in found], index, dtype=float)
    people = table.groupby(table["label"] > 0.5)["participant_id"].nunique().reindex([False, True], fill_value=0)
    cases = people.sum() if kind == "share" else people.min()
    whole = kind == "share" and not table.duplicated(["participant_id", *(name for name in RUN if name in table)]).any()
    return over_runs(values, [one for *_, one in found], np.inf if whole else max(cases - 1, 1), cases, kind)


def mean_auc(table: pd.DataFrame) -> Estimate:
    """Area over participants who keep all their rows, mean over runs. table: participant_id, label, score, RUN."""
    return by_runs(table, lambda rows: delong(rows["label"], rows["score"], rows["participant_id"]), "area")


def compared_auc(table: pd.DataFrame, other: pd.DataFrame) -> dict:
    """By how much one classifier's area is larger than another's, on the rows that both have, mean over runs.

    Tables: participant_id, label, score (NaN: no answer), RUN, and cine and k of patches. One that was run only once
    stands beside all runs of the first. Returns estimate, low, high, p (paired: the same subjects), least and most of a
    single run, n_runs, n_draws, n (participants). n_draws: draws (else seeds) of the table that has fewer; with 1
    the interval leaves out how much that classifier varies by draw.
    """
    rows, other = table.dropna(subset=["score"]), other.dropna(subset=["score"])
    once = {key for key in RUN if key in other and other[key].nunique() < 2}
    keys = [key for key in ("participant_id", "cine", "k", *RUN) if key in rows and rows[key].notna().any()]
    keys = [key for key in keys if key in other and key not in once]
    rows = rows.merge(other[[*keys, "score"]].rename(columns={"score": "other"}), on=keys)

    def difference(part):
        both = [delong(part["label"], part[name], part["participant_id"]) for name in ("score", "other")]
        return both[0][0] - both[1][0], both[0][1].sub(both[1][1], fill_value=0.0)

    found, single = by_runs(rows, difference, "difference"), [difference(part)[0] for _, part in runs_of(rows)]
    row = {"estimate": found.value} | dict(zip(("low", "high"), found.bounds())) | {"p": found.p()}
    row |= {"least": min(single, default=np.nan), "most": max(single, default=np.nan), "n_runs": len(single)}
    drawn = "draw" if "draw" in rows else "seed"
    n_draws = min(one[drawn].nunique() if drawn in one else 1 for one in (rows, other))
    return row | {"n_draws": n_draws, "n": rows["participant_id"].nunique()}


def holm(p) -> np.ndarray:
    """p values of several comparisons, corrected by Holm; NaN stays and does not count."""
    from pingouin import multicomp  # seconds to import

    p = np.asarray(p, float)
    return multicomp(p, method="holm")[1] if np.isfinite(p).any() else p
