"""Where the left ventricle lies in a short-axis stack, found in the moving picture without a network.

In every slice the cavity is a bright disc inside a dark ring, and its border moves all around. The right ventricle
moves as much but is no disc; vessels and stomach are discs that hardly move. The mean over slices leaves what
continues along the stack's normal.
"""

import cv2
import numpy as np
from scipy import ndimage

PIXEL_MM = 2.5
RADII_MM = (12, 15, 18, 22, 26, 31, 36, 42)
"""Of the cavity in a short-axis slice, averaged over the cycle."""
_DIRECTIONS = 12
_STEP_MM = 3.0
"""Half the distance over which the border is looked for."""
_QUANTILE = 0.2
"""Of the directions, how many may miss the border: the papillary muscles and the valve are there."""
_CLEARNESS = 1.2
"""The best place scores at least so many times what any place farther than `_ELSEWHERE_MM` scores."""
_ELSEWHERE_MM = 25.0


MOST_FRAMES = 10
"""Of a slice; more of a cycle tell no more."""


def lv_axis_lps(affine, slices) -> np.ndarray | None:
    """(slices, 3) LPS mm: where the LV's axis meets the slices of a short-axis stack; None where the pictures do not
    tell. affine: (4, 4) RAS. slices: (frames, rows, columns) each."""
    affine = np.asarray(affine, float)
    spacing_mm = [float(np.linalg.norm(affine[:3, axis])) for axis in (1, 0)]
    centre = lv_centre([frames[:: -(-len(frames) // MOST_FRAMES)] for frames in slices], spacing_mm)
    if centre is None:
        return None
    ijk1 = np.array([[*centre, k, 1] for k in range(len(slices))])
    return (ijk1 @ affine.T)[:, :3] * [-1, -1, 1]


def lv_centre(slices, spacing_mm) -> np.ndarray | None:
    """(column, row) px of the LV's axis, averaged over a stack's slices; None where nothing stands out.

    slices: one (frames, rows, columns) each, frames in any order. spacing_mm: (row, column).
    """
    score = np.mean([_score(*_resampled(frames, spacing_mm)) for frames in slices], axis=0)
    score = ndimage.gaussian_filter(score, 1)
    best = np.array(np.unravel_index(score.argmax(), score.shape))
    rows, columns = np.indices(score.shape)
    elsewhere = score[np.hypot(rows - best[0], columns - best[1]) * PIXEL_MM > _ELSEWHERE_MM]
    if elsewhere.size == 0 or not score.max() > _CLEARNESS * elsewhere.max():
        return None
    shape = np.array(np.shape(slices[0])[1:])
    row, column = (best + 0.5) * shape / score.shape - 0.5
    return np.array([column, row])


def _resampled(frames, spacing_mm) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over time on pixels of about `PIXEL_MM`, relative to the brightest tissue."""
    frames = np.asarray(frames, np.float32)
    size = np.maximum(1, np.round(np.array(frames.shape[1:]) * spacing_mm / PIXEL_MM)).astype(int)
    mean, variation = (
        cv2.resize(image, tuple(size.tolist())[::-1], interpolation=cv2.INTER_AREA)
        for image in (frames.mean(0), frames.std(0))
    )
    bright = max(float(np.percentile(mean, 99)), 1e-6)
    return ndimage.gaussian_filter(np.clip(mean / bright, 0, 1.2), 0.5), ndimage.gaussian_filter(variation / bright, 1)


def _score(mean, variation) -> np.ndarray:
    """How well each pixel serves as the centre of a bright disc with a moving border: (rows, columns), at least 0.

    The geometric mean of contrast and motion across the border, each as it is in the worst directions but a fifth.
    """
    contrast, motion = np.zeros(mean.shape), np.zeros(mean.shape)
    for radius in RADII_MM:
        inner, outer = _around(mean, radius - _STEP_MM), _around(mean, radius + _STEP_MM)
        contrast = np.maximum(contrast, _worst((inner - outer) / (inner + outer + 0.05)))
        motion = np.maximum(motion, _worst(_around(variation, radius - _STEP_MM)))
    return np.sqrt(contrast * motion)


def _around(image, radius_mm) -> np.ndarray:
    """(directions, rows, columns): each pixel's neighbours at a distance, the image continued by its edge."""
    angles = np.arange(_DIRECTIONS) * 2 * np.pi / _DIRECTIONS
    steps = np.rint(np.stack([np.sin(angles), np.cos(angles)], 1) * radius_mm / PIXEL_MM).astype(int)
    margin, (rows, columns) = int(abs(steps).max()), image.shape
    padded = np.pad(image, margin, mode="edge")
    return np.stack([padded[margin + r : margin + r + rows, margin + c : margin + c + columns] for r, c in steps])


def _worst(values) -> np.ndarray:
    kth = int(_QUANTILE * (len(values) - 1))
    return np.partition(values, kth, axis=0)[kth]
