"""Make samples/ again: reduced copies of one examination (biv-me, Apache-2.0) and one SAX cine (Sunnybrook, CC0).

    CMR_DATA_DIR=FOLDER python tools/make_samples.py

FOLDER holds study/patient1.tar.xz and sunnybrook/ as samples/README.md describes them. Of every image only the header
elements in KEPT are written, with new UIDs, no date, no time and no name; grey values are divided by STEP, rounded and
compressed without loss (JPEG 2000). Nothing is cropped. Two runs write the same bytes.
"""

import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from pydicom.uid import JPEG2000Lossless, generate_uid

from cmrlib.datasets.header import suppress_warnings

SAMPLES = Path(__file__).parents[1] / "samples"
LARGEST_MB = 8.0
STEP = 8
"""Grey values of the original in one of the copy: an error of at most 4 (SD 2.3), below the images' noise."""

SERIES = ("Se1", "Se2", "Se3", "Se4", "Se5", "Se6", "Se7", "Se8", "Se10", "Se11")
"""Six short-axis slices, 4CH, 3CH, 2CH and the RV outflow tract; Se9, through the right heart, is left out."""
CINE, CONTOURS = "SCD0000101", "SC-HF-I-1"
SLICES = range(2, 11)
"""The slices of the Sunnybrook cine with contours, of 0 to 11; 20 frames each."""

KEPT = (
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "Modality",
    "Manufacturer",
    "SeriesDescription",
    "PatientSex",
    "ScanningSequence",
    "SequenceVariant",
    "ScanOptions",
    "MRAcquisitionType",
    "SequenceName",
    "SliceThickness",
    "RepetitionTime",
    "EchoTime",
    "MagneticFieldStrength",
    "EchoTrainLength",
    "TriggerTime",
    "NominalInterval",
    "HeartRate",
    "CardiacNumberOfImages",
    "FlipAngle",
    "PatientPosition",
    "SeriesNumber",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceLocation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "PixelSpacing",
)
EMPTY = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientBirthDate",
    "StudyID",
    "PositionReferenceIndicator",
)
"""Elements that the standard wants to be there; they hold nothing."""
UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")


def main():
    if not os.environ.get("CMR_DATA_DIR"):
        print("CMR_DATA_DIR is not set: it names the folder that holds study/ and sunnybrook/", file=sys.stderr)
        sys.exit(2)
    data = Path(os.environ["CMR_DATA_DIR"])
    for name in ("patient1", "sunnybrook"):
        shutil.rmtree(SAMPLES / name, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder, suppress_warnings():  # UIDs of the originals begin parts with zeros
        make_patient(data / "study", Path(folder))
        make_sunnybrook(data / "sunnybrook", Path(folder))
    size = sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file()) / 1e6
    print(f"{size:.2f} MB in {SAMPLES}")
    if size > LARGEST_MB:
        sys.exit(f"{size:.2f} MB; at most {LARGEST_MB} MB travel with the repository: a larger STEP, or fewer images")


def make_patient(source, folder):
    """samples/patient1/SeN/001.dcm …: each series in the order of its trigger times."""
    unpack(source / "patient1.tar.xz", folder)
    for series in SERIES:
        images = [pydicom.dcmread(path) for path in (folder / "patient1" / series).iterdir()]
        for n, image in enumerate(sorted(images, key=lambda image: float(image.TriggerTime)), 1):
            write(image, "patient1", SAMPLES / "patient1" / series / f"{n:03d}.dcm")
    shutil.copy(source / "LICENSE.biv-me", SAMPLES / "LICENSE.biv-me")


def make_sunnybrook(source, folder):
    """samples/sunnybrook/: images and contours under the challenge's names, and the patient's line of its tables."""
    unpack(source / "dicom" / f"{CINE}.tar.xz", folder)
    to = SAMPLES / "sunnybrook"
    for path in (folder / CINE).iterdir():
        image = pydicom.dcmread(path)
        if (image.InstanceNumber - 1) // 20 in SLICES:
            write(image, CINE, to / CINE / f"IM-0001-{image.InstanceNumber:04d}.dcm")
    shutil.copytree(source / "contours" / CONTOURS, to / CONTOURS)
    for name, column in (("link.csv", "patient_id"), ("scd_patientdata.csv", "PatientID")):
        table = pd.read_csv(source / name, dtype=str)
        table[table[column] == CINE].to_csv(to / name, index=False, lineterminator="\n")
    for path in (path for path in to.rglob("*") if path.is_file()):
        path.chmod(0o644)


def unpack(archive, folder):
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")


def write(image, patient, path):
    """The reduced copy of an image. patient: a code, no name."""
    copy = pydicom.Dataset()
    for keyword in KEPT:
        if keyword in image:
            copy[keyword] = pydicom.DataElement(keyword, image[keyword].VR, image[keyword].value)
    for keyword in EMPTY:
        setattr(copy, keyword, None)
    for keyword in UIDS:
        setattr(copy, keyword, generate_uid(entropy_srcs=[patient, keyword, str(image[keyword].value)]))
    copy.PatientID = copy.PatientName = patient
    copy.PatientSex = copy.get("PatientSex")
    copy.PatientIdentityRemoved, copy.DeidentificationMethod = "YES", "only the elements that reading a cine needs kept"
    copy.DerivationDescription = f"grey values divided by {STEP} and rounded"
    copy.BitsAllocated, copy.BitsStored, copy.HighBit, copy.PixelRepresentation = 16, 12, 11, 0
    grey = np.rint(image.pixel_array / STEP).astype("<u2")
    copy.PixelData = grey.tobytes()
    copy.file_meta = pydicom.dataset.FileMetaDataset()
    copy.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    copy.compress(JPEG2000Lossless, generate_instance_uid=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    copy.save_as(path, enforce_file_format=True)
    if not np.array_equal(pydicom.dcmread(path).pixel_array, grey):
        raise ValueError(f"{path}: the copy does not decode to what was written")


if __name__ == "__main__":
    main()
