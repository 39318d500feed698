"""One cine under trained networks: where the heart lies, then probabilities by test-time augmentation."""

from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
import torch

from cmrlib.agreement.overlap import dice
from cmrlib.cine import Cine, Plane
from cmrlib.cine.anatomy import VIEW_STRUCTURES, codes
from cmrlib.cine.display import orientation_known
from cmrlib.cohort.progress import with_progress
from cmrlib.learning.blocks import spacing_range_mm
from cmrlib.learning.inference import infer
from cmrlib.papers.ternausnet.data import seen_slice, standard_pixels

TIE = 0.02
"""Two orientations whose confidences differ by less are not told apart."""
MARGIN_MM = 25
BATCH = 5
"""Slices a pass: feature maps of more than 32 MB are mapped into memory anew by every layer, an eighth of the time."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A crop in one orientation and scale: side in pixels, centre (column, row), how well two rotated passes agree (0
    where neither shows anything), and the labels of one.

    orientation: image pixels per network pixel (rows, columns), mirrored, quarter turn in degrees.
    """

    orientation: tuple
    side: int
    centre: np.ndarray | None
    confidence: float = 0.0
    labels: np.ndarray | None = None


class CineSegmentation:
    """One cine in its canonical display, seen by the networks of a `Segmentation` task.

    A first pass over the whole image finds the heart, without any reference mask; a second looks at a crop around it,
    `n_tta` times. Where the orientation is unknown, the eight orders of rows and columns are tried; where the pixel
    size is, three scales.
    """

    def __init__(self, task, models, cine: Cine, precision: str = "bf16"):
        self.task, self.models, self.cine, self.precision = task, models, cine, precision
        self.codes = np.array([0, *codes(task.structures)], np.uint8)
        self.absent = [
            channel for channel, name in enumerate(task.structures, 1) if name not in VIEW_STRUCTURES[cine.view]
        ]

    def segment(self, frames, n_tta: int) -> tuple[np.ndarray, np.ndarray]:
        """Labels (these frames, slices, rows, columns) and confidence (these frames, structures): mean Dice of the
        single augmented passes with their mean, times how far the orientation is trusted; NaN for one pass, and for
        what no pass shows."""
        planes, trust = self._heart_planes(frames, augmentations(n_tta))
        box = self._reach(planes)  # elsewhere no pass shows anything
        masks = np.zeros((len(frames), *self.cine.pixels.shape[1:]), np.uint8)
        confidence = []
        for mask, t in zip(masks, with_progress(frames, self.cine.name, "frame", leave=False)):
            images = self._images(t)
            probabilities = [self._native(self._probabilities(images, plane), plane, box) for plane in planes]
            votes = [self._labels(p) for p in probabilities] if n_tta > 1 else []
            mask[:, *box] = self._labels(sum(probabilities[1:], start=probabilities[0]) / np.float32(n_tta))
            confidence.append(self._agreement(votes, mask[:, *box]) * trust)
        return masks, np.array(confidence)

    def _agreement(self, votes, mean) -> np.ndarray:
        """(structures,) mean Dice of votes with their mean."""
        values = [[dice(vote, mean, code) for vote in votes] for code in self.codes[1:]]
        return nan_mean(np.array(values, float), 1)

    def _labels(self, probabilities):
        """Most probable label; what the view cannot show counts as background."""
        if self.absent:
            probabilities = probabilities.copy()
            probabilities[:, 0] += probabilities[:, self.absent].sum(1)
            probabilities[:, self.absent] = 0
        return self.codes[probabilities.argmax(1)]

    def _orientations(self):
        """Orientations of `Candidate`: one where the geometry is known, else all that are possible."""
        low, high = spacing_range_mm(self.cine)
        sizes_mm = [np.full(2, mm) for mm in (low, np.sqrt(low * high), high)]
        sizes_mm = [np.array(self.cine.spacing_mm[1:])] if self.cine.spacing_known else sizes_mm
        turns = [(False, 0)] if orientation_known(self.cine) else product((False, True), (0, 90, 180, 270))
        return [(self.task.spacing_mm / size_mm, *turn) for turn in turns for size_mm in sizes_mm]

    def _heart_planes(self, frames, augmented) -> tuple[list[Plane], float]:
        """One plane per augmentation around the heart, and how far its orientation is trusted: 1, or the agreement with
        another orientation that is as confident."""
        looked, orientations, trust = sorted({frames[0], frames[len(frames) // 2]}), self._orientations(), 1.0
        candidates = [self._candidate(looked, one, judge=len(orientations) > 1) for one in orientations]
        best = max(candidates, key=lambda one: one.confidence)
        for rival in candidates:
            if rival.orientation[1:] != best.orientation[1:] and rival.confidence > best.confidence - TIE:
                trust = min(trust, float(np.nan_to_num(nan_mean(self._agreement([rival.labels], best.labels)))))
        step, *turned = best.orientation
        sides = [int(-(-best.side / min(scale, 1) // 32) * 32) for _, scale in augmented]  # the same field of view
        return [
            self._plane((side, side), (step * scale, *turned), angle, best.centre)
            for (angle, scale), side in zip(augmented, sides, strict=True)
        ], trust

    def _candidate(self, frames, orientation, judge: bool) -> Candidate:
        side, centre = self._find(frames, orientation)
        if not judge:
            return Candidate(orientation, side, centre)
        looked = [self._images(t) for t in frames]
        planes = [self._plane((side, side), orientation, angle, centre) for angle in (-10, 10)]
        one, other = (
            np.concatenate([self._labels(self._native(self._probabilities(images, plane), plane)) for images in looked])
            for plane in planes
        )
        return Candidate(orientation, side, centre, float(np.nan_to_num(nan_mean(self._agreement([one], other)))), one)

    def _find(self, frames, orientation):
        """(side in pixels, centre (column, row) or None) of a crop around the largest thing found."""
        shape = np.ceil(np.array(self.cine.pixels.shape[2:]) / orientation[0] / 32).astype(int) * 32
        whole, side = self._plane(shape[:: -1 if orientation[2] % 180 else 1], orientation), int(shape.max())
        every = len(frames) if self.cine.slices >= 4 else 1  # of a stack each frame shows every second slice, in turn
        looked = [self._images(t, np.s_[n % every :: every]) for n, t in enumerate(frames)]
        probabilities = np.concatenate([self._probabilities(images, whole) for images in looked])
        found = (probabilities[:, 1:] > probabilities[:, :1]).any((0, 1)).astype(np.uint8)
        count, regions, stats, _ = cv2.connectedComponentsWithStats(found)
        if count < 2:
            return side, None
        r, c = np.nonzero(regions == 1 + stats[1:, cv2.CC_STAT_AREA].argmax())
        size = max(np.ptp(r), np.ptp(c)) + 1 + 2 * MARGIN_MM / self.task.spacing_mm
        centre = whole.back_points([[(c.min() + c.max()) / 2, (r.min() + r.max()) / 2]])[0]
        return min(side, int(-(-size // 32) * 32)), centre

    def _plane(self, shape, orientation, angle_deg=0.0, centre=None) -> Plane:
        step, mirror, turn = orientation
        return Plane.around(self.cine.pixels.shape[2:], step, tuple(shape), centre, turn + angle_deg, mirror)

    def _images(self, t, slices=np.s_[:]) -> list[np.ndarray]:
        """What the network sees of slices of a frame, before any plane is taken: see `seen_slice`."""
        return [seen_slice(self.cine, t, k, self.task.antiphase) for k in range(self.cine.slices)[slices]]

    def _probabilities(self, images, plane) -> np.ndarray:
        """(slices, classes, rows, columns) on the plane's grid; a batch never holds slices of two frames."""
        stack = [standard_pixels(self.cine, image, plane) for image in images]
        batches = torch.from_numpy(np.stack(stack)).permute(0, 3, 1, 2).split(BATCH)  # channels last in memory
        return torch.cat([infer(self.models, batch, self.precision) for batch in batches]).numpy()

    def _native(self, probabilities, plane, box=np.s_[:, :]) -> np.ndarray:
        """(slices, classes, rows, columns) on the plane's grid → the same on the cine's own grid, or on a box of it."""
        inside = np.empty(plane.source_shape, bool)[box].shape
        native = np.empty((*probabilities.shape[:2], *inside), np.float32)
        for k, channels in enumerate(probabilities):
            for c in range(1, len(channels)):
                native[k, c] = plane.back_pixels(channels[c])[box]
        native[:, 0] = 1 - native[:, 1:].sum(1)
        return native

    def _reach(self, planes) -> tuple[slice, slice]:
        """Rows and columns of the cine's grid that planes reach together, and a pixel more."""
        corners = [
            plane.back_points([(c, r) for c in (-1, plane.shape[1]) for r in (-1, plane.shape[0])]) for plane in planes
        ]
        low, high = np.concatenate(corners).min(0), np.concatenate(corners).max(0)
        return tuple(slice(max(0, int(a)), max(0, int(b) + 2)) for a, b in zip(low[::-1], high[::-1]))


def nan_mean(values, axis=None):
    """Mean of what is known; NaN, without a warning, where nothing is."""
    known = np.isfinite(values)
    n = known.sum(axis)
    return np.where(n > 0, np.where(known, values, 0).sum(axis) / np.maximum(n, 1), np.nan)


def augmentations(n_tta: int) -> list[tuple[float, float]]:
    """(angle in degrees, scale) of n passes: up to three are rotated; more are rotated further and scaled by up to 14 %
    each way, in an order that mixes the two (the golden ratio's)."""
    if n_tta < 1:
        raise ValueError(f"n_tta must be 1 or more, got {n_tta}")
    if n_tta <= 3:
        return [(angle, 1.0) for angle in ([0.0] if n_tta == 1 else np.linspace(-20, 20, n_tta))]
    mixed = (np.arange(n_tta) - (n_tta - 1) / 2) * 0.618034 + 0.5
    return list(zip(np.linspace(-30, 30, n_tta), np.exp(0.14 * (2 * (mixed % 1) - 1)), strict=True))
