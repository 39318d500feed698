"""ACDC (Automated Cardiac Diagnosis Challenge, MICCAI 2017): SAX cines of five groups, ED and ES with masks.

Source: https://www.creatis.insa-lyon.fr/Challenge/acdc (Bernard et al., IEEE TMI 2018). Licence: research only.
Layout: `patientNNN/Info.cfg`, `patientNNN_frameFF.nii.gz`, `patientNNN_frameFF_gt.nii.gz`, `patientNNN_4d.nii.gz`.
Labels there: 1 RV, 2 myocardium, 3 LV. Fills participants (group, height, weight), observer `manual`.

Known to be wrong with it: frame numbers count from 1; the sform of the original files says 1 mm while the qform
carries the spacing, so the spacing is taken from `pixdim`; ED is not always frame 1 (patient090: 4); sex and age are
missing; the affine's orientation is nominal in some copies.
"""

from pathlib import Path

import nibabel as nib
import numpy as np

from cmrlib.anatomy import BACKGROUND, STRUCTURES
from cmrlib.cine import Cine
from cmrlib.cohort import Annotation
from cmrlib.study import Study, label_folders

DESCRIPTION = {"Name": "ACDC", "License": "research only; cite Bernard et al., IEEE TMI 2018"}
_STRUCTURES = ("lv", "myo", "rv")
_RECODE = np.array([BACKGROUND, STRUCTURES["rv"], STRUCTURES["myo"], STRUCTURES["lv"]], np.uint8)


def find(src) -> dict[str, Path]:
    """Subject label → patient folder, for the release's root or its `training` or `testing` folder."""
    kinds = ("Info.cfg", "patient*_frame*.nii.gz", "patient*_4d.nii.gz")
    files = [path for kind in kinds for path in Path(src).rglob(kind)]
    return label_folders(sorted({path.parent for path in files}))


def read(label: str, folder: Path) -> Study:
    """One patient: the whole cine where the 4-D file exists, else the two annotated frames."""
    info = _info(label, folder)
    one_based = {phase: int(info[phase]) for phase in ("ED", "ES")}
    masks = {phase: _mask(label, folder, number) for phase, number in one_based.items()}
    pair = [_volume(label, folder / f"{folder.name}_frame{number:02d}.nii.gz") for number in one_based.values()]
    for (phase, mask), (pixels, _) in zip(masks.items(), pair):
        if not mask.shape == pixels.shape == pair[0][0].shape:
            raise ValueError(f"sub-{label}: the {phase} mask has shape {mask.shape}, its image {pixels.shape}, the ED "
                             f"image {pair[0][0].shape}; expected one shape")
    total = int(info.get("NbFrame", 0))
    flags = _phase_flags(masks)
    if "ed_es_swapped" in flags:  # patient090 and its like: volumes decide
        masks["ED"], masks["ES"] = masks["ES"], masks["ED"]
        pair.reverse()
        one_based["ED"], one_based["ES"] = one_based["ES"], one_based["ED"]
    four_d = folder / f"{folder.name}_4d.nii.gz"
    if four_d.exists():
        pixels, affine = _volume(label, four_d)
        ed, es, of = one_based["ED"] - 1, one_based["ES"] - 1, None
        if pixels.shape[1:] != pair[0][0].shape or max(ed, es) >= len(pixels):
            raise ValueError(f"sub-{label}: the 4-D file has shape {pixels.shape}; expected more than {max(ed, es)} "
                             f"frames of {pair[0][0].shape}")
    else:
        pixels, affine = np.stack([p for p, _ in pair]), pair[0][1]
        ed, es, of = 0, 1, ((one_based["ED"] - 1, one_based["ES"] - 1), total)
    cine = Cine(pixels, affine, "sax", label, ed=ed, es=es, frames_of=of, flags=flags,
                slice_position_mm=np.arange(pixels.shape[1]) * float(np.linalg.norm(affine[:3, 2])))
    mask = np.full(pixels.shape, 255, np.uint8)
    mask[ed], mask[es] = masks["ED"], masks["ES"]
    manual = Annotation(mask, {ed: _STRUCTURES, es: _STRUCTURES}, frames={"ed": ed, "es": es})
    participant = {"participant_id": label, "sex": None, "age": None, "height_m": _number(info, "Height", 100),
                   "weight_kg": _number(info, "Weight", 1), "group": info.get("Group")}
    return Study(participant, [cine], {"manual": {cine.name: manual}})


def _info(label, folder):
    if not (folder / "Info.cfg").exists():
        raise ValueError(f"sub-{label}: Info.cfg is missing, and with it which frames are ED and ES")
    lines = (line.split(":", 1) for line in (folder / "Info.cfg").read_text().splitlines() if ":" in line)
    info = {key.strip(): value.strip() for key, value in lines}
    missing = [key for key in ("ED", "ES") if not info.get(key, "").isdigit()]
    if missing:
        raise ValueError(f"sub-{label}: Info.cfg gives no frame number for {' and '.join(missing)}; add it (1-based)")
    return info


def _number(info, key, divisor):
    try:
        return float(info[key]) / divisor
    except (KeyError, ValueError):
        return None


def _volume(label, path):
    """(t,) k, j, i array and an affine whose scale is `pixdim` (the sform of the release says 1 mm)."""
    if not path.exists():
        raise ValueError(f"sub-{label}: the image of a labelled frame is missing")
    image, pixels = _nifti(label, path)
    with nib.openers.ImageOpener(path) as file:  # unchecked: nib.load turns a spacing of zero into 1 mm
        zooms = np.array(nib.Nifti1Header.from_fileobj(file, check=False)["pixdim"][1:4], float)
    if (zooms <= 0).any() or not np.isfinite(zooms).all():
        raise ValueError(f"sub-{label}: voxel size {zooms.tolist()} in the header; expected three positive mm")
    affine = np.array(image.affine, float)
    if not abs(np.linalg.det(affine[:3, :3])) > 1e-9:
        raise ValueError(f"sub-{label}: an image's affine is singular; repair its header")
    affine[:3, :3] *= zooms / np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(pixels).all():
        raise ValueError(f"sub-{label}: an image holds NaN or infinite pixels; restore the file")
    return np.ascontiguousarray(pixels), affine


def _nifti(label, path):
    """Header and (t,) k, j, i array; a file cut short says so."""
    try:
        image = nib.load(path)
        return image, np.asanyarray(image.dataobj).T
    except Exception as error:
        raise ValueError(f"sub-{label}: a NIfTI file cannot be read ({type(error).__name__}); it is damaged") from error


def _mask(label, folder, number):
    path = folder / f"{folder.name}_frame{number:02d}_gt.nii.gz"
    if not path.exists():
        raise ValueError(f"sub-{label}: frame {number} has no mask (…_gt.nii.gz)")
    _, mask = _nifti(label, path)
    strange = sorted(set(np.unique(mask).tolist()) - {0, 1, 2, 3})
    if strange:
        raise ValueError(f"sub-{label}: mask values {strange} in frame {number}; ACDC uses 0 to 3")
    return _RECODE[mask.astype(np.uint8)]


def _phase_flags(masks):
    """ED is the phase with the larger LV; a file that says otherwise is corrected and flagged."""
    volumes = {phase: int((mask == STRUCTURES["lv"]).sum()) for phase, mask in masks.items()}
    return ("ed_es_swapped",) if volumes["ED"] < volumes["ES"] else ()
