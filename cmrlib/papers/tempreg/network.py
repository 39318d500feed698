"""The network and its loss: plain PyTorch that knows nothing of cohorts."""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

GREY_MEAN, GREY_SD = 64.0, 64.0
"""Of cine pixels squashed to 0…255, roughly: the network centres its input itself."""
MOST_LAPS, STILL = 12, 1e-3
"""Laps round a cycle in prediction, and the change from one to the next at which no more are needed."""


@dataclass(frozen=True)
class Design:
    """Which network. The paper: width 96, 1024 features; LSTM width and crop size are not stated there.

    size: pixels a side of a frame, a multiple of 32. channels: `copies` of the grey frame (the paper), or `motion`: the
    frame, its difference from the cycle's mean, and the change from the frame before to the one after. width: channels
    of the first convolution. norm: `batch`, or
    `local` (response normalisation, as the published Zeiler–Fergus weights want it). lstm: `standard`, `paper`
    (equation 1, whose candidate shares the input gate's weights), or `none` (the paper's CNN + regression).
    relative: features are taken relative to their mean over the cycle. laps: how often the LSTM goes round the cycle in
    training; the last time counts. 1 is the paper, which leaves the first frames without a past, in prediction too;
    with more, prediction goes round until the answer stands still, so that no frame is the first.
    """

    size: int = 96
    channels: str = "motion"
    width: int = 96
    features: int = 1024
    hidden: int = 256
    norm: str = "batch"
    lstm: str = "standard"
    relative: bool = True
    laps: int = 2

    def __post_init__(self):
        known = (
            self.channels in ("motion", "copies")
            and self.norm in ("batch", "local")
            and self.lstm in ("standard", "paper", "none")
        )
        if not known or self.size % 32 or self.size < 32 or self.width % 3 or self.width < 3 or self.laps < 1:
            raise ValueError(
                "expected a size in multiples of 32, a width in multiples of 3, channels motion or "
                "copies, norm batch or local, lstm standard, paper or none, and 1 or more laps; got "
                f"{self}"
            )


class ZeilerFergus(nn.Module):
    """Frames (n, 3, size, size) → (n, features): five convolutions, pooling of 3×3 and stride 2 after the first,
    second and fifth, one fully connected layer. Padded, so that every stride halves exactly."""

    def __init__(self, design: Design):
        super().__init__()
        a, b, c = design.width, 8 * design.width // 3, 4 * design.width

        def stage(channels_in, channels_out, kernel, stride, norm):
            after = {
                "batch": [nn.BatchNorm2d(channels_out), nn.ReLU()],
                "none": [nn.ReLU()],
                "local": [nn.ReLU(), LocalNorm(3, 5e-5)],
            }[norm]
            return nn.Sequential(nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2), *after)

        later = "batch" if design.norm == "batch" else "none"
        pool = nn.MaxPool2d(3, 2, 1)
        self.stages = nn.Sequential(
            stage(3, a, 7, 2, design.norm),
            pool,
            stage(a, b, 5, 2, design.norm),
            pool,
            stage(b, c, 3, 1, later),
            stage(c, c, 3, 1, later),
            stage(c, b, 3, 1, later),
            pool,
        )
        self.full = nn.Linear(b * (design.size // 32) ** 2, design.features)

    def forward(self, x):
        return F.relu(self.full(self.stages(x).flatten(1)))


class LocalNorm(nn.LocalResponseNorm):
    """Response normalisation in fp32: processors have none for bf16."""

    def forward(self, x):
        return super().forward(x.float()).to(x.dtype)


class PaperLSTM(nn.Module):
    """Equation 1 to the letter: (b, t, features) → (b, t, hidden). Input gate and candidate share their weights."""

    def __init__(self, features: int, hidden: int):
        super().__init__()
        self.seen, self.told = nn.Linear(features, 3 * hidden), nn.Linear(hidden, 3 * hidden, bias=False)

    def forward(self, x, state=None):
        seen = self.seen(x)
        h, c = state or (x.new_zeros(len(x), self.told.in_features),) * 2
        said = []
        for t in range(x.shape[1]):
            i, f, o = (seen[:, t] + self.told(h)).chunk(3, 1)
            c = f.sigmoid() * c + i.sigmoid() * i.tanh()
            h = o.sigmoid() * c.tanh()
            said.append(h)
        return torch.stack(said, 1), (h, c)


class TempRegNet(nn.Module):
    """Clips (b, frames, size, size) with values 0 to 255 → curves (b, frames), fp32. Any number of frames."""

    def __init__(self, design: Design):
        super().__init__()
        self.design = design
        self.encoder = ZeilerFergus(design)
        last = design.features
        if design.lstm != "none":
            last, standard = design.hidden, design.lstm == "standard"
            self.lstm = (
                nn.LSTM(design.features, last, batch_first=True) if standard else PaperLSTM(design.features, last)
            )
            for weight in self.lstm.parameters():
                nn.init.uniform_(weight, -0.01, 0.01)
        self.readout = nn.Linear(last, 1)

    def forward(self, clips):
        b, t = clips.shape[:2]
        grey = (clips - GREY_MEAN) / GREY_SD
        seen = [grey] * 3
        if self.design.channels == "motion":  # twice, as these are small
            seen[1:] = 2 * (grey - grey.mean(1, keepdim=True)), 2 * (grey.roll(-1, 1) - grey.roll(1, 1))
        seen = [channel.to(self.encoder.full.weight.dtype) for channel in seen]
        seen = torch.stack(seen, -1).flatten(0, 1).permute(0, 3, 1, 2)  # channels last in memory
        features = self.encoder(seen).float().reshape(b, t, -1)
        with torch.autocast(clips.device.type, enabled=False):  # differences between frames are small: fp32 from here
            return self.read(features)

    def read(self, features):
        """Features (b, frames, features) fp32 → curves (b, frames)."""
        if self.design.relative:
            features = features - features.mean(1, keepdim=True)
        if self.design.lstm == "none":
            return self.readout(features)[..., 0].sigmoid()
        features = features.to(next(self.lstm.parameters()).dtype)
        if not self.training and self.design.laps > 1:
            return self._settled(features)
        said, _ = self.lstm(features.repeat(1, self.design.laps, 1))
        return self.readout(said[:, -features.shape[1] :].float())[..., 0]

    def _settled(self, features):
        """Round the cycle, each time from the state in which the last one ended, until the curves stand still."""
        state, before = None, None
        for _ in range(MOST_LAPS):
            said, state = self.lstm(features, state)
            curves = self.readout(said.float())[..., 0]
            if before is not None and (curves - before).abs().max() < STILL:
                break
            before = curves
        return curves


def build(architecture: dict) -> TempRegNet:
    """Network from a weights card's `architecture`."""
    if architecture.get("name") != "TempRegNet":
        raise ValueError(f"these are weights of {architecture.get('name')!r}, expected TempRegNet; name another file")
    return TempRegNet(Design(**{key: value for key, value in architecture.items() if key != "name"}))


def architecture(design: Design) -> dict:
    return {"name": "TempRegNet"} | asdict(design)


def parameter_groups(model: TempRegNet):
    """All weights but the read-out's, and the read-out's, which learns ten times faster."""
    readout = list(model.readout.parameters())
    return [[p for p in model.parameters() if not any(p is one for one in readout)], readout]


def load_imagenet_encoder(model: TempRegNet, path):
    """Copy the five convolutions of ImageNet weights: a local .safetensors, or a weights-only .pth, state dict.

    Raises ValueError where its 4-D weights, in order, are not those of a Zeiler–Fergus network of this width.
    """
    state = load_file(path) if str(path).endswith(".safetensors") else torch.load(path, weights_only=True)
    found = [(name, value) for name, value in state.items() if value.ndim == 4]
    ours = [module for module in model.encoder.modules() if isinstance(module, nn.Conv2d)]
    wanted, got = [tuple(m.weight.shape) for m in ours], [tuple(value.shape) for _, value in found]
    if wanted != got:
        raise ValueError(
            f"{path}: convolutions of shape {got}, expected {wanted}: give the weights of a Zeiler–Fergus "
            "network, or choose its width"
        )
    with torch.no_grad():
        for module, (name, value) in zip(ours, found, strict=True):
            module.weight.copy_(value)
            bias = state.get(name.removesuffix("weight") + "bias")
            module.bias.copy_(bias) if bias is not None else None


def structured_loss(predicted, target, cyclic: bool = True):
    """Temporal structured loss, equation 2: (b, frames) twice → (b,).

    Where the target rises from one frame to the next the prediction must not fall, and the other way round: half the
    mean over frames of what it moves the wrong way. cyclic: the first frame follows the last one.
    """
    step, wanted = predicted - predicted.roll(1, 1), target - target.roll(1, 1)
    wrong = F.relu(-step) * (wanted > 0) + F.relu(step) * (wanted < 0)
    wrong = wrong if cyclic else wrong[:, 1:]
    return wrong.sum(1) / (2 * predicted.shape[1])


class TempRegLoss:
    """Squared error summed over frames + beta × structured loss (equation 3), mean over sections.

    Its third term, the weights' squared norm times alpha, is the optimiser's weight decay.
    """

    def __init__(self, beta: float, cyclic: bool = True):
        self.beta, self.cyclic = beta, cyclic

    def __call__(self, predicted, target):
        error = (predicted - target).square().sum(1)
        return (error + self.beta * structured_loss(predicted, target, self.cyclic)).mean()
