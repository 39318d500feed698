"""`cmr embed`: one row of HeartMAE's features per subject; resumed where it was killed."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from cmrlib.cohort import Cohort
from cmrlib.cohort.files import atomic, digest, read_json, write_json
from cmrlib.learning.task import Task
from cmrlib.papers.heartmae import Fitted, make_bags, mean_features

MARK = "embedding.json"
PREFERRED = ("flow", "plain", "tube", "mask95")


def embed(
    cohort: Cohort,
    run,
    folder,
    subjects=None,
    variant: str = "",
    precision: str = "bf16",
):
    """embeddings.csv's table, written to `folder`.

    run: a run of 08_heartmae_predict, whose pooling is used; or of 07_heartmae_pretrain, where a subject's row is the
    mean over its views; or a folder of weights. variant: default the first of PREFERRED that is there.
    Raises ValueError for unknown subjects, FileNotFoundError where there are no weights, FileExistsError where the
    folder holds other weights' embeddings.
    """
    folder = Path(folder)
    path, heads = _weights(Path(run), variant)
    task, [model], _ = Task.load(path)
    if unknown := sorted(set(subjects or ()) - set(cohort.subjects["participant_id"])):
        raise ValueError(f"subjects {unknown} are not in {cohort.path}; participants.tsv lists who is")
    people = cohort.subjects["participant_id"].tolist() if subjects is None else list(subjects)
    sections = task.items(cohort, "", pd.Series("test", people))
    key = digest(path.with_suffix(".safetensors"))
    _claim(folder, cohort, {"weights": key, "heads": heads and digest(heads), "cohort": cohort.digest})
    task = replace(task, cache=folder / "features")
    bags = make_bags(task.features(model, cohort, key, precision=precision), sections)
    table = Fitted.load(heads).pooled(bags) if heads else mean_features(bags)
    with atomic(folder / "embeddings.csv") as file:
        table.to_csv(file, index=False, lineterminator="\n")
    return table


def _weights(run, variant):
    """(the encoder's file, the heads' file or None) of a run."""
    folder = run / "weights" if (run / "weights").is_dir() else run
    if folder.suffix == ".safetensors":
        return folder, None
    names = [variant] if variant else PREFERRED
    files = [folder / f"{name}.safetensors" for name in names]
    path = next((file for file in files if file.exists()), None)
    if path is None:
        raise FileNotFoundError(
            f"no weights of {' or '.join(names)} in {folder}; give a run of 07_heartmae_pretrain or 08_heartmae_predict"
        )
    heads = folder / "heads.safetensors"
    fits = heads.exists() and read_json(heads.with_suffix(".json")).get("encoder") == path.stem
    return path, heads if fits else None


def _claim(folder, cohort, made_by):
    """Take an empty folder or one that the same weights filled."""
    if folder.resolve().is_relative_to(cohort.path.resolve()):
        raise ValueError(f"{folder} lies inside the cohort, which never changes; choose a folder outside")
    mark = folder / MARK
    if mark.exists() and read_json(mark) != made_by:
        raise FileExistsError(f"{folder} holds embeddings of other weights or another cohort; choose another --out")
    write_json(made_by, mark)
