"""Gated attention over a subject's features and linear heads (§ 4.3, 4.4); the encoder is frozen."""

from copy import deepcopy
from dataclasses import asdict, dataclass, field

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import RidgeCV
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cmrlib.learning.weights import load_weights, save_weights
from cmrlib.papers.heartmae.features import Bag, collate, feature_table

KINDS = ("regression", "classification")

STRENGTHS = np.logspace(0, 5, 11)
"""Ridge penalties of standardised pooled features, of which leaving one subject out chooses for each task."""


@dataclass(frozen=True)
class Tasks:
    """What is to be predicted together. kind: regression (equation 4) or classification (equation 5)."""

    names: tuple[str, ...]
    kind: str = "regression"

    def __post_init__(self):
        if self.kind not in KINDS or not self.names:
            raise ValueError(f"{self.kind} of {len(self.names)} tasks: expected {' or '.join(KINDS)} of one or more")


@dataclass(frozen=True)
class HeadRecipe:
    """How the pooling and its heads learn. batch_size: subjects of a step; 1 in the paper, the rest is not stated.

    by_view: attention pools 2CH, 4CH and SAX sections apart, so that a head may weigh them differently; the paper pools
    all together. views_share: how many of a subject's views a step sees, drawn anew each time, at least one; 1 for all.
    Small cohorts are soon known by heart; in parts they are not. decays: weight decays to choose from, with the number
    of epochs, by the validation loss. hidden: of the attention. average: how slowly the weights that count follow those
    that learn. closed_form: of a regression the linear heads, not the attention, are solved anew at the end by ridge
    regression, which a few hundred subjects serve better than steps; the paper keeps what the steps found.
    """

    epochs: int = 60
    learning_rate: float = 1e-3
    batch_size: int = 8
    by_view: bool = True
    views_share: float = 0.7
    decays: tuple[float, ...] = (0.01, 0.3)
    hidden: int = 64
    average: float = 0.98
    closed_form: bool = True
    seed: int = 1

    def __post_init__(self):
        if not (0 < self.views_share <= 1 and 0 <= self.average < 1):
            raise ValueError(
                f"a share of views of {self.views_share} and an average of {self.average}: expected a "
                "share above 0 and up to 1, and an average from 0 to less than 1"
            )


class GatedPooling(nn.Module):
    """Equation 3: weights that sum to one over a subject's views, whatever their number."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.content, self.gate = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, features, there):
        """features: (subjects, views, width); there: (subjects, views) bool. Returns pooled (subjects, width), weights
        (subjects, views), which are 0 where nothing is."""
        scores = self.score(torch.tanh(self.content(features)) * torch.sigmoid(self.gate(features)))[..., 0]
        weights = scores.masked_fill(~there, -torch.inf).softmax(1)
        return (weights[..., None] * features).sum(1), weights


class MultiTask(nn.Module):
    """Standardised features → gated pooling → one linear head a task.

    views: kinds of views that are pooled apart and joined; none: all are pooled together. Features are standardised by
    the training subjects (ours: an autoencoder's features differ in scale a hundredfold), those of a kind by
    themselves; where a subject lacks a kind its mean stands.
    """

    def __init__(self, width: int, tasks: Tasks, hidden: int = 64, views: tuple[str, ...] = ()):
        super().__init__()
        self.tasks, self.hidden, self.views, kinds = tasks, hidden, tuple(views), max(1, len(views))
        self.poolings = nn.ModuleList(GatedPooling(width, hidden) for _ in range(kinds))
        self.heads = nn.Linear(kinds * width, len(tasks.names))
        nn.init.zeros_(self.heads.weight)  # starts with everyone's mean
        nn.init.zeros_(self.heads.bias)
        for name in ("mean", "std"):
            value = float(name == "std")
            self.register_buffer(name, torch.full((kinds, width), value))
            self.register_buffer(f"target_{name}", torch.full((len(tasks.names),), value))

    def pooled(self, features, kinds):
        """(pooled (subjects, kinds · width), weights (subjects, views), which sum to 1); see `collate`."""
        parts, shares = [], []
        for kind, pooling in enumerate(self.poolings):
            there = kinds == kind
            lacks = ~there.any(1)
            part, weights = pooling((features - self.mean[kind]) / self.std[kind], there | lacks[:, None])
            parts.append(part.masked_fill(lacks[:, None], 0))
            shares.append(weights.masked_fill(lacks[:, None], 0))
        weights = torch.stack(shares).sum(0)
        return torch.cat(parts, 1), weights / weights.sum(1, keepdim=True)

    def forward(self, features, kinds):
        """(predictions (subjects, tasks) on the standardised scale or as logits, weights (subjects, views))."""
        pooled, weights = self.pooled(features, kinds)
        return self.heads(pooled), weights

    def loss(self, predicted, wanted):
        """Equation 4 or 5 over what is known; wanted: (subjects, tasks), NaN where unknown."""
        known = torch.isfinite(wanted)
        if not known.any():
            return predicted.sum() * 0
        predicted, wanted = predicted[known], wanted[known]
        if self.tasks.kind == "classification":
            return functional.binary_cross_entropy_with_logits(predicted, wanted)
        return functional.mse_loss(predicted, wanted)

    def standardised(self, wanted):
        """Targets as the loss wants them."""
        return wanted if self.tasks.kind == "classification" else (wanted - self.target_mean) / self.target_std

    def fit_scales(self, bags, wanted):
        """Means and SDs of features and targets over these (the training) subjects; a constant keeps an SD of 1."""
        features, kinds = (part.flatten(0, 1) for part in collate(bags, self.views))
        for kind in range(len(self.poolings)):
            self.mean[kind] = features[kinds == kind].mean(0)
            self.std[kind] = _spread(features[kinds == kind])
        if self.tasks.kind == "regression":
            self.target_mean.copy_(torch.nan_to_num(wanted.nanmean(0)))
            self.target_std.copy_(torch.cat([_spread(one[torch.isfinite(one)][:, None]) for one in wanted.T]))


def _spread(values):
    """SD of each column; 1 where there is none."""
    std = values.std(0) if len(values) > 1 else torch.zeros(values.shape[1])
    return torch.where(std > 1e-8, std, torch.ones_like(std))


@dataclass
class Fitted:
    """A trained pooling with its heads, and how its losses went: a row an epoch and weight decay."""

    model: MultiTask
    losses: pd.DataFrame = field(default_factory=pd.DataFrame)

    def predict(self, bags: dict[str, Bag]) -> pd.DataFrame:
        """participant_id and one column a task: values in the target's unit, or probabilities."""
        model = self.model
        out = self._run(model, bags)[0]
        chance = model.tasks.kind == "classification"
        out = out.sigmoid() if chance else out * model.target_std.cpu() + model.target_mean.cpu()
        table = pd.DataFrame(out.numpy(), columns=list(model.tasks.names))
        return table.assign(participant_id=list(bags))[["participant_id", *model.tasks.names]]

    def attention(self, bags: dict[str, Bag]) -> pd.DataFrame:
        """A row an instance: participant_id, cine, view, k, attention; they sum to 1 for each subject."""
        weights = self._run(self.model, bags)[1].numpy()
        rows = [
            bag.where.assign(participant_id=subject, attention=own[: len(bag.where)])
            for (subject, bag), own in zip(bags.items(), weights)
        ]
        return pd.concat(rows, ignore_index=True)

    def pooled(self, bags: dict[str, Bag]) -> pd.DataFrame:
        """The subject's feature z of equation 3, of one kind of view after the other: participant_id, f0, f1, …"""
        return feature_table(dict(zip(bags, self._run(self.model.pooled, bags)[0].numpy())))

    def _run(self, part, bags):
        """What the network or a part of it makes of bags, where its weights are."""
        device = self.model.mean.device
        with torch.inference_mode():
            features, kinds = collate(list(bags.values()), self.model.views)
            return [out.cpu() for out in part(features.to(device), kinds.to(device))]

    def save(self, path, **card):
        model = self.model
        own = {"name": "heartmae heads", "width": model.mean.shape[1], "hidden": model.hidden}
        own |= {"tasks": asdict(model.tasks), "views": model.views}
        save_weights(model, path, {"architecture": own, "preprocessing": {}} | card)

    @classmethod
    def load(cls, path) -> "Fitted":
        return cls(load_weights(path, _build)[0])


def _build(card):
    if card.get("name") != "heartmae heads":
        raise ValueError(f"these are weights of {card.get('name')!r}; expected heads of 08_heartmae_predict")
    return MultiTask(
        card["width"], Tasks(tuple(card["tasks"]["names"]), card["tasks"]["kind"]), card["hidden"], tuple(card["views"])
    )


def fit_heads(
    bags: dict[str, Bag], targets: pd.DataFrame, tasks: Tasks, split: pd.Series, recipe: HeadRecipe = HeadRecipe()
) -> Fitted:
    """Train pooling and heads on the training subjects; the validation loss chooses weight decay and epoch. With
    `closed_form` the heads of a regression then learn from training and validation subjects together.

    targets: indexed by participant_id, a column a task, NaN where unknown. Raises ValueError where nobody with a known
    target trains or validates.
    """
    names = list(tasks.names)
    known = set(targets.index[targets[names].notna().any(axis=1)])
    sides = {side: [s for s in bags if split.get(s) == side and s in known] for side in ("train", "validation")}
    if empty := [side for side, people in sides.items() if not people]:
        raise ValueError(
            f"no {' or '.join(empty)} subject has both features and one of the targets {', '.join(names[:5])}"
        )
    data = {
        side: ([bags[s] for s in people], torch.tensor(targets.loc[people, names].to_numpy(np.float32)))
        for side, people in sides.items()
    }
    best, rows = (np.inf, None), []
    for decay in recipe.decays:
        loss, model, curve = _train(data, tasks, recipe, decay)
        rows += [{"decay": decay, "epoch": n + 1, "train": a, "validation": b} for n, (a, b) in enumerate(curve)]
        best = min(best, (loss, model), key=lambda pair: pair[0])
    model = best[1].eval()
    if recipe.closed_form and tasks.kind == "regression":
        (bags, wanted), (more, their) = data["train"], data["validation"]
        _solve_heads(model, [*bags, *more], model.standardised(torch.cat([wanted, their])).numpy())
    return Fitted(model, pd.DataFrame(rows))


def _solve_heads(model, bags, wanted):
    """Ridge regression in place of the heads; wanted: (subjects, tasks) standardised, NaN where unknown. A task known
    to fewer than three keeps its head."""
    with torch.inference_mode():
        pooled = model.pooled(*collate(bags, model.views))[0]
    mean, std = pooled.mean(0).numpy(), _spread(pooled).numpy()
    known = np.isfinite(wanted)
    for there in np.unique(known, axis=1).T:  # tasks that the same subjects know are solved together
        if there.sum() < 3:
            continue
        tasks = np.flatnonzero((known == there[:, None]).all(0))
        ridge = RidgeCV(STRENGTHS, alpha_per_target=True).fit(
            (pooled.numpy()[there] - mean) / std, wanted[there][:, tasks]
        )
        weight = ridge.coef_ / std
        with torch.no_grad():
            model.heads.weight[tasks] = torch.from_numpy(weight).float()
            model.heads.bias[tasks] = torch.from_numpy(ridge.intercept_ - weight @ mean).float()


def _train(data, tasks, recipe, decay):
    """(best validation loss, the model at that epoch, [(train, validation loss) of every epoch])."""
    torch.manual_seed(recipe.seed)
    (bags, wanted), (checked, truth) = data["train"], data["validation"]
    views = sorted({view for bag in bags for view in bag.where["view"]}) if recipe.by_view else ()
    model = MultiTask(bags[0].features.shape[1], tasks, recipe.hidden, tuple(views))
    model.fit_scales(bags, wanted)
    wanted, truth = model.standardised(wanted), model.standardised(truth)
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=decay)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average))
    features, kinds = collate(bags, model.views)
    shown = collate(checked, model.views)
    best, curve = (np.inf, None), []
    for _ in range(recipe.epochs):
        sums = 0.0
        for rows in torch.randperm(len(bags)).split(recipe.batch_size):
            seen = kinds[rows].masked_fill(~some_views(kinds[rows] >= 0, recipe.views_share), -1)
            loss = model.loss(model(features[rows], seen)[0], wanted[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            average.update_parameters(model)
            sums += float(loss.detach()) * len(rows)
        with torch.inference_mode():
            validation = float(model.loss(average(*shown)[0], truth))
        curve.append((sums / len(bags), validation))
        if validation < best[0]:
            best = (validation, deepcopy(average.module))
    if best[1] is None:
        raise FloatingPointError("the heads' validation loss is no number; lower their learning rate")
    return *best, curve


def some_views(there, share: float):
    """A random share of the views that are there, at least one of each subject: (subjects, views) bool."""
    if share == 1:
        return there
    drawn = torch.rand(there.shape).masked_fill(~there, 2)  # what is not there comes last
    return there & ((drawn < share) | (drawn == drawn.amin(1, keepdim=True)))
