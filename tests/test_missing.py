"""A picture that was never there: networks say nothing of it, and nothing is measured on it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import MITRAL_POINTS, NOT_ANNOTATED
from cmrlib.cohort import Annotation, Cohort
from cmrlib.cohort.study import Study, finish_cohort, write_study
from cmrlib.measures import whole_sections
from cmrlib.measures.arealength import chamber_curve
from cmrlib.measures.valve import view_motion
from cmrlib.papers import heartmae, sslhf, tempreg
from cmrlib.papers.cussp import MitralRegurgitation, RefusedError, prepare
from cmrlib.papers.mvnet import MitralPoints, MitralTracking
from cmrlib.papers.ternausnet import Segmentation

FRAMES, HOLE = 10, 4


@pytest.fixture(scope="module", autouse=True)
def seeded():
    torch.manual_seed(0)


def cine(view, slices, label="a") -> Cine:
    """A beating disc; the last slice lacks one frame."""
    rows, columns = np.indices((64, 64)) - 32
    pixels = np.zeros((FRAMES, slices, 64, 64), np.uint16)
    for t in range(FRAMES):
        pixels[t] = 400 * (np.hypot(rows, columns) < 14 + 4 * np.cos(2 * np.pi * t / FRAMES)) + 100
    pixels[HOLE, -1] = 0
    times = np.tile(40.0 * np.arange(FRAMES), (slices, 1))
    times[-1, HOLE] = np.nan
    return Cine(
        pixels,
        np.diag([2.0, 2, 8, 1]),
        view,
        label,
        frame_times_ms=times,
        rr_ms=np.full(slices, 400.0),
        flags=("missing_frames",),
        meta={"missing": [[slices - 1, HOLE]]},
    )


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    root = tmp_path_factory.mktemp("holes")
    truth = {"truth": {f"sub-a_view-{view}": Annotation(frames={"ed": 0, "es": 5}) for view in ("sax", "4ch")}}
    study = Study({"participant_id": "a", "group": "x"}, [cine("sax", 3), cine("4ch", 1)], truth)
    return finish_cohort(root, {"Name": "holes"}, [write_study(root, study)])


def test_where_pictures_are_missing():
    assert np.argwhere(cine("sax", 3).missing).tolist() == [[2, HOLE]]
    assert not replace(cine("sax", 3), meta={}).missing.any()


def test_sections_with_a_hole_are_not_looked_at(cohort):
    split = pd.Series({"a": "train"})
    assert {row.view: whole_sections(cohort, row) for row in cohort.cines.itertuples()} == {"sax": [0, 1], "4ch": []}
    for table in (
        tempreg.clips.section_table(cohort, "truth", split),
        heartmae.section_table(cohort, split, sax_share=1.0),
    ):
        assert list(zip(table["view"], table["k"])) == [("sax", 0), ("sax", 1)]
    drawn = np.ones((FRAMES, 3, 64, 64), np.uint8)
    assert sslhf.lv_slices(cine("sax", 3), share=1.0) == [0, 1]
    assert sslhf.lv_slices(cine("sax", 3), Annotation(drawn, {0: ("lv",)})) == [0, 1]
    with pytest.raises(RefusedError, match="frames missing"):
        prepare(cine("4ch", 1), Annotation(drawn[:, :1], {}), MitralRegurgitation())


def test_masks_say_nothing_of_a_missing_picture(cohort, tmp_path):
    task = Segmentation(("sax",), 2.0, 64, 64, 4)
    model = task.network()
    mask, confidence, _ = task.segment(model, cine("sax", 3))
    unseen = mask == NOT_ANNOTATED
    assert unseen[HOLE, 2].all() and unseen.sum() == unseen[HOLE, 2].sum()
    assert np.flatnonzero(np.isnan(confidence).all(1)).tolist() == [HOLE]
    table = task.predict(model, cohort, out=tmp_path / "net", views=("sax", "4ch"), n_tta=2).set_index("view")
    drawn = {
        view: Cohort.open(cohort.path, [tmp_path / "net"]).observer("net").mask(f"sub-a_view-{view}").annotated
        for view in ("sax", "4ch")
    }
    assert set(drawn["sax"]) == set(range(FRAMES)) and set(drawn["4ch"]) == set(range(FRAMES)) - {HOLE}
    assert table.loc["4ch", "frames"] == FRAMES - 1 and np.isfinite(table["confidence"]).all()
    only = task.segment(model, cine("4ch", 1), [HOLE])
    assert (only[0] == NOT_ANNOTATED).all() and np.isnan(only[1]).all()


def test_ed_and_es_come_from_whole_sections(cohort, tmp_path):
    task = tempreg.TempReg(("sax", "4ch"), 2.0, 32, FRAMES, width=3, features=8, hidden=6)
    model, rows = task.network(), lambda found: pd.DataFrame(found[1]).set_index("slice")
    hole, whole = cine("sax", 3), replace(cine("sax", 2), meta={}, frame_times_ms=None)
    curves, table = task.curves(model, hole), rows(task.predict_cine(model, hole))
    assert np.isnan(curves[2]).all() and np.isfinite(curves[:2]).all()
    assert table.loc[2].isna().all() and np.isfinite(table.loc[[0, 1, -1], "ed_frac"]).all()
    assert table.loc[-1, "ed_frac"] == rows(task.decode(whole, curves[:2])).loc[-1, "ed_frac"]
    found = task.predict(model, cohort, out=tmp_path / "frames").set_index(["view", "slice"])
    assert found.loc["4ch", "ed_frac"].isna().all() and np.isfinite(found.loc[("sax", -1), "ed_frac"])
    observer = Cohort.open(cohort.path, [tmp_path / "frames"]).observer("frames")
    assert observer.has("sub-a_view-sax", "frames.tsv") and not observer.has("sub-a_view-4ch", "frames.tsv")


@pytest.mark.parametrize("known", [True, False])
def test_a_missing_frame_has_no_mitral_points(known):
    task = MitralTracking(("4ch",), MitralPoints(scale=0.25, backbone="resnet10"))
    model = task.network().eval()

    def points_of(one):
        return task.predict_cine(model, one, precision="fp32")[0].points

    hole = replace(cine("4ch", 1), spacing_known=known)
    points = points_of(hole)
    gone = points[points["frame"] == HOLE]
    assert gone[["column_px", "x_mm", "confidence"]].isna().all(axis=None) and len(points) == 2 * FRAMES
    assert np.isfinite(points[points["frame"] != HOLE]["column_px"]).all()
    bright = hole.pixels.copy()
    bright[HOLE] = 900  # whatever stands there has no say
    np.testing.assert_array_equal(points_of(replace(hole, pixels=bright))["column_px"], points["column_px"])


def test_nothing_is_measured_in_a_missing_frame_of_a_long_axis():
    mask = np.zeros((FRAMES, 1, 64, 64), np.uint8)
    mask[:, 0, 20:40, 20:40] = 4
    mask[:, 0, 40:60, 20:40] = 1
    drawn = Annotation(mask, dict.fromkeys(range(FRAMES), ("la", "lv")))
    area, length = chamber_curve(cine("4ch", 1), drawn, "la")
    assert np.flatnonzero(np.isnan(area)).tolist() == np.flatnonzero(np.isnan(length)).tolist() == [HOLE]
    path = np.stack(
        [[[20, 30 + np.cos(2 * np.pi * t / FRAMES)], [44, 30 + np.cos(2 * np.pi * t / FRAMES)]] for t in range(FRAMES)]
    )
    wild = path.copy()
    wild[HOLE] += 25  # a point that somebody put into the black frame
    hole = replace(cine("4ch", 1), frame_times_ms=40.0 * np.arange(FRAMES)[None])
    assert len(MITRAL_POINTS["4ch"]) == 2
    np.testing.assert_array_equal(
        view_motion(hole, wild, 0).fit.value([0.0, 0.5]), view_motion(hole, path, 0).fit.value([0.0, 0.5])
    )
