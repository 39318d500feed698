"""Where a section moves: optical flow's mean magnitude, smoothed, as weights of the loss (§ 4.2)."""

import cv2
import numpy as np

from cmrlib.cine import Cine

FARNEBACK = {"pyr_scale": 0.5, "levels": 3, "winsize": 15, "iterations": 3, "poly_n": 5, "poly_sigma": 1.2, "flags": 0}
"""OpenCV's usual settings; the paper names the method only."""

LEAST_PX = 0.01
"""A section that moves less between two images stands still; scaled to 1, rounding errors would look like motion."""


def frame_pairs(frames: int, step: int = 5) -> list[tuple[int, int]]:
    """Every step-th frame with the one a step later, round the cycle: frames // step pairs (n = L / 5).

    A cine too short for two pairs is halved.
    """
    step = step if frames >= 2 * step else max(1, frames // 2)
    return [(first, (first + step) % frames) for first in range(0, frames - frames % step, step)]


def flow_weights(section, step: int = 5, sigma_px: float = 10.0, resized: int = 0) -> np.ndarray:
    """(rows, columns) float32 in 0 to 1 of a section (frames, rows, columns); all 0 where nothing moves.

    step: frames between two images of a pair. sigma_px: of the Gaussian, in the image's own pixels or, with `resized`,
    in those of a clip of so many pixels over the short side (which of them the paper means is not stated).
    """
    peak = float(section.max())
    scale = 255 / peak if peak > 0 else 0.0
    images = (np.asarray(section, np.float32) * scale).astype(np.uint8)
    mean = np.zeros(section.shape[1:], np.float32)
    pairs = frame_pairs(len(section), step)
    for first, second in pairs:
        flow = cv2.calcOpticalFlowFarneback(images[first], images[second], None, **FARNEBACK)
        mean += np.linalg.norm(flow, axis=2) / len(pairs)
    sigma = sigma_px * (min(mean.shape) / resized if resized else 1)
    smooth = cv2.GaussianBlur(mean, (0, 0), sigma)
    return smooth / smooth.max() if smooth.max() > LEAST_PX else np.zeros_like(smooth)


def stored_weights(weights) -> np.ndarray:
    """uint8 at half the resolution: smooth over ten pixels, they lose nothing that matters; 255 is 1."""
    rows, columns = weights.shape
    small = cv2.resize(weights, (max(1, columns // 2), max(1, rows // 2)), interpolation=cv2.INTER_AREA)
    return np.round(255 * np.clip(small, 0, 1)).astype(np.uint8)


def section_picture(cine: Cine, k: int, stored) -> tuple[np.ndarray, np.ndarray]:
    """(first frame (rows, columns), weights 0 to 1 of the same shape) of slice k, for a picture; stored: see
    `stored_weights`."""
    image = np.asarray(cine.pixels[0, k], np.float32)
    return image, cv2.resize(stored, image.shape[::-1], interpolation=cv2.INTER_LINEAR) / 255.0
