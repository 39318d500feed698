"""A phantom cohort: the same for the same seed, with all that a cohort has, and impossible settings refused."""

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from cmrlib.phantom import make_cohort, make_study, subject_specs

SMALL = {"size": 48, "spacing_mm": 5.0, "frames": 6, "slices": 4, "progress": False}


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
