"""Overlap and surface distance on analytic solids, empty masks, unannotated voxels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cmrlib.agreement.overlap import compare_masks, dice, slice_levels, surface_distances

LV = 1


def ball(radius_mm, spacing_mm=(1, 1, 1), shape=(41, 41, 41), centre_mm=None):
    """A ball in the middle of a grid: labels (slices, rows, columns), 1 inside."""
    grid = np.indices(shape).reshape(3, -1).T * spacing_mm
    centre = (np.array(shape) - 1) / 2 * spacing_mm if centre_mm is None else centre_mm
    return (np.linalg.norm(grid - centre, axis=1) <= radius_mm).reshape(shape).astype(np.uint8)


masks = hnp.arrays(np.uint8, (4, 6, 6), elements=st.sampled_from([0, 1, 2]))


def test_dice_by_hand():
    pred, ref = np.zeros((2, 1, 2, 4), np.uint8)
    pred[0, 0, :3] = LV
    ref[0, 0, 1:] = LV
    assert dice(pred, ref, LV) == pytest.approx(4 / 6)
    assert dice(pred, 0 * ref, LV) == 0
    assert dice(0 * pred, ref, LV) == 0
    assert np.isnan(dice(0 * pred, 0 * ref, LV))


def test_dice_of_concentric_balls():
    volumes = np.array([10.0, 14.0]) ** 3
    assert dice(ball(10), ball(14), LV) == pytest.approx(2 * volumes[0] / volumes.sum(), rel=0.02)


@settings(max_examples=50, deadline=None)
@given(masks, masks)
def test_scores_are_symmetric_and_bounded(a, b):
    there, back = dice(a, b, LV), dice(b, a, LV)
    assert there == pytest.approx(back, nan_ok=True)
    assert np.isnan(there) or 0 <= there <= 1
    spacing = (8, 1.5, 1.4)
    assert surface_distances(a, b, LV, spacing) == pytest.approx(surface_distances(b, a, LV, spacing), nan_ok=True)
    assert surface_distances(a, a, LV, spacing) == pytest.approx(
        dict.fromkeys(("hd95_mm", "assd_mm"), 0.0 if (a == LV).any() else np.nan), nan_ok=True
    )


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 1, 1), (1.5, 0.8, 1.2)])
def test_concentric_balls_lie_their_radii_apart(spacing):
    shape = tuple(int(40 / s) + 1 for s in spacing)
    scores = surface_distances(ball(10, spacing, shape), ball(16, spacing, shape), LV, spacing)
    assert scores["hd95_mm"] == pytest.approx(6, abs=max(spacing))
    assert scores["assd_mm"] == pytest.approx(6, abs=max(spacing) / 2)


def test_shifted_balls_are_at_most_the_shift_apart():
    centre = np.full(3, 20.0)
    scores = surface_distances(ball(10), ball(10, centre_mm=centre + np.array([5, 0, 0])), LV, (1, 1, 1))
    assert 4 <= scores["hd95_mm"] <= 5
    assert 2 < scores["assd_mm"] < 3  # mean of 5 |cos| over a sphere is 2.5


def test_distances_are_millimetres_along_each_axis():
    for axis, spacing in enumerate((10.0, 1.5, 1.2)):
        pred, ref = np.zeros((2, 7, 7, 7), np.uint8)
        pred[3, 3, 3] = LV
        at = [3, 3, 3]
        at[axis] += 2
        ref[tuple(at)] = LV
        expected = pytest.approx({"hd95_mm": 2 * spacing, "assd_mm": 2 * spacing})
        assert surface_distances(pred, ref, LV, (10.0, 1.5, 1.2)) == expected


def test_one_slice_is_a_contour_not_two_faces():
    disc = ball(15, (1, 1, 1), (1, 41, 41))
    inner = ball(10, (1, 1, 1), (1, 41, 41))
    assert surface_distances(inner, disc, LV, (8, 1, 1))["assd_mm"] == pytest.approx(5, abs=0.5)


def test_cropping_changes_nothing():
    pred, ref = ball(6, shape=(21, 21, 21)), ball(8, shape=(21, 21, 21))
    padded = [np.pad(m, ((3, 9), (20, 1), (0, 30))) for m in (pred, ref)]
    assert surface_distances(*padded, LV, (2, 1, 1)) == surface_distances(pred, ref, LV, (2, 1, 1))


def test_distance_to_an_empty_mask_is_undefined():
    solid = ball(5, shape=(15, 15, 15))
    for pred, ref in ((solid, 0 * solid), (0 * solid, solid), (0 * solid, 0 * solid)):
        assert np.isnan(list(surface_distances(pred, ref, LV, (1, 1, 1)).values())).all()


def test_unannotated_voxels_are_ignored():
    pred, ref = ball(6, shape=(15, 15, 15)), ball(6, shape=(15, 15, 15))
    pred[:5] = LV  # nonsense where nobody looked
    ref[:5] = 255
    table = compare_masks(pred, ref, (8, 1, 1), ["lv"])
    assert table.loc[0, ["dice", "hd95_mm", "assd_mm"]].tolist() == [1, 0, 0]
    assert table["volume_pred_ml"][0] == table["volume_ref_ml"][0]


def test_only_annotated_structures_are_scored_and_empty_ones_are_noted():
    ref = ball(6, shape=(15, 15, 15))
    pred = ref.copy()
    pred[0, 0, 0] = 3
    table = compare_masks(pred, ref, (10, 2, 1), ["lv", "myo", "rv"]).set_index("structure")
    assert list(table.index) == ["lv", "myo", "rv"]
    assert table["volume_ref_ml"]["lv"] == pytest.approx(ref.sum() * 20 / 1000)
    assert np.isnan(table["dice"]["myo"])
    assert table["note"]["myo"] == "prediction and reference empty"
    assert table["dice"]["rv"] == 0
    assert np.isnan(table["hd95_mm"]["rv"])
    assert table["note"]["rv"] == "reference empty"


def test_without_spacing_only_dice_is_defined():
    solid = ball(5, shape=(15, 15, 15))
    row = compare_masks(solid, solid, None, ["lv"]).iloc[0]
    assert row["dice"] == 1
    assert np.isnan([row["hd95_mm"], row["assd_mm"], row["volume_ref_ml"]]).all()
    assert row["note"] == "spacing unknown"
    with pytest.raises(ValueError, match="spacing"):
        surface_distances(solid, solid, LV, None)
    with pytest.raises(ValueError, match="spacing"):
        compare_masks(solid, solid, (1, 0, 1), ["lv"])


def test_volumes_must_match():
    with pytest.raises(ValueError, match="one shape"):
        dice(np.zeros((3, 4, 4)), np.zeros((2, 4, 4)), LV)
    with pytest.raises(ValueError, match="unknown structures"):
        compare_masks(np.zeros((3, 4, 4)), np.zeros((3, 4, 4)), (1, 1, 1), ["aorta"])


@pytest.mark.parametrize(
    ("n", "expected"), [(1, "m"), (2, "ba"), (3, "bma"), (8, "bbbmmaaa"), (9, "bbbmmmaaa"), (10, "bbbmmmmaaa")]
)
def test_levels_are_thirds_of_the_reference_lv(n, expected):
    ref = np.zeros((n + 3, 4, 4), np.uint8)
    ref[2 : 2 + n, 1:3, 1:3] = LV
    levels = slice_levels(ref)
    assert "".join(level[0] for level in levels[2 : 2 + n]) == expected
    assert levels[:2].tolist() == ["", ""]
    assert levels[-1] == ""
    assert slice_levels(ref == LV, base_first=False)[::-1].tolist()[1 : 1 + n] == levels[2 : 2 + n].tolist()


def test_levels_need_an_lv():
    with pytest.raises(ValueError, match="no LV"):
        slice_levels(np.zeros((3, 4, 4), np.uint8))


def test_scores_per_level():
    ref = ball(12, (4, 1, 1), (7, 27, 27))
    pred = ref.copy()
    levels = slice_levels(ref)
    base = np.flatnonzero(levels == "base")
    pred[base] = np.roll(pred[base], 3, axis=2)
    table = compare_masks(pred, ref, (4, 1, 1), ["lv"], levels).set_index("level")
    assert list(table.index) == ["all", "base", "mid", "apex"]
    assert table["dice"]["base"] < table["dice"]["all"] < 1
    assert table.loc[["mid", "apex"], "dice"].tolist() == [1, 1]
    assert table["hd95_mm"]["base"] > table["hd95_mm"]["apex"]
    assert table["volume_ref_ml"]["all"] == pytest.approx(table["volume_ref_ml"][["base", "mid", "apex"]].sum())
    with pytest.raises(ValueError, match="level for each"):
        compare_masks(pred, ref, (4, 1, 1), ["lv"], levels[:-1])
