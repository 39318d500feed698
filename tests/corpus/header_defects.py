"""Defects of DICOM headers, names and wrappings: when a frame was taken, where it lies, how its file is called."""

from functools import partial
from pathlib import PurePosixPath

import numpy as np

from corpus.dicom import decimal
from corpus.dicom_edit import directions, set_tags
from corpus.registry import as_bytes, defect, edit_files, other
from corpus.source import File

TAGS = {  # of all images; a correct reader reads them all the same
    # trigger times: since the scan began, an inversion time, absent
    "trigger_is_scan_begin": {"TriggerTime": lambda f: 308000.0 + 1000 * f.k + f.t},
    "trigger_is_constant": {"TriggerTime": 300.0},
    "trigger_is_zero": {"TriggerTime": 0.0},
    "trigger_absent": {"TriggerTime": None},
    "first_trigger_absent": {"TriggerTime": lambda f: float(f.content.TriggerTime) if f.t else None},
    "temporal_positions_only": {
        "TriggerTime": 300.0,
        "InstanceNumber": 1,
        "TemporalPositionIdentifier": lambda f: f.t + 1,
    },
    "instance_numbers_repeated": {"InstanceNumber": 1},
    "repetition_time_is_another_step": {
        "RepetitionTime": lambda f: decimal(1.3 * f.content.NominalInterval / f.content.CardiacNumberOfImages)[0]
    },
    "rr_absent": {"HeartRate": None, "NominalInterval": None},
    "frame_count_absent": {"CardiacNumberOfImages": None},
    "no_series_uid": {"SeriesInstanceUID": None},
    # places: of several tags only positions are right
    "slice_location_lies": {"SliceLocation": lambda f: decimal(0.67 * f.content.SliceLocation)[0]},
    "positions_rounded": {
        "ImagePositionPatient": lambda f: [round(float(x), 1) for x in f.content.ImagePositionPatient]
    },
    "numbers_too_long": {
        "ImagePositionPatient": lambda f: [f"{float(x):.17f}" for x in f.content.ImagePositionPatient]
    },
    "spacing_between_slices_zero": {"SpacingBetweenSlices": 0},
    "thickness_is_not_distance": {
        "SliceThickness": lambda f: decimal(f.content.SpacingBetweenSlices / 2)[0],
        "SpacingBetweenSlices": None,
    },
    "unknown_character_set": {"PatientName": "MARKED^Bj\xf6rn", "SpecificCharacterSet": "ISO_IR 999"},
}
for name, tags in TAGS.items():
    defect("dicom", "read", name=name)(lambda source, rng, tags=tags: set_tags(source, **tags))


@defect("dicom", "refuse", "cannot be ordered")
def nothing_orders_frames(source, rng):
    return set_tags(source, TriggerTime=None, InstanceNumber=None, ContentTime=None, AcquisitionTime=None)


@defect("dicom", "flag", "rr_disagrees_with_header")
def rr_of_the_header_wrong(source, rng):
    return set_tags(source, NominalInterval=lambda file: round(1.6 * file.content.NominalInterval))


def _age(source, rng, text, years):
    source.participant["age"] = years
    return set_tags(source, PatientAge=text)


for name, text, years in (("age_in_months", "030M", 2.5), ("age_in_weeks", "026W", 0.5), ("age_empty", "", None)):
    defect("dicom", "read", name=name)(partial(_age, text=text, years=years))


def _spacing(source, rng, value):
    for truth in source.cines.values():
        truth["spacing_mm"] = None
    return set_tags(source, PixelSpacing=value)


for name, value in (("zero", [0, 0]), ("negative", [-1.5, -1.5]), ("absent", None)):
    defect("dicom", "flag", "spacing_unknown", name=f"spacing_{name}")(partial(_spacing, value=value))


def _retime(source, rng, change):
    """Other trigger times, in files and truth. change: times (frames,) in ms → new ones."""
    for cine, truth in source.cines.items():
        for one in truth["slices"]:
            one["frame_times_ms"] = times = np.round(change(np.array(one["frame_times_ms"])), 2).tolist()
            for file in source.images(cine, one["slice"]):
                file.content.TriggerTime = times[file.t]


for name, change in (
    ("first_trigger_late", lambda times: times + 30),
    ("trigger_rounded", lambda times: 2.5 * np.round(times / 2.5)),
):
    defect("dicom", "read", name=name)(partial(_retime, change=change))


# --- where -----------------------------------------------------------------------------------------------------------


@defect("dicom", "refuse", "no position or orientation")
def orientation_absent(source, rng):
    return set_tags(source, other(source, rng), ImageOrientationPatient=None)


@defect("dicom", "refuse", "right angles")
def directions_not_at_right_angles(source, rng):
    turn = np.array([[1, 0], [np.sin(np.deg2rad(10)), np.cos(np.deg2rad(10))]])
    return set_tags(source, other(source, rng), ImageOrientationPatient=lambda file: decimal(turn @ directions(file)))


# --- names and wrappings ---------------------------------------------------------------------------------------------


ODD = "Série n° 4 – «cœur» [é] 'x'"


def _rename(source, path):
    """path: (folders below the subject's, name, file) → the new path below the subject's folder."""
    folder = source.folder
    for file in source.images():
        *folders, name = file.path.split("/")[1:]
        file.path = "/".join([folder, path(folders, name, file)])
    return source.cines


@defect("dicom", "read")
def descriptions_absent(source, rng):
    _rename(source, lambda folders, name, file: f"{int(file.content.SeriesNumber):02d}/{name}")
    return set_tags(source, SeriesDescription=None)


for name, path in (
    ("odd_names", lambda folders, name, file: "/".join([ODD, *folders, name.removesuffix(".dcm")])),
    ("long_paths", lambda folders, name, file: "/".join([*["d" * 110] * 3, *folders, name])),
):
    defect("dicom", "read", name=name)(lambda source, rng, path=path: _rename(source, path))


@defect("dicom", "read")
def folder_is_a_number(source, rng):
    for file in source.files:
        file.path = f"9000007/{file.path.partition('/')[2]}"


@defect("dicom", "read")
def link_to_itself(source, rng):
    source.files.append(File(f"{source.folder}/again", PurePosixPath("..") / source.folder))


def _no_preamble(file):
    """Without preamble and meta header, as old archives wrote files."""
    content = as_bytes(file)
    length = int.from_bytes(content[140:144], "little")  # of the meta header, (0002,0000) at 132
    file.content = content[144 + length :]


def _bytes_behind_the_end(file):
    content = as_bytes(file)
    file.content = content + b"\0" * (-len(content) % 512)


edit_files("dicom", {"no_preamble": _no_preamble, "bytes_behind_the_end": _bytes_behind_the_end}, of="other", late=2)
