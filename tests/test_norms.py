"""Batch norm of few channels gives what torch's gives."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from cmrlib.learning import norms
from cmrlib.learning.distributed import WholeBatchNorm, share_batch_norm
from cmrlib.learning.norms import FewChannels2d, quicken_batch_norm

LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def both(shape, dtype=torch.float32, memory_format=None):
    """(output, gradients of input, weight and shift, running mean and variance) by torch, and by ours."""
    torch.manual_seed(0)
    place = memory_format or LAST[len(shape)]
    x = (2 * torch.randn(shape) + 3).to(dtype).contiguous(memory_format=place)
    gradient = torch.randn(shape).to(dtype)
    plain = (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm3d)(shape[1])
    nn.init.normal_(plain.weight), nn.init.normal_(plain.bias)
    plain = plain.double() if dtype == torch.float64 else plain
    ours, found = deepcopy(plain), []
    quicken_batch_norm(ours)
    for norm in (plain, ours):
        seen = x.clone(memory_format=torch.preserve_format).requires_grad_()
        y = norm(seen)
        nn.functional.relu(y, inplace=True)  # as in the networks
        y.backward(gradient)
        found.append((y.detach(), seen.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var))
    return found


@pytest.mark.parametrize("shape", [(4, 8, 12, 16), (3, 24, 8, 8), (2, 36, 16, 16), (2, 8, 3, 8, 8), (1, 12, 4, 6, 8)])
def test_numbers_are_torchs(shape, monkeypatch):
    used = []
    monkeypatch.setattr(norms, "_wide", lambda *given, real=norms._wide: used.append(1) or real(*given))
    for plain, ours in zip(*both(shape, torch.float64)):
        assert torch.allclose(plain, ours, rtol=1e-9, atol=1e-9)
    for plain, ours in zip(*both(shape)):
        assert torch.allclose(plain, ours, rtol=1e-4, atol=1e-4)
    assert len(used) == 6, "the faster way was not taken"


def test_half_precision_differs_by_its_rounding():
    for exact, plain, ours in zip(both((4, 8, 16, 16))[0], *both((4, 8, 16, 16), torch.bfloat16)):
        assert (ours - exact).abs().max() <= 1.5 * (plain - exact).abs().max() + 0.02 * exact.abs().max()


@pytest.mark.parametrize(
    ("shape", "memory_format"), [((4, 16, 8, 8), None), ((4, 8, 8, 8), torch.contiguous_format), ((3, 8, 3, 3), None)]
)
def test_elsewhere_torch_does_it(shape, memory_format, monkeypatch):
    monkeypatch.setattr(norms._Folded, "apply", None)
    for plain, ours in zip(*both(shape, memory_format=memory_format)):
        assert torch.equal(plain, ours)


def test_gradient():
    weight, bias = torch.randn(8).double().requires_grad_(), torch.randn(8).double().requires_grad_()
    x = torch.randn(2, 8, 4, 4).double().contiguous(memory_format=torch.channels_last).requires_grad_()
    assert torch.autograd.gradcheck(lambda *given: norms._Folded.apply(*given, 1e-5, 4)[0], (x, weight, bias))


def test_names_and_predictions_stay():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.BatchNorm2d(8, affine=False))
    faster = deepcopy(model)
    quicken_batch_norm(faster)
    assert [type(part) for part in faster] == [nn.Conv2d, FewChannels2d, nn.BatchNorm2d]
    assert list(faster.state_dict()) == list(model.state_dict())
    x = torch.randn(2, 3, 9, 9)
    assert torch.equal(model.eval()(x), faster.eval()(x))


def test_statistics_of_all_processes_go_before_speed(monkeypatch):
    model = nn.Sequential(nn.BatchNorm2d(8)).to(memory_format=torch.channels_last)
    quicken_batch_norm(model)
    share_batch_norm(model)
    monkeypatch.setattr(WholeBatchNorm, "forward", lambda self, x: x + 1)
    x = torch.randn(2, 8, 4, 4).contiguous(memory_format=torch.channels_last)
    assert torch.equal(model(x), x + 1)
