"""Training: a fastai Learner for one view and stage, and the run that is resumed where it stopped."""

import hashlib
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from fastai.learner import Learner

from cmrlib import cine
from cmrlib.cohort.files import digest
from cmrlib.learning import training
from cmrlib.learning.training import adamw, fit, job_file
from cmrlib.learning.weights import load_weights
from cmrlib.papers.mvnet import blocks, geometry, network
from cmrlib.papers.mvnet.blocks import Augmentation, Look, frame_table, points_block, standard_look
from cmrlib.papers.mvnet.network import MVNet, PointLoss, load_imagenet
from cmrlib.papers.mvnet.tracking import ViewTracker


@dataclass(frozen=True)
class Recipe:
    """How networks are trained, the same for both stages. The paper's: resnet50, head points, scale 1, 20 epochs of ten
    copies of every frame, batch 8, rate 1e-4."""

    backbone: str = "resnet50"
    head: str = "points"
    scale: float = 1.0  # of the pictures' side: less is the same field of view with fewer pixels
    epochs: int = 20
    frames: int = 0  # of a cine to learn from, 0 for all
    copies: int = 10
    batch_size: int = 8
    learning_rate: float = 1e-4
    precision: str = "bf16"
    augmentation: Augmentation = field(default_factory=Augmentation)


def points_learner(cohort, samples, look: Look, recipe: Recipe, start_from=None, imagenet=None) -> Learner:
    """fastai Learner for `samples` (blocks.frame_table) of one view and stage.

    start_from: weights file to continue from. imagenet: local file of torchvision's weights of the backbone.
    """
    dls = points_block(cohort, look, recipe.augmentation).dataloaders(samples, bs=recipe.batch_size, num_workers=0)
    if start_from:
        model, card = load_weights(start_from, network.build)
        if card["architecture"] != {"name": "MVNet", "backbone": recipe.backbone, "head": recipe.head}:
            raise ValueError(
                f"{Path(start_from).name} is a {card['architecture']}, asked for is {recipe.backbone} "
                f"with head {recipe.head}; continue with the same network"
            )
        model.train()
    else:
        model = MVNet(recipe.backbone, recipe.head)
        if imagenet:
            load_imagenet(model, imagenet)
    return Learner(dls, model, loss_func=PointLoss(look.shape), opt_func=adamw)


def train_network(
    cohort, samples, look: Look, recipe: Recipe, seed: int, checkpoint=None, start_from=None, imagenet=None
) -> tuple[MVNet, Learner]:
    """Train one network. Returns it in eval mode, and the learner (its loss curve).

    checkpoint: a file, or a folder in which the training is filed under its settings, samples and code; an interrupted
    training goes on from there and a finished one returns at once. start_from, imagenet: of `points_learner`.
    """
    torch.manual_seed(seed)
    learn = points_learner(cohort, samples, look, recipe, start_from, imagenet)
    files = {
        name: digest(path)
        for name, path in (
            ("imagenet", imagenet),
            ("start_from", start_from and Path(start_from).with_suffix(".safetensors")),
        )
        if path
    }
    rows = hashlib.blake2b(samples.to_csv(index=False).encode(), digest_size=8).hexdigest()
    points = hashlib.blake2b(digest_size=8)  # an observer laid over the cohort may have been made anew
    for name, observer in samples[["cine", "observer"]].drop_duplicates().itertuples(index=False):
        points.update(cohort.observer(observer).points(name).to_csv(index=False).encode())
    settings = {
        "look": str(look),
        "recipe": str(recipe),
        "cohort": cohort.digest,
        "samples": rows,
        "points": points.hexdigest(),
    } | files
    if checkpoint is not None and Path(checkpoint).is_dir():
        checkpoint = job_file(
            checkpoint,
            f"mvnet_{look.view}_stage{look.stage}",
            settings | {"seed": seed},
            (cine, blocks, geometry, network, training, sys.modules[__name__]),
        )
    fit(
        learn,
        recipe.epochs,
        recipe.learning_rate,
        seed,
        recipe.precision,
        checkpoint,
        settings,
        f"MVnet {look.view} stage {look.stage}",
        validate_every=max(1, recipe.epochs // 8),
    )
    return learn.model, learn


def train_tracker(
    cohort, observers, view: str, split, recipe: Recipe, seed: int, checkpoint=None, start_from=None, imagenet=None
) -> tuple[ViewTracker, list[Learner]]:
    """Both networks of a view. observers: as for `frame_table`. start_from: a folder with VIEW_stageN weights.

    `least_confidence` of the tracker is half of the lowest that a validation cine has.
    """
    samples = frame_table(cohort, observers, view, split, recipe.frames, recipe.copies)
    parts, learners = [], []
    for stage in (1, 2):
        look = standard_look(view, stage, recipe.scale)
        start = Path(start_from) / f"{view}_stage{stage}" if start_from else None
        model, learn = train_network(cohort, samples, look, recipe, seed, checkpoint, start, imagenet)
        parts, learners = [*parts, model, look], [*learners, learn]
    tracker = ViewTracker(*parts, precision=recipe.precision)
    cines = [cohort.cine(name) for name in samples.loc[samples["split"] == "validation", "cine"].unique()]
    lowest = min(float(np.median(tracker.predict(cine)[0]["confidence"])) for cine in cines)
    return ViewTracker(*parts, precision=recipe.precision, least_confidence=round(lowest / 2, 3)), learners
