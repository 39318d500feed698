"""Cines as NIfTI: a file a view, a file a frame, and ACDC's layout.

NIfTI knows one frame step and no RR interval, and 3-D files not even the step: the truth says what a file can say.
"""

from dataclasses import replace

import nibabel as nib
import numpy as np

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.cohort.study import Study
from corpus.source import File, sha

ACDC_CODES = {"rv": 1, "myo": 2, "lv": 3}


def image_of(array, affine, step_s: float | None = None) -> nib.Nifti1Image:
    """Array (t, k, j, i) or (k, j, i) → image (i, j, k[, t]), sform and qform alike, mm; seconds where timed."""
    image = nib.Nifti1Image(np.asarray(array).T, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm", "sec" if step_s else None)
    if step_s:
        image.header["pixdim"][4] = step_s
    return image


def evenly_timed(cine: Cine) -> Cine:
    """The cine with the one frame step that NIfTI can say, its median."""
    step = round(cine.frame_step_ms, 2)
    times = np.tile(np.arange(cine.frames) * step, (cine.slices, 1))
    return replace(cine, frame_times_ms=times, rr_ms=np.full(cine.slices, cine.frames * step))


def four_d(study: Study, seed: int = 0) -> list[File]:
    """`LABEL/VIEW.nii.gz`, one 4-D file a cine, the step in seconds."""
    label = study.participant["participant_id"]
    return [
        File(
            f"{label}/{cine.view}.nii.gz",
            image_of(cine.pixels, cine.affine, round(cine.frame_step_ms, 2) / 1000),
            cine.name,
        )
        for cine in study.cines
    ]


def three_d(study: Study, seed: int = 0) -> list[File]:
    """`LABEL/VIEW/frameNN.nii`, one 3-D file a frame, counted from 0, without times."""
    label = study.participant["participant_id"]
    return [
        File(f"{label}/{cine.view}/frame{t:02d}.nii", image_of(cine.pixels[t], cine.affine), cine.name, t=t)
        for cine in study.cines
        for t in range(cine.frames)
    ]


def acdc_name(label: str) -> str:
    """P0007 → patient007."""
    return f"patient{int(''.join(filter(str.isdigit, label))):03d}"


def acdc(study: Study, seed: int = 0) -> list[File]:
    """ACDC's release: Info.cfg, the SAX cine, and ED and ES with masks; frames from 1, labels 1 RV, 2 myo, 3 LV."""
    cine = next(cine for cine in study.cines if cine.view == "sax")
    name, person = acdc_name(study.participant["participant_id"]), study.participant
    group = f"Group: {person['group']}\n" if person["group"] else ""
    info = (
        f"ED: {cine.ed + 1}\nES: {cine.es + 1}\n{group}Height: {100 * person['height_m']:.1f}\n"
        f"NbFrame: {cine.frames}\nWeight: {person['weight_kg']:.1f}\n"
    )
    files = [
        File(f"{name}/Info.cfg", info),
        File(f"{name}/{name}_4d.nii.gz", image_of(cine.pixels, cine.affine), cine.name),
    ]
    for t in sorted({cine.ed, cine.es}):
        stem = f"{name}/{name}_frame{t + 1:02d}"
        mask = acdc_mask(study.observers["truth"][cine.name].mask[t])
        files += [
            File(f"{stem}.nii.gz", image_of(cine.pixels[t], cine.affine), cine.name, t=t),
            File(f"{stem}_gt.nii.gz", image_of(mask, cine.affine)),
        ]
    return files


def acdc_mask(mask) -> np.ndarray:
    """Our labels → ACDC's."""
    table = np.zeros(256, np.uint8)
    for structure, code in ACDC_CODES.items():
        table[STRUCTURES[structure]] = code
    return table[np.asarray(mask)]


def mask_sha(study: Study, cine: Cine) -> dict[str, str]:
    """SHA-256 of the truth's masks at ED and ES, in this library's labels."""
    mask = study.observers["truth"][cine.name].mask
    return {"ed": sha(mask[cine.ed]), "es": sha(mask[cine.es])}
