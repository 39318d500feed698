"""The CNN-LSTM baseline (section 2.2.2): DenseNet-121 a frame, attention, a bidirectional LSTM, a perceptron."""

import hashlib
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from fastai.learner import Learner
from torch import nn
from torchvision.models.densenet import DenseNet

from cmrlib.learning import training
from cmrlib.learning.training import adamw, fit, job_file
from cmrlib.papers.cussp import batches, preparation
from cmrlib.papers.cussp.batches import Cines, Distortion, Views, loaders, scaled
from cmrlib.papers.cussp.network import perceptron
from cmrlib.papers.cussp.patches import Patches
from cmrlib.papers.cussp.roles import require_no_leak

BLOCKS = {"densenet121": (32, (6, 12, 24, 16), 64), "slim": (12, (2, 3, 4, 3), 24), "tiny": (6, (1, 1, 1, 1), 8)}
"""Growth, layers of the four blocks, first channels; "slim" and "tiny" are the same network for small machines."""


class SpatialAttention(nn.Module):
    """How much each place of a feature map counts, from the map itself: 1 + tanh(…) around 1, where it starts."""

    def __init__(self, channels: int):
        super().__init__()
        self.weigh = nn.Sequential(
            nn.Conv2d(channels, max(4, channels // 8), 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(max(4, channels // 8), 1, 7, padding=3),
        )
        nn.init.zeros_(self.weigh[-1].weight)
        nn.init.zeros_(self.weigh[-1].bias)

    def forward(self, x):
        return x * (1 + torch.tanh(self.weigh(x)))


class CnnLstm(nn.Module):
    """Cine (b, frames, rows, columns) → logit (b,). size: pixels a side that the CNN sees; pictures are resampled."""

    def __init__(self, backbone: str = "densenet121", size: int = 96, attention: bool = True, hidden: int = 128):
        super().__init__()
        if backbone not in BLOCKS:
            raise ValueError(f"unknown backbone {backbone!r}; there are {', '.join(BLOCKS)}")
        self.design = {"backbone": backbone, "size": size, "attention": attention, "hidden": hidden}
        self.size = size
        growth, layers, first = BLOCKS[backbone]
        self.features = DenseNet(growth, layers, first, num_classes=1).features
        self.attention = SpatialAttention(first) if attention else nn.Identity()
        width = self.features.norm5.num_features
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.head = perceptron([2 * hidden, hidden, 1], dropout=0.2)

    def encode(self, pictures) -> torch.Tensor:
        """(n, 1, rows, columns) → (n, width)."""
        x = self.features.conv0(pictures.expand(-1, 3, -1, -1))
        x = self.attention(x)
        for name, layer in self.features.named_children():
            x = x if name == "conv0" else layer(x)
        return F.relu(x).mean((2, 3))

    def forward(self, x):
        n, frames = x.shape[:2]
        if x.shape[-1] != self.size:
            x = F.interpolate(x, size=(self.size,) * 2, mode="bilinear", align_corners=False, antialias=True)
        seen = self.encode(x.flatten(0, 1)[:, None]).view(n, frames, -1)
        with torch.autocast(x.device.type, enabled=False):
            return self.head(self.lstm(seen.float())[0].mean(1)).squeeze(1)


@dataclass(frozen=True)
class Setting:
    """One row of the settings table. masks: "heart" blackens what lies beyond the segmented heart; none: "whole"."""

    size: int = 96
    attention: bool = True
    masks: str = "whole"
    backbone: str = "densenet121"
    hidden: int = 128


@dataclass(frozen=True)
class CnnRecipe:
    """How long and how fast; not stated in the paper. weak_share: weight of a weakly labelled cine."""

    epochs: int = 10
    learning_rate: float = 1e-3
    batch_size: int = 8
    weak_share: float = 0.5
    precision: str = "bf16"


class WeakLoss:
    """Cross-entropy with probabilistic labels. Targets of unlabelled cines are coded as probability + 2."""

    def __init__(self, weak_share: float):
        self.weak_share = weak_share

    def __call__(self, output, target):
        weak = target >= 2
        value = torch.where(weak, target - 2, target).float()
        loss = F.binary_cross_entropy_with_logits(output.float(), value, reduction="none")
        weight = torch.where(weak, self.weak_share, 1.0)
        return (loss * weight).sum() / weight.sum()


def train_cnn_lstm(
    patches: Patches,
    roles: pd.Series,
    labels: pd.Series,
    setting: Setting,
    recipe: CnnRecipe,
    seed: int,
    state=None,
    weak: pd.Series | None = None,
) -> tuple[CnnLstm, Learner]:
    """One CNN-LSTM. patches: of kind `setting.masks`. weak: participant_id → probability, of unlabelled subjects.

    Raises ValueError where a weakly labelled subject is one of validation or test.
    """
    if patches.preprocessing.kind != setting.masks:
        raise ValueError(f"setting {setting.masks!r} needs patches of that kind, got {patches.preprocessing.kind!r}")
    weak = pd.Series(dtype=float) if weak is None else weak
    require_no_leak(weak.index, roles)
    trained = roles.index[roles == "train"]
    target = pd.concat([labels[trained], weak[~weak.index.isin(trained)] + 2])
    rows = patches.usable(target.index)
    learned = Cines(patches, rows, target[rows["participant_id"]].to_numpy(float), start=Distortion().start)
    rows = patches.usable(roles.index[roles == "validation"])
    checked = Cines(patches, rows, labels[rows["participant_id"]].to_numpy(float))
    torch.manual_seed(seed)
    model = CnnLstm(setting.backbone, setting.size, setting.attention, setting.hidden)
    learn = Learner(
        loaders(learned, checked, recipe.batch_size), model, loss_func=WeakLoss(recipe.weak_share), opt_func=adamw
    )
    settings = (
        asdict(setting)
        | asdict(recipe)
        | {
            "patches": patches.digest,
            "targets": hashlib.blake2b(
                (target.to_csv() + labels[rows["participant_id"]].to_csv()).encode(), digest_size=8
            ).hexdigest(),
        }
    )
    checkpoint = state
    if state is not None and Path(state).is_dir():
        modules = (preparation, batches, training, sys.modules[__name__])
        checkpoint = job_file(state, "cnnlstm", settings | {"seed": seed}, modules)
    fit(
        learn,
        recipe.epochs,
        recipe.learning_rate,
        seed,
        recipe.precision,
        checkpoint,
        {key: value for key, value in settings.items() if key not in ("epochs", "learning_rate", "precision")},
        f"CNN-LSTM {setting.size} px{', attention' if setting.attention else ''}, {setting.masks}, seed {seed}",
        validate_every=max(1, recipe.epochs // 8),
        callbacks=[Views(Distortion())],
    )
    return model, learn


def cnn_scores(model: CnnLstm, patches: Patches, rows, precision: str = "bf16", batch_size: int = 16) -> np.ndarray:
    """Probabilities (rows,) of rows of `Patches.usable`."""
    cines, model, found = Cines(patches, rows), model.eval(), []
    device = next(model.parameters()).device
    for start in range(0, len(cines), batch_size):
        x = torch.stack([cines[i][0] for i in range(start, min(start + batch_size, len(cines)))]).to(device)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            found.append(torch.sigmoid(model(scaled(x)).double()).cpu().numpy())
    return np.concatenate(found)
