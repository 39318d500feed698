"""When frames were taken: which header field tells the order of one location's frames, and which frames are missing.

Times are milliseconds after the R wave. Positions and directions are DICOM's LPS millimetres, as the headers have them.
"""

from dataclasses import dataclass

import numpy as np

ORDER_KEYS = {"TriggerTime": "trigger_ms", "TemporalPositionIdentifier": "temporal", "InstanceNumber": "instance"}
NAN = float("nan")


@dataclass(frozen=True, eq=False)
class Frame:
    """One image: its place, its time, and what tells it from others. Unknown numbers are NaN.

    source: what the reader finds the pixels by. orientation: (2, 3) LPS, along a row, along a column. spacing_mm:
    (row, column) or None. rr_ms, expected: the header's own RR interval and frame count (0: not given). rr_doubtful:
    the header's heart rate says another RR. derived: a computed image. place: number in its stack, of multi-frame
    files. series, description, folder, version (of a repeat, from the file's name): private, for grouping and naming
    only, never written. acquired: sorts repeats in time.
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
    if times[0] < 0 or times[-1] > (1.1 * rr_ms if rr_ms > 0 else 3000):
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


def first_number(locations, count: int) -> float:
    """What the first instance number of every complete location leaves over after division by `count`, NaN where that
    is not one number: 1 in series that count from 1, and in stacks that are numbered through."""
    firsts = {float(values_of(frames, "instance").min() % count) for frames in locations if len(frames) == count > 1}
    return firsts.pop() if len(firsts) == 1 else NAN


def slots(ordered, key, usual, first=NAN) -> tuple[list[int], int, float]:
    """Slot of each ordered frame, the number of slots, the time step (NaN unless trigger times gave it).

    The header's frame count, else `usual`, is believed over the frames that are there unless they already fill the
    header's RR interval. first: what other slices' first instance numbers leave over after division by the count; it
    places frames without times whose last one is there. Raises ValueError where frames are missing and nothing places
    the others.
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
        start = (values[0] - first) % expected if key == "InstanceNumber" else NAN
        if start + span == expected:
            return (places + int(start)).tolist(), expected, NAN
        if not timed:  # without times nobody knows whether the first or the last ones are gone
            raise ValueError(f"only {len(values)} of {expected} frames are there and no trigger times place them")
        places += min(int(values[0] / step + 0.05), expected - span)
        span = expected
    return places.tolist(), span, step if timed else NAN
