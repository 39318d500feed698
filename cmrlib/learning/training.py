"""What all learners share: seeds, CPU mixed precision, averaged weights, exact resume."""

import hashlib
import inspect
import random
import time
from functools import partial
from pathlib import Path

import fastai.callback.progress
import fastai.callback.schedule  # noqa: F401  gives Learner fit_one_cycle and lr_find
import numpy as np
import torch
from fastai.callback.core import Callback, CancelValidException
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from threadpoolctl import threadpool_limits

from cmrlib.cohort.files import atomic, code_of
from cmrlib.learning.distributed import Together, join
from cmrlib.learning.memory import ReturnMemory, keep_freed_memory
from cmrlib.learning.norms import quicken_batch_norm

adamw = partial(OptimWrapper, opt=torch.optim.AdamW, fused=True, weight_decay=0.01)
"""AdamW of torch in its fused form: a third of the time of the plain one on CPUs."""


def set_threads_and_seed(seed: int, threads: int):
    """Seed every generator and fix the thread count of torch and BLAS, which is a parameter and never the machine's."""
    torch.set_num_threads(threads)
    threadpool_limits(threads, user_api="blas")
    keep_freed_memory()
    _seed(seed)


def _seed(seed):
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


class SeedEpochs(Callback):
    """Epoch e draws from (seed, e) alone, so that a run resumed at e is the undisturbed run."""

    order = -100

    def __init__(self, seed: int):
        self.seed = seed

    def before_epoch(self):
        epoch_seed = int(np.random.SeedSequence([self.seed, self.epoch]).generate_state(1)[0])
        _seed(epoch_seed)
        self.dls.train.rng = random.Random(epoch_seed)


class MixedPrecision(Callback):
    """bf16 in the forward pass on CPU and GPU; predictions return to fp32 before the loss.

    fastai's own `to_bf16` switches itself off without CUDA. channels_last is what makes bf16 convolutions fast.
    """

    order = 10

    def __init__(self, enabled: bool = True, channels_last: bool = True):
        self.enabled, self.channels_last, self._context = enabled, channels_last, None

    def before_fit(self):
        if self.channels_last:
            self.model.to(memory_format=torch.channels_last)

    def before_batch(self):
        plain = [x.as_subclass(torch.Tensor) for x in self.xb]  # typed tensors cost a dispatch per operation
        if self.channels_last:
            plain = [x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x for x in plain]
        self.learn.xb, self.learn.yb = tuple(plain), tuple(y.as_subclass(torch.Tensor) for y in self.yb)
        self._context = torch.autocast(plain[0].device.type, torch.bfloat16, enabled=self.enabled)
        self._context.__enter__()

    def after_pred(self):
        self._leave()
        self.learn.pred = self.pred.float()

    def after_batch(self):
        self._leave()

    after_cancel_batch = after_cancel_fit = after_batch

    def _leave(self):
        if self._context is not None:
            self._context.__exit__(None, None, None)
            self._context = None


class AveragedWeights(Callback):
    """Exponential average of weights and batch statistics; validated, saved and kept in place of the last ones."""

    order = 50

    def __init__(self, decay: float = 0.995):
        self.decay, self.average, self.steps = decay, None, 0

    def before_fit(self):
        if self.average is None:
            self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def after_step(self):
        self.steps += 1
        weight = 1 - min(self.decay, self.steps / (self.steps + 9))  # a young average forgets its random start
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                if value.dtype.is_floating_point:
                    self.average[name].lerp_(value, weight)
                else:
                    self.average[name].copy_(value)

    def swap(self):
        """Exchange the model's weights with the average."""
        last = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        self.average = last

    before_validate = after_validate = after_fit = swap


class ValidateEvery(Callback):
    """Validate every n-th epoch and the last one; between them, and where no subject was kept for it, the recorder
    shows nothing new."""

    order = 60  # after AveragedWeights, which swaps twice in any case

    def __init__(self, n: int):
        self.n = n

    def before_validate(self):
        if not self.dls.valid.n or ((self.epoch + 1) % self.n and self.epoch + 1 != self.n_epoch):
            raise CancelValidException


class StopOnNaN(Callback):
    """A loss that is no number ends the training with an error, before it reaches the weights and their average."""

    def after_loss(self):
        if self.training and not torch.isfinite(self.loss):
            raise FloatingPointError(f"the loss is {self.loss.item()} in epoch {self.epoch + 1}: lower the rate")


class ProgressLines(Callback):
    """One line an epoch: losses and the time still to go, readable in a terminal, a log and a notebook."""

    order = 90

    def __init__(self, what: str, every: int = 1):
        self.what, self.every = what, every

    def before_fit(self):
        self._start, self._first = time.monotonic(), None

    def before_train(self):
        self._first = self.epoch if self._first is None else self._first

    def after_epoch(self):
        if self._first is None:  # an epoch that a resumed training skips
            return
        done, left = self.epoch + 1 - self._first, self.n_epoch - self.epoch - 1
        if left % self.every:
            return
        seconds = (time.monotonic() - self._start) / done * left
        loss = self.learn.recorder.log[1] if len(self.learn.recorder.log) > 1 else float("nan")
        valid = self.recorder.values[-1][1:] if self.recorder.values else []
        shown = " ".join(f"{v:.3f}" for v in valid)
        print(
            f"{self.what}: epoch {self.epoch + 1}/{self.n_epoch} train {loss:.3f} valid {shown or '-'} "
            f"· {seconds / 60:.1f} min left",
            flush=True,
        )


class ExactResume(Callback):
    """Checkpoint after every n-th epoch: weights, average, optimiser. `start_epoch()` tells where to go on.

    A finished training leaves its checkpoint too, so that a rerun returns at once. The file is read with
    `weights_only`, so it cannot run code; settings that differ refuse it.
    """

    order = 95

    def __init__(self, path, settings: dict, every: int = 1):
        self.path, self.settings, self.every = Path(path), repr(sorted(settings.items())), every
        self._done, self._values, self.seconds = 0, [], 0.0

    def start_epoch(self) -> int:
        return self._read()["epoch"] if self.path.exists() else 0

    def _read(self):
        state = torch.load(self.path, weights_only=True, map_location="cpu")
        if state["settings"] != self.settings:
            raise ValueError(
                f"{self.path} belongs to a training with other settings; delete it or name the run anew\n"
                f"expected {self.settings}\ngot      {state['settings']}"
            )
        return state

    def before_fit(self):
        if not self.path.exists():
            return
        state = self._read()
        self._done, self._values, self.seconds = state["epoch"], state["values"], state["seconds"]
        self.model.load_state_dict(state["model"])
        self.opt.load_state_dict(state["opt"])
        if "smooth" in state:
            self.recorder.smooth_loss.count, self.recorder.smooth_loss.val = state["smooth"]
        if hasattr(self.learn, "averaged_weights"):
            self.averaged_weights.average, self.averaged_weights.steps = state["average"], state["steps"]

    def before_epoch(self):
        self._tick = time.monotonic()

    def after_fit(self):
        self._remember()

    def _remember(self):
        """fastai's recorder writes empty rows for epochs it skips: put the recorded losses there."""
        self.recorder.values[: self._done] = self._values

    def after_epoch(self):
        if self.epoch < self._done:
            return
        self._remember()
        self.seconds += time.monotonic() - self._tick
        if (self.epoch + 1) % self.every and self.epoch + 1 != self.n_epoch:
            return
        average = getattr(self.learn, "averaged_weights", None)
        state = {
            "epoch": self.epoch + 1,
            "settings": self.settings,
            "model": self.model.state_dict(),
            "opt": _plain(self.opt.state_dict()),
            "average": average and average.average,
            "steps": average and average.steps,
            "values": [list(row) for row in self.recorder.values],
            "smooth": (self.recorder.smooth_loss.count, self.recorder.smooth_loss.val),
            "seconds": self.seconds,
        }
        with atomic(self.path) as part:
            torch.save(state, part)


def job_file(folder, name: str, settings: dict, modules) -> Path:
    """Where a training keeps its checkpoint: NAME_DIGEST.pt, by its settings and the code of the modules it uses; their
    prose and layout do not count.

    The same training is found again by whoever asks for it, whatever notebook, profile or fold list asked first;
    another one never mistakes it for its own.
    """
    text = "\n".join([repr(sorted(settings.items())), *(code_of(inspect.getsource(module)) for module in modules)])
    return Path(folder) / f"{name}_{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}.pt"


def _plain(state):
    """Optimiser state with Python numbers where schedules left numpy's, which `weights_only` would refuse."""
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_plain(value) for value in state)
    return state.item() if isinstance(state, np.generic) else state


def fit(
    learn: Learner,
    epochs: int,
    lr: float,
    seed: int,
    precision: str = "bf16",
    checkpoint=None,
    settings: dict | None = None,
    what: str = "training",
    validate_every: int = 1,
    callbacks=(),
) -> Learner:
    """One-cycle training with everything above; resumes from `checkpoint` where it exists. Under torchrun all processes
    take its steps together (`cmrlib.learning.distributed`).

    precision: `bf16` or `fp32`. settings: what the checkpoint must agree with. Returns the learner, its model
    holding the averaged weights in eval mode.
    """
    if precision not in ("bf16", "fp32"):
        raise ValueError(f"unknown precision {precision!r}; expected bf16 or fp32")
    mixed = MixedPrecision(precision == "bf16")
    cbs = [
        SeedEpochs(seed),
        mixed,
        AveragedWeights(),
        ValidateEvery(validate_every),
        StopOnNaN(),
        ReturnMemory(),
        *callbacks,
    ]
    quicken_batch_norm(learn.model)
    rank, world = join()
    if rank == 0:
        cbs.append(ProgressLines(what, max(1, epochs // 20)))
    if world > 1 and not any(isinstance(one, Together) for one in callbacks):
        cbs.append(Together(seed))
    start = 0
    if checkpoint is not None:
        other = {} if precision == "bf16" else {"precision": precision}
        resume = ExactResume(checkpoint, (settings or {}) | {"epochs": epochs, "lr": lr, "seed": seed} | other)
        cbs, start = [*cbs, resume], resume.start_epoch()
        learn.training_seconds = lambda: resume.seconds  # over all sittings, for the weights' card
    try:
        with learn.no_bar(), learn.no_logging():  # one line an epoch comes from ProgressLines
            learn.fit_one_cycle(epochs, lr, cbs=cbs, start_epoch=start, pct_start=0.15)
    finally:
        mixed._leave()  # who interrupts a notebook in the forward pass would keep autocast on
    learn.model.eval()
    return learn
