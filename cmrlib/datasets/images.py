"""One DICOM image: its header as a `Frame`, its pixels as an array. With multiframe.py all that knows DICOM's rules."""

import io
import re
import warnings
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement

from cmrlib.datasets.order import NAN, Frame
from cmrlib.datasets.purpose import no_cine

_DECODERS = {"1.2.840.10008.1.2.4.9": "pylibjpeg-openjpeg", "1.2.840.10008.1.2.4": "pylibjpeg-libjpeg",
             "1.2.840.10008.1.2.5": "pylibjpeg-rle"}
_VENDORS = {"siemens": "Siemens", "ge ": "GE", "philips": "Philips", "canon": "Canon", "toshiba": "Canon"}
_TEXTS = {"AS", "CS", "DA", "DS", "IS", "LO", "SH", "TM", "UI"}
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


class Refused(ValueError):
    """A file that becomes no frame; the text is fit to be shown and written."""


class Source(NamedTuple):
    """Where a frame's header and pixels are: a data set (of a multi-frame file its own, made of functional groups),
    the file's digest, and for multi-frame files the whole one and the frame's number in it."""

    header: pydicom.Dataset
    mark: str
    whole: pydicom.Dataset | None = None
    index: int | None = None


@contextmanager
def quiet():
    """pydicom quotes UIDs and names in its warnings: they must not reach terminals and logs."""
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def reason(error: Exception) -> str:
    """Why a file was refused, without any header text: foreign errors may quote it."""
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, pydicom.errors.InvalidDicomError):
        return "not a DICOM file"
    return f"header cannot be read ({type(error).__name__}); the file is damaged or no DICOM"


def starts_as_dicom(first: bytes) -> bool:
    """Whether a file's first 132 bytes are DICOM's: a preamble and DICM, or a data set without either.

    The latter begins, in little- or big-endian, with group 0008 (or 0002, the meta header) and a low element number.
    """
    if first[128:132] == b"DICM":
        return True
    little, big = (int.from_bytes(first[:2], order) for order in ("little", "big"))
    order = "little" if little in (2, 8) else "big"
    return len(first) >= 132 and (little in (2, 8) or big == 8) and int.from_bytes(first[2:4], order) <= 0x60


def header_of(content: bytes) -> pydicom.Dataset:
    """The data set of a file's bytes. Files without preamble and meta header, as old archives wrote them, say their
    byte order themselves.

    Raises pydicom's errors, and Refused where the bytes are empty or begin like DICOM by chance.
    """
    if not content:
        raise Refused("empty file, not a DICOM file")
    bare = starts_as_dicom(content[:132]) and content[128:132] != b"DICM"
    data = pydicom.dcmread(io.BytesIO(content), force=bare)
    if bare and "TransferSyntaxUID" not in data.file_meta:
        if "SOPClassUID" not in data:
            raise Refused("not a DICOM file")
        implicit, little = data.original_encoding
        data.file_meta.TransferSyntaxUID = (pydicom.uid.ImplicitVRLittleEndian if implicit else
                                            pydicom.uid.ExplicitVRLittleEndian if little else
                                            pydicom.uid.ExplicitVRBigEndian)
    return data


def frame_of(data: pydicom.Dataset, mark: str, folder: str = "", name: str = "", named=(), whole=None,
             index: int | None = None) -> Frame:
    """Header → Frame. Raises Refused with the reason where it is no image of a cine.

    mark: the file's digest. folder, name: where the file lies. named: lower-case descriptions and folder names that
    the user called cines. whole, index: of a frame in a multi-frame file.
    """
    _check_image(data, {part.lower() for part in (text(data, "SeriesDescription"), *folder.split("/"))} & set(named))
    position, orientation = _numbers(data, "ImagePositionPatient", 3), _numbers(data, "ImageOrientationPatient", 6)
    if position is None or orientation is None:
        raise Refused("no position or orientation in the header")
    lengths = np.linalg.norm(orientation.reshape(2, 3), axis=1, keepdims=True)
    if (abs(lengths - 1) > 0.1).any() or (abs(position) > 1e4).any():
        raise Refused("position or orientation in the header is none: directions are not of length 1, or metres away")
    rows, columns = orientation.reshape(2, 3) / lengths
    if not abs(rows @ columns) < 0.01:
        raise Refused("image directions in the header are not at right angles")
    spacing = _numbers(data, "PixelSpacing", 2)
    expected, (rr_ms, doubtful) = number(data, "CardiacNumberOfImages"), _header_rr_ms(data)
    return Frame(
        source=Source(data, mark, whole, index), shape=(int(data.Rows), int(data.Columns)), position=position,
        orientation=np.stack([rows, columns]), thickness_mm=number(data, "SliceThickness"),
        spacing_mm=tuple(spacing.tolist()) if spacing is not None and plausible_mm(spacing) else None,
        trigger_ms=number(data, "TriggerTime"), temporal=number(data, "TemporalPositionIdentifier"),
        instance=number(data, "InstanceNumber"), rr_ms=rr_ms, rr_doubtful=doubtful,
        expected=int(expected) if 0 < expected < 1000 else 0, series=text(data, "SeriesInstanceUID"),
        acquired=(text(data, "AcquisitionDate"), text(data, "AcquisitionTime"), text(data, "SeriesTime")),
        description=text(data, "SeriesDescription"), folder=folder, derived="DERIVED" in words(data, "ImageType"),
        version=(re.search(r"IM-\d+-\d+-(\d+)$", name.removesuffix(".dcm")) or ["", ""])[1])


def plausible_mm(spacing) -> bool:
    """Whether pixel spacings can be those of a heart's image: more than .1 and less than 20 mm."""
    return bool(((spacing > 0.1) & (spacing < 20)).all())


def _check_image(data, named):
    if text(data, "Modality") not in ("MR", ""):
        raise Refused("not an MR image")
    if not (data.get("Rows") and data.get("Columns")) or ("PixelData" not in data and "FloatPixelData" not in data):
        raise Refused("no pixel data")
    if int(data.get("NumberOfFrames") or 1) > 1 or int(data.get("SamplesPerPixel") or 1) != 1:
        raise Refused("colour image, or multi-frame without functional groups: nothing says where and when frames are")
    velocity = text(data, "PhaseContrast") == "YES" or number(data, "VelocityEncodingMaximumValue") > 0
    why = no_cine(words(data, "ImageType"), text(data, "SequenceName"), words(data, "ScanningSequence"),
                  number(data, "InversionTime"), velocity, "" if named else text(data, "SeriesDescription"))
    if why:
        raise Refused(why)


@cache
def _known(keyword):
    return pydicom.datadict.tag_for_keyword(keyword), pydicom.datadict.dictionary_VR(keyword)


def _value(data, keyword):
    """A field's value; short ASCII text as it stands in the file, for pydicom takes ten times as long to convert it.

    Several values are a list.
    """
    tag, kind = _known(keyword)
    element = data.get_item(tag)
    if isinstance(element, RawDataElement) and (element.VR or kind) in _TEXTS:
        stored = element.value or b""
        if stored.isascii():
            values = [part.strip(" \0") for part in stored.decode("ascii").split("\\")]
            return values if len(values) > 1 else values[0]
    return data.get(keyword)


def words(data, keyword) -> list[str]:
    """Header values in upper case, none where the field is absent or damaged."""
    try:
        values = _value(data, keyword) or ()
        return [str(part).upper() for part in ([values] if isinstance(values, str) else values)]
    except Exception:
        return []


def text(data, keyword) -> str:
    """Header text, empty where it is absent or damaged."""
    try:
        return str(_value(data, keyword) or "")
    except Exception:
        return ""


def number(data, keyword) -> float:
    """Header number, NaN where it is absent, empty or no number."""
    try:
        return float(_value(data, keyword))
    except Exception:
        return NAN


def _numbers(data, keyword, count):
    """Header vector (count,), None where it is absent, of another length, or not finite."""
    try:
        values = np.array([float(part) for part in _value(data, keyword)])
    except Exception:
        return None
    return values if values.shape == (count,) and np.isfinite(values).all() else None


def _header_rr_ms(data) -> tuple[float, bool]:
    """RR interval that the header states, NominalInterval, else from HeartRate (NaN where neither is positive), and
    whether both are there and differ by more than a tenth."""
    interval, rate = number(data, "NominalInterval"), number(data, "HeartRate")
    if not interval > 0:
        return (60_000 / rate if rate > 0 else NAN), False
    return interval, bool(rate > 0 and abs(interval - 60_000 / rate) > 0.1 * interval)


def participant(data: pydicom.Dataset) -> dict:
    """sex, age (years), height_m, weight_kg from the header, None where absent or implausible."""
    age = text(data, "PatientAge")
    years = float(age[:-1]) * _YEARS[age[-1]] if age[:-1].isdigit() and age[-1] in _YEARS else None
    height, weight = number(data, "PatientSize"), number(data, "PatientWeight")
    sex = text(data, "PatientSex")
    return {"sex": sex if sex in ("M", "F", "O") else None, "age": years if years and years < 120 else None,
            "height_m": height if 0.3 < height < 2.5 else None, "weight_kg": weight if 1 < weight < 400 else None,
            "group": None}


def scanner(data: pydicom.Dataset) -> dict:
    """vendor and field strength (T): from a closed list, so that no free text leaves the header."""
    maker = text(data, "Manufacturer").lower() + " "
    field = number(data, "MagneticFieldStrength")
    return {"vendor": next((name for word, name in _VENDORS.items() if word in maker), None),
            "field_t": field if 0 < field < 20 else None}


def pixels(frame: Frame, keep: bool = False) -> np.ndarray:
    """Image (rows, columns) of a frame, decoded once: the file's bytes are let go afterwards, unless told to `keep`.

    Stored integers stay as they are where no rescale is asked for, else float32. Raises Refused with the reason.
    """
    data, _, whole, index = frame.source
    stored = data if whole is None else whole
    try:
        image = _decode(data, stored, index)
    except Exception as error:
        raise Refused(_decoder_reason(stored, error)) from error
    if image.shape != frame.shape:
        raise Refused("decoded image has another size than its header says")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise Refused("pixels are NaN or infinite")
    if whole is None and not keep and "PixelData" in data:
        del data.PixelData
    return image


def _decode(data, stored, index):
    image = pydicom.pixels.pixel_array(stored) if index is None else pydicom.pixels.pixel_array(stored, index=index)
    if stored.get("PhotometricInterpretation") == "MONOCHROME1":  # there black is the largest number
        low = -(2 ** (stored.BitsStored - 1)) if stored.PixelRepresentation else 0
        image = (2 * low + 2**stored.BitsStored - 1 - image.astype(np.int64)).astype(image.dtype)
    slope, intercept = number(data, "RescaleSlope"), number(data, "RescaleIntercept")
    slope, intercept = slope if np.isfinite(slope) and slope else 1.0, intercept if np.isfinite(intercept) else 0.0
    return image if (slope, intercept) == (1.0, 0.0) else (image * slope + intercept).astype(np.float32)


def _decoder_reason(data, error) -> str:
    """What a user needs for a file that would not decode: the transfer syntax and the package that reads it."""
    syntax = pydicom.uid.UID(str(getattr(data.file_meta, "TransferSyntaxUID", "")))
    known = syntax in pydicom.uid.AllTransferSyntaxes
    if known and syntax.is_compressed and isinstance(error, RuntimeError | NotImplementedError):
        package = next((name for prefix, name in _DECODERS.items() if syntax.startswith(prefix)), "gdcm")
        return (f"pixels are compressed as {syntax.name} ({syntax}) and could not be decoded: "
                f"pip install {package}, or the file is damaged")
    return f"pixels cannot be read ({type(error).__name__}); the file is damaged or cut short"
