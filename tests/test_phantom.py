"""The phantom against closed forms, published means and its own truth."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cmrlib.phantom import ACDC_GROUPS, Heart, Protocol, Scan, draw_subject, make_cohort
from cmrlib.phantom.anatomy import cut_volume_ml, truncated_ellipsoid
from cmrlib.phantom.appearance import draw_look, steady_state
from cmrlib.phantom.physiology import RANGES_95, cycle
from cmrlib.phantom.tissue import LV, MYO

STEP_MM = 1.5
SMALL = {"size": 48, "spacing_mm": 5.0, "frames": 6, "slices": 4, "progress": False}


@pytest.fixture(scope="module")
def people():
    return [draw_subject(11, k) for k in range(600)]


@pytest.fixture(scope="module")
def table(people):
    return pd.DataFrame([s.measures() | {"sex": s.sex, "diagnosis": s.diagnosis, "group": s.group} for s in people])


@pytest.fixture(scope="module")
def scan():
    return Scan(Heart(draw_subject(1, 5)), Protocol(size=(112, 112), spacing_mm=2.2))


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
    hearts = [Heart(s) for s in people if s.diagnosis == "HCM"][:40]
    assert min(h.wall_ed_mm + h.wall_offset_mm for h in hearts) > 15
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


@pytest.mark.parametrize("number", range(30))
def test_every_heart_can_be_built(number):
    subject = draw_subject(77, number, ("NOR", "DCM", "HCM", "MINF", "RV", "HFPEF"))
    g = Heart(subject).geometry(np.linspace(0, subject.rr_ms, 25))
    assert all(np.isfinite(g[name]).all() for name in g.dtype.names)
    assert (g["rv_h"] > 3).all() and (g["ae"] > g["a"] + np.hypot(g["ox"], g["oy"])).all()


def test_end_diastole_is_not_always_the_first_frame():
    eds = [Scan(Heart(draw_subject(1, k)), Protocol(size=(16, 16))).ed for k in range(1, 31)]
    assert 15 <= sum(ed == 0 for ed in eds) < 28


def test_mitral_points_lie_where_atrium_and_ventricle_meet_the_wall(scan):
    for view, names in (("4ch", ("lateral", "septal")), ("2ch", ("anterior", "inferior"))):
        plan = scan.plan(view)
        points = scan.mitral_points(plan)
        assert set(points.name) == set(names) and len(points) == 40
        pixels = np.c_[points.column_px, points.row_px, np.zeros(40), np.ones(40)]
        assert (pixels @ plan.affine.T)[:, :3] == pytest.approx(points[["x_mm", "y_mm", "z_mm"]].to_numpy())
        hearts = (pixels @ plan.to_heart.T)[:, :3]
        for t, point in zip(points.frame, hearts):
            g = scan.geometry[t]
            assert point[2] == pytest.approx(g["zb"], abs=1e-6) and np.hypot(*point[:2]) == pytest.approx(g["ring"])
            inward = point * [0.93, 0.93, 1]
            deeper, outward = np.array([0, 0, 1.0]), point * [1.08, 1.08, 1]
            around = scan.heart.labels([inward + deeper, inward - deeper, outward + deeper / 2], scan.times_ms[t])
            assert around.tolist() == [1, 4, 2]


def test_mapse_is_what_the_points_do(scan):
    for view in ("4ch", "2ch"):
        points = scan.mitral_points(scan.plan(view)).sort_values(["frame", "name"])
        xyz = points[["x_mm", "y_mm", "z_mm"]].to_numpy().reshape(20, 2, 3)
        chord = xyz[scan.ed, 1] - xyz[scan.ed, 0]
        moved = xyz[scan.es].mean(0) - xyz[scan.ed].mean(0)
        across = moved - chord * (moved @ chord) / (chord @ chord)
        assert np.linalg.norm(across) == pytest.approx(scan.heart.subject.mapse_mm, rel=0.03)


def test_views_agree_in_patient_coordinates(scan):
    sax, truth = scan.cine("sax", "P0005")
    long, long_truth = scan.cine("4ch", "P0005")
    first = np.argwhere(truth.mask[scan.ed] == 1)
    ijk1 = np.c_[first[:, ::-1], np.ones(len(first))]
    in_4ch = long.to_pixels((ijk1 @ sax.affine.T)[:, :3])
    near = in_4ch[abs(in_4ch[:, 2]) < 0.3]
    rows, columns = np.rint(near[:, 1]).astype(int), np.rint(near[:, 0]).astype(int)
    assert len(near) > 50 and (long_truth.mask[scan.ed, 0, rows, columns] == 1).mean() > 0.93
    assert (np.linalg.det(sax.affine[:3, :3]) != 0) and sax.slice_position_mm[1] == pytest.approx(sax.spacing_mm[0])


def test_discs_of_the_truth_masks_give_the_true_ejection_fraction():
    errors = []
    for k in range(1, 13):
        scan = Scan(Heart(draw_subject(1, k)), Protocol(views=("sax",), size=(96, 96), spacing_mm=2.6, frames=20))
        scan.geometry, scan.protocol = scan.geometry[[scan.ed, scan.es]], replace(scan.protocol, frames=2)
        scan.ed, scan.es = 0, 1
        cine, truth = scan.cine("sax", "P")
        ed, es = (truth.mask == LV).sum((1, 2, 3))
        errors.append(100 * (1 - es / ed) - scan.heart.subject.measures()["lvef_pct"])
        assert (truth.mask == MYO).sum((1, 2, 3)) * cine.voxel_ml == pytest.approx(scan.heart.myocardium_ml, rel=0.12)
    assert abs(np.mean(errors)) < 2 and np.std(errors) < 4


def test_signal_is_the_steady_state_of_the_notes():
    muscle = steady_state(80, 900, 50, 54)
    assert steady_state(95, 1200, 100, 54) / muscle == pytest.approx(1.64, abs=0.01)
    assert steady_state(95, 1200, 250, 54) / muscle == pytest.approx(3.0, abs=0.05)
    looks = [draw_look(np.random.default_rng(k), 1.8) for k in range(200)]
    ratios = [look.signal[LV] / look.signal[MYO] for look in looks]
    assert min(ratios) >= 1.6 - 1e-4 and max(ratios) <= 3.0 + 1e-4 and np.std(ratios) > 0.2


def test_images_show_bright_blood_dark_lung_and_noise(scan):
    cine, truth = scan.cine("4ch", "P")
    image, mask = cine.pixels[:, 0], truth.mask[:, 0]
    blood, muscle = np.median(image[mask == LV]), np.median(image[mask == MYO])
    assert 1.3 < blood / muscle < 3.5 and np.percentile(image, 5) < 0.25 * blood
    assert set(np.unique(mask)) == {0, 1, 2, 3, 4, 5}
    assert not np.array_equal(image[0], image[1])


def test_a_rescan_is_the_same_heart_under_a_new_scan():
    heart = Heart(draw_subject(1, 2))
    scans = [Scan(heart, Protocol(size=(48, 48), spacing_mm=5.0, frames=3), rescan=n) for n in (0, 1, 1)]
    images = [s.cine("4ch", "P")[0].pixels for s in scans]
    assert np.array_equal(images[1], images[2]) and not np.array_equal(images[0], images[1])
    assert scans[0].body == scans[1].body and np.array_equal(scans[0].axes, scans[1].axes)


@pytest.mark.parametrize("wrong", [{"subjects": 0}, {"frames": 1}, {"size": 8}, {"views": ("sax", "5ch")},
                                   {"diagnoses": ("FLU",)}, {"spacing_mm": 0}, {"slices": 2}])
def test_impossible_orders_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="expected|does not know"):
        make_cohort(tmp_path / "x", **wrong)
    with pytest.raises(ValueError, match="unknown diagnoses"):
        draw_subject(1, 1, ("FLU",))
