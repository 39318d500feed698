"""CUSSP as tasks: (i) Barlow Twins, (ii) Siamese pairs, (iii) the classifier; and all at once for CUSSP-1 to -3."""

import sys
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from fastai.data.block import DataBlock, TransformBlock

from cmrlib import cine
from cmrlib.learning import blocks, training
from cmrlib.learning.blocks import TensorClip, TensorLabel
from cmrlib.learning.cache import ArrayCache
from cmrlib.learning.inference import as_list, infer
from cmrlib.learning.losses import WeightedBCE
from cmrlib.learning.task import Task, by_split
from cmrlib.measures import RefusedError
from cmrlib.papers.cussp import data, network, preparation
from cmrlib.papers.cussp.data import LABELLED, VIEWS, Distort, Distortion, Scale, TensorPair
from cmrlib.papers.cussp.preparation import prepare, window_frames
from cmrlib.papers.cussp.roles import PRETRAINING

KINDS = ("valve", "whole", "heart")


@dataclass(frozen=True)
class Cussp(Task):
    """What all steps share: the prepared cine of steps 1 to 4, and the encoder.

    label: column of participants.tsv, 1, 0 or n/a. kind: "valve" (the paper's patch), or for the CNN-LSTM "whole"
    (around the image's centre of mass) and "heart" (the same, black beyond the chambers and the wall). size: pixels a
    side, field_mm: its length. frames: of a cycle, spread evenly; other lengths are resampled. window: frames
    from ED on that the network sees, 0 for the whole cycle; 25 of 50 in SIAM-25. width: of the encoder.
    """

    views: tuple[str, ...] = ("4ch",)
    label: str = "mr"
    kind: str = "valve"
    size: int = 64
    field_mm: float = 100.0
    frames: int = 50
    window: int = 0
    width: int = 64

    distortion: ClassVar[Distortion] = LABELLED
    two_views: ClassVar[bool] = False
    """Whether a batch holds two distorted views of every cine."""
    code = (cine, cine.plane, cine.section, blocks, training, data, network, preparation, sys.modules[__name__])

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of preparation {self.kind!r}; there are {', '.join(KINDS)}")

    def patches(self, cohort, annotations: str) -> ArrayCache:
        """Prepared cines (frames, size, size) uint8 by name; facts: ed, es, outside_pct, or refused."""
        settings = {name: getattr(self, name) for name in ("kind", "size", "field_mm", "frames")}
        return ArrayCache(self.cache, "patches", cohort, annotations, settings, (cine.plane, cine.section, preparation))

    def prepared(self, cohort, annotations: str, subjects) -> pd.DataFrame:
        """participant_id, cine, ed, es, outside_pct, refused (a reason or ""): the 4CH cines of these subjects.

        They are prepared where they were not before.
        """
        wanted = cohort.cines["view"].isin(self.views) & cohort.cines["participant_id"].isin(set(subjects))
        table, observer = cohort.cines.loc[wanted, ["participant_id", "cine"]], cohort.observer(annotations)

        def made(name):
            try:
                patch = prepare(cohort.cine(name), observer.annotation(name), self)
            except RefusedError as error:
                return None, {"refused": error.reason}
            return patch.pixels, {"ed": patch.ed, "es": patch.es, "outside_pct": 100 * patch.outside, "refused": ""}

        patches = self.patches(cohort, annotations).fill(table["cine"], made)
        facts = pd.DataFrame([patches.facts(name) for name in table["cine"]], table.index)
        return table.join(facts.reindex(columns=["ed", "es", "outside_pct", "refused"])).reset_index(drop=True)

    def labels(self, cohort) -> pd.Series:
        """1, 0 or NaN by participant_id."""
        people = cohort.subjects.drop_duplicates("participant_id").set_index("participant_id")
        return people[self.label].astype(float)

    def items(self, cohort, annotations, split):
        """participant_id, cine, ed, label, split of usable cines of labelled training and validation subjects.

        Raises ValueError where a side has none.
        """
        split = split[split.isin(["train", "validation"])]
        items = self.usable(cohort, annotations, split.index)
        people = items["participant_id"]
        items = items.assign(label=people.map(self.labels(cohort)), split=people.map(split))
        for side in ("train", "validation"):
            if not (items["split"] == side).any():
                raise ValueError(f"no usable cine of a {side} subject; choose another split, or look at the refusals")
        return items

    def usable(self, cohort, annotations, subjects) -> pd.DataFrame:
        """participant_id, cine, ed of `prepared` but for what was refused."""
        table = self.prepared(cohort, annotations, subjects)
        return table.loc[table["refused"] == "", ["participant_id", "cine", "ed"]].reset_index(drop=True)

    def block(self, cohort, annotations):
        getters = {"get_x": self.clip(cohort, annotations), "get_y": lambda row: TensorLabel(row["label"])}
        changes = [Scale(), Distort(self.distortion, self.two_views)]
        return DataBlock((TransformBlock, TransformBlock), **getters, splitter=by_split, batch_tfms=changes)

    def clip(self, cohort, annotations):
        """Function from a row of `items` to its prepared cine: all frames, or `window` of them from ED on; in training
        the first frame varies by `distortion.start`."""
        patches, start = self.patches(cohort, annotations), self.distortion.start

        def read(row):
            late = np.random.uniform(-start, start) * self.frames if row["split"] == "train" and start else 0.0
            return TensorClip(torch.from_numpy(patches[row["cine"]][self.chosen(row["ed"], late)]))

        return read

    def chosen(self, ed: float, late: float = 0.0) -> np.ndarray:
        """Numbers of the frames that the network sees."""
        return window_frames(self.frames, (ed if self.window else 0) + late, self.window or self.frames)

    def dataloaders(self, cohort, annotations, split, bs=16, **kwargs):
        """A smaller last batch counts too: with few labels much would be lost. None holds one cine alone, which has no
        cross-correlation."""
        dls = super().dataloaders(cohort, annotations, split, bs, drop_last=False, **kwargs)
        for dl in dls.loaders:
            while dl.n > 1 and dl.n % dl.bs == 1:
                dl.bs += 1
        return dls

    def encoder(self) -> network.Encoder:
        return network.Encoder(self.window or self.frames, self.width)

    def parameter_groups(self, model):
        return [[parameter for parameter in model.parameters() if parameter.requires_grad]]

    def inputs(self, cine, annotation=None):
        patch = prepare(cine, annotation, self)
        return data.scaled(torch.from_numpy(patch.pixels[self.chosen(patch.ed)])[None])

    def predict_cine(self, models, cine, annotation=None, embeddings=False, precision="bf16"):
        """A row with the score, the mean probability of these networks. annotation: masks of LV and LA.

        embeddings: also e000, e001, …, what the encoder, of several the first, tells of the cine.
        """
        x, row = self.inputs(cine, annotation), {}
        if embeddings:
            encoder = as_list(models)[0].encoder
            row = {f"e{i:03d}": float(value) for i, value in enumerate(infer(encoder, x, precision)[0])}
        return None, [{"score": float(infer(models, x, precision)[0])} | row]


@dataclass(frozen=True)
class CusspPretraining(Cussp):
    """Step (i): Barlow Twins on every cine whose subject is unlabelled or trains. projector: width of its layers."""

    projector: int = 2048

    distortion = VIEWS
    two_views = True

    def items(self, cohort, annotations, split):
        """A twentieth of the subjects only shows the loss."""
        items = self.usable(cohort, annotations, split.index[split.isin(PRETRAINING)])
        people = sorted(items["participant_id"].unique())
        watched = items["participant_id"].isin(people[::20] if len(people) > 20 else [])
        return items.assign(label=np.nan, split=np.where(watched, "validation", "train"))

    def network(self):
        return network.BarlowTwins(self.encoder(), self.projector)

    def loss(self):
        return lambda projections, _: network.barlow_loss(projections)


@dataclass(frozen=True)
class CusspPairs(Cussp):
    """Step (ii): pairs of labelled cines; everything but the encoder's last block stays as it is.

    last: what may change, "block" or "stage" (two blocks): "the last block of the ResNet18" can be read as either.
    """

    last: str = "block"
    margin: float = 1.0

    def items(self, cohort, annotations, split):
        """One row per pair, as many as there are cines: `cine`, which has MR (`label`) in half of them, and the cines
        without MR of which one is drawn to stand beside it, in training anew in every epoch.

        Raises ValueError where a class is missing.
        """
        pairs = []
        for _, part in super().items(cohort, annotations, split).groupby("split"):
            without, with_mr = (part[part["label"] == value] for value in (0, 1))
            if len(without) < 2 or with_mr.empty:
                raise ValueError(
                    f"pairs need two cines without MR and one with it, got {len(without)} and {len(with_mr)}; "
                    "choose another split or more labelled subjects"
                )
            both = pd.concat([spread(without, len(part) - len(part) // 2), spread(with_mr, len(part) // 2)])
            pairs.append(both.assign(others=[tuple(zip(without["cine"], without["ed"]))] * len(both)))
        return pd.concat(pairs, ignore_index=True)

    def clip(self, cohort, annotations):
        read = super().clip(cohort, annotations)

        def pair(row):
            rng = np.random if row["split"] == "train" else np.random.default_rng([*row["cine"].encode()])
            others = [other for other in row["others"] if other[0] != row["cine"]]
            name, ed = others[rng.choice(len(others))]
            return TensorPair(torch.stack([read({"cine": name, "ed": ed, "split": row["split"]}), read(row)]))

        return pair

    def network(self):
        return network.Siamese(self.encoder().freeze_all_but(self.last))

    def loss(self):
        return network.ContrastiveLoss(self.margin)


def spread(rows: pd.DataFrame, n: int) -> pd.DataFrame:
    """n of the rows, evenly, some of them several times where there are fewer."""
    return rows.iloc[np.arange(n) * len(rows) // max(n, 1)]


@dataclass(frozen=True)
class MitralRegurgitation(Cussp):
    """Step (iii): a three-layer perceptron on the encoder, whose last block goes on learning."""

    last: str = "block"
    hidden: int = 256
    dropout: float = 0.2

    def network(self):
        return network.Classifier(self.encoder().freeze_all_but(self.last), self.hidden, self.dropout)

    def loss(self):
        return WeightedBCE()


@dataclass(frozen=True)
class CusspJoint(Cussp):
    """CUSSP-1 to -3: cross-correlation (weight `share`) and cross-entropy together, on two views of labelled training
    cines; all layers learn, and there is no Siamese step. share 0: labels alone."""

    projector: int = 2048
    hidden: int = 256
    dropout: float = 0.2
    share: float = 0.5

    two_views = True

    def network(self):
        return network.Joint(network.BarlowTwins(self.encoder(), self.projector), self.hidden, self.dropout)

    def loss(self):
        return partial(network.joint_loss, correlation_share=self.share)
