"""Executed notebooks as pages that call no host, and an index with one card a notebook."""

import base64
import json
import re
from pathlib import Path

import nbformat
import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader
from nbconvert import HTMLExporter

from cmrlib.app.runs.execution import manifests
from cmrlib.app.runs.parameters import ROOT
from cmrlib.cohort.files import atomic

OUTSIDE = re.compile(
    r"""<script\b.*?</script>|<link\b[^>]*\bhref=["']https?://[^>]*>|@import\b[^;]*https?:[^;]*;""",
    re.IGNORECASE | re.DOTALL,
)
"""Scripts (nothing here needs them: code and logs open without), fonts and styles that nbconvert would fetch."""
TEMPLATE = """{% extends 'lab/index.html.j2' %}
{% block html_head_css %}{{ super() }}<style>
.jp-OutputArea-output, .jp-RenderedHTMLCommon { overflow-x: auto; } .jp-OutputArea-output img { max-width: 100%; }
.jp-InputPrompt, .jp-OutputPrompt { display: none; } summary { cursor: pointer; color: #5b6b7a; font-size: .85rem; }
@media print { details:not([open]) { display: none; } }
</style>{% endblock %}
{% block input_group %}<details><summary>code</summary>{{ super() }}</details>{% endblock %}
{% block stream_stdout %}<details><summary>log</summary>{{ super() }}</details>{% endblock %}
{% block stream_stderr %}<details><summary>log</summary>{{ super() }}</details>{% endblock %}
"""
CARDS = yaml.safe_load(Path(__file__).with_name("cards.yaml").read_text(encoding="utf-8"))
"""Notebook → `picture` (names of figures, the first that is there) and `numbers` (metric → sentence)."""


def write_pages(profile: str, runs=ROOT / "runs") -> Path:
    """runs/PROFILE/NN_name/page.html for every finished notebook, made again where the notebook is newer, and
    runs/PROFILE/index.html; returns the index."""
    folder = Path(runs) / profile
    finished = manifests(folder)
    exporter = HTMLExporter(raw_template=TEMPLATE, embed_images=True)
    for name, manifest in finished.items():
        page, notebook = folder / name / "page.html", folder / name / "executed.ipynb"
        if notebook.exists() and not (page.exists() and page.stat().st_mtime >= notebook.stat().st_mtime):
            made = readable(nbformat.read(notebook, as_version=4), manifest["parameters"])
            text, _ = exporter.from_notebook_node(made)
            with atomic(page) as part:
                part.write_text(OUTSIDE.sub("", text))
    given = [manifest["parameters"] for manifest in finished.values()]
    synthetic = any(one.get("synthetic") or one.get("source") == "phantom" for one in given)
    template = Environment(loader=PackageLoader("cmrlib.app.runs", "."), autoescape=True).get_template("index.html")
    cards = [_card(folder / name, manifest) for name, manifest in finished.items()]
    with atomic(folder / "index.html") as part:
        part.write_text(template.render(profile=profile, synthetic=synthetic, cards=cards))
    return folder / "index.html"


def readable(notebook, parameters: dict):
    """A notebook for reading: its parameters once, as a table; GIFs as pictures; no dict of metrics at the end."""
    cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    for n, cell in enumerate(cells):
        if "parameters" in cell.metadata.get("tags", []):
            table = pd.Series(parameters).map(lambda one: one if isinstance(one, str) else json.dumps(one)).to_frame()
            table = f"<details><summary>parameters</summary>{table.to_html(header=False, border=0)}</details>"
            cells[n] = nbformat.v4.new_markdown_cell(table)
    code = [cell for cell in cells if cell.cell_type == "code"]
    for output in (output for cell in code for output in cell.outputs if "data" in output):
        if gif := output.data.get("image/gif"):
            output.data["text/html"] = f'<img src="data:image/gif;base64,{"".join(gif.split())}">'
    if code:
        code[-1].outputs = [one for one in code[-1].outputs if one.output_type != "execute_result"]
    return nbformat.from_dict(notebook | {"cells": cells})


def _card(folder: Path, manifest: dict) -> dict:
    """What the index says of one notebook: its first heading, a picture as a data URI, three numbers, all metrics."""
    own, metrics, rows = CARDS.get(folder.name, {}), manifest["metrics"], {}
    for name, value in metrics.items():
        if not (name.endswith(("_low", "_high")) and name.rsplit("_", 1)[0] in metrics):
            low, high = (metrics.get(f"{name}{end}") for end in ("_low", "_high"))
            rows[name] = _number(value), "" if low is None or high is None else f"{_number(low)} to {_number(high)}"
    said = {name: f"{value} ({interval})" if interval else value for name, (value, interval) in rows.items()}
    numbers = [text.format(said[name]) for name, text in own.get("numbers", {}).items() if name in said]
    pictures = [folder / "figures" / f"{name}.png" for name in own.get("picture", [])]
    there = [path for path in (*pictures, *sorted((folder / "figures").glob("*.png"))) if path.exists()]
    notebook = folder / "executed.ipynb"
    cells = nbformat.read(notebook, as_version=4).cells if notebook.exists() else []
    lines = [line for cell in cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    return {
        "name": folder.name,
        "title": next((line.lstrip("# ") for line in lines if line.startswith("#")), folder.name),
        "picture": f"data:image/png;base64,{base64.b64encode(there[0].read_bytes()).decode()}" if there else "",
        "numbers": numbers[:3],
        "minutes": (manifest.get("seconds") or 0) / 60,
        "commit": manifest.get("commit") or "unknown",
        "rows": [(name, *texts) for name, texts in rows.items()],
    }


def _number(value) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "undefined" if value is None else str(value)
