"""The restoration network (figure 2, parts A and B) and the classifier on its encoder (part C).

Clips come in as (batch, frames, rows, columns); the one channel is added inside.
"""

from itertools import pairwise

import torch
from torch import nn

LEVELS = 5


class Conv3d(nn.Conv3d):
    """A convolution that goes over to fp32 where a clip has fewer frames than the kernel: on CPUs, torch 2.13's bf16
    gradients are garbage there, now and then without being NaN, and memory is written that is not theirs."""

    def forward(self, x):
        if x.is_cuda or x.shape[2] >= self.kernel_size[0]:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def _convolution(before, after):
    return nn.Sequential(Conv3d(before, after, 3, padding=1, bias=False), nn.BatchNorm3d(after), nn.ReLU(inplace=True))


def halved(frames: int) -> list[int]:
    """Factor by which each max-pooling shortens the cycle: 2 while its length is even, else 1.

    40 frames become 20, 10, 5, 5: four halvings to the letter would need a multiple of 16.
    """
    factors = []
    for _ in range(LEVELS - 1):
        factors.append(2 if frames % 2 == 0 else 1)
        frames //= factors[-1]
    return factors


class Encoder(nn.Module):
    """Ten convolutions, four max-poolings (part A). Returns the features of all five levels, the finest first.

    width: channels of the first level, doubled at each of the four below. frames: of a clip.
    """

    def __init__(self, width: int, frames: int):
        super().__init__()
        widths, self.frames = [1, *(width * 2**level for level in range(LEVELS))], frames
        self.levels = nn.ModuleList(nn.Sequential(_convolution(a, b), _convolution(b, b)) for a, b in pairwise(widths))
        self.pools = nn.ModuleList(nn.MaxPool3d((factor, 2, 2)) for factor in halved(frames))

    def forward(self, clips):
        _, frames, rows, columns = clips.shape
        if frames != self.frames or rows % 16 or columns % 16:
            raise ValueError(
                f"expected clips of {self.frames} frames and sides of multiples of 16 pixels, got "
                f"{frames} frames of {rows}×{columns}"
            )
        found = [self.levels[0](clips[:, None].contiguous())]  # (b, width, frames, rows, columns)
        for pool, level in zip(self.pools, self.levels[1:]):
            found.append(level(pool(found[-1])))
        return found


class Decoder(nn.Module):
    """Ten convolutions, four transposed ones (part B). skips: the encoder's features join at each level."""

    def __init__(self, width: int, frames: int, skips: bool):
        super().__init__()
        widths, self.skips = [width * 2**level for level in reversed(range(LEVELS))], skips
        steps = [(factor, 2, 2) for factor in reversed(halved(frames))]
        self.ups = nn.ModuleList(
            nn.ConvTranspose3d(a, b, step, step) for a, b, step in zip(widths[:-1], widths[1:], steps)
        )
        self.levels = nn.ModuleList(
            nn.Sequential(_convolution(b * (1 + skips), b), _convolution(b, b)) for b in widths[1:]
        )
        self.last = nn.Sequential(_convolution(width, width), Conv3d(width, 1, 1))

    def forward(self, found):
        x = found[-1]
        for up, level, skip in zip(self.ups, self.levels, found[-2::-1]):
            x = up(x)
            x = level(torch.cat([x, skip], 1) if self.skips else x)
        return self.last(x)[:, 0]  # (b, frames, rows, columns)


class Restorer(nn.Module):
    """Encoder and decoder: a transformed clip in, the clip as it was out."""

    def __init__(self, width: int = 32, frames: int = 40, skips: bool = True):
        super().__init__()
        self.encoder, self.decoder = Encoder(width, frames), Decoder(width, frames, skips)

    def forward(self, clips):
        return self.decoder(self.encoder(clips))


class Classifier(nn.Module):
    """Encoder, max-pooling over what is left of space and time, three fully connected layers (part C): one logit.

    hidden: outputs of the first two fully connected layers.
    """

    activation = staticmethod(torch.sigmoid)

    def __init__(self, width: int = 32, frames: int = 40, hidden: tuple[int, int] = (128, 32)):
        super().__init__()
        self.encoder, widths = Encoder(width, frames), (width * 2 ** (LEVELS - 1), *hidden)
        self.head = nn.Sequential(
            *[part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())], nn.Linear(widths[-1], 1)
        )
        for layer in self.head[::2]:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, clips):
        return self.head(self.encoder(clips)[-1].amax((2, 3, 4)))[:, 0]  # (b,)
