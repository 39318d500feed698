"""Kaggle's hand-drawn images: tiny zips in their layout, and the real ones where they are at hand."""

import os
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from cmrlib.cohort.files import read_tsv
from cmrlib.cohort.splits import committed_list
from cmrlib.datasets import dsb2015, ingest

DATA = Path(os.environ.get("CMR_DATA_DIR") or "/nonexistent") / "dsb2015"


def jpeg(pixels):
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def claims_32000():
    """A small JPEG whose frame header says 32000 × 32000."""
    content = bytearray(jpeg(np.zeros((40, 40), np.uint8)))
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = (32000).to_bytes(2, "big") * 2
    return bytes(content)


def drawn(width, shape=(40, 40)):
    """Dark on white, as these contours are."""
    picture = np.full(shape, 255, np.uint8)
    picture[10:30, 8 : 8 + width] = 0
    return picture


def write_zip(folder, patients, **extra):
    """patients: number → [(frame, width of the cavity)]."""
    with zipfile.ZipFile(folder / dsb2015.ZIP, "w") as file:
        for number, images in patients.items():
            for frame, width in images:
                name = f"ch4_{number}_{frame:04d}.jpg"
                file.writestr(f"manual_lax4ch/images/{name}", jpeg(np.full((40, 40), 50 + frame, np.uint8)))
                file.writestr(f"manual_lax4ch/contours/{name}", jpeg(drawn(width)))
        for name, content in extra.items():
            file.writestr(name.replace("__", "/") + ".jpg", content)


def test_frames_contours_and_volumes(tmp_path):
    write_zip(tmp_path, {7: [(20, 6), (3, 12)], 12: [(5, 9)]})
    (tmp_path / "train.csv").write_text("Id,Systole,Diastole\n7,60.0,150.0\n")
    (tmp_path / "patient_metadata.tsv").write_text("pid\tPatientsSex\tPatientsAgeYears\nunknown\tM\t1\n7\tF\t58\n")
    cohort = ingest("dsb2015", tmp_path, tmp_path / "cohort", workers=1, progress=False)
    assert list(cohort.subjects["participant_id"]) == ["DSB12", "DSB7"]
    cine = cohort.cine("sub-DSB7_view-4ch")
    assert cine.pixels.shape == (2, 1, 40, 40) and not cine.spacing_known
    assert [round(float(cine.pixels[t].mean())) for t in (0, 1)] == [53, 70]  # in order of their numbers
    assert (cine.ed, cine.es, cine.frames_of[0]) == (0, 1, (3, 20)) and "phases_by_area" in cine.flags
    annotation = cohort.observer("manual").mask("sub-DSB7_view-4ch")
    assert annotation.annotated == {0: ("lv",), 1: ("lv",)}
    assert [(annotation.mask[t] == 1).sum() for t in (0, 1)] == [240, 120]
    measured = cohort.observer("kaggle").measures().set_index("participant_id")
    assert measured.loc["DSB7", ["lvedv_ml", "lvef_pct"]].tolist() == [150.0, 60.0]
    person = cohort.subjects.set_index("participant_id").loc["DSB7"]
    assert (person["sex"], person["age"]) == ("F", 58)
    one = cohort.cine("sub-DSB12_view-4ch")
    assert (one.frames, one.ed, one.es) == (1, 0, None)


real = pytest.mark.skipif(not DATA.is_dir(), reason="no real data: CMR_DATA_DIR names no folder with dsb2015")


@real
def test_real_images_of_298_patients():
    items = dsb2015.find(DATA)
    assert set(items) <= set(read_tsv(committed_list("dsb2015"))["participant_id"]) and len(items) == 298
    assert sum(len(images) for _, _, images in items.values()) == 592
    study = dsb2015.read("DSB102", items["DSB102"])
    (cine,) = study.cines
    annotation = study.observers["manual"][cine.name]
    areas = (annotation.mask == 1).sum((1, 2, 3))
    assert cine.pixels.shape == (2, 1, 246, 246) and areas[cine.ed] > areas[cine.es] > 800
    assert 5 < study.measures["kaggle"]["lvef_pct"] < 85 and study.participant["sex"] in ("F", "M")
