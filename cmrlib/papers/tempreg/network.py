"""The network and its loss: plain PyTorch that knows nothing of cohorts."""

import torch
import torch.nn.functional as F
from torch import nn

from cmrlib.learning.weights import read_state

GREY_MEAN, GREY_SD = 64.0, 64.0
"""Of cine pixels squashed to 0…255, roughly: the network centres its input itself."""
MAX_PASSES, TOLERANCE = 12, 1e-3
"""Passes round the cycle in prediction, and the change from one to the next at which no more are needed."""


class ZeilerFergus(nn.Module):
    """Frames (n, 3, size, size) → (n, features): five convolutions, pooling of 3×3 and stride 2 after the first,
    second and fifth, one fully connected layer. Padded, so that every stride halves exactly."""

    def __init__(self, size: int, width: int, features: int, norm: str):
        super().__init__()
        a, b, c = width, 8 * width // 3, 4 * width

        def stage(channels_in, channels_out, kernel, stride):
            layers = [nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2)]
            layers += [nn.BatchNorm2d(channels_out)] if norm == "batch" else []
            return [*layers, nn.ReLU(), *([LocalNorm(3, 5e-5)] if norm == "local" and stride == 2 else [])]

        convolutions = [(3, a, 7, 2), (a, b, 5, 2), (b, c, 3, 1), (c, c, 3, 1), (c, b, 3, 1)]
        one, two, three, four, five = (nn.Sequential(*stage(*sizes)) for sizes in convolutions)
        pool = nn.MaxPool2d(3, 2, 1)
        self.stages = nn.Sequential(one, pool, two, pool, three, four, five, pool)
        self.full = nn.Linear(b * (size // 32) ** 2, features)

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
        self.from_input, self.from_hidden = nn.Linear(features, 3 * hidden), nn.Linear(hidden, 3 * hidden, bias=False)

    def forward(self, x, state=None):
        inputs, outputs = self.from_input(x), []
        h, c = state or (x.new_zeros(len(x), self.from_hidden.in_features),) * 2
        for t in range(x.shape[1]):
            i, f, o = (inputs[:, t] + self.from_hidden(h)).chunk(3, 1)
            c = f.sigmoid() * c + i.sigmoid() * i.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        return torch.stack(outputs, 1), (h, c)


class TempRegNet(nn.Module):
    """Clips (b, frames, size, size) with values 0 to 255 → curves (b, frames), fp32. Any number of frames.

    design: a task `TempReg`, or what has its fields size and channels to n_passes.
    """

    def __init__(self, design):
        super().__init__()
        known = design.channels in ("motion", "copies") and design.norm in ("batch", "local")
        known &= design.lstm in ("standard", "paper", "none")
        if not known or min(design.size, design.width, design.n_passes) < 1 or design.size % 32 or design.width % 3:
            raise ValueError(
                "expected a size in multiples of 32, a width in multiples of 3, channels motion or copies, norm batch "
                "or local, lstm standard, paper or none, and 1 or more passes"
            )
        self.channels, self.relative, self.n_passes = design.channels, design.relative, design.n_passes
        self.encoder = ZeilerFergus(design.size, design.width, design.features, design.norm)
        self.lstm = None
        if design.lstm != "none":
            kind = PaperLSTM if design.lstm == "paper" else lambda *sizes: nn.LSTM(*sizes, batch_first=True)
            self.lstm = kind(design.features, design.hidden)
            for weight in self.lstm.parameters():
                nn.init.uniform_(weight, -0.01, 0.01)
        self.readout = nn.Linear(design.features if self.lstm is None else design.hidden, 1)

    def forward(self, clips):
        with torch.autocast(clips.device.type, enabled=False):
            channels = self.input_channels(clips)
        features = self.encoder(channels.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        features = features.float().unflatten(0, clips.shape[:2])
        with torch.autocast(clips.device.type, enabled=False):  # differences between frames are small: fp32 from here
            return self.read(features)

    def input_channels(self, clips):
        """Clips (b, frames, size, size) → (b, frames, 3, size, size)."""
        grey = (clips - GREY_MEAN) / GREY_SD
        if self.channels == "copies":
            return torch.stack([grey] * 3, 2)
        from_mean, change = grey - grey.mean(1, keepdim=True), grey.roll(-1, 1) - grey.roll(1, 1)
        return torch.stack([grey, 2 * from_mean, 2 * change], 2)  # twice, as these are small

    def read(self, features):
        """Features (b, frames, features) fp32 → curves (b, frames)."""
        if self.relative:
            features = features - features.mean(1, keepdim=True)
        if self.lstm is None:
            return self.readout(features)[..., 0].sigmoid()
        if not self.training and self.n_passes > 1:
            return self._until_converged(features)
        outputs, _ = self.lstm(features.repeat(1, self.n_passes, 1))
        return self.readout(outputs[:, -features.shape[1] :])[..., 0]

    def _until_converged(self, features):
        """Round the cycle, each time from the state in which the last pass ended, until the curves no longer change."""
        state, before = None, None
        for _ in range(MAX_PASSES):
            outputs, state = self.lstm(features, state)
            curves = self.readout(outputs)[..., 0]
            if before is not None and (curves - before).abs().max() < TOLERANCE:
                break
            before = curves
        return curves


def load_imagenet_encoder(model: TempRegNet, path):
    """Copy the five convolutions of ImageNet weights: a local .safetensors, or a weights-only .pth, state dict.

    Raises ValueError where its 4-D weights, in order, are not those of a Zeiler–Fergus network of this width.
    """
    state = read_state(path)
    names = [name.removesuffix("weight") for name, value in state.items() if value.ndim == 4]
    ours = [module for module in model.encoder.modules() if isinstance(module, nn.Conv2d)]
    try:
        for module, name in zip(ours, names, strict=True):
            bias = state.get(f"{name}bias", module.bias)
            module.load_state_dict({"weight": state[f"{name}weight"], "bias": bias})
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"{path}: give the weights of a Zeiler–Fergus network, or choose its width ({error})"
        ) from error


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
