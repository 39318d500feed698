"""What the scanner does to a known image, where the truth lies after it, and what a scan owes to its seed."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from cmrlib.phantom import Heart, Protocol, Scan, sample_subject
from cmrlib.phantom import tissue as kind
from cmrlib.phantom.artefacts import Imager, bands, off_resonance_hz, sample_artefacts
from cmrlib.phantom.contrast import passband, sample_contrast, steady_state
from cmrlib.phantom.protocol import DOMAINS, EFFECTS, SCANNERS
from cmrlib.phantom.tissue import LV, MYO

SIZE, STEP_MM, FRAMES = (96, 80), 2.0, 8


@pytest.fixture(scope="module")
def scan():
    return Scan(Heart(sample_subject(1, 5)), Protocol(size=(112, 112), spacing_mm=2.2, effects=()))


@pytest.mark.parametrize(("view", "names"), [("4ch", {"lateral", "septal"}), ("2ch", {"anterior", "inferior"})])
def test_mitral_points_lie_where_atrium_and_ventricle_meet_the_wall_and_move_by_mapse(scan, view, names):
    plan = scan.plan(view)
    points = scan.mitral_points(plan)
    assert set(points.name) == names and len(points) == 40
    pixels, world = np.c_[points.column_px, points.row_px, np.zeros(40), np.ones(40)], points[["x_mm", "y_mm", "z_mm"]]
    assert (pixels @ plan.affine.T)[:, :3] == pytest.approx(world.to_numpy())
    for t, point in zip(points.frame, (pixels @ plan.to_heart.T)[:, :3]):
        g = scan.geometry[t]
        assert point[2] == pytest.approx(g["zb"], abs=1e-6) and np.hypot(*point[:2]) == pytest.approx(g["ring"])
        inward, outward, deeper = point * [0.93, 0.93, 1], point * [1.2, 1.2, 1], np.array([0, 0, 1.0])
        around = scan.heart.labels([inward + deeper, inward - deeper, outward + deeper / 2], scan.times_ms[t])
        assert around.tolist() == [1, 4, 2]
    ed, es = world.to_numpy().reshape(20, 2, 3)[[scan.ed, scan.es]]
    chord, moved = ed[1] - ed[0], es.mean(0) - ed.mean(0)
    across = moved - chord * (moved @ chord) / (chord @ chord)
    assert np.linalg.norm(across) == pytest.approx(scan.heart.subject.mapse_mm, rel=0.03)


def test_discs_of_the_truth_masks_give_the_true_ejection_fraction():
    errors = []
    for k in range(1, 7):
        scan = Scan(Heart(sample_subject(1, k)), Protocol(views=("sax",), size=(96, 96), spacing_mm=2.6, effects=()))
        scan.geometry, scan.protocol = scan.geometry[[scan.ed, scan.es]], replace(scan.protocol, frames=2)
        scan.ed, scan.es = 0, 1
        cine, truth = scan.cine("sax", "P")
        ed, es = (truth.mask == LV).sum((1, 2, 3))
        errors.append(100 * (1 - es / ed) - scan.heart.subject.lvef_pct)
        assert (truth.mask == MYO).sum((1, 2, 3)) * cine.voxel_ml == pytest.approx(scan.heart.myocardium_ml, rel=0.12)
    assert abs(np.mean(errors)) < 2 and np.std(errors) < 4


def test_signal_is_the_steady_state_of_bssfp():
    muscle = steady_state(80, 900, 50, 54)
    assert steady_state(95, 1200, 100, 54) / muscle == pytest.approx(1.64, abs=0.01)
    assert steady_state(95, 1200, 250, 54) / muscle == pytest.approx(3.0, abs=0.05)


def _codes(beating=True):
    """A disc of blood in a square of muscle in air, three equal sub-slices; in frame 0 the disc is larger."""
    y, x = np.indices(SIZE)
    codes = np.zeros((3, FRAMES, *SIZE), np.uint8)
    codes[..., 20:76, 16:64] = kind.MUSCLE
    for t in range(FRAMES):
        codes[:, t, np.hypot(y - 48, x - 40) < (16 if t == 0 and beating else 12)] = LV
    return codes


def _drawn(effects, contrast, **changes):
    """Protocol and artefacts of a cine of one slice."""
    protocol = Protocol(FRAMES, size=SIZE, spacing_mm=STEP_MM, effects=effects)
    drawn = sample_artefacts(np.random.default_rng(1), effects, contrast, protocol, 1, sample_subject(1, 5), True)
    return protocol, SimpleNamespace(**vars(drawn) | changes)


def _imaged(effects, codes, speed=(0,) * FRAMES, **changes):
    """Pixels over grey scale, float, of a scanner without texture that does only what `effects` name."""
    plain = {"flicker": 0.05, "sharpen": 0, "evened": 0, "grey": 1500, "gamma": 1, "inflow": 0.2, "blur_mm": 3}
    plain |= {"texture": np.zeros(kind.TISSUES, np.float32), "noise": 0.05}
    contrast = SimpleNamespace(**vars(sample_contrast(np.random.default_rng(0), "A")) | plain)
    protocol, artefacts = _drawn(effects, contrast, **changes)
    one = np.ones(SIZE, np.float32)
    pixels = Imager(contrast, artefacts, protocol, np.random.default_rng(2))(0, codes, one, one, None, (0, 0), speed)
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


def test_truncated_k_space_rings_and_holds_nothing_beyond():
    codes = np.full((1, FRAMES, *SIZE), LV, np.uint8)
    codes[..., :40] = MYO
    pixels, contrast = _imaged(("gibbs",), codes, acquired=(1.0, 0.5))
    assert 0.06 < (pixels[0].max() - 1) / (1 - contrast.signal[MYO]) < 0.13  # 9 % at a step
    spectrum = np.abs(np.fft.rfft(pixels[0], axis=1)).mean(0)
    assert spectrum[21:].max() < 0.01 * spectrum[1]
    assert np.ptp(pixels[0], axis=0).max() < 2 / 1500  # no ringing along rows


def test_blur_spreads_a_point_by_its_sigma():
    codes = np.zeros((1, FRAMES, *SIZE), np.uint8)
    codes[..., 47:50, 39:42] = LV
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


def test_shared_views_mix_neighbouring_frames():
    pixels, contrast = _imaged(("view_sharing",), _codes(), shared=0.3)
    y, x = np.indices(SIZE)
    ring, muscle = np.abs(np.hypot(y - 48, x - 40) - 14) < 1, contrast.signal[kind.MUSCLE]
    blood_share = (pixels[:, ring].mean(1) - muscle) / (1 - muscle)
    assert blood_share == pytest.approx([0.8, 0.1, 0, 0, 0, 0, 0, 0.1], abs=0.005)


def test_blood_alone_flows():
    codes, speed = _codes(beating=False), np.linspace(0, 1, FRAMES)
    quiet, _ = _imaged((), codes)
    pixels, contrast = _imaged(("flow",), codes, speed=speed)
    blood = codes[0, 0] == LV
    assert np.array_equal(pixels[:, ~blood], quiet[:, ~blood])
    brighter = pixels[:, blood].mean(1)
    assert np.corrcoef(brighter, speed)[0, 1] > 0.9 and np.ptp(brighter) == pytest.approx(contrast.inflow, abs=0.06)


def test_bands_are_the_spin_lock_formula_and_come_from_air():
    assert passband(0.0, 1.7) == pytest.approx(1) and abs(passband(np.pi, 1.7)) < 1e-9
    assert passband(2.0, 0.2) > 1 > passband(2.0, 5.0)  # long T2/T1 brightens before the band, short darkens
    contrast = sample_contrast(np.random.default_rng(0), "C")
    _, artefacts = _drawn(EFFECTS, contrast, shim_hz=(0.0, 0.0))
    solid = np.full(SIZE, kind.MUSCLE, np.uint8)
    assert np.abs(off_resonance_hz(solid, contrast, artefacts, STEP_MM, (0, 1))).max() < 1e-2
    solid[20:40, 30:50] = kind.LUNG
    field = off_resonance_hz(solid, contrast, artefacts, STEP_MM, (0, 1))
    slope = np.hypot(*np.gradient(field))
    assert slope[40:50, 30:50].mean() > 3 * slope[70:, 30:50].mean() > 0
    factor = bands(solid, np.full(SIZE, 500 / contrast.tr_ms, np.float32), contrast)
    assert np.abs(factor[solid != kind.FAT]).max() < 1e-3


@pytest.mark.parametrize("axis", [0, 1])
def test_what_lies_outside_the_field_of_view_folds_in(axis):
    scan = Scan(Heart(sample_subject(1, 4)), Protocol(frames=2, size=(40, 36), spacing_mm=6.0, subslices=1, effects=()))
    plan, width, size = scan.plan("4ch"), 5, [40, 36]
    _, artefacts = _drawn(EFFECTS, scan.contrast, wrap_px=width, phase_axis=axis)
    folded = np.moveaxis(scan._margin(plan, artefacts, 0), axis, 0)
    size[axis] += 2 * width
    moved = plan.to_heart.copy()
    moved[:3, 3] -= width * moved[:3, 1 - axis]
    wide = Scan(scan.heart, replace(scan.protocol, size=tuple(size)))
    signal = np.moveaxis(scan.contrast.signal[wide.tissue(replace(plan, to_heart=moved), 0)[0, 0]], axis, 0)
    assert np.array_equal(folded[-width:], signal[:width]) and np.array_equal(folded[:width], signal[-width:])
    assert not folded[width:-width].any() and folded.any()


def test_breath_holds_move_heart_and_truth_together():
    heart = Heart(sample_subject(1, 5))
    protocol = Protocol(frames=2, views=("sax",), size=(96, 96), spacing_mm=2.0, slices=5)
    still, held = (Scan(heart, replace(protocol, effects=e)) for e in ((), ("breath_hold",)))
    plan, moved = still.plan("sax"), held.plan("sax")
    assert np.array_equal(plan.affine, moved.affine) and not plan.breath_mm.any() and moved.breath_mm.std() > 0.5
    aside = replace(plan, breath_mm=np.tile(plan.affine[:3, 0] * 3 + plan.affine[:3, 1] * -2, (5, 1)))
    first, second = (np.argwhere(still.tissue(p, 2)[1, 0] == LV).mean(0) for p in (plan, aside))
    assert second - first == pytest.approx([-2, 3], abs=0.05)
    _, truth = held.cine("sax", "P")
    middle = held._points(moved, 2, np.argwhere(truth.mask[0, 2] == LV).mean(0)[None, ::-1])[0]
    assert np.hypot(*middle[:2]) < 4  # the cavity's centre is on the heart's axis, wherever breathing put it


def test_a_mistriggered_slice_shows_another_instant_and_says_so():
    protocol = Protocol(frames=6, views=("sax",), size=(48, 48), spacing_mm=4.0, slices=8)
    heart = Heart(replace(sample_subject(3, 1), rr_sd=0.3))
    (cine, truth), (_, calm) = (
        Scan(heart, replace(protocol, effects=effects)).cine("sax", "P") for effects in (("mistrigger",), ())
    )
    bad = set(cine.meta["mistriggered_slices"])
    assert bad == set(np.flatnonzero(cine.meta["late_ms"])) and cine.flags == ("mistriggered",)
    assert set(np.flatnonzero((truth.mask != calm.mask).any((0, 2, 3)))) <= bad < set(range(8))
    assert (truth.mask != calm.mask).any() and json.loads(json.dumps(cine.meta)) == cine.meta


def test_other_effects_leave_the_truth_alone():
    heart, size = Heart(sample_subject(1, 3)), {"frames": 3, "size": (48, 48), "spacing_mm": 4.0}
    harmless = tuple(e for e in EFFECTS if e not in ("breath_hold", "mistrigger"))
    made = [Scan(heart, Protocol(**size, effects=e)).cine("4ch", "P") for e in (harmless, ())]
    (cine, truth), (plain, plain_truth) = made
    assert np.array_equal(truth.mask, plain_truth.mask) and truth.points.equals(plain_truth.points)
    assert not np.array_equal(cine.pixels, plain.pixels)


def test_a_view_does_not_depend_on_the_views_before_it():
    heart, protocol = Heart(sample_subject(1, 3)), Protocol(frames=2, size=(32, 32), spacing_mm=6.0)
    alone, after = Scan(heart, protocol), Scan(heart, protocol)
    after.cine("sax", "P")
    assert np.array_equal(alone.cine("2ch", "P")[0].pixels, after.cine("2ch", "P")[0].pixels)


@pytest.mark.parametrize("domain", DOMAINS)
def test_domains_draw_their_scanners_and_subjects_keep_theirs(domain):
    protocol = Protocol(frames=2, size=None, spacing_mm=None, domain=domain)
    scans = [Scan(Heart(sample_subject(1, k)), protocol) for k in range(1, 16)]
    assert {s.scanner for s in scans} == set(DOMAINS[domain])
    for s in scans:
        assert list(s.protocol.size) in SCANNERS[s.scanner].sizes and 1.2 <= s.protocol.spacing_mm <= 2.2
        assert Scan(s.heart, protocol, rescan=1).protocol == s.protocol


def test_random_appearance_takes_every_second_subject_far_from_realism():
    contrasts = [sample_contrast(np.random.default_rng(n), "A", "random") for n in range(300)]
    random = [contrast for contrast in contrasts if contrast.appearance == "random"]
    assert 120 < len(random) < 180
    difference = np.array([contrast.signal[LV] - contrast.signal[MYO] for contrast in random])
    assert (np.abs(difference) >= 0.2 - 1e-6).all() and 0.3 < (difference < 0).mean() < 0.7
    assert all(contrast.signal[LV] > contrast.signal[MYO] for contrast in contrasts if contrast.appearance == "real")
