"""What a cohort holds, in tables: the first table of every paper."""

import numpy as np
import pandas as pd

from cmrlib.agreement import bootstrap
from cmrlib.agreement.observers import HEADLINE
from cmrlib.cohort.files import read_tsv
from cmrlib.measures import curves, withheld
from cmrlib.measures.curves import FEWEST_FRAMES

UNITS = {"age": "years", "height_m": "m", "weight_kg": "kg", "heart_rate_bpm": "bpm"}


def table_one(subjects: pd.DataFrame, by: str = "group", measures: pd.DataFrame | None = None) -> pd.DataFrame:
    """Characteristics by group: n, share of women, mean ± SD of every number, and how many values are missing.

    subjects: one row a participant. measures: an observer's table, joined by participant_id. A column that is
    missing for all stands as n/a, never as zero.
    """
    table = subjects
    if measures is not None and len(measures):
        table = subjects.merge(
            measures.drop(columns=["session"], errors="ignore")
            .groupby("participant_id")
            .mean(numeric_only=True)
            .reset_index(),
            on="participant_id",
            how="left",
        )
    grouping = table[by].fillna("n/a") if by in table else pd.Series("all", index=table.index)
    columns = {"all": table} | (dict(tuple(table.groupby(grouping))) if grouping.nunique() > 1 else {})
    numbers = [c for c in table.select_dtypes("number").columns if c != "session"]
    rows = {"n": {name: str(len(part)) for name, part in columns.items()}}
    if "sex" in table and table["sex"].notna().any():
        rows["women, n (%)"] = {name: _share(part["sex"]) for name, part in columns.items()}
    for column in numbers:
        unit = f" ({UNITS[column]})" if column in UNITS else ""
        rows[column + unit] = {name: _mean_sd(part[column]) for name, part in columns.items()}
    return pd.DataFrame(rows).T.rename_axis("characteristic")


def _share(sex):
    women, known = (sex == "F").sum(), sex.notna().sum()
    return f"{women} ({100 * women / known:.0f})" if known else "n/a"


def _mean_sd(values):
    known = values.dropna()
    if known.empty:
        return "n/a"
    missing = f" [{len(values) - len(known)} missing]" if len(known) < len(values) else ""
    return f"{known.mean():.3g} ± {known.std():.2g}{missing}" if len(known) > 1 else f"{known.mean():.3g}{missing}"


def contents(cohort) -> pd.DataFrame:
    """Cines by view: how many, their frames, slices, spacing and heart rate (median and range)."""

    def span(values):
        known = values.dropna()
        return "n/a" if known.empty else f"{known.median():.4g} ({known.min():.4g}–{known.max():.4g})"

    rows = {
        view: {
            "cines": str(len(part)),
            "subjects": str(part["participant_id"].nunique()),
            "frames": span(part["frames"]),
            "slices": span(part["slices"]),
            "slice distance (mm)": span(part["slice_distance_mm"]),
            "pixel (mm)": span(part["row_spacing_mm"]),
            "RR (ms)": span(part["rr_ms"].astype(float)),
            "flagged": str((part["flags"] != "").sum()),
        }
        for view, part in cohort.cines.groupby("view")
    }
    return pd.DataFrame(rows).T.rename_axis("view")


def first_of_views(cohort, observer: str = "", order=("sax", "4ch", "2ch", "3ch")) -> dict:
    """View → (its first cine, the mask that `observer` drew, None where it drew none), in this order."""
    looked, found = cohort.observers.get(observer), {}
    for view in order:
        for name in cohort.cines.loc[cohort.cines["view"] == view].sort_values("run")["cine"].head(1):
            found[view] = cohort.cine(name), looked.mask(name).mask if looked and looked.has(name) else None
    return found


def case_picks(table: pd.DataFrame, value: str) -> dict:
    """Best, median and worst row by `value`, as label → row; NaN rows are left out."""
    ranked = table.dropna(subset=[value]).sort_values(value, ascending=False)
    if ranked.empty:
        return {}
    places = {"best": 0, "median": (len(ranked) - 1) // 2, "worst": len(ranked) - 1}
    return {label: ranked.iloc[place] for label, place in places.items()}


def rejected(cohort) -> pd.DataFrame:
    """What became no cine, by subject and digest, with the reason."""
    return read_tsv(cohort.path / "rejected.tsv")


def one_per_group(cohort, view: str, most: int) -> list[str]:
    """Names of the first cine of each group (in order of the tables), `most` at the most."""
    cines = cohort.cines[cohort.cines["view"] == view].merge(cohort.subjects, on="participant_id", how="left")
    groups = cines["group"].fillna("n/a") if "group" in cines else pd.Series("all", index=cines.index)
    return cines.groupby(groups, sort=True)["cine"].first().tolist()[:most]


def loss_rows(learner, view: str, fold: int = 0) -> list[dict]:
    """Loss of every epoch from a learner's recorder; validation is NaN where an epoch had none."""
    values = [list(row) + [np.nan] * 2 for row in learner.recorder.values]
    return [
        {"view": view, "fold": fold, "epoch": n, "train": row[0], "validation": row[1]}
        for n, row in enumerate(values, 1)
    ]


def per_cine(scores: pd.DataFrame, segmented: pd.DataFrame) -> pd.DataFrame:
    """Mean Dice over structures and phases of a cine beside its confidence: a row a cine."""
    mean = scores.groupby(["participant_id", "cine", "view"], as_index=False)["dice"].mean()
    return mean.merge(segmented[["cine", "confidence", "flags"]], on="cine")


def by_characteristics(scores: pd.DataFrame, subjects: pd.DataFrame, value: str) -> pd.DataFrame:
    """Mean of a score with intervals by each characteristic that is known: sex, group, vendor, centre.

    scores: participant_id, structure, the value, and view, which joins the structure's name where there are several.
    """
    if "view" in scores and scores["view"].nunique() > 1:
        scores = scores.assign(structure=scores["structure"] + ", " + scores["view"])
    joined, tables = scores.merge(subjects, on="participant_id"), []
    for name in ("sex", "group", "vendor", "centre"):
        if name in joined and joined[name].notna().any():
            part = joined.assign(characteristic=name, level_of_it=joined[name].fillna("n/a"))
            tables.append(with_intervals(part, [value], ["characteristic", "level_of_it", "structure"]))
    columns = ["characteristic", "level_of_it", "structure", value, f"{value}_low", f"{value}_high", "n", "n_undefined"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def segmentation_metrics(scores: pd.DataFrame, rho) -> dict:
    """`overlap_metrics` and confidence_rho, each with its interval."""
    return overlap_metrics(scores) | {f"confidence_rho{end}": rho[f"rho{end}"] for end in ("", "_low", "_high")}


def overlap_metrics(scores: pd.DataFrame) -> dict:
    """dice_lv, dice_myo, … (mean over subjects and phases), dice_mean (over structures too) and hd95_lv_mm.

    Each with its interval, and n_dice_lv, …: the subjects. SAX where there is SAX, else all views; `dice_lv_4ch` and
    the like for the others.
    """
    metrics = {}
    for view in scores["view"].unique():
        part = scores[scores["view"] == view]
        suffix = "" if view == "sax" or "sax" not in set(scores["view"]) else f"_{view}"
        for row in with_intervals(part, ["dice"], ["structure"]).to_dict("records"):
            metrics |= {f"dice_{row['structure']}{suffix}{end}": row[f"dice{end}"] for end in ("", "_low", "_high")}
            metrics[f"n_dice_{row['structure']}{suffix}"] = row["n"]
        mean = with_intervals(part.assign(structure="mean"), ["dice"], ["structure"]).iloc[0]
        metrics |= {f"dice_mean{suffix}{end}": mean[f"dice{end}"] for end in ("", "_low", "_high")}
        lv = part[part["structure"] == "lv"]
        for row in with_intervals(lv, ["hd95_mm"], ["structure"]).to_dict("records"):
            metrics |= {f"hd95_lv{suffix}_mm{end}": row[f"hd95_mm{end}"] for end in ("", "_low", "_high")}
    return metrics


def with_intervals(table: pd.DataFrame, values, by, subject: str = "participant_id") -> pd.DataFrame:
    """Mean of each value with its bootstrap interval over subjects, a row a group: value, value_low, value_high, n.

    n counts subjects with a defined value, n_undefined the rows without one (both masks empty, …), both of the first
    value; n_VALUE and n_undefined_VALUE belong to the others (an empty mask has a Dice, but no distance).
    """

    def mean(column, axis=-1):
        return np.mean(column, axis=axis)

    rows = []
    for key, part in table.groupby(list(by), sort=False):
        row = dict(zip(by, key, strict=True))
        for value in values:
            estimate = bootstrap(part[value], mean, subjects=part[subject]).iloc[0]
            row |= {value: estimate["estimate"], f"{value}_low": estimate["low"], f"{value}_high": estimate["high"]}
            of = "" if value == values[0] else f"_{value}"
            row |= {f"n{of}": int(estimate["n_subjects"]), f"n_undefined{of}": int(estimate["n_missing"])}
        rows.append(row)
    return pd.DataFrame(rows)


def measured_observers(cohort, observer: str, reference: str) -> dict[str, str]:
    """Name in the tables → observer whose masks are measured. A reference that brought measures of its own (a phantom's
    formulas, polygon volumes) keeps its name for those; its label maps are measured as `NAME masks`."""
    sides = {observer: observer}
    if reference and reference in cohort.observers and reference != observer:
        own = len(cohort.observer(reference).measures()) > 0
        sides[f"{reference} masks" if own else reference] = reference
    return sides


def subjects_of(cohort, observer: str) -> list[str]:
    """Participants of whom an observer drew at least one cine."""
    looked = cohort.observer(observer)
    return sorted({row.participant_id for row in cohort.cines.itertuples() if looked.has(row.cine)})


def stack_observers(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Observers' measures below each other with a column `observer`, only subjects whom the first one measured."""
    kept = set(next(iter(tables.values()))["participant_id"])
    stacked = pd.concat([table.assign(observer=name) for name, table in tables.items()], ignore_index=True)
    first = ["observer", "participant_id", "session"]
    stacked = stacked[stacked["participant_id"].isin(kept)]
    return stacked[[*first, *[c for c in stacked if c not in first]]].fillna({"session": ""}).reset_index(drop=True)


def changes(before: pd.DataFrame, after: pd.DataFrame, measures) -> pd.DataFrame:
    """What a correction did: a row a subject and measure: participant_id, session, measure, before, after, difference.

    before, after: of `measures.features`. Only subjects in both, and measures that one of the two defines.
    """
    keys = ["participant_id", "session"]
    measures = [name for name in measures if name in before and name in after]
    long = [
        table.fillna({"session": ""}).melt(keys, measures, "measure", name)
        for table, name in ((before, "before"), (after, "after"))
    ]
    joined = long[0].merge(long[1], on=[*keys, "measure"]).dropna(subset=["before", "after"], how="all")
    joined["difference"] = joined["after"].astype(float) - joined["before"].astype(float)
    return joined.sort_values(keys, kind="stable", ignore_index=True)


def curves_or_none(cohort, observer: str, conventions, subjects=None) -> pd.DataFrame | None:
    """Volume curves of an observer; None where the cohort keeps ED and ES only, so that there is none to draw."""
    if (cohort.cines["frames"] < FEWEST_FRAMES).all():
        return None
    return curves(cohort, observer, conventions, subjects)


def spread(table: pd.DataFrame, measure: str, n: int) -> list[str]:
    """n participants spread over the range of a measure, lowest first."""
    ranked = table.dropna(subset=[measure]).sort_values(measure)["participant_id"].tolist()
    return [ranked[i] for i in sorted({round(q * (len(ranked) - 1)) for q in np.linspace(0, 1, n)})] if ranked else []


def with_phases(table: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Curves with a column phase: ED and ES at the frames of the measurements, else empty."""
    frames = measured[["participant_id", "session", "ed_frame", "es_frame"]]
    joined = table.merge(frames, on=["participant_id", "session"], how="left")
    at = {phase: (joined["frame"] == joined[f"{phase.lower()}_frame"]).fillna(False) for phase in ("ES", "ED")}
    return joined.assign(phase=np.where(at["ED"], "ED", np.where(at["ES"], "ES", "")))


def measured_metrics(measured: pd.DataFrame) -> dict:
    """Metrics for a manifest from a table of `features`: n, n_flagged, n_withheld (subjects of whom a number was left
    out as impossible, see `measures.plausible`), and of LVEF, LVEDV and mass the mean over the known values
    (lvef_mean_pct, …; NaN where there is none), their number n_lvef and how many are not known, n_lvef_undefined."""
    metrics = {
        "n": len(measured),
        "n_flagged": int((measured["flags"] != "").sum()),
        "n_withheld": int(withheld(measured)["participant_id"].nunique()),
    }
    for measure, (name, unit) in HEADLINE.items():
        known = measured[measure].dropna()
        metrics |= {
            f"{name}_mean_{unit}": float(known.mean()),
            f"n_{name}": len(known),
            f"n_{name}_undefined": len(measured) - len(known),
        }
    return metrics


def count_flags(measured: pd.DataFrame) -> pd.DataFrame:
    """How many hearts carry each flag (without its details), most first."""
    flags = measured["flags"].fillna("").str.split(";").explode().str.split(":").str[0]
    counts = flags[flags != ""].value_counts()
    return counts.rename_axis("flag").rename("hearts").reset_index()
