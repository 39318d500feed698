"""All variants of one seed, each a resumable job: the plain model first, the others from the best of its
checkpoints."""

from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fastai.callback.core import Callback
from sklearn.linear_model import RidgeCV

from cmrlib.cohort.files import atomic
from cmrlib.cohort.progress import with_progress
from cmrlib.learning.training import AveragedWeights, job_file
from cmrlib.papers.heartmae.clips import Preprocessing, rows_digest
from cmrlib.papers.heartmae.features import Embedder
from cmrlib.papers.heartmae.learning import MODULES, Recipe, pretrain
from cmrlib.papers.heartmae.network import Design, MaskedAutoencoder


@dataclass
class Pretrained:
    """models: variant → network. losses: a row a variant and epoch. start: what all but the plain model begin with;
    starts: the plain model's checkpoints and their validation error. minutes: of training, over all sittings."""

    models: dict[str, MaskedAutoencoder] = field(default_factory=dict)
    losses: list[dict] = field(default_factory=list)
    start: MaskedAutoencoder | None = None
    starts: pd.DataFrame = field(default_factory=pd.DataFrame)
    minutes: float = 0.0


class Snapshots(Callback):
    """Keeps the averaged weights of some epochs beside the job's own checkpoint, for `choose_start`."""

    order = 96  # after ExactResume

    def __init__(self, folder, epochs):
        self.folder, self.epochs = Path(folder), sorted(epochs)

    def path(self, epoch: int) -> Path:
        return self.folder / f"epoch_{epoch:04d}.pt"

    def after_epoch(self):
        done = self.epoch + 1
        if done not in self.epochs or self.path(done).exists():
            return
        average = next((cb.average for cb in self.learn.cbs if isinstance(cb, AveragedWeights)), None)
        with atomic(self.path(done)) as part:
            torch.save(average or self.model.state_dict(), part)


def train_variants(
    cohort,
    sections,
    preprocessing: Preprocessing,
    design: Design,
    recipe: Recipe,
    variants,
    state=None,
    flow=None,
    target: pd.Series | None = None,
    shares=(0.5, 0.75, 1.0),
) -> Pretrained:
    """Pretrain the plain model and those of `variants` that start from it.

    state: folder of checkpoints. flow: weights for `flow`. target: a number a subject (LVEF), by which the start of the
    other variants is chosen among the plain model's epochs (`shares` of all): the paper took epoch 150 of 200 so, on
    which subjects it does not say; ours are the validation subjects. None: the last epoch.
    """
    if "plain" not in variants:
        variants = ["plain", *variants]
    done = Pretrained()
    epochs = sorted({max(1, round(share * recipe.epochs)) for share in shares}) if target is not None else []
    keep = None
    if epochs and state is not None and len(variants) > 1:
        given = {"cohort": cohort.digest, "sections": rows_digest(sections), "told": (preprocessing, design, recipe)}
        keep = Snapshots(job_file(state, "snapshots", given, MODULES).with_suffix(""), epochs)
    for variant in sorted(variants, key=lambda name: name != "plain"):
        start = None if variant == "plain" else _start(done, cohort, sections, preprocessing, keep, target)
        model, learner = pretrain(
            cohort,
            sections,
            preprocessing,
            design,
            variant,
            recipe,
            state,
            flow if variant == "flow" else None,
            start,
            [keep] if keep and variant == "plain" else [],
        )
        done.models[variant] = model
        done.losses += [
            {
                "variant": variant,
                "epoch": n + 1,
                "train": row[0],
                "validation": row[1] if len(row) > 1 else np.nan,
                "seed": recipe.seed,
            }
            for n, row in enumerate(learner.recorder.values)
        ]
        done.minutes += getattr(learner, "training_seconds", lambda: 0.0)() / 60
    return done


def _start(done, cohort, sections, preprocessing, keep, target):
    """The plain model that the others begin with; chosen once."""
    if keep is None:
        return done.models["plain"]
    if done.start is None:
        done.start, done.starts = choose_start(done.models["plain"], keep, cohort, sections, preprocessing, target)
    return done.start


def choose_start(
    plain: MaskedAutoencoder, snapshots: Snapshots, cohort, sections, preprocessing: Preprocessing, target: pd.Series
) -> tuple[MaskedAutoencoder, pd.DataFrame]:
    """(the checkpoint whose frozen features tell `target` best on validation subjects, a row an epoch with its mae).

    A ridge regression on the mean feature of each subject's sections (of a view every other one), one crop and clip
    each, fitted on the training subjects.
    """
    rows, best = [], (np.inf, plain)
    known = sections[sections["participant_id"].isin(target.dropna().index)]
    known = known[known.groupby(["participant_id", "view"]).cumcount() % 2 == 0]
    for epoch in snapshots.epochs:
        if not snapshots.path(epoch).exists():
            continue
        model = deepcopy(plain)
        model.load_state_dict(torch.load(snapshots.path(epoch), weights_only=True, map_location="cpu"))
        embedder = Embedder(model, preprocessing, crops=1, times=1)
        means = {}
        people = known[known["split"] != "test"].groupby("participant_id")
        for subject, part in with_progress(people, f"checkpoint of epoch {epoch}", "subject"):
            means[subject] = np.mean([embedder.embed(cohort.cine(r.cine), r.k)[0] for r in part.itertuples()], axis=0)
        side = known.drop_duplicates("participant_id").set_index("participant_id")["split"]
        train, checked = ([s for s in means if side[s] == name] for name in ("train", "validation"))
        x, y = np.stack([means[s] for s in train]), target[train]
        ridge = RidgeCV(np.logspace(-2, 4, 13)).fit((x - x.mean(0)) / (x.std(0) + 1e-8), y)
        seen = (np.stack([means[s] for s in checked]) - x.mean(0)) / (x.std(0) + 1e-8)
        mae = float(np.abs(ridge.predict(seen) - target[checked]).mean())
        rows.append({"epoch": epoch, "validation_mae": mae, "n": len(checked)})
        best = min(best, (mae, model), key=lambda pair: pair[0])
    return best[1].eval(), pd.DataFrame(rows)
