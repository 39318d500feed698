"""Means with intervals, table 1, example cases, errors by subgroup: counts by hand, missing values counted."""

import numpy as np
import pandas as pd
import pytest

from cmrlib.agreement import error_by_subgroup, example_cases, table_one, with_intervals

PEOPLE = pd.DataFrame(
    {
        "participant_id": ["a", "b", "c", "d"],
        "sex": ["F", "F", "M", None],
        "group": ["NOR", "NOR", "DCM", "DCM"],
        "age": [40.0, 60.0, 50.0, np.nan],
        "height_m": [1.6, 1.7, 1.8, 1.9],
        "weight_kg": [np.nan] * 4,
    }
)


@pytest.fixture
def scores():
    """Eight subjects, two views, LV and RV, ED and ES."""
    rows = [(p, v, s) for p in "abcdefgh" for v in ("sax", "4ch") for s in ("lv", "rv") for _ in ("ED", "ES")]
    table = pd.DataFrame(rows, columns=["participant_id", "view", "structure"])
    return table.assign(dice=np.linspace(0.8, 0.95, len(table)), hd95_mm=np.linspace(4, 9, len(table)))


def test_table_one_by_hand():
    table = table_one(PEOPLE)
    assert list(table) == ["all", "DCM", "NOR"] and table.index.name == "characteristic"
    assert table.loc["n"].tolist() == ["4", "2", "2"]
    assert table.loc["women, n (%)"].tolist() == ["2 (67)", "0 (0)", "2 (100)"]  # of those whose sex is known
    assert table.loc["age (years)"].tolist() == ["50 ± 10 [1 missing]", "50 [1 missing]", "50 ± 14"]
    assert table.loc["height (m)"].tolist()[0] == "1.75 ± 0.13"
    assert table.loc["weight (kg)"].tolist() == ["n/a"] * 3  # never zero


def test_table_one_has_no_exponents_no_column_twice_and_counts_labels():
    people = PEOPLE.assign(mr=[0, 1, 0, 0], heart_rate_bpm=[60.0, 70, 80, 90])
    measures = pd.DataFrame({"participant_id": list("abcd"), "heart_rate_bpm": 1.0, "lvedv_ml": [104.0, 204, 304, 404]})
    table = table_one(people, measures=measures)["all"]
    assert table["mr, n (%)"] == "1 (25)" and table["LVEDV (mL)"] == "254 ± 129"
    assert table["heart rate (1/min)"] == "75 ± 13" and not [name for name in table.index if "_" in name]


def test_table_one_without_groups_has_one_column():
    assert list(table_one(PEOPLE.drop(columns=["group", "sex"]))) == ["all"]
    some = table_one(PEOPLE.assign(group=["NOR", "NOR", None, "DCM"]))
    assert list(some) == ["all", "DCM", "NOR", "n/a"] and some.loc["n", "n/a"] == "1"


def test_table_one_takes_the_first_session_of_an_observers_measures():
    measures = pd.DataFrame(
        {"participant_id": ["a", "a", "b", "x"], "session": ["2", "1", "", ""], "lvef_pct": [60.0, np.nan, 45.0, 1.0]}
    )
    table = table_one(PEOPLE, measures=measures)  # a's first session has no LVEF: another's does not stand in for it
    assert table.loc["LVEF (%)", "NOR"] == "45 [1 missing]" and table.loc["LVEF (%)", "DCM"] == "n/a"
    assert table.loc["n", "all"] == "4" and "session" not in table.index


def test_best_median_and_worst():
    table = pd.DataFrame({"cine": list("abcdef"), "dice": [0.9, np.nan, 0.7, 0.95, 0.8, 0.6]})
    found = {label: row["cine"] for label, row in example_cases(table, "dice").items()}
    assert found == {"best": "d", "median": "e", "worst": "f"}
    assert example_cases(table[1:2], "dice") == {}
    assert {row["cine"] for row in example_cases(table[:1], "dice").values()} == {"a"}


def test_means_have_intervals_over_subjects_and_counts(scores):
    scores.loc[scores["participant_id"] == "a", "dice"] = np.nan  # both masks empty: no Dice
    scores.loc[scores["participant_id"].isin(["a", "b"]), "hd95_mm"] = np.nan  # one empty: Dice 0, but no distance
    result = with_intervals(scores, ["dice", "hd95_mm"], ["view", "structure"])
    assert result[["view", "structure"]].values.tolist() == [["sax", "lv"], ["sax", "rv"], ["4ch", "lv"], ["4ch", "rv"]]
    assert result["dice"].tolist() == pytest.approx(scores.groupby(["view", "structure"], sort=False)["dice"].mean())
    assert ((result["dice_low"] < result["dice"]) & (result["dice"] < result["dice_high"])).all()
    row = with_intervals(scores[scores["structure"] == "lv"], ["dice", "hd95_mm"], ["structure"]).iloc[0]
    assert row[["n", "n_undefined", "n_hd95_mm", "n_undefined_hd95_mm"]].tolist() == [7, 4, 6, 8]
    assert row["dice_median"] == scores.loc[scores["structure"] == "lv", "dice"].median()


def test_errors_by_what_is_known_of_the_subjects(scores):
    people = PEOPLE.assign(vendor=np.nan)
    table = error_by_subgroup(scores, people, "dice")
    assert table["characteristic"].unique().tolist() == ["sex", "group"]  # no vendor is known
    assert set(table[table["characteristic"] == "sex"]["level"]) == {"F", "M", "n/a"}
    normal = table[table["level"] == "NOR"].set_index("structure")
    assert normal.index.tolist() == ["lv, sax", "rv, sax", "lv, 4ch", "rv, 4ch"] and set(normal["n"]) == {2}
    own = scores[scores["participant_id"].isin(["a", "b"]) & (scores["view"] == "4ch") & (scores["structure"] == "lv")]
    assert normal.loc["lv, 4ch", "dice"] == pytest.approx(own.groupby("participant_id")["dice"].mean().mean())
    empty = error_by_subgroup(scores, people[["participant_id"]], "dice")
    assert empty.empty and "dice_low" in empty
