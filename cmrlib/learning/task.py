"""Task: which cines become which batches, which network and loss learn from them, and what its outputs mean.

    task = TempReg(views=("4ch",), spacing_mm=2.2, size=64)  # a frozen dataclass; its fields are the card
    dls = task.dataloaders(cohort, "manual", split)  # a fastai DataBlock inside
    learn = task.learner(dls)  # a fastai Learner
    learn.fit_one_cycle(12, 0.03, cbs=ExactResume("runs/.state", task.job(cohort, "manual", dls)))
    rows = task.predict(learn.model, cohort, test_subjects, out="runs/mine/observers/tempreg")

A paper writes `items`, `block`, `network`, `loss`, `inputs` and `decode`; the rest is the same for all.
"""

import tempfile
import time
from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import fastai.vision.learner  # noqa: F401  its own show_batch and show_results must be registered before ours
import pandas as pd
import torch
from fastai.data.block import DataBlock
from fastai.data.transforms import ColSplitter
from fastai.learner import Learner
from torch import nn

from cmrlib.cine import Cine
from cmrlib.cohort import Annotation, Cohort, Observer
from cmrlib.cohort.files import short_digest
from cmrlib.cohort.progress import with_progress
from cmrlib.cohort.provenance import KNOWN, known_to, record
from cmrlib.learning.appearance import appearance_flags
from cmrlib.learning.inference import as_list, infer, optimise_for_inference
from cmrlib.learning.resume import ExactResume
from cmrlib.learning.training import (
    AveragedWeights,
    MixedPrecision,
    ReturnMemory,
    SeedEpochs,
    StopOnNaN,
    ValidateEvery,
    adamw,
    progress_lines,
)
from cmrlib.learning.weights import load_weights, read_card, save_weights
from cmrlib.measures import RefusedError

SPACING_MM = (0.2, 20.0)
"""What the pixels that a network sees can measure."""
CACHE = Path(tempfile.gettempdir()) / "cmrlib"
PAPERS = ("ternausnet", "tempreg", "mvnet", "cussp", "sslhf", "heartmae")
"""Packages of `cmrlib.papers`, each of which imports its tasks."""

by_split = ColSplitter("split", on="validation")
"""The splitter of every DataBlock: subjects were assigned beforehand, never items."""


@dataclass(frozen=True)
class Task:
    """One question to one kind of cine.

    Fields: preprocessing, network and loss; a weights card stores them, so that training and prediction agree. views:
    of the cines that it looks at. cache: folder in which prepared arrays are kept (`ArrayCache`); no part of the card.
    """

    views: tuple[str, ...] = ()
    cache: str | Path = field(default=CACHE, kw_only=True, compare=False, repr=False)

    known: ClassVar[dict[str, type["Task"]]] = {}
    fewest_frames: ClassVar[int] = 1
    """Cines of fewer are not looked at."""
    code: ClassVar[tuple] = ()
    """Modules whose code decides what a training yields; a change in them trains anew."""

    def __init_subclass__(cls):
        Task.known[cls.__name__] = cls

    @classmethod
    def of(cls, settings: dict) -> "Task":
        """The task with those of `settings` that it knows; lists, as a notebook has them, become tuples."""
        return cls(**with_tuples({one.name: settings[one.name] for one in fields(cls) if one.name in settings}))

    @property
    def settings(self) -> dict:
        """What the weights card stores: the fields that make a task another one."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.compare}

    # --- what a paper writes

    def items(self, cohort: Cohort, annotations: str, split: pd.Series) -> pd.DataFrame:
        """One row per training item, with columns participant_id, cine, split (train or validation) at least.

        annotations: name of the observer to learn from. split: participant_id → train, validation or test.
        """
        raise NotImplementedError

    def block(self, cohort: Cohort, annotations: str) -> DataBlock:
        """From rows of `items` to typed tensors that show themselves."""
        raise NotImplementedError

    def network(self) -> nn.Module:
        raise NotImplementedError

    def loss(self):
        """Callable (output, target) → scalar."""
        raise NotImplementedError

    def inputs(self, cine: Cine, annotation: Annotation | None = None) -> torch.Tensor:
        """What the network sees of a cine in prediction, as one batch."""
        raise NotImplementedError

    def decode(self, cine: Cine, outputs: torch.Tensor) -> tuple[Annotation | None, list[dict]]:
        """Outputs for `inputs` (fp32, on the CPU) → what to draw over the cohort, and rows of a table."""
        raise NotImplementedError

    def parameter_groups(self, model: nn.Module) -> list:
        """Groups that learn at rates of their own (fastai's splitter)."""
        return [list(model.parameters())]

    def optimiser(self, params, lr):
        return adamw(params, lr=lr)

    # --- training

    def dataloaders(self, cohort, annotations: str, split: pd.Series, bs: int = 16, **kwargs):
        """DataLoaders of all items, in batches of `bs` or of all training items where these are fewer.

        Raises ValueError where nobody trains.
        """
        items = self.items(cohort, annotations, split)
        items = items[items["split"].isin(["train", "validation"])].reset_index(drop=True)
        n_train = int((items["split"] == "train").sum())
        if not n_train:
            raise ValueError(
                f"{cohort.path.name}: observer {annotations!r} annotated no {', '.join(self.views)} of a training "
                "subject; choose another observer, split or view"
            )
        return self.block(cohort, annotations).dataloaders(items, bs=min(bs, n_train), num_workers=0, **kwargs)

    def learner(self, dls, model: nn.Module | None = None, seed: int = 1, precision: str = "bf16") -> Learner:
        """fastai Learner: seeded epochs, mixed precision, averaged weights. model: default a new network.

        Raises ValueError where there are fewer training items than a batch takes.
        """
        if not len(dls.train):
            raise ValueError(
                f"{type(self).__name__}: {dls.train.n} training items, fewer than a batch of {dls.train.bs}: nothing "
                "would be trained; choose a smaller batch"
            )
        if precision not in ("bf16", "fp32"):
            raise ValueError(f"unknown precision {precision!r}; expected bf16 or fp32")
        torch.manual_seed(seed)
        cbs = [SeedEpochs(seed), MixedPrecision(precision == "bf16"), AveragedWeights(), ValidateEvery(), StopOnNaN()]
        cbs.append(ReturnMemory())
        return Learner(
            dls,
            model or self.network(),
            loss_func=self.loss(),
            opt_func=self.optimiser,
            splitter=self.parameter_groups,
            train_bn=False,  # frozen layers are the network's own business
            cbs=[*cbs, *progress_lines(type(self).__name__)],
        )

    def job(self, cohort, annotations: str, dls) -> dict:
        """What an `ExactResume` must know of a training beside its schedule and its first weights."""
        items = pd.concat([dls.train_ds.items, dls.valid_ds.items])
        return {
            "task": type(self).__name__,
            "settings": self.settings,
            "cohort": cohort.digest,
            "annotations": cohort.observer(annotations).digest if annotations else "",
            "items": short_digest(items.to_csv(index=False).encode()),
            "batch": dls.train.bs,
            "code": self.code,
        }

    def train(
        self, cohort, annotations, split, epochs, lr, *, bs=16, seed=1, precision="bf16", state=None, model=None
    ) -> Learner:
        """One training from end to end, found again in the folder `state` where it was finished or interrupted."""
        dls = self.dataloaders(cohort, annotations, split, bs)
        learn = self.learner(dls, model, seed, precision)
        cbs = [ExactResume(state, self.job(cohort, annotations, dls))] if state else []
        self.fit(learn, epochs, lr, cbs)
        learn.model.eval()
        return learn

    def fit(self, learn, epochs: int, lr, cbs=()):
        """fastai's one cycle; a paper with a schedule of its own overrides it."""
        learn.fit_one_cycle(epochs, lr, pct_start=0.15, cbs=cbs)

    # --- prediction

    def predict_cine(self, models, cine: Cine, annotation=None, **options) -> tuple[Annotation | None, list[dict]]:
        """(annotation or None, rows) of one cine. models: a network, or several whose mean output counts."""
        return self.decode(cine, infer(models, self.inputs(cine, annotation, **options)))

    def predict(
        self, models, cohort, subjects=None, annotations="", out=None, views=None, card=None, **options
    ) -> pd.DataFrame:
        """Apply to the cines of a cohort.

        annotations: name of an observer whose masks, points or phases the task needs. out: folder of the observer that
        what is found is written to. card: of the weights; annotations and rows then carry the flags KNOWN, where the
        networks learned from this very subject, and `unlike_training` (`cmrlib.learning.appearance`). Returns the rows
        of `predict_cine` beside participant_id, session, cine, view, frames, frame_step_ms and seconds; `reason` where
        a cine was refused.
        Raises ValueError where there is no such cine.
        """
        cines = cohort.cines[cohort.cines["view"].isin(list(views or self.views))]
        cines = cines[cines["frames"] >= self.fewest_frames]
        cines = cines if subjects is None else cines[cines["participant_id"].isin(set(subjects))]
        if cines.empty:
            raise ValueError(
                f"no cine of {self.fewest_frames} or more frames among these subjects and views of {cohort.path.name}"
            )
        reference = cohort.observer(annotations) if annotations else None
        models = [optimise_for_inference(model) for model in as_list(models)]
        card, table = card or {}, []
        known = known_to(card, cohort)
        if out is not None:
            record(out, [card])
        for row in with_progress(list(cines.itertuples()), type(self).__name__, "cine"):
            cine, start = cohort.cine(row.cine), time.monotonic()
            try:
                given = reference.annotation(row.cine) if reference else None
                found, rows = self.predict_cine(models, cine, given, **options)
            except RefusedError as error:
                found, rows = None, [{"reason": error.reason}]
            flags = appearance_flags(cine, card.get("appearance", [])) + (KNOWN,) * (row.participant_id in known)
            if flags and found is not None:
                found.flags = (*flags, *found.flags)
                rows = [one | {"flags": ";".join(filter(None, [one.get("flags", ""), *flags]))} for one in rows]
            if found is not None and out is not None:
                Observer(out).write(cine, found)
            keys = {name: getattr(row, name) for name in ("participant_id", "session", "cine", "view", "frames")}
            keys |= {"frame_step_ms": cine.frame_step_ms}
            table += [keys | one | {"seconds": (time.monotonic() - start) / len(rows)} for one in rows]
        return pd.DataFrame(table)

    # --- weights

    def save(self, models, path, **card):
        """Weights of a network, or of an ensemble, and a card beside them that says how they were made."""
        models = as_list(models)
        own = {
            "architecture": {"name": type(self).__name__, "n_models": len(models)},
            "preprocessing": {k: list(v) if isinstance(v, tuple) else v for k, v in self.settings.items()},
        }
        save_weights(models[0] if len(models) == 1 else nn.ModuleList(models), path, own | card)

    @staticmethod
    def load(path) -> tuple["Task", list[nn.Module], dict]:
        """(task, networks in eval mode, card). Raises ValueError for weights of no known task and for a card that does
        not fit them, FileNotFoundError where there are none."""
        card = read_card(path)
        name, n = (card.get("architecture", {}).get(key, other) for key, other in (("name", None), ("n_models", 1)))
        if name not in Task.known:
            for paper in PAPERS:
                import_module(f"cmrlib.papers.{paper}")
        if name not in Task.known:
            raise ValueError(f"{path}: weights of {name!r}; known are {', '.join(sorted(Task.known))}")
        try:
            task = Task.known[name](**with_tuples(card["preprocessing"]))
            spacing_mm, usual = (getattr(one, "spacing_mm", 1) for one in (task, type(task)))
            if spacing_mm != usual and not SPACING_MM[0] <= spacing_mm <= SPACING_MM[1]:
                raise TypeError(f"spacing_mm is {task.spacing_mm}, expected {SPACING_MM[0]} to {SPACING_MM[1]}")
            model = task.network() if n == 1 else nn.ModuleList(task.network() for _ in range(n))
        except (AttributeError, KeyError, MemoryError, RuntimeError, TypeError) as error:
            raise ValueError(
                f"{Path(path).with_suffix('.json')} is no card of these weights ({type(error).__name__}: {error}); "
                "restore the one that was written beside them"
            ) from error
        model = load_weights(model, path)
        return task, [model] if n == 1 else list(model), card


def with_tuples(settings: dict) -> dict:
    """Settings in which lists, as notebooks and cards have them, are tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
