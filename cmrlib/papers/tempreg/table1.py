"""The paper's table 1: every method on the same sections, errors in frames, and what the structured loss is worth."""

import time
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
from fastai.learner import Learner

from cmrlib.agreement import bootstrap
from cmrlib.agreement.summary import with_intervals
from cmrlib.learning.training import ExactResume
from cmrlib.papers.tempreg.comparators import frames_of_areas, graph_cut_areas, level_set_areas, mask_areas
from cmrlib.papers.tempreg.targets import DECODINGS, best_constant, frame_difference, target_curve
from cmrlib.papers.tempreg.task import TempReg, random_offsets

METHODS = {
    "level_set": "level set",
    "graph_cut": "graph cut",
    "area": "segmented area (TernausNet)",
    "cnn_regression": "CNN + regression",
    "without_tsc": "TempReg-Net without L_temp",
    "tempreg": "TempReg-Net",
    "tuned": "TempReg-Net, fine-tuned on the others",
    "constant": "best constant answer",
    "blind": "the same, not told where recordings begin",
}
"""Rows of table 1, in its order."""

LEARNED = ("cnn_regression", "without_tsc", "tempreg")
AREAS = ("level_set", "graph_cut", "area")

ERRORS = ["afd_ed", "afd_es", "afd_ed_cyclic", "afd_es_cyclic", "afd_ed_ms", "afd_es_ms"]


def variant(task: TempReg, method: str) -> TempReg:
    """The task of a learned row of table 1: as it is, without the structured loss, or without the LSTM too."""
    changes = {"tempreg": {}, "without_tsc": {"beta": 0.0}, "cnn_regression": {"beta": 0.0, "lstm": "none"}}
    return replace(task, **changes[method])


def best_on_validation(learners: dict[TempReg, Learner], cohort, sections, seed: int) -> tuple[TempReg, Learner]:
    """Of several trained tasks, say with other weights of the structured loss, and of the ways to decode their curves:
    the one with the smallest mean cyclic aFD over the validation subjects' sections, shown from random frames on."""
    tried = []
    for task, learn in learners.items():
        for how in DECODINGS:
            one = replace(task, decoding=how)
            tried.append((_validation_error(cohort, one, learn.model, sections, seed), len(tried), one, learn))
    return min(tried)[2:]


def _validation_error(cohort, task, model, sections, seed):
    checked = sections[sections["split"] == "validation"]
    found = task.predict(
        model, cohort, checked["participant_id"].unique(), views=checked["view"].unique(), offset_seed=seed
    )
    errors = frame_errors(found, checked)
    return float(errors[["afd_ed_cyclic", "afd_es_cyclic"]].mean().mean())


def found_by_areas(cohort, sections, method: str, observer: str = "") -> pd.DataFrame:
    """ED and ES of sections by level_set, graph_cut, or the LV area that `observer` drew through whole cycles (area).

    Columns as `TempReg.predict`, as far as they are known.
    """
    rows = []
    for name, part in sections.groupby("cine", sort=False):
        cine = cohort.cine(name)
        if method == "area":
            if not cohort.observer(observer).has(name):
                continue
            drawn = cohort.observer(observer).mask(name)
            if len(drawn.annotated) < cine.frames:
                continue
        for row in part.itertuples():
            start = time.monotonic()
            areas = (
                mask_areas(drawn, row.k)
                if method == "area"
                else {"level_set": level_set_areas, "graph_cut": graph_cut_areas}[method](cine, row.k)
            )
            ed, es = frames_of_areas(areas)
            rows.append(
                (
                    row.participant_id,
                    name,
                    row.view,
                    row.k,
                    cine.frame_step_ms,
                    ed,
                    es,
                    np.nan if method == "area" else time.monotonic() - start,
                )
            )
    return pd.DataFrame(
        rows, columns=["participant_id", "cine", "view", "slice", "frame_step_ms", "ed", "es", "seconds"]
    )


def found_by_constant(cohort, sections, learned_from=None, offset_seed=None) -> pd.DataFrame:
    """One answer for all `sections`: the one with the smallest cyclic aFD on the sections `learned_from`, or, where
    they are not given, on all other subjects' sections.

    It knows where recordings begin, which networks are not told; with an `offset_seed` neither is it told, and the same
    frame is its answer for sections shown as `TempReg.predict` shows them with this seed.
    """
    if learned_from is None:
        return pd.concat(
            [
                found_by_constant(cohort, part, sections.drop(part.index), offset_seed)
                for _, part in sections.groupby("participant_id")
            ],
            ignore_index=True,
        )
    share = {phase: best_constant(learned_from[phase], learned_from["frames"]) for phase in ("ed", "es")}
    steps = cohort.cines.set_index("cine")["frame_step_ms"]
    offsets = (
        0
        if offset_seed is None
        else [random_offsets(cohort.cine(row.cine), offset_seed, row.frames)[row.k] for row in sections.itertuples()]
    )
    found = sections[["participant_id", "cine", "view"]].assign(
        slice=sections["k"], frame_step_ms=sections["cine"].map(steps).astype(float), seconds=0.0
    )
    return found.assign(
        **{
            phase: (np.round(share[phase] * sections["frames"]) - offsets) % sections["frames"]
            for phase in ("ed", "es")
        }
    )


def frame_errors(found: pd.DataFrame, sections: pd.DataFrame, **keys) -> pd.DataFrame:
    """One row a section: what was found beside what is true, and the differences ERRORS in frames and ms.

    found: of `TempReg.predict` (whole cines, slice −1, are compared too) or of a comparator; NaN where nothing was
    found, which counts as half a cycle, the worst there is. sections: of `section_table`. keys: further columns.
    """
    whole = sections.drop_duplicates("cine").assign(k=-1)
    truth = pd.concat([sections, whole.assign(kind="cine")])[["cine", "k", "kind", "frames", "ed", "es"]]
    truth = truth.rename(columns={"k": "slice", "ed": "ed_true", "es": "es_true"})
    table = found.drop(columns="frames", errors="ignore").merge(truth, on=["cine", "slice"])
    for phase in ("ed", "es"):
        lost = table[phase].isna()
        plain = frame_difference(table[phase], table[f"{phase}_true"])
        cyclic = frame_difference(table[phase], table[f"{phase}_true"], table["frames"])
        worst = table["frames"] / 2
        table[f"afd_{phase}"] = np.where(lost, worst, plain)
        table[f"afd_{phase}_cyclic"] = np.where(lost, worst, cyclic)
        table[f"afd_{phase}_ms"] = table[f"afd_{phase}_cyclic"] * table["frame_step_ms"]
    return table.assign(**keys)


def afd_table(errors: pd.DataFrame, by=("method",)) -> pd.DataFrame:
    """Table 1: a row a group with aFD, its interval over subjects, SD over sections, and seconds a sequence.

    Sections only, and without those of the short axis that do not show the LV, unless they are grouped `by` kind.
    `afd_ed_subject_cyclic` and the like are means of subjects' means. n: subjects, n_sections.
    """
    by, rows = list(by), []
    sections = errors[(errors["slice"] >= 0) & (("kind" in by) | showing_lv(errors))]
    for key, part in sections.groupby(by, sort=False):
        row = dict(zip(by, key, strict=True))
        row |= with_intervals(part.assign(_all=0), ERRORS, ["_all"]).iloc[0].drop("_all").to_dict()
        row |= {name.replace("afd", "sd"): part[name].std() for name in ERRORS[:4]}
        means = part.groupby("participant_id")[ERRORS[2:4]].mean().mean()
        row |= {name.replace("_cyclic", "_subject_cyclic"): means[name] for name in means.index}
        rows.append(row | {"n_sections": len(part), "seconds": part["seconds"].mean()})
    table = pd.DataFrame(rows)
    return table[[c for c in table if not c.startswith("n_afd") and not c.startswith("n_undefined")]]


def showing_lv(errors) -> pd.Series:
    """Which rows of `frame_errors` are sections that show the LV, as far as the observer drew it."""
    return errors["kind"] != "sax without LV"


def paired_gain(errors: pd.DataFrame, better: str, worse: str, error: str) -> dict:
    """Mean over subjects of how much smaller `better`'s error is than `worse`'s, with its interval.

    Paired: the same sections of the same subjects, averaged over sections and seeds. Returns gain, gain_low, gain_high,
    n; NaN where one of the two was not run.
    """
    sections = errors[(errors["slice"] >= 0) & showing_lv(errors)]
    means = sections.groupby(["participant_id", "method"])[error].mean().unstack("method")
    if not {better, worse} <= set(means):
        return {"gain": np.nan, "gain_low": np.nan, "gain_high": np.nan, "n": 0}
    row = bootstrap((means[worse] - means[better]).dropna(), lambda a, axis=-1: np.mean(a, axis=axis)).iloc[0]
    return {"gain": row["estimate"], "gain_low": row["low"], "gain_high": row["high"], "n": int(row["n"])}


def afd_metrics(errors: pd.DataFrame) -> dict:
    """afd_ed, …, of TempReg-Net, each with its interval over subjects; `_without_tsc` without the structured loss,
    `_METHOD` of others. Cyclic ones: `_constant` of the best constant answer, `_gain_constant` over it, `_gain_blind`
    over one that is not told where recordings begin, `_cine` of whole cines, `_all` with sections without LV."""
    table, metrics = afd_table(errors).set_index("method"), {}
    for method in table.index.drop(["constant", "blind"]):
        suffix = "" if method == "tempreg" else f"_{method}"
        for name, end in product(ERRORS, ("", "_low", "_high")):
            metrics[name + suffix + end] = table.loc[method, name + end]
    own = errors[errors["method"] == "tempreg"]
    parts = {
        "constant": table.loc["constant"],
        "all": afd_table(own.assign(kind="any")).iloc[0],
        "cine": afd_table(own[own["slice"] < 0].assign(slice=0)).iloc[0],
    }
    for phase in ("ed", "es"):
        for (part, row), end in product(parts.items(), ("", "_low", "_high")):
            metrics[f"afd_{phase}_{part}{end}"] = row[f"afd_{phase}_cyclic{end}"]
        for other in ("constant", "blind"):
            gain = paired_gain(errors, "tempreg", other, f"afd_{phase}_cyclic")
            metrics |= {f"afd_{phase}_gain_{other}{key[4:]}": value for key, value in gain.items() if key != "n"}
    return metrics | {"n": int(errors["participant_id"].nunique())}


def curve_case(cohort, task: TempReg, models, row) -> dict:
    """What `plots.frame_curves` draws of one row of `frame_errors`: curves and frames on the network's even grid."""
    cine, k = cohort.cine(row["cine"]), int(row["slice"])
    section = cine.section(k)
    places = {name: section.to_even(row[name], task.frames) for name in ("ed", "es", "ed_true", "es_true")}
    target = target_curve(places["ed_true"], places["es_true"], task.frames, task.target)
    return places | {"predicted": task.curves(models, cine)[k], "target": target}


def offset_spread(cohort, task: TempReg, models, cines, n_offsets: int, seed: int) -> pd.DataFrame:
    """The same sections shown from several random frames on: is the same physical frame found?

    Returns cine, slice, phase, spread (largest cyclic difference in frames from the answer for the recording as it is).
    """
    rows = []
    for name in cines:
        cine = cohort.cine(name)
        rng = np.random.default_rng([seed, *name.encode()])
        offsets = [None, *rng.integers(1, task.frames, (n_offsets, cine.slices))]
        base, *shifted = (pd.DataFrame(task.predict_cine(models, cine, offsets=one)[1]) for one in offsets)
        for phase in ("ed", "es"):
            far = [frame_difference(one[f"{phase}_frac"], base[f"{phase}_frac"], cine.frames) for one in shifted]
            rows += [(name, k, phase, spread) for k, spread in zip(base["slice"], np.max(far, axis=0), strict=True)]
    return pd.DataFrame(rows, columns=["cine", "slice", "phase", "spread"])


def leave_one_out(cohort, annotations, sections, weights, epochs, lr, *, bs=8, seed=1, state=None) -> pd.DataFrame:
    """Fine-tune `weights` on all subjects but one, test on that one, in turn: rows of `TempReg.predict`.

    Nothing is chosen on the way: epochs and decoding are given. Every fourth section of the others only shows how the
    loss goes. Raises ValueError for fewer than 2 subjects.
    """
    people, tables = sorted(sections["participant_id"].unique()), []
    if len(people) < 2:
        raise ValueError(f"leaving one out of {len(people)} subjects leaves nobody to learn from")
    for left_out in people:
        task, [model], _ = TempReg.load(weights)
        others = sections[sections["participant_id"] != left_out].reset_index(drop=True)
        others = others.assign(split=np.where(np.arange(len(others)) % 4 == 3, "validation", "train"))
        dls = task.block(cohort, annotations).dataloaders(others, bs=min(bs, (others["split"] == "train").sum()))
        learn = task.learner(dls, model, seed)
        cbs = [ExactResume(state, task.job(cohort, annotations, dls))] if state else []
        learn.fit_one_cycle(epochs, lr, pct_start=0.15, cbs=cbs)
        tables.append(task.predict(learn.model, cohort, [left_out], offset_seed=seed))
    return pd.concat(tables, ignore_index=True)
