"""`cmr correct`: masks laid out for ITK-SNAP or 3D Slicer as an observer of their own."""

from pathlib import Path

import pandas as pd

from cmrlib.cohort import Cohort, Observer, stem
from cmrlib.cohort.files import read_json, write_json

MARK = "correction.json"


def lay_out(cohort: Cohort, observer: str, folder, subjects=None) -> pd.DataFrame:
    """Copies of an observer's masks in `folder`, as compressed NIfTI to be edited in place: a row a cine: cine, image,
    mask (paths), state (new, or kept: what was corrected before is never written over).

    Raises ValueError for unknown subjects, nobody drawn, and a folder inside the cohort; FileExistsError where the
    folder is somebody else's.
    """
    folder, looked = Path(folder), cohort.observer(observer)
    if unknown := sorted(set(subjects or ()) - set(cohort.subjects["participant_id"])):
        raise ValueError(f"subjects {unknown} are not in {cohort.path}; participants.tsv lists who is")
    if folder.resolve().is_relative_to(cohort.path.resolve()):
        raise ValueError(f"{folder} lies inside the cohort, which never changes; choose a folder outside")
    made_by = {"made_by": "cmr correct", "of": observer, "cohort": cohort.digest}
    if read_json(folder / MARK) != made_by if (folder / MARK).exists() else any(folder.glob("sub-*")):
        raise FileExistsError(f"{folder} holds masks of another observer or cohort; choose another --name")
    rows, hand = [], Observer(folder)
    for row in cohort.cines.itertuples():
        if (subjects is not None and row.participant_id not in set(subjects)) or not looked.has(row.cine):
            continue
        image = cohort.path / stem(row.cine).with_name(f"{row.cine}_cine.nii")
        mask, there = folder / stem(row.cine).with_name(f"{row.cine}_dseg.nii.gz"), hand.has(row.cine)
        if not there:
            hand.write(cohort.cine(row.cine), looked.mask(row.cine), to_correct=True)
        rows.append({"cine": row.cine, "image": str(image), "mask": str(mask), "state": "kept" if there else "new"})
    if not rows:
        raise ValueError(f"observer {observer!r} drew no masks of these subjects of {cohort.path}")
    write_json(made_by, folder / MARK)
    return pd.DataFrame(rows)
