"""Changes of written DICOM files that several defects share, in files and truth together."""

import copy

import numpy as np

from corpus.dicom import decimal, get_pixels, set_pixels, uid
from corpus.registry import inner_slice, short_axis
from corpus.source import File, sha


def set_tags(source, cine=None, **tags):
    """Set tags in all images, or a cine's; a function is called with the file; None removes a tag."""
    for keyword, value in tags.items():
        for file in source.images(cine):
            new = value(file) if callable(value) else value
            if new is not None:
                setattr(file.content, keyword, new)
            elif keyword in file.content:
                delattr(file.content, keyword)
    return source.cines if cine is None else [cine]


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
    """The file, its image made to look like one that was taken again: a third darker."""
    set_pixels(file.content, (get_pixels(file.content) * 0.66).astype(np.uint16))
    return file


def second_cine(source, cine: str, name: str, along_mm: float, tags):
    """Beside a cine the same one again, mirrored and moved along its normal; tags: file → tags of its copy."""
    source.cines[name] = copy.deepcopy(source.cines[cine])
    for file in source.images(cine):
        new = twin(file, again(file.path, "second "), **tags(file))
        new.cine, image = name, get_pixels(file.content)[:, ::-1]
        set_pixels(new.content, image)
        source.slice(name, file.k)["sha256"][file.t] = sha(image)
        source.files.append(new)
    for one in source.cines[name]["slices"]:
        move(source, name, one["slice"], along_mm)


def two_neighbours(source, rng) -> tuple[str, int, int]:
    """The stack, an inner slice and the one after it."""
    cine = short_axis(source)
    slices = [one["slice"] for one in source.cines[cine]["slices"]]
    k = inner_slice(source, cine, rng)
    return cine, k, slices[slices.index(k) + 1]


def directions(file) -> np.ndarray:
    """Row and column directions (2, 3)."""
    return np.reshape(file.content.ImageOrientationPatient, (2, 3)).astype(float)


def ras(position) -> list[float]:
    """A place in DICOM's LPS mm as the truth has it."""
    return decimal(np.array(position, float) * [-1, -1, 1])


def move(source, cine: str, k: int, along_mm: float):
    """Move a slice along its normal, in files and truth."""
    for file in source.images(cine, k):
        position = np.array(file.content.ImagePositionPatient, float) + along_mm * np.cross(*directions(file))
        file.content.ImagePositionPatient = decimal(position)
    source.slice(cine, k)["position_mm"] = ras(position)
