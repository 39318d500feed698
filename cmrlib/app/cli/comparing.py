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
    left, right = (_tables(Path(run)) for run in (a, b))
    lines = [f"{name}: not in {b if name in left else a}" for name in sorted(set(left) ^ set(right))]
    for name in sorted(set(left) & set(right)):
        lines += compare_tables(left[name], right[name], name, rtol)
    return lines, len(set(left) | set(right))


def _tables(run):
    """Name → file: CSVs in a folder, or in folders, called `tables`; all CSVs below where there is no such folder."""
    if run.is_file():
        return {"table": run}
    files = [path for path in sorted(run.rglob("*.csv")) if "/." not in f"/{path.relative_to(run).as_posix()}"]
    files = [path for path in files if path.parent.name == "tables"] or files
    if not files:
        what = "holds no tables (*.csv); has the run finished?" if run.exists() else "does not exist"
        raise FileNotFoundError(f"{run} {what}; name a run's folder, say runs/quick/01_segmentation")
    return {str(path.relative_to(run)): path for path in files}


def compare_tables(a, b, name: str, rtol: float) -> list[str]:
    """Differences of two CSV or TSV files, a line each."""
    left, right = (_read(path) for path in (a, b))
    if list(left.columns) != list(right.columns):
        only = [[c for c in one if c not in set(other)] for one, other in ((left, right), (right, left))]
        return [f"{name}: columns differ (or their order): only in the first {only[0]}, only in the second {only[1]}"]
    if len(left) != len(right):
        return [f"{name}: {len(left)} rows against {len(right)}"]
    unlike = left.to_numpy() != right.to_numpy()
    for k, column in enumerate(left.columns):
        if unlike[:, k].any() and _is_float(left[column]) | _is_float(right[column]):
            x, y = (pd.to_numeric(table[column], errors="coerce") for table in (left, right))
            unlike[:, k] &= ~np.isclose(x, y, rtol=rtol, atol=NEAR_ZERO)
    return [
        f"{name}: row {row + 1}, {left.columns[k]}: {left.iat[row, k] or 'nothing'} against "
        f"{right.iat[row, k] or 'nothing'}"
        for row, k in np.argwhere(unlike)
    ]


def _read(path):
    """All cells as text, for "1" and "1.0" are not the same."""
    try:
        table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    return table.drop(columns="seconds", errors="ignore")


def _is_float(column) -> bool:
    """Whether a column of text holds a number that is not an integer."""
    numbers = pd.to_numeric(column, errors="coerce")
    return bool((numbers.notna() & ~column.str.fullmatch(r"\s*[+-]?\d+\s*")).any())
