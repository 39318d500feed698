"""ED and ES of a whole short-axis stack, one decision for all slices: what patients need where TempReg-Net's single
sections say too little.

A segmentation and the pixels around the ventricles become a few signals over the cycle (`StackSignals`). A network of
circular convolutions over time reads them: shifting the recording by a frame shifts its answer by a frame, for any
number of frames, so that where a recording begins tells it nothing. Where a recording leaves out a part of the cycle,
the jump from its last frame to its first would tell: in training up to `cut` neighbouring frames are left out at a
random place, which makes jumps elsewhere.
"""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from fastai.data.block import DataBlock, TransformBlock
from fastai.torch_core import TensorBase
from fastai.vision.core import TensorImage
from fasttransform import ItemTransform
from torch import nn

from cmrlib import cine
from cmrlib.cine import Cine
from cmrlib.cine.anatomy import RIGHT_HEART, VIEWS
from cmrlib.cohort import Annotation
from cmrlib.learning import blocks, training
from cmrlib.learning.inference import infer
from cmrlib.learning.task import RefusedError, Task, by_split
from cmrlib.measures.curves import FEWEST_FRAMES
from cmrlib.papers.tempreg import clips, curves
from cmrlib.papers.tempreg.clips import cut_frames
from cmrlib.papers.tempreg.curves import SIGNALS, StackSignals


class CircularNet(nn.Module):
    """(1, signals, frames) → logits (1, 2, frames) of ED and ES; sees eight frames each way, round the cycle."""

    def __init__(self, signals: int = len(SIGNALS), width: int = 32, dropout: float = 0.2):
        super().__init__()
        layers, channels = [], signals
        for kernel, dilation in ((5, 1), (3, 2), (3, 4)):
            reach = dilation * (kernel // 2)
            layers.append(nn.Conv1d(channels, width, kernel, padding=reach, dilation=dilation, padding_mode="circular"))
            layers += [nn.ReLU(), nn.Dropout(dropout)]
            channels = width
        self.layers = nn.Sequential(*layers, nn.Conv1d(width, 2, 1))

    def forward(self, x):
        return self.layers(x)

    def activation(self, logits):
        """Logits → probability of every frame, of which an ensemble takes the mean."""
        return logits.softmax(-1)


class FrameLoss:
    """Cross-entropy against frames near the true one: a bell of `sigma` frames round the cycle, for ED and ES."""

    def __init__(self, sigma: float):
        self.sigma = sigma

    def __call__(self, logits, target):
        """logits (1, 2, frames), target (1, 2): ED and ES."""
        frames = logits.shape[-1]
        away = (torch.arange(frames, device=logits.device) - target[..., None]) % frames
        bell = torch.exp(-0.5 * (torch.minimum(away, frames - away) / self.sigma) ** 2)
        return -(bell / bell.sum(-1, keepdim=True) * logits.log_softmax(-1)).sum(-1).mean()

    def activation(self, logits):
        return logits.softmax(-1)

    def decodes(self, logits):
        return logits.argmax(-1)


class FrameCuts(ItemTransform):
    """(StackSignals, (ed, es)) → signals (SIGNALS, frames) and ED and ES among them. In training up to `cut`
    neighbouring frames are left out, never ED or ES."""

    def __init__(self, chosen, cut: int):
        self.chosen, self.cut, self.training = chosen, cut, False

    def __call__(self, pair, split_idx=None, **kwargs):
        self.training = split_idx == 0
        return super().__call__(pair, split_idx=split_idx, **kwargs)

    def encodes(self, pair):
        kept, (ed, es) = pair
        frames = cut_frames(len(kept.areas), ed, es, self.cut, np.random) if self.training else None
        signals = kept.signals(frames)[:, self.chosen]
        if frames is not None:
            ed, es = (int(np.flatnonzero(frames == one)[0]) for one in (ed, es))
            signals = signals + np.random.normal(0, 0.1, signals.shape).astype(np.float32)
        return TensorSignals(np.ascontiguousarray(signals.T)), TensorPhases([float(ed), float(es)])


class TensorSignals(TensorImage):
    """(signals, frames) float; shows itself as curves, one above the other."""

    def show(self, ctx=None, **kwargs):
        signals = np.asarray(self, float)
        ctx.plot(signals.T / 4 + np.arange(len(signals)), linewidth=1)
        ctx.set(xlabel="frame", yticks=[])
        return ctx


class TensorPhases(TensorBase):
    """(2,) ED and ES: lines across what they belong to, and its title."""

    def show(self, ctx=None, **kwargs):
        ed, es = (int(one) for one in self)
        ctx.axvline(ed, color="0.3", linewidth=1)
        ctx.axvline(es, color="0.3", linewidth=1, linestyle="--")
        ctx.set_title(f"ED {ed}, ES {es}", fontsize=9)
        return ctx


@dataclass(frozen=True)
class StackPhases(Task):
    """ED and ES of a short-axis stack from a segmentation of its whole cycle and from what moves.

    masks: observer that drew the cycle. signals: which of SIGNALS. width, dropout: of `CircularNet`. cut, sigma: of
    `FrameCuts` and `FrameLoss`. Batches are of one stack, since cycles differ in length: use `bs=1`.
    """

    views: tuple[str, ...] = ("sax",)
    masks: str = "ternausnet"
    signals: tuple[str, ...] = SIGNALS
    width: int = 32
    dropout: float = 0.2
    cut: int = 5
    sigma: float = 1.0

    fewest_frames = FEWEST_FRAMES
    code = (cine, blocks, training, clips, curves)

    def items(self, cohort, annotations, split):
        """A row a stack whose ED and ES the observer knows: participant_id, cine, view, frames, ed, es, split."""
        knows, drawn, rows = cohort.observer(annotations), cohort.observer(self.masks), []
        for row in cohort.cines[cohort.cines["view"].isin(self.views)].itertuples():
            if row.participant_id in split.index and knows.has(row.cine, "frames.tsv") and drawn.has(row.cine):
                ed, es = (int(knows.frames(row.cine)[phase]) for phase in ("ed", "es"))
                rows.append((row.participant_id, row.cine, row.view, row.frames, ed, es, split[row.participant_id]))
        return pd.DataFrame(rows, columns=["participant_id", "cine", "view", "frames", "ed", "es", "split"])

    def block(self, cohort, annotations):
        getters = {"get_x": self.reader(cohort), "get_y": lambda row: (row["ed"], row["es"])}
        return DataBlock((TransformBlock, TransformBlock), **getters, splitter=by_split, item_tfms=self.cuts())

    def reader(self, cohort):
        """Function from a row of `items` to its `StackSignals`; computed once a cohort, some 20 kB a stack."""
        drawn, key = cohort.observer(self.masks), ("stack_signals", self.masks)

        def signals(row):
            one = cohort.cine(row["cine"])
            if key not in one.memo:
                one.memo[key] = StackSignals.of(one, drawn.mask(row["cine"]).mask)
            return one.memo[key]

        return signals

    def cuts(self) -> FrameCuts:
        return FrameCuts(self._chosen, self.cut)

    @property
    def _chosen(self):
        return [SIGNALS.index(name) for name in self.signals]

    def job(self, cohort, annotations, dls):
        return super().job(cohort, annotations, dls) | {"masks": cohort.observer(self.masks).digest}

    def network(self):
        return CircularNet(len(self.signals), self.width, self.dropout)

    def loss(self):
        return FrameLoss(self.sigma)

    def inputs(self, cine: Cine, annotation=None):
        """(1, signals, frames). annotation: with the mask of the whole cycle."""
        if annotation is None or annotation.mask is None:
            raise RefusedError(cine.name, "no mask", "the whole cycle must be segmented before")
        return self.shown(StackSignals.of(cine, annotation.mask))

    def shown(self, kept: StackSignals, frames=None) -> torch.Tensor:
        """(1, signals, frames) of those frames that are shown; default all."""
        return torch.from_numpy(np.ascontiguousarray(kept.signals(frames)[:, self._chosen].T[None]))

    def probabilities(self, models, kept: StackSignals, frames=None) -> np.ndarray:
        """(2, frames): how likely each of the frames shown is ED, and ES; the mean of several networks."""
        return infer(models, self.shown(kept, frames), "fp32")[0].numpy()

    def predict_cine(self, models, cine, annotation=None):
        return self.decode(cine, infer(models, self.inputs(cine, annotation), "fp32"))

    def decode(self, cine, outputs):
        """Probabilities (1, 2, frames) → ED and ES, see `likeliest`; their times are the slices' median."""
        row = likeliest(np.asarray(outputs, float)[0])
        row |= {f"{phase}_frac": float(row[phase]) for phase in ("ed", "es")}
        times = {f"{phase}_ms": float(cine.times_ms[row[phase]]) for phase in ("ed", "es")}
        return Annotation(frames={"view": cine.view} | row), [{"slice": -1} | row | times]

    def outlined(self, cohort, masks: str) -> list[str]:
        """Names of the left heart's cines whose whole cycle the observer `masks` outlined; none without it."""
        if masks not in cohort.observers:
            return []
        drew, found = cohort.observer(masks), []
        seen = cohort.cines.loc[cohort.cines["view"].isin(set(VIEWS) - set(RIGHT_HEART)), "cine"]
        for name in filter(drew.has, seen):
            cine, annotation = cohort.cine(name), drew.annotation(name)
            if annotation.mask is not None and len(annotation.annotated) >= cine.frames:
                with suppress(RefusedError):
                    StackSignals.of(cine, annotation.mask)
                    found.append(name)
        return found


def likeliest(probabilities) -> dict:
    """(2, frames) → ed, es: the most probable pair of two frames; confidence: how probable it is that both lie within a
    frame of that, if they err independently."""
    ed, es = probabilities
    pair = ed[:, None] * es
    np.fill_diagonal(pair, 0)
    found = dict(zip(("ed", "es"), map(int, np.unravel_index(pair.argmax(), pair.shape))))
    near = [one[[k - 1, k, (k + 1) % len(one)]].sum() / one.sum() for one, k in zip((ed, es), found.values())]
    return found | {"confidence": float(np.prod(near))}
