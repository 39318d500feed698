"""Corrects label maps of a network; every correction is reported as a flag.

All frames and slices are treated alike. Nothing is added but the filling of holes; voxels that nobody annotated (255)
stay so.
"""

from collections import Counter, defaultdict

import cv2
import numpy as np
from scipy import ndimage

from cmrlib.cine.anatomy import BACKGROUND, STRUCTURES, codes
from cmrlib.measures.volumes import Conventions, basal_rule_applies, base_is_first, excluded_slices, ring_fraction

_OPEN_RING = 0.8
"""Least share of a cavity's border that myocardium covers in a closed slice; the basal slice may be half open."""

_OPEN_LONG_AXIS = {"4ch": 0.9, "2ch": 0.9, "3ch": 0.7}
"""The same where myocardium or left atrium border the cavity; in 3CH the aorta, which has no label, does too."""

_HALF_RING = Conventions(basal_rule="half ring")
_REACH_PX = 3
_WITHIN_SLICE = np.zeros((3, 3, 3), bool)
_WITHIN_SLICE[1] = True


def clean_mask(mask, keep_fraction: float = 0.25, view: str = "sax") -> tuple[np.ndarray, list[str]]:
    """Corrected copy of a label map (slices, rows, columns) or (frames, slices, rows, columns), and flags.

    Per structure (cavity and wall of the LV together): 3-D components below `keep_fraction` of the largest are removed
    (a larger second one is a gap in the stack, kept and flagged `…_in_parts`), then all but the largest component of
    each slice, except myocardium that touches the cavity; holes are filled, those between cavity and wall with
    myocardium. Basal slices of a stack whose LV cavity myocardium surrounds by less than half are no ventricle (SCMR,
    Schulz-Menger et al., JCMR 2020) and lose cavity and wall: `base_removed`. The valves move towards the apex in
    systole, so no ventricle reaches further up than where its cavity is largest: `lv_beyond_base`, `rv_beyond_base` are
    taken out (experts drew none in 100 ACDC patients). `myo_open` counts slices whose cavity
    lies bare (`open_slices`; nothing is corrected). Flags read `lv_island_removed:frames=1,slices=2,voxels=37` and
    count voxels that differ in the end.
    """
    mask = np.array(mask)
    if mask.ndim not in (3, 4) or mask.dtype != np.uint8:
        raise ValueError(
            f"a mask of shape {mask.shape}, {mask.dtype}; expected uint8 (slices, rows, columns) "
            "or (frames, slices, rows, columns)"
        )
    totals = defaultdict(Counter)
    for frame in mask if mask.ndim == 4 else mask[None]:
        for name, counts in _clean_frame(frame, keep_fraction, view):
            totals[name].update({"frames": 1} | counts)
    if mask.ndim == 4 and view == "sax":
        for group in ("lv", "myo"), ("rv",):
            if counts := _remove_beyond_base(mask, group):
                totals[f"{group[0]}_beyond_base"] = counts
    return mask, [f"{name}:" + ",".join(f"{k}={n}" for k, n in counts.items()) for name, counts in totals.items()]


def _clean_frame(frame, keep_fraction, view):
    """Correct one frame in place, inside the box that holds its structures; yield (flag, counts)."""
    present = [s for s, code in STRUCTURES.items() if (frame == code).any()]
    if not present:
        return
    heart = np.isin(frame, list(STRUCTURES.values()))
    box = frame[:, *ndimage.find_objects(heart.any(axis=0).view(np.uint8))[0]]
    before = box.copy()
    # cavity and wall are judged together: a wall's ring may meet only cavity in the next slice
    ventricle = [s for s in ("lv", "myo") if s in present]
    for group in [ventricle] * bool(ventricle) + [[s] for s in present if s not in ventricle]:
        parts = _remove_components(box, group, keep_fraction)
        if parts > 1:
            yield f"{group[0]}_in_parts", {"parts": parts}
    far = before != box
    for structure in present:
        _remove_islands(box, structure)
    for structure in present:
        if structure != "myo":
            _fill(box, (structure,), structure)
    if len(ventricle) == 2:
        _fill(box, ventricle, "myo")
    yield from _changes(before, box, far, present)
    if view == "sax" and len(ventricle) == 2 and basal_rule_applies(frame, ventricle, _HALF_RING):
        base = excluded_slices(frame, _HALF_RING)
        frame[base] = np.where(np.isin(frame[base], codes(ventricle)), BACKGROUND, frame[base])
        if base:
            yield "base_removed", {"slices": len(base)}
    bare = open_slices(frame, view) if len(ventricle) == 2 and (len(box) > 1 or view in _OPEN_LONG_AXIS) else []
    if bare:
        yield "myo_open", {"slices": len(bare)}


def _remove_beyond_base(mask, structures) -> dict:
    """Remove what lies, in any frame, beyond the basal slice of the frame with the largest cavity (the first of
    `structures`); {} or frames, slices and voxels that lost something."""
    cavity = (mask == STRUCTURES[structures[0]]).sum((2, 3))
    largest = mask[cavity.sum(1).argmax()]
    reached = np.flatnonzero(cavity[cavity.sum(1).argmax()])
    if not len(reached):
        return {}
    beyond = np.arange(len(largest)) < reached[0] if base_is_first(largest) else np.arange(len(largest)) > reached[-1]
    out = np.isin(mask, codes(structures)) & beyond[:, None, None]
    mask[out] = BACKGROUND
    lost = out.any((2, 3))
    return {"frames": int(lost.any(1).sum()), "slices": int(lost.sum()), "voxels": int(out.sum())} if out.any() else {}


def _changes(before, after, far, structures):
    """(flag, counts) of what differs. far: voxels of removed 3-D components."""
    different = before != after
    for structure in structures:
        code = STRUCTURES[structure]
        for name, changed in (
            ("component_removed", far & (before == code)),
            ("island_removed", ~far & (before == code)),
            ("hole_filled", after == code),
        ):
            changed = changed & different
            if changed.any():
                slices, voxels = int(changed.any(axis=(1, 2)).sum()), int(changed.sum())
                yield f"{structure}_{name}", {"slices": slices, "voxels": voxels}


def _remove_components(box, structures, keep_fraction) -> int:
    """Remove 3-D components of structures taken together that are small beside the largest; the number that stays.

    Breathing shifts slices against each other: what comes within `_REACH_PX` of the next slice's is connected.
    """
    region = np.isin(box, [STRUCTURES[s] for s in structures])
    width = 2 * _REACH_PX + 1
    labels, _ = ndimage.label(ndimage.maximum_filter(region.view(np.uint8), (1, width, width)), np.ones((3, 3, 3)))
    sizes = np.bincount(labels[region])
    large = sizes >= keep_fraction * sizes.max()
    box[region & ~large[labels]] = BACKGROUND
    return int(large[1:].sum())


def _remove_islands(box, structure):
    """Keep the largest component of each slice, and all myocardium that touches the cavity: in a long-axis plane a thin
    apex separates septum and free wall, at the base of a stack the outflow tract opens the ring."""
    region = box == STRUCTURES[structure]
    labels, n = ndimage.label(region, _WITHIN_SLICE)
    if n <= region.any(axis=(1, 2)).sum():
        return
    kept = [np.bincount(image[image > 0]).argmax() for image in labels if image.any()]
    if structure == "myo":
        kept += list(np.unique(labels[ndimage.binary_dilation(box == STRUCTURES["lv"], _WITHIN_SLICE) & region]))
    box[region & ~np.isin(labels, kept)] = BACKGROUND


def fill_holes(region2d) -> np.ndarray:
    """Region (rows, columns) bool with everything that its outer borders enclose."""
    filled = np.zeros(region2d.shape, np.uint8)
    contours, _ = cv2.findContours(region2d.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(filled, contours, -1, 1, cv2.FILLED).astype(bool)


def _fill(box, structures, structure):
    """Background enclosed by the structures together becomes `structure`, slice by slice."""
    for image in box:
        region = np.isin(image, [STRUCTURES[s] for s in structures])
        image[fill_holes(region) & (image == BACKGROUND)] = STRUCTURES[structure]


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
