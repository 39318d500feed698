"""What training data is worth (figure 6): pipelines trained on Yale-like, Lund-like and mixed hearts, tested on each.

Yale-like: one centre and scanner, one person who puts points where the valve meets the myocardium. Lund-like: many
scanners, a person who puts them on the most basal compact myocardium.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from cmrlib.agreement.summary import with_intervals
from cmrlib.cohort import Cohort
from cmrlib.learning.sidebyside import side_by_side
from cmrlib.papers.mvnet.evaluation import compare_motion, iccs, inter_observer
from cmrlib.papers.mvnet.learning import train_tracker
from cmrlib.papers.mvnet.tracking import track_cohort


@dataclass
class Source:
    """One of the data sets: hearts, whose points count, and the split of its subjects."""

    cohort: Cohort
    observer: str
    split: pd.Series


class Pool:
    """Several sources as one cohort to learn from: names of cines and subjects get the source's before them."""

    def __init__(self, sources: dict[str, Source]):
        self.sources = sources
        self.path = Path("+".join(sources))
        self.digest = "+".join(source.cohort.digest for source in sources.values())
        tables = [
            source.cohort.cines.assign(
                cine=f"{name}:" + source.cohort.cines["cine"],
                participant_id=f"{name}:" + source.cohort.cines["participant_id"],
            )
            for name, source in sources.items()
        ]
        self.cines = pd.concat(tables, ignore_index=True)
        self.split = pd.concat([s.split.rename(lambda i, n=name: f"{n}:{i}") for name, s in sources.items()])

    def cine(self, name):
        source, own = name.split(":", 1)
        return self.sources[source].cohort.cine(own)

    def observer(self, name):
        return self  # each source has its own person

    def _of(self, name):
        source, own = name.split(":", 1)
        return self.sources[source].cohort.observer(self.sources[source].observer), own

    def has(self, name, what="points.tsv"):
        observer, own = self._of(name)
        return observer.has(own, what)

    def points(self, name):
        observer, own = self._of(name)
        return observer.points(own)


def pipelines(sources: dict[str, Source], views, recipe, seed: int, state, processes: int = 1) -> dict[str, dict]:
    """Name of the training data (each source, and mixed) → view → tracker. processes: trainings at once."""
    pools = {name: Pool({name: source}) for name, source in sources.items()} | {"mixed": Pool(sources)}
    jobs = {
        (name, view): partial(train_tracker, pool, "people", view, pool.split, recipe, seed, state)
        for name, pool in pools.items()
        for view in views
    }
    side_by_side(list(jobs.values()), processes)
    return {name: {view: jobs[name, view]()[0] for view in views} for name in pools}


def variability(sources: dict[str, Source], trained: dict[str, dict], folder, smooth_ms: float) -> pd.DataFrame:
    """Figure 6: trained, tested, euclid_mm, angle_deg, displacement_icc, mapse_icc, eprime_icc, each with its interval
    over subjects, n (subjects), n_images.

    folder: gets an observer for each pipeline and source."""
    rows = []
    for name, trackers in trained.items():
        parts = {}
        for key, source in sources.items():
            test = source.split.index[source.split == "test"]
            where = Path(folder) / f"mvnet_{name}_on_{key}"
            track_cohort(source.cohort, trackers, {"stage122": where}, test)
            laid = Cohort.open(source.cohort.path, [where])
            points, displacement, metrics, _ = inter_observer(laid, source.observer, where.name, smooth_ms, None, test)
            roles = {source.observer: "reference", where.name: "test"}
            parts[key] = [
                table.assign(participant_id=f"{key}:" + table["participant_id"])
                for table in (points, displacement, metrics.assign(observer=metrics["observer"].map(roles)))
            ]
        parts["mixed"] = [pd.concat(tables, ignore_index=True) for tables in zip(*parts.values())]
        for key, (points, displacement, metrics) in parts.items():
            errors = with_intervals(
                points.assign(trained=name, tested=key), ["euclid_mm", "angle_deg"], ["trained", "tested"]
            ).iloc[0]
            compared = compare_motion(metrics, displacement, "reference", "test")
            rows.append(errors.to_dict() | iccs(compared) | {"n_images": len(points)})
    return pd.DataFrame(rows)


def variability_metrics(grid: pd.DataFrame) -> dict:
    """euclid_mm_TRAINED_on_TESTED, mapse_icc_…, eprime_icc_… of `variability`, with intervals, and n_… subjects."""
    metrics = {}
    for row in grid.to_dict("records"):
        for measure in ("euclid_mm", "mapse_icc", "eprime_icc"):
            name = f"{measure}_{row['trained']}_on_{row['tested']}"
            metrics |= {f"{name}{end}": row[f"{measure}{end}"] for end in ("", "_low", "_high")}
            metrics[f"n_{name}"] = row["n"]
    return metrics
