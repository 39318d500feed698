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

from cmrlib.cohort.files import read_csv
from cmrlib.cohort.study import Study, label_folders
from cmrlib.datasets.finding import files_of
from cmrlib.datasets.masks import labelled_study, mask_of, number_in, phases
from cmrlib.datasets.volumes import cine_of, volume_of

DESCRIPTION = {"Name": "M&Ms", "License": "the challenge's terms, research only; cite Campello et al., IEEE TMI 2021"}
CODES = {"lv": 1, "myo": 2, "rv": 3}


def find(src) -> dict[str, dict]:
    """Subject label → {folder, row: of the challenge's table}; ValueError where the table lists a code twice."""
    src = Path(src)
    files = sorted(files_of(src))
    folders = sorted({path.parent for path in files if path.name.endswith("_sa.nii.gz")})
    table = next((path for path in files if path.match("*M&Ms*.csv")), None)
    rows = {}
    if table:
        listed = read_csv(table).rename(columns=lambda name: name.strip())
        if "External code" not in listed or listed["External code"].duplicated().any():
            raise ValueError(f"{table.name}: expected a column `External code` that names everybody once")
        rows = listed.set_index("External code").to_dict("index")
    return {
        label: {"folder": folder, "row": rows.get(folder.name, {})} for label, folder in label_folders(folders).items()
    }


def read(label: str, item: dict) -> Study:
    """One patient: the short-axis cine, and the frames that hold a mask as observer `manual`."""
    folder, row, drawn = item["folder"], item["row"], {}
    image = volume_of(label, folder / f"{folder.name}_sa.nii.gz", "the cine")
    flags, path = list(image.flags), folder / f"{folder.name}_sa_gt.nii.gz"
    if path.exists():
        mask, elsewhere = mask_of(label, path, "the mask", image, CODES)
        flags += elsewhere
        drawn = {t: one for t, one in enumerate(mask) if one.any()}
    flags += ["masks_empty"] * (not drawn)
    told = [None if (t := number_in(row, key)) is None else int(t) for key in ("ED", "ES")]
    ed, es, drawn, more = phases(drawn, *told, len(image.pixels))
    flags, meta = tuple(dict.fromkeys((*flags, *more))), {"vendor": row.get("VendorName") or None}
    cine = cine_of(image, "sax", label, ed=ed, es=es, flags=flags, meta=meta)
    names = {f"{folder.name}_sa{end}.nii.gz" for end in ("", "_gt")}
    return labelled_study(_person(label, row), [(cine, drawn)], folder, names)


def _person(label, row) -> dict:
    """Columns of the table; heights in cm or m, zeros for what is not known."""
    height, sex = number_in(row, "Height") or None, str(row.get("Sex", "")).strip()
    return {
        "participant_id": label,
        "sex": sex if sex in ("M", "F") else None,
        "age": number_in(row, "Age") or None,
        "height_m": height / 100 if height and height > 3 else height,
        "weight_kg": number_in(row, "Weight") or None,
        "group": row.get("Pathology") or None,
        "centre": row.get("Centre") or None,
    }
