"""The small record of a run: figures/record/PROFILE_NOTEBOOK.json says how it stands, .csv how it came there.

Committed, one line an evaluation, so that every look at a test set can be counted. A profile with `pool: true` keeps a
row a subject too (PROFILE_NOTEBOOK_rows.csv), so that folds which ran on different days or machines are pooled:
PROFILE_pooled.json, written by `make readme`.
"""

import csv
import io
from pathlib import Path

import pandas as pd

from cmrlib import agreement
from cmrlib.agreement import summary
from cmrlib.app.runs.parameters import ROOT
from cmrlib.cohort.files import atomic, write_json

ROWS = {"01_segmentation": "scores", "02_measurements": "measures"}
"""Notebook → its table that is pooled over folds."""

KEPT = ("notebook", "profile", "date", "commit", "hardware", "seconds", "peak_mb", "cohort", "seed")


def keep(manifest: dict) -> None:
    """Replace the record's JSON by this run and append its line to the CSV."""
    folder = ROOT / "figures" / "record"
    kept = {name: manifest[name] for name in KEPT}
    parameters = {name: _public(value) for name, value in manifest["parameters"].items()}
    stem = f"{manifest['profile']}_{manifest['notebook']}"
    path = folder / f"{stem}.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text()))) if path.exists() else []
    rows.append(kept | manifest["metrics"])
    columns = list(dict.fromkeys(name for row in rows for name in row))  # metrics come and go over the years
    with atomic(path) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_json(kept | {"metrics": manifest["metrics"], "parameters": parameters}, folder / f"{stem}.json")


def keep_rows(manifest: dict, tables: Path) -> None:
    """Add a run's subjects to PROFILE_NOTEBOOK_rows.csv; a subject that stands there already is replaced."""
    if manifest["notebook"] not in ROWS:
        return
    rows = pd.read_csv(tables / f"{ROWS[manifest['notebook']]}.csv", dtype={"participant_id": str, "session": str})
    if "level" in rows:  # of overlap, whole volumes at ED and ES
        rows = rows[(rows["level"] == "all") & rows["phase"].notna()]
    rows = rows.copy().assign(commit=manifest["commit"]).round(4)  # one block: read_csv leaves one a column
    path = ROOT / "figures" / "record" / f"{manifest['profile']}_{manifest['notebook']}_rows.csv"
    if path.exists():
        before = pd.read_csv(path, dtype={"participant_id": str, "session": str})
        rows = pd.concat([before[~before["participant_id"].isin(rows["participant_id"])], rows], ignore_index=True)
    with atomic(path) as part:
        rows.sort_values("participant_id", kind="stable").to_csv(part, index=False, lineterminator="\n")


def pool(profile: str, reference: str = "manual", test: str = "ternausnet") -> dict:
    """Metrics over all subjects whose rows a profile has kept, to PROFILE_pooled.json; each with its interval."""
    folder, metrics = ROOT / "figures" / "record", {}
    scores, measures = (folder / f"{profile}_{notebook}_rows.csv" for notebook in ROWS)
    ids = {"participant_id": str, "session": str}
    if scores.exists():
        rows = pd.read_csv(scores, dtype=ids)
        metrics = summary.overlap_metrics(rows) | {"n_dice": int(rows["participant_id"].nunique())}
    if measures.exists():
        rows = pd.read_csv(measures, dtype=ids).fillna({"session": ""})
        result = agreement.compare(rows, reference, test, ["lvef_pct", "lvedv_ml", "lvesv_ml", "lvm_g"])
        metrics |= agreement.headline(result) | {"n": int(result["n"].max())}
    metrics = {name: round(value, 6) for name, value in metrics.items()}  # processors differ in the last digits
    kept = {"profile": profile, "commit": "+".join(sorted(set(rows["commit"].str[:8]))), "metrics": metrics}
    write_json(kept, folder / f"{profile}_pooled.json")
    return metrics


def _public(value):
    """A path of this machine is nobody else's business: its last part stays."""
    outside = isinstance(value, str) and (Path(value).is_absolute() or value.startswith("~"))
    return Path(value).name if outside else value
