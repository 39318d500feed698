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

from cmrlib.learning.distributed import Together, WholeBatchNorm, share_batch_norm
from cmrlib.papers.cussp.network import BarlowTwins, Encoder
from cmrlib.papers.ternausnet import Segmenter, TernausNet
from cmrlib.phantom import make_cohort

TERNAUSNET = """
import sys
import torch
from functools import partial
from pathlib import Path
from cmrlib.learning.blocks import sample_table
from cmrlib.cohort import Cohort
from cmrlib.learning.distributed import Together, join
from cmrlib.cohort.files import write_json
from cmrlib.cohort.splits import split_subjects
from cmrlib.papers.ternausnet import Preprocessing, learning
torch.set_num_threads(1)
learning.fit = partial(learning.fit, callbacks=[Together(1)])  # also alone: draws that depend on the item
hearts, out = Cohort.open(sys.argv[1]), Path(sys.argv[2])
samples = sample_table(hearts, "truth", "sax", split_subjects(hearts.subjects, 0), 1)
segmenter, learner = learning.train_segmenter(
    hearts, "truth", samples, Preprocessing("sax", 4.0, 32), int(sys.argv[3]), 1, 0.002, "fp32", out / "sax.pt",
    width=4, batch_size=4, validation_size=32)
if join()[0] == 0:
    segmenter.save(out / "sax")
    write_json({"sax": [list(row) for row in learner.recorder.values]}, out / "losses.json")
"""
PAPERS = """
import sys
import torch
from fastai.callback.core import Callback
from cmrlib.papers import cussp, mvnet, sslhf, tempreg
from cmrlib.cohort import Cohort
from cmrlib.papers.cussp.batches import Distortion
from cmrlib.papers.cussp.patches import prepare_cohort
from cmrlib.learning.distributed import Together, join
from cmrlib.cohort.files import write_json
from cmrlib.cohort.splits import split_subjects
from cmrlib.learning.training import fit

torch.set_num_threads(1)
hearts, found = Cohort.open(sys.argv[1]), {}


class FirstStep(Callback):
    order = 30  # after Together

    def __init__(self, what):
        self.what = what

    def before_step(self):
        if self.what not in found:
            grads = [p.grad.flatten() for p in self.model.parameters() if p.grad is not None]
            found[self.what] = {"loss": float(self.loss), "gradient": torch.cat(grads).tolist()}


def noted(learn, *given, callbacks=(), **named):
    first = FirstStep(what=given[6])
    fit(learn, *given, callbacks=[*callbacks, Together(1), first], **named)


for paper in (cussp, mvnet, sslhf, tempreg):
    paper.learning.fit = noted
split = split_subjects(hearts.subjects, validation_per_group=2)
sections = tempreg.section_table(hearts, "truth", split, ["4ch"])
tempreg.train_tempreg(hearts, sections, tempreg.Preprocessing(6.0, 32, 8),
                      tempreg.Design(size=32, width=3, features=8, hidden=6), tempreg.Objective(),
                      tempreg.Recipe(1, 1, 0.01, 4, "fp32"))
samples = mvnet.frame_table(hearts, "truth", "4ch", split, frames=2)
mvnet.train_network(hearts, samples, mvnet.standard_look("4ch", 1, 0.25),
                    mvnet.Recipe("resnet10", "maps", 0.25, epochs=1, frames=2, copies=1, batch_size=4,
                                 precision="fp32"), 1)
subjects = hearts.subjects.assign(mr=[n % 2 for n in range(len(hearts.subjects))])
labels = sslhf.labelled(subjects, "mr", "1")
setup = sslhf.Setup(sslhf.Preprocessing(32, 8, 4.0, 0.0), sslhf.Design(2, 8, False, (4, 3)),
                    sslhf.Transformations(window_px=3, length=1), sslhf.Recipe(1, 1e-3, 20, 8, "fp32"),
                    sslhf.Recipe(1, 1e-3, 10, 8, "fp32"), 2)
of_lv = sslhf.Patches.of(hearts, sslhf.patch_table(hearts, labels, "truth"), setup.preprocessing, sys.argv[2])
sides = sslhf.patient_split(subjects, labels, 0)
sslhf.pretrain(of_lv, sides, setup, 1)
sslhf.classify(of_lv, sides, setup, 1)
still = Distortion(0, 0, 0, 0, 0, 0, 0)  # what torch draws for a whole batch is not the same in two processes
recipe = cussp.Recipe(1, 1, (1,), 1, batch_size=8, barlow_batch=8, precision="fp32", views=still,
                      labelled=still)
design = cussp.Design(width=4, projector=8, hidden=8, dropout=0.0)
patches = prepare_cohort(hearts, "truth", cussp.Preprocessing("valve", 32, 100.0, 8), sys.argv[2])
sides = cussp.assign_roles(subjects, "mr", 14, 4, 0.3), labels.astype(float)
cussp.pretrain(patches, sides[0], design, recipe, 1)
cussp.learning.train_joint(None, 0.5, patches, *sides, design, recipe, 1)
torch.manual_seed(1)
cussp.learning.finetune_siamese(cussp.network.Encoder(8, 4), patches, *sides, design, recipe, 1)
if join()[0] == 0:
    write_json(found, sys.argv[2] + "/steps.json")
"""


def started(code, processes, *words):
    """Processes under torchrun's variables, on gloo."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    found = []
    for rank in range(processes):
        env = os.environ | {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "CUDA_VISIBLE_DEVICES": "",
        }
        found.append(
            subprocess.Popen(
                [sys.executable, "-c", code, *map(str, words)],
                text=True,
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
    return found


def ended(processes):
    results = [process.communicate(timeout=900) for process in processes]
    assert not any(process.returncode for process in processes), "".join(err[-1500:] for _, err in results)
    return results


def curves(folder):
    return {name: np.array(rows) for name, rows in json.loads((folder / "losses.json").read_text()).items()}


@pytest.fixture(scope="module")
def alone(cohort, tmp_path_factory):
    """Folder that one process left."""
    folder = tmp_path_factory.mktemp("alone")
    ended(started(TERNAUSNET, 1, cohort.path, folder, 3))
    return folder


def test_two_processes_have_the_loss_curve_of_one(alone, cohort, tmp_path):
    ended(started(TERNAUSNET, 2, cohort.path, tmp_path, 3))
    one, two = curves(alone)["sax"], curves(tmp_path)["sax"]
    np.testing.assert_allclose(two, one, rtol=1e-4)
    assert len(set(one[:, 0].tolist())) == 3, "a curve that stands still would agree with anything"
    assert isinstance(Segmenter.load(alone / "sax").model, TernausNet)


def test_two_processes_take_the_step_of_one_in_every_paper(tmp_path):
    """No whole curves: Adam's first step is a gradient's sign, which rounding turns over where that is near zero."""
    hearts = make_cohort(
        tmp_path / "c",
        subjects=34,
        frames=8,
        size=48,
        spacing_mm=4.5,
        slices=4,
        views=["sax", "4ch"],
        subslices=1,
        workers=2,
        progress=False,
    )
    steps = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        ended(started(PAPERS, processes, hearts.path, folder))
        steps.append(json.loads((folder / "steps.json").read_text()))
    one, two = steps
    assert len(one) == 7 and list(one) == list(two)
    for what in one:
        assert two[what]["loss"] == pytest.approx(one[what]["loss"], rel=1e-4), what
        gradients = [np.array(step[what]["gradient"]) for step in steps]
        assert np.linalg.norm(gradients[1] - gradients[0]) < 1e-3 * np.linalg.norm(gradients[0]) > 0, what


def test_a_killed_process_ends_the_others_and_both_go_on(alone, cohort, tmp_path):
    processes = started(TERNAUSNET, 2, cohort.path, tmp_path, 3)
    checkpoint, until = tmp_path / "sax.pt", time.monotonic() + 600
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
    np.testing.assert_allclose(curves(tmp_path)["sax"], curves(alone)["sax"], rtol=1e-4)


NORM = """
import sys, torch
from cmrlib.learning.distributed import join, share_batch_norm
rank, world = join()
x, weight, upstream = torch.load(sys.argv[1], weights_only=True)
norm = torch.nn.BatchNorm2d(3)
norm.load_state_dict(weight)
share_batch_norm(norm)
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


def test_shared_norms_stay_what_they_were():
    model = torch.nn.Sequential(TernausNet(2, 4), BarlowTwins(Encoder(8, 4), 8), torch.nn.BatchNorm3d(2))
    names, kinds = list(model.state_dict()), [type(part) for part in model.modules()]
    share_batch_norm(model)
    assert list(model.state_dict()) == names and all(map(isinstance, model.modules(), kinds))
    assert sum(isinstance(part, WholeBatchNorm) for part in model.modules()) == 14 + 20 + 2 + 1
    with pytest.raises(TypeError, match="BatchNorm1d without momentum"):
        share_batch_norm(torch.nn.BatchNorm1d(2, momentum=None))


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
