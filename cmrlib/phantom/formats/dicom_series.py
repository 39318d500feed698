"""Defects of DICOM folders: how frames, slices, series and studies hang together."""

import copy

import numpy as np
from pydicom.uid import ImplicitVRLittleEndian

from cmrlib.phantom.formats.dicom import decimal, get_pixels, set_pixels, uid
from cmrlib.phantom.formats.dicom_edit import again, last_slice_alone, mirrored, move, ras, twin, worse
from cmrlib.phantom.formats.registry import as_bytes, defect, inner_slice, other, short_axis, some
from cmrlib.phantom.formats.source import File, sha

DATES = (
    "StudyDate",
    "SeriesDate",
    "AcquisitionDate",
    "ContentDate",
    "StudyTime",
    "SeriesTime",
    "AcquisitionTime",
    "ContentTime",
)


@defect("dicom", "read", rows="1a-1")
def uids_per_file(source, rng):
    """Every file has UIDs of its own; numbers, dates, descriptions are empty; file order is not time order."""
    files = source.images()
    for file, number in zip(files, rng.permutation(len(files))):
        data = file.content
        for keyword in ("SeriesInstanceUID", "StudyInstanceUID"):
            setattr(data, keyword, uid(data.SOPInstanceUID, keyword))
        data.FrameOfReferenceUID = data.SeriesDescription = ""
        data.InstanceNumber = data.SeriesNumber = data.AcquisitionNumber = None
        for keyword in DATES:
            setattr(data, keyword, "")
        file.path = f"{source.folder}/{number:05d}.dcm"
    return source.cines


@defect("dicom", "read", rows="1a-2")
def no_series_uid(source, rng):
    """No file has a SeriesInstanceUID."""
    for file in source.images():
        del file.content.SeriesInstanceUID
    return source.cines


@defect("dicom", "read", rows="1a-1")
def one_uid_for_all(source, rng):
    """All files share one series UID and one instance UID."""
    for file in source.images():
        file.content.SeriesInstanceUID = uid(source.seed, source.label)
        file.content.SOPInstanceUID = uid(source.seed, source.label, "same")
    return source.cines


@defect("dicom", "read", rows="1a-13 r-1")
def files_shuffled(source, rng):
    """File names tell nothing of the order of frames."""
    for folder in sorted({file.path.rpartition("/")[0] for file in source.images()}):
        files = [file for file in source.images() if file.path.startswith(folder + "/")]
        for file, number in zip(files, rng.permutation(len(files))):
            file.path = f"{folder}/{number:05d}.dcm"
    return source.cines


@defect("dicom", "read", rows="1a-3 r-3")
def slice_repeated(source, rng):
    """A slice was taken twice in two series; the second one counts."""
    cine = short_axis(source)
    for file in source.images(cine, inner_slice(source, cine, rng)):
        _take(source, file, again(file.path, "first "), "first try", "095900.000000")
    return [cine]


def _take(source, file, path, series, time):
    """Another, worse take of a frame, in a series of its own, which does not count."""
    source.files.append(
        worse(
            twin(
                file,
                path,
                "acquired again",
                AcquisitionTime=time,
                SeriesTime=time,
                SeriesInstanceUID=uid(source.seed, source.label, series),
            )
        )
    )


@defect("dicom", "read", rows="1a-3")
def repeat_broken_off(source, rng):
    """A slice was taken a second time and broken off after two frames; the first, complete one counts."""
    cine = short_axis(source)
    for file in source.images(cine, inner_slice(source, cine, rng))[:2]:
        _take(source, file, again(file.path, "second "), "again", "115900.000000")
    return [cine]


@defect("dicom", "read", rows="1a-4")
def repeat_told_by_file_name(source, rng):
    """A slice was taken twice; UIDs and times are the same, a third number in the file name is the repeat's."""
    cine = short_axis(source)
    for file in source.images(cine, inner_slice(source, cine, rng)):
        first = worse(twin(file, file.path, "acquired again"))
        name = file.path.removesuffix(".dcm")
        file.path = f"{name}-0002{file.path[len(name) :]}"
        source.files.append(first)
    return [cine]


@defect("dicom", "read", rows="r-35")
def view_repeated_elsewhere(source, rng):
    """A long-axis view was taken a second time 12 mm beside the first one: two cines."""
    cine = other(source, rng)
    name = f"{cine}_run-2"
    source.cines[name] = copy.deepcopy(source.cines[cine])
    for file in source.images(cine):
        mirrored(
            source,
            file,
            name,
            again(file.path, "second "),
            AcquisitionTime="115900.000000",
            SeriesNumber=90,
            SeriesInstanceUID=uid(source.seed, source.label, "elsewhere"),
        )
    for one in source.cines[name]["slices"]:
        move(source, name, one["slice"], 12.0)
    return [cine, name]


@defect("dicom", "read", rows="1a-5 1a-6")
def slices_numbered_backwards(source, rng):
    """Series numbers, instance numbers and SliceLocation run from apex to base, against the positions."""
    cine = short_axis(source)
    files = source.images(cine)
    last = max(int(file.content.SeriesNumber) for file in files), max(int(f.content.InstanceNumber) for f in files)
    for file in files:
        file.content.SeriesNumber = last[0] - int(file.content.SeriesNumber) + 1
        file.content.InstanceNumber = last[1] - int(file.content.InstanceNumber) + 1
        file.content.SliceLocation = -float(file.content.SliceLocation)
    return [cine]


@defect("dicom", "read", rows="1a-5")
def slice_location_lies(source, rng):
    """SliceLocation is 0.67 of the true place."""
    for file in source.images():
        file.content.SliceLocation = decimal(0.67 * float(file.content.SliceLocation))[0]
    return source.cines


@defect("dicom", "read", rows="1a-5 r-4")
def slice_not_parallel(source, rng):
    """The last slice of the stack is tilted by 8 degrees: a cine of its own."""
    cine, _, files = last_slice_alone(source)
    angle = np.deg2rad(8)
    for file in files:
        row, column = np.reshape(file.content.ImageOrientationPatient, (2, 3)).astype(float)
        column = np.cos(angle) * column + np.sin(angle) * np.cross(row, column)
        file.content.ImageOrientationPatient = decimal([row, column])
    return [cine]


@defect("dicom", "read", rows="1a-5 r-4")
def slice_of_another_matrix(source, rng):
    """The last slice of the stack has four rows fewer: a cine of its own."""
    cine, odd, files = last_slice_alone(source)
    for file in files:
        image = get_pixels(file.content)[:-4]
        set_pixels(file.content, image)
        odd["slices"][0]["sha256"][file.t] = sha(image)
    odd["rows"] -= 4
    return [cine]


@defect("dicom", "read", rows="r-4")
def slice_turned_in_plane(source, rng):
    """The last slice of the stack is turned by a quarter in its plane: a cine of its own."""
    cine, odd, files = last_slice_alone(source)
    for file in files:
        data, image = file.content, np.rot90(get_pixels(file.content))  # the old last column is the new first row
        row, column = np.reshape(data.ImageOrientationPatient, (2, 3)).astype(float)
        step = float(data.PixelSpacing[1]) * (int(data.Columns) - 1)
        position = np.array(data.ImagePositionPatient, float) + row * step
        set_pixels(data, image)
        data.PixelSpacing = [data.PixelSpacing[1], data.PixelSpacing[0]]
        data.ImageOrientationPatient, data.ImagePositionPatient = decimal([column, -row]), decimal(position)
        odd["slices"][0]["sha256"][file.t] = sha(image)
        odd["slices"][0]["position_mm"] = ras(position)
    odd["rows"], odd["columns"], odd["spacing_mm"] = odd["columns"], odd["rows"], odd["spacing_mm"][::-1]
    return [cine]


@defect("dicom", "read", rows="1a-6")
def folder_numbers_shuffled(source, rng):
    """Numbers of series folders have nothing to do with the order of slices."""
    folders = sorted({file.path.rpartition("/")[0] for file in source.images()})
    names = {folder: f"{source.folder}/sax_{number}" for folder, number in zip(folders, rng.permutation(len(folders)))}
    for file in source.images():
        folder, _, name = file.path.rpartition("/")
        file.path = f"{names[folder]}/{name}"
    return source.cines


@defect("dicom", "read", rows="1a-10 r-36")
def long_axes_in_one_series(source, rng):
    """All long-axis cines are one series in one folder, called LAX."""
    stack = short_axis(source)
    files = [file for file in source.images() if file.cine != stack]
    for number, file in enumerate(files):
        file.content.SeriesInstanceUID, file.content.SeriesNumber = uid(source.seed, source.label, "lax"), 50
        file.content.SeriesDescription, file.content.InstanceNumber = "CINE_segmented_LAX", number + 1
        file.path = f"{source.folder}/50_CINE_segmented_LAX/IM-0050-{number + 1:04d}.dcm"
    return sorted({file.cine for file in files})


@defect("dicom", "read", rows="1a-10")
def stack_in_one_series(source, rng):
    """All slices of the stack are one series in one folder, phases before slices."""
    cine = short_axis(source)
    for number, file in enumerate(sorted(source.images(cine), key=lambda file: (file.t, file.k))):
        file.content.SeriesInstanceUID, file.content.SeriesNumber = uid(source.seed, source.label, "sax"), 51
        file.content.SeriesDescription, file.content.InstanceNumber = "CINE_segmented_SAX", number + 1
        file.path = f"{source.folder}/51_CINE_segmented_SAX/IM-0051-{number + 1:04d}.dcm"
    return [cine]


@defect("dicom", "refuse", "patients", rows="1a-8")
def two_patients_in_one_folder(source, rng):
    """One of the series belongs to another patient."""
    stranger = some(rng, sorted(source.cines))
    for file in source.images(stranger):
        file.content.PatientID = "MARKED-stranger"
    return source.cines


@defect("dicom", "read", rows="r-38")
def two_studies_side_by_side(source, rng):
    """The same patient's second study, other pictures in nearly the same planes, lies in the same folder."""
    for cine in list(source.cines):
        name = f"{cine}_ses-2"
        source.cines[name] = copy.deepcopy(source.cines[cine])
        for file in source.images(cine):
            mirrored(
                source,
                file,
                name,
                again(file.path, "second "),
                SeriesDate="19000102",
                StudyDate="19000102",
                AcquisitionDate="19000102",
                StudyInstanceUID=uid(source.seed, source.label, 2),
                SeriesInstanceUID=uid(file.content.SeriesInstanceUID, 2),
            )
        for one in source.cines[name]["slices"]:
            move(source, name, one["slice"], 1.0)
    return source.cines


@defect("dicom", "read", rows="1a-13")
def file_there_twice(source, rng):
    """Some files lie there a second time, byte for byte."""
    cine = other(source, rng)
    for file in source.images(cine)[::2]:
        source.files.append(File(again(file.path, "copy of "), file.content, refuse="twice"))
    return [cine]


@defect("dicom", "read", rows="1a-13 r-3")
def instance_there_twice(source, rng):
    """A series was sent twice: the same instances in another transfer syntax."""
    cine = other(source, rng)
    for file in source.images(cine):
        second = File(again(file.path, "sent again "), copy.deepcopy(file.content), file.cine, file.k, file.t, "twice")
        second.content.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        second.content.PatientComments = "MARKED sent again"
        source.files.append(second)
    return [cine]


@defect("dicom", "read", rows="r-28", late=3)
def subject_there_twice(source, rng):
    """The subject's folder lies there twice, under names that make one label: nobody is counted twice."""
    name = f"{source.folder[:1]}-{source.folder[1:]}"
    for file in list(source.images()):
        as_bytes(file)
        source.files.append(File(f"{name}/{file.path.partition('/')[2]}", file.content, refuse="twice"))
    return source.cines
