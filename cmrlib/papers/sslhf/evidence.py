"""Where in a patch, and when in the cycle, a score comes from (captum)."""

import numpy as np
import pandas as pd
import torch
from captum.attr import IntegratedGradients

from cmrlib.papers.sslhf.prediction import HeartFailure

OUTCOMES = {
    (1, True): "true positive",
    (0, True): "false positive",
    (0, False): "true negative",
    (1, False): "false negative",
}


def attributions(model: HeartFailure, clip, steps: int = 12) -> np.ndarray:
    """(frames, size, size): how much each pixel raises the logit, against a patch of its mean grey (integrated
    gradients). Their sum is about the logit's difference between the two."""
    device = next(model.model.parameters()).device
    inputs = torch.from_numpy(np.array(clip, np.float32))[None].to(device)
    gradients = IntegratedGradients(model.model)
    found = gradients.attribute(inputs, torch.zeros_like(inputs), n_steps=steps, internal_batch_size=2)
    return found[0].detach().cpu().numpy()


def pick_cases(scores: pd.DataFrame) -> dict[str, pd.Series]:
    """Outcome → the patch to look at: of the most confident patient of each outcome, his patch nearest to his score.

    scores: of `tested`, one method, fold and seed. Outcomes that nobody has are left out.
    """
    scores = scores.reset_index(drop=True)
    patients = scores[scores["level"] == "patient"]
    cases = {}
    for (label, called), name in OUTCOMES.items():
        own = patients[(patients["label"] == label) & ((patients["score"] >= patients["threshold"]) == called)]
        if own.empty:
            continue
        patient = own.loc[(own["score"] - own["threshold"]).abs().idxmax()]
        patches = scores[(scores["level"] == "patch") & (scores["participant_id"] == patient["participant_id"])]
        cases[name] = patches.loc[(patches["score"] - patient["score"]).abs().idxmin()]
    return cases
