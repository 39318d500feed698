"""Frames of a DICOM file, classic or enhanced: headers as `Frame`s.

Enhanced MR (DICOM PS3.3 C.7.6.16, C.8.13.5) holds many frames, whose places and times stand in functional groups. Each
frame's groups, its own before the shared ones, become a header with the keywords of a classic image, so that the same
geometry reads both. Time is NominalCardiacTriggerDelayTime, else the temporal index tells the order alone.
"""

import re
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pydicom

from cmrlib.datasets.header import PIXELS, File, Refused, check_size, number, text, values_of, vector, words
from cmrlib.datasets.order import NAN, Frame
from cmrlib.datasets.purpose import exclusion_reason

_VENDORS = {"siemens": "Siemens", "ge ": "GE", "philips": "Philips", "canon": "Canon", "toshiba": "Canon"}
_NOWHERE = "position or orientation in the header is none: directions are not of length 1, or metres away"
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


class Source(NamedTuple):
    """Where a frame's header and pixels are: its header (of a multi-frame file its own, made of functional groups),
    the file's digest, the file, and for multi-frame files the frame's number in it."""

    header: dict
    mark: str
    file: File
    index: int | None = None


def reason(error: Exception) -> str:
    """Why a file was refused, without any header text: foreign errors may quote it."""
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, pydicom.errors.InvalidDicomError):
        return "not a DICOM file"
    return f"header cannot be read ({type(error).__name__}); the file is damaged or no DICOM"


def frame_of(
    file: File,
    mark: str,
    folder: str = "",
    name: str = "",
    named=(),
    header: dict | None = None,
    index: int | None = None,
) -> Frame:
    """Header → Frame. Raises Refused with the reason where it is no image of a cine.

    mark: the file's digest. folder, name: where the file lies. named: lower-case descriptions and folder names that
    the user called cines. header, index: of a frame in a multi-frame file.
    """
    header = file.header if header is None else header
    description = text(header, "SeriesDescription")
    _check_image(header, bool(named) and not {description.lower(), *folder.lower().split("/")}.isdisjoint(named))
    position, spacing = (
        vector(values_of(header, "ImagePositionPatient"), 3),
        vector(values_of(header, "PixelSpacing"), 2),
    )
    directions = _directions(values_of(header, "ImageOrientationPatient"))
    if position is None or directions is None:
        raise Refused("no position or orientation in the header")
    if np.abs(position).max() > 1e4:
        raise Refused(_NOWHERE)
    expected, rate = number(header, "CardiacNumberOfImages"), number(header, "HeartRate")
    rr_ms, counted_ms = number(header, "NominalInterval"), 60_000 / rate if rate > 0 else NAN
    return Frame(
        source=Source(header, mark, file, index),
        shape=(int(header["Rows"]), int(header["Columns"])),
        position=position,
        orientation=directions,
        thickness_mm=number(header, "SliceThickness"),
        spacing_mm=None if spacing is None or not ((spacing > 0.1) & (spacing < 20)).all() else tuple(spacing.tolist()),
        trigger_ms=number(header, "TriggerTime"),
        temporal=number(header, "TemporalPositionIdentifier"),
        instance=number(header, "InstanceNumber"),
        rr_ms=rr_ms if rr_ms > 0 else counted_ms,
        rr_doubtful=rr_ms > 0 and abs(rr_ms - counted_ms) > 0.1 * rr_ms,
        expected=int(expected) if 0 < expected < 1000 else 0,
        series=text(header, "SeriesInstanceUID"),
        uid=text(header, "SOPInstanceUID") and f"{text(header, 'SOPInstanceUID')}/{index}",
        acquired=(text(header, "AcquisitionDate"), text(header, "AcquisitionTime"), text(header, "SeriesTime")),
        description=description,
        folder=folder,
        derived="DERIVED" in words(header, "ImageType"),
        version=(re.search(r"IM-\d+-\d+-(\d+)$", name.removesuffix(".dcm")) or ["", ""])[1],
    )


def _directions(values) -> np.ndarray | None:
    """Row and column directions (2, 3) of length 1, LPS; None where six numbers are not there. Raises Refused where
    they are no directions."""
    values = vector(values, 6)
    if values is None:
        return None
    lengths = np.linalg.norm(values.reshape(2, 3), axis=1, keepdims=True)
    if (abs(lengths - 1) > 0.1).any():
        raise Refused(_NOWHERE)
    rows, columns = values.reshape(2, 3) / lengths
    if not abs(rows @ columns) < 0.01:
        raise Refused("image directions in the header are not at right angles")
    return np.stack([rows, columns])


def _check_image(header, named: bool):
    if text(header, "Modality") not in ("MR", ""):
        raise Refused("not an MR image")
    if not (number(header, "Rows") > 0 and number(header, "Columns") > 0 and PIXELS in header):
        raise Refused("no pixel data")
    check_size(number(header, "Rows"), number(header, "Columns"))
    if number(header, "NumberOfFrames") > 1 or (number(header, "SamplesPerPixel") or 1) > 1:
        raise Refused("colour image, or multi-frame without functional groups: nothing says where and when frames are")
    velocity = text(header, "PhaseContrast") == "YES" or number(header, "VelocityEncodingMaximumValue") > 0
    why = exclusion_reason(
        tuple(words(header, "ImageType")),
        text(header, "SequenceName"),
        tuple(words(header, "ScanningSequence")),
        number(header, "InversionTime"),
        velocity,
        "" if named else text(header, "SeriesDescription"),
    )
    if why:
        raise Refused(why)


def participant(header: dict) -> dict:
    """sex, age (years), height_m, weight_kg from the header, None where absent or 0."""
    age = text(header, "PatientAge")
    years = float(age[:-1]) * _YEARS[age[-1]] if age[:-1].isdigit() and age[-1] in _YEARS else None
    height, weight = number(header, "PatientSize"), number(header, "PatientWeight")
    sex = text(header, "PatientSex")
    return {
        "sex": sex if sex in ("M", "F", "O") else None,
        "age": years or None,
        "height_m": height if height > 0 else None,
        "weight_kg": weight if weight > 0 else None,
        "group": None,
    }


def scanner(header: dict) -> dict:
    """vendor and field strength (T): from a closed list, so that no free text leaves the header."""
    maker = text(header, "Manufacturer").lower() + " "
    field = number(header, "MagneticFieldStrength")
    return {
        "vendor": next((name for word, name in _VENDORS.items() if word in maker), None),
        "field_t": field if 0 < field < 20 else None,
    }


# --- enhanced files -------------------------------------------------------------------------------------------------

_GROUPS = {  # classic keyword: (group, keyword there)
    "ImagePositionPatient": ("PlanePositionSequence", "ImagePositionPatient"),
    "ImageOrientationPatient": ("PlaneOrientationSequence", "ImageOrientationPatient"),
    "PixelSpacing": ("PixelMeasuresSequence", "PixelSpacing"),
    "SliceThickness": ("PixelMeasuresSequence", "SliceThickness"),
    "TriggerTime": ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    "NominalInterval": ("CardiacSynchronizationSequence", "RRIntervalTimeNominal"),
    "TemporalPositionIdentifier": ("FrameContentSequence", "TemporalPositionIndex"),
    "RescaleSlope": ("PixelValueTransformationSequence", "RescaleSlope"),
    "RescaleIntercept": ("PixelValueTransformationSequence", "RescaleIntercept"),
    "ImageType": ("MRImageFrameTypeSequence", "FrameType"),
    "InversionTime": ("MRModifierSequence", "InversionTimes"),
}


def frames_of(file: File, mark: str, folder: str = "", name: str = "", named=()):
    """All frames of one file, classic or enhanced, and the reasons for which others of its frames are refused.

    Arguments as of `images.frame_of`; raises Refused where the file holds no frame at all.
    """
    header, data = file.header, file.data
    count = number(header, "NumberOfFrames")  # Sunnybrook's classic files have groups of one empty item
    single = not count > 0 or (not count > 1 and "ImagePositionPatient" in header)
    if single or data is None or "PerFrameFunctionalGroupsSequence" not in data:
        return [frame_of(file, mark, folder, name, named)], []
    groups, shared = data.PerFrameFunctionalGroupsSequence, _first(data, "SharedFunctionalGroupsSequence")
    if len(groups) != count:
        raise Refused(
            "its number of frames differs from the number of functional groups: which frame is missing is not known"
        )
    if PIXELS not in header:
        raise Refused("no pixel data")
    frames, reasons = [], []
    for index, group in enumerate(groups):
        try:
            own, place = _header(header, shared, group)
            frames.append(replace(frame_of(file, mark, folder, name, named, own, index), place=place))
        except Refused as error:
            reasons.append(str(error))
    if not frames:
        raise Refused(reasons[0])
    return frames, sorted(set(reasons))


def _first(data, keyword) -> pydicom.Dataset:
    """First item of a sequence, an empty data set where there is none."""
    items = data.get(keyword) if data is not None else None
    return items[0] if items else pydicom.Dataset()


def _header(top, shared, group) -> tuple[dict, int]:
    """What a classic image's header would say of one frame, and its slice's number in the stack, 0 where unknown."""
    header = {keyword: value for keyword, value in top.items() if keyword not in _GROUPS or keyword == "ImageType"}
    del header["NumberOfFrames"]

    def item(sequence):
        return _first(group if sequence in group else shared, sequence)

    for keyword, (sequence, inner) in _GROUPS.items():
        if inner in item(sequence):
            header[keyword] = item(sequence)[inner].value
    if text(top, "ComplexImageComponent") == "PHASE":
        header["ImageType"] = (*values_of(header, "ImageType"), "PHASE")
    modifier, content = item("MRModifierSequence"), _first(group, "FrameContentSequence")
    header["PhaseContrast"] = str(modifier.get("PhaseContrast") or text(top, "PhaseContrast") or "NO")
    if str(modifier.get("InversionRecovery")) == "YES":
        header["ScanningSequence"] = "IR"
    header["SeriesInstanceUID"] = f"{text(header, 'SeriesInstanceUID')}/{content.get('StackID', '')}"
    place = number({"place": content.get("InStackPositionNumber")}, "place")
    return header, int(place) if 0 < place < 100_000 else 0
