"""SSLHF as two tasks: stage one restores transformed patches of the LV through time, stage two starts from its encoder
and tells heart failure with reduced EF from that with preserved EF."""

import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from fastai.callback.schedule import ParamScheduler
from fastai.data.block import DataBlock, TransformBlock
from fastai.metrics import AccumMetric
from fastai.optimizer import OptimWrapper
from sklearn.utils.class_weight import compute_class_weight

from cmrlib import cine
from cmrlib.agreement import roc_auc
from cmrlib.learning import blocks, training
from cmrlib.learning.cache import ArrayCache
from cmrlib.learning.inference import infer
from cmrlib.learning.losses import WeightedBCE
from cmrlib.learning.task import RefusedError, Task, by_split
from cmrlib.learning.training import BestEpoch
from cmrlib.measures.curves import FEWEST_FRAMES
from cmrlib.papers.sslhf import comparators, network, patches, transformations
from cmrlib.papers.sslhf.comparators import COMPARATORS, Comparator
from cmrlib.papers.sslhf.network import Classifier, Restorer
from cmrlib.papers.sslhf.patches import lv_slices, section_patch
from cmrlib.papers.sslhf.transformations import KINDS, MODES, PatchItem, cover_frames, cover_patches, shuffle_windows

BATCH = 4
"""Patches a pass in prediction; a patch's score does not depend on which others it comes with."""


@dataclass(frozen=True)
class Sslhf(Task):
    """What both stages share: patches of the LV through time, the encoder, the schedule.

    size (pixels a side, a multiple of 16), frames (of a cycle), spacing_mm, clip: of `section_patch`. share: where no
    observer says which slices show the LV, the middle part of the stack that is taken. width: channels of the first
    level. halve_every: epochs after which the rate is halved.
    """

    views: tuple[str, ...] = ("sax",)
    size: int = 288
    frames: int = 40
    spacing_mm: float = 0.0
    clip: float = 2000.0
    share: float = 0.6
    width: int = 32
    halve_every: int = 20

    fewest_frames = FEWEST_FRAMES
    code = (cine, cine.plane, cine.section, blocks, training, network, comparators, patches, transformations)
    code += (sys.modules[__name__],)

    def seen(self, cine, annotation=None) -> tuple[list[int], np.ndarray]:
        """Slices of a cine that show the LV, and their patches (slices, frames, size, size) float16, z-scored.

        annotation: masks that say which; without, the middle part of the stack. Raises RefusedError for other views,
        short cines, and where no slice shows the LV.
        """
        if cine.view not in self.views:
            raise RefusedError(cine.name, f"view {cine.view}", "SSLHF takes short-axis stacks")
        slices = lv_slices(cine, annotation, self.share)
        if not slices:
            raise RefusedError(cine.name, "no slice shows the LV by these masks", "there is no patch to judge")
        found = [section_patch(cine, k, self.size, self.frames, self.spacing_mm, self.clip) for k in slices]
        return slices, np.stack(found).astype(np.float16)

    def store(self, cohort, annotations: str) -> ArrayCache:
        """Patches of each cine as `seen` has them; facts: slices."""
        settings = {name: getattr(self, name) for name in ("size", "frames", "spacing_mm", "clip", "share")}
        return ArrayCache(self.cache, "patches", cohort, annotations, settings, (cine.plane, cine.section, patches))

    def table(self, cohort, annotations: str, subjects) -> pd.DataFrame:
        """participant_id, cine, k (slice), place (among its cine's patches) of all patches of these subjects, which are
        made where they were not before.

        annotations: observer whose masks say which slices show the LV; "" for the middle of every stack. Raises
        ValueError where nothing is left.
        """
        cines = cohort.cines[cohort.cines["view"].isin(self.views) & (cohort.cines["frames"] >= self.fewest_frames)]
        cines = cines[cines["participant_id"].isin(set(subjects))]
        observer = cohort.observer(annotations) if annotations else None

        def made(name):
            try:
                slices, found = self.seen(cohort.cine(name), observer.annotation(name) if observer else None)
            except RefusedError:
                return None, {"slices": []}
            return found, {"slices": slices}

        store = self.store(cohort, annotations).fill(cines["cine"], made)
        rows = [
            (row.participant_id, row.cine, k, place)
            for row in cines.itertuples()
            for place, k in enumerate(store.facts(row.cine)["slices"])
        ]
        if not rows:
            raise ValueError(
                f"no short-axis slice of {cohort.path.name} shows the LV by observer {annotations or 'none'!r} "
                f"in a cycle of {self.fewest_frames} or more frames; choose another observer or cohort"
            )
        return pd.DataFrame(rows, columns=["participant_id", "cine", "k", "place"])

    def patch(self, cohort, annotations: str):
        """Function from a row of `table` to its clip (frames, size, size)."""
        store = self.store(cohort, annotations)
        return lambda row: store[row["cine"]][row["place"]]

    def block(self, cohort, annotations):
        return DataBlock(
            blocks=(TransformBlock, TransformBlock),
            get_x=self.patch(cohort, annotations),
            get_y=lambda row: row.get("label"),
            splitter=by_split,
            item_tfms=PatchItem(transformed=getattr(self, "transformed", None)),
        )

    def learner(self, dls, model=None, seed=1, precision="bf16"):
        """As of every task, but validated in every epoch, of which the best is kept."""
        learn = super().learner(dls, model, seed, precision)
        learn.validate_every.n = 1
        return learn.add_cb(BestEpoch())

    def fit(self, learn, epochs, lr, cbs=()):
        learn.fit(epochs, lr, cbs=[*cbs, self.halving(epochs, lr)])

    def halving(self, epochs: int, lr: float) -> ParamScheduler:
        """The paper's schedule in place of one cycle: a rate that is halved every `halve_every` epochs."""
        return ParamScheduler({"lr": lambda done: lr * 0.5 ** int(done * epochs / self.halve_every + 1e-9)})

    def optimiser(self, params, lr):
        return OptimWrapper(params, torch.optim.Adam, lr=lr, fused=True)


@dataclass(frozen=True)
class SslhfRestoration(Sslhf):
    """Stage one: transformed clips in, the clips as they were out; no labels.

    skips: connections from encoder to decoder. kinds: transformations, of KINDS; every sample gets one or more of them.
    shuffle: "paper" permutes a window's rows and its columns (equation 1), "any" all its pixels (Models Genesis).
    windows: so many that their areas add up to this share of a frame; window_px: their longest side. covered: most
    patches a frame. groups, length: groups of covered frames, and most frames of one.
    """

    skips: bool = True
    kinds: tuple[str, ...] = KINDS
    shuffle: str = "paper"
    window_px: int = 16
    windows: float = 0.5
    covered: int = 5
    groups: int = 5
    length: int = 3

    def __post_init__(self):
        if self.shuffle not in MODES:
            raise ValueError(f"unknown shuffle {self.shuffle!r}; there are {', '.join(MODES)}")
        if not self.kinds or not set(self.kinds) <= set(KINDS):
            raise ValueError(f"unknown transformations {self.kinds}; one or more are needed of {', '.join(KINDS)}")

    def items(self, cohort, annotations, split):
        """Rows of `table` of training subjects alone, of whom every tenth chooses the epoch (split validation): nobody
        who validates or tests the classifier is among them."""
        table = self.table(cohort, annotations, split.index[split == "train"])
        people = [one for one in split.index if one in set(table["participant_id"])]
        if len(people) < 2:
            raise ValueError(
                f"{len(people)} patients to learn restoration from; at least 2 are needed, one of them to "
                "choose the epoch by"
            )
        checks = table["participant_id"].isin(people[:: max(2, min(10, len(people)))])
        return table.assign(split=np.where(checks, "validation", "train"))

    def draw(self, rng=np.random) -> tuple[str, ...]:
        """One or more of `kinds`, every such choice as likely as any other. rng: with numpy's old `randint`."""
        chosen = rng.randint(1, 2 ** len(self.kinds))
        return tuple(kind for n, kind in enumerate(self.kinds) if chosen >> n & 1)

    def transformed(self, clip, chosen=None, rng=np.random) -> np.ndarray:
        """A transformed copy of a clip (frames, rows, columns). chosen: of KINDS, default `draw()`."""
        chosen = self.draw(rng) if chosen is None else chosen
        seeds, clip = rng.randint(2**31, size=3), np.array(clip, np.float32)
        if "shuffle" in chosen:
            shuffle_windows(clip, seeds[0], self.window_px, self.windows, self.shuffle == "paper")
        if "patches" in chosen:
            cover_patches(clip, seeds[1], self.covered)
        if "frames" in chosen:
            cover_frames(clip, seeds[2], self.groups, self.length)
        return clip

    def network(self):
        return Restorer(self.width, self.frames, self.skips)

    def loss(self):
        return torch.nn.functional.mse_loss


@dataclass(frozen=True)
class HeartFailure(Sslhf):
    """Stage two: the score of one patient, 0 to 1, is the mean over his patches (equation 3).

    label, positive: column of participants.tsv, and its value that counts as 1. hidden: outputs of the first two fully
    connected layers. backbone: `encoder`, the paper's own, or one of COMPARATORS.
    """

    halve_every: int = 10
    label: str = "hf_type"
    positive: str = "HFrEF"
    hidden: tuple[int, int] = (128, 32)
    backbone: str = "encoder"

    def labels(self, cohort) -> pd.Series:
        """1 or 0 by participant_id, of those who have a label.

        Raises ValueError where there is no such column, or where no subject or every subject is positive.
        """
        subjects, column, positive = cohort.subjects, self.label, self.positive
        if column not in subjects:
            raise ValueError(f"participants.tsv has no column {column!r}; it has {', '.join(subjects.columns)}")
        known = subjects.dropna(subset=[column]).set_index("participant_id")[column].astype(str)
        known = known[~known.isin(["", "n/a", "None"])]
        if not 0 < (known == positive).sum() < len(known):
            raise ValueError(
                f"column {column!r} must hold {positive!r} and something else; it holds "
                f"{known.value_counts().to_dict()}"
            )
        return (known == positive).astype(int)

    def items(self, cohort, annotations, split):
        """Patches of training and validation subjects. Raises ValueError where one side lacks a class."""
        split = split[split.isin(["train", "validation"])]
        table = self.table(cohort, annotations, split.index)
        table = table.assign(split=table["participant_id"].map(split))
        table["label"] = table["participant_id"].map(self.labels(cohort))
        for side in ("train", "validation"):
            classes = sorted(int(one) for one in table.loc[table["split"] == side, "label"].unique())
            if classes != [0, 1]:
                raise ValueError(
                    f"{side} patients of this fold have the classes {classes}; both, 0 and 1, are needed: "
                    "choose fewer folds or another label"
                )
        return table

    def network(self):
        if self.backbone in COMPARATORS:
            return Comparator(self.backbone, self.width)
        return Classifier(self.width, self.frames, self.hidden)

    def started_from(self, restorer: Restorer, seed: int) -> Classifier:
        """A new network with the encoder of stage one."""
        torch.manual_seed(seed)
        model = self.network()
        model.encoder.load_state_dict(restorer.encoder.state_dict())
        return model

    def loss(self):
        return WeightedBCE()

    def learner(self, dls, model=None, seed=1, precision="bf16"):
        """The loss weights each class by its patches in training, and the largest AUC over validation patches chooses
        the epoch."""
        learn = super().learner(dls, model, seed, precision)
        labels = dls.train.items["label"]
        learn.loss_func = WeightedBCE(compute_class_weight("balanced", classes=np.array([0, 1]), y=labels))
        learn.metrics = [AccumMetric(roc_auc, to_np=True, invert_arg=True, flatten=False, name="auc")]
        return learn

    def predict_cine(self, models, cine, annotation=None, precision="bf16"):
        """(None, rows): slice and score of every patch, and last, as slice −1, their mean (equation 3).

        annotation: masks that say which slices show the LV; without, the middle part of the stack.
        """
        slices, found = self.seen(cine, annotation)
        clips = torch.from_numpy(found).float().split(BATCH)
        scores = torch.cat([infer(models, batch, precision) for batch in clips]).numpy()
        rows = [{"slice": k, "score": float(score)} for k, score in zip(slices, scores)]
        return None, [*rows, {"slice": -1, "score": float(scores.mean())}]
