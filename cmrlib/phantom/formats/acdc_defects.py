"""Defects of ACDC's layout: Info.cfg, frame numbers, masks, and what copies of the set are known for."""

import numpy as np

from cmrlib.phantom.formats.nifti import image_of
from cmrlib.phantom.formats.nifti_defects import edit
from cmrlib.phantom.formats.registry import defect
from cmrlib.phantom.formats.source import File


def _info(source) -> File:
    return next(file for file in source.files if file.path.endswith("Info.cfg"))


def _change_info(source, old, new):
    info = _info(source)
    lines = [new if line.startswith(old) else line for line in info.content.splitlines()]
    info.content = "\n".join(line for line in lines if line) + "\n"
    return source.cines


def _truth(source) -> dict:
    return next(iter(source.cines.values()))


def _named(source, ending) -> list[File]:
    return [file for file in source.files if file.path.endswith(ending)]


def _mask(source, phase="ed") -> File:
    return _named(source, f"_frame{_truth(source)[phase] + 1:02d}_gt.nii.gz")[0]


def _number(file) -> int:
    """Frame number of a file, from 0."""
    return int(file.path.partition("_frame")[2][:2]) - 1


def _renumber(file, number):
    stem, _, rest = file.path.partition("_frame")
    file.path = f"{stem}_frame{number:02d}{rest[2:]}"


def _array(file) -> np.ndarray:
    return np.asarray(file.content.dataobj).T.copy()


def _replace(file, array):
    file.content = image_of(array, file.content.affine)


@defect("acdc", "read", rows="1c-1", late=1)
def acdc_sform_of_the_release(source, rng):
    """The sform is diag(-1, -1, 1) and the qform carries no direction, as the release has it; pixdim has the size."""
    _truth(source)["oriented"] = False
    for file in _named(source, ".nii.gz"):
        edit(
            file,
            srow_x=[-1, 0, 0, 0],
            srow_y=[0, -1, 0, 0],
            srow_z=[0, 0, 1, 0],
            sform_code=1,
            qform_code=1,
            quatern_b=0,
            quatern_c=0,
            quatern_d=0,
            qoffset_x=0,
            qoffset_y=0,
            qoffset_z=0,
        )
    return source.cines


@defect("acdc", "flag", "labels", rows="1c-2")
def acdc_labels_lv_first(source, rng):
    """Masks are coded 1 LV, 3 RV, as M&Ms and UK Biobank pipelines do: the LV is the one the myocardium surrounds."""
    for file in _named(source, "_gt.nii.gz"):
        _replace(file, np.array([0, 3, 2, 1], np.uint8)[_array(file)])
    return source.cines


@defect("acdc", "flag", "ed_es_swapped", rows="1c-3 r-26")
def acdc_ed_and_es_swapped(source, rng):
    """Info.cfg calls ED what has the smaller LV, as some read patient090."""
    truth = _truth(source)
    _change_info(source, "ED", f"ED: {truth['es'] + 1}")
    return _change_info(source, "ES", f"ES: {truth['ed'] + 1}")


@defect("acdc", "read", rows="1c-3 1b-5 r-26")
def acdc_ed_not_first(source, rng):
    """The cine begins in mid-systole: ED is a late frame."""
    truth, frames = _truth(source), _truth(source)["frames"]
    shift = (frames // 2 - truth["ed"]) % frames
    old = truth["ed"], truth["es"]
    truth["ed"], truth["es"] = (old[0] + shift) % frames, (old[1] + shift) % frames
    for one in truth["slices"]:
        one["sha256"] = one["sha256"][-shift:] + one["sha256"][:-shift] if shift else one["sha256"]
    (cine,) = _named(source, "_4d.nii.gz")
    _replace(cine, np.roll(_array(cine), shift, axis=0))
    for file in _named(source, ".nii.gz"):
        if "_frame" in file.path:
            number = (_number(file) + shift) % frames
            _renumber(file, number + 1)
            file.t = number
    _change_info(source, "ED", f"ED: {truth['ed'] + 1}")
    return _change_info(source, "ES", f"ES: {truth['es'] + 1}")


@defect("acdc", "flag", "frame", rows="1c-3")
def acdc_frames_from_zero(source, rng):
    """Frame numbers count from 0, in Info.cfg and in file names: the pictures say that they are one off."""
    truth = _truth(source)
    for file in _named(source, ".nii.gz"):
        if "_frame" in file.path:
            _renumber(file, _number(file))
    _change_info(source, "ED", f"ED: {truth['ed']}")
    return _change_info(source, "ES", f"ES: {truth['es']}")


@defect("acdc", "read", rows="1c-4")
def acdc_group_arv(source, rng):
    """The group RV is called ARV."""
    source.participant["group"] = "RV"
    _change_info(source, "Group", "")
    _info(source).content += "Group: ARV\n"
    return source.cines


@defect("acdc", "read", rows="1c-6")
def acdc_no_height_and_weight(source, rng):
    """Height and weight are missing."""
    source.participant["height_m"] = source.participant["weight_kg"] = None
    _change_info(source, "Height", "")
    return _change_info(source, "Weight", "")


@defect("acdc", "read", rows="r-22")
def acdc_info_from_windows(source, rng):
    """Info.cfg has a byte order mark and Windows line ends."""
    info = _info(source)
    info.content = b"\xef\xbb\xbf" + info.content.replace("\n", "\r\n").encode()
    return source.cines


@defect("acdc", "refuse", "Info.cfg", rows="r-22")
def acdc_no_info(source, rng):
    """Info.cfg is missing."""
    source.remove([_info(source)])
    return source.cines


@defect("acdc", "refuse", "ED", rows="r-23")
def acdc_no_ed(source, rng):
    """Info.cfg does not say which frame is ED."""
    return _change_info(source, "ED", "")


@defect("acdc", "refuse", "missing|has no mask", rows="1c-3")
def acdc_frame_that_is_not_there(source, rng):
    """Info.cfg names a frame behind the cine's end."""
    return _change_info(source, "ES", "ES: 99")


@defect("acdc", "refuse", "mask", rows="1c-6")
def acdc_mask_missing(source, rng):
    """The ES frame has no mask."""
    source.remove([_mask(source, "es")])
    return source.cines


@defect("acdc", "refuse", "shape", rows="r-24")
def acdc_mask_of_another_shape(source, rng):
    """The ED mask has four rows fewer than its image."""
    file = _mask(source)
    _replace(file, _array(file)[:, :-4])
    return source.cines


@defect("acdc", "refuse", "mask values", rows="r-25")
def acdc_label_outside_the_codes(source, rng):
    """The ED mask holds a 7."""
    file = _mask(source)
    mask = _array(file)
    mask[0, 0, 0] = 7
    _replace(file, mask)
    return source.cines


@defect("acdc", "flag", "empty", rows="1c-6")
def acdc_masks_empty(source, rng):
    """Masks are there and hold nothing, as in M&Ms' unlabelled part."""
    for file in _named(source, "_gt.nii.gz"):
        _replace(file, np.zeros_like(_array(file)))
    del _truth(source)["masks"]
    return source.cines


@defect("acdc", "flag", "position|affine", rows="1c-1")
def acdc_mask_lies_elsewhere(source, rng):
    """The ED mask's affine lies 40 mm beside its image's; the grids are the same."""
    file = _mask(source)
    affine = np.array(file.content.affine)
    affine[:3, 3] += 40
    file.content = image_of(_array(file), affine)
    return source.cines


@defect("acdc", "read", rows="r-20")
def acdc_without_the_cine(source, rng):
    """The 4-D file is missing: ED and ES are all there is."""
    truth = _truth(source)
    source.remove(_named(source, "_4d.nii.gz"))
    for one in truth["slices"]:
        one["sha256"] = [one["sha256"][truth["ed"]], one["sha256"][truth["es"]]]
    truth["frames"] = 2
    return source.cines


@defect("acdc", "refuse", "shape", rows="r-24 r-4")
def acdc_cine_of_another_shape(source, rng):
    """The 4-D file has one slice fewer than the frames."""
    (file,) = _named(source, "_4d.nii.gz")
    _replace(file, _array(file)[:, :-1])
    return source.cines


@defect("acdc", "refuse", "two folders", rows="r-28")
def acdc_patient_there_twice(source, rng):
    """A patient lies in training and in testing."""
    copies = [File(f"testing/{file.path}", file.content) for file in source.files]
    for file in source.files:
        file.path = f"training/{file.path}"
    source.files += copies
    return source.cines
