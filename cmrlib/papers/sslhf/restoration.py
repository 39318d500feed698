"""How well stage one restores, beside the average of each pixel's temporal neighbours."""

from zlib import crc32

import numpy as np
import pandas as pd
import torch

from cmrlib.agreement import with_intervals
from cmrlib.learning.inference import infer, optimise_for_inference
from cmrlib.papers.sslhf.network import Restorer
from cmrlib.papers.sslhf.task import SslhfRestoration
from cmrlib.papers.sslhf.transformations import KINDS, neighbour_average

SHOWN = {"restored": "restoration_mse", "neighbours": "neighbours_mse", "shown": "shown_mse"}


def restorations(task: SslhfRestoration, model: Restorer, clip, chosen, seed: int = 0, precision: str = "bf16"):
    """Pictures of each choice of transformations: shown, restored, neighbours (average of sound ones), changed; each
    (frames, size, size). chosen: choices of KINDS, of which each is drawn by `seed` and the clip."""
    rng = np.random.RandomState([seed, crc32(clip)])
    shown = [task.transformed(clip, kinds, rng) for kinds in chosen]
    restored = infer(model, torch.from_numpy(np.stack(shown)), precision).numpy()
    found = [{"shown": given, "restored": one, "changed": given != clip} for given, one in zip(shown, restored)]
    return [one | {"neighbours": neighbour_average(one["shown"], one["changed"])} for one in found]


def restoration_errors(
    task: SslhfRestoration, model: Restorer, cohort, annotations: str, subjects, seed: int = 0, precision: str = "bf16"
) -> pd.DataFrame:
    """How well each transformation alone is undone, a row a patch and kind: participant_id, cine, k, kind, and mean
    squared errors on the pixels that it changed, in SD² of the patch: restored, neighbours (the temporal-neighbour
    average, which is told what was changed), shown (what the network was given), n_pixels."""
    model, patch, table = optimise_for_inference(model), task.patch(cohort, annotations), []
    for row in task.table(cohort, annotations, subjects).to_dict("records"):
        clip = np.asarray(patch(row), np.float32)
        for kind, one in zip(KINDS, restorations(task, model, clip, [(kind,) for kind in KINDS], seed, precision)):
            changed = one["changed"]
            if changed.any():  # a constant patch has nothing to shuffle
                errors = {what: float(np.mean((one[what] - clip)[changed] ** 2)) for what in SHOWN}
                table.append(row | {"kind": kind} | errors | {"n_pixels": int(changed.sum())})
    return pd.DataFrame(table).drop(columns="place")


def restoration_table(errors: pd.DataFrame) -> pd.DataFrame:
    """`restoration_errors` as means over patients with intervals: kind, what (restored, neighbours, shown), mse,
    mse_low, mse_high, n."""
    long = errors.melt(["participant_id", "kind"], list(SHOWN), "what", "mse")
    return with_intervals(long, ["mse"], ["kind", "what"])


def restoration_metrics(table: pd.DataFrame, prefix: str = "") -> dict:
    """restoration_mse, neighbours_mse, shown_mse over all three kinds, and restoration_mse_KIND, … with intervals, of
    `restoration_table`."""
    metrics = {f"{prefix}{name}": table.loc[table["what"] == what, "mse"].mean() for what, name in SHOWN.items()}
    for row in table.to_dict("records"):
        name = f"{prefix}{SHOWN[row['what']]}_{row['kind']}"
        metrics |= {f"{name}{end}": row[f"mse{end}"] for end in ("", "_low", "_high")}
    return metrics
