"""The paper's table 1: errors in frames of every method on the same sections, and the best answer without a look."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
from fastai.learner import Learner

from cmrlib.agreement import bootstrap
from cmrlib.agreement.summary import with_intervals
from cmrlib.papers.tempreg.targets import DECODINGS, frame_difference
from cmrlib.papers.tempreg.task import TempReg, random_first

ERRORS = ["afd_ed", "afd_es", "afd_ed_cyclic", "afd_es_cyclic", "afd_ed_ms", "afd_es_ms"]


def best_on_validation(learners: dict[TempReg, Learner], cohort, sections, seed: int) -> tuple[TempReg, Learner]:
    """Of several trained tasks, say with other weights of the structured loss, and of the ways to decode their curves:
    the one with the smallest mean cyclic aFD over the validation subjects' sections, shown from random frames on."""
    checked, tried = sections[sections["split"] == "validation"], []
    for (task, learn), how in product(learners.items(), DECODINGS):
        one = replace(task, decoding=how)
        people, views = checked["participant_id"].unique(), checked["view"].unique()
        errors = frame_errors(one.predict(learn.model, cohort, people, views=views, offset_seed=seed), checked)
        tried.append((errors[["afd_ed_cyclic", "afd_es_cyclic"]].mean().mean(), len(tried), one, learn))
    return min(tried)[2:]


def found_by_constant(cohort, sections, learned_from, offset_seed=None) -> pd.DataFrame:
    """One answer for all `sections`: the frame, as a share of the cycle, with the smallest cyclic aFD on the sections
    `learned_from`, or, where these are none, on all other subjects' sections.

    It knows where recordings begin, which networks are not told; with an `offset_seed` neither is it told, and the same
    frame is its answer for sections shown as `TempReg.predict` shows them with this seed.
    """
    if not len(learned_from):
        alone = [(part, sections.drop(part.index)) for _, part in sections.groupby("participant_id")]
        return pd.concat([found_by_constant(cohort, *pair, offset_seed) for pair in alone], ignore_index=True)
    steps, offsets = cohort.cines.set_index("cine")["frame_step_ms"].astype(float), 0
    if offset_seed is not None:
        offsets = [random_first(cohort.cine(name), offset_seed) for name in sections["cine"]]
    found = sections[["participant_id", "cine", "view"]].assign(
        slice=sections["k"], frame_step_ms=sections["cine"].map(steps), seconds=0.0
    )
    shares = np.arange(0, 1, 1 / (4 * learned_from["frames"].max()))
    for phase in ("ed", "es"):
        true, frames = (learned_from[name].to_numpy(float) for name in (phase, "frames"))
        errors = [frame_difference(np.round(share * frames) % frames, true, frames).mean() for share in shares]
        found[phase] = (np.round(shares[np.argmin(errors)] * sections["frames"]) + offsets) % sections["frames"]
    return found


def frame_errors(found: pd.DataFrame, sections: pd.DataFrame, **keys) -> pd.DataFrame:
    """One row a section: what was found beside what is true, and the differences ERRORS in frames and ms.

    found: of `TempReg.predict` (whole cines, slice −1, are compared too) or of a comparator; NaN where nothing was
    found, which counts as half a cycle, the worst there is. sections: of `section_table`. keys: further columns.
    """
    whole = sections.drop_duplicates("cine").assign(k=-1, kind="cine")
    truth = pd.concat([sections, whole])[["cine", "k", "kind", "frames", "ed", "es"]]
    truth = truth.rename(columns={"k": "slice", "ed": "ed_true", "es": "es_true"})
    table = found.drop(columns="frames", errors="ignore").merge(truth, on=["cine", "slice"])
    worst = table["frames"] / 2
    for phase in ("ed", "es"):
        pair = table[phase], table[f"{phase}_true"]
        table[f"afd_{phase}"] = np.where(pair[0].isna(), worst, frame_difference(*pair))
        table[f"afd_{phase}_cyclic"] = np.where(pair[0].isna(), worst, frame_difference(*pair, table["frames"]))
        table[f"afd_{phase}_ms"] = table[f"afd_{phase}_cyclic"] * table["frame_step_ms"]
    return table.assign(**keys)


def afd_table(errors: pd.DataFrame, by=("method",)) -> pd.DataFrame:
    """Table 1: a row a group with aFD, its interval over subjects, SD over sections, and seconds a sequence.

    Sections only, and without those of the short axis that do not show the LV, unless they are grouped `by` kind.
    `afd_ed_subject_cyclic` and the like are means of subjects' means, `_median` medians over sections, gross_ed and
    gross_es the shares that are off by more than a tenth of the cycle. n: subjects, n_sections.
    """
    by = list(by)
    sections = errors[(errors["slice"] >= 0) & (("kind" in by) | showing_lv(errors))]
    table = with_intervals(sections, ERRORS, by).set_index(by)
    table = table[[name for name in table if name == "n" or not name.startswith("n_")]]
    groups, subjects = sections.groupby(by, sort=False), sections.groupby([*by, "participant_id"], sort=False)
    means = subjects[ERRORS[2:4]].mean().groupby(by, sort=False).mean()
    table = table.join(groups[ERRORS[:4]].std().rename(columns=lambda name: name.replace("afd", "sd")))
    table = table.join(means.rename(columns=lambda name: name.replace("_cyclic", "_subject_cyclic")))
    far = {f"gross_{phase}": sections[f"afd_{phase}_cyclic"] > sections["frames"] / 10 for phase in ("ed", "es")}
    table = table.join(sections[by].assign(**far).groupby(by, sort=False).mean())
    return table.join(groups.agg(n_sections=("slice", "size"), seconds=("seconds", "mean"))).reset_index()


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
    table, ends = afd_table(errors).set_index("method"), ("", "_low", "_high")
    names = {method: f"_{method}".removesuffix("_tempreg") for method in table.index.drop(["constant", "blind"])}
    every = product(names.items(), ERRORS, ends)
    metrics = {name + suffix + end: table.loc[method, name + end] for (method, suffix), name, end in every}
    own = errors[errors["method"] == "tempreg"]
    parts = {
        "constant": table.loc["constant"],
        "all": afd_table(own.assign(kind="any")).iloc[0],
        "cine": afd_table(own[own["slice"] < 0].assign(slice=0)).iloc[0],
    }
    for phase in ("ed", "es"):
        for (part, row), end in product(parts.items(), ends):
            metrics[f"afd_{phase}_{part}{end}"] = row[f"afd_{phase}_cyclic{end}"]
        for other in ("constant", "blind"):
            gain = paired_gain(errors, "tempreg", other, f"afd_{phase}_cyclic")
            metrics |= {f"afd_{phase}_gain_{other}{key[4:]}": value for key, value in gain.items() if key != "n"}
    return metrics | {"n": int(errors["participant_id"].nunique())}
