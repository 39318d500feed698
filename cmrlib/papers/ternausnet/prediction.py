"""A trained network at work: cine in, mask and confidence out, for one cine or a whole cohort."""

import time
from dataclasses import asdict, dataclass
from itertools import product

import cv2
import numpy as np
import pandas as pd
import torch

from cmrlib.agreement.overlap import dice
from cmrlib.cine import Cine, Plane
from cmrlib.cine.anatomy import NOT_ANNOTATED, VIEW_STRUCTURES, codes, views_of
from cmrlib.cine.display import displayed, orientation_known
from cmrlib.cohort import Annotation, Observer
from cmrlib.cohort.progress import with_progress
from cmrlib.cohort.provenance import KNOWN, joined, known_to, learned, record
from cmrlib.learning.appearance import appearance_flags
from cmrlib.learning.blocks import spacing_range_mm, standard_slice
from cmrlib.learning.inference import infer, optimise_for_inference
from cmrlib.learning.weights import load_weights, save_weights
from cmrlib.measures import clean_mask
from cmrlib.papers.ternausnet.ensemble import Ensemble, architecture_of, build
from cmrlib.papers.ternausnet.network import TernausNet

TIE = 0.02
"""Two orientations whose confidences differ by less are not told apart."""


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


@dataclass(frozen=True, eq=False)
class _Look:
    """What one way of looking found: side of the crop (pixels), its centre (column, row), how well two turned copies
    agree (0 where neither shows anything), and the labels of one."""

    way: tuple
    side: int
    centre: np.ndarray | None
    confidence: float = 0.0
    labels: np.ndarray | None = None


class Segmenter:
    """A trained network with its preprocessing: cine in, mask and confidence out; no mask says where the heart is.

    appearance: what the hearts looked like that it learned from (`cmrlib.learning.appearance`), empty if unknown.
    learned: from whom it learned and on which terms (`cmrlib.cohort.provenance`), empty where nobody recorded it.
    """

    def __init__(
        self,
        model: TernausNet | Ensemble,
        preprocessing: Preprocessing,
        structures,
        precision: str = "bf16",
        appearance=(),
    ):
        self.appearance, self.learned = list(appearance), {}
        self.model, self.network = model.eval(), optimise_for_inference(model)  # as trained, and to predict
        self.preprocessing, self.structures, self.precision = preprocessing, tuple(structures), precision
        self.codes = np.array([0, *codes(structures)], np.uint8)

    @property
    def views(self) -> tuple[str, ...]:
        """The views that it segments: one, or all long-axis views."""
        return views_of(self.preprocessing.view)

    def structures_in(self, view: str) -> tuple[str, ...]:
        """What it outlines in a view: of a network for all long-axis views, what that view can show."""
        return tuple(name for name in self.structures if name in VIEW_STRUCTURES[view])

    @classmethod
    def load(cls, path, precision: str = "bf16") -> "Segmenter":
        model, card = load_weights(path, build)
        seen = card.get("appearance", ())
        loaded = cls(
            model,
            Preprocessing(**card["preprocessing"]),
            card["architecture"]["structures"],
            precision,
            [seen] if isinstance(seen, dict) else seen,
        )  # a single one in cards of before
        loaded.learned = learned(card)
        return loaded

    @classmethod
    def together(cls, segmenters) -> "Segmenter":
        """Segmenters that differ in nothing but their weights as one, whose probabilities are the mean of theirs."""
        first, *others = segmenters
        alike = [(one.preprocessing, one.structures, one.precision) for one in segmenters]
        if len(set(alike)) > 1:
            raise ValueError(f"only segmenters of one kind work together, got {sorted(set(map(str, alike)))}")
        ensemble = Ensemble([one.model for one in segmenters]) if others else first.model
        whole = cls(ensemble, first.preprocessing, first.structures, first.precision, first.appearance)
        whole.learned = joined(*(one.learned for one in segmenters))
        return whole

    def save(self, path, **card):
        architecture = architecture_of(self.model, self.structures)
        own = {"architecture": architecture, "preprocessing": asdict(self.preprocessing)}
        own |= self.learned | {"appearance": self.appearance}
        save_weights(self.model, path, own | card)

    def predict(self, cine: Cine, frames=None, copies: int = 3, clean: bool = True):
        """Segment frames of a cine: (mask, confidence, flags).

        mask (frames, slices, rows, columns) uint8 on the native grid, 255 in frames not asked for and in pictures
        that are missing. copies: turned copies of each slice whose probabilities are averaged; more than three are
        scaled too (`copies_of`). confidence: mean Dice of the single copies with their mean, per frame (NaN for one
        copy, for frames not asked for, and where a picture is missing). flags: what `clean_mask` corrected.

        The network sees the cine in its canonical display. Where the orientation is not known, the eight orders of rows
        and columns are tried (flag `orientation_searched`); where two of them suit equally, the confidence is
        multiplied by how well their outlines agree.
        """
        if copies < 1:
            raise ValueError(f"copies must be 1 or more, got {copies}")
        frames = list(range(cine.frames)) if frames is None else list(frames)
        if not frames:
            raise ValueError(f"{cine.name}: no frame to segment; give frame numbers, or None for the whole cycle")
        mask = np.full(cine.pixels.shape, NOT_ANNOTATED, np.uint8)
        confidence, missing = np.full(cine.frames, np.nan), cine.missing
        frames = [t for t in frames if not missing[:, t].all()]
        if not frames:
            return mask, confidence, []
        shown, by = displayed(cine)
        segmented, confidence[frames], searched = self._segment(shown, frames, copies_of(copies))
        cleaned, flags = clean_mask(segmented, view=cine.view) if clean else (segmented, [])
        mask[frames] = by.back(cleaned)
        mask[missing.T], confidence[missing.any(0)] = NOT_ANNOTATED, np.nan
        return mask, confidence, [*flags, *searched]

    def _segment(self, cine, frames, copies):
        """(mask of these frames, confidence of each, flags) of a cine in its canonical display."""
        planes, doubt = self._heart_planes(cine, frames, copies)
        masks, confidence = [], []
        for t in frames:
            probabilities = [self._native(self._probabilities(cine, t, plane), plane) for plane in planes]
            masks.append(self._labels(np.mean(probabilities, axis=0), cine.view))
            votes = [self._labels(p, cine.view) for p in probabilities] if len(copies) > 1 else []
            confidence.append(self._agreement(votes, masks[-1]) * doubt)
        return np.stack(masks), confidence, [] if orientation_known(cine) else ["orientation_searched"]

    def _agreement(self, votes, mean):
        values = [dice(vote, mean, code) for vote in votes for code in self.codes[1:]]
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    def _labels(self, probabilities, view):
        """Most probable label; what the view cannot show counts as background."""
        absent = [c for c, name in enumerate(self.structures, 1) if name not in VIEW_STRUCTURES[view]]
        if absent:
            probabilities = probabilities.copy()
            probabilities[:, 0] += probabilities[:, absent].sum(1)
            probabilities[:, absent] = 0
        return self.codes[probabilities.argmax(1)]

    def _ways(self, cine):
        """How the heart may lie in the image: (image pixels a network pixel, mirrored, quarter turn). One way where
        the geometry is known; all eight orientations, and several scales, where an archive lost it."""
        low, high = spacing_range_mm(cine)
        sizes_mm = (
            [np.array(cine.spacing_mm[1:])]
            if cine.spacing_known
            else [np.full(2, mm) for mm in (low, np.sqrt(low * high), high)]
        )
        turns = [(False, 0)] if orientation_known(cine) else product((False, True), (0, 90, 180, 270))
        return [(self.preprocessing.spacing_mm / size_mm, *turn) for turn in turns for size_mm in sizes_mm]

    def _heart_planes(self, cine, frames, copies) -> tuple[list[Plane], float]:
        """Where to look closely, and how far to trust that: of all ways in which a heart may lie, the one in which two
        slightly turned copies of what is found agree best; the trust is 1 unless another orientation does as well."""
        looked = sorted({frames[0], frames[len(frames) // 2]})
        ways, doubt = self._ways(cine), 1.0
        looks = [self._look(cine, looked, way, judge=len(ways) > 1) for way in ways]
        best = max(looks, key=lambda look: look.confidence)
        rivals = [look for look in looks if look.way[1:] != best.way[1:] and look.confidence > best.confidence - TIE]
        for rival in rivals:
            doubt = min(doubt, np.nan_to_num(self._agreement([rival.labels], best.labels)))
        step, *turned = best.way
        sides = [int(-(-best.side / min(scale, 1) // 32) * 32) for _, scale in copies]  # smaller pixels: more of them
        return [
            self._plane(cine, side, (step * scale, *turned), angle, best.centre)
            for (angle, scale), side in zip(copies, sides, strict=True)
        ], doubt

    def _look(self, cine, frames, way, judge: bool) -> "_Look":
        side, centre = self._find(cine, frames, way)
        if not judge:
            return _Look(way, side, centre)
        planes = [self._plane(cine, side, way, angle, centre) for angle in (-10, 10)]
        one, other = (
            np.concatenate(
                [self._labels(self._native(self._probabilities(cine, t, plane), plane), cine.view) for t in frames]
            )
            for plane in planes
        )
        return _Look(way, side, centre, float(np.nan_to_num(self._agreement([one], other))), one)

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

    def _probabilities(self, cine, t, plane) -> np.ndarray:
        """(slices, classes, rows, columns) on the plane's grid; a batch is one frame's slices, never more."""
        stack = np.stack([standard_slice(cine, t, k, plane, self.preprocessing.opposite) for k in range(cine.slices)])
        return self.infer(torch.from_numpy(stack).permute(0, 3, 1, 2)).numpy()  # channels last in memory

    def infer(self, batch) -> torch.Tensor:
        """Slices (b, 3 or 4, rows, columns) → probabilities (b, classes, rows, columns), fp32."""
        return infer(self.network, batch, self.precision).softmax(1)

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


def _largest(found) -> np.ndarray:
    """(slices, rows, columns) bool → (rows, columns): where the largest connected region of the projection lies."""
    count, regions, stats, _ = cv2.connectedComponentsWithStats(found.any(0).astype(np.uint8))
    return regions == 1 + stats[1:, cv2.CC_STAT_AREA].argmax() if count > 1 else np.zeros(found.shape[1:], bool)


def segment_cohort(
    cohort,
    segmenters: dict[str, Segmenter],
    folder,
    subjects=None,
    reference: str = "",
    whole_cycle: bool = True,
    copies: int = 3,
) -> pd.DataFrame:
    """Segment every cine of the views that have a segmenter, and lay the masks over the cohort as an observer.

    segmenters: view → its network; one for `lax` does for all long-axis views. folder: the observer's. subjects:
    participant_ids, default all. whole_cycle False: only cines and frames that the observer `reference` drew. Returns a
    row a cine: participant_id, session, cine, view, frames, confidence (mean over ED and ES where they are known, else
    over all frames), seconds, flags (what was corrected, `unlike_training` where the cine looks like none that the
    network learned from, and `KNOWN` where it learned from this very subject).
    """
    segmenters = {view: one for key, one in segmenters.items() for view in views_of(key)} | segmenters
    wanted = cohort.cines[cohort.cines["view"].isin(list(segmenters))]
    wanted = wanted if subjects is None else wanted[wanted["participant_id"].isin(list(subjects))]
    looked = cohort.observer(reference) if reference and not whole_cycle else None
    wanted = wanted[[looked is None or looked.has(name) for name in wanted["cine"]]]
    if wanted.empty:
        raise ValueError(f"no cine of the views {', '.join(segmenters)} among these subjects of {cohort.path.name}")
    observer, rows = Observer(folder), []
    record(folder, [one.learned for one in segmenters.values()])
    taught = {view: known_to(one.learned, cohort) for view, one in segmenters.items()}
    for row in with_progress(list(wanted.itertuples()), "segment", "cine"):
        cine, start = cohort.cine(row.cine), time.monotonic()
        frames = sorted(looked.mask(row.cine).annotated) if looked else list(range(cine.frames))
        segmenter = segmenters[row.view]
        mask, confidence, flags = segmenter.predict(cine, frames, copies)
        seen = [t for t in frames if (mask[t] != NOT_ANNOTATED).any()]
        strange = appearance_flags(cine, segmenter.appearance) + (KNOWN,) * (row.participant_id in taught[row.view])
        drawn = dict.fromkeys(seen, segmenter.structures_in(row.view))
        doubts = [
            name
            for name in dict.fromkeys(flag.split(":")[0] for flag in flags)
            if name == "orientation_searched" or (name == "myo_open" and row.view != "sax")
        ]
        observer.write(cine, Annotation(mask, drawn, flags=(*strange, *doubts)))  # what a reader of numbers should see
        phases = [confidence[t] for t in (cine.ed, cine.es) if t is not None and np.isfinite(confidence[t])]
        known = phases or [c for c in confidence if np.isfinite(c)] or [np.nan]
        rows.append(
            {
                "participant_id": row.participant_id,
                "session": row.session,
                "cine": row.cine,
                "view": row.view,
                "frames": len(seen),
                "confidence": float(np.mean(known)),
                "seconds": round(time.monotonic() - start, 3),
                "flags": ";".join([*flags, *strange]),
            }
        )
    return pd.DataFrame(rows)
