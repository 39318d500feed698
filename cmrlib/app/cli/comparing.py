"""Two runs' tables, cell by cell: what "the same result" means, on one machine and across machines."""

from pathlib import Path

import numpy as np
import pandas as pd

NEAR_ZERO = 1e-9
"""Floats this close are equal whatever their ratio: a bias of 1e-17 is a bias of 0."""


def compare_runs(a, b, rtol: float = 1e-5) -> tuple[list[str], int]:
    """(differences, a line each; number of tables compared) of two runs, two profiles' folders, or two tables.

    Text and integers must be identical, floats within rtol. Columns `seconds` are left out. Raises FileNotFoundError
    where there is no table.
    """
    tables = [_tables(Path(run)) for run in (a, b)]
    lines = []
    for name in sorted(set(tables[0]) | set(tables[1])):
        missing = [str(run) for run, found in zip((a, b), tables) if name not in found]
        if missing:
            lines.append(f"{name}: not in {missing[0]}")
        else:
            lines += compare_tables(tables[0][name], tables[1][name], name, rtol)
    return lines, len(set(tables[0]) | set(tables[1]))


def _tables(run):
    """Name → file: CSVs in a folder, or in folders, called `tables`; all CSVs below where there is no such folder."""
    if run.is_file():
        return {"table": run}
    if not run.exists():
        raise FileNotFoundError(f"{run} does not exist; name a run's folder, say runs/quick/01_segmentation")
    files = [path for path in sorted(run.rglob("*.csv")) if "/." not in f"/{path.relative_to(run).as_posix()}"]
    files = [path for path in files if path.parent.name == "tables"] or files
    if not files:
        raise FileNotFoundError(f"{run} holds no tables (*.csv), so there is nothing to compare; has the run finished?")
    return {str(path.relative_to(run)): path for path in files}


def compare_tables(a, b, name: str, rtol: float) -> list[str]:
    """Differences of two CSV or TSV files, a line each."""
    left, right = (_read(path) for path in (a, b))
    if list(left.columns) != list(right.columns):
        only = [[c for c in one if c not in set(other)] for one, other in ((left, right), (right, left))]
        return [
            f"{name}: columns differ: only in the first {only[0]}, only in the second {only[1]}"
            if any(only)
            else f"{name}: the same columns in another order"
        ]
    if len(left) != len(right):
        return [f"{name}: {len(left)} rows against {len(right)}"]
    lines = []
    for row, column in np.argwhere(left.to_numpy() != right.to_numpy()):
        one, other = left.iat[row, column], right.iat[row, column]
        if not _close(one, other, rtol):
            where = f"{name}: row {row + 1}, {left.columns[column]}"
            lines.append(f"{where}: {one or 'nothing'} against {other or 'nothing'}")
    return lines


def _read(path):
    try:
        table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    return table.drop(columns="seconds", errors="ignore")


def _close(one: str, other: str, rtol: float) -> bool:
    """Whether two different texts are floats within the tolerance; integers are exact."""
    try:
        if int(one) != int(other):
            return False
    except ValueError:
        pass
    try:
        x, y = float(one), float(other)
    except ValueError:
        return False
    return bool(x == y or abs(x - y) <= max(rtol * max(abs(x), abs(y)), NEAR_ZERO))
