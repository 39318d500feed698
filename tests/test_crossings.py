"""Outlines of two views agree where their planes cross, or what rests on them is not reported."""

from dataclasses import replace

import numpy as np
import pytest

from cmrlib import measures as m
from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.cohort import Cohort, Observer
from cmrlib.measures.crossings import (
    LEAST_AGREEMENT,
    agreement,
    agreements,
    comparable,
    crossings,
    shifted,
    slice_shifts_mm,
)
from cmrlib.measures.plausible import explain, off_sax
from cmrlib.measures.valve import FARTHEST_PCT, off_mask_pct, point_array, valve_tables
from cmrlib.phantom import Heart, Scan, make_cohort, sample_subject, subject_specs

SETTINGS = {"frames": 10, "size": 96, "spacing_mm": 2.4, "diagnoses": ["NOR"]}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return make_cohort(tmp_path_factory.mktemp("crossings") / "c", 1, 3, workers=1, progress=False, **SETTINGS)


@pytest.fixture(scope="module")
def views(cohort):
    return next(cohort.examinations("truth")).views


def moved(pair, columns):
    """The same view with its mask elsewhere in the image."""
    cine, annotation = pair
    return cine, replace(annotation, mask=np.roll(annotation.mask, columns, axis=-1))


def test_a_line_is_the_same_place_in_both_views(views):
    (sax, _), (lax, _) = views["sax"], views["4ch"]
    lines = crossings(views["sax"], views["4ch"])
    assert [line.k for line in lines] == list(range(sax.slices))
    for line in lines:
        short, long = (cine.to_world(px, k) for cine, px, k in ((sax, line.line_px, line.k), (lax, line.long_px, 0)))
        assert np.abs(short - long).max() < 1e-6
        assert np.linalg.norm(np.diff(short, axis=0), axis=1) == pytest.approx(0.5)


def test_true_outlines_agree_and_those_of_another_place_do_not(views):
    assert comparable(views) == ["4ch", "2ch"]
    assert all(value > 0.9 for value in agreements(views).values())
    elsewhere = views | {"4ch": moved(views["4ch"], 40)}
    found = agreements(elsewhere)
    assert found["4ch"] < 0.3 and found["2ch"] > 0.9
    assert off_sax(found, LEAST_AGREEMENT) == [f"4ch_off_sax:{found['4ch']:.2f}"]
    assert off_sax({"4ch": 0.1, "2ch": 0.2}, LEAST_AGREEMENT)[-1] == "sax_off_long_axes:2"
    assert comparable({"4ch": views["4ch"]}) == [] and agreements({}) == {}
    nominal = replace(views["sax"][0], affine=np.diag([1.8, 1.8, 8, 1]))
    assert comparable(views | {"sax": (nominal, views["sax"][1])}) == []  # its place is not known


def test_shifts_between_breath_holds_are_found_and_taken_back(views):
    lines = {view: crossings(views["sax"], views[view]) for view in comparable(views)}
    sax = views["sax"][0]
    found = slice_shifts_mm(sax, lines)
    axes = sax.affine[:3, :2] / np.linalg.norm(sax.affine[:3, :2], axis=0)
    heart, (spec,) = Heart(sample_subject(3, 1, ("NOR",))), subject_specs(1, 3, **SETTINGS).values()
    true = -Scan(heart, spec.protocol).plan("sax").breath_mm @ axes
    known = np.isfinite(found).all(1)
    assert known.sum() > 0.6 * sax.slices
    found, true = (one[known] - one[known].mean(0) for one in (found, true))  # the long axes were shifted too
    assert (found - true).std() < 0.6 * true.std()
    back = shifted(*views["sax"], np.where(known[:, None], slice_shifts_mm(sax, lines), np.nan))
    assert all(agreement(crossings(back, views[view])) >= agreement(one) for view, one in lines.items())
    alone = slice_shifts_mm(sax, {"4ch": lines["4ch"]})
    assert np.isnan(alone).all()  # one line knows one direction


def laid_over(cohort, folder, columns):
    """Truth's masks as another observer's, those of some views moved."""
    for view, pair in next(cohort.examinations("truth")).views.items():
        Observer(folder).write(pair[0], moved(pair, columns.get(view, 0))[1])
    return Cohort.open(cohort.path, [folder])


@pytest.mark.parametrize(("columns", "flag", "gone", "kept"), [
    ({"4ch": 40}, "4ch_off_sax", ["ra_max_ml", "la_max_ml", "lvef_biplane_pct"], ["lvef_pct", "lvm_g"]),
    ({"4ch": 40, "2ch": 40}, "sax_off_long_axes", ["lvef_pct", "rvedv_ml", "lvm_g", "la_max_ml"], []),
    ({}, "", [], ["lvef_pct", "ra_max_ml", "la_max_ml"]),
])  # fmt: skip
def test_what_rests_on_a_doubted_view_is_not_reported(cohort, tmp_path, columns, flag, gone, kept):
    laid = laid_over(cohort, tmp_path / "other", columns)
    row = m.features(laid, "other").iloc[0]
    assert (flag in row["flags"]) if flag else ("off_" not in row["flags"])
    assert row[gone].isna().all() and row[kept].notna().all()
    if flag:
        table = m.withheld(m.features(laid, "other"))
        assert "different hearts" in explain("4ch_off_sax:0.10") and flag in " ".join(table["flag"])


def test_points_and_masks_are_each_others_second_opinion(cohort, views, tmp_path):
    cine, annotation = views["4ch"]
    points = point_array(annotation.points, "4ch", cine.frames)
    assert np.median(off_mask_pct(cine, points, annotation)) < 20
    assert np.allclose(off_mask_pct(cine, points[:, ::-1], annotation), off_mask_pct(cine, points, annotation))
    assert (off_mask_pct(cine, points + 12, annotation) > FARTHEST_PCT).all()
    without = replace(annotation, mask=np.where(annotation.mask == STRUCTURES["la"], 0, annotation.mask))
    assert np.isnan(off_mask_pct(cine, points, without)).all()
    laid = laid_over(cohort, tmp_path / "other", {"4ch": 40})
    _, agreed = valve_tables(laid, "truth", masks="truth")
    _, doubted = valve_tables(laid, "truth", masks="other")
    assert agreed["views"].item() == "2ch+4ch" and doubted["views"].item() == "2ch"
    assert "4ch_points_off_mask" in doubted["flags"].item()
    laid = laid_over(cohort, tmp_path / "both", {"4ch": 40, "2ch": 40})
    _, none = valve_tables(laid, "truth", masks="both")
    assert none["mapse_mm"].isna().all() and "valve_doubtful" in none["flags"].item()
