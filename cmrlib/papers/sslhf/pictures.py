"""Pictures of a patch before, while and after restoration (figure 3), as arrays for `plots.restoration_sheet`."""

import numpy as np

from cmrlib.papers.sslhf.network import Restorer
from cmrlib.papers.sslhf.prediction import fold_batch_norm, infer
from cmrlib.papers.sslhf.transformations import Transformations, neighbour_average

ROWS = {"spatial": ("shuffle", "patches"), "temporal": ("frames",)}
"""Rows of figure 3."""


def transformed_pictures(clip, task: Transformations, seed: int = 0, frames: int = 5) -> dict:
    """A row a transformation: a few neighbouring frames of a clip before and after it; as `restoration_sheet` takes
    them."""
    middle = len(clip) // 2
    chosen = [(middle + n) % len(clip) for n in range(frames)]
    rows = {"before": clip} | {kind: task(clip, (kind,), np.random.RandomState(seed)) for kind in task.kinds}
    return {name: {f"frame {t}": one[t] for t in chosen} for name, one in rows.items()}


def restored_pictures(clip, model: Restorer, task: Transformations, seed: int = 0, precision: str = "bf16") -> dict:
    """Figure 3: spatial and temporal transformations of one frame: before, transformed, restored, and the average of
    the temporal neighbours."""
    network, rows = fold_batch_norm(model), {}
    for name, kinds in ROWS.items():
        shown = task(clip, kinds, np.random.RandomState(seed))
        changed = shown != clip
        t = int(changed.mean((1, 2)).argmax())  # the frame that was changed most
        restored = infer(network, [shown], precision)[0]
        rows[f"{name}, frame {t}"] = {
            "before": clip[t],
            "transformed": shown[t],
            "restored": restored[t],
            "temporal neighbours": neighbour_average(shown, changed)[t],
        }
    return rows


def moments(clip, found, most: int = 3) -> list[int]:
    """Frames to look at: the most telling ones by the size of their attributions, in order."""
    weight = np.abs(found).sum((1, 2))
    return sorted(int(t) for t in np.argsort(-weight, kind="stable")[:most])
