"""Overlap and surface distance on analytic solids, empty masks, unannotated voxels."""

import numpy as np
import pandas as pd
import pytest

from cmrlib.agreement.overlap import compare_masks, dice, overlap_metrics, slice_levels

LV = 1


def ball(radius_mm, shape=(41, 41, 41), spacing_mm=(1, 1, 1), shift_mm=0.0):
    """A ball in the middle of a grid: labels (slices, rows, columns), 1 inside. shift_mm: along slices."""
    from_centre = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, spacing_mm)]
    z, y, x = np.meshgrid(*from_centre, indexing="ij")
    return ((z - shift_mm) ** 2 + y**2 + x**2 <= radius_mm**2).astype(np.uint8)


def distances(pred, ref, spacing_mm):
    return compare_masks(pred, ref, spacing_mm, ["lv"]).loc[0, ["hd95_mm", "assd_mm"]].tolist()


def test_dice_by_hand():
    pred, ref = np.zeros((2, 1, 2, 4), np.uint8)
    pred[0, 0, :3] = LV
    ref[0, 0, 1:] = LV
    assert dice(pred, ref, LV) == pytest.approx(4 / 6) == dice(ref, pred, LV)
    assert dice(pred, 0 * ref, LV) == 0 == dice(0 * pred, ref, LV)
    assert np.isnan(dice(0 * pred, 0 * ref, LV))


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 1, 1), (1.5, 0.8, 1.2)])
def test_concentric_balls_lie_their_radii_apart_and_shifted_ones_at_most_the_shift(spacing):
    shape = tuple(int(40 / s) + 1 for s in spacing)
    hd95, assd = distances(ball(10, shape, spacing), ball(16, shape, spacing), spacing)
    assert hd95 == pytest.approx(6, abs=max(spacing)) and assd == pytest.approx(6, abs=max(spacing) / 2)
    hd95, assd = distances(ball(10), ball(10, shift_mm=5.0), (1, 1, 1))
    assert 4 <= hd95 <= 5 and 2 < assd < 3  # mean of 5 |cos| over a sphere is 2.5
    two = ball(5) | ball(5, shift_mm=14.0)  # near to one of them everywhere, but not the other way round
    there, back = distances(two, ball(5), (1, 1, 1)), distances(ball(5), two, (1, 1, 1))
    assert there == pytest.approx(back) and there > [10, 3]


def test_distances_are_millimetres_along_each_axis():
    for axis, spacing in enumerate((10.0, 1.5, 1.2)):
        pred, ref = np.zeros((2, 7, 7, 7), np.uint8)
        pred[3, 3, 3] = LV
        ref[tuple(np.array([3, 3, 3]) + 2 * (np.arange(3) == axis))] = LV
        assert distances(pred, ref, (10.0, 1.5, 1.2)) == pytest.approx([2 * spacing] * 2)


def test_one_slice_is_a_contour_and_cropping_changes_nothing():
    assert distances(ball(10, (1, 41, 41)), ball(15, (1, 41, 41)), (8, 1, 1))[1] == pytest.approx(5, abs=0.5)
    pred, ref = ball(6, (21, 21, 21)), ball(8, (21, 21, 21))
    padded = [np.pad(m, ((3, 9), (20, 1), (0, 30))) for m in (pred, ref)]
    assert distances(*padded, (2, 1, 1)) == distances(pred, ref, (2, 1, 1))


@pytest.mark.parametrize(("side", "other"), [("pred", "ref"), ("ref", "pred")])
def test_what_one_side_did_not_annotate_is_left_out_for_both_and_counted(side, other):
    volumes = {"pred": ball(6, (15, 15, 15)), "ref": ball(6, (15, 15, 15))}
    volumes[other][:7] = LV  # nonsense where the side did not look
    volumes[side][:7] = 255
    row = compare_masks(**volumes, spacing_mm=(8, 1, 1), structures=["lv"]).iloc[0]
    assert row[["dice", "hd95_mm", "assd_mm"]].tolist() == [1, 0, 0]
    assert row["volume_pred_ml"] == row["volume_ref_ml"] > 0
    assert row["n_one_sided"] == 7 * 15 * 15 and "1575 voxels annotated by one side only" in row["note"]


def test_only_annotated_structures_are_scored_and_empty_ones_are_noted():
    ref = ball(6, (15, 15, 15))
    pred = ref.copy()
    pred[0, 0, 0] = 3
    table = compare_masks(pred, ref, (10, 2, 1), ["lv", "myo", "rv"]).set_index("structure")
    assert list(table.index) == ["lv", "myo", "rv"]
    assert table["volume_ref_ml"]["lv"] == pytest.approx(ref.sum() * 20 / 1000)
    assert np.isnan(table["dice"]["myo"]) and table["dice"]["rv"] == 0 and np.isnan(table["hd95_mm"]["rv"])
    assert table["note"].tolist() == ["", "prediction and reference empty", "reference empty"]


def test_without_spacing_only_dice_is_defined_and_wrong_input_is_refused():
    solid = ball(5, (15, 15, 15))
    row = compare_masks(solid, solid, None, ["lv"]).iloc[0]
    assert row["dice"] == 1 and row["note"] == "spacing unknown"
    assert np.isnan([row["hd95_mm"], row["assd_mm"], row["volume_ref_ml"]]).all()
    for call, words in (
        (lambda: compare_masks(solid, solid, (1, 0, 1), ["lv"]), "spacing"),
        (lambda: compare_masks(solid, solid, (1, 1, 1), ["aorta"]), "unknown structures"),
        (lambda: dice(solid, solid[1:], LV), "one shape"),
        (lambda: slice_levels(0 * solid), "no LV"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


@pytest.mark.parametrize(
    ("n", "expected"), [(1, "m"), (2, "ba"), (3, "bma"), (8, "bbbmmaaa"), (9, "bbbmmmaaa"), (10, "bbbmmmmaaa")]
)
def test_levels_are_thirds_of_the_reference_lv(n, expected):
    ref = np.zeros((n + 3, 4, 4), np.uint8)
    ref[2 : 2 + n, 1:3, 1:3] = LV
    ref[2, 1] = LV  # the base is wider
    levels = slice_levels(ref)
    assert "".join(level[0] for level in levels[2 : 2 + n]) == expected
    assert levels[:2].tolist() == ["", ""] and levels[-1] == ""
    assert slice_levels(ref[::-1])[::-1].tolist() == levels.tolist()  # stored from the apex up


def test_the_basal_end_of_levels_is_that_of_all_measures():
    """By the halves of the LV alone the last slice would be the base; with the RV the first is."""
    ref = np.repeat(np.arange(12)[:, None] < [[[6]], [[6]], [[6]], [[7]], [[7]], [[6]]], 12, axis=2).astype(np.uint8)
    ref[:3, 10:] = 3  # the RV lies at the base
    assert slice_levels(ref).tolist() == ["base", "base", "mid", "mid", "apex", "apex"]


def test_scores_per_level():
    ref = ball(12, (7, 27, 27), (4, 1, 1))
    ref[0] |= ref[2]  # wider at the base
    pred, levels = ref.copy(), slice_levels(ref)
    base = np.flatnonzero(levels == "base")
    pred[base] = np.roll(pred[base], 3, axis=2)
    table = compare_masks(pred, ref, (4, 1, 1), ["lv"], levels).set_index("level")
    assert list(table.index) == ["all", "base", "mid", "apex"]
    assert table["dice"]["base"] < table["dice"]["all"] < 1 and (table["dice"][["mid", "apex"]] == 1).all()
    assert table["hd95_mm"]["base"] > table["hd95_mm"]["apex"]
    assert table["volume_ref_ml"]["all"] == pytest.approx(table["volume_ref_ml"][["base", "mid", "apex"]].sum())


def test_metrics_of_a_manifest_are_named_and_bounded():
    """Two views, LV and RV, eight subjects."""
    rows = [(p, view, s) for p in "abcdefgh" for view in ("sax", "4ch") for s in ("lv", "rv")]
    table = pd.DataFrame(rows, columns=["participant_id", "view", "structure"])
    table = table.assign(dice=np.linspace(0.8, 0.95, len(table)), hd95_mm=np.linspace(4, 9, len(table)))
    metrics, sax = overlap_metrics(table), table[table["view"] == "sax"]
    assert metrics["dice_lv"] == pytest.approx(sax.loc[sax["structure"] == "lv", "dice"].mean())
    assert metrics["hd95_lv_mm"] == pytest.approx(sax.loc[sax["structure"] == "lv", "hd95_mm"].mean())
    assert metrics["dice_mean"] == pytest.approx(sax["dice"].mean())
    assert metrics["dice_lv_low"] < metrics["dice_lv"] < metrics["dice_lv_high"] and metrics["n_dice_lv"] == 8
    assert metrics["dice_lv_4ch"] != metrics["dice_lv"] and "hd95_lv_4ch_mm_high" in metrics
    assert "dice_lv" in (only := overlap_metrics(table[table["view"] == "4ch"])) and "dice_lv_4ch" not in only
