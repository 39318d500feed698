"""Clips cut into tokens, and where a token lies: position embeddings that are separate for time and space."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


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
