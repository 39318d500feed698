"""The phantom against closed forms, published means and its own truth."""

import numpy as np
import pandas as pd
import pytest

from cmrlib.phantom import ACDC_GROUPS, draw_subject, make_cohort
from cmrlib.phantom.physiology import RANGES_95, cycle

SMALL = {"size": 48, "spacing_mm": 5.0, "frames": 6, "slices": 4, "progress": False}


@pytest.fixture(scope="module")
def people():
    return [draw_subject(11, k) for k in range(600)]


@pytest.fixture(scope="module")
def table(people):
    return pd.DataFrame([s.measures() | {"sex": s.sex, "diagnosis": s.diagnosis, "group": s.group} for s in people])


def test_cycle_is_periodic_and_bounded():
    subject = draw_subject(1, 3)
    t = np.linspace(0, subject.rr_ms, 2000)
    for name, curve in cycle(subject, t).items():
        assert curve.min() >= -1e-9 and curve.max() <= 1 + 1e-9, name
        assert abs(np.diff(curve)).max() < 0.02 and curve[0] == pytest.approx(curve[-2], abs=0.02), name
    emptied = cycle(subject, t)["emptied"]
    assert t[emptied.argmax()] == pytest.approx(subject.es_ms, abs=1) and emptied[0] == 0


def test_end_systole_depends_on_heart_rate(people):
    rate, share = np.array([[s.heart_rate_bpm, s.es_ms / s.rr_ms] for s in people]).T
    assert np.corrcoef(rate, share)[0, 1] > 0.9
    assert 0.34 < share[abs(rate - 60) < 2].mean() < 0.41  # QS2 less the delay of the trigger
    assert 0.42 < share[abs(rate - 85) < 3].mean() < 0.50


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
    assert len(measures.columns) == 30 and measures.notna().all(axis=None)
    cine = cohort.cine("sub-P0001_view-sax")
    assert cine.pixels.dtype == np.uint16 and cine.pixels.shape == (6, 4, 48, 48)
    assert cine.heart_rate_bpm == pytest.approx(cohort.subjects.heart_rate_bpm[0], rel=0.05)
    truth = cohort.observer("truth")
    assert set(np.unique(truth.mask(cine.name).mask)) == {0, 1, 2, 3}  # atria are background in SAX
    assert set(truth.points("sub-P0001_view-4ch").name) == {"lateral", "septal"}
    assert truth.frames(cine.name)["es"] == cine.es


def test_sexes_have_their_published_means(table):
    healthy = table[table.diagnosis == "NOR"]
    for sex, ranges in RANGES_95.items():
        for name in ("lvedv_ml", "lvef_pct", "lvm_g", "rvedv_ml", "la_max_ml", "ra_max_ml"):
            low, high = ranges[name]
            mean = healthy[healthy.sex == sex][name].mean()
            assert abs(mean - (low + high) / 2) < 0.4 * (high - low) / 3.92, (sex, name, mean)
    assert healthy.mapse_mm.mean() == pytest.approx(14, abs=1) and healthy.mapse_mm.std() == pytest.approx(3, abs=1)
    assert healthy.rvef_pct.mean() == pytest.approx(55, abs=4)


def test_diseases_change_what_they_should(table, people):
    mean = table.groupby("diagnosis").mean(numeric_only=True)
    assert mean.lvef_pct.DCM < 35 < mean.lvef_pct.NOR < mean.lvef_pct.HCM
    assert mean.lvedv_ml.DCM > mean.lvedv_ml.MINF > mean.lvedv_ml.NOR
    assert mean.lvm_g.HCM > 1.5 * mean.lvm_g.NOR and mean.rvedv_ml.RV > 1.4 * mean.rvedv_ml.NOR
    assert (mean.mapse_mm.drop("NOR") < mean.mapse_mm.NOR).all() and mean.laef_pct.DCM < mean.laef_pct.NOR
    pef = pd.DataFrame([draw_subject(1, k, ("HFPEF",)).measures() for k in range(60)]).mean()
    assert pef.lvef_pct > 50 and pef.la_max_ml > 1.2 * mean.la_max_ml.NOR and pef.mapse_mm < mean.mapse_mm.NOR


def test_between_40_and_50_nobody_is_labelled(table):
    between = table[(table.lvef_pct > 40) & (table.lvef_pct < 50)]
    assert len(between) and between.group.isna().all()
    assert set(table.group.dropna()) == set(ACDC_GROUPS)


def test_bodies_and_hearts_correlate(people, table):
    assert np.corrcoef(table.bsa_m2, table.lvm_g)[0, 1] > 0.1
    healthy = [s for s in people if s.diagnosis == "NOR"]
    edv, bsa, age, rv = np.array([[s.lvedv_ml, s.bsa_m2, s.age_years, s.rvedv_ml] for s in healthy]).T
    assert np.corrcoef(edv, bsa)[0, 1] > 0.3 and np.corrcoef(edv, age)[0, 1] < 0 and np.corrcoef(edv, rv)[0, 1] > 0.7


@pytest.mark.parametrize("wrong", [{"subjects": 0}, {"frames": 1}, {"size": 8}, {"views": ("sax", "5ch")},
                                   {"diagnoses": ("FLU",)}, {"spacing_mm": 0}, {"slices": 2}])
def test_impossible_orders_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="expected|does not know"):
        make_cohort(tmp_path / "x", **wrong)
    with pytest.raises(ValueError, match="unknown diagnoses"):
        draw_subject(1, 1, ("FLU",))
