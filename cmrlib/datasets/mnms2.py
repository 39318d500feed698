"""M&Ms-2 (Multi-Disease, Multi-View & Multi-Centre challenge, MICCAI 2021): SAX and 4CH cines, ED and ES with masks.

Source: https://www.ub.edu/mnms-2 (Martín-Isla et al., IEEE JBHI 2023). Licence: research only, see the challenge's
site. Layout: `dataset/NNN/NNN_{SA,LA}_{CINE,ED,ES}.nii.gz`, masks `NNN_{SA,LA}_{ED,ES}_gt.nii.gz`, and
`dataset_information.csv` (SUBJECT_CODE, DISEASE, VENDOR, SCANNER, FIELD). Labels there: 1 LV, 2 myocardium, 3 RV.
Fills participants (group), observer `manual` for the views sax (SA) and 4ch (LA).

No real sample was read: layout and quirks follow public code. Known to be wrong with it: no file says which frame of
the cine ED and ES are, so they are found by their pictures, and where no frame is the same ED and ES alone make a cine
of two frames, flagged; the table ends in about a million empty rows; the groups RV and TRI are absent from the first
160 subjects, and subjects are split by order, 160, 40, 160; single cines cannot be opened and cost that view only.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from cmrlib.cohort.study import Study, label_folders, rejected_rows
from cmrlib.datasets.finding import files_of, is_regular
from cmrlib.datasets.masks import labelled_study, mask_of, phases
from cmrlib.datasets.mnms import CODES
from cmrlib.datasets.volumes import Volume, cine_of, volume_of

DESCRIPTION = {"Name": "M&Ms-2", "License": "research only; cite Martín-Isla et al., IEEE JBHI 2023"}
VIEWS = {"SA": "sax", "LA": "4ch"}


def find(src) -> dict[str, dict]:
    """Subject label → {folder, row: of dataset_information.csv}."""
    src = Path(src)
    own = r"{}_(SA|LA)_.*\.nii\.gz$"
    folders = {path.parent for path in files_of(src) if re.match(own.format(re.escape(path.parent.name)), path.name)}
    tables = [root / "dataset_information.csv" for root in (src, src.parent)]
    items = label_folders(sorted(folders))
    known = {}  # by codes without leading zeros, which spreadsheets take off
    if table := next((table for table in tables if is_regular(table)), None):
        listed = pd.read_csv(table, dtype=str, skip_blank_lines=True).dropna(how="all")
        for row in listed.fillna("").to_dict("records"):
            code = str(row.get("SUBJECT_CODE", "")).removesuffix(".0").strip()
            known[code.lstrip("0")] = row
    return {label: {"folder": path, "row": known.get(path.name.lstrip("0"), {})} for label, path in items.items()}


def read(label: str, item: dict) -> Study:
    """One patient: the short-axis and the four-chamber cine; what is wrong with one view costs that view only."""
    folder, row = item["folder"], item["row"]
    drawn, rejected = [], []
    for word in VIEWS:
        if not any(folder.glob(f"{folder.name}_{word}_*.nii.gz")):
            continue
        try:
            drawn.append(_view(label, folder, word, {"vendor": row.get("VENDOR"), "field_t": row.get("FIELD")}))
        except ValueError as error:
            rejected += rejected_rows(label, [("n/a", str(error))])
    if not drawn:
        raise ValueError(rejected[0]["reason"])
    ends = ("CINE", "ED", "ES", "ED_gt", "ES_gt")
    names = {f"{folder.name}_{word}_{end}.nii.gz" for word in VIEWS for end in ends}
    person = {"participant_id": label, "sex": None, "age": None, "group": row.get("DISEASE") or None}
    return labelled_study(person, drawn, folder, names, rejected)


def _view(label, folder, word, meta):
    """Cine and {frame: mask} of one view, SA or LA."""
    images, masks, flags = {}, {}, []
    for phase in ("ED", "ES"):
        path, drawn = (folder / f"{folder.name}_{word}_{phase}{end}.nii.gz" for end in ("", "_gt"))
        if path.exists():
            images[phase] = volume_of(label, path, f"the {word} {phase} image")
            if drawn.exists():
                mask, elsewhere = mask_of(label, drawn, f"the {word} {phase} mask", images[phase], CODES)
                masks[phase], flags = mask[0], flags + elsewhere
    path = folder / f"{folder.name}_{word}_CINE.nii.gz"
    whole = volume_of(label, path, f"the {word} cine") if path.exists() else None
    frames = {}
    for phase, image in images.items() if whole else ():  # None where no frame is this picture, or several are
        same = [t for t, frame in enumerate(whole.pixels) if np.array_equal(frame, image.pixels[0])]
        frames[phase] = same[0] if len(same) == 1 else None
    if whole is None or None in frames.values():
        flags.append("labelled_frames_differ_from_cine" if whole else "cine_missing")
        if len(images) < 2:
            raise ValueError(f"sub-{label}: of the {word} view there are neither a cine nor both ED and ES")
        first, second = images["ED"], images["ES"]
        if first.pixels.shape != second.pixels.shape:
            raise ValueError(f"sub-{label}: {word} ED has shape {first.pixels.shape}, ES {second.pixels.shape}")
        both, known = np.concatenate([first.pixels, second.pixels]), first.spacing_known and second.spacing_known
        whole = Volume(both, first.affine, float("nan"), known, (*first.flags, "time_unknown"))
        frames = {"ED": 0, "ES": 1}
    empty = [phase for phase, mask in masks.items() if not mask.any()]
    flags += [*whole.flags, *["masks_empty"] * bool(empty)]
    drawn = {frames[phase]: mask for phase, mask in masks.items() if phase not in empty}
    ed, es, drawn, more = phases(drawn, frames.get("ED"), frames.get("ES"), len(whole.pixels))
    flags = tuple(dict.fromkeys((*flags, *more)))
    return cine_of(whole, VIEWS[word], label, ed=ed, es=es, flags=flags, meta=meta), drawn
