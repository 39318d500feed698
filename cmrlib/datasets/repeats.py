"""Repeated acquisitions: keeps the most complete, then the latest, per slice; originals before computed images.

The rule, for every location of its own: of several acquisitions the one with most frames, of equals the last. They
are told apart by series, by the number in a multi-frame stack, by a shifted field of view; where these are alike and
the frames cannot be one cycle, by the repeat's number in the file name (IM-0001-0005-0002: the second), then by the
time of acquisition. Computed images give way to originals of the same place.
"""

import numpy as np

from cmrlib.datasets.order import Frame, frame_order, shared, values_of

SHIFT_MM = 2.0
_AGAIN = "slice acquired again: the last complete acquisition was kept"
DERIVED = "derived image: the original of the same place was kept"
_MIXED = "several acquisitions of one slice that nothing in the headers tells apart"


def choose(location: list[Frame], refused: list) -> list[Frame]:
    """One acquisition of a location, empty where none can be told; the others are refused."""
    originals = [frame for frame in location if not frame.derived]
    if originals and 2 * len(originals) >= len(location):
        refused += [(frame, DERIVED) for frame in location if frame.derived]
        location = originals
    acquisitions = []
    for group in _by(location, _series(location)):
        acquisitions += _takes(group)
    best = max(
        acquisitions,
        key=lambda group: (
            len(group),
            max((*frame.acquired, frame.place) for frame in group),
            max(frame.version for frame in group),
        ),
    )
    for group in acquisitions:
        if group is not best:
            refused += [(frame, _AGAIN) for frame in group]
    if _counted_twice(best):
        refused += [(frame, _MIXED) for frame in best]
        return []
    return best


def _series(location):
    """What tells series apart: UIDs unless every file has its own; a shifted field of view does so always."""
    useful = 2 * len({frame.series for frame in location}) <= len(location)
    start = np.median([frame.position for frame in location], axis=0)
    return lambda frame: (
        frame.series if useful else "",
        frame.place,
        tuple(np.round((frame.position - start) / SHIFT_MM)),
    )


def _by(frames, key) -> list[list[Frame]]:
    groups = {}
    for frame in frames:
        groups.setdefault(key(frame), []).append(frame)
    return list(groups.values())


def _takes(frames) -> list[list[Frame]]:
    """Frames of one series, parted by file name or time where together they cannot be one cycle."""
    if not _no_cycle(frames):
        return [frames]
    for key in (lambda frame: frame.version, lambda frame: frame.acquired):
        groups = _by(frames, key)
        if 1 < len(groups) <= len(frames) / 2 and not any(map(_no_cycle, groups)):
            return groups
    return [frames]


def _no_cycle(frames) -> bool:
    """Whether frames have no order, or an order that must be of several cycles."""
    try:
        frame_order(frames)
    except ValueError:
        return True
    return _counted_twice(frames)


def _counted_twice(frames) -> bool:
    """Whether every trigger time stands there repeatedly, or the header's frame count fits in more than once."""
    try:
        if frame_order(frames)[1] == "TriggerTime":
            return False
    except ValueError:
        return False  # said where frames are ordered
    _, counts = np.unique(values_of(frames, "trigger_ms"), return_counts=True)
    expected = int(shared(frames, "expected"))
    return (len(counts) > 1 and counts.min() > 1) or (expected > 1 and len(frames) >= 2 * expected)


def without_copies(frames: list[Frame], identity, same_pixels, refused: list) -> list[Frame]:
    """Frames without those that another file holds too, in other wrappings.

    identity: frame → its instance UID, empty where it has none. same_pixels: (frame, frame) → bool, asked only where
    UID, place and time are alike: some anonymisers give all files one UID.
    """
    kept = {}
    for frame in frames:
        mark = identity(frame)
        numbers = [*frame.position.tolist(), frame.trigger_ms, frame.temporal, frame.instance]
        known = tuple(None if number != number else number for number in numbers)  # NaN is like nothing, not even NaN
        likes = kept.setdefault((mark, frame.shape, frame.series, known) if mark else frame, [])
        if any(same_pixels(frame, like) for like in likes):
            refused.append((frame, "the same instance twice"))
        else:
            likes.append(frame)
    gone = {id(frame) for frame, _ in refused}
    return [frame for frame in frames if id(frame) not in gone]
