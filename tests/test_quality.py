"""Flags from pixels: hand-made hearts with a known trouble, phantom hearts with it and without, and real ones."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trees
from hearts import save_segmentation
from scipy import ndimage

from cmrlib.cine import Cine
from cmrlib.cohort import Cohort
from cmrlib.cohort.files import read_json, write_json
from cmrlib.datasets import acdc, dicom, ingest, qc
from cmrlib.learning.appearance import (
    appearance,
    appearance_flags,
    appearance_reference,
    training_appearance,
)
from cmrlib.learning.weightsets import SHIPPED
from cmrlib.measures import features
from cmrlib.phantom import EFFECTS, make_study, subject_specs

DATA = Path(os.environ.get("CMR_DATA_DIR") or "/nonexistent")
MM = 1.5


def beating(slices=7, frames=20, size=96, noise=2.0, moved=()) -> Cine:
    """A bright cavity in a grey wall that beats as a cosine, beside a resting body; tapering from slice to slice.

    moved: {slice: (rows, columns) in pixels}.
    """
    rng, moved = np.random.default_rng(0), dict(moved)
    pixels = np.empty((frames, slices, size, size), np.float32)
    body = 60 + 10 * ndimage.gaussian_filter(rng.standard_normal((size, size)), 3) / 0.1
    for k in range(slices):
        for t in range(frames):
            phase = 2 * np.pi * t / frames
            radius = (12 + 3 * np.cos(phase) + np.cos(2 * phase)) * (1 - 0.04 * k)
            rows, columns = np.indices((size, size)) - 48
            away = np.hypot(rows, 1.15 * columns)
            image = np.where(away < radius, 200.0, np.where(away < radius + 7, 100.0, body))
            image = ndimage.gaussian_filter(image, 0.8) + noise * rng.standard_normal(image.shape)
            pixels[t, k] = np.roll(image, moved.get(k, (0, 0)), (0, 1))
    return Cine(
        pixels,
        np.diag([MM, MM, 8.0, 1.0]),
        "sax",
        "s",
        frame_times_ms=np.tile(40.0 * np.arange(frames), (slices, 1)),
        rr_ms=np.full(slices, 40.0 * frames),
    )


@pytest.fixture(scope="module")
def quiet():
    return beating()


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_a_good_cine_has_no_flag(quiet):
    assert qc.qc_flags(quiet) == ()
    assert np.nanmax(qc.slice_shifts_mm(quiet)) < 0.5


def test_a_moved_slice_is_as_far_away_as_it_was_moved():
    cine = beating(moved={3: (4, -2)})
    shifts = qc.slice_shifts_mm(cine)
    by_hand = MM * np.hypot(4, 2)
    assert shifts[3] == pytest.approx(by_hand, abs=0.4) and np.isnan(shifts[[0, -1]]).all()
    assert shifts[[2, 4]] == pytest.approx(by_hand / 2, abs=0.4)  # between one that moved and one that did not
    assert "slices_shifted" in qc.qc_flags(cine)
    turned = replace(cine, pixels=cine.pixels.swapaxes(2, 3))
    np.testing.assert_allclose(qc.slice_shifts_mm(turned), shifts, atol=0.1)


def test_contrast_of_known_blood_muscle_and_noise(quiet):
    contrast, cnr = qc.blood_contrast(quiet)
    assert contrast == pytest.approx((200 - 100) / (200 + 100), abs=0.07)
    assert qc.blood_contrast(replace(quiet, pixels=7 * quiet.pixels)) == pytest.approx((contrast, cnr), rel=1e-3)
    loud = beating(noise=20.0)
    assert qc.blood_contrast(loud)[1] == pytest.approx(100 / 20, rel=0.35)
    assert "contrast_low" in qc.qc_flags(loud)
    pale = replace(quiet, pixels=150 + 0.3 * (quiet.pixels - 150))  # 165 and 135
    assert qc.blood_contrast(pale)[0] == pytest.approx(0.1, abs=0.03)
    assert "contrast_low" in qc.qc_flags(pale)


@pytest.mark.parametrize(("place", "change", "flag"), [
    (np.s_[4], lambda pixels: 255 - pixels, "grey_inverted"),
    (np.s_[:, 3], lambda pixels: 255 - pixels, "grey_inverted"),
    (np.s_[:, 0], lambda pixels: 255 - pixels, "grey_inverted"),
    (np.s_[5:10], lambda pixels: pixels[:1], "frames_repeated"),
    (np.s_[:], lambda pixels: pixels[:1], "no_motion"),
])  # fmt: skip
def test_negatives_and_still_pictures(quiet, place, change, flag):
    pixels = quiet.pixels.copy()
    pixels[place] = change(pixels[place])
    assert set(qc.qc_flags(replace(quiet, pixels=pixels))) & {"grey_inverted", "frames_repeated", "no_motion"} == {flag}


@pytest.mark.parametrize(
    "change",
    [
        {"pixels": np.zeros((20, 7, 96, 96), np.uint16)},
        {"spacing_known": False},
        {"pixels": np.ones((2, 7, 5, 4))},
        {"pixels": np.full((9, 3, 1, 1), -3, np.int16)},
        {"pixels": np.full((9, 3, 40, 2), 1e6, np.float32)},
    ],
)
def test_what_cannot_be_judged_gets_no_flag(quiet, change):
    cine = replace(quiet, frame_times_ms=None, rr_ms=None, **change)
    short, constant = ("coverage_short",) * (cine.slices < 5), ("constant_images",) * ("pixels" in change)
    assert qc.qc_flags(cine) == constant and qc.with_qc_flags([cine])[0].flags == short + constant


def test_short_stacks_are_flagged_once_whoever_sees_it(quiet):
    four = replace(quiet, pixels=quiet.pixels[:, :4], frame_times_ms=None, rr_ms=None)
    thin = replace(quiet, affine=np.diag([MM, MM, 6.0, 1.0]), frame_times_ms=None, rr_ms=None)  # 36 mm
    for cine in (four, thin, replace(four, flags=("coverage_short",))):
        assert qc.with_qc_flags([cine])[0].flags == ("coverage_short",)
    unknown = replace(thin, spacing_known=False)
    assert qc.with_qc_flags([unknown, replace(four, view="4ch")])[0].flags == ()
    assert "coverage_short" not in qc.with_qc_flags([replace(four, view="4ch")])[0].flags


def test_heart_rates_differ_within_a_session_only(quiet):
    fast = replace(quiet, rr_ms=quiet.rr_ms * 0.85, view="4ch")
    near = replace(quiet, rr_ms=quiet.rr_ms * 0.95, view="2ch")
    assert [one.flags for one in qc.with_qc_flags([quiet, near])] == [(), ()]
    assert all(one.flags == ("rr_differs_between_series",) for one in qc.with_qc_flags([quiet, near, fast]))
    assert qc.with_qc_flags([quiet, replace(fast, session="2")])[1].flags == ()


def test_ingest_writes_the_flags(tmp_path):
    for name, step in (("a", 80.0), ("b", 60.0)):
        trees.write_cine(
            tmp_path / "src" / "p1" / name,
            step_ms=step,
            StudyInstanceUID="1.2",
            orientation=trees.long_axis(0 if name == "a" else 118),
        )
    cohort = ingest("dicom", tmp_path / "src", tmp_path / "cohort", workers=1, progress=False)
    assert cohort.cines["flags"].str.contains("rr_differs_between_series").tolist() == [True, True]


# --- appearance ------------------------------------------------------------------------------------------------------


def test_the_reference_goes_through_a_card_and_tells_other_hearts(quiet, tmp_path):
    rng = np.random.default_rng(1)
    own = [
        replace(quiet, pixels=quiet.pixels * rng.uniform(1, 9) + rng.normal(0, 2, quiet.pixels.shape)) for _ in range(8)
    ]
    write_json({"appearance": [appearance_reference(own[:6])]}, tmp_path / "card.json")
    references = read_json(tmp_path / "card.json")["appearance"]
    [reference] = references
    assert reference["n"] == 6 and len(reference["mean"]) == len(appearance(quiet)) == 11
    assert appearance_flags(own[7], references) == ()
    blurred = replace(quiet, pixels=ndimage.gaussian_filter(quiet.pixels, (0, 0, 3, 3)))
    dark = replace(quiet, pixels=300 - quiet.pixels)
    for cine in (blurred, dark):
        assert appearance_flags(cine, references) == ("unlike_training",)
        assert appearance_flags(cine, [reference, reference | {"limit": 1e9}]) == ()  # like one of two sources
    with pytest.raises(ValueError, match="at least 5 cines, got 3"):
        appearance_reference(own[:3])


def test_a_network_says_which_hearts_look_unlike_those_it_learned_from(cohort, tmp_path):
    people = list(cohort.subjects["participant_id"])
    [reference] = training_appearance([(cohort, people), (cohort, people[:4])], ["sax"])  # four are too few
    assert reference["n"] == len(people) and training_appearance([(cohort, people)], ["4ch"]) == []
    task, model = save_segmentation(tmp_path / "near", 0)
    for name, known in (("near", reference), ("far", reference | {"limit": 0.0})):
        card = {"appearance": [known]}
        table = task.predict(model, cohort, people[:1], out=tmp_path / "made" / name, card=card, n_tta=1)
        looked = Cohort.open(cohort.path, [tmp_path / "made" / name])
        measured = features(looked, name, phases="curve", subjects=people[:1])["flags"].iloc[0].split(";")
        assert ("unlike_training" in table["flags"].iloc[0].split(";")) == (name == "far")
        assert ("unlike_training:sax" in measured) == (name == "far")


def test_shipped_networks_know_what_their_hearts_looked_like():
    cards = [read_json(path) for path in sorted(SHIPPED.glob("*/01_segmentation/weights/*.json"))]
    assert len(cards) >= 3
    assert all(card["appearance"] for card in cards)
    assert all(len(one["mean"]) == 11 and one["n"] >= 20 for card in cards for one in card["appearance"])


# --- the phantom's hearts --------------------------------------------------------------------------------------------

QUIET = tuple(name for name in EFFECTS if name not in ("breath_hold", "mistrigger"))


@pytest.fixture(scope="module")
def hearts():
    """SAX stacks of seed 303: clean ones, and in atrial fibrillation; thresholds were set on seed 101."""

    def stacks(effects, diagnoses):
        orders = subject_specs(6, seed=303, views=("sax",), effects=effects, subslices=1, diagnoses=diagnoses)
        return [make_study(label, order).cines[0] for label, order in orders.items()]

    return stacks(QUIET, None), stacks(EFFECTS, ["AF"])


def test_breath_holds_of_the_phantom_are_measured(hearts):
    true, seen = [], []
    for cine in hearts[1]:
        directions = cine.affine[:3, :2] / np.linalg.norm(cine.affine[:3, :2], axis=0)
        place = np.array(cine.meta["breath_hold_mm"]) @ directions
        true += np.linalg.norm(place[1:-1] - (place[:-2] + place[2:]) / 2, axis=1).tolist()
        seen += qc.slice_shifts_mm(cine)[1:-1].tolist()
    judged = np.isfinite(seen)
    assert judged.mean() > 0.35 and np.corrcoef(np.array(true)[judged], np.array(seen)[judged])[0, 1] > 0.75
    assert np.median(np.abs(np.subtract(true, seen)[judged])) < 0.7  # mm


def test_troubles_put_into_clean_phantoms_are_found(hearts):
    found = dict.fromkeys(("slices_shifted", "contrast_low", "slice_turned", "slices_exchanged"), 0)
    for cine in hearts[0]:
        k, moved = cine.slices // 2 - 1, cine.pixels.copy()
        moved[:, k] = np.roll(moved[:, k], 3, axis=2)  # 6 mm
        pale = cine.pixels.mean() + 0.3 * (cine.pixels - cine.pixels.mean(dtype=np.float32))
        turned, exchanged = cine.pixels.copy(), cine.pixels.copy()
        turned[:, k] = turned[:, k, ::-1]
        exchanged[:, [k, k + 2]] = exchanged[:, [k + 2, k]]
        for flag, pixels in zip(found, (moved, pale.astype(np.float32), turned, exchanged)):
            found[flag] += flag in qc.qc_flags(replace(cine, pixels=pixels))
    assert min(found.values()) >= 4, found


@pytest.mark.skipif(not DATA.is_dir(), reason="no real data: CMR_DATA_DIR names no folder")
def test_most_real_hearts_get_no_flag():
    """Nobody knows which of them had a trouble: a flag on half of them would say nothing."""
    items = acdc.find(DATA / "acdc" / "training")
    patients = [acdc.read(label, item).cines[0] for label, item in list(items.items())[::4]]
    flags = [qc.qc_flags(cine) for cine in patients]
    assert len(flags) >= 15 and np.mean([bool(one) for one in flags]) < 0.35
    ((label, item),) = dicom.find(DATA / "mvnet_sample").items()
    cines = dicom.read(label, item).cines
    assert all(qc.qc_flags(cine) == () for cine in cines)
