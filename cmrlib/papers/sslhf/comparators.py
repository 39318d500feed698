"""What the paper compares with: 3-D ResNet-50 and 3-D DenseNet-121, group norm in place of batch norm (table III)."""

from dataclasses import asdict

import torch
from torch import nn

from cmrlib.papers.sslhf.network import Classifier, Conv3d, Design, Restorer, Volumes


def _norm(channels):
    """Group norm of up to 8 groups; with batches of four, batch statistics are noise."""
    return nn.GroupNorm(next(groups for groups in (8, 4, 2, 1) if channels % groups == 0), channels)


def _stem(width):
    """7×7×7 in steps of (1, 2, 2), then a max-pooling of 3 in steps of 2."""
    return nn.Sequential(
        Conv3d(1, width, 7, (1, 2, 2), 3, bias=False), _norm(width), nn.ReLU(inplace=True), nn.MaxPool3d(3, 2, 1)
    )


class Bottleneck(nn.Module):
    """1×1×1, 3×3×3, 1×1×1 around a shortcut; four times as many channels come out."""

    def __init__(self, before, width, stride):
        super().__init__()
        after = 4 * width
        self.residual = nn.Sequential(
            Conv3d(before, width, 1, bias=False),
            _norm(width),
            nn.ReLU(inplace=True),
            Conv3d(width, width, 3, stride, 1, bias=False),
            _norm(width),
            nn.ReLU(inplace=True),
            Conv3d(width, after, 1, bias=False),
            _norm(after),
        )
        same = stride == 1 and before == after
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(Conv3d(before, after, 1, stride, bias=False), _norm(after))
        )

    def forward(self, x):
        return torch.relu(self.residual(x) + self.shortcut(x))


class ResNet50(Volumes):
    """He et al., CVPR 2016, with three spatial dimensions: blocks 3, 4, 6, 3. width: 64 in the original."""

    def __init__(self, width: int = 64):
        super().__init__()
        self.width, before, stages = width, width, []
        for stage, blocks in enumerate((3, 4, 6, 3)):
            for block in range(blocks):
                stages.append(Bottleneck(before, width * 2**stage, 2 if stage and not block else 1))
                before = 4 * width * 2**stage
        self.features = nn.Sequential(_stem(width), *stages)
        self.last = nn.Linear(before, 1)

    def forward(self, clips):
        return self.last(self.features(clips[:, None].contiguous()).mean((2, 3, 4)))[:, 0]  # (b,)


class DenseLayer(nn.Module):
    """Adds `growth` channels to those it is given."""

    def __init__(self, before, growth):
        super().__init__()
        self.added = nn.Sequential(
            _norm(before),
            nn.ReLU(),
            Conv3d(before, 4 * growth, 1, bias=False),
            _norm(4 * growth),
            nn.ReLU(inplace=True),
            Conv3d(4 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x):
        return torch.cat([x, self.added(x)], 1)


class DenseNet121(Volumes):
    """Huang et al., CVPR 2017, with three spatial dimensions: 6, 12, 24, 16 layers. width: 64 in the original, whose
    growth is half of it."""

    def __init__(self, width: int = 64):
        super().__init__()
        self.width, channels, parts = width, width, [_stem(width)]
        for block, layers in enumerate((6, 12, 24, 16)):
            for _ in range(layers):
                parts.append(DenseLayer(channels, width // 2))
                channels += width // 2
            if block < 3:
                parts += [
                    _norm(channels),
                    nn.ReLU(inplace=True),
                    Conv3d(channels, channels // 2, 1, bias=False),
                    nn.AvgPool3d((1, 2, 2) if block else 2, ceil_mode=True),
                ]
                channels //= 2
        self.features = nn.Sequential(*parts, _norm(channels), nn.ReLU(inplace=True))
        self.last = nn.Linear(channels, 1)

    def forward(self, clips):
        return self.last(self.features(clips[:, None].contiguous()).mean((2, 3, 4)))[:, 0]  # (b,)


NAMES = {"SSLHF": Classifier, "SSLHF restoration": Restorer, "3-D ResNet-50": ResNet50, "3-D DenseNet-121": DenseNet121}
"""Name on a weights' card → network."""

COMPARATORS = {"resnet50": ResNet50, "densenet121": DenseNet121}


def architecture(model) -> dict:
    """What `build` needs, for a weights' card."""
    own = asdict(model.design) if isinstance(model, Restorer | Classifier) else {"width": model.width}
    names = {network: name for name, network in NAMES.items()}
    return {"name": names.get(type(model), type(model).__name__)} | own


def build(given: dict) -> nn.Module:
    """Network of an architecture dict. Raises ValueError for a name that is none of them."""
    if given["name"] not in NAMES:
        raise ValueError(f"unknown network {given['name']!r}; known are {', '.join(NAMES)}")
    settings = {key: value for key, value in given.items() if key != "name"}
    if "hidden" in settings:
        return NAMES[given["name"]](Design(**settings | {"hidden": tuple(settings["hidden"])}))
    return NAMES[given["name"]](**settings)
