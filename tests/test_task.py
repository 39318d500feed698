"""A seventh paper in forty lines, and what every task has from its base: training, resuming, ensembles, cards."""

import inspect
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.data.block import DataBlock, TransformBlock
from fastai.torch_core import TensorBase
from interrupted import Killed, KillIn
from torch import nn

from cmrlib.cine import Cine
from cmrlib.cohort.splits import split_subjects
from cmrlib.learning.resume import ExactResume
from cmrlib.learning.task import RefusedError, Task, by_split
from cmrlib.phantom import make_cohort


# --- the seventh paper: how bright is the middle of a heart?
@dataclass(frozen=True)
class Brightness(Task):
    views: tuple[str, ...] = ("4ch",)
    size: int = 16

    def items(self, cohort, annotations, split):
        cines = cohort.cines[cohort.cines["view"].isin(self.views)][["participant_id", "cine"]]
        return cines.assign(split=cines["participant_id"].map(split))

    def block(self, cohort, annotations):
        def picture(row):
            return TensorBase(self.inputs(cohort.cine(row["cine"]))[0])

        return DataBlock(
            (TransformBlock, TransformBlock), get_x=picture, get_y=brightness_of(picture), splitter=by_split
        )

    def network(self):
        return nn.Sequential(nn.Flatten(), nn.Linear(self.size**2, 1), nn.Flatten(0))

    def loss(self):
        return nn.MSELoss()

    def inputs(self, cine: Cine, annotation=None):
        rows, columns = (np.array(cine.pixels.shape[2:]) - self.size) // 2
        image = cine.pixels[0, 0, rows : rows + self.size, columns : columns + self.size]
        if not image.any():
            raise RefusedError(cine.name, "the picture is black")
        return torch.from_numpy(image.astype(np.float32) / 1000)[None]

    def decode(self, cine, outputs):
        return None, [{"brightness": float(outputs)}]


def brightness_of(picture):
    return lambda row: TensorBase(picture(row).mean())


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("task") / "c"
    return make_cohort(folder, 8, frames=8, size=32, spacing_mm=6.0, views=("4ch",), workers=1, progress=False)


@pytest.fixture(scope="module")
def split(hearts):
    return split_subjects(hearts.subjects, 0, 4, validation_per_group=1)


TASK = Brightness()


def train(hearts, split, epochs=3, **options):
    return TASK.train(hearts, "truth", split, epochs, 0.02, bs=3, precision="fp32", **options)


def test_a_new_paper_learns_predicts_and_comes_back_from_its_file(hearts, split, tmp_path):
    learn = train(hearts, split, 40)
    assert learn.recorder.values[-1][-1] < 0.2 * learn.recorder.losses[0]
    found = TASK.predict(learn.model, hearts, split.index[split == "test"])
    assert found["participant_id"].tolist() == split.index[split == "test"].tolist()
    TASK.save(learn.model, tmp_path / "w", cohort="phantom")
    task, models, card = Task.load(tmp_path / "w")
    assert task == TASK and card["cohort"] == "phantom" and card["architecture"]["name"] == "Brightness"
    again = task.predict(models, hearts, split.index[split == "test"])
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), found.drop(columns="seconds"))
    card = (tmp_path / "w.json").read_text()
    (tmp_path / "w.json").write_text(card.replace("Brightness", "Darkness"))
    with pytest.raises(ValueError, match="weights of 'Darkness'; known are Brightness, "):
        Task.load(tmp_path / "w")


def test_an_interrupted_training_ends_as_the_undisturbed_one(hearts, split, tmp_path):
    whole = train(hearts, split, 5)
    dls = TASK.dataloaders(hearts, "truth", split, 3)
    learn = TASK.learner(dls, precision="fp32")
    with pytest.raises(Killed):
        resume = ExactResume(tmp_path, TASK.job(hearts, "truth", dls))
        learn.fit_one_cycle(5, 0.02, pct_start=0.15, cbs=[resume, KillIn(3)])
    resumed = train(hearts, split, 5, state=tmp_path)
    assert resumed.checkpoint.done == 3 and len(list(tmp_path.iterdir())) == 1
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)
    np.testing.assert_allclose(resumed.recorder.losses, whole.recorder.losses, rtol=1e-6)
    resumed.recorder.plot_loss(skip_start=0)  # all epochs of both sittings
    again = train(hearts, split, 5, state=tmp_path)  # found finished
    for learn in (resumed, again):
        np.testing.assert_allclose([row[-1] for row in learn.recorder.values], [r[-1] for r in whole.recorder.values])
    assert again.checkpoint.done == 5


def test_epochs_between_validations_repeat_the_last_one(hearts, split):
    learn = train(hearts, split, 16)
    validation = [row[-1] for row in learn.recorder.values]
    assert np.isnan(validation[0]) and validation[2] == validation[1] != validation[3]  # every second one
    learn.recorder.plot_loss(skip_start=0)  # IndexError, once
    nobody = train(hearts, split.replace("validation", "test"), 2)
    assert np.isnan([row[-1] for row in nobody.recorder.values]).all()
    nobody.recorder.plot_loss(skip_start=0)


def test_first_weights_and_subjects_name_a_training(hearts, split, tmp_path):
    """Beside what test_training holds: settings, schedule, seed and code."""
    other_start = TASK.network()
    fewer = split.where(split.index != split.index[split == "train"][0], "unused")
    for side, options in ((split, {}), (split, {"model": other_start}), (fewer, {})):
        assert not train(hearts, side, state=tmp_path, **options).checkpoint.done
    assert train(hearts, split, state=tmp_path).checkpoint.done == 3
    assert train(hearts, split, state=tmp_path, model=other_start).checkpoint.done != 3  # it has learned since


def test_too_few_to_train_is_said_and_never_passes_for_training(hearts, split):
    with pytest.raises(ValueError, match="no 4ch of a training subject"):
        TASK.dataloaders(hearts, "truth", split.replace("train", "test"))
    few = TASK.dataloaders(hearts, "truth", split, bs=64)  # more than there are: one batch of all
    assert len(few.train) == 1
    items = TASK.items(hearts, "truth", split).query("split != 'test'").reset_index(drop=True)
    with pytest.raises(ValueError, match="fewer than a batch of 64"):
        TASK.learner(TASK.block(hearts, "truth").dataloaders(items, bs=64, drop_last=True))


def test_a_refusal_is_a_reason_and_a_mistake_stays_a_mistake(hearts, monkeypatch):
    refused = hearts.cines["cine"].iloc[2]
    plain = hearts.cine
    black = {refused: lambda cine: Cine(0 * cine.pixels, cine.affine, cine.view, cine.subject)}
    monkeypatch.setattr(hearts, "cine", lambda name: black.get(name, lambda cine: cine)(plain(name)))
    found = TASK.predict(TASK.network(), hearts).set_index("cine")
    assert found.loc[refused, "reason"] == "the picture is black" and np.isnan(found.loc[refused, "brightness"])
    assert found["brightness"].notna().sum() == len(found) - 1
    with pytest.raises(RuntimeError):  # a network of another size
        TASK.predict(Brightness(size=8).network(), hearts)


def test_the_readme_shows_this_paper():
    shown = (Path(__file__).parents[1] / "cmrlib" / "papers" / "README.md").read_text()
    assert inspect.getsource(Brightness) in shown and inspect.getsource(brightness_of) in shown


def test_looking_at_a_trained_network_leaves_its_weights(hearts, split):
    """fastai sends before_fit and after_fit in `validate` and `get_preds` too: averaged and last weights changed
    places, so that the last ones were shown, and predicted with afterwards."""
    learn = train(hearts, split)
    kept = {name: value.clone() for name, value in learn.model.state_dict().items()}
    x, y = learn.dls.valid.one_batch()
    loss = float(learn.loss_func(learn.model(x), y).detach())
    assert learn.validate()[0] == pytest.approx(loss, rel=1e-5)
    assert len(learn.get_preds()[0]) == 2  # None, once
    assert all(torch.equal(value, kept[name]) for name, value in learn.model.state_dict().items())
    steps = learn.averaged_weights.steps
    learn.lr_find(num_it=30, show_plot=False)
    assert learn.averaged_weights.steps == steps
