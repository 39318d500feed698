"""Findings → one self-contained page and its JSON. Everything is escaped: no text of a header can inject markup."""

import base64
import io
import math
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape

import cmrlib
from cmrlib import plots
from cmrlib.cine.anatomy import COLOURS, MITRAL_POINTS, NAMES, VIEW_STRUCTURES
from cmrlib.cohort.files import atomic, require_writable, write_json
from cmrlib.learning.weightsets import DEFAULT
from cmrlib.measures import Conventions, curves
from cmrlib.measures.crossings import LEAST_AGREEMENT, agreement
from cmrlib.measures.curves import FEWEST_FRAMES, with_phases
from cmrlib.measures.valve import point_array
from cmrlib.report.study import Findings, examine

KEY = ("lvef_pct", "lvedv_ml", "lvm_g", "rvef_pct", "mapse_mm")
"""What stands above all else; of these the first stays with its reason where it is not reported."""
SERIES = ["content", "view", "slices", "frames", "rows", "columns", "rr_ms", "ordered_by", "flags"]


def make_report(
    source, out, weights=None, keep=None, title: str = "Cardiac MRI study", sex: str = "", age: float | None = None
) -> dict:
    """Examine a study and write the page to `out` (.html) and what it says to the .json beside it; returns that dict.

    source: a folder of DICOM of one person, or a cohort of one. weights: see `examine`; default the shipped set real.
    keep: folder in which cohort and observers stay, to be corrected or measured again; default: they are removed.
    title: the page's heading. sex (M or F), age (years): where the source lacks them, for the reference ranges.
    Raises FileExistsError before any work where `out` or the JSON beside it is a file of something else.
    """
    start, out = time.monotonic(), Path(out)
    _require_page(out)
    plots.use_style()
    with tempfile.TemporaryDirectory() as folder:
        found = examine(source, keep or folder, weights or DEFAULT, sex, age)
        pictures = _pictures(found)
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
    measures = [row | {"shown": _number(row["value"]), "error": _error(row)} for row in said["measures"]]
    scores = [row | {"shown": _number(row["value"], small=not row["unit"])} for row in said["scores"]]
    rows = {row["measure"]: row for row in measures}
    known = [rows[name] for name in KEY if name in rows]
    known = [row for row in known if row["shown"] or row["withheld"] or row["measure"] == KEY[0]]
    absent = {}
    for row in measures:
        if not (row["shown"] or row["refused"] or row["withheld"]):
            absent.setdefault(row["reason"], []).append(row["description"])
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
    )


def _number(value, small: bool = False) -> str:
    """Three digits or so; `small`: a probability."""
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:.2f}" if small else f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}"


def _error(row) -> str:
    return "" if row["sd"] is None or not math.isfinite(row["sd"]) else f"{row['bias']:+.1f} ± {row['sd']:.1f}"


def _report_as_dict(found: Findings, seconds, title) -> dict:
    """Everything that the page says, as plain values."""
    person = found.cohort.subjects.iloc[0]
    units = {"sex": "", "age": " years", "height_m": " m", "weight_kg": " kg"}
    known = [f"{_plain(person[name])}{unit}" for name, unit in units.items() if pd.notna(person.get(name))]
    synthetic = [card["synthetic"] for card in found.models]
    learned = "What the networks learned from stands below."
    if any(synthetic):
        which = "The" if all(synthetic) else "Some of the"
        learned = (
            f"{which} networks learned from synthetic hearts only; on real hearts expect more errors than on those."
        )
    series = found.series.drop(columns=["thumbnail"], errors="ignore").astype(object)
    seen = {name for view in found.cohort.cines["view"] for name in VIEW_STRUCTURES.get(view, ())}
    return {
        "structures": [name for name in NAMES if name in seen],
        "title": title,
        "seconds": seconds,
        "person": ", ".join(known) or "sex, age and body size unknown",
        "learned": learned,
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


def _phases(row) -> dict:
    """ED and ES of a cine, and how long after ED its ES is."""
    apart = (row.es_ms - row.ed_ms) % (row.frames * row.frame_step_ms)
    after = f"{apart:.0f} ms" if math.isfinite(apart) else ""
    return {"view": row.view, "ed": row.ed, "es": row.es, "confidence": f"{row.confidence:.2f}", "after": after}


def _plain(value):
    """Numbers of a table as text that people read."""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _pictures(found: Findings) -> list[dict]:
    made = []
    for row in found.cohort.cines.sort_values("view").itertuples():
        made += _cine_pictures(found.cohort, row)
    return made + _crossing_pictures(found) + _curve_pictures(found)


def _crossing_pictures(found) -> list[dict]:
    """Long axes with what the short axis has where the planes cross."""
    agreed = {view: agreement(lines) for view, lines in found.crossings.items() if lines}
    if not agreed:
        return []
    figure = plots.crossing_sheet(found.views, {view: found.crossings[view] for view in agreed}, agreed)
    off = [view.upper() for view, value in agreed.items() if not value >= LEAST_AGREEMENT]
    told = f"; {' and '.join(off)} below {LEAST_AGREEMENT}: its measures are not reported" if off else ""
    return [_plot(figure, f"the short axis (bars) where it crosses the long axes (outlines), ED{told}")]


def _cine_pictures(cohort, row) -> list[dict]:
    """Animated outlines of one cine (base, middle and apex of a stack), and its mitral points at ED and ES."""
    cine, mask = cohort.cine(row.cine), None
    if "ternausnet" in cohort.observers and cohort.observer("ternausnet").has(row.cine):
        mask = cohort.observer("ternausnet").mask(row.cine).mask
    made, levels, box = [], {"": 0}, None if mask is None else plots.heart_box(mask)
    if cine.slices > 1:
        shown = plots.base_mid_apex(mask[cine.ed or 0]) if mask is not None else None
        levels = dict(zip(("base", "middle", "apex"), shown)) if shown else {"middle": cine.slices // 2}
    for level, k in levels.items():
        with tempfile.TemporaryDirectory() as folder:
            path = plots.animate(cine, Path(folder) / "cine.webp", k, mask, 320, box)
            made.append(_picture(path.read_bytes(), "webp", f"{cine.view.upper()} {level}".strip(), "cine"))
    if "mvnet" in cohort.observers and cohort.observer("mvnet").has(row.cine, "points.tsv"):
        points = point_array(cohort.observer("mvnet").points(row.cine), cine.view, cine.frames)
        names = " and ".join(MITRAL_POINTS[cine.view])
        made.append(_plot(plots.points_sheet(cine, points, columns=2), f"{cine.view.upper()}: mitral points, {names}"))
    return made


def _curve_pictures(found) -> list[dict]:
    made, cohort = [], found.cohort
    if found.measured is not None and (cohort.cines["frames"] >= FEWEST_FRAMES).any():
        table = curves(cohort, "ternausnet").dropna(subset=["volume_ml"])
        view = "sax" if "sax" in set(table["view"]) else "2ch+4ch"
        refused, withheld = (set(found.measures.loc[found.measures[why], "measure"]) for why in ("refused", "withheld"))
        hidden = {
            name
            for name in ("lv", "rv")
            if view == "sax" and (f"{name}edv_ml" in refused or {f"{name}edv_ml", f"{name}esv_ml"} & withheld)
        }
        table = table[(table["view"] == view) & ~table["structure"].isin({"myo"} | hidden)]
        if len(table):
            figure, ax = plt.subplots(figsize=(4.6, 3))
            plots.volume_curves(with_phases(table, found.measured), ax).legend(frameon=False, fontsize=8)
            left = "".join(f"; {NAMES[name]} is not reported" for name in sorted(hidden))
            made.append(_plot(figure, f"volumes through the cycle{left}"))
    if len(found.motion):
        made.append(_plot(plots.motion_curves(found.motion, stacked=True), "motion of the mitral valve"))
    return made


def _plot(figure, caption) -> dict:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return _picture(file.getvalue(), "png", caption, "plot")


def _picture(data: bytes, kind: str, caption: str, role: str) -> dict:
    return {"kind": role, "caption": caption, "data": f"data:image/{kind};base64,{base64.b64encode(data).decode()}"}
