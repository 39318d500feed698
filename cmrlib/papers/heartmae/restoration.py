"""How well hidden pixels are restored, over all and where the heart moves; and what that looks like."""

import numpy as np
import pandas as pd
import torch

from cmrlib.agreement import bootstrap
from cmrlib.papers.heartmae.clips import Preprocessing, SectionRef, even_cuts, stored_scale, weights_of
from cmrlib.papers.heartmae.masking import target_frames
from cmrlib.papers.heartmae.network import MaskedAutoencoder
from cmrlib.papers.heartmae.tokens import joined, patches


def restore(model: MaskedAutoencoder, preprocessing: Preprocessing, cine, k: int, seed: int = 0) -> dict:
    """The middle clip of slice k with tokens hidden as in training, all arrays (half the frames, size, size),
    standardised: original, seen (NaN where hidden), restored (seen tokens as they are). frames: which of the clip's.

    With patch_norm the restored tokens get the mean and SD of the originals back, which the network never told.
    """
    design = model.design
    factor, peak = stored_scale(cine)
    clip = even_cuts(cine, preprocessing, 1, 1)[0].clip(cine.pixels[:, k], preprocessing, factor)
    with torch.inference_mode():
        standard = model.standardise(torch.from_numpy(clip[None]), torch.tensor([peak]))
        steps, rows, columns = design.grid
        ids = model.masking.draw(1, steps, rows * columns, torch.Generator().manual_seed(seed))
        kept = model.masking.kept(steps, rows * columns)
        said = model.restored(standard, ids, kept).float()
        frames = target_frames(design.frames)
        tokens = patches(standard[:, frames], design.patch, design.tubelet // 2)
        if design.patch_norm:
            own = tokens[0, ids[0, kept:]][None]
            said = said * (own.var(2, keepdim=True) + 1e-6).sqrt() + own.mean(2, keepdim=True)
        hidden, restored = tokens.clone(), tokens.clone()
        hidden[0, ids[0, kept:]] = torch.nan
        restored[0, ids[0, kept:]] = said[0]
    back = {
        name: joined(part, design.grid, design.patch, design.tubelet // 2)[0].numpy()
        for name, part in (("original", tokens), ("seen", hidden), ("restored", restored))
    }
    return back | {"frames": frames}


def restoration_table(cohort, models: dict, preprocessing: Preprocessing, sections: pd.DataFrame, flow) -> pd.DataFrame:
    """A row a section and model: mse of hidden pixels (standardised), mse_moving (weighted by flow), and the same for a
    clip restored as its tokens' overall mean (variance, variance_moving).

    models: variant → MaskedAutoencoder. flow: weights by (cine name, slice).
    """
    rows = []
    for row in sections.itertuples():
        cine = cohort.cine(row.cine)
        cut = even_cuts(cine, preprocessing, 1, 1)[0]
        weight = weights_of(SectionRef(cine, row.k, flow[row.cine, row.k]), cut, preprocessing.size) / 255.0
        for variant, model in models.items():
            found = restore(model, preprocessing, cine, row.k)
            hidden = np.isnan(found["seen"])
            error = (found["restored"] - found["original"])[hidden] ** 2
            spread = (found["original"][hidden] - found["original"][hidden].mean()) ** 2
            moving = np.broadcast_to(weight, hidden.shape)[hidden]
            total = max(float(moving.sum()), 1e-9)
            rows.append(
                {
                    "participant_id": row.participant_id,
                    "cine": row.cine,
                    "k": row.k,
                    "variant": variant,
                    "mse": error.mean(),
                    "variance": spread.mean(),
                    "mse_moving": (error * moving).sum() / total,
                    "variance_moving": (spread * moving).sum() / total,
                }
            )
    return pd.DataFrame(rows)


def explained(table: pd.DataFrame) -> pd.DataFrame:
    """A row a variant: share of the hidden pixels' variance that is restored, over all and where the section moves,
    with intervals over subjects. 1 is perfect, 0 no better than one grey."""
    rows = []
    for variant, part in table.groupby("variant", sort=False):
        sums = part.groupby("participant_id")[["mse", "variance", "mse_moving", "variance_moving"]].sum()
        row = {"variant": variant, "n": len(sums)}
        for end in ("", "_moving"):
            one = bootstrap(
                sums[[f"mse{end}", f"variance{end}"]], lambda a, b, axis=-1: 1 - a.sum(axis) / b.sum(axis)
            ).iloc[0]
            row |= {
                f"explained{end}{bound}": one[value]
                for bound, value in (("", "estimate"), ("_low", "low"), ("_high", "high"))
            }
        rows.append(row)
    return pd.DataFrame(rows)
