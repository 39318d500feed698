"""TernausNet: its shapes, its loss against a loop, and masks that land where they belong on the native grid."""

import pickle
from dataclasses import replace
from functools import partial
from itertools import product

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cmrlib.agreement.overlap import dice, score_observers
from cmrlib.cine import Cine, Plane
from cmrlib.cine.anatomy import VIEW_STRUCTURES, codes
from cmrlib.cine.display import Reorientation, reoriented
from cmrlib.cohort import Annotation, Cohort, Observer
from cmrlib.cohort.files import read_json
from cmrlib.cohort.splits import split_subjects
from cmrlib.learning.blocks import NOT_DRAWN, TensorLabels
from cmrlib.learning.training import loss_rows
from cmrlib.papers.ternausnet import (
    Preprocessing,
    SegmentationLoss,
    Segmenter,
    TernausNet,
    build,
    from_few_labels,
    gains,
    load_imagenet_encoder,
    segment_cohort,
    segmentation_learner,
    train_segmenter,
)
from cmrlib.papers.ternausnet.few import _scores
from cmrlib.papers.ternausnet.network import widen
from cmrlib.papers.ternausnet.prediction import copies_of

SAX = VIEW_STRUCTURES["sax"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- the network -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("classes", "width", "shape"), [(4, 4, (32, 32)), (6, 8, (64, 96)), (4, 6, (96, 32))])
def test_logits_have_the_shape_of_the_image(classes, width, shape):
    logits = TernausNet(classes, width).eval()(torch.zeros(2, 3, *shape))
    assert logits.shape == (2, classes, *shape) and logits.dtype == torch.float32


def test_width_64_is_vgg11_with_the_papers_decoder():
    with torch.device("meta"):
        model = TernausNet(4, 64)
    encoder = [tuple(m.weight.shape[:2]) for m in model.encoder.modules() if isinstance(m, nn.Conv2d)]
    assert encoder == [(64, 3), (128, 64), (256, 128), (256, 256), (512, 256), (512, 512), (512, 512), (512, 512)]
    # 3×3 convolutions without bias, two numbers of batch norm a channel
    assert sum(p.numel() for p in model.encoder.parameters()) == sum(9 * a * b + 2 * a for a, b in encoder)
    assert sum(p.numel() for p in model.parameters()) == 25_397_156
    up = [(m.in_channels, m.out_channels) for m in model.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert up == [(512, 256), (512, 256), (512, 128), (256, 64), (128, 32)]  # the paper's table of decoder blocks


def vgg11_bn():
    """torchvision's features and their state dict, random; the classifier's hundred million numbers stay unmade."""
    from torchvision.models import vgg11_bn as build_vgg

    with torch.device("meta"):
        vgg = build_vgg(weights=None)
    features, rng = vgg.features.to_empty(device="cpu").eval(), torch.Generator().manual_seed(1)
    for value in features.state_dict().values():
        if value.dtype.is_floating_point:
            value.uniform_(0.1, 1.0, generator=rng)
    return features, {f"features.{k}": v for k, v in features.state_dict().items()}


def test_torchvisions_vgg11_weights_fit_the_encoder(tmp_path):
    features, state = vgg11_bn()
    torch.save(state, tmp_path / "vgg.pth")
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "vgg.safetensors")
    x = torch.rand(1, 3, 32, 32)
    for name in ("vgg.pth", "vgg.safetensors"):
        model = TernausNet(4, 64).eval()
        load_imagenet_encoder(model, tmp_path / name)
        with torch.inference_mode():
            bias = state["features.0.bias"][:, None, None]
            vgg = features[1:3](features[0](x) - bias)  # batch norm after it has a shift of its own
            torch.testing.assert_close(model.encoder[0](x), vgg)
        assert torch.equal(model.encoder[4][1][1].running_mean, state["features.26.running_mean"])
        assert torch.equal(model.encoder[4][1][0].weight, state["features.25.weight"])


def test_weights_that_are_not_vgg11_bn_are_refused(tmp_path):
    _, state = vgg11_bn()
    torch.save({k: v for k, v in state.items() if not k.startswith("features.26.")}, tmp_path / "short.pth")
    with pytest.raises(ValueError, match="15 layers under `features`, expected 16: give .*VGG11 with batch norm"):
        load_imagenet_encoder(TernausNet(4, 64), tmp_path / "short.pth")
    torch.save(state, tmp_path / "vgg.pth")
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_imagenet_encoder(TernausNet(4, 8), tmp_path / "vgg.pth")
    (tmp_path / "poison.pth").write_bytes(pickle.dumps(Poison(tmp_path / "marker"), 2))
    with pytest.raises(pickle.UnpicklingError):
        load_imagenet_encoder(TernausNet(4, 64), tmp_path / "poison.pth")
    assert not (tmp_path / "marker").exists()


class Poison:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return partial(open, mode="w"), (self.marker,)


# --- the loss --------------------------------------------------------------------------------------------------------


def naive_loss(logits, target, structures):
    """The same by loops over pixels in float64."""
    logits, target, unit = logits.double().numpy(), target.numpy(), np.eye(logits.shape[1])
    channel = {0: 0} | {code: c for c, code in enumerate(codes(structures), 1)}
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    entropy, none_of, overlap = [], [], np.zeros((3, logits.shape[1]))
    for b, r, c in np.ndindex(target.shape):
        label = target[b, r, c]
        if label in channel:
            entropy.append(-np.log(p[b, channel[label], r, c]))
            overlap += [p[b, :, r, c] * unit[channel[label]], p[b, :, r, c], unit[channel[label]]]
        elif label == NOT_DRAWN:
            seen = {channel[x] for x in np.unique(target[b]) if x in channel}
            none_of.append(-np.log(sum(p[b, k, r, c] for k in range(p.shape[1]) if k not in seen)))
    scores = (2 * overlap[0] + 1) / (overlap[1] + overlap[2] + 1)
    cross_entropy = np.sum(entropy) / max(1, len(entropy))
    return cross_entropy + 1 - scores[1:].mean() + (np.mean(none_of) if none_of else 0)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kinds", [[0, 1, 2, 3], [0, 1, 2, 3, 255], [1, 2, 254, 255], [0, 3, 4, 255], [1, 254], [255]])
def test_the_loss_is_the_loop_over_pixels(seed, kinds):
    rng = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 4, 5, 6, generator=rng)
    target = torch.tensor(kinds)[torch.randint(len(kinds), (2, 5, 6), generator=rng)]
    target[1][target[1] == 1] = kinds[0]  # slices differ in what was drawn
    loss = SegmentationLoss(SAX)(logits, target)
    assert float(loss) == pytest.approx(naive_loss(logits, target, SAX), rel=1e-5)


def test_a_perfect_answer_costs_nothing_and_codes_are_not_channels():
    structures = ("lv", "la")  # codes 1 and 4, channels 1 and 2
    target = torch.randint(3, (2, 8, 8), generator=torch.Generator().manual_seed(0))
    logits = 50.0 * nn.functional.one_hot(target, 3).permute(0, 3, 1, 2)
    loss = SegmentationLoss(structures)
    labels = torch.tensor([0, 1, 4])[target]
    assert float(loss(logits, labels)) == pytest.approx(0, abs=1e-5)
    decoded = loss.decodes(logits)
    assert isinstance(decoded, TensorLabels) and torch.equal(torch.Tensor(decoded), labels.float())
    torch.testing.assert_close(loss.activation(logits).sum(1), torch.ones(2, 8, 8))


def test_what_nobody_annotated_has_no_gradient():
    target = torch.full((2, 6, 6), 255)
    target[0, :3], target[0, 1, 1] = 0, 1
    target[1, 4], target[1, 4, 2] = NOT_DRAWN, 2
    logits = torch.randn(2, 4, 6, 6, requires_grad=True)
    SegmentationLoss(SAX)(logits, target).backward()
    moved = (logits.grad != 0).any(1)
    assert torch.equal(moved, target != 255)
    # NOT_DRAWN: only "none of those drawn here" is asked for; the others share the blame
    pushed = logits.grad[1, :, 4, 0]
    assert pushed[2] > 0 and (pushed[[0, 1, 3]] < 0).all()


def test_a_batch_without_any_annotation_is_no_nan():
    logits = torch.randn(1, 4, 4, 4, requires_grad=True)
    loss = SegmentationLoss(SAX)(logits, torch.full((1, 4, 4), 255))
    loss.backward()
    assert torch.isfinite(loss) and not logits.grad.any()


# --- prediction by an oracle -----------------------------------------------------------------------------------------


class Oracle(TernausNet):
    """Reads the label out of the intensity: 0, 1/3, 2/3, 1 → background and three structures. `upright`: it knows only
    hearts whose RV lies left of the LV and sees nothing in others. (On blurred borders it reads what lies between.)"""

    def __init__(self, upright=False):
        super().__init__(4, 2)
        self.upright, self.batches = upright, []

    def forward(self, x):
        self.batches.append(tuple(x.shape))
        logits = -60 * (3 * x.float()[:, 1, None] - torch.arange(4)[:, None, None]) ** 2
        if self.upright:
            columns = torch.arange(x.shape[3])
            lv, rv = ((logits.argmax(1) == c).sum((0, 1)) for c in (1, 3))
            seen = (rv * columns).sum() / rv.sum() < (lv * columns).sum() / lv.sum() - 10
            logits = logits if seen else torch.tensor([9.0, 0, 0, 0])[:, None, None].expand_as(logits)
        return logits


def labelled_heart(shape=(96, 96), spacing_mm=(1.0, 1.0), slices=3, frames=2, centre_mm=(50, 46), spacing_known=True):
    """(cine, labels): LV in its wall, RV to the left, smaller from base to apex and in later frames."""
    labels = np.zeros((frames, slices, *shape), np.uint8)
    rows, columns = np.indices(shape)
    x, y = columns * spacing_mm[1] - centre_mm[0], rows * spacing_mm[0] - centre_mm[1]
    for t, k in np.ndindex(frames, slices):
        size = 1 - 0.05 * t - 0.08 * k
        labels[t, k][np.hypot(x + 26 * size, (y - 3) * 0.8) < 14 * size] = 3
        radius = np.hypot(x, y)
        labels[t, k][radius < 22 * size], labels[t, k][radius < 12 * size] = 2, 1
    affine = np.diag([*spacing_mm[::-1], 10.0, 1.0])
    phases = {"ed": 0, "es": 1 if frames > 1 else None}
    return Cine(labels * np.uint16(400), affine, "sax", "a", spacing_known=spacing_known, **phases), labels


def shortaxis(affine):
    """The directions of a short-axis stack as hearts lie, with the spacing of `affine`."""
    turn = np.eye(4)
    turn[:3, :3] = np.linalg.qr([[0.63, -0.41, -0.66], [0.78, 0.33, 0.53], [0, 0.85, -0.53]])[0]
    return turn @ affine


def quarter_turned(cine, turns):
    """The same heart laid differently into the image."""
    spacing = cine.spacing_mm[1:][:: -1 if turns % 2 == 0 else 1]
    return Cine(np.ascontiguousarray(np.rot90(cine.pixels, turns, (2, 3))), np.diag([*spacing, 10, 1]), "sax", "a")


def oracle(spacing_mm=1.0, upright=False, precision="fp32"):
    return Segmenter(Oracle(upright), Preprocessing("sax", spacing_mm, 64), SAX, precision)


def assert_same_heart(mask, expected, off_mm, spacing_mm=(1, 1), around=5):
    """Inside every structure each voxel has its label, and the heart as a whole lies where it should."""
    assert mask.shape == expected.shape and mask.dtype == np.uint8
    for t, k in np.ndindex(mask.shape[:2]):
        square = np.ones((around, around))
        inside = cv2.erode(expected[t, k], square) == cv2.dilate(expected[t, k], square)
        assert set(expected[t, k][inside]) == {0, 1, 2, 3}
        np.testing.assert_array_equal(mask[t, k][inside], expected[t, k][inside])
        found, wanted = (np.argwhere(x[t, k] > 0).mean(0) * spacing_mm for x in (mask, expected))
        np.testing.assert_allclose(found, wanted, atol=off_mm)


def test_on_its_own_grid_the_mask_is_exact():
    """A network that sees the cine's own pixels gives them back one by one: no half pixel, no blur."""
    cine, labels = labelled_heart()
    segmenter = oracle()
    plane = Plane.around((96, 96), 1, (96, 96))
    native = segmenter._native(segmenter._probabilities(cine, 1, plane), plane)
    assert native.shape == (3, 4, 96, 96)
    np.testing.assert_array_equal(segmenter._labels(native, "sax"), labels[1])
    np.testing.assert_allclose(native.sum(1), 1, atol=1e-5)


def test_what_a_crop_does_not_reach_is_background():
    cine, _ = labelled_heart()
    segmenter, plane = oracle(), Plane.around((96, 96), 1, (32, 32), (10, 10))
    native = segmenter._native(segmenter._probabilities(cine, 0, plane), plane)
    assert (native[:, 0, 40:, 40:] == 1).all() and not native[:, 1:, 40:, 40:].any()


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("copies", [1, 3])
def test_quarter_turns_come_back_where_they_belong(turns, copies):
    cine, labels = labelled_heart((96, 128), centre_mm=(70, 40))
    mask, confidence, _ = oracle(upright=True).predict(quarter_turned(cine, turns), copies=copies, clean=False)
    assert_same_heart(mask, np.rot90(labels, turns, (2, 3)), 0.15)
    assert (confidence > 0.85).all() if copies > 1 else np.isnan(confidence).all()


@pytest.mark.parametrize(("row_mm", "column_mm"), [(1.0, 1.6), (1.7, 0.9), (0.8, 0.8)])
@pytest.mark.parametrize("spacing_mm", [0.9, 1.4])
@pytest.mark.parametrize("turns", [0, 1])
def test_anisotropic_pixels_come_back_where_they_belong(row_mm, column_mm, spacing_mm, turns):
    cine, labels = labelled_heart((round(96 / row_mm), round(104 / column_mm)), (row_mm, column_mm), centre_mm=(56, 46))
    turned = quarter_turned(cine, turns)
    assert turned.spacing_mm[1:] == pytest.approx([(row_mm, column_mm), (column_mm, row_mm)][turns])
    mask, _, _ = oracle(spacing_mm, upright=True).predict(turned, copies=2, clean=False)
    assert_same_heart(mask, np.rot90(labels, turns, (2, 3)), 0.3, turned.spacing_mm[1:], around=7)


def test_the_surest_quarter_turn_is_looked_at():
    cine, _ = labelled_heart()
    for turns in range(4):
        turned = quarter_turned(cine, turns)
        plane = oracle(upright=True)._heart_planes(turned, [0, 1], copies_of(1))[0][0]
        seen = plane.mask(turned.pixels[0, 0] // 400)
        lv, rv = (np.argwhere(seen == code).mean(0) for code in (1, 3))
        assert rv[1] < lv[1] - 10 and abs(rv[0] - lv[0]) < 8, turns  # RV at the left, whatever the archive did
        assert max(plane.shape) <= 128 and plane.shape[0] % 32 == 0


def test_many_copies_are_scaled_too_and_come_back_where_they_belong():
    assert copies_of(1) == [(0.0, 1.0)] and [scale for _, scale in copies_of(3)] == [1.0] * 3
    for n in (4, 7, 13):
        angles, scales = np.array(copies_of(n)).T
        assert (len(set(scales.round(3))), angles[0], angles[-1]) == (n, -30, 30)
        assert np.abs(np.log(scales)).max() <= 0.14 and abs(np.log(scales).mean()) < 0.03
    cine, labels = labelled_heart()
    mask, confidence, _ = oracle().predict(cine, copies=7, clean=False)
    assert_same_heart(mask, labels, 0.15, around=7)
    assert (confidence > 0.85).all()


def test_frames_not_asked_for_are_not_annotated():
    cine, labels = labelled_heart(frames=4)
    mask, confidence, _ = oracle().predict(cine, frames=[2, 0], copies=2)
    assert (mask[[1, 3]] == 255).all() and not (mask[[0, 2]] == 255).any()
    assert np.isnan(confidence[[1, 3]]).all() and ((confidence[[0, 2]] > 0) & (confidence[[0, 2]] <= 1)).all()
    assert dice(mask[2], labels[2], 3) > 0.95


@pytest.mark.parametrize(("slices", "frames"), [(1, 1), (1, 5), (5, 2)])
def test_a_batch_never_crosses_a_frame(slices, frames):
    cine, labels = labelled_heart(slices=slices, frames=frames)
    segmenter = oracle()
    mask, confidence, _ = segmenter.predict(cine, copies=2)
    assert {shape[0] for shape in segmenter.network.batches} == {slices}
    assert all(size % 32 == 0 for shape in segmenter.network.batches for size in shape[2:])
    assert_same_heart(mask, labels, 0.2)
    assert confidence.shape == (frames,)


@pytest.mark.parametrize(("spacing_mm", "mirrored"), [(0.9, False), (1.3, True), (1.8, False), (2.4, True)])
def test_of_images_without_geometry_scale_and_mirror_are_found(spacing_mm, mirrored):
    """JPEGs: neither pixel size nor handedness is known. The oracle knows hearts with the RV at the left only."""
    cine, labels = labelled_heart(spacing_known=False)
    flip = slice(None, None, -1 if mirrored else 1)
    seen = replace(cine, pixels=np.ascontiguousarray(cine.pixels[..., flip]))
    mask, _, _ = oracle(spacing_mm, upright=True).predict(seen, copies=1, clean=False)
    assert_same_heart(mask, labels[..., flip], 0.4, around=7)
    assert len(oracle()._ways(seen)) == 24 and len(oracle()._ways(labelled_heart()[0])) == 8


def test_long_axis_codes_are_the_views_own():
    structures = VIEW_STRUCTURES["2ch"]  # LV, myocardium, LA: the third channel is code 4
    cine, labels = labelled_heart(slices=1)
    cine = replace(cine, view="2ch")
    segmenter = Segmenter(Oracle(), Preprocessing("2ch", 1.0, 64), structures, "fp32")
    mask, _, _ = segmenter.predict(cine, copies=1, clean=False)
    assert_same_heart(np.where(mask == 4, 3, mask).astype(np.uint8), labels, 0.2)
    assert set(np.unique(mask)) == {0, 1, 2, 4}


def test_one_network_for_the_long_axis_outlines_what_a_view_can_show():
    """Of a 2CH image the network may say RV; a 2CH view shows none, so that is background."""
    cine, labels = labelled_heart(slices=1)
    segmenter = Segmenter(Oracle(), Preprocessing("lax", 1.0, 64), ("lv", "myo", "rv"), "fp32")
    assert segmenter.views == ("4ch", "2ch", "3ch", "lax") and segmenter.structures_in("2ch") == ("lv", "myo")
    four, two = (segmenter.predict(replace(cine, view=view), copies=1, clean=False)[0] for view in ("4ch", "2ch"))
    assert_same_heart(four, labels, 0.2)
    assert (two != np.where(four == 3, 0, four)).mean() < 1e-3  # a pixel between two structures may go either way
    assert set(np.unique(two)) == {0, 1, 2}


def test_of_a_known_orientation_no_other_is_tried():
    cine, labels = labelled_heart()
    known = replace(cine, affine=shortaxis(cine.affine))
    mask, confidence, flags = oracle().predict(known, copies=2, clean=False)
    assert not flags and (confidence > 0.85).all() and len(oracle()._ways(known)) == 1
    assert_same_heart(mask, labels, 0.15)


@pytest.mark.parametrize("by", [Reorientation(*four) for four in product((False, True), repeat=4)])
def test_stored_in_any_order_the_mask_comes_back_on_the_files_own_grid(by):
    """The oracle knows hearts with the RV at the left only, and there is no search: the affine alone tells."""
    cine, labels = labelled_heart((96, 128), centre_mm=(70, 40), slices=4)
    known = replace(cine, affine=shortaxis(cine.affine))
    mask, _, flags = oracle(upright=True).predict(reoriented(known, by), copies=3, clean=False)
    assert not flags
    assert_same_heart(mask, by(labels), 0.15)


def test_orientations_that_suit_equally_but_disagree_lower_the_confidence():
    class Half(Oracle):
        """Outlines what lies in the upper half of the image: another half of the heart in each orientation."""

        def forward(self, x):
            logits = super().forward(x)
            upper = torch.arange(x.shape[2])[:, None] < x.shape[2] // 2
            return torch.where(upper, logits, torch.tensor([9.0, 0, 0, 0])[:, None, None])

    rows, columns = np.indices((96, 96))
    disc = (np.hypot(columns - 47.5, rows - 47.5) < 20).astype(np.uint16) * 400
    cine = Cine(np.broadcast_to(disc, (1, 3, 96, 96)).copy(), np.diag([1, 1, 10, 1.0]), "sax", "a")
    segmenter = Segmenter(Half(), Preprocessing("sax", 1.0, 64), SAX, "fp32")
    _, (searched,), _ = segmenter.predict(cine, copies=3, clean=False)
    _, (known,), _ = segmenter.predict(replace(cine, affine=shortaxis(cine.affine)), copies=3, clean=False)
    assert searched < 0.5 * known


def test_an_empty_image_is_an_empty_mask():
    cine, _ = labelled_heart()
    mask, confidence, flags = oracle().predict(Cine(cine.pixels * 0, cine.affine, "sax", "a"), copies=2)
    assert not mask.any() and flags == ["orientation_searched"] and np.isnan(confidence).all()


def test_confidence_falls_where_copies_disagree():
    cine, _ = labelled_heart()
    sure = oracle().predict(cine, copies=3)[1].mean()
    torch.manual_seed(0)
    doubtful = Segmenter(TernausNet(4, 4), Preprocessing("sax", 1.0, 64), SAX, "fp32").predict(cine, copies=3)[1]
    assert np.nanmax(doubtful) < sure <= 1


def test_corrections_are_flags_and_optional():
    cine, labels = labelled_heart()
    pixels = cine.pixels.copy()
    pixels[:, :, 80:84, 84:88] = 400  # an island of LV, off the heart but within the close look
    cine = Cine(pixels, cine.affine, "sax", "a")
    raw, _, none = oracle().predict(cine, copies=1, clean=False)
    clean, _, flags = oracle().predict(cine, copies=1)
    assert none == ["orientation_searched"]
    assert (raw[:, :, 81:83, 85:87] == 1).all() and not clean[:, :, 80:84, 84:88].any()
    assert any(flag.startswith("lv_island_removed") for flag in flags) and dice(clean[0], labels[0], 3) > 0.95


def test_impossible_wishes_are_refused():
    with pytest.raises(ValueError, match="copies must be 1 or more, got 0"):
        oracle().predict(labelled_heart()[0], copies=0)
    with pytest.raises(ValueError, match="no frame"):
        oracle().predict(labelled_heart()[0], frames=[])
    with pytest.raises(ValueError, match="these are weights of 'MVnet'"):
        build({"name": "MVnet"})


# --- the same for a cohort -------------------------------------------------------------------------------------------


def saved(tmp_path):
    torch.manual_seed(2)
    segmenter = Segmenter(TernausNet(4, 4), Preprocessing("sax", 3.2, 64), SAX)
    segmenter.save(tmp_path / "sax", seed=1)
    return segmenter


def test_a_saved_segmenter_sees_the_same(cohort, tmp_path):
    segmenter, cine = saved(tmp_path), cohort.cine("sub-P0001_view-sax")
    again = Segmenter.load(tmp_path / "sax")
    assert again.preprocessing == segmenter.preprocessing and again.structures == SAX
    for one, other in zip(segmenter.predict(cine, [0]), again.predict(cine, [0])):
        np.testing.assert_array_equal(one, other)
    segmenter.predict(cine, [0])
    segmenter.save(tmp_path / "again")  # after work, too
    for name, value in Segmenter.load(tmp_path / "again").model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])


def test_several_networks_answer_with_their_mean(cohort, samples, tmp_path):
    singles = []
    for seed in (2, 3):
        torch.manual_seed(seed)
        singles.append(Segmenter(TernausNet(4, 4), Preprocessing("sax", 3.2, 64), SAX, "fp32"))
    both, x = Segmenter.together(singles), torch.rand(2, 3, 64, 64)
    mean = (singles[0].infer(x) + singles[1].infer(x)) / 2
    torch.testing.assert_close(both.infer(x), mean, atol=1e-5, rtol=1e-4)
    assert (mean - singles[0].infer(x)).abs().max() > 0.01
    both.save(tmp_path / "both", seed=2)
    assert read_json(tmp_path / "both.json")["architecture"]["members"] == 2
    again = Segmenter.load(tmp_path / "both", "fp32")
    torch.testing.assert_close(again.infer(x), mean, atol=1e-5, rtol=1e-4)
    assert Segmenter.together(singles[:1]).model is singles[0].model
    tuned = segmentation_learner(cohort, "truth", samples, both.preprocessing, None, 4, start_from=tmp_path / "both")
    loss = tuned.loss_func(tuned.model(x), torch.zeros(2, 64, 64))
    loss.backward()
    assert all(member.head.weight.grad.abs().sum() > 0 for member in tuned.model.members)
    other = Segmenter(TernausNet(4, 4), Preprocessing("sax", 3.0, 64), SAX, "fp32")
    with pytest.raises(ValueError, match="only segmenters of one kind work together"):
        Segmenter.together([singles[0], other])


def test_a_network_that_sees_the_opposite_phase_starts_from_one_that_does_not(cohort, samples, tmp_path):
    known, cine = saved(tmp_path), cohort.cine("sub-P0001_view-sax")
    sees = replace(known.preprocessing, opposite=True)
    learner = segmentation_learner(cohort, "truth", samples, sees, None, 4, start_from=tmp_path / "sax")
    wide = Segmenter(learner.model, sees, SAX, known.precision)
    for one, other in zip(known.predict(cine, [0]), wide.predict(cine, [0])):
        np.testing.assert_array_equal(one, other)  # at first it says what it said before
    x, y = learner.dls.train.one_batch()
    learner.loss_func(learner.model.train()(x), y).backward()
    learner.model.encoder[0][0].weight.data -= learner.model.encoder[0][0].weight.grad
    Segmenter(learner.model, sees, SAX).save(tmp_path / "wide")
    again = Segmenter.load(tmp_path / "wide", "fp32")
    assert again.preprocessing == sees and read_json(tmp_path / "wide.json")["architecture"]["channels"] == 4
    batch = torch.rand(1, 4, 64, 64)
    assert not torch.equal(again.infer(batch), again.infer(batch * torch.tensor([1, 1, 1, 0])[:, None, None]))
    with pytest.raises(ValueError, match="wide also sees each slice half a cycle later; continue from it with"):
        segmentation_learner(cohort, "truth", samples, known.preprocessing, None, 4, start_from=tmp_path / "wide")
    both = Segmenter.together([known, known]).model
    assert [member.encoder[0][0].in_channels for member in widen(both, 4).members] == [4, 4]


def test_a_training_without_validation_subjects_ends_too(cohort, samples):
    everybody = samples.assign(split="train").iloc[::4]
    _, learner = train_segmenter(cohort, "truth", everybody, Preprocessing("sax", 3.2, 64), 2, 1, width=4, batch_size=4)
    losses = pd.DataFrame(loss_rows(learner, "sax"))
    assert np.isfinite(losses["train"]).all() and losses["validation"].isna().all() and len(losses) == 2


def test_fewer_slices_than_a_batch_are_learned_from(cohort, samples):
    few = samples.assign(split="train").iloc[:3]
    _, learner = train_segmenter(cohort, "truth", few, Preprocessing("sax", 3.2, 64), 1, 1, width=4, batch_size=64)
    assert len(learner.recorder.losses) == 1 and np.isfinite(learner.recorder.losses[0])


def test_folding_batch_norm_changes_nothing():
    torch.manual_seed(3)
    model = TernausNet(4, 4)
    for _ in range(3):
        model(torch.rand(4, 3, 32, 32))  # statistics that are not the initial ones
    segmenter, x = Segmenter(model, Preprocessing(), SAX), torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(segmenter.network(x), segmenter.model(x), atol=1e-5, rtol=1e-4)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in segmenter.network.modules())
    assert sum(isinstance(m, nn.BatchNorm2d) for m in segmenter.model.modules()) == 14 and not segmenter.model.training


def test_fp32_and_bf16_agree(cohort, tmp_path):
    saved(tmp_path)
    cine = cohort.cine("sub-P0002_view-sax")
    fast, exact = (Segmenter.load(tmp_path / "sax", precision) for precision in ("bf16", "fp32"))
    plane = exact._heart_planes(cine, [0], copies_of(1))[0][0]
    close = np.abs(fast._probabilities(cine, 0, plane) - exact._probabilities(cine, 0, plane))
    assert close.max() < 0.05 and close.mean() < 0.005


def test_a_cohort_gets_one_more_observer(cohort, tmp_path):
    segmenter = saved(tmp_path)
    table = segment_cohort(cohort, {"sax": segmenter}, tmp_path / "ternausnet", ["P0001", "P0004"], copies=2)
    assert list(table) == ["participant_id", "session", "cine", "view", "frames", "confidence", "seconds", "flags"]
    assert table["participant_id"].tolist() == ["P0001", "P0004"] and table["frames"].tolist() == [4, 4]
    assert (table["seconds"] > 0).all() and (table["session"] == "").all()
    looked = Cohort.open(cohort.path, [tmp_path / "ternausnet"])
    annotation = looked.observer("ternausnet").mask("sub-P0001_view-sax")
    assert annotation.annotated == dict.fromkeys(range(4), SAX) and set(np.unique(annotation.mask)) <= {0, 1, 2, 3}
    assert not looked.observer("ternausnet").has("sub-P0002_view-sax")
    scores = score_observers(looked, "truth", "ternausnet")
    assert set(scores["participant_id"]) == {"P0001", "P0004"}
    mask, confidence, _ = segmenter.predict(cohort.cine("sub-P0004_view-sax"), copies=2)
    np.testing.assert_array_equal(looked.observer("ternausnet").mask("sub-P0004_view-sax").mask, mask)
    cine = cohort.cine("sub-P0004_view-sax")
    assert table["confidence"][1] == pytest.approx(np.nanmean(confidence[[cine.ed, cine.es]]), nan_ok=True)


def test_only_frames_that_the_reference_drew(cohort, tmp_path):
    name = "sub-P0003_view-sax"
    mask = np.full(cohort.cine(name).pixels.shape, 255, np.uint8)
    mask[1] = 0
    Observer(tmp_path / "reader").write(cohort.cine(name), Annotation(mask, {1: SAX}))
    looked = Cohort.open(cohort.path, [tmp_path / "reader"])
    few = {"subjects": ["P0003", "P0005"], "reference": "reader", "whole_cycle": False, "copies": 1}
    table = segment_cohort(looked, {"sax": saved(tmp_path)}, tmp_path / "net", **few)
    assert table["cine"].tolist() == [name] and table["frames"].tolist() == [1]  # nobody drew P0005
    assert list(Observer(tmp_path / "net").mask(name).annotated) == [1]
    with pytest.raises(ValueError, match="no cine of the views 4ch among these subjects"):
        segment_cohort(looked, {"4ch": saved(tmp_path)}, tmp_path / "net")


# --- learning --------------------------------------------------------------------------------------------------------


def test_a_segmenter_learns_resumes_and_is_fine_tuned(cohort, samples, tmp_path):
    settings = {"width": 4, "batch_size": 8}
    common = (cohort, "truth", samples, Preprocessing("sax", 3.2, 64))
    segmenter, learn = train_segmenter(*common, 3, seed=1, checkpoint=tmp_path / "sax.pt", **settings)
    assert learn.recorder.values[-1][0] < learn.recorder.values[0][0] and not segmenter.model.training
    again, _ = train_segmenter(*common, 3, seed=1, checkpoint=tmp_path / "sax.pt", **settings)
    for name, value in segmenter.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])
    other = Preprocessing("sax", 3.0, 64)
    with pytest.raises(ValueError, match="other settings"):
        train_segmenter(*common[:3], other, 3, seed=1, checkpoint=tmp_path / "sax.pt", **settings)
    segmenter.save(tmp_path / "sax")
    tuned = segmentation_learner(*common, start_from=tmp_path / "sax", **settings)
    assert tuned.model.training
    assert all(torch.equal(v, segmenter.model.state_dict()[k]) for k, v in tuned.model.state_dict().items())


def test_results_show_themselves(cohort, samples):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    learn = segmentation_learner(cohort, "truth", samples, Preprocessing("sax", 3.2, 64), width=4)
    with learn.no_bar():
        learn.show_results(max_n=2)
    shown = [ax for ax in plt.gcf().axes if ax.images]
    assert len(shown) == 4 and all(len(ax.images) == 2 for ax in shown)  # truth and prediction, over the slice
    plt.close("all")


def test_few_labels_with_and_without_a_start(cohort, tmp_path, monkeypatch):
    saved(tmp_path)
    split = split_subjects(cohort.subjects)
    split[:] = ["test", "validation", "train", "train", "train", "test"]
    order = (cohort, "truth", split, [1, 2], [1, 2], tmp_path / "sax", Preprocessing("sax", 3.2, 64))
    seen = {}

    def spy(cohort, observer, samples, preprocessing, epochs, seed, *rest, **learner):
        subjects = set(samples.loc[samples["split"] == "train", "cine"])
        seen[len(subjects), seed, "start_from" in learner] = subjects, (samples["split"] == "validation").sum()
        return train_segmenter(cohort, observer, samples, preprocessing, epochs, seed, *rest, **learner)

    monkeypatch.setattr("cmrlib.papers.ternausnet.few.train_segmenter", spy)
    table = from_few_labels(*order, steps=2, batch_size=4, state=tmp_path)
    assert len(table) == 2 * 2 * 2 * 2 * 2 * 3 and set(table["participant_id"]) == set(split.index[split == "test"])
    assert len(seen) == 8 and all(seen[n, seed, True] == seen[n, seed, False] for n in (1, 2) for seed in (1, 2))
    worth = gains(table)
    assert list(worth["labelled"]) == [1, 2] and list(worth["n_seeds"]) == [2, 2]
    np.testing.assert_allclose(worth["gain"], worth["pretrained"] - worth["scratch"])
    monkeypatch.setattr(Segmenter, "predict", None)  # found again, nothing is segmented twice
    pd.testing.assert_frame_equal(from_few_labels(*order, steps=2, batch_size=4, state=tmp_path), table)
    monkeypatch.undo()
    nobody, subjects = Observer(tmp_path / "nobody"), split.index[split == "test"]
    for name in cohort.cines["cine"]:  # another reference has scores of its own
        known = cohort.observer("truth").mask(name)
        nobody.write(cohort.cine(name), replace(known, mask=np.zeros_like(known.mask)))
    other = Cohort.open(cohort.path, [tmp_path / "nobody"])
    scores = [
        _scores(other, name, Segmenter.load(tmp_path / "sax"), subjects, tmp_path) for name in ("truth", "nobody")
    ]
    assert not scores[1].equals(scores[0]) and not scores[1]["dice"].sum()
    with pytest.raises(ValueError, match="9 labelled subjects were asked for, but only 3 train"):
        from_few_labels(cohort, "truth", split, [9], *order[4:], state=tmp_path)
