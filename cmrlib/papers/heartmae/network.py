"""The masked autoencoder: an encoder that sees a tenth of the tokens, a light decoder that reconstructs the others.

design: a `HeartMAE`, whose sizes count.
"""

import torch
from torch import nn
from torch.nn import functional

from cmrlib.papers.heartmae.tokens import Masking, Positions, joined, patches, target_frames


class Block(nn.Module):
    """Transformer block with norms before attention and perceptron. `seen`: only tokens from there on go on.

    What the last block of a decoder makes of tokens that nobody asks for is not computed: they only serve as keys and
    values, which gives the same numbers.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, seen: int = 0):
        n, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (n, heads, tokens, width / heads) each
        if seen:
            q, x = q[:, :, seen:], x[:, seen:]
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # (n, tokens, width)
        x = x + self.project(mixed)
        return x + self.narrow(functional.gelu(self.widen(self.norm2(x))))


class Encoder(nn.Module):
    """Tokens' pixels → features, all tokens or only some; position embeddings separate for time and space."""

    def __init__(self, design):
        super().__init__()
        self.design = design
        self.embed = nn.Linear(design.tubelet * design.patch**2, design.width)
        self.positions = Positions(design.grid, design.width)
        self.blocks = nn.ModuleList(Block(design.width, design.heads) for _ in range(design.depth))
        self.norm = nn.LayerNorm(design.width, eps=1e-6)

    def forward(self, pixels, ids=None):
        """pixels: (n, tokens, values of a token); ids: (n, tokens) which they are, None for all in order. Returns (n,
        tokens, width)."""
        x = self.embed(pixels)
        x = x + self.positions(ids)  # in fp32: the sum over twelve blocks stays exact, and few tokens are seen
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def tokens(self, clips):
        """Standardised clips (n, frames, size, size), no token hidden → (n, moments, places, width)."""
        design = self.design
        return self(patches(clips, design.patch, design.tubelet)).unflatten(1, (design.grid[0], -1))


class Decoder(nn.Module):
    """Features of seen tokens → pixels of the hidden ones; it sees all tokens, the hidden as one learned vector."""

    def __init__(self, design):
        super().__init__()
        width = design.decoder_width
        self.embed = nn.Linear(design.width, width)
        self.hidden = nn.Parameter(torch.zeros(width))
        nn.init.normal_(self.hidden, std=0.02)
        self.positions = Positions(design.grid, width)
        self.blocks = nn.ModuleList(Block(width, design.decoder_heads) for _ in range(design.decoder_depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pixels = nn.Linear(width, design.tubelet // 2 * design.patch**2)

    def forward(self, features, ids):
        """features: (n, kept, width of the encoder); ids: (n, tokens), seen ones first.

        Returns (n, hidden tokens, half of a token's frames · patch²). Attention does not mind the order of tokens, so
        they stay seen first, hidden last, and nothing has to be sorted back.
        """
        kept = features.shape[1]
        seen = self.embed(features)
        where = self.positions(ids).to(seen.dtype)  # (n, tokens, width)
        x = torch.cat([seen + where[:, :kept], self.hidden.to(seen.dtype) + where[:, kept:]], 1)
        for block in self.blocks[:-1]:
            x = block(x)
        x = self.blocks[-1](x, seen=kept)  # (n, hidden, width)
        return self.pixels(self.norm(x))


AXES = 24
"""Principal axes of tokens along which features are pooled, see `features.pooled`."""


class MaskedAutoencoder(nn.Module):
    """Clips → where the hidden tokens were not reconstructed (equation 1).

    mean, std: of the training set's pixels as shares of each cine's maximum; they stay with the weights, as do `centre`
    (width,) and `axes` (width, a) of its tokens, zero until `features.learn_axes`.
    """

    def __init__(self, design):
        super().__init__()
        self.design, self.masking = design, Masking(design.mask_ratio, design.masking, design.decoder_share)
        self.encoder, self.decoder = Encoder(design), Decoder(design)
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("std", torch.tensor(1.0))
        self.register_buffer("centre", torch.zeros(design.width))
        self.register_buffer("axes", torch.zeros(design.width, min(AXES, design.width)))
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
                nn.init.zeros_(part.bias)

    def standardise(self, clips):
        """Shares of the cine's maximum → mean 0 and SD 1 over the training set."""
        return (clips - self.mean) / self.std

    def forward(self, clips, ids=None):
        """clips: (items, clips of an item, frames, size, size), shares of the cine's maximum; ids: (n, tokens), default
        drawn. Returns (items, clips, size, size): each place's share of the mean squared error over the hidden tokens,
        so that a clip's sum is equation 1; in training over those of them that `decoder_share` leaves.
        """
        items, flat = len(clips), self.standardise(clips.flatten(0, 1))
        steps, rows, columns = self.design.grid
        if ids is None:  # in validation always the same tokens
            generator = None if self.training else torch.Generator().manual_seed(0)
            ids = self.masking.draw(len(flat), steps, rows * columns, generator)
        ids, kept = ids.to(clips.device), self.masking.kept(steps, rows * columns)
        if self.training:  # the order is random, so these are any of the hidden ones
            ids = ids[:, : kept + self.masking.decoded(ids.shape[1] - kept)]
        reconstruction = self.reconstruct(flat, ids, kept).float()
        with torch.autocast(clips.device.type, enabled=False):
            error = (self.targets(flat, ids[:, kept:]) - reconstruction) ** 2  # (n, hidden, values)
            return self.by_place(error / error[0].numel(), ids[:, kept:]).unflatten(0, (items, -1))

    def by_place(self, values, ids):
        """Values of tokens ids (n, hidden, frames · patch²) → their sums at every pixel, (n, size, size)."""
        (_, rows, columns), patch = self.design.grid, self.design.patch
        summed = values.unflatten(2, (-1, patch**2)).sum(2)  # over a token's frames
        places = (ids % (rows * columns))[:, :, None].expand_as(summed)
        whole = summed.new_zeros(len(summed), rows * columns, patch**2).scatter_add(1, places, summed)
        return joined(whole, (1, rows, columns), patch, 1)[:, 0]

    def reconstruct(self, clips, ids, kept: int):
        """Standardised clips → the decoder's pixels of the hidden tokens: (n, hidden, values)."""
        pixels = patches(clips, self.design.patch, self.design.tubelet)
        seen = pixels.gather(1, ids[:, :kept, None].expand(-1, -1, pixels.shape[2]))
        return self.decoder(self.encoder(seen, ids[:, :kept]), ids)

    def targets(self, clips, ids):
        """Pixels to reconstruct of tokens ids (n, hidden): of the target frames only, (n, hidden, values)."""
        design = self.design
        wanted = patches(clips[:, target_frames(design.frames)], design.patch, design.tubelet // 2)
        wanted = wanted.gather(1, ids[:, :, None].expand(-1, -1, wanted.shape[2]))
        if design.patch_norm:
            wanted = (wanted - wanted.mean(2, keepdim=True)) / (wanted.var(2, keepdim=True) + 1e-6).sqrt()
        return wanted


def weighted_error(error, weights):
    """Equation 2: a place's error counts 1 + W; with W = 0 equation 1. Both are (items, clips, size, size)."""
    return (error * (1 + weights)).sum((2, 3)).mean()
