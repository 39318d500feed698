"""Training: Barlow Twins without labels, the Siamese step, the classifier; each a job that is found again."""

import hashlib
import sys
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from fastai.learner import Learner

from cmrlib.learning import training
from cmrlib.learning.training import adamw, fit, job_file
from cmrlib.papers.cussp import batches, network, preparation
from cmrlib.papers.cussp.batches import Cines, Distortion, Pairs, Views, loaders
from cmrlib.papers.cussp.network import BarlowTwins, Classifier, Encoder, Joint, Siamese, barlow_loss, contrastive_loss
from cmrlib.papers.cussp.patches import Patches
from cmrlib.papers.cussp.roles import PRETRAINING, require_no_leak

SHARES = {"cussp1": 0.9, "cussp2": 0.5, "cussp3": 0.1}
"""Weight of the cross-correlation loss; the cross-entropy has the rest (section 3.4)."""


@dataclass(frozen=True)
class Design:
    """Sizes of the networks; the paper's, where it names them.

    frames: of the window from ED on, 0 for all. last: what the Siamese step and the classifier may change, "block" or
    "stage" (two blocks): "the last block of the ResNet18" can be read as either.
    """

    width: int = 64
    projector: int = 2048
    hidden: int = 256
    dropout: float = 0.2
    frames: int = 0
    last: str = "block"


VIEWS = Distortion(shift=0.004, rotation_deg=0.5, scale=0.005, contrast=0.05, noise=0.01, start=0.0)
"""Of Barlow Twins. What two views do not share is forgotten, and a jet is a small thing. On the phantom a linear probe
of the encoder told leaks of validation subjects with an AUC of .58 after shifts of 6 % and turns of 8°, of .65 after
2 % and 3° (.70 after 30 epochs), of .84 after these, of .89 in batches of 256 (5 or 6 epochs each; .96 after 16); with
random weights, which forget nothing, of .975."""


@dataclass(frozen=True)
class Recipe:
    """How long and how fast; none of it is stated in the paper. classifier_epochs: of several, validation subjects
    choose by their cross-entropy. joint_epochs: of CUSSP-1 to -3. barlow_batch: cines a step of Barlow Twins; a batch
    of b cines shows no more than b − 1 independent directions, and the smaller ones are lost."""

    barlow_epochs: int = 20
    siamese_epochs: int = 10
    classifier_epochs: tuple[int, ...] = (10, 20)
    joint_epochs: int = 10
    barlow_rate: float = 1e-3
    siamese_rate: float = 3e-4
    classifier_rate: float = 1e-3
    joint_rate: float = 3e-4
    batch_size: int = 64
    barlow_batch: int = 256
    margin: float = 1.0
    precision: str = "bf16"
    views: Distortion = VIEWS
    labelled: Distortion = field(default_factory=Distortion)


def pretrain(
    patches: Patches,
    roles: pd.Series,
    design: Design,
    recipe: Recipe,
    seed: int,
    state=None,
    what: str = "Barlow Twins",
) -> tuple[BarlowTwins, Learner]:
    """Step (i) of figure 9: Barlow Twins on every cine whose subject is unlabelled or trains.

    roles: of `assign_roles`. A twentieth of these subjects only shows the loss. state: folder of jobs.
    Raises ValueError where a validation or test subject is among them.
    """
    rows = pretraining_rows(patches, roles)
    watched = rows["participant_id"].isin(sorted(rows["participant_id"].unique())[::20])
    total, start = _frames(patches, design), recipe.views.start
    dls = loaders(
        Cines(patches, rows[~watched], frames=design.frames, start=start),
        Cines(patches, rows[watched], frames=design.frames),
        recipe.barlow_batch,
    )
    torch.manual_seed(seed)
    twins = BarlowTwins(Encoder(total, design.width), design.projector)
    learn = _learner(dls, twins, _unlabelled(barlow_loss))
    sides = hashlib.blake2b(rows.to_csv(index=False).encode(), digest_size=8).hexdigest()
    _fit(
        learn,
        recipe.barlow_epochs,
        recipe.barlow_rate,
        seed,
        recipe,
        state,
        what,
        [Views(recipe.views, twice=True)],
        {"patches": patches.digest, "rows": sides, "design": (design.width, design.projector, design.frames)},
    )
    return twins, learn


def pretraining_rows(patches: Patches, roles: pd.Series) -> pd.DataFrame:
    """Rows of `Patches.usable` that step (i) may see; the proof that no others are among them stands here."""
    rows = patches.usable(roles.index[roles.isin(PRETRAINING)])
    require_no_leak(rows["participant_id"], roles)
    return rows


def finetune_siamese(
    encoder: Encoder,
    patches: Patches,
    roles,
    labels,
    design: Design,
    recipe: Recipe,
    seed: int,
    state=None,
    what: str = "Siamese",
) -> Learner:
    """Step (ii): pairs of labelled training cines; everything but the encoder's last block stays as it is."""
    torch.manual_seed(seed)
    encoder.freeze_all_but(design.last)
    sides = {side: labelled(patches, roles, labels, side, design) for side in ("train", "validation")}
    dls = loaders(Pairs(sides["train"]), Pairs(sides["validation"], fixed=True), recipe.batch_size)
    learn = _learner(dls, Siamese(encoder), partial(_pair_loss, margin=recipe.margin))
    _fit(
        learn,
        recipe.siamese_epochs,
        recipe.siamese_rate,
        seed,
        recipe,
        state,
        what,
        [Views(recipe.labelled)],
        _labelled_settings(patches, roles, labels, design) | {"start": weights_digest(encoder)},
    )
    return learn


def train_classifier(
    encoder: Encoder,
    patches: Patches,
    roles,
    labels,
    design: Design,
    recipe: Recipe,
    seed: int,
    state=None,
    what: str = "classifier",
) -> tuple[Classifier, Learner]:
    """Step (iii): a three-layer perceptron on the encoder, whose last block goes on learning."""
    start, best = {k: v.clone() for k, v in encoder.state_dict().items()}, (np.inf, None, None)
    for epochs in recipe.classifier_epochs:
        torch.manual_seed(seed)
        own = Encoder(encoder.frames, encoder.width)
        own.load_state_dict(start)
        own.freeze_all_but(design.last)
        model = Classifier(own, design.hidden, design.dropout)
        sides = {side: labelled(patches, roles, labels, side, design) for side in ("train", "validation")}
        learn = _learner(loaders(sides["train"], sides["validation"], recipe.batch_size), model, _entropy)
        _fit(
            learn,
            epochs,
            recipe.classifier_rate,
            seed,
            recipe,
            state,
            what,
            [Views(recipe.labelled)],
            _labelled_settings(patches, roles, labels, design) | {"start": weights_digest(encoder)},
        )
        best = min(best, (learn.recorder.values[-1][1], model, learn), key=lambda found: found[0])
    return best[1:]


def train_joint(
    twins: BarlowTwins | None,
    share: float,
    patches: Patches,
    roles,
    labels,
    design: Design,
    recipe: Recipe,
    seed: int,
    state=None,
    what: str = "CUSSP",
) -> tuple[Classifier, Learner]:
    """CUSSP-1 to -3: cross-correlation (weight `share`) and cross-entropy together, on labelled training cines; all
    layers learn, and there is no Siamese step. twins: None for random weights, so that labels teach alone."""
    torch.manual_seed(seed)
    own = BarlowTwins(Encoder(_frames(patches, design), design.width), design.projector)
    if twins is not None:
        own.load_state_dict(twins.state_dict())
    model = Joint(own, design.hidden, design.dropout)
    sides = {side: labelled(patches, roles, labels, side, design) for side in ("train", "validation")}
    learn = _learner(
        loaders(sides["train"], sides["validation"], recipe.batch_size), model, partial(_joint_loss, share=share)
    )
    _fit(
        learn,
        recipe.joint_epochs,
        recipe.joint_rate,
        seed,
        recipe,
        state,
        what,
        [Views(recipe.labelled, twice=True)],
        _labelled_settings(patches, roles, labels, design) | {"start": weights_digest(own), "share": share},
    )
    return model.classifier().eval(), learn


def labelled(patches: Patches, roles: pd.Series, labels: pd.Series, side: str, design: Design) -> Cines:
    """Cines of the labelled subjects of one side; in training the first frame varies a little.

    Raises ValueError where the side has no usable cine.
    """
    rows = patches.usable(roles.index[roles == side])
    if rows.empty:
        raise ValueError(f"no usable cine of a {side} subject; choose another split, or look at the refused cines")
    values = labels.reindex(rows["participant_id"]).to_numpy(float)
    return Cines(patches, rows, values, design.frames, Distortion().start if side == "train" else 0.0)


def weights_digest(model) -> str:
    """Digest of a model's weights: what a training that starts from them is filed under."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _frames(patches, design):
    return design.frames or patches.preprocessing.frames


def _labelled_settings(patches, roles, labels, design):
    known = roles[roles.isin(["train", "validation"])]
    text = known.to_csv() + labels.reindex(known.index).to_csv()
    return {
        "patches": patches.digest,
        "design": str(design),
        "labels": hashlib.blake2b(text.encode(), digest_size=8).hexdigest(),
    }


def _unlabelled(loss):
    return lambda output, *target: loss(output)


def _pair_loss(output, unlike, margin):
    return contrastive_loss(output, unlike, margin)


def _entropy(output, target):
    return F.binary_cross_entropy_with_logits(output.float(), target.float())


def _joint_loss(output, target, share):
    return network.joint_loss(output, target, share)


def _learner(dls, model, loss) -> Learner:
    """Of the weights that may learn only: the optimiser never sees the others."""
    return Learner(
        dls,
        model,
        loss_func=loss,
        opt_func=adamw,
        train_bn=False,
        splitter=lambda m: [[p for p in m.parameters() if p.requires_grad]],
    )


def _fit(learn, epochs, rate, seed, recipe, state, what, callbacks, settings):
    settings |= {
        name: value
        for name, value in asdict(recipe).items()
        if name not in ("precision", "classifier_epochs") and not name.endswith(("epochs", "rate"))
    }
    checkpoint = state
    if state is not None and Path(state).is_dir():
        modules = (preparation, batches, network, training, sys.modules[__name__])
        job = settings | {"seed": seed, "epochs": epochs, "rate": rate, "precision": recipe.precision, "what": what}
        checkpoint = job_file(state, "cussp", job, modules)
    fit(
        learn,
        epochs,
        rate,
        seed,
        recipe.precision,
        checkpoint,
        settings,
        what,
        validate_every=max(1, epochs // 8),
        callbacks=callbacks,
    )
