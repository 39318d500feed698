"""Readers: one module per source turns a folder into Studies; `ingest` turns them into a cohort."""

from pathlib import Path

import pandas as pd

import cmrlib
from cmrlib.cohort import Cohort
from cmrlib.cohort.splits import committed_list, split_subjects
from cmrlib.datasets.ingestion import KINDS, ingest, reader_of
from cmrlib.datasets.overview import inspect

__all__ = ["KINDS", "SAMPLES", "ingest", "inspect", "listed_cohorts", "reader_of", "sample", "test_cohorts"]

FOLDER = Path(cmrlib.__file__).parents[1] / "samples"
SAMPLES = {"patient1": "dicom", "sunnybrook": "sunnybrook"}
"""Real hearts that travel with the repository: name → kind; samples/README.md says where they came from."""


def sample(name: str = "patient1") -> Path:
    """Folder of a sample, for `ingest(SAMPLES[name], sample(name), DEST)`.

    Raises ValueError for an unknown name, FileNotFoundError where the package is installed without its repository.
    """
    if name not in SAMPLES:
        raise ValueError(f"unknown sample {name!r}; there are {', '.join(SAMPLES)}")
    if not (FOLDER / name).is_dir():
        raise FileNotFoundError(
            f"no folder {FOLDER / name}: samples travel with the repository, not with the package; "
            "clone the repository and install it with `pip install -e .`"
        )
    return FOLDER / name


def test_cohorts(sources, data_dir, dest) -> list[tuple[Cohort, list[str]]]:
    """Real hearts to test on: KIND:FOLDER words → (cohort, test subjects of the committed list named KIND).

    data_dir: where the folders lie. dest: the cohorts are made below it, one per kind, or opened.
    """
    return [(cohort, list(split.index[split == "test"])) for cohort, split in listed_cohorts(sources, data_dir, dest)]


def listed_cohorts(sources, data_dir, dest) -> list[tuple[Cohort, pd.Series]]:
    """KIND:FOLDER words → (cohort, split by the committed list named KIND), made below `dest` or opened."""
    found = []
    for kind, _, folder in (source.partition(":") for source in sources):
        cohort = ingest(kind, Path(data_dir) / folder, Path(dest) / kind)
        found.append((cohort, split_subjects(cohort.subjects, lists=committed_list(kind))))
    return found
