"""HeartMAE's pretraining as a task: clips in, hidden pixels out; and its frozen encoder: sections in, features out."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from fastai.data.block import DataBlock, TransformBlock

from cmrlib import cine
from cmrlib.cine import Cine
from cmrlib.cine.anatomy import VIEWS
from cmrlib.learning import training
from cmrlib.learning.cache import ArrayCache
from cmrlib.learning.inference import as_list
from cmrlib.learning.task import Task, by_split
from cmrlib.learning.training import adamw
from cmrlib.papers.heartmae import clips, features, flow, network, tokens
from cmrlib.papers.heartmae.clips import SectionClips, even_cuts, intensity_moments, peak_of, section_table
from cmrlib.papers.heartmae.features import POOLINGS, read_out, token_features
from cmrlib.papers.heartmae.flow import flow_weights, stored_weights
from cmrlib.papers.heartmae.network import MaskedAutoencoder, weighted_error

VARIANTS = {
    "plain": "MAE-ViT",
    "continued": "MAE-ViT, continued",
    "mask95": "MAE-95",
    "tube": "MAE-tube",
    "flow": "HeartMAE",
}
"""The paper's four models, in the order of its tables, and the plain one that learns on for as long as the variants."""

SETTINGS = {"mask95": {"mask_ratio": 0.95}, "tube": {"masking": "tube"}, "flow": {"flow": True}}
"""Fields of the task in which a variant differs from the plain model."""

NOTHING = np.zeros((1, 1), np.uint8)
"""Flow weights of a section whose loss is not weighted."""

CODE = (cine, clips, flow, network, tokens, training)  # in the class, a field hides the module `flow`


@dataclass(frozen=True)
class HeartMAE(Task):
    """Masked autoencoding of sections of any view (Kim et al.); the defaults are the paper's plain model.

    sax_share: of a stack's slices that are used. size: pixels a side of a clip. frames: of a clip, consecutive; a
    shorter cine goes round its cycle again. crop_low, crop_high: side of training crops in pixels of the image before
    they are resized; where its short side is smaller, the whole of it is the crop. spacing_mm: these pixels' size, 0
    for the image's own, whatever it is (the paper). patch: pixels a side of a token; tubelet: frames of one.
    decoder_width to decoder_heads: not stated there. patch_norm: reconstruct each token's pixels standardised by
    themselves. repeats: clips of a section that is read. mask_ratio, masking, decoder_share: see `Masking`. flow: the
    loss is weighted by where the section moves (equation 2); flow_step: frames between the two images of a pair;
    flow_sigma_px: of the smoothing, in the image's own pixels or, with flow_resized, in a clip's.
    section_views: of a section in prediction, crops along its longer side × clips over the cycle (§ 4.3). pooling: of
    a clip's tokens, `mean` (the paper) or `moving` (ours, `features.pooled`).
    """

    views: tuple[str, ...] = VIEWS
    sax_share: float = 0.5
    size: int = 224
    frames: int = 24
    crop_low: int = 224
    crop_high: int = 256
    spacing_mm: float = 0.0
    patch: int = 16
    tubelet: int = 4
    width: int = 768
    depth: int = 12
    heads: int = 12
    decoder_width: int = 512
    decoder_depth: int = 4
    decoder_heads: int = 16
    patch_norm: bool = False
    repeats: int = 4
    mask_ratio: float = 0.9
    masking: str = "random"
    decoder_share: float = 1.0
    flow: bool = False
    flow_step: int = 5
    flow_sigma_px: float = 10.0
    flow_resized: bool = False
    weight_decay: float = 0.05
    section_views: tuple[int, int] = (3, 2)
    pooling: str = "mean"

    code = CODE

    def __post_init__(self):
        if self.size % self.patch or self.frames % self.tubelet or self.tubelet % 2:
            raise ValueError(
                f"clips of {self.frames} frames and {self.size} pixels do not divide into tokens of "
                f"{self.tubelet} frames (an even number) and {self.patch} pixels"
            )
        if self.pooling not in POOLINGS:
            raise ValueError(f"unknown pooling {self.pooling!r}; there are {', '.join(POOLINGS)}")

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens in time, rows, columns: (6, 14, 14) in the paper."""
        return self.frames // self.tubelet, self.size // self.patch, self.size // self.patch

    def variant(self, name: str) -> "HeartMAE":
        """One of VARIANTS. Raises ValueError for another name."""
        if name not in VARIANTS:
            raise ValueError(f"unknown variant {name!r}; there are {', '.join(VARIANTS)}")
        return replace(self, **SETTINGS.get(name, {}))

    # --- training

    def items(self, cohort, annotations, split):
        return section_table(cohort, split, self.views, self.sax_share)

    def block(self, cohort, annotations):
        return DataBlock(
            blocks=(TransformBlock, TransformBlock),
            get_x=self.section(cohort),
            get_y=self.weights(cohort),
            splitter=by_split,
            item_tfms=self.cut(),
        )

    def weights(self, cohort):
        """Function from a row of `items` to its flow weights, or without `flow` to none."""
        maps = self.flow_maps(cohort) if self.flow else None
        return lambda row: maps(row["cine"], row["k"]) if maps else NOTHING

    def flow_maps(self, cohort):
        """Function (cine's name, slice) → flow weights (uint8, half the image's resolution), kept in `cache`."""
        settings = {"step": self.flow_step, "sigma_px": self.flow_sigma_px, "resized": self.flow_resized * self.size}
        return cached(
            ArrayCache(self.cache, "flow", cohort, "", settings, (flow,)),
            lambda name, k: stored_weights(flow_weights(cohort.cine(name).pixels[:, k], *settings.values())),
        )

    def section(self, cohort):
        """Function from a row of `items` to the section."""
        return lambda row: cohort.cine(row["cine"]).section(row["k"])

    def cut(self) -> SectionClips:
        return SectionClips(self)

    def network(self):
        return MaskedAutoencoder(self)

    def loss(self):
        return weighted_error

    def optimiser(self, params, lr):
        return adamw(params, lr=lr, weight_decay=self.weight_decay)

    def learner(self, dls, model=None, seed=1, precision="bf16"):
        """As of every task; a new network standardises pixels by the training sections' mean and SD."""
        learn = super().learner(dls, model, seed, precision)
        if model is None:
            mean, std = intensity_moments(dls.train_ds.tls[0])
            learn.model.mean.fill_(mean), learn.model.std.fill_(std)
        return learn

    # --- prediction

    def clips(self, cine: Cine, k: int, section=None) -> torch.Tensor:
        """(views, frames, size, size), shares of the cine's maximum: § 4.3's crops and clips of slice k.

        section: (frames, rows, columns) in place of the slice's own pixels.
        """
        section = cine.pixels[:, k] if section is None else section
        cuts = even_cuts(cine, self, *self.section_views)
        return torch.from_numpy(np.stack([cut.clip(section, self, peak_of(cine)) for cut in cuts]))

    def embed(self, model, cine: Cine, k: int, section=None, precision="bf16") -> np.ndarray:
        """(views, width) features of slice k; see `clips`."""
        found = token_features(model, self.clips(cine, k, section), precision)
        return read_out(found, model, self.pooling).cpu().numpy()

    def predict_cine(self, models, cine, annotation=None, precision="bf16"):
        """No annotation; a row a section: slice and features f0, f1, …, the mean over its views and over networks."""
        rows = []
        for k in cine.complete_slices:
            found = np.mean([self.embed(model, cine, k, None, precision).mean(0) for model in as_list(models)], 0)
            rows.append({"slice": k} | {f"f{n}": value for n, value in enumerate(found)})
        return None, rows

    def features(self, model, cohort, weights: str, embed=None, precision="bf16"):
        """Function (cine's name, slice) → (views, width) features, kept in `cache`.

        weights: digest of the model's file. embed: function (cine, k) → (views, width) in place of `self.embed`;
        `weights` then names it.
        """
        embed = embed or (lambda cine, k: self.embed(model, cine, k, None, precision))
        settings = self.settings | {"weights": weights, "precision": precision}
        code = (cine, clips, features, network, tokens)
        return cached(
            ArrayCache(self.cache, "features", cohort, "", settings, code),
            lambda name, k: embed(cohort.cine(name), k),
        )


def cached(arrays: ArrayCache, make):
    """Function (cine's name, slice) → array of `make`, which is asked once."""

    def get(name, k):
        key = f"{name}_{k}"
        return arrays.fill([key], lambda _: make(name, k))[key]

    return get
