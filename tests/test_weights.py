"""Weights files: safetensors with a card, and nothing that runs code."""

import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cmrlib.cohort.files import read_json, write_json
from cmrlib.learning import weights
from cmrlib.learning.weights import load_weights, save_weights

CARD = {"architecture": {"name": "Linear", "width": 4}, "preprocessing": {"size": 64}}


def build(architecture):
    return nn.Linear(2, architecture["width"])


class Poison:
    """Unpickling it writes a file."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return partial(open, mode="w"), (self.marker,)


def poison(marker) -> bytes:
    return pickle.dumps({"model": Poison(marker)})


def test_weights_come_back_with_their_card(tmp_path):
    model = build({"width": 4})
    save_weights(model, tmp_path / "deep" / "sax", CARD | {"seed": 3, "dice": np.float32(0.5)})
    for name in ("sax", "sax.safetensors", "sax.json"):
        back, card = load_weights(tmp_path / "deep" / name, build)
        assert all(torch.equal(value, back.state_dict()[key]) for key, value in model.state_dict().items())
        assert not back.training and card == CARD | {"seed": 3, "dice": 0.5}
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["sax.json", "sax.safetensors"]


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".ckpt", ".bin"])
def test_a_pickle_is_never_opened(tmp_path, suffix):
    path = (tmp_path / "sax").with_suffix(suffix)
    path.write_bytes(poison(tmp_path / "marker"))
    with pytest.raises(ValueError, match=f"sax{suffix} is no safetensors file; pickled weights can run code"):
        load_weights(path, build)
    assert not (tmp_path / "marker").exists()


def test_a_pickle_under_a_false_name_is_not_opened_either(tmp_path):
    (tmp_path / "sax.safetensors").write_bytes(poison(tmp_path / "marker"))
    write_json(CARD, tmp_path / "sax.json")
    with pytest.raises(ValueError, match=r"sax.safetensors does not fit the architecture in sax.json"):
        load_weights(tmp_path / "sax", build)
    torch.save({"w": torch.zeros(3)}, tmp_path / "sax.safetensors")
    with pytest.raises(ValueError, match="does not fit"):
        load_weights(tmp_path / "sax", build)
    assert not (tmp_path / "marker").exists()


def test_weights_of_another_network_are_refused(tmp_path):
    save_weights(build({"width": 6}), tmp_path / "net", CARD)
    with pytest.raises(ValueError, match=r"net.safetensors does not fit (.|\n)*Linear(.|\n)*size mismatch"):
        load_weights(tmp_path / "net", build)


def test_weights_need_their_card(tmp_path):
    with pytest.raises(ValueError, match="needs architecture and preprocessing, got .'seed'"):
        save_weights(build(CARD["architecture"]), tmp_path / "sax", {"seed": 1})
    assert not list(tmp_path.iterdir())
    save_weights(build(CARD["architecture"]), tmp_path / "sax", CARD)
    (tmp_path / "sax.json").unlink()
    with pytest.raises(FileNotFoundError, match="sax.json not found in .*; weights are a .safetensors .*and a .json"):
        load_weights(tmp_path / "sax", build)
    with pytest.raises(FileNotFoundError, match="4ch.safetensors, 4ch.json not found"):
        load_weights(tmp_path / "4ch", build)


def test_the_card_comes_last(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "write_json", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_weights(build(CARD["architecture"]), tmp_path / "sax", CARD)
    with pytest.raises(FileNotFoundError, match="sax.json not found"):  # weights without a card are no weights
        load_weights(tmp_path / "sax", build)
    monkeypatch.undo()
    save_weights(build(CARD["architecture"]), tmp_path / "sax", CARD)
    assert read_json(tmp_path / "sax.json") == CARD and Path(tmp_path / "sax.safetensors").stat().st_size > 0
