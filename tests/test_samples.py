"""The real hearts in samples/: nothing of a person in them, small, and read as what they are."""

import importlib.util
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest

from cmrlib.datasets import SAMPLES, ingest, sample

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("CMR_DATA_DIR", "nowhere"))
IMAGES = sorted((ROOT / "samples").rglob("*.dcm"))
CODES = {"patient1", "SCD0000101"}


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    return ingest("dicom", sample("patient1"), tmp_path_factory.mktemp("patient") / "c", workers=1, progress=False)


def test_samples_fit_their_budget_and_say_where_they_came_from():
    files = [path for path in (ROOT / "samples").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 8e6
    text = (ROOT / "samples" / "README.md").read_text()
    assert all(word in text for word in ("d01024f", "Apache-2.0", "CC0", "What was changed"))
    assert "Apache License" in (ROOT / "samples" / "LICENSE.biv-me").read_text()
    assert {path.name for path in (ROOT / "samples").iterdir() if path.is_dir()} == set(SAMPLES)


def test_headers_hold_nothing_of_a_person():
    assert len(IMAGES) == 250 + 180
    for path in IMAGES:
        image = pydicom.dcmread(path, stop_before_pixels=True)
        assert {str(image.PatientID), str(image.PatientName)} <= CODES and image.PatientIdentityRemoved == "YES"
        for element in image:
            assert not element.tag.is_private and element.VR != "SQ", f"{path.name}: {element.keyword}"
            if element.VR in ("DA", "TM", "DT", "AS", "UN") or element.keyword in ("StudyID", "AccessionNumber"):
                assert not element.value, f"{path.name}: {element.keyword}"
            if element.VR == "PN" and element.keyword != "PatientName":
                assert not element.value, f"{path.name}: {element.keyword}"
        kept = " ".join(element.keyword for element in image)
        assert not re.search("Institution|Station|Serial|Operator|Address|Comment|Other|Ethnic", kept)
        uids = [element.value for element in image if element.VR == "UI" and element.keyword != "SOPClassUID"]
        assert all(uid.startswith(pydicom.uid.PYDICOM_ROOT_UID) for uid in uids)
        assert image.file_meta.TransferSyntaxUID == pydicom.uid.JPEG2000Lossless


def test_the_examination_is_one_patient_with_a_stack_and_long_axis_views(patient):
    cines = patient.cines
    assert len(patient.subjects) == 1 and len(cines) == 5 and (cines["frames"] == 25).all()
    assert cines.set_index("view").loc["sax", "slices"] == 6 and {"4ch", "3ch", "2ch"} <= set(cines["view"])
    assert cines.set_index("view").loc["sax", "slice_distance_mm"] == pytest.approx(17.7, abs=0.01)


def test_the_contoured_cine_comes_with_its_expert(tmp_path):
    cohort = ingest("sunnybrook", sample("sunnybrook"), tmp_path / "c", workers=1, progress=False)
    row = cohort.cines.iloc[0]
    assert (row["frames"], row["slices"], row["ed"], row["es"]) == (20, 9, 18, 7)
    mask = cohort.observer("manual").mask(row["cine"]).mask
    assert all((mask[18, k] == 1).any() and (mask[18, k] == 2).any() for k in range(9))
    assert cohort.observer("manual").measures()["lvef_pct"].iloc[0] == pytest.approx(26.2, abs=0.1)
    plain = ingest("dicom", sample("sunnybrook") / "SCD0000101", tmp_path / "d", workers=1, progress=False)
    assert plain.cines["slices"].tolist() == [9] and plain.cines["view"].tolist() == ["sax"]


@pytest.mark.skipif(not (DATA / "study" / "patient1.tar.xz").exists(), reason="CMR_DATA_DIR names no folder with study")
def test_the_copy_shows_what_the_original_shows(patient, tmp_path):
    """Same geometry and times; grey values differ by rounding alone."""
    subprocess.run(["tar", "xf", DATA / "study" / "patient1.tar.xz", "-C", tmp_path], check=True)
    whole = ingest("dicom", tmp_path / "patient1", tmp_path / "c", workers=1, progress=False)
    originals = [whole.cine(name) for name in whole.cines["cine"]]
    for name in patient.cines["cine"]:
        copy = patient.cine(name)
        original = next(one for one in originals if np.allclose(one.affine, copy.affine, atol=1e-3))
        assert np.allclose(copy.frame_times_ms, original.frame_times_ms, atol=0.01)
        assert np.abs(np.asarray(copy.pixels) * 8.0 - np.asarray(original.pixels)).max() <= 4


def test_outlines_that_are_open_at_the_septum_are_closed_there():
    """Rings of radius 10, 14 round (30, 30), listed from somewhere; the epicardium's left quarter is the septum's."""
    spec = importlib.util.spec_from_file_location("opinion", ROOT / "benchmarks" / "second_opinion.py")
    opinion = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(opinion)

    def ring(radius, start, stop, centre=30.0):
        angle = np.deg2rad(np.arange(start, stop, 3.0))
        return np.c_[centre + radius * np.cos(angle), 30 + radius * np.sin(angle)]

    epi, septum = np.roll(ring(14, -135, 136), 40, axis=0), ring(14, 138, 223)
    wall = np.roll(ring(20, 150, 211, 25.0)[::-1], 7, axis=0)
    lines = {
        "SAX_LV_ENDOCARDIAL": ring(10, 0, 360),
        "SAX_LV_EPICARDIAL": epi,
        "SAX_RV_SEPTUM": septum,
        "SAX_RV_FREEWALL": wall,
    }
    points = pd.concat(
        [pd.DataFrame(line, columns=["column_px", "row_px"]).assign(kind=kind) for kind, line in lines.items()]
    )
    found = opinion.masks(points, (60, 60))
    assert found["lv"].sum() == pytest.approx(np.pi * 100, rel=0.01)
    assert found["myo"].sum() == pytest.approx(np.pi * 96, rel=0.02)
    assert not (found["rv"] & found["lv"]).any() and found["rv"][30, 6:15].all() and not found["rv"][30, 18:].any()
    open_ring = opinion.masks(points[points["kind"] != "SAX_RV_SEPTUM"], (60, 60))
    assert open_ring["myo"].sum() < 0.85 * found["myo"].sum()
