"""The masked autoencoder as it is usually written, nothing made fast: what `heartmae` is checked against.

Straight from the papers' text: a 3-D convolution makes all tokens, those kept are gathered; blocks are torch's own; the
decoder's tokens are put back into their order; every token is predicted, and the loss averaged over the hidden ones.
"""

from copy import deepcopy

import numpy as np
import torch
from torch import nn


def plain_block(block):
    """torch's transformer layer with the weights of a `Block`."""
    width = block.project.in_features
    options = {"activation": "gelu", "layer_norm_eps": 1e-6, "batch_first": True, "norm_first": True}
    layer = nn.TransformerEncoderLayer(width, block.heads, 4 * width, dropout=0.0, **options)
    names = {"qkv.": "self_attn.in_proj_", "project": "self_attn.out_proj", "widen": "linear1", "narrow": "linear2"}
    state = block.state_dict()
    for theirs, ours in names.items():
        state = {name.replace(theirs, ours): value for name, value in state.items()}
    layer.load_state_dict(state)
    return layer


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
            setattr(self, f"{name}_blocks", nn.ModuleList(plain_block(block) for block in part.blocks))
        self.hidden = nn.Parameter(model.decoder.hidden.data.clone())
        copied = model.encoder.norm, model.decoder.embed, model.decoder.norm, model.decoder.pixels
        self.norm, self.narrow, self.decoder_norm, self.pixels = map(deepcopy, copied)

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
        frames = torch.linspace(0, design.frames - 1, design.frames // 2).long()  # 0, 2, …, 20, 23
        error = (self.tokens(x[:, frames]) - said) ** 2
        if weights is not None:
            error = error * (1 + self.tokens(weights[:, None].expand(-1, len(frames), -1, -1)))
        hidden = back >= kept
        return (error.mean(2) * hidden).sum(1) / hidden.sum(1)

    def tokens(self, x):
        """Target frames → pixels of each token, by loops over the grid."""
        steps, rows, columns = self.design.grid
        p, tubelet, parts = self.design.patch, self.design.tubelet // 2, []
        for t, i, j in np.ndindex(steps, rows, columns):
            cube = x[:, t * tubelet : (t + 1) * tubelet, i * p : (i + 1) * p, j * p : (j + 1) * p]
            parts.append(cube.reshape(len(x), -1))
        return torch.stack(parts, 1)
