"""Pretraining by several processes: masks are drawn for the whole batch, and each process takes its own."""

import numpy as np
import torch
from fastai.callback.core import Callback

from cmrlib.learning.distributed import join


class WholeBatchMasks(Callback):
    """Token orders of a batch by seed, epoch and step alone, so that any number of processes hides the same tokens."""

    order = 5  # before mixed precision makes the batch plain

    def __init__(self, seed: int):
        self.seed, self.rank, self.world = seed, *join()

    def before_batch(self):
        if not self.training:
            return
        items, repeats = self.xb[0].shape[:2]
        steps, rows, columns = self.model.design.grid
        drawn = int(np.random.SeedSequence([self.seed, self.epoch, self.iter]).generate_state(1)[0])
        generator = torch.Generator().manual_seed(drawn)
        ids = self.model.masking.draw(items * repeats * self.world, steps, rows * columns, generator)
        self.learn.xb = (*self.xb, ids.chunk(self.world)[self.rank])
