"""What TempReg-Net is compared with: ED and ES from an area that is followed through the cycle.

Level set and graph cut were started by hand in the paper; here they start at the middle of the largest moving region,
and no mask is ever asked where the heart is.
"""

import time

import cv2
import numpy as np
import pandas as pd

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import NOT_ANNOTATED, STRUCTURES
from cmrlib.measures.curves import ed_es_from_curve
from cmrlib.measures.motion import moving_region

LEVEL_SET_STEPS = 40
MARGIN = 1.5
"""Half the side of the square that is looked at, in radii of the moving region."""

GRID = 64
"""Pixels a side of that square at most: larger ones are averaged down, for speed; areas stay in the image's pixels."""


def level_set_areas(cine: Cine, k: int) -> np.ndarray:
    """(frames,) area in pixels inside a level set, bright against dark (Chan and Vese, IEEE TIP 2001;10:266), kept
    smooth by a Gaussian in every step. The first frame starts from a disc, every other one from the one before."""
    clip, start, pixels = _looked_at(cine, k)
    inside, areas = start, []
    for t, image in enumerate(clip):
        phi = np.where(inside, 1.0, -1.0).astype(np.float32)
        for _ in range(LEVEL_SET_STEPS // (4 if t else 1)):
            within = phi > 0
            if within.all() or not within.any():
                break
            pull = image - (image[within].mean() + image[~within].mean()) / 2
            rows, columns = np.gradient(phi)
            phi = phi + 10 * pull / np.abs(pull).max() * np.hypot(rows, columns)
            phi = cv2.GaussianBlur(np.where(phi > 0, 1.0, -1.0).astype(np.float32), (0, 0), 1.0)
        inside = _piece_at(phi > 0, start)
        areas.append(inside.sum())
        inside = inside if inside.any() else start
    return pixels * np.array(areas, float)


def graph_cut_areas(cine: Cine, k: int) -> np.ndarray:
    """(frames,) area in pixels of a graph cut: grey-value mixtures of heart's blood and surroundings, refined three
    times (Rother et al., ACM TOG 2004;23:309; OpenCV's implementation)."""
    clip, start, pixels = _looked_at(cine, k)
    seed = np.where(start, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    core = cv2.erode(start.astype(np.uint8), np.ones((3, 3)), iterations=max(1, int(_radius(start)) // 2))
    seed[core > 0] = cv2.GC_FGD
    seed[[0, -1]] = seed[:, [0, -1]] = cv2.GC_BGD
    areas = []
    for image in clip:
        cv2.setRNGSeed(0)  # its mixtures start at random
        colour, mask = cv2.merge([(255 * image).astype(np.uint8)] * 3), seed.copy()
        cv2.grabCut(colour, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
        areas.append(_piece_at((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD), start).sum())
    return pixels * np.array(areas, float)


def drawn_areas(observer):
    """Function (cine, slice) → (frames,) area in pixels of the LV that an observer drew through a whole cycle, NaN in
    frames where it did not look; None where it drew less than a cycle."""

    def areas(cine, k):
        drawn = observer.mask(cine.name) if observer.has(cine.name) else None
        if drawn is None or len(drawn.annotated) < cine.frames:
            return None
        slices = drawn.mask[:, k]
        seen = (slices != NOT_ANNOTATED).any((1, 2))
        return np.where(seen, (slices == STRUCTURES["lv"]).sum((1, 2)), np.nan)

    return areas


def found_by_areas(cohort, sections: pd.DataFrame, areas) -> pd.DataFrame:
    """ED and ES of sections at the largest and the smallest area, on the smoothed curve; NaN where it never changes.

    areas: one of the functions above. Columns as `TempReg.predict`, as far as they are known.
    """
    rows = []
    for row in sections.itertuples():
        cine, start = cohort.cine(row.cine), time.monotonic()
        curve = areas(cine, row.k)
        if curve is None:
            continue
        try:
            ed, es = map(float, ed_es_from_curve(curve))
        except ValueError:
            ed = es = np.nan
        keys = row.participant_id, row.cine, row.view, row.k, cine.frame_step_ms
        rows.append((*keys, ed, es, time.monotonic() - start))
    names = ["participant_id", "cine", "view", "slice", "frame_step_ms", "ed", "es", "seconds"]
    return pd.DataFrame(rows, columns=names)


def _looked_at(cine, k):
    """((frames, side, side) float32 0 to 1, (side, side) bool start, image pixels a pixel) around the moving region.

    The start is a disc in its middle, half as wide as it."""
    region = moving_region(cine)
    centre, half = np.argwhere(region).mean(0), int(np.ceil(MARGIN * _radius(region)))
    top, left = np.clip(np.rint(centre).astype(int) - half, 0, np.maximum(0, np.array(region.shape) - 2 * half - 1))
    window = np.s_[top : top + 2 * half + 1, left : left + 2 * half + 1]
    low, high = cine.intensity_window()
    clip = np.clip((np.asarray(cine.pixels[(slice(None), k, *window)], np.float32) - low) / (high - low), 0, 1)
    rows, columns = np.indices(clip.shape[1:])
    start = np.hypot(rows + top - centre[0], columns + left - centre[1]) <= max(1.5, _radius(region) / 2)
    if max(start.shape) <= GRID:
        return clip, start, 1.0
    small = np.stack([cv2.resize(image, (GRID, GRID), interpolation=cv2.INTER_AREA) for image in clip])
    start = cv2.resize(start.astype(np.uint8), (GRID, GRID), interpolation=cv2.INTER_NEAREST) > 0
    return small, start, clip[0].size / GRID**2


def _radius(region) -> float:
    """Radius in pixels of a disc of this area."""
    return float(np.sqrt(region.sum() / np.pi))


def _piece_at(found, start):
    """The connected piece of a mask that shares most with the start; nothing where none does."""
    _, pieces = cv2.connectedComponents(found.astype(np.uint8))
    shared = np.bincount(pieces[start & found], minlength=1)
    shared[0] = 0
    return pieces == shared.argmax() if shared.any() else np.zeros(found.shape, bool)
