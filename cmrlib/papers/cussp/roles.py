"""Who is labelled, who is tested, and who is only looked at without a label."""

import hashlib

import numpy as np
import pandas as pd

from cmrlib.cohort.splits import check_split

PRETRAINING = ("unlabelled", "train")
"""Whose cines the step without labels may see: never those of validation or test subjects."""


def assign_roles(
    subjects: pd.DataFrame,
    label: str = "mr",
    train: int = 525,
    test: int = 179,
    validation_share: float = 0.2,
    fold: int = 0,
) -> pd.Series:
    """`train`, `validation`, `test` or `unlabelled` for every subject, indexed by participant_id.

    By a hash of the id within each class, so that every side has its share of positives. label: column of 0 and 1;
    subjects without one are unlabelled, and so are those beyond `train` + `test` labelled ones, whose label is then
    never used. train: 0 for all labelled subjects who are not tested. validation_share: of the labelled training
    subjects, set aside to choose thresholds and epochs (the paper names no validation set). fold: another test set.
    Raises ValueError for labels that are not 0 and 1, too few subjects, and a side without one of the classes.
    """
    if label not in subjects:
        raise ValueError(f"the cohort has no column {label!r}; its labels are in one of {list(subjects.columns)}")
    known = subjects.dropna(subset=[label]).set_index("participant_id")[label].astype(float)
    if not set(known) <= {0.0, 1.0}:
        raise ValueError(f"column {label!r} holds {sorted(set(known))[:5]}; expected 0, 1 or n/a")
    train = train or len(known) - test
    if len(known) < train + test:
        raise ValueError(
            f"{train} + {test} labelled subjects are asked for, {len(known)} have a label in {label!r}; "
            "ask for fewer, or train=0 for all who are not tested"
        )
    roles = pd.Series("unlabelled", index=subjects["participant_id"].to_numpy(), name="role")
    for value, members in known.groupby(known):
        share = len(members) / len(known)
        order = sorted(members.index, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        tested, trained = round(test * share), round(train * share)
        checked = round(trained * validation_share)
        order = np.roll(order, -fold * tested)
        sides = {"test": tested, "validation": checked, "train": trained - checked}
        if not all(sides.values()):
            raise ValueError(
                f"{sides} of {len(members)} subjects with {label} = {value:g}: one class only on a side, which neither "
                "teaches nor tests anything"
            )
        for side, part in zip(sides, np.split(order, np.cumsum(list(sides.values())))):
            roles[part] = side
    check_split(roles[roles != "unlabelled"])
    return roles
