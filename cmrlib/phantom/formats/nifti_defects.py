"""Defects of NIfTI headers: times and geometry. They are changed in the file's bytes, past all repairs."""

import gzip
import io

import nibabel as nib
import numpy as np

from cmrlib.phantom.formats.nifti import image_of
from cmrlib.phantom.formats.registry import as_bytes, defect
from cmrlib.phantom.formats.source import File, sha

HEADER_BYTES = 348
SECONDS, MILLISECONDS, MILLIMETRES = 8, 16, 2


def _unpacked(file: File) -> tuple[bytes, bool]:
    """A file's bytes, and whether they were compressed."""
    content = as_bytes(file)
    packed = content[:2] == b"\x1f\x8b"
    return gzip.decompress(content) if packed else content, packed


def header_of(file: File) -> nib.Nifti1Header:
    """The header as it stands, whatever it may mean."""
    return nib.Nifti1Header.from_fileobj(io.BytesIO(_unpacked(file)[0]), check=False)


def edit(file: File, **fields):
    """Set header fields of an image file, whatever they may mean; `pixdim` takes {index: value}."""
    (content, packed), header = _unpacked(file), header_of(file)
    for name, value in fields.items():
        if name == "pixdim":
            for index, number in value.items():
                header["pixdim"][index] = number
        else:
            header[name] = value
    content = header.binaryblock + content[HEADER_BYTES:]
    file.content = gzip.compress(content, 4, mtime=0) if packed else content


def _edit_all(source, **fields):
    for file in source.images():
        edit(file, **fields)
    return source.cines


def _untimed(source):
    for truth in source.cines.values():
        for one in truth["slices"]:
            one["frame_times_ms"] = one["rr_ms"] = None


def step_s(file) -> float:
    header = file.content.header if isinstance(file.content, nib.Nifti1Image) else header_of(file)
    return float(header["pixdim"][4])


# --- when ------------------------------------------------------------------------------------------------------------


@defect("nifti", "read", rows="1c-9 1c-10 r-17", late=1)
def time_in_seconds_unit_unknown(source, rng):
    """The step is in seconds, and no unit says so."""
    return _edit_all(source, xyzt_units=MILLIMETRES)


@defect("nifti", "read", rows="1c-9 1c-10 r-17", late=1)
def time_in_ms_unit_unknown(source, rng):
    """The step is in milliseconds, and no unit says so."""
    for file in source.images():
        edit(file, pixdim={4: 1000 * step_s(file)}, xyzt_units=0)
    return source.cines


@defect("nifti", "read", rows="1c-9", late=1)
def time_in_seconds_called_ms(source, rng):
    """The step is in seconds, and the unit says milliseconds."""
    return _edit_all(source, xyzt_units=MILLIMETRES | MILLISECONDS)


@defect("nifti", "read", rows="1c-9", late=1)
def time_in_ms_properly_said(source, rng):
    """The step is in milliseconds, and the unit says so."""
    for file in source.images():
        edit(file, pixdim={4: 1000 * step_s(file)}, xyzt_units=MILLIMETRES | MILLISECONDS)
    return source.cines


@defect("nifti", "flag", "time", rows="1c-9", late=1)
def time_zero(source, rng):
    """The step is 0: times are unknown."""
    _untimed(source)
    return _edit_all(source, pixdim={4: 0})


@defect("nifti", "flag", "time", rows="1c-10 r-17", late=1)
def time_of_no_heart(source, rng):
    """The step makes a heart rate below 30 in any unit: times are unknown."""
    _untimed(source)
    return _edit_all(source, pixdim={4: 1.0}, xyzt_units=MILLIMETRES | SECONDS)


# --- where -----------------------------------------------------------------------------------------------------------


@defect("nifti", "read", rows="1c-1 r-18", late=1)
def sform_says_1mm(source, rng):
    """As in ACDC's release: sform is diag(-1, -1, 1), the qform carries the spacing."""
    return _edit_all(source, srow_x=[-1, 0, 0, 0], srow_y=[0, -1, 0, 0], srow_z=[0, 0, 1, 0], sform_code=1)


@defect("nifti", "flag", "sform", rows="1c-1 r-18", late=1)
def sform_against_qform(source, rng):
    """The sform is turned by a quarter and twice as large as the qform, both codes the same."""
    for truth in source.cines.values():
        truth["oriented"], truth["spacing_mm"] = False, None
    return _edit_all(source, srow_x=[0, -3, 0, 0], srow_y=[3, 0, 0, 0], srow_z=[0, 0, 16, 0])


@defect("nifti", "read", rows="r-18", late=1)
def qform_only(source, rng):
    """The sform's code is 0."""
    return _edit_all(source, sform_code=0, srow_x=[0, 0, 0, 0], srow_y=[0, 0, 0, 0], srow_z=[0, 0, 0, 0])


@defect("nifti", "read", rows="r-18", late=1)
def sform_only(source, rng):
    """The qform's code is 0."""
    return _edit_all(source, qform_code=0, quatern_b=0, quatern_c=0, quatern_d=0)


@defect("nifti", "flag", "orientation", rows="r-18", late=1)
def no_form(source, rng):
    """Both codes are 0: spacing is known, place and direction are not."""
    for truth in source.cines.values():
        truth["oriented"] = False
    return _edit_all(source, sform_code=0, qform_code=0)


@defect("nifti acdc", "refuse", "singular|voxel size", rows="r-19", late=1)
def singular_affine(source, rng):
    """Two axes of the affine are the same."""
    return _edit_all(source, srow_x=[1, 1, 0, 0], srow_y=[1, 1, 0, 0], srow_z=[0, 0, 8, 0], sform_code=2)


@defect("nifti", "flag", "shear", rows="1c-11", late=1)
def sheared_affine(source, rng):
    """Slices are shifted against each other: the affine's axes are not at right angles."""
    for file in source.images():
        affine = header_of(file).get_best_affine()
        affine[:3, 2] += 0.3 * np.linalg.norm(affine[:3, 2]) * affine[:3, 0] / np.linalg.norm(affine[:3, 0])
        truth = source.cines[file.cine]
        for one in truth["slices"]:
            one["position_mm"] = (affine[:3] @ [0, 0, one["slice"], 1]).tolist()
        edit(file, srow_x=affine[0], srow_y=affine[1], srow_z=affine[2], qform_code=0)
    return source.cines


@defect("nifti acdc", "refuse", "voxel size|spacing", rows="r-29", late=1)
def voxel_size_zero(source, rng):
    """The header's slice distance is 0."""
    return _edit_all(source, pixdim={3: 0}, sform_code=0)


@defect("nifti acdc", "refuse", "voxel size|spacing", rows="r-29", late=1)
def voxel_size_negative(source, rng):
    """The header's row spacing is negative."""
    return _edit_all(source, pixdim={2: -1.5}, sform_code=0)


@defect("nifti", "read", rows="1c-11")
def columns_stored_backwards(source, rng):
    """Columns run the other way, and the affine says so: pixels in file order are the truth."""
    for file in source.images():
        affine = np.array(file.content.affine)
        array = np.asarray(file.content.dataobj).T[..., ::-1]
        affine[:3, 3] += affine[:3, 0] * (array.shape[-1] - 1)
        affine[:3, 0] *= -1
        file.content = image_of(array, affine, step_s(file))
        _retell(source, file.cine, array, affine)
    return source.cines


def _retell(source, cine, array, affine):
    """Truth of places and pixels after a change that turns the normal round."""
    truth = source.cines[cine]
    for one in truth["slices"]:
        one["position_mm"] = (affine[:3] @ [0, 0, one["slice"], 1]).tolist()
        one["sha256"] = [sha(image) for image in array[:, one["slice"]]]
    truth["slices"].reverse()
