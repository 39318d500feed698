"""HeartMAE: counts by hand, the network against a naive one, weights that follow every cut, bags, the probe, resume."""

from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback
from hearts import small_heartmae
from plain_mae import PlainMAE
from sklearn.linear_model import RidgeCV

from cmrlib.app.runs import ROOT
from cmrlib.cine import Cine
from cmrlib.cohort.files import read_json
from cmrlib.learning.resume import ExactResume
from cmrlib.learning.task import Task
from cmrlib.measures.motion import motion_scalars
from cmrlib.papers.heartmae import HeartMAE, Probe, cardiac_targets, learn_axes, make_bags, section_table
from cmrlib.papers.heartmae.clips import Cut, cut_weights, even_cuts, first_frames, peak_of, random_cut
from cmrlib.papers.heartmae.features import Bag, pooled, token_features
from cmrlib.papers.heartmae.flow import flow_weights, frame_pairs
from cmrlib.papers.heartmae.network import weighted_error
from cmrlib.papers.heartmae.probe import GatedPooling, some_views
from cmrlib.papers.heartmae.reconstruction import explained_variance, reconstruct
from cmrlib.papers.heartmae.starts import Snapshots
from cmrlib.papers.heartmae.study import disease_table, error_table, gain_pct
from cmrlib.papers.heartmae.targets import disease_targets, enough_positives, usable
from cmrlib.papers.heartmae.tokens import Masking, joined, patches, target_frames
from cmrlib.phantom import make_cohort

TASK = small_heartmae(mask_ratio=0.75, pooling="moving")


def network(task=TASK, mean=0.3, std=0.2):
    torch.manual_seed(0)
    model = task.network()
    model.mean.fill_(mean), model.std.fill_(std)
    return model


def cine_of(pixels):
    return Cine(np.asarray(pixels), np.diag([2.0, 2.0, 8.0, 1.0]), "sax", "X")


def random_cine(frames=10, rows=40, columns=40):
    rng = np.random.default_rng(0)
    return cine_of(rng.integers(0, 300, (frames, 2, rows, columns)).astype(np.uint16))


def clips_and_ids(n=3):
    rng = torch.Generator().manual_seed(0)
    return torch.rand(n, 8, 32, 32, generator=rng), torch.rand(n, 32, generator=rng).argsort(1)


def losses(error):
    return error.sum((1, 2, 3))


def test_token_counts_of_the_paper():
    steps, rows, columns = HeartMAE().grid
    assert steps * rows * columns == 1176
    assert target_frames(24) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 23]
    for frames in (8, 16, 24, 48):  # two of each token's own
        assert [frame // 4 for frame in target_frames(frames)] == [n // 2 for n in range(frames // 2)]
    assert [Masking(0.9).kept(6, 196), Masking(0.95).kept(6, 196), Masking(0.9, "tube").kept(6, 196)] == [117, 58, 114]


def test_masks_are_orders_of_all_tokens_and_tubes_the_same_in_every_step():
    tubes = Masking(0.9, "tube")
    for masking in (Masking(0.9), tubes):
        assert (masking.draw(4, 6, 49).sort(1).values == torch.arange(6 * 49)).all()
    first = torch.stack([Masking(0.5).draw(400, 2, 4)[:, :4] == token for token in range(8)]).float().mean((1, 2)) * 4
    assert ((first - 0.5).abs() < 0.1).all(), "every token is seen equally often"
    kept = tubes.draw(5, 6, 196)[:, : tubes.kept(6, 196)]
    for ids in kept:
        by_step = [set((ids[ids // 196 == step] % 196).tolist()) for step in range(6)]
        assert len(by_step[0]) == 19 and all(one == by_step[0] for one in by_step)
    assert len({tuple(sorted(ids.tolist())) for ids in kept}) == 5, "every clip has its own tubes"


@pytest.mark.parametrize("strategy", ["random", "tube"])
def test_loss_and_gradients_equal_a_naive_network(strategy):
    model = network(replace(TASK, masking=strategy))
    plain, clips, ids = PlainMAE(model), clips_and_ids()[0], model.masking.draw(3, 2, 16)
    assert torch.equal(joined(patches(clips, 8, 4), model.design.grid, 8, 4), clips)
    maps = torch.rand(3, 32, 32)
    error = model(clips[:, None], ids)
    torch.testing.assert_close(losses(error), plain(clips, ids), atol=1e-5, rtol=1e-5)
    ours, theirs = weighted_error(error, maps[:, None]), plain(clips, ids, maps).mean()
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    ours.backward(), theirs.backward()
    mine, other = model.decoder, plain.decoder_blocks[-1]
    for one, two in [
        (model.encoder.embed.weight, plain.embed.weight),
        (mine.hidden, plain.hidden),
        (model.encoder.positions.space, plain.encoder_space),
        (mine.positions.time, plain.decoder_time),
        (mine.blocks[-1].narrow.weight, other.linear2.weight),
    ]:
        torch.testing.assert_close(one.grad, two.grad.view_as(one), atol=1e-5, rtol=1e-4)
    values = mine.blocks[-1].qkv.weight.grad[16:], other.self_attn.in_proj_weight.grad[16:]
    torch.testing.assert_close(*values, atol=1e-5, rtol=1e-4)


def test_axes_are_the_principal_ones_of_training_tokens(cohort, sections):
    task, model = replace(TASK, section_views=(1, 1)), network()
    row = sections[sections["split"] == "train"].iloc[0]
    cine = cohort.cine(row["cine"])
    before = task.embed(model, cine, row["k"], precision="fp32")
    assert (before[:, 3 * 16 :] == 0).all()  # nothing learned yet
    learn_axes(task, model, cohort, sections, precision="fp32")
    (after,) = task.embed(model, cine, row["k"], precision="fp32")
    np.testing.assert_array_equal(after[: 3 * 16], before[0, : 3 * 16])
    (mean,) = replace(task, pooling="mean").embed(model, cine, row["k"], precision="fp32")
    np.testing.assert_array_equal(mean, after[:16])  # the paper's read-out, the default
    assert HeartMAE().pooling == "mean"
    assert model.axes.shape == (16, 16) and (after[3 * 16 :] != 0).all()
    other = sections[sections["split"] != "train"]
    tokens = [token_features(model, task.clips(cohort.cine(r.cine), r.k), "fp32") for r in other.itertuples()]
    spread = ((torch.cat([t[0].flatten(0, 1) for t in tokens]) - model.centre) @ model.axes).var(0)
    assert spread[:4].sum() > 0.5 * spread.sum() and spread[0] > 20 * spread[-1]


def test_pooling_looks_where_tokens_change():
    tokens = torch.randn(2, 1, 9, 4).repeat(1, 3, 1, 1)
    tokens[:, :, 5] += torch.tensor([-3.0, 0.0, 3.0])[:, None]  # one place of nine moves
    centre, axes = torch.full((4,), 0.5), torch.eye(4)[:, :2]
    found = pooled(tokens, centre, axes)
    assert found.shape == (2, 3 * 4 + 2 * 3)
    torch.testing.assert_close(found[:, :4], tokens.mean((1, 2)))
    torch.testing.assert_close(found[:, 4:8], tokens[:, 1, 5], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[:, 8:12], torch.full((2, 4), 6**0.5), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found[:, 12:15], torch.full((2, 3), 6 / 6.1**0.5), atol=1e-3, rtol=1e-3)
    z = tokens[:, :, 5, :2] - 0.5
    for n, (i, j) in enumerate([(0, 0), (0, 1), (1, 1)]):  # of the place that moves
        by_hand = (z[:, :, i] * z[:, :, j]).mean(1)
        torch.testing.assert_close(found[:, 15 + n], by_hand / (by_hand.abs() + 0.1).sqrt(), atol=1e-3, rtol=1e-3)
    still = pooled(tokens[:, :1], centre, axes)  # nothing moves: all places count alike
    torch.testing.assert_close(still[:, 4:8], tokens[:, 0].mean(1))
    assert still[:, 8:15].abs().max() < 1e-5


def test_what_is_hidden_cannot_be_seen_and_validation_hides_the_same_every_time():
    model, (clips, ids) = network().eval(), clips_and_ids()
    changed = patches(clips, 8, 4)
    changed[0, ids[0, 8:]] = 0
    changed = joined(changed, model.design.grid, 8, 4)
    assert torch.equal(model.reconstruct(clips, ids, 8), model.reconstruct(changed, ids, 8))
    assert torch.equal(model(clips[:, None]), model(clips[:, None]))
    model.train()
    assert not torch.equal(model(clips[:, None]), model(clips[:, None]))


@pytest.mark.parametrize("strategy", ["random", "tube"])
def test_a_training_step_decodes_a_share_of_the_hidden_tokens_and_validation_all(strategy):
    task = replace(TASK, masking=strategy)
    model, (clips, ids) = network(replace(task, decoder_share=0.5)), clips_and_ids()
    few, shares = model(clips[:, None], ids), model.standardise(clips)
    found = model.reconstruct(shares, ids[:, :20], 8)  # 8 seen, 12 of 24 hidden
    by_hand = ((model.targets(shares, ids[:, 8:20]) - found) ** 2).flatten(1).mean(1)
    torch.testing.assert_close(losses(few), by_hand)
    assert torch.equal(few, model(clips[:, None], torch.cat([ids[:, :20], ids[:, 20:].flip(1)], 1)))
    whole = network(task)
    assert torch.equal(model.eval()(clips[:, None], ids), whole(clips[:, None], ids))
    assert Masking(decoder_share=0.001).decoded(24) == 1


def test_a_cut_by_hand_and_short_cines_go_round_their_cycle():
    image = np.arange(36, dtype=np.uint16).reshape(6, 6)
    for flips, step in {(): (1, 1), (True, False): (-1, 1), (False, True): (1, -1)}.items():
        np.testing.assert_array_equal(Cut(0, 1, 2, 3, *flips).image(image, 3), image[1:4, 2:5][:: step[0], :: step[1]])
    np.testing.assert_array_equal(Cut(0, 0, 0, 6).image(image.astype(np.float32), 3)[0], [3.5, 5.5, 7.5])
    cine = random_cine(frames=5)
    clip = Cut(3, 0, 0, 40).clip(cine.pixels[:, 0], replace(TASK, size=40), 10.0)
    np.testing.assert_allclose(clip, cine.pixels[[3, 4, 0, 1, 2, 3, 4, 0], 0] / 10, rtol=1e-6)
    assert first_frames(5, 8) == 5 and first_frames(50, 24) == 27 and first_frames(8, 8) == 8


def test_weights_follow_crop_flip_and_resize():
    rows, columns = np.mgrid[0:60, 0:80]
    ramp = (2 * rows + columns).astype(np.uint8)  # up to 197
    cine = cine_of(np.repeat(ramp[None, None].astype(np.uint16), 8, 0))
    rng, seen, small = np.random.RandomState(0), set(), replace(TASK, size=24)
    for _ in range(40):
        cut = random_cut(cine, small, rng)
        seen.add((cut.flip_rows, cut.flip_columns))
        pixels = cut.clip(cine.pixels[:, 0], small, 255)[0]
        assert np.abs(pixels - cut_weights(ramp, cine, cut, 24)).max() < 1e-5
    assert len(seen) == 4


def test_views_cover_the_longer_side_and_the_cycle():
    cuts = even_cuts(random_cine(frames=50, rows=300, columns=224), HeartMAE(crop_high=224))
    assert [(cut.top, cut.left, cut.start) for cut in cuts] == [
        (top, 0, start) for top in (0, 38, 76) for start in (0, 26)
    ]
    square = even_cuts(random_cine(frames=10, rows=64, columns=64), HeartMAE(size=32, crop_low=64, crop_high=64))
    assert [(cut.top, cut.left, cut.start) for cut in square] == [(0, 0, 0), (0, 0, 5)], "three equal crops are one"


def test_flow_is_where_a_disc_moves():
    frames = np.zeros((20, 64, 64), np.uint16)
    for t in range(20):
        cv2.circle(frames[t], (40 + int(6 * np.sin(2 * np.pi * t / 20)), 22), 9, 200, -1)
        cv2.circle(frames[t], (14, 50), 9, 200, -1)  # another stands still
    weights = flow_weights(frames, sigma_px=4)
    row, column = np.unravel_index(weights.argmax(), weights.shape)
    assert abs(row - 22) <= 4 and abs(column - 40) <= 6
    assert weights.max() == 1 and weights.min() >= 0 and weights[50, 14] < 0.1
    assert flow_weights(frames[:1].repeat(20, 0)).max() == 0, "nothing moves"
    wide = flow_weights(frames, sigma_px=4, resized=32)  # 8 of the image's pixels
    assert (wide > 0.5).sum() > (weights > 0.5).sum()
    assert frame_pairs(50) == [(5 * n, (5 * n + 5) % 50) for n in range(10)]
    assert frame_pairs(16) == [(0, 5), (5, 10), (10, 15)]
    assert frame_pairs(8) == [(0, 4), (4, 0)] and frame_pairs(2) == [(0, 1), (1, 0)]


@pytest.fixture(scope="module")
def split(cohort):
    return pd.Series(["train"] * 3 + ["validation", "test", "test"], cohort.subjects["participant_id"])


@pytest.fixture(scope="module")
def sections(cohort, split):
    return TASK.items(cohort, "", split)


def test_half_of_the_short_axis_is_drawn_by_name(cohort, split, sections):
    assert (sections.groupby("cine").size() == 2).all(), "of 5 slices"
    again = section_table(cohort, split.iloc[:2])
    both = sections[sections["participant_id"].isin(split.index[:2])].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, both)
    with pytest.raises(ValueError, match=r"no section of these subjects and views \(\['4ch'\]\); it has sax"):
        section_table(cohort, split, ["4ch"])


class KilledInSecondEpoch(Callback):
    order = 99

    def after_epoch(self):
        if self.epoch == 1:
            raise KeyboardInterrupt


def trained(cohort, split, state, *cbs):
    """Learner of a training that keeps its epochs 1 and 12, the last one."""
    dls, kept = TASK.dataloaders(cohort, "", split, 2), Snapshots([1, 12])
    learn = TASK.learner(dls, precision="fp32")
    resume = ExactResume(state, TASK.job(cohort, "", dls) | kept.settings)
    learn.fit_one_cycle(12, 0.006, pct_start=0.15, cbs=[resume, kept, *cbs])
    return learn, kept


def same(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_batches_hold_repeated_clips_and_their_weights_and_show_themselves(cohort, split, tmp_path):
    task = replace(TASK.variant("flow"), repeats=3, cache=tmp_path)
    dls = task.dataloaders(cohort, "", split, 2)
    clips, maps = dls.one_batch()
    assert clips.shape == (2, 3, 8, 32, 32) and maps.shape == (2, 3, 32, 32) and 0 <= maps.min() < maps.max() <= 1
    assert not torch.equal(clips[0, 0], clips[0, 1]), "every repeat is cut anew"
    assert not TASK.dataloaders(cohort, "", split, 2).one_batch()[1].any()
    dls.show_batch(max_n=2)
    task.learner(dls, precision="fp32").show_results(max_n=2)
    row = dls.train.items.iloc[0]
    weights = [replace(task, flow_step=step).flow_maps(cohort)(row["cine"], row["k"]) for step in (1, 2, 1)]
    assert np.array_equal(weights[0], weights[2]) and not np.array_equal(weights[0], weights[1])
    assert TASK.variant("mask95").mask_ratio == 0.95 and TASK.variant("tube").masking == "tube"


def test_features_are_cached_and_do_not_depend_on_the_batch(cohort, sections, tmp_path):
    TASK.save(network(), tmp_path / "plain", cohort="c")
    task, [model], card = Task.load(tmp_path / "plain")
    assert task == TASK and card["cohort"] == "c" and float(model.mean) == pytest.approx(0.3)
    task = replace(task, cache=tmp_path)
    bags, row = make_bags(task.features(model, cohort, "k", precision="fp32"), sections), sections.iloc[0]
    clips = task.clips(cohort.cine(row["cine"]), row["k"])
    alone = torch.cat([token_features(model, clip[None], "fp32") for clip in clips])
    own = bags[row["participant_id"]]
    np.testing.assert_allclose(own.features[: len(alone)], pooled(alone, model.centre, model.axes), atol=1e-5)
    assert own.where.iloc[0].tolist() == [row["cine"], "sax", row["k"]]
    again = task.features(None, cohort, "k", precision="fp32")  # nothing is left to embed
    np.testing.assert_array_equal(again(row["cine"], row["k"]), own.features[: len(alone)])
    with pytest.raises(AttributeError):
        task.features(None, cohort, "of other weights", precision="fp32")(row["cine"], row["k"])
    rows = task.predict(model, cohort, sections["participant_id"][:1], precision="fp32").set_index("slice")
    np.testing.assert_allclose(rows.loc[row["k"], "f0"], own.features[: len(alone), 0].mean(), rtol=1e-4)


def test_targets_of_a_subject_are_those_of_one_session():
    """The first known value of each column was taken, so a row mixed sessions."""
    table = pd.DataFrame({"participant_id": "a", "session": ["2", "1"], "lvef_pct": [60, np.nan], "lvm_g": [100, 90.0]})
    observer = SimpleNamespace(measures=lambda: table, has=lambda name: False)
    cohort = SimpleNamespace(observer=lambda name: observer, cines=pd.DataFrame({"cine": []}))
    row = cardiac_targets(cohort).loc["a"]
    assert np.isnan(row["lvef_pct"]) and row["lvm_g"] == 90


def predictions(rows):
    columns = ["model", "seed", "participant_id", "target", "true", "predicted"]
    return pd.DataFrame(rows, columns=columns).assign(scale=2.0)


def test_errors_ratios_and_gains_by_hand():
    rows = []
    for n, true in enumerate([10.0, 20.0, 30.0, 40.0, 15.0]):
        rows += [("mean", 0, f"s{n}", "lvef_pct", true, 25.0)]
        rows += [("flow", seed, f"s{n}", "lvef_pct", true, true + seed) for seed in (1, 3)]  # errors 1 and 3: 2
        rows += [("plain", 1, f"s{n}", "lvef_pct", true, true - 4)]
    table = predictions(rows)
    errors = error_table(table).set_index("model")
    assert errors["mae"].to_dict() == {"mean": 10, "plain": 4, "flow": 2} and errors.loc["flow", "mae_sd"] == 1
    assert errors.loc["flow", "ratio"] == pytest.approx(0.2) and errors.loc["flow", "r"] == pytest.approx(1)
    gain = gain_pct(table, "flow", "plain")
    assert gain["gain_pct"] == pytest.approx(50) and gain["gain_pct_low"] == pytest.approx(50) and gain["n"] == 5
    assert np.isnan(gain_pct(table, "flow", "random")["gain_pct"])
    constant = predictions([("mean", 0, f"s{n}", "lvef_pct", n, 20.1) for n in range(6)])
    assert np.isnan(error_table(constant)["r"][0])  # it was the noise of rounding
    errors = product({"mean": 8, "flow": 3, "plain": 3}.items(), range(4))
    other = predictions([(model, 1, f"s{n}", "lvm_g", n, n + error) for (model, error), n in errors])
    both = pd.concat([table, other])  # of mass nothing is gained
    assert gain_pct(both, "flow", "plain") == gain and 0 < gain_pct(both, "flow", "plain", None)["gain_pct"] < 50


def test_areas_of_diseases_by_hand():
    rows = [("flow", 1, f"s{n}", "DCM", float(n >= 3), score) for n, score in enumerate([0.1, 0.2, 0.6, 0.5, 0.7])]
    table = disease_table(predictions(rows))
    assert table.loc[0, "auc"] == pytest.approx(5 / 6) and table.loc[0, "n_positive"] == 2
    assert table.loc[0, "ap"] == pytest.approx((1 + 2 / 3) / 2)


def test_a_reconstructed_clip_keeps_what_was_seen():
    cine = random_cine()
    found = reconstruct(TASK, network(), cine, 0)
    hidden = np.isnan(found["visible"])
    assert hidden.mean() == pytest.approx(0.75) and found["frames"] == [0, 2, 4, 7]
    np.testing.assert_array_equal(found["reconstructed"][~hidden], found["original"][~hidden])
    clip = even_cuts(cine, TASK, 1, 1)[0].clip(cine.pixels[:, 0], TASK, cine.pixels.max())[[0, 2, 4, 7]]
    np.testing.assert_allclose(found["original"] * 0.2 + 0.3, clip, atol=1e-5)


def test_explained_share_by_hand():
    errors = {"mse": 1.0, "variance": 4.0, "mse_moving": 2.0, "variance_moving": 4.0}
    table = pd.DataFrame({"participant_id": list("aabc"), "variant": "plain"} | errors)
    row = explained_variance(table).iloc[0]
    assert row["explained"] == pytest.approx(0.75) and row["explained_moving"] == pytest.approx(0.5) and row["n"] == 3


@pytest.mark.parametrize(
    "wrong, why",
    [
        (lambda: Masking(0.95).kept(2, 4), "95% hidden leaves none to see"),
        (lambda: Masking(0.9, "blocks"), "expected one of random, tube"),
        (lambda: replace(TASK, size=30), "do not divide into tokens"),
        (lambda: replace(TASK, pooling="max"), "unknown pooling 'max'; there are mean, moving"),
        (lambda: TASK.variant("mae"), "unknown variant 'mae'"),
        (lambda: Probe(views_share=0.0), "a share above 0"),
        (lambda: Probe(kind="ranking"), "ranking"),
        (lambda: peak_of(cine_of(np.zeros((4, 1, 8, 8), np.uint16))), "its largest pixel is 0.0"),
    ],
)
def test_what_cannot_be_is_refused(wrong, why):
    with pytest.raises(ValueError, match=why):
        wrong()


def test_the_continued_model_differs_from_heartmae_in_the_weights_of_its_loss_alone():
    assert TASK.variant("continued") == TASK and TASK.variant("flow") == replace(TASK, flow=True)


def test_it_learns_and_a_killed_training_and_its_snapshots_end_as_the_undisturbed_one(
    cohort, split, sections, tmp_path
):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    whole, kept = trained(cohort, split, tmp_path / "a")
    assert np.mean(whole.recorder.losses[-3:]) < 0.93 * np.mean(whole.recorder.losses[:3])
    pixels = [cohort.cine(r.cine).pixels[:, r.k] / cohort.cine(r.cine).pixels.max() for r in sections[:6].itertuples()]
    assert float(whole.model.mean) == pytest.approx(np.mean(pixels), rel=1e-4)
    assert float(whole.model.std) == pytest.approx(np.std(pixels), rel=1e-4)
    with pytest.raises(KeyboardInterrupt):
        trained(cohort, split, tmp_path / "b", KilledInSecondEpoch())
    resumed, again = trained(cohort, split, tmp_path / "b")
    assert resumed.checkpoint.done == 2 and same(whole.model, resumed.model)
    for (epoch, one), (_, other) in zip(kept.models(whole.model), again.models(whole.model), strict=True):
        assert same(one, other) and same(one, whole.model) == (epoch == 12)
    for file in kept.folder.iterdir():
        file.unlink()
    found, again = trained(cohort, split, tmp_path / "a")  # it trains nothing, and keeps nothing:
    assert found.checkpoint.done == 12 and same(whole.model, found.model)  # its weights are no earlier epoch's
    assert not list(again.folder.iterdir())


def bag(subject, views, width=6, shift=0.0):
    """A bag with these views, one instance each."""
    features = np.random.default_rng([*subject.encode()]).normal(shift, 1, (len(views), width)).astype(np.float32)
    return Bag(subject, features, pd.DataFrame({"cine": "c", "view": list(views), "k": range(len(views))}))


def test_pooling_by_loops():
    torch.manual_seed(0)
    pooling, x = GatedPooling(6, 4).requires_grad_(False), torch.randn(1, 5, 6)
    found, weights = pooling(x, torch.ones(1, 5, dtype=torch.bool))
    content, gate, score = (part.weight for part in (pooling.content, pooling.gate, pooling.score))
    by_hand = np.exp([float(score[0] @ (torch.tanh(content @ h) * torch.sigmoid(gate @ h))) for h in x[0]])
    by_hand /= by_hand.sum()
    np.testing.assert_allclose(weights[0], by_hand, rtol=1e-5)
    np.testing.assert_allclose(found[0], (by_hand[:, None] * x[0].numpy()).sum(0), rtol=1e-4, atol=1e-6)


def test_views_are_pooled_apart_and_a_lacking_one_is_the_mean_of_all():
    torch.manual_seed(0)
    probe = Probe(("2ch", "sax"), ("a",), width=6)
    model = probe.network().requires_grad_(False)
    model.mean.normal_()
    people = {"x": bag("x", ["sax", "2ch", "sax"]), "y": bag("y", ["sax"]), "z": bag("z", ["3ch", "2ch", "sax"])}
    z = probe.embeddings(model, people).set_index("participant_id").to_numpy()
    weights = probe.attention(model, people).set_index("participant_id")["attention"]
    own = (torch.from_numpy(people["x"].features[[0, 2]]) - model.mean[1])[None]
    expected, shares = model.poolings[1](own, torch.ones(1, 2, dtype=torch.bool))
    np.testing.assert_allclose(z[0, 6:], expected[0], rtol=1e-5)
    np.testing.assert_allclose(weights["x"], [shares[0, 0] / 2, 0.5, shares[0, 1] / 2], rtol=1e-5)
    assert (z[1, :6] == 0).all() and weights["y"] == 1  # y has no 2CH
    assert weights["z"].tolist() == [0, 0.5, 0.5]  # the probe does not know 3CH
    with pytest.raises(ValueError, match="q has the views 3ch, but the heads know 2ch, sax alone"):
        probe.inputs(bag("q", ["3ch"]))


def test_missing_targets_do_not_count():
    predicted, nan = torch.tensor([[1.0, 5.0], [2.0, 7.0]]), float("nan")
    squares, entropy = Probe().loss(), Probe(kind="classification").loss()
    assert float(squares(predicted, torch.tensor([[0.0, nan], [nan, 4.0]]))) == pytest.approx((1 + 9) / 2)
    assert float(squares(predicted, torch.full((2, 2), nan))) == 0
    assert float(entropy(torch.zeros(2, 2), torch.tensor([[1.0, nan], [0.0, 1.0]]))) == pytest.approx(np.log(2))


def test_a_step_sees_a_share_of_the_views_and_never_none():
    torch.manual_seed(0)
    there = (torch.rand(2000, 10) < torch.linspace(0.05, 1, 2000)[:, None]).view(2000, 2, 5)
    there[:, 0, 3] = True
    seen = some_views(there, 0.3)
    assert (seen <= there).all() and seen.any((1, 2)).all() and torch.equal(some_views(there, 1.0), there)
    assert float(seen[1000:].sum() / there[1000:].sum()) == pytest.approx(0.32, abs=0.02)


@pytest.fixture(scope="module")
def people():
    """60 subjects whose target is the mean of their first feature, with different numbers of views."""
    rng = np.random.default_rng(0)
    bags = {f"S{n:02d}": bag(f"S{n:02d}", ["sax"] * int(rng.integers(2, 9)), shift=rng.normal()) for n in range(60)}
    value = pd.Series({s: float(one.features[:, 0].mean()) for s, one in bags.items()})
    targets = pd.DataFrame({"value_ml": 100 + 20 * value, "constant": 5.0, "high": (value > 0).astype(float)})
    targets.loc["S03", "value_ml"] = np.nan
    split = pd.Series(["train"] * 36 + ["validation"] * 12 + ["test"] * 12, list(bags))
    return bags, targets, split


def test_the_probe_learns_is_saved_and_never_sees_test_subjects(people, tmp_path):
    bags, targets, split = people
    probe = Probe.of(bags, targets[["value_ml", "constant"]], views_share=1.0, closed_form=False)
    model = probe.train(None, "", split, 30, 0.02, bs=4, precision="fp32").model
    tested = {s: bags[s] for s in split.index[split == "test"]}
    found = probe.predict(model, tested).set_index("participant_id")
    assert np.corrcoef(found["value_ml"], targets.loc[found.index, "value_ml"])[0, 1] > 0.85
    assert found["constant"].to_numpy() == pytest.approx(5.0, abs=0.5)
    probe.save([model, deepcopy(model)], tmp_path / "heads")
    again, models, _ = Task.load(tmp_path / "heads")
    assert again == probe and np.allclose(again.predict(models, tested).iloc[:, 1:], found)
    alone = probe.predict(model, dict([next(iter(tested.items()))]))
    np.testing.assert_allclose(alone.iloc[0, 1:].astype(float), found.iloc[0], rtol=1e-5)
    other = replace(probe, truth=targets.where(split != "test", 1e6))
    retrained = other.train(None, "", split, 30, 0.02, bs=4, precision="fp32").model
    assert same(model, retrained)
    with pytest.raises(ValueError, match="no train or validation subject has both features and one of the targets"):
        replace(probe, truth=targets * np.nan).items(None, "", split)


def test_solved_heads_are_the_ridge_regression_of_what_attention_pools(people):
    bags, targets, split = people
    targets = targets[["value_ml"]].assign(rare=[1.0, 2.0] + [np.nan] * 58, other=np.arange(60.0))
    probe = Probe.of(bags, targets, views_share=1.0)
    probes = (replace(probe, closed_form=solved) for solved in (False, True))
    models = [one.train(None, "", split, 3, 0.001, precision="fp32").model for one in probes]
    assert all(torch.equal(a, b) for a, b in zip(*(model.poolings.parameters() for model in models)))
    tables = probe.embeddings(models[1], bags), probe.predict(models[1], bags)
    z, found = (one.set_index("participant_id") for one in tables)
    learned = z.loc[split != "test"]
    scaled = (z - learned.mean()) / learned.std()
    for name in ("value_ml", "other"):
        known = targets.index[(split != "test") & targets[name].notna()]
        ridge = RidgeCV(np.logspace(0, 5, 11)).fit(scaled.loc[known], targets.loc[known, name])
        assert found[name].to_numpy() == pytest.approx(ridge.predict(scaled), abs=2e-3 * targets[name].std())
    before = probe.predict(models[0], bags)["rare"].to_numpy()
    assert found["rare"].to_numpy() == pytest.approx(before)  # two subjects are too few


def test_a_probe_is_found_again_by_its_features(people, tmp_path):
    bags, targets, split = people
    cohort = SimpleNamespace(digest="c")
    probe = Probe.of(bags, targets[["high"]], "classification")

    def train(one):
        return one.train(cohort, "", split, 2, 0.01, precision="fp32", state=tmp_path)

    first, again = train(probe), train(probe)
    assert again.checkpoint.done == 2 and same(first.model, again.model)
    other = {s: Bag(s, one.features + 1, one.where) for s, one in bags.items()}
    assert train(replace(probe, bags=other)).checkpoint.done == 0


def test_targets_that_cannot_be_learned_are_left_out_and_said(people):
    _, targets, split = people
    kept, left_out = usable(targets.assign(rare=[1.0, 2.0] + [np.nan] * 58), split)
    assert kept == ["value_ml", "high"]
    assert left_out["reason"].tolist() == ["constant 5 in training subjects", "known to 2 of 3 training subjects"]
    known = {"participant_id": list("abcdefgh"), "group": ["NOR", "DCM"] * 4, "sex": "M", "age": range(8)}
    subjects = pd.DataFrame(known)
    table = disease_targets(subjects.assign(mr=[0, 1, 0, 0, 0, 0, 0, 0]))
    assert list(table) == ["DCM", "mr"] and table["DCM"].tolist() == [0, 1] * 4
    split = pd.Series(["train"] * 4 + ["validation"] * 2 + ["test"] * 2, list("abcdefgh"))
    kept, left_out = enough_positives(table, split, {"train": 2, "validation": 1, "test": 1})
    assert kept == ["DCM"] and left_out["reason"][0].startswith("positives: 1 train (needs 2), 0 validation")


def test_cmr_embed_writes_one_row_per_subject_by_shards_and_once(cohort, tmp_path):
    from typer.testing import CliRunner

    from cmrlib.app.cli import app

    def cmr(*words, code=0):
        result = CliRunner().invoke(app, ["embed", str(cohort.path), *map(str, words), "--threads", "1"])
        assert result.exit_code == code, result.output
        return " ".join(result.output.split())

    TASK.save(network(), tmp_path / "run" / "weights" / "plain")
    words = ("--weights", tmp_path / "run", "--out")
    assert "6 subjects × 320 numbers" in cmr(*words, tmp_path / "e")
    cmr(*words, tmp_path / "half", "--shard", "0/2")
    files = (tmp_path / name / "embeddings.csv" for name in ("e", "half"))
    whole, half = (pd.read_csv(file, dtype={"participant_id": str}) for file in files)
    assert whole["participant_id"].tolist() == cohort.subjects["participant_id"].tolist() and 0 < len(half) < 6
    same_rows = whole[whole["participant_id"].isin(half["participant_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(half, same_rows)
    own = section_table(cohort, pd.Series("test", whole["participant_id"][:1]))
    first = np.concatenate([TASK.embed(network(), cohort.cine(row.cine), row.k) for row in own.itertuples()]).mean(0)
    np.testing.assert_allclose(whole.iloc[0, 1:].to_numpy(float), first, rtol=1e-4, atol=1e-5)
    TASK.save(network(mean=0.4), tmp_path / "run" / "weights" / "flow")
    assert "this one with other weights" in cmr(*words, tmp_path / "e", code=2)


def test_cmr_embed_without_weights_writes_motion_and_an_observers_measures(cohort, tmp_path):
    from typer.testing import CliRunner

    from cmrlib.app.cli import app

    moving = make_cohort(tmp_path / "hearts", 2, frames=8, size=64, spacing_mm=3.2, views=["sax"], slices=3)
    for hearts, words in ((moving, []), (moving, ["--observer", "truth"]), (cohort, [])):
        out = tmp_path / f"out{len(words)}{hearts.path.name}"
        done = CliRunner().invoke(app, ["embed", str(hearts.path), "--out", str(out), *words, "--threads", "1"])
        assert done.exit_code == 0, done.output
        first = pd.read_csv(out / "embeddings.csv").iloc[0]
        if hearts is moving:
            expected = motion_scalars(hearts.cine(first["cine"]))
            np.testing.assert_allclose(first[list(expected)].to_numpy(float), list(expected.values()), rtol=1e-6)
            assert ("lvef_pct" in first) == bool(words) and (not words or 5 < first["lvef_pct"] < 90)
        else:
            assert "4 frames" in first["reason"] and "6 without" in done.output and np.isnan(first["sd_mean"])
    record = read_json(ROOT / "figures" / "record" / "acdc_mae_08d_heartmae_patients.json")["metrics"]
    told = CliRunner().invoke(app, ["embed", "--help"]).output
    for model in ("scalars", "flow_mean", "masks_as_they_are"):  # what the help says is what was measured
        assert f"{record[f'lvef_mae_{model}']:.1f}" in told


def test_pixels_and_features_go_to_where_the_weights_are(monkeypatch):
    """On a device without memory: nothing comes back from it, but a tensor left on the CPU would be refused before."""
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: nullcontext())
    model, cine, probe = network().to("meta"), random_cine(), Probe((), ("a",), width=320)
    heads = probe.network().to("meta")
    for work in (
        lambda: TASK.embed(model, cine, 0, precision="fp32"),
        lambda: reconstruct(TASK, model, cine, 0),
        lambda: probe.embeddings(heads, {"x": bag("x", ["sax"], 320)}),
    ):
        with pytest.raises(RuntimeError, match=r"Cannot copy out of meta tensor|item\(\) cannot be called on meta"):
            work()
