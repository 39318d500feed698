"""Any two observers of one cohort: their tables joined, and all that compares them, one row a measure."""

import pandas as pd

from cmrlib.agreement.differences import bland_altman, regression, repeatability
from cmrlib.agreement.reliability import icc_a1
from cmrlib.agreement.resampling import N_BOOT
from cmrlib.measures.plausible import reasons

KEYS = ("participant_id", "session")


def paired_ratings(table_a: pd.DataFrame, table_b: pd.DataFrame, measure: str, on=KEYS) -> pd.DataFrame:
    """Two observers' measures joined, one row a case that either of them rated.

    Tables: a column `measure`, as in measures.tsv, or long with columns measure and value; both with the
    columns `on`.
    Returns the columns of `on`, a, b, missing: "" where both rated, else who did not ("a", "b", "a and b").
    The statistics leave such rows out and count them; `pairs[pairs.missing != ""]` lists them.
    Raises ValueError for a key or measure that a table lacks, and for a case that stands in one table twice.
    """
    on = list(on)
    a, b = (_ratings(t, measure, on, name) for name, t in (("a", table_a), ("b", table_b)))
    pairs = a.merge(b, on=on, how="outer", sort=True, validate="one_to_one")
    absent = pairs[["a", "b"]].isna()
    pairs["missing"] = (absent["a"] * 1 + absent["b"] * 2).map({0: "", 1: "a", 2: "b", 3: "a and b"})
    return pairs


def _ratings(table, measure, on, name):
    """→ the columns of `on` and the ratings under the observer's name."""
    if {"measure", "value"} <= set(table.columns):
        table = table[table["measure"] == measure].rename(columns={"value": measure})
        if table.empty:
            raise ValueError(f"observer {name} has no measure {measure!r}")
    lacking = [c for c in (*on, measure) if c not in table.columns]
    if lacking:
        raise ValueError(f"observer {name}: expected columns {lacking}, got {list(table.columns)}")
    twice = table[table.duplicated(on, keep=False)]
    if len(twice):
        raise ValueError(
            f"observer {name}: {len(twice[on].drop_duplicates())} cases have several ratings of "
            f"{measure}, first {twice[on].iloc[0].to_dict()}; keep one of each"
        )
    return table[[*on, measure]].rename(columns={measure: name})


def compare(table, reference, test, measures=None, on=KEYS, subject="participant_id", n_boot=N_BOOT, seed=0):
    """Everything about two observers of one cohort: a table with one row a measure.

    table: all observers' measures with a column `observer`, wide or long as for `paired_ratings`. measures:
    their names (units are in them); all that both have by default. Differences are test - reference; where a
    subject has several sessions, limits, slopes and intervals account for it.
    Returns measure, reference, test, n_left_out (subjects without any pair of ratings), left_out (`left_out` as
    text), then the columns of `bland_altman`, `regression`, `icc_a1` and `repeatability`.
    Raises ValueError for an observer that is not in the table, and as `paired_ratings` does.
    """
    a, b = (_of(table, name) for name in (test, reference))
    measures = list(measures) if measures is not None else _shared_measures(a, b, on)
    why, rows = left_out(table, reference, test, measures, on, subject), []
    for measure in measures:
        pairs = paired_ratings(a, b, measure, on)
        ratings = pairs["a"], pairs["b"], pairs[subject]
        parts = [bland_altman(*ratings, names=(test, reference)), regression(*ratings, n_boot, seed),
                 icc_a1(*ratings, n_boot, seed), repeatability(*ratings, n_boot, seed)]  # fmt: skip
        notes = dict.fromkeys(p["note"][0] for p in parts if p["note"][0])  # each once, in order
        n_left_out = pairs[subject].nunique() - pairs.loc[pairs["missing"] == "", subject].nunique()
        row = {"measure": measure, "reference": reference, "test": test, "n_left_out": n_left_out}
        row["left_out"] = "; ".join(
            f"{one.observer}: {one.n} {one.reason}" for one in why[why["measure"] == measure].itertuples()
        )
        for part in parts:
            row |= part.to_dict("records")[0]
        rows.append(row | {"note": "; ".join(notes)})
    return pd.DataFrame(rows)


def left_out(table, reference, test, measures, on=KEYS, subject="participant_id") -> pd.DataFrame:
    """What a comparison leaves out and why, a row a measure, observer and reason.

    Returns measure, observer, reason, n (subjects with a case that this observer did not rate; one with two reasons
    counts for both).

    Reasons: flags of `measures.plausible` from the table's column `flags`, where it has one; else `not rated`, or `no
    row` where only the other observer has the case. A measure that one of the two lacks has no rows.
    """
    a, b = (_of(table, name) for name in (test, reference))
    rows = []
    for measure in measures:
        if not (_has(a, measure) and _has(b, measure)):
            continue
        pairs = paired_ratings(a, b, measure, on)
        for side, part, name in (("a", a, test), ("b", b, reference)):
            counts = _reasons(pairs, side, part, measure, on).groupby("reason")[subject].nunique()
            rows += [(measure, name, reason, n) for reason, n in counts.items()]
    return pd.DataFrame(rows, columns=["measure", "observer", "reason", "n"])


def _has(table, measure):
    return measure in table or ("measure" in table and measure in set(table["measure"]))


def _reasons(pairs, side, table, measure, on):
    """The columns of `on` and the reason, a row for each reason of each case that one side did not rate."""
    missing = pairs.loc[pairs["missing"].str.contains(side), list(on)]
    given = table[table["measure"] == measure] if "measure" in table else table
    given = given[[*on, *(["flags"] if "flags" in given else [])]].assign(there=True)
    joined = missing.merge(given, on=list(on), how="left")
    flags = joined["flags"].fillna("") if "flags" in joined else pd.Series("", index=joined.index)
    why = [
        [flag.partition(":")[0] for flag in reasons(text, measure)] or ["not rated" if there is True else "no row"]
        for text, there in zip(flags, joined["there"])
    ]
    return joined[list(on)].assign(reason=why).explode("reason")


def _of(table, observer):
    known = list(table["observer"].unique()) if "observer" in table.columns else None
    if known is None or observer not in known:
        raise ValueError(f"no observer {observer!r} in the table's column `observer`; it has {known}")
    return table[table["observer"] == observer]


def _shared_measures(a, b, on):
    if {"measure", "value"} <= set(a.columns):
        return [m for m in a["measure"].unique() if m in set(b["measure"])]
    numeric = a.select_dtypes("number").columns
    return [c for c in numeric if c not in on and a[c].notna().any() and b[c].notna().any()]


def observer_pairs(table, reference: str, test: str, measure: str, on=KEYS) -> pd.DataFrame:
    """One measure of two observers of one table side by side: the columns of `on`, reference, test, missing."""
    pairs = paired_ratings(_of(table, reference), _of(table, test), measure, on)
    return pairs.rename(columns={"a": "reference", "b": "test"})


def comparable(table, observers, measures) -> list[str]:
    """Those of `measures` that every one of the observers rated at least three times.

    Raises ValueError where none is left: then there is nothing to compare.
    """
    parts = [_of(table, name) for name in observers]
    if {"measure", "value"} <= set(table.columns):
        rated = [part.dropna(subset=["value"])["measure"].value_counts() for part in parts]
    else:
        rated = [part.select_dtypes("number").count() for part in parts]
    kept = [m for m in measures if all(counts.get(m, 0) >= 3 for counts in rated)]
    if not kept:
        raise ValueError(f"{' and '.join(observers)} have none of {list(measures)} in common for three hearts or more")
    return kept


def scan_rescan(table, measures, observers=None) -> pd.DataFrame:
    """Precision from the first two sessions of every subject: a row an observer and measure.

    table: measures of any number of observers with columns observer, participant_id, session. Returns observer,
    measure, then the columns of `repeatability` (cv_pct, rc, …). Raises ValueError where nobody was imaged twice.
    """
    rows = []
    for observer in observers or table["observer"].unique():
        part = _of(table, observer).sort_values(["participant_id", "session"])
        part = part.assign(visit=part.groupby("participant_id").cumcount())
        first, second = (part[part["visit"] == n].set_index("participant_id") for n in (0, 1))
        if second.empty:
            raise ValueError(f"observer {observer!r} has one session a subject: precision needs two scans of each")
        both = second.index
        for measure in (m for m in measures if m in part and part[m].notna().any()):
            result = repeatability(first.loc[both, measure], second[measure], both)
            rows.append({"observer": observer, "measure": measure} | result.to_dict("records")[0])
    return pd.DataFrame(rows)


HEADLINE = {"lvef_pct": ("lvef", "pct"), "lvedv_ml": ("lvedv", "ml"), "lvm_g": ("mass", "g")}


def headline(compared: pd.DataFrame) -> dict:
    """Metrics for a manifest from a table of `compare`: lvef_mae_pct, lvef_bias_pct, lvef_loa_low_pct, …, lvef_icc,
    each with _low and _high, lvef_n and lvef_n_left_out, and the same of LVEDV and mass. A measure that was not
    compared is NaN, not left out."""
    metrics, rows = {}, compared.set_index("measure").reindex(list(HEADLINE))
    for measure, row in rows.to_dict("index").items():
        name, unit = HEADLINE[measure]
        for column in ("mae", "bias", "loa_low", "loa_high"):
            metrics |= {f"{name}_{column}_{unit}{end}": row[f"{column}{end}"] for end in ("", "_low", "_high")}
        metrics |= {f"{name}_icc{end}": row[f"icc_a1{end}"] for end in ("", "_low", "_high")}
        metrics |= {
            f"{name}_r": row["r"],
            f"{name}_sd_{unit}": row["sd"],
            f"{name}_n": row["n"],
            f"{name}_n_left_out": row["n_left_out"],
        }
    return metrics


def precision_metrics(precision: pd.DataFrame, observer: str) -> dict:
    """Metrics for a manifest from `scan_rescan`: lvedv_rescan_cv_pct, lvedv_rescan_rc_ml, … with their intervals."""
    metrics = {}
    for row in precision[precision["observer"] == observer].to_dict("records"):
        name, unit = row["measure"].split("_", 1)
        for end in ("", "_low", "_high"):
            metrics[f"{name}_rescan_cv_pct{end}"] = row[f"cv_pct{end}"]
            metrics[f"{name}_rescan_rc_{unit}{end}"] = row[f"rc{end}"]
    return metrics
