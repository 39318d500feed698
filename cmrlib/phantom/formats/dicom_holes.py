"""Defects of DICOM folders: frames, slices, files and views that are missing, empty or damaged."""

import struct

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from cmrlib.phantom.formats.dicom import set_pixels, uid
from cmrlib.phantom.formats.dicom_edit import move, ras
from cmrlib.phantom.formats.registry import as_bytes, defect, inner_slice, other, short_axis, some
from cmrlib.phantom.formats.source import File, sha, slice_of


def one_frame(source, rng):
    """One frame of an inner slice, neither first nor last, is lost for the truth."""
    cine = short_axis(source)
    files = source.images(cine, inner_slice(source, cine, rng))
    last = max(file.t for file in files)
    file = some(rng, [file for file in files if 0 < file.t < last and not isinstance(file.content, bytes)])
    source.lose(cine, file.k, file.t)
    return cine, file


def _remove_frame(source, rng, t):
    cine = short_axis(source)
    k = inner_slice(source, cine, rng)
    source.remove(source.images(cine, k, t))
    source.lose(cine, k, t)
    return [cine]


@defect("dicom", "flag", "missing_frames", rows="1a-9 r-2")
def frame_missing(source, rng):
    """A slice lacks one of its frames."""
    cine, file = one_frame(source, rng)
    source.remove([file])
    return [cine]


@defect("dicom", "flag", "missing_frames", rows="1a-9 r-2")
def first_frame_missing(source, rng):
    """A slice lacks its first frame."""
    return _remove_frame(source, rng, 0)


@defect("dicom", "flag", "missing_frames", rows="1a-9 r-2")
def last_frame_missing(source, rng):
    """A slice lacks its last frame."""
    cine = short_axis(source)
    return _remove_frame(source, rng, source.cines[cine]["frames"] - 1)


@defect("dicom", "flag", "missing_frames", rows="1a-9 r-2")
def frame_missing_without_times(source, rng):
    """A slice lacks a frame, and only instance numbers tell the order."""
    cine, file = one_frame(source, rng)
    source.remove([file])
    for one in source.images(cine):
        del one.content.TriggerTime
    return [cine]


@defect("dicom", "refuse", "only", rows="1a-9")
def most_frames_missing(source, rng):
    """A long-axis cine has kept its first two frames only."""
    cine = other(source, rng)
    source.remove([file for file in source.images(cine) if file.t > 1])
    return [cine]


@defect("dicom", "refuse", "no cine", rows="1a-8")
def single_frame(source, rng):
    """Of a long-axis cine one frame is there, and its header speaks of one."""
    cine = other(source, rng)
    source.remove([file for file in source.images(cine) if file.t > 0])
    for file in source.images(cine):
        file.content.CardiacNumberOfImages = 1
    return [cine]


@defect("dicom", "flag", "irregular_slices", rows="1a-7")
def gap_in_the_stack(source, rng):
    """An inner slice is missing."""
    cine = short_axis(source)
    k = inner_slice(source, cine, rng)
    source.remove(source.images(cine, k))
    source.drop_slice(cine, k)
    return [cine]


@defect("dicom", "flag", "irregular_slices", rows="1a-7")
def first_slice_far_out(source, rng):
    """The first slice lies 30 mm away from the others."""
    cine = short_axis(source)
    move(source, cine, source.cines[cine]["slices"][0]["slice"], -30.0)
    return [cine]


@defect("dicom", "flag", "irregular_slices", rows="1a-7")
def two_slices_at_one_place(source, rng):
    """A slice has the position of its neighbour: which one is wrong cannot be told, one is left out."""
    cine = short_axis(source)
    k = inner_slice(source, cine, rng)
    slices = [one["slice"] for one in source.cines[cine]["slices"]]
    neighbour = slices[slices.index(k) + 1]
    position = source.images(cine, neighbour)[0].content.ImagePositionPatient
    kept, left = max(k, neighbour), min(k, neighbour)  # the later acquisition
    slice_of(source.cines[cine], kept)["position_mm"] = ras(position)
    for file in source.images(cine, k):
        file.content.ImagePositionPatient = position
    for file in source.images(cine, left):
        file.refuse = "acquired again"
    source.drop_slice(cine, left)
    return [cine]


@defect("dicom", "flag", "coverage", rows="1a-8")
def three_slices_only(source, rng):
    """Of the stack three slices are left: the heart is not covered."""
    cine = short_axis(source)
    slices = [one["slice"] for one in source.cines[cine]["slices"]]
    for k in slices[3:]:
        source.remove(source.images(cine, k))
        source.drop_slice(cine, k)
    return [cine]


@defect("dicom", "read", rows="1a-8")
def view_missing(source, rng):
    """One long-axis view was never taken."""
    cine = other(source, rng)
    source.remove(source.images(cine))
    del source.cines[cine]


@defect("dicom", "read", rows="1a-8")
def fewer_frames_in_one_view(source, rng):
    """A long-axis cine has half the frames, evenly over the cycle, and says so."""
    cine = other(source, rng)
    _thin_out(source, cine, source.images(cine))
    source.cines[cine]["frames"] = (source.cines[cine]["frames"] + 1) // 2
    return [cine]


@defect("dicom", "flag", "frame_counts_differ", rows="1a-8")
def fewer_frames_in_one_slice(source, rng):
    """The last slice of the stack has half the frames, evenly over the cycle, and says so."""
    cine = short_axis(source)
    _thin_out(source, cine, source.images(cine, source.cines[cine]["slices"][-1]["slice"]))
    return [cine]


def _thin_out(source, cine, files):
    source.remove([file for file in files if file.t % 2])
    kept = [file for file in files if not file.t % 2]
    for k in {file.k for file in files}:
        one = slice_of(source.cines[cine], k)
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


@defect("dicom", "flag", "constant_images", rows="1a-8")
def view_all_black(source, rng):
    """All images of a long-axis cine are zero."""
    cine = other(source, rng)
    for file in source.images(cine):
        _blacken(source, file)
    return [cine]


@defect("dicom", "flag", "constant_images", rows="1a-20 r-11")
def frame_all_black(source, rng):
    """One image is zero, as some decoders return it silently."""
    cine = short_axis(source)
    (file,) = source.images(cine, inner_slice(source, cine, rng), 1)
    _blacken(source, file)
    return [cine]


def _blacken(source, file):
    black = np.zeros((file.content.Rows, file.content.Columns), np.uint16)
    set_pixels(file.content, black)
    slice_of(source.cines[file.cine], file.k)["sha256"][file.t] = sha(black)


@defect("dicom", "flag", "missing_frames", rows="r-9")
def pixels_absent(source, rng):
    """One file has a header and no pixel data."""
    cine, file = one_frame(source, rng)
    del file.content.PixelData
    file.refuse = "no pixel data"
    return [cine]


@defect("dicom", "flag", "missing_frames", rows="1a-8 r-8", late=2)
def file_cut_in_pixels(source, rng):
    """One file ends within its pixels."""
    cine, file = one_frame(source, rng)
    file.content, file.refuse = as_bytes(file)[:-600], "cut short|damaged"
    return [cine]


@defect("dicom", "flag", "missing_frames", rows="1a-8 r-8", late=2)
def file_cut_in_header(source, rng):
    """One file ends within its header."""
    cine, file = one_frame(source, rng)
    file.content, file.refuse = as_bytes(file)[:700], "cut short|damaged|no pixel data"
    return [cine]


@defect("dicom", "flag", "missing_frames", rows="r-8", late=2)
def file_empty(source, rng):
    """One file has no byte."""
    cine, file = one_frame(source, rng)
    file.content, file.refuse = b"", "not a DICOM|empty|damaged"
    return [cine]


@defect("dicom", "flag", "missing_frames", rows="r-8", late=2)
def file_overwritten(source, rng):
    """One file's bytes are random, its name and size are as before."""
    cine, file = one_frame(source, rng)
    file.content, file.refuse = rng.bytes(len(as_bytes(file))), "not a DICOM|damaged"
    return [cine]


@defect("dicom", "flag", "missing_frames", rows="1a-22 r-16", late=2)
def sequences_nested_300_deep(source, rng):
    """One file holds 300 sequences within each other."""
    cine, file = one_frame(source, rng)
    opening = struct.pack("<HH2sHLHHL", 0x7FE1, 0x1001, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
    closing = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    file.content, file.refuse = as_bytes(file) + opening * 300 + closing * 300, "nested|header cannot be read|damaged"
    return [cine]


@defect("dicom", "read", rows="r-8")
def letter_beside(source, rng):
    """A text file with a name in it lies among the images."""
    source.files.append(File(f"{source.folder}/letter.txt", "seen by Dr. MARKED", refuse="not a DICOM"))


@defect("dicom", "read", rows="r-8")
def dicomdir_beside(source, rng):
    """A DICOMDIR, which is DICOM and no image, lies among the images."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    data.file_meta.MediaStorageSOPInstanceUID = uid(source.seed, source.label, "directory")
    data.FileSetID, data.DirectoryRecordSequence = "MARKED", []
    source.files.append(File(f"{source.folder}/DICOMDIR", data, refuse="no pixel data|directory"))


@defect("dicom", "read", rows="r-30")
def system_files_beside(source, rng):
    """Files that computers leave behind: they may be passed by without a word."""
    folder = some(rng, sorted({file.path.rpartition("/")[0] for file in source.images()}))
    source.files += [File(f"{folder}/.DS_Store", b"\0\0\0\1Bud1"), File(f"{folder}/._IM-0001.dcm", b"\0\5\26\7")]
