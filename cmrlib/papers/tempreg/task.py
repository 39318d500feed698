"""TempReg-Net as a task: sections through time in, ED and ES of every section and of the whole cine out."""

from dataclasses import dataclass

import numpy as np
import torch
from fastai.data.block import DataBlock, TransformBlock
from fastai.optimizer import OptimWrapper

from cmrlib import cine
from cmrlib.cine import Cine
from cmrlib.cohort import Annotation
from cmrlib.learning import blocks, training
from cmrlib.learning.blocks import SliceRef
from cmrlib.learning.inference import infer
from cmrlib.learning.task import Task, by_split
from cmrlib.measures import RefusedError
from cmrlib.measures.curves import FEWEST_FRAMES
from cmrlib.measures.motion import moving_centre
from cmrlib.papers.tempreg import clips, network, targets
from cmrlib.papers.tempreg.clips import SectionClip, section_clip, section_table
from cmrlib.papers.tempreg.network import TempRegLoss, TempRegNet
from cmrlib.papers.tempreg.targets import decode

COLUMNS = ("slice", "ed", "es", "ed_frac", "es_frac", "ed_ms", "es_ms", "confidence")


@dataclass(frozen=True)
class TempReg(Task):
    """ED and ES of a cine of any left-heart view (Kong et al., MICCAI 2016).

    The paper: width 96, 1024 features; LSTM width and crop size are not stated there. spacing_mm, size (pixels a side,
    a multiple of 32), frames (of a cycle; other lengths are resampled): of the network's input. channels: `copies` of
    the grey frame (the paper), or `motion`: the frame, its difference from the cycle's mean, and the change from the
    frame before to the one after. width: channels of the first convolution, a multiple of 3. norm: `batch`, or `local`
    (response normalisation, as the published Zeiler–Fergus weights want it). lstm: `standard`, `paper` (equation 1), or
    `none` (the paper's CNN + regression). relative: features are taken relative to their mean over the cycle. n_passes:
    how often the LSTM goes round the cycle in training; the last pass counts. 1 is the paper, which leaves the first
    frames without a past, in prediction too; with more, prediction goes round until the curve no longer changes, so
    that no frame is the first. beta: weight of the structured loss, 0 for none. weight_decay: alpha of equation 3.
    cut: up to so many neighbouring frames are left out in training, so that a jump in the recording is no ED. target:
    `cyclic` or `paper` (equation 4 to the letter). decoding: how a curve becomes frames (`targets.decode`).
    """

    views: tuple[str, ...] = ("sax", "4ch", "2ch", "3ch")
    spacing_mm: float = 1.8
    size: int = 96
    frames: int = 20
    channels: str = "motion"
    width: int = 96
    features: int = 1024
    hidden: int = 256
    norm: str = "batch"
    lstm: str = "standard"
    relative: bool = True
    n_passes: int = 2
    beta: float = 10.0
    weight_decay: float = 0.01
    cut: int = 0
    target: str = "cyclic"
    decoding: str = "fit"

    fewest_frames = FEWEST_FRAMES
    code = (cine, cine.plane, cine.section, blocks, training, clips, network, targets)

    def items(self, cohort, annotations, split):
        return section_table(cohort, annotations, split, self.views)

    def block(self, cohort, annotations):
        getters = {"get_x": self.section(cohort), "get_y": lambda row: (row["ed"], row["es"])}
        return DataBlock((TransformBlock, TransformBlock), **getters, splitter=by_split, item_tfms=self.clip())

    def section(self, cohort):
        """Function from a row of `items` to the section, with the middle of what moves in it."""
        return lambda row: SliceRef(cohort.cine(row["cine"]), 0, row["k"], moving_centre(cohort.cine(row["cine"])))

    def clip(self) -> SectionClip:
        return SectionClip(self)

    def network(self):
        return TempRegNet(self)

    def loss(self):
        return TempRegLoss(self.beta, self.target == "cyclic")

    def parameter_groups(self, model):
        """All weights but the read-out's, and the read-out's, which learns ten times faster."""
        readout = set(model.readout.parameters())
        return [[p for p in model.parameters() if p not in readout], list(model.readout.parameters())]

    def optimiser(self, params, lr):
        return OptimWrapper(params, torch.optim.AdamW, lr=lr, weight_decay=self.weight_decay)

    def inputs(self, cine: Cine, annotation=None, order=None):
        return torch.from_numpy(np.stack([section_clip(cine, k, self, order) for k in range(cine.slices)]))

    def curves(self, models, cine: Cine, order=None, precision: str = "bf16") -> np.ndarray:
        """(slices, frames of the task): the networks' answer, high at ED and low at ES; NaN for sections that lack a
        frame. order: of the cine's frames, as the networks are shown them; default all, from the first on."""
        curves, inputs = np.full((cine.slices, self.frames), np.nan, np.float32), self.inputs(cine, order=order)
        for k in cine.complete_slices:  # a batch is one section, so that none sways another
            curves[k] = infer(models, inputs[k : k + 1], precision)[0].numpy()
        return curves

    def predict_cine(self, models, cine, annotation=None, offset_seed=None, order=None, precision="bf16"):
        """Annotation with ED and ES, and a row of COLUMNS per slice and one, slice −1, for the whole cine.

        offset_seed: the cine is shown from a random frame on, so that nothing can be known from where a recording
        begins; None shows it as it is, and so does target `paper`, which knows a first frame. order: which frames are
        shown, in this order.
        """
        if cine.frames < self.fewest_frames:
            whole = f"ED and ES are looked for in a whole cycle of {self.fewest_frames} or more"
            raise RefusedError(cine.name, f"{cine.frames} frames", whole)
        if offset_seed is not None and self.target == "cyclic":
            order = np.roll(np.arange(cine.frames), -random_first(cine, offset_seed))
        return self.decode(cine, self.curves(models, cine, order, precision), order)

    def decode(self, cine, outputs, order=None):
        """Curves (slices, frames) → ED and ES. The whole cine's curve is the mean of its slices' weighted by their
        confidence; its times are those of the most confident slice."""
        curves, order = np.asarray(outputs), np.arange(cine.frames) if order is None else np.asarray(order)
        nothing = dict.fromkeys(COLUMNS[1:], np.nan)
        rows = [{"slice": k} | nothing for k in (*range(len(curves)), -1)]
        weights = {}
        for k in np.flatnonzero(np.isfinite(curves).all(1)):
            found = decode(curves[k], self.decoding, self.target)
            rows[k] |= self._row(cine, k, found, order)
            weights[k] = found.confidence**2 + 1e-6
        if not weights:
            return None, rows
        mean = np.average(curves[list(weights)], axis=0, weights=list(weights.values()))
        last = self._row(cine, max(weights, key=weights.get), decode(mean, self.decoding, self.target), order)
        rows[-1] |= last
        frames = {"view": cine.view} | {name: last[name] for name in ("ed", "es", "ed_frac", "es_frac", "confidence")}
        return Annotation(frames=frames), rows

    def _row(self, cine, k, found, order):
        """COLUMNS but the slice; times are those of slice k, NaN where these are unknown."""
        row, times, n = {"confidence": found.confidence}, np.full(cine.frames, np.nan), cine.frames
        if cine.frame_times_ms is not None and np.isfinite(cine.frame_times_ms[k]).all():
            times = cine.frame_times_ms[k]
        times = np.r_[times, times[-1] + np.median(np.diff(times))]
        onward = order[0] + np.r_[(order - order[0]) % n, n]
        for phase, frame in (("ed", found.ed), ("es", found.es)):
            place = cine.section(k, order).from_even(frame, self.frames)
            between = float(np.interp(place, np.arange(len(onward)), onward) % n)
            row |= {phase: int(order[int(np.floor(place + 0.5)) % len(order)]), f"{phase}_frac": between}
            row[f"{phase}_ms"] = float(np.interp(between, np.arange(n + 1), times))
        return row


def random_first(cine: Cine, seed: int) -> int:
    """The frame from which a cine is shown, from the seed and the cine's name alone."""
    return int(np.random.default_rng([seed, *cine.name.encode()]).integers(cine.frames))
