"""A trained network at work: where its weights are, in the precision asked for, alone or as one of several."""

from copy import deepcopy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def infer(models, batch: torch.Tensor, precision: str = "bf16") -> torch.Tensor:
    """Mean output of one network or of several, (batch, …) fp32 on the CPU.

    A network's `activation`, where it has one, is applied before the mean. precision: `bf16` or `fp32`.
    """
    models = as_list(models)
    device = next(models[0].parameters(), batch).device
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        outputs = [getattr(net, "activation", nn.Identity())(net.eval()(batch.to(device)).float()) for net in models]
    return (torch.stack(outputs).mean(0) if len(outputs) > 1 else outputs[0]).cpu()


def as_list(models) -> list:
    """Networks of an ensemble, of which one alone is one too."""
    return models if isinstance(models, list) else [models]


def optimise_for_inference(model: nn.Module) -> nn.Module:
    """Copy in eval mode, channels last; each batch norm becomes part of the convolution before it, which is exact.

    Pairs are the first two parts of an `nn.Sequential`, and conv1 with bn1, conv2 with bn2, … of torchvision's blocks.
    """
    folded = deepcopy(model).eval()
    for part in folded.modules():
        pairs = [("0", "1")] if isinstance(part, nn.Sequential) else [(f"conv{n}", f"bn{n}") for n in (1, 2, 3)]
        for first, second in pairs:
            convolution, norm = part._modules.get(first), part._modules.get(second)
            known = isinstance(convolution, nn.Conv2d | nn.Conv3d) and isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d)
            if known:
                part._modules[first], part._modules[second] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    return folded.to(memory_format=channels_last(model))


def channels_last(model: nn.Module) -> torch.memory_format:
    """The memory format in which a model's convolutions are fast: channels last, of 3-D ones channels_last_3d."""
    volumes = any(weight.dim() == 5 for weight in model.parameters())
    return torch.channels_last_3d if volumes else torch.channels_last
