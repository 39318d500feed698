"""What all learners share: seeds, CPU mixed precision, averaged weights, progress."""

import ctypes
import os
import random
import time
from functools import partial

import fastai.callback.progress
import fastai.callback.schedule  # noqa: F401  gives Learner fit_one_cycle and lr_find
import numpy as np
import torch
from fastai.callback.core import Callback, CancelValidException
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from threadpoolctl import threadpool_limits

from cmrlib.learning.inference import channels_last

adamw = partial(OptimWrapper, opt=torch.optim.AdamW, fused=True, weight_decay=0.01)
"""AdamW of torch in its fused form: a third of the time of the plain one on CPUs."""


def set_threads_and_seed(seed: int, threads: int):
    """Seed every generator and fix the thread count of torch and BLAS, which is a parameter and never the machine's."""
    torch.set_num_threads(threads)
    threadpool_limits(threads, user_api="blas")
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
        self.format = channels_last(self.model)
        if self.channels_last:
            self.model.to(memory_format=self.format)

    def before_batch(self):
        plain = [x.as_subclass(torch.Tensor) for x in self.xb]  # typed tensors cost a dispatch per operation
        if self.channels_last and self.format is torch.channels_last:
            plain = [x.contiguous(memory_format=self.format) if x.dim() == 4 else x for x in plain]
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


class DuringFit(Callback):
    """Acts while a learner is fitted: `began` stays False in `validate`, `get_preds` and `show_results`, which send a
    before_fit and an after_fit too, and nothing is run in `lr_find`."""

    def before_fit(self):
        self.run, self.began = not hasattr(self.learn, "lr_finder"), False

    def before_train(self):
        self.began = True

    after_cancel_epoch = before_train  # an epoch that a resumed training skips


class AveragedWeights(DuringFit):
    """Exponential average of weights and batch statistics; validated, saved and kept in place of the last ones."""

    order = 50

    def __init__(self, decay: float = 0.995):
        self.decay, self.average, self.steps = decay, None, 0

    def before_fit(self):
        super().before_fit()
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
        if not self.began:
            return
        last = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        self.average = last

    before_validate = after_validate = after_fit = swap


class BestEpoch(DuringFit):
    """End with the (averaged) weights of the best epoch by validation: that of the largest metric; of equal ones, and
    without a metric, that of the smallest loss. `best`: its rank, number (from 1) and weights."""

    order = 92  # after the recorder, before ExactResume, which keeps `best` too
    best, _earlier = {"rank": (float("inf"), float("inf")), "epoch": 0, "model": None}, None

    def before_fit(self):
        super().before_fit()
        self._earlier, self.best = self.best, BestEpoch.best

    def after_epoch(self):
        if len(self.recorder.values[-1]) < 2:  # not validated, or skipped by a resumed training
            return
        _, loss, *metric = map(float, self.recorder.values[-1])
        rank = (-metric[0] if metric else 0.0, loss)
        if np.isfinite(rank).all() and rank < tuple(self.best["rank"]):
            weights = {k: v.clone() for k, v in self.averaged_weights.average.items()}
            self.best = {"rank": rank, "epoch": self.epoch + 1, "model": weights}

    def after_fit(self):
        if not self.began:
            self.best = self._earlier
            return
        if self.best["model"] is None:
            raise FloatingPointError("no epoch had a validation loss that is a number: lower the rate")
        self.model.load_state_dict(self.best["model"])


class ValidateEvery(Callback):
    """Validate every n-th epoch (default: eight times in all) and the last one.

    Between them the recorder repeats what was found last, which is NaN where no subject was kept for it: fastai's table
    and `plot_loss` take no shorter rows.
    """

    order = 60  # after AveragedWeights, which swaps twice in any case

    def __init__(self, n: int = 0):
        self.n, self._in_epoch = n, False

    def before_train(self):
        self._in_epoch = True

    def before_validate(self):
        n = self.n or max(1, self.n_epoch // 8)
        if self._in_epoch and (not self.dls.valid.n or ((self.epoch + 1) % n and self.epoch + 1 != self.n_epoch)):
            raise CancelValidException  # never in `show_results` and `get_preds`, which are no epochs

    def after_validate(self):
        recorder, ended, self._in_epoch = self.recorder, self._in_epoch, False
        if not ended:
            return
        if missing := len(recorder.metric_names) - 1 - len(recorder.log):  # the time comes later
            last = list(recorder.values[-1])[1:] if recorder.values else []
            recorder.log = recorder.log + (last or [np.nan] * missing)


class StopOnNaN(Callback):
    """A loss that is no number ends the training with an error, before it reaches the weights and their average."""

    def after_loss(self):
        if self.training and not torch.isfinite(self.loss):
            raise FloatingPointError(f"the loss is {self.loss.item()} in epoch {self.epoch + 1}: lower the rate")


class ReturnMemory(Callback):
    """After each epoch freed memory goes back to the system: crops of many sizes leave glibc's heap in pieces that it
    keeps, so that a long training grows without holding more."""

    def __init__(self):
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None) if os.name == "posix" else lambda _: None

    def after_epoch(self):
        self._trim(0)


def progress_lines(what: str) -> list[Callback]:
    """`ProgressLines` where a notebook runs in a batch; who looks at it sees fastai's own bar and table."""
    return [ProgressLines(what)] if os.environ.get("CMR_RUN_FOLDER") else []


class ProgressLines(Callback):
    """Some twenty lines a training: losses and the time still to go, readable in a terminal, a log and a notebook."""

    order = 90

    def __init__(self, what: str, every: int = 0):
        self.what, self.every = what, every

    def before_fit(self):
        self._start, self._first = time.monotonic(), None
        self.every = self.every or max(1, self.n_epoch // 20)

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


def loss_rows(learn: Learner, view: str, fold: int = 0) -> list[dict]:
    """Losses from the learner's recorder, one row per epoch: view, fold, epoch, train, validation (NaN without one)."""
    values = [[*row, np.nan, np.nan] for row in learn.recorder.values]
    return [
        {"view": view, "fold": fold, "epoch": n, "train": row[0], "validation": row[1]}
        for n, row in enumerate(values, 1)
    ]
