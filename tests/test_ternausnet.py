"""TernausNet: its shapes, its loss against a loop, and masks that land where they belong on the native grid."""

import pickle
from dataclasses import replace
from itertools import product

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cmrlib.agreement.overlap import dice, score_observers
from cmrlib.cine import Cine, Plane
from cmrlib.cine.anatomy import VIEW_STRUCTURES, codes, views_of
from cmrlib.cine.display import Reorientation, reoriented
from cmrlib.cohort import Annotation, Cohort, Observer
from cmrlib.cohort.pooled import Pooled
from cmrlib.cohort.splits import split_subjects
from cmrlib.cohort.study import Study, finish_cohort, write_study
from cmrlib.learning.blocks import CentrePlane, SliceRef
from cmrlib.learning.inference import infer, optimise_for_inference
from cmrlib.learning.task import Task
from cmrlib.papers.ternausnet import Segmentation, SegmentationLoss, TernausNet, load_imagenet_encoder
from cmrlib.papers.ternausnet.data import (
    NOT_DRAWN,
    SliceReader,
    TensorLabels,
    TensorSlice,
    partial_labels,
    slice_table,
    standard_slice,
)
from cmrlib.papers.ternausnet.prediction import CineSegmentation, augmentations, nan_mean

SAX = VIEW_STRUCTURES["sax"]
SMALL = Segmentation(("sax",), 3.2, 64, 64, 4)


# --- the network -----------------------------------------------------------------------------------------------------


def test_width_64_is_vgg11_with_the_papers_decoder():
    assert TernausNet(6, 4).eval()(torch.zeros(2, 3, 64, 96)).shape == (2, 6, 64, 96)
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
    """torchvision's state dict, random; the classifier's hundred million numbers stay unmade."""
    from torchvision.models import vgg11_bn as build_vgg

    with torch.device("meta"):
        vgg = build_vgg(weights=None)
    features, rng = vgg.features.to_empty(device="cpu").eval(), torch.Generator().manual_seed(1)
    for value in features.state_dict().values():
        if value.dtype.is_floating_point:
            value.uniform_(0.1, 1.0, generator=rng)
    return {f"features.{k}": v for k, v in features.state_dict().items()}


def test_torchvisions_vgg11_weights_fit_the_encoder_and_others_are_refused(tmp_path, poison):
    state = vgg11_bn()
    torch.save(state, tmp_path / "vgg.pth")
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "vgg.safetensors")
    for name in ("vgg.pth", "vgg.safetensors"):
        model = TernausNet(4, 64).eval()
        load_imagenet_encoder(model, tmp_path / name)
        assert torch.equal(model.encoder[4][1][1].running_mean, state["features.26.running_mean"])
        assert torch.equal(model.encoder[4][1][0].weight, state["features.25.weight"])
    torch.save({k: v for k, v in state.items() if not k.startswith("features.26.")}, tmp_path / "short.pth")
    (tmp_path / "poison.pth").write_bytes(poison.pickle)
    for name, width, error, reason in (
        ("short.pth", 64, ValueError, "15 layers under `features`, expected 16: give .*VGG11 with batch norm"),
        ("vgg.pth", 8, RuntimeError, "size mismatch"),
        ("poison.pth", 8, pickle.UnpicklingError, "Weights only load failed"),
    ):
        with pytest.raises(error, match=reason):
            load_imagenet_encoder(TernausNet(4, width), tmp_path / name)
    assert not poison.marker.exists()


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


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("structures", "kinds"),
    [(SAX, kinds) for kinds in ([0, 1, 2, 3, 255], [1, 2, 254, 255], [0, 3, 4, 255], [1, 254], [255])]
    + [(("lv", "myo", "la"), [0, 1, 2, 4])],  # codes are not channels
)
def test_the_loss_is_the_loop_over_pixels(seed, structures, kinds):
    rng = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 4, 5, 6, generator=rng)
    target = torch.tensor(kinds)[torch.randint(len(kinds), (2, 5, 6), generator=rng)]
    target[1][target[1] == 1] = kinds[0]  # slices differ in what was drawn
    loss, logits = SegmentationLoss(structures), logits.requires_grad_()
    value = loss(logits, target)
    assert value.item() == pytest.approx(naive_loss(logits.detach(), target, structures), rel=1e-5)
    value.backward()
    assert not logits.grad.movedim(1, -1)[~torch.isin(target, torch.tensor([254, 0, *codes(structures)]))].any()
    decoded = loss.decodes(logits)
    assert isinstance(decoded, TensorLabels) and set(decoded.unique().int().tolist()) <= {0, *codes(structures)}


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


def found_by(model, cine, frames=None, n_tta=1, spacing_mm=1.0, clean=False, views=("sax",)):
    """(mask, confidence of each frame, flags) by a network, in fp32."""
    mask, confidence, flags = Segmentation(views, spacing_mm).segment(model.eval(), cine, frames, n_tta, clean, "fp32")
    return mask, nan_mean(confidence, 1), flags


def looking(cine, upright=False, spacing_mm=1.0):
    return CineSegmentation(Segmentation(("sax",), spacing_mm), Oracle(upright).eval(), cine, "fp32")


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
    """A network that sees the cine's own pixels gives them back one by one: no half pixel, no blur. What a crop does
    not reach is background."""
    cine, labels = labelled_heart()
    seen, plane = looking(cine), Plane.around((96, 96), 1, (96, 96))
    native = seen._native(seen._probabilities(seen._images(1), plane), plane)
    assert native.shape == (3, 4, 96, 96)
    np.testing.assert_array_equal(seen._labels(native), labels[1])
    np.testing.assert_allclose(native.sum(1), 1, atol=1e-5)
    plane = Plane.around((96, 96), 1, (32, 32), (10, 10))
    native = seen._native(seen._probabilities(seen._images(0), plane), plane)
    assert (native[:, 0, 40:, 40:] == 1).all() and not native[:, 1:, 40:, 40:].any()


@pytest.mark.parametrize(
    ("mm", "spacing_mm", "turns", "n_tta"),
    [((1.0, 1.0), 1.0, turns, n_tta) for turns, n_tta in ((0, 1), (1, 3), (2, 1), (3, 3))]
    + [(mm, step, turns, 2) for mm, step in (((1.0, 1.6), 0.9), ((1.7, 0.9), 1.4)) for turns in (0, 1)],
)
def test_turned_and_anisotropic_images_come_back_where_they_belong(mm, spacing_mm, turns, n_tta):
    cine, labels = labelled_heart((round(96 / mm[0]), round(110 / mm[1])), mm, centre_mm=(60, 44))
    turned, flat = quarter_turned(cine, turns), mm[0] == mm[1]
    assert turned.spacing_mm[1:] == pytest.approx([mm, mm[::-1]][turns % 2])
    mask, confidence, _ = found_by(Oracle(upright=True), turned, n_tta=n_tta, spacing_mm=spacing_mm)
    off_mm, around = (0.15, 5) if flat else (0.3, 7)
    assert_same_heart(mask, np.rot90(labels, turns, (2, 3)), off_mm, turned.spacing_mm[1:], around)
    assert (confidence > 0.8).all() if n_tta > 1 else np.isnan(confidence).all()


def test_many_passes_are_scaled_too_and_come_back_where_they_belong():
    assert augmentations(1) == [(0.0, 1.0)] and [scale for _, scale in augmentations(3)] == [1.0] * 3
    for n in (4, 7, 13):
        angles, scales = np.array(augmentations(n)).T
        assert (len(set(scales.round(3))), angles[0], angles[-1]) == (n, -30, 30)
        assert np.abs(np.log(scales)).max() <= 0.14 and abs(np.log(scales).mean()) < 0.03
    cine, labels = labelled_heart()
    mask, confidence, _ = found_by(Oracle(), cine, n_tta=7)
    assert_same_heart(mask, labels, 0.15, around=7)
    assert (confidence > 0.85).all()
    with pytest.raises(ValueError, match="n_tta must be 1 or more"):
        augmentations(0)


def test_frames_not_asked_for_are_not_annotated_and_a_batch_never_crosses_a_frame():
    (cine, labels), model = labelled_heart(frames=4), Oracle()
    mask, confidence, _ = found_by(model, cine, [2, 0], 2)
    assert (mask[[1, 3]] == 255).all() and not (mask[[0, 2]] == 255).any()
    assert np.isnan(confidence[[1, 3]]).all() and ((confidence[[0, 2]] > 0) & (confidence[[0, 2]] <= 1)).all()
    assert dice(mask[2], labels[2], 3) > 0.95
    assert {shape[0] for shape in model.batches} == {3}
    assert all(size % 32 == 0 for shape in model.batches for size in shape[2:])
    with pytest.raises(ValueError, match="no frame"):
        found_by(model, cine, [])


@pytest.mark.parametrize(("spacing_mm", "mirrored"), [(0.9, False), (2.4, True)])
def test_of_images_without_geometry_scale_and_mirror_are_found(spacing_mm, mirrored):
    """JPEGs: neither pixel size nor handedness is known. The oracle knows hearts with the RV at the left only."""
    cine, labels = labelled_heart(spacing_known=False)
    flip = slice(None, None, -1 if mirrored else 1)
    seen = replace(cine, pixels=np.ascontiguousarray(cine.pixels[..., flip]))
    mask, _, _ = found_by(Oracle(upright=True), seen, spacing_mm=spacing_mm)
    assert_same_heart(mask, labels[..., flip], 0.4, around=7)
    assert len(looking(seen)._orientations()) == 24 and len(looking(labelled_heart()[0])._orientations()) == 8


def test_one_network_for_the_long_axis_outlines_what_a_view_can_show():
    """Channels are the task's structures, not codes; of a 2CH image the network may say RV, which is background."""
    cine, labels = labelled_heart(slices=1)
    assert Segmentation(("2ch",)).structures == VIEW_STRUCTURES["2ch"] == ("lv", "myo", "la")
    mask, _, _ = found_by(Oracle(), replace(cine, view="2ch"), views=("2ch",))
    assert set(np.unique(mask)) == {0, 1, 2, 4}
    assert_same_heart(np.where(mask == 4, 3, mask).astype(np.uint8), labels, 0.2)
    model, lax = TernausNet(6, 4), Segmentation(views_of("lax"), 1.0)
    assert lax.structures == VIEW_STRUCTURES["lax"] and len(lax.loss().channel.unique()) == 7
    model.head.weight.data[:], model.head.bias.data[:] = 0, torch.tensor([0.0, 0, 0, 5, 0, 1])  # RV, then RA
    four, two = (lax.segment(model, replace(cine, view=view), n_tta=1, clean=False)[0] for view in ("4ch", "2ch"))
    assert (four == 3).any() and set(np.unique(two)) == {0}


@pytest.mark.parametrize("by", [Reorientation(*four) for four in product((False, True), repeat=4)][::3])
def test_stored_in_any_order_the_mask_comes_back_on_the_files_own_grid(by):
    """The oracle knows hearts with the RV at the left only, and there is no search: the affine alone tells."""
    cine, labels = labelled_heart((96, 128), centre_mm=(70, 40), slices=4)
    known = replace(cine, affine=shortaxis(cine.affine))
    mask, _, flags = found_by(Oracle(upright=True), reoriented(known, by), n_tta=3)
    assert not flags and len(looking(known)._orientations()) == 1
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
    _, (searched,), _ = found_by(Half(), cine, n_tta=3)
    _, (known,), _ = found_by(Half(), replace(cine, affine=shortaxis(cine.affine)), n_tta=3)
    assert searched < 0.5 * known


def test_confidence_falls_where_passes_disagree_islands_go_and_an_empty_image_is_an_empty_mask():
    cine, _ = labelled_heart()
    torch.manual_seed(0)
    assert np.nanmax(found_by(TernausNet(4, 4), cine, n_tta=3)[1]) < found_by(Oracle(), cine, n_tta=3)[1].mean() <= 1
    pixels = cine.pixels.copy()
    pixels[:, :, 80:84, 84:88] = 400  # an island of LV, off the heart but within the crop
    island = replace(cine, pixels=pixels)
    (raw, _, none), (clean, _, flags) = (found_by(Oracle(), island, clean=clean) for clean in (False, True))
    assert none == ["orientation_searched"] and any(flag.startswith("lv_island_removed") for flag in flags)
    assert (raw[:, :, 81:83, 85:87] == 1).all() and not clean[:, :, 80:84, 84:88].any()
    mask, confidence, flags = found_by(Oracle(), replace(cine, pixels=cine.pixels * 0), n_tta=2, clean=True)
    assert not mask.any() and flags == ["orientation_searched"] and np.isnan(confidence).all()


# --- the same for a cohort -------------------------------------------------------------------------------------------


def network(seed=2):
    torch.manual_seed(seed)
    return SMALL.network().eval()


def test_an_ensemble_answers_with_its_mean_probability_and_comes_back_with_its_card(cohort, tmp_path):
    models, x = [network(2), network(3)], torch.rand(2, 3, 64, 64)
    single = [model(x).softmax(1).detach() for model in models]
    torch.testing.assert_close(infer(models, x, "fp32"), (single[0] + single[1]) / 2, atol=1e-5, rtol=1e-4)
    SMALL.save(models, tmp_path / "sax", seed=1)
    task, again, card = Task.load(tmp_path / "sax")
    assert task == SMALL and card["seed"] == 1 and card["architecture"] == {"name": "Segmentation", "n_models": 2}
    cine = cohort.cine("sub-P0001_view-sax")
    for one, other in zip(SMALL.segment(models, cine, [0]), task.segment(again, cine, [0])):
        np.testing.assert_array_equal(one, other)


def test_a_network_that_sees_the_antiphase_starts_from_one_that_does_not(cohort):
    known, cine, wide = network(), cohort.cine("sub-P0001_view-sax"), replace(SMALL, antiphase=True)
    model = wide.continue_from(SMALL, known)
    for one, other in zip(SMALL.segment(known, cine, [0]), wide.segment(model, cine, [0])):
        np.testing.assert_array_equal(one, other)  # at first it says what it said before
    assert wide.network().encoder[0][0].weight.shape == model.encoder[0][0].weight.shape == (4, 4, 3, 3)
    with pytest.raises(ValueError, match="cannot continue from"):
        SMALL.continue_from(wide, model)
    same = SMALL.continue_from(SMALL, known)
    assert same is not known and torch.equal(same.head.weight, known.head.weight)


def test_folded_batch_norm_and_bf16_agree_with_the_plain_network(cohort):
    torch.manual_seed(3)
    model = TernausNet(4, 4)
    for _ in range(3):
        model(torch.rand(4, 3, 32, 32))  # statistics that are not the initial ones
    fast, x = optimise_for_inference(model), torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(infer(fast, x, "fp32"), infer(model, x, "fp32"), atol=1e-5, rtol=1e-4)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fast.modules())
    close = (infer(fast, x, "bf16") - infer(model, x, "fp32")).abs()
    assert close.max() < 0.05 and close.mean() < 0.005


def test_a_cohort_gets_one_more_observer(cohort, tmp_path):
    model, cine = network(), cohort.cine("sub-P0004_view-sax")
    table = SMALL.predict(model, cohort, ["P0001", "P0004"], out=tmp_path / "ternausnet", n_tta=2)
    assert table["participant_id"].tolist() == ["P0001", "P0004"] and table["frames"].tolist() == [4, 4]
    seen = Cohort.open(cohort.path, [tmp_path / "ternausnet"])
    annotation = seen.observer("ternausnet").mask("sub-P0001_view-sax")
    assert annotation.annotated == dict.fromkeys(range(4), SAX) and set(np.unique(annotation.mask)) <= {0, 1, 2, 3}
    assert set(score_observers(seen, "truth", "ternausnet")["participant_id"]) == {"P0001", "P0004"}
    mask, confidence, _ = SMALL.segment(optimise_for_inference(model), cine, n_tta=2)
    np.testing.assert_array_equal(seen.observer("ternausnet").mask("sub-P0004_view-sax").mask, mask)
    assert table["confidence"][1] == pytest.approx(np.nanmean(confidence[[cine.ed, cine.es]]), nan_ok=True)


def test_only_frames_that_the_reference_drew(cohort, tmp_path):
    name = "sub-P0003_view-sax"
    mask = np.full(cohort.cine(name).pixels.shape, 255, np.uint8)
    mask[1] = 0
    Observer(tmp_path / "reader").write(cohort.cine(name), Annotation(mask, {1: SAX}))
    seen = Cohort.open(cohort.path, [tmp_path / "reader"])
    table = SMALL.predict(network(), seen, ["P0003", "P0005"], "reader", tmp_path / "net", n_tta=1)
    assert table["cine"].tolist() == [name] and table["frames"].tolist() == [1]  # P0005 is not annotated
    assert list(Observer(tmp_path / "net").mask(name).annotated) == [1]


# --- items, labels, batches ------------------------------------------------------------------------------------------


def annotated_cohort(path, *labels, name="Test"):
    """A cine per subject; `manual` drew slice 1 of frame 2, left out its slice 0, never looked at frame 0."""
    rows = []
    for label in labels:
        pixels = np.random.default_rng(1).integers(0, 100, (3, 2, 32, 32)).astype(np.int16)
        cine = Cine(pixels, np.diag([1, 1, 8, 1.0]), "sax", label)
        mask = np.full(pixels.shape, 255, np.uint8)
        mask[2, 1], mask[2, 1, 10:14, 20:24] = 0, 1
        observers = {"manual": {cine.name: Annotation(mask, {2: ("lv",)})}}
        rows.append(write_study(path, Study({"participant_id": label}, [cine], observers)))
    return finish_cohort(path, {"Name": name}, rows)


def test_slices_of_subjects_who_train_or_validate_and_were_annotated(cohort, tmp_path):
    for fold in range(3):
        split = split_subjects(cohort.subjects, fold)
        table = SMALL.items(cohort, "truth", split)
        assert set(table["participant_id"]) == set(split.index[split != "test"])
        assert (split[table["participant_id"]].values == table["split"]).all()
    for most, frames in ((0, {0, 1, 2, 3}), (2, {0, 2}), (3, {0, 1, 2}), (9, {0, 1, 2, 3})):  # spread over the cycle
        spread = slice_table(cohort, "truth", ["sax"], split, most)
        assert all(set(part["frame"]) == frames for _, part in spread.groupby("cine"))
    hearts = annotated_cohort(tmp_path, "a", "b", "c")
    table = SMALL.items(hearts, "manual", pd.Series({"a": "train", "b": "validation", "c": "test"}))
    rows = table[["cine", "frame", "k", "split"]].values.tolist()
    assert rows == [["sub-a_view-sax", 2, 1, "train"], ["sub-b_view-sax", 2, 1, "validation"]]
    reader = SliceReader(hearts, "manual", SAX)
    reference, labels = reader.slice(table.iloc[0]), reader.labels(table.iloc[0])
    assert (reference.frame, reference.k, reference.centre_px) == (2, 1, (21.5, 11.5))
    assert labels[11, 21] == 1 and set(np.unique(labels)) == {1, NOT_DRAWN}  # the wall beside the LV was not drawn


def test_several_cohorts_are_one_and_the_small_one_is_repeated(cohort, tmp_path):
    other = annotated_cohort(tmp_path, "a", "b")
    pooled, split = Pooled([(cohort, "truth"), (other, "manual")]), split_subjects(cohort.subjects)
    split = pd.concat([split, pd.Series({"a": "train", "b": "test"})])
    table = SMALL.items(pooled, "", split)
    large, small = (table["source"] == n for n in (0, 1))
    assert set(table[small]["cine"]) == {"sub-a_view-sax"} and small.sum() == round(large.sum() / 5)
    dls = SMALL.dataloaders(pooled, "", split, 4)
    assert dls.train.one_batch()[0].shape == (4, 3, 64, 64)
    assert SMALL.job(pooled, "", dls)["cohort"] not in (cohort.digest, other.digest)
    with pytest.raises(ValueError, match="cines of one name"):
        Pooled([(cohort, "truth"), (cohort, "truth")])


@pytest.mark.parametrize(
    ("mask", "annotated", "wanted", "labels"),
    [
        ([0, 1, 2, 3], SAX, SAX, [0, 1, 2, 3]),
        ([0, 1, 2, 3], SAX, ("lv", "myo"), [0, 1, 2, 0]),  # what is not learnt becomes background
        ([0, 1, 2, 255], ("lv", "myo"), SAX, [NOT_DRAWN, 1, 2, 255]),  # an RV may hide in what looks like background
        ([0, 1, 2, 4], ("lv", "myo", "la"), SAX, [NOT_DRAWN, 1, 2, NOT_DRAWN]),
        ([255, 255, 0, 0], ("lv",), ("lv",), [255, 255, 0, 0]),
    ],
)
def test_nothing_unannotated_is_background(mask, annotated, wanted, labels):
    result = partial_labels(np.array([mask], np.uint8), annotated, wanted)
    assert result.dtype == np.uint8 and result.tolist() == [labels]


def test_standard_slices_are_the_window_mapped_to_one():
    ramp = Cine(np.tile(np.arange(1000, dtype=np.uint16), (2, 1, 32, 1)), np.eye(4), "sax", "a")
    plane = CentrePlane(1.0, 1024).plane(SliceRef(ramp, 0, 0))
    shown = standard_slice(ramp, 0, 0, plane)
    assert shown.shape == (1024, 1024, 3) and shown.dtype == np.float32 and shown.min() == 0 and shown.max() == 1
    np.testing.assert_allclose(shown[512, 12 + 500, 1], (500 - 9.99) / (989.01 - 9.99), atol=1e-3)
    pair = replace(ramp, pixels=np.concatenate([ramp.pixels[:1], ramp.pixels[:1, :, :, ::-1]]))
    for frame in (0, 1):  # of ED and ES alone, the other of the two
        both = standard_slice(pair, frame, 0, plane, antiphase=True)
        np.testing.assert_array_equal(both[..., :3], standard_slice(pair, frame, 0, plane))
        np.testing.assert_array_equal(both[..., 3], standard_slice(pair, 1 - frame, 0, plane)[..., 1])
    missing = replace(ramp, pixels=np.concatenate([ramp.pixels[:1], 0 * ramp.pixels[:1]]))
    alone = standard_slice(missing, 0, 0, plane, antiphase=True)
    np.testing.assert_array_equal(alone[..., 3], alone[..., 1])


@pytest.fixture(scope="module")
def learn(cohort):
    return replace(SMALL, validation_size=32).train(cohort, "truth", split_subjects(cohort.subjects), 3, 2e-3, bs=8)


def test_a_batch_has_the_stated_shapes_and_types(cohort, learn):
    dls = learn.dls
    for loader, size in ((dls.train, 64), (dls.valid, 32)):
        x, y = loader.one_batch()
        assert type(x) is TensorSlice and x.shape == (8, 3, size, size) and x.dtype == torch.float32
        assert type(y) is TensorLabels and y.shape == (8, size, size) and y.dtype == torch.int64
        assert set(y.unique().tolist()) <= {0, 1, 2, 3, 255} and (y == 1).any()
    first, again = ([batch[0] for batch in loader] for loader in (dls.train, dls.train))
    assert not all(torch.equal(a, b) for a, b in zip(first, again))  # training is random, validation is not
    assert all(torch.equal(a[0], b[0]) for a, b in zip(dls.valid, dls.valid))
    row = dls.valid_ds.items.iloc[0]
    cine = cohort.cine(row["cine"])  # test-time slices are the validation slices
    plane = CentrePlane(3.2, 32).plane(SliceRef(cine, row["frame"], row["k"]))
    expected = standard_slice(cine, row["frame"], row["k"], plane).transpose(2, 0, 1)
    np.testing.assert_array_equal(np.asarray(dls.valid.one_batch()[0][0]), expected)


def test_it_learns_and_batches_and_results_show_themselves(learn):
    assert learn.recorder.values[-1][0] < learn.recorder.values[0][0] and not learn.model.training
    learn.dls.train.show_batch(max_n=4, nrows=2)
    axes = [ax for ax in plt.gcf().axes if ax.images]
    assert len(axes) == 4 and all(len(ax.images) == 2 for ax in axes)  # the slice and its labels
    grey, overlay = axes[0].images
    assert grey.get_cmap().name == "gray" and overlay.get_array().max() <= 5  # 255 and NOT_DRAWN are transparent
    with learn.no_bar():
        learn.show_results(max_n=2)
    shown = [ax for ax in plt.gcf().axes if ax.images]
    assert len(shown) == 4 and all(len(ax.images) == 2 for ax in shown)  # truth and prediction, over the slice
    plt.close("all")
