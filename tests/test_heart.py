"""The moving heart against closed forms, prescribed volumes and continuity."""

from dataclasses import replace

import numpy as np
import pytest

from cmrlib.phantom import DIAGNOSES, Heart, sample_subject, tissue
from cmrlib.phantom.acquisition import Protocol, Scan
from cmrlib.phantom.atria import fill, lengths, limits, oval
from cmrlib.phantom.body import paint_body, sample_axes, sample_body
from cmrlib.phantom.jets import Plume
from cmrlib.phantom.physiology import streams
from cmrlib.phantom.protocol import VIEWS
from cmrlib.phantom.tissue import AIR, ANGLES, AORTA, INFLOW_LV, JET_LA, LA, LABEL_OF, LEAFLET_LV, LEVELS, LV, MYO
from cmrlib.phantom.ventricles import OUTLET_RAD, THETA, bulge_coefficient, profile_terms, weighted


def _grid(step_mm, low=(-115, -75, -75), high=(60, 85, 130)):
    """One point in each voxel, anywhere in it: valve planes lie between two layers of a regular grid."""
    axes = (np.arange(a, b, step_mm) for a, b in zip(low, high))
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    return points + step_mm * np.random.default_rng(0).random(points.shape)


def _assert_volumes(heart, times_ms, step_mm, rel, *box):
    """Voxels of label maps hold the prescribed volumes."""
    points = _grid(step_mm, *box)
    for time in times_ms:
        counted = np.bincount(heart.labels(points, time), minlength=6)[1:] * step_mm**3 / 1000
        for column, (name, truth) in zip((0, 2, 3, 4), heart.volumes([time]).items()):
            assert counted[column] == pytest.approx(truth[0], rel=rel, abs=1.0), (name, time)
        assert counted[1] == pytest.approx(heart.myocardium_ml, rel=0.03)


def test_tables_hold_the_volumes_of_known_solids():
    u = np.linspace(0, 1, LEVELS)[:, None]
    volume, ring, length = 150_000.0, 16.0, 95.0
    kappa = bulge_coefficient(volume, ring, length)
    cavities = [ring**2 * base + kappa * belly for base, belly in (profile_terms(u, skew) for skew in (0.0, 0.8))]
    solids = [(20**2 + 0 * u, np.pi * 20**2 * length), ((20 * (1 - u)) ** 2, np.pi * 20**2 * length / 3)]
    for squared, exact in [*solids, *((one, volume) for one in cavities)]:  # cylinder, cone, cavities
        table = np.broadcast_to(squared, (LEVELS, ANGLES + 1))
        assert np.pi * length * weighted(table) == pytest.approx(exact, rel=1e-3)
    # without skew a cut ellipsoid, R² = a² (1 - ((z - centre) / c)²): half axes by completing the square
    centre = length / 2 * (1 - ring**2 / kappa)
    c = length - centre
    assert cavities[0] == pytest.approx(kappa / length**2 * c**2 * (1 - ((u * length - centre) / c) ** 2), abs=1e-6)


def test_atrium_is_filled_up_to_the_septum_and_refuses_the_impossible():
    volume, mouth, plane = np.array([30.0, 80.0]), np.array([16.0, 17.0]), np.array([0.0, 13.0])
    length = lengths(volume, mouth, plane)
    limit = limits(0.0, 12.0, plane, length, -20.0, 1)
    table = fill(volume, mouth, length, limit, oval(1.3, 0.8))
    assert np.pi * length * weighted(table) == pytest.approx(1000 * volume, rel=1e-5)
    assert (table <= limit**2 + 1e-6).all() and length[1] > length[0]
    with pytest.raises(ValueError, match="no atrium of 5.0 mL"):
        fill(np.array([5.0]), np.array([20.0]), np.array([40.0]), np.full((1, 1, 1), 99.0), oval(1.0, 0.0))


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])  # one of each ACDC group
def test_label_maps_hold_the_prescribed_volumes_through_the_cycle(number):
    heart = Heart(sample_subject(1, number))
    _assert_volumes(heart, np.array([0, 0.3, 0.9]) * heart.subject.rr_ms, 2.0, rel=0.02)


@pytest.mark.parametrize("number", range(8))
def test_extremes_make_a_heart_whose_volumes_hold(number):
    rng = np.random.default_rng([9, number])
    ends = ((45, 400), (60, 450), (15, 300), (15, 300), (40, 350))
    edv, rv, la, ra, mass = (np.exp(rng.uniform(*np.log(pair))) for pair in ends)
    length = 97 * (edv / 163) ** (1 / 3) * rng.uniform(0.88, 1.1)
    changes = {"lvedv_ml": edv, "rvedv_ml": rv, "la_max_ml": la, "ra_max_ml": ra, "lvm_g": mass, "lv_length_mm": length}
    for name, largest, low, high in (
        ("lvesv_ml", edv, 0.18, 0.91), ("rvesv_ml", rv, 0.3, 0.85), ("la_min_ml", la, 0.25, 0.9),
        ("ra_min_ml", ra, 0.3, 0.9),
    ):  # fmt: skip
        changes[name] = largest * rng.uniform(low, high)
    subject = sample_subject(6, number, tuple(DIAGNOSES))
    heart = Heart(replace(subject, **changes, mapse_mm=min(subject.mapse_mm, 0.21 * length)))
    _assert_volumes(heart, (0.0, heart.subject.es_ms), 3.0, 0.03, (-170, -110, -130), (130, 130, 170))


def _thickening(heart):
    """Wall thickness (ED, ES) at mid level by angle, mm."""
    g = heart.geometry([0.0, heart.subject.es_ms])
    return np.sqrt(g["lv"][:, 25, :, 2]) - np.sqrt(g["lv"][:, 25, :, 1])


@pytest.mark.parametrize(
    ("territory", "angle_deg", "remote_deg"), [("lad", 115, -60), ("rca", -108, 70), ("lcx", -18, 180)]
)
def test_an_infarct_stays_thin_and_still_where_its_artery_runs(territory, angle_deg, remote_deg):
    heart = Heart(replace(sample_subject(1, 3, ("MINF",)), infarct_territory=territory))
    columns = [round(angle % 360 / 360 * ANGLES) for angle in (angle_deg, remote_deg)]
    ed, es = _thickening(heart)[:, columns]
    assert ed[0] < 0.8 * ed[1]  # scar is thin
    assert es[0] / ed[0] < 1.2 < es[1] / ed[1]  # and does not thicken
    g = heart.geometry([0.0, heart.subject.es_ms])
    moved = np.sqrt(g["lv"][0, 25, columns, 1]) - np.sqrt(g["lv"][1, 25, columns, 1])
    assert abs(moved[0]) < 0.35 * moved[1]
    wall = (g["lv"][..., 2] - g["lv"][..., 1]) * g["reach"][:, None, None]
    assert wall[1] == pytest.approx(wall[0], rel=1e-3, abs=0.5)  # every element of it keeps its volume


def test_septum_of_hypertrophic_hearts_is_thick_and_the_rest_is_less():
    for number in range(12):
        thickness = _thickening(Heart(sample_subject(3, number, ("HCM",))))[0]
        septum = thickness[round(165 / 360 * ANGLES)]
        assert septum > 15 and septum > 1.15 * thickness[0]


def test_geometry_is_continuous_and_periodic():
    subject = sample_subject(1, 7, ("MR",))
    g = Heart(subject).geometry(np.linspace(0, subject.rr_ms, 161))
    for name in ("zb", "zt", "ring", "length", "la_length", "ra_length", "rv_h"):
        assert abs(np.diff(g[name])).max() < 2.2, name
        assert g[name][0] == pytest.approx(g[name][-1], abs=1e-6), name
    for name in ("lv", "la", "ra"):
        radius = np.sqrt(g[name])
        assert abs(np.diff(radius[:, ::4, ::4], axis=0)).max() < 4.5, name
        assert radius[0] == pytest.approx(radius[-1], abs=1e-3), name


@pytest.mark.parametrize("number", range(1, 6))
def test_nothing_of_the_heart_lies_outside_its_box(number):
    heart = Heart(sample_subject(1, number, tuple(DIAGNOSES)))
    points = _grid(4.0, (-150, -120, -150), (120, 120, 150))
    for time in (0.0, heart.subject.es_ms):
        low, high = heart.box_mm(heart.geometry(time))
        beyond = points[~((points > low) & (points < high)).all(1)]
        assert (heart.tissue(beyond, time) == AIR).all() and len(beyond) > 10_000


def test_mitral_leaflets_close_in_systole_and_let_blood_in_later():
    subject = sample_subject(1, 5)
    heart, times = Heart(subject), np.linspace(0, subject.rr_ms, 200)
    opened = times[heart.geometry(times)["mitral_open"].argmax()]
    # a line through the middle of the ring crosses a leaflet in systole only
    for time, crossed in ((0.5 * subject.es_ms, True), (opened, False)):
        z = heart.geometry(time)[0]["zb"] + np.linspace(0.2, 14, 120)
        assert (heart.tissue(np.c_[np.zeros((120, 2)), z], time) == LEAFLET_LV).any() == crossed


def test_jet_and_inflow_lie_where_blood_runs():
    leaking, tight = (Heart(sample_subject(1, 4, (name,))) for name in ("MR", "NOR"))
    times = np.linspace(0, tight.subject.rr_ms, 100)
    early = times[tight.geometry(times)["inflow"].argmax()]
    systole = 0.5 * tight.subject.es_ms
    for heart, time, depth, code in (
        (leaking, systole, -8, JET_LA), (tight, systole, -8, LA), (tight, early, 25, INFLOW_LV), (tight, 0.0, 30, LV),
    ):  # fmt: skip
        point = np.array([[0.0, 0, heart.geometry(time)[0]["zb"] + depth]])
        assert heart.tissue(point, time).tolist() == [code]
        assert heart.labels(point, time).tolist() == [4 if depth < 0 else 1]


def test_jets_of_mr2_lean_end_and_are_not_alone():
    """A plume where and when its numbers say, no further from its start than aside_mm, and a decoy from the roof."""
    plain, radius = sample_subject(1, 4, ("NOR",)), 2.0
    for lean, aside, start, decoy in ((0.8, 1e9, 0.0, False), (0.8, 6.0, 0.4, True)):
        jet = Plume(1.0, start, 1.0, direction_rad=np.pi / 3, lean=lean, aside_mm=aside, width_mm=radius, spread=0.0)
        vein = Plume(float(decoy), 1.0, 1.5, x_mm=5.0, roof=True, width_mm=3.0, length_mm=20.0)
        heart = Heart(replace(plain, streams=(jet, vein)))
        late, early, diastole = 0.85 * plain.es_ms, 0.15 * plain.es_ms, plain.es_ms + 220
        angle = OUTLET_RAD + np.pi + np.pi / 3
        out = min(lean * 15, aside) * np.array([np.cos(angle), np.sin(angle)]) - [0.8 * np.sin(0.7 * 15), 0]
        for time, shown in ((late, True), (early, start == 0.0)):
            point = np.array([[*out, heart.geometry(time)[0]["zb"] - 15]])
            assert (heart.tissue(point, time)[0] == JET_LA) == shown
            assert heart.tissue(point + np.array([[0, 2 * radius, 0]]), time).tolist() == [LA]
        g = heart.geometry(diastole)[0]
        roof = np.array([[5.0, 0.0, g["zb"] - g["la_length"] + 8]])
        assert (heart.tissue(roof, diastole)[0] == JET_LA) == decoy


def test_aorta_leaves_the_ventricle_beside_the_mitral_ring_and_has_no_label():
    heart = Heart(sample_subject(1, 5))
    direction = np.array([np.cos(OUTLET_RAD), np.sin(OUTLET_RAD), 0])
    valve = heart.left.outlet_centre_mm * direction
    below, above = valve + np.array([0, 0, 3.0]), valve + np.array([0, 0, -9.0])
    assert heart.labels(below[None], 0.0)[0] == 1 and heart.tissue(above[None], 0.0)[0] == AORTA
    assert heart.labels(above[None], 0.0)[0] == 0
    wall = np.sqrt(np.interp(OUTLET_RAD, THETA, heart.at_ed[0]["lv"][2, :, 1])) + 3
    assert heart.labels((wall * direction + np.array([0, 0, 4.0]))[None], 0.0)[0] == MYO


def test_every_long_axis_view_shows_its_chambers():
    scan = Scan(Heart(sample_subject(1, 5)), Protocol(size=(112, 112), spacing_mm=2.2, frames=4, views=VIEWS))
    seen = {view: set(np.unique(LABEL_OF[scan.tissue(scan.plan(view), 0)])) for view in ("4ch", "2ch", "3ch")}
    assert seen["4ch"] >= {1, 2, 3, 4, 5} and {1, 2, 4} <= seen["2ch"] and {1, 2, 3, 4} <= seen["3ch"]
    assert 5 not in seen["2ch"] and AORTA in scan.tissue(scan.plan("3ch"), 0)


def test_body_holds_lungs_liver_and_spine_where_they_belong():
    heart, rng = Heart(sample_subject(1, 5)), streams(1, 5)["acquisition"]
    axes = sample_axes(rng)
    body = sample_body(rng, heart, axes)
    places = {
        (body["mid_r"] + 0.75 * body["half_r"], 10.0, 30.0): [tissue.LUNG],
        (body["mid_r"] + 60.0, 10.0, body["dome_s"] - 60.0): [tissue.LIVER, tissue.VESSEL],
        (body["mid_r"], body["mid_a"] - body["half_a"] + 18.0, 0.0): [tissue.BONE, tissue.MUSCLE],
        (0.0, 400.0, 0.0): [tissue.AIR],
    }
    codes = paint_body(np.array(list(places)) @ axes, axes, body, np.zeros(len(places), np.uint8))
    assert all(code in expected for code, expected in zip(codes, places.values()))
