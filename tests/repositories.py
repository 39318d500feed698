"""Small repositories for tests: notebooks of a few cells, profiles, and the real Snakefile with another table."""

import json
import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]


def repository(folder, notebooks=None, profiles=None, needs=None):
    """Write a repository: notebook name → (parameters, cell, …), profile name → YAML, notebook → what it needs."""
    for name, cells in (notebooks or {}).items():
        write_notebook(folder, name, *cells)
    for name, text in ({"quick": ""} | (profiles or {})).items():
        (folder / "profiles").mkdir(parents=True, exist_ok=True)
        (folder / "profiles" / f"{name}.yaml").write_text(textwrap.dedent(text))
    if needs is not None:
        table = f"NEEDS = {json.dumps(needs)}"
        text, found = re.subn(r"NEEDS = \{.*?\n\}", table, (ROOT / "Snakefile").read_text(), flags=re.DOTALL)
        assert found == 1
        (folder / "Snakefile").write_text(text)
    return folder


def write_notebook(folder, name, parameters, *code):
    first = f'from cmrlib.app import runs\nimport pandas as pd\nrun = runs.start("{name}", globals())'
    cells = [{"cell_type": "markdown", "metadata": {}, "source": f"# {name}"}]
    cells += [_code(parameters, ["parameters"])] * (parameters is not None)
    cells += [_code(textwrap.dedent(source), []) for source in (first, *code)]
    (folder / "notebooks").mkdir(exist_ok=True)
    content = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    (folder / "notebooks" / f"{name}.ipynb").write_text(json.dumps(content))


def _code(source, tags):
    return {"cell_type": "code", "execution_count": None, "metadata": {"tags": tags}, "outputs": [], "source": source}
