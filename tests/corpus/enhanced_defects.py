"""Defects of Enhanced MR files: functional groups that are shared, shuffled, absent or repeated."""

from pydicom.uid import RLELossless

from corpus.dicom import get_pixels, set_pixels
from corpus.registry import defect, edit_files, inner_slice, other, short_axis


def _reorder(data, order):
    """Keep the frames of `order`, in it: pixels and functional groups together."""
    image = get_pixels(data)[order]
    data.PerFrameFunctionalGroupsSequence = [data.PerFrameFunctionalGroupsSequence[n] for n in order]
    data.NumberOfFrames = len(order)
    set_pixels(data, image)


@defect("enhanced", "read")
def enhanced_frames_shuffled(source, rng):
    for file in source.images():
        _reorder(file.content, rng.permutation(file.content.NumberOfFrames))


@defect("enhanced", "read")
def enhanced_position_shared(source, rng):
    cine = other(source, rng)
    data = source.images(cine)[0].content
    shared = data.SharedFunctionalGroupsSequence[0]
    shared.PlanePositionSequence = data.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence
    for group in data.PerFrameFunctionalGroupsSequence:
        del group.PlanePositionSequence


def _without(source, keyword):
    """No frame has this group. Raises ValueError where nothing would then order frames."""
    for file in source.images():
        for group in file.content.PerFrameFunctionalGroupsSequence:
            delattr(group, keyword)
            if not {"FrameContentSequence", "CardiacSynchronizationSequence"} & set(group.dir()):
                raise ValueError("neither indices nor trigger delays: nothing orders frames")
    return source.cines


@defect("enhanced", "read")
def enhanced_no_frame_content(source, rng):
    return _without(source, "FrameContentSequence")


@defect("enhanced", "read")
def enhanced_no_trigger_delay(source, rng):
    for truth in source.cines.values():
        for one in truth["slices"]:
            one["frame_times_ms"] = one["rr_ms"] = None
    return _without(source, "CardiacSynchronizationSequence")


@defect("enhanced", "flag", "missing_frames")
def enhanced_frame_missing(source, rng):
    cine = short_axis(source)
    k, t = inner_slice(source, cine, rng), int(rng.integers(1, source.cines[cine]["frames"] - 1))
    data = source.images(cine)[0].content
    frames = source.cines[cine]["frames"]
    _reorder(data, [n for n in range(data.NumberOfFrames) if n != k * frames + t])
    source.lose(cine, k, t)
    return [cine]


@defect("enhanced", "refuse", "frames")
def enhanced_count_wrong(source, rng):
    cine = other(source, rng)
    source.images(cine)[0].content.NumberOfFrames += 1
    return [cine]


def _geometry_in_every_frame(file):
    """Orientation and spacing stand in every frame's groups, none in the shared ones."""
    shared = file.content.SharedFunctionalGroupsSequence[0]
    for group in file.content.PerFrameFunctionalGroupsSequence:
        group.PixelMeasuresSequence = shared.PixelMeasuresSequence
        group.PlaneOrientationSequence = shared.PlaneOrientationSequence
    del shared.PixelMeasuresSequence, shared.PlaneOrientationSequence


def _compressed(file):
    file.content.compress(RLELossless, generate_instance_uid=False)


edit_files("enhanced", {"enhanced_geometry_in_every_frame": _geometry_in_every_frame})
edit_files("enhanced", {"enhanced_compressed": _compressed}, late=1)
