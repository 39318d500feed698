"""Defects of DICOM folders: frames, slices, files and views that are missing, empty or damaged."""

import struct
from functools import partial

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from corpus.dicom import get_pixels, set_pixels, uid
from corpus.dicom_edit import move, ras, two_neighbours
from corpus.registry import as_bytes, defect, inner_slice, other, short_axis, some
from corpus.source import File, sha


def _lost_frame(source, rng, position="inside"):
    """One frame of an inner slice, lost for the truth: its cine and its file."""
    cine = short_axis(source)
    files = source.images(cine, inner_slice(source, cine, rng))
    last = max(file.t for file in files)
    ends = {"first": 0, "last": last}
    inside = [file for file in files if 0 < file.t < last and not isinstance(file.content, bytes)]
    file = next(file for file in files if file.t == ends[position]) if position in ends else some(rng, inside)
    source.lose(cine, file.k, file.t)
    return cine, file


def _without_frame(source, rng, position):
    cine, file = _lost_frame(source, rng, position)
    source.remove([file])
    return [cine]


for name, position in (("frame", "inside"), ("first_frame", "first"), ("last_frame", "last")):
    defect("dicom", "flag", "missing_frames", name=f"{name}_missing")(partial(_without_frame, position=position))


@defect("dicom", "flag", "missing_frames")
def frame_missing_without_times(source, rng):
    (cine,) = _without_frame(source, rng, "inside")
    for one in source.images(cine):
        del one.content.TriggerTime
    return [cine]


@defect("dicom", "refuse", "only")
def most_frames_missing(source, rng):
    cine = other(source, rng)
    source.remove([file for file in source.images(cine) if file.t > 1])
    return [cine]


@defect("dicom", "refuse", "no cine")
def single_frame(source, rng):
    cine = other(source, rng)
    source.remove([file for file in source.images(cine) if file.t > 0])
    for file in source.images(cine):
        file.content.CardiacNumberOfImages = 1
    return [cine]


def _without_slices(source, cine, slices):
    for k in slices:
        source.remove(source.images(cine, k))
        source.drop_slice(cine, k)
    return [cine]


@defect("dicom", "flag", "irregular_slices")
def gap_in_the_stack(source, rng):
    cine = short_axis(source)
    return _without_slices(source, cine, [inner_slice(source, cine, rng)])


@defect("dicom", "flag", "coverage")
def three_slices_only(source, rng):
    cine = short_axis(source)
    return _without_slices(source, cine, [one["slice"] for one in source.cines[cine]["slices"][3:]])


@defect("dicom", "flag", "irregular_slices")
def first_slice_far_out(source, rng):
    cine = short_axis(source)
    move(source, cine, source.cines[cine]["slices"][0]["slice"], -30.0)
    return [cine]


@defect("dicom", "flag", "irregular_slices")
def two_slices_at_one_place(source, rng):
    cine, k, neighbour = two_neighbours(source, rng)
    position = source.images(cine, neighbour)[0].content.ImagePositionPatient
    kept, left = max(k, neighbour), min(k, neighbour)  # the later acquisition
    source.slice(cine, kept)["position_mm"] = ras(position)
    for file in source.images(cine, k):
        file.content.ImagePositionPatient = position
    for file in source.images(cine, left):
        file.refuse = "acquired again"
    source.drop_slice(cine, left)
    return [cine]


@defect("dicom", "read")
def fewer_frames_in_one_view(source, rng):
    cine = other(source, rng)
    _thin_out(source, cine, source.images(cine))
    source.cines[cine]["frames"] = (source.cines[cine]["frames"] + 1) // 2


@defect("dicom", "flag", "frame_counts_differ")
def fewer_frames_in_one_slice(source, rng):
    cine = short_axis(source)
    _thin_out(source, cine, source.images(cine, source.cines[cine]["slices"][-1]["slice"]))
    return [cine]


def _thin_out(source, cine, files):
    source.remove([file for file in files if file.t % 2])
    kept = [file for file in files if not file.t % 2]
    for k in {file.k for file in files}:
        one = source.slice(cine, k)
        one["sha256"] = one["sha256"][::2]
        frames = len(one["sha256"])
        one["frame_times_ms"] = [round(t * one["rr_ms"] / frames, 2) for t in range(frames)]
        for file in (file for file in kept if file.k == k):
            file.t //= 2
            file.content.InstanceNumber, file.content.CardiacNumberOfImages = file.t + 1, frames
            file.content.TriggerTime = one["frame_times_ms"][file.t]
    truth = source.cines[cine]
    if truth["words"] == ["missing_frames"] and not any(None in one["sha256"] for one in truth["slices"]):
        truth["expectation"], truth["words"] = "read", []  # what was missing would be left out now


@defect("dicom", "flag", "constant_images")
def frame_all_black(source, rng):
    cine = short_axis(source)
    (file,) = source.images(cine, inner_slice(source, cine, rng), 1)
    black = np.zeros((file.content.Rows, file.content.Columns), np.uint16)
    set_pixels(file.content, black)
    source.slice(cine, file.k)["sha256"][file.t] = sha(black)
    return [cine]


# --- damaged files ---------------------------------------------------------------------------------------------------


@defect("dicom", "flag", "missing_frames")
def pixels_absent(source, rng):
    cine, file = _lost_frame(source, rng)
    del file.content.PixelData
    file.refuse = "no pixel data"
    return [cine]


@defect("dicom", "flag", "missing_frames")
def rows_disagree_with_pixels(source, rng):
    cine, file = _lost_frame(source, rng)
    file.content.Rows += 1
    file.refuse = "damaged|cut short|size|single"
    return [cine]


@defect("dicom", "flag", "missing_frames")
def pixels_not_numbers(source, rng):
    cine, file = _lost_frame(source, rng)
    image = get_pixels(file.content).astype("<f4")
    image[0, 0] = np.nan
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(file.content, keyword)
    file.content.FloatPixelData, file.content.BitsAllocated = image.tobytes(), 32
    file.refuse = "NaN|no pixel data"
    return [cine]


OPENING = struct.pack("<HH2sHLHHL", 0x7FE1, 0x1001, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
CLOSING = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
DAMAGE = {  # words of the reason, and the bytes from those of one file
    "file_cut_in_pixels": ("cut short|damaged", lambda content, rng: content[:-600]),
    "file_cut_in_header": ("cut short|damaged|no pixel data", lambda content, rng: content[:700]),
    "file_empty": ("not a DICOM|empty|damaged", lambda content, rng: b""),
    "file_overwritten": ("not a DICOM|damaged", lambda content, rng: rng.bytes(len(content))),
    "sequences_nested_300_deep": (
        "nested|header cannot be read|damaged",
        lambda content, rng: content + OPENING * 300 + CLOSING * 300,
    ),
}


def _damage(source, rng, words, change):
    cine, file = _lost_frame(source, rng)
    file.content, file.refuse = change(as_bytes(file), rng), words
    return [cine]


for name, (words, change) in DAMAGE.items():
    defect("dicom", "flag", "missing_frames", late=2, name=name)(partial(_damage, words=words, change=change))


# --- files beside the images -----------------------------------------------------------------------------------------


@defect("dicom", "read")
def letter_beside(source, rng):
    source.files.append(File(f"{source.folder}/letter.txt", "seen by Dr. MARKED", refuse="not a DICOM"))


@defect("dicom", "read")
def dicomdir_beside(source, rng):
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    data.file_meta.MediaStorageSOPInstanceUID = uid(source.seed, source.label, "directory")
    data.FileSetID, data.DirectoryRecordSequence = "MARKED", []
    source.files.append(File(f"{source.folder}/DICOMDIR", data, refuse="no pixel data|directory"))


@defect("dicom", "read")
def system_files_beside(source, rng):
    folder = some(rng, sorted({file.path.rpartition("/")[0] for file in source.images()}))
    source.files += [File(f"{folder}/.DS_Store", b"\0\0\0\1Bud1"), File(f"{folder}/._IM-0001.dcm", b"\0\5\26\7")]
