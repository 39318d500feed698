"""Reading cines as it is written a thousand times over: pydicom or nibabel, a sort, a stack, and no questions asked.

What cmrlib's readers are compared with in defects.py and ingest.py. Only what every such script does is here: files
by their suffix, slices by SliceLocation, frames by TriggerTime or InstanceNumber, spacing and affine as the headers
say. Nothing is done wrongly on purpose: the axes are turned from LPS to RAS, and clean files are read right.
"""

from collections import defaultdict

import nibabel as nib
import numpy as np
import pydicom

from cmrlib.cine import Cine
from cmrlib.cohort import Annotation
from cmrlib.cohort.study import Study


def _number(data, *keywords):
    return next((float(data.get(word)) for word in keywords if data.get(word) not in (None, "")), 0.0)


def dicom(folder) -> Study:
    """Stacks of one orientation; slices by SliceLocation (or z), frames by TriggerTime (or InstanceNumber)."""
    stacks = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.rglob("*.dcm")):
        data = pydicom.dcmread(path)
        place = round(_number(data, "SliceLocation") or float(data.ImagePositionPatient[2]), 1)
        stacks[tuple(np.round(np.array(data.ImageOrientationPatient, float), 1))][place].append(data)
    cines = [
        _stack(
            [
                sorted(slices[place], key=lambda data: _number(data, "TriggerTime", "InstanceNumber"))
                for place in sorted(slices)
            ],
            run,
        )
        for run, slices in enumerate(stacks.values(), 1)
    ]
    return Study({}, cines)


def _stack(slices, run) -> Cine:
    """Rows of data sets → Cine."""
    first, last = slices[0][0], slices[-1][0]
    pixels = np.stack([[data.pixel_array for data in row] for row in slices], axis=1)
    if "RescaleSlope" in first:
        pixels = pixels * float(first.RescaleSlope) + float(first.RescaleIntercept)
    row, column = np.reshape(np.array(first.ImageOrientationPatient, float), (2, 3))
    origin = np.array(first.ImagePositionPatient, float)
    step = (np.array(last.ImagePositionPatient, float) - origin) / max(len(slices) - 1, 1)
    step = step if len(slices) > 1 else np.cross(row, column) * float(first.SliceThickness)
    lps = np.eye(4)
    lps[:3] = np.c_[row * float(first.PixelSpacing[1]), column * float(first.PixelSpacing[0]), step, origin]
    times = np.array([[_number(data, "TriggerTime") for data in row] for row in slices])
    timed = len(times[0]) > 1 and times.any()
    rr = len(times[0]) * (times[:, 1] - times[:, 0]) if timed else None
    return Cine(
        pixels,
        np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps,
        "unknown",
        "plain",
        run=run,
        frame_times_ms=times if timed else None,
        rr_ms=rr,
    )


def nifti(folder) -> Study:
    """Every .nii.gz as nibabel gives it; the step is the fourth zoom, in seconds."""
    cines = []
    for run, path in enumerate(sorted([*folder.rglob("*.nii.gz"), *folder.rglob("*.nii")]), 1):
        image = nib.load(path)
        pixels = image.get_fdata()
        pixels = pixels[..., None] if pixels.ndim == 3 else pixels
        step = float(image.header.get_zooms()[3]) * 1000 if image.ndim > 3 else 0
        frames, slices = pixels.shape[3], pixels.shape[2]
        cines.append(
            Cine(
                pixels.T,
                image.affine,
                "unknown",
                "plain",
                run=run,
                frame_times_ms=np.tile(np.arange(frames) * step, (slices, 1)) if step else None,
                rr_ms=np.full(slices, frames * step) if step else None,
            )
        )
    return Study({}, cines)


def frames_3d(folder) -> Study:
    """3-D files of one folder, in the order of their names, as one cine."""
    cines = []
    for run, view in enumerate(sorted({path.parent for path in folder.rglob("*.nii")}), 1):
        images = [nib.load(path) for path in sorted(view.glob("*.nii"))]
        pixels = np.stack([image.get_fdata().T for image in images])
        cines.append(Cine(pixels, images[0].affine, "unknown", "plain", run=run))
    return Study({}, cines)


def acdc(folder) -> Study:
    """Info.cfg's frames less one, the 4-D file, masks with 1 RV, 2 myocardium, 3 LV."""
    patient = next(path.parent for path in sorted(folder.rglob("Info.cfg")))
    info = dict(line.strip().split(": ") for line in (patient / "Info.cfg").read_text().splitlines())
    ed, es = int(info["ED"]) - 1, int(info["ES"]) - 1
    image = nib.load(patient / f"{patient.name}_4d.nii.gz")
    cine = Cine(image.get_fdata().T, image.affine, "sax", "plain", ed=ed, es=es)
    mask = np.full(cine.pixels.shape, 255, np.uint8)
    for t in (ed, es):
        drawn = nib.load(patient / f"{patient.name}_frame{t + 1:02d}_gt.nii.gz").get_fdata().T.astype(np.uint8)
        mask[t] = np.array([0, 3, 2, 1], np.uint8)[drawn]
    return Study({}, [cine], {"manual": {cine.name: Annotation(mask, {})}})
