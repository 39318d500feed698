"""Label maps as a network left them → label maps one may measure; every correction is a flag, none is silent.

All frames and all slices are treated alike, so that no slice counts in ED and is trimmed in ES. Nothing is
added where nothing was drawn but holes; what nobody looked at (255) stays so.
"""

import cv2
import numpy as np
from scipy import ndimage

from cmrlib.cine.anatomy import BACKGROUND, STRUCTURES
from cmrlib.measures.volumes import base_is_first, ring_fraction

_OPEN_RING = 0.8
"""Below this share of its border the cavity of a slice is not surrounded; basal slices may be half open."""

_OPEN_LONG_AXIS = {"4ch": 0.9, "2ch": 0.9, "3ch": 0.7}
"""The same where myocardium or left atrium border the cavity; in 3CH the aorta, which has no label, does too."""

_REACH_PX = 3
_REACH = np.ones((2 * _REACH_PX + 1, 2 * _REACH_PX + 1), np.uint8)
_NEIGHBOURS = np.ones((3, 3), np.uint8)


class _Notes:
    """Counts what was changed or noticed: flag name → {frames, slices, …}."""

    def __init__(self):
        self.counts, self._changes = {}, []

    def add(self, name, changed):
        """changed: (slices, rows, columns) bool voxels of one frame, as long as `settle` finds them changed."""
        self._changes.append((name, changed))

    def settle(self, different):
        """Count a frame's changes where it differs in the end: what one step took and the next put back is none."""
        for name, changed in self._changes:
            if (lasting := changed & different).any():
                self.note(name, slices=int(lasting.any(axis=(1, 2)).sum()), voxels=int(lasting.sum()))
        self._changes = []

    def note(self, name, **counts):
        old = self.counts.setdefault(name, {"frames": 0} | dict.fromkeys(counts, 0))
        old["frames"] += 1
        for key, value in counts.items():
            old[key] += value

    def flags(self) -> list[str]:
        return [f"{name}:" + ",".join(f"{k}={v}" for k, v in counts.items()) for name, counts in self.counts.items()]


def clean_mask(mask, keep_fraction: float = 0.25, view: str = "sax") -> tuple[np.ndarray, list[str]]:
    """Corrected copy of a label map (slices, rows, columns) or (frames, slices, rows, columns), and flags.

    Per structure (cavity and wall of the LV together): 3-D components below `keep_fraction` of the largest
    are removed (a larger second one is a gap in the stack, kept and flagged `…_in_parts`), then all but the
    largest component of each slice, but for myocardium that touches the cavity; holes are filled, those between
    cavity and wall with myocardium. Then `myo_open` counts slices whose cavity lies bare (`open_slices`; no
    correction). Flags read
    `lv_island_removed:frames=1,slices=2,voxels=37`.
    """
    mask = np.array(mask)
    if mask.ndim not in (3, 4) or mask.dtype != np.uint8:
        raise ValueError(
            f"a mask of shape {mask.shape}, {mask.dtype}; expected uint8 (slices, rows, columns) "
            "or (frames, slices, rows, columns)"
        )
    notes = _Notes()
    for frame in mask if mask.ndim == 4 else mask[None]:
        _clean_frame(frame, keep_fraction, view, notes)
    return mask, notes.flags()


def _clean_frame(frame, keep_fraction, view, notes):
    """Correct one frame in place, inside the box that holds its structures."""
    present = [s for s, code in STRUCTURES.items() if (frame == code).any()]
    if not present:
        return
    heart = ((frame > BACKGROUND) & (frame <= max(STRUCTURES.values()))).any(axis=0)
    rows, columns = np.flatnonzero(heart.any(axis=1)), np.flatnonzero(heart.any(axis=0))
    box = frame[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    before = box.copy()
    # cavity and wall are judged together: a wall's ring may meet only cavity in the next slice
    ventricle = [s for s in ("lv", "myo") if s in present]
    for group in [ventricle] * bool(ventricle) + [[s] for s in present if s not in ventricle]:
        _remove_far(box, group, keep_fraction, notes)
    for structure in present:
        _remove_islands(box, structure, notes)
    for structure in present:
        if structure != "myo":
            _fill(box, (structure,), structure, notes)
    if {"lv", "myo"} <= set(present):
        _fill(box, ("lv", "myo"), "myo", notes)
    notes.settle(box != before)
    if {"lv", "myo"} <= set(present):
        bare = open_slices(frame, view) if len(box) > 1 or view in _OPEN_LONG_AXIS else []
        if bare:
            notes.note("myo_open", slices=len(bare))


def _remove_far(box, structures, keep_fraction, notes):
    """Remove 3-D components of the structures taken together that are small beside the largest.

    Slices shift against each other by a breath: what comes within `_REACH_PX` of the neighbouring slice's is
    joined.
    """
    region = np.isin(box, [STRUCTURES[s] for s in structures])
    reached = np.stack([cv2.dilate(image, _REACH) for image in region.astype(np.uint8)])
    labels, n = ndimage.label(reached, np.ones((3, 3, 3)))
    if n < 2:
        return
    sizes = np.bincount(labels[region], minlength=n + 1)
    large = sizes >= keep_fraction * sizes.max()
    far = region & ~large[labels]
    for structure in structures:
        notes.add(f"{structure}_component_removed", far & (box == STRUCTURES[structure]))
    box[far] = BACKGROUND
    if large[1:].sum() > 1:
        notes.note(f"{structures[0]}_in_parts", parts=int(large[1:].sum()))


def _remove_islands(box, structure, notes):
    """Keep the largest component of each slice, and of the myocardium every one that touches the cavity: in a long-axis
    plane a thin apex leaves septum and free wall apart, at the base of a stack the outflow tract opens the ring."""
    region = box == STRUCTURES[structure]
    islands = np.zeros_like(region)
    for k in np.flatnonzero(region.any(axis=(1, 2))):
        n, labels, stats, _ = cv2.connectedComponentsWithStats(region[k].astype(np.uint8), connectivity=8)
        if n > 2:
            kept = [1 + stats[1:, cv2.CC_STAT_AREA].argmax()]
            if structure == "myo":
                cavity = (box[k] == STRUCTURES["lv"]).astype(np.uint8)
                kept += list(np.unique(labels[(cv2.dilate(cavity, _NEIGHBOURS) > 0) & region[k]]))
            islands[k] = region[k] & ~np.isin(labels, kept)
    box[islands] = BACKGROUND
    notes.add(f"{structure}_island_removed", islands)


def fill_holes(region2d) -> np.ndarray:
    """Region (rows, columns) bool with everything that its outer borders enclose."""
    filled = np.zeros(region2d.shape, np.uint8)
    contours, _ = cv2.findContours(region2d.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(filled, contours, -1, 1, cv2.FILLED)
    return filled.astype(bool)


def _fill(box, structures, structure, notes):
    """Background enclosed by the structures together becomes `structure`, slice by slice."""
    wanted = [STRUCTURES[s] for s in structures]
    holes = np.zeros(box.shape, bool)
    for k, image in enumerate(box):
        region = np.isin(image, wanted)
        if region.any():
            holes[k] = fill_holes(region) & (image == BACKGROUND)
    box[holes] = STRUCTURES[structure]
    notes.add(f"{structure}_hole_filled", holes)


def open_slices(mask, view: str = "sax") -> list[int]:
    """Slices of a stack (slices, rows, columns) whose LV cavity myocardium does not surround.

    The most basal slice with LV may be half open (the outflow tract), all others at most a fifth. In a long-axis plane
    the left atrium surrounds too, and a tenth may be open; in 3CH three tenths (the aorta).
    """
    slices = [k for k, image in enumerate(mask) if (image == STRUCTURES["lv"]).any()]
    if view in _OPEN_LONG_AXIS:
        return [k for k in slices if ring_fraction(mask[k], ("myo", "la")) < _OPEN_LONG_AXIS[view]]
    if not slices:
        return []
    basal = slices[0] if base_is_first(mask) else slices[-1]
    return [k for k in slices if ring_fraction(mask[k]) < (0.5 if k == basal else _OPEN_RING)]
