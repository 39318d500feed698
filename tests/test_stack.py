"""ED and ES of whole stacks: signals by hand, rules on a beating disc, a network that turns with its recording."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from cmrlib.app.cli import app
from cmrlib.cine import Cine
from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.cohort import Annotation
from cmrlib.learning import weightsets
from cmrlib.learning.task import Task
from cmrlib.measures import RefusedError
from cmrlib.papers.tempreg import StackPhases, TempReg, rules
from cmrlib.papers.tempreg.clips import cut_frames
from cmrlib.papers.tempreg.curves import SIGNALS, StackSignals
from cmrlib.papers.tempreg.stack import likeliest
from cmrlib.phantom import make_cohort

ED, ES = 3, 11


def beating(frames=20, ed=ED, es=ES):
    """(cine, mask): a bright disc of blood in three slices, largest at ED, smallest at ES, in a ring of wall."""
    since, systole = (np.arange(frames) - ed) % frames, (es - ed) % frames
    radius = 8.5 + 2.5 * np.cos(np.pi * np.interp(since, [0, systole, frames], [0, 1, 2]))
    away = np.hypot(*np.mgrid[-20:20, -20:20])
    lv = np.repeat(away[None, None] <= radius[:, None, None, None], 3, axis=1)
    wall = (away[None, None] <= 15) & ~lv
    mask = lv * STRUCTURES["lv"] + wall * STRUCTURES["myo"]
    mask[:, :, :8, :8] = STRUCTURES["rv"]
    noise = np.random.default_rng(1).normal(0, 3, lv.shape)
    return Cine(100.0 * lv + 30 + noise, np.diag([1.5, 1.5, 8, 1]), "sax", "a"), mask.astype(np.uint8)


@pytest.fixture(scope="module")
def kept():
    return StackSignals.of(*beating())


def test_signals_are_what_they_say(kept):
    _, mask = beating()
    assert kept.areas[:, 0].tolist() == (mask == STRUCTURES["lv"]).sum((1, 2, 3)).tolist()
    signals = dict(zip(SIGNALS, kept.signals().T))
    np.testing.assert_allclose([one.mean() for one in signals.values()], 0, atol=1e-5)
    assert np.corrcoef(signals["component"], signals["lv"])[0, 1] > 0.95  # blood is bright: largest at ED
    np.testing.assert_allclose(signals["next"], np.roll(signals["previous"], -1), atol=1e-5)
    turned = kept.signals(np.roll(np.arange(20), 6))
    np.testing.assert_allclose(turned, np.roll(kept.signals(), 6, 0), atol=1e-4)


@pytest.mark.parametrize(
    "frames", [np.arange(20), np.roll(np.arange(20), 7), np.setdiff1d(np.arange(20), [15, 16, 17])]
)
def test_rules_find_a_beating_disc(kept, frames):
    others = [(StackSignals.of(*beating(24, 20, 4)), 20, 4), (StackSignals.of(*beating(18, 2, 9)), 2, 9)]
    for rule in (rules.area, rules.component, rules.Template(others)):
        found = [frames[place] for place in rule(kept, frames)]
        assert np.abs(np.subtract(found, (ED, ES))).max() <= 2  # near its extremes the disc hardly changes


def test_the_seam_rule_takes_a_jump_for_ed(kept):
    frames = np.setdiff1d(np.arange(20), [5, 6, 7, 8])
    assert frames[rules.seam(kept, frames)[0]] == 9
    assert not rules.visible_seam(kept) and rules.told_nothing(4) == 1.0


def test_the_best_constant_is_the_share_that_errs_least(kept):
    items = pd.DataFrame({"frames": [20, 30, 40], "ed": [0, 0, 0], "es": [8, 12, 16]})
    assert rules.Constant(items)(kept, np.roll(np.arange(20), -5)) == (15, 3)


def test_cuts_leave_ed_es_and_a_cycle():
    random = np.random.default_rng(2)
    left = [cut_frames(12, 0, 5, 9, random) for _ in range(300)]
    assert all({0, 5} <= set(one) for one in left) and {len(one) for one in left} >= {8, 9, 10, 11, 12}
    assert min(map(len, left)) == 8


def test_every_method_sees_the_same_recordings_and_errs_round_the_cycle(kept):
    items = pd.DataFrame([{"participant_id": "a", "cine": "a", "view": "sax", "frames": 20, "ed": ED, "es": ES}])
    tables = [rules.stack_errors(items, lambda row: kept, find, 4, method=name) for name, find in rules.RULES.items()]
    assert all(table["shown"].tolist() == ["whole", *["cut"] * 4] for table in tables)
    one = rules.stack_errors(items, lambda row: kept, lambda kept, frames: {"ed": 0, "es": 1, "confidence": 0.5}, 0)
    first = int(one["ed"].iloc[0])
    assert one["afd_ed_cyclic"].iloc[0] == min((ED - first) % 20, (first - ED) % 20)
    assert one["es"].iloc[0] == (first + 1) % 20 and one["confidence"].iloc[0] == 0.5


def test_the_network_turns_with_the_recording_whatever_its_length():
    net = StackPhases().network().eval()
    with torch.no_grad():
        for frames in (8, 25):
            x = torch.randn(1, len(SIGNALS), frames)
            torch.testing.assert_close(net(x.roll(5, -1)), net(x).roll(5, -1), atol=1e-5, rtol=0)


def test_the_likeliest_pair_is_of_two_frames():
    same = np.array([[0.1, 0.8, 0.1, 0.0], [0.0, 0.7, 0.2, 0.1]])
    found = likeliest(same)
    assert (found["ed"], found["es"]) == (1, 2) and found["confidence"] == pytest.approx(1.0 * 1.0)


@pytest.fixture(scope="module")
def sax_hearts(tmp_path_factory):
    """Four phantoms of 10 frames, short axis."""
    settings = {"frames": 10, "size": 48, "spacing_mm": 4.0, "views": ("sax",), "slices": 6}
    return make_cohort(tmp_path_factory.mktemp("stack") / "c", 4, workers=1, progress=False, **settings)


def test_it_learns_travels_with_its_card_and_needs_masks(sax_hearts, tmp_path):
    task = StackPhases(masks="truth", dropout=0.0)
    people = sax_hearts.subjects["participant_id"]
    split = pd.Series("train", people)
    learn = task.train(sax_hearts, "truth", split, 30, 0.003, bs=1, precision="fp32")
    assert learn.recorder.values[-1][0] < 0.7 * learn.recorder.values[0][0]
    learn.dls.show_batch(max_n=1)
    learn.show_results(ds_idx=0, max_n=1)
    assert task.job(sax_hearts, "truth", learn.dls)["masks"] == sax_hearts.observer("truth").digest
    task.save([learn.model], tmp_path / "stack")
    again, models, _ = Task.load(tmp_path / "stack")
    found = again.predict(models, sax_hearts, people, annotations="truth", out=tmp_path / "seen")
    items = task.items(sax_hearts, "truth", split)
    away = found.merge(items, on="cine", suffixes=("", "_true")).eval("abs(es - es_true)")
    assert len(found) == len(items) and away.mean() <= 2
    with pytest.raises(RefusedError, match="no mask"):
        task.inputs(beating()[0], Annotation())


def test_cmr_frames_decides_for_stacks_whose_cycle_was_drawn(sax_hearts, tmp_path, monkeypatch):
    copy = shutil.copytree(sax_hearts.path, tmp_path / "c")
    set_of = {"03_tempreg": TempReg(spacing_mm=6.0, size=32, frames=8, width=3, features=8, hidden=6)}
    set_of["03c_tempreg_patients"] = StackPhases(masks="truth")
    for notebook, task in set_of.items():
        name = "stack" if isinstance(task, StackPhases) else "tempreg"
        task.save(task.network(), tmp_path / "shipped" / "real" / notebook / "weights" / name)
    monkeypatch.setattr(weightsets, "SHIPPED", tmp_path / "shipped")
    for masks, slices in (("truth", {-1}), ("nobody", {-1, *range(6)})):
        words = ["frames", str(copy), "--masks", masks, "--subjects", "P0002", "--out", str(tmp_path / masks)]
        result = CliRunner().invoke(app, [*words, "--threads", "1"])
        assert result.exit_code == 0, result.output
        assert set(pd.read_csv(tmp_path / masks / "frames.csv")["slice"]) == slices
