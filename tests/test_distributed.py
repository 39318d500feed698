"""Several processes take the steps of one: loss curves, whole-batch statistics, a killed process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from cmrlib.distributed import Together, WholeBatchNorm2d, share_batch_norm
from cmrlib.heartmae import load_model
from cmrlib.ternausnet import Segmenter, TernausNet

TERNAUSNET = """
import sys
from cmrlib.cli.segmentation import train
from cmrlib.cohort import Cohort
from cmrlib.runs import resolve
p = resolve("01_segmentation", "smoke", {"views": ["sax"], "width": 4, "size": 32, "validation_size": 32,
            "spacing_mm": 4.0, "epochs": int(sys.argv[3]), "batch_size": 4, "sax_frames": 1, "threads": 1,
            "learning_rate": 0.002, "precision": "fp32"})
train(Cohort.open(sys.argv[1]), sys.argv[2], p)
"""
HEARTMAE = """
import sys
from cmrlib.cli.pretraining import train
from cmrlib.cohort import Cohort
from cmrlib.runs import resolve
p = resolve("07_heartmae_pretrain", "smoke", {"n_folds": 3, "validation_per_group": 1, "crop_low": 48, "crop_high": 64,
            "variants": ["plain", "flow"], "epochs": int(sys.argv[3]), "variant_epochs": 1, "sax_share": 1.0,
            "batch_size": 4, "repeats": 2, "threads": 1, "precision": "fp32"})
train(Cohort.open(sys.argv[1]), sys.argv[2], p)
"""
CODE = {"TernausNet": TERNAUSNET, "HeartMAE": HEARTMAE}


def started(code, processes, *words):
    """Processes under torchrun's variables, on gloo."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    found = []
    for rank in range(processes):
        env = os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes),
                            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "CUDA_VISIBLE_DEVICES": ""}
        found.append(subprocess.Popen([sys.executable, "-c", code, *map(str, words)], text=True, env=env,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    return found


def ended(processes):
    results = [process.communicate(timeout=900) for process in processes]
    assert not any(process.returncode for process in processes), "".join(err[-1500:] for _, err in results)
    return results


def curves(folder):
    return {name: np.array(rows) for name, rows in json.loads((folder / "losses.json").read_text()).items()}


@pytest.fixture(scope="module")
def alone(cohort, tmp_path_factory):
    """Name → folder that one process left."""
    folders = {name: tmp_path_factory.mktemp(name) for name in CODE}
    for name, folder in folders.items():
        ended(started(CODE[name], 1, cohort.path, folder, 3))
    return folders


@pytest.mark.parametrize("name", CODE)
def test_two_processes_have_the_loss_curve_of_one(name, alone, cohort, tmp_path):
    ended(started(CODE[name], 2, cohort.path, tmp_path, 3))
    one, two = curves(alone[name]), curves(tmp_path)
    assert list(one) == list(two) and all(len(rows) for rows in one.values())
    for variant in one:
        np.testing.assert_allclose(two[variant], one[variant], rtol=1e-4)
    first = next(iter(one.values()))[:, 0]
    assert len(set(first.tolist())) == 3, "a curve that stands still would agree with anything"


def test_a_killed_process_ends_the_others_and_both_go_on(alone, cohort, tmp_path):
    processes = started(TERNAUSNET, 2, cohort.path, tmp_path, 3)
    checkpoint, until = tmp_path / "state" / "sax.pt", time.monotonic() + 600
    while not checkpoint.exists():
        assert time.monotonic() < until and processes[1].poll() is None, processes[1].communicate()[1][-1500:]
        time.sleep(0.02)
    processes[1].send_signal(signal.SIGKILL)
    assert processes[1].wait(60) == -signal.SIGKILL
    try:
        assert processes[0].wait(120) != 0, "one alone must not go on as if nothing had happened"
    finally:
        processes[0].kill()
    assert not (tmp_path / "losses.json").exists()
    ended(started(TERNAUSNET, 2, cohort.path, tmp_path, 3))
    np.testing.assert_allclose(curves(tmp_path)["sax"], curves(alone["TernausNet"])["sax"], rtol=1e-4)


def test_the_weights_are_for_everybody(alone):
    assert isinstance(Segmenter.load(alone["TernausNet"] / "sax").model, TernausNet)
    assert load_model(alone["HeartMAE"] / "weights" / "flow")[2]["processes"] == 1
    assert "test" in (alone["HeartMAE"] / "tables" / "split.csv").read_text()


NORM = """
import sys, torch
from cmrlib.distributed import WholeBatchNorm2d, join
rank, world = join()
x, weight, upstream = torch.load(sys.argv[1], weights_only=True)
norm = WholeBatchNorm2d(3)
norm.load_state_dict(weight)
own = x.chunk(world)[rank].clone().requires_grad_()
out = norm(own)
out.backward(upstream.chunk(world)[rank])
torch.save((out.detach(), own.grad, norm.running_mean, norm.running_var), f"{sys.argv[2]}/{rank}.pt")
torch.distributed.barrier()  # who ends while the other still listens breaks its connection
torch.distributed.destroy_process_group()
"""


def test_batch_norm_sees_the_whole_batch(tmp_path):
    """Values, gradients and running statistics of two halves are those of torch's own on the whole."""
    torch.manual_seed(0)
    x, upstream, norm = torch.randn(6, 3, 5, 4) * 3 + 7, torch.randn(6, 3, 5, 4), torch.nn.BatchNorm2d(3)
    torch.nn.init.uniform_(norm.weight)
    torch.save((x, norm.state_dict(), upstream), tmp_path / "x.pt")
    ended(started(NORM, 2, tmp_path / "x.pt", tmp_path))
    x.requires_grad_()
    whole = norm(x)
    whole.backward(upstream)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), whole.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), x.grad, rtol=1e-4, atol=1e-5)
    for part in parts:
        torch.testing.assert_close(part[2:], (norm.running_mean, norm.running_var))


def test_norms_that_cannot_be_shared_are_refused():
    model = TernausNet(2, 4)
    names = list(model.state_dict())
    share_batch_norm(model)
    assert list(model.state_dict()) == names
    assert sum(isinstance(part, WholeBatchNorm2d) for part in model.modules()) == 14
    with pytest.raises(TypeError, match="BatchNorm3d"):
        share_batch_norm(torch.nn.Sequential(torch.nn.BatchNorm3d(2)))


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, k):
        return torch.tensor([float(k), np.random.random()]), torch.tensor(0.0)


def dealt(rank, world, epoch=0):
    """First columns and random draws that a process sees in one epoch."""
    from types import SimpleNamespace

    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader

    loader = DataLoader(Rows(), bs=4, shuffle=True, drop_last=True, num_workers=0)
    loader.rng.seed(3)
    together = Together(1)
    together.rank, together.world, together.epoch = rank, 1, epoch
    together.learn = SimpleNamespace(dls=DataLoaders(loader, loader), model=torch.nn.Linear(1, 1))
    together.before_fit()
    together.world = world
    loader.bs, loader.n = 4 // world, 8 // world
    return [batch[0] for batch in loader]


def test_every_batch_is_dealt_out_and_draws_do_not_depend_on_whom_it_is_dealt_to():
    whole, halves = dealt(0, 1), [dealt(rank, 2) for rank in range(2)]
    assert [len(half) for half in halves] == [2, 2] and len(whole) == 2
    for batch, first, second in zip(whole, *halves):
        torch.testing.assert_close(torch.cat([first, second]), batch, rtol=0, atol=0)
    assert len({row[0].item() for batch in whole for row in batch}) == 8, "nobody twice in an epoch"
    again = dealt(0, 1, epoch=1)
    assert torch.equal(again[0][:, 0], whole[0][:, 0]) and not torch.equal(again[0][:, 1], whole[0][:, 1])
