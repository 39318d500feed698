"""Step 5's networks and losses: plain PyTorch that knows nothing of cohorts."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import BasicBlock

BARLOW_LAMBDA = 0.0051
"""Weight of the off-diagonal terms: Zbontar et al. 2021; not stated in the paper."""


LAST = ("block", "stage")


class TwoViewNorm(nn.BatchNorm1d):
    """Batch norm that trains on two views, one after the other in a batch: each is normalised as if it came alone."""

    def forward(self, x):
        return _view_by_view(super().forward, x) if self.training else super().forward(x)


def _view_by_view(norm, x):
    return torch.cat([norm(view) for view in x.chunk(2)])


class Encoder(nn.Module):
    """ResNet-18 that sees the frames of a cine as channels: (b, frames, rows, columns) → (b, 8 · width).

    With width 64 these are torchvision's layers under torchvision's names, and 512 numbers a cine.
    """

    def __init__(self, frames: int, width: int = 64):
        super().__init__()
        self.frames, self.width = frames, width
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

    def features(self, x) -> torch.Tensor:
        """(b, frames, rows, columns) → (b, 8 · width, rows / 32, columns / 32)."""
        return self.layer4(self.before_last_stage(x))

    def before_last_stage(self, x) -> torch.Tensor:
        """What `layer4` sees."""
        if x.shape[1] != self.frames:
            raise ValueError(f"the encoder takes {self.frames} frames as channels, got {x.shape[1]}")
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        return self.layer3(self.layer2(self.layer1(x)))

    def forward(self, x):
        return self.features(x).mean((2, 3))

    def pair(self, one, other) -> torch.Tensor:
        """(b, frames, rows, columns) twice → (2b, 8 · width): each batch as it would come out alone. The last stage,
        where pixels are few and weights many, takes them together, and its weights are read half as often."""
        x = torch.cat([self.before_last_stage(one), self.before_last_stage(other)])
        for block in self.layer4:
            x = _block_of_two(block, x)
        return x.mean((2, 3))

    def freeze_all_but(self, last: str = "block") -> "Encoder":
        """Only the last residual block still learns, or the last stage, which is two of them; batch norm of all others
        keeps the statistics that it has."""
        if last not in LAST:
            raise ValueError(f"unknown part {last!r} to go on learning; there are {', '.join(LAST)}")
        kept = self.layer4 if last == "stage" else self.layer4[-1:]
        self.requires_grad_(False)
        kept.requires_grad_(True)
        still = () if last == "stage" else (self.layer4[0],)
        self.frozen = (self.conv1, self.bn1, self.layer1, self.layer2, self.layer3, *still)
        return self.train(self.training)

    def train(self, mode: bool = True):
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self


def _block_of_two(block: BasicBlock, x):
    """A residual block for two batches, one after the other in x; where norms train, each batch by itself."""

    def normalised(norm, x):
        return _view_by_view(norm, x) if norm.training else norm(x)

    out = F.relu(normalised(block.bn1, block.conv1(x)))
    out = normalised(block.bn2, block.conv2(out))
    if block.downsample is not None:
        conv, norm = block.downsample
        x = normalised(norm, conv(x))
    return F.relu(out + x)


def _stage(inward, outward, stride):
    narrower = stride != 1 or inward != outward
    shortcut = nn.Sequential(nn.Conv2d(inward, outward, 1, stride, bias=False), nn.BatchNorm2d(outward))
    return nn.Sequential(
        BasicBlock(inward, outward, stride, shortcut if narrower else None), BasicBlock(outward, outward)
    )


def perceptron(widths, norm: bool = False, dropout: float | None = None) -> nn.Sequential:
    """Linear layers of these widths with ReLU, and batch norm (of two views) or dropout, between them."""
    layers = []
    for i, (inward, outward) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(inward, outward, bias=not norm or i == len(widths) - 2))
        if i < len(widths) - 2:
            layers += [TwoViewNorm(outward)] * norm + [nn.ReLU(inplace=True)]
            layers += [] if dropout is None else [nn.Dropout(dropout)]
    return nn.Sequential(*layers)


class BarlowTwins(nn.Module):
    """Two views of the same cines → their projections (b, 2, projector)."""

    def __init__(self, encoder: Encoder, projector: int = 2048):
        super().__init__()
        self.encoder = encoder
        self.projector = perceptron([8 * encoder.width, projector, projector, projector], norm=True)

    def forward(self, one, other):
        return torch.stack(self.projector(self.encoder.pair(one, other)).chunk(2), 1)


class Siamese(nn.Module):
    """Two cines → their embeddings (b, 2, 8 · width), of unit length, so that the margin means the same everywhere."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, one, other):
        return F.normalize(torch.stack(self.encoder.pair(one, other).chunk(2), 1).float(), dim=2)


class Classifier(nn.Module):
    """Encoder and three-layer perceptron: (b, frames, rows, columns) → logit (b,) of mitral regurgitation."""

    def __init__(self, encoder: Encoder, hidden: int = 256, dropout: float = 0.0):
        super().__init__()
        self.encoder = encoder
        width = 8 * encoder.width
        self.head = perceptron([width, hidden, hidden // 4, 1], dropout=dropout)

    def forward(self, x):
        return self.head(self.encoder(x)).squeeze(1)


class Joint(nn.Module):
    """CUSSP-1 to -3: Barlow Twins and classifier share the encoder. Two views → (b, 2, projector + 1), logit last."""

    def __init__(self, twins: BarlowTwins, hidden: int = 256, dropout: float = 0.0):
        super().__init__()
        self.encoder, self.projector = twins.encoder, twins.projector
        self.head = Classifier(twins.encoder, hidden, dropout).head

    def forward(self, one, other):
        seen = self.encoder.pair(one, other)
        return torch.stack(torch.cat([self.projector(seen), self.head(seen)], 1).chunk(2), 1)

    def classifier(self) -> Classifier:
        """The classifier alone, with the weights that were trained here."""
        found = Classifier(self.encoder, self.head[0].out_features)
        found.head = self.head
        return found


def cross_correlation(one, other) -> torch.Tensor:
    """(b, d), (b, d) → (d, d): correlations over the batch, whatever its size; constant columns correlate with none."""
    one, other = (_standardised(z) for z in (one, other))
    return one.T @ other / len(one)


def _standardised(z):
    z = z.float() - z.float().mean(0)
    return z / (z.square().mean(0) + 1e-6).sqrt()


def barlow_loss(projections, weight: float = BARLOW_LAMBDA) -> torch.Tensor:
    """Σ (1 − C_ii)² + λ Σ_(i≠j) C_ij², Zbontar et al. 2021; projections: (b, 2, d), λ: weight.

    The batch's own size normalises C, so that a smaller last batch counts as it should. C itself, d×d, is never made:
    Σ C_ij² = Σ G_ij H_ij / b² with the b×b products of the batch's cines, G of one view and H of the other. Raises
    ValueError for a batch of one, of which no correlation is known.
    """
    if len(projections) < 2:
        raise ValueError("the cross-correlation needs a batch of two or more cines")
    one, other = (_standardised(z) for z in projections.unbind(1))
    diagonal = (one * other).mean(0)
    every = ((one @ one.T) * (other @ other.T)).sum() / len(one) ** 2
    return (1 - diagonal).square().sum() + weight * (every - diagonal.square().sum())


def contrastive_loss(embeddings, unlike, margin: float = 1.0) -> torch.Tensor:
    """Mean of ½ d² for like pairs and ½ max(0, margin − d)² for unlike ones; Hadsell, Chopra & LeCun 2006.

    embeddings: (b, 2, e). unlike: (b,) 1 where one of the two has mitral regurgitation and the other has not.
    """
    squared = (embeddings[:, 0] - embeddings[:, 1]).float().square().sum(1)
    distance = (squared + 1e-12).sqrt()  # the root's slope has no end at 0
    short = (margin - distance).clamp(min=0).square()
    return torch.where(unlike.bool(), short, squared).mean() / 2


def joint_loss(outputs, target, correlation_share: float, weight: float = BARLOW_LAMBDA) -> torch.Tensor:
    """correlation_share · Barlow Twins + (1 − correlation_share) · cross-entropy of both views; of `Joint`."""
    entropy = F.binary_cross_entropy_with_logits(outputs[:, :, -1].float(), target.float()[:, None].expand(-1, 2))
    return correlation_share * barlow_loss(outputs[:, :, :-1], weight) + (1 - correlation_share) * entropy
