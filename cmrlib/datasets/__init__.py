"""Readers: one module a source turns a folder into Studies; `ingest` turns them into a cohort."""

from functools import partial
from pathlib import Path

import pandas as pd

from cmrlib.cohort import Cohort
from cmrlib.cohort.splits import committed_list, split_subjects
from cmrlib.cohort.study import Study
from cmrlib.datasets.finding import unclaimed
from cmrlib.datasets.ingestion import build_cohort
from cmrlib.datasets.kinds import KINDS, reader_of
from cmrlib.datasets.overview import inspect
from cmrlib.datasets.qc import with_qc_flags
from cmrlib.datasets.samples import SAMPLES, sample

__all__ = ["KINDS", "SAMPLES", "ingest", "inspect", "listed_cohorts", "sample", "test_cohorts"]


def ingest(
    kind: str,
    src,
    dest,
    workers: int | None = None,
    progress: bool = True,
    limit: int | None = None,
    shard=None,
    **options,
) -> Cohort | None:
    """Turn the folder `src` into a cohort at `dest`; a finished one is opened, an interrupted one continued.

    kind: one of KINDS. limit: the first so many subjects only. shard: read these subjects only (`in` decides), return
    None, and leave the cohort's tables to a call without it. options go to the reader (see its module). Cines get the
    flags of `cmrlib.datasets.qc` besides the reader's.
    Raises ValueError for an unknown kind or an empty source, FileNotFoundError where `src` does not exist.
    """
    reader = reader_of(kind)
    if not Path(src).exists():
        raise FileNotFoundError(f"the source {src} does not exist; name the folder that holds the {kind} data")
    src = Path(src).resolve()
    found = reader.find(src)
    left = [path for path in unclaimed(src, found) if Path(dest).resolve() not in path.parents]
    return build_cohort(
        dict(list(found.items())[:limit]),
        partial(read_flagged, reader=reader.read, options=options),
        dest,
        reader.DESCRIPTION | {"Options": options},
        workers,
        progress,
        left,
        shard,
    )


def read_flagged(label, item, reader, options) -> Study:
    """One subject by a module's `read`, its cines with the flags of `cmrlib.datasets.qc` besides."""
    study = reader(label, item, **options)
    study.cines = with_qc_flags(study.cines)
    return study


def test_cohorts(sources, data_dir, dest) -> list[tuple[Cohort, list[str]]]:
    """Real hearts to test on: KIND:FOLDER words → (cohort, test subjects of the committed list named KIND).

    data_dir: where the folders lie. dest: the cohorts are made below it, one a kind, or opened.
    """
    return [(cohort, list(split.index[split == "test"])) for cohort, split in listed_cohorts(sources, data_dir, dest)]


def listed_cohorts(sources, data_dir, dest) -> list[tuple[Cohort, pd.Series]]:
    """KIND:FOLDER words → (cohort, split by the committed list named KIND), made below `dest` or opened."""
    found = []
    for kind, _, folder in (source.partition(":") for source in sources):
        cohort = ingest(kind, Path(data_dir) / folder, Path(dest) / kind)
        found.append((cohort, split_subjects(cohort.subjects, lists=committed_list(kind))))
    return found
