"""A trained network at work: cine in, mask and confidence out, for one cine or a whole cohort."""

import time
from copy import deepcopy
from dataclasses import asdict, dataclass

import cv2
import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cmrlib.anatomy import NOT_ANNOTATED, codes
from cmrlib.appearance import appearance_flags
from cmrlib.blocks import standard_slice
from cmrlib.cine import Cine, Plane
from cmrlib.cohort import Annotation, Observer, missing_pictures
from cmrlib.measures import clean_mask
from cmrlib.overlap import dice
from cmrlib.progress import with_progress
from cmrlib.ternausnet.ensemble import Ensemble, architecture_of, build
from cmrlib.ternausnet.network import TernausNet
from cmrlib.weights import load_weights, save_weights

UNKNOWN_MM = (0.9, 1.3, 1.9)
"""Pixel sizes that are tried on images that lost theirs (JPEG): hearts differ less in size than these do."""


@dataclass(frozen=True)
class Preprocessing:
    """How pixels reach the network; stored beside the weights, used alike in training and prediction.

    opposite: it also sees each slice half a cycle later (`standard_slice`), where cavities are large when they are
    small here.
    """

    view: str = "sax"
    spacing_mm: float = 1.4
    size: int = 128
    opposite: bool = False


class Segmenter:
    """A trained network with its preprocessing: cine in, mask and confidence out; no mask says where the heart is.

    appearance: what the hearts looked like that it learned from (`cmrlib.appearance`), None where nobody recorded it.
    """

    def __init__(self, model: TernausNet | Ensemble, preprocessing: Preprocessing, structures, precision: str = "bf16",
                 appearance: dict | None = None):
        self.appearance = appearance
        self.model, self.network = model.eval(), fold_batch_norm(model)  # as trained, and as it works fastest
        self.preprocessing, self.structures, self.precision = preprocessing, tuple(structures), precision
        self.codes = np.array([0, *codes(structures)], np.uint8)

    @classmethod
    def load(cls, path, precision: str = "bf16") -> "Segmenter":
        model, card = load_weights(path, build)
        return cls(model, Preprocessing(**card["preprocessing"]), card["architecture"]["structures"], precision,
                   card.get("appearance"))

    @classmethod
    def together(cls, segmenters) -> "Segmenter":
        """Segmenters that differ in nothing but their weights as one, whose probabilities are the mean of theirs."""
        first, *others = segmenters
        alike = [(one.preprocessing, one.structures, one.precision) for one in segmenters]
        if len(set(alike)) > 1:
            raise ValueError(f"only segmenters of one kind work together, got {sorted(set(map(str, alike)))}")
        ensemble = Ensemble([one.model for one in segmenters]) if others else first.model
        return cls(ensemble, first.preprocessing, first.structures, first.precision, first.appearance)

    def save(self, path, **card):
        architecture = architecture_of(self.model, self.structures)
        own = {"architecture": architecture, "preprocessing": asdict(self.preprocessing)}
        own |= {"appearance": self.appearance} if self.appearance else {}
        save_weights(self.model, path, own | card)

    def predict(self, cine: Cine, frames=None, copies: int = 3, clean: bool = True):
        """Segment frames of a cine: (mask, confidence, flags).

        mask (frames, slices, rows, columns) uint8 on the native grid, 255 in frames not asked for and in pictures
        that are missing. copies: turned copies of each slice whose probabilities are averaged; more than three are
        scaled too (`copies_of`). confidence: mean Dice of the single copies with their mean, per frame (NaN for one
        copy, for frames not asked for, and where a picture is missing). flags: what `clean_mask` corrected.
        """
        if copies < 1:
            raise ValueError(f"copies must be 1 or more, got {copies}")
        frames = list(range(cine.frames)) if frames is None else list(frames)
        if not frames:
            raise ValueError(f"{cine.name}: no frame to segment; give frame numbers, or None for the whole cycle")
        mask = np.full(cine.pixels.shape, NOT_ANNOTATED, np.uint8)
        confidence, missing = np.full(cine.frames, np.nan), missing_pictures(cine)
        frames = [t for t in frames if not missing[:, t].all()]
        if not frames:
            return mask, confidence, []
        planes = self._heart_planes(cine, frames, copies_of(copies))
        for t in frames:
            probabilities = [self._native(self._probabilities(cine, t, plane), plane) for plane in planes]
            mask[t] = self._labels(np.mean(probabilities, axis=0))
            confidence[t] = self._agreement([self._labels(p) for p in probabilities] if copies > 1 else [], mask[t])
        cleaned, flags = clean_mask(mask[frames]) if clean else (mask[frames], [])
        mask[frames] = cleaned
        mask[missing.T], confidence[missing.any(0)] = NOT_ANNOTATED, np.nan
        return mask, confidence, flags

    def _agreement(self, votes, mean):
        values = [dice(vote, mean, code) for vote in votes for code in self.codes[1:]]
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    def _labels(self, probabilities):
        return self.codes[probabilities.argmax(1)]

    def _ways(self, cine):
        """How the heart may lie in the image: (image pixels a network pixel, mirrored, quarter turn). Archives turn
        images; those that lost their geometry (JPEG) are tried at several scales, and mirrored too."""
        sizes_mm = [np.array(cine.spacing_mm[1:])] if cine.spacing_known else [np.full(2, mm) for mm in UNKNOWN_MM]
        mirrors = (False,) if cine.spacing_known else (False, True)
        return [(self.preprocessing.spacing_mm / size_mm, mirror, turn)
                for size_mm in sizes_mm for mirror in mirrors for turn in (0, 90, 180, 270)]

    def _heart_planes(self, cine, frames, copies) -> list[Plane]:
        """Where and which way up to look closely: of all ways in which a heart may lie, the one in which two slightly
        turned copies of what is found agree best."""
        looked, best = sorted({frames[0], frames[len(frames) // 2]}), (-1.0, None)
        for way in self._ways(cine):
            size, centre = self._find(cine, looked, way)
            planes = [self._plane(cine, size, way, angle, centre) for angle in (-10, 10)]
            trust = np.mean([self._trust(cine, t, planes) for t in looked])
            best = max(best, (trust, (size, centre, way)), key=lambda look: look[0])
        size, centre, way = best[1]
        step, *turned = way
        sides = [int(-(-size / min(scale, 1) // 32) * 32) for _, scale in copies]  # smaller pixels: more of them
        return [self._plane(cine, side, (step * scale, *turned), angle, centre)
                for (angle, scale), side in zip(copies, sides, strict=True)]

    def _find(self, cine, frames, way):
        """(side in pixels, centre (column, row) or None) of a crop around the largest thing found, 25 mm to spare."""
        side = int(-(-max(np.array(cine.pixels.shape[2:]) / way[0]) // 32) * 32)
        whole = self._plane(cine, side, way)
        found = _largest(np.concatenate([self._probabilities(cine, t, whole) for t in frames]).argmax(1) > 0)
        if not found.any():
            return side, None
        r, c = np.nonzero(found)
        margin = 25 / self.preprocessing.spacing_mm
        size = min(side, int(-(-(max(np.ptp(r), np.ptp(c)) + 1 + 2 * margin) // 32) * 32))
        return size, whole.back_points([[(c.min() + c.max()) / 2, (r.min() + r.max()) / 2]])[0]

    def _plane(self, cine, side, way, angle_deg=0.0, centre=None) -> Plane:
        step, mirror, turn = way
        return Plane.around(cine.pixels.shape[2:], step, (side, side), centre, turn + angle_deg, mirror)

    def _trust(self, cine, t, planes):
        """Mean Dice of two turned copies of one frame, 0 where neither shows anything."""
        one, other = (self._labels(self._native(self._probabilities(cine, t, plane), plane)) for plane in planes)
        return np.nan_to_num(self._agreement([one], other))

    def _probabilities(self, cine, t, plane) -> np.ndarray:
        """(slices, classes, rows, columns) on the plane's grid; a batch is one frame's slices, never more."""
        stack = np.stack([standard_slice(cine, t, k, plane, self.preprocessing.opposite) for k in range(cine.slices)])
        return self.infer(torch.from_numpy(stack).permute(0, 3, 1, 2)).numpy()  # channels last in memory

    def infer(self, batch) -> torch.Tensor:
        """Slices (b, 3 or 4, rows, columns) → probabilities (b, classes, rows, columns), fp32."""
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
            return self.network(batch).float().softmax(1)

    def _native(self, probabilities, plane) -> np.ndarray:
        """(slices, classes, rows, columns) on the plane's grid → the same on the cine's own grid."""
        native = np.zeros((*probabilities.shape[:2], *plane.source_shape), np.float32)
        for k, channels in enumerate(probabilities):
            for c in range(1, len(channels)):
                native[k, c] = plane.back_pixels(channels[c])
        native[:, 0] = 1 - native[:, 1:].sum(1)
        return native


def copies_of(n: int) -> list[tuple[float, float]]:
    """(angle in degrees, scale) of n copies of a slice: up to three are turned; more are turned further and scaled by
    up to 14 % each way, in an order that mixes the two (the golden ratio's)."""
    if n <= 3:
        return [(angle, 1.0) for angle in ([0.0] if n == 1 else np.linspace(-20, 20, n))]
    mixed = (np.arange(n) - (n - 1) / 2) * 0.618034 + 0.5
    return list(zip(np.linspace(-30, 30, n), np.exp(0.14 * (2 * (mixed % 1) - 1)), strict=True))


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Copy for prediction, channels last: each batch norm becomes part of the convolution before it, which is exact."""
    folded = deepcopy(model).eval()
    for part in folded.modules():
        if isinstance(part, nn.Sequential) and len(part) > 1 and isinstance(part[1], nn.BatchNorm2d):
            part[0], part[1] = fuse_conv_bn_eval(part[0], part[1]), nn.Identity()
    return folded.to(memory_format=torch.channels_last)


def _largest(found) -> np.ndarray:
    """(slices, rows, columns) bool → (rows, columns): where the largest connected region of the projection lies."""
    count, regions, stats, _ = cv2.connectedComponentsWithStats(found.any(0).astype(np.uint8))
    return regions == 1 + stats[1:, cv2.CC_STAT_AREA].argmax() if count > 1 else np.zeros(found.shape[1:], bool)


def segment_cohort(cohort, segmenters: dict[str, Segmenter], folder, subjects=None, reference: str = "",
                   whole_cycle: bool = True, copies: int = 3) -> pd.DataFrame:
    """Segment every cine of the views that have a segmenter, and lay the masks over the cohort as an observer.

    folder: the observer's. subjects: participant_ids, default all. whole_cycle False: only cines and frames that
    the observer `reference` drew. Returns a row a cine: participant_id, session, cine, view, frames, confidence (mean
    over ED and ES where they are known, else over all frames), seconds, flags (what was corrected, and
    `unlike_training` where the cine looks like none that the network learned from).
    """
    wanted = cohort.cines[cohort.cines["view"].isin(list(segmenters))]
    wanted = wanted if subjects is None else wanted[wanted["participant_id"].isin(list(subjects))]
    looked = cohort.observer(reference) if reference and not whole_cycle else None
    wanted = wanted[[looked is None or looked.has(name) for name in wanted["cine"]]]
    if wanted.empty:
        raise ValueError(f"no cine of the views {', '.join(segmenters)} among these subjects of {cohort.path.name}")
    observer, rows = Observer(folder), []
    for row in with_progress(list(wanted.itertuples()), "segment", "cine"):
        cine, start = cohort.cine(row.cine), time.monotonic()
        frames = sorted(looked.mask(row.cine).annotated) if looked else list(range(cine.frames))
        segmenter = segmenters[row.view]
        mask, confidence, flags = segmenter.predict(cine, frames, copies)
        seen = [t for t in frames if (mask[t] != NOT_ANNOTATED).any()]
        strange = appearance_flags(cine, segmenter.appearance)
        observer.write(cine, Annotation(mask, dict.fromkeys(seen, segmenter.structures), flags=strange))
        phases = [confidence[t] for t in (cine.ed, cine.es) if t is not None and np.isfinite(confidence[t])]
        known = phases or [c for c in confidence if np.isfinite(c)] or [np.nan]
        rows.append({"participant_id": row.participant_id, "session": row.session, "cine": row.cine, "view": row.view,
                     "frames": len(seen), "confidence": float(np.mean(known)),
                     "seconds": round(time.monotonic() - start, 3), "flags": ";".join([*flags, *strange])})
    return pd.DataFrame(rows)
