"""Defects of ACDC's layout: Info.cfg, frame numbers, masks, and what copies of the set are known for."""

import numpy as np

from corpus.nifti import image_of
from corpus.nifti_defects import QUATERNION, RELEASED, edit
from corpus.registry import all_cines, defect
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


def _labels_lv_first(source):
    _replace(_named(source, "_gt.nii.gz"), lambda mask: np.array([0, 3, 2, 1], np.uint8)[mask])


def _sform_of_the_release(source):
    """The sform is diag(-1, -1, 1) and the qform carries no direction, as the release has it; pixdim has the size."""
    _truth(source)["oriented"] = False
    origin = dict.fromkeys(["qoffset_x", "qoffset_y", "qoffset_z"], 0)
    for file in _named(source, ".nii.gz"):
        edit(file, **RELEASED, **QUATERNION, **origin, qform_code=1)


def _ed_not_first(source):
    """The cine begins in mid-systole: ED is a late frame."""
    truth, frames = _truth(source), _truth(source)["frames"]
    shift = (frames // 2 - truth["ed"]) % frames
    for phase in ("ed", "es"):
        truth[phase] = (truth[phase] + shift) % frames
    for one in truth["slices"]:
        one["sha256"] = one["sha256"][-shift:] + one["sha256"][:-shift] if shift else one["sha256"]
    _replace(_named(source, "_4d.nii.gz"), lambda array: np.roll(array, shift, axis=0))
    _renumber(source, lambda number: (number - 1 + shift) % frames + 1)
    _name_frames(source, truth["ed"] + 1, truth["es"] + 1)


def _frames_from_zero(source):
    """In Info.cfg and in file names: the images say that they are one off."""
    _renumber(source, lambda number: number - 1)
    _name_frames(source, _truth(source)["ed"], _truth(source)["es"])


def _ed_and_es_swapped(source):
    """Info.cfg calls ED what has the smaller LV, as some read patient090."""
    _name_frames(source, _truth(source)["es"] + 1, _truth(source)["ed"] + 1)


def _group_arv(source):
    source.participant["group"] = "RV"
    _info(source, {"Group": ""}).content += "Group: ARV\n"


def _no_height_and_weight(source):
    source.participant["height_m"] = source.participant["weight_kg"] = None
    _info(source, {"Height": "", "Weight": ""})


def _info_from_windows(source):
    info = _info(source)
    info.content = b"\xef\xbb\xbf" + info.content.replace("\n", "\r\n").encode()


def _label_outside_the_codes(source):
    _replace([_mask(source)], lambda mask: np.where(np.arange(mask.size).reshape(mask.shape) == 0, 7, mask))


def _masks_empty(source):
    """As in M&Ms' unlabelled part."""
    _replace(_named(source, "_gt.nii.gz"), np.zeros_like)
    del _truth(source)["masks"]


def _masks_turned(source, axis):
    """Upside down or mirrored; the images stay."""
    _replace(_named(source, "_gt.nii.gz"), lambda mask: np.flip(mask, axis))
    del _truth(source)["masks"]


def _mask_lies_elsewhere(source):
    """The ED mask's affine lies 40 mm beside its image's; the grids are the same."""
    file = _mask(source)
    affine = np.array(file.content.affine)
    affine[:3, 3] += 40
    file.content = image_of(_array(file), affine)


def _without_the_cine(source):
    """ED and ES are all there is."""
    truth = _truth(source)
    source.remove(_named(source, "_4d.nii.gz"))
    for one in truth["slices"]:
        one["sha256"] = [one["sha256"][truth["ed"]], one["sha256"][truth["es"]]]
    truth["frames"] = 2


def _patient_there_twice(source):
    """In training and in testing."""
    copies = [File(f"testing/{file.path}", file.content) for file in source.files]
    for file in source.files:
        file.path = f"training/{file.path}"
    source.files += copies


for name, expectation, words, change in (
    ("no_ed", "refuse", "ED", lambda source: _info(source, {"ED": ""})),
    ("no_info", "refuse", "Info.cfg", lambda source: source.remove([_info(source)])),
    ("info_from_windows", "read", "", _info_from_windows),
    ("group_arv", "read", "", _group_arv),
    ("no_height_and_weight", "read", "", _no_height_and_weight),
    (
        *("frame_that_is_not_there", "refuse", "missing|has no mask"),
        lambda source: _name_frames(source, _truth(source)["ed"] + 1, 99),
    ),
    ("frames_from_zero", "flag", "frame", _frames_from_zero),
    ("ed_not_first", "read", "", _ed_not_first),
    ("ed_and_es_swapped", "flag", "ed_es_swapped", _ed_and_es_swapped),
    ("without_the_cine", "read", "", _without_the_cine),
    (
        *("cine_of_another_shape", "refuse", "shape"),
        lambda source: _replace(_named(source, "_4d.nii.gz"), lambda array: array[:, :-1]),
    ),
    ("labels_lv_first", "flag", "labels", _labels_lv_first),
    ("label_outside_the_codes", "refuse", "mask values", _label_outside_the_codes),
    ("mask_missing", "refuse", "mask", lambda source: source.remove([_mask(source, "es")])),
    ("mask_of_another_shape", "refuse", "shape", lambda source: _replace([_mask(source)], lambda mask: mask[:, :-4])),
    ("mask_lies_elsewhere", "flag", "position|affine", _mask_lies_elsewhere),
    ("masks_mirrored", "flag", "masks_turned", lambda source: _masks_turned(source, 2)),
    ("masks_upside_down", "flag", "masks_turned", lambda source: _masks_turned(source, 1)),
    ("masks_empty", "flag", "empty", _masks_empty),
    ("patient_there_twice", "refuse", "two folders", _patient_there_twice),
    ("sform_of_the_release", "read", "", _sform_of_the_release),
):
    defect("acdc", expectation, words, late=int(name.startswith("sform")), name=f"acdc_{name}")(all_cines(change))
