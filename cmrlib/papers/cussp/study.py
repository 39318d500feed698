"""The paper's models side by side: who learns from what, in which order, under which seed."""

from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import pandas as pd

from cmrlib.learning.training import loss_rows
from cmrlib.papers.cussp.cnnlstm import CnnRecipe, Setting, cnn_scores, train_cnn_lstm
from cmrlib.papers.cussp.evaluation import auc, score_rows
from cmrlib.papers.cussp.learning import (
    SHARES,
    Design,
    Recipe,
    finetune_siamese,
    pretrain,
    train_classifier,
    train_joint,
)
from cmrlib.papers.cussp.patches import Patches, prepare_cohort
from cmrlib.papers.cussp.prediction import MitralRegurgitation
from cmrlib.papers.cussp.preparation import Preprocessing
from cmrlib.papers.cussp.tabular import ceiling_model, forest_search, measured_features, probabilities, true_features
from cmrlib.papers.cussp.weak import LabelModel, votes

PICTURE_MODELS = ("cussp1", "cussp2", "cussp3", "siam", "siam25", "scratch25")


@dataclass(frozen=True)
class Setup:
    """All that CUSSP's trainings are told, but for the data. pretraining_seed: None for each seed's own (a study)."""

    design: Design = field(default_factory=Design)
    recipe: Recipe = field(default_factory=Recipe)
    pretraining_seed: int | None = None


def train_models(patches: Patches, roles, labels, setup: Setup, models, seed: int, state=None):
    """(name → MitralRegurgitation, rows of losses, training → its seconds) of PICTURE_MODELS among `models`.

    SIAM-25 looks at half of the cycle, 25 of 50 frames, from ED on, and has its own pretraining; all others see all
    frames. scratch25, not in the paper, is the same classifier without any step before it, all layers learning. Every
    training is a job in `state`.
    """
    trained, losses, seconds = {}, [], {}
    for name in [name for name in PICTURE_MODELS if name in models]:
        frames = patches.preprocessing.frames // 2 if name.endswith("25") else 0
        own = replace(setup, design=replace(setup.design, frames=frames))
        model, steps = _trained(name, patches, roles, labels, own, seed, state)
        trained[name] = MitralRegurgitation(model, patches.preprocessing, frames, precision=setup.recipe.precision)
        losses += [row | {"seed": seed} for step, one in steps for row in loss_rows(one, step)]
        for step, one in steps:  # a pretraining that several rows or seeds share counts once
            shared = step.startswith("Barlow") and setup.pretraining_seed is not None
            if hasattr(one, "training_seconds"):
                seconds[step if shared else f"{step}, seed {seed}"] = one.training_seconds()
    return trained, losses, seconds


def _trained(name, patches, roles, labels, setup, seed, state):
    """(classifier, its steps as (what, learner)) of one row of table 2."""
    told = (patches, roles, labels, setup.design, setup.recipe, seed, state)
    if name == "scratch25":
        model, learner = train_joint(None, 0.0, *told, what=f"{name}, seed {seed}")
        return model, [(name, learner)]
    cycle = "half cycle" if setup.design.frames else "whole cycle"
    first = seed if setup.pretraining_seed is None else setup.pretraining_seed
    twins, learner = pretrain(patches, roles, setup.design, setup.recipe, first, state, f"Barlow Twins, {cycle}")
    steps = [(f"Barlow Twins, {cycle}", learner)]
    if name in SHARES:
        model, learner = train_joint(twins, SHARES[name], *told, what=f"{name}, seed {seed}")
        return model, [*steps, (f"both losses, {name}", learner)]
    encoder = deepcopy(twins.encoder)
    learner = finetune_siamese(encoder, *told, what=f"Siamese {name}, seed {seed}")
    steps.append((f"Siamese, {name}", learner))
    model, learner = train_classifier(encoder, *told, what=f"classifier {name}, seed {seed}")
    return model, [*steps, (f"classifier, {name}", learner)]


def picture_scores(trained: dict, patches: Patches, roles, labels, seed: int) -> pd.DataFrame:
    """Rows of mr_scores.csv of all labelled subjects; who has no usable cine has score NaN."""
    subjects, tables = roles.index[roles != "unlabelled"], []
    rows = patches.usable(subjects).drop_duplicates("participant_id")
    for name, model in trained.items():
        scores = pd.Series(model.scores(patches, rows), index=rows["participant_id"].to_numpy())
        tables.append(score_rows(name, seed, scores.reindex(subjects), labels, roles))
    return pd.concat(tables, ignore_index=True)


def tabular_scores(cohort, observer: str, roles, labels, seeds, n_iter: int = 50, state=None, weak_subjects: int = 0):
    """(rows of mr_scores.csv of the forest, and of floor and ceiling where the cohort is a phantom; the first search;
    the measurements, also of `weak_subjects` unlabelled ones, 0 for all). Forest and bounds learn from training
    subjects only."""
    known = roles.index[roles != "unlabelled"]
    others = list(roles.index[roles == "unlabelled"][: weak_subjects or None])
    learned = labels.reindex(roles.index[roles == "train"])
    measured, tables, searches = measured_features(cohort, observer, [*known, *others], state), [], []
    truth = cohort.observers.get("truth")
    synthetic = cohort.synthetic and truth is not None and len(truth.measures())
    for seed in seeds:
        search = forest_search(_rows(measured, learned), learned, seed, n_iter)
        searches.append(search)
        tables.append(score_rows("rf", seed, probabilities(search, measured, known), labels, roles))
        if synthetic:
            true = true_features(cohort)
            floor = forest_search(_rows(true, learned), learned, seed, n_iter)
            tables.append(score_rows("floor", seed, probabilities(floor, true, known), labels, roles))
    if synthetic:
        table = truth.measures().drop(columns="session", errors="ignore").drop_duplicates("participant_id")
        ceiling = ceiling_model(_rows(table, learned), learned)
        tables.append(score_rows("ceiling", seeds[0], probabilities(ceiling, table, known), labels, roles))
    return pd.concat(tables, ignore_index=True), searches[0], measured


def _rows(table, learned):
    return table[table["participant_id"].isin(learned.index)]


def weak_labels(measured: pd.DataFrame, roles, labels):
    """(participant_id → probability of unlabelled subjects, accuracies of the rules): rules vote on training-side
    measurements, the label model weighs them. The prevalence is that of the labelled training subjects.
    `sensitivity_train`, `specificity_train`: against their labels, as a check."""
    seen = measured[measured["participant_id"].isin(roles.index[roles.isin(["train", "unlabelled"])])]
    said, trained = votes(seen), roles.index[roles == "train"]
    model = LabelModel(float(labels[trained].mean())).fit(said)
    table, own = model.accuracies(), said.reindex(trained).dropna()
    for value, name in ((1, "sensitivity_train"), (0, "specificity_train")):
        part = own[labels[own.index].to_numpy() == value]
        table[name] = [(part[rule] == value).sum() / max((part[rule] >= 0).sum(), 1) for rule in said]
    unlabelled = [name for name in said.index if roles[name] == "unlabelled"]
    return model.predict(said.loc[unlabelled]), table


def cnn_settings(
    cohort,
    observer: str,
    roles,
    labels,
    settings,
    recipe: CnnRecipe,
    seeds,
    folder,
    state=None,
    weak=None,
    field_mm: float = 180.0,
    frames: int = 20,
):
    """(rows of mr_scores.csv of the best setting, settings table, losses): each setting once, the one with the best
    validation AUC under every seed. folder: where prepared cines lie."""
    rows, losses, scores = [], [], {}
    subjects = roles.index[roles != "unlabelled"]
    people, size = [*subjects, *([] if weak is None else weak.index)], max(setting.size for setting in settings)
    kinds = {
        kind: prepare_cohort(cohort, observer, Preprocessing(kind, size, field_mm, frames), folder / kind, people)
        for kind in dict.fromkeys(setting.masks for setting in settings)
    }
    for setting in settings:
        patches = kinds[setting.masks]
        model, learner = train_cnn_lstm(patches, roles, labels, setting, recipe, seeds[0], state, weak)
        scores[setting] = _cnn_rows(model, patches, subjects, labels, roles, seeds[0], recipe.precision)
        split = dict(tuple(scores[setting].dropna(subset=["score"]).groupby("split")))
        rows.append(
            {"size": setting.size, "attention": setting.attention, "masks": setting.masks}
            | {
                f"{side}_auc": auc(split[side]["label"], split[side]["score"])
                for side in ("validation", "test")
                if side in split
            }
        )
        losses += [row | {"seed": seeds[0]} for row in loss_rows(learner, f"CNN-LSTM {setting.size}")]
    table = pd.DataFrame(rows)
    best = int(np.argmax(table["validation_auc"]))
    chosen, tables = settings[best], [scores[settings[best]]]
    for seed in seeds[1:]:
        patches = kinds[chosen.masks]
        model, _ = train_cnn_lstm(patches, roles, labels, chosen, recipe, seed, state, weak)
        tables.append(_cnn_rows(model, patches, subjects, labels, roles, seed, recipe.precision))
    return pd.concat(tables, ignore_index=True), table.assign(chosen=table.index == best), losses


def all_settings(sizes, attention, masks, backbone: str, hidden: int) -> list[Setting]:
    """Rows of the settings table: input size × attention × masks."""
    return [Setting(size, bool(one), mask, backbone, hidden) for size, one, mask in product(sizes, attention, masks)]


def _cnn_rows(model, patches, subjects, labels, roles, seed, precision):
    rows = patches.usable(subjects).drop_duplicates("participant_id")
    scores = pd.Series(cnn_scores(model, patches, rows, precision), index=rows["participant_id"].to_numpy())
    return score_rows("cnnlstm", seed, scores.reindex(subjects), labels, roles)
