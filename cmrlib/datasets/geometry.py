"""Where 2-D frames lie and when they were taken: what turns a heap of images into cines, free of DICOM.

Readers fill `Frame`s from whatever headers they have; `assemble` gives back `Stack`s (one regular grid of slices and
frames each) and the frames it refused, with reasons. Positions and directions come in as DICOM's LPS millimetres and
leave as RAS, converted once in `affine_ras`. Times are milliseconds after the R wave.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

TOLERANCE_MM = 0.5
TOLERANCE_DEG = 1.0
ORDER_KEYS = {"TriggerTime": "trigger_ms", "TemporalPositionIdentifier": "temporal", "InstanceNumber": "instance"}
NAN = float("nan")


@dataclass(frozen=True, eq=False)
class Frame:
    """One image: its place, its time, and what tells it from others. Unknown numbers are NaN.

    source: what the reader finds the pixels by. orientation: (2, 3) LPS, along a row, along a column. spacing_mm:
    (row, column) or None. rr_ms, expected: the header's own RR interval and frame count (0: not given). series,
    description, folder: private, for grouping and naming only, never written. acquired: sorts repeats in time.
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
    expected: int = 0
    thickness_mm: float = NAN
    series: str = ""
    acquired: tuple = ()
    description: str = ""
    folder: str = ""


@dataclass(frozen=True, eq=False)
class Stack:
    """Frames on a regular grid: `grid[slice][frame]` is a Frame, or None where the scan has a hole.

    affine: (4, 4) RAS mm. frame_times_ms: (slices, frames) or None. rr_ms, slice_position_mm: (slices,).
    """

    grid: tuple[tuple[Frame | None, ...], ...]
    affine: np.ndarray
    frame_times_ms: np.ndarray | None
    rr_ms: np.ndarray | None
    slice_position_mm: np.ndarray
    flags: tuple[str, ...] = ()
    meta: dict = field(default_factory=dict)

    @property
    def first(self) -> Frame:
        """Any frame of the stack, for what all its frames share."""
        return next(frame for row in self.grid for frame in row if frame is not None)

    @property
    def frames(self) -> list[Frame]:
        return [frame for row in self.grid for frame in row if frame is not None]


@dataclass(frozen=True, eq=False)
class _Slice:
    """One location in time order: frames, the slot each takes among `count`, and the header field that said so."""

    frames: list
    slots: list
    count: int
    key: str
    step_ms: float

    @property
    def position(self):
        return self.frames[0].position


def normal(orientation) -> np.ndarray:
    """Unit normal (3,) of an image plane, row direction × column direction, LPS."""
    cross = np.cross(orientation[0], orientation[1])
    return cross / np.linalg.norm(cross)


def affine_ras(origin, orientation, spacing_mm, step) -> np.ndarray:
    """(4, 4) from (i, j, k) = (column, row, slice) to RAS mm, for LPS inputs.

    origin: the first slice's first pixel centre. spacing_mm: (row, column). step: vector from slice to slice.
    """
    lps = np.eye(4)
    lps[:3] = np.c_[orientation[0] * spacing_mm[1], orientation[1] * spacing_mm[0], step, origin]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def assemble(frames, min_frames: int = 2) -> tuple[list[Stack], list[tuple[Frame, str]]]:
    """Frames of one study → its stacks, largest first, and the frames refused, with reasons.

    Parallel planes of one matrix and spacing are joined whatever their UIDs say; along their common normal they are
    split where the slice distance is irregular. Where a location was acquired twice the last complete one is kept.
    """
    stacks, refused = [], []
    for planes in _parallel(frames):
        slices = []
        locations = [_choose(location, refused) for location in _locations(planes)]
        counts = Counter(len(chosen) for chosen in locations)
        usual = max(counts, key=lambda count: (counts[count], count))
        for chosen in locations:
            one = _in_time(chosen, usual, min_frames, refused)
            slices += [one] if one else []
        for count in sorted({one.count for one in slices}):
            same = [one for one in slices if one.count == count]
            runs = _regular_runs(same)
            flags = ["irregular_slices"] * (len(runs) > 1) + ["frame_counts_differ"] * (len(same) < len(slices))
            stacks += [_stack(run, count, flags) for run in runs]
    return sorted(stacks, key=lambda s: (-len(s.frames), tuple(np.round(s.affine[:3, 3], 2)))), refused


def _parallel(frames) -> list[list[Frame]]:
    """Groups of frames with one matrix, one pixel spacing and directions within the tolerance."""
    groups = []
    cosine = np.cos(np.deg2rad(TOLERANCE_DEG))
    for frame in frames:
        for group in groups:
            like = group[0]
            spacings = like.spacing_mm or 0, frame.spacing_mm or 0
            same_grid = like.shape == frame.shape and np.allclose(*spacings, atol=1e-3)
            if same_grid and ((like.orientation * frame.orientation).sum(1) >= cosine).all():
                group.append(frame)
                break
        else:
            groups.append([frame])
    return groups


def _locations(planes) -> list[list[Frame]]:
    """Frames grouped by their place along the common normal, in its order."""
    along = normal(planes[0].orientation)
    ordered = sorted(planes, key=lambda frame: float(frame.position @ along))
    groups = [[ordered[0]]]
    for frame in ordered[1:]:
        if (frame.position - groups[-1][0].position) @ along > TOLERANCE_MM:
            groups.append([])
        groups[-1].append(frame)
    return groups


def _choose(location, refused) -> list[Frame]:
    """One acquisition of a location: the one with most frames, of equals the last; the others are refused.

    Series UIDs tell acquisitions apart unless every file has its own; a shifted field of view does so always.
    """
    useful = 2 * len({frame.series for frame in location}) <= len(location)
    acquisitions = {}
    for frame in location:
        shift = tuple(np.round((frame.position - location[0].position) / (4 * TOLERANCE_MM)))
        acquisitions.setdefault((frame.series if useful else "", shift), []).append(frame)
    best = max(acquisitions.values(), key=lambda group: (len(group), max(frame.acquired for frame in group)))
    for group in acquisitions.values():
        if group is not best:
            refused += [(frame, "slice acquired again: the last complete acquisition was kept") for frame in group]
    return best


def _in_time(frames, usual, min_frames, refused) -> _Slice | None:
    """Frames of one location in time order, each in its slot; None and refusals where that cannot be told."""
    try:
        order, key = frame_order(frames)
        ordered = [frames[n] for n in order]
        slots, count, step = _slots(ordered, key, ordered[0].expected or usual)
        if count < min_frames:
            raise ValueError("a single image at its place, no cine")
        if 2 * len(frames) <= count:
            raise ValueError(f"only {len(frames)} of {count} frames of its slice are there")
    except ValueError as error:
        refused += [(frame, str(error)) for frame in frames]
        return None
    return _Slice(ordered, slots, count, key, step)


def frame_order(frames) -> tuple[list[int], str]:
    """Indices of one location's frames in time order, and the header field that gave it.

    TriggerTime if complete, distinct and plausible, else TemporalPositionIdentifier, else InstanceNumber, if
    complete and distinct. Raises ValueError where none is.
    """
    for key, attribute in ORDER_KEYS.items():
        values = np.array([getattr(frame, attribute) for frame in frames], float)
        distinct = np.isfinite(values).all() and len(np.unique(values)) == len(values)
        if distinct and (key != "TriggerTime" or plausible_times(values, frames[0].rr_ms)):
            return np.argsort(values).tolist(), key
    raise ValueError("frames cannot be ordered: trigger times, temporal positions and instance numbers are each "
                     "incomplete, repeated or implausible")


def plausible_times(times_ms, rr_ms=NAN) -> bool:
    """Whether distinct times can be one cycle's: within 0…RR and at even steps (holes of whole steps allowed).

    Some vendors store the start of the scan, an inversion time or a constant in TriggerTime.
    """
    times = np.sort(np.asarray(times_ms, float))
    if times[0] < 0 or times[-1] > (1.1 * rr_ms if rr_ms > 0 else 3000):
        return False
    steps = np.diff(times)
    relative = steps / np.median(steps) if len(steps) else steps
    return bool((abs(relative - np.round(relative)) <= 0.25).all() and (relative > 0.5).all())


def _slots(ordered, key, expected) -> tuple[list[int], int, float]:
    """Slot of each ordered frame, the number of slots, the time step (NaN unless trigger times gave it).

    `expected` is believed over the frames that are there unless they already fill the header's RR interval.
    """
    values = np.array([getattr(frame, ORDER_KEYS[key]) for frame in ordered], float)
    timed = key == "TriggerTime"
    if len(values) < 2 or (not timed and len(values) >= expected):
        return list(range(len(values))), len(values), NAN
    # step by step, for rounded times would drift away from multiples of their median step
    steps = np.diff(values)
    slots = np.r_[0, np.cumsum(np.maximum(1, np.round(steps / np.median(steps))))].astype(int)
    span, step = int(slots[-1]) + 1, float((values[-1] - values[0]) / slots[-1])
    fills_cycle = timed and len(values) >= 5 and round(np.nan_to_num(ordered[0].rr_ms) / step) == span
    if expected > span and not fills_cycle:
        if not timed:  # without times nobody knows whether the first or the last ones are gone
            raise ValueError(f"only {len(values)} of {expected} frames are there and no trigger times place them")
        slots += min(int(values[0] / step + 0.05), expected - span)
        span = expected
    return slots.tolist(), span, step if timed else NAN


def _regular_runs(slices) -> list[list[_Slice]]:
    """Slices split where their distance leaves the usual one by more than the tolerance, or where they drift."""
    positions = np.array([one.position for one in slices])
    steps = np.diff(positions, axis=0)
    if len(steps) == 0:
        return [slices]
    # the usual step is the one that most others agree with; of equals the shorter (a hole doubles a step)
    agree = [int((np.linalg.norm(steps - step, axis=1) <= TOLERANCE_MM).sum()) for step in steps]
    usual = max(range(len(steps)), key=lambda n: (agree[n], -np.linalg.norm(steps[n])))
    odd = np.linalg.norm(steps - steps[usual], axis=1)
    line = np.linspace(positions[0], positions[-1], len(positions))
    drift = np.linalg.norm(positions - line, axis=1)
    if odd.max() > TOLERANCE_MM or drift.max() > TOLERANCE_MM:
        cut = (int(odd.argmax()) if odd.max() > TOLERANCE_MM else len(steps) // 2) + 1
        return _regular_runs(slices[:cut]) + _regular_runs(slices[cut:])
    return [slices]


def _stack(slices, count, flags) -> Stack:
    first = slices[0].frames[0]
    along = normal(first.orientation)
    positions = np.array([one.position for one in slices])
    if len(slices) > 1:
        step = (positions[-1] - positions[0]) / (len(slices) - 1)
    else:  # a single slice has no neighbour: its thickness stands in
        step = along * (first.thickness_mm if first.thickness_mm > 0 else 1.0)
    if step @ along < np.cos(np.deg2rad(TOLERANCE_DEG)) * np.linalg.norm(step):
        flags = [*flags, "sheared_stack"]
    grid, times, missing = _grid(slices, count)
    rr, rr_flags, header_rr = _rr(slices, count)
    keys = sorted({one.key for one in slices})
    meta = {"ordered_by": "+".join(keys), "header_rr_ms": header_rr} | ({"missing": missing} if missing else {})
    flags = [*flags, *rr_flags, *(["missing_frames"] if missing else []),
             *[f"ordered_by_{key}" for key in keys if key != "TriggerTime"],
             *([] if first.spacing_mm else ["spacing_unknown"])]
    affine = affine_ras(positions[0], first.orientation, first.spacing_mm or (1.0, 1.0), step)
    return Stack(grid, affine, times, rr, (positions - positions[0]) @ along, tuple(flags), meta)


def _grid(slices, count):
    """Frames by slice and slot, their times (None where no slice has any), and the holes as [slice, frame]."""
    grid = [[None] * count for _ in slices]
    times = np.full((len(slices), count), NAN)
    for k, one in enumerate(slices):
        for frame, slot in zip(one.frames, one.slots):
            grid[k][slot] = frame
            if one.key == "TriggerTime":
                times[k, slot] = frame.trigger_ms
    missing = [[k, t] for k, row in enumerate(grid) for t, frame in enumerate(row) if frame is None]
    return tuple(map(tuple, grid)), times if np.isfinite(times).any() else None, missing


def _rr(slices, count):
    """RR per slice = frames × step, else the header's; flags where the two disagree by more than 5 %."""
    counted = np.array([count * one.step_ms for one in slices])
    header = np.array([one.frames[0].rr_ms for one in slices])
    flags = ["rr_disagrees_with_header"] if (abs(counted - header) > 0.05 * header).any() else []
    if (np.isnan(counted) & np.isfinite(header)).any():
        flags.append("rr_from_header")
    rr = np.where(np.isfinite(counted), counted, header)
    median = float(np.nanmedian(header)) if np.isfinite(header).any() else None
    return rr if np.isfinite(rr).any() else None, flags, median
