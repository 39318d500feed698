"""What the paper compares with: 3-D ResNet-50 and 3-D DenseNet-121, group norm in place of batch norm (table III)."""

from math import gcd

from torch import nn
from torchvision.models import DenseNet, resnet50

from cmrlib.papers.sslhf.network import Classifier, Conv3d

COMPARATORS = ("resnet50", "densenet121")


class Comparator(nn.Module):
    """Features of torchvision's network with three spatial dimensions, their mean over space and time, one logit.

    name: of COMPARATORS. width: channels of the first convolution; 64 in the originals, and all others in proportion.
    """

    activation = Classifier.activation

    def __init__(self, name: str, width: int = 64):
        super().__init__()
        if name == "resnet50":
            flat = nn.Sequential(*list(resnet50().children())[:-2])
            self.features, channels = inflated(flat, width / 64), 32 * width
        else:
            flat = DenseNet(width // 2, (6, 12, 24, 16), width)
            self.features, channels = nn.Sequential(inflated(flat.features), nn.ReLU()), flat.classifier.in_features
            self.features[0].transition1.pool = nn.AvgPool3d(2, ceil_mode=True)
        self.last = nn.Linear(channels, 1)

    def forward(self, clips):
        return self.last(self.features(clips[:, None].contiguous()).mean((2, 3, 4)))[:, 0]  # (b,)


def inflated(flat: nn.Module, scale: float = 1.0) -> nn.Module:
    """The same layers for (batch, 1, frames, rows, columns), with new weights; scale: of the numbers of channels.

    The first convolution keeps all frames. Batch norm becomes group norm: in batches of four, batch statistics are
    noise.
    """
    for name, part in flat.named_children():
        setattr(flat, name, _inflated_layer(part, scale))
    return flat


def _inflated_layer(part, scale):
    if isinstance(part, nn.Conv2d):
        first = part.in_channels == 3
        before, after = 1 if first else round(part.in_channels * scale), round(part.out_channels * scale)
        stride = (1, *part.stride) if first else part.stride[0]
        return Conv3d(before, after, part.kernel_size[0], stride, part.padding[0], bias=False)
    if isinstance(part, nn.BatchNorm2d):
        channels = round(part.num_features * scale)
        return nn.GroupNorm(gcd(8, channels), channels)
    if isinstance(part, nn.MaxPool2d):
        return nn.MaxPool3d(3, 2, 1)
    if isinstance(part, nn.AvgPool2d):
        return nn.AvgPool3d((1, 2, 2), ceil_mode=True)  # cycles are too short to be halved by all
    return inflated(part, scale)
