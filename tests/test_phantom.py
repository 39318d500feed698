"""The phantom against closed forms, published means and its own truth."""

import numpy as np
import pandas as pd
import pytest

from cmrlib.phantom import Heart, draw_subject, make_cohort
from cmrlib.phantom.anatomy import cut_volume_ml, truncated_ellipsoid

STEP_MM = 1.5
SMALL = {"size": 48, "spacing_mm": 5.0, "frames": 6, "slices": 4, "progress": False}


def test_truncated_ellipsoid_is_the_closed_form():
    a, c, tau = truncated_ellipsoid(150.0, 16.0, 95.0)
    z = np.linspace(-tau * c, c, 200_001)
    volume = np.trapezoid(np.pi * a**2 * (1 - (z / c) ** 2), z) / 1000
    assert volume == pytest.approx(150, rel=1e-6) == cut_volume_ml(a, c, tau * c)
    assert a * np.sqrt(1 - tau**2) == pytest.approx(16) and c * (1 + tau) == pytest.approx(95)
    assert cut_volume_ml(20.0, 30.0, 0.0) == pytest.approx(2 / 3 * np.pi * 20**2 * 30 / 1000)
    with pytest.raises(ValueError, match="must exceed 1.5"):
        truncated_ellipsoid(10.0, 20.0, 80.0)


def _counted_ml(heart, time_ms, step_mm):
    axes = (np.arange(low, high, step_mm) + step_mm / 2 for low, high in ((-115, 60), (-75, 75), (-75, 130)))
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    return np.bincount(heart.labels(points, time_ms), minlength=6)[1:] * step_mm**3 / 1000


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])  # one of each ACDC group
def test_label_maps_hold_the_prescribed_volumes_through_the_cycle(number):
    heart = Heart(draw_subject(1, number))
    times = np.array([0, 0.25, 0.45, 0.6, 0.9]) * heart.subject.rr_ms
    prescribed = heart.volumes(times)
    counted = np.array([_counted_ml(heart, t, STEP_MM) for t in times])
    for column, name in ((0, "lv"), (2, "rv"), (3, "la"), (4, "ra")):
        assert counted[:, column] == pytest.approx(prescribed[name], rel=0.02, abs=1.0), name
    assert counted[:, 1] == pytest.approx(heart.myocardium_ml, rel=0.03)


def test_label_maps_converge_as_voxels_shrink():
    heart = Heart(draw_subject(2, 5))
    errors = [abs(_counted_ml(heart, 0.0, step)[0] / heart.subject.lvedv_ml - 1) for step in (9.0, 3.0, 1.0)]
    assert errors[2] < 0.003 and errors[2] < errors[0]


def test_subject_k_depends_on_seed_and_k_alone(tmp_path):
    small = make_cohort(tmp_path / "small", subjects=2, seed=4, workers=1, **SMALL)
    large = make_cohort(tmp_path / "large", subjects=3, seed=4, workers=2, **SMALL)
    for name in small.cines.cine:
        assert np.array_equal(small.cine(name).pixels, large.cine(name).pixels)
        assert np.array_equal(small.observer("truth").mask(name).mask, large.observer("truth").mask(name).mask)
    first, second = small.observer("truth").measures(), large.observer("truth").measures()
    pd.testing.assert_frame_equal(first, second.iloc[:2])
    pd.testing.assert_frame_equal(small.subjects, large.subjects.iloc[:2])
    other = draw_subject(5, 1)
    assert other != draw_subject(4, 1) != draw_subject(4, 6)


def test_cohort_has_what_every_cohort_has(tmp_path):
    cohort = make_cohort(tmp_path / "c", subjects=2, seed=1, workers=1, views=("sax", "4ch"), **SMALL)
    assert cohort.synthetic and cohort.description["Seed"] == 1 and len(cohort.cines) == 4
    assert list(cohort.subjects) == ["participant_id", "sex", "age", "height_m", "weight_kg", "group", "heart_rate_bpm"]
    measures = cohort.observer("truth").measures()
    assert len(measures.columns) == 31 and measures.notna().all(axis=None)
    cine = cohort.cine("sub-P0001_view-sax")
    assert cine.pixels.dtype == np.uint16 and cine.pixels.shape == (6, 4, 48, 48)
    assert cine.heart_rate_bpm == pytest.approx(cohort.subjects.heart_rate_bpm[0], rel=0.05)
    truth = cohort.observer("truth")
    assert set(np.unique(truth.mask(cine.name).mask)) == {0, 1, 2, 3}  # atria are background in SAX
    assert set(truth.points("sub-P0001_view-4ch").name) == {"lateral", "septal"}
    assert truth.frames(cine.name)["es"] == cine.es


@pytest.mark.parametrize("number", range(30))
def test_every_heart_can_be_built(number):
    subject = draw_subject(77, number, ("NOR", "DCM", "HCM", "MINF", "RV", "HFPEF"))
    g = Heart(subject).geometry(np.linspace(0, subject.rr_ms, 25))
    assert all(np.isfinite(g[name]).all() for name in g.dtype.names)
    assert (g["rv_h"] > 3).all() and (g["ae"] > g["a"] + np.hypot(g["ox"], g["oy"])).all()


@pytest.mark.parametrize("wrong", [{"subjects": 0}, {"frames": 1}, {"size": 8}, {"views": ("sax", "5ch")},
                                   {"diagnoses": ("FLU",)}, {"spacing_mm": 0}, {"slices": 2}])
def test_impossible_orders_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="expected|does not know"):
        make_cohort(tmp_path / "x", **wrong)
    with pytest.raises(ValueError, match="unknown diagnoses"):
        draw_subject(1, 1, ("FLU",))
