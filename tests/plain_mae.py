"""The masked autoencoder as it is usually written, nothing made fast: what `heartmae` is timed and checked against.

Straight from the papers' text: a 3-D convolution makes all tokens, those kept are gathered; attention is softmax(q kᵀ)
v in full; the decoder's tokens are put back into their order; every token is predicted, and the loss averaged over the
hidden ones.
"""

import torch
from torch import nn


class PlainBlock(nn.Module):
    def __init__(self, block):
        super().__init__()
        width = block.project.in_features
        self.heads = block.heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.q, self.k, self.v, self.project = (nn.Linear(width, width) for _ in range(4))
        self.widen, self.activation, self.narrow = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        for name in ("norm1", "norm2", "project", "widen", "narrow"):
            getattr(self, name).load_state_dict(getattr(block, name).state_dict())
        for n, part in enumerate((self.q, self.k, self.v)):
            part.weight.data = block.qkv.weight.data[n * width : (n + 1) * width].clone()
            part.bias.data = block.qkv.bias.data[n * width : (n + 1) * width].clone()

    def forward(self, x):
        n, tokens, width = x.shape
        y = self.norm1(x)
        q, k, v = (part(y).reshape(n, tokens, self.heads, -1).transpose(1, 2) for part in (self.q, self.k, self.v))
        attention = (q @ k.transpose(-2, -1)) * (width // self.heads) ** -0.5
        mixed = (attention.softmax(-1) @ v).transpose(1, 2).reshape(n, tokens, width)
        x = x + self.project(mixed)
        return x + self.narrow(self.activation(self.widen(self.norm2(x))))


class PlainMAE(nn.Module):
    """The same network and weights as a `MaskedAutoencoder`. Not for use: for comparison."""

    def __init__(self, model):
        super().__init__()
        design = self.design = model.design
        self.mean, self.std, self.masking = model.mean, model.std, model.masking
        cube = (design.tubelet, design.patch, design.patch)
        self.embed = nn.Conv3d(1, design.width, cube, stride=cube)
        self.embed.weight.data = model.encoder.embed.weight.data.reshape(design.width, 1, *cube).clone()
        self.embed.bias.data = model.encoder.embed.bias.data.clone()
        for name, part in (("encoder", model.encoder), ("decoder", model.decoder)):
            self.register_parameter(f"{name}_time", nn.Parameter(part.positions.time.data.clone()))
            self.register_parameter(f"{name}_space", nn.Parameter(part.positions.space.data.clone()))
            setattr(self, f"{name}_blocks", nn.ModuleList(PlainBlock(block) for block in part.blocks))
        self.hidden = nn.Parameter(model.decoder.hidden.data.clone())
        self.norm = nn.LayerNorm(design.width, eps=1e-6)
        self.decoder_norm = nn.LayerNorm(design.decoder_width, eps=1e-6)
        self.narrow = nn.Linear(design.width, design.decoder_width)
        self.pixels = nn.Linear(design.decoder_width, model.decoder.pixels.out_features)
        for mine, other in (
            (self.norm, model.encoder.norm),
            (self.decoder_norm, model.decoder.norm),
            (self.narrow, model.decoder.embed),
            (self.pixels, model.decoder.pixels),
        ):
            mine.load_state_dict(other.state_dict())

    def positions(self, name):
        time, space = getattr(self, f"{name}_time"), getattr(self, f"{name}_space")
        return time.repeat_interleave(len(space), 0) + space.repeat(len(time), 1)

    def forward(self, clips, ids, weights=None):
        """clips: (n, frames, size, size); ids: (n, tokens), the first are kept. Returns losses (n,)."""
        design = self.design
        steps, rows, columns = design.grid
        kept = self.masking.kept(steps, rows * columns)
        x = (clips - self.mean) / self.std
        tokens = self.embed(x[:, None]).flatten(2).transpose(1, 2) + self.positions("encoder")
        seen = torch.gather(tokens, 1, ids[:, :kept, None].expand(-1, -1, tokens.shape[2]))
        for block in self.encoder_blocks:
            seen = block(seen)
        seen = self.narrow(self.norm(seen))
        hidden = self.hidden.expand(len(x), ids.shape[1] - kept, -1)
        full = torch.cat([seen, hidden], 1)
        back = ids.argsort(1)
        full = torch.gather(full, 1, back[:, :, None].expand(-1, -1, full.shape[2])) + self.positions("decoder")
        for block in self.decoder_blocks:
            full = block(full)
        said = self.pixels(self.decoder_norm(full))  # every token
        return self.loss(x, said, back >= kept, weights)

    def loss(self, x, said, hidden, weights):
        design = self.design
        frames = torch.linspace(0, design.frames - 1, design.frames // 2).long()  # 0, 2, …, 20, 23
        wanted = self.tokens(x[:, frames], design.tubelet // 2)
        error = (wanted - said) ** 2
        if weights is not None:
            error = error * (1 + self.tokens(weights[:, None].expand(-1, len(frames), -1, -1), design.tubelet // 2))
        return (error.mean(2) * hidden).sum(1) / hidden.sum(1)

    def tokens(self, x, tubelet):
        """Clips → pixels of each token, by loops over the grid."""
        steps, rows, columns = self.design.grid
        p, parts = self.design.patch, []
        for t in range(steps):
            for i in range(rows):
                for j in range(columns):
                    cube = x[:, t * tubelet : (t + 1) * tubelet, i * p : (i + 1) * p, j * p : (j + 1) * p]
                    parts.append(cube.reshape(len(x), -1))
        return torch.stack(parts, 1)
