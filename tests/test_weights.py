"""Weights files: safetensors with a card, and nothing that runs code."""

import numpy as np
import pytest
import torch
from torch import nn

from cmrlib.cohort.files import read_json, write_json
from cmrlib.learning import weights
from cmrlib.learning.weights import load_weights, read_card, save_weights

CARD = {"architecture": {"name": "Linear"}, "preprocessing": {"size": 64}}


def test_weights_come_back_with_their_card(tmp_path):
    model = nn.Linear(2, 4)
    save_weights(model, tmp_path / "deep" / "sax", CARD | {"seed": 3, "dice": np.float32(0.5)})
    for name in ("sax", "sax.safetensors", "sax.json"):
        back = load_weights(nn.Linear(2, 4), tmp_path / "deep" / name)
        assert all(torch.equal(value, back.state_dict()[key]) for key, value in model.state_dict().items())
        assert not back.training and read_card(tmp_path / "deep" / name) == CARD | {"seed": 3, "dice": 0.5}
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["sax.json", "sax.safetensors"]
    with pytest.raises(ValueError, match=r"sax.safetensors does not fit .*sax.json .Linear.(.|\n)*size mismatch"):
        load_weights(nn.Linear(2, 6), tmp_path / "deep" / "sax")


def test_a_card_of_other_settings_is_refused(tmp_path):
    save_weights(nn.Linear(2, 4), tmp_path / "sax", CARD | {"preprocessing": {"size": np.int64(64), "views": ("sax",)}})
    card = read_card(tmp_path / "sax")
    load_weights(nn.Linear(2, 4), tmp_path / "sax")
    write_json(card | {"note": "checked"}, tmp_path / "sax.json")  # the rest of a card may grow
    load_weights(nn.Linear(2, 4), tmp_path / "sax")
    write_json(card | {"preprocessing": {"size": 32, "views": ["sax"]}}, tmp_path / "sax.json")
    with pytest.raises(ValueError, match=r"sax.json: architecture or preprocessing are not those that sax.safetensors"):
        load_weights(nn.Linear(2, 4), tmp_path / "sax")


def test_a_pickle_is_never_opened(tmp_path, poison):
    for suffix in (".pt", ".pth", ".pkl", ".ckpt", ".bin"):
        (tmp_path / "sax").with_suffix(suffix).write_bytes(poison.pickle)
        with pytest.raises(ValueError, match=f"sax{suffix} is no safetensors file; pickled weights can run code"):
            read_card((tmp_path / "sax").with_suffix(suffix))
    torch.save({"w": torch.zeros(3)}, tmp_path / "other.pt")
    for content in (poison.pickle, (tmp_path / "other.pt").read_bytes()):  # under a false name
        (tmp_path / "sax.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match=r"sax.safetensors does not fit the architecture in sax.json"):
            load_weights(nn.Linear(2, 4), tmp_path / "sax")
    assert not poison.marker.exists()


def test_weights_need_their_card_which_comes_last(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    with pytest.raises(ValueError, match="needs architecture and preprocessing, got .'seed'"):
        save_weights(nn.Linear(2, 4), tmp_path / "sax", {"seed": 1})
    with pytest.raises(FileNotFoundError, match="sax.safetensors, sax.json not found"):
        read_card(tmp_path / "sax")
    monkeypatch.setattr(weights, "write_json", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_weights(nn.Linear(2, 4), tmp_path / "sax", CARD)
    with pytest.raises(FileNotFoundError, match="sax.json not found in .*; weights are a .safetensors .*and a .json"):
        read_card(tmp_path / "sax")
    write_json(CARD, tmp_path / "sax.json")
    assert read_json(tmp_path / "sax.json") == read_card(tmp_path / "sax")
