"""Tiny source folders in the layouts that the readers know, quirks included, written with pydicom and nibabel."""

import gzip
import tarfile

import nibabel as nib
import numpy as np
import pydicom
from corpus import build, write_source
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from cmrlib.cohort.study import Study

LABEL = "P0001"
"""The phantom subject that `written` writes."""

AXIS = np.array([0.66, -0.53, -0.53]) / np.linalg.norm([0.66, -0.53, -0.53])
"""Long axis of the tests' heart, base to apex, LPS."""
UP = np.array([0, 0, 1.0]) - AXIS[2] * AXIS
UP /= np.linalg.norm(UP)
SHORT_AXIS = np.stack([np.cross(UP, AXIS), -UP])
"""Row and column directions of the short-axis stack; their normal is ±AXIS."""


def long_axis(around_deg):
    """Row and column directions of a long-axis plane, `around_deg` from anterior towards the septum."""
    angle = np.deg2rad(around_deg)
    cut = np.cos(angle) * UP + np.sin(angle) * np.cross(AXIS, UP)
    return np.stack([cut, AXIS])


def write_dicom(path, pixels, position=(0, 0, 0), orientation=((1, 0, 0), (0, 1, 0)), spacing=(1.5, 1.25), **tags):
    """One classic MR file; a tag of None is left out."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    defaults = {
        "SOPClassUID": MRImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "Modality": "MR",
        "SeriesInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "PatientID": "",
        "ImagePositionPatient": [float(x) for x in position],
        "ImageOrientationPatient": [float(x) for x in np.ravel(orientation)],
        "PixelSpacing": list(spacing) if spacing else None,
        "SliceThickness": 8.0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
    }
    for name, value in (defaults | tags).items():
        if value is not None:
            setattr(data, name, value)
    data.PixelData = np.ascontiguousarray(pixels).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    with pydicom.config.disable_value_validation():
        data.save_as(path, enforce_file_format=True)
    return data


def image(k, t, shape=(12, 10)):
    """An image that tells its slice and frame: its first pixel is 100·k + t + 1."""
    pixels = np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape) + 1000
    pixels[0, 0] = 100 * k + t + 1
    return pixels


def write_cine(folder, slices=1, frames=6, orientation=SHORT_AXIS, gap=8.0, step_ms=40.0, skip=(), seed=0, **tags):
    """A cine in shuffled files: frame t of slice k lies at k·gap along the normal and t·step_ms after the R wave.

    skip: (slice, frame) pairs left out. A tag given as a function gets (slice, frame).
    """
    normal = np.cross(*orientation)
    files = [(k, t) for k in range(slices) for t in range(frames) if (k, t) not in skip]
    names = np.random.default_rng(seed).permutation(len(files))
    for name, (k, t) in zip(names, files):
        all_tags = {"TriggerTime": t * step_ms, "CardiacNumberOfImages": frames, "NominalInterval": frames * step_ms}
        all_tags |= {key: value(k, t) if callable(value) else value for key, value in tags.items()}
        pixels = all_tags.pop("pixels", image(k, t))
        position = all_tags.pop("position", k * gap * normal)
        write_dicom(folder / f"IM{name:04d}", pixels, position, orientation, **all_tags)


def disc(shape, radius, centre=None):
    """Boolean disc in (rows, columns)."""
    rows, columns = np.indices(shape)
    centre = centre or ((shape[0] - 1) / 2, (shape[1] - 1) / 2)
    return np.hypot(rows - centre[0], columns - centre[1]) <= radius


def write_acdc(root, name="patient001", ed=1, es=3, frames=5, four_d=False):
    """An ACDC patient whose LV is a disc of radius 9 at ED and 5 at ES in two slices; the sform says 1 mm as in the
    release."""
    folder, shape = root / name, (2, 32, 32)
    folder.mkdir(parents=True)
    for number, radius in ((ed, 9), (es, 5)):
        mask = np.stack([2 * disc(shape[1:], radius + 3) + disc(shape[1:], radius)] * shape[0]).astype(np.uint8)
        mask[:, 2:6, 2:6] = 1
        _nifti(folder / f"{name}_frame{number:02d}.nii.gz", (mask * 50 + number).astype(np.int16))
        _nifti(folder / f"{name}_frame{number:02d}_gt.nii.gz", mask)
    if four_d:
        _nifti(folder / f"{name}_4d.nii.gz", np.stack([np.full(shape, t, np.int16) for t in range(frames)]))
    text = f"ED: {ed}\nES: {es}\nGroup: NOR\nHeight: 170.0\nNbFrame: {frames}\nWeight: 70.0\n"
    (folder / "Info.cfg").write_text(text)
    return folder


def _nifti(path, array):
    image = nib.Nifti1Image(array.T, None)
    image.set_qform(np.eye(4), 1, update_affine=False)
    image.set_sform(np.diag([-1.0, -1.0, 1.0, 1.0]), 1, update_affine=False)
    image.header["pixdim"][1:4] = 1.5, 1.5, 10
    nib.save(image, path)


def cut_short(path, share=0.5):
    """Leave only the first part of a file."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def circle(centre, radius, count=90):
    """Contour (count, 2) as (column, row), in the corner-based coordinates of Sunnybrook's files."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.c_[np.cos(angle), np.sin(angle)] * radius + np.array(centre) + 0.5


def write_sunnybrook(root, packed=True, ed=18, es=7, slices=4, contoured=(1, 2), outer_shift=0.0):
    """One Sunnybrook patient: 20 frames, SliceLocation that lies, contours on `contoured`; and one without images."""
    images = root / "work" / "SCD0000101"
    study, series = generate_uid(), generate_uid()
    for k in range(slices):
        for t in range(20):
            number = k * 20 + t + 1
            radius = 9 if t == ed else 5 if t == es else 7
            pixels = (disc((48, 40), radius, (24, 20)) * 800 + 10).astype(np.int16)
            write_dicom(
                images / f"{number}.dcm",
                pixels,
                k * 10.0 * np.cross(*SHORT_AXIS),
                SHORT_AXIS,
                (1.5, 1.5),
                TriggerTime=(t + 0.5) * 38,
                NominalInterval=760,
                CardiacNumberOfImages=20,
                InstanceNumber=number,
                SliceLocation=6.7 * k,
                StudyInstanceUID=study,
                SeriesInstanceUID=series,
            )
    if packed:
        (root / "dicom").mkdir()
        with tarfile.open(root / "dicom" / "SCD0000101.tar.xz", "w:xz") as archive:
            archive.add(images, "SCD0000101")
        for path in images.iterdir():
            path.unlink()
        images.rmdir()
    for folder in ("SC-HF-I-1", "SC-HF-I-5"):
        for kind in "io":
            (root / "contours" / folder / f"{kind}-contours").mkdir(parents=True)
        for k in contoured:
            for t, kind, radius in ((ed, "i", 9), (es, "i", 5), (ed, "o", 12)):
                name = f"IM-0001-{k * 20 + t + 1:04d}-{kind}contour-manual.txt"
                points = circle((20 + outer_shift * (kind == "o"), 24), radius)
                np.savetxt(root / "contours" / folder / f"{kind}-contours" / name, points, "%.2f")
    (root / "link.csv").write_text("patient_id,original_id\nSCD0000101,SC-HF-I-1\nSCD0000401,SC-HF-I-5\n")
    (root / "scd_patientdata.csv").write_text(
        "PatientID,OriginalID,Gender,Age,Pathology\nSCD0000101,SC-HF-I-1,Male,53,Heart failure with infarct\n"
        "SCD0000401,SC-HF-I-5,Female,,Heart failure with infarct\n"
    )


def gzip_file(path):
    """path → path.gz beside it, the original removed."""
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return packed


def written(study, folder, form="dicom", *defects):
    """Write one subject; returns the truth of its files."""
    return write_source(folder, [build(study, 1, form, defects)])[LABEL]


def read(reader, folder):
    """A reader's study; a refusal of the whole subject is a rejected row."""
    try:
        ((label, source),) = reader.find(folder).items()
        return reader.read(label, source)
    except ValueError as error:
        return Study({}, [], rejected=[{"digest": "n/a", "reason": str(error)}])
