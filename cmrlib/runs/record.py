"""The small record of a run: figures/record/PROFILE_NOTEBOOK.json says how it stands, .csv how it came there.

Committed, one line an evaluation, so that every look at a test set can be counted.
"""

import csv
import io
from pathlib import Path

from cmrlib.files import atomic, write_json
from cmrlib.runs.parameters import ROOT

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


def _public(value):
    """A path of this machine is nobody else's business: its last part stays."""
    outside = isinstance(value, str) and (Path(value).is_absolute() or value.startswith("~"))
    return Path(value).name if outside else value
