"""Defects of ACDC's layout: Info.cfg, frame numbers, masks, and what copies of the set are known for."""

import numpy as np

from corpus.nifti import image_of
from corpus.nifti_defects import QUATERNION, RELEASED, edit
from corpus.registry import defect
from corpus.source import File


def _info(source, lines=()) -> File:
    """Info.cfg, with lines changed: key → new line, "" removes it."""
    info = next(file for file in source.files if file.path.endswith("Info.cfg"))
    if lines:
        new = [lines.get(line.partition(":")[0], line) for line in info.content.splitlines()]
        info.content = "\n".join(line for line in new if line) + "\n"
    return info


def _name_frames(source, ed, es):
    """Frame numbers of Info.cfg as it has them."""
    _info(source, {"ED": f"ED: {ed}", "ES": f"ES: {es}"})
    return source.cines


def _truth(source) -> dict:
    return next(iter(source.cines.values()))


def _named(source, ending) -> list[File]:
    return [file for file in source.files if file.path.endswith(ending)]


def _mask(source, phase="ed") -> File:
    return _named(source, f"_frame{_truth(source)[phase] + 1:02d}_gt.nii.gz")[0]


def _renumber(source, change):
    """New numbers of ED's and ES's files, from 1: a function of the old ones."""
    for file in (file for file in _named(source, ".nii.gz") if "_frame" in file.path):
        stem, _, rest = file.path.partition("_frame")
        file.path = f"{stem}_frame{change(int(rest[:2])):02d}{rest[2:]}"
        file.t = change(int(rest[:2])) - 1


def _array(file) -> np.ndarray:
    return np.asarray(file.content.dataobj).T.copy()


def _replace(files, change):
    """Images whose array is changed by a function."""
    for file in files:
        file.content = image_of(change(_array(file)), file.content.affine)


@defect("acdc", "refuse", "ED")
def acdc_no_ed(source, rng):
    """Info.cfg does not say which frame is ED."""
    _info(source, {"ED": ""})
    return source.cines


@defect("acdc", "refuse", "missing|has no mask")
def acdc_frame_that_is_not_there(source, rng):
    """Info.cfg names a frame behind the cine's end."""
    return _name_frames(source, _truth(source)["ed"] + 1, 99)


@defect("acdc", "read", late=1)
def acdc_sform_of_the_release(source, rng):
    """The sform is diag(-1, -1, 1) and the qform carries no direction, as the release has it; pixdim has the size."""
    _truth(source)["oriented"] = False
    origin = dict.fromkeys(["qoffset_x", "qoffset_y", "qoffset_z"], 0)
    for file in _named(source, ".nii.gz"):
        edit(file, **RELEASED, **QUATERNION, **origin, qform_code=1)
    return source.cines


@defect("acdc", "flag", "labels")
def acdc_labels_lv_first(source, rng):
    """Masks are coded 1 LV, 3 RV, as M&Ms and UK Biobank pipelines do: the LV is the one the myocardium surrounds."""
    _replace(_named(source, "_gt.nii.gz"), lambda mask: np.array([0, 3, 2, 1], np.uint8)[mask])
    return source.cines


@defect("acdc", "flag", "ed_es_swapped")
def acdc_ed_and_es_swapped(source, rng):
    """Info.cfg calls ED what has the smaller LV, as some read patient090."""
    return _name_frames(source, _truth(source)["es"] + 1, _truth(source)["ed"] + 1)


@defect("acdc", "read")
def acdc_ed_not_first(source, rng):
    """The cine begins in mid-systole: ED is a late frame."""
    truth, frames = _truth(source), _truth(source)["frames"]
    shift = (frames // 2 - truth["ed"]) % frames
    for phase in ("ed", "es"):
        truth[phase] = (truth[phase] + shift) % frames
    for one in truth["slices"]:
        one["sha256"] = one["sha256"][-shift:] + one["sha256"][:-shift] if shift else one["sha256"]
    _replace(_named(source, "_4d.nii.gz"), lambda array: np.roll(array, shift, axis=0))
    _renumber(source, lambda number: (number - 1 + shift) % frames + 1)
    return _name_frames(source, truth["ed"] + 1, truth["es"] + 1)


@defect("acdc", "flag", "frame")
def acdc_frames_from_zero(source, rng):
    """Frame numbers count from 0, in Info.cfg and in file names: the images say that they are one off."""
    _renumber(source, lambda number: number - 1)
    return _name_frames(source, _truth(source)["ed"], _truth(source)["es"])


@defect("acdc", "read")
def acdc_group_arv(source, rng):
    """The group RV is called ARV."""
    source.participant["group"] = "RV"
    _info(source, {"Group": ""}).content += "Group: ARV\n"
    return source.cines


@defect("acdc", "read")
def acdc_no_height_and_weight(source, rng):
    """Height and weight are missing."""
    source.participant["height_m"] = source.participant["weight_kg"] = None
    _info(source, {"Height": "", "Weight": ""})
    return source.cines


@defect("acdc", "read")
def acdc_info_from_windows(source, rng):
    """Info.cfg has a byte order mark and Windows line ends."""
    info = _info(source)
    info.content = b"\xef\xbb\xbf" + info.content.replace("\n", "\r\n").encode()
    return source.cines


@defect("acdc", "refuse", "Info.cfg")
def acdc_no_info(source, rng):
    """Info.cfg is missing."""
    source.remove([_info(source)])
    return source.cines


@defect("acdc", "refuse", "mask")
def acdc_mask_missing(source, rng):
    """The ES frame has no mask."""
    source.remove([_mask(source, "es")])
    return source.cines


@defect("acdc", "refuse", "shape")
def acdc_mask_of_another_shape(source, rng):
    """The ED mask has four rows fewer than its image."""
    _replace([_mask(source)], lambda mask: mask[:, :-4])
    return source.cines


@defect("acdc", "refuse", "shape")
def acdc_cine_of_another_shape(source, rng):
    """The 4-D file has one slice fewer than the frames."""
    _replace(_named(source, "_4d.nii.gz"), lambda array: array[:, :-1])
    return source.cines


@defect("acdc", "refuse", "mask values")
def acdc_label_outside_the_codes(source, rng):
    """The ED mask holds a 7."""
    _replace([_mask(source)], lambda mask: np.where(np.arange(mask.size).reshape(mask.shape) == 0, 7, mask))
    return source.cines


@defect("acdc", "flag", "empty")
def acdc_masks_empty(source, rng):
    """Masks are there and hold nothing, as in M&Ms' unlabelled part."""
    _replace(_named(source, "_gt.nii.gz"), np.zeros_like)
    del _truth(source)["masks"]
    return source.cines


@defect("acdc", "flag", "position|affine")
def acdc_mask_lies_elsewhere(source, rng):
    """The ED mask's affine lies 40 mm beside its image's; the grids are the same."""
    file = _mask(source)
    affine = np.array(file.content.affine)
    affine[:3, 3] += 40
    file.content = image_of(_array(file), affine)
    return source.cines


@defect("acdc", "read")
def acdc_without_the_cine(source, rng):
    """The 4-D file is missing: ED and ES are all there is."""
    truth = _truth(source)
    source.remove(_named(source, "_4d.nii.gz"))
    for one in truth["slices"]:
        one["sha256"] = [one["sha256"][truth["ed"]], one["sha256"][truth["es"]]]
    truth["frames"] = 2
    return source.cines


@defect("acdc", "refuse", "two folders")
def acdc_patient_there_twice(source, rng):
    """A patient lies in training and in testing."""
    copies = [File(f"testing/{file.path}", file.content) for file in source.files]
    for file in source.files:
        file.path = f"training/{file.path}"
    source.files += copies
    return source.cines
