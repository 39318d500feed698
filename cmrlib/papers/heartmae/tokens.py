"""Tokens: a clip cut into them, where each lies, which are hidden and which frames are to be reconstructed."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

STRATEGIES = ("random", "tube")


def patches(clips, patch: int, tubelet: int):
    """(n, frames, rows, columns) → (n, tokens, tubelet · patch²); tokens go through columns, rows, then time."""
    n, frames, rows, columns = clips.shape
    steps, down, across = frames // tubelet, rows // patch, columns // patch
    cut = clips.reshape(n, steps, tubelet, down, patch, across, patch)
    return cut.permute(0, 1, 3, 5, 2, 4, 6).reshape(n, steps * down * across, tubelet * patch**2)


def joined(tokens, grid, patch: int, tubelet: int):
    """The way back: (n, tokens, tubelet · patch²) → (n, frames, rows, columns). grid: tokens in time, rows, columns."""
    steps, down, across = grid
    cut = tokens.reshape(len(tokens), steps, down, across, tubelet, patch, patch)
    return cut.permute(0, 1, 4, 2, 5, 3, 6).reshape(len(tokens), steps * tubelet, down * patch, across * patch)


class Positions(nn.Module):
    """Learned embeddings of time and of place, added: steps + rows · columns vectors for steps · rows · columns tokens.

    They start as sines and cosines (ours: how they start is not stated).
    """

    def __init__(self, grid, width: int):
        super().__init__()
        steps, rows, columns = grid
        half = width // 2
        down = np.repeat(_waves(rows, half), columns, 0)
        across = np.tile(_waves(columns, width - half), (rows, 1))
        self.time = nn.Parameter(torch.from_numpy(_waves(steps, width)).float())
        self.space = nn.Parameter(torch.from_numpy(np.concatenate([down, across], 1)).float())

    def forward(self, ids=None):
        """(tokens, width), or, of tokens ids (n, tokens), (n, tokens, width)."""
        table = (self.time[:, None] + self.space[None]).flatten(0, 1)
        return table if ids is None else functional.embedding(ids, table)


def _waves(n, width):
    """(n, width) sines and cosines of wavelengths from a few steps to many."""
    rates = 1 / 10000 ** (np.arange((width + 1) // 2) / ((width + 1) // 2))
    angles = np.arange(n)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], 1)[:, :width]


@dataclass(frozen=True)
class Masking:
    """ratio: share of tokens that is hidden. strategy: `random`, or `tube`: the same positions in all frames.

    decoder_share: of the hidden tokens, those that a training step reconstructs, others at every step; the decoder sees
    no more of them. It saves most of the decoder's work (VideoMAE V2, Wang et al. 2023); 1 in the paper.
    """

    ratio: float = 0.9
    strategy: str = "random"
    decoder_share: float = 1.0

    def __post_init__(self):
        if self.strategy not in STRATEGIES or not 0 < self.ratio < 1 or not 0 < self.decoder_share <= 1:
            raise ValueError(
                f"masking {self.strategy!r} of {self.ratio}, decoder share {self.decoder_share}: expected one "
                f"of {', '.join(STRATEGIES)}, a ratio between 0 and 1, and a share above 0 and up to 1"
            )

    def kept(self, steps: int, positions: int) -> int:
        """How many of steps × positions tokens the encoder sees: 117 (90 %), 58 (95 %) or 114 (tube) of 6 × 196."""
        tokens, times = (positions, steps) if self.strategy == "tube" else (steps * positions, 1)
        kept = int(tokens * (1 - self.ratio) + 1e-6)
        if kept < 1:
            raise ValueError(
                f"of {tokens} tokens {self.ratio:.0%} hidden leaves none to see; use larger clips, smaller patches "
                "or a lower ratio"
            )
        return times * kept

    def decoded(self, hidden: int) -> int:
        """How many of so many hidden tokens a training step reconstructs, at least one."""
        return max(1, round(self.decoder_share * hidden))

    def draw(self, n: int, steps: int, positions: int, generator=None) -> torch.Tensor:
        """(n, steps · positions) token numbers, time first, in an order of which the first `kept` are seen."""
        if self.strategy == "tube":
            where = torch.rand(n, positions, generator=generator).argsort(1)  # (n, positions)
            ids = where[:, :, None] + positions * torch.arange(steps)  # (n, positions, steps)
            return ids.flatten(1)
        return torch.rand(n, steps * positions, generator=generator).argsort(1)


def target_frames(frames: int) -> list[int]:
    """Half of the frames, first and last among them: 0, 2, …, 20, 23 of 24. These are to be reconstructed."""
    n = frames // 2
    return [i * (frames - 1) // (n - 1) for i in range(n)]
