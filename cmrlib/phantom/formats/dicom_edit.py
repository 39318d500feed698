"""Changes of written DICOM files that several defects share, in files and truth together."""

import copy

import numpy as np

from cmrlib.phantom.formats.dicom import decimal, get_pixels, set_pixels, uid
from cmrlib.phantom.formats.source import File, slice_of

OF_STACKS = ("missing_frames", "irregular_slices", "frame_counts_differ", "coverage")
"""Flags of a stack that a slice taken out of it need not have."""


def again(path: str, mark: str) -> str:
    """The path of another file beside this one."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/{mark}{name}"


def twin(file: File, path: str, refuse: str = "", **tags) -> File:
    """A copy of a file under another path and instance UID."""
    new = File(path, copy.deepcopy(file.content), file.cine, file.k, file.t, refuse)
    new.content.SOPInstanceUID = uid(file.content.SOPInstanceUID, path)
    new.content.file_meta.MediaStorageSOPInstanceUID = new.content.SOPInstanceUID
    for keyword, value in tags.items():
        setattr(new.content, keyword, value)
    return new


def worse(file: File):
    """Make a picture that was taken again look so: a third darker."""
    image = get_pixels(file.content)
    set_pixels(file.content, (image * 0.66).astype(np.uint16))


def split_off(source, cine: str, k: int) -> dict:
    """A slice that is no part of its stack becomes a cine of its own in the truth."""
    truth = source.cines[cine]
    name, one = f"{cine}_run-{k + 2}", slice_of(truth, k)
    words = [word for word in truth["words"] if word not in OF_STACKS or (word == "missing_frames"
                                                                           and None in one["sha256"])]
    source.cines[name] = copy.deepcopy(truth) | {"slices": [one], "slice_distance_mm": None, "words": words,
                                                 "expectation": truth["expectation"] if words else "read"}
    source.drop_slice(cine, k)
    for file in source.images(cine, k):
        file.cine = name
    return source.cines[name]


def move(source, cine: str, k: int, along_mm: float):
    """Move a slice along its normal, in files and truth."""
    for file in source.images(cine, k):
        directions = np.reshape(file.content.ImageOrientationPatient, (2, 3)).astype(float)
        position = np.array(file.content.ImagePositionPatient, float) + along_mm * np.cross(*directions)
        file.content.ImagePositionPatient = decimal(position)
    slice_of(source.cines[cine], k)["position_mm"] = decimal(position * [-1, -1, 1])
