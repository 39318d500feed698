"""The augmentation that papers share: crops, rotations, scales and deformations of a heart, and its grey values."""

import cv2
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from cmrlib.cine import Cine
from cmrlib.learning import blocks
from cmrlib.learning.blocks import CentrePlane, RandomPlane, SliceRef
from cmrlib.papers.ternausnet.data import StandardSlice

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


def seen(warp, reference, labels, seed=0):
    """(image, labels) on the warp's grid; intensities as they are."""
    np.random.seed(seed)
    item = StandardSlice(warp, warp)
    warp.intensities = lambda image: image
    return item((reference, labels))


@pytest.mark.parametrize("elastic", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_image_and_labels_stay_together_under_random_planes(seed, elastic):
    reference, labels = heart_of_labels()
    warp = RandomPlane(1.25, 96, scale=0.3, stretch=0.2, anywhere=0.3, elastic=elastic)
    image, target = seen(warp, reference, labels, seed)
    assert image.shape == (3, 96, 96) and target.shape == (96, 96)
    image, target = np.asarray(image[1]) * 3, np.asarray(target).astype(np.uint8)
    around = np.ones((7, 7))  # away from borders a pixel agrees with its neighbours, so there is nothing to interpolate
    flat = (cv2.erode(target, around) == cv2.dilate(target, around)) & (target != 255)
    np.testing.assert_allclose(image[flat], target[flat], atol=0.02)
    lv, near = target == 1, np.abs(image - 1) < 0.5  # and on the borders they part ways half-way
    assert flat.sum() > 200 and (lv & ~near).sum() + (near & ~lv & (target == 2)).sum() < 0.12 * max(lv.sum(), 100)


def test_the_image_ends_where_the_labels_say_nobody_looked():
    reference, labels = heart_of_labels(1.0, 1.0, (40, 40))
    image, target = seen(CentrePlane(1.0, 64), reference, labels)
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
    visible = [(plane.mask(labels) == 1).sum() for plane in planes]
    assert np.mean(np.array(visible) > 100) > 0.95
    angles = [np.degrees(np.arctan2(plane.matrix[1, 0] * 1.5, plane.matrix[0, 0])) for plane in planes]
    assert -60 < min(angles) < -30 and 30 < max(angles) < 60


def test_hearts_of_unknown_orientation_are_also_shown_in_the_other_seven_orders():
    reference, _ = heart_of_labels(directions=np.eye(4))
    np.random.seed(0)
    planes = [RandomPlane(1.25, 96, rotation_deg=0, reorient=0.5).plane(reference) for _ in range(400)]
    counts = {}
    for plane in planes:
        angle = np.degrees(np.arctan2(plane.matrix[1, 0] * 1.5, plane.matrix[0, 0])).round(-1) % 360
        order = (angle, np.linalg.det(plane.matrix[:, :2]) < 0)
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 8 and 0.5 < counts[0, False] / 400 < 0.63  # half of them as stored, and an eighth of the rest


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


def test_elastic_deformations_hold_hearts_of_other_shapes():
    reference, labels = heart_of_labels(1.0, 1.0)
    still = {"rotation_deg": 0, "scale": 0, "stretch": 0, "shift_mm": 0, "anywhere": 0}

    def shares(elastic):
        np.random.seed(0)
        warp = RandomPlane(1.0, 96, elastic=elastic, **still)
        masks = [warp.plane(reference).mask(labels, outside=255) for _ in range(60)]
        assert all(mask.shape == (96, 96) and {1, 2, 3} <= set(np.unique(mask)) for mask in masks)
        return np.array([(mask == 1).sum() / np.isin(mask, (1, 2)).sum() for mask in masks])  # cavity of the whole LV

    flat, deformed = shares(0), shares(1)
    assert np.ptp(flat) == 0 and abs(np.median(deformed) - flat[0]) < 0.02
    assert 0.02 < deformed.std() < 0.15 and np.mean(deformed == flat[0]) < 0.5


def test_clips_show_four_frames():
    ax = blocks.TensorClip(torch.rand(12, 16, 20)).show(ctx=Figure().add_subplot())
    assert ax.images[0].get_array().shape[:2] == (16, 80)
