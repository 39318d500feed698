"""Training: a fastai Learner for one view, and the run that is resumed where it stopped."""

import hashlib
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from fastai.learner import Learner

from cmrlib import cine
from cmrlib.cine import display
from cmrlib.cine.anatomy import VIEW_STRUCTURES
from cmrlib.cohort.files import digest
from cmrlib.learning import blocks, slices, training
from cmrlib.learning.blocks import segmentation_block
from cmrlib.learning.training import adamw, fit, job_file
from cmrlib.papers.ternausnet import network
from cmrlib.papers.ternausnet.network import SegmentationLoss, TernausNet, load_imagenet_encoder, widen
from cmrlib.papers.ternausnet.prediction import Preprocessing, Segmenter


def segmentation_learner(
    cohort,
    observer,
    samples,
    preprocessing: Preprocessing,
    width: int = 64,
    batch_size: int = 8,
    validation_size: int | None = None,
    bend: float = 0.0,
    start_from=None,
    imagenet=None,
    others=(),
    resolution: float = 0.0,
) -> Learner:
    """fastai Learner for `samples` (blocks.sample_table) of one view, or of all long-axis views together.

    others: further (cohort, observer) pairs to learn from (`segmentation_block`). bend, resolution: how much training
    crops change a heart's shape and their sharpness (`RandomPlane`). start_from: weights file to continue from
    (fine-tuning). imagenet: local file of VGG11-BN weights.
    """
    structures = VIEW_STRUCTURES[preprocessing.view]
    block = segmentation_block(
        cohort,
        observer,
        preprocessing.view,
        preprocessing.spacing_mm,
        preprocessing.size,
        validation_size,
        preprocessing.opposite,
        others,
        bend=bend,
        resolution=resolution,
    )
    n_train = int((samples["split"] == "train").sum())  # fewer than a batch would train nothing
    dls = block.dataloaders(samples, bs=min(batch_size, n_train), num_workers=0)
    if start_from:
        known = Segmenter.load(start_from)
        model, opposite = known.model.train(), known.preprocessing.opposite
    else:
        model, opposite = TernausNet(1 + len(structures), width), False
        if imagenet:
            load_imagenet_encoder(model, imagenet)
    if opposite and not preprocessing.opposite:
        raise ValueError(
            f"{Path(start_from).name} also sees each slice half a cycle later; continue from it with "
            "Preprocessing(…, opposite=True)"
        )
    if preprocessing.opposite and not opposite:
        model = widen(model, 4)
    return Learner(dls, model, loss_func=SegmentationLoss(structures), opt_func=adamw)


def train_segmenter(
    cohort,
    observer,
    samples,
    preprocessing: Preprocessing,
    epochs: int,
    seed: int,
    lr: float = 2e-3,
    precision: str = "bf16",
    checkpoint=None,
    **learner,
) -> tuple[Segmenter, Learner]:
    """Train one view's network. Returns the segmenter and the learner (its loss curve).

    checkpoint: a file, or a folder in which the training is filed under its settings, samples and code; an
    interrupted training goes on from there and a finished one returns at once. learner: of `segmentation_learner`.
    """
    torch.manual_seed(seed)
    learn = segmentation_learner(cohort, observer, samples, preprocessing, **learner)
    files = {
        name: digest(Path(learner[name]).with_suffix(".safetensors") if name == "start_from" else learner[name])
        for name in ("start_from", "imagenet")
        if learner.get(name)
    }
    rows = hashlib.blake2b(samples.to_csv(index=False).encode(), digest_size=8).hexdigest()
    data = {"cohort": cohort.digest, "observer": observer, "samples": rows, "precision": precision}
    if learner.get("others"):
        data["others"] = [(one.digest, name) for one, name in learner["others"]]
    settings = asdict(preprocessing) | learner | files | data
    if checkpoint is not None and Path(checkpoint).is_dir():
        name = f"ternausnet_{preprocessing.view}"
        every = settings | {"epochs": epochs, "lr": lr, "seed": seed}
        used = (cine, display, slices, blocks, network, training, sys.modules[__name__])
        checkpoint = job_file(checkpoint, name, every, used)
    fit(
        learn,
        epochs,
        lr,
        seed,
        precision,
        checkpoint,
        settings,
        f"TernausNet {preprocessing.view}",
        validate_every=max(1, epochs // 8),
    )
    return Segmenter(learn.model, preprocessing, VIEW_STRUCTURES[preprocessing.view], precision), learn
