"""Executed notebooks as pages that open without a network, and an index of their metrics."""

import math
import re
from pathlib import Path

import nbformat
from jinja2 import Environment, PackageLoader
from nbconvert import HTMLExporter

from cmrlib.app.runs.execution import manifests
from cmrlib.app.runs.parameters import ROOT
from cmrlib.cohort.files import atomic

OUTSIDE = re.compile(r"""<(script|link)\b[^>]*\b(src|href)=["']https?://[^>]*>(\s*</script>)?""", re.IGNORECASE)
"""MathJax, RequireJS and fonts that nbconvert would fetch: nothing here needs them."""


def write_pages(profile: str, runs=ROOT / "runs") -> Path:
    """runs/PROFILE/NN_name/page.html for every finished notebook, made again where the notebook is newer, and
    runs/PROFILE/index.html; returns the index."""
    folder = Path(runs) / profile
    finished, exporter = manifests(folder), HTMLExporter(embed_images=True)
    for name in finished:
        page, notebook = folder / name / "page.html", folder / name / "executed.ipynb"
        if notebook.exists() and not (page.exists() and page.stat().st_mtime >= notebook.stat().st_mtime):
            text, _ = exporter.from_notebook_node(nbformat.read(notebook, as_version=4))
            with atomic(page) as part:
                part.write_text(OUTSIDE.sub("", text))
    given = [manifest["parameters"] for manifest in finished.values()]
    synthetic = any(one.get("synthetic") or one.get("source") == "phantom" for one in given)
    template = Environment(loader=PackageLoader("cmrlib.app.runs", "."), autoescape=True).get_template("index.html")
    rows = {name: list(_rows(manifest["metrics"])) for name, manifest in finished.items()}
    with atomic(folder / "index.html") as part:
        part.write_text(template.render(profile=profile, synthetic=synthetic, manifests=finished, rows=rows))
    return folder / "index.html"


def _rows(metrics):
    """(metric, value, interval) as text."""
    for name, value in metrics.items():
        if name.endswith(("_low", "_high")) and name.rsplit("_", 1)[0] in metrics:
            continue
        low, high = (metrics.get(f"{name}{end}") for end in ("_low", "_high"))
        yield name, _number(value), "" if low is None or high is None else f"{_number(low)} to {_number(high)}"


def _number(value) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "undefined"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
