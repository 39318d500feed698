"""Nothing is made on the processor by accident: every task's training and prediction on a card that is a stand-in."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from hearts import small_heartmae
from standin import CARD, StandIn, on_card

from cmrlib.papers import cussp, mvnet, sslhf, tempreg, ternausnet
from cmrlib.papers.cussp.cnnlstm import CnnLstm
from cmrlib.papers.heartmae import Probe
from cmrlib.papers.heartmae.features import Bag
from cmrlib.papers.heartmae.reconstruction import reconstruct
from cmrlib.phantom import make_cohort

CUSSP = {"size": 32, "frames": 8, "width": 4}
SSLHF = {"size": 16, "frames": 8, "spacing_mm": 5.0, "clip": 0.0, "width": 2}
TEMPREG = {"spacing_mm": 6.0, "size": 32, "frames": 8, "width": 3, "features": 8, "hidden": 6}
TASKS = {
    "segmentation": ternausnet.Segmentation(("sax",), 6.4, 32, 32, 4, antiphase=True),
    "tempreg": tempreg.TempReg(("4ch",), **TEMPREG),
    "tempreg, the paper's": tempreg.TempReg(("4ch",), **TEMPREG, lstm="paper", norm="local", target="paper"),
    "stack": tempreg.StackPhases(masks="truth", width=4),
    "points": mvnet.MitralPoints(backbone="resnet8", scale=0.25, frames_per_cine=2, n_repeats=1),
    "heat maps": mvnet.MitralPoints(backbone="resnet8", head="maps", scale=0.25, frames_per_cine=2, n_repeats=1),
    "barlow": cussp.CusspPretraining(**CUSSP, projector=8),
    "pairs": cussp.CusspPairs(**CUSSP),
    "regurgitation": cussp.MitralRegurgitation(**CUSSP, hidden=8),
    "joint": cussp.CusspJoint(**CUSSP, projector=8, hidden=8),
    "CNN-LSTM": CnnLstm(**CUSSP, backbone="tiny", hidden=8),
    "restoration": sslhf.SslhfRestoration(**SSLHF, window_px=3, length=1),
    "heart failure": sslhf.HeartFailure(**SSLHF, hidden=(4, 3), label="mr", positive="1"),
    "densenet": sslhf.HeartFailure(
        **SSLHF | {"size": 32, "width": 4}, backbone="densenet121", label="mr", positive="1"
    ),
    "heartmae": small_heartmae(flow=True),
    "tubes": small_heartmae(masking="tube"),
}
PREDICTS = set(TASKS) - {"points", "heat maps", "barlow", "pairs", "joint", "restoration"}


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    """Ten hearts of 8 frames; every other one has mitral regurgitation."""
    protocol = {"frames": 8, "size": 64, "spacing_mm": 3.6, "slices": 4, "views": ("sax", "4ch", "2ch"), "subslices": 1}
    hearts = make_cohort(tmp_path_factory.mktemp("device") / "c", 10, workers=1, progress=False, **protocol)
    hearts.subjects["mr"] = [1, 0] * 5
    return hearts


@pytest.fixture
def split(hearts):
    return pd.Series(["train"] * 5 + ["validation"] * 3 + ["test"] * 2, hearts.subjects["participant_id"])


@pytest.fixture
def card(monkeypatch):
    """fastai sends batches and networks to the card."""
    monkeypatch.setattr("fastai.data.core.default_device", lambda *_: CARD)
    with StandIn():
        yield


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
def test_a_task_learns_and_predicts_on_the_card_alone(name, hearts, split, card, tmp_path):
    task = replace(TASKS[name], cache=tmp_path)
    learn = task.train(hearts, "truth", split, 1, 1e-3, bs=1 if name == "stack" else 3, precision="fp32")
    assert all(map(on_card, learn.model.parameters())) and learn.recorder.losses
    if name != "barlow":  # few cines: none validates
        learn.show_results()
    if name in PREDICTS:
        options = {} if name == "stack" else {"precision": "fp32"}
        found = task.predict(learn.model, hearts, ["P0010"], "truth", **options)
        other = task.predict(learn.model.cpu(), hearts, ["P0010"], "truth", **options)
        pd.testing.assert_frame_equal(found.drop(columns="seconds"), other.drop(columns="seconds"))


def test_points_are_tracked_on_the_card(hearts, card):
    task = mvnet.MitralTracking(points=mvnet.MitralPoints(backbone="resnet8", scale=0.25))
    models = [task.network().to(CARD) for _ in range(2)]
    assert task.predict(models, hearts, ["P0001"])["confidence"].notna().all()


def test_heads_and_pictures_of_frozen_features_are_made_on_the_card(hearts, split, card):
    task = small_heartmae()
    model, subjects = task.network().to(CARD), hearts.subjects["participant_id"]
    rows = hearts.cines[hearts.cines["view"] == "4ch"].assign(k=0)
    seen = {row.participant_id: task.embed(model, hearts.cine(row.cine), 0)[:1] for row in rows.itertuples()}
    bags = {subject: Bag(subject, features, rows[:1]) for subject, features in seen.items()}
    probe = Probe.of(bags, pd.DataFrame({"mr": hearts.subjects["mr"].to_numpy(float)}, subjects))
    heads = probe.train(None, "", split, 2, 0.01, bs=2).model
    assert on_card(heads.heads.weight) and probe.predict(heads, bags)["mr"].notna().all()
    assert reconstruct(task, model, hearts.cine(rows["cine"].iloc[0]), 0)["original"].any()


def test_the_stand_in_refuses_what_a_card_refuses():
    table = torch.arange(3)
    with StandIn():
        there = torch.ones(3, device="cuda")
        assert there.device == CARD and on_card((2 * there)[table]) and not on_card(there.cpu())
        for wrong in (lambda: there + table, lambda: table[there.long()], lambda: there.numpy()):
            with pytest.raises((RuntimeError, TypeError), match="processor|numpy"):
                wrong()
