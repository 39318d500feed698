"""SSLHF: patches by hand, transformations against their definitions, no leak on the actual lists, tables by formula."""

from dataclasses import replace
from itertools import groupby

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from typer.testing import CliRunner

from cmrlib.agreement import classification
from cmrlib.app.cli import app
from cmrlib.cine import Cine
from cmrlib.cohort import Annotation, Observer
from cmrlib.papers import sslhf
from cmrlib.papers.sslhf import (
    Classifier,
    Design,
    HeartFailure,
    Patches,
    Preprocessing,
    Recipe,
    Restorer,
    Setup,
    Transformations,
    neighbour_average,
    section_patch,
)
from cmrlib.papers.sslhf.learning import BestEpoch, HalvedRate, augmented, patch_block
from cmrlib.papers.sslhf.network import Conv3d, halved
from cmrlib.papers.sslhf.patches import STORED, as_stored, from_stored
from cmrlib.papers.sslhf.transformations import (
    cover_frames,
    cover_patches,
    draw_frames,
    draw_rectangle,
    shuffle_pixels,
    shuffle_rows_and_columns,
    shuffle_windows,
)
from cmrlib.phantom import make_hf_cohort

SMALL = Setup(
    Preprocessing(16, 8, 5.0, 0.0),
    Design(2, 8, False, (4, 3)),
    Transformations(window_px=3, length=1),
    Recipe(2, 1e-3, 1, 8, "fp32"),
    Recipe(2, 1e-3, 1, 8, "fp32"),
    4,
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def beating(frames=8, size=24, slices=1, spacing=2.0, **kwargs):
    """A disc whose radius follows a cosine, on a plane that is not flat."""
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    radius = size / 5 * (1 + 0.4 * np.cos(2 * np.pi * np.arange(frames) / frames))
    disc = (np.hypot(rows, columns) < radius[:, None, None]) * 500.0
    pixels = np.repeat((disc + 50 + rows + 0.5 * columns)[:, None], slices, 1).astype(np.float32)
    return Cine(pixels, np.diag([spacing, spacing, 8.0, 1]), "sax", "X", **kwargs)


# --- patches ---------------------------------------------------------------------------------------------------------


def test_a_patch_is_centred_clipped_and_z_scored():
    patch = section_patch(beating(), 0, Preprocessing(16, 8, 2.0, 300.0))
    assert patch.shape == (8, 16, 16) and patch.dtype == np.float32
    assert patch.mean() == pytest.approx(0, abs=1e-4) and patch.std() == pytest.approx(1, abs=1e-4)
    plain = section_patch(beating(), 0, Preprocessing(16, 8, 2.0, 1e6))
    assert patch.max() < plain.max()
    values, counts = np.unique(patch.round(4), return_counts=True)
    assert values[counts.argmax()] == pytest.approx(patch.max(), abs=1e-3)  # the disc, brighter than 300, is flat


def test_without_a_scanners_units_the_999th_permille_is_the_largest():
    cine = beating()
    cine.pixels[:, 0, 12, 12] = 40_000  # one pixel of 256 a frame: .4 %, so it is not cut away
    cine.pixels[3, 0, 8, 8] = 90_000
    patch = section_patch(cine, 0, Preprocessing(16, 8, 2.0, 0.0))
    seen = np.sort(patch.ravel())
    assert seen[-1] == pytest.approx(seen[-2], rel=1e-5)  # the brightest came down to others


def test_a_patch_that_leaves_the_image_is_scaled_by_what_is_inside():
    cine = beating(size=24)
    wide, inner = (section_patch(cine, 0, Preprocessing(size, 8, 2.0, 1e6)) for size in (48, 24))
    assert wide.shape == (8, 48, 48)
    assert len(np.unique(wide[:, :8])) == 1  # nothing is there: one value
    np.testing.assert_allclose(wide[:, 12:36, 12:36], inner, atol=0.15)


def test_a_constant_patch_is_all_zeros():
    cine = replace(beating(), pixels=np.full((8, 1, 24, 24), 7, np.int16))
    assert not section_patch(cine, 0, Preprocessing(16, 8, 2.0, 0.0)).any()


def test_fewer_frames_are_interpolated_round_the_cycle():
    short, wanted = beating(8), Preprocessing(16, 40, 2.0, 1e6)
    patch = section_patch(short, 0, wanted)
    own = section_patch(short, 0, replace(wanted, frames=8))
    assert patch.shape[0] == 40
    exact = np.stack([own[(n // 5) % 8] * (1 - n % 5 / 5) + own[(n // 5 + 1) % 8] * (n % 5 / 5) for n in range(40)])
    np.testing.assert_allclose(patch, (exact - exact.mean()) / exact.std(), atol=1e-3)  # frame 39 lies before frame 0


def test_a_cycle_of_seven_frames_is_refused():
    with pytest.raises(ValueError, match="7 frames; a patch shows a whole cycle of 8"):
        section_patch(beating(7), 0, Preprocessing(16, 8, 2.0))


def test_stored_patches_keep_three_digits():
    patch = np.random.default_rng(1).normal(size=(4, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(from_stored(as_stored(patch)), patch, atol=0.51 / STORED)
    assert as_stored(np.array([99.0])) == 32767  # clipped, never wrapped


def test_slices_that_show_the_lv():
    cine = beating(slices=5, ed=2)
    mask = np.zeros(cine.pixels.shape, np.uint8)
    mask[2, 1:3, 5:9, 5:9], mask[4, 4, 5:9, 5:9] = 1, 1
    drawn = dict.fromkeys(range(8), ("lv",))
    assert sslhf.lv_slices(cine, Annotation(mask, drawn)) == [1, 2]  # at ED
    assert sslhf.lv_slices(replace(cine, ed=None), Annotation(mask, drawn)) == [1, 2, 4]
    assert sslhf.lv_slices(cine, Annotation(mask * 0, drawn)) == []
    assert sslhf.lv_slices(cine, None, 0.6) == [1, 2, 3] and sslhf.lv_slices(cine, None, 0.01) == [2]


# --- transformations -------------------------------------------------------------------------------------------------


def numbered(frames=6, rows=36, columns=36):
    """Every pixel of a frame has a value of its own."""
    return np.arange(frames * rows * columns, dtype=np.float32).reshape(frames, rows, columns)


@pytest.mark.parametrize("shuffled", [shuffle_rows_and_columns, shuffle_pixels])
def test_a_shuffled_window_keeps_its_values_and_the_rest(shuffled):
    clip = numbered(1)[0]
    before = clip.copy()
    shuffled(clip[4:9, 10:17])
    outside = np.ones(clip.shape, bool)
    outside[4:9, 10:17] = False
    assert (clip[outside] == before[outside]).all()
    assert sorted(clip[4:9, 10:17].ravel()) == sorted(before[4:9, 10:17].ravel())
    assert (clip != before).any()


def test_the_papers_shuffle_is_a_permutation_of_rows_and_one_of_columns():
    before = numbered(1, 7, 5)[0]
    after = before.copy()
    shuffle_rows_and_columns(after)
    row, column = (after // 5).astype(int), (after % 5).astype(int)  # where each value came from
    assert (row == row[:, :1]).all() and (column == column[:1]).all()
    left, right = np.eye(7)[row[:, 0]], np.eye(5)[:, column[0]]
    np.testing.assert_array_equal(after, left @ before @ right)  # equation 1
    other = before.copy()
    shuffle_pixels(other)
    assert not ((other // 5) == (other // 5)[:, :1]).all()


@pytest.mark.parametrize("mode", ["paper", "any"])
def test_shuffling_moves_pixels_within_their_frame_and_not_far(mode):
    before = numbered()
    after = before.copy()
    shuffle_windows(after, 3, 5, 0.2, mode == "paper")
    for one, other in zip(before, after):
        assert sorted(one.ravel()) == sorted(other.ravel())
    moved = after != before
    assert 0.05 < moved.mean() < 0.4
    home = (after % (36 * 36)).astype(int)
    far = np.abs(home // 36 - np.arange(36)[:, None]) + np.abs(home % 36 - np.arange(36))
    assert np.percentile(far[moved], 90) <= 8  # windows may overlap, so a few go farther than one window


def test_windows_differ_from_frame_to_frame():
    after = np.repeat(numbered(1), 2, 0)
    shuffle_windows(after, 3, 5, 0.2, True)
    assert (after[0] != after[1]).any()


@pytest.mark.parametrize(("rows", "columns"), [(288, 288), (96, 96), (36, 36), (32, 48)])
def test_a_covered_patch_is_a_rectangle_within_the_papers_bounds(rows, columns):
    for _ in range(300):
        row, column, height, width = draw_rectangle(rows, columns)
        assert rows * columns / 36 < height * width < rows * columns / 9
        assert 0 <= row <= rows - height and 0 <= column <= columns - width


def test_covering_touches_one_to_five_rectangles_of_every_frame():
    before = np.full((60, 36, 36), 9, np.float32)
    one, five = before.copy(), before.copy()
    cover_patches(one, 1, 1)
    cover_patches(five, 1, 5)
    for frame in one != 9:
        rows, columns = frame.any(1), frame.any(0)
        assert frame.sum() == rows.sum() * columns.sum() and (frame == np.outer(rows, columns)).all()
        assert 36 * 36 / 36 < frame.sum() < 36 * 36 / 9
    share = (five != 9).mean((1, 2))
    assert share.min() > 1 / 36 and share.max() < 5 / 9 and share.max() > 1 / 9
    assert five[five != 9].mean() == pytest.approx(0, abs=0.02) and five[five != 9].std() == pytest.approx(1, abs=0.02)


def runs_round(covered):
    """Lengths of runs of True round the cycle."""
    first = int(np.argmin(covered))
    return [len(list(run)) for value, run in groupby(np.roll(covered, -first)) if value]


def test_five_groups_of_at_most_three_frames_are_covered():
    seen = set()
    for _ in range(200):
        lengths = runs_round(draw_frames(40, 5, 3))
        assert len(lengths) == 5 and max(lengths) <= 3
        seen |= set(lengths)
    assert seen == {1, 2, 3}
    clip = numbered(40)
    covered = clip.copy()
    cover_frames(covered, 4, 5, 3)
    changed = (covered != clip).reshape(40, -1)
    assert set(changed.mean(1).round(2)) == {0.0, 1.0} and len(runs_round(changed.any(1))) == 5


@pytest.mark.parametrize("frames", [8, 9, 11, 20])
def test_short_cycles_keep_a_frame_between_groups(frames):
    for _ in range(100):
        covered = draw_frames(frames, 5, 3)
        assert 1 <= len(runs_round(covered)) <= 5 and covered.sum() <= frames - len(runs_round(covered))


def test_every_choice_of_transformations_comes_and_none_is_empty():
    np.random.seed(1)
    drawn = {Transformations().draw() for _ in range(300)}
    assert len(drawn) == 7 and () not in drawn
    assert {Transformations(("frames",)).draw() for _ in range(20)} == {("frames",)}


def test_a_transformation_leaves_its_input_and_repeats_by_its_generator():
    clip = np.random.default_rng(1).normal(size=(8, 32, 32)).astype(np.float32)
    kept = clip.copy()
    one, other = (Transformations()(clip, rng=np.random.RandomState(5)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(clip, kept)
    assert (one != clip).any()


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"shuffle": "rows"}, "unknown shuffle"),
        ({"kinds": ()}, "at least one"),
        ({"kinds": ("blur",)}, "unknown transformations"),
    ],
)
def test_unknown_transformations_are_refused(wrong, match):
    with pytest.raises(ValueError, match=match):
        Transformations(**wrong)


def test_the_average_of_temporal_neighbours_against_a_loop():
    rng = np.random.default_rng(3)
    clip, corrupted = rng.normal(size=(7, 3, 4)).astype(np.float32), rng.random((7, 3, 4)) < 0.6
    corrupted[:, 0, 0] = True
    result = neighbour_average(clip, corrupted)
    for t, i, j in np.ndindex(clip.shape):
        sound = [n for n in range(7) if not corrupted[n, i, j]]
        if not corrupted[t, i, j]:
            expected = clip[t, i, j]
        elif not sound:
            expected = 0
        else:
            before, after = min((t - n) % 7 for n in sound), min((n - t) % 7 for n in sound)
            expected = (clip[(t - before) % 7, i, j] * after + clip[(t + after) % 7, i, j] * before) / (before + after)
        assert result[t, i, j] == pytest.approx(expected, abs=1e-5)


def test_augmentation_keeps_every_value():
    clip = numbered(4, 6, 6)
    seen = {augmented(clip, np.random.RandomState(n)).tobytes() for n in range(200)}
    assert len(seen) == 16  # eight ways to lay a square, two directions of time
    assert all(sorted(np.frombuffer(one, np.float32)) == sorted(clip.ravel()) for one in list(seen)[:4])


# --- networks --------------------------------------------------------------------------------------------------------


def count(model, kind):
    return sum(isinstance(part, kind) for part in model.modules())


def test_the_papers_numbers_of_layers():
    model = Restorer(Design(2, 40))
    assert (count(model.encoder, nn.Conv3d), count(model.encoder, nn.MaxPool3d)) == (10, 4)
    assert (count(model.decoder, nn.Conv3d), count(model.decoder, nn.ConvTranspose3d)) == (10, 4)
    assert count(Classifier(Design(2)).head, nn.Linear) == 3
    assert halved(40) == [2, 2, 2, 1] and halved(20) == [2, 2, 1, 1] and halved(8) == [2, 2, 2, 1]


@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("frames", [8, 11, 20])
def test_restored_clips_have_the_shape_of_what_came_in(skips, frames):
    assert Restorer(Design(2, frames, skips))(torch.zeros(2, frames, 32, 16)).shape == (2, frames, 32, 16)


def test_clips_that_do_not_fit_are_refused():
    model = Classifier(Design(2, 8))
    assert model(torch.zeros(3, 8, 16, 32)).shape == (3,)
    for shape in ((1, 9, 16, 16), (1, 8, 20, 16)):
        with pytest.raises(ValueError, match="8 frames and sides of multiples of 16"):
            model(torch.zeros(shape))


def test_the_comparators_are_what_they_are_called():
    resnet, densenet = sslhf.ResNet50(4), sslhf.DenseNet121(4)
    shortcuts = sum(isinstance(part, nn.Conv3d) for block in resnet.features[1:] for part in block.shortcut.modules())
    assert count(resnet, nn.Conv3d) - shortcuts + count(resnet, nn.Linear) == 50
    assert count(densenet, nn.Conv3d) + count(densenet, nn.Linear) == 121
    for model in (resnet, densenet):
        assert count(model, nn.GroupNorm) and not count(model, nn.BatchNorm3d)
        assert model(torch.zeros(2, 8, 32, 32)).shape == (2,)


def test_weighted_cross_entropy_against_a_loop_also_in_a_smaller_batch():
    logits, labels, weights = torch.tensor([0.3, -2.0, 1.1]), torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.6, 2.0])
    for n in (3, 1):
        expected = 0.0
        for x, y in zip(logits[:n].tolist(), labels[:n].tolist()):
            p = 1 / (1 + np.exp(-x))
            expected -= (2.0 if y else 0.6) * (y * np.log(p) + (1 - y) * np.log(1 - p)) / n
        assert sslhf.weighted_bce(logits[:n], labels[:n], weights).item() == pytest.approx(expected, rel=1e-5)


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
def labels(hearts):
    return sslhf.labelled(hearts.subjects, "hf_type", "HFrEF")


@pytest.fixture(scope="module")
def found(hearts, labels, tmp_path_factory):
    table = sslhf.patch_table(hearts, labels, "truth")
    return Patches.of(hearts, table, SMALL.preprocessing, tmp_path_factory.mktemp("patches"))


def test_the_cohort_has_the_papers_share(hearts, labels):
    assert len(labels) == 15 and labels.sum() == round(15 * 63 / 184)
    assert set(hearts.cines["view"]) == {"sax"} and (hearts.subjects["hf"] == 1).all()
    ef = hearts.observer("truth").measures().set_index("participant_id")["lvef_pct"]
    assert ((ef < 50) == (labels.reindex(ef.index) == 1)).all()


def test_patches_are_made_once_and_are_those_of_their_rows(hearts, found, tmp_path):
    row = found.table.iloc[7]
    fresh = section_patch(hearts.cine(row["cine"]), row["k"], SMALL.preprocessing)
    np.testing.assert_allclose(found.clip(row["row"]), fresh, atol=1e-3)
    assert isinstance(found.pixels, np.memmap) and found.pixels.dtype == np.int16
    made = Patches.of(hearts, found.table, SMALL.preprocessing, tmp_path)
    (file,) = tmp_path.glob("patches_*.npy")
    stamp = file.stat().st_mtime_ns
    again = Patches.of(hearts, found.table, SMALL.preprocessing, tmp_path)
    assert file.stat().st_mtime_ns == stamp and again.digest == made.digest == found.digest
    other = Patches.of(hearts, found.table, replace(SMALL.preprocessing, clip=100.0), tmp_path)
    assert other.digest != found.digest


def test_labels_and_observers_that_say_nothing_are_refused(hearts, labels):
    with pytest.raises(ValueError, match="no column 'disease'"):
        sslhf.labelled(hearts.subjects, "disease", "1")
    with pytest.raises(ValueError, match="must hold 'HFmrEF' and something else"):
        sslhf.labelled(hearts.subjects, "hf_type", "HFmrEF")
    renamed = hearts.subjects.rename(columns={"hf_type": "mine"})
    assert sslhf.labelled(renamed, "mine", "HFpEF").sum() == 15 - labels.sum()
    with pytest.raises(KeyError, match="no observer 'nobody'"):
        sslhf.patch_table(hearts, labels, "nobody")
    assert len(sslhf.patch_table(hearts, labels, "", 0.6)) == 15 * 3


def test_every_patient_is_tested_once_and_stands_on_one_side(hearts, labels):
    tested = []
    for fold in range(5):
        split = sslhf.patient_split(hearts.subjects, labels, fold)
        assert split.value_counts().to_dict() == {"train": 9, "validation": 3, "test": 3}
        tested += list(split.index[split == "test"])
        for side in ("train", "validation", "test"):
            assert labels[split.index[split == side]].nunique() == 2
    assert sorted(tested) == sorted(hearts.subjects["participant_id"])


def test_fewer_labels_leave_the_test_as_it_is(hearts, labels):
    whole, few = (sslhf.patient_split(hearts.subjects, labels, 0, most=most) for most in (0, 3))
    assert (few == "train").sum() == 3 and labels[few.index[few == "train"]].nunique() == 2
    assert (whole[few != "unlabelled"] == few[few != "unlabelled"]).all()
    assert set(whole[few == "unlabelled"]) == {"train"}
    one, again, two = (sslhf.patient_split(hearts.subjects, labels, 0, most=3, draw=draw) for draw in (1, 1, 2))
    assert one.equals(again) and not one.equals(two) and not one.equals(few)
    for drawn in (one, two):
        assert drawn.value_counts().equals(few.value_counts())
        assert labels[drawn.index[drawn == "train"]].nunique() == 2
        assert (drawn[whole != "train"] == whole[whole != "train"]).all()


def sees(learner, part):
    """participant_ids whose patches a learner's loader really holds."""
    return {row["participant_id"] for row in learner.dls[part].items}


@pytest.mark.parametrize("fold", range(5))
def test_restoration_never_sees_who_validates_or_tests(found, hearts, labels, fold):
    split = sslhf.patient_split(hearts.subjects, labels, fold)
    learner = sslhf.restoration_learner(found, sslhf.restoration_rows(found, split), SMALL)
    train, check = sees(learner, 0), sees(learner, 1)
    assert train and check and not train & check
    assert train | check <= set(split.index[split == "train"])
    stage_two = sslhf.classification_learner(
        found, sslhf.classification_rows(found, split), SMALL, Classifier(SMALL.design)
    )
    assert sees(stage_two, 0) == set(split.index[split == "train"])
    assert sees(stage_two, 1) == set(split.index[split == "validation"])


def test_unlabelled_patients_may_only_teach_restoration(found, hearts, labels):
    split = sslhf.patient_split(hearts.subjects, labels, 0, most=3)
    people = {side: set(split.index[split == side]) for side in set(split)}
    assert set(sslhf.restoration_rows(found, split)["participant_id"]) == people["train"]
    assert set(sslhf.restoration_rows(found, split, True)["participant_id"]) == people["train"] | people["unlabelled"]
    rows = sslhf.classification_rows(found, split)
    assert set(rows["participant_id"]) == people["train"] | people["validation"]


def test_a_fold_with_one_class_only_is_refused_by_name(found, hearts, labels):
    split = sslhf.patient_split(hearts.subjects, labels, 0)
    split[(split == "validation") & (labels.reindex(split.index) == 1)] = "test"
    with pytest.raises(ValueError, match=r"validation patients of this fold have the classes \[0"):
        sslhf.classification_rows(found, split)


def test_batches_of_both_stages(found, hearts, labels):
    split = sslhf.patient_split(hearts.subjects, labels, 0)
    rows = sslhf.restoration_rows(found, split)
    block = patch_block(found, SMALL.transformations)
    dls = block.dataloaders(rows, bs=8, num_workers=0)
    shown, clean = dls.one_batch()
    assert shown.shape == clean.shape == (8, 8, 16, 16) and (shown != clean).any((1, 2, 3)).all()
    first, second = ([b[0] for b in dls.valid] for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, second))  # the check is the same every epoch
    assert len(first[-1]) == (rows["split"] == "validation").sum() % 8 or 8


@pytest.fixture(scope="module")
def trained(found, hearts, labels, tmp_path_factory):
    split, folder = sslhf.patient_split(hearts.subjects, labels, 0), tmp_path_factory.mktemp("jobs")
    return split, folder, *sslhf.train_method(found, split, "sslhf", SMALL, 1, folder)


def test_stage_two_starts_from_the_encoder_of_stage_one(found, trained, monkeypatch):
    split, _, _, stages = trained
    started = {}
    monkeypatch.setattr(
        "cmrlib.papers.sslhf.learning._trained",
        lambda learn, *_: started.update({k: v.clone() for k, v in learn.model.state_dict().items()}),
    )
    sslhf.classify(found, split, SMALL, 1, None, stages["restoration"])
    for name, value in stages["restoration"].model.encoder.state_dict().items():
        assert (started[f"encoder.{name}"] == value).all()
    assert started["head.0.weight"].std() == pytest.approx(np.sqrt(2 / 32), rel=0.35)  # Kaiming, 32 features in


def test_a_finished_job_is_found_and_an_interrupted_one_goes_on(found, trained, monkeypatch):
    split, folder, _, stages = trained
    files = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    again = sslhf.pretrain(found, split, SMALL, 1, folder)
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == files
    assert again.best_epoch == stages["restoration"].best_epoch
    for one, other in zip(again.model.state_dict().values(), stages["restoration"].model.state_dict().values()):
        assert (one == other).all()

    def killed(self):
        if self.training and self.epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(HalvedRate, "before_batch", killed)  # rate and momentum of epoch 0 are set by fit then
    with pytest.raises(KeyboardInterrupt):
        sslhf.pretrain(found, split, SMALL, 2, folder)
    assert len(list(folder.glob("sslhf_restore_*.best.pt"))) == 2


def test_trainings_side_by_side_are_those_one_after_the_other(found, hearts, labels, tmp_path, capsys):
    split = sslhf.patient_split(hearts.subjects, labels, 0)
    fewer = sslhf.patient_split(hearts.subjects, labels, 0, most=4)
    jobs = [(found, split, method, SMALL, 1, tmp_path, False) for method in ("sslhf", "scratch")]
    jobs.append((found, fewer, "sslhf", SMALL, 1, tmp_path, True))
    torch.set_num_threads(2)
    try:
        sslhf.train_ahead(jobs, 2)
    finally:
        torch.set_num_threads(1)
    said = capsys.readouterr().out
    assert "without stage one, classification" in said
    made = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = [sslhf.train_method(*job)[0] for job in jobs]
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == made, "trained again"
    alone = sslhf.train_method(found, split, "sslhf", SMALL, 1, tmp_path / "alone")[0]
    for name, value in alone.model.state_dict().items():
        assert torch.equal(value, again[0].model.state_dict()[name]), name


def test_the_rate_is_halved_by_epochs(found, hearts, labels, monkeypatch):
    seen, plain = [], HalvedRate.before_batch

    def noted(self):
        plain(self)
        if self.training:
            seen.append((self.epoch, self.opt.hypers[0]["lr"]))

    monkeypatch.setattr(HalvedRate, "before_batch", noted)
    setup = replace(SMALL, pretraining=Recipe(4, 1e-3, 2, 64, "fp32"))
    sslhf.pretrain(found, sslhf.patient_split(hearts.subjects, labels, 0), setup, 1)
    assert dict(seen) == {0: 1e-3, 1: 1e-3, 2: 5e-4, 3: 5e-4}


def test_a_model_is_saved_loaded_and_scores_a_patient_by_the_mean_of_his_patches(hearts, found, trained, tmp_path):
    model = trained[2]
    model.save(tmp_path / "one", cohort="phantom")
    loaded = HeartFailure.load(tmp_path / "one", "fp32")
    assert (loaded.threshold, loaded.patch_threshold) == (model.threshold, model.patch_threshold)
    name = found.table["cine"].iloc[0]
    cine, annotation = hearts.cine(name), hearts.observer("truth").mask(name)
    scores = loaded.patch_scores(cine, annotation)
    rows = found.table[found.table["cine"] == name]
    assert list(scores["slice"]) == list(rows["k"])
    np.testing.assert_allclose(scores["score"], sslhf.score_patches(found, rows, model)["score"], atol=1e-5)
    assert loaded.predict(cine, annotation) == pytest.approx(scores["score"].mean())
    one_by_one = [loaded.scores([found.clip(row)])[0] for row in rows["row"]]
    np.testing.assert_allclose(one_by_one, scores["score"], atol=1e-5)  # whoever else is in the batch
    with pytest.raises(ValueError, match="no slice shows the LV"):
        loaded.predict(cine, Annotation(annotation.mask * 0, annotation.annotated))
    with pytest.raises(ValueError, match="view 4ch; the classifier takes short-axis stacks"):
        loaded.predict(replace(cine, view="4ch"))


def test_stage_one_is_no_classifier(trained, tmp_path):
    from cmrlib.learning.weights import save_weights

    restorer = trained[3]["restoration"].model
    save_weights(restorer, tmp_path / "r", {"architecture": sslhf.architecture(restorer), "preprocessing": {}})
    with pytest.raises(ValueError, match="restores and does not classify"):
        HeartFailure.load(tmp_path / "r")
    with pytest.raises(ValueError, match="unknown network 'Other'"):
        sslhf.build({"name": "Other"})


def test_restoration_errors_are_those_on_changed_pixels(found, trained):
    rows, task = found.table.iloc[:2], SMALL.transformations
    errors = sslhf.restoration_errors(found, rows, trained[3]["restoration"].model, task, 3, "fp32")
    assert len(errors) == 6 and set(errors["kind"]) == set(sslhf.KINDS)
    clip, rng = found.clip(rows["row"].iloc[0]), np.random.RandomState([3, rows["row"].iloc[0]])
    shown = task(clip, ("shuffle",), rng)
    changed = shown != clip
    assert errors["n_pixels"].iloc[0] == changed.sum()
    assert errors["shown"].iloc[0] == pytest.approx(np.mean((shown - clip)[changed] ** 2), rel=1e-5)
    table = sslhf.restoration_table(errors)
    assert len(table) == 9 and {"mse", "mse_low", "mse_high", "n"} <= set(table)
    metrics = sslhf.restoration_metrics(table, "x_")
    restored = table.loc[table["what"] == "restored", "mse"]
    assert metrics["x_restoration_mse"] == pytest.approx(restored.mean())


# --- tables ----------------------------------------------------------------------------------------------------------


def made_scores(method, fold, seed, spread, n=30):
    rng = np.random.default_rng([fold, seed, int(100 * spread)])
    label = np.arange(n) % 3 == 0
    table = pd.DataFrame(
        {
            "participant_id": [f"F{fold}P{k}" for k in range(n)],
            "label": label.astype(int),
            "score": 0.5 * label + spread * rng.random(n),
            "n_patches": 2,
            "threshold": 0.5,
        }
    )
    patches = table.loc[table.index.repeat(2)].assign(level="patch", k=np.tile([0, 1], n))
    patches["cine"] = patches["participant_id"]
    return pd.concat([patches, table.assign(level="patient")]).assign(method=method, fold=fold, seed=seed)


def test_the_area_under_the_curve_is_sklearns():
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 2, 50), rng.integers(0, 9, 50) / 9
    assert sslhf.auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    assert np.isnan(sslhf.auc([1, 1], [0.2, 0.3]))


def test_tables_are_means_over_folds_and_seeds_with_the_papers_values():
    parts = [made_scores("sslhf", fold, seed, 0.9) for fold in (0, 1) for seed in (1, 2)]
    scores = pd.concat([*parts, *(made_scores("scratch", fold, seed, 4.0) for fold in (0, 1) for seed in (1, 2))])
    row = sslhf.study_table(scores, 100).set_index("method").loc["sslhf"]
    patients = [part[part["level"] == "patient"] for part in parts]
    assert row["patient_auc"] == pytest.approx(np.mean([roc_auc_score(p["label"], p["score"]) for p in patients]))
    assert row["patient_acc"] == pytest.approx(np.mean([((p["score"] >= 0.5) == p["label"]).mean() for p in patients]))
    assert (row["n_runs"], row["n_patients"], row["patient_auc_paper"]) == (4, 60, 0.8505)
    assert row["patient_auc_low"] <= row["patient_auc"] <= row["patient_auc_high"]
    gains = sslhf.paired_table(scores, n_boot=200).set_index(["method", "level"])
    table = sslhf.study_table(scores, 100).set_index("method")["patient_auc"]
    gain = gains.loc[("scratch", "patient")]
    assert gain["gain"] == pytest.approx(table["sslhf"] - table["scratch"]) and gain["gain_low"] > 0
    assert gain["least"] <= gain["gain"] <= gain["most"] and gain["n_runs"] == 4
    metrics = sslhf.study_metrics(sslhf.study_table(scores, 100), gains.reset_index())
    assert {"patient_auc", "patch_acc_low", "scratch_patient_auc_high", "gain_over_scratch_low"} <= set(metrics)
    assert not [name for name in metrics if name.endswith("_paper")]


def test_few_labels_have_both_starts_and_their_paired_gain():
    scores = pd.concat(
        [
            made_scores(method, 0, seed, spread).assign(labelled=n)
            for n, low in ((12, 5.0), (48, 1.4))
            for seed in (1, 2)
            for method, spread in (("sslhf", 0.9), ("scratch", low))
        ]
    )
    table = sslhf.few_labels_table(scores, 100).set_index("labelled")
    whole = sslhf.study_table(scores[scores["labelled"] == 12], 100).set_index("method")["patient_auc"]
    assert table.loc[12, "pretrained"] == pytest.approx(whole["sslhf"])
    assert table.loc[12, "gain"] == pytest.approx(whole["sslhf"] - whole["scratch"])
    assert table.loc[12, "gain"] > table.loc[48, "gain"] and (table["n_runs"] == 2).all()
    metrics = sslhf.few_labels_metrics(table.reset_index())
    assert metrics["few12_scratch_patient_auc"] == pytest.approx(whole["scratch"]) and "few48_gain_low" in metrics
    drawn = pd.concat([scores.assign(draw=0), scores[scores["seed"] == 2].assign(draw=1)])  # one draw more of seed 2
    several = sslhf.few_labels_table(drawn, 100).set_index("labelled").loc[12]
    single = [sslhf.few_labels_table(scores[scores["seed"] == seed], 100)["gain"].iloc[0] for seed in (1, 2)]
    assert several["n_runs"] == 3 and several["gain"] == pytest.approx((single[0] + 2 * single[1]) / 3)
    assert (several["gain_least"], several["gain_most"]) == pytest.approx((min(single), max(single)))


def test_ablations_are_told_by_number_of_labels():
    spread = {"sslhf": 0.9, "scratch": 5.0, "no_frames": 1.4}
    scores = pd.concat(
        [
            made_scores(method, 0, 1, one).assign(labelled=n)
            for n in (12, 48)
            for method, one in spread.items()
            if (method, n) != ("no_frames", 48)
        ]
    )
    table = sslhf.ablations_by_labels(scores, 100)
    assert list(zip(table["labelled"], table["method"])) == [(12, "scratch"), (12, "no_frames"), (48, "scratch")]
    few = sslhf.few_labels_table(scores[scores["method"] != "no_frames"], 100).set_index("labelled")
    for row in table[table["method"] == "scratch"].itertuples():
        assert row.gain == pytest.approx(few.loc[row.labelled, "gain"])
    metrics = sslhf.ablations_metrics(table)
    assert metrics["labels12_gain_over_scratch"] > metrics["labels12_gain_over_no_frames"]
    assert metrics["labels48_gain_over_scratch_low"] == table["gain_low"].iloc[2]
    assert metrics["n_labels12_gain_over_no_frames"] == 30 and "labels48_gain_over_no_frames" not in metrics


class _Recorded:
    """What BestEpoch asks of a learner."""

    def __init__(self, values):
        self.values = values


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([[0.5, 0.9], [0.4, 0.7], [0.3, 0.8]], 2),
        ([[0.5, 0.3, 0.8], [0.4, 0.7, 0.9], [0.3, 0.6, 0.9]], 3),
        ([[0.5, float("nan")], [0.4, 5.0]], 2),
    ],
)
def test_the_best_epoch_has_the_largest_metric_then_the_smallest_loss(values, best):
    keeper = BestEpoch()
    keeper.learn = type("L", (), {})()
    for epoch, _ in enumerate(values):
        keeper.epoch, keeper.recorder = epoch, _Recorded(values[: epoch + 1])
        keeper.averaged_weights = type("A", (), {"average": {"epoch": epoch + 1}})
        keeper.after_epoch()
    assert keeper.best["epoch"] == best and keeper.best["model"] == {"epoch": best}


def test_one_run_agrees_with_the_classification_table():
    part = made_scores("sslhf", 0, 1, 0.9)
    row = sslhf.study_table(part, 200).iloc[0]
    patients = part[part["level"] == "patient"]
    other = classification(patients["label"], patients["score"], 0.5).set_index("metric")["estimate"]
    assert (row["patient_auc"], row["patient_acc"]) == pytest.approx((other["roc_auc"], other["accuracy"]))


def test_a_test_fold_with_one_class_has_no_area_but_an_accuracy():
    part = made_scores("sslhf", 0, 1, 0.9)
    row = sslhf.study_table(part[part["label"] == 0], 50).iloc[0]
    assert np.isnan(row["patient_auc"]) and 0 <= row["patient_acc"] <= 1
    assert sslhf.mean_roc(part[part["label"] == 0]).empty


def test_ef_as_a_score_is_positive_below_the_limit_and_counts_who_was_not_measured():
    measures = pd.DataFrame({"participant_id": list("abcd"), "lvef_pct": [49.999, 50.0, 61.0, np.nan]})
    labels = pd.Series([1, 0, 0, 1], index=list("abcd"))
    table = sslhf.tested_by_ef(
        measures, labels, pd.Series("test", index=list("abcd")), 50.0, method="ef_truth", fold=0, seed=0
    )
    called = table.set_index("participant_id")["score"] >= table["threshold"].to_numpy()
    assert called.to_dict() == {"a": True, "b": False, "c": False, "d": False}
    row = sslhf.study_table(table.assign(cine=None, k=np.nan), 50).iloc[0]
    assert (row["patient_auc"], row["patient_acc"], row["n_missing"]) == (1.0, 1.0, 1)


def test_mean_curves_run_from_none_to_all():
    curves = sslhf.mean_roc(pd.concat([made_scores("sslhf", fold, 1, 0.9) for fold in (0, 1)]))
    patient = curves[curves["level"] == "patient"]
    assert patient["recall"].iloc[0] == 0 and patient["recall"].iloc[-1] == 1
    assert (np.diff(patient["recall"]) >= 0).all() and len(patient) == 101


def test_unknown_methods_are_refused(found, trained):
    with pytest.raises(ValueError, match="unknown method 'svm'"):
        sslhf.train_method(found, trained[0], "svm", SMALL, 1)


# --- evidence --------------------------------------------------------------------------------------------------------


class Weighed(nn.Module):
    """A logit that is a weighed sum."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, clips):
        return (clips * self.weights).sum((1, 2, 3))


def test_attributions_of_a_linear_score_are_its_terms():
    weights, clip = torch.randn(4, 6, 6), np.random.default_rng(1).normal(size=(4, 6, 6)).astype(np.float32)
    model = HeartFailure(Weighed(weights), Preprocessing(16, 8), precision="fp32")
    np.testing.assert_allclose(sslhf.attributions(model, clip), weights.numpy() * clip, rtol=1e-3, atol=1e-5)


def test_attributions_add_up_to_the_logit(found, trained):
    model, clip = trained[2], found.clip(0)
    with torch.no_grad():
        ends = model.model(torch.from_numpy(np.stack([clip, 0 * clip])))
    summed = sslhf.attributions(model, clip, 64).sum()
    assert summed == pytest.approx(float(ends[0] - ends[1]), rel=0.1, abs=0.02)


def test_cases_of_every_outcome_that_occurs():
    part = made_scores("sslhf", 0, 1, 1.6)
    cases = sslhf.pick_cases(part)
    assert "true positive" in cases and "false positive" in cases
    for outcome, patch in cases.items():
        right = (patch["label"] == 1) == (patch["score"] >= 0.5)
        assert right == outcome.startswith("true") and patch["level"] == "patch"
    assert "false negative" not in sslhf.pick_cases(part[part["label"] == 0])


def test_pictures_of_figure_3(found, trained):
    restorer, clip = trained[3]["restoration"].model, found.clip(3)
    rows = sslhf.restored_pictures(clip, restorer, SMALL.transformations, 1, "fp32")
    assert [name.split(",")[0] for name in rows] == ["spatial", "temporal"]
    for pictures in rows.values():
        assert list(pictures) == ["before", "transformed", "restored", "temporal neighbours"]
        assert all(picture.shape == (16, 16) for picture in pictures.values())
        assert (pictures["before"] != pictures["transformed"]).any()
    assert list(sslhf.transformed_pictures(clip, SMALL.transformations)) == ["before", *sslhf.KINDS]


# --- groups ----------------------------------------------------------------------------------------------------------


def group_table(n=40):
    rng = np.random.default_rng(1)
    names = [f"p{k}" for k in range(n)]
    groups = pd.Series(np.array(["A", "B"])[np.arange(n) % 2], index=names)
    features = pd.DataFrame({"x": (groups == "A") + 0.1 * rng.normal(size=n), "y": rng.normal(size=n)}, index=names)
    return features, groups, pd.Series(np.arange(n) // 2 % 5, index=names)


def test_groups_are_predicted_by_a_forest_that_never_saw_the_patient():
    features, groups, folds = group_table()
    predicted = sslhf.predict_groups(features, groups, folds, trees=20)
    assert len(predicted) == 40 and sslhf.group_accuracy(predicted)["accuracy"].iloc[0] == 1
    noise = pd.DataFrame({"own": np.arange(40.0)}, index=features.index).sample(frac=1, random_state=3)
    noise["own"] = np.arange(40.0)
    alone = sslhf.predict_groups(noise, groups, folds, trees=20)  # whoever is in the forest would be known by `own`
    assert sslhf.group_accuracy(alone)["accuracy"].iloc[0] < 0.8
    with pytest.raises(ValueError, match="no group or no fold for \\['p0'\\]"):
        sslhf.predict_groups(features, groups.drop("p0"), folds)
    with pytest.raises(ValueError, match="fewer than two groups"):
        sslhf.predict_groups(features, groups, (groups == "A").astype(int))


def test_features_of_a_heart_by_hand():
    row = {
        "participant_id": "p",
        "lvedv_ml": 120.0,
        "lvesv_ml": 60.0,
        "rvedv_ml": 100.0,
        "rvesv_ml": 40.0,
        "lvm_g": 90.0,
        "wall_ed_max_mm": 14.0,
    } | dict.fromkeys(sslhf.groups.MEASURES, 50.0)
    row |= {f"wall_ed_{n:02d}_mm": 8.0 + (n > 8) for n in range(1, 17)}
    row |= {f"wall_es_{n:02d}_mm": 17.0 if n > 1 else np.nan for n in range(1, 17)}
    found = sslhf.group_features(pd.DataFrame([row])).loc["p"]
    assert found["wall_ed_mean_mm"] == 8.5 and found["wall_ed_max_mm"] == 14 and found["wall_es_to_ed"] == 2
    assert found["wall_ed_sd_mm"] == pytest.approx(np.sqrt(16 * 0.25 / 15))
    assert (found["lv_to_rv_ed"], found["lv_to_rv_es"], found["mass_to_volume_g_ml"]) == (1.2, 1.5, 0.75)
    assert len(found) == 16


def test_sides_of_an_ef_of_50_percent():
    one = pd.DataFrame({"participant_id": list("abcd"), "lvef_pct": [30.0, 50.0, 49.0, 60.0]})
    other = pd.DataFrame({"participant_id": list("abc"), "lvef_pct": [35.0, 48.0, 50.0]})
    found = sslhf.ef_classes(one, other).set_index("metric")
    assert found.loc["accuracy", "estimate"] == pytest.approx(1 / 3) and found.loc["accuracy", "n_missing"] == 1


def test_cmr_classify_judges_short_axis_stacks(hearts, trained, tmp_path):
    """One score a heart, the same as `predict` gives; a heart whose LV nobody drew has a reason and no score."""
    model, people = trained[2], hearts.subjects["participant_id"].tolist()[:2]
    model.save(tmp_path / "run" / "weights" / "sslhf_fold0_seed1", cohort="phantom", synthetic=True)
    result = CliRunner().invoke(
        app,
        [
            "classify",
            str(hearts.path),
            "--weights",
            str(tmp_path / "run"),
            "--observer",
            "truth",
            "--out",
            str(tmp_path / "out"),
            "--subjects",
            ",".join(people),
            "--threads",
            "1",
        ],
    )
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "out" / "scores.csv").set_index("participant_id")
    cine = hearts.cine(table.loc[people[1], "cine"])
    expected = HeartFailure.load(tmp_path / "run" / "weights" / "sslhf_fold0_seed1").predict(
        cine, hearts.observer("truth").mask(cine.name)
    )
    assert table.loc[people[1], "score"] == pytest.approx(expected, abs=1e-6) and len(table) == 2
    empty = hearts.observer("truth").mask(cine.name)
    blank = Observer(tmp_path / "blank")
    blank.write(cine, Annotation(np.zeros(cine.pixels.shape, np.uint8), empty.annotated))
    CliRunner().invoke(
        app,
        [
            "classify",
            str(hearts.path),
            "--weights",
            str(tmp_path / "run"),
            "--observer",
            str(tmp_path / "blank"),
            "--out",
            str(tmp_path / "none"),
            "--subjects",
            people[1],
        ],
    )
    lost = pd.read_csv(tmp_path / "none" / "scores.csv").iloc[0]
    assert np.isnan(lost["score"]) and lost["reason"]
