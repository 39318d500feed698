"""Kaggle Data Science Bowl 2015, the challenge's DICOM tree: SAX, 2CH and 4CH cines of 1,140 patients, no masks.

Source: https://www.kaggle.com/c/second-annual-data-science-bowl. Licence: Kaggle's rules, research only. Layout:
`train|validate|test/…/NNN/study/sax_5/IM-4562-0001.dcm`, `2ch_21`, `4ch_22`; `train.csv`, `validate.csv` (Id, Systole,
Diastole in mL) anywhere above or beside. Labels: none. Fills participants (sex, age), measures of observer `kaggle`.
Subjects are called DSBNNN, as those of the hand-drawn images (`dsb2015`).

No real sample was read: layout and quirks follow public solutions. Known to be wrong with it: no file has a
SeriesInstanceUID; folder numbers are no slice order; slices were repeated (a third number in the file name); patients
761 (black), 595 and 599 (damaged), 416 (30 frames in SAX, 21 in long axis), 643, 579, 277, 341 (slices far out or at
one place), some without 4CH or with three slices only. All of it goes through the reader of `dicom`.
"""

from pathlib import Path

from cmrlib.cohort.study import Study
from cmrlib.datasets import dicom
from cmrlib.datasets.dsb2015 import volumes_of
from cmrlib.datasets.finding import files_of

DESCRIPTION = {"Name": "DSB2015 DICOM", "License": "research only; Kaggle Data Science Bowl 2015"}


def find(src) -> dict[str, Path]:
    """Subject label → patient's folder, wherever `NNN/study` stands below the source.

    Raises ValueError where one number stands in two places.
    """
    items = {}
    within = {parent for path in files_of(Path(src)) for parent in path.parents}
    for folder in sorted(path.parent for path in within if path.name == "study"):
        if folder.name.isdigit():
            label = f"DSB{int(folder.name)}"
            if label in items:
                raise ValueError(f"patient {folder.name} lies there twice; keep one copy")
            items[label] = folder
    return dict(sorted(items.items(), key=lambda item: int(item[0][3:])))


def read(label: str, folder: Path, views: dict | None = None, min_frames: int = 2) -> Study:
    """One patient's cines and, where the challenge's tables are there, its volumes."""
    study = dicom.read(label, folder, views, min_frames)
    found = (volumes_of(parent, int(folder.name)) for parent in list(folder.parents)[:4])
    measures, rejected = next(filter(any, found), ({}, []))
    one_session = len({cine.session for cine in study.cines}) == 1  # of several, nothing tells which was measured
    study.measures = measures if one_session else {}
    study.rejected += rejected
    return study
