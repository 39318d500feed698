"""Scores and the paper's tables: five folds by patient, ablations and comparators on the same patients, paired
intervals."""

from dataclasses import replace

import numpy as np
import pandas as pd

from cmrlib.agreement import areas, choose_threshold
from cmrlib.agreement.resampling import bounded
from cmrlib.papers.sslhf.comparators import COMPARATORS
from cmrlib.papers.sslhf.task import HeartFailure, SslhfRestoration

METHODS = {
    "sslhf": "SSLHF", "scratch": "without stage one", "no_frames": "without frame covering",
    "no_shuffle": "without local shuffling", "no_patches": "without patch covering", "resnet50": "3-D ResNet-50",
    "densenet121": "3-D DenseNet-121", "ef_segmented": "EF by segmentation", "ef_truth": "EF, true",
}  # fmt: skip
"""Rows of tables I to III, and the comparator that the paper lacks."""

LEARNED = tuple(METHODS)[:7]

PAPER = pd.DataFrame(
    [
        ("sslhf", 0.8289, 0.7682, 0.8505, 0.8208),
        ("scratch", 0.7609, 0.7178, 0.7984, 0.7496),
        ("no_frames", 0.7682, 0.7328, 0.8043, 0.7774),
        ("no_shuffle", 0.7890, 0.7518, 0.8139, 0.7826),
        ("no_patches", 0.8145, 0.7650, 0.8293, 0.8204),
        ("resnet50", 0.7450, 0.7100, 0.7678, 0.7614),
        ("densenet121", 0.7145, 0.7052, 0.7822, 0.7614),
    ],
    columns=["method", "patch_auc", "patch_acc", "patient_auc", "patient_acc"],
).set_index("method")
"""Tables I to III as printed; means over five folds, without intervals."""

LEVELS = ("patch", "patient")


def variant(told: dict, method: str) -> tuple[SslhfRestoration | None, HeartFailure]:
    """Stage one, or None, and stage two of a learned row of the tables.

    told: parameters of 06_sslhf (task with cache, observer, precision, restore, classify) and comparator_width.
    """
    if method in COMPARATORS:
        return None, HeartFailure.of(told["task"] | {"backbone": method, "width": told["comparator_width"]})
    first = SslhfRestoration.of(told["task"])
    first = replace(first, kinds=tuple(kind for kind in first.kinds if method != f"no_{kind}"))
    return None if method == "scratch" else first, HeartFailure.of(told["task"])


def classify(cohort, taught: pd.Series, split: pd.Series, method: str, told: dict, seed: int):
    """(task, learner) of a method: both stages, found again. taught: the split of stage one."""
    first, task = variant(told, method)
    options = {"seed": seed, "precision": told["precision"], "state": task.cache}
    if first:
        restorer = first.train(cohort, told["observer"], taught, **told["restore"], **options)
        options["model"] = task.started_from(restorer.model, seed)
    return task, task.train(cohort, told["observer"], split, **told["classify"], **options)


def tested(task: HeartFailure, model, cohort, annotations: str, split: pd.Series, precision: str, **keys):
    """(`score_table` of the test subjects with these keys, `thresholds` of the validation subjects)."""
    labels, found = task.labels(cohort), {}
    for side in ("validation", "test"):
        people = split.index[split == side]
        found[side] = task.predict(model, cohort, people, annotations, precision=precision)
    chosen = thresholds(found["validation"], labels)
    return score_table(found["test"], labels, chosen, **keys), chosen


def thresholds(found: pd.DataFrame, labels: pd.Series) -> dict:
    """threshold, of patients, and patch_threshold: where sensitivity + specificity are best. found: rows of
    `HeartFailure.predict` of validation subjects."""
    parts = score_table(found, labels, {"threshold": 0.5, "patch_threshold": 0.5}).groupby("level")
    best = {level: choose_threshold(part["label"], part["score"], "youden") for level, part in parts}
    return {"threshold": best["patient"], "patch_threshold": best["patch"]}


def score_table(found: pd.DataFrame, labels: pd.Series, chosen: dict, **keys) -> pd.DataFrame:
    """Patches and patients below each other: level, participant_id, cine, k, label, score, threshold, n_patches, keys.

    found: rows of `HeartFailure.predict`. chosen: of `thresholds`. A patient's score is the mean over all his patches
    (equation 3), NaN where all his cines were refused.
    """
    found = found.assign(label=found["participant_id"].map(labels))
    patches = found[found["slice"] >= 0].rename(columns={"slice": "k"})
    patients = found.groupby("participant_id").agg(label=("label", "first"))
    patients = patients.join(patches.groupby("participant_id")["score"].agg(score="mean", n_patches="size"))
    columns = ["participant_id", "cine", "k", "label", "score"]
    both = [
        patches[columns].assign(level="patch", threshold=chosen["patch_threshold"]),
        patients.reset_index().assign(level="patient", threshold=chosen["threshold"]),
    ]
    return pd.concat(both, ignore_index=True).assign(**keys)


def ef_scores(measures: pd.DataFrame, labels: pd.Series, subjects, limit_pct: float, **keys) -> pd.DataFrame:
    """The same, patients only, for an ejection fraction as the score: 1 − EF/100, positive where EF is below the limit.

    measures: participant_id, lvef_pct; NaN stays NaN and is counted.
    """
    ef = measures.groupby("participant_id")["lvef_pct"].mean().reindex(subjects)
    table = pd.DataFrame({"participant_id": subjects, "label": labels.reindex(subjects).to_numpy()})
    limit = np.nextafter(1 - limit_pct / 100, 1)
    return table.assign(score=1 - ef.to_numpy() / 100, level="patient", threshold=limit, **keys)


def study_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Tables I to III: a row a method with patch and patient AUC and accuracy, `_low`, `_high` (over patients, and over
    seeds where there are several), n_runs (folds × seeds done), n_patients, n_missing, and the paper's value as
    `_paper`.

    Values are means over folds and seeds, as the paper's. scores: of `score_table` with method, fold, seed, all methods
    below each other.
    """
    rows = []
    for method in [name for name in METHODS if name in set(scores["method"])]:
        part = scores[scores["method"] == method]
        row = {"method": method, "n_runs": len(areas.runs_of(part)), "n_patients": part["participant_id"].nunique()}
        for level, one in part.groupby("level"):
            known = one.dropna(subset=["score"])
            for name, found in (("auc", areas.mean_auc(known)), ("acc", areas.by_runs(known, _accuracy, "share"))):
                row |= bounded(f"{level}_{name}", found.value, *found.bounds())
            row["n_missing"] = len(one) - len(known)  # the patients', which come last
        rows.append(row)
    values = [f"{level}_{what}" for level in LEVELS for what in ("auc", "acc")]
    names = [name + end for name in values for end in ("", "_low", "_high", "_paper")]
    table = pd.DataFrame(rows).join(PAPER.add_suffix("_paper"), on="method")
    return table.reindex(columns=["method", *names, "n_patients", "n_runs", "n_missing"])


def _accuracy(rows):
    right = (rows["score"] >= rows["threshold"]) == (rows["label"] > 0.5)
    return areas.ratio(right, np.ones(len(rows)), rows["participant_id"])


def paired_table(scores: pd.DataFrame, better: str = "sslhf") -> pd.DataFrame:
    """How much larger `better`'s AUC is than every other method's on the same folds, seeds and patients: a row a method
    and level with gain, gain_low, gain_high (over patients, and over seeds or draws where there are several), p_holm
    (of all methods of a level), n_runs, n_draws (of the method that has fewer), n_patients, and the smallest and
    largest gain of a single run."""
    rows = []
    for method in [name for name in METHODS if name in set(scores["method"]) - {better}]:
        for level in LEVELS:
            both = [scores[(scores["level"] == level) & (scores["method"] == name)] for name in (better, method)]
            if all(len(one) for one in both):
                rows.append({"method": method, "level": level} | areas.compared_auc(*both))
    names = {"estimate": "gain", "low": "gain_low", "high": "gain_high", "n": "n_patients"}
    columns = ["method", "level", "gain", "gain_low", "gain_high", "p_holm", "least", "most"]
    columns += ["n_runs", "n_draws", "n_patients"]
    table = pd.DataFrame(rows)
    if rows:
        table["p_holm"] = table.groupby("level")["p"].transform(areas.holm)
    return table.rename(columns=names).reindex(columns=columns)


def study_metrics(table: pd.DataFrame, gains: pd.DataFrame, prefix: str = "") -> dict:
    """patient_auc, patient_acc, patch_auc, patch_acc of SSLHF; `METHOD_…` of all others; `gain_over_METHOD`, and
    n_gain_over_METHOD patients."""
    metrics = {}
    for row in table.to_dict("records"):
        method = "" if row["method"] == "sslhf" else f"{row['method']}_"
        values = {name: row[name] for name in row if name.startswith(LEVELS) and not name.endswith("_paper")}
        metrics |= {f"{prefix}{method}{name}": value for name, value in values.items()}
    for row in gains[gains["level"] == "patient"].to_dict("records"):
        name = f"{prefix}gain_over_{row['method']}"
        metrics |= {f"{name}{end}": row[f"gain{end}"] for end in ("", "_low", "_high")}
        metrics[f"n_{name}"] = row["n_patients"]
    return metrics
