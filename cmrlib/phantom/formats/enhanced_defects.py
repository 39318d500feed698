"""Defects of Enhanced MR files: functional groups that are shared, shuffled, absent or repeated."""

import numpy as np
from pydicom.uid import RLELossless

from cmrlib.phantom.formats.dicom import get_pixels, set_pixels
from cmrlib.phantom.formats.dicom_edit import ras
from cmrlib.phantom.formats.registry import defect, inner_slice, other, short_axis
from cmrlib.phantom.formats.source import slice_of


def _file(source, cine):
    return source.images(cine)[0]


def _reorder(data, order):
    """Keep the frames of `order`, in it: pixels and functional groups together."""
    image = get_pixels(data)[order]
    data.PerFrameFunctionalGroupsSequence = [data.PerFrameFunctionalGroupsSequence[n] for n in order]
    data.NumberOfFrames = len(order)
    set_pixels(data, image)


@defect("enhanced", "read", rows="1a-16")
def enhanced_frames_shuffled(source, rng):
    """Frames lie in the file in any order; their functional groups tell which is which."""
    for file in source.images():
        _reorder(file.content, rng.permutation(file.content.NumberOfFrames))
    return source.cines


@defect("enhanced", "read", rows="1a-16 1a-17")
def enhanced_position_shared(source, rng):
    """A single slice's position stands once in the shared groups."""
    cine = other(source, rng)
    data = _file(source, cine).content
    shared = data.SharedFunctionalGroupsSequence[0]
    shared.PlanePositionSequence = data.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence
    for group in data.PerFrameFunctionalGroupsSequence:
        del group.PlanePositionSequence
    return [cine]


@defect("enhanced", "read", rows="1a-16")
def enhanced_geometry_in_every_frame(source, rng):
    """Orientation and spacing stand in every frame's groups, none in the shared ones."""
    for file in source.images():
        shared = file.content.SharedFunctionalGroupsSequence[0]
        for group in file.content.PerFrameFunctionalGroupsSequence:
            group.PixelMeasuresSequence = shared.PixelMeasuresSequence
            group.PlaneOrientationSequence = shared.PlaneOrientationSequence
        del shared.PixelMeasuresSequence, shared.PlaneOrientationSequence
    return source.cines


@defect("enhanced", "read", rows="1a-16")
def enhanced_no_spacing_between(source, rng):
    """SpacingBetweenSlices is absent; positions tell the distance."""
    for file in source.images():
        del file.content.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
    return source.cines


@defect("enhanced", "read", rows="1a-16")
def enhanced_no_frame_content(source, rng):
    """No frame has indices: positions and trigger delays tell place and time."""
    return _without(source, "FrameContentSequence")


def _without(source, keyword):
    """No frame has this group. Raises ValueError where nothing would then order frames."""
    for file in source.images():
        for group in file.content.PerFrameFunctionalGroupsSequence:
            delattr(group, keyword)
            if not {"FrameContentSequence", "CardiacSynchronizationSequence"} & set(group.dir()):
                raise ValueError("neither indices nor trigger delays: nothing orders frames")
    return source.cines


@defect("enhanced", "read", rows="1a-16")
def enhanced_no_trigger_delay(source, rng):
    """No frame has a trigger delay: the temporal index tells the order, and times are unknown."""
    for truth in source.cines.values():
        for one in truth["slices"]:
            one["frame_times_ms"] = one["rr_ms"] = None
    return _without(source, "CardiacSynchronizationSequence")


@defect("enhanced", "flag", "missing_frames", rows="1a-9 1a-16")
def enhanced_frame_missing(source, rng):
    """A slice lacks one of its frames."""
    cine = short_axis(source)
    k, frames = inner_slice(source, cine, rng), source.cines[cine]["frames"]
    t = int(rng.integers(1, frames - 1))
    data = _file(source, cine).content
    gone = [
        n
        for n, group in enumerate(data.PerFrameFunctionalGroupsSequence)
        if group.FrameContentSequence[0].DimensionIndexValues == [k + 1, t + 1]
    ]
    _reorder(data, np.setdiff1d(np.arange(data.NumberOfFrames), gone))
    source.lose(cine, k, t)
    return [cine]


@defect("enhanced", "refuse", "frames", rows="1a-16")
def enhanced_count_wrong(source, rng):
    """NumberOfFrames is one more than frames and groups in the file."""
    cine = other(source, rng)
    _file(source, cine).content.NumberOfFrames += 1
    return [cine]


@defect("enhanced", "flag", "irregular_slices", rows="1a-16")
def enhanced_position_repeated(source, rng):
    """A slice has the position of its neighbour; stack positions tell that they are two."""
    cine = short_axis(source)
    k = inner_slice(source, cine, rng)
    slices = [one["slice"] for one in source.cines[cine]["slices"]]
    neighbour = slices[slices.index(k) + 1]
    source.drop_slice(cine, min(k, neighbour))
    groups = {}
    for group in _file(source, cine).content.PerFrameFunctionalGroupsSequence:
        groups.setdefault(group.FrameContentSequence[0].InStackPositionNumber - 1, []).append(group)
    position = groups[neighbour][0].PlanePositionSequence[0].ImagePositionPatient
    for group in groups[k]:
        group.PlanePositionSequence[0].ImagePositionPatient = position
    slice_of(source.cines[cine], max(k, neighbour))["position_mm"] = ras(position)
    return [cine]


@defect("enhanced", "read", rows="1a-20", late=1)
def enhanced_compressed(source, rng):
    """Multi-frame pixels are compressed as RLE."""
    for file in source.images():
        file.content.compress(RLELossless, generate_instance_uid=False)
    return source.cines
