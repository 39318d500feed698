"""Changes of written DICOM files that several defects share, in files and truth together."""

import copy

import numpy as np

from cmrlib.phantom.formats.dicom import decimal, get_pixels, set_pixels, uid
from cmrlib.phantom.formats.registry import short_axis
from cmrlib.phantom.formats.source import File, sha, slice_of

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


def worse(file: File) -> File:
    """The file, its picture made to look like one that was taken again: a third darker."""
    set_pixels(file.content, (get_pixels(file.content) * 0.66).astype(np.uint16))
    return file


def mirrored(source, file: File, cine: str, path: str, **tags):
    """Beside a file the same frame of another cine, which is in the truth already: mirrored, with other tags."""
    new = twin(file, path, **tags)
    new.cine, image = cine, get_pixels(file.content)[:, ::-1]
    set_pixels(new.content, image)
    slice_of(source.cines[cine], file.k)["sha256"][file.t] = sha(image)
    source.files.append(new)


def last_slice_alone(source) -> tuple[str, dict, list[File]]:
    """The last slice of the stack, no part of it any more, becomes a cine of its own in the truth.

    Returns the stack's name, the slice's truth and its files.
    """
    cine = short_axis(source)
    truth = source.cines[cine]
    one = truth["slices"][-1]
    words = [
        word for word in truth["words"] if word not in OF_STACKS or (word == "missing_frames" and None in one["sha256"])
    ]
    alone = copy.deepcopy(truth) | {
        "slices": [one],
        "slice_distance_mm": None,
        "words": words,
        "expectation": truth["expectation"] if words else "read",
    }
    name, files = f"{cine}_run-{one['slice'] + 2}", source.images(cine, one["slice"])
    source.cines[name] = alone
    source.drop_slice(cine, one["slice"])
    for file in files:
        file.cine = name
    return cine, alone, files


def ras(position) -> list[float]:
    """A place in DICOM's LPS mm as the truth has it."""
    return decimal(np.array(position, float) * [-1, -1, 1])


def move(source, cine: str, k: int, along_mm: float):
    """Move a slice along its normal, in files and truth."""
    for file in source.images(cine, k):
        directions = np.reshape(file.content.ImageOrientationPatient, (2, 3)).astype(float)
        position = np.array(file.content.ImagePositionPatient, float) + along_mm * np.cross(*directions)
        file.content.ImagePositionPatient = decimal(position)
    slice_of(source.cines[cine], k)["position_mm"] = ras(position)
