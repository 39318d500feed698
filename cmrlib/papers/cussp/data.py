"""Batches of prepared cines: one at a time, as two distorted views of each, or as pairs."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from fastai.torch_core import TensorImage
from fasttransform import Transform

from cmrlib.learning.blocks import TensorClip


@dataclass(frozen=True)
class Distortion:
    """How cines are changed in training. Not stated in the paper.

    shift: SD as a share of the side. rotation_deg, scale: SDs. contrast: SD of the logarithms of gamma and gain. noise:
    SD. start: largest shift in time as a share of the cycle. Hearts are never mirrored.
    """

    shift: float = 0.02
    rotation_deg: float = 3.0
    scale: float = 0.03
    contrast: float = 0.12
    noise: float = 0.03
    start: float = 0.03


LABELLED = Distortion()

VIEWS = Distortion(shift=0.004, rotation_deg=0.5, scale=0.005, contrast=0.05, noise=0.01, start=0.0)
"""Of Barlow Twins, nearly the identity: what two views do not share is forgotten, and a jet is a small thing."""


class TensorPair(TensorImage):
    """(2, frames, rows, columns): two cines, or two views of one; shows some frames of each, one above the other."""

    def show(self, ctx=None, **kwargs):
        return TensorClip(torch.cat(list(self), 1)).show(ctx=ctx, **kwargs)


class Scale(Transform):
    """uint8 → −1 … 1."""

    order = 0

    def encodes(self, x: TensorImage):
        return type(x)(scaled(x.as_subclass(torch.Tensor)))


class Distort(Transform):
    """Every cine of a training batch its own way, on the batch's device; `twice`: two views of every cine, one beside
    the other (b, 2, frames, rows, columns), in validation too."""

    order = 1

    def __init__(self, how: Distortion, twice: bool = False):
        super().__init__(split_idx=None if twice else 0)
        self.how, self.twice = how, twice

    def encodes(self, x: TensorImage):
        cines = x.as_subclass(torch.Tensor)
        if self.twice:
            return TensorPair(torch.stack([distorted(cines, self.how) for _ in range(2)], 1))
        return type(x)(distorted(cines.flatten(0, -4), self.how).view_as(cines))


def scaled(pixels) -> torch.Tensor:
    """uint8 → float32 from −1 to 1."""
    return pixels.float() / 127.5 - 1


def distorted(x, how: Distortion) -> torch.Tensor:
    """(b, frames, rows, columns) −1 … 1 → the same, each cine distorted its own way, all its frames alike."""
    n, device = len(x), x.device
    angle = torch.randn(n, device=device) * how.rotation_deg * torch.pi / 180
    size = torch.exp(torch.randn(n, device=device) * how.scale)
    cosine, sine = torch.cos(angle) * size, torch.sin(angle) * size
    shift = torch.randn(n, 2, device=device) * how.shift * 2  # a side is 2 long
    matrix = torch.stack([torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    gamma, gain = (torch.exp(torch.randn(n, 1, 1, 1, device=device) * how.contrast) for _ in range(2))
    x = (2 * ((x + 1) / 2).clamp(1e-3, 1) ** gamma - 1) * gain
    return x + how.noise * torch.randn(x.shape, device=device)
