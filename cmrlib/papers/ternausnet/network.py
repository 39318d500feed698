"""The network and its loss: plain PyTorch that knows nothing of cohorts."""

import torch
import torch.nn.functional as F
from torch import nn

from cmrlib.cine.anatomy import codes
from cmrlib.learning.weights import read_state
from cmrlib.papers.ternausnet.data import NOT_DRAWN, TensorLabels


def convolution(channels_in, channels_out):
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class Decoder(nn.Module):
    """Joined maps (b, in, h, w) → (b, out, 2h, 2w): a 3×3 convolution, then a transposed one (the paper's block)."""

    def __init__(self, channels_in, middle, channels_out):
        super().__init__()
        self.convolution = convolution(channels_in, middle)
        self.up = nn.Sequential(nn.ConvTranspose2d(middle, channels_out, 4, stride=2, padding=1), nn.ReLU(inplace=True))

    def forward(self, *maps):
        return self.up(self.convolution(torch.cat(maps, 1)))


class TernausNet(nn.Module):
    """(b, channels, rows, columns), sides multiples of 32 → logits (b, 1 + structures, rows, columns)."""

    def __init__(self, classes: int = 4, width: int = 64, channels: int = 3):
        super().__init__()
        w = width
        layers = [convolution(channels, w), convolution(w, 2 * w)]  # VGG11; a max-pooling after each of the five
        for a, b in ((2 * w, 4 * w), (4 * w, 8 * w), (8 * w, 8 * w)):
            layers.append(nn.Sequential(convolution(a, b), convolution(b, b)))
        self.encoder = nn.ModuleList(layers)
        self.centre = Decoder(8 * w, 8 * w, 4 * w)
        sizes = (12 * w, 8 * w, 4 * w), (12 * w, 8 * w, 2 * w), (6 * w, 4 * w, w), (3 * w, 2 * w, w // 2)
        self.decoder = nn.ModuleList(Decoder(*each) for each in sizes)
        self.last = convolution(w + w // 2, w)
        self.head = nn.Conv2d(w, classes, 1)

    def forward(self, x):
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.centre(x)  # (b, 4w, rows/16, columns/16)
        for stage in self.decoder:
            x = stage(x, skips.pop())
        return self.head(self.last(torch.cat([x, skips.pop()], 1)))  # (b, classes, rows, columns)

    def activation(self, logits):
        """Logits → probabilities, of which an ensemble takes the mean."""
        return logits.softmax(1)


def load_imagenet_encoder(model: TernausNet, path):
    """Copy VGG11-BN ImageNet weights (torchvision's state dict as a local .safetensors or weights-only .pth)."""
    state = read_state(path)
    ours = [m for m in model.encoder.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    numbers = sorted({int(k.split(".")[1]) for k in state if k.startswith("features.")})
    if len(numbers) != len(ours):
        raise ValueError(
            f"{path}: {len(numbers)} layers under `features`, expected {len(ours)}: "
            "give the weights of VGG11 with batch norm"
        )
    for module, number in zip(ours, numbers, strict=True):
        layer = {k.rsplit(".", 1)[1]: v for k, v in state.items() if k.startswith(f"features.{number}.")}
        layer.pop("bias", None) if isinstance(module, nn.Conv2d) else None  # batch norm has a shift of its own
        module.load_state_dict(layer, strict=isinstance(module, nn.Conv2d))


class SegmentationLoss:
    """Cross-entropy + (1 − Dice averaged over structures), on annotated pixels only.

    logits (b, classes, h, w) fp32; target (b, h, w) label codes, with 255 ignored, and NOT_DRAWN meaning "none of the
    structures seen in this slice": there only the summed probability of the other classes is asked for.
    """

    def __init__(self, structures):
        self.structures = tuple(structures)
        self.channel = torch.full((256,), -1)
        for channel, code in enumerate([0, *codes(structures)]):
            self.channel[code] = channel

    def __call__(self, logits, target):
        target = target.long()
        channel = self.channel.to(target.device)[target]  # (b, h, w), −1 where not a plain label
        known = channel >= 0
        log_p = logits.log_softmax(1)
        p = log_p.exp() * known[:, None]
        truth = F.one_hot(channel.clamp(min=0), logits.shape[1]).permute(0, 3, 1, 2) * known[:, None]
        cross_entropy = -(log_p * truth).sum() / known.sum().clamp(min=1)
        overlap = (2 * (p * truth).sum((0, 2, 3)) + 1) / ((p + truth).sum((0, 2, 3)) + 1)
        loss = cross_entropy + 1 - overlap[1:].mean()
        partial = target == NOT_DRAWN
        if not partial.any():
            return loss
        seen = truth.sum((2, 3)) > 0  # (b, classes) drawn in this slice
        others = torch.where(seen[:, :, None, None], torch.tensor(-1e4), log_p).logsumexp(1)
        return loss - (others * partial).sum() / partial.sum()

    def activation(self, logits):
        return logits.softmax(1)

    def decodes(self, logits):
        """Logits → label codes, for fastai's `show_results` and `predict`."""
        return TensorLabels(torch.tensor([0, *codes(self.structures)], device=logits.device)[logits.argmax(1)])
