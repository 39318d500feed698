"""Statistics against published tables, degenerate input, properties, and simulated coverage."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy import stats
from sklearn import metrics
from statsmodels.stats.proportion import proportion_confint

from cmrlib import agreement
from cmrlib.agreement import bland_altman, bootstrap, classification, compare, icc, icc_a1, paired_ratings, regression
from cmrlib.agreement.areas import Estimate, compared_auc, delong, mean_auc
from cmrlib.agreement.classification import _metrics

# Shrout & Fleiss, Psychol Bull 1979;86:420, table 2: six targets, four judges
SHROUT_FLEISS = pd.DataFrame(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], columns=list("WXYZ")
)

# Bland & Altman, Lancet 1986;i:307, table: first PEFR (L/min) by Wright and by mini peak flow meter
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]

# Bland & Altman, J Biopharm Stat 2007;17:571, table 1: cardiac output by RV and IC, subject → (RV, IC) pairs
CARDIAC_OUTPUT = {
    1: [(7.83, 6.57), (7.42, 5.62), (7.89, 6.90), (7.12, 6.57), (7.88, 6.35)],
    2: [(6.16, 4.06), (7.26, 4.29), (6.71, 4.26), (6.54, 4.09)],
    3: [(4.75, 4.71), (5.24, 5.50), (4.86, 5.08), (4.78, 5.02), (6.05, 6.01), (5.42, 5.67)],
    4: [(4.21, 4.14), (3.61, 4.20), (3.72, 4.61), (3.87, 4.68), (3.92, 5.04)],
    5: [(3.13, 3.03), (2.98, 2.86), (2.85, 2.77), (3.17, 2.46), (3.09, 2.32), (3.12, 2.43)],
    6: [(5.92, 5.90), (6.42, 5.81), (5.92, 5.70), (6.27, 5.76)],
    7: [(7.13, 5.09), (6.62, 4.63), (6.58, 4.61), (6.93, 5.09)],
    8: [(4.54, 4.72), (4.81, 4.61), (5.11, 4.36), (5.29, 4.20), (5.39, 4.36), (5.57, 4.20)],
    9: [(4.48, 3.17), (4.92, 3.12), (3.97, 2.96)],
    10: [(4.22, 4.35), (4.65, 4.62), (4.74, 3.16), (4.44, 3.53), (4.50, 3.53)],
    11: [(6.78, 7.20), (6.07, 6.09), (6.52, 7.00), (6.42, 7.10), (6.41, 7.40), (5.76, 6.80)],
    12: [(5.06, 4.50), (4.72, 4.20), (4.90, 3.80), (4.80, 3.80), (4.90, 4.20), (5.10, 4.50)],
}


def one(table):
    assert len(table) == 1
    return table.iloc[0]


def cardiac_output():
    """rv, ic, subject: (60,) each."""
    return np.array([(rv, ic, s) for s, pairs in CARDIAC_OUTPUT.items() for rv, ic in pairs]).T


def test_icc_shrout_fleiss_1979():
    """Table 4 of the paper; intervals as R's psych::ICC prints them."""
    table = icc(SHROUT_FLEISS).set_index("form")
    for column, expected in {
        "icc": [0.166, 0.290, 0.715, 0.443, 0.620, 0.909],
        "icc_low": [-0.133, 0.019, 0.342, -0.884, 0.071, 0.676],
        "icc_high": [0.723, 0.761, 0.946, 0.912, 0.927, 0.986],
        "f": [1.795, 11.027, 11.027] * 2,
        "df2": [18, 15, 15] * 2,
    }.items():
        np.testing.assert_allclose(table[column], expected, atol=5e-4)
    assert table["p"]["ICC(C,1)"] == pytest.approx(0.000135, abs=1e-6)


@pytest.mark.parametrize(("a", "b", "value", "reason"), [
    ([50.1, 60.2, 70.3, 71, 72], [50.1, 60.2, 70.3, 71, 72], 1, "identical ratings"),
    ([55, 55, 55, 55], [55, 55, 55, 55], np.nan, "constant"),
    ([55, 55, 55, 55], [58, 58, 58, 58], np.nan, "between raters"),
    ([55, 60], [54, 61], np.nan, "below 3"),
    ([], [], np.nan, "below 3"),
])  # fmt: skip
def test_icc_of_special_cases_says_why(a, b, value, reason):
    table = icc(pd.DataFrame({"a": a, "b": b}))
    np.testing.assert_array_equal(table[["icc", "icc_low", "icc_high"]], value)
    assert table["note"].str.contains(reason).all()


def test_icc_of_raters_who_are_opposite_contradict_each_other_or_differ_by_a_constant():
    a = np.array([40.0, 50, 60, 71])
    pairs = (a, -a), ([1, 2, 3, 4, 5.0], [5, 4, 3, 2, 1.2]), (a, a + 3)
    opposite, contrary, shifted = (icc(pd.DataFrame(np.c_[pair])).set_index("form") for pair in pairs)
    assert opposite["icc"]["ICC(1,1)"] == pytest.approx(-1) and opposite["note"].str.contains("opposite").all()
    assert opposite["icc"].filter(like="k)").isna().all() and opposite["icc_low"].isna().all()
    assert np.isnan(contrary["icc"]["ICC(C,k)"]) and "range" in contrary["note"]["ICC(C,k)"]
    assert shifted["icc"]["ICC(C,1)"] == pytest.approx(1) and shifted["icc"]["ICC(A,1)"] < 1
    assert np.isnan(shifted["icc_low"]["ICC(A,1)"]) and "constant" in shifted["note"]["ICC(A,1)"]


def test_icc_interval_of_repeats_comes_from_subjects():
    rng = np.random.default_rng(1)
    truth = np.repeat(rng.normal(55, 10, 15), 6)  # six visits of fifteen subjects
    a, b = truth + rng.normal(0, 3, 90), truth + rng.normal(0, 3, 90)
    alone, clustered = one(icc_a1(a, b)), one(icc_a1(a, b, subjects=np.repeat(np.arange(15), 6)))
    assert clustered["icc_a1"] == pytest.approx(alone["icc_a1"]) and clustered["n_subjects"] == 15
    assert clustered["icc_a1_high"] - clustered["icc_a1_low"] > alone["icc_a1_high"] - alone["icc_a1_low"]


def test_bland_altman_1986():
    row = one(bland_altman(WRIGHT, MINI, names=("Wright", "mini")))
    assert row["difference"] == "Wright - mini" and row["n"] == 17
    assert row[["bias", "sd", "bias_low", "bias_high"]].tolist() == pytest.approx([-2.1, 38.8, -22.0, 17.8], abs=0.06)
    assert (row["loa_low"], row["loa_high"]) == pytest.approx((-78.1, 73.9), abs=0.06)  # as the paper prints
    # the paper's approximate intervals are symmetric (-114.3 to -45.1); exact ones reach further out
    assert row["loa_low_low"] < -114.3 and row["loa_low_high"] < -45.1
    back = one(bland_altman(MINI, WRIGHT))
    for name, mirrored in (("bias", "bias"), ("loa_low_low", "loa_high_high"), ("loa_low_high", "loa_high_low")):
        assert row[name] == pytest.approx(-back[mirrored])


def test_bland_altman_2007_repeated_pairs():
    rv, ic, subject = cardiac_output()
    row = one(bland_altman(rv, ic, subjects=subject))
    assert (row["n"], row["n_subjects"]) == (60, 12) and row["sd_within"] ** 2 == pytest.approx(0.1707, abs=5e-5)
    found = row[["bias", "sd", "loa_low", "loa_high", "pooled_sd"]].tolist()
    assert found == pytest.approx([0.6022, 0.9906, -1.3395, 2.5438, 0.9611], abs=1e-4)
    assert row["loa_low_high"] - row["loa_low_low"] > 1  # twelve subjects, not sixty
    row = one(bland_altman(rv, ic))  # repeats ignored; bounds from an independent implementation
    assert (row["loa_low_low"], row["loa_low_high"]) == pytest.approx((-1.777, -0.918), abs=2e-3)


def test_bland_altman_finds_proportional_bias_and_spread():
    rng = np.random.default_rng(0)
    truth = rng.uniform(20, 80, 300)
    row = one(bland_altman(truth * 1.1 + rng.normal(0, 2, 300), truth + rng.normal(0, 2, 300)))
    assert row["bias_slope_low"] < np.log(1.1) < row["bias_slope_high"] and row["bias_slope_p"] < 1e-6
    fan = one(bland_altman(truth + rng.normal(0, 0.1 * truth), truth))
    assert fan["spread_slope_p"] < 1e-6 and fan["spread_slope"] > 0


@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_bland_altman_of_a_constant_difference_has_no_slopes(offset):
    a = np.array([0.1, 0.7, 1.3, 2.9, 3.3])
    row = one(bland_altman(a, a + offset))
    assert row["bias"] == pytest.approx(-offset) and row["sd"] == 0 and np.isnan(row["bias_slope_p"])
    assert row["note"] == "differences do not vary"


def test_too_few_subjects_are_nan_with_a_reason():
    for few in (2, 4):
        a, b = WRIGHT[:few], MINI[:few]
        for function in (bland_altman, regression, agreement.repeatability, icc_a1, agreement.rank_correlation):
            row = one(function(a, b))
            ends = [name for name in row.index for end in ("_low", "_high") if name.removesuffix(end) in row.drop(name)]
            assert row["note"].startswith(f"{few} ") and ends and row[ends].isna().all()
    assert one(bland_altman(a, b))["bias"] == np.subtract(a, b).mean() and one(icc_a1(a, b))["icc_a1"] > 0.8
    assert np.isnan(one(bland_altman([1, 2, 3, 4], [1, 2, 3, 5], subjects=list("aabb")))["bias_low"])


def test_missing_rows_are_left_out_and_counted():
    a, b = [*WRIGHT, np.nan, 500], [*MINI, 400, None]
    for function in (bland_altman, regression, agreement.repeatability, icc_a1, agreement.paired_test):
        with_gaps, without = one(function(a, b)), one(function(WRIGHT, MINI))
        assert with_gaps["n_missing"] == 2
        pd.testing.assert_series_equal(with_gaps.drop("n_missing"), without.drop("n_missing"))


@pytest.mark.parametrize(("a", "b", "message"), [
    ([1, 2, 3], [1, 2], "one length"),
    (["x", "y", "z"], [1, 2, 3], "could not convert"),
    ([1, 2, np.inf], [1, 2, 3], "infinite"),
    (pd.Series([1, 2, 3], index=list("abc")), pd.Series([1, 2, 3], index=list("bca")), "paired_ratings"),
])  # fmt: skip
def test_what_cannot_be_paired_is_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        bland_altman(a, b)


def test_regression_against_scipy():
    row, fit = one(regression(WRIGHT, MINI)), stats.linregress(MINI, WRIGHT)
    half = stats.t.ppf(0.975, 15) * fit.stderr
    assert (row["slope"], row["intercept"], row["p"]) == pytest.approx((fit.slope, fit.intercept, fit.pvalue))
    assert (row["slope_low"], row["slope_high"]) == pytest.approx((fit.slope - half, fit.slope + half))
    assert row["intercept_high"] - row["intercept"] == pytest.approx(stats.t.ppf(0.975, 15) * fit.intercept_stderr)
    assert row["r"] == pytest.approx(0.943, abs=5e-4)  # Bland & Altman 1986
    assert row["mae"] == pytest.approx(np.abs(np.subtract(WRIGHT, MINI)).mean())
    assert row["mae_low"] < row["mae"] < row["mae_high"]


def test_slopes_of_repeats_are_cluster_robust():
    """CR1 by hand: sandwich of sums over subjects, k/(k-1) · (n-1)/(n-2), t with k-1 degrees of freedom."""
    rv, ic, subject = cardiac_output()
    row = one(regression(rv, ic, subjects=subject, n_boot=20))
    x = np.c_[np.ones(60), ic]
    bread = np.linalg.inv(x.T @ x)
    sums = pd.DataFrame(x * (rv - x @ bread @ x.T @ rv)[:, None]).groupby(subject).sum().to_numpy()
    error = np.sqrt((bread @ sums.T @ sums @ bread)[1, 1] * 12 / 11 * 59 / 58)
    assert row["slope_high"] - row["slope"] == pytest.approx(stats.t.ppf(0.975, 11) * error)
    assert row["p"] == pytest.approx(2 * stats.t.sf(row["slope"] / error, 11))


def test_regression_with_a_constant_observer_has_no_line_but_an_error():
    row = one(regression([50, 60, 70], [55, 55, 55]))
    assert row[["slope", "r"]].isna().all() and row["mae"] == pytest.approx(25 / 3) and "do not vary" in row["note"]


def test_repeatability_by_hand():
    row = one(agreement.repeatability([10, 20, 30.0], [12, 20, 28.0]))  # differences -2, 0, 2
    assert row["within_sd"] == pytest.approx(np.sqrt(8 / 6))
    assert row["cv_pct"] == pytest.approx(100 * np.sqrt(8 / 6) / 20)
    assert row["rc"] == pytest.approx(1.96 * np.sqrt(2) * np.sqrt(8 / 6))
    assert np.isnan(one(agreement.repeatability([-1, 2, 3], [1, 2, 3]))["cv_pct"])


def observers():
    keys = pd.DataFrame({"participant_id": [f"s{i:02d}" for i in range(17)], "session": "1"})
    both = [keys.assign(observer=name, pefr_l_min=values) for name, values in (("mini", MINI), ("wright", WRIGHT))]
    return pd.concat(both, ignore_index=True)


def test_paired_ratings_join_by_key_and_list_what_is_missing():
    table = observers()
    a, b = table[table["observer"] == "wright"], table[table["observer"] == "mini"]
    pairs = paired_ratings(a.iloc[1:], b, "pefr_l_min")
    assert pairs.loc[pairs["missing"] != "", ["participant_id", "missing"]].to_numpy().tolist() == [["s00", "a"]]
    shuffled = b.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(paired_ratings(a, shuffled, "pefr_l_min"), paired_ratings(a, b, "pefr_l_min"))
    with pytest.raises(ValueError, match="not a one-to-one"):
        paired_ratings(a, pd.concat([b, b.head(1)]), "pefr_l_min")
    with pytest.raises(KeyError, match="lvef_pct"):
        paired_ratings(a, b, "lvef_pct")


def test_compare_holds_everything():
    wide = observers()
    row = one(compare(wide, reference="mini", test="wright"))
    assert row["difference"] == "wright - mini" and row["bias"] == pytest.approx(-2.1, abs=0.05)
    for name in ("bias", "loa_low", "loa_high", "mae", "r", "icc_a1", "icc_c1", "cv_pct", "rc", "slope"):
        assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    with pytest.raises(ValueError, match="no observer 'yale'"):
        compare(wide, reference="mini", test="yale")


def test_a_measure_that_one_observer_never_rated_is_no_silent_gap():
    table = observers()
    table["lvm_g"] = np.where(table["observer"] == "mini", 100.0, np.nan)
    rows = compare(table, "mini", "wright", ["pefr_l_min", "lvm_g"], n_boot=20).set_index("measure")
    assert rows["n"].tolist() == [17, 0] and rows["n_left_out"].tolist() == [0, 17]
    assert np.isnan(rows.loc["lvm_g", "bias"]) and rows.loc["lvm_g", "note"].startswith("not rated by wright; 0 subj")
    with pytest.raises(ValueError, match="in common"):
        compare(table, "mini", "wright", ["lvm_g"])


def test_changes_of_a_correction():
    before = pd.DataFrame({"participant_id": list("ab"), "session": "", "lvef_pct": [50.0, np.nan], "lvm_g": np.nan})
    after = pd.DataFrame({"participant_id": list("bc"), "session": None, "lvef_pct": [40.0, 1.0], "lvm_g": [90.0, 1]})
    after = pd.concat([after, before[:1].assign(lvef_pct=52.0)])
    table = agreement.changes(before, after, ["lvef_pct", "lvm_g", "rvef_pct"])
    assert (table["participant_id"] + " " + table["measure"]).tolist() == ["a lvef_pct", "b lvef_pct", "b lvm_g"]
    assert table["difference"][0] == 2 and table["difference"][1:].isna().all() and table["after"][2] == 90


def test_paired_test_effect_and_zeros():
    row = one(agreement.paired_test([5, 6, 7, 8, 9, 3.0], [1, 2, 4, 6, 8, 3.0]))  # one pair is equal, five favour a
    assert (row["n"], row["n_zero"], row["rank_biserial"]) == (6, 1, 1.0)
    assert row["median_difference"] == 2.5
    assert row["p"] == pytest.approx(stats.wilcoxon([4, 4, 3, 2, 1.0]).pvalue)
    assert "no pair differs" in one(agreement.paired_test([1, 2, 3], [1, 2, 3]))["note"]
    rng = np.random.default_rng(4)
    a, b = rng.normal(0.3, 1, 30), rng.normal(0, 1, 30)
    assert one(agreement.paired_test(a, b))["rank_biserial"] == pytest.approx(pingouin.wilcoxon(a, b)["RBC"].iloc[0])


def test_unpaired_test_effect_is_the_roc_area():
    rng = np.random.default_rng(5)
    a, b = rng.normal(1, 1, 40).round(1), rng.normal(0, 1, 30).round(1)  # with ties
    row = one(agreement.unpaired_test(a, b))
    area = metrics.roc_auc_score([1] * 40 + [0] * 30, np.r_[a, b])
    assert row["superiority"] == pytest.approx(area)
    assert row["rank_biserial"] == pytest.approx(2 * area - 1)
    assert row["superiority_low"] < area < row["superiority_high"]
    assert row["p"] == pytest.approx(stats.mannwhitneyu(a, b).pvalue)
    assert np.isnan(one(agreement.unpaired_test([1, 2], b))["p"])


def test_rank_correlation_against_scipy():
    rng = np.random.default_rng(6)
    confidence = rng.uniform(size=50).round(2)
    dice = confidence + rng.normal(0, 0.3, 50)
    row, expected = one(agreement.rank_correlation(confidence, dice)), stats.spearmanr(confidence, dice)
    assert (row["rho"], row["p"]) == pytest.approx((expected.statistic, expected.pvalue))
    assert row["rho_low"] < row["rho"] < row["rho_high"]
    assert np.isnan(one(agreement.rank_correlation(confidence, dice, subjects=np.arange(50) // 2))["p"])
    assert "does not vary" in one(agreement.rank_correlation([1, 1, 1], [1, 2, 3]))["note"]


@pytest.mark.parametrize("seed", range(8))
def test_classification_against_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    y = np.r_[0, 1, rng.integers(0, 2, 38)]
    score = (rng.normal(0, 1, 40) + y).round(1)  # with ties
    table, called = classification(y, score, 0.5).set_index("metric")["estimate"], score >= 0.5
    expected = {
        "roc_auc": metrics.roc_auc_score(y, score),
        "average_precision": metrics.average_precision_score(y, score),
        "f1": metrics.f1_score(y, called),
        "precision": metrics.precision_score(y, called, zero_division=np.nan),
        "recall": metrics.recall_score(y, called),
        "accuracy": metrics.accuracy_score(y, called),
        "accuracy_positive": called[y == 1].mean(),
        "accuracy_negative": (~called[y == 0]).mean(),
    }
    assert table.to_dict() == pytest.approx(expected, nan_ok=True)
    curve = metrics.roc_curve(y, score, drop_intermediate=False)
    np.testing.assert_allclose(agreement.roc_pr(y, score)[["fpr", "recall", "threshold"]], np.column_stack(curve))
    assert agreement.roc_auc(y, score) == pytest.approx(expected["roc_auc"])


def test_several_runs_are_averaged():
    rng = np.random.default_rng(3)
    label = (rng.random(50) < 0.3).astype(int)
    score = label + rng.normal(size=50)
    runs = (score, 0.5), (np.c_[score, score], [0.5, 0.5]), (np.c_[score, -score], [0.5, -0.5])
    one, both, mixed = (classification(label, *run).set_index("metric") for run in runs)
    columns = ["estimate", "low", "high"]
    pd.testing.assert_frame_equal(both[columns], one[columns])
    assert (one["low"] <= one["estimate"]).all() and (one["estimate"] <= one["high"]).all()
    assert mixed["estimate"]["roc_auc"] == pytest.approx(0.5) and (mixed["n_runs"] == 2).all()
    with pytest.raises(ValueError, match="one threshold per run"):
        classification(label, score, [0.5, 0.6])


def test_classification_with_one_class_is_nan_with_a_reason():
    table = classification([0, 0, 0, 0], [0.1, 0.6, 0.3, 0.2], 0.5).set_index("metric")
    assert table.loc[["roc_auc", "average_precision", "f1", "precision", "recall"], "estimate"].isna().all()
    assert table["estimate"]["accuracy"] == 0.75 and table["note"].str.contains("one class").all()
    with pytest.raises(ValueError, match="classes 0 and 1"):
        classification([1, 2, 1], [0.1, 0.2, 0.3], 0.5)
    with pytest.raises(ValueError, match="threshold"):
        classification([1, 0, 1], [0.1, 0.2, 0.3], np.nan)


def test_choose_threshold_and_its_point_on_the_curves():
    y, score = [0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.8, 0.9]
    threshold = agreement.choose_threshold(y, score, by="f1")
    assert threshold == 0.3  # F1 6/7; 0.8 would give 0.8
    point = one(agreement.roc_pr(y, score, threshold).query("chosen"))
    assert (point["recall"], point["precision"], point["threshold"]) == (1, 0.75, 0.3)
    assert not agreement.roc_pr(y, score)["chosen"].any()
    assert agreement.choose_threshold(y, score, by="youden") == 0.8  # ties with 0.3: the higher one
    with pytest.raises(ValueError, match="both classes"):
        agreement.choose_threshold([1, 1, 1], [0.1, 0.2, 0.3])


def test_influences_sum_to_delongs_variance_and_are_derivatives_by_weight():
    rng = np.random.default_rng(2)
    y = np.repeat([True, False], [12, 30])
    score = (rng.normal(size=42) + y).round(1)  # with ties
    value, moved = delong(y, score)
    above = (score[y][:, None] > score[~y]) + (score[y][:, None] == score[~y]) / 2  # (12, 30)
    variance = above.mean(1).var(ddof=1) / 12 + above.mean(0).var(ddof=1) / 30  # DeLong 1988, equation 4
    assert (value, (moved**2).sum()) == (pytest.approx(above.mean()), pytest.approx(variance))
    doubled = delong(np.repeat(y, 2), np.repeat(score, 2), np.repeat(np.arange(42), 2))  # patches, but no new subjects
    assert (doubled[0], (doubled[1] ** 2).sum()) == (pytest.approx(value), pytest.approx(variance))
    found, scored = _metrics(y, score, 0.5), {"average_precision": metrics.average_precision_score}
    for name in ("f1", "precision", "recall", "accuracy"):
        scored[name] = lambda y, score, name=name, **kw: getattr(metrics, f"{name}_score")(y, score >= 0.5, **kw)
    for name, statistic in scored.items():
        more = [statistic(y, score, sample_weight=1 + 1e-6 * (np.arange(42) == k)) for k in range(42)]
        np.testing.assert_allclose(found[name][1], (np.array(more) - found[name][0]) / 1e-6, atol=1e-5)


def test_proportions_have_wilsons_interval_and_ends_are_exact():
    y, score = np.repeat([1, 0], [20, 60]), np.r_[np.full(17, 0.9), np.full(3, 0.1), np.full(60, 0.2)]
    table = classification(y, score, 0.5).set_index("metric")
    bounds = {"recall": (17, 20), "accuracy": (77, 80), "accuracy_negative": (60, 60), "precision": (17, 17)}
    for name, counts in bounds.items():
        assert tuple(table.loc[name, ["low", "high"]]) == pytest.approx(proportion_confint(*counts, method="wilson"))
    perfect = classification(y, y, 0.5).set_index("metric").loc["roc_auc"]
    assert perfect["estimate"] == perfect["high"] == 1 and perfect["low"] == pytest.approx(0.025 ** (1 / 20))
    few = classification(y[16:], score[16:], 0.5).set_index("metric").loc["roc_auc"]
    assert np.isnan(few["low"]) and few["estimate"] > 0 and "4 in the smaller class" in few["note"]


def test_coverage_of_an_area_of_97_with_25_positives_of_179():
    rng, y = np.random.default_rng(2), np.arange(179) < 25
    apart, held = np.sqrt(2) * stats.norm.ppf(0.97), 0
    for _ in range(1000):
        value, moved = delong(y, rng.normal(size=179) + apart * y)
        low, high = Estimate(value, (moved**2).sum(), 24, 25, "area").bounds()
        held += low <= 0.97 <= high
    assert 0.93 <= held / 1000 <= 0.97


def test_seeds_and_draws_widen_an_interval_folds_do_not():
    rng, label = np.random.default_rng(5), (np.arange(40) < 15) * 1.0

    def run(noise, **keys):
        return pd.DataFrame({"participant_id": np.arange(40), "label": label, "score": label + noise, **keys})

    same = rng.normal(size=40)
    noises = [same + rng.normal(0, spread, 40) for spread in (0.1, 1, 6)]
    table = pd.concat([run(noise, draw=n) for n, noise in enumerate(noises)])
    alone, several = mean_auc(run(noises[0])), mean_auc(table)
    folds = mean_auc(pd.concat([run(noise, fold=n) for n, noise in enumerate(noises)]))
    widths = [np.ptp(one.bounds()) for one in (alone, several, folds)]
    assert widths[1] > 1.5 * max(widths[0], widths[2]) and several.df < 5
    single = [metrics.roc_auc_score(label, label + noise) for noise in noises]
    assert several.value == pytest.approx(folds.value) == pytest.approx(np.mean(single))
    found = compared_auc(table, table.assign(score=table["score"] + 0.01 * rng.normal(size=120)))
    assert found["low"] < 0 < found["high"] and found["p"] > 0.05 and found["n_runs"] == 3
    few = table[table["participant_id"].between(11, 30)]  # four positives
    assert np.isnan(compared_auc(few, few.assign(score=-few["score"]))["p"])


def test_holm_by_hand():
    np.testing.assert_allclose(agreement.holm([0.01, np.nan, 0.04, 0.03]), [0.03, np.nan, 0.06, 0.06])
    assert np.isnan(agreement.holm([np.nan])).all()


def mean(values, axis=-1):
    return values.mean(axis)


def test_bootstrap_is_reproducible_counts_and_calls_plain_statistics_too():
    values = np.r_[np.random.default_rng(0).normal(3, 1, 40), np.nan]
    row = one(bootstrap(values, mean, seed=1))
    assert (row["n"], row["n_missing"], row["n_undefined"]) == (40, 1, 0)
    pd.testing.assert_series_equal(row, one(bootstrap(values, mean, seed=1)))
    assert row["low"] != one(bootstrap(values, mean, seed=2))["low"]
    pairs = pd.DataFrame({"a": WRIGHT, "b": MINI})
    fast = bootstrap(pairs, lambda a, b, axis=-1: (a - b).mean(axis), n_boot=200)
    slow = bootstrap(pairs, lambda a, b: float(np.mean(a - b)), n_boot=200)
    pd.testing.assert_frame_equal(fast, slow)
    row = one(bootstrap([0, 0, 0, 0, 1.0], lambda v: v.sum() if v.any() else np.nan, n_boot=400))
    assert 60 < row["n_undefined"] < 200 and row["low"] >= 1  # (4/5)^5 of them
    assert np.isnan(one(bootstrap([1, 2], mean))["low"])


def test_bootstrap_draws_whole_subjects():
    # every subject sums to 0: any resample of whole subjects has mean 0, of single rows it has not
    pairs = [1.0, -1, 2, -2, 3, -3, 4, -4]
    balanced = one(bootstrap([*pairs, 5, -5], mean, subjects=list("aabbccddee"), n_boot=100))
    unbalanced = one(bootstrap([*pairs, 5, -3, -2], mean, subjects=list("aabbccddeee"), n_boot=100))
    for row in (balanced, unbalanced):
        assert (row["estimate"], row["low"], row["high"]) == pytest.approx((0, 0, 0), abs=1e-12)


@pytest.mark.parametrize(("n_subjects", "repeats"), [(10, 1), (12, 5)])
def test_bootstrap_coverage(n_subjects, repeats):
    rng, subjects, held = np.random.default_rng(9), np.repeat(np.arange(n_subjects), repeats), 0
    for seed in range(400):
        values = rng.normal(0, 1, n_subjects)[subjects] + rng.normal(0, 0.5, len(subjects))
        row = one(bootstrap(values, mean, subjects=subjects, n_boot=400, seed=seed))
        held += row["low"] <= 0 <= row["high"]
    assert 0.93 <= held / 400 <= 0.97


@pytest.mark.parametrize(("n_subjects", "sizes"), [(20, [1]), (15, [1, 4, 9])])
def test_coverage_of_limits_of_agreement(n_subjects, sizes):
    rng = np.random.default_rng(10)
    subjects = np.repeat(np.arange(n_subjects), np.resize(sizes, n_subjects))
    limit, held = 1 + 1.96 * np.hypot(1, 0.5), np.zeros(2)
    for _ in range(400):
        d = 1 + rng.normal(0, 1, n_subjects)[subjects] + rng.normal(0, 0.5, len(subjects))
        row = one(bland_altman(60 + d, np.full(len(d), 60.0), subjects=subjects))
        held += row["bias_low"] <= 1 <= row["bias_high"], row["loa_high_low"] <= limit <= row["loa_high_high"]
    assert (held > 0.92 * 400).all() and (held < 0.985 * 400).all()


DATA = Path(os.environ.get("CMR_DATA_DIR", "nowhere")) / "sscrofa" / "contour_areas.csv"


@pytest.mark.skipif(not DATA.exists(), reason="CMR_DATA_DIR names no folder with sscrofa")
def test_three_readings_of_pig_hearts():
    """Contour areas of 40 scans (Zenodo 7684034), as notebook 09 reads them."""
    cells = json.loads((Path(__file__).parents[1] / "notebooks" / "09_agreement.ipynb").read_text())["cells"]
    (code,) = (text for cell in cells if "contour_areas.csv" in (text := "".join(cell["source"])))
    run, names = SimpleNamespace(data_dir=DATA.parents[1]), {"pd": pd, "ratings": "sscrofa"}
    code = code.replace('runs.start("09_agreement", globals())', "run").replace("plots.use_style()", "")
    exec(code, names | {"run": run}, names)
    table = names["table"]
    assert len(table) == 120 and table["participant_id"].nunique() == 11  # t2_2 and t22 are two pigs
    intra, inter = (one(compare(table, "obs0_rep0", test)) for test in ("obs0_rep1", "obs1_rep0"))
    assert (abs(intra["bias"]), intra["pooled_sd"]) == pytest.approx((1.0, 1.9), abs=0.05)
    assert (abs(inter["bias"]), inter["pooled_sd"]) == pytest.approx((5.4, 4.7), abs=0.05)
    assert (intra["n"], intra["n_subjects"], intra["n_missing"]) == (40, 11, 0)
    assert (inter["n"], inter["n_subjects"], inter["n_missing"]) == (39, 11, 1)  # scan A15 has no ED by obs1
    assert inter["icc_a1"] < intra["icc_a1"]


def test_precision_of_two_visits():
    """Within-subject SD of scans 1 and 2 by hand; a third scan and a subject seen once play no part."""
    rows = [("net", s, str(v), 100 + 10 * k + d) for k, s in enumerate("abcd") for v, d in ((1, 0), (2, 2 * (-1) ** k))]
    rows += [("net", "a", "3", 900), ("net", "e", "1", 500)]
    table = pd.DataFrame(rows, columns=["observer", "participant_id", "session", "lvedv_ml"])
    result = agreement.scan_rescan(table, ["lvedv_ml", "lvm_g"])
    assert list(result["measure"]) == ["lvedv_ml"] and result["n"][0] == 4
    assert result["within_sd"][0] == pytest.approx(np.sqrt(4 / 2)) == result["rc"][0] / (1.96 * np.sqrt(2))
    metrics = agreement.precision_metrics(result, "net")
    assert metrics["lvedv_rescan_rc_ml"] == result["rc"][0]
    assert metrics["lvedv_rescan_cv_pct"] == result["cv_pct"][0] and "lvm_rescan_rc_g" not in metrics
    with pytest.raises(ValueError, match="needs two scans"):
        agreement.scan_rescan(table[table["session"] == "1"], ["lvedv_ml"])
