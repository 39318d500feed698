"""The network as it works fastest on a processor: the same curves but for their rounding."""

from copy import deepcopy
from functools import partial

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cmrlib.papers.tempreg.network import TempRegNet


def faster(model: TempRegNet, precision: str) -> TempRegNet:
    """Copy of a trained network for prediction. precision: fp32 (exact); bf16; or int8, which is bf16 but for the
    convolutions. Where int8 can't be had (see `takes_int8`) bf16 takes its place."""
    if precision not in ("fp32", "bf16", "int8"):
        raise ValueError(f"precision {precision!r}; expected fp32, bf16 or int8")
    network = fold_batch_norm(model)
    if precision != "fp32":
        eight_bits = precision == "int8" and takes_int8(model)
        stages = to_int8(network, channel_sizes(model)) if eight_bits else network.encoder.stages
        to_bfloat16(network, stages)
    return network.eval()


def fold_batch_norm(model: TempRegNet) -> TempRegNet:
    """Copy for prediction, channels last: each batch norm becomes part of the convolution before it, which is exact.
    Activations are rectified in place."""
    folded = deepcopy(model).eval()
    for part in folded.modules():
        if isinstance(part, nn.Sequential) and len(part) > 1 and isinstance(part[1], nn.BatchNorm2d):
            part[0], part[1] = fuse_conv_bn_eval(part[0], part[1]), nn.Identity()
        elif isinstance(part, nn.ReLU):
            part.inplace = True
    return folded.to(memory_format=torch.channels_last)


def to_bfloat16(network: TempRegNet, stages):
    """Encoder and LSTM to bf16, in place; the read-out stays in fp32, and so does the paper's LSTM, which sums up step
    by step. The first convolution, whose output is the largest, takes a few frames at a time and pools them at once."""
    network.encoder.bfloat16()
    if isinstance(getattr(network, "lstm", None), nn.LSTM):
        network.lstm.bfloat16()
    first, _, *others = [RectifiedPool() if isinstance(part, nn.MaxPool2d) else part.bfloat16() for part in stages]
    network.encoder.stages = nn.Sequential(FewAtATime(first, network.design.width), *others)


class RectifiedPool(nn.Module):
    """`MaxPool2d(3, 2, 1)` of (n, channels, rows, columns) bf16, even sides, nowhere negative: the same numbers in a
    third of the time. Bits of such numbers stand in the same order as the numbers, and as integers compare faster."""

    def forward(self, x, out=None):
        """out: array to write to, for which it must have the right shape."""
        bits = x.view(torch.int16)
        for axis in (2, 3):
            half = bits.shape[axis] // 2
            even, odd = bits.unflatten(axis, (half, 2)).unbind(axis + 1)
            last = None if out is None or axis == 2 else out.view(torch.int16)
            bits = torch.maximum(even, odd, out=last)
            inner = bits.narrow(axis, 1, half - 1)
            torch.maximum(inner, odd.narrow(axis, 0, half - 1), out=inner)
        return bits.view(torch.bfloat16)


class FewAtATime(nn.Module):
    """A stage and its pooling for groups of frames whose largest array stays in the processor's cache."""

    def __init__(self, stage, channels: int, most_numbers: int = 2**22):
        super().__init__()
        self.stage, self.pool, self.channels, self.most_numbers = stage, RectifiedPool(), channels, most_numbers

    def forward(self, x):
        whole = isinstance(self.stage, Int8Convolution)  # one step for the whole clip
        work, x = self.stage.prepared(x) if whole else (self.stage, x)
        few = max(1, self.most_numbers // (self.channels * (x.shape[2] // 2) * (x.shape[3] // 2)))
        size = len(x), self.channels, x.shape[2] // 4, x.shape[3] // 4
        done = torch.empty(size, dtype=torch.bfloat16, memory_format=torch.channels_last)
        for group, place in zip(x.split(few), done.split(few), strict=True):
            self.pool(work(group), out=place)
        return done


def takes_int8(model: TempRegNet) -> bool:
    """Whether this processor multiplies 8-bit integers without overflow (VNNI), and this network's channels have known
    sizes, which batch norm gives them."""
    known = torch.cpu.get_capabilities()
    return model.design.norm == "batch" and (known.get("avx512_vnni", False) or known.get("avx_vnni", False))


def channel_sizes(model: TempRegNet) -> list[torch.Tensor]:
    """How large each channel of each convolution gets, about: batch norm's shift and four of its SD. (channels,) each,
    relative to their mean."""
    norms = [part[1] for part in model.encoder.stages if isinstance(part, nn.Sequential)]
    sizes = [(norm.bias + 4 * norm.weight.abs()).detach().clamp(min=1e-3) for norm in norms]
    return [size / size.mean() for size in sizes]


def to_int8(network: TempRegNet, sizes):
    """The stages of a folded network, its convolutions in 8-bit integers. Before that all channels are brought to one
    size, which rectifying and pooling don't notice, and the next convolution's weights take it back."""
    convolutions = [part[0] for part in network.encoder.stages if isinstance(part, nn.Sequential)]
    with torch.no_grad():
        for before, size, after in zip(convolutions[:-1], sizes[:-1], convolutions[1:], strict=True):
            before.weight /= size[:, None, None, None]
            before.bias /= size
            after.weight *= size[:, None, None]
    return [
        Int8Convolution(part[0], signed=part[0] is convolutions[0]) if isinstance(part, nn.Sequential) else part
        for part in network.encoder.stages
    ]


class Int8Convolution(nn.Module):
    """A rectified convolution, (n, channels, rows, columns) bf16 → bf16. Weights have 8 bits and a step for each output
    channel; the input has 8 bits and one step for the clip, by its largest value, so that nothing needs calibrating and
    a clip's answer depends on nothing but the clip. signed: the input may be negative."""

    def __init__(self, conv: nn.Conv2d, signed: bool = False):
        super().__init__()
        weight = conv.weight.detach()
        self.steps = weight.abs().amax((1, 2, 3)).clamp(min=1e-12) / 127
        self.zeros = torch.zeros(len(weight), dtype=torch.int32)
        self.largest, self.zero = (127, 128) if signed else (255, 0)
        self.where = list(conv.stride), list(conv.padding), list(conv.dilation), conv.groups
        rounded = (weight / self.steps[:, None, None, None]).round().to(torch.int8)
        self.packed = torch.ops.onednn.qconv_prepack(rounded, self.steps, 1.0, self.zero, *self.where)
        self.shift = conv.bias.detach().clone()

    def forward(self, x):
        work, x = self.prepared(x)
        return work(x)

    def prepared(self, x):
        """(function from 8-bit frames to the stage's output, the clip in 8 bits)."""
        step = max(float((x.abs() if self.zero else x).amax()), 1e-12) / self.largest
        whole = (x * (1 / step)).round_().to(torch.int16)  # straight to eight bits takes five times as long
        rounded = (whole.add_(self.zero) if self.zero else whole).to(torch.uint8)
        return partial(self._multiplied, step), rounded

    def _multiplied(self, step, rounded):
        return torch.ops.onednn.qconv2d_pointwise(
            rounded,
            step,
            self.zero,
            self.packed,
            self.steps,
            self.zeros,
            self.shift,
            *self.where,
            1.0,
            0,
            torch.bfloat16,
            "relu",
            [],
            "",
        )
