"""What no heart has, and what too few slices show, is n/a with a reason: rule by rule, then as every reader sees it."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cmrlib import agreement
from cmrlib import measures as m
from cmrlib.app.cli import app
from cmrlib.cine import Cine
from cmrlib.cohort import Annotation, Observer
from cmrlib.cohort.study import Study, finish_cohort, write_study
from cmrlib.measures.plausible import LIMITS, RULES, explain, impossible, reasons, slice_faults, withhold

LV = ("lvedv_ml", "lvesv_ml", "lvsv_ml", "lvef_pct", "lvco_l_min")
RV = ("rvedv_ml", "rvesv_ml", "rvsv_ml", "rvef_pct")
SLICE_MM, PIXEL_MM = 10.0, 1.5


# one value at a time


@pytest.mark.parametrize("measure", LIMITS)
def test_limits_belong_to_the_possible(measure):
    low, high = LIMITS[measure]
    assert not impossible(measure, low) and not impossible(measure, high) and not impossible(measure, np.nan)
    assert impossible(measure, low - 0.01) and impossible(measure, high + 0.01)
    assert not impossible("heart_rate_bpm", -1.0)  # no limit is known


@pytest.mark.parametrize(("changed", "flag", "gone"), [
    ({"lvef_pct": -144.0}, "lvef_implausible:-144", LV),
    ({"lvef_pct": 91.5}, "lvef_implausible:91.5", LV),
    ({"rvef_pct": -0.5}, "rvef_implausible:-0.5", RV),
    ({"lvm_g": 19.0}, "lvm_implausible:19", ("lvm_g",)),
    ({"lvm_g": 1367.0}, "lvm_implausible:1367", ("lvm_g",)),
    ({"laef_pct": -3.0}, "laef_implausible:-3", ("la_max_ml", "la_min_ml", "lasv_ml", "laef_pct")),
    ({"laef_pct": 88.5}, "laef_implausible:88.5", ("la_max_ml", "la_min_ml", "lasv_ml", "laef_pct")),
    ({"raef_pct": 101.0}, "raef_implausible:101", ("ra_max_ml", "ra_min_ml", "rasv_ml", "raef_pct")),
    ({"lvef_biplane_pct": 95.0}, "lvef_biplane_implausible:95",
     ("lvedv_biplane_ml", "lvesv_biplane_ml", "lvef_biplane_pct")),
    ({"lvedv_ml": 4485.0}, "lvedv_implausible:4485", LV),
    ({"rvesv_ml": 1001.0}, "rvesv_implausible:1001", RV),
    ({"la_max_ml": 2000.0}, "la_max_implausible:2000", ("la_max_ml", "la_min_ml", "lasv_ml", "laef_pct")),
    ({"lvef_pct": 5.0, "lvm_g": 60.0}, "", ()),
])  # fmt: skip
def test_a_value_falls_with_what_rests_on_it(changed, flag, gone):
    row = dict.fromkeys((*m.FEATURES, "lvedv_biplane_ml", "lvesv_biplane_ml", "lvef_biplane_pct"), 60.0) | changed
    assert withhold(row) == ([flag] if flag else [])
    assert {name for name, value in row.items() if np.isnan(value)} == set(gone)


def test_reasons_read_well():
    assert impossible("lvef_pct", -144.2) == "ESV above EDV (LV ejection fraction of -144.2 %)"
    assert impossible("lvedv_ml", 4485.0) == "LV end-diastolic volume of 4485 mL, outside 0 to 1000 mL"
    assert impossible("lvm_g", 1367.0) == "LV mass of 1367 g, outside 20 to 500 g"
    assert explain("heart_few_slices:1_of_10") == "1 of 10 slices of the stack drawn, fewer than half of base to apex"
    assert reasons("contrast_low;ed_lv_gap:4;es_lv_gap:3", "lvedvi_ml_m2") == ["ed_lv_gap:4"]
    assert reasons("", "lvef_pct") == [] and all("{}" not in explain(f"{flag}:1") for flag in RULES)


# slices: 1 where a structure is drawn; LV, myocardium and RV alike unless a case says otherwise

FULL = "1111111111"


def counted(lv, myo=None, rv=None):
    """(slices, 3) voxels from a digit a slice."""
    return np.array([[100 * int(digit) for digit in text] for text in (lv, myo or lv, rv or lv)]).T


@pytest.mark.parametrize(("ed", "es", "flags"), [
    ((FULL,), ("0111111100",), []),
    (("0011111110",), ("0001111100",), []),  # seven of ten drawn
    (("111111", ), ("111111",), []),  # a crop, drawn in every slice
    ((FULL, FULL, "1111110000"), ("0111111110", "0111111110", "0111000000"), []),  # an RV ends early at ES
    (("0000100000",), ("0000100000",), ["heart_few_slices:1_of_10"]),
    (("0001111000",), ("0001111000",), ["heart_few_slices:4_of_10"]),
    ((FULL,), ("0001111000",), ["es_lv_few_slices:4_of_10"]),
    ((FULL, "1111000000"), (FULL,), ["ed_myo_few_slices:4_of_10"]),
    ((FULL, FULL, "1100000000"), (FULL,), ["ed_rv_few_slices:2_of_10"]),
    (("1101111111", FULL, FULL), (FULL,), ["ed_lv_gap:2"]),
    ((FULL,), ("1111001111", FULL, FULL), ["es_lv_absent_mid:4,5", "es_lv_gap:4,5"]),
    (("1111110000", FULL, FULL), (FULL,), ["ed_lv_absent_mid:6"]),
    ((FULL, "1111111011", FULL), (FULL,), ["ed_myo_gap:7"]),
    ((FULL, FULL, FULL), (FULL, FULL, "1010000000"), ["es_rv_gap:1"]),
    (("0000000000", FULL, FULL), (FULL,), ["ed_lv_absent"]),
    ((FULL, FULL, "0000000000"), (FULL, FULL, "0000000000"), ["ed_rv_absent", "es_rv_absent"]),
])  # fmt: skip
def test_slices_drawn(ed, es, flags):
    counts = {"ed": counted(*ed), "es": counted(*es)}
    drawn = dict.fromkeys(counts, ("lv", "myo", "rv"))
    assert slice_faults(counts, drawn, np.full(len(ed[0]), SLICE_MM)) == flags
    assert slice_faults(counts, drawn, np.ones(len(ed[0]))) == flags  # spacing unknown


def test_a_stack_may_reach_beyond_the_heart():
    """Eight of twenty slices, but 64 mm: a ventricle. The same of 5 mm are not half of one."""
    count, drawn = {"ed": counted("0" * 8 + "1" * 8 + "0" * 4)}, {"ed": ("lv", "myo", "rv")}
    assert slice_faults(count, drawn, np.full(20, 8.0)) == []
    assert slice_faults(count, drawn, np.full(20, 5.0)) == ["heart_few_slices:8_of_20"]
    # what nobody annotated is no fault
    assert slice_faults({"ed": counted(FULL, "0" * 10)}, {"ed": ("lv",)}, np.full(10, SLICE_MM)) == []


# whole studies from hand-made masks


def stack(scale=1.0, wall_mm=9.0):
    """(10, 72, 72) half ellipsoid, base first, cavity 24·scale mm wide, with a RV on its left."""
    rows, columns = np.indices((72, 72))
    x, y = (columns - 40) * PIXEL_MM, (rows - 36) * PIXEL_MM
    mask = np.zeros((10, 72, 72), np.uint8)
    for k in range(10):
        inner = 24 * scale * np.sqrt(1 - ((k + 0.5) / 10) ** 2)
        mask[k][np.hypot(x + inner + wall_mm, y) < 15 + 5 * scale] = 3
        mask[k][np.hypot(x, y) <= inner + wall_mm] = 2
        mask[k][np.hypot(x, y) <= inner] = 1
    return mask


def put(value, mask, slices, over=(0, 1, 2, 3)):
    """The mask with a value in the place of some labels in some slices."""
    mask = mask.copy()
    mask[slices] = np.where(np.isin(mask[slices], over), value, mask[slices])
    return mask


def smaller_rv(mask):
    """Half of each slice's RV."""
    return np.where((mask == 3) & (np.arange(72) % 2 == 0), 0, mask).astype(np.uint8)


ED, ES = stack(), stack(0.7)
STUDIES = {
    "good": (ED, ES),
    "seven": (put(0, ED, [0, 1, 9]), put(0, ES, [0, 1, 2, 8, 9])),
    "one": (put(0, ED, np.arange(10) != 4), put(0, ES, np.arange(10) != 4)),
    "swapped": (ES, ED),
    "collapsed": (ED, stack(0.25)),
    "middle": (put(0, ED, [3, 4, 5], [1]), put(0, ES, [3, 4, 5], [1])),
    "hole": (ED, put(0, ES, [7])),
    "thin": (stack(0.5, 0.8), smaller_rv(stack(0.4, 0.8))),
    "thick": (stack(1.0, 30.0), smaller_rv(stack(0.7, 30.0))),
    "rv": (smaller_rv(ED), ES),
    "ends": (put(255, ED, [0, 9]), put(255, ES, [0, 9])),
}


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    root = tmp_path_factory.mktemp("hearts") / "cohort"
    affine, rows = np.diag([-PIXEL_MM, -PIXEL_MM, SLICE_MM, 1.0]), []
    for name, masks in STUDIES.items():
        mask = np.stack(masks)
        cine = Cine(np.zeros(mask.shape, np.int16), affine, "sax", name, ed=0, es=1, frames_of=((0, 11), 30))
        person = {"participant_id": name, "height_m": 1.8, "weight_kg": 80.0, "heart_rate_bpm": 60.0}
        observers = {"doctor": {cine.name: Annotation(mask, dict.fromkeys((0, 1), ("lv", "myo", "rv")))}}
        rows.append(write_study(root, Study(person, [cine], observers)))
    return finish_cohort(root, {"Name": "stacks"}, rows)


@pytest.fixture(scope="module")
def table(hearts):
    return m.features(hearts, "doctor").set_index("participant_id", drop=False)


@pytest.mark.parametrize(("name", "flags", "gone"), [
    ("good", (), ()),
    ("seven", (), ()),
    ("ends", (), ()),  # annotated in part, from slice to slice: what lies outside is not empty
    ("one", ("heart_few_slices:1_of_10",), (*LV, *RV, "lvm_g")),
    ("swapped", ("lvef_implausible", "rvef_implausible"), (*LV, *RV)),
    ("collapsed", ("lvef_implausible",), LV),
    ("middle", ("ed_lv_gap:3,4,5", "es_lv_gap:3,4,5", "ed_lv_absent_mid:3,4,5"), (*LV, "lvm_g")),
    ("hole", ("es_lv_gap:7", "es_rv_gap:7"), (*LV[1:], *RV[1:])),
    ("thin", ("lvm_implausible",), ("lvm_g",)),
    ("thick", ("lvm_implausible",), ("lvm_g",)),
    ("rv", ("rvef_implausible",), RV),
])  # fmt: skip
def test_features_leave_out_what_cannot_be(table, name, flags, gone):
    row = table.loc[name]
    measured = [measure for measure in (*LV, *RV, "lvm_g") if np.isfinite(row[measure])]
    assert measured == [measure for measure in (*LV, *RV, "lvm_g") if measure not in gone]
    for measure in gone:  # what is divided by body surface area falls too
        assert np.isnan(row.get(m.indexed_name(measure), np.nan))
    for flag in flags:
        assert any(found.startswith(flag) for found in row["flags"].split(";"))
    assert bool(flags) == (name in set(m.withheld(table.reset_index(drop=True))["participant_id"]))


def test_measure_prints_the_reason(hearts, tmp_path):
    done = CliRunner().invoke(app, ["measure", str(hearts.path), "--observer", "doctor", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "1 of 10 slices of the stack drawn" in done.output and "ESV above EDV" in done.output
    assert "of 8 of 11 subjects" in done.output and "(n=6)" in done.output
    written = Observer(tmp_path).measures().set_index("participant_id")
    assert np.isnan(written.loc["swapped", "lvef_pct"]) and np.isfinite(written.loc["good", "lvef_pct"])


def test_report_says_why(hearts, table):
    from cmrlib.report.study import measured_rows

    one = hearts.part(hearts.cines.loc[hearts.cines["participant_id"] == "swapped", "cine"])
    row = table.loc["swapped"].to_dict()
    rows = measured_rows(row, one, {}, row["flags"].split(";")).set_index("measure", drop=False)
    assert np.isnan(rows.loc["lvef_pct", "value"]) and rows.loc["lvef_pct", "withheld"]
    assert rows.loc["lvef_pct", "reason"].startswith("ESV above EDV") and not rows.loc["lvef_pct", "refused"]
    assert np.isfinite(rows.loc["lvm_g", "value"]) and not rows.loc["lvm_g", "withheld"]


def test_agreement_counts_what_it_left_out(table):
    doctor = table.reset_index(drop=True).assign(observer="doctor")
    truth = doctor.assign(observer="truth", flags="", lvef_pct=50.0 + np.arange(11), lvm_g=100.0)
    truth.loc[truth["participant_id"] == "good", "lvef_pct"] = np.nan
    both = pd.concat([doctor, truth[truth["participant_id"] != "rv"]], ignore_index=True)
    why = agreement.left_out(both, "truth", "doctor", ["lvef_pct", "lvm_g", "size"])
    counts = why.set_index(["measure", "observer", "reason"])["n"]
    assert counts["lvef_pct", "doctor"].to_dict() == {
        "heart_few_slices": 1, "lvef_implausible": 2, "ed_lv_gap": 1, "ed_lv_absent_mid": 1, "es_lv_gap": 2,
        "es_lv_absent_mid": 1,
    }  # fmt: skip
    assert counts["lvef_pct", "truth"].to_dict() == {"no row": 1, "not rated": 1}
    assert counts["lvm_g"].sum() == 7
    result = agreement.compare(both, "truth", "doctor", ["lvef_pct", "lvm_g"], n_boot=50).set_index("measure")
    assert result["n"].tolist() == [4, 6] and result["n_left_out"].tolist() == [7, 5]
    assert "doctor: 2 lvef_implausible" in result.loc["lvef_pct", "left_out"]


@pytest.mark.skipif(not os.environ.get("CMR_DATA_DIR"), reason="CMR_DATA_DIR names no folder")
def test_no_experts_outline_is_impossible(tmp_path):
    """ACDC: a hundred patients, five diagnoses, every third here."""
    from cmrlib.datasets import acdc

    found = list(acdc.find(Path(os.environ["CMR_DATA_DIR"]) / "acdc" / "training").items())[::3]
    rows = [write_study(tmp_path, acdc.read(label, path)) for label, path in found]
    measured = m.features(finish_cohort(tmp_path, {"Name": "acdc"}, rows), "manual")
    assert len(measured) > 25 and m.withheld(measured).empty
    assert measured[[*LV[:4], *RV, "lvm_g"]].notna().all(axis=None)
