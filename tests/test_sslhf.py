"""SSLHF: patches by hand, transformations against their definitions, no leak on the actual lists, tables by formula."""

from dataclasses import replace
from functools import partial
from itertools import groupby

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from cmrlib.agreement import compared_auc, roc_auc
from cmrlib.cine import Cine
from cmrlib.cohort import Annotation
from cmrlib.learning.losses import WeightedBCE
from cmrlib.learning.task import RefusedError, Task
from cmrlib.learning.training import BestEpoch
from cmrlib.papers.sslhf import (
    HeartFailure,
    SslhfRestoration,
    labelled,
    lv_slices,
    patient_split,
    restoration,
    section_patch,
    tables,
    transformations,
)
from cmrlib.papers.sslhf.comparators import Comparator
from cmrlib.papers.sslhf.network import Classifier, Conv3d, Restorer, halved
from cmrlib.papers.sslhf.transformations import KINDS, augmented, neighbour_average
from cmrlib.phantom import make_hf_cohort

SIZES = {"size": 16, "frames": 8, "spacing_mm": 5.0, "clip": 0.0, "width": 2, "skips": False, "hidden": [4, 3]}
STAGE = {"epochs": 2, "lr": 1e-3, "bs": 8}
SMALL = {"task": SIZES | {"window_px": 3, "length": 1}, "restore": STAGE, "classify": STAGE, "observer": "truth"}
SMALL |= {"precision": "fp32", "comparator_width": 4}


def beating(frames=8, size=24, slices=1, spacing=2.0, **kwargs):
    """A disc whose radius follows a cosine, on a plane that is not flat."""
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    radius = size / 5 * (1 + 0.4 * np.cos(2 * np.pi * np.arange(frames) / frames))
    disc = (np.hypot(rows, columns) < radius[:, None, None]) * 500.0
    pixels = np.repeat((disc + 50 + rows + 0.5 * columns)[:, None], slices, 1).astype(np.float32)
    return Cine(pixels, np.diag([spacing, spacing, 8.0, 1]), "sax", "X", **kwargs)


# --- patches ---------------------------------------------------------------------------------------------------------


def test_a_patch_is_z_scored_and_cut_at_the_clip_or_at_the_999th_permille():
    patch, cine = section_patch(beating(), 0, 16, 8, 2.0, 300.0), beating()
    assert patch.shape == (8, 16, 16) and patch.dtype == np.float32
    assert patch.mean() == pytest.approx(0, abs=1e-4) and patch.std() == pytest.approx(1, abs=1e-4)
    assert patch.max() < section_patch(beating(), 0, 16, 8, 2.0, 1e6).max()
    values, counts = np.unique(patch.round(4), return_counts=True)
    assert values[counts.argmax()] == pytest.approx(patch.max(), abs=1e-3)  # the disc, brighter than 300, is flat
    cine.pixels[:, 0, 12, 12] = 40_000  # one pixel of 256 a frame: .4 %, so it is not cut away
    cine.pixels[3, 0, 8, 8] = 90_000
    seen = np.sort(section_patch(cine, 0, 16, 8, 2.0).ravel())
    assert seen[-1] == pytest.approx(seen[-2], rel=1e-5)  # the brightest came down to others


def test_a_patch_that_leaves_the_image_is_scaled_by_what_is_inside():
    wide, inner = (section_patch(beating(size=24), 0, size, 8, 2.0, 1e6) for size in (48, 24))
    assert wide.shape == (8, 48, 48) and len(np.unique(wide[:, :8])) == 1  # nothing is there: one value
    np.testing.assert_allclose(wide[:, 12:36, 12:36], inner, atol=0.15)
    flat = replace(beating(), pixels=np.full((8, 1, 24, 24), 7, np.int16))
    assert not section_patch(flat, 0, 16, 8, 2.0).any()
    assert section_patch(beating(), 0, 16, 40).shape == (40, 16, 16)
    with pytest.raises(RefusedError, match="7 frames; a patch shows a whole cycle of 8"):
        section_patch(beating(7), 0, 16, 8)


def test_slices_that_show_the_lv():
    cine = beating(slices=5, ed=2)
    mask = np.zeros(cine.pixels.shape, np.uint8)
    mask[2, 1:3, 5:9, 5:9], mask[4, 4, 5:9, 5:9] = 1, 1
    drawn = dict.fromkeys(range(8), ("lv",))
    assert lv_slices(cine, Annotation(mask, drawn)) == [1, 2]  # at ED
    assert lv_slices(replace(cine, ed=None), Annotation(mask, drawn)) == [1, 2, 4]
    assert lv_slices(cine, Annotation(mask * 0, drawn)) == lv_slices(cine, Annotation()) == []
    assert lv_slices(cine, None, 0.6) == [1, 2, 3] and lv_slices(cine, None, 0.01) == [2]


# --- transformations -------------------------------------------------------------------------------------------------


def numbered(frames=6, rows=36, columns=36):
    """Every pixel of a frame has a value of its own."""
    return np.arange(frames * rows * columns, dtype=np.float32).reshape(frames, rows, columns)


def test_the_papers_shuffle_is_a_permutation_of_rows_and_one_of_columns():
    before = numbered(1, 7, 5)[0]
    after = before.copy()
    transformations.shuffle_rows_and_columns(after)
    row, column = (after // 5).astype(int), (after % 5).astype(int)  # where each value came from
    assert (row == row[:, :1]).all() and (column == column[:1]).all()
    left, right = np.eye(7)[row[:, 0]], np.eye(5)[:, column[0]]
    np.testing.assert_array_equal(after, left @ before @ right)  # equation 1
    other = before.copy()
    transformations.shuffle_pixels(other)
    assert not ((other // 5) == (other // 5)[:, :1]).all()


@pytest.mark.parametrize("paper", [True, False])
def test_shuffling_moves_pixels_within_their_frame_and_not_far(paper):
    before = np.repeat(numbered(1), 6, 0)
    after = before.copy()
    transformations.shuffle_windows(after, 3, 5, 0.2, paper)
    for one, other in zip(before, after):
        assert sorted(one.ravel()) == sorted(other.ravel())
    assert (after[0] != after[1]).any()  # other windows in every frame
    moved, home = after != before, after.astype(int)
    assert 0.05 < moved.mean() < 0.4
    far = np.abs(home // 36 - np.arange(36)[:, None]) + np.abs(home % 36 - np.arange(36))
    assert np.percentile(far[moved], 90) <= 8  # windows may overlap, so a few go farther than one window


@pytest.mark.parametrize(("rows", "columns"), [(288, 288), (36, 36), (32, 48)])
def test_a_covered_patch_is_a_rectangle_within_the_papers_bounds(rows, columns):
    for _ in range(300):
        row, column, height, width = transformations.draw_rectangle(rows, columns)
        assert rows * columns / 36 < height * width < rows * columns / 9
        assert 0 <= row <= rows - height and 0 <= column <= columns - width


def test_covering_touches_one_to_five_rectangles_of_every_frame():
    before = np.full((60, 36, 36), 9, np.float32)
    one, five = before.copy(), before.copy()
    transformations.cover_patches(one, 1, 1)
    transformations.cover_patches(five, 1, 5)
    for frame in one != 9:
        rows, columns = frame.any(1), frame.any(0)
        assert frame.sum() == rows.sum() * columns.sum() and (frame == np.outer(rows, columns)).all()
    share = (five != 9).mean((1, 2))
    assert share.min() > 1 / 36 and share.max() < 5 / 9 and share.max() > 1 / 9
    assert five[five != 9].mean() == pytest.approx(0, abs=0.02) and five[five != 9].std() == pytest.approx(1, abs=0.02)


def runs_round(covered):
    """Lengths of runs of True round the cycle."""
    first = int(np.argmin(covered))
    return [len(list(run)) for value, run in groupby(np.roll(covered, -first)) if value]


def test_five_groups_of_at_most_three_frames_are_covered():
    lengths = [runs_round(transformations.draw_frames(40, 5, 3)) for _ in range(200)]
    assert {len(one) for one in lengths} == {5} and set(np.concatenate(lengths)) == {1, 2, 3}
    clip = numbered(40)
    covered = clip.copy()
    transformations.cover_frames(covered, 4, 5, 3)
    changed = (covered != clip).reshape(40, -1)
    assert set(changed.mean(1).round(2)) == {0.0, 1.0} and len(runs_round(changed.any(1))) == 5
    for frames in (8, 9, 11, 20):  # short cycles keep a frame between groups
        for _ in range(50):
            covered = transformations.draw_frames(frames, 5, 3)
            assert 1 <= len(runs_round(covered)) <= 5 and covered.sum() <= frames - len(runs_round(covered))


def test_one_or_more_transformations_leave_their_input_and_repeat_by_the_generator():
    np.random.seed(1)
    drawn = {SslhfRestoration().draw() for _ in range(300)}
    assert len(drawn) == 7 and () not in drawn
    clip = np.random.default_rng(1).normal(size=(8, 32, 32)).astype(np.float32)
    kept = clip.copy()
    one, other = (SslhfRestoration().transformed(clip, rng=np.random.RandomState(5)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(clip, kept)
    assert (one != clip).any()
    for wrong in ({"shuffle": "rows"}, {"kinds": ()}, {"kinds": ("blur",)}):
        with pytest.raises(ValueError, match="unknown"):
            SslhfRestoration(**wrong)


def test_the_average_of_temporal_neighbours_goes_round_the_cycle():
    rng = np.random.default_rng(3)
    clip, corrupted = rng.normal(size=(7, 3, 4)).astype(np.float32), rng.random((7, 3, 4)) < 0.6
    corrupted[:, 0, 0] = True
    cycles = pd.DataFrame(np.tile(np.where(corrupted, np.nan, clip).reshape(7, -1), (3, 1)))
    expected = cycles.interpolate()[7:14].fillna(0).to_numpy().reshape(clip.shape)
    np.testing.assert_allclose(neighbour_average(clip, corrupted), expected, atol=1e-5)


def test_augmentation_keeps_every_value():
    clip = numbered(4, 6, 6)
    seen = {augmented(clip, np.random.RandomState(n)).tobytes() for n in range(200)}
    assert len(seen) == 16  # eight ways to lay a square, two directions of time
    assert all(sorted(np.frombuffer(one, np.float32)) == sorted(clip.ravel()) for one in list(seen)[:4])


# --- networks --------------------------------------------------------------------------------------------------------


def count(model, kind):
    return sum(isinstance(part, kind) for part in model.modules())


@pytest.mark.parametrize(("frames", "skips"), [(8, False), (11, True), (20, True)])
def test_networks_have_the_papers_layers_and_clips_must_fit(frames, skips):
    model, head = Restorer(2, frames, skips), Classifier(2, frames, (64, 8)).head
    assert (count(model.encoder, nn.Conv3d), count(model.encoder, nn.MaxPool3d)) == (10, 4)
    assert (count(model.decoder, nn.Conv3d), count(model.decoder, nn.ConvTranspose3d)) == (10, 4)
    assert count(head, nn.Linear) == 3
    assert head[0].weight.std().item() == pytest.approx(np.sqrt(2 / 32), rel=0.2)  # Kaiming, 32 features in
    assert model(torch.zeros(2, frames, 32, 16)).shape == (2, frames, 32, 16)
    for shape in ((1, frames + 1, 16, 16), (1, frames, 20, 16)):
        with pytest.raises(ValueError, match=f"{frames} frames and sides of multiples of 16"):
            model(torch.zeros(shape))
    assert halved(40) == [2, 2, 2, 1] and halved(20) == [2, 2, 1, 1] and halved(8) == [2, 2, 2, 1]


def test_the_comparators_are_what_they_are_called():
    resnet, densenet = Comparator("resnet50", 4), Comparator("densenet121", 4)
    shortcuts = sum(isinstance(part, nn.Conv3d) for name, part in resnet.named_modules() if "downsample" in name)
    assert count(resnet, nn.Conv3d) - shortcuts + count(resnet, nn.Linear) == 50
    assert count(densenet, nn.Conv3d) + count(densenet, nn.Linear) == 121
    for model in (resnet, densenet):
        assert count(model, nn.GroupNorm) and not count(model, nn.BatchNorm2d) + count(model, nn.Conv2d)
        assert model(torch.zeros(2, 8, 32, 32)).shape == (2,)


def test_weighted_cross_entropy_by_hand_also_in_a_smaller_batch():
    logits, labels, loss = torch.tensor([0.3, -2.0, 1.1]), torch.tensor([1.0, 0.0, 0.0]), WeightedBCE([0.6, 2.0])
    terms = -np.array([2.0, 0.6, 0.6]) * np.log([1 / (1 + np.exp(-0.3)), 1 / (1 + np.exp(-2.0)), 1 / (1 + np.exp(1.1))])
    for n in (3, 1):
        assert loss(logits[:n], labels[:n]).item() == pytest.approx(terms[:n].mean(), rel=1e-5)  # equation 2


def test_gradients_over_two_frames_are_those_of_fp32():
    torch.manual_seed(1)
    layer = Conv3d(8, 16, 3, padding=1, bias=False).to(memory_format=torch.channels_last_3d)
    clips = torch.randn(4, 8, 2, 8, 8).contiguous(memory_format=torch.channels_last_3d)
    grown = torch.randn(4, 16, 2, 8, 8)
    for _ in range(5):
        layer.weight.grad = None
        with torch.autocast("cpu", torch.bfloat16):
            layer(clips).backward(grown)
        expected = torch.nn.grad.conv3d_weight(clips, layer.weight.shape, grown, padding=1)
        torch.testing.assert_close(layer.weight.grad, expected, rtol=1e-2, atol=1e-2)


# --- training on a few phantoms --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hearts")
    return make_hf_cohort(folder / "hearts", 15, 1, 1, frames=8, size=48, spacing_mm=4.0, slices=5, subslices=1)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    return SMALL | {"task": SMALL["task"] | {"cache": tmp_path_factory.mktemp("state")}}


@pytest.fixture(scope="module")
def stages(told):
    """Both tasks."""
    return tables.variant(told, "sslhf")


@pytest.fixture(scope="module")
def labels(hearts, stages):
    return stages[1].labels(hearts)


@pytest.fixture(scope="module")
def trained(hearts, labels, told):
    """(split, learner of stage one, learner of stage two)."""
    split = patient_split(hearts.subjects, labels, 0)
    learn = tables.classify(hearts, split, split, "sslhf", told, 1)[1]
    first = tables.variant(told, "sslhf")[0]
    return split, first.train(hearts, "truth", split, **STAGE, precision="fp32", state=first.cache), learn


def test_labels_and_observers_that_say_nothing_are_refused(hearts, labels, stages):
    task = stages[1]
    with pytest.raises(ValueError, match="no column 'disease'"):
        replace(task, label="disease").labels(hearts)
    with pytest.raises(ValueError, match="must hold 'HFmrEF' and something else"):
        replace(task, positive="HFmrEF").labels(hearts)
    assert replace(task, positive="HFpEF").labels(hearts).sum() == 15 - labels.sum()
    with pytest.raises(KeyError, match="no observer 'nobody'"):
        task.table(hearts, "nobody", labels.index)
    with pytest.raises(ValueError, match="no short-axis slice of hearts shows the LV"):
        task.table(hearts, "truth", ["nobody"])
    assert len(task.table(hearts, "", labels.index)) == 15 * 3
    split = patient_split(hearts.subjects, labels, 0)
    split[(split == "validation") & (labels.reindex(split.index) == 1)] = "test"
    with pytest.raises(ValueError, match=r"validation patients of this fold have the classes \[0"):
        task.items(hearts, "truth", split)


def test_every_patient_is_tested_once_and_no_stage_sees_who_is_tested(hearts, labels, stages):
    tested, (first, second) = [], stages
    for fold in range(5):
        split = patient_split(hearts.subjects, labels, fold)
        people = {side: set(split.index[split == side]) for side in set(split)}
        tested += people["test"]
        assert {side: len(part) for side, part in people.items()} == {"train": 9, "validation": 3, "test": 3}
        assert all(labels[list(part)].nunique() == 2 for part in people.values())
        loaders = first.dataloaders(hearts, "truth", split, 8)
        train, check = (set(part.items["participant_id"]) for part in (loaders.train, loaders.valid))
        assert train and check and not train & check and train | check <= people["train"]
        loaders = second.dataloaders(hearts, "truth", split, 8)
        assert set(loaders.train.items["participant_id"]) == people["train"]
        assert set(loaders.valid.items["participant_id"]) == people["validation"]
        few = patient_split(hearts.subjects, labels, fold, most=3)
        assert set(first.items(hearts, "truth", few)["participant_id"]) == set(few.index[few == "train"])
        taught = few.replace("unlabelled", "train")
        assert set(first.items(hearts, "truth", taught)["participant_id"]) == people["train"]
    assert sorted(tested) == sorted(hearts.subjects["participant_id"])


def test_fewer_labels_leave_the_test_as_it_is(hearts, labels):
    def split(most=3, draw=0):
        return patient_split(hearts.subjects, labels, 0, most=most, draw=draw)

    whole, few = split(0), split()
    assert (few == "train").sum() == 3 and labels[few.index[few == "train"]].nunique() == 2
    assert (whole[few != "unlabelled"] == few[few != "unlabelled"]).all()
    assert set(whole[few == "unlabelled"]) == {"train"}
    assert split(draw=1).equals(split(draw=1)) and not split(draw=1).equals(split(draw=2))
    for drawn in (split(draw=1), split(draw=2)):
        assert drawn.value_counts().equals(few.value_counts()) and not drawn.equals(few)
        assert (drawn[whole != "train"] == whole[whole != "train"]).all()


@pytest.mark.parametrize(("most", "kept"), [(0, (6, 14)), (10, (3, 7)), (2, (1, 1)), (20, (6, 14))])
def test_labels_are_kept_of_each_class_by_its_share(most, kept):
    truth = pd.Series([1] * 6 + [0] * 14, index=[f"P{n}" for n in range(20)])
    drawn = [labelled(truth, most, draw) for draw in (1, 1, 2)]
    assert all(((truth[one] == 1).sum(), (truth[one] == 0).sum()) == kept for one in drawn)
    assert drawn[0].equals(drawn[1]) and (drawn[0].equals(drawn[2]) == (most in (0, 20)))


def test_batches_of_restoration_and_what_both_stages_show(hearts, labels, stages, trained):
    dls = stages[0].dataloaders(hearts, "truth", patient_split(hearts.subjects, labels, 0), 8)
    shown, clean = dls.one_batch()
    assert shown.shape == clean.shape == (8, 8, 16, 16) and (shown != clean).any((1, 2, 3)).all()
    one, two = ([batch[0] for batch in dls.valid] for _ in range(2))
    assert all((a == b).all() for a, b in zip(one, two))  # the check is the same every epoch
    dls.show_batch(max_n=2)
    for learn in trained[1:]:
        plt.close("all")
        learn.show_results(max_n=2)
        assert sum(bool(ax.images) for ax in plt.gcf().axes) >= 2
    plt.close("all")


def test_the_rate_is_halved_by_epochs(hearts, labels, stages):
    task = replace(stages[0], halve_every=2)
    learn = task.train(hearts, "truth", patient_split(hearts.subjects, labels, 0), 5, 1e-3, bs=64)
    assert learn.recorder.hps["lr"] == [1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4]  # one batch an epoch


def test_a_finished_training_is_found_with_its_best_epoch(hearts, trained, stages, tmp_path):
    """The best epoch lay in a file of its own; where that was lost, a finished training asked for a lower rate."""
    split, apart = trained[0], SMALL | {"task": SMALL["task"] | {"cache": tmp_path}}
    jobs = [partial(tables.classify, hearts, split, split, method, apart, 1) for method in ("scratch", "sslhf")]
    for job in jobs:
        job()
    made = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")}
    again = [job()[1] for job in jobs]
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")} == made, "trained again"
    assert len(made) == 3 and again[1].checkpoint.done == 2
    assert again[1].best_epoch.best["epoch"] == trained[2].best_epoch.best["epoch"] > 0
    for name, value in trained[2].model.state_dict().items():
        assert torch.equal(value, again[1].model.state_dict()[name]), name
    restorer = trained[1].model
    started = stages[1].started_from(restorer, 1).encoder.state_dict()
    assert all(torch.equal(value, started[name]) for name, value in restorer.encoder.state_dict().items())


def test_a_patients_score_is_the_mean_over_his_patches(hearts, stages, trained, tmp_path):
    model, name, second = trained[2].model, hearts.cines["cine"].iloc[0], stages[1]
    second.save(model, tmp_path / "one", threshold=0.4)
    task, models, card = Task.load(tmp_path / "one")
    assert isinstance(task, HeartFailure) and task == second and card["threshold"] == 0.4
    cine, annotation = hearts.cine(name), hearts.observer("truth").mask(name)
    rows = pd.DataFrame(task.predict_cine(models, cine, annotation, "fp32")[1])
    assert list(rows["slice"]) == [*lv_slices(cine, annotation), -1]
    assert rows["score"].iloc[-1] == pytest.approx(rows["score"].iloc[:-1].mean())
    patch = torch.from_numpy(section_patch(cine, rows["slice"].iloc[0], 16, 8, 5.0)[None])
    with torch.no_grad():
        assert rows["score"].iloc[0] == pytest.approx(float(models[0](patch).sigmoid()), abs=1e-3)
    for undrawn in (Annotation(annotation.mask * 0, annotation.annotated), Annotation()):
        with pytest.raises(RefusedError, match="no slice shows the LV"):
            task.predict_cine(models, cine, undrawn)
    with pytest.raises(RefusedError, match="view 4ch; SSLHF takes short-axis stacks"):
        task.predict_cine(models, replace(cine, view="4ch"))


def test_restoration_errors_are_those_on_changed_pixels(hearts, stages, trained):
    first, people = stages[0], hearts.subjects["participant_id"].tolist()[:1]
    errors = restoration.restoration_errors(first, trained[1].model, hearts, "truth", people, 3, "fp32")
    rows = first.table(hearts, "truth", people)
    assert len(errors) == 3 * len(rows) and set(errors["kind"]) == set(KINDS)
    clip = np.asarray(first.patch(hearts, "truth")(rows.iloc[0]), np.float32)
    one = restoration.restorations(first, trained[1].model, clip, [("shuffle",)], 3, "fp32")[0]
    changed = one["shown"] != clip
    assert errors["n_pixels"].iloc[0] == changed.sum()
    for what in ("shown", "restored"):
        assert errors[what].iloc[0] == pytest.approx(np.mean((one[what] - clip)[changed] ** 2), rel=1e-4)
    table = restoration.restoration_table(errors)
    restored = table.loc[table["what"] == "restored", "mse"]
    assert len(table) == 9 and {"mse", "mse_low", "mse_high", "n"} <= set(table)
    assert restoration.restoration_metrics(table, "x_")["x_restoration_mse"] == pytest.approx(restored.mean())


# --- tables ----------------------------------------------------------------------------------------------------------


def made_scores(method, fold, seed, spread, n=30):
    rng = np.random.default_rng([fold, seed, int(100 * spread)])
    label = np.arange(n) % 3 == 0
    people = [f"F{fold}P{k}" for k in range(n)]
    table = pd.DataFrame({"participant_id": people, "label": label.astype(int), "threshold": 0.5, "n_patches": 2})
    table["score"] = 0.5 * label + spread * rng.random(n)
    patches = table.loc[table.index.repeat(2)].assign(level="patch", k=np.tile([0, 1], n))
    patches["cine"] = patches["participant_id"]
    return pd.concat([patches, table.assign(level="patient")]).assign(method=method, fold=fold, seed=seed)


def test_scores_of_patches_and_patients_by_hand():
    rows = [("a", "a1", 2, 0.2), ("a", "a1", 3, 0.6), ("a", "a1", -1, 0.4), ("a", "a2", 1, 0.1), ("b", "b1", 4, 0.9)]
    found = pd.DataFrame([*rows, ("c", "c1", np.nan, np.nan)], columns=["participant_id", "cine", "slice", "score"])
    truth = pd.Series({"a": 0, "b": 1, "c": 1})
    table = tables.score_table(found, truth, {"threshold": 0.5, "patch_threshold": 0.7}, method="sslhf")
    patients = table[table["level"] == "patient"].set_index("participant_id")
    assert patients["score"].round(9).to_dict() | {"c": 0} == {"a": 0.3, "b": 0.9, "c": 0}  # two cines of a
    assert np.isnan(patients.loc["c", "score"]) and (patients["threshold"] == 0.5).all()
    assert (table["level"] == "patch").sum() == 4 and tables.thresholds(found[:5], truth)["threshold"] == 0.9


def test_tables_are_means_over_folds_and_seeds_with_the_papers_values():
    parts = [made_scores("sslhf", fold, seed, 0.9) for fold in (0, 1) for seed in (1, 2)]
    scores = pd.concat([*parts, *(made_scores("scratch", fold, seed, 4.0) for fold in (0, 1) for seed in (1, 2))])
    table = tables.study_table(scores)
    row = table.set_index("method").loc["sslhf"]
    patients = [part[part["level"] == "patient"] for part in parts]
    assert row["patient_auc"] == pytest.approx(np.mean([roc_auc_score(p["label"], p["score"]) for p in patients]))
    assert row["patient_acc"] == pytest.approx(np.mean([((p["score"] >= 0.5) == p["label"]).mean() for p in patients]))
    assert (row["n_runs"], row["n_patients"], row["patient_auc_paper"]) == (4, 60, 0.8505)
    assert row["patient_auc_low"] <= row["patient_auc"] <= row["patient_auc_high"]
    gains = tables.paired_table(scores)
    gain, areas = gains.set_index(["method", "level"]).loc[("scratch", "patient")], table["patient_auc"]
    assert gain["gain"] == pytest.approx(areas[0] - areas[1])
    assert gain["gain_low"] < gain["gain"] < gain["gain_high"] and 0 < gain["p_holm"] < 1  # two seeds say little
    assert gain["least"] <= gain["gain"] <= gain["most"] and gain["n_runs"] == 4
    metrics = tables.study_metrics(table, gains, "few_")
    assert {"few_patient_auc", "few_patch_acc_low", "few_scratch_patient_auc_high"} <= set(metrics)
    assert metrics["few_gain_over_scratch_low"] == gain["gain_low"] and metrics["n_few_gain_over_scratch"] == 60
    assert not [name for name in metrics if name.endswith("_paper")]


def test_gains_are_means_over_draws_of_the_labels_and_who_ran_once_stands_beside_all():
    made = (pd.concat(made_scores("any", 0, seed, spread) for seed in (1, 2)) for spread in (0.9, 5.0))
    one, other = (table[table["level"] == "patient"] for table in made)
    single = [compared_auc(*(t[t["seed"] == n] for t in (one, other)))["estimate"] for n in (1, 2)]
    drawn = [pd.concat([t.assign(draw=0), t[t["seed"] == 2].assign(draw=1)]) for t in (one, other)]  # one draw more
    several = compared_auc(*drawn)
    assert (several["n_runs"], several["n_draws"]) == (3, 2)
    assert several["estimate"] == pytest.approx((single[0] + 2 * single[1]) / 3)
    assert (several["least"], several["most"]) == pytest.approx((min(single), max(single)))
    once = compared_auc(one, other[other["seed"] == 2].assign(seed=0))
    areas = [roc_auc(part["label"], part["score"]) for _, part in one.groupby("seed")]
    beside = other[other["seed"] == 2]
    assert once["n_runs"] == 2 and once["n_draws"] == 1 and once["n"] == 30
    assert once["estimate"] == pytest.approx(np.mean(areas) - roc_auc(beside["label"], beside["score"]))


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([[0.5, 0.9], [0.4, 0.7], [0.3, 0.8]], 2),
        ([[0.5, 0.3, 0.8], [0.4, 0.7, 0.9], [0.3, 0.6, 0.9]], 3),
        ([[0.5, float("nan")], [0.4, 5.0], [0.1]], 2),
    ],
)
def test_the_best_epoch_has_the_largest_metric_then_the_smallest_loss(values, best):
    keeper = BestEpoch()
    keeper.learn = type("L", (), {})()
    keeper.before_fit()
    for epoch, _ in enumerate(values):
        keeper.epoch, keeper.recorder = epoch, type("R", (), {"values": values[: epoch + 1]})
        keeper.averaged_weights = type("A", (), {"average": {"epoch": torch.tensor(epoch + 1)}})
        keeper.after_epoch()
    assert keeper.best["epoch"] == best and keeper.best["model"] == {"epoch": best}


def test_ef_as_a_score_is_positive_below_the_limit_and_counts_who_was_not_measured():
    measures = pd.DataFrame({"participant_id": list("abcd"), "lvef_pct": [49.999, 50.0, 61.0, np.nan]})
    truth = pd.Series([1, 0, 0, 1], index=list("abcd"))
    table = tables.ef_scores(measures, truth, truth.index, 50.0, method="ef_truth", fold=0, seed=0)
    called = table.set_index("participant_id")["score"] >= table["threshold"].to_numpy()
    assert called.to_dict() == {"a": True, "b": False, "c": False, "d": False}
    row = tables.study_table(table.assign(cine=None, k=np.nan)).iloc[0]
    assert (row["patient_auc"], row["patient_acc"], row["n_missing"]) == (1.0, 1.0, 1)


def test_rows_of_the_tables():
    tasks = {method: tables.variant(SMALL, method) for method in tables.LEARNED}
    assert tasks["scratch"][0] is None and tasks["scratch"][1] == tasks["sslhf"][1]
    assert tasks["no_frames"][0].kinds == ("shuffle", "patches") and tasks["sslhf"][0].kinds == KINDS
    assert tasks["resnet50"][1].backbone == "resnet50" and tasks["resnet50"][1].width == 4
