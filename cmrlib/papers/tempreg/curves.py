"""Signals over the cycle of a stack, or of one long-axis slice: areas of its masks, and what moves around them."""

from dataclasses import dataclass

import cv2
import numpy as np

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.measures import RefusedError
from cmrlib.measures.curves import FEWEST_FRAMES

SIGNALS = ("lv", "myo", "rv", "lv_middle", "component", "next", "previous", "wide", "brightness")
AROUND_MM = 6.0
"""So far from the ventricles, wherever they come in the cycle, pixels are looked at."""
MOVING = 0.1
"""Share of those pixels whose grey value changes most."""


@dataclass(frozen=True)
class StackSignals:
    """What is kept of a stack: enough for the signals of any choice of its frames.

    areas (frames, 4): LV, myocardium, RV, and LV of the three slices that show most of it, in pixels. brightness
    (frames,): mean of the moving pixels. products (frames, frames): mean product of two frames' moving pixels.
    distances (frames, frames): mean absolute difference of two frames, all pixels around the ventricles.
    """

    areas: np.ndarray
    brightness: np.ndarray
    products: np.ndarray
    distances: np.ndarray

    @classmethod
    def of(cls, cine: Cine, mask) -> "StackSignals":
        """mask: (frames, slices, rows, columns) labels of the whole cycle. Raises RefusedError for cines of fewer than
        8 frames, without a slice that is complete, or without a left ventricle."""
        slices = cine.complete_slices
        if cine.frames < FEWEST_FRAMES or not len(slices):
            needed = f"a whole cycle of {FEWEST_FRAMES} or more is needed"
            raise RefusedError(cine.name, f"{cine.frames} frames", needed)
        labels = np.asarray(mask)[:, slices]
        counts = np.stack([(labels == STRUCTURES[name]).sum((2, 3)) for name in ("lv", "myo", "rv")], -1)
        if not counts[..., 0].any(1).all():
            raise RefusedError(cine.name, "frames without a left ventricle", "a mask of the whole cycle is needed")
        middle = np.argsort(-counts[..., 0].mean(0), kind="stable")[:3]
        heart = np.isin(labels, [STRUCTURES[name] for name in ("lv", "myo", "rv")]).any((0, 1)).astype(np.uint8)
        mm = cine.spacing_mm[1:] if cine.spacing_known else (1.4, 1.4)
        reach = [2 * round(AROUND_MM / one) + 1 for one in mm]
        around = cv2.dilate(heart, np.ones(reach, np.uint8)) > 0
        low, high = cine.intensity_window()
        pixels = np.asarray(cine.pixels[:, slices], np.float32)[:, :, around].reshape(cine.frames, -1)
        pixels = np.clip((pixels - low) / (high - low), 0, 1)
        spread = pixels.std(0)
        moving = pixels[:, spread >= np.quantile(spread, 1 - MOVING)]
        return cls(
            np.c_[counts.sum(1), counts[:, middle, 0].sum(1)].astype(np.float32),
            moving.mean(1),
            moving @ moving.T / moving.shape[1],
            np.stack([np.abs(pixels - frame).mean(1) for frame in pixels]),
        )

    def signals(self, frames=None) -> np.ndarray:
        """(chosen frames, SIGNALS) float32, each of mean 0 and SD 1. frames: in their order round the cycle; default
        all.

        component: first principal component of the moving pixels, positive where they are bright (blood: ED). next,
        previous, wide: distance to the following and the last frame, and between the frames two before and after.
        """
        chosen = np.arange(len(self.areas)) if frames is None else np.asarray(frames)
        pairs = (chosen, np.roll(chosen, -1)), (chosen, np.roll(chosen, 1)), (np.roll(chosen, 2), np.roll(chosen, -2))
        distances = [self.distances[pair] for pair in pairs]
        found = np.c_[self.areas[chosen], self.component(chosen), *distances, self.brightness[chosen]]
        return ((found - found.mean(0)) / (found.std(0) + 1e-6)).astype(np.float32)

    def component(self, frames=None) -> np.ndarray:
        """(chosen frames,) first principal component over time of the moving pixels."""
        chosen = np.arange(len(self.areas)) if frames is None else np.asarray(frames)
        centred = self.products[np.ix_(chosen, chosen)]
        centred = centred - centred.mean(0) - centred.mean(1)[:, None] + centred.mean()
        _, vectors = np.linalg.eigh(centred.astype(float))
        bright = self.brightness[chosen] - self.brightness[chosen].mean()
        return vectors[:, -1] * (1 if vectors[:, -1] @ bright >= 0 else -1)
