"""ED and ES of a cohort, found with a trained TempReg-Net."""

from pathlib import Path

import pandas as pd

from cmrlib.cine.anatomy import RIGHT_HEART, VIEWS
from cmrlib.cohort import Cohort
from cmrlib.cohort.files import atomic, digest, write_json
from cmrlib.learning.task import Task
from cmrlib.measures.curves import FEWEST_FRAMES


def find(cohort: Cohort, run, folder, subjects=None) -> tuple[pd.DataFrame, int]:
    """(table of `Task.predict`, number of cines too short for a cycle): lay ED and ES over the cohort as an observer.

    run: a run's folder, its weights' folder, or one file. The table is written as frames.csv in `folder`. Raises
    ValueError for unknown subjects and a folder inside the cohort, FileNotFoundError where there are no weights,
    FileExistsError where the folder holds another observer.
    """
    folder, path = Path(folder), _weights(Path(run))
    if unknown := sorted(set(subjects or ()) - set(cohort.subjects["participant_id"])):
        raise ValueError(f"subjects {unknown} are not in {cohort.path}; participants.tsv lists who is")
    if folder.resolve().is_relative_to(cohort.path.resolve()):
        raise ValueError(f"{folder} lies inside the cohort, which never changes; choose a folder outside")
    mark = folder / "frames.json"
    if not mark.exists() and folder.is_dir() and any(folder.glob("sub-*")):
        raise FileExistsError(f"{folder} holds what cmr frames did not make; choose another --observer or --out")
    task, models, _ = Task.load(path)
    wanted = cohort.cines if subjects is None else cohort.cines[cohort.cines["participant_id"].isin(subjects)]
    write_json(
        {
            "made_by": "cmr frames",
            "cohort": cohort.description["Name"],
            "synthetic": cohort.synthetic,
            "weights": digest(path.with_suffix(".safetensors")),
        },
        mark,
    )
    table = task.predict(models, cohort, subjects, out=folder, views=set(VIEWS) - set(RIGHT_HEART)).drop(
        columns="seconds"
    )
    with atomic(folder / "frames.csv") as part:
        table.to_csv(part, index=False, lineterminator="\n")
    return table, int((wanted["frames"] < FEWEST_FRAMES).sum())


def _weights(run):
    """The weights file: itself, or `tempreg` in a folder of weights or a run's."""
    if not run.is_dir():
        return run
    return (run / "weights" if (run / "weights").is_dir() else run) / "tempreg"
