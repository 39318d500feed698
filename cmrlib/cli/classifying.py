"""`cmr classify`: scores of a cohort's cines by a trained classifier, whichever paper it is from."""

import math
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from cmrlib.cohort import Cohort
from cmrlib.files import atomic, digest, read_json, write_json

CLASSIFIERS = {
    "CUSSP": ("cmrlib.cussp", "MitralRegurgitation", "4ch"),
    **dict.fromkeys(("SSLHF", "3-D ResNet-50", "3-D DenseNet-121"), ("cmrlib.sslhf", "HeartFailure", "sax")),
}
"""Name on a weights card → module, class, view. Such a class has `load(path)`, `threshold` and
`predict(cine, annotation)`, which returns a probability, or raises ValueError where a cine cannot be judged."""

PREFERRED = ("siam25", "siam", "sslhf_fold0_seed1")
"""Of several classifiers in a run's folder the first of these, where no file is named."""

COLUMNS = ["participant_id", "session", "cine", "view", "score", "threshold", "positive", "reason"]


@dataclass(frozen=True)
class Classifier:
    """A trained model, the view it judges, its name and its file."""

    model: object
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
    if name not in CLASSIFIERS:
        raise ValueError(f"{path.name}: weights of {name or 'an unknown network'} do not classify; "
                         f"known are {', '.join(CLASSIFIERS)}")
    module, class_name, view = CLASSIFIERS[name]
    return Classifier(getattr(import_module(module), class_name).load(path), view, name, path)


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


def classify(cohort: Cohort, observer: str, classifier: Classifier, folder, subjects=None) -> pd.DataFrame:
    """COLUMNS, a row a cine of the classifier's view; also written as scores.csv in `folder`.

    observer: whose masks say where the heart is. Who cannot be judged has no score and a reason.
    Raises ValueError for unknown subjects and a folder inside the cohort.
    """
    folder, looked = Path(folder), cohort.observer(observer)
    if unknown := sorted(set(subjects or ()) - set(cohort.subjects["participant_id"])):
        raise ValueError(f"subjects {unknown} are not in {cohort.path}; participants.tsv lists who is")
    if folder.resolve().is_relative_to(cohort.path.resolve()):
        raise ValueError(f"{folder} lies inside the cohort, which never changes; choose a folder outside")
    wanted = cohort.cines[cohort.cines["view"] == classifier.view]
    wanted = wanted if subjects is None else wanted[wanted["participant_id"].isin(subjects)]
    if wanted.empty:
        raise ValueError(f"the classifier is for {classifier.view}, of which {cohort.path} has no cine among these "
                         f"subjects; it has {', '.join(sorted(set(cohort.cines['view'])))}")
    rows = []
    for row in tqdm(list(wanted.itertuples()), desc="classify", unit="cine", disable=None):
        score, reason = _score(cohort, looked, classifier, row)
        positive = None if score is None else int(score >= classifier.model.threshold)
        rows.append((row.participant_id, row.session, row.cine, row.view, score, classifier.model.threshold, positive,
                     reason))
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"score": float, "positive": "Int64"})
    with atomic(folder / "scores.csv") as part:
        table.to_csv(part, index=False, lineterminator="\n")
    write_json({"made_by": "cmr classify", "network": classifier.name, "observer": observer, "cohort": cohort.digest,
                "weights": digest(classifier.path.with_suffix(".safetensors"))}, folder / "scores.json")
    return table


def _score(cohort, looked, classifier, row):
    """(probability, "") or (None, why there is none)."""
    if not looked.has(row.cine):
        return None, f"not segmented by {looked.name}"
    annotation = looked.mask(row.cine)
    if looked.has(row.cine, "frames.tsv"):
        annotation.frames = looked.frames(row.cine)
    try:
        score = classifier.model.predict(cohort.cine(row.cine), annotation)
        return (None, "nothing in it that can be judged") if math.isnan(score) else (score, "")
    except ValueError as error:
        return None, getattr(error, "reason", str(error))
