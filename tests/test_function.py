"""Strain, phases of the LA, shape and jumps, on figures whose truth is known."""

import numpy as np
import pandas as pd
import pytest

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.cohort import Annotation
from cmrlib.measures.curves import jump_flags, jumps
from cmrlib.measures.function import (
    circumferential_strain_pct,
    endocardial_length_mm,
    la_phases,
    longitudinal_strain_pct,
    shape,
)

FRAMES = 12
PHASE = np.arange(FRAMES) / FRAMES
BEAT = (1 - np.cos(2 * np.pi * PHASE)) / 2
"""0 at ED (frame 0), 1 at ES (frame 6)."""


def cine_of(mask, view, mm):
    times = np.tile(np.arange(FRAMES) * 50.0, (mask.shape[1], 1))
    cine = Cine(
        np.zeros(mask.shape, np.uint16),
        np.diag([-mm, -mm, 8.0, 1.0]),
        view,
        "x",
        frame_times_ms=times,
        rr_ms=np.full(mask.shape[1], 600.0),
    )
    drawn = tuple(name for name, code in STRUCTURES.items() if (mask == code).any())
    return cine, Annotation(mask, dict.fromkeys(range(FRAMES), drawn))


def half_ellipses(mm, wide_mm=25.0):
    """Long axes: an LV that is half an ellipse, 90 mm long at ED and 72 at ES, its valve at row 70 mm, an LA beyond."""
    y, x = np.mgrid[: int(170 / mm), : int(80 / mm)] * mm
    frames = []
    for share in BEAT:
        length, valve = 90 - 18 * share, 40 + 10 * share
        inside = ((x - 40) / (wide_mm - 5 * share)) ** 2 + ((y - valve) / length) ** 2 < 1
        mask = np.where(inside & (y >= valve), STRUCTURES["lv"], 0)
        frames.append(np.where((abs(x - 40) < 26) & (y < valve) & (y > 10), STRUCTURES["la"], mask))
    return np.array(frames, np.uint8)[:, None]


def arc_mm(wide, length):
    angle = np.linspace(0, np.pi, 20000)
    return np.hypot(*np.diff([wide * np.cos(angle), length * np.sin(angle)], axis=1)).sum()


@pytest.mark.parametrize("mm", [0.8, 1.4, 1.9])
def test_longitudinal_strain_is_that_of_the_outline(mm):
    mask = half_ellipses(mm)
    ed, es = arc_mm(25, 90), arc_mm(20, 72)
    assert endocardial_length_mm(mask[0, 0], (mm, mm)) == pytest.approx(ed, rel=0.02)
    assert longitudinal_strain_pct(*cine_of(mask, "4ch", mm)) == pytest.approx(100 * (es / ed - 1), abs=0.8)
    alone = np.where(mask == STRUCTURES["la"], 0, mask)  # no LA, no mitral line
    assert np.isnan(longitudinal_strain_pct(*cine_of(alone, "4ch", mm)))


def test_circumferential_strain_is_that_of_the_radius():
    y, x = np.mgrid[:64, :64] * 1.5
    mask = np.zeros((FRAMES, 5, 64, 64), np.uint8)
    for t, share in enumerate(BEAT):
        mask[t, :] = np.hypot(x - 48, y - 48) < 25 - 6 * share
    cine, annotation = cine_of(mask, "sax", 1.5)
    assert circumferential_strain_pct(cine, annotation, 0, 6) == pytest.approx(-24, abs=0.5)
    assert np.isnan(circumferential_strain_pct(*cine_of(mask[:, :2], "sax", 1.5), 0, 6))


def test_phases_of_the_la():
    """From 80 mL, 25 mL passively and 15 actively; without the second wave nothing is told."""
    phase = np.arange(40) / 40

    def fall(start, width):
        t = np.clip((phase - start) / width, 0, 1)
        return t * t * (3 - 2 * t)

    filling = 40 * np.clip(phase / 0.35, 0, 1) ** 2
    both = 40 + filling - 25 * fall(0.4, 0.2) - 15 * fall(0.8, 0.18)
    found = la_phases(both, phase)
    assert found["la_prea_ml"] == pytest.approx(55, abs=2)
    assert found["la_conduit_pct"] == pytest.approx(31, abs=3) and found["la_booster_pct"] == pytest.approx(27, abs=3)
    one = 40 + filling - 40 * fall(0.4, 0.55)
    assert np.isnan(la_phases(one, phase)["la_booster_pct"])


def test_shape():
    found = shape({"lvedv_ml": 4 / 3 * np.pi * 40**3 / 1000, "lvm_g": 134.04, "lv_pfr_ml_s": 536.2}, 80.0)
    expected = {"lv_sphericity": 1.0, "lv_mass_volume_g_ml": 0.5, "lv_pfr_edv_s": 2.0}
    assert found == pytest.approx(expected, rel=1e-3)
    assert np.isnan(list(shape({}, np.nan).values())).all()


@pytest.mark.parametrize(
    "change, found", [({}, []), ({9: 0.5}, [9]), ({0: 0.4}, [0]), ({6: -0.3}, [6]), ({6: -0.1}, [])]
)
def test_jumps(change, found):
    """A frame half as large is one; ES of a steep curve is none."""
    curve = 150 - 90 * BEAT
    for frame, share in change.items():
        curve[frame] += 90 * share * (1 if share < 0 else -1)
    assert jumps(curve) == found
    table = pd.DataFrame({"view": "sax", "structure": "lv", "frame": range(FRAMES), "volume_ml": curve})
    assert jump_flags(table) == [f"sax: lv_jump:{frame + 1}" for frame in found]
