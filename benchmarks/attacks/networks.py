"""Weights and cards that somebody touched, or that are none."""

import json
import shutil

import numpy as np

from attacks import Attack
from attacks.bases import SEGMENT, weights


def card(text=None, name="", **values):
    """The network's card changed; the weights are copied beside it."""

    def changed(place):
        shutil.copytree(weights(), place.root / "network")
        path = place.root / "network" / "sax.json"
        content = json.loads(path.read_text())
        content["architecture"] |= {"name": name} if name else {}
        content["preprocessing"] |= values
        path.write_text(json.dumps(content) if text is None else text)

    return changed


def network(change):
    """The weights' file changed."""

    def changed(place):
        card()(place)
        path = place.root / "network" / "sax.safetensors"
        path.write_bytes(change(path.read_bytes()))

    return changed


def poison():
    import pickle

    class Poison:
        def __reduce__(self):
            return open, ("poisoned", "w")

    return pickle.dumps(Poison(), 2)


def scaled(value):
    """All numbers of the network are `value`."""

    def changed(place):
        from safetensors.numpy import load_file, save_file

        card()(place)
        path = place.root / "network" / "sax.safetensors"
        arrays = {name: np.full_like(array, value) for name, array in load_file(path).items()}
        path.unlink()
        save_file(arrays, path)

    return changed


NETWORK = SEGMENT.replace("{weights}", "{root}/network")
CARDS = {
    "card_spacing_0": ("spacing", card(spacing_mm=0)),
    "card_spacing_1e-6": ("spacing|memory|large", card(spacing_mm=1e-6)),
    "card_spacing_50": ("spacing", card(spacing_mm=50)),
    "card_spacing_text": ("spacing|card", card(spacing_mm="x")),
    "card_width_1e9": ("width|memory|card|size", card(width=10**9)),
    "card_architecture_unknown": ("card|network|architecture", card(name="x")),
    "card_view_unknown": ("view|card", card(views=["5ch"])),
    "card_structures_twice": ("structures|card|fields", card(structures=["lv", "lv", "rv"])),
    "card_a_list": ("card|JSON|sax", card(text="[]")),
    "card_no_json": ("JSON|card", card(text="{")),
    "weights_cut": ("sax", network(lambda b: b[: len(b) // 2])),
    "weights_empty": ("sax", network(lambda b: b"")),
    "weights_of_text": ("sax", network(lambda b: b"<html>")),
    "weights_a_pickle": ("sax|pickle", network(lambda b: poison())),
    "weights_header_of_1_TB": ("sax", network(lambda b: b"\xff\xff\xff\xff\xff\0\0\0" + b[8:])),
    "weights_of_nan": ("not finite", scaled(np.nan)),
    "weights_of_0": ("all alike", scaled(0)),
    "no_weights": ("not found", lambda place: None),
}
ATTACKS = [Attack(name, "cohort", change, words, NETWORK, like=SEGMENT) for name, (words, change) in CARDS.items()]
