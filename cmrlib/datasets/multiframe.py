"""Enhanced MR: many frames in one file, whose places and times stand in functional groups.

DICOM PS3.3 C.7.6.16 (multi-frame functional groups) and C.8.13.5 (enhanced MR). Each frame's groups, its own before
the shared ones, become a header with the keywords of a classic image, so that the same geometry reads both. Indices
there count from 1. Time is NominalCardiacTriggerDelayTime, else the temporal index tells the order alone.
"""

from dataclasses import replace

import pydicom

from cmrlib.datasets.header import PIXELS, File, Refused, number, text, values_of
from cmrlib.datasets.images import frame_of

_TOP = (
    *("Modality", "Rows", "Columns", "SamplesPerPixel", "SeriesInstanceUID", "StudyInstanceUID", "SOPInstanceUID"),
    *("SeriesDescription", "AcquisitionDate", "AcquisitionTime", "SeriesTime", "StudyDate", "StudyTime", "PatientID"),
    *("Manufacturer", "MagneticFieldStrength", "PatientAge", "PatientSex", "PatientSize", "PatientWeight"),
    *("CardiacNumberOfImages", "ImageType", PIXELS),
)
"""What the whole file says of all its frames."""

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
            content = _first(group, "FrameContentSequence")
            own = _header(header, shared, group, content)
            frame = frame_of(file, mark, folder, name, named, own, index)
            frames.append(replace(frame, place=_place(content)))
        except Refused as error:
            reasons.append(str(error))
    if not frames:
        raise Refused(reasons[0])
    return frames, sorted(set(reasons))


def _first(data, keyword) -> pydicom.Dataset:
    """First item of a sequence, an empty data set where there is none."""
    items = data.get(keyword) if data is not None else None
    return items[0] if items else pydicom.Dataset()


def _header(top, shared, group, content) -> dict:
    """What a classic image's header would say of one frame."""
    header = {keyword: value for keyword, value in top.items() if keyword in _TOP}
    for keyword, (sequence, inner) in _GROUPS.items():
        item = _first(group if sequence in group else shared, sequence)
        if inner in item:
            header[keyword] = item[inner].value
    if text(top, "ComplexImageComponent") == "PHASE":
        header["ImageType"] = (*values_of(header, "ImageType"), "PHASE")
    modifier = _first(group if "MRModifierSequence" in group else shared, "MRModifierSequence")
    header["PhaseContrast"] = str(modifier.get("PhaseContrast") or text(top, "PhaseContrast") or "NO")
    if str(modifier.get("InversionRecovery")) == "YES":
        header["ScanningSequence"] = "IR"
    header["SeriesInstanceUID"] = f"{text(header, 'SeriesInstanceUID')}/{content.get('StackID', '')}"
    return header


def _place(content) -> int:
    """Number of a frame's slice in its stack, 0 where it is unknown."""
    try:
        place = int(content.get("InStackPositionNumber") or 0)
    except (TypeError, ValueError):
        return 0
    return place if 0 < place < 100_000 else 0
