"""Defects of NIfTI files: headers, changed in the file's bytes past all repairs; storage, damage, a file a frame."""

import gzip
import io
import struct
import zlib
from functools import partial

import nibabel as nib
import numpy as np

from corpus.nifti import image_of
from corpus.registry import as_bytes, defect, edit_files, other, some
from corpus.source import File, sha

HEADER_BYTES = 348
SECONDS, MILLISECONDS, MILLIMETRES = 8, 16, 2
SROWS = ("srow_x", "srow_y", "srow_z")


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
    for index, number in fields.pop("pixdim", {}).items():
        header["pixdim"][index] = number
    for name, value in fields.items():
        header[name] = value
    content = header.binaryblock + content[HEADER_BYTES:]
    file.content = gzip.compress(content, 4, mtime=0) if packed else content


def sform(x, y, z, **fields) -> dict:
    """Header fields of an affine's three rows."""
    return dict(zip(SROWS, (x, y, z))) | fields


def step_s(file) -> float:
    header = file.content.header if isinstance(file.content, nib.Nifti1Image) else header_of(file)
    return float(header["pixdim"][4])


def _array(file) -> np.ndarray:
    return np.asarray(file.content.dataobj).T


QUATERNION = dict.fromkeys(["quatern_b", "quatern_c", "quatern_d"], 0)
RELEASED = sform([-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 1, 0], sform_code=1)
"""The sform of ACDC's release, which says 1 mm; there the qform carries the spacing."""

SINGULAR = sform([1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 8, 0], sform_code=2)
HEADERS = {  # kinds, expectation, words, what becomes unknown, header fields (a function: of the step in s)
    "time_in_seconds_unit_unknown": ("nifti", "read", "", "", {"xyzt_units": MILLIMETRES}),
    "time_in_ms_unit_unknown": ("nifti", "read", "", "", lambda s: {"pixdim": {4: 1000 * s}, "xyzt_units": 0}),
    "time_in_seconds_called_ms": ("nifti", "read", "", "", {"xyzt_units": MILLIMETRES | MILLISECONDS}),
    "time_in_ms_properly_said": (
        *("nifti", "read", "", ""),
        lambda s: {"pixdim": {4: 1000 * s}, "xyzt_units": MILLIMETRES | MILLISECONDS},
    ),
    "time_zero": ("nifti", "flag", "time", "times", {"pixdim": {4: 0}}),
    "time_of_no_heart": (  # a heart rate below 30 in any unit
        *("nifti", "flag", "time", "times"),
        {"pixdim": {4: 1.0}, "xyzt_units": MILLIMETRES | SECONDS},
    ),
    "sform_says_1mm": ("nifti", "read", "", "", RELEASED),
    "sform_against_qform": (
        *("nifti", "flag", "sform", "place spacing"),
        sform([0, -3, 0, 0], [3, 0, 0, 0], [0, 0, 16, 0]),
    ),
    "qform_only": ("nifti", "read", "", "", sform([0] * 4, [0] * 4, [0] * 4, sform_code=0)),
    "sform_only": ("nifti", "read", "", "", QUATERNION | {"qform_code": 0}),
    "no_form": ("nifti", "flag", "orientation", "place", {"sform_code": 0, "qform_code": 0}),
    "singular_affine": ("nifti acdc", "refuse", "singular|voxel size", "", SINGULAR),
    **{
        f"pixels_begin_at_{byte}": ("nifti acdc", "refuse", "vox_offset", "", {"vox_offset": float(byte)})
        for byte in ("0", "nan", "inf", "-352")
    },
    "voxel_size_zero": ("nifti acdc", "refuse", "voxel size|spacing", "", {"pixdim": {3: 0}, "sform_code": 0}),
    "voxel_size_negative": ("nifti acdc", "refuse", "voxel size|spacing", "", {"pixdim": {2: -1.5}, "sform_code": 0}),
}


def _edit_all(source, rng, unknown, fields):
    for truth in source.cines.values():
        if "place" in unknown:
            truth["oriented"] = False
        if "spacing" in unknown:
            truth["spacing_mm"] = None
        for one in truth["slices"] if "times" in unknown else []:
            one["frame_times_ms"] = one["rr_ms"] = None
    for file in source.images():
        edit(file, **dict(fields(step_s(file)) if callable(fields) else fields))
    return source.cines


for name, (kinds, expectation, words, unknown, fields) in HEADERS.items():
    defect(kinds, expectation, words, late=1, name=name)(partial(_edit_all, unknown=unknown, fields=fields))


def _move(source, cine, affine):
    for one in source.cines[cine]["slices"]:
        one["position_mm"] = (affine[:3] @ [0, 0, one["slice"], 1]).tolist()


@defect("nifti", "flag", "shear", late=1)
def sheared_affine(source, rng):
    for file in source.images():
        affine = header_of(file).get_best_affine()
        affine[:3, 2] += 0.3 * np.linalg.norm(affine[:3, 2]) * affine[:3, 0] / np.linalg.norm(affine[:3, 0])
        _move(source, file.cine, affine)
        edit(file, **sform(*affine[:3], qform_code=0))
    return source.cines


@defect("nifti", "read")
def columns_stored_backwards(source, rng):
    for file in source.images():
        affine, array = np.array(file.content.affine), _array(file)[..., ::-1]
        affine[:3, 3] += affine[:3, 0] * (array.shape[-1] - 1)
        affine[:3, 0] *= -1
        file.content = image_of(array, affine, step_s(file))
        _move(source, file.cine, affine)
        for one in source.cines[file.cine]["slices"]:
            one["sha256"] = [sha(image) for image in array[:, one["slice"]]]
        source.cines[file.cine]["slices"].reverse()  # the normal is turned round


# --- how it is stored ------------------------------------------------------------------------------------------------


def _five_dimensions(file):
    """Time is the fifth axis, the fourth has length 1."""
    i, j, k, t = header_of(file)["dim"][1:5]
    edit(file, dim=[5, i, j, k, 1, t, 1, 1], pixdim={4: 1, 5: step_s(file)})


def _float_pixels(file):
    file.content = image_of(_array(file).astype(np.float32), file.content.affine, step_s(file))


def _scaled_pixels(file):
    file.content = image_of((_array(file) * 2).astype(np.uint16), file.content.affine, step_s(file))
    file.content.header.set_slope_inter(0.5, 0)


def _bytes_swapped(file):
    old = file.content
    file.content = nib.Nifti1Image(np.asarray(old.dataobj).astype(">u2"), None, old.header.as_byteswapped(">"))


def _not_compressed(file):
    file.content = gzip.decompress(as_bytes(file))


def _numbers_not_padded(file):
    file.path = f"{file.path.rpartition('/')[0]}/frame{file.t + 1}.nii"


stored = {"float_pixels": _float_pixels, "scaled_pixels": _scaled_pixels, "bytes_swapped": _bytes_swapped}
edit_files("nifti", stored)
edit_files("nifti", {"five_dimensions": _five_dimensions}, late=1)
edit_files("nifti", {"not_compressed": _not_compressed}, late=2)
edit_files("nifti-3d", {"frame_numbers_not_padded": _numbers_not_padded})


@defect("nifti", "refuse", "single|4-D|frame")
def one_frame_only(source, rng):
    cine = other(source, rng)
    for file in source.images(cine):
        file.content = image_of(_array(file)[0], file.content.affine)
    return [cine]


# --- damage ----------------------------------------------------------------------------------------------------------


def _cine_file(source, rng):
    return some(rng, [file for file in source.images() if file.t < 0])


def _wrong_checksum(content):
    """Wrong pixels in the middle of a compressed file, with the checksum of the right ones."""
    content = gzip.decompress(content)
    middle = len(content) // 2
    wrong = content[:middle] + bytes(value ^ 0xFF for value in content[middle : middle + 8]) + content[middle + 8 :]
    packed = gzip.compress(wrong, 4, mtime=0)
    return packed[:-8] + struct.pack("<L", zlib.crc32(content)) + packed[-4:]


def _damage(source, rng, change):
    file = _cine_file(source, rng)
    file.content = change(as_bytes(file))
    return [file.cine]


for name, words, change in (
    ("gzip_cut_short", "damaged|cut short", lambda content: content[: len(content) // 2]),
    ("gzip_damaged", "damaged|cut short", _wrong_checksum),
    ("image_file_empty", "damaged|empty", lambda content: b""),
):
    defect("nifti acdc", "refuse", words, late=2, name=name)(partial(_damage, change=change))


def _strange_value(source, rng, value):
    file = _cine_file(source, rng)
    array = _array(file).astype(np.float64)
    array.flat[array.size // 2] = value
    file.content = image_of(array, file.content.affine)
    return [file.cine]


for name, value in (("not_a_number", np.nan), ("number_beyond_32_bits", 1e303)):
    defect("nifti acdc", "refuse", "NaN", name=name)(partial(_strange_value, value=value))


# --- a file a frame --------------------------------------------------------------------------------------------------


@defect("nifti-3d", "flag", "missing_frames")
def frame_file_missing(source, rng):
    file = some(rng, source.images(t=2))
    source.remove([file])
    for one in source.cines[file.cine]["slices"]:
        one["sha256"][file.t] = None
    return [file.cine]


@defect("nifti-3d", "refuse", "shape")
def frame_of_another_shape(source, rng):
    file = some(rng, source.images(t=2))
    file.content = image_of(_array(file)[:, :-4], file.content.affine)
    return [file.cine]


@defect("nifti-3d", "refuse", "place|affine")
def frame_at_another_place(source, rng):
    file = some(rng, source.images(t=2))
    affine = np.array(file.content.affine)
    affine[:3, 3] += 10
    file.content = image_of(_array(file), affine)
    return [file.cine]
