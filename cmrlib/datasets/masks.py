"""Masks that came with public sets, checked by anatomy: codes, exchanged ventricles, exchanged phases."""

import numpy as np

from cmrlib.cine.anatomy import STRUCTURES


def recoded(label: str, mask, codes: dict[str, int], where: str) -> np.ndarray:
    """A mask in a data set's codes → this library's, uint8.

    codes: structure → the data set's number. Raises ValueError naming subject and values where others occur.
    """
    mask = np.asarray(mask)
    strange = sorted(set(np.unique(mask).tolist()) - {0, *codes.values()})
    if strange:
        raise ValueError(f"sub-{label}: mask values {strange[:5]} in {where}; expected 0 and {codes}")
    table = np.zeros(max(codes.values()) + 1, np.uint8)
    for structure, code in codes.items():
        table[code] = STRUCTURES[structure]
    return table[mask.astype(np.uint8)]


def ventricles_exchanged(masks) -> bool:
    """Whether LV and RV bear each other's labels: the LV is the cavity that the myocardium surrounds.

    masks: label maps (…, rows, columns), this library's codes, of one heart; short-axis or four-chamber. False where
    one of the two or the myocardium is missing.
    """
    shares = {name: _surrounded(masks, STRUCTURES[name]) for name in ("lv", "rv")}
    return bool(shares["rv"] > shares["lv"])  # NaN compares as False


def _surrounded(masks, code) -> float:
    """Share of the pixels just outside a structure that are myocardium, over all slices."""
    outside = myocardium = 0
    for mask in masks:
        inside = mask == code
        ring = np.zeros_like(inside)
        for axis in (-2, -1):
            for step in (-1, 1):
                ring |= np.roll(inside, step, axis)
        ring &= ~inside
        outside += int(ring.sum())
        myocardium += int((ring & (mask == STRUCTURES["myo"])).sum())
    return myocardium / outside if outside else float("nan")


def exchange_ventricles(mask) -> np.ndarray:
    """LV ↔ RV of a label map."""
    table = np.arange(256, dtype=np.uint8)
    table[[STRUCTURES["lv"], STRUCTURES["rv"]]] = STRUCTURES["rv"], STRUCTURES["lv"]
    return table[mask]


def cavity(mask) -> int:
    """Pixels of LV cavity: what tells ED from ES."""
    return int((mask == STRUCTURES["lv"]).sum())
