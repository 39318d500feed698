"""Virtual subjects: published distributions, diagnoses, the cycle, case mixes, extremes."""

from dataclasses import fields, replace
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cmrlib.measures import FEATURES, MEASURES
from cmrlib.phantom import ACDC_GROUPS, COHORTS, DIAGNOSES, Heart, Subject, sample_member, sample_subject
from cmrlib.phantom.cycle import cycle, wave_ms
from cmrlib.phantom.physiology import sample_patient


@pytest.fixture(scope="module")
def groups():
    """Diagnosis → numbers of 120 people."""
    people = {name: [sample_subject(3, k, (name,)) for k in range(120)] for name in DIAGNOSES}
    return {name: pd.DataFrame([vars(s) | s.measures() for s in drawn]) for name, drawn in people.items()}


@pytest.fixture(scope="module")
def quantities():
    """One row per healthy subject of 500: all that published.tsv names, but the wall."""
    drawn = pd.DataFrame(
        [vars(s) | s.measures() | s.peaks for s in (sample_subject(1, k, ("NOR",)) for k in range(500))]
    )
    drawn["bmi_kg_m2"], drawn["lvmi_g_m2"] = drawn.weight_kg / drawn.height_m**2, drawn.lvm_g / drawn.bsa_m2
    drawn["systole_share"] = drawn.es_ms * drawn.heart_rate_bpm / 60_000
    return drawn.assign(early_over_late=drawn.eprime_cm_s / drawn.aprime_cm_s)


def test_healthy_subjects_have_published_distributions(quantities):
    rows = pd.read_csv(files("cmrlib.phantom") / "published.tsv", sep="\t")
    rows = rows[rows.counts]
    by_sex = quantities.groupby("sex")[sorted(set(rows.quantity))]
    means, sds = by_sex.mean().stack(), by_sex.std().stack()
    at = list(zip(rows.sex, rows.quantity))
    z, ratio = (means[at].to_numpy() - rows.published_mean) / rows.published_sd, sds[at].to_numpy() / rows.published_sd
    both = ((z.abs() < 0.2) & ratio.between(0.8, 1.25)).groupby(rows.quantity).all()
    assert both.sum() >= 20, list(both[~both].index)
    chambers = [name for name in FEATURES if name in both.index]
    assert len(chambers) >= 15 and both[chambers].all()


def test_correlations_have_the_published_sign(quantities):
    pairs = pd.read_csv(files("cmrlib.phantom") / "published_correlations.tsv", sep="\t")
    numbers = quantities.select_dtypes("number")
    within = numbers - numbers.groupby(quantities.sex).transform("mean")
    for first, second, sign, _ in pairs.itertuples(index=False):
        assert sign * within[first].corr(within[second]) > 0.1, (first, second)


MOVES = {  # diagnosis → quantities: sign and least Cohen's d against NOR; the bounds are ours, well below what is drawn
    "DCM": "lvedv_ml 2, lvef_pct -3, lvm_g .8, la_max_ml .8, laef_pct -2, mapse_mm -1.5, sprime_cm_s -1.2, rvef_pct -1",
    "HCM": "lvm_g 2.5, lvef_pct .8, la_max_ml .7, laef_pct -1, mapse_mm -.7, eprime_cm_s -.5",
    "MINF": "lvedv_ml 1, lvef_pct -3, mapse_mm -1.5, laef_pct -1",
    "RV": "rvedv_ml 1.8, rvesv_ml 2, rvef_pct -1.5",
    "HFREF": "lvedv_ml 1.5, lvef_pct -3, la_max_ml 1, eprime_cm_s -1.5, heart_rate_bpm .5",
    "HFPEF": "la_max_ml .8, laef_pct -1, eprime_cm_s -1.4, mapse_mm -.8, early_filling -1",
    "AF": "la_max_ml 1.2, laef_pct -3, la_min_ml 2, ra_max_ml .6, rr_sd 3, mapse_mm -.8, heart_rate_bpm .7",
    "MR": "lvedv_ml .9, lvsv_ml .9, la_max_ml .8, regurgitant_ml 2, annulus_mm .4",
    "ATHLETE": "lvedv_ml 1.2, rvedv_ml .8, lvm_g .8, heart_rate_bpm -.9",
    "HTN": "lvm_g .3, eprime_cm_s -.7, laef_pct -.5",
}


@pytest.mark.parametrize("diagnosis", MOVES)
def test_a_diagnosis_moves_its_quantities(groups, diagnosis):
    ill, well = (groups[name].select_dtypes("number") for name in (diagnosis, "NOR"))
    effects = (ill.mean() - well.mean()) / np.sqrt((ill.var() + well.var()) / 2)
    for quantity, least in (move.split() for move in MOVES[diagnosis].split(", ")):
        assert effects[quantity] * np.sign(float(least)) > abs(float(least)), f"{quantity}: d = {effects[quantity]:.2f}"


def test_what_a_diagnosis_leaves_alone(groups):
    assert groups["HFPEF"].lvef_pct.min() > 50 and groups["AF"].lvef_pct.min() > 50
    mr, nor = groups["MR"], groups["NOR"]
    assert mr.forward_sv_ml.mean() < nor.forward_sv_ml.mean() < mr.lvsv_ml.mean()
    assert np.allclose(mr.forward_sv_ml + mr.regurgitant_ml, mr.lvsv_ml)
    assert groups["AF"].aprime_cm_s.isna().all() and nor.aprime_cm_s.notna().all()
    assert (groups["HCM"].lvef_pct > 55).all() and (groups["DCM"].lvef_pct < 50).all()


def test_larger_leaks_make_larger_hearts():
    steps = [sample_patient(5, 8, "NOR", mitral=fraction) for fraction in (0.0, 0.2, 0.4, 0.6)]
    for name in ("lvedv_ml", "lvsv_ml", "la_max_ml", "annulus_mm"):
        values = [s.measures()[name] for s in steps]
        assert values == sorted(values) and values[-1] > 1.15 * values[0], name
    graded = [s.labels()["mr_severity"] for s in steps]
    assert graded == ["none", "mild", "moderate", "severe"]


def test_labels():
    assert all(sum(mix["shares"].values()) == pytest.approx(1) for mix in COHORTS.values())
    plain = {"group": "NOR", "mr": 0, "mr_severity": "none", "hf": 0, "hf_type": None, "af": 0}
    assert sample_subject(1, 1, ("NOR",)).labels() == plain
    reduced, preserved = (sample_subject(1, 2, (name,)).labels() for name in ("HFREF", "HFPEF"))
    assert reduced["hf"] == preserved["hf"] == 1 and (reduced["hf_type"], preserved["hf_type"]) == ("HFrEF", "HFpEF")
    assert sample_subject(1, 3, ("AF",)).labels()["af"] == 1
    # an EF from 40 to 50 belongs to none of ACDC's groups
    people = [sample_subject(11, k) for k in range(300)]
    between = [s.group for s in people if 40 < s.lvef_pct < 50]
    assert between and set(between) == {None} and {s.group for s in people} == {*ACDC_GROUPS, None}


@pytest.mark.parametrize("diagnosis", DIAGNOSES)
def test_the_cycle_is_periodic_bounded_and_smooth(diagnosis):
    for number in range(3):
        s = sample_subject(2, number, (diagnosis,))
        t = np.linspace(0, s.rr_ms, 4001)
        curves = cycle(s, t)
        for name, curve in curves.items():
            assert curve.min() >= -1e-9 and curve.max() <= 1 + 1e-9, name
            assert abs(np.diff(curve)).max() < 0.05 and curve[0] == pytest.approx(curve[-2], abs=0.05), name
            assert np.allclose(cycle(s, t[:99] + 3 * s.rr_ms)[name], curve[:99], atol=1e-6), name
        assert t[curves["emptied"].argmax()] == pytest.approx(s.es_ms, abs=0.5)
        assert t[curves["rv_emptied"].argmax()] == pytest.approx(s.es_ms, abs=0.5)
        assert curves["emptied"][0] == curves["plane"][0] == 0 and (curves["emptied"][5:-5] > 0).all()
        assert (curves["mitral_open"] * curves["aortic_open"] == 0).all()
        assert (curves["jet"] > 0).any() == (s.regurgitant_fraction > 0)


def test_the_plane_rests_in_diastasis_and_is_kicked():
    s = replace(sample_subject(1, 3, ("NOR",)), heart_rate_bpm=50)
    w = wave_ms(s)
    rest = np.linspace(w["opening"] + w["plane_early"], s.rr_ms - w["plane_late"], 200)
    speed = abs(np.diff(cycle(s, rest)["plane"])) / np.diff(rest) * s.mapse_mm * 100
    assert speed.max() < 0.15 * min(s.peaks["eprime_cm_s"], s.peaks["aprime_cm_s"])
    before = np.array([s.rr_ms - w["late"] - 1, s.rr_ms - 1e-6])
    kicked, still = (cycle(who, before) for who in (s, replace(s, rhythm="af")))
    for name in ("emptied", "plane", "atrial", "ra_fullness"):
        assert -np.diff(kicked[name]) > 0.15 and -np.diff(still[name]) < 0.05, name


def test_peaks_are_what_the_curves_do():
    s = sample_subject(1, 4, ("MR",))
    t = np.arange(0, s.rr_ms, 0.05)
    volume, depth = Heart(s).volumes(t)["lv"], s.mapse_mm * cycle(s, t)["plane"]
    assert s.measures()["lv_pfr_ml_s"] == pytest.approx(np.gradient(volume, t).max() * 1000, rel=0.01)
    assert s.peaks["sprime_cm_s"] == pytest.approx(np.gradient(depth, t).max() * 100, rel=0.01)
    assert set(s.measures()) <= set(MEASURES)


@pytest.mark.parametrize(("cohort", "low", "high", "share"), [("mr2", 0.55, 0.72, 98 / 704), ("hf", 0.75, 0.92, 0.5)])
def test_disease_hides_from_the_18_features(cohort, low, high, share):
    """AUC of a random forest on the true features; logistic regression on all true parameters nearly knows."""
    people = [sample_member(cohort, 1, k) for k in range(600)]
    assert people[3] == sample_member(cohort, 1, 3) != sample_member(cohort, 2, 3)
    truth, features = (pd.DataFrame([of(s) for s in people]) for of in (Subject.labels, Subject.measures))
    truth = (truth["mr_severity"] != "none").astype(int) if cohort == "mr2" else truth["hf"]
    features = features[list(FEATURES)]
    numbers = [f.name for f in fields(Subject) if f.type is float and f.name not in FEATURES]
    parameters = features.join(pd.DataFrame([vars(s) for s in people])[numbers])
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    folds, areas = StratifiedKFold(4, shuffle=True, random_state=0), []
    for model, x in ((RandomForestClassifier(40, random_state=0), features), (logistic, parameters)):
        scores = cross_val_predict(model, x, truth, cv=folds, method="predict_proba")[:, 1]
        areas.append(roc_auc_score(truth, scores))
    assert low < areas[0] < high and areas[1] > 0.95 and truth.mean() == pytest.approx(share, abs=0.05)


def geometry(subject):
    """Its heart at nine instants, where every number is finite."""
    g = Heart(subject).geometry(np.linspace(0, subject.rr_ms, 9))
    assert all(np.isfinite(g[name]).all() for name in g.dtype.names)
    return g


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from(list(DIAGNOSES)), *[st.floats(0, 0.75)] * 3)
def test_every_leaking_heart_can_be_built(number, diagnosis, mitral, aortic, tricuspid):
    g = geometry(sample_patient(77, number, diagnosis, mitral=mitral, aortic=aortic, tricuspid=tricuspid))
    assert (g["rv_h"] > 3).all() and (g["lv"][..., 2] - g["lv"][..., 1]).min() > -1e-3 and g["lv"].min() >= 0


SCALED = "lvedv_ml lvesv_ml rvedv_ml rvesv_ml lvm_g la_max_ml la_min_ml ra_max_ml ra_min_ml mapse_mm tapse_mm "
SCALED += "lv_length_mm annulus_mm heart_rate_bpm es_ms plane_late_ms"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(0, 10**6),
    st.sampled_from(list(DIAGNOSES)),
    st.dictionaries(st.sampled_from(SCALED.split()), st.floats(0.3, 3), min_size=1, max_size=4),
)
def test_any_numbers_make_a_heart_or_are_refused_with_a_reason(number, diagnosis, factors):
    subject = sample_subject(78, number, (diagnosis,))
    try:
        geometry(replace(subject, **{name: factor * getattr(subject, name) for name, factor in factors.items()}))
    except ValueError as refusal:
        assert len(str(refusal)) > 30


@pytest.mark.parametrize(("wrong", "reason"), [
    ({"lvesv_ml": 400}, "LVEF"), ({"lvedv_ml": float("nan")}, "LVEF"), ({"rvesv_ml": -5}, "RVEF"),
    ({"la_min_ml": 200}, "LA"), ({"ra_max_ml": 3}, "RA"), ({"es_ms": 2000}, "systole"), ({"mapse_mm": 0}, "MAPSE"),
    ({"regurgitant_fraction": 0.9}, "leaks"), ({"tricuspid_fraction": -0.1}, "leaks"),
])  # fmt: skip
def test_what_cannot_live_is_refused_with_the_reason(wrong, reason):
    with pytest.raises(ValueError, match=reason):
        replace(sample_subject(1, 1), **wrong)
