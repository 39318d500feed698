"""A cohort segmented with trained networks, cine by cine, so that a killed run loses one cine."""

import io
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cmrlib.cohort import Cohort, Observer
from cmrlib.cohort.files import atomic, digest, read_json, write_json
from cmrlib.cohort.progress import with_progress
from cmrlib.learning.task import Task
from cmrlib.learning.weightsets import networks
from cmrlib.papers.ternausnet import Segmentation


@dataclass(frozen=True)
class Weights:
    """Trained networks of a task, the file they came from (.safetensors), that file's digest, and its card."""

    task: Segmentation
    models: list
    path: Path
    digest: str
    card: dict


def load_weights_of(run) -> dict[str, Weights]:
    """View → its network, of a shipped set, a run's folder, a folder of weights, or one file; a network that serves
    several views stands under each of them.

    Raises FileNotFoundError where there are no weights, ValueError for other networks' and for pickles.
    """
    files = networks(run)
    loaded = {path: _load(path) for path in sorted(set(files.values()))}
    return {view: loaded[path] for view, path in files.items()}


def _load(path):
    try:
        task, models, card = Task.load(path)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path.with_suffix('.json')} is no weights card of a segmentation ({error}); cards are "
            "written beside the weights by 01_segmentation and cmr finetune"
        ) from error
    path = path.with_suffix(".safetensors")
    return Weights(task, models, path, digest(path), card)


def segment_rest(cohort: Cohort, weights: dict[str, Weights], folder, subjects=None, copies: int = 3, write_table=True):
    """(table, number of cines segmented now): lay masks over the cohort as the observer in `folder`.

    Beside each mask stands a note of what made it: weights, copies, the cine's digest. Where it fits, the cine is not
    segmented again. The table has a row for every cine with such a note, and is written as segmented.csv; without
    `write_table` it has those of `subjects` and is not written.
    Raises ValueError for unknown subjects, FileExistsError where the folder is another observer's.
    """
    folder = Path(folder)
    wanted = _wanted(cohort, weights, subjects)
    _claim(folder, cohort)
    todo = [row for row in wanted.itertuples() if _made(folder, row) != _maker(row, weights, copies)]
    for row in with_progress(todo, "segment", "cine", len(wanted), len(wanted) - len(todo)):
        note = _note(folder, row)
        note.unlink(missing_ok=True)  # from here on the mask may be anybody's
        with redirect_stderr(io.StringIO()):  # its own bar counts to one
            one, part = weights[row.view], cohort.part([row.cine])
            table = one.task.predict(one.models, part, out=folder, card=one.card, n_tta=copies)
        result = table.drop(columns=["seconds", "frame_step_ms"]).iloc[0].to_dict()
        write_json({"made_by": _maker(row, weights, copies), "result": result}, note)
    return (_write_table(cohort.cines, folder) if write_table else _table(wanted, folder)), len(todo)


def _wanted(cohort, weights, subjects):
    if unknown := sorted(set(subjects or ()) - set(cohort.subjects["participant_id"])):
        raise ValueError(f"subjects {unknown} are not in {cohort.path}; participants.tsv lists who is")
    wanted = cohort.cines[cohort.cines["view"].isin(list(weights))]
    wanted = wanted if subjects is None else wanted[wanted["participant_id"].isin(subjects)]
    if wanted.empty:
        raise ValueError(
            f"the weights are for {', '.join(weights)}, of which {cohort.path} has no cine among these "
            f"subjects; it has {', '.join(sorted(set(cohort.cines['view'])))}"
        )
    return wanted


def _claim(folder, cohort):
    """Take an empty folder or one that this command made: nobody else's masks are written over."""
    if folder.resolve().is_relative_to(cohort.path.resolve()):
        raise ValueError(f"{folder} lies inside the cohort, which never changes; choose a folder outside")
    mark = folder / "segmentation.json"
    if not mark.exists() and folder.is_dir() and any(folder.glob("sub-*")):
        raise FileExistsError(f"{folder} holds masks that cmr segment did not make; choose another --observer or --out")
    write_json({"made_by": "cmr segment", "cohort": cohort.description["Name"], "synthetic": cohort.synthetic}, mark)


def _note(folder, row):
    session = f"ses-{row.session}" if row.session else ""
    return folder / f"sub-{row.participant_id}" / session / f"{row.cine}_segmented.json"


def _maker(row, weights, copies):
    return {"weights": weights[row.view].digest, "copies": copies, "cine": row.digest}


def _made(folder, row):
    """What made the mask that is there, None where there is none."""
    note = _note(folder, row)
    return read_json(note)["made_by"] if note.exists() and Observer(folder).has(row.cine) else None


def _table(cines, folder):
    notes = [read_json(path) for row in cines.itertuples() if (path := _note(folder, row)).exists()]
    return pd.DataFrame([note["result"] | {"weights": note["made_by"]["weights"]} for note in notes])


def _write_table(cines, folder):
    table = _table(cines, folder)
    with atomic(folder / "segmented.csv") as part:
        table.to_csv(part, index=False, lineterminator="\n")
    return table
