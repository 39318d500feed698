"""CUSSP: a drawn heart whose valve is known, losses against loops and limits, what may and may not learn, no leaks."""

import re
from dataclasses import replace
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn
from typer.testing import CliRunner

from cmrlib import plots
from cmrlib.cine import Cine
from cmrlib.cohort import Annotation, Cohort, Observer
from cmrlib.learning.task import Task
from cmrlib.measures import FEATURES
from cmrlib.measures.arealength import single_plane_curve
from cmrlib.papers.cussp import baselines, network, table2, tabular
from cmrlib.papers.cussp.cnnlstm import CnnLstm, CnnLstmNet, WeakLoss, load_imagenet
from cmrlib.papers.cussp.data import VIEWS, Distortion, distorted, scaled
from cmrlib.papers.cussp.network import ContrastiveLoss, Encoder, barlow_loss
from cmrlib.papers.cussp.preparation import RefusedError, equalise, locate, prepare, window_frames
from cmrlib.papers.cussp.roles import assign_roles
from cmrlib.papers.cussp.task import CusspPairs, CusspPretraining, MitralRegurgitation
from cmrlib.papers.cussp.weak import ABSTAIN, label_model, votes, weak_labels
from cmrlib.phantom import make_cohort

PREP = MitralRegurgitation(size=32, frames=8)
SMALL = {"size": 32, "frames": 8, "width": 4, "projector": 8, "hidden": 8}
cross_entropy = nn.functional.binary_cross_entropy_with_logits


@pytest.fixture(scope="module")
def mr(tmp_path_factory):
    size = {"subjects": 42, "frames": 8, "size": 64, "spacing_mm": 3.6, "views": ["4ch"], "subslices": 1}
    return make_cohort(tmp_path_factory.mktemp("mr") / "c", **size, cohort="mr2", workers=1, progress=False)


@pytest.fixture(scope="module")
def sides(mr):
    """(roles, labels) of the small cohort."""
    return assign_roles(mr.subjects, "mr", 24, 12, 0.25), mr.subjects.set_index("participant_id")["mr"].astype(float)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Of all tasks, with one folder for prepared cines."""
    return SMALL | {"cache": tmp_path_factory.mktemp("patches")}


@pytest.fixture(scope="module")
def train(mr, sides, settings):
    """Row of table 2 → (task, classifier, learners), of one epoch each."""
    steps = {name: {"epochs": 1, "lr": 1e-3, "bs": 8} for name in ("barlow", "siamese", "classifier", "joint")}
    told = {"task": settings, "steps": steps, "precision": "fp32"}
    return lambda row: table2.train_row(row, mr, "truth", sides[0], told, 1, 1)


@pytest.fixture(scope="module")
def siam25(train):
    return train("siam25")


def drawn(angle_deg=0.0, spacing_mm=(1.5, 1.5), centre=(70.0, 60.0), shape=(140, 140), frames=10, es=4):
    """(cine, annotation): an LV of 60 × 30 mm, apex at `angle_deg` from down, above an LA of 34 mm; valve at `centre`
    (column, row). Systole shortens the LV; the LA is brighter than the LV, and both have a ramp in them."""
    rows, columns = np.indices(shape).astype(float)
    x, y = (columns - centre[0]) * spacing_mm[1], (rows - centre[1]) * spacing_mm[0]
    angle = np.deg2rad(angle_deg)
    down, across = x * -np.sin(angle) + y * np.cos(angle), x * np.cos(angle) + y * np.sin(angle)
    mask = np.zeros((frames, 1, *shape), np.uint8)
    for t in range(frames):
        length = 60 - 15 * (1 - abs(t - es) / es if t <= 2 * es else 0)
        mask[t, 0][(down > 0) & (down < length) & (abs(across) < 15)] = 1
        mask[t, 0][(down <= 0) & (down > -34) & (abs(across) < 15)] = 4
    pixels = (40 + 100 * (mask == 1) + 200 * (mask == 4) + 0.4 * across + 0.4 * down).astype(np.int16)
    affine = np.diag([-spacing_mm[1], -spacing_mm[0], 8.0, 1.0])
    times = np.arange(frames)[None] * 80.0
    cine = Cine(pixels, affine, "4ch", "a", frame_times_ms=times, rr_ms=np.array([80.0 * frames]))
    return cine, Annotation(mask, dict.fromkeys(range(frames), ("lv", "la")))


# --- where the valve lies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("angle", "spacing"), [(0, (1.5, 1.5)), (37, (1.5, 1.5)), (-140, (1.2, 1.9)), (90, (2.0, 1.4))]
)
def test_valve_and_axis_of_a_drawn_heart_and_the_patch_around_them(angle, spacing):
    cine, annotation = drawn(angle, spacing)
    valve = locate(cine, annotation)
    np.testing.assert_allclose(valve.centre_px, (70, 60), atol=1.3)
    lost = locate(replace(cine, spacing_known=False), annotation)  # an LV of 60 mm is taken for one of 90
    if spacing[0] == spacing[1]:
        np.testing.assert_allclose(lost.spacing_mm / valve.spacing_mm, 90 / 60, rtol=0.05)
    assert valve.apical @ [-np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))] > np.cos(np.deg2rad(3))
    patch = prepare(cine, annotation, MitralRegurgitation(size=50, field_mm=80.0, frames=10))
    np.testing.assert_allclose(patch.plane.points([valve.centre_px])[0], (24.5, 24.5), atol=1e-9)
    upright = patch.cropped[0]  # LA 240, LV 140, outside 40
    assert abs(upright[16, 25] - 240) < 15 and abs(upright[33, 25] - 140) < 25
    assert abs(upright[12, 2] - 40) < 50 and abs(upright[40, 47] - 40) < 50


def test_what_cannot_be_prepared_is_refused_with_a_reason():
    cine, annotation = drawn()
    mask, apart = annotation.mask, annotation.mask.copy()
    apart[:, :, 45:62] = 0
    for reason, seen, given, how in [
        ("no LV in the masks", cine, replace(annotation, mask=np.where(mask == 1, 0, mask)), PREP),
        ("no LA in the masks", cine, replace(annotation, mask=np.where(mask == 4, 0, mask)), PREP),
        ("LV or LA not drawn", cine, replace(annotation, annotated=dict.fromkeys(range(10), ("lv",))), PREP),
        ("LA and LV never meet", cine, replace(annotation, mask=apart), PREP),
        ("too few frames", cine.select(range(7)), annotation, PREP),
        ("patch outside the image", *drawn(centre=(12.0, 60.0)), replace(PREP, field_mm=900.0)),
    ]:
        with pytest.raises(RefusedError, match=cine.name) as error:
            prepare(seen, given, how)
        assert error.value.reason == reason


def test_a_patch_that_leaves_the_image_is_filled_and_counted():
    cine, annotation = drawn(centre=(12.0, 60.0))
    patch = prepare(cine, annotation, PREP)
    assert 0.1 < patch.outside < 0.5 and patch.cropped.min() >= min(patch.window[0], cine.pixels.min())
    places = patch.plane.back_points(np.c_[np.tile(np.arange(32), 32), np.repeat(np.arange(32), 32)])
    assert patch.outside == pytest.approx(((places < -0.5) | (places > 139.5)).any(1).mean(), abs=0.01)
    assert prepare(*drawn(), replace(PREP, field_mm=20.0)).outside == 0


def test_fewer_and_uneven_frames_become_the_grid():
    cine, annotation = drawn(frames=12, es=5)
    patch, own = (prepare(replace(cine, ed=11, es=5), annotation, replace(PREP, frames=n)) for n in (50, 12))
    assert patch.pixels.shape == (50, 32, 32)
    assert patch.ed == pytest.approx(11 / 12 * 50) and patch.es == pytest.approx(5 / 12 * 50)
    np.testing.assert_allclose(patch.cropped[25], own.cropped[6], atol=1e-3)  # half a cycle in both
    assert prepare(cine, annotation, replace(PREP, frames=12)).es == 5  # nobody names it: the smallest LV
    named = replace(cine, ed=7, es=2)  # by the cohort, which does not count
    assert prepare(named, annotation, replace(PREP, frames=12)).es == 5
    assert prepare(named, replace(annotation, frames={"ed": 1, "es": 3}), replace(PREP, frames=12)).es == 3
    assert window_frames(50, 40, 25).tolist() == [*range(40, 50), *range(15)]
    assert window_frames(20, 18.6, 10).tolist() == [19, *range(9)]
    with pytest.raises(ValueError, match="does not fit a cycle"):
        window_frames(8, 0, 9)


def test_equalisation_against_a_naive_loop():
    cropped = np.array([[[10, 30, 50, 70, 90, 200]]], np.float32)
    window, values = (20.0, 100.0), [30, 50, 70, 90]
    naive = [0, *[round(255 * sum(v < x for v in values) / 4) for x in values], 255]  # the share that is darker
    assert equalise(cropped, window).ravel().tolist() == naive
    np.testing.assert_array_equal(equalise(np.full((2, 3, 3), 7.0), (0.0, 1.0)), 255)


def test_a_mirrored_image_gives_the_same_patch(mr):
    row = mr.cines.iloc[0]
    cine, annotation = mr.cine(row["cine"]), mr.observer("truth").mask(row["cine"])
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = cine.pixels.shape[3] - 1
    other = replace(cine, pixels=np.ascontiguousarray(cine.pixels[..., ::-1]), affine=cine.affine @ flip)
    mask = np.ascontiguousarray(annotation.mask[..., ::-1])
    one, two = prepare(cine, annotation, PREP), prepare(other, replace(annotation, mask=mask), PREP)
    assert np.abs(one.cropped - two.cropped).max() <= 0.02 * np.ptp(one.cropped)
    assert np.abs(one.plane.matrix[:, :2] - two.plane.matrix[:, :2]).max() > 0.1  # by another plane


def test_cines_of_a_cohort_are_prepared_for_these_masks(mr, settings, tmp_path):
    task, people = MitralRegurgitation.of(settings), list(mr.subjects["participant_id"])
    table = task.prepared(mr, "truth", people)
    row = table.iloc[5]
    patch = prepare(mr.cine(row["cine"]), mr.observer("truth").annotation(row["cine"]), PREP)
    np.testing.assert_array_equal(task.patches(mr, "truth")[row["cine"]], patch.pixels)
    assert row["ed"] == patch.ed and (table["refused"] == "").all() and len(table) == 42
    other = Observer(tmp_path / "truth")  # other masks under the same name
    annotation = mr.observer("truth").mask(row["cine"])
    other.write(mr.cine(row["cine"]), replace(annotation, mask=np.where(annotation.mask == 4, 0, annotation.mask)))
    again = task.prepared(Cohort.open(mr.path, [tmp_path / "truth"]), "truth", people)
    assert again["refused"].tolist()[4:6] == ["not segmented", "no LA in the masks"]


# --- roles and leaks -------------------------------------------------------------------------------------------------


def people(n=100, positive=20, unknown=0):
    label = [1.0] * positive + [0.0] * (n - positive) + [np.nan] * unknown
    return pd.DataFrame({"participant_id": [f"P{i:04d}" for i in range(n + unknown)], "valve": label})


def test_roles_have_the_papers_counts_and_their_share_of_positives():
    subjects = people(3704, 515)
    roles = assign_roles(subjects, "valve", 525, 179)
    counted = pd.crosstab(roles, subjects.set_index("participant_id")["valve"])
    assert counted.loc["test"].tolist() == [154, 25]  # as the paper's
    assert counted.loc[["train", "validation"]].sum().tolist() == [452, 73]
    assert counted.loc["validation"].tolist() == [90, 15] and counted.loc["unlabelled"].sum() == 3000
    other = assign_roles(subjects, "valve", 525, 179, fold=1)
    assert not set(roles.index[roles == "test"]) & set(other.index[other == "test"])
    shuffled = assign_roles(subjects.sample(frac=1, random_state=3), "valve", 525, 179)
    pd.testing.assert_series_equal(shuffled.sort_index(), roles.sort_index())
    roles = assign_roles(people(60, 12, unknown=40), "valve", 0, 20)
    assert (roles[[f"P{i:04d}" for i in range(60, 100)]] == "unlabelled").all() and (roles != "unlabelled").sum() == 60


@pytest.mark.parametrize(
    ("table", "label", "train", "match"),
    [
        (people(60, 12), "valve", 50, "50 \\+ 20 labelled subjects are asked for, 60 have a label"),
        (people(60, 1), "valve", 40, "one class only on a side"),
        (people(), "mr", 40, "no column 'mr'"),
        (people().replace({"valve": {1.0: 2.0}}), "valve", 40, "expected 0, 1 or n/a"),
    ],
)
def test_roles_that_cannot_be_assigned_are_refused(table, label, train, match):
    with pytest.raises(ValueError, match=match):
        assign_roles(table, label, train, 20)


def test_nothing_without_labels_sees_validation_or_test_subjects(mr, sides, settings):
    roles = sides[0]
    dls = CusspPretraining.of(settings).dataloaders(mr, "truth", roles, 8)
    seen = pd.concat([dls.train_ds.items, dls.valid_ds.items])  # what the network is really fed from
    assert set(seen["participant_id"]) == set(roles.index[roles.isin(["train", "unlabelled"])])
    assert len(dls.valid_ds) == 2 and dls.one_batch()[0].shape == (8, 2, 8, 32, 32)
    for leak in ("nobody", *roles.index[roles == "validation"][:1]):
        weak = pd.Series(0.5, index=[leak, roles.index[roles == "unlabelled"][0]])
        with pytest.raises(ValueError, match="1 subjects of validation or test have weak labels"):
            CnnLstm.of(settings).items(mr, "truth", roles, weak)


# --- losses and networks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [24, 7])  # the smaller one as a last batch
def test_barlow_twins_loss_by_numpys_correlations(n):
    z = np.random.default_rng(1).normal(size=(n, 2, 5))
    z[:, 1] += 0.5 * z[:, 0]
    c = np.corrcoef(z[:, 0].T, z[:, 1].T)[:5, 5:]
    on, all_of = np.diag(c), network.BARLOW_LAMBDA * (c**2).sum()
    by_hand = ((1 - on) ** 2).sum() + all_of - network.BARLOW_LAMBDA * (on**2).sum()
    assert float(barlow_loss(torch.from_numpy(z))) == pytest.approx(by_hand, rel=1e-4)
    with pytest.raises(ValueError, match="two or more"):
        barlow_loss(torch.from_numpy(z[:1]))


def test_contrastive_loss_at_its_margins():
    pair = torch.tensor([[[0.0, 0.0], [3.0, 4.0]]])  # 5 apart
    for unlike, margin, wanted in ((0.0, 1.0, 12.5), (1.0, 5.0, 0.0), (1.0, 3.0, 0.0), (1.0, 7.0, 2.0)):
        assert float(ContrastiveLoss(margin)(pair, torch.tensor([unlike]))) == pytest.approx(wanted)
    together = torch.zeros(1, 2, 2, requires_grad=True)
    loss = ContrastiveLoss(2.0)(together, torch.tensor([1.0]))
    assert loss.item() == pytest.approx(2.0, rel=1e-4)
    loss.backward()
    assert torch.isfinite(together.grad).all()


def test_joint_and_weak_losses_are_weighted_sums_and_the_joint_classifier_is_the_one_that_was_trained():
    model = network.Joint(network.BarlowTwins(Encoder(4, 4), 8), 8).eval()
    x, target = torch.randn(9, 4, 32, 32), (torch.arange(9) % 2).float()
    outputs = model(torch.stack([x, x.flip(0)], 1))
    assert outputs.shape == (9, 2, 9)
    torch.testing.assert_close(model.classifier(x), outputs[:, 0, -1])
    by_hand = 0.1 * barlow_loss(outputs[:, :, :8]) + 0.9 * cross_entropy(outputs[:, :, 8], target[:, None].repeat(1, 2))
    torch.testing.assert_close(network.joint_loss(outputs, target, 0.1), by_hand)
    output, target = torch.tensor([0.3, -1.0]), torch.tensor([1.0, 2.7])  # the second label is weak, .7
    one, two = (cross_entropy(o, t) for o, t in zip(output, torch.tensor([1.0, 0.7])))
    torch.testing.assert_close(WeakLoss(0.25)(output, target), (one + 0.25 * two) / 1.25)


def test_the_encoder_is_resnet18_and_the_cnn_densenet121_with_attention():
    from torchvision.models import densenet121, resnet18  # after cmrlib, which lets it work beside a CPU torch

    theirs, ours = resnet18(num_classes=1).eval(), Encoder(3).eval()
    ours.load_state_dict({name: value for name, value in theirs.state_dict().items() if not name.startswith("fc")})
    theirs.fc = nn.Identity()
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours(x), theirs(x))
    ours, theirs = CnnLstmNet("densenet121").features.state_dict(), densenet121().features.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    with_it, without = (CnnLstmNet("tiny", 32, attention, 4).eval() for attention in (True, False))
    without.load_state_dict(with_it.state_dict(), strict=False)
    cine = torch.randn(2, 5, 48, 48)  # of any size
    torch.testing.assert_close(with_it(cine), without(cine))  # attention starts as identity


@pytest.mark.parametrize(("last", "learning"), [("block", "layer4.1"), ("stage", "layer4")])
def test_only_the_last_block_or_stage_learns_and_frozen_statistics_stay(mr, sides, settings, last, learning):
    task = CusspPairs.of(settings | {"last": last})
    torch.manual_seed(3)
    model = task.network()
    for module in model.modules():  # statistics that training would change
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    task.train(mr, "truth", sides[0], 2, 0.01, bs=8, model=model)
    changed = {name for name, value in model.encoder.state_dict().items() if not torch.equal(value, before[name])}
    assert {"layer4.1.conv2.weight", "layer4.1.bn1.running_mean"} <= changed
    assert all(name.startswith(learning) for name in changed) and len(changed) > 10


# --- batches ---------------------------------------------------------------------------------------------------------


def test_the_first_of_a_pair_never_leaks_and_half_of_the_others_do(mr, sides, settings, monkeypatch):
    monkeypatch.setattr(CusspPairs, "distortion", VIEWS)  # the first frame does not vary
    roles, task = sides[0], CusspPairs.of(settings)
    items, patches = task.items(mr, "truth", roles), task.patches(mr, "truth")
    labels = MitralRegurgitation.of(settings).items(mr, "truth", roles).set_index("cine")["label"]
    known = {np.asarray(patches[name]).tobytes(): label for name, label in labels.items()}
    draw = task.clip(mr, "truth")
    for side, part in items.groupby("split"):
        pairs = [draw(row) for _, row in part.iterrows()]
        assert all(known[one.numpy().tobytes()] == 0 for one, _ in pairs)
        assert [known[other.numpy().tobytes()] for _, other in pairs] == part["label"].tolist()
        assert part["label"].sum() == len(part) // 2 and len(part) == (roles == side).sum()
        assert not any(torch.equal(*pair) for pair in pairs)
    row = items[items["split"] == "validation"].iloc[0]
    assert torch.equal(draw(row), draw(row))
    no_mr = Cohort(mr.path, mr.description, mr.subjects.assign(mr=0.0), mr.cines, mr.observers)
    with pytest.raises(ValueError, match="pairs need two cines without MR and one with it, got .+ and 0"):
        task.items(no_mr, "truth", roles)


def test_half_of_the_cycle_starts_at_ed_and_no_batch_holds_one_cine_alone(mr, sides, settings):
    half, whole = (MitralRegurgitation.of(settings | {"window": window}) for window in (4, 0))
    items, patches = half.items(mr, "truth", sides[0]), half.patches(mr, "truth")
    for _, row in items[items["split"] == "validation"].iterrows():  # in training the first frame varies
        start, pixels = int(np.floor(row["ed"] + 0.5)), patches[row["cine"]]
        np.testing.assert_array_equal(half.clip(mr, "truth")(row), pixels[(start + np.arange(4)) % 8])
        np.testing.assert_array_equal(whole.clip(mr, "truth")(row), pixels)
        seen = half.inputs(mr.cine(row["cine"]), mr.observer("truth").annotation(row["cine"]))
        torch.testing.assert_close(seen[0], scaled(half.clip(mr, "truth")(row).as_subclass(torch.Tensor)))
    dls = whole.dataloaders(mr, "truth", sides[0], 5)
    assert [len(x) for x, _ in dls.valid] == [6] and [len(x) for x, _ in dls.train] == [5, 5, 5, 3]


def test_distortions_treat_all_frames_of_a_cine_alike():
    torch.manual_seed(0)
    x = torch.rand(3, 1, 24, 24).expand(3, 5, 24, 24).contiguous() * 2 - 1
    out = distorted(x, Distortion(noise=0.0))
    torch.testing.assert_close(out, out[:, :1].expand_as(out))
    assert not torch.allclose(out[0], out[1]) and not torch.allclose(out, x)
    none = Distortion(0.0, 0.0, 0.0, 0.0, 0.0)
    torch.testing.assert_close(distorted(x, none), x.clamp(min=-0.998), atol=1e-4, rtol=0)
    assert scaled(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]


# --- weak labels, and models of numbers ------------------------------------------------------------------------------


def test_rules_vote_by_quantiles_and_abstain_between():
    ten = np.arange(10.0)
    columns = {"la_maxi_ml_m2": np.where(ten == 3, np.nan, ten), "lvsvi_ml_m2": ten, "rvsvi_ml_m2": ten[::-1]}
    table = pd.DataFrame({"participant_id": list("abcdefghij")} | columns)
    cast = votes(table, ("la_max_ml", "lvsv_ml - rvsv_ml"), high=0.8, low=0.5)
    assert cast["lvsv_ml - rvsv_ml"].tolist() == [0] * 5 + [ABSTAIN] * 3 + [1] * 2
    assert cast["la_max_ml"].iloc[[0, 3, 9]].tolist() == [0, ABSTAIN, 1]


def test_the_label_model_learns_whom_to_trust_without_labels():
    rng = np.random.default_rng(0)
    truth = rng.random(4000) < 0.2
    said = {}
    for name, right in (("good", 0.9), ("fair", 0.75), ("coin", 0.5)):
        vote = np.where(rng.random(4000) < right, truth, ~truth).astype(int)
        said[name] = np.where(rng.random(4000) < 0.7, vote, ABSTAIN)
    said["second"] = np.where(rng.random(4000) < 0.8, truth, ~truth).astype(int)
    said = pd.DataFrame(said)
    found, chances = label_model(said, 0.2)
    specificity = chances[:, 0, 0] / chances[:, 0, :2].sum(1)
    np.testing.assert_allclose(specificity[[0, 2]], [0.9, 0.5], atol=0.06)
    np.testing.assert_allclose(chances[:, 0, :2].sum(1), [0.7, 0.7, 0.7, 1.0], atol=0.03)  # how often they vote
    assert roc_auc_score(truth, found) > roc_auc_score(truth, (said == 1).sum(axis=1) - (said == 0).sum(axis=1)) + 0.005
    assert found.mean() == pytest.approx(0.2, abs=0.05)
    for n in range(10):  # Bayes' rule; the last vote is to abstain
        without, having = (np.prod([chances[k, c, vote] for k, vote in enumerate(said.iloc[n])]) for c in (0, 1))
        assert found[n] == pytest.approx(0.2 * having / (0.2 * having + 0.8 * without), abs=1e-6)


def test_weak_labels_of_unlabelled_subjects_teach_the_cnn_lstm(mr, sides, settings):
    roles, labels = sides
    weak, table = weak_labels(tabular.measured_features(mr, "truth"), roles, labels)
    assert set(weak.index) == set(roles.index[roles == "unlabelled"]) and weak.between(0, 1).all()
    assert {"sensitivity_train", "specificity", "votes"} <= set(table)
    task = CnnLstm.of(settings | {"kind": "heart", "field_mm": 150.0, "frames": 4, "backbone": "tiny"})
    items = task.items(mr, "truth", roles, weak)
    np.testing.assert_allclose(items["label"][items["label"] >= 2], weak + 2)
    assert set(items["label"][items["label"] < 2]) == {0.0, 1.0}
    learn = task.learner(task.block(mr, "truth").dataloaders(items, bs=8, num_workers=0))
    learn.fit_one_cycle(1, 1e-3)
    assert task.predict(learn.model, mr, ["P0001"], annotations="truth")["score"].between(0, 1).all()
    assert (np.asarray(task.patches(mr, "truth")[items["cine"][0]]) == 0).mean() > 0.3  # beyond the heart


def test_single_plane_features_are_those_of_area_and_length(mr):
    table = tabular.four_chamber_features(mr, "truth", list(mr.subjects["participant_id"][:2]))
    name, row = mr.cines["cine"][0], table.iloc[0]
    curve = single_plane_curve(mr.cine(name), mr.observer("truth").mask(name), "ra")
    assert row["ra_max_ml"] == pytest.approx(np.nanmax(curve))
    assert list(table) == ["participant_id", "bsa_m2", *FEATURES] and table.notna().all(axis=None)
    assert row["lvsv_ml"] == pytest.approx(row["lvedv_ml"] - row["lvesv_ml"])
    assert row["laef_pct"] == pytest.approx(100 * row["lasv_ml"] / row["la_max_ml"])
    truth = mr.observer("truth").measures().set_index("participant_id")
    assert table.set_index("participant_id")["lvedv_ml"].div(truth["lvedv_ml"]).dropna().between(0.5, 1.6).all()


def test_the_forest_finds_what_is_there_and_refuses_one_class():
    a, b = np.random.default_rng(0).normal(size=(2, 60))
    table = pd.DataFrame({"participant_id": [f"P{i}" for i in range(60)], "a": a, "b": np.where(a == a[4], np.nan, b)})
    labels = pd.Series((a > 0.5).astype(float), table["participant_id"])
    search = tabular.forest_search(table, labels, 0, 3, 10)
    assert {name.split("__")[1] for name in search.best_params_} == set(tabular.GRID)
    assert roc_auc_score(labels, tabular.probabilities(search, table, table["participant_id"])) > 0.95
    assert np.isnan(tabular.probabilities(search, table, ["P3", "nobody"])["nobody"])
    with pytest.raises(ValueError, match="two cases of each class, got 60 without and 0 with"):
        tabular.forest_search(table, labels * 0, 0, 3)


@pytest.mark.parametrize("name", ["prevalence", "shadow", "pca", "random"])
def test_what_no_network_learned_is_a_row_too(mr, sides, settings, name):
    (roles, labels), task = sides, MitralRegurgitation.of(settings)
    cines, systole, people = baselines.cines_from_ed(task, mr, "truth", mr.subjects["participant_id"])
    assert cines.shape == (42, 8, 32, 32) and ((systole > 0) & (systole < 8)).all()
    dark = cines.copy()
    for cine, frames in zip(dark, systole):
        cine[: int(np.ceil(frames)), 8:14, 10:22] //= 4  # a jet in everybody
    assert (baselines.systolic_shadow(dark, systole) > baselines.systolic_shadow(cines, systole)).all()
    learned = labels[roles.index[roles == "train"]]
    x = baselines.features_of(name, task, cines, systole, 1)
    found = baselines.probabilities(name, x, people, learned)
    assert list(found.index) == list(people) and found.between(0, 1).all()
    assert (found.nunique() == 1) == (name == "prevalence")


def test_imagenet_weights_of_a_densenet_fit_or_are_refused(tmp_path):
    from torchvision.models import densenet121

    state = densenet121().state_dict()  # torchvision's files have norm.1 where its modules have norm1
    old = {re.sub(r"(denselayer\d+\.)(norm|conv)([12])", r"\1\2.\3", name): value for name, value in state.items()}
    torch.save(old, tmp_path / "densenet121.pth")
    model = CnnLstmNet("densenet121")
    load_imagenet(model, tmp_path / "densenet121.pth")
    for name, value in model.features.state_dict().items():
        torch.testing.assert_close(value, state[f"features.{name}"])
    with pytest.raises(ValueError, match="no ImageNet weights of DenseNet-121"):
        load_imagenet(CnnLstmNet("slim"), tmp_path / "densenet121.pth")


# --- table 2 ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def scores():
    """Of three models under two seeds: 40 validation and 80 test subjects, a quarter positive."""
    rng, i = np.random.default_rng(0), np.arange(120)
    table = pd.DataFrame({"participant_id": [f"P{k:03d}" for k in i], "label": (i % 4 == 0).astype(float)})
    table["split"] = np.where(i < 40, "validation", "test")
    parts = []
    for (model, shift), seed in product({"siam25": 1.2, "shadow": 0.6, "fraction": 3.0}.items(), (1, 2)):
        score = 1 / (1 + np.exp(-(shift * table["label"] + rng.normal(size=120))))
        parts.append(table.assign(model=model, seed=seed, score=score))
    return pd.concat(parts, ignore_index=True)


def test_table_2_holds_means_over_seeds_with_thresholds_from_validation(scores):
    chosen = table2.thresholds(scores)
    table = table2.table_2(scores, chosen)
    part = scores[(scores["model"] == "siam25") & (scores["split"] == "test")]
    row, each = table.set_index("model").loc["siam25"], [one for _, one in part.groupby("seed")]
    for name, statistic in (("auc", roc_auc_score), ("ap", average_precision_score)):
        assert row[name] == pytest.approx(np.mean([statistic(one["label"], one["score"]) for one in each]))
    assert (row["auc_paper"], row["n_runs"], row["n"], row["n_missing"]) == (0.88, 2, 80, 0)
    assert table.set_index("model")["auc_paper"].isna()["shadow"]
    assert {"siam25_auc", "siam25_f1_low", "siam25_pos_acc", "shadow_neg_acc_high"} <= set(table2.metrics_of(table))
    flipped = scores.assign(label=scores["label"].where(scores["split"] == "validation", 1 - scores["label"]))
    pd.testing.assert_frame_equal(table2.thresholds(flipped), chosen)  # test labels choose nothing
    lost = scores["participant_id"].isin(["P100", "P101"]) & (scores["model"] == "siam25")
    row = table2.table_2(scores.assign(score=scores["score"].mask(lost)), chosen).set_index("model").loc["siam25"]
    assert row["n_missing"] == 2 and row["n"] == 78  # counted, not called negative


# --- from end to end -------------------------------------------------------------------------------------------------


def test_a_row_of_table_2_is_trained_saved_and_found_again(mr, sides, train, siam25, tmp_path):
    (task, model, learners), (roles, labels) = siam25, sides
    steps = ["Barlow Twins, half cycle, seed 1", "Siamese, siam25, seed 1", "classifier, siam25, seed 1"]
    assert task.window == 4 and list(learners) == steps
    found = task.predict(model, mr, roles.index, annotations="truth", embeddings=True, precision="fp32")
    assert found["score"].between(0, 1).all() and found["e031"].notna().all() and "e032" not in found
    scores = table2.score_rows("siam25", 1, found.set_index("participant_id")["score"], labels, roles)
    assert len(scores) == 36 and scores.notna().all(axis=None)
    task.save(model, tmp_path / "siam25", threshold=0.3)
    again, models, card = Task.load(tmp_path / "siam25")
    assert again == task and card["threshold"] == 0.3 and "cache" not in card["preprocessing"]
    cine, annotation = mr.cine(found["cine"][3]), mr.observer("truth").annotation(found["cine"][3])
    score = again.predict_cine(models, cine, annotation, precision="fp32")[1][0]["score"]
    assert score == pytest.approx(found["score"][3], abs=1e-6)
    by_hand = model.eval()(again.inputs(cine, annotation)).detach().sigmoid()
    assert score == pytest.approx(float(by_hand), abs=1e-6)
    _, other, twice = train("siam25")
    assert other is not model and twice["Siamese, siam25, seed 1"].checkpoint.done == 1
    for one, two in zip(other.parameters(), model.parameters()):
        torch.testing.assert_close(one, two)


def test_steps_start_from_each_other_and_show_their_results(train, siam25):
    barlow, siamese, classifier = (learn.model.encoder for learn in siam25[2].values())
    for one, other in ((barlow, siamese), (siamese, classifier)):
        torch.testing.assert_close(one.conv1.weight, other.conv1.weight)  # frozen on the way
    assert not torch.equal(barlow.layer4[1].conv2.weight, siamese.layer4[1].conv2.weight)
    task, model, learners = train("cussp1")
    assert task.window == 0 and model.encoder.conv1.in_channels == 8 and "both losses, cussp1, seed 1" in learners
    _, pairs, learn = siam25[2].values()
    learn.dls.show_batch(max_n=2)
    pairs.show_results(max_n=2)
    learn.show_results(max_n=2)
    assert all(ax.get_title().startswith(("0 → 0.", "1 → 0.")) for ax in plt.gcf().axes)
    plt.close("all")


def test_arms_of_the_factorial_take_equally_many_steps(train, siam25, sides):
    """Each training of `told` has one epoch; 24 · .75 subjects train, in three batches of 8."""
    task, model, learners = train("random-plain-all-half")
    (learn,) = learners.values()
    pretraining = np.ceil(sides[0].isin(["train", "unlabelled"]).sum() / 8)
    assert learn.n_epoch == 1 + round((pretraining + 3) / 3) and task.window == 4
    assert all(p.requires_grad for p in model.parameters())
    whole, _, found = train("barlow-pairs-block-whole")
    assert whole.window == 0 and len(found) == len(siam25[2]) and list(found.values())[-1].n_epoch == 1


def test_cmr_classify_writes_a_score_a_cine(mr, siam25, tmp_path):
    from cmrlib.app.cli import app

    for name in ("siam25", "cussp1"):  # of several the first is taken
        siam25[0].save(siam25[1], tmp_path / "weights" / name, threshold=0.5)
    words = ["classify", str(mr.path), "--observer", "truth", "--out", str(tmp_path / "scores"), "--threads", "1"]
    done = CliRunner().invoke(app, [*words, "--weights", str(tmp_path), "--subjects", "P0001,P0002"])
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "scores" / "scores.csv")
    assert table["participant_id"].tolist() == ["P0001", "P0002"] and table["score"].between(0, 1).all()
    assert (table["positive"] == (table["score"] >= table["threshold"])).all()
    (tmp_path / "weights" / "siam25.json").write_text('{"architecture": {"name": "TernausNet"}}')
    wrong = CliRunner().invoke(app, [*words, "--weights", str(tmp_path / "weights" / "siam25.safetensors")])
    assert wrong.exit_code == 2 and "weights of TernausNet do not classify" in wrong.output


def test_the_five_steps_are_pictures_with_their_geometry(mr):
    cine, annotation = mr.cine(mr.cines["cine"][0]), mr.observer("truth").mask(mr.cines["cine"][0])
    patch = prepare(cine, annotation, PREP)
    figure = plots.preparation_steps({"one": plots.step_pictures(cine, annotation.mask, 3, patch)}, True)
    np.testing.assert_array_equal(figure.axes[4].images[0].get_array(), patch.pixels[3])
    corners = figure.axes[2].lines[0].get_xydata()
    np.testing.assert_allclose(np.hypot(*np.diff(corners, axis=0).T), 100.0 / 3.6, rtol=1e-6)  # 100 mm a side
    np.testing.assert_allclose(corners[:4].mean(0), patch.valve.centre_px, atol=1e-6)
    assert any("phantom" in text.get_text() for text in figure.texts)
    plt.close("all")
