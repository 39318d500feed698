"""Weights files: safetensors beside a JSON card; pickles are never opened, for they can run code."""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from cmrlib.cohort.files import as_json, atomic, read_json, short_digest, write_json
from cmrlib.learning.weightsets import card_beside


def save_weights(model, path, card: dict):
    """Weights as safetensors beside a JSON card (architecture, preprocessing, data); the card comes last. The weights
    hold a digest of its architecture and preprocessing: with others they would give other masks without a word."""
    path = Path(path)
    if not {"architecture", "preprocessing"} <= set(card):
        raise ValueError(f"a weights card needs architecture and preprocessing, got {sorted(card)}")
    with atomic(path.with_suffix(".safetensors")) as part:
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, part, {"settings": settings_digest(card)})
    write_json(card, path.with_suffix(".json"))


def settings_digest(card: dict) -> str:
    """Digest of what a card says of architecture and preprocessing."""
    settings = as_json([card.get("architecture"), card.get("preprocessing")])
    return short_digest(json.dumps(settings, sort_keys=True).encode())


def read_card(path) -> dict:
    """Card of a weights file. Raises ValueError for a pickle, FileNotFoundError where weights or card are missing."""
    path = Path(path)
    if path.suffix not in ("", ".safetensors", ".json"):
        raise ValueError(
            f"{path.name} is no safetensors file; pickled weights can run code and are never opened: "
            "save them as safetensors with a JSON card"
        )
    files = path.with_suffix(".safetensors"), path.with_suffix(".json")
    if missing := [file.name for file in files if not file.exists()]:
        raise FileNotFoundError(
            f"{', '.join(missing)} not found in {path.parent}; weights are a .safetensors file "
            "and a .json file of one name"
        )
    return card_beside(path)


def read_state(path) -> dict[str, torch.Tensor]:
    """State dict of a local .safetensors or weights-only .pth file, say ImageNet weights of torchvision."""
    return load_file(path) if str(path).endswith(".safetensors") else torch.load(path, weights_only=True)


def load_weights(model: nn.Module, path) -> nn.Module:
    """The model in eval mode with the weights of a file. Raises ValueError where they are no safetensors, another
    network's, not finite, or all of them one number, or where the card says other settings than they were written
    with."""
    path = Path(path).with_suffix(".safetensors")
    try:
        with safe_open(path, "pt") as file:
            written = (file.metadata() or {}).get("settings")  # files of earlier versions have none
        weights = load_file(path)
        model.load_state_dict(weights)
        numbers = [value for value in weights.values() if value.is_floating_point() and value.numel()]
        lowest, highest = (getattr(torch.stack([getattr(v, end)() for v in numbers]), end)() for end in ("min", "max"))
        if not lowest < highest or not torch.isfinite(highest - lowest):  # NaN where one of them is
            raise ValueError("its numbers are not finite, or all alike: it is damaged")
    except Exception as error:
        raise ValueError(
            f"{path.name} does not fit the architecture in {path.stem}.json ({type(model).__name__}): "
            f"{str(error)[:300]}"
        ) from error
    if written and written != settings_digest(read_json(path.with_suffix(".json"))):
        raise ValueError(
            f"{path.stem}.json: architecture or preprocessing are not those that {path.name} was written with; restore "
            "the card, or train again with other settings"
        )
    return model.eval()
