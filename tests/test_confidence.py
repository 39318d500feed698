"""What a confidence is worth: the Dice expected of it, errors at it, and its way from a network to the page."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cmrlib import agreement
from cmrlib import measures as m
from cmrlib.agreement.confidence import structures_of
from cmrlib.cohort import Cohort, Observer
from cmrlib.report.errors import at_confidence, known_errors


def cases(n=200, seed=0):
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.5, 1, n)
    return confidence, np.clip(1.2 * confidence - 0.25 + rng.normal(0, 0.02, n), 0, 1)


def test_the_expected_dice_rises_with_confidence_and_is_right():
    confidence, dice = cases()
    curve = agreement.calibration_curve(confidence, dice)
    expected = agreement.expected_dice(curve, [0.0, 0.6, 0.8, 1.0, np.nan])
    assert (np.diff(expected[:4]) >= 0).all() and np.isnan(expected[4])
    assert expected[1:3] == pytest.approx([0.47, 0.71], abs=0.03)
    error, judged = agreement.calibration_error(confidence, dice, np.arange(200) % 5)
    assert error < 0.01 and np.abs(judged - dice).mean() < 0.03
    shifted = np.where(np.arange(200) % 5 == 0, dice - 0.3, dice)  # a fold of another kind is not expected
    assert agreement.calibration_error(confidence, shifted, np.arange(200) % 5)[0] > 0.02
    with pytest.raises(ValueError, match="ten or more"):
        agreement.calibration_curve(confidence[:9], dice[:9])


def test_structures_of_too_few_hearts_are_left_out():
    confidence, dice = cases(30)
    few = pd.DataFrame({"view": "sax", "structure": ["lv"] * 24 + ["rv"] * 6, "confidence": confidence, "dice": dice})
    table, curves = agreement.calibration_tables(few, np.arange(30) % 2)
    assert table["structure"].tolist() == ["lv"] and set(curves["structure"]) == {"lv"} and table["n"].item() == 24
    assert agreement.calibration_tables(few[:5], np.zeros(5))[0].empty


def test_errors_by_thirds_of_confidence():
    confidence = np.linspace(0.4, 0.99, 30)
    rng = np.random.default_rng(1)
    person = [f"P{n:02d}" for n in range(30)]
    true = pd.DataFrame({"participant_id": person, "session": "", "lvef_pct": 55.0, "observer": "truth"})
    error = rng.normal(0, 1, 30) * np.repeat([9, 3, 1], 10)
    test = true.assign(lvef_pct=55 + error, observer="net", confidence_lv=confidence)
    found = agreement.error_by_confidence(pd.concat([true, test]), "truth", "net", ["lvef_pct", "rvef_pct"])
    assert found["measure"].tolist() == ["lvef_pct"] * 3 and (found["n"] == 10).all()
    assert found["sd"].is_monotonic_decreasing and found["sd"].iloc[0] == pytest.approx(error[:10].std(ddof=1))
    assert structures_of("lvm_g") == ("lv", "myo") and structures_of("mapse_mm") == ()


def test_a_page_takes_the_error_of_hearts_of_like_confidence(tmp_path):
    rows = [
        {"measure": "lvef_pct", "bias": 0.0, "sd": 5.0, "n": 30, "real": True},
        {"measure": "lvef_pct", "bias": -4.0, "sd": 9.0, "n": 10, "confidence_low": 0.4, "confidence_high": 0.7},
        {"measure": "lvef_pct", "bias": 0.5, "sd": 2.0, "n": 10, "confidence_low": 0.75, "confidence_high": 0.95},
        {"measure": "mapse_mm", "bias": 0.0, "sd": 1.0, "n": 9, "real": True},
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "errors.csv", index=False)
    errors = known_errors(tmp_path)
    for value, sd in ((0.2, 9.0), (0.7, 9.0), (0.74, 9.0), (0.9, 2.0), (0.99, 2.0)):
        found = at_confidence(errors, {"confidence_lv": value})["lvef_pct"]
        assert found["sd"] == sd and found["like"] and found["real"]
    assert at_confidence(errors, {})["lvef_pct"]["sd"] == 5.0
    assert at_confidence(errors, {"confidence_lv": 0.9})["mapse_mm"]["sd"] == 1.0


def test_confidence_and_corrections_reach_the_measures(cohort, tmp_path):
    for _, _, views in cohort.examinations("truth", subjects=["P0001", "P0002"]):
        cine, annotation = views["sax"]
        sure = {"lv": 0.91, "myo": 0.83, "rv": np.nan}
        drawn = replace(annotation, flags=("lv_island_removed:frames=1,slices=1,voxels=9",), confidence=sure)
        Observer(tmp_path / "net").write(cine, drawn)
        back = Observer(tmp_path / "net").mask(cine.name)
        assert back.confidence["lv"] == 0.91 and np.isnan(back.confidence["rv"]) and back.flags == drawn.flags
    table = m.features(Cohort.open(cohort.path, [tmp_path / "net"]), "net")
    assert table["confidence_lv"].tolist() == [0.91] * 2 and "confidence_rv" not in table
    assert table["flags"].str.contains("lv_island_removed").all()
    assert "confidence_lv" not in m.features(cohort, "truth")
