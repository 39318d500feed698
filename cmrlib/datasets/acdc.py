"""ACDC (Automated Cardiac Diagnosis Challenge, MICCAI 2017): SAX cines of five groups, ED and ES with masks.

Source: https://www.creatis.insa-lyon.fr/Challenge/acdc (Bernard et al., IEEE TMI 2018). Licence: CC BY-NC-SA
4.0, research only; what is trained on it inherits that. Layout: `patientNNN/Info.cfg`, `patientNNN_frameFF.nii.gz`,
`patientNNN_frameFF_gt.nii.gz`, `patientNNN_4d.nii.gz`. Labels there: 1 RV, 2 myocardium, 3 LV. Fills participants
(group, height, weight), observer `manual`.

Known to be wrong with it: frame numbers count from 1; the sform of the original files says 1 mm while the qform
carries the spacing, so the spacing is taken from `pixdim`; ED is not always frame 1 (patient090: 4); sex and age are
missing; the affine's orientation is nominal in some copies. Copies with exchanged ventricles, frames from 0, empty or
displaced masks are noticed by anatomy and by the pictures, put right where that is possible, and flagged.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from cmrlib.cohort.study import Study, label_folders
from cmrlib.datasets.finding import files_of, is_regular
from cmrlib.datasets.masks import cavity, labelled_study, mask_of, number_in, with_ventricles_named
from cmrlib.datasets.volumes import Volume, cine_of, volume_of

DESCRIPTION = {
    "Name": "ACDC",
    "License": "CC BY-NC-SA 4.0, research only; cite Bernard et al., IEEE TMI 2018;37(11):2514-2525",
}
CODES = {"rv": 1, "myo": 2, "lv": 3}
GROUPS = {"ARV": "RV"}
"""Other spellings of the groups NOR, MINF, DCM, HCM, RV."""


def find(src) -> dict[str, Path]:
    """Subject label → patient folder, for the release's root or its `training` or `testing` folder."""
    kinds = ("Info.cfg", "patient*_frame*.nii.gz", "patient*_4d.nii.gz")
    return label_folders(sorted({path.parent for path in files_of(Path(src)) if any(map(path.match, kinds))}))


def read(label: str, folder: Path) -> Study:
    """One patient: the whole cine where the 4-D file exists, else the two annotated frames."""
    info, four_d = _info(label, folder), folder / f"{folder.name}_4d.nii.gz"
    stored = {phase: int(info[phase]) for phase in ("ED", "ES")}
    images, masks, flags = _phases(label, folder, stored)
    whole = volume_of(label, four_d, "the 4-D file") if four_d.exists() else None
    numbers, more = _from_zero(label, stored, images, whole)
    spacing_known = all(image.spacing_known for image in images.values())
    masks, renamed = with_ventricles_named(masks)
    flags += [*more, *renamed]
    if not all(mask.any() for mask in masks.values()):
        flags.append("masks_empty")  # and tell nothing of ED and ES
    elif cavity(masks["ED"]) < cavity(masks["ES"]):  # patient090 and its like
        numbers, images, masks = ({"ED": one["ES"], "ES": one["ED"]} for one in (numbers, images, masks))
        flags.append("ed_es_swapped")
    (ed, es), frames_of = numbers.values(), None
    if whole is None:
        frames_of = (ed, es), int(number_in(info, "NbFrame") or 0)
        whole = replace(images["ED"], pixels=np.concatenate([images["ED"].pixels, images["ES"].pixels]))
        ed, es = 0, 1
    cine = cine_of(
        whole,
        "sax",
        label,
        ed=ed,
        es=es,
        frames_of=frames_of,
        flags=tuple(flags),
        spacing_known=spacing_known,
        frame_times_ms=None,  # the release's headers hold no step that could be believed
        rr_ms=None,
    )
    height_cm, group = number_in(info, "Height"), info.get("Group")
    participant = {
        "participant_id": label,
        "sex": None,
        "age": None,
        "height_m": height_cm and height_cm / 100,
        "weight_kg": number_in(info, "Weight"),
        "group": GROUPS.get(group, group),
    }
    ends = [f"frame{number:02d}{end}" for number in stored.values() for end in ("", "_gt")]
    names = {"Info.cfg", *(f"{folder.name}_{end}.nii.gz" for end in ("4d", *ends))}
    drawn = {t: masks[phase] for phase, t in (("ED", ed), ("ES", es)) if masks[phase].any()}
    return labelled_study(participant, [(cine, drawn)], folder, names)


def _phases(label, folder, numbers) -> tuple[dict, dict, list[str]]:
    """Images and masks of ED and ES, and their flags; ValueError where one is missing or shapes differ."""
    images, masks, flags = {}, {}, []
    for phase, number in numbers.items():
        stem = f"{folder.name}_frame{number:02d}"
        image = volume_of(label, folder / f"{stem}.nii.gz", f"the image of frame {number}")
        mask, elsewhere = mask_of(
            label, folder / f"{stem}_gt.nii.gz", f"the mask of frame {number} (…_gt.nii.gz)", image, CODES
        )
        images[phase], masks[phase] = image, mask[0]
        flags += elsewhere + [flag for flag in image.flags if flag != "sform_of_1mm"]
    if len(shapes := {image.pixels.shape for image in images.values()}) > 1:
        raise ValueError(f"sub-{label}: images of ED and ES have the shapes {sorted(shapes)}; expected one shape")
    return images, masks, sorted(set(flags))


def _from_zero(label, numbers, images, whole: Volume | None) -> tuple[dict, list[str]]:
    """Frame numbers from 0, and flags. Whether the files count from 0 or from 1 is told by a frame 0, else by the
    cine's own pictures."""
    from_zero, last, flags = 0 in numbers.values(), max(numbers.values()), []
    if whole is not None:
        shape, frames = images["ED"].pixels.shape[1:], len(whole.pixels)
        if whole.pixels.shape[1:] != shape or last > frames:
            raise ValueError(
                f"sub-{label}: the 4-D file has shape {whole.pixels.shape}; expected at least {last} frames of {shape}"
            )
        agree = [
            all(
                0 <= n - first < frames and np.array_equal(whole.pixels[n - first], images[phase].pixels[0])
                for phase, n in numbers.items()
            )
            for first in (0, 1)
        ]
        from_zero |= agree[0] and not agree[1]
        flags += ["labelled_frames_differ_from_cine"] * (not any(agree))
    if from_zero:
        return numbers, [*flags, "frames_from_zero"]
    return {phase: n - 1 for phase, n in numbers.items()}, flags


def _info(label, folder) -> dict[str, str]:
    if not is_regular(folder / "Info.cfg"):
        raise ValueError(f"sub-{label}: Info.cfg is missing, and with it which frames are ED and ES")
    text = (folder / "Info.cfg").read_text(encoding="utf-8-sig", errors="replace")
    lines = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    info = {key.strip(): value.strip() for key, value in lines}
    missing = [key for key in ("ED", "ES") if not re.fullmatch("[0-9]{1,4}", info.get(key, ""))]
    if missing:
        raise ValueError(f"sub-{label}: Info.cfg gives no frame number for {' and '.join(missing)}; add it (1-based)")
    if int(info["ED"]) == int(info["ES"]):
        raise ValueError(f"sub-{label}: Info.cfg names frame {info['ED']} as ED and as ES; correct it")
    return info
