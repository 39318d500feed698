"""Training: a fastai Learner for one view and stage, and the run that is resumed where it stopped."""

import hashlib
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from fastai.learner import Learner

from cmrlib import cine, training
from cmrlib.files import digest
from cmrlib.mvnet import blocks, geometry, network
from cmrlib.mvnet.blocks import Look, points_block
from cmrlib.mvnet.network import MVNet, PointLoss, load_imagenet
from cmrlib.training import adamw, fit, job_file
from cmrlib.weights import load_weights

AUGMENTATION = {"scale": 0.1, "rotation_deg": 10.0, "shift_px": 3.0}
"""The paper's: scale ±10 %, rotation ±10°, shift ±3 pixels."""


def points_learner(cohort, samples, look: Look, backbone: str = "resnet50", head: str = "points", batch_size: int = 8,
                   augmentation: dict | None = None, start_from=None, imagenet=None) -> Learner:
    """fastai Learner for `samples` (blocks.frame_table) of one view and stage.

    start_from: weights file to continue from. imagenet: local file of torchvision's weights of the backbone.
    """
    block = points_block(cohort, look, **(AUGMENTATION | (augmentation or {})))
    dls = block.dataloaders(samples, bs=batch_size, num_workers=0)
    if start_from:
        model, card = load_weights(start_from, network.build)
        if card["architecture"] != {"name": "MVNet", "backbone": backbone, "head": head}:
            raise ValueError(f"{Path(start_from).name} is a {card['architecture']}, asked for is {backbone} with head "
                             f"{head}; continue with the same network")
        model.train()
    else:
        model = MVNet(backbone, head)
        if imagenet:
            load_imagenet(model, imagenet)
    return Learner(dls, model, loss_func=PointLoss(look.shape), opt_func=adamw)


def train_network(cohort, samples, look: Look, epochs: int, seed: int, lr: float = 1e-3, precision: str = "bf16",
                  checkpoint=None, **learner) -> tuple[MVNet, Learner]:
    """Train one network. Returns it in eval mode, and the learner (its loss curve).

    checkpoint: a file, or a folder in which the training is filed under its settings, samples and code; an interrupted
    training goes on from there and a finished one returns at once. learner: of `points_learner`.
    """
    torch.manual_seed(seed)
    learn = points_learner(cohort, samples, look, **learner)
    files = {name: digest(Path(learner[name]).with_suffix(".safetensors") if name == "start_from" else learner[name])
             for name in ("start_from", "imagenet") if learner.get(name)}
    rows = hashlib.blake2b(samples.to_csv(index=False).encode(), digest_size=8).hexdigest()
    points = hashlib.blake2b(digest_size=8)  # an observer laid over the cohort may have been made anew
    for name, observer in samples[["cine", "observer"]].drop_duplicates().itertuples(index=False):
        points.update(cohort.observer(observer).points(name).to_csv(index=False).encode())
    data = {"cohort": cohort.digest, "samples": rows, "points": points.hexdigest(), "precision": precision}
    settings = asdict(look) | {k: str(v) for k, v in learner.items()} | files | data
    if checkpoint is not None and Path(checkpoint).is_dir():
        every = settings | {"epochs": epochs, "lr": lr, "seed": seed}
        checkpoint = job_file(checkpoint, f"mvnet_{look.view}_stage{look.stage}", every,
                              (cine, blocks, geometry, network, training, sys.modules[__name__]))
    fit(learn, epochs, lr, seed, precision, checkpoint, settings, f"MVnet {look.view} stage {look.stage}",
        validate_every=max(1, epochs // 8))
    return learn.model, learn
