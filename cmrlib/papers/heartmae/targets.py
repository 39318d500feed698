"""What is to be predicted of a subject: cardiac features and diseases."""

import numpy as np
import pandas as pd

from cmrlib.measures import features
from cmrlib.measures.features import CONFIDENCES
from cmrlib.measures.names import FEATURES, INDEXED, indexed_name

EJECTION = ("lvef_pct", "laef_pct", "rvef_pct", "raef_pct")
"""The four of table 1."""


def cardiac_targets(cohort, observer: str = "truth") -> pd.DataFrame:
    """One row per subject, indexed by participant_id: the observer's measures, and what its masks add to them: AHA wall
    thickness and thickening, peak rates of the volume curves. The first session of each subject.

    Raises ValueError where the observer measured nothing.
    """
    known = cohort.observer(observer).measures()
    drawn = any(cohort.observer(observer).has(name) for name in cohort.cines["cine"])
    tables = [known] if len(known) else []
    tables += [features(cohort, observer, walls=True)] if drawn else []
    if not tables:
        raise ValueError(f"observer {observer!r} measured nothing in {cohort.path.name}; choose another")
    others = ["ed_frame", "es_frame", "bsa_m2", "heart_rate_bpm"]
    left_out, columns = {*CONFIDENCES, *others, *map(indexed_name, (*INDEXED, *FEATURES))}, {}
    for table in tables:
        numbers = first_session(table).select_dtypes("number")
        columns |= {name: numbers[name] for name in numbers if name not in {*left_out, *columns}}
    return pd.DataFrame(columns).astype(float)


def first_session(table: pd.DataFrame) -> pd.DataFrame:
    """One row per subject, indexed by participant_id: that of the first session, whatever is missing there."""
    ordered = table.sort_values([name for name in ("participant_id", "session") if name in table], kind="stable")
    return ordered.drop_duplicates("participant_id").set_index("participant_id")


def usable(table: pd.DataFrame, split: pd.Series, fewest: int = 3) -> tuple[list[str], pd.DataFrame]:
    """(columns that can be learned, what was left out and why): a constant, or one known to too few training
    subjects."""
    people = table.reindex(split.index[split == "train"])
    kept, left_out = [], []
    for name in table:
        values = people[name].dropna()
        if len(values) < fewest:
            left_out.append({"target": name, "reason": f"known to {len(values)} of {fewest} training subjects"})
        elif np.ptp(values) == 0:
            left_out.append({"target": name, "reason": f"constant {values.iloc[0]:g} in training subjects"})
        else:
            kept.append(name)
    return kept, pd.DataFrame(left_out, columns=["target", "reason"])


def disease_targets(subjects: pd.DataFrame) -> pd.DataFrame:
    """One row per subject, 0 or 1 a disease, NaN where its label is missing: one column per `group` but the healthy
    one, and every column of 0 and 1."""
    table = subjects.drop_duplicates("participant_id").set_index("participant_id")
    groups = table.get("group", pd.Series(None, table.index, dtype=object))
    diseases = sorted(set(groups.dropna()) - {"NOR"})
    found = {str(one): (groups == one).astype(float).where(groups.notna()) for one in diseases}
    for name in table.columns.difference(["sex", "session"], sort=False):
        values = pd.to_numeric(table[name], errors="coerce")
        if values.notna().any() and set(values.dropna()) <= {0, 1}:
            found[name] = values
    return pd.DataFrame(found, index=table.index)


def enough_positives(table: pd.DataFrame, split: pd.Series, fewest: dict) -> tuple[list[str], pd.DataFrame]:
    """(diseases to predict, the others with their positives and the reason): too few on any side is left out."""
    kept, left_out = [], []
    for name in table:
        counts = {side: int((table[name].reindex(split.index[split == side]) == 1).sum()) for side in fewest}
        short = [f"{counts[side]} {side} (needs {fewest[side]})" for side in fewest if counts[side] < fewest[side]]
        kept += [] if short else [name]
        left_out += [{"target": name, "reason": "positives: " + ", ".join(short)}] if short else []
    return kept, pd.DataFrame(left_out, columns=["target", "reason"])
