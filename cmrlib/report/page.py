"""Findings → one self-contained page and its JSON. Everything is escaped: no text of a header can inject markup."""

import math
import tempfile
import time
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape

import cmrlib
from cmrlib import plots
from cmrlib.cine.anatomy import COLOURS, NAMES, VIEW_STRUCTURES
from cmrlib.cohort.files import atomic, require_writable, write_json
from cmrlib.cohort.provenance import KNOWN
from cmrlib.learning.weightsets import DEFAULT
from cmrlib.measures import Conventions
from cmrlib.measures.volumes import bsa_m2
from cmrlib.report.advice import advice
from cmrlib.report.pictures import pictures_of
from cmrlib.report.study import Findings, examine

KEY = ("lvef_pct", "lvedv_ml", "lvesv_ml", "lvm_g", "rvef_pct", "rvedv_ml", "mapse_mm")
"""What stands above all else, if its error is known; the first stays with its reason where it is not reported."""
_SEEN = "Some of them learned from this very heart: the errors that stand here do not hold for it."
SERIES = ["content", "view", "slices", "frames", "rows", "columns", "rr_ms", "ordered_by", "flags"]


def make_report(
    source, out, weights=None, keep=None, title: str = "Cardiac MRI study", person: dict | None = None
) -> dict:
    """Examine a study and write the page to `out` (.html) and what it says to the .json beside it; returns that dict.

    source: a folder of DICOM of one person, or a cohort of one. weights: see `examine`; default the shipped set real.
    keep: folder in which cohort and observers stay, to be corrected or measured again; default: they are removed.
    title: the page's heading. person: sex (M or F), age (years), height_m, weight_kg, where the source lacks them.
    Raises FileExistsError before any work where `out` or the JSON beside it is a file of something else.
    """
    start, out = time.monotonic(), Path(out)
    _require_page(out)
    plots.use_style()
    with tempfile.TemporaryDirectory() as folder:
        found = examine(source, keep or folder, weights or DEFAULT, person)
        pictures = pictures_of(found)
        said = _report_as_dict(found, round(time.monotonic() - start, 1), title)
        page = render(said, pictures)
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic(out) as part:
        part.write_text(page)
    write_json(said, out.with_suffix(".json"))
    return said


def _require_page(out):
    """Raise OSError where a page cannot be written to `out`, or would replace what is none."""
    require_writable(out)
    for path, start in ((out, b"<!doctype html>"), (out.with_suffix(".json"), b'{\n "structures": ')):
        if path.exists() and not (path.is_file() and path.read_bytes().startswith(start)):
            raise FileExistsError(f"{path} is no report and is not written over; name another file")


def render(said: dict, pictures: list[dict]) -> str:
    """The page of what a report says, and its pictures (kind, caption, data)."""
    environment = Environment(loader=PackageLoader("cmrlib.report", "."), autoescape=select_autoescape(["html"]))
    measures = [row | _shown(row) for row in said["measures"]]
    scores = [row | {"shown": _number(row["value"], small=not row["unit"])} for row in said["scores"]]
    rows = {row["measure"]: row for row in measures}
    known = [rows[name] for name in KEY if name in rows]
    known = [row for row in known if (row["error"] and (row["shown"] or row["withheld"])) or row["measure"] == KEY[0]]
    absent = {}
    for row in measures:
        if not (row["shown"] or row["refused"] or row["withheld"]):
            absent.setdefault(row["reason"], []).append(row["description"].split(":")[0])
    columns = [name for name in SERIES if any(row.get(name) not in ("", None) for row in said["series"])]
    return environment.get_template("page.html").render(
        said,
        version=cmrlib.__version__,
        measures=measures,
        scores=scores,
        absent=absent,
        key=known,
        pictures=pictures,
        columns=columns,
        legend=[(NAMES[name], COLOURS[name]) for name in said["structures"]],
        names=NAMES,
        advice=advice(said["flags"]),
        seen=_SEEN if any(KNOWN in flag for flag in said["flags"]) else "",
    )


def _number(value, small: bool = False) -> str:
    """Three digits or so; `small`: a probability."""
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:.2f}" if small else f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}"


def _shown(row) -> dict:
    """Numbers of a row of measures as text: shown, index, error (limits of agreement)."""
    known = row["sd"] is not None and math.isfinite(row["sd"])
    error = f"{row['low']:+.1f} to {row['high']:+.1f}" if known else ""
    return {"shown": _number(row["value"]), "index": _number(row["index_value"]), "error": error}


def _report_as_dict(found: Findings, seconds, title) -> dict:
    """Everything that the page says, as plain values."""
    person = found.cohort.subjects.iloc[0]
    units = {"sex": "", "age": " years", "height_m": " m", "weight_kg": " kg"}
    known = [f"{_plain(person[name])}{unit}" for name, unit in units.items() if pd.notna(person.get(name))]
    area = bsa_m2(*pd.to_numeric(person.reindex(["height_m", "weight_kg"]), errors="coerce").astype(float))
    known += [f"{area:.2f} m² (Mosteller)"] if math.isfinite(area) else []
    rate = found.heart_rate_bpm
    series = found.series.drop(columns=["thumbnail"], errors="ignore").astype(object)
    seen = {name for view in found.cohort.cines["view"] for name in VIEW_STRUCTURES.get(view, ())}
    return {
        "structures": [name for name in NAMES if name in seen],
        "title": title,
        "seconds": seconds,
        "person": ", ".join(known) or "sex, age and body size unknown",
        "heart_rate": f"{rate:.0f} beats a minute" if rate > 0 else "heart rate unknown",
        "indexed": bool(math.isfinite(area)),
        "learned": _learned(found.models),
        "missing": found.missing,
        "convention": str(Conventions()),
        "measures": found.measures.to_dict("records"),
        "frames": [_phases(row) for row in found.frames.itertuples()],
        "flags": found.flags,
        "series": series.where(series.notna(), "").map(_plain).to_dict("records"),
        "models": found.models,
        "outlines": found.outlines,
        "scores": found.scores,
    }


def _learned(models) -> str:
    """What trained the networks, in one sentence each."""
    taught = {}
    for card in models:
        taught.setdefault(card["learned from"] + " alone" * bool(card["synthetic"]), set()).add(card["model"])
    said = [f"{' and '.join(sorted(names))} learned from {source}" for source, names in taught.items()]
    if not said:
        return "No network was applied."
    warning = " Expect more errors on patients than on phantoms." if any(one["synthetic"] for one in models) else ""
    return f"Networks: {'; '.join(said)}.{warning}"


def _phases(row) -> dict:
    """ED and ES of a cine, and how long after ED its ES is."""
    apart = (row.es_ms - row.ed_ms) % (row.frames * row.frame_step_ms)
    after = f"{apart:.0f} ms" if math.isfinite(apart) else ""
    return {"view": row.view, "ed": row.ed + 1, "es": row.es + 1, "confidence": f"{row.confidence:.2f}", "after": after}


def _plain(value):
    """Numbers of a table as text that people read."""
    return f"{value:.5g}" if isinstance(value, float) else str(value)
