"""Features of sections by a frozen encoder: how its tokens are pooled, and bags of features per subject."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA

from cmrlib.cohort.progress import with_progress
from cmrlib.papers.heartmae.network import MaskedAutoencoder


def moving(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (n, moments, places, width) → (how much they change over time (n, places, width), weights (n, places, 1)).

    A place weighs as much as its own tokens change, above what the median place's do; weights sum to 1.
    """
    change = (tokens.var(1, correction=0) + 1e-12).sqrt()  # one moment only: no change, and still a gradient
    much = change.square().mean(2, keepdim=True).sqrt()
    weights = (much - much.median(1, keepdim=True).values).clamp(min=0) + 1e-6
    return change, weights / weights.sum(1, keepdim=True)


POOLINGS = ("mean", "moving")
"""How a clip's tokens become one feature: their mean (the paper's reading here), or `pooled` where it moves (ours)."""


def read_out(tokens: torch.Tensor, model: MaskedAutoencoder, pooling: str):
    """Tokens (n, moments, places, width) of a model → features (n, …) by one of POOLINGS."""
    return tokens.mean((1, 2)) if pooling == "mean" else pooled(tokens, model.centre, model.axes)


def pooled(tokens: torch.Tensor, centre: torch.Tensor, axes: torch.Tensor):
    """Tokens of whole clips (n, moments, places, width) → features (n, 3 · width + a · (a + 1)): the mean of all
    tokens; their mean where the section moves; how much they change over time there; and what goes together there along
    `axes` (width, a) from `centre`: second moments of the change and of the tokens themselves, roots with their sign.

    The paper does not say how it pools tokens; in a mean alone the heart, a few tokens of hundreds, is nearly lost.
    """
    change, weights = moving(tokens)
    with torch.autocast(tokens.device.type, enabled=False):
        along = (tokens - centre) @ axes
        together = [_second_moments(part, weights) for part in (along - along.mean(1, keepdim=True), along)]
    first = tokens.mean((1, 2)), (tokens.mean(1) * weights).sum(1), (change * weights).sum(1)
    return torch.cat([*first, *together], 1)


def _second_moments(along, weights):
    """(n, moments, places, a), weights (n, places, 1) → (n, a · (a + 1) / 2)."""
    found = torch.einsum("nmpi,nmpj->nij", along * weights[:, None], along) / along.shape[1]
    rows, columns = torch.triu_indices(*found.shape[1:])
    found = found[:, rows, columns]
    return found / (found.abs() + 0.1).sqrt()  # smooth at zero, so that gradients tell what a token adds


def token_features(model: MaskedAutoencoder, clips: torch.Tensor, precision: str = "bf16") -> torch.Tensor:
    """Clips (n, frames, size, size), shares of the cine's maximum → the encoder's (n, moments, places, width) fp32,
    computed where the model is."""
    device = model.mean.device
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        return model.encoder.tokens(model.standardise(clips.to(device))).float()


def learn_axes(task, model: MaskedAutoencoder, cohort, sections: pd.DataFrame, most=300, tokens=20, precision="bf16"):
    """Fill the model's `centre` and `axes`: principal axes of its standardised tokens in the training sections.

    From at most so many sections, and of each so many tokens, half of them drawn where it moves. No label is used.
    """
    used, known = sections[sections["split"] == "train"], []
    used = used.iloc[np.linspace(0, len(used) - 1, min(most, len(used))).astype(int)]
    for n, row in enumerate(with_progress(used.to_dict("records"), "axes", "section")):
        found = token_features(model, task.clips(cohort.cine(row["cine"]), row["k"])[:1], precision).cpu()
        share = moving(found)[1][0, :, 0].double().numpy()
        rng = np.random.default_rng(n)
        places = rng.choice(len(share), tokens, p=(share / share.sum() + 1 / len(share)) / 2)
        known.append(found[0, rng.integers(0, found.shape[1], tokens), places].numpy())
    known = np.concatenate(known).astype(np.float64)
    mean, std = known.mean(0), known.std(0) + 1e-6
    axes = PCA(min(model.axes.shape[1], *known.shape), svd_solver="full").fit((known - mean) / std).components_
    model.centre.copy_(torch.from_numpy(mean))
    model.axes[:, : len(axes)].copy_(torch.from_numpy(axes.T / std[:, None]))


@dataclass(frozen=True)
class Bag:
    """All features of one subject. features: (instances, width); where: a row an instance: cine, view, k."""

    subject: str
    features: np.ndarray
    where: pd.DataFrame


def make_bags(found, sections: pd.DataFrame) -> dict[str, Bag]:
    """participant_id → Bag. found: function (cine's name, slice) → (views, width), such as `HeartMAE.features`."""
    bags = {}
    for subject, part in with_progress(list(sections.groupby("participant_id", sort=True)), "features", "subject"):
        arrays = [found(row.cine, row.k) for row in part.itertuples()]
        where = part.loc[part.index.repeat([len(array) for array in arrays]), ["cine", "view", "k"]]
        bags[subject] = Bag(subject, np.concatenate(arrays).astype(np.float32), where.reset_index(drop=True))
    return bags


def mean_features(bags: dict[str, Bag]) -> pd.DataFrame:
    """One row a subject: participant_id, f0, f1, …: the mean over views, where no pooling has been learned."""
    return feature_table({subject: bag.features.mean(0) for subject, bag in bags.items()})


def feature_table(vectors: dict) -> pd.DataFrame:
    """participant_id → (width,) as a table: participant_id, f0, f1, …"""
    table = pd.DataFrame(np.stack(list(vectors.values()))).add_prefix("f")
    table.insert(0, "participant_id", list(vectors))
    return table
