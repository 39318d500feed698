"""What the scanner does to a known image, where the truth lies after it, and what a scan owes to its seed."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cmrlib.phantom import Heart, Protocol, Scan, sample_subject
from cmrlib.phantom import tissue as kind
from cmrlib.phantom.artefacts import Imager, bands, filtered, off_resonance_hz, sample_artefacts, transfer
from cmrlib.phantom.contrast import coil, passband, sample_contrast, steady_state
from cmrlib.phantom.protocol import DOMAINS, EFFECTS, SCANNERS
from cmrlib.phantom.tissue import LV, MYO

SIZE, STEP_MM, FRAMES = (96, 80), 2.0, 8


@pytest.fixture(scope="module")
def scan():
    return Scan(Heart(sample_subject(1, 5)), Protocol(size=(112, 112), spacing_mm=2.2, effects=()))


def test_end_diastole_is_not_always_the_first_frame():
    eds = [Scan(Heart(sample_subject(1, k)), Protocol(size=(16, 16))).ed for k in range(1, 31)]
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
            deeper, outward = np.array([0, 0, 1.0]), point * [1.2, 1.2, 1]
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
        scan = Scan(Heart(sample_subject(1, k)), Protocol(views=("sax",), size=(96, 96), spacing_mm=2.6, effects=()))
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
    contrasts = [sample_contrast(np.random.default_rng(k), SCANNERS["B"]) for k in range(200)]
    ratios = [contrast.signal[LV] / contrast.signal[MYO] for contrast in contrasts]
    assert min(ratios) >= 1.7 - 1e-4 and max(ratios) <= 4.2 + 1e-4 and np.std(ratios) > 0.2


def test_images_show_bright_blood_dark_lung_and_noise():
    cine, truth = Scan(Heart(sample_subject(1, 5)), Protocol(size=(112, 112), spacing_mm=2.2)).cine("4ch", "P")
    image, mask = cine.pixels[:, 0], truth.mask[:, 0]
    blood, muscle = np.median(image[mask == LV]), np.median(image[mask == MYO])
    assert 1.3 < blood / muscle < 4.5 and np.percentile(image, 5) < 0.25 * blood
    assert set(np.unique(mask)) == {0, 1, 2, 3, 4, 5}
    assert not np.array_equal(image[0], image[1])


def test_a_rescan_is_the_same_heart_under_a_new_scan():
    heart = Heart(sample_subject(1, 2))
    scans = [Scan(heart, Protocol(size=(48, 48), spacing_mm=5.0, frames=3), rescan=n) for n in (0, 1, 1)]
    images = [s.cine("4ch", "P")[0].pixels for s in scans]
    assert np.array_equal(images[1], images[2]) and not np.array_equal(images[0], images[1])
    assert scans[0].body == scans[1].body and np.array_equal(scans[0].axes, scans[1].axes)


# --- each effect on a known image ------------------------------------------------------------------------------------


def _codes(beating=True):
    """A disc of blood in a square of muscle in air, three equal sub-slices; in frame 0 the disc is larger."""
    y, x = np.indices(SIZE)
    codes = np.zeros((3, FRAMES, *SIZE), np.uint8)
    codes[..., 20:76, 16:64] = kind.MUSCLE
    for t in range(FRAMES):
        codes[:, t, np.hypot(y - 48, x - 40) < (16 if t == 0 and beating else 12)] = kind.LV
    return codes


def _imaged(effects, codes, speed=None, front_px=(0.0, 0.0), **changes):
    """Pixels over grey scale, float, of a scanner without texture that does only what `effects` name."""
    contrast = replace(
        sample_contrast(np.random.default_rng(0), SCANNERS["A"], "A"),
        flicker=0.05,
        sharpen=0.0,
        evened=0.0,
        grey=1500.0,
        gamma=1.0,
        texture=np.zeros(kind.TISSUES, np.float32),
        noise=0.05,
        inflow=0.2,
        blur_mm=3.0,
    )
    protocol = Protocol(FRAMES, size=SIZE, spacing_mm=STEP_MM, effects=effects)
    drawn = sample_artefacts(np.random.default_rng(1), effects, contrast, protocol, 1, sample_subject(1, 5), True)
    imager = Imager(contrast, replace(drawn, **changes), protocol, np.random.default_rng(2))
    one = np.ones(SIZE, np.float32)
    pixels = imager(0, codes, one, one, None, front_px, np.zeros(FRAMES) if speed is None else speed)
    return pixels / 1500.0, contrast


def test_without_effects_pixels_are_the_signal():
    pixels, contrast = _imaged((), _codes())
    assert pixels == pytest.approx(np.abs(contrast.signal[_codes()[0]]), abs=1 / 1500)


def test_noise_is_rician():
    pixels, contrast = _imaged(("noise",), _codes(beating=False))
    air, blood = pixels[..., :15, :], pixels[_codes(beating=False)[0] == LV]
    assert air.mean() == pytest.approx(contrast.noise * np.sqrt(np.pi / 2), rel=0.05)
    assert air.std() == pytest.approx(contrast.noise * np.sqrt(2 - np.pi / 2), rel=0.05)
    assert blood.std() == pytest.approx(contrast.noise, rel=0.08) and blood.mean() == pytest.approx(1.0, abs=0.01)
    assert abs(np.corrcoef(pixels[0, :15].ravel(), pixels[1, :15].ravel())[0, 1]) < 0.1


def test_truncated_k_space_rings_and_holds_nothing_beyond():
    codes = np.full((1, FRAMES, *SIZE), kind.LV, np.uint8)
    codes[..., :40] = kind.MYO
    pixels, contrast = _imaged(("gibbs",), codes, acquired=(1.0, 0.5))
    step = 1 - contrast.signal[MYO]
    overshoot = (pixels[0].max() - 1) / step
    assert 0.06 < overshoot < 0.13  # 9 % at a step
    spectrum = np.abs(np.fft.rfft(pixels[0], axis=1)).mean(0)
    assert spectrum[21:].max() < 0.01 * spectrum[1]
    assert np.ptp(pixels[0], axis=0).max() < 2 / 1500  # no ringing along rows


def test_transfer_keeps_the_sampled_frequencies():
    for size in ((16, 12), (9, 7)):
        image = np.random.default_rng(3).standard_normal(size).astype(np.float32)
        rows, columns = (np.abs(np.fft.fftfreq(n)) for n in size)
        keep = (rows[:, None] <= 0.3 + 1e-9) & (columns[None] <= 0.2 + 1e-9)
        blur = np.exp(-2 * (np.pi * 0.8) ** 2 * (rows[:, None] ** 2 + columns[None] ** 2))
        expected = np.fft.ifft2(np.fft.fft2(image) * keep * blur).real
        assert filtered(image, transfer(size, (0.6, 0.4), 0.8, 0.0)) == pytest.approx(expected, abs=1e-5), size


def test_blur_spreads_a_point_by_its_sigma():
    codes = np.zeros((1, FRAMES, *SIZE), np.uint8)
    codes[..., 47:50, 39:42] = kind.LV
    pixels, contrast = _imaged(("blur",), codes)
    y, _ = np.indices(SIZE)
    spread = (pixels[0] * (y - 48) ** 2).sum() / pixels[0].sum()
    assert spread == pytest.approx(2 / 3 + (contrast.blur_mm / STEP_MM) ** 2, rel=0.1)


@pytest.mark.parametrize("axis", [0, 1])
def test_pulsation_ghosts_what_moves_along_the_phase_direction(axis):
    quiet, _ = _imaged((), _codes())
    pixels, _ = _imaged(("ghost",), _codes(), phase_axis=axis, ghosts=(0.2, 0.0), streaks=0.0, ghost_fraction=1 / 4)
    changed = np.abs(pixels - quiet).max(0)
    ring = np.abs(quiet - quiet.mean(0)).max(0) > 0.01
    elsewhere = np.roll(ring, SIZE[axis] // 4, axis) | np.roll(ring, -SIZE[axis] // 4, axis)
    assert changed[elsewhere].max() > 0.02 and changed[~elsewhere].max() < 2 / 1500
    still, _ = _imaged(("ghost",), _codes(beating=False), phase_axis=axis, ghosts=(0.2, 0.0), streaks=0.0)
    assert still == pytest.approx(_imaged((), _codes(beating=False))[0], abs=2 / 1500)


def test_breathing_ghosts_resting_edges_alike_in_every_frame():
    quiet, _ = _imaged((), _codes())
    pixels, _ = _imaged(
        ("respiration",), _codes(), front_px=(0.0, 2.0), phase_axis=0, ghosts=(0.0, 0.3), ghost_fraction=1 / 4
    )
    changed = np.abs(pixels - quiet)
    assert changed[:, 20 + 24, 20:24].mean() > 0.02 and changed[:, 30 + 24, 20:24].max() < 0.01


def test_shared_views_mix_neighbouring_frames():
    pixels, contrast = _imaged(("view_sharing",), _codes(), shared=0.3)
    y, x = np.indices(SIZE)
    ring = np.abs(np.hypot(y - 48, x - 40) - 14) < 1
    blood_share = (pixels[:, ring].mean(1) - contrast.signal[kind.MUSCLE]) / (1 - contrast.signal[kind.MUSCLE])
    assert blood_share == pytest.approx([0.8, 0.1, 0, 0, 0, 0, 0, 0.1], abs=0.005)


def test_blood_alone_flows():
    quiet, _ = _imaged((), _codes(beating=False))
    speed = np.linspace(0, 1, FRAMES)
    pixels, contrast = _imaged(("flow",), _codes(beating=False), speed=speed)
    blood = _codes(beating=False)[0, 0] == LV
    assert np.array_equal(pixels[:, ~blood], quiet[:, ~blood])
    brighter = pixels[:, blood].mean(1)
    assert np.corrcoef(brighter, speed)[0, 1] > 0.9 and np.ptp(brighter) == pytest.approx(contrast.inflow, abs=0.06)


def test_bands_are_the_spin_lock_formula_and_come_from_air():
    assert passband(0.0, 1.7) == pytest.approx(1) and abs(passband(np.pi, 1.7)) < 1e-9
    assert passband(2.0, 0.2) > 1 > passband(2.0, 5.0)  # long T2/T1 brightens before the band, short darkens
    contrast = sample_contrast(np.random.default_rng(0), SCANNERS["C"], "C")
    protocol = Protocol(FRAMES, size=SIZE, spacing_mm=STEP_MM)
    artefacts = sample_artefacts(np.random.default_rng(1), EFFECTS, contrast, protocol, 1, sample_subject(1, 5), True)
    artefacts = replace(artefacts, shim_hz=(0.0, 0.0))
    solid = np.full(SIZE, kind.MUSCLE, np.uint8)
    assert np.abs(off_resonance_hz(solid, contrast, artefacts, STEP_MM, (0, 1))).max() < 1e-2
    solid[20:40, 30:50] = kind.LUNG
    field = off_resonance_hz(solid, contrast, artefacts, STEP_MM, (0, 1))
    slope = np.hypot(*np.gradient(field))
    assert slope[40:50, 30:50].mean() > 3 * slope[70:, 30:50].mean() > 0
    half = off_resonance_hz(solid, replace(contrast, field_t=1.5), artefacts, STEP_MM, (0, 1))
    assert field == pytest.approx(2 * half, abs=1e-2)
    factor = bands(solid, np.full(SIZE, 500 / contrast.tr_ms, np.float32), contrast)
    assert np.abs(factor[solid != kind.FAT]).max() < 1e-3


def test_several_coils_see_the_skin_better_than_the_heart():
    contrasts = [sample_contrast(np.random.default_rng(n), SCANNERS["A"], "A") for n in range(20)]
    heart, front, back = np.array([[0, 15, -15], [0, 85, 0], [0, -95, 0]], float)
    for contrast in contrasts:
        at = coil(contrast, np.array([heart, front, back]), 95.0, -105.0)
        assert at[0] == pytest.approx(1) and at[1] > 1.5 and at[1] > at[2] > 0.3


# --- truth follows ---------------------------------------------------------------------------------------------------


def test_what_lies_outside_the_field_of_view_folds_in():
    scan = Scan(Heart(sample_subject(1, 4)), Protocol(frames=2, size=(40, 36), spacing_mm=6.0, subslices=1, effects=()))
    plan, width = scan.plan("4ch"), 5
    artefacts = sample_artefacts(
        np.random.default_rng(1), EFFECTS, scan.contrast, scan.protocol, 1, scan.heart.subject, False
    )
    for axis in (0, 1):
        folded = scan._margin(plan, replace(artefacts, wrap_px=width, phase_axis=axis), 0)
        wide = Scan(
            scan.heart, replace(scan.protocol, size=tuple(n + 2 * width * (a == axis) for a, n in enumerate((40, 36))))
        )
        moved = plan.to_heart.copy()
        moved[:3, 3] -= width * moved[:3, 1 - axis]
        signal = np.moveaxis(scan.contrast.signal[wide.tissue(replace(plan, to_heart=moved), 0)[0, 0]], axis, 0)
        folded = np.moveaxis(folded, axis, 0)
        assert np.array_equal(folded[-width:], signal[:width]) and np.array_equal(folded[:width], signal[-width:])
        assert not folded[width:-width].any() and folded.any()


def test_breath_holds_move_heart_and_truth_together():
    heart = Heart(sample_subject(1, 5))
    protocol = Protocol(frames=2, views=("sax",), size=(96, 96), spacing_mm=2.0, slices=5)
    still, held = (Scan(heart, replace(protocol, effects=e)) for e in ((), ("breath_hold",)))
    plan, moved = still.plan("sax"), held.plan("sax")
    assert np.array_equal(plan.affine, moved.affine) and not plan.breath_mm.any() and moved.breath_mm.std() > 0.5
    cine, truth = held.cine("sax", "P")
    assert cine.meta["breath_hold_mm"] == np.round(moved.breath_mm, 2).tolist()
    aside = replace(plan, breath_mm=np.tile(plan.affine[:3, 0] * 3 + plan.affine[:3, 1] * -2, (5, 1)))
    for name in (LV, MYO):
        first, second = (np.argwhere(still.tissue(p, 2)[1, 0] == name).mean(0) for p in (plan, aside))
        assert second - first == pytest.approx([-2, 3], abs=0.05)
    at = np.argwhere(truth.mask[0, 2] == LV).mean(0)
    middle = held._points(moved, 2, at[None, ::-1])[0]
    assert np.hypot(*middle[:2]) < 4  # the cavity's centre is on the heart's axis, wherever breathing put it


def test_a_mistriggered_slice_shows_another_instant_and_says_so():
    protocol = Protocol(frames=6, views=("sax",), size=(48, 48), spacing_mm=4.0, slices=8)
    found = 0
    for number in range(1, 8):
        scan = Scan(Heart(sample_subject(3, number)), replace(protocol, effects=("mistrigger",)))
        cine, truth = scan.cine("sax", "P")
        _, calm = Scan(scan.heart, replace(protocol, effects=())).cine("sax", "P")
        bad = cine.meta["mistriggered_slices"]
        assert cine.flags == (("mistriggered",) if bad else ())
        for k in range(8):
            assert (cine.meta["late_ms"][k] != 0) == (k in bad)
            if k not in bad:
                assert np.array_equal(truth.mask[:, k], calm.mask[:, k])
            elif calm.mask[:, k].any():
                found += not np.array_equal(truth.mask[:, k], calm.mask[:, k])
    assert found >= 1


def test_irregular_hearts_are_mistriggered_more_often():
    contrast, protocol = sample_contrast(np.random.default_rng(0), SCANNERS["A"], "A"), Protocol(size=SIZE)
    bad = {}
    for rr_sd in (0.03, 0.22):
        subject = replace(sample_subject(1, 5), rr_sd=rr_sd)
        made = [
            sample_artefacts(np.random.default_rng(n), EFFECTS, contrast, protocol, 10, subject, True)
            for n in range(200)
        ]
        bad[rr_sd] = np.mean([np.count_nonzero(artefacts.mixed) for artefacts in made])
    assert bad[0.03] < 1 and bad[0.22] > 2.5


def test_other_effects_leave_the_truth_alone():
    heart, size = Heart(sample_subject(1, 3)), {"frames": 3, "size": (48, 48), "spacing_mm": 4.0}
    harmless = tuple(e for e in EFFECTS if e not in ("breath_hold", "mistrigger"))
    (cine, truth), (plain, plain_truth) = (
        Scan(heart, Protocol(**size, effects=e)).cine("4ch", "P") for e in (harmless, ())
    )
    assert np.array_equal(truth.mask, plain_truth.mask) and truth.points.equals(plain_truth.points)
    assert not np.array_equal(cine.pixels, plain.pixels)


def test_a_view_does_not_depend_on_the_views_before_it():
    heart, protocol = Heart(sample_subject(1, 3)), Protocol(frames=2, size=(32, 32), spacing_mm=6.0)
    alone, after = Scan(heart, protocol), Scan(heart, protocol)
    after.cine("sax", "P")
    assert np.array_equal(alone.cine("2ch", "P")[0].pixels, after.cine("2ch", "P")[0].pixels)


# --- scanners and appearance -----------------------------------------------------------------------------------------


def test_domains_draw_their_scanners_and_subjects_keep_theirs():
    drawn = {
        domain: [
            Scan(Heart(sample_subject(1, k)), Protocol(frames=2, size=None, spacing_mm=None, domain=domain))
            for k in range(1, 21)
        ]
        for domain in DOMAINS
    }
    assert {s.scanner for s in drawn["one"]} == {"A"} and {s.scanner for s in drawn["many"]} == set(SCANNERS)
    for s in drawn["one"] + drawn["many"]:
        scanner = SCANNERS[s.scanner]
        assert list(s.protocol.size) in scanner.sizes and 1.2 <= s.protocol.spacing_mm <= 2.2
        assert 6 <= s.plan("sax").thickness_mm <= 10 and s.contrast.field_t == scanner.field_t
        assert Scan(s.heart, replace(s.protocol, size=None, spacing_mm=None), rescan=1).protocol == s.protocol
    greys = {domain: np.std(np.log([s.contrast.grey for s in scans])) for domain, scans in drawn.items()}
    assert greys["many"] > 2 * greys["one"]


def test_the_sidecar_takes_what_was_done():
    cine, _ = Scan(Heart(sample_subject(1, 2)), Protocol(frames=2, size=(32, 32), spacing_mm=6.0)).cine("sax", "P")
    meta = json.loads(json.dumps(cine.meta))
    assert meta == cine.meta and meta["effects"] == list(EFFECTS) and 0 < meta["acquired"][0] <= 1
    assert len(meta["breath_hold_mm"]) == cine.slices == len(meta["late_ms"])


def test_random_appearance_takes_every_second_subject_far_from_realism():
    contrasts = [sample_contrast(np.random.default_rng(n), SCANNERS["A"], "A", "random") for n in range(300)]
    random = [contrast for contrast in contrasts if contrast.appearance == "random"]
    assert 120 < len(random) < 180
    difference = np.array([contrast.signal[LV] - contrast.signal[MYO] for contrast in random])
    assert (np.abs(difference) >= 0.2 - 1e-6).all() and 0.3 < (difference < 0).mean() < 0.7
    lung = np.array([contrast.signal[kind.LUNG] for contrast in random])
    assert 0.2 < (lung > 0.2).mean() < 0.8  # even air and lung may be bright
    assert all(contrast.signal[LV] > contrast.signal[MYO] for contrast in contrasts if contrast.appearance == "real")
