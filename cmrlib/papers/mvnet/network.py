"""The networks and their losses: plain PyTorch that knows nothing of cohorts."""

from copy import deepcopy
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

LAYERS = {
    "resnet8": (BasicBlock, [1, 1, 1]),
    "resnet10": (BasicBlock, [1, 1, 1, 1]),
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
}
"""resnet8 is resnet10 without its last stage: a quarter of the weights, small enough to travel with the package."""
HEADS = ("points", "maps")
SPREAD_CELLS = 1.0
"""SD of the target of a heat map, in its own cells of four pixels."""


class MVNet(nn.Module):
    """One grey picture (b, 1, rows, columns) → two points.

    head "points" (the paper's): global average and one linear layer, (b, 4) in units of half the picture from its
    centre. head "maps": logits (b, 2, rows/4, columns/4), one map a point. `decode` turns both into pixels.
    """

    def __init__(self, backbone: str = "resnet50", head: str = "points"):
        super().__init__()
        if backbone not in LAYERS or head not in HEADS:
            raise ValueError(f"unknown network {backbone!r} with head {head!r}; there are {list(LAYERS)} and {HEADS}")
        self.architecture = {"name": "MVNet", "backbone": backbone, "head": head}
        block, layers = LAYERS[backbone]
        whole = ResNet(block, [*layers, 1][:4], num_classes=4)
        stages = [whole.layer1, whole.layer2, whole.layer3, whole.layer4][: len(layers)]
        widths = [
            stage[-1].bn3.num_features if hasattr(stage[-1], "bn3") else stage[-1].bn2.num_features for stage in stages
        ]
        self.stem = nn.Sequential(whole.conv1, whole.bn1, whole.relu, whole.maxpool)
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(widths[-1], 4) if head == "points" else MapHead(widths)

    def forward(self, x):
        x = self.stem(x.expand(-1, 3, -1, -1))  # three equal channels, as ImageNet weights expect
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        with torch.autocast(x.device.type, enabled=False):  # read-outs in fp32: bf16 has 8 bits, a picture 160 pixels
            if isinstance(self.head, nn.Linear):
                return self.head(x.float().mean((2, 3)))
        return self.head(features).float()


def decode(output, shape) -> torch.Tensor:
    """Output of a network, (b, 4) or (b, 2, h, w) → points (b, 2, 2) as (column, row) in pixels of a picture of
    `shape`."""
    rows, columns = shape
    if output.dim() == 2:
        half = torch.tensor([columns / 2, rows / 2], device=output.device)
        return (output.view(-1, 2, 2) + 1) * half - 0.5
    return map_points(output) * _cells(output, shape) + (_cells(output, shape) - 1) / 2


class MapHead(nn.Module):
    """Features of several scales → (b, 2, h, w) on the finest: each narrowed to 64 channels, enlarged, added."""

    def __init__(self, widths, channels: int = 64):
        super().__init__()
        self.lateral = nn.ModuleList([nn.Conv2d(width, channels, 1) for width in widths])
        self.smooth = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(inplace=True),
                )
                for _ in widths
            ]
        )
        self.last = nn.Conv2d(channels, 2, 1)

    def forward(self, features):
        x = self.smooth[-1](self.lateral[-1](features[-1]))
        for lateral, smooth, feature in list(zip(self.lateral, self.smooth, features))[-2::-1]:
            x = F.interpolate(x, size=feature.shape[2:], mode="bilinear", align_corners=False)
            x = smooth(x + lateral(feature))
        return self.last(x)


def map_points(logits, reach: int = 3) -> torch.Tensor:
    """Logits (b, 2, h, w) → (b, 2, 2) (column, row) in cells: the mean around the maximum, so never a whole number's
    step, and a second peak elsewhere does not pull."""
    b, n, h, w = logits.shape
    peak = logits.flatten(2).argmax(2)
    row, column = peak // w, peak % w
    rows, columns = torch.arange(h, device=logits.device), torch.arange(w, device=logits.device)
    near = ((rows - row[..., None]).abs() <= reach)[..., None]
    near = near & ((columns - column[..., None]).abs() <= reach)[:, :, None]
    p = logits.masked_fill(~near, -torch.inf).flatten(2).softmax(2).view(b, n, h, w)
    return torch.stack([(p.sum(2) * columns).sum(2), (p.sum(3) * rows).sum(2)], -1)


def sureness(logits, reach: int = 2) -> torch.Tensor:
    """Logits (b, 2, h, w) → (b,) the probability that both points lie within `reach` cells of the likeliest places."""
    p = logits.flatten(2).softmax(2).view_as(logits)
    side = 2 * reach + 1
    return (F.avg_pool2d(p, side, 1, reach) * side**2).flatten(2).amax(2).prod(1)


def _cells(logits, shape):
    """Pixels a cell of the maps, (column, row)."""
    return torch.tensor([shape[1] / logits.shape[3], shape[0] / logits.shape[2]], device=logits.device)


class PointLoss:
    """The paper's mean squared error, in units of half the picture; of maps the cross-entropy with a Gaussian around
    each point beside it. target (b, 2, 2): (column, row) in pixels of pictures of `shape`; NaN points do not count."""

    def __init__(self, shape):
        self.shape = tuple(shape)

    def __call__(self, output, target):
        half = torch.tensor([self.shape[1] / 2, self.shape[0] / 2], device=output.device)
        known = torch.isfinite(target).all(2)  # (b, 2)
        target = torch.where(known[..., None], target, torch.zeros_like(target))
        count = known.sum().clamp(min=1)
        if output.dim() == 2:
            error = ((output.view(-1, 2, 2) - ((target + 0.5) / half - 1)) ** 2).mean(2)
            return (error * known).sum() / count
        cells = _cells(output, self.shape)
        place = (target - (cells - 1) / 2) / cells
        return ((self._cross_entropy(output, place) + self._spread(output, place, half / cells)) * known).sum() / count

    @staticmethod
    def _cross_entropy(logits, place):
        h, w = logits.shape[2:]
        rows, columns = torch.arange(h, device=logits.device), torch.arange(w, device=logits.device)
        bump = [
            torch.exp(-((axis - place[..., i, None]) ** 2) / (2 * SPREAD_CELLS**2))
            for i, axis in enumerate((columns, rows))
        ]
        wanted = bump[1][..., None] * bump[0][:, :, None]
        wanted = wanted / wanted.sum((2, 3), keepdim=True).clamp(min=1e-12)
        return -(wanted * logits.flatten(2).log_softmax(2).view_as(logits)).sum((2, 3))

    @staticmethod
    def _spread(logits, place, half):
        p = logits.flatten(2).softmax(2).view_as(logits)
        h, w = logits.shape[2:]
        rows, columns = torch.arange(h, device=logits.device), torch.arange(w, device=logits.device)
        mean = torch.stack([(p.sum(2) * columns).sum(2), (p.sum(3) * rows).sum(2)], -1)
        return (((mean - place) / half) ** 2).mean(2)

    def decodes(self, output):
        """Output → points in pixels, for fastai's `show_results`."""
        return decode(output, self.shape)


def build(architecture: dict) -> MVNet:
    """Network from a weights card's `architecture`."""
    if architecture.get("name") != "MVNet":
        raise ValueError(f"these are weights of {architecture.get('name')!r}, expected MVNet; name another file")
    return MVNet(architecture["backbone"], architecture["head"])


def load_imagenet(model: MVNet, path):
    """Copy torchvision's ResNet weights of the same depth from a local .safetensors or weights-only .pth file; the
    classifier for 1000 kinds of things is left out."""
    state = load_file(path) if str(path).endswith(".safetensors") else torch.load(path, weights_only=True)
    names = {"conv1": "stem.0", "bn1": "stem.1"} | {f"layer{n + 1}": f"stages.{n}" for n in range(4)}
    ours = {f"{names[k.split('.')[0]]}.{k.split('.', 1)[1]}": v for k, v in state.items() if k.split(".")[0] in names}
    expected = {k: v.shape for k, v in model.state_dict().items() if not k.startswith("head.")}
    strange = [k for k, shape in expected.items() if k not in ours or ours[k].shape != shape]
    if strange:
        raise ValueError(
            f"{Path(path).name} holds no ImageNet weights of {model.architecture['backbone']}: "
            f"{len(strange)} of {len(expected)} tensors are missing or of another shape, as {strange[0]}"
        )
    model.load_state_dict(ours | {k: v for k, v in model.state_dict().items() if k.startswith("head.")})


def fold_batch_norm(model: MVNet) -> nn.Module:
    """Copy for prediction, channels last: each batch norm becomes part of the convolution before it, which is exact."""
    folded = deepcopy(model).eval()
    for part in folded.modules():
        pairs = [("0", "1")] if isinstance(part, nn.Sequential) else [(f"conv{n}", f"bn{n}") for n in (1, 2, 3)]
        for conv, norm in pairs:
            first, second = part._modules.get(conv), part._modules.get(norm)
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                part._modules[conv], part._modules[norm] = fuse_conv_bn_eval(first, second), nn.Identity()
    return folded.to(memory_format=torch.channels_last)
