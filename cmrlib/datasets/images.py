"""One DICOM file: its header as a `Frame`, its pixels as an array. The only module that knows DICOM's own rules."""

import warnings
from contextlib import contextmanager

import numpy as np
import pydicom

from cmrlib.datasets.geometry import NAN, Frame

_DECODERS = {"1.2.840.10008.1.2.4.9": "pylibjpeg-openjpeg", "1.2.840.10008.1.2.4": "pylibjpeg-libjpeg",
             "1.2.840.10008.1.2.5": "pylibjpeg-rle"}
_VENDORS = {"siemens": "Siemens", "ge ": "GE", "philips": "Philips", "canon": "Canon", "toshiba": "Canon"}
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


class Refused(ValueError):
    """A file that becomes no frame; the text is fit to be shown and written."""


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


def frame_of(data: pydicom.Dataset, mark: str, folder: str = "") -> Frame:
    """Header → Frame; `source` is (dataset, file digest). Raises Refused with the reason where it is no MR image."""
    _check_image(data)
    position, orientation = _numbers(data, "ImagePositionPatient", 3), _numbers(data, "ImageOrientationPatient", 6)
    if position is None or orientation is None:
        raise Refused("no position or orientation in the header")
    rows, columns = orientation.reshape(2, 3) / np.linalg.norm(orientation.reshape(2, 3), axis=1, keepdims=True)
    if not abs(rows @ columns) < 0.01:
        raise Refused("image directions in the header are not at right angles")
    spacing = _numbers(data, "PixelSpacing", 2)
    expected = _number(data, "CardiacNumberOfImages")
    return Frame(
        source=(data, mark), shape=(int(data.Rows), int(data.Columns)), position=position,
        orientation=np.stack([rows, columns]), thickness_mm=_number(data, "SliceThickness"),
        spacing_mm=tuple(spacing.tolist()) if spacing is not None and (spacing > 0).all() else None,
        trigger_ms=_number(data, "TriggerTime"), temporal=_number(data, "TemporalPositionIdentifier"),
        instance=_number(data, "InstanceNumber"), rr_ms=_header_rr_ms(data),
        expected=int(expected) if 0 < expected < 1000 else 0, series=text(data, "SeriesInstanceUID"),
        acquired=(text(data, "AcquisitionDate"), text(data, "AcquisitionTime"), text(data, "SeriesTime")),
        description=text(data, "SeriesDescription"), folder=folder)


def _check_image(data):
    if text(data, "Modality") not in ("MR", ""):
        raise Refused("not an MR image")
    if "PixelData" not in data or not data.get("Rows") or not data.get("Columns"):
        raise Refused("no pixel data")
    if int(data.get("NumberOfFrames") or 1) > 1 or int(data.get("SamplesPerPixel") or 1) != 1:
        raise Refused("multi-frame or colour image; this reader takes one grey frame a file")
    if {str(part).upper() for part in data.get("ImageType") or ()} & {"LOCALIZER", "P", "PHASE", "VELOCITY"}:
        raise Refused("localiser or phase image, no cine")


def text(data, keyword) -> str:
    """Header text, empty where it is absent or damaged."""
    try:
        return str(data.get(keyword) or "")
    except Exception:
        return ""


def _number(data, keyword) -> float:
    """Header number, NaN where it is absent, empty or no number."""
    try:
        return float(data.get(keyword))
    except Exception:
        return NAN


def _numbers(data, keyword, count):
    """Header vector (count,), None where it is absent, of another length, or not finite."""
    try:
        values = np.array([float(value) for value in data.get(keyword)])
    except Exception:
        return None
    return values if values.shape == (count,) and np.isfinite(values).all() else None


def _header_rr_ms(data) -> float:
    """RR interval that the header states: NominalInterval, else from HeartRate; NaN where neither is positive."""
    interval, rate = _number(data, "NominalInterval"), _number(data, "HeartRate")
    return interval if interval > 0 else 60_000 / rate if rate > 0 else NAN


def participant(data: pydicom.Dataset) -> dict:
    """sex, age (years), height_m, weight_kg from the header, None where absent or implausible."""
    age = text(data, "PatientAge")
    years = float(age[:-1]) * _YEARS[age[-1]] if age[:-1].isdigit() and age[-1] in _YEARS else None
    height, weight = _number(data, "PatientSize"), _number(data, "PatientWeight")
    sex = text(data, "PatientSex")
    return {"sex": sex if sex in ("M", "F", "O") else None, "age": years if years and years < 120 else None,
            "height_m": height if 0.3 < height < 2.5 else None, "weight_kg": weight if 1 < weight < 400 else None,
            "group": None}


def scanner(data: pydicom.Dataset) -> dict:
    """vendor and field strength (T): from a closed list, so that no free text leaves the header."""
    maker = text(data, "Manufacturer").lower() + " "
    field = _number(data, "MagneticFieldStrength")
    return {"vendor": next((name for word, name in _VENDORS.items() if word in maker), None),
            "field_t": field if 0 < field < 20 else None}


def pixels(frame: Frame) -> np.ndarray:
    """Image (rows, columns) of a frame, decoded once: the file's bytes are let go afterwards.

    Stored integers stay as they are where no rescale is asked for, else float32. Raises Refused with the reason.
    """
    data = frame.source[0]
    try:
        image = _decode(data)
    except Exception as error:
        raise Refused(_decoder_reason(data, error)) from error
    if image.shape != frame.shape:
        raise Refused("decoded image has another size than its header says")
    if not np.isfinite(image).all():
        raise Refused("pixels are NaN or infinite")
    del data.PixelData
    return image


def _decode(data):
    image = pydicom.pixels.pixel_array(data)
    if data.get("PhotometricInterpretation") == "MONOCHROME1":  # there black is the largest number
        low = -(2 ** (data.BitsStored - 1)) if data.PixelRepresentation else 0
        image = (2 * low + 2**data.BitsStored - 1 - image.astype(np.int64)).astype(image.dtype)
    slope, intercept = _number(data, "RescaleSlope"), _number(data, "RescaleIntercept")
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
