"""Kaggle Data Science Bowl 2015, the hand-drawn four-chamber images: LV cavities of 298 patients.

Source: github.com/woshialex/diagnose-heart, `manual_lax4ch.zip`; the images are those of the challenge. Licence:
Kaggle's rules for its data, research only. Layout: `…/images/ch4_PATIENT_FRAME.jpg` and `…/contours/…` of the same
name, 246×246. Labels there: dark on white is the LV cavity; it ends in a straight edge at the mitral plane. Fills
observer `manual` (structure lv only) and measures of observer `kaggle` (volumes of the challenge, where its tables lie
beside the zip).

Known to be wrong with it: JPEG, resampled, so pixel size and orientation are lost; some are mirrored, turned or upside
down, some show the outflow tract (five chambers); of patient 212 the other ventricle seems to be drawn; the two frames
of a patient are not reliably ED and ES, so the larger cavity is called ED and the cine flagged `phases_by_area`.

The challenge's own DICOM tree is read by kind `dsb2015_dicom`.
"""

import re
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import NOT_ANNOTATED, STRUCTURES
from cmrlib.cohort import Annotation
from cmrlib.cohort.files import read_csv
from cmrlib.cohort.study import Study, rejected_rows
from cmrlib.datasets.contours import grey_image
from cmrlib.datasets.finding import is_regular
from cmrlib.datasets.header import Refused
from cmrlib.datasets.masks import number_in

DESCRIPTION = {"Name": "DSB2015", "License": "research only; Kaggle Data Science Bowl 2015"}
ZIP = "manual_lax4ch.zip"
SPACING_RANGE_MM = [0.9, 1.4]
"""Of the resampled images: an LV 80 to 95 mm long at ED is 64 to 104 pixels long in them."""
_IMAGE = re.compile(r".*images/ch4_(?P<patient>\d+)_(?P<frame>\d+)\.jpg")
_LARGEST_BYTES = 4_000_000  # of one unpacked image; a zip can promise anything


def find(src) -> dict[str, tuple]:
    """Subject label → (zip, patient number, names of images), for the zip or the folder that holds it.

    Raises FileNotFoundError where there is no such zip, ValueError where it is none.
    """
    path = Path(src) / ZIP if Path(src).is_dir() else Path(src)
    if not is_regular(path):
        raise FileNotFoundError(f"there is no {ZIP} in {src}; name the folder that holds it, or the zip itself")
    try:
        with zipfile.ZipFile(path) as file:
            matches = [match for entry in file.namelist() if (match := _IMAGE.fullmatch(entry))]
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path.name} is no readable zip ({error}); fetch it again") from error
    volumes_of(path.parent, 0), person(path.parent, 0)  # tables that are none stop all, not each
    patients = {}
    for match in matches:
        patients.setdefault(int(match["patient"]), []).append(match[0])
    return {f"DSB{number}": (path, number, tuple(sorted(images))) for number, images in sorted(patients.items())}


def read(label: str, item: tuple) -> Study:
    """One patient: a four-chamber cine of the frames that somebody drew."""
    path, number, names = item
    frames, names = zip(*sorted((int(_IMAGE.fullmatch(name)["frame"]), name) for name in names))
    pixels = _grey(label, path, names)[:, None]
    cavity = _grey(label, path, [name.replace("images/", "contours/") for name in names])[:, None] < 128
    if cavity.shape != pixels.shape:
        raise ValueError(f"sub-{label}: contours have shape {cavity.shape}, images {pixels.shape}; expected one shape")
    mask = np.where(cavity, STRUCTURES["lv"], 0).astype(np.uint8)
    areas = (mask > 0).sum((1, 2, 3))
    drawn = {t: ("lv",) for t in range(len(frames)) if areas[t]}
    mask[areas == 0] = NOT_ANNOTATED
    ed, es = int(areas.argmax()), int(np.where(areas > 0, areas, areas.max() + 1).argmin())
    cine = Cine(
        pixels,
        np.eye(4),
        "4ch",
        label,
        spacing_known=False,
        ed=ed,
        es=es if es != ed else None,
        frames_of=(frames, 0),
        flags=("phases_by_area",),
        meta={"spacing_range_mm": SPACING_RANGE_MM},
    )
    measures, rejected = volumes_of(path.parent, number)
    return Study(
        {"participant_id": label} | person(path.parent, number),
        [cine],
        {"manual": {cine.name: Annotation(mask, drawn)}},
        measures,
        rejected,
    )


def _grey(label, path, names) -> np.ndarray:
    """Grey pictures (images, rows, columns) uint8; ValueError where one is missing, damaged or of another shape."""
    images = []
    with zipfile.ZipFile(path) as file:
        for name in names:
            try:
                if file.getinfo(name).file_size > _LARGEST_BYTES:
                    raise ValueError("it is far too large")
                images.append(grey_image(file.read(name)))
            except (KeyError, ValueError, zipfile.BadZipFile) as error:
                why = str(error) if isinstance(error, Refused) else type(error).__name__
                raise ValueError(f"sub-{label}: an image or its contour is missing or damaged ({why})") from error
            if images[-1] is None:
                raise ValueError(f"sub-{label}: an image is no readable JPEG")
    if len(shapes := {image.shape for image in images}) > 1:
        raise ValueError(f"sub-{label}: images have the shapes {sorted(shapes)}; expected one shape")
    return np.stack(images)


def person(folder, number) -> dict:
    """Sex and age from the challenge's metadata, where the table lies beside the zip."""
    row = _table(folder / "patient_metadata.tsv", "pid", "\t").get(str(number), {})
    sex = row.get("PatientsSex")
    return {"sex": sex if sex in ("F", "M") else None, "age": number_in(row, "PatientsAgeYears")}


def volumes_of(folder, number) -> tuple[dict, list[dict]]:
    """Measures of observer `kaggle`: EDV, ESV and EF that the challenge published; rejected rows where they are none.

    Both empty where its tables are not there.
    """
    tables = [_table(folder / name, "Id") for name in ("train.csv", "validate.csv")]
    row = next((table[str(number)] for table in tables if str(number) in table), None)
    if row is None:
        return {}, []
    edv, esv = (pd.to_numeric(row.get(name, ""), errors="coerce") for name in ("Diastole", "Systole"))
    if not 0 < esv < edv:
        why = f"its volumes in the challenge's table: Diastole {edv:g}, Systole {esv:g} mL; expected the first larger"
        return {}, rejected_rows(f"DSB{number}", [("n/a", why)])
    return {"kaggle": {"lvedv_ml": edv, "lvesv_ml": esv, "lvef_pct": 100 * (1 - esv / edv)}}, []


@lru_cache(maxsize=8)
def _table(path, column, sep=",") -> dict[str, dict]:
    """Rows of a table by their number as a text; none where it does not exist."""
    if not is_regular(path):
        return {}
    table = read_csv(path, [column], sep)
    return table.drop_duplicates(column).set_index(column).to_dict("index")
