"""Groups by hand and against scikit-learn; what is adjusted, what comes again, what chance alone gives."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kruskal
from sklearn.metrics import adjusted_rand_score

from cmrlib.agreement import stratification
from cmrlib.agreement.stratification import (
    Groups,
    adjusted,
    adjusted_rand,
    agreement_with,
    between_groups,
    cluster,
    projected,
    purity,
    read_features,
    stability,
    standardised,
    telling,
)


def blobs(n=30, apart=6.0, seed=0):
    rng = np.random.default_rng(seed)
    classes = np.repeat(["healthy", "ill"], [n, n // 2])
    values = rng.normal(size=(len(classes), 4)) + apart * (classes == "ill")[:, None]
    return pd.DataFrame(values, [f"S{k}" for k in range(len(classes))], list("abcd")), pd.Series(
        classes, [f"S{k}" for k in range(len(classes))], name="group"
    )


def test_adjusted_rand_against_scikit_learn_and_by_hand():
    rng = np.random.default_rng(0)
    for n in (5, 40):
        a, b = rng.integers(0, 3, n), rng.integers(0, 4, n)
        assert adjusted_rand(a, b) == pytest.approx(adjusted_rand_score(a, b))
    assert adjusted_rand([1, 1, 2, 2], [5, 5, 4, 4]) == 1 and adjusted_rand([1, 1, 1], [2, 2, 2]) == 1
    # pairs together in both 2; 6 and 4 of 15 in one; chance 6·4/15 = 1.6; (2 − 1.6) / (5 − 1.6)
    assert adjusted_rand([1, 1, 1, 2, 2, 2], [1, 1, 2, 2, 3, 3]) == pytest.approx(
        adjusted_rand_score([1, 1, 1, 2, 2, 2], [1, 1, 2, 2, 3, 3])
    )


def test_purity_by_hand():
    assert purity([1, 1, 1, 2, 2], ["a", "a", "b", "b", "b"]) == pytest.approx(4 / 5)


def test_two_blobs_are_found_named_by_size_and_come_again():
    features, classes = blobs()
    groups = cluster(features, 2)
    assert groups.labels.value_counts().to_dict() == {1: 30, 2: 15} and groups.n == 2
    table = agreement_with(groups, {"disease": classes}).iloc[0]
    assert table["adjusted_rand"] == 1 and table["purity_low"] == 1 and table["chance"] == pytest.approx(2 / 3)
    assert stability(features, 2, 20).loc[0, "stability"] > 0.95


def test_groups_of_noise_do_not_come_again():
    noise = pd.DataFrame(np.random.default_rng(1).normal(size=(40, 6)), [f"S{k}" for k in range(40)])
    assert stability(noise.rename(columns=str), 3, 20).loc[0, "stability"] < 0.6


def test_adjusting_removes_the_difference_between_the_sexes_and_nothing_else():
    rng = np.random.default_rng(2)
    sex = pd.Series(rng.choice(["F", "M"], 60), [f"S{k}" for k in range(60)], name="sex")
    ill = rng.normal(size=60)
    features = pd.DataFrame({"size": 10.0 * (sex == "M") + ill, "other": ill}, sex.index)
    found = adjusted(features, sex)
    means = found.groupby(sex).mean()
    np.testing.assert_allclose(means.loc["F"], means.loc["M"], atol=1e-9)
    within = ill - pd.Series(ill, sex.index).groupby(sex).transform("mean")
    np.testing.assert_allclose(found["size"] - found["size"].mean(), within, atol=1e-9)
    assert cluster(found).labels.groupby(sex).mean().diff().abs().max() < 0.5


def test_adjusting_for_a_number_is_a_regression():
    age = pd.Series([20.0, 40, 60, np.nan], list("wxyz"), name="age")
    features = pd.DataFrame({"f": [1.0, 2, 3, 9]}, list("wxyz"))
    found = adjusted(features, age)
    assert list(found.index) == list("wxy"), "who has no age is left out"
    np.testing.assert_allclose(found["f"], 2.0)
    with pytest.raises(ValueError, match="nobody's age is known"):
        adjusted(features, age * np.nan)


def test_constants_go_and_gaps_are_filled_and_said():
    features = pd.DataFrame({"flat": 3.0, "gap": [1.0, np.nan, 3.0], "fine": [1.0, 2.0, 4.0]}, list("xyz"))
    numbers, notes = standardised(features)
    assert list(numbers) == ["gap", "fine"] and numbers.loc["y", "gap"] == 0
    assert notes["note"].tolist() == ["1 missing, filled with the mean", "constant, left out"]
    with pytest.raises(ValueError, match="no feature varies"):
        standardised(features[["flat"]])


def test_values_between_groups():
    features, _ = blobs()
    groups = cluster(features)
    values = pd.DataFrame({"laef_pct": np.where(groups.labels == 1, 60.0, 40.0) + np.arange(45) % 7}, features.index)
    row = between_groups(groups, values).iloc[0]
    assert row["value"] == "laef_pct" and row["median_a"] > row["median_b"] and row["p"] < 1e-6
    assert row["rank_biserial"] == 1 and row["p_all"] == row["p"]


def test_more_than_two_groups_are_compared_all_together_and_in_pairs():
    features, _ = blobs()
    groups = cluster(features, 3)
    values = pd.DataFrame(
        {"same": np.tile(np.arange(5.0), 9), "third": (groups.labels == 3) + 0.0, "flat": 1.0}, features.index
    )
    values.iloc[:2, 0] = np.nan
    table = between_groups(groups, values)
    assert list(zip(table["group_a"], table["group_b"]))[:3] == [(1, 2), (1, 3), (2, 3)] and len(table) == 9
    by_value = table.groupby("value")["p_all"].first()
    known = [values["same"][groups.labels == label].dropna() for label in (1, 2, 3)]
    assert by_value["same"] == pytest.approx(kruskal(*known).pvalue) and by_value["third"] < 1e-8
    assert np.isnan(table.loc[table["value"] == "flat", "p_all"]).all()
    assert table.loc[table["value"] == "same", "n_missing"].sum() == 4  # two of one group, in two of its pairs


def test_too_few_subjects_are_refused():
    features, _ = blobs(4)
    with pytest.raises(ValueError, match="6 groups of 6 subjects"):
        cluster(features, 6)
    with pytest.raises(ValueError, match="a map of 4 subjects says nothing"):
        projected(features.iloc[:4])


def test_a_table_of_ones_own_is_read(tmp_path):
    table = pd.DataFrame(
        {
            "participant_id": ["001", "001", "002"],
            "session": ["1", "2", "1"],
            "note": ["a", "b", "c"],
            "lvef_pct": [50.0, 60.0, np.nan],
        }
    )
    table.to_csv(tmp_path / "t.tsv", sep="\t", index=False, na_rep="n/a")
    found = read_features(tmp_path / "t.tsv")
    assert list(found) == ["lvef_pct"] and found.loc["001", "lvef_pct"] == 50 and len(found) == 2
    with pytest.raises(ValueError, match=r"has no column size; it has participant_id, session, note, lvef_pct"):
        read_features(tmp_path / "t.tsv", ["size"])


def test_pictures_draw_what_they_are_given():
    from cmrlib import plots

    features, classes = blobs(8)
    groups = cluster(features)
    tracks = pd.DataFrame({"group": classes, "age": range(12)})
    figure = plots.group_heatmap(telling(features, groups), groups, tracks, True)
    heatmap = next(ax for ax in figure.axes if ax.get_xlabel() == "12 subjects")
    assert heatmap.collections[0].get_array().shape == (4, 12)
    tests = between_groups(groups, features[["a"]])
    assert plots.by_group(features[["a"]], groups, tests, False).axes[0].get_title().startswith("Mann–Whitney p = ")
    table = features.assign(umap_1=range(12), umap_2=0.0, group=classes)
    assert len(plots.coloured_maps(table, {"group": "disease", "a": "a"}, True).axes) == 3


def test_metrics_carry_classes_and_features_in_their_names():
    row = {
        "classes": "sex",
        "features": "raw",
        "adjusted_rand": 0.5,
        "adjusted_rand_low": 0.4,
        "adjusted_rand_high": 0.6,
        "purity": 0.8,
        "purity_low": 0.7,
        "purity_high": 0.9,
    }
    again = pd.DataFrame([{"features": "raw", "stability": 0.9}])
    metrics = stratification.group_metrics(pd.DataFrame([row]), again)
    assert metrics["rand_sex_raw_low"] == 0.4 and metrics["purity_sex_raw"] == 0.8
    assert metrics["stability_raw"] == 0.9 and len(metrics) == 7


def test_the_most_telling_features_come_first():
    features, _ = blobs(8)
    groups = cluster(features)
    apart = standardised(features)[0].groupby(groups.labels).mean().diff().iloc[-1].abs()
    assert list(telling(features, groups, most=2).columns) == list(apart.sort_values(ascending=False).index[:2])


def test_groups_hold_their_tree():
    features, _ = blobs(6)
    groups = cluster(features, 3)
    assert isinstance(groups, Groups) and groups.tree.shape == (8, 4) and sorted(groups.labels.unique()) == [1, 2, 3]
    assert stratification.cluster(features, 3).labels.equals(groups.labels), "the same every time"
