"""Readers: tiny trees with the quirks of each source, and the real samples where CMR_DATA_DIR names their folder."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import trees
from trees import long_axis, write_acdc, write_cine, write_sunnybrook

from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.cohort.files import digest, read_json, read_tsv
from cmrlib.datasets import acdc, dicom, sunnybrook
from cmrlib.datasets.contours import polygon_area, polygon_coverage, polygon_mask
from cmrlib.datasets.geometry import affine_ras, normal

DATA = Path(os.environ.get("CMR_DATA_DIR") or "/nonexistent")
real = pytest.mark.skipif(not DATA.is_dir(), reason="no real data: CMR_DATA_DIR names no folder")
LISTS = Path(acdc.__file__).parent / "splits"


def read_folder(folder, **options):
    return dicom.read("s1", folder, **options)


def first_pixels(cine):
    """(slices, frames) of the number that trees.image wrote in the corner."""
    return cine.pixels[:, :, 0, 0].T


def expected_corners(slices, frames):
    return 100 * np.arange(slices)[:, None] + np.arange(frames) + 1


def reasons(study):
    return sorted({row["reason"] for row in study.rejected})


# --- geometry and contours -------------------------------------------------------------------------------------------


def test_affine_is_ras_with_columns_first():
    orientation = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    affine = affine_ras(np.array([10.0, 20, 30]), orientation, (2.0, 0.5), np.array([0, 0, 8.0]))
    np.testing.assert_allclose(affine @ [4, 3, 2, 1], [-(10 + 4 * 0.5), -(20 + 3 * 2.0), 30 + 2 * 8, 1])
    np.testing.assert_allclose(normal(orientation), [0, 0, 1])


def test_polygon_masks_keep_the_area():
    rng = np.random.default_rng(0)
    for _ in range(20):
        angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        radius = rng.uniform(4, 14) * (1 + 0.2 * rng.random(60))
        points = np.c_[np.cos(angle), np.sin(angle)] * radius[:, None] + rng.uniform(18, 22, 2)
        assert polygon_coverage(points, (40, 44)).sum() == pytest.approx(polygon_area(points), rel=2e-3)
        assert abs(polygon_mask(points, (40, 44)).sum() - polygon_area(points)) < 1
    half_grid = np.round(points * 2) / 2  # ties everywhere: a threshold at one half would be a per cent too large
    assert abs(polygon_mask(half_grid, (40, 44)).sum() - polygon_area(half_grid)) < 1


def test_polygon_coverage_by_hand():
    square = [(0.5, 0.5), (2.5, 0.5), (2.5, 2.0), (0.5, 2.0)]  # columns 1 and 2, row 1 whole, row 2 half
    by_hand = np.zeros((4, 4))
    by_hand[1, 1:3], by_hand[2, 1:3] = 1, 0.5
    np.testing.assert_allclose(polygon_coverage(square, (4, 4)), by_hand, atol=1e-9)
    by_hand = np.zeros((4, 4))
    by_hand[0, 0] = 0.5  # of the same square two pixels up and left only this corner lies on the image
    np.testing.assert_allclose(polygon_coverage(np.array(square) - 2, (4, 4)), by_hand, atol=1e-9)


# --- DICOM -----------------------------------------------------------------------------------------------------------


def test_shuffled_files_with_useless_uids_make_one_cine(tmp_path):
    write_cine(tmp_path, slices=3, frames=6, gap=8.0)
    study = read_folder(tmp_path)
    (cine,) = study.cines
    np.testing.assert_array_equal(first_pixels(cine), expected_corners(3, 6))
    assert cine.spacing_mm == pytest.approx((8.0, 1.5, 1.25))
    np.testing.assert_allclose(cine.rr_ms, 240)
    np.testing.assert_allclose(cine.frame_times_ms, np.tile(np.arange(6) * 40.0, (3, 1)))
    np.testing.assert_allclose(cine.slice_position_mm, [0, 8, 16])
    corner = np.diag([-1, -1, 1]) @ (2 * 8.0 * np.cross(*trees.SHORT_AXIS))
    np.testing.assert_allclose(cine.to_world([(0, 0)], 2)[0], corner, atol=1e-9)
    assert cine.meta["ordered_by"] == "TriggerTime" and not study.rejected
    assert "view_unknown" in cine.flags  # nothing says what three slices of anything are


def test_a_slice_whose_frames_nothing_places_is_left_out_and_said(tmp_path):
    write_cine(tmp_path, slices=4, frames=6, skip=[(3, 5)], TriggerTime=None, InstanceNumber=lambda k, t: t + 1)
    study = read_folder(tmp_path)
    (cine,) = study.cines
    assert cine.slices == 3 and "slices_left_out" in cine.flags and len(study.rejected) == 5
    assert "only 5 of 6 frames" in reasons(study)[0]


def test_views_from_geometry_with_the_description_as_second_opinion(tmp_path):
    write_cine(tmp_path / "1", slices=6, SeriesInstanceUID="1.2.1")
    for angle, view in ((0, "2ch"), (60, "3ch"), (118, "4ch")):
        write_cine(tmp_path / view, orientation=long_axis(angle), SeriesDescription="cine_4ch" if angle else "")
    study = read_folder(tmp_path)
    flags = {cine.view: cine.flags for cine in study.cines}
    assert set(flags) == {"sax", "2ch", "3ch", "4ch"}
    assert "view_disagrees_with_description" in flags["3ch"] and not flags["4ch"] and not flags["2ch"]


def test_views_by_description_folder_and_name(tmp_path):
    write_cine(tmp_path / "x", SeriesDescription="CINE 4-Chamber", orientation=long_axis(118))
    write_cine(tmp_path / "2ch", orientation=long_axis(0))
    write_cine(tmp_path / "Odd One", orientation=long_axis(60))
    views = {cine.view: cine.flags for cine in read_folder(tmp_path).cines}
    assert views == {"4ch": ("view_from_description",), "2ch": ("view_from_folder_name",), "unknown": ("view_unknown",)}
    named = read_folder(tmp_path, views={"odd one": "3ch", "CINE 4-Chamber": "lax"})
    assert {cine.view for cine in named.cines} == {"lax", "2ch", "3ch"}
    with pytest.raises(ValueError, match="unknown views"):
        read_folder(tmp_path, views={"x": "5ch"})


def test_subjects_come_from_folders(tmp_path, capsys):
    for name in ("P one", "1234567"):
        write_cine(tmp_path / "many" / name / "deep" / "er")
    (tmp_path / "many" / "README.txt").write_text("not a subject")
    labels = dicom.find(tmp_path / "many")
    assert "Pone" in labels and len(labels) == 2 and not any("1234567" in label for label in labels)
    assert labels == dicom.find(tmp_path / "many")
    write_cine(tmp_path / "many" / "P-one")
    write_cine(tmp_path / "many" / "心臓")
    assert "Pone" not in dicom.find(tmp_path / "many") and len(dicom.find(tmp_path / "many")) == 1
    said = capsys.readouterr().err
    assert "'P one', 'P-one': two folders give the subject label 'Pone'" in said and "'心臓': gives" in said


# --- ACDC ------------------------------------------------------------------------------------------------------------


def read_acdc(folder):
    return acdc.read(folder.name, folder)


@pytest.mark.parametrize("four_d", [False, True])
def test_acdc_spacing_labels_and_frames(tmp_path, four_d):
    study = read_acdc(write_acdc(tmp_path, ed=1, es=3, four_d=four_d))
    (cine,) = study.cines
    mask = study.observers["manual"][cine.name]
    assert cine.spacing_mm == pytest.approx((10, 1.5, 1.5))  # the sform says 1 mm
    assert (cine.ed, cine.es, cine.frames) == ((0, 2, 5) if four_d else (0, 1, 2))
    assert cine.frames_of == (None if four_d else ((0, 2), 5))
    assert (mask.mask[cine.ed] == STRUCTURES["lv"]).sum() == 2 * trees.disc((32, 32), 9).sum()
    assert (mask.mask[cine.ed] == STRUCTURES["rv"]).sum() == 32
    assert set(mask.annotated) == {cine.ed, cine.es} and (not four_d or (mask.mask[1] == 255).all())
    assert study.participant["height_m"] == pytest.approx(1.7) and study.participant["group"] == "NOR"


# --- Sunnybrook ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [True, False])
def test_sunnybrook_contours_to_masks_and_measures(tmp_path, packed):
    write_sunnybrook(tmp_path, packed=packed)
    items = sunnybrook.find(tmp_path)
    assert list(items) == ["SCHFI1", "SCHFI5"]
    study = sunnybrook.read("SCHFI1", items["SCHFI1"])
    (cine,) = study.cines
    manual = study.observers["manual"][cine.name]
    assert cine.pixels.shape == (20, 4, 48, 40) and cine.spacing_mm[0] == pytest.approx(10) and not cine.flags
    assert (cine.ed, cine.es) == (18, 7) and manual.annotated == {18: ("lv", "myo"), 7: ("lv",)}
    assert study.participant == {"participant_id": "SCHFI1", "sex": "M", "age": 53, "group": "HF-I"}
    edv = 2 * np.pi * 81 * 1.5 * 1.5 * 10 / 1000
    assert study.measures["manual"]["lvedv_ml"] == pytest.approx(edv, rel=2e-3)
    lv = manual.mask[18] == STRUCTURES["lv"]
    assert lv.sum() * cine.voxel_ml == pytest.approx(edv, rel=4e-3)
    assert (cine.pixels[18][lv] > 400).mean() > 0.99  # the contour lies on the disc it was drawn around
    assert (manual.mask[18, 0] == 255).all() and (manual.mask[0] == 255).all() and not (manual.mask[7] == 2).any()
    without = sunnybrook.read("SCHFI5", items["SCHFI5"])
    assert not without.cines and reasons(without) == ["contours without images"] and without.participant["sex"] == "F"


def test_sunnybrook_o_contours_of_other_images_are_dropped(tmp_path):
    write_sunnybrook(tmp_path, outer_shift=7.0)
    study = sunnybrook.read("SCHFI1", sunnybrook.find(tmp_path)["SCHFI1"])
    manual = study.observers["manual"][study.cines[0].name]
    assert "o_contours_dropped" in study.cines[0].flags and not (manual.mask == STRUCTURES["myo"]).any()
    assert manual.annotated == {18: ("lv",), 7: ("lv",)}


def test_sunnybrook_unusable_contours_are_listed(tmp_path):
    write_sunnybrook(tmp_path)
    folder = tmp_path / "contours" / "SC-HF-I-1" / "i-contours"
    (folder / "IM-0001-0001-icontour-manual.txt").write_text("1 2\n3 4\n")
    np.savetxt(folder / "IM-0001-0999-icontour-manual.txt", trees.circle((20, 24), 5))
    np.savetxt(folder / "IM-0001-0002-icontour-manual.txt", trees.circle((39, 24), 5))
    (tmp_path / "contours" / "SC-HF-I-1" / "o-contours" / "IM-0001-0059-ocontour-manual.txt").unlink()
    study = sunnybrook.read("SCHFI1", sunnybrook.find(tmp_path)["SCHFI1"])
    assert [text.split()[1] for text in reasons(study)] == ["file", "leaves", "of"]
    mask = study.observers["manual"][study.cines[0].name].mask[18]
    assert set(np.unique(mask[2])) == {1, 255} and set(np.unique(mask[1])) == {0, 1, 2}  # no o-contour: no background


# --- real data -------------------------------------------------------------------------------------------------------


@real
def test_real_acdc_volumes_match_the_published_indices():
    reference = pd.read_csv(DATA / "acdc" / "reference_indices_training.csv").set_index("Name")
    listed = read_tsv(LISTS / "acdc.tsv").set_index("participant_id")["group"]
    items = acdc.find(DATA / "acdc")
    assert set(items) == set(listed.index)
    for label, folder in items.items():
        study = acdc.read(label, folder)
        cine = study.cines[0]
        mask = study.observers["manual"][cine.name].mask
        for phase, t in (("ED", cine.ed), ("ES", cine.es)):
            for name in ("LV", "RV"):
                ml = (mask[t] == STRUCTURES[name.lower()]).sum() * cine.voxel_ml
                published = reference.loc[label, f"{phase}[vol({name})]"] / 1000
                assert ml == pytest.approx(published, rel=1e-3), (label, phase, name)
        assert study.participant["group"] == listed[label]


@real
def test_real_pictures_of_one_heart_stand_on_one_side():
    folds = read_tsv(LISTS / "acdc.tsv").set_index("participant_id")["fold"]
    owners = {}
    for label, folder in acdc.find(DATA / "acdc").items():
        for path in folder.glob("*_frame??.nii.gz"):
            owners.setdefault(digest(path), set()).add(label)
    twins = [labels for labels in owners.values() if len(labels) > 1]
    assert twins == [{"patient074", "patient076"}] * 2 and folds["patient074"] == folds["patient076"]
    assert set(acdc.find(DATA / "acdc_cine")) < set(folds.index)


@real
def test_real_sunnybrook_against_independent_areas(tmp_path):
    checks = {c["patient"]: c for c in read_json(DATA / "checks.json")["sunnybrook"]}
    links = pd.read_csv(DATA / "sunnybrook" / "link.csv").set_index("patient_id")["original_id"]
    items = sunnybrook.find(DATA / "sunnybrook")
    for patient, original in links.items():
        label, check = original.replace("-", ""), checks[patient]
        study = sunnybrook.read(label, items[label])
        if not check["dicom_kept"]:
            assert not study.cines and reasons(study) == ["contours without images"]
            continue
        cine = study.cines[0]
        manual, measures = study.observers["manual"][cine.name], study.measures["manual"]
        assert cine.spacing_mm[0] == pytest.approx(check["slice_spacing_mm_from_position"], abs=0.01)
        assert cine.pixels.shape[:2] == (20, check["n_slices"]) and "instances_not_in_time_order" not in cine.flags
        assert {str(cine.ed), str(cine.es)} == set(check["contoured_phases_0based"]) and cine.ed in (18, 19)
        folder = DATA / "sunnybrook" / "contours" / original / "i-contours"
        for phase, t, name in (("EDV_ml", cine.ed, "lvedv_ml"), ("ESV_ml", cine.es, "lvesv_ml")):
            areas = [polygon_area(np.loadtxt(p)) for p in folder.iterdir() if (int(p.name[8:12]) - 1) % 20 == t]
            independent = sum(areas) * check["pixel_spacing_mm"] ** 2 * check["slice_spacing_mm_from_position"] / 1000
            assert measures[name] == pytest.approx(independent, abs=0.1) and abs(measures[name] - check[phase]) < 0.1
            assert abs((manual.mask[t] == STRUCTURES["lv"]).sum() * cine.voxel_ml - independent) < 0.5
        assert measures["lvef_pct"] == pytest.approx(check["EF_pct"], abs=0.1)
    shifted = sunnybrook.read("SCN2", items["SCN2"])
    assert not shifted.cines and len(shifted.rejected) == 10


@real
def test_real_sunnybrook_o_contours_of_hf_i_6_are_dropped():
    folder = DATA / "sunnybrook" / "contours" / "SC-HF-I-6"
    places = {n + 1: divmod(n, 20) for n in range(220)}
    contours, strays = sunnybrook.load_contours(folder, places, (256, 256))
    kept, flags = sunnybrook.matching_pairs(contours)
    assert not strays and flags == ("o_contours_dropped",) and {kind for kind, *_ in kept} == {"i"}


@real
def test_real_mvnet_sample_is_in_time_order():
    ((label, folder),) = dicom.find(DATA / "mvnet_sample").items()
    study = dicom.read(label, folder)
    cines = {cine.view: cine for cine in study.cines}
    assert set(cines) == {"2ch", "4ch"} and not study.rejected
    for view, rr_ms in (("4ch", 1356), ("2ch", 1372)):
        files = [pydicom.dcmread(p) for p in sorted((folder / view).iterdir())]
        files.sort(key=lambda data: float(data.TriggerTime))
        np.testing.assert_array_equal(cines[view].pixels[:, 0], [data.pixel_array for data in files])
        np.testing.assert_allclose(cines[view].frame_times_ms[0], [float(data.TriggerTime) for data in files])
        assert cines[view].rr_ms[0] == pytest.approx(rr_ms, rel=0.002) and cines[view].meta["header_rr_ms"] == rr_ms
