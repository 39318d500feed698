"""Features of sections from several crops and clips (§ 4.3), cached per section, and bags of them per subject."""

from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch

from cmrlib.cine import Cine
from cmrlib.heartmae.clips import Preprocessing, even_cuts, stored_scale
from cmrlib.heartmae.network import MaskedAutoencoder
from cmrlib.heartmae.shards import Shards, subject_jobs


def moving(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (n, moments, places, width) → (how much they change over time (n, places, width), weights (n, places, 1)).

    A place weighs as much as its own tokens change, above what the median place's do; weights sum to 1.
    """
    change = (tokens.var(1, correction=0) + 1e-12).sqrt()  # one moment only: no change, and still a gradient
    much = change.square().mean(2, keepdim=True).sqrt()
    weights = (much - much.median(1, keepdim=True).values).clamp(min=0) + 1e-6
    return change, weights / weights.sum(1, keepdim=True)


def pooled(tokens: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Tokens of whole clips (n, moments, places, width) → features (n, 3 · width): the mean of all tokens; their mean
    where the section moves; how much they change over time there.

    weights: of `moving`, default those of these tokens. The paper does not say how it pools tokens; in a mean alone the
    heart, a few tokens of hundreds, is nearly lost.
    """
    change, own = moving(tokens)
    weights = own if weights is None else weights
    return torch.cat([tokens.mean((1, 2)), (tokens.mean(1) * weights).sum(1), (change * weights).sum(1)], 1)


class Embedder:
    """A trained encoder with its preprocessing: section in, one feature a view out. The decoder is not needed.

    crops, times: views of a section, crops along its longer side × clips over the cycle (§ 4.3: 3 × 2).
    """

    def __init__(self, model: MaskedAutoencoder, preprocessing: Preprocessing, precision: str = "bf16",
                 crops: int = 3, times: int = 2):
        self.model, self.preprocessing, self.precision = model.eval(), preprocessing, precision
        self.crops, self.times = crops, times
        self.key = ""  # digest of its weights file, where it comes from one

    @property
    def width(self) -> int:
        return 3 * self.model.design.width

    def clips(self, cine: Cine, k: int) -> tuple[np.ndarray, float]:
        """((views, frames, size, size) int16, the cine's maximum) of slice k: up to 3 crops × 2 clips."""
        factor, peak = stored_scale(cine)
        cuts = even_cuts(cine, self.preprocessing, self.crops, self.times)
        return np.stack([cut.clip(cine.pixels[:, k], self.preprocessing, factor) for cut in cuts]), peak

    def infer(self, clips, peak: float) -> np.ndarray:
        """Stored clips (n, frames, size, size) → (n, width) float32; a batch is one section, never more."""
        device = self.model.mean.device
        clips = torch.from_numpy(np.ascontiguousarray(clips)).to(device)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            standard = self.model.standardise(clips, torch.full((len(clips),), peak, device=device))
            return pooled(self.model.encoder.tokens(standard).float()).cpu().numpy()

    def embed(self, cine: Cine, k: int) -> np.ndarray:
        """(views, width) of slice k."""
        return self.infer(*self.clips(cine, k))


def cine_features(cine: Cine, slices, embedder) -> dict:
    """What a shard keeps of a cine: "cine/slice" → (views, width)."""
    return {f"{cine.name}/{k}": embedder.embed(cine, k) for k in slices}


def open_shards(cohort, embedder, folder, key: str, n_shards: int = 16) -> Shards:
    """Where features of this cohort by these weights are kept; key: what made them (a weights digest)."""
    settings = {"weights": key, "cohort": cohort.digest}
    if isinstance(embedder, Embedder):
        settings |= asdict(embedder.preprocessing) | {"precision": embedder.precision, "crops": embedder.crops,
                                                      "times": embedder.times, "pooling": "all and moving"}
    return Shards(folder, "features", settings, n_shards)


def feature_shards(cohort, sections, embedder, folder, key: str, n_shards: int = 16) -> Shards:
    """Features of every section of a table, made where they are missing; see `open_shards`."""
    shards = open_shards(cohort, embedder, folder, key, n_shards)
    shards.make(subject_jobs(cohort, sections), partial(cine_features, embedder=embedder))
    return shards


@dataclass(frozen=True)
class Bag:
    """All features of one subject. features: (instances, width); where: a row an instance: cine, view, k."""

    subject: str
    features: np.ndarray
    where: pd.DataFrame


def make_bags(found, sections: pd.DataFrame) -> dict[str, Bag]:
    """participant_id → Bag. found: (cine name, slice) → (views, width), such as Shards."""
    bags = {}
    for subject, part in sections.groupby("participant_id", sort=True):
        arrays = [found[row.cine, row.k] for row in part.itertuples()]
        where = part.loc[part.index.repeat([len(array) for array in arrays]), ["cine", "view", "k"]]
        bags[subject] = Bag(subject, np.concatenate(arrays).astype(np.float32), where.reset_index(drop=True))
    return bags


def collate(bags, views=()) -> tuple[torch.Tensor, torch.Tensor]:
    """Bags of different lengths → features (subjects, longest, width), kinds (subjects, longest) int64.

    kinds: the number of an instance's view in `views`, always 0 where these are empty; −1 where nothing is, and for
    views that are not in `views`. Raises ValueError for a subject of whom nothing is left.
    """
    longest = max(len(bag.features) for bag in bags)
    features = torch.zeros(len(bags), longest, bags[0].features.shape[1])
    kinds = torch.full((len(bags), longest), -1)
    number = {view: n for n, view in enumerate(views)}
    for row, bag in enumerate(bags):
        own = [number.get(view, -1) if number else 0 for view in bag.where["view"]]
        if max(own) < 0:
            raise ValueError(f"{bag.subject} has the views {', '.join(sorted(set(bag.where['view'])))}, but the heads "
                             f"know {', '.join(views)} alone: leave this subject out, or train heads with these views")
        features[row, : len(own)] = torch.from_numpy(bag.features)
        kinds[row, : len(own)] = torch.tensor(own)
    return features, kinds


def mean_features(bags: dict[str, Bag]) -> pd.DataFrame:
    """One row a subject: participant_id, f0, f1, …: the mean over views, where no pooling has been learned."""
    return feature_table({subject: bag.features.mean(0) for subject, bag in bags.items()})


def feature_table(vectors: dict) -> pd.DataFrame:
    """participant_id → (width,) as a table: participant_id, f0, f1, …"""
    table = pd.DataFrame(np.stack(list(vectors.values())), columns=[f"f{i}" for i in range(len(
        next(iter(vectors.values()))))])
    return table.assign(participant_id=list(vectors))[["participant_id", *table.columns]]
