"""MVnet: geometry that is exact, losses and decoding against loops, training that learns, tracking that says so."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cmrlib import plots
from cmrlib.app.cli import app
from cmrlib.app.cli.valves import track
from cmrlib.cine import Cine, Plane
from cmrlib.cohort import Annotation, Cohort, Observer
from cmrlib.cohort.splits import split_subjects
from cmrlib.datasets.mitral_edge import unordered_distance
from cmrlib.measures.valve import heart_motion, point_array
from cmrlib.papers.mvnet import (
    STAGES,
    Augmentation,
    MVNet,
    PointLoss,
    Recipe,
    Source,
    ViewTracker,
    annulus_errors,
    annulus_metrics,
    apical_side,
    by_stage,
    cut_summary,
    decode,
    frame_table,
    gain_over,
    inter_observer,
    is_mirrored,
    load_imagenet,
    load_trackers,
    mean_position,
    people_metrics,
    pipelines,
    point_errors,
    points_from_edges,
    refusals,
    save_smoothing,
    save_trackers,
    stage1_plane,
    stage2_plane,
    stage_metrics,
    standard_look,
    track_cohort,
    train_network,
    train_tracker,
    variability,
    variability_metrics,
)
from cmrlib.papers.mvnet.blocks import picture, points_block
from cmrlib.papers.mvnet.evaluation import plane_angle_deg
from cmrlib.papers.mvnet.geometry import STAGE1_SHAPE, STAGE2_SHAPE, WAYS, flipped, jittered, turns_over, upright_way
from cmrlib.papers.mvnet.network import fold_batch_norm, map_points, sureness
from cmrlib.papers.mvnet.tracking import agreement, points_table
from cmrlib.phantom import make_cohort

RECIPE = Recipe("resnet10", "maps", 0.4, epochs=10, frames=4, copies=2, batch_size=8, learning_rate=3e-3)


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    """Twelve hearts: 2CH and 4CH, 8 frames, two people of each convention."""
    path = tmp_path_factory.mktemp("mvnet") / "c"
    return make_cohort(
        path,
        subjects=12,
        frames=8,
        size=64,
        spacing_mm=3.6,
        views=("4ch", "2ch"),
        seed=3,
        workers=1,
        people=("yale", "yale2"),
        effects=(),
        domain="one",
        progress=False,
    )


@pytest.fixture(scope="module")
def split(hearts):
    return split_subjects(hearts.subjects, validation_per_group=1)


@pytest.fixture(scope="module")
def trackers(hearts, split):
    return {view: train_tracker(hearts, "truth", view, split, RECIPE, seed=1)[0] for view in ("4ch", "2ch")}


def truth_of(hearts, view="4ch", subject="P0001"):
    cine = hearts.cine(f"sub-{subject}_view-{view}")
    return cine, point_array(hearts.observer("truth").points(cine.name), view, cine.frames)


# -- geometry ---------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    angle=st.floats(-180, 180),
    row_mm=st.floats(0.6, 3),
    column_mm=st.floats(0.6, 3),
    mirrored=st.booleans(),
    half_mm=st.floats(8, 30),
)
def test_stage_2_lays_the_valve_across_and_back_within_a_hundredth_of_a_mm(angle, row_mm, column_mm, mirrored, half_mm):
    spacing = np.array([column_mm, row_mm])
    along = half_mm * np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
    points = (np.array([100.0, 90.0]) + np.stack([-along, along])) / spacing
    plane = stage2_plane(points, spacing, (200, 180), mirrored)
    upright = plane.points(points)
    middle = np.array([(STAGE2_SHAPE[1] - 1) / 2, (STAGE2_SHAPE[0] - 1) / 2])
    assert plane.shape == (118, 162)
    half = np.array([half_mm / 0.75, 0])
    assert np.abs(upright - np.stack([middle - half, middle + half])).max() < 1e-9
    back = plane.back_points(upright + [[3.3, -2.1]] * 2) - plane.back_points(upright)
    assert np.abs(np.hypot(*(back * spacing).T) / 0.75 - np.hypot(3.3, 2.1)).max() < 1e-9  # isotropic .75 mm
    assert np.abs((plane.back_points(upright) - points) * spacing).max() < 0.01


def test_apex_is_down_in_stage_2_and_the_first_point_left(hearts):
    for view in ("4ch", "2ch"):
        for subject in ("P0001", "P0005"):
            cine, points = truth_of(hearts, view, subject)
            plane = standard_look(view, 2).plane(cine, points[0])
            upright = plane.points(points[cine.ed])
            assert upright[0, 0] < upright[1, 0]
            lv = hearts.observer("truth").mask(cine.name).mask[cine.ed, 0] == 1
            row, column = np.argwhere(lv).mean(0)
            assert plane.points([[column, row]])[0, 1] > upright[:, 1].mean() + 10


def eight_ways(cine, points):
    """The same heart stored in any of eight ways, affine and points along."""
    for turns in range(4):
        for mirror in (False, True):
            columns = cine.pixels.shape[3]
            pixels, affine, moved = cine.pixels, cine.affine.copy(), points.copy()
            if mirror:
                pixels, moved = pixels[..., ::-1], moved * [-1, 1] + [columns - 1, 0]
                affine[:3, 3] += affine[:3, 0] * (columns - 1)
                affine[:3, 0] *= -1
            for _ in range(turns):  # np.rot90 in the plane: new row = columns − 1 − column, new column = row
                columns = pixels.shape[3]
                pixels = np.rot90(pixels, axes=(2, 3))
                moved = np.stack([moved[..., 1], columns - 1 - moved[..., 0]], -1)
                affine = affine.copy()
                affine[:3, 3] += affine[:3, 0] * (columns - 1)
                affine[:3, [0, 1]] = np.stack([affine[:3, 1], -affine[:3, 0]], 1)
            yield replace(cine, pixels=np.ascontiguousarray(pixels), affine=affine), moved


@pytest.mark.parametrize("view", ["4ch", "2ch"])
def test_stored_in_any_of_eight_ways_a_heart_gives_the_same_picture(hearts, view):
    cine, points = truth_of(hearts, view)
    wanted = picture(cine.pixels[0, 0], stage1_plane(cine))
    assert wanted.shape == STAGE1_SHAPE
    upright = picture(cine.pixels[0, 0], standard_look(view, 2).plane(cine, points[0]))
    for other, moved in eight_ways(cine, points):
        world, same = (c.to_world(p[3], 0) for c, p in ((cine, points), (other, moved)))
        assert np.abs(world - same).max() < 1e-9
        assert np.abs(picture(other.pixels[0, 0], stage1_plane(other)) - wanted).max() < 0.02
        again = picture(other.pixels[0, 0], standard_look(view, 2).plane(other, moved[0]))
        assert np.abs(again - upright).max() < 0.1
        assert stage1_plane(other).points(moved[0]) == pytest.approx(stage1_plane(cine).points(points[0]))


@pytest.mark.parametrize("view", ["4ch", "2ch"])
def test_points_lay_an_image_upright_that_does_not_know_how_it_lies(hearts, view):
    cine, points = truth_of(hearts, view)
    wanted = stage1_plane(cine).points(points[0])
    for other, moved in eight_ways(cine, points):
        lost = replace(other, spacing_known=False)
        assert stage1_plane(lost).matrix == pytest.approx(stage1_plane(lost, way=WAYS[0]).matrix)
        if not is_mirrored(other):
            assert stage1_plane(lost, way=upright_way(moved[0], view)).points(moved[0]) == pytest.approx(wanted)
        pictures = [stage1_plane(lost, way=way).points(moved[0]) for way in WAYS]
        assert sum(np.allclose(found, wanted) for found in pictures) == 1
        assert sum(turns_over(way) for way in WAYS) == 4


def test_stage_1_is_the_whole_image_edge_to_edge():
    cine = Cine(np.zeros((1, 1, 80, 240), np.uint8), np.eye(4), "4ch", "X", spacing_known=False)
    plane = stage1_plane(cine)
    assert plane.back_points([[-0.5, -0.5], [159.5, 159.5]]) == pytest.approx(np.array([[-0.5, -0.5], [239.5, 79.5]]))
    assert not is_mirrored(cine)
    with pytest.raises(ValueError, match="no mitral points"):
        ViewTracker(MVNet("resnet10"), standard_look("4ch", 1, 0.2)).stages(replace(cine, view="sax"))


def test_motion_says_on_which_side_the_apex_is():
    still = np.array([[10.0, 20], [30, 20]])
    points = still + np.array([0, 4, 8, 2])[:, None, None] * [0, 1]  # rows grow: a quarter turn from +column
    assert apical_side(points, (1, 1)) == 1 and apical_side(points[:, ::-1], (1, 1)) == -1
    assert apical_side(points[[2, 0, 1, 3]], (1, 1), ed=1) == 1
    assert apical_side(np.stack([still] * 3), (1, 1)) == 0
    with pytest.raises(ValueError, match="two different mitral points"):
        stage2_plane(np.ones((2, 2)), (1, 1), (50, 50))


def test_jitter_moves_in_the_picture_s_own_pixels():
    plane = Plane.around((90, 110), (1.3, 0.8), (40, 60), (50, 40), 25)
    middle = plane.back_points([[29.5, 19.5]])
    moved = jittered(plane, 1.1, 10.0, np.array([3.0, -2.0]))
    assert plane.points(moved.back_points([[29.5, 19.5]])) == pytest.approx(np.array([[32.5, 17.5]]))
    assert jittered(plane, 1, 0, np.zeros(2)).matrix == pytest.approx(plane.matrix)
    over = flipped(plane)
    assert over.points(plane.back_points([[0, 7.0]])) == pytest.approx(np.array([[59.0, 7.0]]))
    assert over.points(middle) == pytest.approx(np.array([[29.5, 19.5]]))


def test_a_mirrored_picture_swaps_its_points():
    np.random.seed(0)
    plane, points = Plane.around((50, 50), 1.0, (40, 40)), np.array([[15.0, 20.0], [30.0, 20.0]])
    firsts = set()
    for _ in range(12):
        made, named = Augmentation(0, 0, 0, mirror=True)(plane, points)
        shown = made.points(named)
        assert shown[0, 0] < shown[1, 0]
        firsts.add(float(named[0, 0]))
    assert firsts == {15.0, 30.0}


# -- network, losses, decoding ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("backbone", "head"), [("resnet10", "points"), ("resnet10", "maps"), ("resnet8", "maps")])
def test_a_network_answers_with_points_in_pixels(backbone, head):
    torch.manual_seed(0)
    model = MVNet(backbone, head).eval()
    x = torch.randn(2, 1, 47, 65)
    output = model(x)
    assert decode(output, (47, 65)).shape == (2, 2, 2) and output.dtype == torch.float32
    assert (fold_batch_norm(model)(x) - output).abs().max() < 1e-4
    with torch.autocast("cpu", torch.bfloat16):
        assert model(x).dtype == torch.float32


def test_the_paper_s_loss_is_the_mean_squared_error_in_half_pictures():
    loss, target = PointLoss((40, 60)), torch.tensor([[[29.5, 19.5], [59.5, 39.5]]])
    assert loss(torch.tensor([[0.0, 0, 1, 1]]), target) == pytest.approx(0)
    assert loss(torch.tensor([[0.5, 0, 1, 0.0]]), target).item() == pytest.approx((0.25 / 2 + 1 / 2) / 2)
    assert decode(torch.tensor([[0.0, 0, 1, 1]]), (40, 60)).tolist() == target.tolist()
    half = target.clone()
    half[0, 1] = torch.nan  # a point that nobody placed does not count
    assert loss(torch.tensor([[0.5, 0, 9, 9.0]]), half).item() == pytest.approx(0.125)


def naive_map_loss(logits, target, shape):
    """The loss of heat maps by loops."""
    b, n, h, w = logits.shape
    cell = np.array([shape[1] / w, shape[0] / h])
    total = 0.0
    for i in range(b):
        for j in range(n):
            place = (target[i, j] - (cell - 1) / 2) / cell
            wanted = np.array(
                [[np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 2) for x in range(w)] for y in range(h)]
            )
            p = np.exp(logits[i, j] - logits[i, j].max())
            p /= p.sum()
            mean = np.array([sum(p[y, x] * (x, y)[k] for y in range(h) for x in range(w)) for k in (0, 1)])
            total += -(wanted / wanted.sum() * np.log(p)).sum()
            total += (((mean - place) / (np.array(shape[::-1]) / 2 / cell)) ** 2).mean()
    return total / (b * n)


def test_heat_maps_against_loops_and_their_gradient():
    rng = np.random.default_rng(2)
    logits, target = rng.normal(0, 2, (2, 2, 6, 9)), rng.uniform(5, 20, (2, 2, 2))
    x = torch.tensor(logits, requires_grad=True)
    loss = PointLoss((24, 36))
    assert loss(x, torch.tensor(target)).item() == pytest.approx(naive_map_loss(logits, target, (24, 36)), rel=1e-6)
    assert torch.autograd.gradcheck(lambda z: loss(z, torch.tensor(target)), (x,))


def test_points_of_a_map_lie_between_cells_and_ignore_a_second_peak():
    rows, columns = np.mgrid[:20, :30]
    logits = -((rows - 8.3) ** 2 + (columns - 21.6) ** 2) / 2
    logits = np.maximum(logits, -((rows - 15) ** 2 + (columns - 3) ** 2) / 2 - 1)
    found = map_points(torch.tensor(logits)[None, None].repeat(1, 2, 1, 1))
    assert found[0, 0].numpy() == pytest.approx([21.6, 8.3], abs=0.05)
    pixels = decode(torch.tensor(logits)[None, None].repeat(1, 2, 1, 1), (80, 120))[0, 0].numpy()
    assert pixels == pytest.approx([4 * 21.6 + 1.5, 4 * 8.3 + 1.5], abs=0.2)


def test_one_sharp_peak_is_surer_than_two_and_two_than_none():
    one = torch.full((1, 2, 12, 15), -20.0)
    one[:, :, 5, 7] = 0
    two = one.clone()
    two[:, 1, 0, 14] = 0  # of one point only, in a corner
    assert sureness(torch.cat([one, two, torch.zeros(1, 2, 12, 15)])).tolist() == pytest.approx(
        [1, 0.5, (25 / 180) ** 2], rel=1e-3
    )


def test_imagenet_weights_of_a_local_file(tmp_path):
    from torchvision.models import resnet18  # after cmrlib, which mends its import where torch is a CPU build

    torch.manual_seed(1)
    theirs = resnet18(weights=None)
    torch.save(theirs.state_dict(), tmp_path / "r18.pth")
    model = MVNet("resnet18", "maps")
    load_imagenet(model, tmp_path / "r18.pth")
    assert torch.equal(model.stages[3][1].conv2.weight, theirs.layer4[1].conv2.weight)
    with pytest.raises(ValueError, match="no ImageNet weights of resnet50"):
        load_imagenet(MVNet("resnet50"), tmp_path / "r18.pth")
    with pytest.raises(ValueError, match="unknown network"):
        MVNet("vgg")


# -- samples and training ---------------------------------------------------------------------------------------


def test_samples_leave_test_subjects_out_and_blocks_keep_points_on_the_valve(hearts, split):
    table = frame_table(hearts, "truth", "4ch", split, frames=3, copies=2)
    assert not set(table["cine"].str[4:9]) & set(split.index[split == "test"])
    assert table.groupby(["cine", "split"]).size().groupby("split").first().to_dict() == {"train": 6, "validation": 3}
    people = {"P0001": "yale", "P0002": "yale2"}
    mixed = frame_table(hearts, people, "4ch", pd.Series({"P0001": "train", "P0002": "validation"}))
    assert set(mixed["observer"]) == {"yale", "yale2"}
    look = standard_look("4ch", 2, 0.5)
    dls = points_block(hearts, look).dataloaders(table, bs=4, num_workers=0)
    images, points = dls.valid.one_batch()
    assert images.shape == (4, 1, 59, 81) and points.shape == (4, 2, 2)
    assert (points[..., 0] > 0).all() and (points[..., 0] < 81).all() and (points[:, 0, 0] < points[:, 1, 0]).all()
    with pytest.raises(ValueError, match="no 4ch points of a"):
        frame_table(hearts, "truth", "4ch", split[split == "train"])


def test_stages_get_better_and_beat_the_mean_position(hearts, split, trackers, tmp_path):
    test = sorted(split.index[split == "test"]) + sorted(split.index[split == "validation"])
    folders = {stage: tmp_path / stage for stage in STAGES}
    tracked = track_cohort(hearts, trackers, folders, test)
    assert len(tracked) == 2 * len(test) and tracked["confidence"].between(0, 1).all()
    for view in ("4ch", "2ch"):
        mean_position(hearts, "truth", split.index[split == "train"], tmp_path / "mean", view)
    laid = Cohort.open(hearts.path, [*folders.values(), tmp_path / "mean"])
    errors = {name: point_errors(laid, "truth", name, test) for name in (*STAGES, "mean")}
    means = {name: table["euclid_mm"].mean() for name, table in errors.items()}
    assert means["stage122"] < means["stage1"] < means["mean"], means
    gain = gain_over(errors["mean"], errors["stage122"], "meanpos")
    assert gain["euclid_gain_over_meanpos_mm_low"] > 0
    stages = by_stage(laid, "truth", {stage: stage for stage in STAGES}, 10.0, 0.0, test)
    assert stages["euclid_mm"].tolist() == pytest.approx([means[stage] for stage in STAGES])
    _, displacement, metrics, compared = inter_observer(laid, "truth", "stage122", 10.0, 0.0, test)
    found = stage_metrics(stages, compared, displacement)
    for name in (
        "disp_err_mean_mm",
        "disp_err_sd_mm",
        "mapse_icc",
        "eprime_icc",
        "mapse_bias_mm",
        "angle_deg",
        "euclid_mm_stage1",
        "euclid_mm_stage12",
        "euclid_mm_stage122",
    ):
        low, value, high = (found[f"{name}{end}"] for end in ("_low", "", "_high"))
        assert low <= value <= high, name
    assert found["n"] == len(test) and set(metrics["observer"]) == {"truth", "stage122"}


def test_weights_come_back_as_the_same_tracker(hearts, trackers, tmp_path):
    save_trackers(trackers, tmp_path / "weights", cohort="phantom")
    save_smoothing(tmp_path / "weights", 10.0)
    again = load_trackers(tmp_path)
    cine, _ = truth_of(hearts)
    first, second = (t["4ch"].predict(cine)[0] for t in (trackers, again))
    pd.testing.assert_frame_equal(first, second)
    assert again["4ch"].least_confidence == trackers["4ch"].least_confidence
    with pytest.raises(FileNotFoundError, match="no weights of MVnet"):
        load_trackers(tmp_path / "elsewhere")
    save_trackers({"4ch": trackers["2ch"]}, tmp_path / "mixed_up")
    with pytest.raises(ValueError, match="weights of another view"):
        load_trackers(tmp_path / "mixed_up")
    with pytest.raises(ValueError, match="for view 4ch"):
        again["4ch"].stages(hearts.cine("sub-P0001_view-2ch"))


def test_who_asks_for_the_end_alone_gets_the_same_points(hearts, trackers, tmp_path):
    cine, _ = truth_of(hearts)
    seen = []
    exact = ViewTracker(*[part for pair in zip(trackers["4ch"].models, trackers["4ch"].looks) for part in pair], "fp32")
    infer = exact.infer
    exact.infer = lambda stage, pictures: seen.append((stage, len(pictures))) or infer(stage, pictures)
    whole, end = exact.stages(cine), exact.stages(cine, every_stage=False)
    assert seen == [(0, cine.frames), (1, cine.frames), (1, cine.frames), (0, 1), (1, cine.frames), (1, cine.frames)]
    assert list(end) == ["stage12", "stage122"]
    for stage, points in end.items():
        np.testing.assert_allclose(points, whole[stage], atol=0.01)
    seen.clear()
    unknown = replace(cine, spacing_known=False)  # a plane a frame: every frame's first points are needed
    assert set(exact.stages(unknown, every_stage=False)) == set(STAGES) and seen[8] == (0, cine.frames)
    track_cohort(hearts, trackers, {"stage122": tmp_path / "end"}, ["P0001"])
    track_cohort(hearts, trackers, {stage: tmp_path / stage for stage in STAGES}, ["P0001"])
    a, b = (Observer(tmp_path / name).points(cine.name) for name in ("end", "stage122"))
    np.testing.assert_allclose(*(point_array(points, "4ch", cine.frames) for points in (a, b)), atol=0.1)
    np.testing.assert_allclose(a["confidence"], b["confidence"], atol=0.05)


@pytest.mark.parametrize("every_stage", [True, False])
def test_points_that_fall_together_are_no_valve_in_any_frame(hearts, trackers, every_stage):
    cine, _ = truth_of(hearts)
    tracker = ViewTracker(
        *[part for pair in zip(trackers["4ch"].models, trackers["4ch"].looks) for part in pair], least_confidence=0.1
    )
    tracker.infer = lambda stage, pictures: torch.zeros(len(pictures), 4)  # both points in the middle
    found = tracker.stages(cine, every_stage=every_stage)
    assert np.ptp(found["stage122"].reshape(-1, 2), axis=0) == pytest.approx([0, 0])
    assert tracker.predict(cine)[1] == ["valve_not_found"]


@pytest.mark.parametrize("frames", [1, 8])
def test_an_image_that_lost_its_orientation_is_tried_in_eight_ways(hearts, trackers, frames):
    cine, points = truth_of(hearts)
    cine, points = replace(cine, pixels=cine.pixels[:frames], frame_times_ms=None, ed=0, es=None), points[:frames]
    wanted = trackers["4ch"].stages(cine)["stage122"]
    annulus = np.hypot(*(wanted[0, 1] - wanted[0, 0]))
    for other, moved in eight_ways(cine, points):
        found = trackers["4ch"].stages(replace(other, spacing_known=False))["stage122"]
        assert unordered_distance(found[0], moved[0]).mean() < 0.25 * annulus


def test_a_cine_stored_otherwise_has_the_same_mapse(hearts, trackers):
    cine, points = truth_of(hearts)

    def mapse(one):
        found = trackers["4ch"].stages(one)["stage122"]
        return heart_motion({"4ch": (one, found)}, 10.0).metrics()["mapse_mm"]

    wanted = mapse(cine)
    for other, _ in eight_ways(cine, points):
        assert mapse(other) == pytest.approx(wanted, abs=0.2)


def test_a_training_is_found_again_and_continues_from_weights(hearts, split, tmp_path):
    samples = frame_table(hearts, "truth", "4ch", split, frames=1)
    look, short = standard_look("4ch", 1, 0.25), replace(RECIPE, epochs=1)
    one, learn = train_network(hearts, samples, look, short, 1, tmp_path)
    again, _ = train_network(hearts, samples, look, short, 1, tmp_path)
    assert len(list(tmp_path.glob("*.pt"))) == 1 and len(learn.recorder.values) == 1
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), again.state_dict().values()))
    save_trackers({"4ch": ViewTracker(one, look)}, tmp_path / "w")
    train_network(hearts, samples, look, short, 1, tmp_path, start_from=tmp_path / "w" / "4ch_stage1")
    assert len(list(tmp_path.glob("*.pt"))) == 2
    with pytest.raises(ValueError, match="continue with the same network"):
        train_network(hearts, samples, look, replace(short, head="points"), 1, start_from=tmp_path / "w" / "4ch_stage1")


# -- what stands beside a number --------------------------------------------------------------------------------


def test_confidence_is_how_little_the_last_pass_moved():
    still = np.array([[[0.0, 0], [40, 0]]])
    assert agreement([still, still], np.ones(2)).tolist() == [1]
    moved, far = (still + np.array([0, mm]) for mm in (5, 30))
    assert agreement([still, moved], np.ones(2)) == pytest.approx([0.5])  # 5 of 40; a quarter of it is too far
    assert agreement([still, far], np.ones(2)).tolist() == [0]


def test_a_cine_without_a_valve_gets_a_flag(hearts, trackers):
    cine, _ = truth_of(hearts)
    noise = np.random.default_rng(5).integers(0, 200, cine.pixels.shape).astype(np.uint16)
    table, flags = trackers["4ch"].predict(replace(cine, pixels=noise))
    assert "valve_not_found" in flags and table["confidence"].median() < trackers["4ch"].least_confidence
    assert trackers["4ch"].predict(cine)[1] == []


def test_points_that_coincide_are_no_valve_and_no_crash():
    torch.manual_seed(0)
    model, cine = MVNet("resnet10", "points"), Cine(np.zeros((9, 1, 40, 40), np.uint8), np.eye(4), "4ch", "X")
    torch.nn.init.zeros_(model.head.weight)
    torch.nn.init.zeros_(model.head.bias)
    tracker = ViewTracker(model, standard_look("4ch", 1, 0.25), model, standard_look("4ch", 2, 0.25), "fp32", 0.4)
    table, flags = tracker.predict(cine)
    assert (table["confidence"] == 0).all() and "valve_not_found" in flags and len(table) == 18


def test_points_keep_their_decimals_and_lie_in_the_patient(hearts):
    cine, points = truth_of(hearts)
    table = points_table(cine, points, np.ones(cine.frames))
    assert list(table["name"].unique()) == ["lateral", "septal"]
    truth = hearts.observer("truth").points(cine.name).sort_values(["frame", "name"]).reset_index(drop=True)
    for column in ("column_px", "row_px", "x_mm", "y_mm", "z_mm"):
        assert (table[column] - truth[column]).abs().max() < 1e-5


def test_the_inner_angle_of_two_planes():
    flat = np.array([[[0.0, 0], [10, 0]]])
    turned = np.array([[[0.0, 0], [10, 10 * np.tan(np.deg2rad(12))]]])
    assert plane_angle_deg(turned, flat) == pytest.approx([12])
    assert plane_angle_deg(turned[:, ::-1], flat) == pytest.approx([12])


def test_people_of_one_convention_are_compared_like_any_observers(hearts):
    points, displacement, metrics, compared = inter_observer(hearts, "yale", "yale2", 15.0)
    assert 1.5 < points["euclid_mm"].mean() < 4.5
    assert set(compared["measure"]) == {"mapse_mm", "sprime_cm_s", "eprime_cm_s", "aprime_cm_s", "displacement_mm"}
    assert len(displacement) == 12 * 8 and displacement.groupby("participant_id").size().eq(8).all()
    assert len(metrics) == 24
    kept, rows = people_metrics(points, compared, "yale"), compared.set_index("measure")
    assert kept["people_yale_euclid_mm_low"] <= points["euclid_mm"].mean() <= kept["people_yale_euclid_mm_high"]
    assert kept["people_yale_mapse_icc"] == rows.loc["mapse_mm", "icc_a1"]
    assert kept["people_yale_eprime_bias_cm_s_high"] == rows.loc["eprime_cm_s", "bias_high"]


def test_volumes_cut_at_the_valve_are_compared_with_the_truth():
    volumes = pd.DataFrame(
        {
            "participant_id": list("abcd"),
            "session": "",
            "lvedv_ml": [110.0, 90, 105, 100],
            "lvedv_cut_ml": [101.0, 99, 100, 100],
            "lvesv_ml": 50.0,
            "lvesv_cut_ml": 51.0,
            "lvef_pct": 50.0,
            "lvef_cut_pct": 49.0,
        }
    )
    truth = pd.DataFrame(
        {"participant_id": list("abcd"), "session": "", "lvedv_ml": 100.0, "lvesv_ml": 50.0, "lvef_pct": 50.0}
    )
    row = cut_summary(volumes, truth).set_index("measure").loc["lvedv_ml"]
    assert (row["mae"], row["mae_cut"], row["change"]) == (6.25, 0.5, -1.25) and row["n"] == 4


def test_pipelines_of_two_sources_and_their_mix(hearts, tmp_path):
    sides = pd.Series(
        {"P0001": "train", "P0002": "train", "P0003": "validation", "P0004": "test", "P0005": "test", "P0006": "test"}
    )
    sources = {"yale": Source(hearts, "yale", sides), "other": Source(hearts, "yale2", sides)}
    quick = replace(RECIPE, epochs=1, scale=0.25, frames=2, copies=1)
    trained = pipelines(sources, ["4ch"], quick, 1, None)
    assert set(trained) == {"yale", "other", "mixed"}
    grid = variability(sources, trained, tmp_path, 20.0)
    assert len(grid) == 9 and grid["euclid_mm"].gt(0).all()
    mixed = grid[grid["tested"] == "mixed"].set_index("trained")
    parts = grid[grid["tested"] != "mixed"].groupby("trained")["euclid_mm"].mean()
    assert (mixed["euclid_mm"] - parts).abs().max() < 1e-9 and (mixed["n"] == 6).all()
    assert (grid["euclid_mm_low"] <= grid["euclid_mm"]).all() and (grid["euclid_mm"] <= grid["euclid_mm_high"]).all()
    shown = {text.get_text() for ax in plots.variability_figure(grid, True).axes for text in ax.texts}
    row = grid.iloc[0]
    assert f"{row['euclid_mm']:.2f}\n({row['euclid_mm_low']:.2f} to {row['euclid_mm_high']:.2f})" in shown
    metrics = variability_metrics(grid)
    assert metrics["euclid_mm_yale_on_mixed"] == mixed.loc["yale", "euclid_mm"]
    assert metrics["n_mapse_icc_mixed_on_other"] == 3 and "eprime_icc_other_on_yale_low" in metrics


# -- the command line -------------------------------------------------------------------------------------------


def test_cmr_valve_tracks_once_and_writes_points_and_metrics(hearts, trackers, tmp_path):
    save_trackers(trackers, tmp_path / "weights")
    save_smoothing(tmp_path / "weights", 10.0)
    words = [
        "valve",
        str(hearts.path),
        "--weights",
        str(tmp_path),
        "--out",
        str(tmp_path / "valves"),
        "--subjects",
        "P0001,P0002",
        "--threads",
        "1",
    ]
    first, second = (CliRunner().invoke(app, words) for _ in range(2))
    assert first.exit_code == 0 and "4 cines tracked now" in first.output, first.output
    assert second.exit_code == 0 and "0 cines tracked now" in second.output, second.output
    metrics = pd.read_csv(tmp_path / "valves" / "valve_metrics.csv")
    assert list(metrics["participant_id"]) == ["P0001", "P0002"]
    assert (tmp_path / "valves" / "sub-P0001" / "sub-P0001_view-4ch_points.tsv").exists()
    unknown = CliRunner().invoke(app, [*words[:6], "--subjects", "P9"])
    assert unknown.exit_code == 2 and "P9" in unknown.output
    save_trackers({"2ch": trackers["2ch"]}, tmp_path / "others")
    with pytest.raises(FileExistsError, match="other weights"):
        track(hearts, tmp_path / "others", tmp_path / "valves", smooth_ms=0.0)


# -- drawn cavities ---------------------------------------------------------------------------------------------


def test_drawn_cavities_give_points_and_errors_in_percent_of_the_annulus(hearts, tmp_path):
    edges = points_from_edges(hearts, "truth", tmp_path / "edges", repeat_every=40)
    assert refusals(edges)["images"].sum() == 12 * 8
    laid = Cohort.open(hearts.path, [tmp_path / "edges"])
    errors = annulus_errors(laid, "truth", "edges")
    assert len(errors) > 60 and errors["error_pct"].median() < 20
    found = annulus_metrics(errors, "real")
    assert found["annulus_pct_real_median_low"] <= found["annulus_pct_real_median"] <= found["annulus_pct_real_p90"]
    assert 0 <= found["annulus_pct_real_gross"] <= 1
    shifted = Observer(tmp_path / "shifted")
    for name in hearts.cines.loc[hearts.cines["view"] == "4ch", "cine"]:
        cine, points = truth_of(hearts, subject=name[4:9])
        swapped = points[:, ::-1] + 0.1 * np.hypot(*(points[:, 1] - points[:, 0]).T)[:, None, None] * [1, 0]
        shifted.write(cine, Annotation(points=points_table(cine, swapped, np.ones(8))))
    ten = annulus_errors(Cohort.open(hearts.path, [shifted.path]), "truth", "shifted")
    assert ten["error_pct"].to_numpy() == pytest.approx(10.0)
