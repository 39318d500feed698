"""Splits by subject: fixed by a hash of the id, stratified by group, the only splitter there is."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from cmrlib.cohort.files import read_tsv


def assign_folds(subjects: pd.DataFrame, folds: int = 5, group: str = "group") -> pd.Series:
    """Fold of every subject, indexed by participant_id.

    Subjects are ordered by group, then by a hash of their id, and dealt round: every fold has its share of every
    group, and a subject's place never depends on file order or on a random seed.
    """
    _require_unique(subjects)
    order = pd.DataFrame({"id": subjects["participant_id"], "group": subjects.get(group, "all")}).fillna("n/a")
    order["hash"] = [hashlib.sha256(i.encode()).hexdigest() for i in order["id"]]
    return pd.Series(range(len(order)), index=order.sort_values(["group", "hash"])["id"]) % folds


def split_subjects(
    subjects: pd.DataFrame,
    fold: int = 0,
    folds: int = 5,
    validation_per_group: int = 2,
    group: str = "group",
    lists: str | Path | None = None,
    shares=(),
) -> pd.Series:
    """`train`, `validation` or `test` for every subject, indexed by participant_id.

    Test is `fold`, nobody for −1; validation takes the first `validation_per_group` of each group from the next fold;
    the rest trains. shares: of validation and of test in their place, of each group by the hash. `lists`: a TSV with
    participant_id and fold (a committed list) in place of the computed folds; or with participant_id and split, which
    then stands as it is, as fold 0. Raises ValueError where nobody is in the fold.
    """
    if lists and "split" in read_tsv(lists):
        if fold:
            raise ValueError(f"{Path(lists).name} lists one split, so there is a fold 0 and no fold {fold}")
        split = read_folds(lists, subjects, "split")
        check_split(split)
        return split
    if len(shares):
        order, groups = assign_folds(subjects, len(subjects), group), subjects.set_index("participant_id").get(group)
        kind = pd.Series("all" if groups is None else groups.reindex(order.index).fillna("n/a"), order.index)
        parts = order.groupby(kind).rank(pct=True, method="first")
        validation, test = shares
        sides = np.select([parts <= test, parts <= test + validation], ["test", "validation"], "train")
        if missing := sorted({"train", "validation", "test"} - set(sides)):
            raise ValueError(
                f"shares of {validation:g} and {test:g} leave nobody for {' and '.join(missing)}: the largest of "
                f"{kind.nunique()} groups has {kind.value_counts().max()} subjects; give larger shares or more subjects"
            )
        return pd.Series(sides, index=parts.index, name="split")
    fold_of = read_folds(lists, subjects) if lists else assign_folds(subjects, folds, group)
    if fold != -1 and not (fold_of == fold).any():
        raise ValueError(f"no subject is in fold {fold}; there are the folds {sorted(set(fold_of))}")
    split = pd.Series("train", index=fold_of.index, name="split")
    split[fold_of == fold] = "test"
    groups = subjects.set_index("participant_id").get(group, pd.Series("all", fold_of.index))
    following = groups.reindex(fold_of.index[fold_of == (fold + 1) % folds]).fillna("n/a")
    split[following.groupby(following).head(validation_per_group).index] = "validation"
    check_split(split)
    return split


def read_folds(path, subjects: pd.DataFrame, column: str = "fold") -> pd.Series:
    """Folds, or another column, of a committed list for the subjects at hand.

    Raises ValueError where a subject stands twice or one of the cohort's is not listed.
    """
    table = read_tsv(path)
    _require_unique(table, path)
    listed, here = table.set_index("participant_id")[column], set(subjects["participant_id"])
    if unlisted := sorted(here - set(listed.index)):
        raise ValueError(
            f"{Path(path).name} does not list {len(unlisted)} of the cohort's subjects, "
            f"e.g. {unlisted[:3]}; add them to the list or leave out the list"
        )
    return listed[listed.index.isin(here)]


def check_split(split: pd.Series):
    """Raise ValueError where a subject stands on two sides or a side has an unknown name."""
    sides = split.groupby(level=0).nunique()
    if (sides > 1).any():
        both = sides.index[sides > 1].tolist()
        raise ValueError(f"subjects on both sides of the split: {both[:5]}; every subject belongs to one side")
    if strange := sorted(set(split) - {"train", "validation", "test"}):
        raise ValueError(f"unknown sides {strange}; expected train, validation, test")


def _require_unique(table: pd.DataFrame, where="participants"):
    twice = table["participant_id"][table["participant_id"].duplicated()].tolist()
    if twice:
        raise ValueError(f"{where}: subjects listed twice: {sorted(set(twice))[:5]}; keep one row a subject")


SHARED_LISTS = {"acdc_cine": "acdc", "sunnybrook_endo": "sunnybrook"}
"""Data sets of the people of another one: one list for both, so that a person stands on one side."""


def committed_list(name: str) -> Path | None:
    """The committed list of a real data set, by folds or of one split; None for an empty name.

    `acdc`: the folds of all 100 patients by `assign_folds`, but for one exchange: the images of patient074 and
    patient076 are the same, byte for byte, so patient076 changed places with patient068, the next of its group in
    patient074's fold. `sunnybrook`: whoever is outlined in `sunnybrook_endo` alone trains, all others are tested.
    """
    if not name:
        return None
    path = Path(__file__).parents[1] / "datasets" / "splits" / f"{SHARED_LISTS.get(name, name)}.tsv"
    if not path.exists():
        known = sorted([*SHARED_LISTS, *(p.stem for p in path.parent.glob("*.tsv"))])
        raise ValueError(f"no committed list of folds named {name!r}; there are {', '.join(known)}")
    return path
