"""Executed notebooks as pages that open without a network, and an index with the headline table first."""

import html
import json
import math
import re
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

from cmrlib.app.runs.parameters import ROOT
from cmrlib.cohort.files import atomic

OUTSIDE = re.compile(r"""<(script|link)\b[^>]*\b(src|href)=["']https?://[^>]*>(\s*</script>)?""", re.IGNORECASE)
"""MathJax, RequireJS and fonts that nbconvert would fetch: nothing here needs them."""

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:1rem auto;padding:0 1rem;color:#1c2733}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem;font-size:.9rem}td,th{border-bottom:1px solid #d9e0e6;
text-align:left;padding:.25rem .6rem}td:first-child{overflow-wrap:anywhere}
td.n,th:nth-child(n+2){text-align:right;white-space:nowrap}.soft{color:#5b6b7a}
@media(max-width:40rem){table{font-size:.75rem}td,th{padding:.2rem .3rem}td.n,th:nth-child(n+2){white-space:normal}}
@media print{body{max-width:none;font-size:11px}h2{break-after:avoid}tr{break-inside:avoid}}"""


def write_pages(profile: str, runs=ROOT / "runs") -> Path:
    """runs/PROFILE/NN_name/page.html for every finished notebook, made again where the notebook is newer, and
    runs/PROFILE/index.html; returns the index."""
    folder = Path(runs) / profile
    manifests = {path.parent: json.loads(path.read_text()) for path in sorted(folder.glob("*/manifest.json"))}
    for made in manifests:
        page, notebook = made / "page.html", made / "executed.ipynb"
        if notebook.exists() and not (page.exists() and page.stat().st_mtime >= notebook.stat().st_mtime):
            with atomic(page) as part:
                part.write_text(as_page(notebook))
    index = folder / "index.html"
    with atomic(index) as part:
        part.write_text(_index(profile, manifests))
    return index


def as_page(notebook: Path) -> str:
    """One executed notebook as a self-contained page."""
    text, _ = HTMLExporter(embed_images=True).from_notebook_node(nbformat.read(notebook, as_version=4))
    return OUTSIDE.sub("", text)


def _index(profile, manifests) -> str:
    synthetic = any(
        m["parameters"].get("synthetic") or m["parameters"].get("source") == "phantom" for m in manifests.values()
    )
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>{html.escape(profile)}</title><style>{STYLE}</style><h1>Profile {html.escape(profile)}</h1>"
        "<p><strong>Research only. Not a medical device.</strong>"
        + (" The hearts of this profile are synthetic.</p>" if synthetic else "</p>")
    ]
    for made, manifest in manifests.items():
        seconds = manifest.get("seconds") or 0
        parts.append(
            f"<h2><a href='{made.name}/page.html'>{html.escape(made.name)}</a></h2><p class='soft'>"
            f"{seconds / 60:.1f} minutes · commit {html.escape(str(manifest.get('commit', 'unknown')))}</p>"
        )
        parts.append(
            "<table><tr><th>metric</th><th>value</th><th>95 % interval</th></tr>"
            + "".join(_rows(manifest["metrics"]))
            + "</table>"
        )
    return "\n".join(parts)


def _rows(metrics):
    for name, value in metrics.items():
        if name.endswith(("_low", "_high")) and name.rsplit("_", 1)[0] in metrics:
            continue
        low, high = (metrics.get(f"{name}{end}") for end in ("_low", "_high"))
        span = "" if low is None or high is None else f"{_number(low)} to {_number(high)}"
        yield f"<tr><td>{html.escape(name)}</td><td class='n'>{_number(value)}</td><td class='n'>{span}</td></tr>"


def _number(value) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "undefined"
    return f"{value:.4g}" if isinstance(value, float) else html.escape(str(value))
