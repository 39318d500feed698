"""Classifiers on the same subjects, run under several folds, seeds and draws of labels: AUC as means over runs."""

import numpy as np
import pandas as pd

from cmrlib.agreement import bootstrap, roc_auc

RUN = ("fold", "seed", "draw")
"""Columns that name a run, where a table has them."""


def runs_of(table: pd.DataFrame) -> np.ndarray:
    """(rows,) a number for each run."""
    return table.groupby([name for name in RUN if name in table]).ngroup().to_numpy()


def over_runs(statistic, runs, *columns) -> float:
    """Mean of a statistic over runs; those without a value are left out."""
    found = [statistic(*(column[runs == run] for column in columns)) for run in np.unique(runs)]
    return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")


def compared_auc(tables, compare, n_boot: int = 1000) -> dict:
    """`compare`, a function of each model's AUC (mean over runs), on the rows that all models have.

    tables: one a model, with participant_id, label, score (NaN: no answer), RUN, and cine and k of patches. A model
    that was run only once stands beside all runs of the first. Returns estimate, low, high (bootstrap over
    participants, who keep all their rows), least and most of a single run, n_runs, n (participants).
    """
    rows, *others = (table.dropna(subset=["score"]) for table in tables)
    names = ["score", *(f"score_{n}" for n in range(len(others)))]
    for other, name in zip(others, names[1:]):
        once = {key for key in RUN if key in other and other[key].nunique() < 2}
        keys = [key for key in ("participant_id", "cine", "k", *RUN) if key in rows and rows[key].notna().any()]
        keys = [key for key in keys if key in other and key not in once]
        rows = rows.merge(other[[*keys, "score"]].rename(columns={"score": name}), on=keys)
    columns = rows[["label", *names]].assign(run=runs_of(rows))[["run", "label", *names]]

    def statistic(runs, labels, *scores):
        return compare(*(over_runs(roc_auc, runs, labels, one) for one in scores))

    found = bootstrap(columns, statistic, rows["participant_id"], n_boot).iloc[0]
    single = [statistic(*part.to_numpy().T) for _, part in columns.groupby("run")]
    ends = {"least": min(single, default=np.nan), "most": max(single, default=np.nan), "n_runs": len(single)}
    return found[["estimate", "low", "high"]].to_dict() | ends | {"n": rows["participant_id"].nunique()}
