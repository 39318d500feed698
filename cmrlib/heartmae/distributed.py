"""Pretraining by several processes (torchrun): each reads its own subjects, gradients are averaged before every step.

    torchrun --nproc-per-node 4 -m cmrlib.cli.pretraining --profile paper --cohort COHORT --out FOLDER

Averaging in a callback, and not a wrapper around the network, keeps weights, their average and checkpoints as they are
in one process; every process keeps its own checkpoint, so that a killed run goes on exactly.
"""

import os

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from fastai.callback.core import Callback


def join() -> tuple[int, int]:
    """(rank, number of processes) as torchrun tells them; (0, 1) without it."""
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return int(os.environ.get("RANK", 0)), world


def own_sections(sections: pd.DataFrame, rank: int, world: int) -> pd.DataFrame:
    """The rows of one process: training subjects dealt out so that all have about as many sections, each in one place;
    then as many rows for each as the poorest has, since all must take the same number of steps. All validate alike.
    """
    train = sections[sections["split"] == "train"]
    counts = train.groupby("participant_id").size().sort_values(ascending=False, kind="stable")
    if len(counts) < world:
        raise ValueError(f"{len(counts)} training subjects for {world} processes; use fewer processes")
    load, home = np.zeros(world, int), {}
    for subject, n in counts.items():
        home[subject] = int(load.argmin())
        load[home[subject]] += n
    own = train[train["participant_id"].map(home) == rank].iloc[: load.min()]
    return pd.concat([own, sections[sections["split"] != "train"]]).sort_index()


class AverageGradients(Callback):
    """One mean over all processes before each step; they begin with the first one's weights."""

    order = 20

    def before_fit(self):
        for value in self.model.state_dict().values():
            dist.broadcast(value, 0)

    def before_step(self):
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        flat = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for grad, mean in zip(grads, flat.split([grad.numel() for grad in grads])):
            grad.copy_(mean.view_as(grad))
