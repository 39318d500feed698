"""Cine, Section and Plane: one geometry for pixels, masks and points. (Round trips on disk: test_cohort.py.)"""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrlib.cine import Cine, Plane


def make_cine(shape=(4, 5, 12, 10), spacing_mm=(8.0, 1.5, 1.25), **changes):
    pixels = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    return Cine(pixels, np.diag([*spacing_mm[::-1], 1.0]), "sax", "a1", **changes)


def disc(shape, spacing_mm, centre_px, radius_mm):
    """1 inside a disc in mm; centre_px (column, row)."""
    rows, columns = np.indices(shape)
    return (
        np.hypot((columns - centre_px[0]) * spacing_mm[1], (rows - centre_px[1]) * spacing_mm[0]) <= radius_mm
    ).astype(np.uint8)


def centre_of(mask):
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()])


# --- Cine ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (4, 12, 10)}, r"sub-a1_view-sax: pixels have shape \(4, 12, 10\); expected four axes"),
        ({"shape": (4, 0, 12, 10)}, "none empty"),
        ({"spacing_mm": (0.0, 1.0, 1.0)}, "not an invertible 4×4 matrix"),
        ({"frame_times_ms": np.zeros((4, 5))}, r"frame_times_ms has shape \(4, 5\), expected \(5, 4\)"),
        ({"rr_ms": np.zeros(4)}, r"rr_ms has shape \(4,\), expected \(5,\)"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        make_cine(**changes)


def test_spacing_times_and_rate_by_hand():
    times = np.tile([0.0, 30.0, 60.0, 90.0], (5, 1))
    cine = make_cine(frame_times_ms=times, rr_ms=np.array([750, 800, np.nan, 800, 850.0]))
    assert cine.spacing_mm == pytest.approx((8.0, 1.5, 1.25)) and cine.voxel_ml == pytest.approx(0.015)
    assert cine.frame_step_ms == 30 and cine.heart_rate_bpm == 75
    assert np.isnan([make_cine().frame_step_ms, make_cine().heart_rate_bpm, make_cine().cycle_ms]).all()
    with pytest.raises(ValueError, match="spacing is unknown"):
        _ = make_cine(spacing_known=False).voxel_ml
    oblique = cv2.Rodrigues(np.array([0.3, -0.5, 0.2]))[0] @ np.diag([1.25, 1.5, 8.0])
    turned = Cine(cine.pixels, np.block([[oblique, np.zeros((3, 1))], [np.zeros((1, 3)), 1]]), "sax", "a1")
    assert turned.spacing_mm == pytest.approx((8.0, 1.5, 1.25))


# --- the cycle -------------------------------------------------------------------------------------------------------


def timed(times, **changes):
    """A single-slice cine with frames at `times` (ms)."""
    return make_cine((len(times), 1, 4, 4), frame_times_ms=np.array([times], float), **changes)


def test_phase_by_hand():
    cine = timed([10, 210, 410, 610], rr_ms=np.array([800.0]))
    assert (cine.cycle_ms, cine.times_ms.tolist()) == (800, [10, 210, 410, 610])
    np.testing.assert_allclose(cine.phase(), [0.0125, 0.2625, 0.5125, 0.7625])  # since the R wave
    np.testing.assert_allclose(cine.phase(3), [0.25, 0.5, 0.75, 0])
    uneven = timed([0, 100, 400, 600], rr_ms=np.array([1000.0]))
    assert uneven.phase(3)[1] == pytest.approx(0.5)  # from frame 3 on: 400 ms to the next R wave and 100 ms


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0, 0.25, 0.5, 0.75]),  # no times: by frame number
        ({"frame_times_ms": np.full((5, 4), np.nan)}, [0, 0.25, 0.5, 0.75]),
        ({"frame_times_ms": np.tile([0.0, 50, 100, 150], (5, 1))}, [0, 0.25, 0.5, 0.75]),  # no RR: frames × step
        ({"frames_of": ((0, 9, 12, 14), 20)}, [0, 0.45, 0.6, 0.7]),
        ({"frames_of": ((0, 1, 2, 3), 0)}, [np.nan] * 4),  # of an unknown number
    ],
)
def test_phase_where_times_or_frames_are_unknown(changes, expected):
    np.testing.assert_allclose(make_cine(**changes).phase(0), expected)


def test_missing_images_are_those_the_reader_named():
    cine = make_cine(meta={"missing": [[2, 1], [2, 3], [4, 1]]})
    assert np.argwhere(cine.missing).tolist() == [[2, 1], [2, 3], [4, 1]]
    assert (cine.incomplete_frames, cine.complete_slices) == ([1, 3], [0, 1, 3])
    assert not make_cine().missing.any() and make_cine().complete_slices == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("frames", [8, 20, 50])
def test_other_lengths_are_resampled_there_and_back(frames):
    section = timed(np.arange(frames) * 40.0).section(0)
    for frame in (0.0, 1.0, 4.5, frames - 0.5):
        there = section.to_even(frame, 20)
        assert there == pytest.approx(frame * 20 / frames) and section.from_even(there, 20) == pytest.approx(frame)


def test_uneven_times_are_evened_by_time_and_round_the_cycle():
    times = np.cumsum(np.r_[0, np.tile([30.0, 50.0], 9), 30])  # 20 frames in 800 ms
    section = timed(times, rr_ms=np.array([800.0])).section(0)
    np.testing.assert_allclose(section.phase, times / 800)
    np.testing.assert_allclose(section.resampled(times, 20)[:-1], np.arange(19) * 40, atol=1e-4)
    assert section.resampled(times, 20)[-1] == pytest.approx(times[-1] * 0.8 + times[0] * 0.2)  # at 760 of 750 to 800
    assert section.to_even(3, 20) == pytest.approx(110 / 40)


def test_selected_frames_keep_their_times_and_their_origin():
    cine = make_cine(frame_times_ms=np.arange(20.0).reshape(5, 4), ed=0, es=2)
    few = cine.select([2, 0])
    np.testing.assert_array_equal(few.pixels, cine.pixels[[2, 0]])
    assert few.frame_times_ms[1].tolist() == [6, 4] and few.ed is None and few.es is None
    assert few.frames_of == ((2, 0), 4)
    assert make_cine(frames_of=((3, 9, 11, 14), 20)).select([1, 3]).frames_of == ((9, 14), 20)


def test_world_coordinates_of_an_oblique_stack():
    affine = np.array([[0, 1.5, 0, -20.0], [1.25, 0, 0, 5.0], [0, 0, -8.0, 7.0], [0, 0, 0, 1]])
    cine = Cine(np.zeros((1, 3, 4, 4)), affine, "sax", "a1")
    np.testing.assert_allclose(cine.to_world([[2, 3]], 1), [[-20 + 4.5, 5 + 2.5, 7 - 8]])
    np.testing.assert_allclose(cine.to_pixels([[-15.5, 7.5, -1]]), [[2, 3, 1]])


# --- neighbours and intensities --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slice_mm", "neighbours"),
    [(8.0, (1, 2, 3)), (10.0, (1, 2, 3)), (5.0, (0, 2, 4)), (2.0, (0, 2, 4)), (30.0, (1, 2, 3))],
)
def test_context_is_about_ten_millimetres_away(slice_mm, neighbours):
    cine = make_cine(spacing_mm=(slice_mm, 1, 1))
    np.testing.assert_array_equal(cine.context(1, 2), np.stack([cine.pixels[1, k] for k in neighbours], -1))


def test_intensity_window_is_the_percentiles():
    cine = make_cine()
    brighter = replace(cine, pixels=cine.pixels + 100).intensity_window()
    assert brighter == pytest.approx(np.add(cine.intensity_window(), 100))
    assert cine.intensity_window(5, 90) == pytest.approx(np.percentile(cine.pixels, [5, 90]))
    low, high = make_cine((2, 2, 4, 4)).intensity_window()
    assert low < high
    flat = Cine(np.full((2, 2, 4, 4), 7, np.uint16), np.eye(4), "sax", "a1")
    assert flat.intensity_window()[1] > flat.intensity_window()[0] == 7


def test_intensity_window_never_looks_at_a_few_columns_only():
    """A stride that shares a factor with the number of columns would see the same columns in every row."""
    columns = np.arange(208, dtype=np.uint8)
    pixels = np.broadcast_to(columns, (28, 14, 256, 208))  # 20.9 million pixels: every 104th, half a row
    low, high = Cine(np.ascontiguousarray(pixels), np.eye(4), "sax", "a1").intensity_window(10, 90)
    assert (low, high) == pytest.approx(np.percentile(columns, [10, 90]), abs=1.5)


# --- Plane -----------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.floats(-180, 180), st.booleans(), st.floats(0.6, 2.5), st.floats(0.6, 2.5), st.floats(0.5, 2.0))
def test_millimetres_are_kept_in_anisotropic_pixels(rotation, mirror, row_mm, column_mm, spacing_mm):
    plane = Plane.around((60, 50), (spacing_mm / row_mm, spacing_mm / column_mm), (48, 32), (20, 30), rotation, mirror)
    points = np.random.default_rng(0).uniform(0, 50, (8, 2))
    before = np.linalg.norm(np.diff(points * (column_mm, row_mm), axis=0), axis=1)
    after = np.linalg.norm(np.diff(plane.points(points), axis=0), axis=1) * spacing_mm
    np.testing.assert_allclose(after, before, rtol=1e-6)
    assert (np.linalg.det(plane.matrix[:, :2]) < 0) == mirror  # only a mirror makes a left hand of a right one


@pytest.mark.parametrize(("rotation", "mirror"), [(0, False), (30, True), (-75, False), (90, True)])
def test_a_disc_stays_a_disc_and_comes_back(rotation, mirror):
    spacing, shape, centre = (1.0, 2.0), (90, 48), (21.0, 47.0)
    mask = disc(shape, spacing, centre, 18)
    plane = Plane.around(shape, (1.25 / 1.0, 1.25 / 2.0), (64, 64), (23, 44), rotation, mirror)
    moved, grey = plane.mask(mask), plane.pixels(mask * np.uint8(200))
    wanted = disc((64, 64), (1.25, 1.25), plane.points([centre])[0], 18)
    assert 2 * (moved & wanted).sum() / (moved.sum() + wanted.sum()) > 0.96
    for found in (moved, grey > 100):
        np.testing.assert_allclose(centre_of(found), plane.points([centre])[0], atol=0.35)
    back = plane.back_pixels(moved.astype(float)) > 0.5
    np.testing.assert_allclose(centre_of(back), centre, atol=0.35)
    assert back.sum() == pytest.approx(mask.sum(), rel=0.04)


def test_outside_fills_every_channel():
    warped = Plane.around((8, 8), 1, (16, 16)).pixels(np.ones((8, 8, 3), np.int16), outside=-50)
    assert (warped[0, 0] == -50).all() and (warped[8, 8] == 1).all()
    assert (Plane.around((8, 8), 1, (4, 4)).back_pixels(np.ones((4, 4))) == 1).sum() == 16  # zero where nobody looked
