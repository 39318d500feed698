"""Any two observers of one cohort: their tables joined, and all that compares them, one row per measure."""

import pandas as pd

from cmrlib.agreement.differences import bland_altman, regression, repeatability
from cmrlib.agreement.reliability import icc_a1
from cmrlib.agreement.resampling import N_BOOT
from cmrlib.measures import HUMAN_SD
from cmrlib.measures.plausible import reasons

KEYS = ("participant_id", "session")


def paired_ratings(table_a: pd.DataFrame, table_b: pd.DataFrame, measure: str, on=KEYS) -> pd.DataFrame:
    """Two observers' measures joined, one row per case that either of them rated.

    Tables: the columns `on` and one named like the measure, as in measures.tsv. Returns the columns of `on`, a, b,
    missing: "" where both rated, else who did not ("a", "b", "a and b"). The statistics leave such rows out and count
    them; `pairs[pairs.missing != ""]` lists them.
    Raises KeyError for a key or measure that a table lacks, ValueError for a case that stands in one table twice.
    """
    a, b = (table[[*on, measure]].rename(columns={measure: name}) for table, name in ((table_a, "a"), (table_b, "b")))
    pairs = a.merge(b, on=list(on), how="outer", sort=True, validate="one_to_one")
    absent = pairs[["a", "b"]].isna()
    pairs["missing"] = (absent["a"] * 1 + absent["b"] * 2).map({0: "", 1: "a", 2: "b", 3: "a and b"})
    return pairs


def _of(table, observer):
    """Rows of one observer."""
    known = list(table["observer"].unique())
    if observer not in known:
        raise ValueError(f"no observer {observer!r} in the table's column `observer`; it has {known}")
    return table[table["observer"] == observer]


def _has(table, measure):
    return measure in table and table[measure].notna().any()


def compare(table, reference, test, measures=None, on=KEYS, n_boot=N_BOOT, seed=0) -> pd.DataFrame:
    """Everything about two observers of one cohort: a table with one row per measure.

    table: all observers' measures with a column `observer`. measures: their names (units are in them); all that both
    have by default. A measure that one of the two never rated has n = 0 and says so in `note`. Differences are test -
    reference; where a subject has several sessions, limits, slopes and intervals account for it.
    Returns measure, reference, test, n_left_out (subjects without any pair of ratings), left_out (`left_out` as text),
    ae_median and ae_max of the absolute differences, n_gross (those beyond twice what two people differ by,
    `measures.HUMAN_SD`; NaN where that is unknown), then the columns of `bland_altman`, `regression`, `icc_a1` and
    `repeatability`.
    Raises ValueError for an observer that is not in the table, where no measure was rated by both, and as
    `paired_ratings` does.
    """
    sides = {name: _of(table, name) for name in (test, reference)}
    if measures is None:
        numbers = sides[test].select_dtypes("number").columns
        measures = [m for m in numbers if m not in on and all(_has(part, m) for part in sides.values())]
    unrated = {m: [name for name, part in sides.items() if not _has(part, m)] for m in measures}
    if all(unrated.values()):
        raise ValueError(f"{reference} and {test} have none of {list(measures)} in common")
    why, rows = left_out(table, reference, test, measures, on), []
    for measure in measures:
        columns = [*on, measure]
        pairs = paired_ratings(*(part.reindex(columns=columns) for part in sides.values()), measure, on)
        subjects = pairs["participant_id"]
        ratings = pairs["a"].astype(float), pairs["b"].astype(float), subjects
        parts = [
            bland_altman(*ratings, names=(test, reference)),
            regression(*ratings, n_boot, seed),
            icc_a1(*ratings, n_boot, seed),
            repeatability(*ratings, n_boot, seed),
        ]
        notes = [f"not rated by {name}" for name in unrated[measure]] + [part["note"][0] for part in parts]
        both = subjects[pairs["missing"] == ""].nunique()
        row = {"measure": measure, "reference": reference, "test": test, "n_left_out": subjects.nunique() - both}
        reasons_of = why[why["measure"] == measure].itertuples()
        row["left_out"] = "; ".join(f"{one.observer}: {one.n} {one.reason}" for one in reasons_of)
        off = (ratings[0] - ratings[1]).abs()
        row |= {"ae_median": off.median(), "ae_max": off.max()}
        row["n_gross"] = (off > 2 * HUMAN_SD[measure]).sum() if measure in HUMAN_SD else float("nan")
        for part in parts:
            row |= part.to_dict("records")[0]
        rows.append(row | {"note": "; ".join(dict.fromkeys(filter(None, notes)))})  # each once, in order
    return pd.DataFrame(rows)


def left_out(table, reference, test, measures, on=KEYS) -> pd.DataFrame:
    """What a comparison leaves out and why, one row per measure, observer and reason.

    Returns measure, observer, reason, n (subjects with a case that this observer did not rate; one with two reasons
    counts for both). Reasons: flags of `measures.plausible` from the table's column `flags`, where it has one; else
    `not rated`, or `no row` where only the other observer has the case. A measure that one of the two never rated has
    no rows.
    """
    a, b = (_of(table, name) for name in (test, reference))
    rows = []
    for measure in (one for one in measures if _has(a, one) and _has(b, one)):
        pairs = paired_ratings(a, b, measure, on)
        for side, part, name in (("a", a, test), ("b", b, reference)):
            missing = pairs.loc[pairs["missing"].str.contains(side), list(on)]
            given = part.reindex(columns=[*on, "flags"]).fillna({"flags": ""})
            joined = missing.merge(given, on=list(on), how="left")
            why = [
                "no row" if pd.isna(text) else [one.partition(":")[0] for one in reasons(text, measure)] or "not rated"
                for text in joined["flags"]
            ]
            counts = joined.assign(reason=why).explode("reason").groupby("reason")["participant_id"].nunique()
            rows += [(measure, name, reason, n) for reason, n in counts.items()]
    return pd.DataFrame(rows, columns=["measure", "observer", "reason", "n"])


def observer_pairs(table, reference: str, test: str, measure: str, on=KEYS) -> pd.DataFrame:
    """One measure of two observers of one table side by side: the columns of `on`, reference, test, missing."""
    pairs = paired_ratings(_of(table, reference), _of(table, test), measure, on)
    return pairs.rename(columns={"a": "reference", "b": "test"})


def scan_rescan(table, measures) -> pd.DataFrame:
    """Precision from the first two sessions of every subject: one row per observer and measure.

    table: measures of any number of observers with columns observer, participant_id, session. Returns observer,
    measure, then the columns of `repeatability` (cv_pct, rc, …). Raises ValueError where no subject was imaged twice.
    """
    rows = []
    for observer in table["observer"].unique():
        part = _of(table, observer).sort_values(["participant_id", "session"])
        part = part.assign(visit=part.groupby("participant_id").cumcount())
        first, second = (part[part["visit"] == n].set_index("participant_id") for n in (0, 1))
        if second.empty:
            raise ValueError(f"observer {observer!r} has one session per subject: precision needs two scans of each")
        both = second.index
        for measure in (m for m in measures if _has(part, m)):
            result = repeatability(first.loc[both, measure], second[measure], both)
            rows.append({"observer": observer, "measure": measure} | result.to_dict("records")[0])
    return pd.DataFrame(rows)


def changes(before: pd.DataFrame, after: pd.DataFrame, measures) -> pd.DataFrame:
    """What a correction did, one row per subject and measure: participant_id, session, measure, before, after,
    difference.

    before, after: of `measures.features`. Only subjects in both, and measures that one of the two defines.
    """
    keys = [*KEYS, "measure"]
    measures = [name for name in measures if name in before and name in after]
    long = [
        table.fillna({"session": ""}).melt(KEYS, measures, "measure").set_index(keys)["value"]
        for table in (before, after)
    ]
    joined = pd.concat(long, axis=1, keys=["before", "after"], join="inner").astype(float).dropna(how="all")
    joined["difference"] = joined["after"] - joined["before"]
    return joined.reset_index().sort_values(list(KEYS), kind="stable", ignore_index=True)


HEADLINE = {name: name.split("_") for name in ("lvef_pct", "lvedv_ml", "lvesv_ml", "lvm_g", "rvef_pct")}
HEADLINE |= {"lvm_g": ["mass", "g"], "rvedv_ml": ["rvedv", "ml"], "rvesv_ml": ["rvesv", "ml"]}
"""Measure → its name and unit in the metrics of a manifest."""


def _metrics(row: dict, names: dict[str, str]) -> dict:
    """Columns of a row as metrics with `_low` and `_high`. names: column → name of the metric."""
    return {f"{name}{end}": row[f"{column}{end}"] for column, name in names.items() for end in ("", "_low", "_high")}


def headline(compared: pd.DataFrame) -> dict:
    """Metrics for a manifest from a table of `compare`: lvef_mae_pct, lvef_bias_pct, lvef_loa_low_pct, …, lvef_icc,
    each with _low and _high, lvef_r, lvef_sd_pct, lvef_ae_median_pct, lvef_ae_max_pct, lvef_n_gross, lvef_n and
    lvef_n_left_out, and the same of the others in HEADLINE. A measure that was not compared is NaN."""
    rows, metrics = compared.set_index("measure").reindex(list(HEADLINE)).to_dict("index"), {}
    for measure, (name, unit) in HEADLINE.items():
        row, named = rows[measure], {"icc_a1": f"{name}_icc"}
        metrics |= _metrics(row, named | {c: f"{name}_{c}_{unit}" for c in ("mae", "bias", "loa_low", "loa_high")})
        metrics |= {f"{name}_{column}": row[column] for column in ("r", "n", "n_left_out", "n_gross")}
        metrics |= {f"{name}_{column}_{unit}": row[column] for column in ("sd", "ae_median", "ae_max")}
    return metrics


def precision_metrics(precision: pd.DataFrame, observer: str) -> dict:
    """Metrics for a manifest from `scan_rescan`: lvedv_rescan_cv_pct, lvedv_rescan_rc_ml, … with their intervals."""
    metrics = {}
    for row in precision[precision["observer"] == observer].to_dict("records"):
        name, unit = row["measure"].split("_", 1)
        metrics |= _metrics(row, {"cv_pct": f"{name}_rescan_cv_pct", "rc": f"{name}_rescan_rc_{unit}"})
    return metrics
