"""From a cohort to batches: who is sampled, what is a label, and image and labels that move as one."""

from dataclasses import replace

import matplotlib

matplotlib.use("Agg")

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.learner import Learner

from cmrlib.cine import Cine
from cmrlib.cohort import Annotation, Cohort, Observer
from cmrlib.cohort.splits import split_subjects
from cmrlib.cohort.study import Study, finish_cohort, write_study
from cmrlib.learning import blocks, slices
from cmrlib.learning.blocks import (
    NOT_DRAWN,
    CentrePlane,
    RandomPlane,
    SliceRef,
    StandardSlice,
    TensorLabels,
    TensorSlice,
)
from cmrlib.learning.training import SeedEpochs

SIZE = 64


@pytest.fixture(scope="module")
def samples(cohort):
    split = split_subjects(cohort.subjects)
    return blocks.sample_table(cohort, "truth", "sax", split)


def loaders(cohort, samples, **settings):
    block = blocks.segmentation_block(cohort, "truth", "sax", 3.2, SIZE, **settings)
    return block.dataloaders(samples, bs=8, num_workers=0)


# --- samples ---------------------------------------------------------------------------------------------------------


def test_test_subjects_are_never_sampled(cohort, samples):
    for fold in range(5):
        split = split_subjects(cohort.subjects, fold)
        table = blocks.sample_table(cohort, "truth", "sax", split)
        subject = table["cine"].str.extract("sub-(.*)_view", expand=False)
        assert set(subject) == set(split.index[split != "test"]) and (split[subject].values == table["split"]).all()
    known = split_subjects(cohort.subjects)
    few = blocks.sample_table(cohort, "truth", "sax", known.drop(known.index[known == "train"][0]))
    assert set(few["cine"]) < set(samples["cine"])  # who stands in no list is not trained on


@pytest.mark.parametrize(("most", "frames"), [(0, [0, 1, 2, 3]), (2, [0, 2]), (3, [0, 1, 2]), (9, [0, 1, 2, 3])])
def test_few_frames_are_spread_over_the_cycle(cohort, most, frames):
    table = blocks.sample_table(cohort, "truth", "sax", split_subjects(cohort.subjects), most)
    assert all(sorted(set(part["frame"])) == frames for _, part in table.groupby("cine"))
    assert (table.groupby(["cine", "frame"])["k"].count() == 5).all()


def test_a_split_may_keep_nobody_for_validation(cohort):
    split = split_subjects(cohort.subjects, validation_per_group=0)
    table = blocks.sample_table(cohort, "truth", "sax", split)
    assert set(table["split"]) == {"train"} and len(set(table["cine"])) == (split == "train").sum()


def annotated_cohort(path):
    """Three subjects, a cine each; `manual` drew slice 1 of frame 2, left out its slice 0, never looked at frame 0."""
    rows = []
    for label in ("a", "b", "c"):
        pixels = np.random.default_rng(1).integers(0, 100, (3, 2, 32, 32)).astype(np.int16)
        cine = Cine(pixels, np.diag([1, 1, 8, 1.0]), "sax", label)
        mask = np.full(pixels.shape, 255, np.uint8)
        mask[2, 1], mask[2, 1, 10:14, 20:24] = 0, 1
        annotation = Annotation(mask, {2: ("lv",)})
        observers = {"manual": {cine.name: annotation}} if label != "c" else {}
        rows.append(write_study(path, Study({"participant_id": label}, [cine], observers)))
    return finish_cohort(path, {"Name": "Test"}, rows)


def test_only_slices_that_somebody_drew_are_sampled(tmp_path):
    cohort = annotated_cohort(tmp_path)
    split = pd.Series({"a": "train", "b": "validation", "c": "train"})
    table = blocks.sample_table(cohort, "manual", "sax", split)
    assert table.values.tolist() == [["sub-a_view-sax", 2, 1, "train"], ["sub-b_view-sax", 2, 1, "validation"]]
    with pytest.raises(ValueError, match="observer 'manual' drew no sax slice of a train subject"):
        blocks.sample_table(cohort, "manual", "sax", pd.Series({"a": "test", "b": "validation", "c": "train"}))
    with pytest.raises(ValueError, match="drew no 4ch slice of a train or validation subject"):
        blocks.sample_table(cohort, "manual", "4ch", split)
    with pytest.raises(KeyError, match="no observer 'truth'"):
        blocks.sample_table(cohort, "truth", "sax", split)


def test_the_reader_gives_slice_centre_and_partial_labels(tmp_path):
    reader = slices.Reader([(annotated_cohort(tmp_path), "manual")], ("lv", "myo", "rv"))
    row = {"cine": "sub-a_view-sax", "frame": 2, "k": 1}
    reference, labels = reader.x(row), reader.y(row)
    assert (reference.frame, reference.k, reference.centre_px) == (2, 1, (21.5, 11.5))
    assert labels[11, 21] == 1 and set(np.unique(labels)) == {1, NOT_DRAWN}  # beside the LV: nobody drew the wall
    assert set(np.unique(reader.y(row | {"k": 0}))) == {255}


# --- labels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "drawn", "wanted", "labels"),
    [
        ([0, 1, 2, 3], ("lv", "myo", "rv"), (1, 2, 3), [0, 1, 2, 3]),
        ([0, 1, 2, 3], ("lv", "myo", "rv"), (1, 2), [0, 1, 2, 0]),  # what is not learnt becomes background
        (
            [0, 1, 2, 255],
            ("lv", "myo"),
            (1, 2, 3),
            [NOT_DRAWN, 1, 2, 255],
        ),  # an RV may hide in what looks like background
        ([0, 1, 2, 4], ("lv", "myo", "la"), (1, 2, 3), [NOT_DRAWN, 1, 2, NOT_DRAWN]),
        ([255, 255, 0, 0], ("lv",), (1,), [255, 255, 0, 0]),
        ([255, 255], (), (1,), [255, 255]),
    ],
)
def test_nothing_unannotated_is_background(mask, drawn, wanted, labels):
    result = slices.partial_labels(np.array([mask], np.uint8), drawn, wanted)
    assert result.dtype == np.uint8 and result.tolist() == [labels]


# --- one warp for image and labels -----------------------------------------------------------------------------------


OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = np.linalg.qr([[0.63, -0.41, -0.66], [0.78, 0.33, 0.53], [0, 0.85, -0.53]])[0]
"""Columns, rows and slices of a short-axis stack as hearts lie; its picture is the canonical display."""


def heart_of_labels(row_mm=1.5, column_mm=1.0, shape=(90, 120), directions=OBLIQUE, **known):
    """A cine whose pixels are 100 × its own labels: rings around (50, 40), an RV at its side; a lone slice."""
    rows, columns = np.indices(shape)
    radius = np.hypot((columns - 50) * column_mm, (rows - 40) * row_mm)
    labels = np.where(radius < 14, 1, np.where(radius < 24, 2, 0)).astype(np.uint8)
    labels[(np.hypot((columns - 84) * column_mm, (rows - 40) * row_mm) < 18) & (labels == 0)] = 3
    affine = directions @ np.diag([column_mm, row_mm, 8, 1.0])
    cine = Cine((labels * np.uint16(100))[None, None], affine, "sax", "a", **known)
    return SliceRef(cine, 0, 0, (58.0, 40.0)), labels


class Turning(RandomPlane):
    """Random geometry, intensities as they are."""

    def intensities(self, image):
        return image


@pytest.mark.parametrize("bend", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(8))
def test_image_and_labels_stay_together_under_random_planes(seed, bend):
    reference, labels = heart_of_labels()
    np.random.seed(seed)
    image, target = Turning(1.25, 96, scale=0.3, stretch=0.2, anywhere=0.3, bend=bend)(reference, labels)
    assert image.shape == (3, 96, 96) and target.shape == (96, 96)
    image, target = np.asarray(image[1]) * 3, np.asarray(target).astype(np.uint8)
    around = np.ones((7, 7))  # away from borders a pixel agrees with its neighbours, so there is nothing to interpolate
    flat = (cv2.erode(target, around) == cv2.dilate(target, around)) & (target != 255)
    np.testing.assert_allclose(image[flat], target[flat], atol=0.02)
    lv, near = target == 1, np.abs(image - 1) < 0.5  # and on the borders they part ways half-way
    assert flat.sum() > 200 and (lv & ~near).sum() + (near & ~lv & (target == 2)).sum() < 0.12 * max(lv.sum(), 100)


def test_the_image_ends_where_the_labels_say_nobody_looked():
    reference, labels = heart_of_labels(1.0, 1.0, (40, 40))
    image, target = CentrePlane(1.0, 64)(reference, labels)
    outside = np.asarray(target) == 255
    assert outside.sum() == 64 * 64 - 40 * 40 and (np.asarray(image)[:, outside] == 0).all()
    np.testing.assert_array_equal(np.asarray(target)[12:52, 12:52], labels)


def test_the_central_plane_asks_no_mask():
    reference, _ = heart_of_labels()
    blind = SliceRef(reference.cine, 0, 0, None)
    for plane in (CentrePlane(1.25, 64).plane(reference), CentrePlane(1.25, 64).plane(blind)):
        np.testing.assert_allclose(plane.back_points([[31.5, 31.5]]), [[59.5, 44.5]])  # the image's middle
        np.testing.assert_allclose(plane.matrix[:, :2], np.diag([1.25 / 1.0, 1.25 / 1.5]))


def test_random_planes_keep_the_heart_in_sight_and_never_mirror():
    reference, labels = heart_of_labels()
    np.random.seed(0)
    random = RandomPlane(1.25, 96, anywhere=0.0)
    planes = [random.plane(reference) for _ in range(200)]
    assert all(np.linalg.det(plane.matrix[:, :2]) > 0 for plane in planes)
    seen = [(plane.mask(labels) == 1).sum() for plane in planes]
    assert np.mean(np.array(seen) > 100) > 0.95
    angles = [np.degrees(np.arctan2(plane.matrix[1, 0] * 1.5, plane.matrix[0, 0])) for plane in planes]
    assert -60 < min(angles) < -30 and 30 < max(angles) < 60


def test_hearts_of_unknown_orientation_are_also_shown_in_the_other_seven_orders():
    reference, _ = heart_of_labels(directions=np.eye(4))
    np.random.seed(0)
    planes = [RandomPlane(1.25, 96, rotation_deg=0, reorient=0.5).plane(reference) for _ in range(400)]
    seen = {}
    for plane in planes:
        angle = np.degrees(np.arctan2(plane.matrix[1, 0] * 1.5, plane.matrix[0, 0])).round(-1) % 360
        way = (angle, np.linalg.det(plane.matrix[:, :2]) < 0)
        seen[way] = seen.get(way, 0) + 1
    assert len(seen) == 8 and 0.5 < seen[0, False] / 400 < 0.63  # half of them as stored, and an eighth of the rest


def test_unknown_pixel_sizes_are_drawn_from_their_range_and_guessed_in_its_middle():
    reference, _ = heart_of_labels(1.0, 1.0, spacing_known=False, meta={"spacing_range_mm": [1.2, 1.6]})
    np.random.seed(0)
    random = RandomPlane(1.4, 96, scale=0, stretch=0)
    sizes = [1.4 / np.sqrt(abs(np.linalg.det(random.plane(reference).matrix[:, :2]))) for _ in range(300)]
    assert 1.2 <= min(sizes) < 1.22 and 1.58 < max(sizes) <= 1.6
    step = CentrePlane(1.4, 64).plane(reference).matrix[0, 0]
    assert step == pytest.approx(1.4 / np.sqrt(1.2 * 1.6))


def test_detail_is_lost_or_edges_are_sharpened_and_the_mean_stays():
    image = np.zeros((32, 32, 3), np.float32)
    image[:, 16:] = 1
    coarse, sharp = blocks._resolved(image, -1), blocks._resolved(image, 1)
    assert coarse.shape == sharp.shape == image.shape
    assert np.abs(np.diff(coarse[5, :, 1])).max() < 0.8 and sharp.max() > 1.1 and sharp.min() == 0
    assert coarse.mean() == pytest.approx(0.5, abs=0.01)
    np.random.seed(0)
    random = RandomPlane(1.4, 32, resolution=1.0)
    assert all(np.isfinite(random.intensities(image)).all() for _ in range(50))


def test_bent_crops_hold_hearts_of_other_shapes():
    reference, labels = heart_of_labels(1.0, 1.0)
    still = {"rotation_deg": 0, "scale": 0, "stretch": 0, "shift_mm": 0, "anywhere": 0}

    def shares(bend):
        np.random.seed(0)
        masks = [np.asarray(RandomPlane(1.0, 96, bend=bend, **still)(reference, labels)[1]) for _ in range(60)]
        assert all(mask.shape == (96, 96) and {1, 2, 3} <= set(np.unique(mask)) for mask in masks)
        return np.array([(mask == 1).sum() / np.isin(mask, (1, 2)).sum() for mask in masks])  # cavity of the whole LV

    flat, bent = shares(0), shares(1)
    assert np.ptp(flat) == 0 and abs(np.median(bent) - flat[0]) < 0.02
    assert 0.02 < bent.std() < 0.15 and np.mean(bent == flat[0]) < 0.5


def test_training_is_random_validation_is_not():
    item, (reference, labels) = StandardSlice(CentrePlane(1.25, 64), RandomPlane(1.25, 64)), heart_of_labels()
    np.random.seed(0)
    first, second = (item((reference, labels), split_idx=0)[0] for _ in range(2))
    assert not torch.equal(first, second)
    for split in (1, None):
        one, two = (item((reference, labels), split_idx=split)[0] for _ in range(2))
        assert torch.equal(one, two) and torch.equal(one, CentrePlane(1.25, 64)(reference, labels)[0])


def test_standard_slices_are_the_window_mapped_to_one():
    reference, _ = heart_of_labels()
    cine = reference.cine
    low, high = cine.intensity_window()
    image = blocks.standard_slice(cine, 0, 0, CentrePlane(1.0, 32).plane(reference))
    assert image.shape == (32, 32, 3) and image.dtype == np.float32 and image.min() >= 0 and image.max() <= 1
    assert (low, high) == (0, 300)
    pair = replace(cine, pixels=np.concatenate([cine.pixels, cine.pixels[::-1, :, ::-1]]))
    for frame in (0, 1):  # of ED and ES alone, the other of the two
        plane = CentrePlane(1.0, 32).plane(reference)
        both = blocks.standard_slice(pair, frame, 0, plane, opposite=True)
        np.testing.assert_array_equal(both[..., :3], blocks.standard_slice(pair, frame, 0, plane))
        np.testing.assert_array_equal(both[..., 3], blocks.standard_slice(pair, 1 - frame, 0, plane)[..., 1])
    missing = replace(cine, pixels=np.concatenate([cine.pixels, 0 * cine.pixels]))
    alone = blocks.standard_slice(missing, 0, 0, plane, opposite=True)
    np.testing.assert_array_equal(alone[..., 3], alone[..., 1])
    ramp = Cine(np.tile(np.arange(1000, dtype=np.uint16), (1, 1, 32, 1)), np.eye(4), "sax", "a")
    shown = blocks.standard_slice(ramp, 0, 0, CentrePlane(1.0, 1024).plane(SliceRef(ramp, 0, 0)))
    assert (shown == 0).any() and (shown == 1).any()
    np.testing.assert_allclose(shown[512, 12 + 500, 1], (500 - 9.99) / (989.01 - 9.99), atol=1e-3)


# --- batches ---------------------------------------------------------------------------------------------------------


def test_a_batch_has_the_stated_shapes_and_types(cohort, samples):
    dls = loaders(cohort, samples, validation_size=32)
    for loader, size in ((dls.train, SIZE), (dls.valid, 32)):
        x, y = loader.one_batch()
        assert type(x) is TensorSlice and x.shape == (8, 3, size, size) and x.dtype == torch.float32
        assert type(y) is TensorLabels and y.shape == (8, size, size) and y.dtype == torch.int64
        assert set(y.unique().tolist()) <= {0, 1, 2, 3, 255}
    assert len(dls.train_ds) == (samples["split"] == "train").sum()
    assert len(dls.valid_ds) == (samples["split"] == "validation").sum()
    assert (dls.train.one_batch()[1] == 1).any()
    assert all(torch.equal(a[0], b[0]) for a, b in zip(dls.valid, dls.valid))


def test_test_time_slices_are_the_validation_slices(cohort, samples):
    row = samples[samples["split"] == "validation"].iloc[0]
    cine = cohort.cine(row["cine"])
    plane = CentrePlane(3.2, SIZE).plane(SliceRef(cine, row["frame"], row["k"]))
    x = loaders(cohort, samples).valid.one_batch()[0][0]
    expected = blocks.standard_slice(cine, row["frame"], row["k"], plane).transpose(2, 0, 1)
    np.testing.assert_array_equal(np.asarray(x), expected)


@pytest.mark.parametrize("part", ["train", "valid"])
def test_batches_show_themselves(cohort, samples, part):
    getattr(loaders(cohort, samples), part).show_batch(max_n=4, nrows=2)
    axes = [ax for ax in plt.gcf().axes if ax.images]
    assert len(axes) == 4 and all(len(ax.images) == 2 for ax in axes)  # the slice and its labels
    grey, overlay = axes[0].images
    assert grey.get_cmap().name == "gray" and grey.get_array().shape[:2] == overlay.get_array().shape == (SIZE, SIZE)
    assert overlay.get_array().max() <= 5  # 255 and NOT_DRAWN leave the picture as it is
    plt.close("all")


def test_clips_show_four_frames():
    ax = blocks.TensorClip(torch.rand(12, 16, 20)).show(ctx=plt.figure().add_subplot())
    assert ax.images[0].get_array().shape[:2] == (16, 80)
    plt.close("all")


def epochs(cohort, samples, order, seed=3):
    """Batches of training epochs as SeedEpochs deals them: epoch → list of tensors."""
    learn = Learner(loaders(cohort, samples), torch.nn.Conv2d(3, 4, 1), loss_func=torch.nn.CrossEntropyLoss())
    seeds, dealt = SeedEpochs(seed), {}
    seeds.learn = learn
    for epoch in order:
        learn.epoch = epoch
        seeds.before_epoch()
        dealt[epoch] = [t for batch in learn.dls.train for t in batch]
    return dealt


def test_an_epoch_is_dealt_by_seed_and_number_alone(cohort, samples):
    there, alone = epochs(cohort, samples, (0, 1, 2)), epochs(cohort, samples, (2,))
    assert all(torch.equal(a, b) for a, b in zip(there[2], alone[2], strict=True))
    assert not torch.equal(there[0][0], there[1][0])
    assert not torch.equal(there[2][0], epochs(cohort, samples, (2,), seed=4)[2][0])


def test_a_cohort_with_an_observer_of_its_own_run_is_sampled(cohort, samples, tmp_path):
    observer, name = Observer(tmp_path / "corrected"), samples["cine"][0]
    annotation = cohort.observer("truth").mask(name)
    observer.write(cohort.cine(name), Annotation(annotation.mask, {0: ("lv", "myo", "rv")}))
    again = Cohort.open(cohort.path, [tmp_path / "corrected"])
    other = samples["cine"][samples["split"] == "validation"].iloc[0]
    sides = pd.Series({name[4:9]: "train", other[4:9]: "validation"})
    with pytest.raises(ValueError, match="validation subject"):
        blocks.sample_table(again, "corrected", "sax", sides)
    observer.write(cohort.cine(other), Annotation(cohort.observer("truth").mask(other).mask, {1: ("lv", "myo", "rv")}))
    assert set(blocks.sample_table(again, "corrected", "sax", sides)["frame"]) == {0, 1}
