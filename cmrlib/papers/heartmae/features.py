"""Features of sections from several crops and clips (§ 4.3), cached per section, and bags of them per subject."""

from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA

from cmrlib.cine import Cine
from cmrlib.cohort.progress import with_progress
from cmrlib.papers.heartmae.clips import Preprocessing, even_cuts, stored_scale
from cmrlib.papers.heartmae.network import MaskedAutoencoder
from cmrlib.papers.heartmae.shards import Shards, subject_jobs


def moving(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (n, moments, places, width) → (how much they change over time (n, places, width), weights (n, places, 1)).

    A place weighs as much as its own tokens change, above what the median place's do; weights sum to 1.
    """
    change = (tokens.var(1, correction=0) + 1e-12).sqrt()  # one moment only: no change, and still a gradient
    much = change.square().mean(2, keepdim=True).sqrt()
    weights = (much - much.median(1, keepdim=True).values).clamp(min=0) + 1e-6
    return change, weights / weights.sum(1, keepdim=True)


def pooled(tokens: torch.Tensor, centre: torch.Tensor, axes: torch.Tensor, weights: torch.Tensor | None = None):
    """Tokens of whole clips (n, moments, places, width) → features (n, 3 · width + a · (a + 1)): the mean of all
    tokens; their mean where the section moves; how much they change over time there; and what goes together there along
    `axes` (width, a) from `centre`: second moments of the change and of the tokens themselves, roots with their sign.

    weights: of `moving`, default those of these tokens. The paper does not say how it pools tokens; in a mean alone the
    heart, a few tokens of hundreds, is nearly lost.
    """
    change, own = moving(tokens)
    weights = own if weights is None else weights
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


class Embedder:
    """A trained encoder with its preprocessing: section in, one feature a view out. The decoder is not needed.

    crops, times: views of a section, crops along its longer side × clips over the cycle (§ 4.3: 3 × 2).
    """

    def __init__(
        self,
        model: MaskedAutoencoder,
        preprocessing: Preprocessing,
        precision: str = "bf16",
        crops: int = 3,
        times: int = 2,
    ):
        self.model, self.preprocessing, self.precision = model.eval(), preprocessing, precision
        self.crops, self.times = crops, times
        self.key = ""  # digest of its weights file, where it comes from one

    @property
    def width(self) -> int:
        a = self.model.axes.shape[1]
        return 3 * self.model.design.width + a * (a + 1)

    def clips(self, cine: Cine, k: int) -> tuple[np.ndarray, float]:
        """((views, frames, size, size) int16, the cine's maximum) of slice k: up to 3 crops × 2 clips."""
        factor, peak = stored_scale(cine)
        cuts = even_cuts(cine, self.preprocessing, self.crops, self.times)
        return np.stack([cut.clip(cine.pixels[:, k], self.preprocessing, factor) for cut in cuts]), peak

    def infer(self, clips, peak: float) -> np.ndarray:
        """Stored clips (n, frames, size, size) → (n, width) float32; a batch is one section, never more."""
        with torch.inference_mode():
            return self.pool(self.tokens(clips, peak)).cpu().numpy()

    def tokens(self, clips, peak: float) -> torch.Tensor:
        """Stored clips (n, frames, size, size) → (n, moments, places, width of the encoder) float32."""
        device = self.model.mean.device
        clips = torch.from_numpy(np.ascontiguousarray(clips)).to(device)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            standard = self.model.standardise(clips, torch.full((len(clips),), peak, device=device))
            return self.model.encoder.tokens(standard).float()

    def pool(self, tokens, weights=None) -> torch.Tensor:
        """Tokens of whole clips → features, see `pooled`."""
        return pooled(tokens, self.model.centre, self.model.axes, weights)

    def embed(self, cine: Cine, k: int) -> np.ndarray:
        """(views, width) of slice k."""
        return self.infer(*self.clips(cine, k))


def learn_axes(embedder: Embedder, cohort, sections: pd.DataFrame, most: int = 300, tokens: int = 20):
    """Fill the model's `centre` and `axes`: principal axes of its standardised tokens in the training sections.

    From at most so many sections, and of each so many tokens, half of them drawn where it moves. No label is used.
    """
    used, known = sections[sections["split"] == "train"], []
    used = used.iloc[np.linspace(0, len(used) - 1, min(most, len(used))).astype(int)]
    for n, row in enumerate(with_progress(used.to_dict("records"), "axes", "section")):
        clips, peak = embedder.clips(cohort.cine(row["cine"]), row["k"])
        found = embedder.tokens(clips[:1], peak)
        share = moving(found)[1][0, :, 0].double().cpu().numpy()
        rng = np.random.default_rng(n)
        places = rng.choice(len(share), tokens, p=(share / share.sum() + 1 / len(share)) / 2)
        known.append(found[0, rng.integers(0, found.shape[1], tokens), places].cpu().numpy())
    known = np.concatenate(known).astype(np.float64)
    mean, std = known.mean(0), known.std(0) + 1e-6
    axes = PCA(min(embedder.model.axes.shape[1], *known.shape), svd_solver="full").fit((known - mean) / std).components_
    embedder.model.centre.copy_(torch.from_numpy(mean))
    embedder.model.axes[:, : len(axes)].copy_(torch.from_numpy(axes.T / std[:, None]))


def cine_features(cine: Cine, slices, embedder) -> dict:
    """What a shard keeps of a cine: "cine/slice" → (views, width)."""
    return {f"{cine.name}/{k}": embedder.embed(cine, k) for k in slices}


def open_shards(cohort, embedder, folder, key: str, n_shards: int = 16) -> Shards:
    """Where features of this cohort by these weights are kept; key: what made them (a weights digest)."""
    settings = {"weights": key, "cohort": cohort.digest}
    if isinstance(embedder, Embedder):
        settings |= asdict(embedder.preprocessing) | {
            "precision": embedder.precision,
            "crops": embedder.crops,
            "times": embedder.times,
            "pooling": "all, moving, together",
        }
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
            raise ValueError(
                f"{bag.subject} has the views {', '.join(sorted(set(bag.where['view'])))}, but the heads "
                f"know {', '.join(views)} alone: leave this subject out, or train heads with these views"
            )
        features[row, : len(own)] = torch.from_numpy(bag.features)
        kinds[row, : len(own)] = torch.tensor(own)
    return features, kinds


def mean_features(bags: dict[str, Bag]) -> pd.DataFrame:
    """One row a subject: participant_id, f0, f1, …: the mean over views, where no pooling has been learned."""
    return feature_table({subject: bag.features.mean(0) for subject, bag in bags.items()})


def feature_table(vectors: dict) -> pd.DataFrame:
    """participant_id → (width,) as a table: participant_id, f0, f1, …"""
    table = pd.DataFrame(
        np.stack(list(vectors.values())), columns=[f"f{i}" for i in range(len(next(iter(vectors.values()))))]
    )
    return table.assign(participant_id=list(vectors))[["participant_id", *table.columns]]
