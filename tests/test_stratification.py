"""Groups by hand and against scikit-learn; what is regressed out, what is stable, what chance alone gives."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from scipy.stats import kruskal

from cmrlib import plots
from cmrlib.agreement.stratification import (
    agreement_with,
    between_groups,
    cluster,
    purity,
    regress_out,
    stability,
    standardised,
    top_features,
)


def blobs(n=30, apart=6.0, seed=0):
    rng = np.random.default_rng(seed)
    classes = np.repeat(["healthy", "ill"], [n, n // 2])
    people = [f"S{k}" for k in range(len(classes))]
    values = rng.normal(size=(len(classes), 4)) + apart * (classes == "ill")[:, None]
    return pd.DataFrame(values, people, list("abcd")), pd.Series(classes, people, name="group")


def test_two_blobs_are_found_named_by_size_and_stable():
    features, classes = blobs()
    groups = cluster(features, 2)
    assert groups.labels.value_counts().to_dict() == {1: 30, 2: 15} and groups.n == 2
    assert groups.tree.shape == (44, 4) and cluster(features, 2).labels.equals(groups.labels)
    table = agreement_with(groups, {"disease": classes, "all alike": classes == ""}).iloc[0]
    assert table["adjusted_rand"] == 1 and table["purity_low"] == 1 and table["chance"] == pytest.approx(2 / 3)
    assert purity([1, 1, 1, 2, 2], ["a", "a", "b", "b", "b"]) == pytest.approx(4 / 5)
    assert stability(features, 2, 20).loc[0, "stability"] > 0.95
    apart = standardised(features)[0].groupby(groups.labels).mean().diff().iloc[-1].abs()
    assert list(top_features(features, groups, most=2)) == list(apart.sort_values(ascending=False).index[:2])


def test_groups_of_noise_are_not_stable_and_tiny_samples_have_no_stability():
    noise = pd.DataFrame(np.random.default_rng(1).normal(size=(40, 6)), [f"S{k}" for k in range(40)], list("abcdef"))
    assert stability(noise, 3, 20).loc[0, "stability"] < 0.6
    row = stability(pd.DataFrame({"f": [1.0, 2.0, 4.0, 9.0]}, list("wxyz")), 3, n_boot=5, seed=1).iloc[0]
    assert np.isnan([row["stability"], row["low"], row["high"]]).all() and row["n_boot"] == 0


def test_regressing_out_removes_the_difference_between_the_sexes_and_nothing_else():
    rng = np.random.default_rng(2)
    sex = pd.Series(rng.choice(["F", "M"], 60), [f"S{k}" for k in range(60)], name="sex")
    ill = pd.Series(rng.normal(size=60), sex.index)
    found = regress_out(pd.DataFrame({"size": 10.0 * (sex == "M") + ill, "other": ill}), sex)
    means = found.groupby(sex).mean()
    np.testing.assert_allclose(means.loc["F"], means.loc["M"], atol=1e-9)
    within = ill - ill.groupby(sex).transform("mean")
    np.testing.assert_allclose(found["size"] - found["size"].mean(), within, atol=1e-9)


def test_regressing_out_a_number():
    age = pd.Series([20.0, 40, 60, np.nan], list("wxyz"), name="age")
    features = pd.DataFrame({"f": [1.0, 2, 3, 9]}, list("wxyz"))
    found = regress_out(features, age)
    assert list(found.index) == list("wxy"), "a subject without age is left out"
    np.testing.assert_allclose(found["f"], 2.0)
    with pytest.raises(ValueError, match="age is known for no subject"):
        regress_out(features, age * np.nan)


def test_constants_go_and_gaps_are_filled_and_noted():
    features = pd.DataFrame({"flat": 3.0, "gap": [1.0, np.nan, 3.0], "fine": [1.0, 2.0, 4.0]}, list("xyz"))
    numbers, notes = standardised(features)
    assert list(numbers) == ["gap", "fine"] and numbers.loc["y", "gap"] == 0
    assert notes["note"].tolist() == ["1 missing, filled with the mean", "constant, left out"]
    with pytest.raises(ValueError, match="no feature varies"):
        standardised(features[["flat"]])
    with pytest.raises(ValueError, match="3 groups of 3 subjects"):
        cluster(features, 3)


def test_values_between_two_and_more_groups():
    features, _ = blobs()
    groups = cluster(features)
    values = pd.DataFrame({"laef_pct": np.where(groups.labels == 1, 60.0, 40.0) + np.arange(45) % 7}, features.index)
    row = between_groups(groups, values).iloc[0]
    assert row["value"] == "laef_pct" and row["median_a"] > row["median_b"] and row["p"] < 1e-6
    assert row["rank_biserial"] == 1 and row["p_all"] == row["p"]
    groups, columns = cluster(features, 3), {"same": np.tile(np.arange(5.0), 9), "flat": 1.0}
    values = pd.DataFrame(columns, features.index).assign(third=(groups.labels == 3) + 0.0)
    values.iloc[:2, 0] = np.nan
    table = between_groups(groups, values)
    assert list(zip(table["group_a"], table["group_b"]))[:3] == [(1, 2), (1, 3), (2, 3)] and len(table) == 9
    by_value = table.groupby("value")["p_all"].first()
    known = [values["same"][groups.labels == label].dropna() for label in (1, 2, 3)]
    assert by_value["same"] == pytest.approx(kruskal(*known).pvalue) and by_value["third"] < 1e-8
    assert np.isnan(table.loc[table["value"] == "flat", "p_all"]).all()
    assert table.loc[table["value"] == "same", "n_missing"].sum() == 4  # two of one group, in two of its pairs


def test_pictures_draw_what_they_are_given():
    features, classes = blobs(10)
    groups = cluster(features)
    tracks = pd.DataFrame({"group": classes, "age": range(15)})
    figure = plots.group_heatmap(top_features(features, groups), groups, tracks, True)
    heatmap = next(ax for ax in figure.axes if ax.get_xlabel() == "15 subjects")
    assert heatmap.collections[0].get_array().shape == (4, 15)
    tests = between_groups(groups, features[["a"]])
    assert plots.by_group(features[["a"]], groups, tests, False).axes[0].get_title().startswith("Mann–Whitney p = ")
    table = features.assign(umap_1=range(15), umap_2=0.0, group=classes)
    drawn = plots.coloured_maps(table, {"group": "disease", "a": "a"}, True)
    assert len(drawn.axes) == 3
    in_map = {h.get_label(): h.get_markerfacecolor() for h in drawn.axes[0].get_legend().legend_handles}
    in_tracks = {h.get_label(): h.get_color() for h in figure.legends[0].legend_handles}
    for name in ("healthy", "ill"):  # one colour in both figures
        assert to_rgb(in_map[name]) == pytest.approx(to_rgb(in_tracks[f"group {name}"]))
