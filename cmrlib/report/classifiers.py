"""Trained classifiers, whichever paper they are from: found by the name on their weights card."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cmrlib.cohort.files import read_json
from cmrlib.learning.task import Task
from cmrlib.measures import RefusedError

PREFERRED = ("siam25", "siam", "sslhf")
"""Of several classifiers in a run's folder the first of these, where no file is named."""


@dataclass(frozen=True)
class Classifier:
    """predict: (cine, annotation) → probability, which counts as positive from `threshold` on; or RefusedError.

    view: of the cines that it judges. name: on its card. path: of its weights.
    """

    predict: Callable
    threshold: float
    view: str
    name: str
    path: Path


def load_classifier(run) -> Classifier:
    """The classifier of a run's folder, a folder of weights, or one file.

    Raises FileNotFoundError where there are no weights, ValueError for those of other networks.
    """
    path = _file(Path(run)).with_suffix("")
    card = read_json(path.with_suffix(".json")) if path.with_suffix(".json").exists() else {}
    name = card.get("architecture", {}).get("name")
    if "threshold" not in card:
        raise ValueError(f"{path.name}: weights of {name or 'an unknown network'} do not classify: no threshold")
    task, models, card = Task.load(path)
    return Classifier(partial(_score, task, models), card["threshold"], task.views[0], name, path)


def _score(task, models, cine, annotation):
    return task.predict_cine(models, cine, annotation)[1][-1]["score"]


def _file(run):
    folder = run / "weights" if (run / "weights").is_dir() else run
    if not folder.is_dir():
        return run
    found = {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
    if not found:
        raise FileNotFoundError(f"no weights (.safetensors with a .json) in {folder}")
    preferred = [found[name] for name in PREFERRED if name in found]
    if not preferred and len(found) > 1:
        raise ValueError(f"{folder} holds {', '.join(found)}; name one of the files")
    return (preferred or list(found.values()))[0]


def score_cine(cohort, looked, classifier: Classifier, row) -> tuple[float | None, str]:
    """(probability, "") of a row of `cohort.cines` by an observer's masks, or (None, why there is none)."""
    if not looked.has(row.cine):
        return None, f"not segmented by {looked.name}"
    try:
        score = classifier.predict(cohort.cine(row.cine), looked.annotation(row.cine))
        return (None, "nothing in it that can be judged") if math.isnan(score) else (score, "")
    except RefusedError as error:  # any other error is a defect, not a reason
        return None, error.reason
