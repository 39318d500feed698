"""From which of the plain model's epochs the other variants start: the one that tells ejection fraction best."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from fastai.callback.core import Callback
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cmrlib.cohort.files import atomic
from cmrlib.cohort.progress import with_progress


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


def choose_start(task, last, snapshots: Snapshots, cohort, sections: pd.DataFrame, target: pd.Series):
    """(the network whose frozen features tell `target` best on validation subjects, a row an epoch with its mae).

    A ridge regression on the mean feature of each subject's sections (of a view every other one), one crop and clip
    each, fitted on the training subjects. The paper took epoch 150 of 200 so; on which subjects is not said there.
    """
    task, rows, best = replace(task, section_views=(1, 1)), [], (np.inf, last)
    known = sections[(sections["split"] != "test") & sections["participant_id"].isin(target.dropna().index)]
    known = known[known.groupby(["participant_id", "view"]).cumcount() % 2 == 0]
    for epoch, model in snapshots.models(last):
        found = [
            task.embed(model, cohort.cine(row.cine), row.k)[0]
            for row in with_progress(list(known.itertuples()), f"epoch {epoch}", "section")
        ]
        means = pd.DataFrame(found).groupby([known["participant_id"].to_numpy(), known["split"].to_numpy()]).mean()
        (x, y), (seen, true) = (
            (part, target[part.index]) for part in (means.xs(s, level=1) for s in ("train", "validation"))
        )
        ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13))).fit(x, y)
        mae = float(np.abs(ridge.predict(seen) - true).mean())
        rows.append({"epoch": epoch, "validation_mae": mae, "n": len(seen)})
        best = min(best, (mae, model), key=lambda pair: pair[0])
    return best[1].eval(), pd.DataFrame(rows)
