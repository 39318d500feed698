"""Training: restoration first, then heart failure; each a fastai Learner and a job that is found where it stopped."""

import hashlib
import sys
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fastai.callback.core import Callback
from fastai.data.block import DataBlock, TransformBlock
from fastai.data.transforms import IndexSplitter
from fastai.learner import Learner
from fastai.metrics import AccumMetric
from fastai.optimizer import OptimWrapper
from fastai.torch_core import TensorBase
from fasttransform import ItemTransform

from cmrlib.cohort.files import atomic
from cmrlib.learning import training
from cmrlib.learning.blocks import TensorClip
from cmrlib.learning.training import fit, job_file
from cmrlib.papers.sslhf import comparators, network, patches, transformations
from cmrlib.papers.sslhf.comparators import COMPARATORS
from cmrlib.papers.sslhf.network import Classifier, Design, Restorer, weighted_bce
from cmrlib.papers.sslhf.patches import Patches, Preprocessing, from_stored
from cmrlib.papers.sslhf.prediction import auc
from cmrlib.papers.sslhf.transformations import Transformations

adam = partial(OptimWrapper, opt=torch.optim.Adam, fused=True)


@dataclass(frozen=True)
class Recipe:
    """How long and how fast. The rate is halved every `halve_every` epochs."""

    epochs: int = 60
    learning_rate: float = 1e-3
    halve_every: int = 20
    batch_size: int = 4
    precision: str = "bf16"


@dataclass(frozen=True)
class Setup:
    """All that a training is told, but for the data. Epochs and batch size are not stated in the paper."""

    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    design: Design = field(default_factory=Design)
    transformations: Transformations = field(default_factory=Transformations)
    pretraining: Recipe = field(default_factory=Recipe)
    classification: Recipe = field(default_factory=lambda: Recipe(40, 1e-5, 10))
    comparator_width: int = 64


class HalvedRate(Callback):
    """The paper's schedule in place of one cycle: a constant rate that is halved every n epochs."""

    order = 61  # after fastai's own scheduler

    def __init__(self, learning_rate: float, every: int):
        self.learning_rate, self.every = learning_rate, every

    def before_batch(self):
        if self.training:
            self.opt.set_hyper("lr", self.learning_rate * 0.5 ** (self.epoch // self.every))
            self.opt.set_hyper("mom", 0.9)


class BestEpoch(Callback):
    """Keep the averaged weights of the best epoch by validation, beside the checkpoint: that of the largest metric; of
    equal ones, and where there is no metric, that of the smallest loss."""

    order = 92  # after the recorder, before ExactResume: whoever finds the checkpoint finds the best epoch, too

    def __init__(self, checkpoint=None):
        self.checkpoint = Path(checkpoint) if checkpoint else None
        self.path = checkpoint and self.checkpoint.with_suffix(".best.pt")
        self.best = {"rank": (float("inf"), float("inf")), "epoch": 0, "model": None}

    def before_fit(self):
        if self.path is not None and self.checkpoint.exists() and self.path.exists():
            self.best = torch.load(self.path, weights_only=True)

    def _skipped(self):
        """Epochs that an earlier sitting has done."""
        return getattr(getattr(self.learn, "exact_resume", None), "done", 0)

    def after_epoch(self):
        if self.epoch < self._skipped():
            return
        _, loss, *metric = map(float, self.recorder.values[-1])
        rank = (-metric[0] if metric else 0.0, loss)
        if np.isfinite(rank).all() and rank < tuple(self.best["rank"]):
            self.best = {"rank": rank, "epoch": self.epoch + 1, "model": deepcopy(self.averaged_weights.average)}
            if self.path is not None:
                with atomic(self.path) as part:
                    torch.save(self.best, part)


class TensorLabel(TensorBase):
    """() float: 1 for the positive class; shows itself as a title."""

    def show(self, ctx=None, **kwargs):
        if ctx is not None:
            ctx.set_title(f"label {int(self)}", fontsize=9)
        return ctx


class PatchItem(ItemTransform):
    """(row, label) → (clip, label), or with `task` transformations: (transformed clip, clip). In training the clip is
    flipped in x, y and t and turned about time by quarters, which blurs nothing; elsewhere what is drawn depends on
    the row alone, so that every epoch is checked by the same task."""

    def __init__(self, found: Patches, task: Transformations | None = None):
        self.found, self.task, self.training = found, task, False

    def __call__(self, pair, split_idx=None, **kwargs):
        self.training = split_idx == 0  # as blocks.StandardSlice: one transform that looks at the split
        return super().__call__(pair, split_idx=split_idx, **kwargs)

    def encodes(self, pair):
        row, label = pair
        rng = np.random if self.training else np.random.RandomState(row)
        pixels = self.found.pixels[row]
        clip = np.ascontiguousarray(from_stored(augmented(pixels, rng) if self.training else pixels))
        if self.task is None:
            return TensorClip(torch.from_numpy(clip)), TensorLabel(torch.tensor(label, dtype=torch.float32))
        return TensorClip(torch.from_numpy(self.task(clip, rng=rng))), TensorClip(torch.from_numpy(clip))


def augmented(clip, rng=np.random) -> np.ndarray:
    """A view of a clip (frames, size, size): turned by quarters, flipped in t, y and x, each at random."""
    clip = np.rot90(clip, rng.randint(4), (1, 2))
    steps = [1 - 2 * rng.randint(2) for _ in range(3)]
    return clip[:: steps[0], :: steps[1], :: steps[2]]


def patch_block(found: Patches, task: Transformations | None = None) -> DataBlock:
    """DataBlock from rows of a table with `row`, `label`, `split` to clips and what is asked of them."""
    return DataBlock(
        blocks=(TransformBlock, TransformBlock),
        get_items=lambda table: table.to_dict("records"),
        get_x=lambda row: row["row"],
        get_y=lambda row: row["label"],
        splitter=lambda rows: IndexSplitter([i for i, r in enumerate(rows) if r["split"] == "validation"])(rows),
        item_tfms=PatchItem(found, task),
    )


def restoration_rows(found: Patches, split: pd.Series, unlabelled: bool = False) -> pd.DataFrame:
    """Whom stage one sees: training patients alone, every tenth of them to choose the epoch by. No patch of a patient
    who validates or tests the classifier is among them. unlabelled: also those without a label."""
    sides = ("train", "unlabelled") if unlabelled else ("train",)
    people = [one for one in split.index[split.isin(sides)] if one in set(found.table["participant_id"])]
    if len(people) < 2:
        raise ValueError(
            f"{len(people)} patients to learn restoration from; at least 2 are needed, one of them to "
            "choose the epoch by"
        )
    checks = set(people[:: max(2, min(10, len(people)))])
    table = found.table[found.table["participant_id"].isin(people)]
    return table.assign(split=np.where(table["participant_id"].isin(checks), "validation", "train"))


def classification_rows(found: Patches, split: pd.Series) -> pd.DataFrame:
    """Patches of training and validation patients. Raises ValueError where one side lacks a class."""
    table = found.table.assign(split=found.table["participant_id"].map(split))
    table = table[table["split"].isin(["train", "validation"])]
    for side in ("train", "validation"):
        classes = sorted(int(one) for one in table.loc[table["split"] == side, "label"].unique())
        if classes != [0, 1]:
            raise ValueError(
                f"{side} patients of this fold have the classes {classes}; both, 0 and 1, are needed: "
                "choose fewer folds or another label"
            )
    return table


def _trained(learn, recipe, seed, checkpoint, settings, what):
    """The learner after its job; its model is that of the best epoch."""
    best = BestEpoch(checkpoint)
    fit(
        learn,
        recipe.epochs,
        recipe.learning_rate,
        seed,
        recipe.precision,
        checkpoint,
        settings,
        what,
        callbacks=[HalvedRate(recipe.learning_rate, recipe.halve_every), best],
    )
    if best.best["model"] is None:
        raise FloatingPointError(f"{what}: no epoch had a validation loss that is a number; lower the rate")
    learn.model.load_state_dict(best.best["model"])
    learn.best_epoch = int(best.best["epoch"])
    return learn


def _job(folder, name, settings):
    modules = (patches, transformations, network, comparators, training, sys.modules[__name__])
    return folder and job_file(folder, f"sslhf_{name}", settings, modules)


def _size(recipe, rows):
    """Batch size: that of the recipe, or all there is to learn from."""
    return min(recipe.batch_size, int((rows["split"] == "train").sum()))


def restoration_learner(found: Patches, rows: pd.DataFrame, setup: Setup, model=None) -> Learner:
    """fastai Learner of stage one. rows: of `restoration_rows`."""
    dls = patch_block(found, setup.transformations).dataloaders(rows, bs=_size(setup.pretraining, rows), num_workers=0)
    return Learner(dls, model or Restorer(setup.design), loss_func=torch.nn.functional.mse_loss, opt_func=adam)


def pretrain(
    found: Patches,
    split: pd.Series,
    setup: Setup,
    seed: int,
    folder=None,
    unlabelled: bool = False,
    what: str = "restoration",
) -> Learner:
    """Stage one: restore transformed clips. Returns the learner, its model a `Restorer` of the best epoch.

    folder: where the job is filed under its settings, patches and code; an interrupted job goes on from there and a
    finished one returns at once.
    """
    torch.manual_seed(seed)
    rows = restoration_rows(found, split, unlabelled)
    settings = {
        "patches": found.digest,
        "rows": _digest(rows),
        "design": asdict(replace(setup.design, hidden=())),
        "task": asdict(setup.transformations),
        "recipe": asdict(setup.pretraining),
        "seed": seed,
    }
    learn = restoration_learner(found, rows, setup)
    return _trained(learn, setup.pretraining, seed, _job(folder, "restore", settings), {"job": _digest(settings)}, what)


def classification_learner(found: Patches, rows: pd.DataFrame, setup: Setup, model) -> Learner:
    """fastai Learner of stage two. rows: of `classification_rows`; class weights are those of the training patches."""
    dls = patch_block(found).dataloaders(rows, bs=_size(setup.classification, rows), num_workers=0)
    labels = rows.loc[rows["split"] == "train", "label"]
    counts = np.array([(labels == c).sum() for c in (0, 1)])
    weights = torch.tensor(counts.sum() / (2 * counts), dtype=torch.float32, device=dls.device)
    area = AccumMetric(lambda scores, truth: auc(truth, scores), name="auc", flatten=False, to_np=True)
    return Learner(dls, model, loss_func=partial(weighted_bce, weights=weights), opt_func=adam, metrics=area)


def classify(
    found: Patches,
    split: pd.Series,
    setup: Setup,
    seed: int,
    folder=None,
    start: Learner | None = None,
    comparator: str = "",
    what: str = "classification",
) -> Learner:
    """Stage two: heart failure from one patch. Returns the learner, its model that of the best epoch.

    start: the learner of stage one whose encoder is taken over; None for random weights (Kaiming). comparator: a name
    of COMPARATORS in place of the paper's network.
    """
    torch.manual_seed(seed)
    model = COMPARATORS[comparator](setup.comparator_width) if comparator else Classifier(setup.design)
    if start is not None:
        model.encoder.load_state_dict(start.model.encoder.state_dict())
    rows = classification_rows(found, split)
    began = start and _weights_digest(start.model.encoder)
    settings = {
        "patches": found.digest,
        "rows": _digest(rows),
        "model": comparators.architecture(model),
        "recipe": asdict(setup.classification),
        "seed": seed,
        "start": began,
    }
    learn = classification_learner(found, rows, setup, model)
    return _trained(
        learn, setup.classification, seed, _job(folder, "classify", settings), {"job": _digest(settings)}, what
    )


def _digest(value) -> str:
    text = value.to_csv(index=False) if isinstance(value, pd.DataFrame) else repr(sorted(value.items()))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _weights_digest(model) -> str:
    found = hashlib.blake2b(digest_size=8)
    for value in model.state_dict().values():
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
