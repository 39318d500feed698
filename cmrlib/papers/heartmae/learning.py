"""Pretraining: a fastai Learner, the four variants, and the job that is found again where it stopped."""

import sys
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from fastai.callback.training import GradientAccumulation
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper

from cmrlib import cine
from cmrlib.cohort.files import digest
from cmrlib.learning import training
from cmrlib.learning.training import fit, job_file
from cmrlib.learning.weights import load_weights, save_weights
from cmrlib.papers.heartmae import clips, masking, network, tokens
from cmrlib.papers.heartmae.clips import Preprocessing, clips_block, intensity_moments, rows_digest
from cmrlib.papers.heartmae.masking import Masking
from cmrlib.papers.heartmae.network import Design, MaskedAutoencoder, architecture, build

VARIANTS = {"plain": "MAE-ViT", "mask95": "MAE-95", "tube": "MAE-tube", "flow": "HeartMAE"}
"""The paper's four models, in the order of its tables."""

MODULES = (cine, clips, masking, tokens, network, training, sys.modules[__name__])
"""Whose source a training's checkpoints depend on."""

MASKINGS = {"plain": Masking(0.9), "mask95": Masking(0.95), "tube": Masking(0.9, "tube"), "flow": Masking(0.9)}


@dataclass(frozen=True)
class Recipe:
    """How long and how fast. base_rate: for 256 clips, scaled by the clips of a step (the paper's rule).

    batch_size: sections of a step, each read once and shown as `repeats` clips. accumulate: steps whose gradients are
    added before the weights move. epochs: of the plain model; variant_epochs: of those that start from it. asked: see
    `Masking`.
    """

    epochs: int = 200
    variant_epochs: int = 100
    seed: int = 1
    base_rate: float = 1.5e-4
    batch_size: int = 56
    repeats: int = 4
    accumulate: int = 1
    weight_decay: float = 0.05
    precision: str = "bf16"
    asked: float = 1.0

    @property
    def rate(self) -> float:
        """Learning rate at its peak."""
        return self.base_rate * self.batch_size * self.repeats * self.accumulate / 256


def mean_loss(losses, _):
    """The network itself says each clip's loss: masks are drawn there."""
    return losses.mean()


def heartmae_learner(
    cohort,
    sections,
    preprocessing: Preprocessing,
    design: Design,
    masking: Masking,
    recipe: Recipe,
    flow=None,
    start_from: MaskedAutoencoder | None = None,
) -> Learner:
    """fastai Learner for the training and validation rows of `section_table`.

    flow: weights by (cine name, slice), for equation 2. start_from: a trained model whose weights it begins with.
    Raises ValueError where nobody trains or validates.
    """
    absent = {"train", "validation"} - set(sections["split"])
    if absent:
        raise ValueError(
            f"no section of a {' or '.join(sorted(absent))} subject among {len(sections)} in "
            f"{cohort.path.name}; choose another split"
        )
    used = sections[sections["split"] != "test"]
    block = clips_block(cohort, preprocessing, recipe.repeats, flow)
    dls = block.dataloaders(used, bs=recipe.batch_size, num_workers=0)
    if start_from is None:
        model = MaskedAutoencoder(design, masking, *intensity_moments(cohort, sections))
    else:
        model = MaskedAutoencoder(design, masking)
        model.load_state_dict(start_from.state_dict())
    return Learner(
        dls,
        model,
        loss_func=mean_loss,
        splitter=decay_groups,
        opt_func=partial(OptimWrapper, opt=torch.optim.AdamW, fused=True, weight_decay=recipe.weight_decay),
    )


def decay_groups(model):
    """One group of weights with one rate; all decay alike, as the paper names one constant value."""
    return [list(model.parameters())]


def pretrain(
    cohort,
    sections,
    preprocessing: Preprocessing,
    design: Design,
    variant: str,
    recipe: Recipe,
    checkpoint=None,
    flow=None,
    start_from: MaskedAutoencoder | None = None,
    callbacks=(),
):
    """Train one variant. Returns (model in eval mode, learner).

    variant: a key of VARIANTS; `flow` needs `flow`, and all but `plain` a plain model to start from.
    checkpoint: a file, or a folder in which the job is filed under its settings, sections and code; an interrupted
    job goes on from there and a finished one returns at once.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; there are {', '.join(VARIANTS)}")
    if (flow is not None) != (variant == "flow") or (start_from is None) != (variant == "plain"):
        raise ValueError(f"{variant}: flow weights belong to `flow` alone; all but `plain` start from a plain model")
    torch.manual_seed(recipe.seed)
    masking_of = replace(MASKINGS[variant], asked=recipe.asked)
    learn = heartmae_learner(cohort, sections, preprocessing, design, masking_of, recipe, flow, start_from)
    settings = asdict(preprocessing) | asdict(design) | asdict(masking_of) | asdict(recipe)
    settings |= {"variant": variant, "cohort": cohort.digest, "sections": rows_digest(sections)}
    settings |= {"flow": flow.folder.name} if hasattr(flow, "folder") else {}
    settings |= {"start_from": _fingerprint(start_from)} if start_from is not None else {}
    if checkpoint is not None and Path(checkpoint).is_dir():
        checkpoint = job_file(checkpoint, f"heartmae_{variant}", settings, MODULES)
    if recipe.accumulate > 1:
        callbacks = [*callbacks, GradientAccumulation(recipe.accumulate * recipe.batch_size)]
    epochs = recipe.epochs if variant == "plain" else recipe.variant_epochs
    fit(
        learn,
        epochs,
        recipe.rate,
        recipe.seed,
        recipe.precision,
        checkpoint,
        {key: value for key, value in settings.items() if key not in ("epochs", "seed", "precision")},
        f"{VARIANTS[variant]}, seed {recipe.seed}",
        validate_every=max(1, epochs // 8),
        callbacks=callbacks,
    )
    return learn.model, learn


def _fingerprint(model):
    """A number that other weights would not give."""
    return float(sum(value.double().abs().sum() for value in model.state_dict().values()))


def save_model(model: MaskedAutoencoder, preprocessing: Preprocessing, path, **card):
    """Weights of encoder and decoder, with what they need to be used on other cohorts."""
    save_weights(model, path, {"architecture": architecture(model), "preprocessing": asdict(preprocessing)} | card)


def load_model(path) -> tuple[MaskedAutoencoder, Preprocessing, dict]:
    """(model in eval mode, preprocessing, card) of `save_model`."""
    model, card = load_weights(path, build)
    return model, Preprocessing(**card["preprocessing"]), card


def random_model(model: MaskedAutoencoder, seed: int = 0) -> MaskedAutoencoder:
    """The same network with fresh weights: what the architecture alone is worth, as a comparator."""
    torch.manual_seed(seed)
    fresh = MaskedAutoencoder(replace(model.design), model.masking)
    fresh.mean.copy_(model.mean)
    fresh.std.copy_(model.std)
    return fresh.eval()


def weights_digest(path) -> str:
    """Of a weights file, whether or not its suffix is given."""
    return digest(Path(path).with_suffix(".safetensors"))
