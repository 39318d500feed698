"""How well hidden pixels are reconstructed, over all and where the heart moves; and what that looks like."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from cmrlib.agreement import bootstrap
from cmrlib.agreement.resampling import bounded
from cmrlib.papers.heartmae.clips import cut_weights, even_cuts
from cmrlib.papers.heartmae.tokens import joined, patches, target_frames


def reconstruct(task, model, cine, k: int, seed: int = 0) -> dict:
    """The middle clip of slice k with tokens hidden as in training, all arrays (half the frames, size, size),
    standardised: original, visible (NaN where hidden), reconstructed (visible tokens as they are). frames: which of the
    clip's.

    With patch_norm the reconstructed tokens get the mean and SD of the originals back, which the network never told.
    """
    design, (steps, rows, columns) = model.design, model.design.grid
    ids = model.masking.draw(1, steps, rows * columns, torch.Generator().manual_seed(seed)).to(model.mean.device)
    kept, frames = model.masking.kept(steps, rows * columns), target_frames(design.frames)
    with torch.inference_mode():
        clip = model.standardise(replace(task, section_views=(1, 1)).clips(cine, k).to(model.mean.device))
        found = model.eval().reconstruct(clip, ids, kept).float()
        tokens = patches(clip[:, frames], design.patch, design.tubelet // 2)
        if design.patch_norm:
            own = tokens[0, ids[0, kept:]][None]
            found = found * (own.var(2, keepdim=True) + 1e-6).sqrt() + own.mean(2, keepdim=True)
        visible, whole = tokens.clone(), tokens.clone()
        visible[0, ids[0, kept:]] = torch.nan
        whole[0, ids[0, kept:]] = found[0]
    back = {
        name: joined(part, design.grid, design.patch, design.tubelet // 2)[0].cpu().numpy()
        for name, part in (("original", tokens), ("visible", visible), ("reconstructed", whole))
    }
    return back | {"frames": frames}


def reconstruction_table(cohort, task, models: dict, sections: pd.DataFrame, flow) -> pd.DataFrame:
    """A row a section and model: mse of hidden pixels (standardised), mse_moving (weighted by flow), and the same for a
    clip reconstructed as its tokens' overall mean (variance, variance_moving).

    models: variant → MaskedAutoencoder. flow: weights of `HeartMAE.flow_maps`.
    """
    rows = []
    for row in sections.itertuples():
        cine = cohort.cine(row.cine)
        cut = even_cuts(cine, task, 1, 1)[0]
        weight = cut_weights(flow(row.cine, row.k), cine, cut, task.size)
        for variant, model in models.items():
            found = reconstruct(task, model, cine, row.k)
            hidden = np.isnan(found["visible"])
            error = (found["reconstructed"] - found["original"])[hidden] ** 2
            spread = (found["original"][hidden] - found["original"][hidden].mean()) ** 2
            moving = np.broadcast_to(weight, hidden.shape)[hidden]
            total = max(float(moving.sum()), 1e-9)
            rows.append(
                {"participant_id": row.participant_id, "cine": row.cine, "k": row.k, "variant": variant}
                | {"mse": error.mean(), "variance": spread.mean()}
                | {"mse_moving": (error * moving).sum() / total, "variance_moving": (spread * moving).sum() / total}
            )
    return pd.DataFrame(rows)


def explained_variance(table: pd.DataFrame) -> pd.DataFrame:
    """A row a variant: share of the hidden pixels' variance that is reconstructed, over all and where it moves, with
    intervals over subjects. 1 is perfect, 0 no better than one grey."""
    rows = []
    for variant, part in table.groupby("variant", sort=False):
        sums = part.groupby("participant_id")[["mse", "variance", "mse_moving", "variance_moving"]].sum()
        row = {"variant": variant, "n": len(sums)}
        for end in ("", "_moving"):
            both = sums[[f"mse{end}", f"variance{end}"]]
            found = bootstrap(both, lambda a, b, axis=-1: 1 - a.sum(axis) / b.sum(axis)).iloc[0]
            row |= bounded(f"explained{end}", *found[["estimate", "low", "high"]])
        rows.append(row)
    return pd.DataFrame(rows)
