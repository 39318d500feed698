"""Impossible values of headers are n/a and flagged, whichever reader they came through."""

from dataclasses import replace

import numpy as np
import pytest

from cmrlib.cine import Cine
from cmrlib.cohort.study import Study
from cmrlib.datasets.bounds import BOUNDS, possible, with_possible_values

TIMES = np.tile(30.0 * np.arange(30), (2, 1))
PLAIN = Cine(
    np.zeros((30, 2, 160, 160), np.uint8), np.diag([1.5, 1.5, 8, 1]), "sax", "a", frame_times_ms=TIMES, rr_ms=[900, 900]
)
PERSON = {"participant_id": "a", "sex": "F", "age": 40, "height_m": 1.7, "weight_kg": 70.0, "group": "HCM"}


def judged(person=(), **changed):
    study = with_possible_values(Study(PERSON | dict(person), [replace(PLAIN, **changed)]))
    return study.participant, study.cines[0]


def test_what_is_possible_stays():
    person, cine = judged()
    assert person == PERSON and cine.flags == () and cine.spacing_known and cine.frame_times_ms is TIMES
    for quantity, (low, high) in BOUNDS.items():
        assert possible(quantity, [low, high]).all() and not possible(quantity, [low - 0.1, high + 0.1, np.nan]).any()
    assert not possible("age", "=1+1")


@pytest.mark.parametrize(("key", "value"), [
    ("age", -5), ("age", 121), ("age", "old"), ("height_m", 1e306), ("height_m", 17), ("weight_kg", 0.5),
    ("weight_kg", -80),
])  # fmt: skip
def test_a_body_that_nobody_has(key, value):
    person, cine = judged({key: value})
    assert person == PERSON | {key: None} and cine.flags == (f"{key.partition('_')[0]}_implausible",)


@pytest.mark.parametrize(("given", "kept"), [("=1+1", None), ("male", "M"), ("f", "F"), (" O", "O"), (None, None)])
def test_sex_is_one_of_three_letters(given, kept):
    assert judged({"sex": given})[0]["sex"] == kept


@pytest.mark.parametrize(("times", "rr", "flags"), [
    (TIMES / 1000, [0.9, 0.9], ("frame_step_implausible", "rr_implausible")),
    (TIMES * 1000, [9e5, 9e5], ("frame_step_implausible", "rr_implausible")),
    (None, [1e9, 1e9], ("rr_implausible",)),
])  # fmt: skip
def test_times_of_no_heart(times, rr, flags):
    _, cine = judged(frame_times_ms=times, rr_ms=np.array(rr))
    assert cine.frame_times_ms is None and cine.rr_ms is None and cine.flags == flags


def test_one_slice_of_wrong_times_leaves_the_others():
    _, cine = judged(frame_times_ms=TIMES * [[1], [0.001]], rr_ms=np.array([900, 0.9]))
    assert np.isfinite(cine.frame_times_ms[0]).all() and np.isnan(cine.frame_times_ms[1]).all()
    np.testing.assert_array_equal(cine.rr_ms, [900, np.nan])
    holes = np.where(np.isin(np.arange(30), [3, 4, 5]), np.nan, TIMES)
    assert judged(frame_times_ms=holes)[1].flags == ()


@pytest.mark.parametrize(("column", "row", "distance", "flag", "known"), [
    (19, 19, 8, "pixel_size", False), (1.37, 13.7, 8, "pixel_size", False), (1.5, 1000, 8, "pixel_size", False),
    (0.9, 1.9, 8, "pixel_size", False), (1.5, 1.5, 100, "slice_distance", False), (0.5, 0.5, 8, "field_of_view", True),
])  # fmt: skip
def test_sizes_of_no_picture_of_a_heart(column, row, distance, flag, known):
    _, cine = judged(affine=np.diag([column, row, distance, 1.0]))
    assert f"{flag}_implausible" in cine.flags and cine.spacing_known == known


# --- through readers -------------------------------------------------------------------------------------------------
