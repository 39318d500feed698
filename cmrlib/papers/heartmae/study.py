"""The paper's tables: every model's features under the same heads, errors and areas with intervals, and what is
gained."""

import numpy as np
import pandas as pd

from cmrlib.agreement import bootstrap, classification
from cmrlib.agreement.resampling import bounded
from cmrlib.papers.heartmae.probe import Probe
from cmrlib.papers.heartmae.targets import EJECTION
from cmrlib.papers.heartmae.task import VARIANTS

MODELS = {
    "mean": "predicting the mean",
    "random": "untrained encoder",
    "pca": "PCA of the temporal SD",
    "motion": "12 numbers of motion",
    "expert": "18 measurements",
    "natural": "natural videos",
} | VARIANTS
"""Rows of the tables, in their order."""


def predict_all(models: dict, truth: pd.DataFrame, kind: str, split: pd.Series, heads: dict):
    """A probe for every model and seed: (long table of test predictions, model → (probe, network) of the first seed).

    models: name → bags; NAME_seed2 is the model NAME pretrained with another seed. truth: targets, indexed by
    participant_id. heads: seeds, epochs, learning_rate and batch_size, and fields of `Probe`. The table has model,
    seed, participant_id, target, true, predicted, scale (the training subjects' SD); `mean` (or the training share of
    positives) is one of the models.
    """
    train = truth.reindex(split.index[split == "train"])
    tested, fitted = [s for s in truth.index if split.get(s) == "test"], {}
    fields = dict(heads)
    seeds, epochs, rate, bs = (fields.pop(name) for name in ("seeds", "epochs", "learning_rate", "batch_size"))
    rows = [
        long_table(pd.DataFrame([train.mean()] * len(tested), index=tested), truth, train).assign(model="mean", seed=0)
    ]
    for model, bags in models.items():
        probe = Probe.of(bags, truth, kind, **fields)
        for seed in seeds:
            learn = probe.train(None, "", split, epochs, rate, bs=bs, seed=seed, precision="fp32")
            fitted.setdefault(model, (probe, learn.model))
            found = probe.predict(learn.model, {s: bags[s] for s in tested if s in bags}).set_index("participant_id")
            name, _, pretrained = model.partition("_seed")
            rows.append(long_table(found, truth, train).assign(model=name, seed=1000 * int(pretrained or 1) + seed))
    return pd.concat(rows, ignore_index=True), fitted


def long_table(found: pd.DataFrame, truth: pd.DataFrame, train: pd.DataFrame) -> pd.DataFrame:
    """Predictions, subjects by targets, as rows: participant_id, target, predicted, true, scale (the SD in `train`)."""
    both = {"predicted": found.unstack(), "true": truth.loc[found.index, found.columns].unstack()}
    table = pd.DataFrame(both).rename_axis(["target", "participant_id"]).reset_index()
    return table.assign(scale=table["target"].map(train.std()))[["participant_id", "target", *both, "scale"]]


def _subject_errors(predictions, targets=None):
    """Absolute error of each subject, model and target, averaged over seeds; also in SDs."""
    table = predictions if targets is None else predictions[predictions["target"].isin(list(targets))]
    table = table.dropna(subset=["true"])
    table = table.assign(error=(table["predicted"] - table["true"]).abs())
    table["scaled"] = table["error"] / table["scale"]
    return table.groupby(["model", "participant_id", "target"], as_index=False)[["error", "scaled"]].mean()


def error_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """Tables 1 and 2, figure S1: a row a model and target: mae (its unit) and ratio to predicting the mean, with
    intervals over subjects, mae_sd (by the training SD), r (Pearson), n."""
    errors = _subject_errors(predictions)
    means = predictions.groupby(["model", "target", "participant_id"])[["predicted", "true"]].mean()
    base = errors.loc[errors["model"] == "mean", ["participant_id", "target", "error"]]
    errors = errors.merge(base.rename(columns={"error": "base"}), "left", ["participant_id", "target"])
    rows = []
    for (model, target), part in errors.groupby(["model", "target"], sort=False):
        own = means.loc[model, target].dropna()
        varies = len(own) > 2 and own.nunique().min() > 1
        rows.append(
            {"model": model, "target": target, "n": int(part["error"].count()), "mae_sd": part["scaled"].mean()}
            | _interval("mae", bootstrap(part["error"].to_numpy(), np.mean))
            | _interval("ratio", bootstrap(part[["error", "base"]], _ratio))
            | {"r": np.corrcoef(own["predicted"], own["true"])[0, 1] if varies else np.nan}
        )
    return _in_order(pd.DataFrame(rows))


def _interval(name, found):
    """NAME, NAME_low, NAME_high of a table of estimates whose first row counts."""
    return bounded(name, *found.iloc[0][["estimate", "low", "high"]])


def _in_order(table):
    order = [*MODELS, *table["model"].unique()]
    return table.sort_values("model", key=lambda names: names.map(order.index), kind="stable", ignore_index=True)


def _ratio(ours, theirs, axis=-1):
    return ours.mean(axis) / theirs.mean(axis)


def gain_pct(predictions: pd.DataFrame, better: str, worse: str, targets=EJECTION) -> dict:
    """By how many percent the mean error (in SDs, over `targets`) of `better` is below that of `worse`: gain_pct, its
    interval over subjects, n. The same subjects under both, averaged over seeds; NaN where one was not run.
    """
    errors = _subject_errors(predictions, targets)
    both = errors.groupby(["participant_id", "model"])["scaled"].mean().unstack("model")
    if not {better, worse} <= set(both):
        return bounded("gain_pct") | {"n": 0}
    both = both[[better, worse]].dropna()
    gain = bootstrap(both, lambda a, b, axis=-1: 100 * (1 - _ratio(a, b, axis)))
    return _interval("gain_pct", gain) | {"n": len(both)}


def disease_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """Figure 2: a row a model and disease: ap, auc with intervals, n, n_positive; scores are means over seeds."""
    scores = predictions[predictions["model"] != "mean"].dropna(subset=["true"])
    scores = scores.groupby(["model", "target", "participant_id"], as_index=False)[["predicted", "true"]].mean()
    rows = []
    for (model, target), part in scores.groupby(["model", "target"], sort=False):
        found = classification(part["true"].to_numpy(), part["predicted"].to_numpy(), 0.5).set_index("metric")
        counts = {name: int(found[name].iloc[0]) for name in ("n", "n_positive")}
        areas = _interval("ap", found.loc[["average_precision"]]) | _interval("auc", found.loc[["roc_auc"]])
        rows.append({"model": model, "target": target} | counts | areas)
    return _in_order(pd.DataFrame(rows)) if rows else pd.DataFrame(columns=["model", "target", "ap", "auc"])
