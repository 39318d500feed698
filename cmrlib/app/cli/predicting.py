"""Trained networks at work on a cohort: an observer (masks, ED and ES, points), scores, or embeddings.

Beside what is drawn of a cine stands a note of what made it. Where it fits, the cine is not looked at again, so that a
killed run loses one cine.
"""

import io
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from cmrlib.app.cli.observers import claim, observer_folder, require_subjects, write_table
from cmrlib.cine.anatomy import RIGHT_HEART, VIEWS
from cmrlib.cohort import Cohort, Observer, digests, stem
from cmrlib.cohort.files import digest, read_json, write_json
from cmrlib.cohort.progress import with_progress
from cmrlib.learning.task import Task
from cmrlib.learning.weightsets import networks, places, weights_files
from cmrlib.measures import FEATURES, features
from cmrlib.measures.motion import motion_table
from cmrlib.measures.valve import valve_tables
from cmrlib.papers.heartmae import first_session, make_bags, mean_features
from cmrlib.papers.mvnet import MitralTracking
from cmrlib.report.scores import Classifier, score_cine

ENCODERS = ("flow", "plain", "tube", "mask95")
"""Of several encoders of HeartMAE in a folder the first of these."""


class NoCineError(ValueError):
    """The cohort has no cine that these networks could look at."""


@dataclass(frozen=True)
class Network:
    """A task with its networks, the file (or folder) that they come from, their digest, and their card.

    drawn: suffix of the file that says that they drew on a cine. masks: name of the observer whose masks they need.
    """

    task: Task
    models: list
    path: Path
    digest: str
    card: dict
    drawn: str
    masks: str = ""

    def predict(self, cohort: Cohort, views, folder, **options) -> pd.DataFrame:
        """Rows of `Task.predict`; what is drawn goes to the observer in `folder`."""
        options = {"annotations": self.masks, "out": folder, "views": views, "card": self.card} | options
        return self.task.predict(self.models, cohort, **options)


def load_segmenters(weights) -> dict[str, Network]:
    """View → its network, of a shipped set, a run's folder, a folder of weights, or one file; one that serves several
    views stands under each of them.

    Raises FileNotFoundError where there are no weights, ValueError for other networks' and for pickles.
    """

    def load(path):
        task, models, card = Task.load(path)
        file = path.with_suffix(".safetensors")
        return Network(task, models, file, digest(file), card, "dseg.json")

    files = networks(weights)
    loaded = {path: load(path) for path in sorted(set(files.values()))}
    return {view: loaded[path] for view, path in files.items()}


def load_tempreg(weights) -> dict[str, Network]:
    """View → TempReg-Net, which looks at every view of the left heart."""
    (place,) = places(weights, "03_tempreg")[:1]
    files = {path.stem: path for path in weights_files(place)}
    path = files.get("tempreg", Path(place))
    task, models, card = Task.load(path)
    network = Network(task, models, path, digest(path.with_suffix(".safetensors")), card, "frames.tsv")
    return {view: network for view in VIEWS if view not in RIGHT_HEART}


def with_stacks(networks: dict, weights, cohort: Cohort, masks: str) -> dict[str, Network]:
    """`networks`, and by the cine's name the network that decides for a cine as a whole, where the weights have one and
    the observer `masks` outlined the LV of the whole cycle. It learned from short-axis stacks."""
    files = [path for place in places(weights, "03c_tempreg_patients") for path in weights_files(place)]
    path = next((path for path in files if path.stem == "stack"), None)
    if path is None:
        return networks
    task, models, card = Task.load(path)
    stack = Network(task, models, path, digest(path.with_suffix(".safetensors")), card, "frames.tsv", masks)
    return networks | dict.fromkeys(task.outlined(cohort, masks), stack)


def load_mvnet(weights) -> dict[str, Network]:
    """View → the networks of both stages, of a run's folder or its folder of weights."""
    (place,) = places(weights, "04_mvnet")[:1]
    task, models, card = MitralTracking.load(place)
    digests = [digest(path) for path in weights_files(place)]
    return dict.fromkeys(task.views, Network(task, models, Path(place), " ".join(digests), card, "points.tsv"))


def draw(cohort: Cohort, by_view: dict[str, Network], folder, subjects=None, **options) -> tuple[pd.DataFrame, int]:
    """(rows of all wanted cines, number of cines looked at now): lay an observer over the cohort.

    by_view: view → its network; a single cine's stands under its name.
    options: of the task's prediction. Raises NoCineError where there is nothing to look at, ValueError for unknown
    subjects and a folder inside the cohort, FileExistsError where the folder is another observer's.
    """
    folder, wanted = Path(folder), _wanted(cohort, by_view, subjects)
    name = type(next(iter(by_view.values())).task).__name__
    claim(folder, cohort, {"made_by": f"cmr predict: {name}", "cohort": cohort.digest, "synthetic": cohort.synthetic})

    def network(row):
        return by_view.get(row.cine) or by_view[row.view]

    observers = {one.masks for one in by_view.values()} - {""}
    looked, masks = Observer(folder), {name: cohort.observer(name).digest for name in observers}

    def maker(row):
        needed = {"masks": masks[network(row).masks]} if network(row).masks else {}
        return {"weights": network(row).digest, "cine": row.digest} | needed | options

    def made(row):
        note = _note(folder, row.cine)
        if not (looked.has(row.cine, network(row).drawn) and note.exists()):
            return False
        looked.annotation(row.cine)  # corrected in place? it is refused, and not drawn over
        return _noted(note)["made_by"] == maker(row)

    todo = [row for row in wanted.itertuples() if not made(row)]
    for row in with_progress(todo, name, "cine", len(wanted), len(wanted) - len(todo)):
        note = _note(folder, row.cine)
        note.unlink(missing_ok=True)  # from here on what is drawn may be anybody's
        with redirect_stderr(io.StringIO()):  # its own bar counts to one
            table = network(row).predict(cohort.part([row.cine]), [row.view], folder, **options)
        rows = table.drop(columns=["seconds", "frame_step_ms"]).to_dict("records")
        write_json({"made_by": maker(row), "rows": rows}, note)
        digests.note({note: None})
    return noted(folder, wanted), len(todo)


def noted(folder, cines: pd.DataFrame) -> pd.DataFrame:
    """Rows of these cines that `draw` noted in the folder, each with the digest of the weights that made it."""
    notes = [_noted(path) for cine in cines["cine"] if (path := _note(folder, cine)).exists()]
    return pd.DataFrame([row | {"weights": note["made_by"]["weights"]} for note in notes for row in note["rows"]])


def _noted(path) -> dict:
    digests.require_unchanged(path)
    return read_json(path)


def _note(folder, cine) -> Path:
    return Path(folder) / stem(cine).with_name(f"{cine}_predicted.json")


def _wanted(cohort, by_view, subjects):
    require_subjects(cohort, subjects)
    cines = cohort.cines if subjects is None else cohort.cines[cohort.cines["participant_id"].isin(subjects)]
    wanted = cines[cines["view"].isin(list(by_view))]
    if wanted.empty:
        raise NoCineError(
            f"the weights are for {', '.join(by_view)}, of which {cohort.path} has no cine among these "
            f"subjects; it has {', '.join(sorted(set(cohort.cines['view'])))}"
        )
    fewest = getattr(next(iter(by_view.values())).task, "fewest_frames", 1)
    if (wanted["frames"] < fewest).all():
        raise NoCineError(f"no cine of {fewest} or more frames among these subjects and views of {cohort.path}")
    return wanted[wanted["frames"] >= fewest]


def write_valve(cohort: Cohort, network: Network, folder, subjects=None, smooth_ms: float | None = None):
    """valve_metrics of the points in `folder`, written there as CSV beside valve_motion. smooth_ms: default what the
    run chose on its validation subjects. Outlines that `cmr segment` made of the cohort are a second opinion."""
    task, folder, masks = network.task, Path(folder), observer_folder(cohort.path, "ternausnet")
    laid = Cohort.open(cohort.path, [folder, *([masks] if masks.is_dir() else [])])
    people = cohort.subjects["participant_id"].tolist() if subjects is None else list(subjects)
    smooth_ms = task.smooth_ms if smooth_ms is None else smooth_ms
    second = {"least_confidence": task.least_confidence, "masks": masks.name if masks.is_dir() else None}
    motion, metrics = valve_tables(laid, folder.name, smooth_ms, people, **second)
    write_table(motion, folder / "valve_motion.csv")
    return write_table(metrics, folder / "valve_metrics.csv")


def classify(cohort: Cohort, observer: str, classifier: Classifier, folder, subjects=None) -> pd.DataFrame:
    """participant_id, session, cine, view, score, threshold, positive, reason: a row a cine of the classifier's view,
    also written as scores.csv in `folder`.

    observer: whose masks say where the heart is. Who cannot be judged has no score and a reason.
    """
    folder, looked = Path(folder), cohort.observer(observer)
    table = _wanted(cohort, {classifier.view: classifier}, subjects)
    made_by = {"made_by": "cmr predict: classify", "network": classifier.name, "cohort": cohort.digest}
    claim(folder, cohort, made_by | {"observer": observer, "weights": digest(classifier.path)})
    rows = with_progress(list(table.itertuples()), "classify", "cine")
    scores = [score_cine(cohort, looked, classifier, row) for row in rows]
    table = table[["participant_id", "session", "cine", "view"]].assign(
        score=[score for score, _ in scores], threshold=classifier.threshold
    )
    table["score"] = table["score"].astype(float)
    table["positive"] = (table["score"] >= classifier.threshold).astype("Int64").mask(table["score"].isna())
    return write_table(table.assign(reason=[reason for _, reason in scores]), folder / "scores.csv")


def motion(cohort: Cohort, folder, subjects=None, observer: str = "") -> pd.DataFrame:
    """A row a subject of `motion_table` and, from an observer's masks, FEATURES; also written as embeddings.csv in
    `folder`. Raises FileExistsError where the folder holds something else."""
    require_subjects(cohort, subjects)
    masks = cohort.observer(observer).digest if observer else ""
    claim(folder, cohort, {"weights": "motion", "masks": masks, "cohort": cohort.digest})
    table = motion_table(cohort, subjects)
    if observer:
        measured = first_session(features(cohort, observer, subjects=subjects))
        table = table.join(measured[[name for name in FEATURES if name in measured]], on="participant_id")
    return write_table(table, Path(folder) / "embeddings.csv")


def embed(cohort: Cohort, run, folder, subjects=None, variant: str = "", precision: str = "bf16") -> pd.DataFrame:
    """A row of HeartMAE's features a subject, also written as embeddings.csv in `folder`.

    run: a run of 08_heartmae_predict, whose pooling is used; or of 07_heartmae_pretrain, where a subject's row is the
    mean over its views; or a folder of weights. variant: default the first of ENCODERS that is there. Raises
    FileNotFoundError where there are no weights, FileExistsError where the folder holds other weights' embeddings.
    """
    require_subjects(cohort, subjects)
    files, names = {path.stem: path for path in weights_files(run)}, [variant] if variant else ENCODERS
    known = [files[name] for name in names if name in files] or [path for path in files.values() if path == Path(run)]
    if not known:
        raise FileNotFoundError(f"no weights of {' or '.join(names)} in {run}; there are {', '.join(files)}")
    path = known[0].with_suffix(".safetensors")
    heads = path.with_name("heads.safetensors")
    fits = heads.exists() and read_json(heads.with_suffix(".json")).get("encoder") == path.stem
    key, pooling = digest(path), digest(heads) if fits else None
    claim(folder, cohort, {"weights": key, "heads": pooling, "cohort": cohort.digest})
    task, [model], _ = Task.load(path)
    people = cohort.subjects["participant_id"].tolist() if subjects is None else list(subjects)
    sections = task.items(cohort, "", pd.Series("test", people))
    task = replace(task, cache=Path(folder) / "features")
    bags = make_bags(task.features(model, cohort, key, precision=precision), sections)
    table = mean_features(bags)
    if fits:
        probe, [network], _ = Task.load(heads)
        table = probe.embeddings(network, bags)
    return write_table(table, Path(folder) / "embeddings.csv")
