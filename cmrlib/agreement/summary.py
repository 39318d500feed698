"""Means with intervals, table 1, example cases and errors by subgroup."""

import numpy as np
import pandas as pd

from cmrlib.agreement.resampling import N_BOOT, complete, intervals

UNITS = {"age": "years", "height_m": "m", "weight_kg": "kg", "heart_rate_bpm": "bpm"}


def with_intervals(table: pd.DataFrame, values, by) -> pd.DataFrame:
    """Mean of each value with its bootstrap interval over subjects, one row per group: value, value_low, value_high, n.

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
            row |= {f"n{of}": known.counts["n_subjects"], f"n_undefined{of}": known.counts["n_missing"]}
        rows.append(row)
    return pd.DataFrame(rows)


def table_one(subjects: pd.DataFrame, by: str = "group", measures: pd.DataFrame | None = None) -> pd.DataFrame:
    """Characteristics by group: n, share of women, mean ± SD of every number, and how many values are missing.

    subjects: one row per participant. measures: an observer's table, joined by participant_id; of several sessions the
    first counts. A column that is missing for all is n/a, never zero.
    """
    table = subjects
    if measures is not None and len(measures):
        first = measures.sort_values("session", kind="stable") if "session" in measures else measures
        first = first.drop_duplicates("participant_id")
        columns = ["participant_id", *(c for c in first.select_dtypes("number") if c != "session")]
        table = subjects.merge(first[columns], on="participant_id", how="left")
    grouping = table[by].fillna("n/a") if by in table else pd.Series("all", index=table.index)
    columns = {"all": table} | (dict(tuple(table.groupby(grouping))) if grouping.nunique() > 1 else {})
    rows = {"n": {name: str(len(part)) for name, part in columns.items()}}
    if "sex" in table and table["sex"].notna().any():
        rows["women, n (%)"] = {name: _share(part["sex"]) for name, part in columns.items()}
    for column in (c for c in table.select_dtypes("number").columns if c != "session"):
        unit = f" ({UNITS[column]})" if column in UNITS else ""
        rows[column + unit] = {name: _mean_sd(part[column]) for name, part in columns.items()}
    return pd.DataFrame(rows).T.rename_axis("characteristic")


def _share(sex):
    women, known = (sex == "F").sum(), sex.notna().sum()
    return f"{women} ({100 * women / known:.0f})" if known else "n/a"


def _mean_sd(values):
    known = values.dropna()
    if known.empty:
        return "n/a"
    missing = f" [{len(values) - len(known)} missing]" if len(known) < len(values) else ""
    return f"{known.mean():.3g}" + (f" ± {known.std():.2g}" if len(known) > 1 else "") + missing


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
