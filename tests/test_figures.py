"""Figures and tables of the papers from runs alone: what is gathered, what is missing, whose values are whose."""

import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from cmrlib.app.runs.parameters import cells
from cmrlib.papers import cussp, heartmae
from cmrlib.papers.sslhf import tables as sslhf_tables
from cmrlib.plots.figures import (
    FIGURES,
    NOT_REPRODUCIBLE,
    ROOT,
    TABLES,
    labels,
    make_figures,
    make_tables,
    overview,
    place,
    with_published_values,
)


@pytest.fixture
def runs(tmp_path):
    """A profile in which 03b_tempreg_table1 has run, and 04b_mvnet_people without figure 6."""
    shifts = {"": 0, "_low": -0.1, "_high": 0.2}
    names = ("afd_ed", "afd_es", "afd_ed_cyclic", "afd_es_cyclic")
    values = {f"{name}{end}": [1.0 + shift, 0.5 + shift, 0.7] for end, shift in shifts.items() for name in names}
    for name in ("03b_tempreg_table1", "04b_mvnet_people"):
        for kind in ("tables", "figures"):
            (tmp_path / "runs" / "mine" / name / kind).mkdir(parents=True)
        (tmp_path / "runs" / "mine" / name / "manifest.json").write_text("{}")
    run = tmp_path / "runs" / "mine" / "03b_tempreg_table1"
    pd.DataFrame({"method": ["level_set", "tempreg", "mine"]} | values).to_csv(run / "tables/table_1.csv", index=False)
    for suffix in ("pdf", "png"):
        (run / "figures" / f"afd_by_method.{suffix}").write_text(suffix)
    return tmp_path / "runs"


def test_what_has_run_is_gathered_and_the_rest_is_named(runs, tmp_path):
    made = make_figures("mine", runs, tmp_path / "out").set_index("file")
    assert made.loc["tempreg_table1.pdf", "state"] == "made"
    assert (tmp_path / "out" / "tempreg_table1.pdf").read_text() == "pdf"
    assert (tmp_path / "out" / "tempreg_table1.png").read_text() == "png"
    assert "made no figure_6" in made.loc["mvnet_fig6_variability.pdf", "state"]
    assert "01_segmentation has not run" in made.loc["cussp_segmentation_dice.pdf", "state"]
    whole = overview(made.reset_index())
    assert len(whole) == len(FIGURES) + len(NOT_REPRODUCIBLE) and whole["state"].str.startswith("not made: ").any()


def test_tables_have_the_papers_values_beside_ours(runs, tmp_path):
    table = make_tables("mine", runs, tmp_path / "out")["tempreg_table1"].set_index("method")
    assert table.loc["tempreg", "afd_ed"] == "0.5 (0.4 to 0.7)"
    assert table.loc["tempreg", "afd_ed (paper)"] == "0.38 ± 0.39"
    assert table.loc["level_set", "afd_es (paper)"] == "1.24 ± 1.64" and table.loc["mine", "afd_es (paper)"] == ""
    markdown, latex = ((tmp_path / "out" / f"tempreg_table1.{suffix}").read_text() for suffix in ("md", "tex"))
    assert markdown.count("\n") == 5 and "0.38 ± 0.39" in markdown
    assert "level set" in latex and "ED, cyclic (frames)" in latex and "afd" not in latex


def test_undefined_and_missing_columns_are_said_and_long_errors_become_the_papers_rows():
    """HeartMAE's table 1: a row a model, the paper's value beside the variant that it belongs to."""
    ours = pd.DataFrame({"measure": ["mapse_mm"], "n": [8], "bias": [np.nan], "sd": [1.0]})
    table = with_published_values(ours, next(t for t in TABLES if t.item == "table 3"))
    assert table.loc[0, "bias"] == "undefined" and table.loc[0, "icc_a1 (paper)"] == "0.94" and table.loc[0, "n"] == "8"
    models, targets = {"plain": 6.0, "pca": 7.0}, ("lvef_pct", "raef_pct", "lvedv_ml")
    rows = [(model, target, mae, mae - 1, mae + 1) for model, mae in models.items() for target in targets]
    ours = pd.DataFrame(rows, columns=["model", "target", "mae", "mae_low", "mae_high"])
    shown = with_published_values(ours, next(t for t in TABLES if t.paper == "HeartMAE")).set_index("model")
    assert shown.loc["plain", "lvef_mae_pct"] == "6 (5 to 7)" and shown.loc["plain", "raef_mae_pct (paper)"] == "5.39"
    assert shown.loc["pca", "lvef_mae_pct (paper)"] == "" and "lvedv_mae_ml" not in shown


def test_figures_go_to_the_repository_unless_runs_lie_elsewhere(tmp_path):
    assert place(ROOT / "runs" / "quick" / "11_figures", "full") == ROOT / "figures" / "full"
    elsewhere = tmp_path / "runs" / "quick" / "11_figures"
    assert place(elsewhere, "full") == elsewhere / "figures"


def test_every_figure_has_a_file_and_a_notebook_that_draws_it():
    names = [one.file for one in FIGURES]
    assert len(set(names)) == len(names) and len({one.file for one in TABLES}) == len(TABLES)
    for one in FIGURES:
        assert one.file.startswith(one.paper.lower().split("-")[0])
        code = "\n".join(cell["source"] for cell in cells(one.notebook))
        drawn = re.findall(r'f?"(\w+(?:\{\w+\})?)"\)', code)
        for name in one.figure.split(","):
            assert any(re.fullmatch(re.sub(r"\{\w+\}", r"\\w+", pattern), name) for pattern in drawn), one.file


def test_names_of_models_are_those_of_the_papers():
    """plots imports no paper, so labels.tsv repeats them."""
    for paper, names in (("CUSSP", cussp.MODELS), ("SSLHF", sslhf_tables.METHODS), ("HeartMAE", heartmae.MODELS)):
        assert labels(paper) == dict(names), paper


def test_plots_load_no_torch_and_follow_the_repository_that_is_named(tmp_path):
    code = "import sys, cmrlib.plots.figures as made, cmrlib.plots.viewer; "
    code += "print({'torch', 'fastai'} & set(sys.modules), made.ROOT)"
    env = os.environ | {"CMR_ROOT": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == f"set() {tmp_path.resolve()}"
