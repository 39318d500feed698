"""When frames were taken and which count: the header field that tells one location's order, missing frames, repeats.

Times are milliseconds after the R wave. Positions and directions are DICOM's LPS millimetres, as the headers have them.
Of several acquisitions of a location the one with most frames counts, of equals the last. They are told apart by
series, by the number in a multi-frame stack, by a shifted field of view; where these are alike and the frames cannot be
one cycle, by the repeat's number in the file name (IM-0001-0005-0002: the second), then by the time of acquisition.
Computed images give way to originals of the same place.
"""

from dataclasses import dataclass

import numpy as np

from cmrlib.datasets.bounds import possible

ORDER_KEYS = {"TriggerTime": "trigger_ms", "TemporalPositionIdentifier": "temporal", "InstanceNumber": "instance"}
NAN = float("nan")


@dataclass(frozen=True, eq=False)
class Frame:
    """One image: its place, its time, and what tells it from others. Unknown numbers are NaN.

    source: what the reader finds the pixels by. orientation: (2, 3) LPS, along a row, along a column. spacing_mm:
    (row, column) or None. rr_ms, expected: the header's own RR interval and frame count (0: not given). rr_doubtful:
    the header's heart rate says another RR. derived: a computed image. place: number in its stack, of multi-frame
    files. uid: of the instance, empty where unknown. series, description, folder, version (of a repeat, from the file's
    name): private, for grouping and naming only, never written. acquired: sorts repeats in time.
    """

    source: object
    shape: tuple[int, int]
    position: np.ndarray
    orientation: np.ndarray
    spacing_mm: tuple[float, float] | None = None
    trigger_ms: float = NAN
    temporal: float = NAN
    instance: float = NAN
    rr_ms: float = NAN
    rr_doubtful: bool = False
    expected: int = 0
    thickness_mm: float = NAN
    series: str = ""
    uid: str = ""
    acquired: tuple = ()
    description: str = ""
    folder: str = ""
    version: str = ""
    place: int = 0
    derived: bool = False


def values_of(frames, attribute: str) -> np.ndarray:
    """(frames,) of a number that each frame carries."""
    return np.array([getattr(frame, attribute) for frame in frames], float)


def shared(frames, attribute: str) -> float:
    """Median over frames of a number that they should share, NaN where none has it: one odd header changes nothing."""
    values = values_of(frames, attribute)
    known = np.sort(values[np.isfinite(values)])
    return float(known[len(known) // 2]) if len(known) else NAN


def frame_order(frames) -> tuple[list[int], str]:
    """Indices of one location's frames in time order, and the header field that gave it.

    TriggerTime, else TemporalPositionIdentifier, else InstanceNumber: the first that is complete, distinct and
    plausible (even steps; times within 0…RR). Raises ValueError where none is.
    """
    for key, attribute in ORDER_KEYS.items():
        values = values_of(frames, attribute)
        distinct = np.isfinite(values).all() and len(np.unique(values)) == len(values)
        timed = key == "TriggerTime"
        if distinct and (plausible_times(values, shared(frames, "rr_ms")) if timed else _step(np.sort(values))):
            return np.argsort(values).tolist(), key
    raise ValueError(
        "frames cannot be ordered: trigger times, temporal positions and instance numbers are each "
        "incomplete, repeated or implausible"
    )


def plausible_times(times_ms, rr_ms=NAN) -> bool:
    """Whether distinct times can be one cycle's: within 0…RR and at even steps (holes of whole steps allowed).

    Some vendors store the start of the scan, an inversion time or a constant in TriggerTime.
    """
    times = np.sort(np.asarray(times_ms, float))
    if times[0] < 0 or times[-1] > (1.1 * rr_ms if possible("rr_ms", rr_ms) else 3000):
        return False
    return bool(_step(times))


def _step(values) -> float:
    """Step of sorted numbers that lie evenly, holes of whole steps allowed; 0 where they do not.

    It is the median of the steps, or the one below it: of three frames' steps, one may hold a hole.
    """
    steps = np.diff(values)
    for step in (np.median(steps), np.sort(steps)[(len(steps) - 1) // 2]) if len(steps) else ():
        relative = steps / step
        if (abs(relative - np.round(relative)) <= 0.25).all() and (relative > 0.5).all():
            return float(step)
    return 0.0 if len(steps) else 1.0


def slots(ordered, key, usual) -> tuple[list[int], int, float]:
    """Slot of each ordered frame, the number of slots, the time step (NaN unless trigger times gave it).

    The header's frame count, else `usual`, is believed over the frames that are there unless they already fill the
    header's RR interval. Raises ValueError where frames are missing and no times place the others.
    """
    expected, rr_ms = int(shared(ordered, "expected")) or usual, shared(ordered, "rr_ms")
    values = values_of(ordered, ORDER_KEYS[key])
    timed = key == "TriggerTime"
    if len(values) < 2 or (not timed and len(values) >= expected):
        return list(range(len(values))), len(values), NAN
    # step by step, for rounded times would drift away from multiples of their median step
    places = np.r_[0, np.cumsum(np.maximum(1, np.round(np.diff(values) / _step(values))))].astype(int)
    span, step = int(places[-1]) + 1, float((values[-1] - values[0]) / places[-1])
    fills_cycle = timed and len(values) >= 5 and round(np.nan_to_num(rr_ms) / step) == span
    if expected > span and not fills_cycle:
        if not timed:  # without times nobody knows whether the first or the last ones are gone
            raise ValueError(f"only {len(values)} of {expected} frames are there and no trigger times place them")
        places += min(int(values[0] / step + 0.05), expected - span)
        span = expected
    return places.tolist(), span, step if timed else NAN


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


def without_copies(frames: list[Frame], same_pixels, refused: list) -> list[Frame]:
    """Frames without further copies of one instance, which are refused; the first of them stays.

    same_pixels: (frame, frame) → bool, asked where UID, series, place and times are alike: some anonymisers give all
    files one UID, and a drive's conflicted copy of a file may hold another picture.
    """
    kept, left = {}, []
    for frame in frames:
        numbers = [*frame.position.tolist(), frame.trigger_ms, frame.temporal, frame.instance]
        known = tuple(None if number != number else number for number in numbers)  # NaN is like nothing, not even NaN
        likes = kept.setdefault((frame.uid, frame.shape, frame.series, known) if frame.uid else frame, [])
        if any(same_pixels(frame, like) for like in likes):
            refused.append((frame, "the same instance twice"))
        else:
            likes.append(frame)
            left.append(frame)
    return left
