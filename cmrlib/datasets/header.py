"""A DICOM file's header as plain values: a dictionary of the few keywords that reading cines needs.

Ordinary files (explicit or implicit little-endian, well formed) are walked element by element, which takes a tenth of
pydicom's time; whatever is out of the ordinary goes to pydicom, and a test compares the two. Values are text (several:
a tuple), numbers where the file stores binary ones, else what pydicom makes of them; damaged ones are absent.
"""

import io
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct

import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement

from cmrlib.datasets.order import NAN

KEYWORDS = (
    "TransferSyntaxUID",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyDate",
    "AcquisitionDate",
    "StudyTime",
    "SeriesTime",
    "AcquisitionTime",
    "Modality",
    "Manufacturer",
    "SeriesDescription",
    "PatientID",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "ScanningSequence",
    "SequenceName",
    "SliceThickness",
    "InversionTime",
    "MagneticFieldStrength",
    "TriggerTime",
    "NominalInterval",
    "HeartRate",
    "CardiacNumberOfImages",
    "PhaseContrast",
    "ComplexImageComponent",
    "VelocityEncodingMaximumValue",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "TemporalPositionIdentifier",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "RescaleIntercept",
    "RescaleSlope",
)
PIXELS = "PixelData"
"""True in a header where the file holds pixels, of integers or floating-point numbers."""

NATIVE = (pydicom.uid.ExplicitVRLittleEndian, pydicom.uid.ImplicitVRLittleEndian)
"""Transfer syntaxes that are walked, and whose pixels are read where they lie."""

_KEYWORDS = {int(tag_for_keyword(keyword)): (keyword, dictionary_VR(keyword).encode()) for keyword in KEYWORDS}
_PIXEL_TAGS = {0x7FE00008, 0x7FE00010}
_TEXTS = {b"AS", b"CS", b"DA", b"DS", b"DT", b"IS", b"LO", b"SH", b"TM", b"UI"}
_NUMBERS = {
    b"US": Struct("<H"),
    b"SS": Struct("<h"),
    b"UL": Struct("<I"),
    b"SL": Struct("<i"),
    b"FL": Struct("<f"),
    b"FD": Struct("<d"),
}
_SHORT = set(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG = set(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""Value representations with two and with four bytes of length (DICOM PS3.5, 7.1.2)."""
_PASSED_OVER = 4096
"""Bytes of a sequence, or behind the pixels, that are passed over; what is longer may be made to break readers,
and pydicom judges it."""

_ELEMENT, _LENGTH = Struct("<HH2sH"), Struct("<I")


class Refused(ValueError):
    """A file that becomes no frame; the text is fit to be shown and written."""


@dataclass(eq=False, slots=True)
class File:
    """One file in memory. header: keyword → value. stored: bytes of native pixels, None where pydicom must find them.

    content: the whole file, until its pixels are decoded; data: pydicom's data set, where it had to be made.
    """

    header: dict
    stored: memoryview | bytes | None = None
    content: bytes | None = None
    data: pydicom.Dataset | None = None

    def whole(self) -> pydicom.Dataset:
        """pydicom's data set with the pixels."""
        if self.data is None:
            self.data = pydicom.dcmread(io.BytesIO(self.content))
        return self.data


@contextmanager
def quiet():
    """pydicom quotes UIDs and names in its warnings: they must not reach terminals and logs."""
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
    """A file's bytes → its header, and where the pixels are.

    Raises pydicom's errors, and Refused where the bytes are empty or begin like DICOM by chance.
    """
    if not content:
        raise Refused("empty file, not a DICOM file")
    if content[128:132] == b"DICM" and (found := walked(content)):
        header, start, length = found
        return File(header, memoryview(content)[start : start + length], content)
    data = _data_set(content)
    native = data.file_meta.get("TransferSyntaxUID") in NATIVE
    raw = data.get("PixelData") if native else None
    return File(header_of(data), raw if isinstance(raw, bytes) else None, None, data)


def _data_set(content: bytes) -> pydicom.Dataset:
    """By pydicom. Files without preamble and meta header, as old archives wrote them, say their byte order."""
    bare = starts_as_dicom(content[:132]) and content[128:132] != b"DICM"
    data = pydicom.dcmread(io.BytesIO(content), force=bare)
    if bare and "TransferSyntaxUID" not in data.file_meta:
        if "SOPClassUID" not in data:
            raise Refused("not a DICOM file")
        implicit, little = data.original_encoding
        data.file_meta.TransferSyntaxUID = (
            pydicom.uid.ImplicitVRLittleEndian
            if implicit
            else pydicom.uid.ExplicitVRLittleEndian
            if little
            else pydicom.uid.ExplicitVRBigEndian
        )
    return data


def walked(content: bytes) -> tuple[dict, int, int] | None:
    """Header of an ordinary file with one frame, and where its pixels begin and how many bytes they are.

    None for anything unusual: other syntaxes, sequences that are long or of undefined length, elements out of order,
    text that is not ASCII, lengths beyond the file's end, much behind the pixels.
    """
    header, at, last, syntax, end = {}, 132, 0, None, len(content)
    while at + 12 <= end:
        group, element, kind, length = _ELEMENT.unpack_from(content, at)
        tag = group << 16 | element
        if syntax is None and group > 2:
            syntax = header.get("TransferSyntaxUID")
            if syntax not in NATIVE:
                return None
        keyword, expected = _KEYWORDS.get(tag, ("", b""))
        if syntax == NATIVE[1]:
            kind, length, at = expected, _LENGTH.unpack_from(content, at + 4)[0], at + 8
        elif kind in _SHORT:
            at += 8
        elif kind in _LONG:
            length, at = _LENGTH.unpack_from(content, at + 8)[0], at + 12
        else:
            return None
        if tag <= last or length > end - at or (kind == b"SQ" and length > _PASSED_OVER):
            return None
        if tag in _PIXEL_TAGS:
            header[PIXELS] = True
            single = header.get("NumberOfFrames", "1") == "1" and tag == 0x7FE00010
            return (header, at, length) if single and end - at - length <= _PASSED_OVER else None
        if keyword:
            header[keyword] = value = _plain(kind, content[at : at + length])
            if value is None:
                return None
        at, last = at + length, tag
    return None


def header_of(data: pydicom.Dataset) -> dict:
    """The header of pydicom's data set, its meta header included."""
    header = {PIXELS: True} if any(tag in data for tag in _PIXEL_TAGS) else {}
    for part in (getattr(data, "file_meta", {}), data):
        for element in part.values():
            keyword, kind = _KEYWORDS.get(int(element.tag), ("", b""))
            if not keyword:
                continue
            value = None
            if isinstance(element, RawDataElement) and element.is_little_endian:
                value = _plain(element.VR.encode() if element.VR else kind, element.value or b"")
            try:
                header[keyword] = part.get(keyword) if value is None else value
            except Exception:  # damaged: as if it were absent
                continue
    return header


@lru_cache(4096)
def _plain(kind: bytes, stored: bytes):
    """Bytes of an element → text without padding (several: a tuple) or a number; None where it takes more than that."""
    if kind in _TEXTS:
        if not stored.isascii():
            return None
        values = tuple(part.strip(" \0") for part in stored.decode("ascii").split("\\"))
        return values if len(values) > 1 else values[0]
    if kind in _NUMBERS and len(stored) == _NUMBERS[kind].size:
        return _NUMBERS[kind].unpack(stored)[0]
    return None


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
    value = header.get(keyword, "")
    return value if isinstance(value, str) else "" if value is None else str(value)


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
