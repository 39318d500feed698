"""Training: a fastai Learner for one view, and the run that is resumed where it stopped."""

from dataclasses import asdict

import torch
from fastai.learner import Learner

from cmrlib.anatomy import VIEW_STRUCTURES
from cmrlib.blocks import segmentation_block
from cmrlib.ternausnet.network import SegmentationLoss, TernausNet, load_imagenet_encoder
from cmrlib.ternausnet.prediction import Preprocessing, Segmenter
from cmrlib.training import adamw, fit


def segmentation_learner(cohort, observer, samples, preprocessing: Preprocessing, width: int = 64, batch_size: int = 8,
                         validation_size: int | None = None, start_from=None, imagenet=None) -> Learner:
    """fastai Learner for `samples` (blocks.sample_table) of one view.

    start_from: weights file to continue from (fine-tuning). imagenet: local file of VGG11-BN weights.
    """
    structures = VIEW_STRUCTURES[preprocessing.view]
    block = segmentation_block(cohort, observer, preprocessing.view, preprocessing.spacing_mm, preprocessing.size,
                               validation_size)
    dls = block.dataloaders(samples, bs=batch_size, num_workers=0)
    if start_from:
        model = Segmenter.load(start_from).model.train()
    else:
        model = TernausNet(1 + len(structures), width)
        if imagenet:
            load_imagenet_encoder(model, imagenet)
    return Learner(dls, model, loss_func=SegmentationLoss(structures), opt_func=adamw)


def train_segmenter(cohort, observer, samples, preprocessing: Preprocessing, epochs: int, seed: int, lr: float = 2e-3,
                    precision: str = "bf16", checkpoint=None, **learner) -> tuple[Segmenter, Learner]:
    """Train one view's network; resumes from `checkpoint`. Returns the segmenter and the learner (its loss curve)."""
    torch.manual_seed(seed)
    learn = segmentation_learner(cohort, observer, samples, preprocessing, **learner)
    settings = asdict(preprocessing) | {k: str(v) for k, v in learner.items()} | {"cohort": cohort.digest}
    fit(learn, epochs, lr, seed, precision, checkpoint, settings, f"TernausNet {preprocessing.view}",
        validate_every=max(1, epochs // 8))
    return Segmenter(learn.model, preprocessing, VIEW_STRUCTURES[preprocessing.view], precision), learn
