"""Other images of the same examination beside the cines: to be recognised and left out with the reason."""

import numpy as np

from corpus.dicom import set_pixels, uid
from corpus.dicom_edit import twin
from corpus.registry import defect, other, short_axis


def _beside(source, rng, files, name, number, refuse, top=600, drop=(), step_mm=0.0, **tags):
    """A new series of noise (0 … top) in the place of files, moved by step_mm; tags: values, or functions of (n, file);
    drop: tags that it lacks. Returns the cines and the new files."""
    new, tags = [], {"SeriesNumber": number, "SeriesDescription": name, "ProtocolName": name} | tags
    for n, file in enumerate(files):
        own = {key: value(n, file) if callable(value) else value for key, value in tags.items()}
        path = f"{source.folder}/{number}_{name}/IM-{number:04d}-{n + 1:04d}.dcm"
        series = uid(source.seed, source.label, name)
        copy = twin(file, path, refuse, SeriesInstanceUID=series, InstanceNumber=n + 1, **own)
        copy.content.ImagePositionPatient = [float(x) + step_mm for x in copy.content.ImagePositionPatient]
        for keyword in drop:
            copy.content.pop(keyword, None)
        set_pixels(copy.content, rng.integers(0, top, (copy.content.Rows, copy.content.Columns)).astype(np.uint16))
        copy.cine = ""
        new.append(copy)
    source.files += new
    return source.cines, new


@defect("dicom", "read")
def localiser_beside(source, rng):
    planes = [[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]]
    return _beside(
        source,
        rng,
        source.images(other(source, rng))[:3],
        "localizer",
        1,
        "localiser",
        drop=("TriggerTime", "CardiacNumberOfImages", "NominalInterval"),
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        ImageOrientationPatient=lambda n, file: planes[n],
    )[0]


FLOW = {"SequenceName": "fl2d1_v150in"}
AT_A_CINE = {  # name, number, words of the reason, and what is special
    "phase_contrast": (
        ("flow_aorta_P", 60, "phase"),
        {"top": 4096, "ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]} | FLOW,
    ),
    "flow_magnitude": (  # it looks like a cine; its sequence is another
        ("flow_aorta_MAG", 61, "flow|phase contrast"),
        {"step_mm": 15.0, "SequenceVariant": "SP", "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]} | FLOW,
    ),
    "derived_cine": (  # filtered afterwards, at the same place and times
        ("cine_filtered", 65, "derived"),
        {"ImageType": ["DERIVED", "SECONDARY", "M"], "AcquisitionTime": "114000.000000"},
    ),
}
for name, (words, special) in AT_A_CINE.items():
    defect("dicom", "read", name=f"{name}_beside")(
        lambda source, rng, words=words, special=special: _beside(
            source, rng, source.images(other(source, rng)), *words, **special
        )[0]
    )


@defect("dicom", "read")
def late_enhancement_beside(source, rng):
    tags = {"TriggerTime": 640.0, "InversionTime": 280.0, "ScanningSequence": ["GR", "IR"]}
    files, words = source.images(short_axis(source), t=0), "late enhancement|inversion"
    return _beside(source, rng, files, "lge_psir", 62, words, drop=["CardiacNumberOfImages"], **tags)[0]


@defect("dicom", "read")
def screenshot_beside(source, rng):
    files, kind = source.images(other(source, rng), t=0)[:1], ["DERIVED", "SECONDARY"]
    _, (copy,) = _beside(source, rng, files, "report", 66, "colour|not an MR", Modality="OT", ImageType=kind)
    data = copy.content
    data.Rows, data.Columns, data.SamplesPerPixel, data.PlanarConfiguration = 20, 30, 3, 0
    data.PhotometricInterpretation, data.BitsAllocated, data.BitsStored, data.HighBit = "RGB", 8, 8, 7
    data.PixelData = rng.integers(0, 256, (20, 30, 3)).astype(np.uint8).tobytes()
    data["PixelData"].VR = "OB"
