"""Frames in which an outline jumps and comes back, as no heart does."""

import numpy as np

JUMP_SHARE, LEAST_SHARE = 0.2, 0.1
"""How far a frame must lie beyond both its neighbours: of the curve's range, and of its mean (ours)."""


def jumps(values) -> list[int]:
    """Frames (0-based) of a periodic curve (frames,) of volumes or areas that lie above both neighbours, or below both,
    by more than `JUMP_SHARE` of the range of the other frames and `LEAST_SHARE` of the mean. NaN frames do not
    count."""
    values = np.asarray(values, float)
    before, after = values - np.roll(values, 1), values - np.roll(values, -1)
    off = np.where(before * after > 0, np.minimum(abs(before), abs(after)), 0.0)
    ranges = [np.ptp(others) if (others := _known(np.delete(values, t))).size else np.nan for t in range(len(values))]
    least = LEAST_SHARE * _known(values).mean() if len(_known(values)) else np.nan
    return [int(t) for t in np.flatnonzero((off > JUMP_SHARE * np.array(ranges)) & (off > least))]


def _known(values):
    return values[np.isfinite(values)]


def jump_flags(curves) -> list[str]:
    """Flags `view: structure_jump:frames` (from 1) of a table of `measures.curves`."""
    flags = []
    for (view, structure), curve in curves.groupby(["view", "structure"], sort=False):
        if view != "2ch+4ch":  # made of the two views' areas
            column = "volume_ml" if view == "sax" else "area_mm2"
            found = jumps(curve.sort_values("frame")[column])
            flags += [f"{view}: {structure}_jump:{','.join(str(t + 1) for t in found)}"] if found else []
    return flags
