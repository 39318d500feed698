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

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cmrlib.cohort.study import Study, label_folders
from cmrlib.datasets.masks import annotated, cavity, recoded, with_ventricles_named
from cmrlib.datasets.volumes import Volume, cine_of, lies_elsewhere, not_read, volume_of

DESCRIPTION = {
    "Name": "ACDC",
    "License": "CC BY-NC-SA 4.0, research only; cite Bernard et al., IEEE TMI 2018;37(11):2514-2525",
}
CODES = {"rv": 1, "myo": 2, "lv": 3}
GROUPS = {"ARV": "RV"}
"""Other spellings of the groups NOR, MINF, DCM, HCM, RV."""


@dataclass
class _Phases:
    """ED and ES as the files give them; numbers count from 0 once `frames_from_zero` is settled."""

    numbers: dict[str, int]
    images: dict[str, Volume]
    masks: dict[str, np.ndarray]
    flags: list[str] = field(default_factory=list)

    def exchange(self):
        for one in (self.numbers, self.images, self.masks):
            one["ED"], one["ES"] = one["ES"], one["ED"]


def find(src) -> dict[str, Path]:
    """Subject label → patient folder, for the release's root or its `training` or `testing` folder."""
    kinds = ("Info.cfg", "patient*_frame*.nii.gz", "patient*_4d.nii.gz")
    files = [path for kind in kinds for path in Path(src).rglob(kind)]
    return label_folders(sorted({path.parent for path in files}))


def read(label: str, folder: Path) -> Study:
    """One patient: the whole cine where the 4-D file exists, else the two annotated frames."""
    info = _info(label, folder)
    phases = _phases(label, folder, info)
    four_d = folder / f"{folder.name}_4d.nii.gz"
    whole = volume_of(label, four_d, "the 4-D file") if four_d.exists() else None
    _settle_numbers(label, phases, whole)
    _settle_masks(phases)
    numbers, of = (phases.numbers["ED"], phases.numbers["ES"]), None
    if whole:
        ed, es = numbers
    else:
        (ed, es), of = (0, 1), (numbers, int(info.get("NbFrame", 0)))
        pair = np.concatenate([phases.images[phase].pixels for phase in ("ED", "ES")])
        whole = replace(phases.images["ED"], pixels=pair)
    cine = cine_of(
        whole,
        "sax",
        label,
        ed=ed,
        es=es,
        frames_of=of,
        flags=tuple(phases.flags),
        spacing_known=all(volume.spacing_known for volume in phases.images.values()),
        frame_times_ms=None,  # the release's headers hold no step that could be believed
        rr_ms=None,
    )
    participant = {
        "participant_id": label,
        "sex": None,
        "age": None,
        "height_m": _number(info, "Height", 100),
        "weight_kg": _number(info, "Weight", 1),
        "group": GROUPS.get(info.get("Group"), info.get("Group")),
    }
    stems = [f"{folder.name}_frame{int(info[phase]):02d}" for phase in ("ED", "ES")]
    names = {"Info.cfg", four_d.name, *(f"{stem}{end}.nii.gz" for stem in stems for end in ("", "_gt"))}
    drawn = {t: phases.masks[phase] for phase, t in (("ED", ed), ("ES", es)) if phases.masks[phase].any()}
    rejected = not_read(label, folder, names)
    return Study(
        participant, [cine], {"manual": annotated(cine, drawn, frames={"ed": ed, "es": es})}, rejected=rejected
    )


def _phases(label, folder, info) -> _Phases:
    """Both labelled frames with their masks; raises ValueError where one is missing or shapes differ."""
    numbers = {phase: int(info[phase]) for phase in ("ED", "ES")}
    phases = _Phases(numbers, {}, {})
    for phase, number in numbers.items():
        stem = f"{folder.name}_frame{number:02d}"
        image = volume_of(label, folder / f"{stem}.nii.gz", f"the image of frame {number}")
        drawn = volume_of(label, folder / f"{stem}_gt.nii.gz", f"the mask of frame {number} (…_gt.nii.gz)")
        first = phases.images.get("ED", image).pixels.shape
        if not drawn.pixels.shape == image.pixels.shape == first:
            raise ValueError(
                f"sub-{label}: the {phase} mask has shape {drawn.pixels.shape}, its image "
                f"{image.pixels.shape}, the ED image {first}; expected one shape"
            )
        if lies_elsewhere(image.affine, drawn.affine, image.pixels.shape[:0:-1]):
            phases.flags.append("mask_position_differs_from_image")
        phases.images[phase] = image
        phases.masks[phase] = recoded(label, drawn.pixels[0], CODES, f"frame {number}")
    found = [flag for volume in phases.images.values() for flag in volume.flags if flag != "sform_of_1mm"]
    phases.flags = sorted({*phases.flags, *found})
    return phases


def _settle_numbers(label, phases: _Phases, whole: Volume | None):
    """Frame numbers from 0; whether files count from 0 or 1 is told by a frame 0, else by the cine's own pictures."""
    numbers, from_zero = phases.numbers, 0 in phases.numbers.values()
    if whole is not None:
        shape = phases.images["ED"].pixels.shape[1:]
        if whole.pixels.shape[1:] != shape or max(numbers.values()) > len(whole.pixels):
            raise ValueError(
                f"sub-{label}: the 4-D file has shape {whole.pixels.shape}; expected at least "
                f"{max(numbers.values())} frames of {shape}"
            )
        agree = {
            shift: all(
                0 <= n - shift < len(whole.pixels)
                and np.array_equal(whole.pixels[n - shift], phases.images[phase].pixels[0])
                for phase, n in numbers.items()
            )
            for shift in (0, 1)
        }
        from_zero |= agree[0] and not agree[1]
        if not any(agree.values()):
            phases.flags.append("labelled_frames_differ_from_cine")
        if not from_zero and max(numbers.values()) - 1 >= len(whole.pixels):
            raise ValueError(f"sub-{label}: Info.cfg names frame {max(numbers.values())} of {len(whole.pixels)}")
    if from_zero:
        phases.flags.append("frames_from_zero")
    else:
        phases.numbers = {phase: n - 1 for phase, n in numbers.items()}


def _settle_masks(phases: _Phases):
    """The LV is what the myocardium surrounds; ED is the phase with the larger LV; an empty mask says nothing."""
    phases.masks, flags = with_ventricles_named(phases.masks)
    phases.flags += flags
    if not all(mask.any() for mask in phases.masks.values()):
        phases.flags.append("masks_empty")
    elif cavity(phases.masks["ED"]) < cavity(phases.masks["ES"]):  # patient090 and its like
        phases.exchange()
        phases.flags.append("ed_es_swapped")


def _info(label, folder):
    if not (folder / "Info.cfg").exists():
        raise ValueError(f"sub-{label}: Info.cfg is missing, and with it which frames are ED and ES")
    text = (folder / "Info.cfg").read_text(encoding="utf-8-sig", errors="replace")
    lines = (line.split(":", 1) for line in text.splitlines() if ":" in line)
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
