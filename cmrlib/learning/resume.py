"""Checkpoints: a training that was interrupted goes on as if nothing had happened, a finished one is found again."""

import hashlib
import inspect
import time
from pathlib import Path

import numpy as np
import torch
from fastai.callback.core import Callback, CancelEpochException

from cmrlib.cohort.files import atomic, code_of


class ExactResume(Callback):
    """Checkpoint after every epoch (weights, average, optimiser, losses); the same training goes on from there.

    A finished training leaves its checkpoint too, so that a rerun returns at once. folder: the training has a file of
    its own there by settings, schedule, first weights and code, so that it is found again whoever asks. settings: of
    `Task.job`; the learner is one of `Task.learner`. The file is read with `weights_only`: it cannot run code.
    """

    order = 95

    def __init__(self, folder, settings: dict):
        code = settings.get("code", ())
        self.settings = {name: value for name, value in settings.items() if name != "code"}
        self.code = [code_of(inspect.getsource(module)) for module in code]
        self.folder, self.done, self.seconds = Path(folder), 0, 0.0
        """Epochs that were trained before, and seconds over all sittings."""
        self._values, self._iters = [], []

    def before_fit(self):
        self.file = self.folder / self._name()
        self.learn.checkpoint = self  # fastai forgets a fit's own callbacks
        self.learn.training_seconds = lambda: self.seconds
        if not self.file.exists():
            return
        state = torch.load(self.file, weights_only=True, map_location="cpu")
        self.done, self._values, self.seconds = state["epoch"], state["values"], state["seconds"]
        self.model.load_state_dict(state["model"])
        self.opt.load_state_dict(state["opt"])
        self.recorder.losses, self.recorder.lrs, self._iters = state["losses"], state["lrs"], state["iters"]
        self.recorder.smooth_loss.count, self.recorder.smooth_loss.val = state["smooth"]
        self.averaged_weights.average, self.averaged_weights.steps = state["average"], state["steps"]
        if state.get("best") and hasattr(self.learn, "best_epoch"):
            self.learn.best_epoch.best = state["best"]

    def _name(self):
        """File of this training among others: what decides its result, as a digest."""
        first = hashlib.blake2b(digest_size=8)
        for name, value in self.model.state_dict().items():
            first.update(name.encode())
            first.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        rate = self.learn.param_scheduler.scheds["lr"]  # the optimiser holds a default until the first batch
        self.settings |= {
            "epochs": self.n_epoch,
            "lr": [np.round(rate(position), 10).tolist() for position in (0.0, 0.1, 0.25, 0.5, 0.9)],
            "seed": self.learn.seed_epochs.seed,
            "precision": "bf16" if self.learn.mixed_precision.enabled else "fp32",
            "first weights": first.hexdigest(),
        }
        text = "\n".join([repr(sorted(self.settings.items())), *self.code])
        digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        return f"{self.settings.get('task', 'training').lower()}_{digest}.pt"

    def before_epoch(self):
        if self.epoch < self.done:
            raise CancelEpochException
        self._restore_values()
        self._tick = time.monotonic()

    def after_fit(self):
        self._restore_values()

    def _restore_values(self):
        """fastai's recorder writes empty rows for epochs it skips: put the recorded losses there."""
        self.recorder.values[: self.done], self.recorder.iters[: self.done] = self._values, self._iters

    def after_epoch(self):
        if self.epoch < self.done:
            return
        self._restore_values()
        self.seconds += time.monotonic() - self._tick
        average, recorder = self.averaged_weights, self.recorder
        state = {
            "epoch": self.epoch + 1,
            "settings": repr(sorted(self.settings.items())),
            "model": self.model.state_dict(),
            "opt": _plain(self.opt.state_dict()),
            "average": average.average,
            "steps": average.steps,
            "values": [list(row) for row in recorder.values],
            "smooth": (recorder.smooth_loss.count, recorder.smooth_loss.val),
            "losses": [float(loss) for loss in recorder.losses],
            "lrs": [float(lr) for lr in recorder.lrs],
            "iters": list(recorder.iters),
            "seconds": self.seconds,
            "best": self.learn.best_epoch.best if hasattr(self.learn, "best_epoch") else None,
        }
        with atomic(self.file) as part:
            torch.save(state, part)


def _plain(state):
    """Optimiser state with Python numbers where schedules left numpy's, which `weights_only` would refuse."""
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_plain(value) for value in state)
    return state.item() if isinstance(state, np.generic) else state
