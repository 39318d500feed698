"""Where 2-D frames lie and when they were taken: what turns a heap of images into cines, free of DICOM.

Readers fill `Frame`s from whatever headers they have; `assemble` gives back `Stack`s (one regular grid of slices and
frames each) and the frames it refused, with reasons. Positions and directions come in as DICOM's LPS millimetres and
leave as RAS, converted once in `affine_ras`. Times are milliseconds after the R wave.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from cmrlib.datasets.order import NAN, Frame, choose, frame_order, shared, slots

TOLERANCE_MM = 0.5
TOLERANCE_DEG = 1.0


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
        """Median over frames: one odd header moves no slice."""
        return np.median([frame.position for frame in self.frames], axis=0)

    @property
    def shifted(self) -> bool:
        """Whether a frame lies elsewhere than the others, though not so far that it were another acquisition."""
        away = np.linalg.norm([frame.position - self.position for frame in self.frames], axis=1)
        return bool((away > TOLERANCE_MM).any())


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
    """Frames of one study → its stacks, originals first and of these the largest, and the frames refused, with reasons.

    Parallel planes of one matrix and spacing are joined whatever their UIDs say; along their common normal they are
    split where the slice distance is irregular. Where a location was acquired twice the last complete one is kept.
    """
    stacks, refused = [], []
    for planes in _parallel(frames):
        slices, places = [], _locations(planes)
        locations = [chosen for location in places if (chosen := choose(location, refused))]
        counts = Counter(len(chosen) for chosen in locations)
        usual = max(counts, key=lambda count: (counts[count], count), default=0)
        for chosen in locations:
            one = _in_time(chosen, usual, min_frames, refused)
            slices += [one] if one else []
        lost = len(places) - len(slices) - sum(len(place) == 1 for place in places)
        always = ["slices_left_out"] * (0 < lost < len(slices))
        for count in sorted({one.count for one in slices}):
            same = [one for one in slices if one.count == count]
            runs = _regular_runs(same)
            flags = (
                ["irregular_slices"] * (len(runs) > 1) + ["frame_counts_differ"] * (len(same) < len(slices)) + always
            )
            stacks += [_stack(run, count, flags) for run in runs]
    return sorted(stacks, key=lambda s: (s.first.derived, -len(s.frames), tuple(s.affine[:3, 3].round(2)))), refused


def _parallel(frames) -> list[list[Frame]]:
    """Groups of frames with one matrix, one pixel spacing and directions within the tolerance."""
    groups = []
    cosine = np.cos(np.deg2rad(TOLERANCE_DEG))
    for frame in frames:
        for group in groups:
            like = group[0]
            same_grid = like.shape == frame.shape and (
                like.spacing_mm == frame.spacing_mm
                or np.allclose(like.spacing_mm or 0, frame.spacing_mm or 0, atol=1e-3)
            )
            if same_grid and ((like.orientation * frame.orientation).sum(1) >= cosine).all():
                group.append(frame)
                break
        else:
            groups.append([frame])
    return groups


def _locations(planes) -> list[list[Frame]]:
    """Frames grouped by their place along the common normal, in its order."""
    along = normal(_orientation(planes))
    ordered = sorted(planes, key=lambda frame: float(frame.position @ along))
    groups = [[ordered[0]]]
    for frame in ordered[1:]:
        if (frame.position - groups[-1][0].position) @ along > TOLERANCE_MM:
            groups.append([])
        groups[-1].append(frame)
    return groups


def _in_time(frames, usual, min_frames, refused) -> _Slice | None:
    """Frames of one location in time order, each in its slot; None and refusals where that cannot be told."""
    try:
        order, key = frame_order(frames)
        ordered = [frames[n] for n in order]
        places, count, step = slots(ordered, key, usual)
        if count < min_frames:
            raise ValueError("a single image at its place, no cine")
        if 2 * len(frames) <= count:
            raise ValueError(f"only {len(frames)} of {count} frames of its slice are there")
    except ValueError as error:
        refused += [(frame, str(error)) for frame in frames]
        return None
    return _Slice(ordered, places, count, key, step)


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
    orientation = _orientation([frame for one in slices for frame in one.frames])
    along = normal(orientation)
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
    flags = [
        *flags,
        *rr_flags,
        *(["missing_frames"] if missing else []),
        *[f"ordered_by_{key}" for key in keys if key != "TriggerTime"],
        *([] if first.spacing_mm else ["spacing_unknown"]),
        *(["frames_shifted"] if any(one.shifted for one in slices) else []),
        *(["derived_images"] if first.derived else []),
    ]
    affine = affine_ras(positions[0], orientation, first.spacing_mm or (1.0, 1.0), step)
    return Stack(grid, affine, times, rr, (positions - positions[0]) @ along, tuple(flags), meta)


def _orientation(frames) -> np.ndarray:
    """Directions (2, 3) of the median frame: one that is tilted within the tolerance turns no stack."""
    every = np.array([frame.orientation for frame in frames])
    middle = np.median(every, axis=0)
    return every[np.abs(every - middle).sum((1, 2)).argmin()]


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
    """RR per slice = frames × step, else the header's; flags where the two, or the header with itself, disagree."""
    counted = np.array([count * one.step_ms for one in slices])
    header = np.array([shared(one.frames, "rr_ms") for one in slices])
    doubtful = np.array([shared(one.frames, "rr_doubtful") > 0 for one in slices])
    flags = ["rr_disagrees_with_header"] if (abs(counted - header) > 0.05 * header).any() or doubtful.any() else []
    usable = np.where(doubtful, NAN, header)
    if (np.isnan(counted) & np.isfinite(usable)).any():
        flags.append("rr_from_header")
    rr = np.where(np.isfinite(counted), counted, usable)
    median = float(np.nanmedian(header)) if np.isfinite(header).any() else None
    return rr if np.isfinite(rr).any() else None, flags, median
