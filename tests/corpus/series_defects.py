"""Defects of DICOM folders: how frames, slices, series and studies hang together."""

import copy

import numpy as np
from pydicom.uid import ImplicitVRLittleEndian

from corpus.dicom import decimal, get_pixels, set_pixels, uid
from corpus.dicom_edit import again, directions, last_slice_alone, ras, second_cine, set_tags, twin, worse
from corpus.registry import as_bytes, defect, inner_slice, other, short_axis, some
from corpus.source import File, sha

DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
TIMES = ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime")


@defect("dicom", "read")
def uids_per_file(source, rng):
    """Every file has UIDs of its own; numbers, dates, descriptions are empty; file order is not time order."""
    files = source.images()
    for file, number in zip(files, rng.permutation(len(files))):
        data = file.content
        for keyword in ("SeriesInstanceUID", "StudyInstanceUID"):
            setattr(data, keyword, uid(data.SOPInstanceUID, keyword))
        data.InstanceNumber = data.SeriesNumber = data.AcquisitionNumber = None
        for keyword in (*DATES, *TIMES, "FrameOfReferenceUID", "SeriesDescription"):
            setattr(data, keyword, "")
        file.path = f"{source.folder}/{number:05d}.dcm"
    return source.cines


@defect("dicom", "read")
def one_uid_for_all(source, rng):
    """All files share one series UID and one instance UID."""
    series, instance = uid(source.seed, source.label), uid(source.seed, source.label, "same")
    return set_tags(source, SeriesInstanceUID=series, SOPInstanceUID=instance)


@defect("dicom", "read")
def files_shuffled(source, rng):
    """File names tell nothing of the order of frames."""
    for folder in sorted({file.path.rpartition("/")[0] for file in source.images()}):
        files = [file for file in source.images() if file.path.startswith(folder + "/")]
        for file, number in zip(files, rng.permutation(len(files))):
            file.path = f"{folder}/{number:05d}.dcm"
    return source.cines


def _take_again(source, files, mark, time):
    """Another, worse take of frames, in a series of its own, which does not count."""
    series = uid(source.seed, source.label, mark)
    tags = {"AcquisitionTime": time, "SeriesTime": time, "SeriesInstanceUID": series}
    source.files += [worse(twin(file, again(file.path, mark), "acquired again", **tags)) for file in files]


@defect("dicom", "read")
def slice_repeated(source, rng):
    """A slice was taken twice in two series; the second one counts."""
    cine = short_axis(source)
    _take_again(source, source.images(cine, inner_slice(source, cine, rng)), "first ", "095900.000000")
    return [cine]


@defect("dicom", "read")
def repeat_broken_off(source, rng):
    """A slice was taken a second time and broken off after two frames; the first, complete one counts."""
    cine = short_axis(source)
    _take_again(source, source.images(cine, inner_slice(source, cine, rng))[:2], "second ", "115900.000000")
    return [cine]


@defect("dicom", "read")
def repeat_told_by_file_name(source, rng):
    """A slice was taken twice; UIDs and times are the same, a third number in the file name is the repeat's."""
    cine = short_axis(source)
    for file in source.images(cine, inner_slice(source, cine, rng)):
        source.files.append(worse(twin(file, file.path, "acquired again")))
        name = file.path.removesuffix(".dcm")
        file.path = f"{name}-0002{file.path[len(name) :]}"
    return [cine]


@defect("dicom", "read")
def view_repeated_elsewhere(source, rng):
    """A long-axis view was taken a second time 12 mm beside the first one: two cines."""
    cine = other(source, rng)
    series = uid(source.seed, source.label, "elsewhere")
    tags = {"AcquisitionTime": "115900.000000", "SeriesNumber": 90, "SeriesInstanceUID": series}
    second_cine(source, cine, f"{cine}_run-2", 12.0, lambda file: tags)
    return [cine, f"{cine}_run-2"]


@defect("dicom", "read")
def two_studies_side_by_side(source, rng):
    """The same patient's second study, other images in nearly the same planes, lies in the same folder."""
    dates = dict.fromkeys(DATES[:3], "19000102") | {"StudyInstanceUID": uid(source.seed, source.label, 2)}
    for cine in list(source.cines):
        second_cine(
            source,
            cine,
            f"{cine}_ses-2",
            1.0,
            lambda file: dates | {"SeriesInstanceUID": uid(file.content.SeriesInstanceUID, 2)},
        )
    return source.cines


@defect("dicom", "read")
def slices_numbered_backwards(source, rng):
    """Series numbers, instance numbers and SliceLocation run from apex to base, against the positions."""
    cine = short_axis(source)
    data = [file.content for file in source.images(cine)]
    series, instance = max(int(d.SeriesNumber) for d in data), max(int(d.InstanceNumber) for d in data)
    return set_tags(
        source,
        cine,
        SeriesNumber=lambda file: series - int(file.content.SeriesNumber) + 1,
        InstanceNumber=lambda file: instance - int(file.content.InstanceNumber) + 1,
        SliceLocation=lambda file: -float(file.content.SliceLocation),
    )


@defect("dicom", "read")
def slice_not_parallel(source, rng):
    """The last slice of the stack is tilted by 8 degrees: a cine of its own."""
    cine, _, files = last_slice_alone(source)
    angle = np.deg2rad(8)
    for file in files:
        row, column = directions(file)
        column = np.cos(angle) * column + np.sin(angle) * np.cross(row, column)
        file.content.ImageOrientationPatient = decimal([row, column])
    return [cine]


@defect("dicom", "read")
def slice_of_another_matrix(source, rng):
    """The last slice of the stack has four rows fewer: a cine of its own."""
    cine, odd, files = last_slice_alone(source)
    for file in files:
        image = get_pixels(file.content)[:-4]
        set_pixels(file.content, image)
        odd["slices"][0]["sha256"][file.t] = sha(image)
    odd["rows"] -= 4
    return [cine]


@defect("dicom", "read")
def slice_turned_in_plane(source, rng):
    """The last slice of the stack is turned by a quarter in its plane: a cine of its own."""
    cine, odd, files = last_slice_alone(source)
    for file in files:
        data, image = file.content, np.rot90(get_pixels(file.content))  # the old last column is the new first row
        row, column = directions(file)
        step = float(data.PixelSpacing[1]) * (int(data.Columns) - 1)
        position = np.array(data.ImagePositionPatient, float) + row * step
        set_pixels(data, image)
        data.PixelSpacing = [data.PixelSpacing[1], data.PixelSpacing[0]]
        data.ImageOrientationPatient, data.ImagePositionPatient = decimal([column, -row]), decimal(position)
        odd["slices"][0]["sha256"][file.t] = sha(image)
        odd["slices"][0]["position_mm"] = ras(position)
    odd["rows"], odd["columns"], odd["spacing_mm"] = odd["columns"], odd["rows"], odd["spacing_mm"][::-1]
    return [cine]


@defect("dicom", "read")
def folder_numbers_shuffled(source, rng):
    """Numbers of series folders have nothing to do with the order of slices."""
    folders = sorted({file.path.rpartition("/")[0] for file in source.images()})
    names = {folder: f"{source.folder}/sax_{number}" for folder, number in zip(folders, rng.permutation(len(folders)))}
    for file in source.images():
        folder, _, name = file.path.rpartition("/")
        file.path = f"{names[folder]}/{name}"
    return source.cines


def _one_series(source, files, number, name):
    """All files in one series and folder, numbered in the order given."""
    for n, file in enumerate(files, 1):
        data = file.content
        data.SeriesInstanceUID, data.SeriesNumber = uid(source.seed, source.label, name), number
        data.SeriesDescription, data.InstanceNumber = name, n
        file.path = f"{source.folder}/{number}_{name}/IM-{number:04d}-{n:04d}.dcm"
    return sorted({file.cine for file in files})


@defect("dicom", "read")
def long_axes_in_one_series(source, rng):
    """All long-axis cines are one series in one folder, called LAX."""
    stack = short_axis(source)
    return _one_series(source, [file for file in source.images() if file.cine != stack], 50, "CINE_segmented_LAX")


@defect("dicom", "read")
def stack_in_one_series(source, rng):
    """All slices of the stack are one series in one folder, phases before slices."""
    files = sorted(source.images(short_axis(source)), key=lambda file: (file.t, file.k))
    return _one_series(source, files, 51, "CINE_segmented_SAX")


@defect("dicom", "refuse", "patients")
def two_patients_in_one_folder(source, rng):
    """One of the series belongs to another patient."""
    set_tags(source, some(rng, sorted(source.cines)), PatientID="MARKED-stranger")
    return source.cines


@defect("dicom", "read")
def file_there_twice(source, rng):
    """Some files lie there a second time, byte for byte."""
    cine = other(source, rng)
    for file in source.images(cine)[::2]:
        source.files.append(File(again(file.path, "copy of "), file.content, refuse="twice"))
    return [cine]


@defect("dicom", "read")
def instance_there_twice(source, rng):
    """A series was sent twice: the same instances in another transfer syntax."""
    cine = other(source, rng)
    for file in source.images(cine):
        second = File(again(file.path, "sent again "), copy.deepcopy(file.content), file.cine, file.k, file.t, "twice")
        second.content.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        second.content.PatientComments = "MARKED sent again"
        source.files.append(second)
    return [cine]


@defect("dicom", "read", late=3)
def subject_there_twice(source, rng):
    """The subject's folder lies there twice, under names that make one label: one subject all the same."""
    name = f"{source.folder[:1]}-{source.folder[1:]}"
    for file in list(source.images()):
        as_bytes(file)
        source.files.append(File(f"{name}/{file.path.partition('/')[2]}", file.content, refuse="twice"))
    return source.cines
