"""What learners share: exact resume, bf16 that is on, averaged weights, seeds."""

import importlib
import linecache
import pickle
import random
import sys

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from interrupted import Killed, KillIn
from threadpoolctl import threadpool_info
from torch import nn

from cmrlib.learning.resume import ExactResume
from cmrlib.learning.training import (
    AveragedWeights,
    MixedPrecision,
    ProgressLines,
    SeedEpochs,
    StopOnNaN,
    ValidateEvery,
    adamw,
    set_threads_and_seed,
)


def look(order, **events):
    """A callback that does this and no more; events: name → function of the callback."""
    return type("Look", (Callback,), {"order": order, **events})()


class Points(torch.utils.data.Dataset):
    """y = 2 x + 1 with a little noise, in 4-D so that memory formats matter."""

    def __init__(self, n, value=None):
        self.x = torch.linspace(-1, 1, n).reshape(-1, 1, 1, 1).expand(-1, 2, 4, 4).contiguous()
        self.y = 2 * self.x[:, :1] + 1 if value is None else torch.full((n, 1, 4, 4), value)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


def tiny(value=None):
    """A learner of nine numbers that takes milliseconds."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))
    dls = DataLoaders(DataLoader(Points(16, value), bs=4, shuffle=True), DataLoader(Points(8), bs=4))
    return Learner(dls, model, loss_func=nn.MSELoss(), opt_func=adamw)


def weights_of(learn):
    return {name: value.clone() for name, value in learn.model.state_dict().items()}


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def fit(learn, epochs=3, lr=1e-2, seed=4, bf16=True, place=None, settings=None, every=1, callbacks=()):
    """What `Task.learner` and `ExactResume` do, on a learner of any kind."""
    cbs = [SeedEpochs(seed), MixedPrecision(bf16), AveragedWeights(), ValidateEvery(every), StopOnNaN()]
    cbs += [ProgressLines("net"), *callbacks] + ([ExactResume(place, settings or {})] if place else [])
    learn.add_cbs(cbs)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(epochs, lr, pct_start=0.15)
    return learn


def table(learn):
    return np.array([list(row) for row in learn.recorder.values])


def test_threads_are_those_asked_for_in_torch_and_blas():
    for threads in (2, 1):
        set_threads_and_seed(0, threads)
        assert torch.get_num_threads() == threads
        assert {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"} == {threads}


# --- exact resume ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bf16", [True, False])
def test_a_killed_training_goes_on_as_if_nothing_had_happened(tmp_path, bf16, capsys):
    whole = fit(tiny(), 4, bf16=bf16, every=2, place=tmp_path / "whole")
    lines = capsys.readouterr().out
    with pytest.raises(Killed):
        fit(tiny(), 4, bf16=bf16, every=2, place=tmp_path / "killed", callbacks=[KillIn(2)])
    [file] = (tmp_path / "killed").iterdir()
    state = torch.load(file, weights_only=True)
    assert state["epoch"] == 2
    torch.save(state | {"seconds": 1000.0}, file)
    np.random.seed(99)  # the state of a new process is another
    torch.manual_seed(99)
    again = fit(tiny(), 4, bf16=bf16, every=2, place=tmp_path / "killed")
    assert_same_weights(weights_of(whole), weights_of(again))
    np.testing.assert_array_equal(table(whole), table(again))
    assert table(whole).shape == (4, 2) and np.isnan(table(whole)[:, 1]).tolist() == [True, False, False, False]
    assert lines.count("net: epoch") == 4 and "epoch 4/4" in lines and "0.0 min left" in lines
    assert "epoch 1/4" not in capsys.readouterr().out.split("epoch 2/4", 1)[1]  # the resumed one started at three
    assert 1000 < again.training_seconds() < 1010 and list((tmp_path / "killed").iterdir()) == [file]


def test_a_finished_training_returns_at_once_and_its_checkpoint_runs_no_code(tmp_path, capsys, poison):
    first = fit(tiny(), place=tmp_path)
    written = first.checkpoint.file.read_bytes()
    capsys.readouterr()
    again = fit(tiny(), place=tmp_path, callbacks=[KillIn(0)])  # one batch would kill it
    assert_same_weights(weights_of(first), weights_of(again))
    assert first.checkpoint.file.read_bytes() == written and "epoch" not in capsys.readouterr().out
    assert first.training_seconds() == again.training_seconds() > 0
    first.checkpoint.file.write_bytes(poison.pickle)
    with pytest.raises(pickle.UnpicklingError):
        fit(tiny(), place=tmp_path)
    assert not poison.marker.exists()


def test_settings_schedule_and_code_name_a_checkpoint_and_prose_does_not(tmp_path, monkeypatch):
    module = tmp_path / "recipe_of_a_test.py"
    monkeypatch.syspath_prepend(tmp_path)

    def file_for(text, size=4, **changes):
        module.write_text(text)
        importlib.invalidate_caches()
        linecache.checkcache()
        sys.modules.pop(module.stem, None)
        settings = {"task": "Net", "code": [importlib.import_module(module.stem)], "size": size}
        return fit(tiny(), **{"epochs": 1} | changes, place=tmp_path / "state", settings=settings).checkpoint.file.name

    text = '"""Old words."""\n\n\nclass Net:\n    """A net."""\n\n    rate = 2  # why\n'
    first = file_for(text)
    assert first.startswith("net_")
    assert file_for('"""New words."""\nclass Net:\n    """Better."""\n    rate = (2)\n') == first
    changes = ({"epochs": 2}, {"lr": 1e-3}, {"seed": 5}, {"bf16": False}, {"size": 5})
    others = [file_for(text.replace("2", "30")), *(file_for(text, **one) for one in changes)]
    assert len({first, *others}) == 7


# --- callbacks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bf16", "inside"), [(True, torch.bfloat16), (False, torch.float32)])
def test_convolutions_really_run_in_bf16_on_cpu(bf16, inside):
    learn, seen, kept = tiny(), [], []
    learn.model[0].register_forward_hook(
        lambda module, x, y: seen.append((y.dtype, x[0].is_contiguous(memory_format=torch.channels_last), type(x[0])))
    )
    fit(learn, 1, bf16=bf16, callbacks=[look(20, after_pred=lambda self: kept.append(self.pred.dtype))])
    assert set(seen) == {(inside, True, torch.Tensor)} and set(kept) == {torch.float32}
    assert all(p.dtype == torch.float32 for p in learn.model.parameters())
    assert not torch.is_autocast_enabled("cpu")


def test_averaged_weights_are_the_running_mean_by_hand():
    history, learn, average = [], tiny(), AveragedWeights(decay=0.8)
    name, expected = "0.weight", weights_of(learn)["0.weight"]
    with learn.no_bar(), learn.no_logging():
        learn.fit(3, 0.05, cbs=[average, look(49, after_step=lambda self: history.append(weights_of(self.learn)))])
    for step, weights in enumerate(history, 1):
        keep = min(0.8, step / (step + 9))
        expected = keep * expected + (1 - keep) * weights[name]
    torch.testing.assert_close(learn.model.state_dict()[name], expected)
    assert learn.model.state_dict()["1.num_batches_tracked"] == 12
    torch.testing.assert_close(average.average[name], history[-1][name])  # the last weights lie in reserve


@pytest.mark.parametrize("every", [1, 2])
def test_validation_sees_the_average_and_training_goes_on_from_the_last(every):
    seen, learn = {"start": [], "last": [], "valid": []}, tiny()
    events = {"before_train": "start", "after_train": "last", "before_validate": "valid"}
    keep = {event: lambda self, to=to: seen[to].append(weights_of(self.learn)) for event, to in events.items()}
    with learn.no_bar(), learn.no_logging():
        learn.fit(2, 0.05, cbs=[AveragedWeights(), ValidateEvery(every), look(60, **keep)])
    assert_same_weights(seen["last"][0], seen["start"][1])  # an epoch without validation changes nothing either
    assert not torch.equal(seen["valid"][-1]["0.weight"], seen["last"][-1]["0.weight"])
    assert_same_weights(seen["valid"][-1], weights_of(learn))  # what was validated is kept


@pytest.mark.parametrize(("n", "validated"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (9, [5])])
def test_validation_comes_every_nth_epoch_and_last(n, validated):
    learn = fit(tiny(), 5, every=n)
    shown = [np.nan, *table(learn)[:, 1]]  # between them what was found last
    assert [n for n in range(1, 6) if np.isfinite(shown[n]) and shown[n] != shown[n - 1]] == validated
    assert np.isfinite(table(learn)[:, 0]).all()


def test_seeds_repeat_a_training_and_reach_every_generator():
    one, other = fit(tiny()), fit(tiny())
    assert_same_weights(weights_of(one), weights_of(other))
    assert not torch.equal(one.model[0].weight, fit(tiny(), seed=5).model[0].weight)
    learn, drawn, seeds = tiny(), [], SeedEpochs(2**40)
    seeds.learn = learn
    for epoch in (3, 1, 3):
        learn.epoch = epoch
        seeds.before_epoch()
        drawn.append((random.random(), np.random.random(), torch.rand(1).item(), learn.dls.train.rng.random()))
    assert drawn[0] == drawn[2] and not set(drawn[0]) & set(drawn[1])


def test_a_training_that_diverges_says_so(tmp_path):
    with pytest.raises(FloatingPointError, match="the loss is nan in epoch 1: lower the"):
        fit(tiny(value=float("nan")), place=tmp_path)
    assert not list(tmp_path.iterdir())  # nothing that a rerun would take for a result
