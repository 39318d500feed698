"""Motion of the mitral valve from points, the plane that cuts the stack, and the straight edge of a drawn cavity."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrlib.cine import Cine
from cmrlib.cohort import Cohort, Observer
from cmrlib.datasets.mitral_edge import edge_repeatability_pct, mitral_edge
from cmrlib.measures import RefusedError
from cmrlib.measures.valve import (
    LATE_MS,
    PHASES,
    diastolic_waves,
    heart_motion,
    point_array,
    points_jump,
    smooth_periodic,
    valve_tables,
    view_motion,
)
from cmrlib.measures.valve_plane import compare_basal_cut, cut_volumes_ml, plane_through, stack_planes
from cmrlib.phantom import make_cohort

RR_MS, MAPSE_MM = 900.0, 12.0


def plane_mm(phase):
    """Half a cosine down to MAPSE_MM at .4, back in two steps (e' at .52, a' at .9), as a heart does it."""
    phase = np.mod(phase, 1)
    down, early, late = (
        0.5 - 0.5 * np.cos(np.pi * np.clip((phase - start) / length, 0, 1))
        for start, length in ((0, 0.4), (0.42, 0.2), (0.82, 0.17))
    )
    return MAPSE_MM * (down - 0.7 * early - 0.3 * late)


def cine_of(frames=40, view="4ch", affine=None, rr_ms=RR_MS, ed=0):
    affine = np.diag([-1.5, -1.5, 6, 1.0]) if affine is None else affine
    times, pixels = np.arange(frames)[None] / frames * rr_ms, np.zeros((frames, 1, 80, 90), np.uint8)
    return Cine(pixels, affine, view, "X", frame_times_ms=times, rr_ms=np.array([rr_ms]), ed=ed)


def points_of(cine, angle_deg=30.0):
    """Two points that move as a rigid valve along their perpendicular; (frames, 2, 2) in the cine's pixels."""
    along = np.array([np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))])
    phase = (cine.frame_times_ms[0] - cine.frame_times_ms[0, cine.ed or 0]) / cine.rr_ms[0]
    centre = np.array([60.0, 55.0]) + np.outer(plane_mm(phase), [-along[1], along[0]])
    return np.stack([centre - 15 * along, centre + 15 * along], 1) / np.array(cine.spacing_mm[:0:-1])


def test_a_valve_that_is_known_gives_its_displacement_and_velocities():
    cine = cine_of()
    heart = heart_motion({"4ch": (cine, points_of(cine))})
    row = heart.metrics()
    assert row["mapse_mm"] == pytest.approx(MAPSE_MM, abs=0.15)
    # slope of half a cosine: π/2 · height / duration
    assert row["sprime_cm_s"] == pytest.approx(np.pi / 2 * MAPSE_MM / (0.4 * RR_MS) * 100, rel=0.06)
    assert row["eprime_cm_s"] == pytest.approx(np.pi / 2 * 0.7 * MAPSE_MM / (0.2 * RR_MS) * 100, rel=0.06)
    assert row["aprime_cm_s"] == pytest.approx(np.pi / 2 * 0.3 * MAPSE_MM / (0.17 * RR_MS) * 100, rel=0.15)
    assert row["eprime_time_ms"] == pytest.approx(0.52 * RR_MS, abs=25)
    assert row["mapse_time_ms"] == pytest.approx(0.4 * RR_MS, abs=30)
    assert heart.displacement_mm(np.array([0.0])) == pytest.approx([0.0], abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.floats(-180, 180), *[st.floats(0.8, 2.5)] * 2, st.integers(0, 29), st.sampled_from([-1, 1]))
def test_orientation_pixels_and_the_place_of_ed_do_not_matter(angle, row_mm, column_mm, ed, mirror):
    cine = cine_of(30, affine=np.diag([column_mm * mirror, -row_mm, 6, 1.0]), ed=ed)
    points = points_of(cine, angle)
    found, swapped = (heart_motion({"4ch": (cine, p)}).metrics()["mapse_mm"] for p in (points, points[:, ::-1]))
    assert found == pytest.approx(MAPSE_MM, abs=0.2) and swapped == pytest.approx(found, abs=1e-6)


def test_views_of_different_rr_are_averaged_by_phase_and_each_has_its_own_speed():
    slow, fast = cine_of(rr_ms=1200.0), cine_of(rr_ms=800.0, view="2ch")
    both = heart_motion({"4ch": (slow, points_of(slow)), "2ch": (fast, points_of(fast))})
    alone = [heart_motion({"x": (c, points_of(c))}).metrics() for c in (slow, fast)]
    row = both.metrics()
    assert row["mapse_mm"] == pytest.approx(MAPSE_MM, abs=0.15)
    assert row["eprime_cm_s"] == pytest.approx(np.mean([a["eprime_cm_s"] for a in alone]), rel=1e-3)
    assert both.rr_ms == 1000 and not both.flags


@pytest.mark.parametrize(("factor", "flags"), [(0.7, []), (0.5, ["views_disagree"])])
def test_views_that_show_different_valves_are_flagged(factor, flags):
    cine, other = cine_of(), cine_of(view="2ch")
    points = points_of(other)
    assert MAPSE_MM * 0.3 < 5 < MAPSE_MM * 0.5
    heart = heart_motion({"4ch": (cine, points_of(cine)), "2ch": (other, points[:1] + factor * (points - points[:1]))})
    assert heart.flags == flags


def test_one_view_missing_is_said_and_few_frames_or_unknown_spacing_are_refused():
    cine, few = cine_of(), (cine_of(6, "2ch"), np.zeros((6, 2, 2)))
    pair = cine, points_of(cine)
    assert heart_motion({"4ch": pair, "2ch": few}).flags == ["2ch_not_used", "only_4ch"]
    with pytest.raises(RefusedError, match="no view gives .* in 6 of 6 frames"):
        heart_motion({"2ch": few})
    with pytest.raises(ValueError, match="points have shape"):  # a mistake of the caller, not of the data
        heart_motion({"4ch": pair, "2ch": (cine_of(view="2ch"), np.zeros((6, 2, 2)))})
    with pytest.raises(ValueError, match="spacing is unknown"):
        view_motion(replace(cine, spacing_known=False), pair[1])
    pair[1][7:] = np.nan
    with pytest.raises(ValueError, match="mitral points in 7 of 40 frames"):
        view_motion(*pair)


def test_an_l_wave_in_mid_diastole_is_no_a_wave():
    def bump(at, height, width=0.03):
        return height * np.exp(-((PHASES - at) ** 2) / (2 * width**2))

    rr = 1200.0
    speed = bump(0.5, 10) + bump(0.68, 4) + bump(0.9, 5)
    waves = diastolic_waves(speed, 200, rr)
    assert [PHASES[waves[name]] for name in ("eprime", "aprime")] == pytest.approx([0.5, 0.9], abs=0.005)
    assert set(diastolic_waves(bump(0.5, 10) + bump(0.68, 4), 200, rr)) == {"eprime"}
    assert rr * (1 - 0.68) > LATE_MS
    stiff = diastolic_waves(bump(0.5, 4) + bump(0.9, 8), 200, rr)  # an a' above e' stays the a'
    assert [PHASES[stiff[name]] for name in ("eprime", "aprime")] == pytest.approx([0.5, 0.9], abs=0.005)
    assert diastolic_waves(-np.ones(len(PHASES)), 200, rr) == {}


def test_unknown_times_give_displacement_but_no_velocity():
    heart = heart_motion({"4ch": (replace(cine_of(), frame_times_ms=None, rr_ms=None), points_of(cine_of()))})
    row = heart.metrics()
    assert row["mapse_mm"] == pytest.approx(MAPSE_MM, abs=0.15) and np.isnan(row["eprime_cm_s"])
    assert "4ch_times_unknown" in heart.flags


def test_smoothing_has_the_gain_that_it_states():
    phase, wave, share = np.arange(60) / 60, 4, 0.05
    values = np.cos(2 * np.pi * wave * phase)[:, None] + 3
    smooth = smooth_periodic(values, phase, share)[:, 0]
    assert smooth[0] == pytest.approx(3)
    assert smooth[wave] == pytest.approx(1 / (1 + (2 * np.pi * wave * share) ** 4), rel=1e-6)
    assert np.abs(np.delete(smooth, [0, wave])).max() < 1e-9


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    settings = {"frames": 20, "size": 48, "spacing_mm": 4.0, "diagnoses": ["NOR", "DCM", "AF"], "workers": 1}
    return make_cohort(tmp_path_factory.mktemp("valve") / "c", 5, 7, progress=False, **settings)


def test_true_points_give_the_true_mapse_and_velocities(hearts):
    motion, metrics = valve_tables(hearts, "truth")
    truth = hearts.observer("truth").measures().set_index("participant_id")
    metrics = metrics.set_index("participant_id")
    assert (metrics["views"] == "2ch+4ch").all() and (metrics["flags"] == "").all()
    for name, most in (("mapse_mm", 0.5), ("sprime_cm_s", 1), ("eprime_cm_s", 1.5)):
        assert (metrics[name] - truth[name]).abs().max() < most, name
    assert (metrics["aprime_cm_s"].isna() == truth["aprime_cm_s"].isna()).all() and truth["aprime_cm_s"].isna().any()
    assert set(motion["view"]) == {"2ch", "4ch", "mean"} and len(motion) == 5 * 3 * 20


def test_doubtful_points_become_a_flag_and_no_number(hearts, tmp_path):
    observer = Observer(tmp_path / "unsure")
    for name in hearts.cines.loc[hearts.cines["view"].isin(["2ch", "4ch"]), "cine"]:
        table = hearts.observer("truth").points(name).assign(confidence=0.2 if "2ch" in name else 0.9)
        path = observer._file(name, "points.tsv")
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, sep="\t", index=False)
    laid = Cohort.open(hearts.path, [observer.path])
    _, metrics = valve_tables(laid, "unsure", least_confidence=0.5)
    assert (metrics["views"] == "4ch").all() and metrics["flags"].str.contains("2ch_valve_not_found").all()
    assert metrics["mapse_mm"].notna().all()
    _, none = valve_tables(laid, "unsure", least_confidence=0.95)
    assert none["mapse_mm"].isna().all() and (none["views"] == "").all()


def test_points_that_go_faster_than_a_valve_are_flagged(hearts):
    cine = hearts.cine(hearts.cines.loc[hearts.cines["view"] == "4ch", "cine"].iloc[0])
    points = point_array(hearts.observer("truth").points(cine.name), "4ch", cine.frames)
    astray = points.copy()
    astray[7, 0] += 20 / cine.spacing_mm[2]  # 20 mm aside in one frame
    assert points_jump(cine, astray) and not points_jump(cine, points)
    assert not points_jump(replace(cine, frame_times_ms=None, rr_ms=None), astray)


def cylinder(length_mm=83.0, width_mm=10.0, radius_px=12, slices=12, tilt=0.0):
    """A stack whose LV is a cylinder along the slices; the valve at z = 0 at its axis, slices centred at 4, 14, …"""
    mask = np.zeros((1, slices, 40, 40), np.uint8)
    rows, columns = np.mgrid[:40, :40]
    inside = (rows - 19.5) ** 2 + (columns - 19.5) ** 2 < radius_px**2
    affine = np.diag([2.0, 2.0, width_mm, 1.0])
    affine[:3, 3] = [-39.0, -39.0, 4.0 - 2 * width_mm]
    centre_z = affine[2, 3] + width_mm * np.arange(slices)
    for k, z in enumerate(centre_z):
        mask[0, k] = inside & (z >= tilt * (2.0 * columns - 39.0)) & (z < length_mm)
    cine = Cine(mask, affine, "sax", "X")
    normal = np.array([-tilt, 0, 1.0]) / np.hypot(1, tilt)
    return cine, mask, (np.zeros(3), normal), inside.sum() * 4.0 / 1000


@pytest.mark.parametrize("tilt", [0.0, 0.25])
def test_a_cylinder_ends_at_the_valve(tilt):
    cine, mask, plane, ml_per_mm = cylinder(tilt=tilt)
    # the last slice reaches half-way on: the apical end stays as discs have it
    end_mm = cine.affine[2, 3] + 10 * np.flatnonzero(mask[0].any((1, 2)))[-1] + 5
    cut = cut_volumes_ml(cine, mask, {0: plane})[0]
    discs = (mask == 1).sum() * 4.0 * 10 / 1000
    assert cut == pytest.approx(ml_per_mm * end_mm, rel=0.015)
    if tilt == 0:
        assert abs(discs - ml_per_mm * end_mm) > 0.5 * ml_per_mm  # the discs begin at −1, the valve at 0


def test_a_plane_takes_two_views():
    with pytest.raises(ValueError, match="on one line"):
        plane_through([[0, 0, 0], [1, 0, 0], [2, 0, 0.0]], [0, 0, 5])
    point, normal = plane_through([[1, 0, 3], [-1, 0, 3], [0, 1, 3], [0, -1, 3]], [0, 0, 50])
    assert point == pytest.approx([0, 0, 3]) and normal == pytest.approx([0, 0, 1])
    sax = cine_of(view="sax")
    with pytest.raises(ValueError, match="2CH and 4CH"):
        stack_planes(sax, {"4ch": (sax, points_of(sax))}, np.zeros(3))


def test_volumes_with_and_without_the_plane_stand_side_by_side(hearts):
    pointed = {e.participant_id: e.views for e in hearts.examinations("truth", of="points")}
    for participant, _, views in hearts.examinations("truth"):
        sax, drawn = views["sax"]
        found = {v: (c, point_array(a.points, v, c.frames)) for v, (c, a) in pointed[participant].items()}
        row = compare_basal_cut(sax, drawn.mask, found)
        assert row["note"] == "" and row["lvedv_ml"] > row["lvesv_ml"] > 0
        assert row["lvedv_cut_ml"] == pytest.approx(row["lvedv_ml"], rel=0.25)
        one = compare_basal_cut(sax, drawn.mask, dict([*found.items()][:1]))
        assert one["lvedv_ml"] == row["lvedv_ml"] and np.isnan(one["lvef_cut_pct"])
        assert "takes 2CH and 4CH" in one["note"]


def drawn_heart(angle_deg=0.0, size=160, atrium=True):
    """(cavity, image, true points): half an ellipse that ends in a straight edge, blood on both sides of it, turned."""
    angle = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    rows, columns = np.mgrid[:size, :size]
    x, y = np.moveaxis((np.stack([columns, rows], -1) - size / 2) @ turn, -1, 0)  # apex along +y
    shape = (x / 17) ** 2 + (y / 45) ** 2 < 1
    cavity = shape & (y > -22)
    image = np.where((x / 24) ** 2 + ((y - 3) / 52) ** 2 < 1, 40.0, 90.0)
    image[shape & (y > -22)] = 200
    if atrium:
        image[((x / 20) ** 2 + ((y + 40) / 19) ** 2 < 1) & (y <= -22)] = 190
    half = 17 * np.sqrt(1 - (22 / 45) ** 2)
    return cavity, image, np.array([[-half, -22.0], [half, -22.0]]) @ turn.T + size / 2


@pytest.mark.parametrize("angle", range(0, 360, 40))
def test_the_edge_of_a_drawn_cavity_is_found_whichever_way_it_lies(angle):
    cavity, image, truth = drawn_heart(angle)
    edge = mitral_edge(cavity, image)
    assert not edge.refused and edge.residual_px < 0.5
    # with the apex down the first point lies left: on the side of −x, the first of the truth
    assert np.hypot(*(edge.points_px - truth).T).max() < 2.0
    assert edge_repeatability_pct(cavity, image) < 6


def test_what_is_doubtful_is_refused_with_a_reason():
    cavity, image, _ = drawn_heart()
    dark = np.where(cavity, 200.0, 40.0)
    assert mitral_edge(cavity, dark).refused == "no blood beyond the edge"
    assert "pixels" in mitral_edge(np.zeros((50, 50), bool)).refused
    rows, columns = np.mgrid[:100, :100]
    disc = (rows - 50) ** 2 + (columns - 50) ** 2 < 30**2
    assert "straight edge" in mitral_edge(disc, np.full((100, 100), 100.0)).refused
    assert "border" in mitral_edge(cavity[:110], image[:110]).refused
    assert np.isnan(mitral_edge(np.zeros((50, 50), bool)).points_px).all()


def test_points_of_a_table_stand_in_the_order_of_the_view():
    table = pd.DataFrame(
        {"frame": [0, 0, 2], "name": ["septal", "lateral", "lateral"], "column_px": [1.5, 2, 3], "row_px": [4.0, 5, 6]}
    )
    points = point_array(table, "4ch", 3)
    assert points[0].tolist() == [[2, 5], [1.5, 4]] and np.isnan(points[1]).all() and np.isnan(points[2, 1]).all()
