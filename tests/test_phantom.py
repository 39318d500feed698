"""A phantom cohort: the same for the same seed, with all that a cohort has, and impossible settings refused."""

import hashlib
from dataclasses import astuple, replace

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from cmrlib.phantom import make_cohort, make_study, subject_specs
from cmrlib.phantom.acquisition import Protocol, Scan
from cmrlib.phantom.cohorts import sample_member
from cmrlib.phantom.heart import Heart

SMALL = {"size": 48, "spacing_mm": 5.0, "frames": 6, "slices": 4, "progress": False}
RENDERED = [
    ({"diagnoses": ["MR"]}, 102.103, [25375, 3011, 1165, 726, 1378, 1113]),
    ({"cohort": "hf"}, 98.841, [25744, 2361, 1254, 1114, 1051, 1244]),
    ({"cohort": "population"}, 95.131, [26190, 2434, 1054, 1147, 868, 1075]),
    ({"diagnoses": ["MR"], "appearance": "random"}, 215.845, [25375, 3011, 1165, 726, 1378, 1113]),
    ({"cohort": "mr2"}, 99.035, [25691, 2352, 1254, 1168, 1051, 1252]),
    ({"cohort": "valve"}, 96.174, [25552, 2716, 1068, 957, 1081, 1394]),
]  # what is rendered: subject 6 of seed 3


def test_subject_k_depends_on_seed_and_k_alone(tmp_path):
    small = make_cohort(tmp_path / "small", subjects=2, seed=4, workers=1, **SMALL)
    large = make_cohort(tmp_path / "large", subjects=3, seed=4, workers=2, **SMALL)
    for name in small.cines.cine:
        assert np.array_equal(small.cine(name).pixels, large.cine(name).pixels)
        assert np.array_equal(small.observer("truth").mask(name).mask, large.observer("truth").mask(name).mask)
    first, second = small.observer("truth").measures(), large.observer("truth").measures()
    pd.testing.assert_frame_equal(first, second.iloc[:2])
    pd.testing.assert_frame_equal(small.subjects, large.subjects.iloc[:2])
    assert not first["lvedv_ml"].equals(second["lvedv_ml"].iloc[1:])


def test_a_subject_does_not_depend_on_threads_or_where_its_arrays_lie():
    """One in whom both were seen to matter: a pixel, by one grey level."""
    spec = subject_specs(263, 4, views=["sax"], cohort="hf", frames=5, size=144, spacing_mm=1.8)["P0263"]
    pixels, elsewhere = [], []
    for n in range(4):
        elsewhere += [bytes(size) for size in range(37 * n + 1, 5000, 101)]  # so that the next arrays lie elsewhere
        with threadpool_limits(1 + n % 2):
            pixels.append(make_study("P0263", spec).cines[0].pixels)
    assert all(np.array_equal(pixels[0], again) for again in pixels[1:])


def test_cohort_has_what_every_cohort_has(tmp_path):
    cohort = make_cohort(tmp_path / "c", subjects=2, seed=1, workers=1, views=("sax", "4ch"), **SMALL)
    assert cohort.synthetic and cohort.description["Seed"] == 1 and len(cohort.cines) == 4
    columns = "participant_id sex age height_m weight_kg heart_rate_bpm group mr mr_severity hf hf_type af"
    assert list(cohort.subjects) == columns.split()
    truth = cohort.observer("truth")
    assert truth.measures().shape == (2, 31) and truth.measures().notna().all(axis=None)
    cine = cohort.cine("sub-P0001_view-sax")
    assert cine.pixels.dtype == np.uint16 and cine.pixels.shape == (6, 4, 48, 48)
    assert cine.heart_rate_bpm == pytest.approx(cohort.subjects.heart_rate_bpm[0], rel=0.05)
    assert set(np.unique(truth.mask(cine.name).mask)) == {0, 1, 2, 3}  # atria are background in SAX
    assert set(truth.points("sub-P0001_view-4ch").name) == {"lateral", "septal"}
    assert truth.frames(cine.name)["es"] == cine.es


@pytest.mark.parametrize("settings", [
    {"subjects": 0}, {"frames": 1}, {"size": 8}, {"spacing_mm": 0}, {"slices": 2}, {"slices": 0}, {"effects": ("fog",)},
    {"views": ("sax", "5ch")}, {"diagnoses": ("FLU",)}, {"cohort": "flu"}, {"people": ("oslo",)}, {"domain": "two"},
    {"appearance": "ugly"}, {"cohort": "hf", "diagnoses": ("NOR",)},
])  # fmt: skip
def test_impossible_settings_are_refused(tmp_path, settings):
    with pytest.raises(ValueError, match="expected|does not know|give one of cohort and diagnoses"):
        make_cohort(tmp_path / "x", **settings)


def test_the_mix_mr2_is_frozen():
    """Calibrated before any network saw it: its parameters, and what other mixes render, stay as they are."""
    people = [sample_member("mr2", 901, k) for k in range(1, 40)]
    told = [(*astuple(s.streams[0]), *astuple(s.streams[1]), s.regurgitant_fraction, s.misread) for s in people]
    told = "\n".join(" ".join(f"{float(number):.4g}" for number in one) for one in told)
    assert hashlib.sha256(told.encode()).hexdigest()[:12] == "556a345b4bb3"


@pytest.mark.parametrize(("who", "mean", "labels"), RENDERED, ids=lambda one: str(one)[:20])
def test_images_are_as_they_were(who, mean, labels):
    """Mean pixel, and pixels of every label, of one subject's 4CH cine."""
    spec = subject_specs(6, 3, views=["4ch"], frames=8, size=64, spacing_mm=3.6, **who)["P0006"]
    study = make_study("P0006", spec)
    cine, mask = study.cines[0], next(iter(study.observers["truth"].values())).mask
    assert cine.pixels.mean() == pytest.approx(mean, rel=1e-4)
    assert np.bincount(mask.ravel(), minlength=6).tolist() == pytest.approx(labels, abs=3)


def test_the_mix_valve_hides_the_valve_and_moves_nothing():
    """Blood beside the ring is dark with trabeculae, frames are alike their neighbours; the truth is as it was."""
    subject = sample_member("valve", 3, 6)
    blurred, clear = (
        Scan(Heart(one), Protocol(views=("4ch",), frames=8, size=(64, 64), spacing_mm=3.6, effects=("view_sharing",)))
        for one in (subject, replace(subject, unclear_valve=False))
    )
    (cine, truth), (other, same) = (scan.cine("4ch", "P0006") for scan in (blurred, clear))
    assert np.array_equal(truth.mask, same.mask) and truth.points.equals(same.points)
    steps = [np.abs(np.diff(one.pixels.astype(float), axis=0)).mean() for one in (cine, other)]
    assert steps[0] < 0.9 * steps[1]
    basal = [(one.heart.geometry(0.0)["lv"][0, :4, :, 0] / one.heart.geometry(0.0)["lv"][0, :4, :, 1]).min()
             for one in (blurred, clear)]  # fmt: skip
    assert basal[0] < 0.9 < basal[1]
