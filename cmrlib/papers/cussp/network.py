"""Encoder, the networks of the three steps, and their losses: plain PyTorch that knows nothing of cohorts."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import BasicBlock

BARLOW_LAMBDA = 0.0051
"""Weight of the off-diagonal terms: Zbontar et al. 2021; not stated in the paper."""

LAST = ("block", "stage", "all")


class Encoder(nn.Module):
    """ResNet-18 that sees the frames of a cine as channels: (b, frames, rows, columns) → (b, 8 · width).

    With width 64 these are torchvision's layers under torchvision's names, and 512 numbers per cine.
    """

    def __init__(self, frames: int, width: int = 64):
        super().__init__()
        self.width = width
        self.conv1 = nn.Conv2d(frames, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, 1)
        self.layer2 = _stage(width, 2 * width, 2)
        self.layer3 = _stage(2 * width, 4 * width, 2)
        self.layer4 = _stage(4 * width, 8 * width, 2)
        self.frozen = ()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))

    def freeze_all_but(self, last: str = "block") -> "Encoder":
        """Only the last residual block still learns, or the last stage, which is two of them, or all; batch norm of all
        others keeps its statistics."""
        if last not in LAST:
            raise ValueError(f"unknown part {last!r} to go on learning; there are {', '.join(LAST)}")
        if last == "all":
            return self
        learning = self.layer4 if last == "stage" else self.layer4[-1:]
        self.requires_grad_(False)
        learning.requires_grad_(True)
        self.frozen = [self.conv1, self.bn1, self.layer1, self.layer2, self.layer3, self.layer4[: -len(learning)]]
        return self.train(self.training)

    def train(self, mode: bool = True):
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self


def _stage(inward, outward, stride):
    narrower = stride != 1 or inward != outward
    shortcut = nn.Sequential(nn.Conv2d(inward, outward, 1, stride, bias=False), nn.BatchNorm2d(outward))
    return nn.Sequential(
        BasicBlock(inward, outward, stride, shortcut if narrower else None), BasicBlock(outward, outward)
    )


def perceptron(widths, norm: bool = False, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers of these widths with ReLU, and batch norm or dropout, between them."""
    layers = []
    for inward, outward in pairwise(widths[:-1]):
        layers += [nn.Linear(inward, outward, bias=not norm), *[nn.BatchNorm1d(outward)] * norm]
        layers += [nn.ReLU(inplace=True), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(*widths[-2:]))


class BarlowTwins(nn.Module):
    """Two views of the same cines (b, 2, frames, rows, columns) → their projections (b, 2, projector)."""

    def __init__(self, encoder: Encoder, projector: int = 2048):
        super().__init__()
        self.encoder = encoder
        self.projector = perceptron([8 * encoder.width, projector, projector, projector], norm=True)

    def forward(self, views):
        return torch.stack([self.projector(self.encoder(view)) for view in views.unbind(1)], 1)


class Siamese(nn.Module):
    """Pairs of cines (b, 2, frames, rows, columns) → embeddings (b, 2, 8 · width) of unit length, so that the margin
    means the same everywhere."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, pairs):
        return F.normalize(torch.stack([self.encoder(cine) for cine in pairs.unbind(1)], 1).float(), dim=2)


class Classifier(nn.Module):
    """Encoder and three-layer perceptron: (b, frames, rows, columns) → logit (b,) of mitral regurgitation."""

    activation = staticmethod(torch.sigmoid)

    def __init__(self, encoder: Encoder, hidden: int = 256, dropout: float = 0.0):
        super().__init__()
        self.encoder = encoder
        self.head = perceptron([8 * encoder.width, hidden, hidden // 4, 1], dropout=dropout)

    def forward(self, x):
        return self.head(self.encoder(x)).squeeze(1)


class Joint(nn.Module):
    """CUSSP-1 to -3: Barlow Twins and `classifier` share the encoder. Two views → (b, 2, projector + 1), logit last."""

    def __init__(self, twins: BarlowTwins, hidden: int = 256, dropout: float = 0.0):
        super().__init__()
        self.classifier = Classifier(twins.encoder, hidden, dropout)
        self.projector = twins.projector

    def forward(self, views):
        codes = [self.classifier.encoder(view) for view in views.unbind(1)]
        return torch.stack([torch.cat([self.projector(code), self.classifier.head(code)], 1) for code in codes], 1)


def cross_correlation(one, other) -> torch.Tensor:
    """(b, d), (b, d) → (d, d): correlations over the batch, whatever its size; constant columns correlate with none."""
    one, other = ((z - z.mean(0)) / (z.var(0, correction=0) + 1e-6).sqrt() for z in (one.float(), other.float()))
    return one.T @ other / len(one)


def barlow_loss(projections, weight: float = BARLOW_LAMBDA) -> torch.Tensor:
    """Σ (1 − C_ii)² + λ Σ_(i≠j) C_ij², Zbontar et al. 2021; projections: (b, 2, d), λ: weight.

    Raises ValueError for a batch of one, of which no correlation is known.
    """
    if len(projections) < 2:
        raise ValueError("the cross-correlation needs a batch of two or more cines")
    c = cross_correlation(*projections.unbind(1))
    diagonal = c.diagonal()
    return (1 - diagonal).square().sum() + weight * (c.square().sum() - diagonal.square().sum())


class ContrastiveLoss:
    """Mean of ½ d² for like pairs and ½ max(0, margin − d)² for unlike ones; Hadsell, Chopra & LeCun 2006.

    embeddings: (b, 2, e). unlike: (b,) 1 where one of the two has mitral regurgitation and the other has not. Pairs are
    shown with d, the distance of their embeddings.
    """

    def __init__(self, margin: float = 1.0):
        self.margin = margin

    def __call__(self, embeddings, unlike):
        squared = (embeddings[:, 0] - embeddings[:, 1]).float().square().sum(1)
        distance = (squared + 1e-12).sqrt()  # the root's slope has no end at 0
        short = (self.margin - distance).clamp(min=0).square()
        return torch.where(unlike.bool(), short, squared).mean() / 2

    def decodes(self, embeddings):
        return (embeddings[:, 0] - embeddings[:, 1]).norm(dim=1)


def joint_loss(outputs, target, correlation_share: float) -> torch.Tensor:
    """correlation_share · Barlow Twins + (1 − correlation_share) · cross-entropy of both views; of `Joint`."""
    entropy = F.binary_cross_entropy_with_logits(outputs[:, :, -1].float(), target.float()[:, None].expand(-1, 2))
    return correlation_share * barlow_loss(outputs[:, :, :-1]) + (1 - correlation_share) * entropy
