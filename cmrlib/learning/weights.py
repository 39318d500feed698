"""Weights files: safetensors beside a JSON card; pickles are never opened, for they can run code."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from cmrlib.cohort.files import atomic, read_json, write_json


def save_weights(model, path, card: dict):
    """Weights as safetensors beside a JSON card (architecture, preprocessing, data); the card comes last."""
    path = Path(path)
    if not {"architecture", "preprocessing"} <= set(card):
        raise ValueError(f"a weights card needs architecture and preprocessing, got {sorted(card)}")
    with atomic(path.with_suffix(".safetensors")) as part:
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, part)
    write_json(card, path.with_suffix(".json"))


def load_weights(path, build) -> tuple[torch.nn.Module, dict]:
    """(model in eval mode, card) from a safetensors file and its JSON card; pickles are never opened.

    build: architecture dict → model. Raises ValueError where the file is of another kind or another network.
    """
    path = Path(path)
    weights, sidecar = path.with_suffix(".safetensors"), path.with_suffix(".json")
    if path.suffix not in ("", ".safetensors", ".json"):
        raise ValueError(
            f"{path.name} is no safetensors file; pickled weights can run code and are never opened: "
            "save them as safetensors with a JSON card"
        )
    missing = [f.name for f in (weights, sidecar) if not f.exists()]
    if missing:
        raise FileNotFoundError(
            f"{', '.join(missing)} not found in {path.parent}; weights are a .safetensors file "
            "and a .json file of one name"
        )
    card = read_json(sidecar)
    model = build(card["architecture"])
    try:
        model.load_state_dict(load_file(weights))
    except Exception as error:
        raise ValueError(
            f"{weights.name} does not fit the architecture in {sidecar.name} "
            f"({card['architecture'].get('name')}): {str(error)[:300]}"
        ) from error
    return model.eval(), card
