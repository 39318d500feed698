"""Canonical display: whatever order a file stores, one picture; and the way back."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest

from cmrlib.cine import Cine
from cmrlib.cine.display import DISPLAYS, Reorientation, displayed, orientation_known, reoriented
from cmrlib.cohort import Annotation
from cmrlib.cohort.study import Study, finish_cohort, write_study

EVERY = [Reorientation(*four) for four in product((False, True), repeat=4)]


def oblique(view="sax", shape=(3, 4, 6, 5), turn_deg=0.0, **known):
    """A cine in its canonical display but for a turn of the body; every voxel has its own value."""
    columns, rows = (np.array(d) / np.linalg.norm(d) for d in DISPLAYS[view])
    rows = rows - (rows @ columns) * columns
    rows /= np.linalg.norm(rows)
    angle = np.deg2rad(turn_deg)
    columns, rows = np.cos(angle) * columns + np.sin(angle) * rows, np.cos(angle) * rows - np.sin(angle) * columns
    affine = np.eye(4)
    affine[:3] = np.c_[1.3 * columns, 1.7 * rows, 9.0 * np.cross(rows, columns), [12.0, -30.0, 44.0]]
    pixels = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    times = np.arange(shape[1])[:, None] + 40.0 * np.arange(shape[0])
    given = {
        "frame_times_ms": times,
        "rr_ms": 900.0 + np.arange(shape[1]),
        "slice_position_mm": 9.0 * np.arange(shape[1]),
        "meta": {"missing": [[0, 1]]},
    } | known
    return Cine(pixels, affine, view, "a", **given)


@pytest.mark.parametrize("view", DISPLAYS)
@pytest.mark.parametrize("by", EVERY)
@pytest.mark.parametrize("turn_deg", [40, -40])
def test_whatever_order_a_file_stores_the_display_is_one(view, by, turn_deg):
    cine = oblique(view, turn_deg=turn_deg)
    stored = reoriented(cine, by)
    shown, back = displayed(stored)
    np.testing.assert_array_equal(shown.pixels, cine.pixels)
    np.testing.assert_allclose(shown.affine, cine.affine, atol=1e-9)
    np.testing.assert_array_equal(shown.frame_times_ms, cine.frame_times_ms)
    np.testing.assert_array_equal(shown.rr_ms, cine.rr_ms)
    np.testing.assert_allclose(shown.slice_position_mm, cine.slice_position_mm)
    assert shown.meta["missing"] == [[0, 1]] and orientation_known(shown)
    np.testing.assert_array_equal(back.back(shown.pixels), stored.pixels)
    if by != Reorientation():
        assert Reorientation(**shown.meta["stored_as"]) == back


@pytest.mark.parametrize(
    ("view", "directions"),
    [
        ("sax", np.diag([-1.0, -1.0, 1.0])),  # what archives write that lost the directions
        ("sax", np.eye(3)),
        ("sax", np.c_[[0.999, 0.035, 0], [0.035, -0.999, 0], [0, 0, 1.0]]),  # nearly axial: no heart lies like that
        ("4ch", np.diag([-1.0, -1.0, 1.0])),
        ("2ch", np.c_[[0.64, 0.77, 0], [0, 0, -1], [-0.77, 0.64, 0]]),  # across the long axis
    ],
)
def test_impossible_geometry_is_not_believed_and_says_so(view, directions):
    affine = np.eye(4)
    affine[:3, :3] = directions @ np.diag([1.3, 1.7, 9.0])
    cine = replace(oblique(view), affine=affine)
    shown, by = displayed(cine)
    assert by == Reorientation() and shown.flags == ("orientation_unknown",)
    np.testing.assert_array_equal(shown.pixels, cine.pixels)
    assert displayed(shown)[0] is shown


@pytest.mark.parametrize("by", EVERY)
def test_a_cohort_holds_one_picture_and_what_was_drawn_follows(by, tmp_path):
    def ingested(stored, mask, points, name):
        study = Study(
            {"participant_id": "a"},
            [stored],
            {"manual": {stored.name: Annotation(mask, {0: ("lv", "myo", "rv")}, points)}},
        )
        cohort = finish_cohort(tmp_path / name, {"Name": "n"}, [write_study(tmp_path / name, study)])
        looked = cohort.observer("manual")
        return cohort.cine(stored.name), looked.mask(stored.name).mask, looked.points(stored.name)

    cine = oblique()
    mask = np.full(cine.pixels.shape, 255, np.uint8)
    mask[0] = cine.pixels[0] % 4
    world = cine.to_world([[1.5, 4.25]], 2)[0]
    row = {"frame": 0, "slice": 2, "name": "lateral", "column_px": 1.5, "row_px": 4.25, "confidence": 1.0}
    points = pd.DataFrame([row | dict(zip(("x_mm", "y_mm", "z_mm"), world))])
    expected = ingested(cine, mask, points, "straight")
    stored = reoriented(cine, by)
    column, line, k = stored.to_pixels([world])[0]
    moved = points.assign(column_px=column, row_px=line, slice=round(k))
    shown, drawn, where = ingested(stored, by(mask), moved, "stored")
    np.testing.assert_array_equal(shown.pixels, expected[0].pixels)
    np.testing.assert_array_equal(drawn, expected[1])
    pd.testing.assert_frame_equal(where, expected[2], atol=1e-6)
