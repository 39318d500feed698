"""The CNN-LSTM baseline (section 2.2.2): DenseNet-121 a frame, attention, a bidirectional LSTM, a perceptron."""

import re
from dataclasses import dataclass

import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.densenet import DenseNet

from cmrlib.learning.losses import WeightedBCE
from cmrlib.learning.weights import read_state
from cmrlib.papers.cussp.network import perceptron
from cmrlib.papers.cussp.roles import PRETRAINING
from cmrlib.papers.cussp.task import Cussp

BLOCKS = {"densenet121": (32, (6, 12, 24, 16), 64), "slim": (12, (2, 3, 4, 3), 24), "tiny": (6, (1, 1, 1, 1), 8)}
"""Growth, layers of the four blocks, first channels; "slim" and "tiny" are the same network for small machines."""


class SpatialAttention(nn.Module):
    """How much each place of a feature map counts, from the map itself: 1 + tanh(…) around 1, where it starts."""

    def __init__(self, channels: int):
        super().__init__()
        inner = max(4, channels // 8)
        self.weigh = nn.Sequential(
            nn.Conv2d(channels, inner, 1), nn.ReLU(inplace=True), nn.Conv2d(inner, 1, 7, padding=3)
        )
        nn.init.zeros_(self.weigh[-1].weight)
        nn.init.zeros_(self.weigh[-1].bias)

    def forward(self, x):
        return x * (1 + torch.tanh(self.weigh(x)))


class CnnLstmNet(nn.Module):
    """Cine (b, frames, rows, columns) → logit (b,). size: pixels a side that the CNN sees; pictures are resampled."""

    activation = staticmethod(torch.sigmoid)

    def __init__(self, backbone: str = "densenet121", size: int = 96, attention: bool = True, hidden: int = 128):
        super().__init__()
        growth, layers, first = BLOCKS[backbone]
        self.size, self.features = size, DenseNet(growth, layers, first, num_classes=1).features
        self.attention = SpatialAttention(first) if attention else nn.Identity()
        self.lstm = nn.LSTM(self.features.norm5.num_features, hidden, batch_first=True, bidirectional=True)
        self.head = perceptron([2 * hidden, hidden, 1], dropout=0.2)

    def forward(self, x):
        n, frames = x.shape[:2]
        if x.shape[-1] != self.size:
            x = F.interpolate(x, size=(self.size,) * 2, mode="bilinear", align_corners=False, antialias=True)
        pictures = self.attention(self.features.conv0(x.flatten(0, 1)[:, None].expand(-1, 3, -1, -1)))
        seen = F.relu(self.features[1:](pictures)).mean((2, 3)).view(n, frames, -1)
        with torch.autocast(x.device.type, enabled=False):
            return self.head(self.lstm(seen.float())[0].mean(1)).squeeze(1)


def load_imagenet(model: CnnLstmNet, path):
    """Copy torchvision's DenseNet-121 weights from a local .safetensors or weights-only .pth file.

    Raises ValueError for weights of another network.
    """
    state = read_state(path)
    state = {re.sub(r"(norm|conv)\.([12])\.", r"\1\2.", name): value for name, value in state.items()}
    ours = {name.removeprefix("features."): value for name, value in state.items() if name.startswith("features.")}
    try:
        model.features.load_state_dict(ours)
    except RuntimeError as error:
        raise ValueError(f"{path} holds no ImageNet weights of DenseNet-121: {error}") from error


class WeakLoss(WeightedBCE):
    """Cross-entropy with probabilistic labels. Targets of weakly labelled cines are coded as probability + 2; such a
    cine weighs `weak_share`."""

    def __init__(self, weak_share: float):
        self.weak_share = weak_share

    def __call__(self, output, target):
        weak = target >= 2
        value = torch.where(weak, target - 2, target).float()
        loss = F.binary_cross_entropy_with_logits(output.float(), value, reduction="none")
        weight = torch.where(weak, self.weak_share, 1.0)
        return (loss * weight).sum() / weight.sum()


@dataclass(frozen=True)
class CnnLstm(Cussp):
    """Mitral regurgitation from whole pictures, from labels and weak labels.

    kind: "heart" blackens what lies beyond the segmented heart, "whole" nothing. size: also what the CNN sees.
    weak_share: weight of a weakly labelled cine.
    """

    kind: str = "whole"
    field_mm: float = 180.0
    backbone: str = "densenet121"
    attention: bool = True
    hidden: int = 128
    weak_share: float = 0.5

    def items(self, cohort, annotations, split, weak: pd.Series | None = None):
        """weak: participant_id → probability, of subjects without a label, who train too.

        Raises ValueError where one of them is a subject of validation or test.
        """
        items = super().items(cohort, annotations, split)
        if weak is None:
            return items
        wrong = weak.index[~weak.index.map(split).isin(PRETRAINING)]
        if len(wrong):
            raise ValueError(
                f"{len(wrong)} subjects of validation or test have weak labels, e.g. {wrong[:3].tolist()}; only "
                f"{' and '.join(PRETRAINING)} subjects may"
            )
        weak = weak[~weak.index.isin(split.index[split == "train"])]
        more = self.usable(cohort, annotations, weak.index)
        more = more.assign(label=more["participant_id"].map(weak) + 2, split="train")
        return pd.concat([items, more], ignore_index=True)

    def network(self):
        return CnnLstmNet(self.backbone, self.size, self.attention, self.hidden)

    def loss(self):
        return WeakLoss(self.weak_share)
