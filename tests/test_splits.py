"""Splits: by subject, by hash, stratified, fixed in committed lists. (Subjects on both sides: also test_cohort.py.)"""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrlib.cohort.files import read_tsv, write_tsv
from cmrlib.cohort.splits import assign_folds, check_split, committed_list, read_folds, split_subjects


def people(n=53, groups=("DCM", "HCM", "NOR", None)):
    return pd.DataFrame(
        {"participant_id": [f"p{k:03d}" for k in range(n)], "group": [groups[k * k % len(groups)] for k in range(n)]}
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(5, 60), st.integers(2, 6), st.integers(0, 99))
def test_neither_order_nor_row_numbers_matter(n, folds, seed):
    subjects = people(n)
    shuffled = subjects.sample(frac=1, random_state=seed).reset_index(drop=True)
    assert assign_folds(subjects, folds).to_dict() == assign_folds(shuffled, folds).to_dict()
    assert split_subjects(subjects, 1, folds).to_dict() == split_subjects(shuffled, 1, folds).to_dict()


@pytest.mark.parametrize("subjects", [people(), people().drop(columns="group"), people(12, (None,))])
def test_each_subject_is_tested_once_over_the_folds(subjects):
    splits = pd.DataFrame({fold: split_subjects(subjects, fold) for fold in range(5)})
    assert set(splits.index) == set(subjects["participant_id"])
    assert ((splits == "test").sum(axis=1) == 1).all()
    assert ((splits == "validation").sum(axis=1) <= 1).all()
    for fold in range(5):
        assert {"train", "validation", "test"} <= set(splits[fold])


def test_validation_takes_the_first_of_each_group_from_the_next_fold():
    subjects = people(100, ("DCM", "NOR"))
    fold_of, split = assign_folds(subjects), split_subjects(subjects, fold=4, validation_per_group=3)
    validation = split.index[split == "validation"]
    assert (fold_of[validation] == 0).all()
    groups = subjects.set_index("participant_id").loc[validation, "group"]
    assert groups.value_counts().to_dict() == {"DCM": 3, "NOR": 3}
    assert (split[fold_of == 4] == "test").all() and (split == "train").sum() == 100 - 20 - 6


@pytest.mark.parametrize(("n", "fold"), [(20, 5), (20, 7), (20, -2), (3, 3)])
def test_a_fold_without_subjects_is_refused(n, fold):
    with pytest.raises(ValueError, match=rf"no subject is in fold {fold}; there are the folds \[0, "):
        split_subjects(people(n), fold)


def test_all_train_in_fold_minus_one():
    assert set(split_subjects(people(20), -1, validation_per_group=0)) == {"train"}
    assert set(split_subjects(people(20), -1)) == {"train", "validation"}


def test_a_list_decides_in_place_of_the_rule(tmp_path):
    subjects, path = people(10, ("NOR",)), tmp_path / "list.tsv"
    folds = people(12, ("NOR",)).assign(fold=np.arange(12) % 5)
    write_tsv(folds, path)
    split = split_subjects(subjects, fold=2, lists=path)
    assert split.index[split == "test"].tolist() == ["p002", "p007"] and len(split) == 10  # not those who are not here
    with pytest.raises(ValueError, match=r"does not list 3 of the cohort's subjects, e.g. \['p012', 'p013', 'p014'\]"):
        split_subjects(people(15), lists=path)
    write_tsv(pd.concat([folds, folds[:1]]), path)
    with pytest.raises(ValueError, match=r"list.tsv: subjects listed twice: \['p000'\]"):
        read_folds(path, subjects)


def test_a_split_with_a_strange_side_is_refused():
    with pytest.raises(ValueError, match="unknown sides .*valid.*expected train, validation, test"):
        check_split(pd.Series(["train", "valid"], index=["a", "b"]))
    with pytest.raises(ValueError, match=r"both sides of the split: \['a'\]"):
        check_split(pd.Series(["train", "test", "test"], index=["a", "a", "b"]))
    check_split(pd.Series(["train", "train"], index=["a", "a"]))


def test_a_list_of_one_split_stands_as_it_is(tmp_path):
    subjects, path = people(4, ("NOR",)), tmp_path / "list.tsv"
    sides = ["train", "test", "validation", "train", "test"]
    write_tsv(people(5, ("NOR",)).assign(split=sides), path)
    assert split_subjects(subjects, lists=path).to_dict() == dict(zip(subjects["participant_id"], sides))
    with pytest.raises(ValueError, match="no fold 1"):
        split_subjects(subjects, fold=1, lists=path)
    with pytest.raises(ValueError, match="does not list 2"):
        split_subjects(people(7), lists=path)
    write_tsv(people(5).assign(split=["train", "test", "tset", "train", "test"]), path)
    with pytest.raises(ValueError, match="unknown sides .*tset"):
        split_subjects(subjects, lists=path)


def test_the_acdc_list_is_the_rule_but_for_two_patients_of_one_heart():
    """patient074 and patient076 have the same images, so both must stand on one side of every split."""
    acdc = read_tsv(committed_list("acdc"))
    assert sorted(acdc["participant_id"]) == [f"patient{n:03d}" for n in range(1, 101)]
    rule = assign_folds(acdc)
    assert rule["patient076"] == 3 and rule["patient074"] == rule["patient068"] == 4
    names = {"patient076": "patient068", "patient068": "patient076"}
    by_hand = rule.rename(index=names)  # they change places
    assert read_folds(committed_list("acdc"), acdc).to_dict() == by_hand.to_dict()
    assert list(acdc["participant_id"]) == list(by_hand.index)
    groups = acdc.set_index("participant_id")["group"]
    assert (pd.crosstab(groups.reindex(by_hand.index), by_hand) == 4).all(axis=None)
    for fold in range(5):
        split = split_subjects(acdc.drop(columns="fold"), fold, lists=committed_list("acdc_cine"))
        assert split.value_counts().to_dict() == {"train": 70, "test": 20, "validation": 10}
        assert split["patient074"] == split["patient076"]


def test_the_sunnybrook_list_trains_on_nobody_of_the_older_set():
    """Trained: who has outlined single images (the numbers that are no multiple of 3) and no contours or cine."""
    listed = read_tsv(committed_list("sunnybrook"))
    contoured = {"SCHFI1", "SCHFI2", "SCHFI4", "SCHFI5", "SCHFI6", "SCN2"}
    trained = {name for name in listed["participant_id"] if int(re.search(r"\d+$", name)[0]) % 3} - contoured
    split = split_subjects(listed[["participant_id"]], lists=committed_list("sunnybrook_endo"))
    assert len(split) == 45 and len(trained) == 25
    assert split.to_dict() == {name: "train" if name in trained else "test" for name in listed["participant_id"]}


def test_the_kaggle_list_keeps_its_test_patients_apart():
    """196 / 38 / 70 patients; those with odd numbers were looked at while the phantom was built, so none is tested, and
    the six of whom only short-axis images were drawn are for training."""
    listed = read_tsv(committed_list("dsb2015"))
    split = split_subjects(listed[["participant_id"]], lists=committed_list("dsb2015"))
    assert split.value_counts().to_dict() == {"train": 196, "test": 70, "validation": 38}
    assert all(int(name[3:]) % 2 == 0 for name in split.index[split == "test"])
