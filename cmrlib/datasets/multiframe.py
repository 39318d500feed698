"""Enhanced MR: many frames in one file, whose places and times stand in functional groups.

DICOM PS3.3 C.7.6.16 (multi-frame functional groups) and C.8.13.5 (enhanced MR). Each frame's groups, its own before
the shared ones, become a header with the keywords of a classic image, so that the same geometry reads both. Indices
there count from 1. Time is NominalCardiacTriggerDelayTime, else the temporal index tells the order alone.
"""

import pydicom

from cmrlib.datasets.images import Refused, frame_of, number
from cmrlib.datasets.order import Frame

_TOP = ("Modality", "Rows", "Columns", "SamplesPerPixel", "SeriesInstanceUID", "StudyInstanceUID", "SOPInstanceUID",
        "SeriesDescription", "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "SeriesTime", "StudyDate",
        "StudyTime", "PatientID", "Manufacturer", "MagneticFieldStrength", "PatientAge", "PatientSex", "PatientSize",
        "PatientWeight", "CardiacNumberOfImages", "ImageType")
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


def frames_of(data: pydicom.Dataset, mark: str, folder: str = "", name: str = "", named=()):
    """All frames of one file, classic or enhanced, and the reasons for which others of its frames are refused.

    Arguments as of `images.frame_of`; raises Refused where the file holds no frame at all.
    """
    count = number(data, "NumberOfFrames")  # Sunnybrook's classic files have groups of one empty item
    single = not count > 0 or (not count > 1 and "ImagePositionPatient" in data)
    if single or "PerFrameFunctionalGroupsSequence" not in data:
        return [frame_of(data, mark, folder, name, named)], []
    groups, shared = data.PerFrameFunctionalGroupsSequence, _first(data, "SharedFunctionalGroupsSequence")
    if len(groups) != number(data, "NumberOfFrames"):
        raise Refused("its number of frames differs from the number of functional groups: which frame is missing is "
                      "not known")
    if "PixelData" not in data:
        raise Refused("no pixel data")
    frames, reasons = [], []
    for index, group in enumerate(groups):
        try:
            frames.append(_frame(data, shared, group, index, mark, folder, name, named))
        except Refused as error:
            reasons.append(str(error))
    if not frames:
        raise Refused(reasons[0])
    return frames, sorted(set(reasons))


def _first(data, keyword) -> pydicom.Dataset:
    """First item of a sequence, an empty data set where there is none."""
    items = data.get(keyword) if data is not None else None
    return items[0] if items else pydicom.Dataset()


def _frame(data, shared, group, index, mark, folder, name, named) -> Frame:
    flat = pydicom.Dataset()
    for keyword in _TOP:
        if keyword in data:
            flat[keyword] = data[keyword]
    for keyword, (sequence, inner) in _GROUPS.items():
        item = _first(group if sequence in group else shared, sequence)
        if inner in item:
            setattr(flat, keyword, item[inner].value)
    flat.PixelData = b""  # there are some: in the whole file
    if str(data.get("ComplexImageComponent")) == "PHASE":
        flat.ImageType = [*flat.get("ImageType", []), "PHASE"]
    modifier = _first(group if "MRModifierSequence" in group else shared, "MRModifierSequence")
    flat.PhaseContrast = str(modifier.get("PhaseContrast") or data.get("PhaseContrast") or "NO")
    if str(modifier.get("InversionRecovery")) == "YES":
        flat.ScanningSequence = ["IR"]
    content = _first(group, "FrameContentSequence")
    flat.SeriesInstanceUID = f"{flat.get('SeriesInstanceUID', '')}/{content.get('StackID', '')}"
    frame = frame_of(flat, mark, folder, name, named, whole=data, index=index)
    place = number(content, "InStackPositionNumber")
    return Frame(**vars(frame) | {"place": int(place) if 0 < place < 100_000 else 0})
