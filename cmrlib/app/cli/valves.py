"""`cmr valve`: mitral points of a cohort by trained networks, and what follows of them."""

from pathlib import Path

import pandas as pd

from cmrlib.cohort import Cohort, Observer
from cmrlib.cohort.files import atomic, digest, read_json, write_json
from cmrlib.measures.valve import valve_tables
from cmrlib.papers.mvnet import MitralTracking

MARK = "tracking.json"


def track(cohort: Cohort, run, folder, subjects=None, smooth_ms: float | None = None) -> tuple[pd.DataFrame, int]:
    """(valve_metrics, number of cines tracked now): points of the observer in `folder`, valve_motion.csv and
    valve_metrics.csv beside them. Cines that these weights tracked before are not tracked again. smooth_ms: default
    what the run chose on its validation subjects.

    Raises ValueError for unknown subjects, FileExistsError where the folder is another observer's.
    """
    (task, models, _), folder = MitralTracking.load(run), Path(folder)
    if unknown := sorted(set(subjects or ()) - set(cohort.subjects["participant_id"])):
        raise ValueError(f"subjects {unknown} are not in {cohort.path}; participants.tsv lists who is")
    weights = Path(run) / "weights" if (Path(run) / "weights").is_dir() else Path(run)
    made_by = {
        "weights": {p.stem: digest(p) for p in sorted(weights.glob("*_stage[12].safetensors"))},
        "cohort": cohort.digest,
    }
    _claim(folder, cohort, made_by)
    people = cohort.subjects["participant_id"].tolist() if subjects is None else list(subjects)
    rows = cohort.cines[cohort.cines["view"].isin(task.views) & cohort.cines["participant_id"].isin(people)]
    if rows.empty:
        raise ValueError(
            f"the weights are for {', '.join(task.views)}, of which {cohort.path} has no cine among these "
            f"subjects; it has {', '.join(sorted(set(cohort.cines['view'])))}"
        )
    todo = [name for name in rows["cine"] if not Observer(folder).has(name, "points.tsv")]
    if todo:
        task.predict(models, cohort.part(todo), out=folder)
    smooth_ms = task.smooth_ms if smooth_ms is None else smooth_ms
    laid = Cohort.open(cohort.path, [folder])
    motion, metrics = valve_tables(laid, folder.name, smooth_ms, people, least_confidence=task.least_confidence)
    for name, table in (("valve_motion", motion), ("valve_metrics", metrics)):
        with atomic(folder / f"{name}.csv") as part:
            table.to_csv(part, index=False, lineterminator="\n")
    return metrics, len(todo)


def _claim(folder, cohort, made_by):
    """Take an empty folder or one that the same weights filled: nobody else's points are written over."""
    if folder.resolve().is_relative_to(cohort.path.resolve()):
        raise ValueError(f"{folder} lies inside the cohort, which never changes; choose a folder outside")
    mark = folder / MARK
    if read_json(mark) != made_by if mark.exists() else any(folder.glob("sub-*")):
        raise FileExistsError(
            f"{folder} holds points of other weights or another cohort; choose another --observer or --out"
        )
    write_json(made_by, mark)
