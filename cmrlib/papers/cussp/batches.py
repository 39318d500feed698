"""Batches of prepared cines: one at a time, as two distorted views, or as pairs of classes."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.torch_core import default_device

from cmrlib.papers.cussp.patches import Patches
from cmrlib.papers.cussp.preparation import window_frames


@dataclass(frozen=True)
class Distortion:
    """How cines are changed in training. Not stated in the paper.

    shift: SD as a share of the side. rotation_deg, scale: SDs. contrast: SD of the logarithms of gamma and gain. noise:
    SD. erased: chance that a random rectangle of up to a third of the side is grey in all frames. start: largest shift
    in time as a share of the cycle. Hearts are never mirrored. The defaults are those of labelled cines;
    Barlow Twins' views are `learning.VIEWS`.
    """

    shift: float = 0.02
    rotation_deg: float = 3.0
    scale: float = 0.03
    contrast: float = 0.12
    noise: float = 0.03
    erased: float = 0.0
    start: float = 0.03


class Cines:
    """Items ((frames, size, size) uint8, label) of rows of `Patches.usable`.

    frames: of the window from ED on, 0 for the whole cycle as it was recorded. labels: (rows,) floats. start: how far
    the first frame varies, as a share of the cycle.
    """

    def __init__(self, patches: Patches, rows, labels=None, frames: int = 0, start: float = 0.0):
        self.pixels, self.frames, self.start = patches.pixels, frames, start
        self.places, self.ed = rows["place"].to_numpy(), rows["ed"].to_numpy(float)
        self.labels = np.zeros(len(rows), np.float32) if labels is None else np.asarray(labels, np.float32)

    def __len__(self):
        return len(self.places)

    def __getitem__(self, i):
        total = self.pixels.shape[1]
        late = np.random.uniform(-self.start, self.start) * total if self.start else 0.0
        first, count = (self.ed[i] + late, self.frames) if self.frames else (late, total)
        chosen = window_frames(total, first, count)
        return torch.from_numpy(self.pixels[self.places[i]][chosen]), torch.tensor(self.labels[i])


class Pairs:
    """Items (cine without MR, another, 1 where the other has MR) for the Siamese step: half of the others have.

    Epochs have as many pairs as there are cines. Raises ValueError where a class is missing."""

    def __init__(self, cines: Cines, fixed: bool = False):
        self.cines, self.fixed = cines, fixed
        self.without, self.with_mr = (np.flatnonzero(cines.labels == label) for label in (0, 1))
        if len(self.without) < 2 or not len(self.with_mr):
            raise ValueError(
                f"pairs need two cines without MR and one with it, got {len(self.without)} and "
                f"{len(self.with_mr)}; choose another split or more labelled subjects"
            )

    def __len__(self):
        return len(self.cines)

    def __getitem__(self, i):
        rng = np.random.default_rng(i) if self.fixed else np.random
        unlike = i % 2
        one = rng.choice(self.without)
        other = rng.choice(self.with_mr if unlike else self.without[self.without != one])
        return self.cines[one][0], self.cines[other][0], torch.tensor(float(unlike))


class Views(Callback):
    """uint8 → −1 … 1, distorted in training; `twice`: two views of every cine, in validation too."""

    order = 5  # before mixed precision

    def __init__(self, distortion: Distortion, twice: bool = False):
        self.distortion, self.twice = distortion, twice

    def before_batch(self):
        views = self.xb * 2 if self.twice else self.xb
        if self.training or self.twice:
            self.learn.xb = tuple(distorted(scaled(x), self.distortion) for x in views)
        else:
            self.learn.xb = tuple(scaled(x) for x in views)


def scaled(pixels) -> torch.Tensor:
    """uint8 → float32 from −1 to 1."""
    return pixels.float() / 127.5 - 1


def distorted(x, how: Distortion) -> torch.Tensor:
    """(b, frames, rows, columns) −1 … 1 → the same, each cine distorted its own way, all its frames alike."""
    n, _, rows, columns = x.shape
    device = x.device
    angle = torch.randn(n, device=device) * how.rotation_deg * torch.pi / 180
    size = torch.exp(torch.randn(n, device=device) * how.scale)
    cosine, sine = torch.cos(angle) * size, torch.sin(angle) * size
    shift = torch.randn(n, 2, device=device) * how.shift * 2  # a side is 2 long
    matrix = torch.stack([torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)], 1)
    x = F.grid_sample(
        x, F.affine_grid(matrix, list(x.shape), align_corners=False), padding_mode="border", align_corners=False
    )
    gamma, gain = (torch.exp(torch.randn(n, 1, 1, 1, device=device) * how.contrast) for _ in range(2))
    x = (2 * ((x + 1) / 2).clamp(1e-3, 1) ** gamma - 1) * gain
    x = x + how.noise * torch.randn(x.shape, device=device)
    for i in torch.nonzero(torch.rand(n) < how.erased)[:, 0].tolist():
        high, wide = (int(torch.randint(side // 8, side // 3 + 1, ())) for side in (rows, columns))
        top, left = int(torch.randint(rows - high + 1, ())), int(torch.randint(columns - wide + 1, ()))
        x[i, :, top : top + high, left : left + wide] = 0
    return x


def loaders(train, valid, batch_size: int) -> DataLoaders:
    """fastai DataLoaders of `batch_size`, or a little more where a last batch would hold one cine only."""
    sizes = [_batch_size(len(part), batch_size) for part in (train, valid)]
    parts = zip((train, valid), sizes, (True, False), strict=True)
    loaders = [DataLoader(part, bs=size, shuffle=shuffle, num_workers=0) for part, size, shuffle in parts]
    return DataLoaders(*loaders, device=default_device())


def _batch_size(items, wanted):
    """One cine alone has no cross-correlation and no batch statistics: the smallest size that leaves none over."""
    return next(size for size in range(wanted, max(items, wanted) + 1) if items % size != 1 or items == 1)
