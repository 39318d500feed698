"""The paper's tables: every model's features under the same heads, errors and areas with intervals, and what is
gained."""

import numpy as np
import pandas as pd

from cmrlib.agreement import bootstrap, classification, paired_test
from cmrlib.papers.heartmae.comparators import COMPARATORS
from cmrlib.papers.heartmae.heads import HeadRecipe, Tasks, fit_heads
from cmrlib.papers.heartmae.learning import VARIANTS
from cmrlib.papers.heartmae.targets import EJECTION

MODELS = {"mean": "predicting the mean"} | COMPARATORS | VARIANTS
"""Rows of the tables, in their order."""


def predict_all(models: dict, targets: pd.DataFrame, tasks: Tasks, split: pd.Series, recipe: HeadRecipe, seeds=(1,)):
    """Heads for every model and seed: (long table of test predictions, model → Fitted of the first seed).

    models: name → bags; NAME_seed2 is the model NAME pretrained with another seed. The table has model, seed,
    participant_id, target, true, predicted, scale (the training subjects' SD); `mean` (or the training share of
    positives) is one of the models.
    """
    names, rows, fitted = list(tasks.names), [], {}
    train = targets.reindex(split.index[split == "train"])[names]
    tested = [s for s in targets.index if split.get(s) == "test"]
    constant = pd.DataFrame([train.mean()] * len(tested), index=tested)
    rows.append(_long(constant, targets, train).assign(model="mean", seed=0))
    for model, bags in models.items():
        for seed in seeds:
            heads = fit_heads(bags, targets, tasks, split, HeadRecipe(**(vars(recipe) | {"seed": seed})))
            fitted.setdefault(model, heads)
            found = heads.predict({s: bags[s] for s in tested if s in bags}).set_index("participant_id")
            name, _, pretrained = model.partition("_seed")
            rows.append(_long(found, targets, train).assign(model=name, seed=1000 * int(pretrained or 1) + seed))
    return pd.concat(rows, ignore_index=True), fitted


def _long(found, targets, train):
    table = (
        found.rename_axis("participant_id")
        .reset_index()
        .melt("participant_id", var_name="target", value_name="predicted")
    )
    true = (
        targets.rename_axis("participant_id").reset_index().melt("participant_id", var_name="target", value_name="true")
    )
    table = table.merge(true, on=["participant_id", "target"])
    return table.assign(scale=table["target"].map(train.std()))


def _subject_errors(predictions, targets=None):
    """Absolute error of each subject, model and target, averaged over seeds; also in SDs."""
    table = predictions if targets is None else predictions[predictions["target"].isin(list(targets))]
    table = table.dropna(subset=["true"])
    table = table.assign(error=(table["predicted"] - table["true"]).abs())
    table["scaled"] = table["error"] / table["scale"]
    return table.groupby(["model", "participant_id", "target"], as_index=False)[["error", "scaled"]].mean()


def error_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """Tables 1 and 2, figure S1: a row a model and target: mae (its unit), mae_sd (by the training SD), r (Pearson),
    and
    ratio to predicting the mean, with intervals over subjects; n."""
    errors = _subject_errors(predictions)
    means = predictions.groupby(["model", "participant_id", "target"], as_index=False)[["predicted", "true"]].mean()
    base = errors[errors["model"] == "mean"].set_index(["participant_id", "target"])["error"]
    rows = []
    for (model, target), part in errors.groupby(["model", "target"], sort=False):
        reference = base.reindex(list(zip(part["participant_id"], part["target"]))).to_numpy()
        pair = np.c_[part["error"], reference]
        mae = bootstrap(part["error"].to_numpy(), _mean).iloc[0]
        ratio = bootstrap(pair, _ratio).iloc[0]
        own = means[(means["model"] == model) & (means["target"] == target)].dropna()
        varies = len(own) > 2 and own["predicted"].std() > 0 and own["true"].std() > 0
        rows.append(
            {
                "model": model,
                "target": target,
                "n": len(part),
                "mae": mae["estimate"],
                "mae_low": mae["low"],
                "mae_high": mae["high"],
                "mae_sd": part["scaled"].mean(),
                "ratio": ratio["estimate"],
                "ratio_low": ratio["low"],
                "ratio_high": ratio["high"],
                "r": np.corrcoef(own["predicted"], own["true"])[0, 1] if varies else np.nan,
            }
        )
    return _in_order(pd.DataFrame(rows))


def _in_order(table):
    order = [name for name in MODELS if name in set(table["model"])]
    place = table["model"].map({name: n for n, name in enumerate(order)})
    return table.assign(_place=place).sort_values("_place", kind="stable").drop(columns="_place").reset_index(drop=True)


def _mean(values, axis=-1):
    return values.mean(axis)


def _ratio(ours, theirs, axis=-1):
    return ours.mean(axis) / theirs.mean(axis)


def gain_pct(predictions: pd.DataFrame, better: str, worse: str, targets=EJECTION) -> dict:
    """By how many percent the mean error (in SDs, over `targets`) of `better` is below that of `worse`: gain_pct, its
    interval over subjects, n. The same subjects under both, averaged over seeds; NaN where one was not run.
    """
    errors = _subject_errors(predictions, targets)
    both = errors.groupby(["participant_id", "model"])["scaled"].mean().unstack("model")
    if not {better, worse} <= set(both):
        return {"gain_pct": np.nan, "gain_pct_low": np.nan, "gain_pct_high": np.nan, "n": 0}
    row = bootstrap(both[[better, worse]].dropna(), lambda a, b, axis=-1: 100 * (1 - _ratio(a, b, axis))).iloc[0]
    return {"gain_pct": row["estimate"], "gain_pct_low": row["low"], "gain_pct_high": row["high"], "n": int(row["n"])}


def over_tasks(errors: pd.DataFrame, better: str = "flow", worse: str = "plain") -> pd.DataFrame:
    """Wilcoxon's signed-rank test over tasks (§ 5.1): one row of `agreement.paired_test`, and in how many tasks each
    model is best. errors: of `error_table`."""
    wide = errors.pivot(index="target", columns="model", values="mae_sd")
    if not {better, worse} <= set(wide):
        return pd.DataFrame()
    test = paired_test(wide[better].to_numpy(), wide[worse].to_numpy())
    best = wide.drop(columns="mean", errors="ignore").idxmin(axis=1).value_counts()
    return test.assign(better=better, worse=worse, n_best=int(best.get(better, 0)), n_tasks=len(wide))


def disease_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """Figure 2: a row a model and disease: ap, auc with intervals, n, n_positive; scores are means over seeds."""
    scores = predictions[predictions["model"] != "mean"].dropna(subset=["true"])
    scores = scores.groupby(["model", "target", "participant_id"], as_index=False)[["predicted", "true"]].mean()
    rows = []
    for (model, target), part in scores.groupby(["model", "target"], sort=False):
        found = classification(part["true"].to_numpy(), part["predicted"].to_numpy(), 0.5).set_index("metric")
        row = {
            "model": model,
            "target": target,
            "n": int(found["n"].iloc[0]),
            "n_positive": int(found["n_positive"].iloc[0]),
        }
        for short, metric in (("ap", "average_precision"), ("auc", "roc_auc")):
            one = found.loc[metric]
            row |= {short: one["estimate"], f"{short}_low": one["low"], f"{short}_high": one["high"]}
        rows.append(row)
    return _in_order(pd.DataFrame(rows)) if rows else pd.DataFrame(columns=["model", "target", "ap", "auc"])


def headline(predictions: pd.DataFrame, errors: pd.DataFrame, model: str) -> dict:
    """Metrics of a run: `lvef_mae_ratio` and the like for the four chambers; gains over the untrained encoder and PCA,
    and of flow weighting over the plain model, in these four, in LVEF alone and (`all_`) in all targets; each with its
    interval."""
    metrics = {}
    own = errors[errors["model"] == model].set_index("target")
    for target in EJECTION:
        name = f"{target.removesuffix('_pct')}_mae"
        there = target in own.index
        for ours, end in (("mae", ""), ("mae_low", "_low"), ("mae_high", "_high")):
            metrics[f"{name}_pct{end}"] = own.loc[target, ours] if there else np.nan
            metrics[f"{name}_ratio{end}"] = own.loc[target, ours.replace("mae", "ratio")] if there else np.nan
    for name, better, worse in (
        ("gain_vs_random", model, "random"),
        ("gain_vs_pca", model, "pca"),
        ("flow_gain", "flow", "plain"),
    ):
        for prefix, targets in (("", EJECTION), ("lvef_", ("lvef_pct",)), ("all_", None)):
            gain = gain_pct(predictions, better, worse, targets)
            metrics |= {f"{prefix}{name}_pct{end}": gain[f"gain_pct{end}"] for end in ("", "_low", "_high")}
    return metrics | {"n": int(predictions["participant_id"].nunique())}


def attention_shares(attention: pd.DataFrame) -> pd.DataFrame:
    """Attention of single views → a row a section: its share, and relative to an equal share of the subject's views."""
    count = attention.groupby("participant_id")["attention"].transform("size")
    table = attention.assign(relative=attention["attention"] * count)
    by = ["participant_id", "cine", "view", "k"]
    return table.groupby(by, as_index=False).agg(attention=("attention", "sum"), relative=("relative", "mean"))
