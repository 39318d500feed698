"""The committed record of runs: figures/record/PROFILE_NOTEBOOK.json is the latest, .csv the history.

Every evaluation adds one line, so that looks at a test set can be counted: runs leave theirs in RUNS/PROFILE, and
`python -m cmrlib.app.runs record --profile NAME` appends them. A profile with `pool: true` also keeps one row per
subject (PROFILE_NOTEBOOK_rows.csv), so that folds run on different days or machines can be pooled.
"""

import json
from pathlib import Path

import pandas as pd

from cmrlib.app.runs.execution import UNRECORDED
from cmrlib.app.runs.parameters import ROOT, UsageError, load_profile
from cmrlib.cohort.files import atomic, write_json

ROWS = {"01_segmentation": "scores", "02_measurements": "measures"}
"""Notebook → its table whose rows are kept."""

KEPT = ("notebook", "profile", "date", "commit", "hardware", "seconds", "peak_mb", "cohort", "seed")


def append(profile: str, runs: Path | str) -> list[str]:
    """Append all evaluations of a profile that wait in RUNS/PROFILE to the record; their notebooks, one name each.

    Of a notebook that ran several times every run has its line; subjects' rows are those of the last, so folds that run
    one by one are recorded one by one. Raises UsageError where nothing waits.
    """
    folder = Path(runs) / profile
    waiting = folder / UNRECORDED
    if not waiting.exists():
        raise UsageError(f"no evaluation of profile {profile} waits to be recorded; `record: true` in it and run it")
    manifests = [json.loads(line) for line in waiting.read_text().splitlines()]
    for manifest in manifests:
        keep(manifest)
    for manifest in {one["notebook"]: one for one in manifests}.values() if load_profile(profile).pool else ():
        keep_rows(manifest, folder / manifest["notebook"] / "tables")
    waiting.unlink()
    return [manifest["notebook"] for manifest in manifests]


def keep(manifest: dict) -> None:
    """Replace the record's JSON by this run and append its line to the CSV; absolute paths lose their folders."""
    kept = {name: manifest[name] for name in KEPT}
    path = ROOT / "figures" / "record" / f"{manifest['profile']}_{manifest['notebook']}.csv"
    row = pd.DataFrame([kept | manifest["metrics"]], dtype=object)
    if path.exists():
        row = pd.concat([pd.read_csv(path, dtype=object, keep_default_na=False), row])
    with atomic(path) as part:
        row.to_csv(part, index=False, lineterminator="\n")
    parameters = {name: _without_folder(value) for name, value in manifest["parameters"].items()}
    write_json(kept | {"metrics": manifest["metrics"], "parameters": parameters}, path.with_suffix(".json"))


def keep_rows(manifest: dict, tables: Path) -> None:
    """Add a run's subjects to PROFILE_NOTEBOOK_rows.csv; they replace their earlier rows."""
    if manifest["notebook"] not in ROWS:
        return
    ids = {"participant_id": str, "session": str}
    rows = pd.read_csv(tables / f"{ROWS[manifest['notebook']]}.csv", dtype=ids)
    if "level" in rows:  # of overlap, whole volumes at ED and ES
        rows = rows[(rows["level"] == "all") & rows["phase"].notna()]
    rows = rows.copy().assign(commit=manifest["commit"]).round(4)  # copied: read_csv leaves one block per column
    path = ROOT / "figures" / "record" / f"{manifest['profile']}_{manifest['notebook']}_rows.csv"
    if path.exists():
        before = pd.read_csv(path, dtype=ids)
        rows = pd.concat([before[~before["participant_id"].isin(rows["participant_id"])], rows])
    with atomic(path) as part:
        rows.sort_values("participant_id", kind="stable").to_csv(part, index=False, lineterminator="\n")


def _without_folder(value):
    absolute = isinstance(value, str) and (Path(value).is_absolute() or value.startswith("~"))
    return Path(value).name if absolute else value
