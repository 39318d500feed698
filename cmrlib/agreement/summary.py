"""Means with intervals, table 1, example cases and errors by subgroup."""

import numpy as np
import pandas as pd

from cmrlib.agreement.resampling import N_BOOT, complete, intervals
from cmrlib.measures import label


def with_intervals(table: pd.DataFrame, values, by) -> pd.DataFrame:
    """Mean of each value with its bootstrap interval over subjects, one row per group: value, value_low, value_high,
    value_median, n.

    n counts subjects with a defined value, n_undefined the rows without one (both masks empty, …), both of the first
    value; n_VALUE and n_undefined_VALUE belong to the others (an empty mask has a Dice, but no distance).
    """
    rows = []
    for key, part in table.groupby(list(by), sort=False):
        row = dict(zip(by, key, strict=True))
        for value in values:
            known, of = (
                complete(part[value], subjects=part["participant_id"]),
                "" if value == values[0] else f"_{value}",
            )
            row |= intervals(known, N_BOOT, 0, **{value: np.mean})
            row[f"{value}_median"] = float(np.median(known.columns[0])) if known.counts["n"] else np.nan
            row |= {f"n{of}": known.counts["n_subjects"], f"n_undefined{of}": known.counts["n_missing"]}
        rows.append(row)
    return pd.DataFrame(rows)


def table_one(subjects: pd.DataFrame, by: str = "group", measures: pd.DataFrame | None = None) -> pd.DataFrame:
    """Characteristics by group: n, share of women and of every other yes or no (1 or 0), mean ± SD of every number, and
    how many values are missing.

    subjects: one row per participant. measures: an observer's table, joined by participant_id; of several sessions the
    first counts, and what `subjects` know too is theirs. A column that is missing for all is n/a, never zero.
    """
    table = subjects
    if measures is not None and len(measures):
        first = measures.sort_values("session", kind="stable") if "session" in measures else measures
        first = first.drop_duplicates("participant_id")
        here = set(subjects.columns[subjects.notna().any()]) | {"session"}
        columns = ["participant_id", *(c for c in first.select_dtypes("number") if c not in here)]
        subjects = subjects.drop(columns=[c for c in columns[1:] if c in subjects])
        table = subjects.merge(first[columns], on="participant_id", how="left")
    grouping = table[by].fillna("n/a") if by in table else pd.Series("all", index=table.index)
    columns = {"all": table} | (dict(tuple(table.groupby(grouping))) if grouping.nunique() > 1 else {})
    rows = {"n": {name: str(len(part)) for name, part in columns.items()}}
    if "sex" in table and table["sex"].notna().any():
        women = table["sex"].map({"F": 1.0, "M": 0.0})
        rows["women, n (%)"] = {name: _share(women[part.index]) for name, part in columns.items()}
    for column in (c for c in table.select_dtypes("number").columns if c != "session"):
        yes_or_no = table[column].notna().any() and set(table[column].dropna()) <= {0, 1}
        name, text = (f"{label(column)}, n (%)", _share) if yes_or_no else (label(column), _mean_sd)
        rows[name] = {group: text(part[column]) for group, part in columns.items()}
    return pd.DataFrame(rows).T.rename_axis("characteristic")


def _share(values):
    yes, known = int(values.sum()), values.notna().sum()
    return f"{yes} ({100 * yes / known:.0f})" if known else "n/a"


def _mean_sd(values):
    known = values.dropna()
    if known.empty:
        return "n/a"
    missing = f" [{len(values) - len(known)} missing]" if len(known) < len(values) else ""
    size = known.std() if len(known) > 1 and known.std() else abs(known.mean()) or 1.0
    digits = max(0, 1 - int(np.floor(np.log10(size))))  # two of the SD's, no exponents
    return f"{known.mean():.{digits}f}" + (f" ± {known.std():.{digits}f}" if len(known) > 1 else "") + missing


def example_cases(table: pd.DataFrame, value: str) -> dict:
    """Best, median and worst row by `value` (large is good), as label → row; NaN rows are left out."""
    ranked = table.dropna(subset=[value]).sort_values(value, ascending=False)
    places = {"best": 0, "median": (len(ranked) - 1) // 2, "worst": len(ranked) - 1}
    return {label: ranked.iloc[place] for label, place in places.items()} if len(ranked) else {}


def error_by_subgroup(scores: pd.DataFrame, subjects: pd.DataFrame, value: str) -> pd.DataFrame:
    """Mean of a score with intervals by each known characteristic: sex, group, vendor, centre.

    scores: participant_id, structure, the value, and view, which is appended to the structure where there are several.
    Returns characteristic, level, structure and the columns of `with_intervals`.
    """
    if "view" in scores and scores["view"].nunique() > 1:
        scores = scores.assign(structure=scores["structure"] + ", " + scores["view"])
    joined, by = scores.merge(subjects, on="participant_id"), ["characteristic", "level", "structure"]
    tables = [pd.DataFrame(columns=[*by, value, f"{value}_low", f"{value}_high", "n", "n_undefined"])]
    for name in ("sex", "group", "vendor", "centre"):
        if name in joined and joined[name].notna().any():
            part = joined.assign(characteristic=name, level=joined[name].fillna("n/a"))
            tables.append(with_intervals(part, [value], by))
    return pd.concat(tables[1:] or tables, ignore_index=True)
