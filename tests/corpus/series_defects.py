"""Defects of DICOM folders: how frames, slices, series and studies hang together."""

import copy

from pydicom.uid import ImplicitVRLittleEndian

from corpus.dicom import uid
from corpus.dicom_edit import again, second_cine, set_tags, twin, worse
from corpus.registry import as_bytes, defect, inner_slice, other, short_axis, some
from corpus.source import File

DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
TIMES = ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime")


@defect("dicom", "read")
def uids_per_file(source, rng):
    files = source.images()
    for file, number in zip(files, rng.permutation(len(files))):
        data = file.content
        for keyword in ("SeriesInstanceUID", "StudyInstanceUID"):
            setattr(data, keyword, uid(data.SOPInstanceUID, keyword))
        data.InstanceNumber = data.SeriesNumber = data.AcquisitionNumber = None
        for keyword in (*DATES, *TIMES, "FrameOfReferenceUID", "SeriesDescription"):
            setattr(data, keyword, "")
        file.path = f"{source.folder}/{number:05d}.dcm"


@defect("dicom", "read")
def one_uid_for_all(source, rng):
    series, instance = uid(source.seed, source.label), uid(source.seed, source.label, "same")
    return set_tags(source, SeriesInstanceUID=series, SOPInstanceUID=instance)


def _take_again(source, files, mark, time):
    """Another, worse take of frames, in a series of its own, which does not count."""
    series = uid(source.seed, source.label, mark)
    tags = {"AcquisitionTime": time, "SeriesTime": time, "SeriesInstanceUID": series}
    source.files += [worse(twin(file, again(file.path, mark), "acquired again", **tags)) for file in files]


@defect("dicom", "read")
def slice_repeated(source, rng):
    cine = short_axis(source)
    _take_again(source, source.images(cine, inner_slice(source, cine, rng)), "first ", "095900.000000")


@defect("dicom", "read")
def repeat_broken_off(source, rng):
    cine = short_axis(source)
    _take_again(source, source.images(cine, inner_slice(source, cine, rng))[:2], "second ", "115900.000000")


@defect("dicom", "read")
def view_repeated_elsewhere(source, rng):
    cine = other(source, rng)
    series = uid(source.seed, source.label, "elsewhere")
    tags = {"AcquisitionTime": "115900.000000", "SeriesNumber": 90, "SeriesInstanceUID": series}
    second_cine(source, cine, f"{cine}_run-2", 12.0, lambda file: tags)


@defect("dicom", "read")
def two_studies_side_by_side(source, rng):
    dates = dict.fromkeys(DATES[:3], "19000102") | {"StudyInstanceUID": uid(source.seed, source.label, 2)}
    for cine in list(source.cines):
        second_cine(
            source,
            cine,
            f"{cine}_ses-2",
            1.0,
            lambda file: dates | {"SeriesInstanceUID": uid(file.content.SeriesInstanceUID, 2)},
        )


@defect("dicom", "read")
def slices_numbered_backwards(source, rng):
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
    stack = short_axis(source)
    return _one_series(source, [file for file in source.images() if file.cine != stack], 50, "CINE_segmented_LAX")


@defect("dicom", "refuse", "patients")
def two_patients_in_one_folder(source, rng):
    set_tags(source, some(rng, sorted(source.cines)), PatientID="MARKED-stranger")
    return source.cines


@defect("dicom", "read")
def file_there_twice(source, rng):
    cine = other(source, rng)
    for file in source.images(cine)[::2]:
        source.files.append(File(again(file.path, "copy of "), file.content, refuse="twice"))


@defect("dicom", "read")
def instance_there_twice(source, rng):
    cine = other(source, rng)
    for file in source.images(cine):
        second = File(again(file.path, "sent again "), copy.deepcopy(file.content), file.cine, file.k, file.t, "twice")
        second.content.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        second.content.PatientComments = "MARKED sent again"
        source.files.append(second)


@defect("dicom", "read", late=3)
def subject_there_twice(source, rng):
    name = f"{source.folder[:1]}-{source.folder[1:]}"
    for file in list(source.images()):
        as_bytes(file)
        source.files.append(File(f"{name}/{file.path.partition('/')[2]}", file.content, refuse="twice"))
