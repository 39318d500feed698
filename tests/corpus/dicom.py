"""Cines as DICOM as a scanner leaves them: classic MR images, one file a frame, or enhanced multi-frame files.

Positions and directions are turned from RAS to DICOM's LPS. Everything that could name a patient holds an obviously
invented value of `MARKS`; none of them may ever be found in a cohort. UIDs depend on seed, subject, series and frame.
"""

import hashlib

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage

from cmrlib.cine import Cine
from cmrlib.cohort.study import Study
from corpus.source import File

MARKS = ("MARKED", "19010101", "19000101", "2.25.")
"""Names, ids, birth and study dates, and UIDs of the phantom: what a test may look for in anything written later."""

REPETITION_TIME_MS = 35.36
"""Of one line's readout; real headers carry it beside frames 45 ms apart, and software takes it for the frame step."""


def uid(*parts) -> UID:
    """A UID under the root for random numbers (2.25), the same for the same parts."""
    text = "/".join(map(str, parts)).encode()
    return UID(f"2.25.{int.from_bytes(hashlib.blake2b(text, digest_size=15).digest())}")


def decimal(values) -> list[float]:
    """Numbers that fit a decimal string's 16 characters."""
    return [round(float(value), 6) + 0.0 for value in np.ravel(values)]


def geometry(cine: Cine) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Orientation (6,), positions (slices, 3) in LPS mm, pixel spacing (row, column) mm, places along the normal."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ cine.affine
    spacing = np.linalg.norm(lps[:3, :2], axis=0)
    directions = lps[:3, :2] / spacing
    positions = np.array([lps[:3] @ [0, 0, k, 1] for k in range(cine.slices)])
    return directions.T.ravel(), positions, spacing[::-1], positions @ np.cross(directions[:, 0], directions[:, 1])


def classic(study: Study, seed: int, flat: bool = False, syntax=ExplicitVRLittleEndian) -> list[File]:
    """One MR Image Storage file a frame.

    A SAX stack is a series a slice, as breath-holds leave it; `flat` makes it one series and puts all files of the
    subject into one folder.
    """
    files, label, number = [], study.participant["participant_id"], 2
    for cine in study.cines:
        orientation, positions, spacing, along = geometry(cine)
        bits = 12 if cine.pixels.max() < 4096 else 16
        for k in range(cine.slices):
            number += 1 if k == 0 or not flat else 0
            name = f"cine_{cine.view}" + (f"_b{k + 1}" if cine.slices > 1 and not flat else "")
            for t in range(cine.frames):
                instance = (k * cine.frames if flat else 0) + t + 1
                data = _common(study, seed, number, name, MRImageStorage, (seed, label, number, instance), syntax)
                _timing(data, cine, k, t, instance)
                data.ImagePositionPatient, data.ImageOrientationPatient = decimal(positions[k]), decimal(orientation)
                data.PixelSpacing, data.SliceLocation = decimal(spacing), decimal(along[k])[0]
                data.SliceThickness = decimal(cine.meta["slice_thickness_mm"])[0]
                data.SpacingBetweenSlices = decimal(cine.spacing_mm[0])[0]
                data.BitsStored = bits
                set_pixels(data, cine.pixels[t, k])
                folder = label if flat else f"{label}/{number:02d}_{name}"
                files.append(File(f"{folder}/IM-{number:04d}-{instance:04d}.dcm", data, cine.name, k, t))
    return files


def _timing(data, cine, k, t, instance):
    rr = float(cine.rr_ms[k])
    data.InstanceNumber, data.AcquisitionNumber = instance, k + 1
    data.AcquisitionTime = data.ContentTime = f"10{(15 * k) // 60:02d}{(15 * k) % 60:02d}.000000"
    data.TriggerTime = round(float(cine.frame_times_ms[k, t]), 2)
    data.NominalInterval, data.HeartRate = round(rr), round(60_000 / rr)
    data.CardiacNumberOfImages = cine.frames


def _common(study, seed, number, description, storage, key, syntax) -> Dataset:
    """What classic and enhanced files share: who, where, which series."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID, data.file_meta.MediaStorageSOPClassUID = syntax, storage
    data.SOPClassUID, data.SOPInstanceUID = storage, uid(*key)
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    label = study.participant["participant_id"]
    data.ImageType = ["ORIGINAL", "PRIMARY", "M", "NORM"]
    data.Modality, data.Manufacturer, data.ManufacturerModelName = "MR", "Phantom", "Formulas"
    data.StudyInstanceUID, data.SeriesInstanceUID = uid(seed, label), uid(seed, label, number)
    data.FrameOfReferenceUID = uid(seed, label, "frame of reference")
    data.SeriesNumber, data.SeriesDescription, data.ProtocolName = number, description, "cine_bssfp"
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = data.ContentDate = "19000101"
    data.StudyTime, data.SeriesTime = "100000.000000", f"10{number:02d}00.000000"
    data.ScanningSequence, data.MagneticFieldStrength, data.RepetitionTime = "GR", 1.5, REPETITION_TIME_MS
    _patient(data, study.participant, label)
    return data


def _patient(data, person, label):
    """Invented names in several kinds of places where real ones hide (test_inspect.py has the others)."""
    data.PatientName, data.PatientID = "PHANTOM^MARKED", f"MARKED-{label}"
    data.PatientBirthDate, data.PatientSex = "19010101", person.get("sex") or "O"
    data.PatientAge = f"{round(person['age']):03d}Y"
    data.PatientSize, data.PatientWeight = round(person["height_m"], 3), round(person["weight_kg"], 2)
    data.AccessionNumber, data.InstitutionName, data.ReferringPhysicianName = "MARKED", "MARKED HOSPITAL", "MARKED"
    data.private_block(0x0011, "PHANTOM MARKED", create=True).add_new(1, "LO", "MARKED private")


def set_pixels(data: Dataset, image, signed: bool = False):
    """Store an image (rows, columns) or (frames, rows, columns) in 16 bits; as many are in use as before, or 12, or 16
    where these do not do."""
    image = np.asarray(image)
    bits = data.get("BitsStored", 12) if not signed and image.max() < 4096 else 16
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", int(signed)
    data.Rows, data.Columns = image.shape[-2:]
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, bits, bits - 1
    data.PixelData = np.ascontiguousarray(image, "<i2" if signed else "<u2").tobytes()
    data["PixelData"].VR = "OW"


def get_pixels(data: Dataset) -> np.ndarray:
    """The stored integers of an uncompressed image as they lie in memory, uint16."""
    shape = (-1, data.Rows, data.Columns) if "NumberOfFrames" in data else (data.Rows, data.Columns)
    return np.frombuffer(data.PixelData, "<u2").reshape(shape)


def enhanced(study: Study, seed: int, syntax=ExplicitVRLittleEndian) -> list[File]:
    """One Enhanced MR file a cine: geometry and time live in functional groups, indices count from 1."""
    files, label = [], study.participant["participant_id"]
    for number, cine in enumerate(study.cines, 3):
        name = f"cine_{cine.view}"
        data = _common(study, seed, number, name, EnhancedMRImageStorage, (seed, label, number), syntax)
        del data.ScanningSequence, data.RepetitionTime  # they belong to the functional groups
        data.NumberOfFrames, data.ComplexImageComponent = cine.frames * cine.slices, "MAGNITUDE"
        data.SharedFunctionalGroupsSequence = [_shared(cine)]
        data.PerFrameFunctionalGroupsSequence = [
            _frame(cine, k, t) for k in range(cine.slices) for t in range(cine.frames)
        ]
        set_pixels(data, cine.pixels.swapaxes(0, 1).reshape(-1, *cine.pixels.shape[2:]))
        files.append(File(f"{label}/{number:02d}_{name}.dcm", data, cine.name))
    return files


def _group(**tags) -> list[Dataset]:
    """A functional group: a sequence of one item."""
    item = Dataset()
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return [item]


def _shared(cine) -> Dataset:
    orientation, _, spacing, _ = geometry(cine)
    measures = {
        "PixelSpacing": decimal(spacing),
        "SliceThickness": decimal(cine.meta["slice_thickness_mm"])[0],
        "SpacingBetweenSlices": decimal(cine.spacing_mm[0])[0],
    }
    return _group(
        PixelMeasuresSequence=_group(**measures),
        PlaneOrientationSequence=_group(ImageOrientationPatient=decimal(orientation)),
        MRTimingAndRelatedParametersSequence=_group(RepetitionTime=REPETITION_TIME_MS),
        MRImageFrameTypeSequence=_group(FrameType=["ORIGINAL", "PRIMARY", "CARDIAC", "NONE"]),
        PixelValueTransformationSequence=_group(RescaleIntercept=0, RescaleSlope=1, RescaleType="US"),
    )[0]


def _frame(cine, k, t) -> Dataset:
    rr, (_, positions, *_) = float(cine.rr_ms[k]), geometry(cine)
    delay = round(float(cine.frame_times_ms[k, t]), 2)
    content = _group(
        StackID="1",
        InStackPositionNumber=k + 1,
        TemporalPositionIndex=t + 1,
    )
    return _group(
        FrameContentSequence=content,
        PlanePositionSequence=_group(ImagePositionPatient=decimal(positions[k])),
        CardiacSynchronizationSequence=_group(
            NominalCardiacTriggerDelayTime=delay,
            RRIntervalTimeNominal=round(rr, 2),
            ActualCardiacTriggerDelayTime=delay,
        ),
    )[0]
