"""What TempReg-Net is compared with: ED and ES from an area that is followed through the cycle.

Level set and graph cut were started by hand in the paper; here they start at the middle of the largest moving region,
and no mask is ever asked where the heart is.
"""

import cv2
import numpy as np

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import NOT_ANNOTATED, STRUCTURES
from cmrlib.cohort import Annotation
from cmrlib.measures.curves import ed_es_from_curve
from cmrlib.papers.tempreg.clips import moving_region

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
    seed = np.full(start.shape, cv2.GC_PR_BGD, np.uint8)
    seed[start] = cv2.GC_PR_FGD
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


def mask_areas(annotation: Annotation, k: int, structure: str = "lv") -> np.ndarray:
    """(frames,) area in pixels that an observer drew in slice k; NaN where it drew nothing there."""
    slices = annotation.mask[:, k]
    areas = (slices == STRUCTURES[structure]).sum((1, 2)).astype(float)
    areas[(slices == NOT_ANNOTATED).all((1, 2))] = np.nan
    return areas


def frames_of_areas(areas) -> tuple[float, float]:
    """(ED, ES): frames of the largest and the smallest area, on the smoothed curve; NaN where it never changes."""
    try:
        return tuple(map(float, ed_es_from_curve(areas)))
    except ValueError:
        return float("nan"), float("nan")


def _looked_at(cine, k):
    """((frames, side, side) float32 0 to 1, (side, side) bool start, image pixels a pixel) around the moving region.

    The start is a disc in its middle, half as wide as it."""
    region = moving_region(cine)
    rows, columns = np.nonzero(region)
    centre, half = (rows.mean(), columns.mean()), int(np.ceil(MARGIN * _radius(region)))
    top, left = (
        int(np.clip(round(c) - half, 0, max(0, n - 2 * half - 1))) for c, n in zip(centre, region.shape, strict=True)
    )
    window = np.s_[top : top + 2 * half + 1, left : left + 2 * half + 1]
    low, high = cine.intensity_window()
    clip = np.clip((np.asarray(cine.pixels[(slice(None), k, *window)], np.float32) - low) / (high - low), 0, 1)
    grid = np.indices(clip.shape[1:])
    distance = np.hypot(grid[0] + top - centre[0], grid[1] + left - centre[1])
    start = distance <= max(1.5, _radius(region) / 2)
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
