"""The network: a residual network with a head of four numbers (the paper's) or of two heat maps."""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

LAYERS = {
    "resnet8": (BasicBlock, [1, 1, 1]),
    "resnet10": (BasicBlock, [1, 1, 1, 1]),
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
}
"""resnet8 is resnet10 without its last stage: a quarter of the weights, small enough to travel with the package."""
HEADS = ("points", "maps", "masks")


class MVNet(nn.Module):
    """One grey picture (b, 1, rows, columns) → two points.

    head "points" (the paper's): global average and one linear layer, (b, 4) in units of half the picture from its
    centre. head "maps": logits (b, 2, rows/4, columns/4), one map per point. head "masks": a third map, the LV cavity's
    logit. `loss.decode` turns all into pixels.
    """

    def __init__(self, backbone: str = "resnet50", head: str = "points"):
        super().__init__()
        if backbone not in LAYERS or head not in HEADS:
            raise ValueError(f"unknown network {backbone!r} with head {head!r}; there are {list(LAYERS)} and {HEADS}")
        self.backbone = backbone
        block, layers = LAYERS[backbone]
        whole = ResNet(block, [*layers, 1][:4], num_classes=4)
        stages = [whole.layer1, whole.layer2, whole.layer3, whole.layer4][: len(layers)]
        widths = [64 * 2**n * block.expansion for n in range(len(stages))]
        self.stem = nn.Sequential(whole.conv1, whole.bn1, whole.relu, whole.maxpool)
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(widths[-1], 4) if head == "points" else MapHead(widths, HEADS.index(head) + 1)

    def forward(self, x):
        x = self.stem(x.expand(-1, 3, -1, -1))  # three equal channels, as ImageNet weights expect
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        with torch.autocast(x.device.type, enabled=False):  # read-outs in fp32: bf16 has 8 bits, a picture 160 pixels
            if isinstance(self.head, nn.Linear):
                return self.head(x.float().mean((2, 3)))
        return self.head(features).float()


class MapHead(nn.Module):
    """Features of several scales → (b, n, h, w) on the finest: each narrowed to 64 channels, enlarged, added."""

    def __init__(self, widths, n: int = 2, channels: int = 64):
        super().__init__()
        self.lateral = nn.ModuleList([nn.Conv2d(width, channels, 1) for width in widths])
        self.smooth = nn.ModuleList([self._smooth(channels) for _ in widths])
        self.last = nn.Conv2d(channels, n, 1)

    @staticmethod
    def _smooth(channels):
        convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))

    def forward(self, features):
        x = self.smooth[-1](self.lateral[-1](features[-1]))
        for lateral, smooth, feature in list(zip(self.lateral, self.smooth, features))[-2::-1]:
            x = F.interpolate(x, size=feature.shape[2:], mode="bilinear", align_corners=False)
            x = smooth(x + lateral(feature))
        return self.last(x)


def load_imagenet(model: MVNet, path):
    """Copy torchvision's ResNet weights of the same depth from a local .safetensors or weights-only .pth file; the
    classifier for 1000 kinds of things is left out. Raises ValueError for weights of another network."""
    state = load_file(path) if str(path).endswith(".safetensors") else torch.load(path, weights_only=True)
    names = {"conv1": "stem.0", "bn1": "stem.1"} | {f"layer{n + 1}": f"stages.{n}" for n in range(4)}
    ours = {f"{names[k.split('.')[0]]}.{k.split('.', 1)[1]}": v for k, v in state.items() if k.split(".")[0] in names}
    head = {k: v for k, v in model.state_dict().items() if k.startswith("head.")}
    try:
        model.load_state_dict(ours | head)
    except RuntimeError as error:
        raise ValueError(f"{Path(path).name} holds no ImageNet weights of {model.backbone}: {error}") from error
