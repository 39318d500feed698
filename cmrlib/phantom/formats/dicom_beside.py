"""Other images of the same examination beside the cines: to be recognised and left out with the reason."""

import numpy as np

from cmrlib.phantom.formats.dicom import set_pixels, uid
from cmrlib.phantom.formats.dicom_edit import twin
from cmrlib.phantom.formats.registry import defect, other, short_axis
from cmrlib.phantom.formats.source import File


def _beside(source, name, files, number, refuse, change=None, **tags) -> list[File]:
    """A new series made of copies of files; change(file, copy's dataset) returns the new image, or None."""
    new = []
    for n, file in enumerate(files):
        copy = twin(
            file,
            f"{source.folder}/{number}_{name}/IM-{number:04d}-{n + 1:04d}.dcm",
            refuse,
            SeriesInstanceUID=uid(source.seed, source.label, name),
            SeriesNumber=number,
            SeriesDescription=name,
            ProtocolName=name,
            InstanceNumber=n + 1,
            **tags,
        )
        image = change(file, copy.content) if change else None
        if image is not None:
            set_pixels(copy.content, image)
        copy.cine = ""
        new.append(copy)
    source.files += new
    return new


def _noise(rng, file, top=600):
    return rng.integers(0, top, (file.content.Rows, file.content.Columns)).astype(np.uint16)


@defect("dicom", "read", rows="r-37 1a-5")
def localiser_beside(source, rng):
    """Three crossed single images come first, as a localiser."""
    planes = [[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]]
    files = source.images(other(source, rng))[:3]

    def change(file, data):
        data.ImageOrientationPatient = planes[files.index(file)]
        for keyword in ("TriggerTime", "CardiacNumberOfImages", "NominalInterval"):
            data.pop(keyword, None)
        return _noise(rng, file)

    _beside(source, "localizer", files, 1, "localiser", change, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    return source.cines


@defect("dicom", "read", rows="r-37")
def phase_contrast_beside(source, rng):
    """Velocity images of a flow measurement, at the plane of a cine."""
    files = source.images(other(source, rng))
    _beside(
        source,
        "flow_aorta_P",
        files,
        60,
        "phase",
        lambda file, data: _noise(rng, file, 4096),
        ImageType=["ORIGINAL", "PRIMARY", "P", "ND"],
        SequenceName="fl2d1_v150in",
    )
    return source.cines


@defect("dicom", "read", rows="r-37")
def flow_magnitude_beside(source, rng):
    """Magnitude images of a flow measurement: they look like a cine; their sequence is another."""
    files = source.images(other(source, rng))

    def change(file, data):
        data.ImagePositionPatient = [float(x) + 15 for x in data.ImagePositionPatient]
        return _noise(rng, file)

    _beside(
        source,
        "flow_aorta_MAG",
        files,
        61,
        "flow|phase contrast",
        change,
        SequenceName="fl2d1_v150in",
        ImageType=["ORIGINAL", "PRIMARY", "M", "ND"],
        SequenceVariant="SP",
    )
    return source.cines


@defect("dicom", "read", rows="r-37")
def late_enhancement_beside(source, rng):
    """A late enhancement image at each place of the stack."""
    files = [file for file in source.images(short_axis(source)) if file.t == 0]

    def change(file, data):
        data.pop("CardiacNumberOfImages", None)
        return _noise(rng, file)

    _beside(
        source,
        "lge_psir",
        files,
        62,
        "late enhancement|inversion",
        change,
        TriggerTime=640.0,
        InversionTime=280.0,
        ScanningSequence=["GR", "IR"],
    )
    return source.cines


@defect("dicom", "read", rows="r-37")
def perfusion_beside(source, rng):
    """A first-pass perfusion series: one image a heart beat in three slices."""
    cine = short_axis(source)
    places = [one["slice"] for one in source.cines[cine]["slices"][:3]]
    files = [file for file in source.images(cine) if file.k in places]

    def change(file, data):
        data.TemporalPositionIdentifier = file.t + 1
        data.ContentTime = f"1130{file.t:02d}.000000"
        data.pop("CardiacNumberOfImages", None)
        data.ImagePositionPatient = [float(x) + 2 for x in data.ImagePositionPatient]
        return _noise(rng, file)

    _beside(
        source,
        "perfusion_stress",
        files,
        63,
        "perfusion",
        change,
        TriggerTime=120.0,
        InversionTime=100.0,
        AcquisitionTime="113000.000000",
    )
    return source.cines


@defect("dicom", "read", rows="r-37")
def t1_map_beside(source, rng):
    """A T1 map, one image at the middle of the stack."""
    cine = short_axis(source)
    middle = source.cines[cine]["slices"][1]["slice"]
    _beside(
        source,
        "T1_map",
        source.images(cine, middle, 0),
        64,
        "map|derived",
        lambda file, data: _noise(rng, file, 2000),
        ImageType=["DERIVED", "PRIMARY", "T1 MAP"],
    )
    return source.cines


@defect("dicom", "read", rows="r-37")
def derived_cine_beside(source, rng):
    """A cine that the scanner filtered afterwards: derived, secondary, at the same place and times."""
    files = source.images(other(source, rng))
    _beside(
        source,
        "cine_filtered",
        files,
        65,
        "derived",
        lambda file, data: _noise(rng, file),
        ImageType=["DERIVED", "SECONDARY", "M"],
        AcquisitionTime="114000.000000",
    )
    return source.cines


@defect("dicom", "read", rows="r-37")
def screenshot_beside(source, rng):
    """A colour screenshot of a report."""
    (copy,) = _beside(
        source,
        "report",
        source.images(other(source, rng), t=0)[:1],
        66,
        "colour|not an MR",
        Modality="OT",
        ImageType=["DERIVED", "SECONDARY"],
    )
    data = copy.content
    colours = rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    data.Rows, data.Columns, data.SamplesPerPixel, data.PlanarConfiguration = 20, 30, 3, 0
    data.PhotometricInterpretation, data.BitsAllocated, data.BitsStored, data.HighBit = "RGB", 8, 8, 7
    data.PixelData = colours.tobytes()
    data["PixelData"].VR = "OB"
    return source.cines
