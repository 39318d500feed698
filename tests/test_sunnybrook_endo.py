"""Sunnybrook's single images of the endocardium: a tiny folder in their layout, and the real one if at hand."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from cmrlib.cohort.files import read_tsv
from cmrlib.datasets import ingest, sunnybrook, sunnybrook_endo
from cmrlib.datasets.finding import STRAY

DATA = Path(os.environ.get("CMR_DATA_DIR") or "/nonexistent")
real = pytest.mark.skipif(not (DATA / "sunnybrook_endo").is_dir(), reason="no real data: CMR_DATA_DIR has none of it")


def filled(radius, shape=(48, 48), centre=24.25):
    """A disc as these masks are drawn: whole and half pixels cut to whole ones, filled with the border."""
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    points = np.round(2 * (centre + radius * np.c_[np.cos(angle), np.sin(angle)])) / 2
    return cv2.fillPoly(np.zeros(shape, np.uint8), [np.floor(points).astype(np.int32)], 255)


def write_image(folder, name, k, phase, radius=10, mask=True):
    folder.mkdir(exist_ok=True)
    stem = f"{name}_{k * 20 + phase + 1:04d}"
    cv2.imwrite(str(folder / f"{stem}.png"), np.full((48, 48), 10 * k + phase + 1, np.uint8))
    if mask:
        cv2.imwrite(str(folder / f"{stem}_mask.png"), filled(radius))
    return folder / f"{stem}.png"


def cohort_of(tmp_path):
    return ingest("sunnybrook_endo", tmp_path / "src", tmp_path / "cohort", workers=1, progress=False)


def test_two_phases_become_ed_and_es(tmp_path):
    for k in (2, 3, 4, 5):
        write_image(tmp_path / "src", "SC-HF-NI-07", k, 18, 12)
        if k != 5:
            write_image(tmp_path / "src", "SC-HF-NI-07", k, 7, 8)
    cohort = cohort_of(tmp_path)
    cine = cohort.cine("sub-SCHFNI7_view-sax")
    assert cine.pixels.shape == (2, 4, 48, 48) and not cine.spacing_known
    assert (cine.ed, cine.es, cine.frames_of) == (0, 1, ((18, 7), 20))
    np.testing.assert_array_equal(cine.pixels[:, :, 0, 0], [[39, 49, 59, 69], [28, 38, 48, 0]])  # base to apex
    np.testing.assert_array_equal(np.argwhere(cine.missing), [[3, 1]])
    assert {"grey_values_per_image", "missing_frames"} <= set(cine.flags) and "irregular_slices" not in cine.flags
    annotation = cohort.observer("manual").mask(cine.name)
    assert annotation.annotated == {0: ("lv",), 1: ("lv",)} and (annotation.mask[1, 3] == 255).all()
    areas = (annotation.mask == 1).sum((2, 3))
    assert areas[0] == pytest.approx(np.pi * 12**2, rel=0.03) and areas[1, 0] == pytest.approx(np.pi * 8**2, rel=0.03)
    person = cohort.subjects.iloc[0]
    assert (person["participant_id"], person["group"]) == ("SCHFNI7", "HF-NI")
    measured = cohort.observer("manual").measures()["lvef_pct"].item()
    assert measured == pytest.approx(100 * (1 - areas[1].sum() / areas[0].sum()))


def test_the_border_does_not_count():
    centres, shifts = np.linspace(22, 26, 17), []
    for centre in centres:
        mask = filled(12, centre=centre) > 0
        assert mask.sum() > 1.06 * np.pi * 12**2
        cavity = sunnybrook_endo._cavity(mask)
        assert cavity.sum() == pytest.approx(np.pi * 12**2, rel=0.04)
        shifts.append(np.argwhere(cavity).mean(0) - centre)
    np.testing.assert_allclose(np.mean(shifts, 0), -0.5, atol=0.15)  # coordinates count from the first pixel's corner
    dot = np.zeros((9, 9), bool)
    dot[4, 4] = True
    np.testing.assert_array_equal(sunnybrook_endo._cavity(dot), dot)


def test_gaps_and_more_phases_are_kept_and_flagged(tmp_path):
    for k in (0, 1, 3):
        for phase, radius in ((19, 12), (6, 7)):
            write_image(tmp_path / "src", "SC-N-40", k, phase, radius)
    write_image(tmp_path / "src", "SC-N-40", 1, 2, 10)
    cine = cohort_of(tmp_path).cine("sub-SCN40_view-sax")
    assert cine.frames_of[0] == (19, 2, 6) and (cine.ed, cine.es) == (0, 2)
    assert cine.slices == 3 and cine.missing.sum() == 2
    assert {"irregular_slices", "contours_of_other_frames", "missing_frames"} <= set(cine.flags)


def test_one_phase_is_neither_ed_nor_es(tmp_path):
    write_image(tmp_path / "src", "SC-N-2", 3, 19)
    cohort = cohort_of(tmp_path)
    cine = cohort.cine("sub-SCN2_view-sax")
    assert (cine.frames, cine.ed, cine.es) == (1, None, None) and cohort.observer("manual").measures().empty


def test_a_damaged_pair_costs_itself_only(tmp_path):
    for k in range(4):
        for phase in (19, 6):
            write_image(tmp_path / "src", "SC-N-05", k, phase, 12 if phase == 19 else 7, mask=(k, phase) != (0, 6))
    (tmp_path / "src" / "SC-N-05_0020.png").write_bytes(b"no png")
    (tmp_path / "src" / "SC-N-05_0040_mask.png").write_bytes(b"")
    cv2.imwrite(str(tmp_path / "src" / "SC-N-05_0060_mask.png"), filled(9, (40, 48)))
    cv2.imwrite(str(tmp_path / "src" / "SC-N-05_0067_mask.png"), np.zeros((48, 48), np.uint8))
    cv2.imwrite(str(tmp_path / "src" / "SC-N-05_0300_mask.png"), filled(9))
    cohort = cohort_of(tmp_path)
    cine = cohort.cine("sub-SCN5_view-sax")
    assert cine.slices == 3 and cine.missing.sum() == 3
    reasons = read_tsv(cohort.path / "rejected.tsv").groupby("reason").size().to_dict()
    assert reasons == {
        "an image without a mask": 1,
        "an image or its mask is no readable PNG": 2,
        "an empty mask": 1,
        "a mask of shape (40, 48), its image has (48, 48)": 1,
        STRAY: 1,
    }


@real
def test_real_images_of_30_patients():
    items = sunnybrook_endo.find(DATA / "sunnybrook_endo")
    assert len(items) == 30 and sum(len(pairs) for _, pairs in items.values()) == 534
    assert all(mask for _, pairs in items.values() for _, mask in pairs)
    groups = read_tsv(Path(sunnybrook.__file__).parent / "splits" / "sunnybrook.tsv").set_index("participant_id")
    for label, item in items.items():
        study = sunnybrook_endo.read(label, item)
        (cine,) = study.cines
        assert cine.frames == 2 and not study.rejected and study.participant["group"] == groups.loc[label, "group"]
        mask = study.observers["manual"][cine.name].mask
        there = ~cine.missing.T
        areas = (mask == 1).sum((2, 3))
        np.testing.assert_array_equal(areas > 0, there)
        assert (areas[0] >= 0.6 * areas[1]).all() and 10 < study.measures["manual"]["lvef_pct"] < 85
        assert areas[0, 0] > areas[0, -1]  # base first


@real
@pytest.mark.parametrize("label", ["SCHFI1", "SCHFI2", "SCHFI4"])
def test_real_people_of_both_kinds_are_the_same(label):
    one = sunnybrook_endo.read(label, sunnybrook_endo.find(DATA / "sunnybrook_endo")[label])
    other = sunnybrook.read(label, sunnybrook.find(DATA / "sunnybrook")[label])
    (cine,), (whole,) = one.cines, other.cines
    assert cine.frames_of[0] == (whole.ed, whole.es)
    assert one.measures["manual"]["lvef_pct"] == pytest.approx(other.measures["manual"]["lvef_pct"], abs=0.5)
    drawn, contoured = (study.observers["manual"][study.cines[0].name].mask == 1 for study in (one, other))
    dice = []
    for t, frame in enumerate(cine.frames_of[0]):
        slices = [k for k in range(whole.slices) if contoured[frame, k].any()][::-1]  # apex first there
        assert len(slices) == cine.slices
        for k, there in enumerate(slices):
            assert np.corrcoef(cine.pixels[t, k].ravel(), whole.pixels[frame, there].ravel())[0, 1] > 0.999
            a, b = drawn[t, k], contoured[frame, there]
            dice.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert np.mean(dice) > 0.985 and min(dice) > 0.95
