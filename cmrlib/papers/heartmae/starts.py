"""Some of the plain model's epochs, kept: from one of them the other variants start."""

from copy import deepcopy

import torch
from fastai.callback.core import Callback

from cmrlib.cohort.files import atomic


class Snapshots(Callback):
    """Keeps the averaged weights of some epochs beside the checkpoint of a training's `ExactResume`.

    Nothing is written in epochs that a resumed training skips: its weights are those of later ones. `settings` belong
    to the training's, so that one that kept other epochs is another training.
    """

    order = 94  # before ExactResume: an epoch that counts as done has its file

    def __init__(self, epochs):
        self.epochs, self.folder = sorted(set(epochs)), None
        self.settings = {"snapshots": self.epochs}

    def after_epoch(self):
        self.folder = self.checkpoint.file.with_suffix("")
        if self.epoch + 1 in self.epochs and self.epoch >= self.checkpoint.done:
            with atomic(self._file(self.epoch + 1)) as part:
                torch.save(self.averaged_weights.average, part)

    def _file(self, epoch):
        return self.folder / f"epoch_{epoch:04d}.pt"

    def models(self, last):
        """Yield (epoch, network) of every epoch that was kept. last: the trained network."""
        for epoch in self.epochs:
            model = deepcopy(last)
            model.load_state_dict(torch.load(self._file(epoch), weights_only=True, map_location="cpu"))
            yield epoch, model
