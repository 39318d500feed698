"""MVnet: geometry that is exact, losses and decoding against loops, training that learns, tracking that says so."""

import shutil
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cmrlib.app.cli import app
from cmrlib.cine import Cine, Plane
from cmrlib.cine.display import reoriented
from cmrlib.cohort import Annotation, Cohort, Observer
from cmrlib.cohort.splits import split_subjects
from cmrlib.datasets.mitral_edge import unordered_distance, write_edge_points
from cmrlib.learning.task import Task
from cmrlib.learning.weightsets import places
from cmrlib.measures import RefusedError
from cmrlib.measures.valve import point_array, points_table
from cmrlib.papers import mvnet
from cmrlib.papers.mvnet import geometry
from cmrlib.papers.mvnet.data import StandardFrame, standardised
from cmrlib.papers.mvnet.evaluation import plane_angle_deg
from cmrlib.papers.mvnet.loss import PointLoss, cavity_loss, peak_confidence
from cmrlib.papers.mvnet.network import MVNet
from cmrlib.papers.mvnet.task import agreement
from cmrlib.phantom import make_cohort


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    """Twelve hearts: 2CH and 4CH, 8 frames."""
    protocol = {"size": 64, "spacing_mm": 3.6, "views": ("4ch", "2ch"), "effects": (), "domain": "one", "frames": 8}
    return make_cohort(tmp_path_factory.mktemp("mvnet") / "c", 12, 3, workers=1, progress=False, **protocol)


@pytest.fixture(scope="module")
def split(hearts):
    return split_subjects(hearts.subjects, validation_per_group=1)


@pytest.fixture(scope="module")
def trained():
    """(task, networks) that travel with the package: they learned from patients and other phantoms."""
    task, [model], _ = mvnet.MitralTracking.load(places("real", "04_mvnet")[0])
    return task, model


def truth_of(hearts, view="4ch", subject="P0001"):
    cine = hearts.cine(f"sub-{subject}_view-{view}")
    return cine, point_array(hearts.observer("truth").points(cine.name), view, cine.frames)


# -- geometry ---------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.floats(-180, 180), st.floats(0.6, 3), st.floats(0.6, 3), st.booleans(), st.floats(8, 30))
def test_stage_2_lays_the_valve_across_and_back_within_a_hundredth_of_a_mm(angle, row_mm, column_mm, mirrored, half_mm):
    spacing = np.array([column_mm, row_mm])
    along = half_mm * np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
    points = (np.array([100.0, 90.0]) + np.stack([-along, along])) / spacing
    plane = geometry.stage2_plane(points, spacing, (200, 180), mirrored)
    upright = plane.points(points)
    middle = np.array([(geometry.STAGE2_SHAPE[1] - 1) / 2, (geometry.STAGE2_SHAPE[0] - 1) / 2])
    assert plane.shape == (118, 162)
    half = np.array([half_mm / 0.75, 0])
    assert np.abs(upright - np.stack([middle - half, middle + half])).max() < 1e-9
    back = plane.back_points(upright + [[3.3, -2.1]] * 2) - plane.back_points(upright)
    assert np.abs(np.hypot(*(back * spacing).T) / 0.75 - np.hypot(3.3, 2.1)).max() < 1e-9  # isotropic .75 mm
    assert np.abs((plane.back_points(upright) - points) * spacing).max() < 0.01


def eight_ways(cine, points):
    """The same heart stored in any of eight ways, affine and points along."""
    for by in geometry.ORIENTATIONS:
        back = np.linalg.inv(by.matrix(cine.pixels.shape))  # (column, row) as stored → in the new order
        yield reoriented(cine, by), points @ back[:2, :2].T + back[:2, 3]


@pytest.mark.parametrize("view", ["4ch", "2ch"])
def test_stored_in_any_of_eight_ways_a_heart_gives_the_same_picture(hearts, view):
    cine, points = truth_of(hearts, view)
    second = mvnet.MitralPoints((view,), 2)
    wanted, upright = (
        standardised(cine.pixels[0, 0], p) for p in (geometry.stage1_plane(cine), second.plane(cine, points[0]))
    )
    assert wanted.shape == geometry.STAGE1_SHAPE and upright.shape == geometry.STAGE2_SHAPE
    shown = second.plane(cine, points[0]).points(points[cine.ed])
    row, column = np.argwhere(hearts.observer("truth").mask(cine.name).mask[cine.ed, 0] == 1).mean(0)
    assert shown[0, 0] < shown[1, 0]  # the first point lies left, the apex below
    assert second.plane(cine, points[0]).points([[column, row]])[0, 1] > shown[:, 1].mean() + 10
    for other, moved in eight_ways(cine, points):
        assert np.abs(cine.to_world(points[3], 0) - other.to_world(moved[3], 0)).max() < 1e-9
        assert np.abs(standardised(other.pixels[0, 0], geometry.stage1_plane(other)) - wanted).max() < 0.02
        assert np.abs(standardised(other.pixels[0, 0], second.plane(other, moved[0])) - upright).max() < 0.1


def test_motion_says_on_which_side_the_apex_is():
    still = np.array([[10.0, 20], [30, 20]])
    points = still + np.array([0, 4, 8, 2])[:, None, None] * [0, 1]  # rows grow: a quarter turn from +column
    assert geometry.apical_side(points, (1, 1)) == 1 and geometry.apical_side(points[:, ::-1], (1, 1)) == -1
    assert geometry.apical_side(points[[2, 0, 1, 3]], (1, 1), ed=1) == 1
    assert geometry.apical_side(np.stack([still] * 3), (1, 1)) == 0


def test_augmentation_moves_in_the_picture_s_own_pixels_and_mirrored_points_change_names():
    plane = Plane.around((90, 110), (1.3, 0.8), (40, 60), (50, 40), 25)
    middle = plane.back_points([[29.5, 19.5]])
    moved = geometry.jittered(plane, 1.1, 10.0, np.array([3.0, -2.0]))
    assert plane.points(moved.back_points([[29.5, 19.5]])) == pytest.approx(np.array([[32.5, 17.5]]))
    assert geometry.jittered(plane, 1, 0, np.zeros(2)).matrix == pytest.approx(plane.matrix)
    over = geometry.jittered(plane, 1, 0, np.zeros(2), mirror=True)
    assert over.points(plane.back_points([[0, 7.0]])) == pytest.approx(np.array([[59.0, 7.0]]))
    assert over.points(middle) == pytest.approx(np.array([[29.5, 19.5]]))
    np.random.seed(0)
    points, firsts = np.array([[45.0, 40.0], [55.0, 40.0]]), set()
    flat = Plane.around((90, 110), 1.0, (40, 60))
    mirrored = mvnet.MitralPoints(augment_scale=0, augment_rotation_deg=0, augment_shift_px=0, augment_mirror=True)
    for _ in range(12):
        made, named = StandardFrame(mirrored).augmented(flat, points)
        shown = made.points(named)
        assert shown[0, 0] < shown[1, 0]
        firsts.add(float(named[0, 0]))
    assert firsts == {45.0, 55.0}


# -- network, losses, decoding ----------------------------------------------------------------------------------


def test_the_paper_s_loss_is_the_mean_squared_error_in_half_pictures():
    loss, target = PointLoss((40, 60)), torch.tensor([[[29.5, 19.5], [59.5, 39.5]]])
    assert loss(torch.tensor([[0.0, 0, 1, 1]]), target) == pytest.approx(0)
    assert loss(torch.tensor([[0.5, 0, 1, 0.0]]), target).item() == pytest.approx((0.25 / 2 + 1 / 2) / 2)
    assert mvnet.decode(torch.tensor([[0.0, 0, 1, 1]]), (40, 60)).tolist() == target.tolist()
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
    logits, target = rng.normal(0, 2, (2, 2, 4, 6)), rng.uniform(5, 12, (2, 2, 2))
    x = torch.tensor(logits, requires_grad=True)
    loss = PointLoss((16, 24))
    assert loss(x, torch.tensor(target)).item() == pytest.approx(naive_map_loss(logits, target, (16, 24)), rel=1e-6)
    assert torch.autograd.gradcheck(lambda z: loss(z, torch.tensor(target)), (x,))


def test_the_cavity_s_loss_is_near_0_where_it_is_seen_and_ignores_what_nobody_drew():
    labels = torch.zeros(1, 16, 24, dtype=torch.uint8)
    labels[:, 8:] = 1
    right = torch.where(F.adaptive_avg_pool2d(labels.float(), (4, 6)) > 0.5, 20.0, -20.0)
    assert cavity_loss(right, labels).item() == pytest.approx(0, abs=1e-6)
    wrong, partly = right.clone(), labels.clone()
    wrong[:, :, 0] *= -1
    assert cavity_loss(wrong, labels) > 1
    partly[:, :, :4] = 255
    assert cavity_loss(wrong, partly).item() == pytest.approx(0, abs=1e-6)
    maps = torch.cat([torch.randn(1, 2, 4, 6), right[:, None]], 1)
    points = torch.tensor([[[5.0, 5.0], [9.0, 9.0]]])
    loss = PointLoss((16, 24))
    assert loss(maps, points, labels).item() == pytest.approx(loss(maps[:, :2], points).item(), abs=1e-5)


def test_points_of_a_map_lie_between_cells_and_ignore_a_second_peak():
    rows, columns = np.mgrid[:20, :30]
    logits = -((rows - 8.3) ** 2 + (columns - 21.6) ** 2) / 2
    logits = np.maximum(logits, -((rows - 15) ** 2 + (columns - 3) ** 2) / 2 - 1)
    pixels = mvnet.decode(torch.tensor(logits)[None, None].repeat(1, 2, 1, 1), (80, 120))[0, 0].numpy()
    assert pixels == pytest.approx([4 * 21.6 + 1.5, 4 * 8.3 + 1.5], abs=0.2)


def test_one_sharp_peak_is_more_certain_than_two_and_two_than_none():
    one = torch.full((1, 2, 12, 15), -20.0)
    one[:, :, 5, 7] = 0
    two = one.clone()
    two[:, 1, 0, 14] = 0  # of one point only, in a corner
    found = peak_confidence(torch.cat([one, two, torch.zeros(1, 2, 12, 15)])).tolist()
    assert found == pytest.approx([1, 0.5, (25 / 180) ** 2], rel=1e-3)


def test_imagenet_weights_of_a_local_file(tmp_path):
    from torchvision.models import resnet18  # after cmrlib, which mends its import where torch is a CPU build

    theirs = resnet18(weights=None)
    torch.save(theirs.state_dict(), tmp_path / "r18.pth")
    model = MVNet("resnet18", "maps")
    mvnet.load_imagenet(model, tmp_path / "r18.pth")
    assert torch.equal(model.stages[3][1].conv2.weight, theirs.layer4[1].conv2.weight)
    with pytest.raises(ValueError, match="no ImageNet weights of resnet50"):
        mvnet.load_imagenet(MVNet("resnet50"), tmp_path / "r18.pth")


# -- items, training, prediction --------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["maps", "masks"])
def test_points_stay_on_the_valve_and_are_learned(hearts, split, head):
    task = mvnet.MitralPoints(("4ch",), 2, 0.3, "resnet8", head, frames_per_cine=3, n_repeats=2)
    table = task.items(hearts, "truth", split[split != "test"])
    assert set(table["participant_id"]) == set(split.index[split != "test"])
    assert table.groupby(["cine", "split"]).size().groupby("split").first().to_dict() == {"train": 6, "validation": 3}
    learn = task.train(hearts, "truth", split, 3, 3e-3, bs=4)
    images, points, *labels = learn.dls.valid.one_batch()
    assert [one.shape for one in labels] == [(4, 35, 49)] * (head == "masks")
    assert images.shape == (4, 1, 35, 49) and points.shape == (4, 2, 2)
    assert (points[..., 0] > 0).all() and (points[..., 0] < 49).all() and (points[:, 0, 0] < points[:, 1, 0]).all()
    assert learn.recorder.values[-1][0] < 0.9 * learn.recorder.values[0][0]
    learn.show_results(max_n=2)
    axes = plt.gcf().axes[:2]
    drawn = 4 + 2 * (head == "masks")  # points wanted and found, outlines
    assert all(len(ax.images) == 1 and len(ax.collections) == drawn for ax in axes)
    plt.close("all")


def test_stages_get_better_and_beat_the_mean_position(hearts, split, trained, tmp_path):
    task, model = trained
    test = sorted(split.index[split != "train"])[:5]
    names = ("stage1", "stage12", "stage122")
    for n, name in enumerate(names):
        tracked = task.predict(model, hearts, test, out=tmp_path / name, n_passes=n)
    assert len(tracked) == 2 * len(test) and tracked["confidence"].between(task.least_confidence, 1).all()
    assert (tracked["flags"] == "").all()
    for view in task.views:
        mvnet.mean_position(hearts, "truth", split.index[split == "train"], tmp_path / "mean", view)
    laid = Cohort.open(hearts.path, [tmp_path / name for name in (*names, "mean")])
    means = {name: mvnet.point_errors(laid, "truth", name, test)["euclid_mm"].mean() for name in (*names, "mean")}
    assert means["stage122"] < means["stage12"] < means["stage1"] < means["mean"], means
    points, pairs, metrics, compared = mvnet.compare_observers(laid, "truth", "stage122", 10.0, 0.0, test)
    assert set(metrics["observer"]) == {"truth", "stage122"} and len(pairs) == 8 * len(test)
    row = mvnet.summarise(points, compared) | mvnet.motion_metrics(compared)
    assert row["euclid_mm"] == pytest.approx(means["stage122"]) and row["n"] == len(test)
    for name in ("euclid_mm", "4ch_lateral_mm", "2ch_angle_deg", "mapse_icc", "eprime_bias_cm_s", "displacement_icc"):
        assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"], name
    assert row["euclid_mm_median"] == points["euclid_mm"].median() and row["gross"] == (points["euclid_mm"] > 10).mean()


def test_weights_come_back_as_the_same_task(hearts, trained, tmp_path):
    task, networks = trained
    task.save(networks, tmp_path / "weights", cohort="phantom")
    again, models, card = mvnet.MitralTracking.load(tmp_path)
    assert again == task and card["cohort"] == "phantom" and len(models) == 1
    assert Task.load(tmp_path / "weights" / "lax_stage2")[0] == task.stages()["lax_stage2"]
    cine, _ = truth_of(hearts)
    first, second = (one.predict_cine(net, cine)[0].points for one, net in ((task, networks), (again, models)))
    pd.testing.assert_frame_equal(first, second)
    with pytest.raises(FileNotFoundError, match="no weights of MVnet"):
        mvnet.MitralTracking.load(tmp_path / "elsewhere")
    for suffix in ("json", "safetensors"):
        shutil.copy(tmp_path / "weights" / f"lax_stage1.{suffix}", tmp_path / "weights" / f"lax_stage2.{suffix}")
    with pytest.raises(ValueError, match="of other views or stages than their names say"):
        mvnet.MitralTracking.load(tmp_path)


def test_one_pair_of_networks_serves_both_views(tmp_path):
    points = mvnet.MitralPoints(scale=0.25, backbone="resnet8", head="masks", augment_mirror=True)
    task = mvnet.MitralTracking(("4ch", "2ch"), points, joint=True, n_tta=3, smooth_ms=5.0)
    assert {name: one.views for name, one in task.stages().items()} == dict.fromkeys(
        ("lax_stage1", "lax_stage2"), ("4ch", "2ch")
    )
    task.save(task.network(), tmp_path)
    assert mvnet.MitralTracking.load(tmp_path)[0] == task


@pytest.mark.parametrize(("frames", "ways"), [(1, slice(None)), (8, slice(None, None, 3))])
def test_an_image_that_lost_its_orientation_is_tried_in_eight_ways(hearts, trained, frames, ways):
    task, model = trained
    cine, points = truth_of(hearts)
    cine, points = replace(cine, pixels=cine.pixels[:frames], frame_times_ms=None, ed=0, es=None), points[:frames]
    wanted = task.track(model, cine)[0]
    annulus = np.hypot(*(wanted[0, 1] - wanted[0, 0]))
    for other, moved in list(eight_ways(cine, points))[ways]:
        found = task.track(model, replace(other, spacing_known=False))[0]
        assert unordered_distance(found[0], moved[0]).mean() < 0.25 * annulus


# -- what stands beside a number --------------------------------------------------------------------------------


def test_confidence_is_how_little_the_last_pass_moved():
    still = np.array([[[0.0, 0], [40, 0]]])
    assert agreement([still, still], np.ones(2)).tolist() == [1]
    moved, far = (still + np.array([0, mm]) for mm in (5, 30))
    assert agreement([still, moved], np.ones(2)) == pytest.approx([0.5])  # 5 of 40; a quarter of it is too far
    assert agreement([still, far], np.ones(2)).tolist() == [0]


def test_a_cine_without_a_valve_gets_a_flag(hearts, trained):
    task, model = trained
    cine, _ = truth_of(hearts)
    noise = np.random.default_rng(5).integers(0, 200, cine.pixels.shape).astype(np.uint16)
    [row] = task.predict_cine(model, replace(cine, pixels=noise))[1]
    assert "valve_not_found" in row["flags"] and row["confidence"] < task.least_confidence
    missing = {"missing": [[0, t] for t in range(cine.frames)]}
    for refused, reason in (
        ({"view": "sax"}, "no network for view sax"),
        ({"meta": missing}, "every frame is missing"),
    ):
        with pytest.raises(RefusedError, match=reason):
            task.track(model, replace(cine, **refused))


def test_points_that_coincide_are_no_valve_and_no_crash():
    task = mvnet.MitralTracking(("4ch",), mvnet.MitralPoints(scale=0.25, backbone="resnet10"), least_confidence=0.4)
    model, cine = task.network().eval(), Cine(np.zeros((9, 1, 40, 40), np.uint8), np.eye(4), "4ch", "X")
    for net in model.values():
        torch.nn.init.zeros_(net.head.weight)
        torch.nn.init.zeros_(net.head.bias)  # both points in the middle
    found, [row] = task.predict_cine(model, cine)
    assert (found.points["confidence"] == 0).all() and len(found.points) == 18 and row["flags"] == "valve_not_found"


def test_the_inner_angle_of_two_planes():
    flat = np.array([[[0.0, 0], [10, 0]]])
    turned = np.array([[[0.0, 0], [10, 10 * np.tan(np.deg2rad(12))]]])
    assert plane_angle_deg(turned, flat) == pytest.approx([12])
    assert plane_angle_deg(turned[:, ::-1], flat) == pytest.approx([12])


def test_cavities_give_points_and_errors_in_percent_of_the_annulus(hearts, tmp_path):
    edges = write_edge_points(hearts, "truth", tmp_path / "edges", repeat_every=40)
    assert len(edges) == 12 * 8 and edges["repeat_pct"].notna().sum() <= 3
    for name in hearts.cines.loc[hearts.cines["view"] == "4ch", "cine"]:
        cine, points = truth_of(hearts, subject=name[4:9])
        swapped = points[:, ::-1] + 0.1 * np.hypot(*(points[:, 1] - points[:, 0]).T)[:, None, None] * [1, 0]
        Observer(tmp_path / "ten").write(cine, Annotation(points=points_table(cine, swapped, np.ones(8))))
    laid = Cohort.open(hearts.path, [tmp_path / "edges", tmp_path / "ten"])
    found = mvnet.point_errors(laid, "truth", "edges")
    assert len(found) == edges["refused"].eq("").sum() > 60 and found["annulus_pct"].median() < 20
    assert mvnet.point_errors(laid, "truth", "ten")["annulus_pct"].to_numpy() == pytest.approx(10.0)


# -- the command line -------------------------------------------------------------------------------------------


def test_cmr_valve_tracks_once_and_writes_points_and_metrics(hearts, trained, tmp_path):
    task, model = trained
    task.save(model, tmp_path / "weights")
    words = ["valve", str(hearts.path), "--weights", str(tmp_path), "--out", str(tmp_path / "valves")]
    asked = [*words, "--subjects", "P0001,P0002", "--threads", "1"]
    first, second = (CliRunner().invoke(app, asked) for _ in range(2))
    assert first.exit_code == 0 and "4 cines tracked now" in first.output, first.output
    assert second.exit_code == 0 and "0 cines tracked now" in second.output, second.output
    metrics = pd.read_csv(tmp_path / "valves" / "valve_metrics.csv")
    assert list(metrics["participant_id"]) == ["P0001", "P0002"]
    assert (tmp_path / "valves" / "sub-P0001" / "sub-P0001_view-4ch_points.tsv").exists()
    unknown = CliRunner().invoke(app, [*words, "--subjects", "P9"])
    assert unknown.exit_code == 2 and "P9" in unknown.output
    other = replace(task, views=("2ch",))
    other.save(other.network(), tmp_path / "others")
    again = CliRunner().invoke(app, [*words[:3], str(tmp_path / "others"), *asked[4:]])
    assert again.exit_code == 0 and "2 cines tracked now" in again.output, again.output  # other weights track again
