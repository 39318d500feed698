"""A cine's JSON sidecar: all of a Cine but its pixels and affine; unknown times are null."""

from dataclasses import fields

import numpy as np

from cmrlib.cine import Cine

_TIMES = ("frame_times_ms", "rr_ms", "slice_position_mm")
_KEPT = [one.name for one in fields(Cine) if one.init and one.name not in ("pixels", "affine")]


def cine_sidecar(cine: Cine) -> dict:
    """What `write_json` writes beside a cine's array."""
    side = {name: getattr(cine, name) for name in _KEPT}
    return side | {name: np.round(side[name], 4) for name in _TIMES if side[name] is not None}


def cine_from_sidecar(pixels, affine, side: dict) -> Cine:
    """Cine from its array and its sidecar."""
    times = {name: None if side[name] is None else np.array(side[name], float) for name in _TIMES}
    frames_of = None if side["frames_of"] is None else (tuple(side["frames_of"][0]), side["frames_of"][1])
    rest = {name: side[name] for name in _KEPT}
    return Cine(pixels, affine, **rest | times | {"flags": tuple(side["flags"]), "frames_of": frames_of})
