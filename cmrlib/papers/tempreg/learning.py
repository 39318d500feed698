"""Training: a fastai Learner for sections of any view, and the job that is found again where it stopped."""

import hashlib
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper

from cmrlib import cine
from cmrlib.cohort.files import digest
from cmrlib.learning import blocks, training
from cmrlib.learning.training import fit, job_file
from cmrlib.papers.tempreg import clips, network, targets
from cmrlib.papers.tempreg.clips import Preprocessing, section_block
from cmrlib.papers.tempreg.network import Design, TempRegLoss, TempRegNet, load_imagenet_encoder, parameter_groups
from cmrlib.papers.tempreg.prediction import FrameFinder


@dataclass(frozen=True)
class Objective:
    """Equation 3. beta: weight of the structured loss, 0 for none. alpha: weight decay. target: cyclic or paper."""

    beta: float = 10.0
    alpha: float = 0.01
    target: str = "cyclic"


@dataclass(frozen=True)
class Recipe:
    """How long and how fast. learning_rate: of the read-out, all other weights a tenth. precision: fp32, or bf16, whose
    finder then works in int8."""

    epochs: int = 10
    seed: int = 1
    learning_rate: float = 1e-3
    batch_size: int = 8
    precision: str = "bf16"


def tempreg_learner(
    cohort,
    sections,
    preprocessing: Preprocessing,
    design: Design,
    objective: Objective,
    batch_size: int = 8,
    start_from=None,
    imagenet=None,
) -> Learner:
    """fastai Learner for the training and validation rows of `section_table`.

    start_from: weights file to continue from. imagenet: local file of Zeiler–Fergus weights.
    Raises ValueError where nobody trains, or nobody is there to validate on.
    """
    absent = {"train", "validation"} - set(sections["split"])
    if absent:
        raise ValueError(
            f"no section of a {' or '.join(sorted(absent))} subject among {len(sections)} in "
            f"{cohort.path.name}; choose another split"
        )
    used = sections[sections["split"] != "test"]
    dls = section_block(cohort, preprocessing, objective.target).dataloaders(used, bs=batch_size, num_workers=0)
    model = FrameFinder.load(start_from).model.train() if start_from else TempRegNet(design)
    if imagenet and not start_from:
        load_imagenet_encoder(model, imagenet)
    return Learner(
        dls,
        model,
        loss_func=TempRegLoss(objective.beta, objective.target == "cyclic"),
        opt_func=partial(OptimWrapper, opt=torch.optim.AdamW, weight_decay=objective.alpha),
        splitter=parameter_groups,
    )


def train_tempreg(
    cohort,
    sections,
    preprocessing: Preprocessing,
    design: Design,
    objective: Objective,
    recipe: Recipe,
    checkpoint=None,
    what: str = "TempReg-Net",
    **starts,
) -> tuple[FrameFinder, Learner]:
    """Train one network. Returns the finder and the learner (its loss curve).

    checkpoint: a file, or a folder in which the job is filed under its settings, sections and code; an interrupted
    job goes on from there and a finished one returns at once. starts: start_from, imagenet of `tempreg_learner`.
    """
    torch.manual_seed(recipe.seed)
    learn = tempreg_learner(cohort, sections, preprocessing, design, objective, recipe.batch_size, **starts)
    files = {
        name: digest(Path(path).with_suffix(".safetensors") if name == "start_from" else path)
        for name, path in starts.items()
        if path
    }
    used = sections[sections["split"] != "test"]
    rows = hashlib.blake2b(used.to_csv(index=False).encode(), digest_size=8).hexdigest()
    settings = asdict(preprocessing) | asdict(learn.model.design) | asdict(objective) | asdict(recipe) | files
    settings |= {"cohort": cohort.digest, "sections": rows}
    if checkpoint is not None and Path(checkpoint).is_dir():
        modules = (cine, blocks, targets, clips, network, training, sys.modules[__name__])
        checkpoint = job_file(checkpoint, "tempreg", settings, modules)
    rate = slice(recipe.learning_rate)  # fastai: the last group of weights so fast, the others a tenth
    fit(
        learn,
        recipe.epochs,
        rate,
        recipe.seed,
        recipe.precision,
        checkpoint,
        {key: value for key, value in settings.items() if key not in ("epochs", "seed", "precision")},
        what,
        validate_every=max(1, recipe.epochs // 8),
    )
    precision = "fp32" if recipe.precision == "fp32" else "int8"
    return FrameFinder(learn.model, preprocessing, precision, objective.target), learn
