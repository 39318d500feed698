"""Shards of subjects: how many jobs share one large cohort, and how their tables become one."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cmrlib.cohort import digests
from cmrlib.cohort.files import atomic

KEYS = ("participant_id", "session", "cine", "view", "k")
"""Columns that order the rows of a joined table."""


@dataclass(frozen=True)
class Shard:
    """The subjects whose id hashes to k modulo n; k counts from 0. Who else is in the cohort does not matter."""

    k: int
    n: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """`3/8` → Shard(3, 8). Raises ValueError for anything else."""
        k, _, n = text.partition("/")
        if not (k.isdigit() and n.isdigit() and int(k) < int(n)):
            raise ValueError(f"a shard is K/N with K from 0 to N − 1, say 0/4; got {text!r}")
        return cls(int(k), int(n))

    def __contains__(self, subject: str) -> bool:
        return int(hashlib.blake2b(subject.encode(), digest_size=4).hexdigest(), 16) % self.n == self.k

    def __str__(self):
        return f"{self.k}/{self.n}"


def join_tables(paths, dest) -> pd.DataFrame:
    """Rows of all tables (.tsv or .csv), ordered by subject, written to `dest`; values stay text, so none is rounded.

    Raises FileNotFoundError for a missing table, ValueError where a subject's row comes twice, and where
    `dest` is one of the tables.
    """
    if Path(dest).resolve() in {Path(path).resolve() for path in paths}:
        raise ValueError(f"{dest} is one of the tables itself: name another file for the table of all")
    separator = "\t" if Path(dest).suffix == ".tsv" else ","
    tables = [pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False) for path in paths]
    table = pd.concat(tables, ignore_index=True).fillna("n/a" if separator == "\t" else "")
    keys = [name for name in KEYS if name in table]
    if keys and table.duplicated(keys).any():
        raise ValueError(f"{table.loc[table.duplicated(keys), keys[0]].iloc[0]} is in two of these tables")
    with atomic(dest) as part:
        table.sort_values(keys, kind="stable").to_csv(part, sep=separator, index=False, lineterminator="\n")
    if digests.noted(Path(dest).parent):  # an observer's measures
        digests.note({Path(dest): None})
    return table
