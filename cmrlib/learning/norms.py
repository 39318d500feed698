"""Batch norm of few channels, in a fraction of torch's time: on CPUs, channels last, torch 2.13 goes through vectors of
16 channels and takes what is left one by one, so that 8 or 24 channels cost two to five times what they should."""

from math import gcd

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from cmrlib.learning.distributed import WholeBatchNorm

LANES = 16
"""Channels that torch takes at once. So many places pass for one of more channels that these make whole vectors."""


class _Folded(torch.autograd.Function):
    """x (batch, channels, …) as `places` rows of fold · channels numbers: (normalised x, mean, variance)."""

    @staticmethod
    def forward(ctx, x, weight, bias, eps, fold):
        wide, channels = _wide(x, fold), x.shape[1]
        # without weights, moments would have x's precision
        plain = weight.new_ones(fold * channels), weight.new_zeros(fold * channels)
        _, means, inverses = torch.native_batch_norm(wide, *plain, None, None, True, 0.0, eps)
        means, variances = (value.view(fold, channels) for value in (means, inverses**-2 - eps))
        mean, variance = means.mean(0), variances.mean(0) + means.var(0, correction=0)
        known = [value.repeat(fold) for value in (weight, mean, variance)]
        y = torch.native_batch_norm(wide, known[0], bias.repeat(fold), *known[1:], False, 0.0, eps)[0]
        ctx.save_for_backward(x, weight, *known)
        ctx.eps, ctx.fold = eps, fold
        ctx.mark_non_differentiable(mean, variance)
        return _like(y, x), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient, *_):
        x, weight, *known = ctx.saved_tensors
        fold, places = ctx.fold, x.numel() // x.shape[1]
        gradient = gradient.contiguous(memory_format=torch.channels_last if x.dim() == 4 else torch.channels_last_3d)
        gradient, wide = _wide(gradient, fold), _wide(x, fold)
        # as if mean and variance were constants, then what they add: a straight line in x
        ours, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, wide, known[0], *known[1:], None, None, False, ctx.eps, [True] * 3
        )
        to_weight, to_bias = (value.view(fold, -1).sum(0) for value in (to_weight, to_bias))
        scale = -weight * (known[2][: len(weight)] + ctx.eps).rsqrt() / places
        slope, level = scale * to_weight, scale * to_bias
        line = slope.repeat(fold), level.repeat(fold)
        ours += torch.native_batch_norm(wide, *line, *known[1:], False, 0.0, ctx.eps)[0]
        return _like(ours, x), to_weight, to_bias, None, None


def _wide(x, fold):
    """Dense, channels last (b, channels, …) → (1, fold · channels, places, 1), the same memory, channels last."""
    columns = fold * x.shape[1]
    return x.as_strided((1, columns, x.numel() // columns, 1), (x.numel(), 1, columns, columns))


def _like(wide, x):
    """The memory of a `_wide` tensor in the shape of x; no view of it, so that what follows may work in place."""
    return x.new_empty(0).set_(wide.untyped_storage(), 0, x.shape, x.stride())


class FewChannels(nn.modules.batchnorm._BatchNorm):
    """Batch norm that folds where it helps: training on a CPU, channels last, no whole vectors of channels."""

    def forward(self, x):
        channels = x.shape[1]
        fold = 2 * LANES // gcd(channels, LANES)
        last = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
        elsewhere = x.device.type != "cpu" or not self.training or isinstance(self, WholeBatchNorm)
        if fold == 2 or elsewhere or x.numel() // channels % fold or not x.is_contiguous(memory_format=last):
            return super().forward(x)
        y, mean, variance = _Folded.apply(x, self.weight, self.bias, self.eps, fold)
        with torch.no_grad():
            places = x.numel() // channels
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * places / (places - 1), self.momentum)
        return y


class FewChannels2d(FewChannels, nn.BatchNorm2d):
    pass


class FewChannels3d(FewChannels, nn.BatchNorm3d):
    pass


def quicken_batch_norm(model: nn.Module):
    """A model's BatchNorm2d and BatchNorm3d, in place, become their faster kinds; parameters and names stay."""
    faster = {nn.BatchNorm2d: FewChannels2d, nn.BatchNorm3d: FewChannels3d}
    for part in model.modules():
        if type(part) in faster and part.momentum is not None and part.affine and part.track_running_stats:
            part.__class__ = faster[type(part)]
