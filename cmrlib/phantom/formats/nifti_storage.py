"""Defects of NIfTI files in how pixels are stored, damage, and cines of a file a frame."""

import gzip
import struct
import zlib

import nibabel as nib
import numpy as np

from cmrlib.phantom.formats.nifti import image_of
from cmrlib.phantom.formats.nifti_defects import edit, header_of, step_s
from cmrlib.phantom.formats.registry import as_bytes, defect, other, some

# --- how it is stored ------------------------------------------------------------------------------------------------


@defect("nifti", "read", rows="1c-11", late=1)
def five_dimensions(source, rng):
    """Time is the fifth axis, the fourth has length 1."""
    for file in source.images():
        i, j, k, t = header_of(file)["dim"][1:5]
        step = step_s(file)
        edit(file, dim=[5, i, j, k, 1, t, 1, 1], pixdim={4: 1, 5: step})
    return source.cines


@defect("nifti", "refuse", "single|4-D|frame", rows="r-20 1a-12")
def one_frame_only(source, rng):
    """A file that should hold a cine holds one 3-D frame."""
    cine = other(source, rng)
    for file in source.images(cine):
        file.content = image_of(np.asarray(file.content.dataobj).T[0], file.content.affine)
    return [cine]


@defect("nifti", "read", rows="r-13")
def float_pixels(source, rng):
    """Pixels are whole numbers stored as float32."""
    for file in source.images():
        array = np.asarray(file.content.dataobj).T.astype(np.float32)
        file.content = image_of(array, file.content.affine, step_s(file))
    return source.cines


@defect("nifti", "read", rows="r-13")
def scaled_pixels(source, rng):
    """Pixels are doubled, with a slope of one half and no intercept."""
    for file in source.images():
        step, array = step_s(file), np.asarray(file.content.dataobj).T * 2
        file.content = image_of(array.astype(np.uint16), file.content.affine, step)
        file.content.header.set_slope_inter(0.5, 0)
    return source.cines


@defect("nifti", "read", rows="r-12")
def bytes_swapped(source, rng):
    """Header and pixels are big-endian."""
    for file in source.images():
        old = file.content
        header = old.header.as_byteswapped(">")
        file.content = nib.Nifti1Image(np.asarray(old.dataobj).astype(">u2"), None, header)
    return source.cines


@defect("nifti", "read", rows="r-30", late=2)
def not_compressed(source, rng):
    """A file called .nii.gz is not compressed."""
    for file in source.images():
        file.content = gzip.decompress(as_bytes(file))
    return source.cines


def _cine_file(source, rng):
    return some(rng, [file for file in source.images() if file.t < 0])


# --- damage ----------------------------------------------------------------------------------------------------------


@defect("nifti acdc", "refuse", "damaged|cut short", rows="r-21", late=2)
def gzip_cut_short(source, rng):
    """A compressed file ends in its middle."""
    file = _cine_file(source, rng)
    content = as_bytes(file)
    file.content = content[: len(content) // 2]
    return [file.cine]


@defect("nifti acdc", "refuse", "damaged|cut short", rows="r-21", late=2)
def gzip_damaged(source, rng):
    """Pixels in the middle of a compressed file are wrong, and its checksum tells so."""
    file = _cine_file(source, rng)
    content = gzip.decompress(as_bytes(file))
    middle = len(content) // 2
    wrong = content[:middle] + bytes(value ^ 0xFF for value in content[middle : middle + 8]) + content[middle + 8 :]
    packed = gzip.compress(wrong, 4, mtime=0)
    file.content = packed[:-8] + struct.pack("<L", zlib.crc32(content)) + packed[-4:]  # the checksum of what was
    return [file.cine]


@defect("nifti acdc", "refuse", "damaged|empty", rows="r-8", late=2)
def image_file_empty(source, rng):
    """An image file has no byte."""
    file = _cine_file(source, rng)
    file.content = b""
    return [file.cine]


@defect("nifti acdc", "refuse", "NaN", rows="r-15")
def not_a_number(source, rng):
    """An image holds NaN pixels."""
    file = _cine_file(source, rng)
    array = np.asarray(file.content.dataobj).T.astype(np.float32)
    array.flat[array.size // 2] = np.nan
    file.content = image_of(array, file.content.affine)
    return [file.cine]


# --- a file a frame --------------------------------------------------------------------------------------------------


@defect("nifti-3d", "read", rows="1a-12 r-1")
def frame_numbers_not_padded(source, rng):
    """Frames are called frame1, frame2, … frame10: their names do not sort in time."""
    for file in source.images():
        file.path = f"{file.path.rpartition('/')[0]}/frame{file.t + 1}.nii"
    return source.cines


@defect("nifti-3d", "flag", "missing_frames", rows="r-2")
def frame_file_missing(source, rng):
    """A frame's file is missing from its row of numbers."""
    file = some(rng, [file for file in source.images() if file.t == 2])
    source.remove([file])
    for one in source.cines[file.cine]["slices"]:
        one["sha256"][file.t] = None
    return [file.cine]


@defect("nifti-3d", "refuse", "shape", rows="r-4")
def frame_of_another_shape(source, rng):
    """One frame has four rows fewer than the others."""
    file = some(rng, [file for file in source.images() if file.t == 2])
    array = np.asarray(file.content.dataobj).T[:, :-4]
    file.content = image_of(array, file.content.affine)
    return [file.cine]


@defect("nifti-3d", "refuse", "place|affine", rows="r-4")
def frame_at_another_place(source, rng):
    """One frame lies 10 mm beside the others."""
    file = some(rng, [file for file in source.images() if file.t == 2])
    affine = np.array(file.content.affine)
    affine[:3, 3] += 10
    file.content = image_of(np.asarray(file.content.dataobj).T, affine)
    return [file.cine]
