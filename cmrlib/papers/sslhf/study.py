"""The paper's tables: five folds by patient, every ablation and comparator on the same patients, paired intervals."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from cmrlib.agreement import bootstrap, choose_threshold, roc_pr
from cmrlib.learning.sidebyside import side_by_side
from cmrlib.papers.sslhf.learning import Setup, classify, pretrain, restoration_rows
from cmrlib.papers.sslhf.patches import Patches
from cmrlib.papers.sslhf.prediction import HeartFailure, auc, by_patient, score_patches

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
_KEYS = ("fold", "seed", "draw")


def kinds_of(method: str, kinds) -> tuple[str, ...]:
    """Transformations of a method's stage one; none for those without it. Raises ValueError for unknown methods."""
    if method not in LEARNED:
        raise ValueError(f"unknown method {method!r}; a network is trained for {', '.join(LEARNED)}")
    if method in ("scratch", "resnet50", "densenet121"):
        return ()
    return tuple(kind for kind in kinds if method != f"no_{kind}")


def train_method(
    found: Patches, split: pd.Series, method: str, setup: Setup, seed: int, folder=None, unlabelled: bool = False
):
    """(HeartFailure, {stage: learner}) of one row of the tables: its jobs, and thresholds from validation patients."""
    learners = {}
    if kinds_of(method, setup.transformations.kinds):
        learners["restoration"] = _restoration(found, split, method, setup, seed, folder, unlabelled)
    comparator = method if method in ("resnet50", "densenet121") else ""
    learners["classification"] = classify(
        found,
        split,
        setup,
        seed,
        folder,
        learners.get("restoration"),
        comparator,
        f"{METHODS[method]}, classification, seed {seed}",
    )
    model = HeartFailure(
        learners["classification"].model, found.preprocessing, precision=setup.classification.precision
    )
    checked = score_patches(found, found.side(split, "validation"), model)
    patients = by_patient(checked)
    model.patch_threshold = choose_threshold(checked["label"], checked["score"], "youden")
    model.threshold = choose_threshold(patients["label"], patients["score"], "youden")
    return model, learners


def _restoration(found, split, method, setup, seed, folder, unlabelled):
    """Stage one of a method."""
    task = replace(setup.transformations, kinds=kinds_of(method, setup.transformations.kinds))
    return pretrain(
        found,
        split,
        replace(setup, transformations=task),
        seed,
        folder,
        unlabelled,
        f"{METHODS[method]}, restoration, seed {seed}",
    )


def train_ahead(jobs, processes: int):
    """Train what `train_method` will be asked for, several jobs at a time: each is then found finished in its folder.

    jobs: arguments of `train_method`, a tuple each. Methods that share a stage one wait for it; meanwhile those without
    one are trained.
    """
    restorations, others, waiting = {}, [], []
    for job in jobs:
        found, split, method, setup, seed, _, unlabelled = job
        kinds = kinds_of(method, setup.transformations.kinds)
        if not kinds:
            others.append(partial(train_method, *job))
            continue
        people = tuple(sorted(set(restoration_rows(found, split, unlabelled)["participant_id"])))
        restorations.setdefault((kinds, people, seed), partial(_restoration, *job))
        waiting.append(partial(train_method, *job))
    for together in ([*restorations.values(), *others], waiting):
        if together:
            side_by_side(together, processes)


def tested(found: Patches, split: pd.Series, model: HeartFailure, **keys) -> pd.DataFrame:
    """Scores of the test patients, patches and patients below each other: level, participant_id, cine, k, label, score,
    threshold, n_patches, keys."""
    patches = score_patches(found, found.side(split, "test"), model)
    patients = by_patient(patches)
    table = pd.concat(
        [
            patches.drop(columns="row").assign(level="patch", threshold=model.patch_threshold),
            patients.assign(level="patient", threshold=model.threshold),
        ],
        ignore_index=True,
    )
    return table.assign(**keys)


def tested_by_ef(measures: pd.DataFrame, labels: pd.Series, split: pd.Series, limit: float, **keys) -> pd.DataFrame:
    """The same, patients only, for an ejection fraction as the score: 1 − EF/100, positive where EF is below `limit`.

    measures: participant_id, lvef_pct; NaN stays NaN and is counted.
    """
    people = split.index[split == "test"]
    ef = measures.groupby("participant_id")["lvef_pct"].mean().reindex(people)
    table = pd.DataFrame(
        {"participant_id": people, "label": labels.reindex(people).to_numpy(), "score": 1 - ef.to_numpy() / 100}
    )
    return table.assign(level="patient", threshold=np.nextafter(1 - limit / 100, 1), **keys)


def _mean_over_runs(values, runs):
    """Mean over folds and seeds of a statistic that is asked for one run's rows; those without a value are left out."""
    found = [values(runs == run) for run in np.unique(runs)]
    found = [one for one in found if np.isfinite(one)]
    return float(np.mean(found)) if found else float("nan")


def mean_auc(labels, scores, runs) -> float:
    return _mean_over_runs(lambda here: auc(labels[here], scores[here]), runs)


def mean_accuracy(labels, called, runs) -> float:
    return _mean_over_runs(lambda here: np.mean(labels[here] == called[here]), runs)


def runs_of(table: pd.DataFrame) -> np.ndarray:
    """A number for each fold, seed and, where labels were drawn several times, draw."""
    return table.groupby(_keys(table)).ngroup().to_numpy()


def _keys(table):
    return [name for name in _KEYS if name in table]


def study_table(scores: pd.DataFrame, n_boot: int = 1000) -> pd.DataFrame:
    """Tables I to III: a row a method with patch and patient AUC and accuracy, `_low`, `_high` (bootstrap over
    patients), n_runs (folds × seeds done), n_patients, n_missing, and the paper's value as `_paper`.

    Values are means over folds and seeds, as the paper's. scores: of `tested`, all methods below each other.
    """
    rows = []
    for method in [name for name in METHODS if name in set(scores["method"])]:
        part = scores[scores["method"] == method]
        row = {
            "method": method,
            "n_runs": part.groupby(_keys(part)).ngroups,
            "n_patients": part["participant_id"].nunique(),
        }
        for level in LEVELS:
            one = part[part["level"] == level]
            row |= _level_row(one, level, n_boot) if len(one) else {}
        for name in PAPER if method in PAPER.index else ():
            row[f"{name}_paper"] = PAPER.loc[method, name]
        rows.append(row)
    names = [
        f"{level}_{what}{end}" for level in LEVELS for what in ("auc", "acc") for end in ("", "_low", "_high", "_paper")
    ]
    table = pd.DataFrame(rows)
    return table.reindex(columns=["method", *names, "n_patients", "n_runs", "n_missing"])


def _level_row(part, level, n_boot):
    row = {}
    known = part.dropna(subset=["score"])
    columns = pd.DataFrame(
        {
            "label": known["label"],
            "score": known["score"],
            "called": (known["score"] >= known["threshold"]).astype(float),
            "run": runs_of(known),
        }
    )
    for name, statistic in (
        ("auc", lambda y, s, c, r: mean_auc(y, s, r)),
        ("acc", lambda y, s, c, r: mean_accuracy(y, c, r)),
    ):
        found = bootstrap(columns, statistic, known["participant_id"], n_boot).iloc[0]
        row |= {
            f"{level}_{name}": found["estimate"],
            f"{level}_{name}_low": found["low"],
            f"{level}_{name}_high": found["high"],
        }
    return row | ({"n_missing": len(part) - len(known)} if level == "patient" else {})


def paired_table(scores: pd.DataFrame, better: str = "sslhf", n_boot: int = 1000) -> pd.DataFrame:
    """How much larger `better`'s AUC is than every other method's on the same folds, seeds and patients: a row a method
    and level with gain, gain_low, gain_high (bootstrap over patients, folds and seeds averaged), n_runs, n_patients,
    and the smallest and largest gain of a single run."""
    rows = []
    for method in [name for name in METHODS if name in set(scores["method"]) - {better}]:
        for level in LEVELS:
            pair = _pairs(scores[scores["level"] == level], better, method)
            if pair.empty:
                continue
            runs = runs_of(pair)
            columns = pair[["label", "score", "score_other"]].assign(run=runs)
            found = bootstrap(columns, _gain, pair["participant_id"], n_boot).iloc[0]
            single = [_gain(*(column.to_numpy() for _, column in columns[runs == run].items())) for run in set(runs)]
            rows.append(
                {
                    "method": method,
                    "level": level,
                    "gain": found["estimate"],
                    "gain_low": found["low"],
                    "gain_high": found["high"],
                    "least": min(single),
                    "most": max(single),
                    "n_runs": len(set(runs)),
                    "n_patients": pair["participant_id"].nunique(),
                }
            )
    return pd.DataFrame(
        rows, columns=["method", "level", "gain", "gain_low", "gain_high", "least", "most", "n_runs", "n_patients"]
    )


def _gain(labels, scores, others, runs):
    return mean_auc(labels, scores, runs) - mean_auc(labels, others, runs)


def _pairs(scores, better, other):
    """Rows that both methods have; an EF has no seed of its own and stands beside all."""
    keys = ["participant_id", "fold", *(name for name in ("cine", "k") if scores[name].notna().any())]
    one, two = (scores[scores["method"] == name].dropna(subset=["score"]) for name in (better, other))
    if other in LEARNED:
        keys = list(dict.fromkeys([*keys, *_keys(scores)]))
    return one.merge(two[[*keys, "score"]], on=keys, suffixes=("", "_other"))


def study_metrics(table: pd.DataFrame, gains: pd.DataFrame) -> dict:
    """patient_auc, patient_acc, patch_auc, patch_acc of SSLHF; `METHOD_…` of all others; `gain_over_METHOD`."""
    metrics = {}
    for row in table.to_dict("records"):
        prefix = "" if row["method"] == "sslhf" else f"{row['method']}_"
        metrics |= {
            f"{prefix}{name}": value
            for name, value in row.items()
            if name.startswith(LEVELS) and not name.endswith("_paper")
        }
    for row in gains[gains["level"] == "patient"].to_dict("records"):
        metrics |= {f"gain_over_{row['method']}{end}": row[f"gain{end}"] for end in ("", "_low", "_high")}
    return metrics


def mean_roc(scores: pd.DataFrame) -> pd.DataFrame:
    """Figure 4: method, level, fpr, recall: ROC curves averaged over folds and seeds at the same share of false alarms.

    Runs with one class only have no curve and are left out.
    """
    grid, rows = np.linspace(0, 1, 101), []
    for (method, level), part in scores.dropna(subset=["score"]).groupby(["method", "level"], sort=False):
        curves = [_recall_at(grid, run) for _, run in part.groupby(_keys(part)) if run["label"].nunique() == 2]
        if curves:
            rows.append(pd.DataFrame({"method": method, "level": level, "fpr": grid, "recall": np.mean(curves, 0)}))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["method", "level", "fpr", "recall"])


def _recall_at(grid, run):
    curve = roc_pr(run["label"], run["score"])
    recall = np.interp(grid, curve["fpr"], curve["recall"])
    recall[0] = 0.0
    return recall


def few_labels_table(scores: pd.DataFrame, n_boot: int = 1000) -> pd.DataFrame:
    """What stage one is worth with fewer labelled patients: a row a number with patient AUC pretrained and scratch, and
    their paired gain, each with `_low` and `_high` (bootstrap over patients; folds, seeds and draws of the labels
    averaged), and the smallest and largest gain of a single run. scores: of `tested`, with a column `labelled`, and
    `draw` where labels were drawn several times."""
    rows = []
    for labelled, part in scores.groupby("labelled"):
        values = study_table(part, n_boot).set_index("method")
        gains = paired_table(part, "sslhf", n_boot).set_index(["method", "level"]).loc[("scratch", "patient")]
        row = {"labelled": labelled} | {f"gain{end}": gains[f"gain{end}"] for end in ("", "_low", "_high")}
        row |= {"gain_least": gains["least"], "gain_most": gains["most"]}
        for method, name in (("sslhf", "pretrained"), ("scratch", "scratch")):
            row |= {f"{name}{end}": values.loc[method, f"patient_auc{end}"] for end in ("", "_low", "_high")}
        rows.append(row | {"n_runs": gains["n_runs"], "n_patients": gains["n_patients"]})
    return pd.DataFrame(rows)


def few_labels_metrics(table: pd.DataFrame) -> dict:
    """few12_patient_auc, few12_scratch_patient_auc, few12_gain, … of `few_labels_table`, with intervals."""
    names = {"pretrained": "patient_auc", "scratch": "scratch_patient_auc", "gain": "gain"}
    found = {
        f"few{row['labelled']}_{name}{end}": row[f"{of}{end}"]
        for row in table.to_dict("records")
        for of, name in names.items()
        for end in ("", "_low", "_high")
    }
    return found | {
        f"few{row['labelled']}_gain_{end}": row[f"gain_{end}"]
        for row in table.to_dict("records")
        for end in ("least", "most")
    }


def ablations_by_labels(scores: pd.DataFrame, n_boot: int = 1000) -> pd.DataFrame:
    """What SSLHF gains over every other method at patient level: rows of `paired_table` for each number of labelled
    patients, which stands in `labelled`. scores: as of `few_labels_table`."""
    parts = [
        paired_table(part, "sslhf", n_boot).assign(labelled=labelled) for labelled, part in scores.groupby("labelled")
    ]
    table = pd.concat(parts, ignore_index=True)
    return table[table["level"] == "patient"].reset_index(drop=True)


def ablations_metrics(table: pd.DataFrame) -> dict:
    """labels12_gain_over_METHOD, with interval and number of patients, … of `ablations_by_labels`."""
    metrics = {}
    for row in table.to_dict("records"):
        name = f"labels{row['labelled']}_gain_over_{row['method']}"
        metrics |= {f"{name}{end}": row[f"gain{end}"] for end in ("", "_low", "_high")}
        metrics[f"n_{name}"] = row["n_patients"]
    return metrics
