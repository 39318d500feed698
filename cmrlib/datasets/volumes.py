"""One NIfTI file: its pixels, where they lie and how far its frames are apart.

`nibabel.load` repairs silently (a spacing of zero becomes 1 mm), never compares gzip's checksum, and takes its affine
from an sform that in ACDC's release says 1 mm. Here every repair is a flag and damage is an error. Rules: NIfTI-1
standard (nifti.nimh.nih.gov); codes of sform and qform of 0 mean "says nothing".
"""

import gzip
import io
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from cmrlib.cine import Cine
from cmrlib.cohort.study import rejected_rows
from cmrlib.datasets.bounds import possible
from cmrlib.datasets.finding import content_of, is_regular, mark_of, walk
from cmrlib.datasets.header import LARGEST_BYTES, TOO_LARGE, Refused

TOLERANCE_MM, TOLERANCE_DEG = 0.5, 1.0

_TIME_UNITS_MS = {8: 1000.0, 16: 1.0, 24: 0.001}
_LENGTH_UNITS_MM = {1: 1000.0, 3: 0.001}
_PIXEL_MM = (0.2, 10.0)


class Damaged(ValueError):
    """A file that gives no volume; the text is fit to be shown and written."""


@dataclass(frozen=True, eq=False)
class Volume:
    """pixels: (frames, slices, rows, columns). affine: RAS mm. step_ms: between frames, NaN where unknown.

    spacing_known: False where sform and qform disagree about it. flags: what had to be decided.
    """

    pixels: np.ndarray
    affine: np.ndarray
    step_ms: float
    spacing_known: bool
    flags: tuple[str, ...]

    @property
    def slice_position_mm(self) -> np.ndarray:
        """(slices,) along the common normal, from the first slice on."""
        across = np.cross(self.affine[:3, 0], self.affine[:3, 1])
        return np.arange(self.pixels.shape[1]) * (abs(self.affine[:3, 2] @ across) / np.linalg.norm(across))

    @property
    def timing(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Frame times (slices, frames) and RR (slices,) in ms by the header's step; None where it is unknown."""
        frames, slices = self.pixels.shape[:2]
        if not np.isfinite(self.step_ms):
            return None, None
        return np.tile(np.arange(frames) * self.step_ms, (slices, 1)), np.full(slices, frames * self.step_ms)


def cine_of(volume: Volume, view: str, label: str, **known) -> Cine:
    """A cine of a whole file, with the times of its header's step unless `known` has others."""
    times, rr = volume.timing
    read = {"frame_times_ms": times, "rr_ms": rr, "slice_position_mm": volume.slice_position_mm}
    return Cine(volume.pixels, volume.affine, view, label, **{"spacing_known": volume.spacing_known} | read | known)


def read_volume(path) -> Volume:
    """A .nii or .nii.gz file, whatever its name says about compression.

    Raises Damaged with the reason where it is cut short, damaged or empty, where pixels are NaN, or where spacing or
    affine are impossible.
    """
    content = _content(path)
    head = _header(content)
    pixels = _pixels(head, content)
    affine, known, flags = geometry(head)
    lengths = pixels.shape[::-1]
    times = [axis for axis in range(3, len(lengths)) if lengths[axis] > 1]  # time may be the fifth axis
    if len(times) > 1:
        raise Damaged(f"the image has axes of lengths {lengths}; expected columns, rows, slices, frames")
    pixels = pixels.reshape(-1, *(1,) * (3 - len(lengths)), *pixels.shape[-3:])
    value = float(head["pixdim"][1 + (times or [3])[0]])
    step_ms, time_flags = frame_step_ms(value, int(head["xyzt_units"]) & 56, len(pixels))
    return Volume(pixels, affine, step_ms, known, (*flags, *time_flags))


def _content(path) -> bytes:
    """All bytes of a file, unpacked: gzip compares its checksum at the end of the stream."""
    try:
        content = content_of(Path(path))
        if content[:2] != b"\x1f\x8b":
            return content
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = bytearray(file.read(348))
            _header(unpacked)  # refuses what claims too much before the rest is unpacked
            while more := file.read(2**20):
                unpacked += more
                if len(unpacked) > LARGEST_BYTES:
                    raise Damaged(TOO_LARGE)
            return bytes(unpacked)
    except Refused as error:
        raise Damaged(str(error)) from error
    except (OSError, EOFError, zlib.error) as error:
        raise Damaged(f"the file is damaged or cut short ({type(error).__name__})") from error


def _header(content) -> nib.Nifti1Header:
    """The header as it is stored: nibabel's own checks would repair it. Damaged where its image is too large."""
    if len(content) < 348:
        raise Damaged("the file is empty or cut short: it holds no whole NIfTI header")
    if content[:4] in ((540).to_bytes(4, "little"), (540).to_bytes(4, "big")):
        raise Damaged("this is NIfTI-2; save it as NIfTI-1")
    try:
        head = nib.Nifti1Header(bytes(content[:348]), check=False)
        if head["magic"].item() != b"n+1" or not 1 <= int(head["dim"][0]) <= 7 or min(head.get_data_shape()) < 1:
            raise ValueError
        head.get_data_dtype()
    except Exception as error:
        raise Damaged("the file is damaged or no single-file NIfTI image (.nii)") from error
    if math.prod(head.get_data_shape()) * max(head.get_data_dtype().itemsize, 4) > LARGEST_BYTES:  # scaled to float32
        raise Damaged(TOO_LARGE)
    return head


def _pixels(head, content) -> np.ndarray:
    """Array in C order (last axis first), as stored where the header asks for no scaling, else float32."""
    kind, shape, offset = head.get_data_dtype(), head.get_data_shape()[::-1], float(head["vox_offset"])
    if kind.kind not in "iuf":
        raise Damaged(f"pixels are stored as {kind}; expected integers or floating-point numbers")
    if not 352 <= offset < np.inf:
        raise Damaged(f"pixels begin at byte {offset:g} (vox_offset); expected 352 or more: repair the header")
    size = int(offset) + math.prod(shape) * kind.itemsize
    if size > len(content):
        raise Damaged(f"the file is cut short: {len(content)} of {size} bytes are there")
    pixels = np.frombuffer(content, kind, math.prod(shape), int(offset)).reshape(shape)
    slope, intercept = float(head["scl_slope"]), float(head["scl_inter"])
    with np.errstate(over="ignore", invalid="ignore"):
        if slope and np.isfinite([slope, intercept]).all() and (slope, intercept) != (1.0, 0.0):
            pixels = (pixels * slope + intercept).astype(np.float32)
        if pixels.dtype.kind != "f" and pixels.dtype.itemsize == 8 and np.abs(pixels).max() > np.iinfo(np.int32).max:
            raise Damaged("pixels hold integers beyond 32 bits")
        small = np.float32 if pixels.dtype.kind == "f" else np.int32 if pixels.dtype.itemsize == 8 else None
        pixels = pixels.astype(small or pixels.dtype.newbyteorder("="))
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise Damaged("pixels are NaN or infinite, or too large for 32 bits")
    return pixels


# --- where -----------------------------------------------------------------------------------------------------------


def geometry(head) -> tuple[np.ndarray, bool, tuple[str, ...]]:
    """Affine (RAS mm), whether spacing is known, and flags, from pixdim, qform and sform.

    An sform of 1 mm beside another pixdim is ACDC's: pixdim, and the qform where there is one, are believed. Where the
    two forms disagree otherwise the sform stands, flagged; where they disagree about sizes, spacing is unknown.
    """
    sizes = np.array(head["pixdim"][1:4], float)
    if int(head["dim"][0]) < 3:
        sizes[2] = sizes[2] if sizes[2] > 0 else 1.0
    sform = head.get_sform() if head["sform_code"] > 0 else None
    if sform is not None:
        lengths = np.linalg.norm(sform[:3, :3], axis=0)
        if not (np.isfinite(sform).all() and abs(np.linalg.det(sform[:3, :3])) > 1e-3 * np.prod(lengths) > 0):
            raise Damaged("the affine (sform) is singular; repair the header")
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise Damaged(f"voxel size {sizes.tolist()} in the header; expected three positive numbers of mm")
    qform = _qform(head, sizes) if head["qform_code"] > 0 else None
    affine, known, flags = _agreed(sform, qform, sizes)
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if (abs(axes.T @ axes - np.eye(3)) > np.sin(np.deg2rad(TOLERANCE_DEG))).any():
        flags = (*flags, "sheared_stack")
    scale, unit_flags = _millimetres(head, affine)
    affine[:3] *= scale
    return affine, known, (*flags, *unit_flags)


def _qform(head, sizes):
    """Affine of quaternion, offset and sizes; nibabel's own would read the sizes from a repaired header."""
    b, c, d = (float(head[f"quatern_{name}"]) for name in "bcd")
    offset = [float(head[f"qoffset_{name}"]) for name in "xyz"]
    if not np.isfinite([b, c, d, *offset]).all() or b * b + c * c + d * d > 1.001:
        raise Damaged("the affine (qform) is no rotation; repair the header")
    a = np.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    affine = np.eye(4)
    affine[:3, :3] = nib.quaternions.quat2mat([a, b, c, d]) * (sizes * [1, 1, -1 if head["pixdim"][0] < 0 else 1])
    affine[:3, 3] = offset
    return affine


def _agreed(sform, qform, sizes):
    if sform is None and qform is None:
        return np.diag([*sizes, 1.0]), True, ("orientation_unknown",)
    if sform is None:
        return qform, True, ()
    lengths = np.linalg.norm(sform[:3, :3], axis=0)
    axis_mm = lengths.copy()  # of a sheared stack pixdim may be the step's length or the distance of slices
    axis_mm[2] = abs(np.linalg.det(sform[:3, :3])) / (lengths[0] * lengths[1])
    same_size = all(
        min(abs(a - size), abs(b - size)) <= 0.01 + 0.01 * size for a, b, size in zip(lengths, axis_mm, sizes)
    )
    if same_size:
        differ = qform is not None and lies_elsewhere(sform, qform, 100)
        return sform.copy(), True, ("sform_against_qform",) if differ else ()
    if np.allclose(lengths, 1.0, atol=1e-3):
        scaled = sform.copy()
        scaled[:3, :3] *= sizes
        return (scaled if qform is None else qform), True, ("sform_of_1mm",)
    return (
        sform.copy(),
        False,
        ("sform_against_qform" if qform is not None else "sform_against_pixdim", "spacing_unknown"),
    )


def lies_elsewhere(one, other, extent=100) -> bool:
    """Whether two affines put the corners of a grid more than the tolerance (and 1 % of its size) apart.

    extent: voxels along each axis, one number or three.
    """
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
    corners[:, :3] *= np.subtract(np.broadcast_to(extent, 3), 1)
    apart = np.linalg.norm((corners @ (np.asarray(one) - other).T)[:, :3], axis=1).max()
    size = np.linalg.norm(((corners[-1] - corners[0]) @ np.asarray(one).T)[:3])
    return bool(apart > TOLERANCE_MM + 0.01 * size)


def _millimetres(head, affine):
    """Factor to millimetres: the header's unit where it gives a pixel of possible size, else its bare numbers."""
    factor = _LENGTH_UNITS_MM.get(int(head["xyzt_units"]) & 7, 1.0)
    pixel = np.linalg.norm(affine[:3, 0])
    if _PIXEL_MM[0] <= pixel * factor <= _PIXEL_MM[1]:
        return factor, ()
    if _PIXEL_MM[0] <= pixel <= _PIXEL_MM[1]:
        return 1.0, ("length_unit_disbelieved",)
    raise Damaged(f"voxel size: pixels of {pixel * factor:.4g} mm; expected {_PIXEL_MM[0]} to {_PIXEL_MM[1]} mm")


# --- when ------------------------------------------------------------------------------------------------------------


def frame_step_ms(value: float, unit: int, frames: int) -> tuple[float, tuple[str, ...]]:
    """Frame step in ms from pixdim's number: by its unit, else by the unit that makes a human heart rate of it.

    value × frames is one RR interval; no two units can both make one. unit: NIfTI's code (8 s, 16 ms, 24 µs, 0 none).
    Returns (NaN, flag) where none does.
    """
    if frames < 2:
        return float("nan"), ()
    said = _TIME_UNITS_MS.get(unit)
    for factor in [said] * (said is not None) + [f for f in _TIME_UNITS_MS.values() if f != said]:
        if possible("rr_ms", frames * value * factor):
            return value * factor, () if factor == said else ("time_unit_guessed",)
    return float("nan"), ("time_unknown",)


def not_read(label, folder, read) -> list[dict]:
    """Rows of rejected.tsv for the files of a subject's folder that are not among those `read`."""
    others = [(path, why) for path, why in walk(folder) if path.name not in read or path.parent != folder]
    return rejected_rows(
        label, [("n/a" if why else mark_of(path), why or "no file of this layout") for path, why in others]
    )


def volume_of(label, path, what) -> Volume:
    """A file's volume; ValueError naming subject and part where it is missing or damaged."""
    if not is_regular(path):
        raise ValueError(f"sub-{label}: {what} is missing")
    try:
        return read_volume(path)
    except Damaged as error:
        raise ValueError(f"sub-{label}: {what}: {error}") from error
