"""Tables of a cohort: counts by hand, missing values counted, intervals that hold the mean."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cmrlib.agreement import summary
from cmrlib.cine import Cine
from cmrlib.cohort import Annotation, Cohort, Observer
from cmrlib.measures import Conventions
from cmrlib.phantom import make_cohort

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


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    path = tmp_path_factory.mktemp("phantom") / "c"
    return make_cohort(
        path, subjects=6, frames=4, size=64, spacing_mm=3.2, slices=5, views=("sax",), workers=1, progress=False
    )


def scores(**columns):
    """Two subjects, two views, LV and RV, ED and ES."""
    rows = [
        (p, f"sub-{p}_view-{v}", v, s, phase)
        for p in "abcd"
        for v in ("sax", "4ch")
        for s in ("lv", "rv")
        for phase in ("ED", "ES")
    ]
    table = pd.DataFrame(rows, columns=["participant_id", "cine", "view", "structure", "phase"])
    table["dice"] = np.linspace(0.8, 0.95, len(table))
    table["hd95_mm"] = np.linspace(4, 9, len(table))
    return table.assign(**columns)


# --- who is in it ----------------------------------------------------------------------------------------------------


def test_table_one_by_hand():
    table = summary.table_one(PEOPLE)
    assert list(table) == ["all", "DCM", "NOR"] and table.index.name == "characteristic"
    assert table.loc["n"].tolist() == ["4", "2", "2"]
    assert table.loc["women, n (%)"].tolist() == ["2 (67)", "0 (0)", "2 (100)"]  # of those whose sex is known
    assert table.loc["age (years)"].tolist() == ["50 ± 10 [1 missing]", "50 [1 missing]", "50 ± 14"]
    assert table.loc["height_m (m)"].tolist()[0] == "1.75 ± 0.13"
    assert table.loc["weight_kg (kg)"].tolist() == ["n/a"] * 3  # never zero


def test_table_one_without_groups_or_sex_has_one_column():
    table = summary.table_one(PEOPLE.drop(columns=["group", "sex"]))
    assert list(table) == ["all"] and "women, n (%)" not in table.index
    assert list(summary.table_one(PEOPLE.assign(group="NOR"))) == ["all"]
    some = summary.table_one(PEOPLE.assign(group=["NOR", "NOR", None, "DCM"]))
    assert list(some) == ["all", "DCM", "NOR", "n/a"] and some.loc["n", "n/a"] == "1"


def test_table_one_takes_an_observers_measures():
    measures = pd.DataFrame(
        {"participant_id": ["a", "a", "b", "x"], "session": ["1", "2", "", ""], "lvef_pct": [50.0, 60.0, 45.0, 1.0]}
    )
    table = summary.table_one(PEOPLE, measures=measures)
    assert table.loc["lvef_pct", "NOR"] == "50 ± 7.1" and table.loc["lvef_pct", "DCM"] == "n/a"
    assert table.loc["n", "all"] == "4" and "session" not in table.index
    pd.testing.assert_frame_equal(summary.table_one(PEOPLE, measures=measures[:0]), summary.table_one(PEOPLE))


def test_contents_of_a_cohort(cohort):
    table = summary.contents(cohort)
    assert table.index.tolist() == ["sax"]
    row = table.loc["sax"]
    assert row[["cines", "subjects", "frames", "slices", "flagged"]].tolist() == ["6", "6", "4 (4–4)", "5 (5–5)", "1"]
    assert list(cohort.cines["flags"][cohort.cines["flags"] != ""]) == ["mistriggered"]
    assert row["pixel (mm)"] == "3.2 (3.2–3.2)" and row["RR (ms)"] != "n/a"
    unknown = Cohort(
        cohort.path, cohort.description, cohort.subjects, cohort.cines.assign(row_spacing_mm=np.nan, flags="dark"), {}
    )
    assert summary.contents(unknown).loc["sax", ["pixel (mm)", "flagged"]].tolist() == ["n/a", "6"]
    assert summary.rejected(cohort).empty and list(summary.rejected(cohort)) == ["participant_id", "digest", "reason"]


def test_first_cine_of_each_view(cohort):
    found = summary.first_of_views(cohort, "truth")
    assert list(found) == ["sax"]  # of views that are there
    cine, mask = found["sax"]
    assert cine.name == "sub-P0001_view-sax" and mask.shape == cine.pixels.shape
    assert summary.first_of_views(cohort)["sax"][1] is None  # nobody's outlines were asked for


def test_one_cine_a_group(cohort):
    names = summary.one_per_group(cohort, "sax", 9)
    groups = cohort.subjects.set_index("participant_id")["group"]
    assert [groups[name[4:9]] for name in names] == sorted(set(groups.fillna("n/a")))
    assert summary.one_per_group(cohort, "sax", 2) == names[:2] and summary.one_per_group(cohort, "4ch", 2) == []


def test_who_was_looked_at(cohort, tmp_path):
    assert summary.subjects_of(cohort, "truth") == [f"P000{k}" for k in range(1, 7)]
    cine, observer = cohort.cine("sub-P0003_view-sax"), Observer(tmp_path / "net")
    observer.write(cine, Annotation(np.zeros(cine.pixels.shape, np.uint8), {0: ("lv",)}))
    looked = Cohort.open(cohort.path, [tmp_path / "net"])
    assert summary.subjects_of(looked, "net") == ["P0003"]
    assert summary.measured_observers(looked, "net", "truth") == {"net": "net", "truth masks": "truth"}
    assert summary.measured_observers(looked, "truth", "net") == {"truth": "truth", "net": "net"}  # measured nothing
    for reference in ("", "nobody", "net"):
        assert summary.measured_observers(looked, "net", reference) == {"net": "net"}


# --- scores ----------------------------------------------------------------------------------------------------------


def test_best_median_and_worst():
    table = pd.DataFrame({"cine": list("abcdef"), "dice": [0.9, np.nan, 0.7, 0.95, 0.8, 0.6]})
    picks = summary.case_picks(table, "dice")
    assert {label: row["cine"] for label, row in picks.items()} == {"best": "d", "median": "e", "worst": "f"}
    assert summary.case_picks(table[1:2], "dice") == {}
    assert {row["cine"] for row in summary.case_picks(table[:1], "dice").values()} == {"a"}


def test_means_have_intervals_over_subjects_and_counts():
    table = scores()
    table.loc[table.index[:2], "dice"] = np.nan
    result = summary.with_intervals(table, ["dice", "hd95_mm"], ["view", "structure"])
    assert result[["view", "structure"]].values.tolist() == [["sax", "lv"], ["sax", "rv"], ["4ch", "lv"], ["4ch", "rv"]]
    for row in result.to_dict("records"):
        part = table[(table["view"] == row["view"]) & (table["structure"] == row["structure"])]
        for value in ("dice", "hd95_mm"):
            assert row[value] == pytest.approx(part[value].mean())
            assert part[value].min() <= row[f"{value}_low"] < row[value] < row[f"{value}_high"] <= part[value].max()


def test_n_and_undefined_belong_to_the_value_they_stand_beside():
    table = scores()
    table.loc[table["participant_id"] == "a", "dice"] = np.nan  # both masks empty: no Dice
    table.loc[table["participant_id"].isin(["a", "b"]), "hd95_mm"] = np.nan  # one empty: Dice 0, but no distance
    row = summary.with_intervals(table[table["structure"] == "lv"], ["dice", "hd95_mm"], ["structure"]).iloc[0]
    assert row[["n", "n_undefined", "n_hd95_mm", "n_undefined_hd95_mm"]].tolist() == [3, 4, 2, 8]


def test_metrics_of_the_manifest_are_named_and_bounded():
    rho = pd.Series({"rho": 0.5, "rho_low": 0.1, "rho_high": 0.8, "n": 8})
    metrics = summary.segmentation_metrics(scores(), rho)
    table = scores()
    sax = table[(table["view"] == "sax") & (table["structure"] == "lv")]
    assert metrics["dice_lv"] == pytest.approx(sax["dice"].mean())
    assert metrics["hd95_lv_mm"] == pytest.approx(sax["hd95_mm"].mean())
    assert metrics["dice_lv_low"] < metrics["dice_lv"] < metrics["dice_lv_high"]
    assert metrics["dice_lv_4ch"] != metrics["dice_lv"] and "hd95_lv_4ch_mm_high" in metrics and "dice_rv" in metrics
    assert [metrics[f"confidence_rho{end}"] for end in ("", "_low", "_high")] == [0.5, 0.1, 0.8]
    only = summary.segmentation_metrics(table[table["view"] == "4ch"], rho)
    assert "dice_lv" in only and "dice_lv_4ch" not in only  # without SAX the long axis needs no suffix


def test_a_row_a_cine_beside_its_confidence():
    segmented = pd.DataFrame({"cine": [f"sub-{p}_view-sax" for p in "abc"], "confidence": [0.9, 0.8, 0.7], "flags": ""})
    table = summary.per_cine(scores(), segmented)
    assert table["cine"].tolist() == segmented["cine"].tolist() and list(table) == [
        "participant_id",
        "cine",
        "view",
        "dice",
        "confidence",
        "flags",
    ]
    assert table["dice"][0] == pytest.approx(scores()["dice"][:4].mean())


def test_scores_by_what_is_known_of_the_subjects():
    people = PEOPLE.assign(vendor=np.nan)
    table = summary.by_characteristics(scores(), people, "dice")
    assert table["characteristic"].unique().tolist() == ["sex", "group"]  # nobody knows the vendor
    assert set(table[table["characteristic"] == "sex"]["level_of_it"]) == {"F", "M", "n/a"}
    normal = table[table["level_of_it"] == "NOR"].set_index("structure")
    assert normal.index.tolist() == ["lv, sax", "rv, sax", "lv, 4ch", "rv, 4ch"] and set(normal["n"]) == {2}
    whole = scores()  # views are not pooled: 4CH and SAX of one structure are tasks of their own
    own = whole[whole["participant_id"].isin(["a", "b"]) & (whole["view"] == "4ch") & (whole["structure"] == "lv")]
    assert normal.loc["lv, 4ch", "dice"] == pytest.approx(own.groupby("participant_id")["dice"].mean().mean())
    one_view = summary.by_characteristics(whole[whole["view"] == "sax"], people, "dice")
    assert set(one_view["structure"]) == {"lv", "rv"}
    empty = summary.by_characteristics(scores(), people[["participant_id"]], "dice")
    assert empty.empty and "dice_low" in empty


def test_losses_stand_in_epochs():
    recorder = SimpleNamespace(values=[[0.9], [0.8, 0.85], [0.7, 0.75, 0.5]])
    table = pd.DataFrame(summary.loss_rows(SimpleNamespace(recorder=recorder), "sax", fold=3))
    assert set(table["fold"]) == {3} and set(table["view"]) == {"sax"}
    assert table["epoch"].tolist() == [1, 2, 3] and table["train"].tolist() == [0.9, 0.8, 0.7]
    assert np.isnan(table["validation"][0]) and table["validation"].tolist()[1:] == [0.85, 0.75]


# --- measures --------------------------------------------------------------------------------------------------------


def test_observers_below_each_other_for_those_whom_the_first_saw():
    first = pd.DataFrame({"participant_id": ["a", "b"], "session": ["", None], "lvef_pct": [50.0, 60.0]})
    second = pd.DataFrame({"participant_id": ["b", "c"], "session": "", "lvef_pct": [61.0, 1.0], "mass_g": [90.0, 80]})
    table = summary.stack_observers({"net": first, "manual": second})
    assert list(table) == ["observer", "participant_id", "session", "lvef_pct", "mass_g"]
    assert table[["observer", "participant_id", "session"]].values.tolist() == [
        ["net", "a", ""],
        ["net", "b", ""],
        ["manual", "b", ""],
    ]
    assert np.isnan(table["mass_g"][0])


def test_people_spread_over_a_measure():
    table = pd.DataFrame({"participant_id": list("abcdef"), "lvef_pct": [30, 70, np.nan, 50, 40, 60]})
    assert summary.spread(table, "lvef_pct", 3) == ["a", "d", "b"]
    assert summary.spread(table, "lvef_pct", 9) == ["a", "e", "d", "f", "b"]
    assert summary.spread(table[2:3], "lvef_pct", 3) == [] and summary.spread(table[:1], "lvef_pct", 3) == ["a"]


def test_phases_are_marked_on_curves():
    curves = pd.DataFrame({"participant_id": "a", "session": "", "frame": [0, 1, 2], "volume_ml": [120.0, 80.0, 60.0]})
    measured = pd.DataFrame({"participant_id": ["a"], "session": [""], "ed_frame": [0], "es_frame": [2], "x_ml": [5.0]})
    table = summary.with_phases(curves, measured)
    assert table["phase"].tolist() == ["ED", "", "ES"] and table["volume_ml"].tolist() == [120, 80, 60]
    assert summary.with_phases(curves, measured.assign(participant_id="b"))["phase"].tolist() == ["", "", ""]
    unknown = measured.assign(ed_frame=pd.array([pd.NA], "Int64"), es_frame=pd.array([2], "Int64"))  # no stack
    assert summary.with_phases(curves, unknown)["phase"].tolist() == ["", "", "ES"]


def test_flags_are_counted_without_their_details():
    measured = pd.DataFrame({"flags": ["lv_gap:slices=2;few_frames", "few_frames:3", "", None]})
    counts = summary.count_flags(measured)
    assert counts.values.tolist() == [["few_frames", 2], ["lv_gap", 1]] and list(counts) == ["flag", "hearts"]
    assert summary.count_flags(measured[2:]).empty


def test_cohorts_of_two_frames_have_no_curve(cohort, tmp_path):
    assert summary.curves_or_none(cohort, "truth", Conventions()) is None  # four frames are no curve
    whole = make_cohort(
        tmp_path / "c",
        subjects=1,
        frames=12,
        size=32,
        spacing_mm=6,
        slices=4,
        views=("sax",),
        workers=1,
        progress=False,
    )
    table = summary.curves_or_none(whole, "truth", Conventions())
    assert {"participant_id", "frame", "time_ms", "volume_ml", "structure"} <= set(table)
    assert isinstance(whole.cine("sub-P0001_view-sax"), Cine)
