"""Training by several processes (torchrun) that take the very steps of one: each reads its share of every batch.

    torchrun --nproc-per-node 4 TRAINING.py

`batch_size` is that of all processes together. What makes the steps the same: every process draws the same order of
items; an item's augmentation depends on seed, epoch and item alone; batch statistics are those of the whole batch; the
loss is that of the whole batch, since predictions and targets are gathered before it (a Dice over a batch is no mean of
Dices over its parts), and each process sends back the part of its own items. Weights, their average and checkpoints are
then alike in all processes; one file holds them, and a killed run goes on with as many processes as there are.
"""

import os
import random
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from fastai.callback.core import Callback
from torch import nn


def join() -> tuple[int, int]:
    """(rank, number of processes) as torchrun tells them; (0, 1) without it."""
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world > 1 and not dist.is_initialized():
        patience = timedelta(days=1)  # the first process may have a cohort to make
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=patience)
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return int(os.environ.get("RANK", 0)), world


def barrier():
    """Wait for the other processes."""
    if dist.is_initialized():
        dist.barrier()


class _Total(torch.autograd.Function):
    """Sum of a tensor over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx, value):
        total = value.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    backward = forward


class WholeBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm whose statistics in training are those of all processes' items: torch's own does so on GPUs only."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        maps = x.float()
        over = [axis for axis in range(maps.dim()) if axis != 1]
        wide = (slice(None), *[None] * (maps.dim() - 2))  # (channels,) beside maps
        n = maps.numel() // maps.shape[1] * dist.get_world_size()
        mean = _Total.apply(maps.sum(over)) / n
        centred = maps - mean[wide]
        variance = _Total.apply((centred**2).sum(over)) / n
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[wide] + self.bias[wide]).to(x.dtype)


def share_batch_norm(model: nn.Module):
    """Batch norms of a model, in place, become those of the whole batch; parameters, names and predictions stay.

    Each becomes a kind of its own kind, so that who asks for a BatchNorm3d, or trains on two views one after the other,
    finds what he looks for. Raises TypeError for norms without fixed momentum, weights or running statistics.
    """
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and not isinstance(part, WholeBatchNorm):
            kind = type(part)
            if part.momentum is None or not part.affine or not part.track_running_stats:
                raise TypeError(
                    f"{kind.__name__} without momentum, weights or running statistics cannot be shared "
                    "between processes"
                )
            part.__class__ = type(f"Whole{kind.__name__}", (kind, WholeBatchNorm), {})


class Together(Callback):
    """Makes the processes of a training one; also of one process alone, so that it takes the steps of several.

    seed: the training's. Raises ValueError where a batch cannot be dealt out evenly.
    """

    order = 20  # after mixed precision (10) and gradient accumulation (6)

    def __init__(self, seed: int):
        self.seed, self.rank, self.world = seed, *join()

    def before_fit(self):
        dl = self.dls.train
        self.batch, self.items = dl.bs, len(dl.dataset)
        if self.batch % self.world:
            raise ValueError(f"a batch of {self.batch} cannot be dealt to {self.world} processes; choose a multiple")
        if self.items < self.batch:
            raise ValueError(f"{self.items} items to learn from and a batch of {self.batch}: choose a smaller batch")
        own, self._plain = self.batch // self.world, (dl.bs, dl.n, dl.do_item)
        dl.bs, dl.n = own, self.items // self.batch * own
        dl.get_idxs, dl.do_item = self._own_items, self._own_draw
        if self.world == 1:
            return
        share_batch_norm(self.model)
        for value in self.model.state_dict().values():
            dist.broadcast(value, 0)
        if self.rank and hasattr(self.learn, "exact_resume"):
            self.learn.exact_resume.every = self.n_epoch  # all could write the same file; one does until the end

    def before_epoch(self):
        """What torch draws by itself (dropout, distortions of whole batches) differs between processes."""
        if self.rank:
            torch.manual_seed(int(np.random.SeedSequence([self.seed, self.epoch, self.rank]).generate_state(1)[0]))

    def _own_items(self):
        """Of every batch, in the order that all processes draw, this one's part."""
        order = self.dls.train.rng.sample(range(self.items), self.items)
        own = self.batch // self.world
        first = range(self.rank * own, self.items // self.batch * self.batch, self.batch)
        return [order[place] for start in first for place in range(start, start + own)]

    def _own_draw(self, item):
        """An item whose augmentation depends on seed, epoch and item alone."""
        drawn = int(np.random.SeedSequence([self.seed, self.epoch, item]).generate_state(1)[0])
        random.seed(drawn)
        np.random.seed(drawn)
        return self._plain[2](item)

    def after_pred(self):
        if self.world > 1 and self.training:
            self.learn.pred = self._gathered(self.pred)
            self.learn.yb = tuple(self._gathered(y) for y in self.yb)

    def _gathered(self, value):
        """Of all processes, in the order of the batch; only the own part takes gradients back."""
        parts = [torch.empty_like(value, memory_format=torch.contiguous_format) for _ in range(self.world)]
        dist.all_gather(parts, value.detach().contiguous())
        parts[self.rank] = value
        return torch.cat(parts)

    def before_step(self):
        """The loss is the whole batch's, so that gradients of the parts add up."""
        if self.world == 1:
            return
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        flat = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(flat)
        for grad, total in zip(grads, flat.split([grad.numel() for grad in grads])):
            grad.copy_(total.view_as(grad))

    def after_fit(self):
        if hasattr(self, "_plain"):
            dl = self.dls.train
            dl.bs, dl.n, dl.do_item = self._plain
            del dl.get_idxs
