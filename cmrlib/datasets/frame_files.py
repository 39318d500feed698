"""3-D NIfTI files of one subject: frames of one cine, the two phases of one, or stacks of one frame."""

import re
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from cmrlib.datasets.purpose import no_volume, phase_in
from cmrlib.datasets.volumes import Damaged, Volume, lies_elsewhere


@dataclass
class Found:
    """One cine before it has a name. marks: digests of its files. path: of the first, for naming only. places: what
    masks know its files by → frame, None for all frames. phases: "ed" and "es" → frame, where names tell."""

    volume: Volume
    path: Path
    marks: tuple[str, ...]
    side: dict = field(default_factory=dict)
    missing: tuple[int, ...] = ()
    places: dict = field(default_factory=dict)
    phases: dict = field(default_factory=dict)

    @property
    def stem(self) -> str:
        return stem_of(self.path)


def stem_of(path) -> str:
    """A file's name without what NIfTI and JSON end in."""
    return re.sub(r"\.(nii(\.gz)?|json)$", "", path.name, flags=re.IGNORECASE)


def from_frames(files, rejected) -> list[Found]:
    """3-D files → cines; those that are none go to `rejected` as (digest, reason).

    Files of one folder and name, but for the last number in it, are frames of one cine; of two that are called ED and
    ES, and otherwise alike, the two frames of one. Others stand alone.
    """

    def key(one):
        return str(one.path.parent), re.sub(r"\d+(?=\D*$)", "#", one.stem)

    found, alone = [], []
    for _, group in groupby(sorted(files, key=key), key):
        group = list(group)
        if len(group) == 1 or not re.search(r"\d", group[0].stem):
            alone += group
            continue
        try:
            found.append(_joined(group))
        except Damaged as error:
            rejected += [(one.marks[0], str(error)) for one in group]
    return found + _alone(alone, rejected)


def _joined(group) -> Found:
    """Frames in the order of their numbers; a hole in the row of numbers stays black."""
    order = np.array([int(re.findall(r"\d+", one.stem)[-1]) for one in group])
    first = group[0].volume
    for one in group[1:]:
        if one.volume.pixels.shape != first.pixels.shape:
            raise Damaged("frames of one cine have different shapes: export them again")
        if lies_elsewhere(first.affine, one.volume.affine, first.pixels.shape[:0:-1]):
            raise Damaged("frames of one cine lie at different places (affine): export them again")
    step = int(np.median(np.diff(np.sort(order))))
    slots = (order - order.min()) // max(step, 1)
    count = int(slots.max()) + 1
    if step < 1 or len(set(slots)) < len(group) or 2 * len(group) <= count:
        raise Damaged(f"only {len(group)} frames are there, numbered up to {order.max()}: they make no row")
    return _of_slots(group, slots.tolist(), count)


def _of_slots(group, slots, count, flags=()) -> Found:
    """One cine of files that each fill a slot among `count` frames."""
    first = group[0].volume
    kind = np.result_type(*[one.volume.pixels.dtype for one in group])
    pixels = np.zeros((count, *first.pixels.shape[1:]), kind)
    for slot, one in zip(slots, group):
        pixels[slot] = one.volume.pixels[0]
    missing = tuple(sorted(set(range(count)) - set(slots)))
    flags = (*first.flags, "time_unknown", *["missing_frames"] * bool(missing), *flags)
    return Found(
        replace(first, pixels=pixels, flags=flags),
        group[0].path,
        tuple(one.marks[0] for one in group),
        group[0].side,
        missing,
        {key: slot for slot, one in zip(slots, group) for key in one.places},
    )


def _alone(files, rejected) -> list[Found]:
    """Stacks of one frame; an ED and an ES of one name, shape and place become the two frames of one cine."""
    found = []
    for one in files:
        phase = phase_in(str(one.side.get("Phase", ""))) or phase_in(one.stem)
        one.phases = {phase: 0} if phase else {}
        if why := no_volume(one.volume.pixels.shape[1], f"{one.path.parent.name} {one.stem}"):
            rejected.append((one.marks[0], why))
            continue
        found.append(one)

    def key(one):
        return str(one.path.parent), re.sub(r"(?<![a-z])(ed|es)(?![a-z])", "", one.stem.lower())

    cines = []
    for _, group in groupby(sorted(found, key=key), key):
        group = sorted(group, key=lambda one: list(one.phases))
        if [list(one.phases) for one in group] == [["ed"], ["es"]]:
            ed, es = (stack.volume for stack in group)
            alike = ed.pixels.shape == es.pixels.shape
            if alike and not lies_elsewhere(ed.affine, es.affine, ed.pixels.shape[:0:-1]):
                group = [replace(_of_slots(group, [0, 1], 2, ["phases_by_name"]), phases={"ed": 0, "es": 1})]
        cines += group
    return cines
