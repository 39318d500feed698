"""Profile `paper`: what the papers print, networks at full size, its cost told first."""

import shutil
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from cmrlib.app.runs import UsageError, load_profile, resolve, start
from cmrlib.app.runs.execution import announce_cost
from cmrlib.app.runs.parameters import ROOT
from cmrlib.cohort.splits import split_subjects
from cmrlib.papers.cussp import CnnLstm, CusspJoint, CusspPairs, CusspPretraining, MitralRegurgitation
from cmrlib.papers.heartmae.task import HeartMAE
from cmrlib.papers.mvnet import MitralPoints
from cmrlib.papers.sslhf import HeartFailure, SslhfRestoration
from cmrlib.papers.tempreg import TempReg
from cmrlib.papers.ternausnet import Segmentation

PRINTED = {
    "01_segmentation": {
        "task.width": 64, "task.images": 100, "views": ["sax", "4ch", "2ch"], "weights": "",
        "training.imagenet": "imagenet/vgg11_bn.pth",
    },
    "05_cussp": {
        "subjects.train": 525, "subjects.test": 179, "subjects.unlabelled": 30000, "phantom.frames": 50,
        "task.frames": 50, "task.window": 25, "task.width": 64, "task.projector": 2048, "observer": "ternausnet",
        "weights": "runs/paper/01_segmentation/weights",
    },
    "05b_cussp_table2": {
        "forest_views": ["sax", "2ch", "4ch"], "cnn.backbone": "densenet121",
        "cnn.imagenet": "imagenet/densenet121.pth", "cnn.attention": [True, False],
        "cnn.masks": ["whole", "heart"], "cnn.frames": 50, "weak_subjects": 0,
    },
    "04_mvnet": {
        "task.backbone": "resnet50", "task.head": "points", "task.scale": 1.0, "task.n_repeats": 10,
        "task.constant_rate": True, "task.augment_scale": 0.1, "task.augment_rotation_deg": 10.0,
        "task.augment_shift_px": 3.0, "recipe.epochs": 20, "recipe.batch_size": 8, "recipe.learning_rate": 1e-4,
        "recipe.imagenet": "imagenet/resnet50.pth",
    },
    "04b_mvnet_people": {"subjects": 150, "lund_subjects": 553, "epochs": 0},
    "00_cohort": {"phantoms.people": ["yale", "yale2", "lund", "lund2"]},
    "03_tempreg": {
        "task.width": 96, "task.features": 1024, "task.size": 224, "task.lstm": "paper", "task.target": "paper",
        "task.channels": "copies", "task.norm": "local", "task.n_passes": 1, "recipe.learning_rate": 0.001,
        "recipe.imagenet": "imagenet/zeiler_fergus.pth",
    },
    "03b_tempreg_table1": {"n_folds": 4, "folds": [0, 1, 2, 3]},
    "06_sslhf": {
        "phantom.subjects": 184, "task.size": 288, "task.frames": 40, "task.clip": 2000.0, "task.length": 3,
        "task.shuffle": "paper", "restore.lr": 0.001, "restore.bs": 4, "classify.lr": 1e-5, "observer": "ternausnet",
    },
    "06b_sslhf_tables": {"label_counts": [], "more_tests": 0, "folds": [0, 1, 2, 3, 4]},
    "07_heartmae_pretrain": {
        "shares": [0.15, 0.15], "schedule.epochs": [200, 100], "schedule.batch_size": 56, "schedule.base_rate": 1.5e-4,
        "task.size": 224, "task.frames": 24, "task.width": 768, "task.depth": 12, "task.repeats": 4, "task.patch": 16,
        "task.flow_sigma_px": 10.0, "variants": ["plain", "mask95", "tube", "flow"],
    },
    "08_heartmae_predict": {
        "section_views": [3, 2], "fewest": {"train": 50, "validation": 20, "test": 20}, "heads.batch_size": 1,
        "heads.by_view": False, "heads.closed_form": False,
    },
    "10_stratification": {"n_groups": 2, "groups_of": ["AF", "NOR"], "adjust_for": "sex"},
}  # fmt: skip


@pytest.mark.parametrize("notebook", PRINTED)
def test_profile_paper_resolves_to_what_is_printed(notebook):
    found, wrong = resolve(notebook, "paper"), {}
    for name, wanted in PRINTED[notebook].items():
        first, _, inner = name.partition(".")
        value = found[first][inner] if inner else found[first]
        wrong |= {} if value == wanted else {name: (value, wanted)}
    assert not wrong
    assert "extends" not in (ROOT / "profiles" / "paper.yaml").read_text().split("record:")[1]


def test_grids_candidates_and_groups_of_the_paper_fit_together():
    cohort, tempreg = resolve("00_cohort", "paper"), resolve("03_tempreg", "paper")
    schedule = resolve("07_heartmae_pretrain", "paper")["schedule"]
    assert tempreg["task"]["frames"] == cohort["frames"]
    assert 150 in [share * schedule["epochs"][0] for share in schedule["start_shares"]]
    groups = cohort["phantoms"]["diagnoses"]
    people = [f"P{n:04d}" for n in range(cohort["subjects"])]
    kinds = [groups[n % len(groups)] for n in range(len(people))]
    split = split_subjects(pd.DataFrame({"participant_id": people, "group": kinds}), shares=(0.15, 0.15))
    counted = pd.crosstab(pd.Series(kinds, people).reindex(split.index), split)
    with pytest.raises(
        ValueError, match="leave nobody for test and validation: the largest of 7 groups has 2 subjects"
    ):
        split_subjects(pd.DataFrame({"participant_id": people[:14], "group": kinds[:14]}), shares=(0.15, 0.15))
    fewest = resolve("08_heartmae_predict", "paper")["fewest"]
    assert set(resolve("10_stratification", "paper")["groups_of"]) <= set(groups)
    assert all((counted[side] >= fewest[side]).all() for side in fewest)


def of(task, notebook, **more):
    """The task with the profile's settings."""
    return task.of(resolve(notebook, "paper")["task"] | more)


SEGMENT, POINTS, STAGE_2 = (
    {"notebook": "01_segmentation"},
    {"notebook": "04_mvnet"},
    {"notebook": "04_mvnet", "stage": 2},
)
CUSSP, WHOLE = {"notebook": "05_cussp"}, {"notebook": "05_cussp", "window": 0}
PICTURES = WHOLE | {"kind": "whole", "size": 96}
TEMPREG, SSLHF, MAE = ({"notebook": name} for name in ("03_tempreg", "06_sslhf", "07_heartmae_pretrain"))
TASKS = {  # task, its settings, shape of a batch, shape of the target (None: the output's), millions of parameters
    "ternausnet": (Segmentation, SEGMENT, (1, 3, 192, 192), (1, 192, 192), 25),
    "tempreg": (TempReg, TEMPREG, (1, 20, 224, 224), None, 23),
    "mvnet, stage 1": (MitralPoints, POINTS, (2, 1, 160, 160), (2, 2, 2), 24),
    "mvnet, stage 2": (MitralPoints, STAGE_2, (2, 1, 118, 162), (2, 2, 2), 24),
    "barlow twins": (CusspPretraining, CUSSP, (2, 2, 25, 128, 128), None, 21),
    "siamese": (CusspPairs, CUSSP, (2, 2, 25, 128, 128), (2,), 11),
    "classifier": (MitralRegurgitation, CUSSP, (2, 25, 128, 128), (2,), 11),
    "both losses": (CusspJoint, WHOLE, (2, 2, 50, 128, 128), (2,), 21),
    "cnn-lstm": (CnnLstm, PICTURES, (1, 50, 96, 96), (1,), 10),
    "heartmae": (HeartMAE, MAE, (1, 1, 24, 224, 224), None, 100),
    "sslhf, stage 1": (SslhfRestoration, SSLHF, (1, 40, 288, 288), None, 22),
    "sslhf, stage 2": (HeartFailure, SSLHF, (1, 40, 288, 288), (1,), 14),
}
LARGE = ("sslhf, stage 1", "sslhf, stage 2")
"""Their step takes gigabytes: they take it on `meta`, which has shapes and no memory."""


@pytest.mark.parametrize("name", TASKS)
def test_networks_of_the_paper_take_a_step_at_full_size(name):
    task, settings, shape, wanted, millions = TASKS[name]
    torch.manual_seed(0)
    with torch.device("meta" if name in LARGE else "cpu"):
        task = of(task, **settings)
        model, x = task.network(), torch.rand(shape)
        learning = [p for p in model.parameters() if p.requires_grad]
        optimiser = torch.optim.Adam(learning, lr=1e-4)
        output = model(x)
        task.loss()(output, torch.ones(wanted or output.shape)).backward()
        optimiser.step()
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=1.5)
    assert any(p.grad is not None for p in learning)
    assert name in LARGE or all(torch.isfinite(p).all() for p in learning)


def test_cost_is_told_before_anything_starts(tmp_path, monkeypatch, capsys):
    profile = load_profile("paper")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2e12))
    announce_cost(profile, tmp_path / "paper")
    said = capsys.readouterr().out
    assert f"{sum(gb for gb, _ in profile.cost.values())} GB" in said and "05_cussp: 225 GB" in said
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1e11))
    with pytest.raises(UsageError, match="has room for 100 GB, about 225 GB are needed"):
        announce_cost(profile, tmp_path / "paper", ["05_cussp"])
    announce_cost(load_profile("quick"), tmp_path)  # says no cost
    phantom = resolve("05_cussp", "paper")
    people, pixels = sum(phantom["subjects"].values()), phantom["phantom"]["frames"] * phantom["phantom"]["size"] ** 2
    assert profile.cost["05_cussp"][0] > 2e-9 * people * pixels  # the pixels alone


def test_a_missing_imagenet_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("CMR_RUN_FOLDER", str(tmp_path / "run"))
    monkeypatch.setenv("CMR_DATA_DIR", str(tmp_path))
    run = start("04_mvnet", resolve("04_mvnet", "paper"))
    with pytest.raises(
        UsageError, match="starts from ImageNet weights of resnet50, but there is no file imagenet/resnet"
    ):
        run.local_file("imagenet/resnet50.pth", "ImageNet weights of resnet50")
    (tmp_path / "imagenet").mkdir()
    (tmp_path / "imagenet" / "resnet50.pth").touch()
    assert run.local_file("imagenet/resnet50.pth", "…") == tmp_path / "imagenet" / "resnet50.pth"
    assert resolve("04_mvnet", "paper", {"recipe": {"imagenet": ""}})["recipe"]["epochs"] == 20  # not named by -p
