"""A DICOM file's header as a dictionary of the few keywords that reading cines needs, read by pydicom.

Fields are read by `text`, `number`, `words` and `values_of`, which take absent and damaged values alike.
"""

import io
import warnings
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pydicom

from cmrlib.datasets.order import NAN

_FIELDS = """
    TransferSyntaxUID SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID Modality Manufacturer
    MagneticFieldStrength ImageType ComplexImageComponent SequenceName ScanningSequence SeriesDescription PatientID
    PatientName PatientSex PatientAge PatientSize PatientBirthDate PatientWeight StudyDate StudyTime SeriesTime
    AcquisitionDate AcquisitionTime InstanceNumber TemporalPositionIdentifier TriggerTime NominalInterval HeartRate
    CardiacNumberOfImages InversionTime PhaseContrast VelocityEncodingMaximumValue ImagePositionPatient
    ImageOrientationPatient PixelSpacing SliceThickness SamplesPerPixel PhotometricInterpretation NumberOfFrames Rows
    Columns BitsAllocated BitsStored HighBit PixelRepresentation RescaleIntercept RescaleSlope
"""
KEYWORDS = tuple(_FIELDS.split())
"""PatientName is never written: it tells people without numbers apart."""
PIXELS = "PixelData"
"""True in a header where the file holds pixels, of integers or floating-point numbers."""

_PIXELS = (PIXELS, "FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths")
OVERLAYS = tuple(0x60000102 + 0x20000 * n for n in range(16))
"""Overlay Bit Position of each group of overlays: there where one lies in bits above the pixels' own."""

_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")

LARGEST_BYTES, LARGEST_IMAGE_PX = 2**30, 2**26
"""Of a file or an archive's member, stored and unpacked; of one image. What claims more is not decoded."""
TOO_LARGE = f"more than {LARGEST_BYTES >> 20} MiB, as stored or unpacked: no file of cines is so large"


class Refused(ValueError):
    """A file that becomes no frame; the text is fit to be shown and written."""


@dataclass(eq=False, slots=True)
class File:
    """One file in memory. header: keyword → value. data: its pixels and functional groups, until they are decoded."""

    header: dict
    data: pydicom.Dataset | None


@contextmanager
def suppress_warnings():
    """Suppress pydicom's warnings, which quote UIDs and names: they must not reach terminals and logs."""
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def starts_as_dicom(first: bytes) -> bool:
    """Whether a file's first 132 bytes are DICOM's: a preamble and DICM, or a data set without either.

    The latter begins, in little- or big-endian, with group 0008 (or 0002, the meta header) and a low element number.
    """
    if first[128:132] == b"DICM":
        return True
    little, big = (int.from_bytes(first[:2], order) for order in ("little", "big"))
    order = "little" if little in (2, 8) else "big"
    return len(first) >= 132 and (little in (2, 8) or big == 8) and int.from_bytes(first[2:4], order) <= 0x60


def parsed(content: bytes) -> File:
    """A file's bytes → its header and data set.

    Files without preamble and meta header, as old archives wrote them, tell their byte order themselves.
    Raises pydicom's errors, and Refused where the bytes are empty or begin like DICOM by chance.
    """
    if not content:
        raise Refused("empty file, not a DICOM file")
    if is_deflated(content):
        raise Refused(f"deflated: it may unpack to more than {LARGEST_BYTES >> 20} MiB; save it with another syntax")
    bare = starts_as_dicom(content[:132]) and content[128:132] != b"DICM"
    tags = [pydicom.tag.Tag(keyword) for keyword in (*KEYWORDS[1:], *_PIXELS, *_GROUPS, *OVERLAYS)]
    # a data set that goes on as zeros is half a download, which would be read eight bytes at a time
    stop = lambda tag, *_: tag == 0  # noqa: E731
    data = pydicom.filereader.read_partial(io.BytesIO(content), stop, force=bare, specific_tags=tags)
    if bare and "TransferSyntaxUID" not in data.file_meta:
        if "SOPClassUID" not in data:
            raise Refused("not a DICOM file")
        implicit, little = data.original_encoding
        explicit = pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian
        data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian if implicit else explicit
    return File(header_of(data), data)


def is_deflated(first: bytes) -> bool:
    """Whether a file's first 4096 bytes speak of a deflated data set, which pydicom unpacks all at once."""
    return pydicom.uid.DeflatedExplicitVRLittleEndian.encode() in first[:4096]


def header_of(data: pydicom.Dataset) -> dict:
    """The header of pydicom's data set, its meta header included; damaged values are absent."""
    header = {PIXELS: True} if any(keyword in data for keyword in _PIXELS[:2]) else {}
    for part in (getattr(data, "file_meta", {}), data):
        for keyword in KEYWORDS:
            try:
                if keyword in part:
                    header[keyword] = part[keyword].value
            except Exception:  # whatever pydicom raises for a value that is not what its kind says
                continue
    return header


def check_size(rows, columns):
    """Raise Refused where an image claims more pixels than `LARGEST_IMAGE_PX`, before they are decoded."""
    if rows * columns > LARGEST_IMAGE_PX:
        raise Refused("an image of more pixels than any scanner makes: its header is damaged")


def values_of(header: dict, keyword: str) -> tuple:
    """All values of a field, none where it is absent."""
    value = header.get(keyword, "")
    if isinstance(value, str | int | float) or value is None:
        return () if value in ("", None) else (value,)
    return tuple(value)


def words(header: dict, keyword: str) -> list[str]:
    """Header values in upper case, none where the field is absent or damaged."""
    return [str(value).upper() for value in values_of(header, keyword)]


def text(header: dict, keyword: str) -> str:
    """Header text, empty where it is absent or damaged."""
    value = header.get(keyword)
    return "" if value is None else str(value).strip()


def number(header: dict, keyword: str) -> float:
    """Header number, NaN where it is absent, empty or no number."""
    try:
        return float(header.get(keyword, NAN))
    except (TypeError, ValueError, OverflowError):
        return NAN


def vector(values, count: int) -> np.ndarray | None:
    """Numbers (count,) of header values, None where they are of another length, or not finite."""
    try:
        found = np.array([float(value) for value in values])
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found.shape == (count,) and np.isfinite(found).all() else None
