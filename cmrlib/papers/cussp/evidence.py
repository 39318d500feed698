"""Where on the picture a score comes from: integrated gradients on the prepared patch (captum)."""

import numpy as np
import torch
from captum.attr import IntegratedGradients

from cmrlib.papers.cussp.batches import Cines, scaled
from cmrlib.papers.cussp.prediction import MitralRegurgitation
from cmrlib.papers.cussp.preparation import window_frames


def attribution(model: MitralRegurgitation, patches, rows, steps: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """(pixels, attributions), both (rows, frames, size, size): what each pixel adds to the logit, against the same cine
    without motion (its mean frame). Positive speaks for mitral regurgitation. The sum over a cine is the difference of
    the two logits, up to the integral's error (Sundararajan et al. 2017)."""
    cines = Cines(patches, rows, frames=model.frames)
    pixels = torch.stack([cines[i][0] for i in range(len(cines))])
    network, found = model.model.eval(), []
    device = next(network.parameters()).device
    for one in pixels:  # a cine at a time: memory, and no batch that another cine could change
        x = scaled(one[None].to(device))
        still = x.mean(1, keepdim=True).expand_as(x).contiguous()
        integrated = IntegratedGradients(network).attribute(x, still, n_steps=steps, internal_batch_size=8)
        found.append(integrated[0].detach().cpu().numpy())
    return pixels.numpy(), np.stack(found)


def cases(scores, threshold: float, each: int = 2):
    """Test rows of one model and seed, `each` of every kind, the most certain first: a column `case` says which.

    true positive, false positive, false negative; fewer where there are no more.
    """
    test = scores[(scores["split"] == "test") & scores["score"].notna()].sort_values("score", ascending=False)
    called, positive = test["score"] >= threshold, test["label"] == 1
    kinds = {
        "true positive": test[called & positive],
        "false positive": test[called & ~positive],
        "false negative": test[~called & positive][::-1],
    }
    return {kind: part.head(each) for kind, part in kinds.items() if len(part)}


def systolic_shadow(patches, rows) -> np.ndarray:
    """(rows,) by how much darker the atrium above the valve is in systole than in the rest of the cycle, 0 to 1: what
    an eye looks for, a number without training.

    The middle third of the patch's columns from a tenth of its side to the valve; frames from ED to ES against others.
    """
    total, side = patches.pixels.shape[1:3]
    found = []
    for row in rows.itertuples():
        grey = patches.pixels[row.place][:, side // 10 : side // 2, side // 3 : -(side // 3)].mean((1, 2)) / 255
        length = max(1, round((row.es - row.ed) % total))
        systole = window_frames(total, row.ed, min(length, total - 1))
        found.append(np.delete(grey, systole).mean() - grey[systole].mean())
    return np.array(found)
