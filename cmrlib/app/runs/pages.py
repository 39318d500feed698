"""Executed notebooks as pages that call no host, and an index with one card a notebook."""

import base64
import html
import json
import math
import re
from pathlib import Path

import nbformat
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
            rows = "".join(f"<tr><td>{_text(k)}</td><td>{_text(v)}</td></tr>" for k, v in parameters.items())
            table = f"<details><summary>parameters</summary><table>{rows}</table></details>"
            cells[n] = nbformat.v4.new_markdown_cell(table)
    code = [cell for cell in cells if cell.cell_type == "code"]
    for output in (output for cell in code for output in cell.outputs if "data" in output):
        if gif := output.data.get("image/gif"):
            output.data["text/html"] = f'<img src="data:image/gif;base64,{"".join(gif.split())}">'
    if code:
        code[-1].outputs = [one for one in code[-1].outputs if one.output_type != "execute_result"]
    return nbformat.from_dict(notebook | {"cells": cells})


def _text(value) -> str:
    return html.escape(value if isinstance(value, str) else json.dumps(value))


def _card(folder: Path, manifest: dict) -> dict:
    """What the index says of one notebook."""
    own, rows = CARDS.get(folder.name, {}), list(_rows(manifest["metrics"]))
    said = {name: f"{value} ({interval})" if interval else value for name, value, interval in rows}
    numbers = [text.format(said[name]) for name, text in own.get("numbers", {}).items() if name in said]
    return {
        "name": folder.name,
        "title": _title(folder / "executed.ipynb") or folder.name,
        "picture": _picture(folder / "figures", own.get("picture", [])),
        "numbers": numbers[:3],
        "minutes": (manifest.get("seconds") or 0) / 60,
        "commit": manifest.get("commit") or "unknown",
        "rows": rows,
    }


def _title(notebook) -> str:
    """The first heading of a notebook."""
    cells = nbformat.read(notebook, as_version=4).cells if notebook.exists() else []
    lines = [line for cell in cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    return next((line.lstrip("# ") for line in lines if line.startswith("#")), "")


def _picture(folder, names) -> str:
    """The first of these figures that is there, else the first of all, as a data URI; empty where there is none."""
    there = [path for name in names if (path := folder / f"{name}.png").exists()] or sorted(folder.glob("*.png"))
    return f"data:image/png;base64,{base64.b64encode(there[0].read_bytes()).decode()}" if there else ""


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
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)
