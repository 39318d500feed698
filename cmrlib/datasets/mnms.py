"""M&Ms (Multi-Centre, Multi-Vendor & Multi-Disease challenge, MICCAI 2020): SAX cines of six centres, ED and ES masks.

Source: https://www.ub.edu/mnms (Campello et al., IEEE TMI 2021). Licence: the challenge's terms, research only.
Layout: `Training/Labeled|Unlabeled/CODE`, `Validation/CODE`, `Testing/CODE`, each with `CODE_sa.nii.gz` and
`CODE_sa_gt.nii.gz`, both 4-D, the mask zero but at ED and ES; a table `*M&Ms_Dataset*.csv` (External code, VendorName,
Vendor, Centre, ED, ES, Age, Pathology, Sex, Height, Weight). Labels there: 1 LV, 2 myocardium, 3 RV,
the reverse of ACDC. Fills participants (sex, age, height, weight, group, vendor, centre), observer `manual`.

No real sample with masks was read: layout and quirks follow public code. Known to be wrong with it: 345 of 375 are
open; `Unlabeled` holds masks without any label; height and weight are missing for some; ED and ES count from 0 and are
off for some, so the frames that hold a mask decide and a difference is flagged.
"""

from pathlib import Path

import pandas as pd

from cmrlib.cohort.study import Study, label_folders
from cmrlib.datasets.masks import annotated, cavity, recoded, with_ventricles_named
from cmrlib.datasets.volumes import Volume, cine_of, lies_elsewhere, not_read, volume_of

DESCRIPTION = {"Name": "M&Ms", "License": "the challenge's terms, research only; cite Campello et al., IEEE TMI 2021"}
CODES = {"lv": 1, "myo": 2, "rv": 3}


def find(src) -> dict[str, dict]:
    """Subject label → {folder, row: of the challenge's table}; ValueError where the table lists a code twice."""
    src = Path(src)
    folders = sorted({path.parent for path in src.rglob("*_sa.nii.gz")})
    table = next(iter(sorted([*src.glob("*M&Ms*.csv"), *src.glob("*/*M&Ms*.csv")])), None)
    rows = {}
    if table:
        listed = pd.read_csv(table, dtype=str, keep_default_na=False).rename(columns=lambda name: name.strip())
        if "External code" not in listed or listed["External code"].duplicated().any():
            raise ValueError(f"{table.name}: expected a column `External code` that names everybody once")
        rows = listed.set_index("External code").to_dict("index")
    return {
        label: {"folder": folder, "row": rows.get(folder.name, {})} for label, folder in label_folders(folders).items()
    }


def read(label: str, item: dict) -> Study:
    """One patient: the short-axis cine, and the frames that hold a mask as observer `manual`."""
    folder, row = item["folder"], item["row"]
    image = volume_of(label, folder / f"{folder.name}_sa.nii.gz", "the cine")
    flags = list(image.flags)
    drawn = {}
    path = folder / f"{folder.name}_sa_gt.nii.gz"
    if path.exists():
        mask = volume_of(label, path, "the mask")
        flags += placed(label, image, mask)
        codes = recoded(label, mask.pixels, CODES, "the mask")
        drawn = {t: codes[t] for t in range(len(codes)) if codes[t].any()}
    flags += ["masks_empty"] * (not drawn)
    ed, es, drawn, more = phases(drawn, _frame(row, "ED"), _frame(row, "ES"), len(image.pixels))
    flags, meta = tuple(dict.fromkeys((*flags, *more))), {"vendor": row.get("VendorName") or None}
    cine = cine_of(image, "sax", label, ed=ed, es=es, flags=flags, meta=meta)
    rejected = not_read(label, folder, {f"{folder.name}_sa{end}.nii.gz" for end in ("", "_gt")})
    return Study(
        _person(label, row), [cine], {"manual": annotated(cine, drawn, frames={"ed": ed, "es": es})}, rejected=rejected
    )


def placed(label, image: Volume, mask: Volume) -> list[str]:
    """Flags of a mask that lies elsewhere; ValueError where it is of another shape."""
    if mask.pixels.shape != image.pixels.shape:
        raise ValueError(
            f"sub-{label}: the mask has shape {mask.pixels.shape}, its image {image.pixels.shape}; expected one shape"
        )
    elsewhere = lies_elsewhere(image.affine, mask.affine, image.pixels.shape[:0:-1])
    return ["mask_position_differs_from_image"] * elsewhere


def phases(drawn: dict, ed, es, frames):
    """ED, ES, masks and flags from {frame: mask} and the table's frames (None where it has none).

    Of two drawn frames ED is the one with the larger LV cavity; ventricles are exchanged back where anatomy says so.
    """
    drawn, flags = with_ventricles_named(drawn)
    if len(drawn) >= 2:
        size = {t: cavity(mask) for t, mask in drawn.items()}
        seen = max(size, key=size.get), min(size, key=size.get)
        if None not in (ed, es) and seen != (ed, es):
            flags.append("phases_differ_from_table")
        flags += ["more_than_two_frames_drawn"] * (len(drawn) > 2)
        return *seen, drawn, flags
    told = [t if t is not None and 0 <= t < frames else None for t in (ed, es)]
    return *told, drawn, flags


def _frame(row, key):
    text = str(row.get(key, "")).strip()
    return int(float(text)) if text.replace(".", "", 1).isdigit() else None


def _person(label, row) -> dict:
    """Columns of the table; heights in cm or m."""

    def number(key):
        try:
            value = float(row.get(key, ""))
        except ValueError:
            return None
        return value if value > 0 else None

    height, sex = number("Height"), str(row.get("Sex", "")).strip()
    return {
        "participant_id": label,
        "sex": sex if sex in ("M", "F") else None,
        "age": number("Age"),
        "height_m": height / 100 if height and height > 3 else height,
        "weight_kg": number("Weight"),
        "group": row.get("Pathology") or None,
        "centre": row.get("Centre") or None,
    }
