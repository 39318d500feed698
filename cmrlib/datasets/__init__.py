"""Readers: one module per source turns a folder into Studies; `ingest` turns them into a cohort."""

from pathlib import Path

import pandas as pd

from cmrlib.cohort import Cohort
from cmrlib.cohort.splits import committed_list, split_subjects
from cmrlib.datasets.ingestion import KINDS, ingest, reader_of
from cmrlib.datasets.overview import inspect
from cmrlib.datasets.samples import SAMPLES, sample

__all__ = ["KINDS", "SAMPLES", "ingest", "inspect", "listed_cohorts", "reader_of", "sample", "test_cohorts"]


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
