"""Gated attention over a subject's features and one linear head per target (§ 4.3, 4.4); the encoder stays frozen."""

import hashlib
import sys
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd
import torch
from fastai.data.block import DataBlock, TransformBlock
from sklearn.linear_model import RidgeCV
from torch import nn
from torch.nn import functional

from cmrlib.learning import training
from cmrlib.learning.inference import infer
from cmrlib.learning.task import Task, by_split
from cmrlib.learning.training import BestEpoch, ProgressLines, adamw
from cmrlib.papers.heartmae.features import Bag, feature_table

LOSSES = {"regression": functional.mse_loss, "classification": functional.binary_cross_entropy_with_logits}

STRENGTHS = np.logspace(0, 5, 11)
"""Ridge penalties of standardised pooled features; leave-one-out error chooses one per target."""


class GatedPooling(nn.Module):
    """Equation 3: weights that sum to one over a subject's instances, whatever their number."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.content, self.gate = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, features, there):
        """features: (subjects, instances, width); there: (subjects, instances) bool. Returns pooled (subjects, width),
        weights (subjects, instances), which are 0 where nothing is."""
        scores = self.score(torch.tanh(self.content(features)) * torch.sigmoid(self.gate(features)))[..., 0]
        weights = scores.masked_fill(~there, -torch.inf).softmax(1)
        return (weights[..., None] * features).sum(1), weights


class AttentiveProbe(nn.Module):
    """Bags of features → one number per target: standardised values or logits.

    A bag is (kinds of views, instances, width), NaN where nothing is. Features are standardised by the training
    subjects' of their kind (ours: an autoencoder's features differ in scale a hundredfold); where a subject lacks a
    kind, the mean stands. `activation`: outputs → values in the targets' units, or probabilities.
    """

    def __init__(self, design: "Probe"):
        super().__init__()
        kinds, width, n = max(1, len(design.views)), design.width, len(design.targets)
        self.views_share, self.kind = design.views_share, design.kind
        self.poolings = nn.ModuleList(GatedPooling(width, design.hidden) for _ in range(kinds))
        self.heads = nn.Linear(kinds * width, n)
        nn.init.zeros_(self.heads.weight)  # starts with the mean of all subjects
        nn.init.zeros_(self.heads.bias)
        self.register_buffer("mean", torch.zeros(kinds, width))
        self.register_buffer("std", torch.ones(kinds, width))
        self.register_buffer("target_mean", torch.zeros(n))
        self.register_buffer("target_std", torch.ones(n))

    def pooled(self, bags):
        """(subjects, kinds, instances, width) → z (subjects, kinds · width) and the attention (subjects, kinds,
        instances), which sums to 1 over a subject."""
        there = bags[..., 0].isfinite()
        if self.training:
            there = some_views(there, self.views_share)
        lacks = ~there.any(2, keepdim=True)
        x = ((bags - self.mean[:, None]) / self.std[:, None]).nan_to_num(0)
        found = [pool(x[:, n], there[:, n] | lacks[:, n]) for n, pool in enumerate(self.poolings)]
        z, weights = (torch.stack(part, 1).masked_fill(lacks, 0) for part in zip(*found))
        return z.flatten(1), weights / weights.sum((1, 2), keepdim=True)

    def forward(self, bags):
        return self.heads(self.pooled(bags)[0])

    def activation(self, output):
        return output.sigmoid() if self.kind == "classification" else output * self.target_std + self.target_mean


def some_views(there, share: float):
    """A random share of the instances that are there, at least one of each subject: (subjects, kinds, instances)."""
    drawn = torch.rand(there.shape, device=there.device).masked_fill(~there, 2)  # what is not there comes last
    return there & ((drawn < share) | (drawn == drawn.amin((1, 2), keepdim=True)))


def over_known(predicted, wanted, loss):
    """Equation 4 (`loss` the squared error) or 5 (the cross entropy) over what is known; predicted, wanted: (subjects,
    targets), wanted NaN where unknown."""
    known = wanted.isfinite()
    return loss(predicted[known], wanted[known]) if known.any() else predicted.sum() * 0


def pad(samples):
    """[(bag (…, instances, width), …), …] with as many instances each, NaN where nothing is."""
    longest = max(bag.shape[-2] for bag, *_ in samples)
    return [(functional.pad(b, (0, 0, 0, longest - b.shape[-2]), value=torch.nan), *more) for b, *more in samples]


@dataclass(frozen=True)
class Probe(Task):
    """Targets of a subject from features of its sections, by whatever network these were made.

    views: kinds of sections that attention pools apart, so that a head may weigh them differently; none: all are pooled
    together, as in the paper. targets: their names. kind: `regression` or `classification`. width: of a feature.
    hidden: of the attention. views_share: of a subject's instances that a training step sees, drawn anew each time; 1
    in the paper, but small cohorts are soon known by heart. closed_form: at the end the heads of a regression, not its
    attention, are solved by ridge regression on training and validation subjects, which serves a few hundred subjects
    better than steps; the paper keeps what the steps found.
    bags: participant_id → `Bag`; truth: targets indexed by participant_id, NaN where unknown. Both are for training.
    """

    targets: tuple[str, ...] = ()
    kind: str = "regression"
    width: int = 0
    hidden: int = 64
    views_share: float = 0.7
    weight_decay: float = 0.1
    closed_form: bool = True
    bags: dict = field(default_factory=dict, kw_only=True, compare=False, repr=False)
    truth: pd.DataFrame = field(default=None, kw_only=True, compare=False, repr=False)

    code = (training, sys.modules[__name__])

    def __post_init__(self):
        if self.kind not in LOSSES or not 0 < self.views_share <= 1:
            raise ValueError(
                f"{self.kind} with a share of views of {self.views_share}: expected {' or '.join(LOSSES)}, and a share "
                "above 0 and up to 1"
            )

    @classmethod
    def of(cls, bags: dict[str, Bag], truth: pd.DataFrame, kind="regression", by_view=True, **fields) -> "Probe":
        """The probe that these bags and all columns of `truth` ask for; by_view: pool each view's sections apart."""
        views = sorted({view for bag in bags.values() for view in bag.where["view"]}) if by_view else ()
        width = next(iter(bags.values())).features.shape[1]
        return cls(tuple(views), tuple(truth), kind, width, **fields, bags=bags, truth=truth)

    # --- training

    def items(self, cohort, annotations, split):
        """One row per subject with features and a known target. wanted: its targets, those of a regression in SDs of
        the training subjects. Raises ValueError where nobody trains or validates."""
        truth = self.truth.loc[[s for s in self.bags if s in self.truth.index], list(self.targets)].dropna(how="all")
        side = truth.index.map(split.to_dict())
        if lacking := {"train", "validation"} - set(side):
            raise ValueError(
                f"no {' or '.join(sorted(lacking))} subject has both features and one of the targets "
                f"{', '.join(self.targets[:5])}"
            )
        mean, std = self.scales(truth.index[side == "train"])
        table = pd.DataFrame({"participant_id": truth.index, "cine": "", "split": side})
        return table.assign(wanted=list(((truth - mean) / std).to_numpy(np.float32)))

    def scales(self, subjects):
        """(mean, SD) of each target over subjects: 0 and 1 of labels; a constant keeps an SD of 1."""
        known = self.truth.loc[subjects, list(self.targets)]
        if self.kind == "classification":
            return np.zeros(known.shape[1]), np.ones(known.shape[1])
        std = known.std()
        return known.mean().fillna(0).to_numpy(), std.where(std > 1e-8, 1.0).to_numpy()

    def block(self, cohort, annotations):
        bags = {subject: self.inputs(bag)[0] for subject, bag in self.bags.items()}
        return DataBlock(
            blocks=(TransformBlock(dls_kwargs={"before_batch": pad}), TransformBlock),
            get_x=lambda row: bags[row["participant_id"]],
            get_y=lambda row: torch.tensor(row["wanted"]),
            splitter=by_split,
        )

    def dataloaders(self, cohort, annotations, split, bs=8, **kwargs):
        return super().dataloaders(cohort, annotations, split, bs, val_bs=1024, **kwargs)

    def network(self):
        return AttentiveProbe(self)

    def loss(self):
        return partial(over_known, loss=LOSSES[self.kind])

    def optimiser(self, params, lr):
        return adamw(params, lr=lr, weight_decay=self.weight_decay)

    def learner(self, dls, model=None, seed=1, precision="fp32"):
        """As of every task, but the epoch of the smallest validation loss is kept; a new network standardises features
        and targets by the training subjects."""
        learn = super().learner(dls, model, seed, precision)
        if model is None:
            subjects = list(dls.train.items["participant_id"])
            bags = torch.cat([bag for (bag,) in pad([(self.inputs(self.bags[s]),) for s in subjects])])
            for kind, values in enumerate(bags.transpose(0, 1).flatten(1, 2)):
                values = values[values[:, 0].isfinite()]
                std = values.std(0) if len(values) > 1 else torch.zeros(self.width)
                learn.model.mean[kind] = values.mean(0).nan_to_num(0)
                learn.model.std[kind] = std.where(std > 1e-8, 1.0)
            for part, values in zip((learn.model.target_mean, learn.model.target_std), self.scales(subjects)):
                part.copy_(torch.tensor(values))
        learn.remove_cb(ProgressLines)
        learn.validate_every.n = 1
        return learn.add_cb(BestEpoch())

    def job(self, cohort, annotations, dls):
        features = hashlib.blake2b(digest_size=8)
        for subject in sorted(self.bags):
            features.update(self.bags[subject].features.tobytes())
        return super().job(cohort, annotations, dls) | {"features": features.hexdigest()}

    def fit(self, learn, epochs, lr, cbs=()):
        with learn.no_bar(), learn.no_logging():
            super().fit(learn, epochs, lr, cbs)
        if self.closed_form and self.kind == "regression":
            self.solve(learn.model.eval(), pd.concat([learn.dls.train.items, learn.dls.valid.items]))

    def solve(self, model, items):
        """Ridge regression in place of the heads of a model. A target known to fewer than three keeps its head."""
        z = np.stack([self._pooled(model, self.bags[subject])[0] for subject in items["participant_id"]])
        wanted = np.stack(items["wanted"])
        mean, std = z.mean(0), z.std(0, ddof=1)
        std = np.where(std > 1e-8, std, 1)
        known = np.isfinite(wanted)
        for there in np.unique(known, axis=1).T:  # targets that the same subjects know are solved together
            if there.sum() < 3:
                continue
            targets = np.flatnonzero((known == there[:, None]).all(0))
            ridge = RidgeCV(STRENGTHS, alpha_per_target=True).fit((z[there] - mean) / std, wanted[there][:, targets])
            weight = ridge.coef_ / std
            with torch.no_grad():
                model.heads.weight[targets] = torch.from_numpy(weight).to(model.heads.weight)
                model.heads.bias[targets] = torch.from_numpy(ridge.intercept_ - weight @ mean).to(model.heads.bias)

    # --- prediction

    def inputs(self, bag: Bag):
        """(1, kinds, instances, width), NaN where nothing is. Raises ValueError where the probe knows no view of it."""
        views = bag.where["view"].to_numpy()
        parts = [bag.features[views == view] for view in self.views] or [bag.features]
        if not any(map(len, parts)):
            raise ValueError(
                f"{bag.subject} has the views {', '.join(sorted(set(views)))}, but the heads know "
                f"{', '.join(self.views)} alone: leave this subject out, or train heads with these views"
            )
        shape = len(parts), max(map(len, parts)), self.width
        kinds = np.full(shape, np.nan, np.float32)
        for kind, part in zip(kinds, parts):
            kind[: len(part)] = part
        return torch.from_numpy(kinds)[None]

    def predict(self, models, bags: dict[str, Bag]) -> pd.DataFrame:
        """participant_id and one column per target: values in the target's unit, or probabilities."""
        found = np.concatenate([infer(models, self.inputs(bag), "fp32").numpy() for bag in bags.values()])
        table = pd.DataFrame(found, columns=list(self.targets))
        table.insert(0, "participant_id", list(bags))
        return table

    def embeddings(self, model, bags: dict[str, Bag]) -> pd.DataFrame:
        """The subject's feature z of equation 3, one kind of view after the other: participant_id, f0, f1, …"""
        return feature_table({subject: self._pooled(model, bag)[0] for subject, bag in bags.items()})

    def attention(self, model, bags: dict[str, Bag]) -> pd.DataFrame:
        """One row per instance: participant_id, cine, view, k, attention, which sums to 1 over a subject."""
        tables = []
        for subject, bag in bags.items():
            weights, views = self._pooled(model, bag)[1], bag.where["view"]
            kinds = pd.Categorical(views, self.views).codes if self.views else np.zeros(len(views), int)
            place = bag.where.groupby(kinds).cumcount().clip(upper=weights.shape[1] - 1)
            attention = np.where(kinds < 0, 0, weights[kinds, place])
            tables.append(bag.where.assign(participant_id=subject, attention=attention))
        return pd.concat(tables, ignore_index=True)

    def _pooled(self, model, bag):
        """z (kinds · width,) and attention (kinds, instances) of one bag."""
        with torch.inference_mode():
            return [part[0].cpu().numpy() for part in model.eval().pooled(self.inputs(bag).to(model.mean.device))]
