"""Figures and tables of the papers from tables alone: what is made, what is missing, whose values are whose."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from cmrlib.figures import NOT_MADE, PIECES, TABLES, beside_printed, make_figures, make_tables, overview
from cmrlib.figures.making import _scaled


@pytest.fixture
def runs(tmp_path):
    """A profile in which 03_tempreg has run, and 04_mvnet without what figure 6 needs."""
    methods = ["level_set", "tempreg", "mine"]
    shifts = {"": 0, "_low": -0.1, "_high": 0.2}
    names = ("afd_ed", "afd_es", "afd_ed_cyclic", "afd_es_cyclic")
    values = {f"{name}{end}": [1.0 + shift, 0.5 + shift, 0.7] for end, shift in shifts.items() for name in names}
    for name, tables in (("03_tempreg", {"table_1": pd.DataFrame({"method": methods} | values)}),
                         ("04_mvnet", {"empty": pd.DataFrame({"a": [1]})})):
        folder = tmp_path / "runs" / "mine" / name
        (folder / "tables").mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps({"parameters": {"observer": "truth"}}))
        for table, content in tables.items():
            content.to_csv(folder / "tables" / f"{table}.csv", index=False)
    return tmp_path / "runs"


def test_what_has_run_is_drawn_and_the_rest_is_named(runs, tmp_path):
    made = make_figures("mine", runs, tmp_path / "out").set_index("file")
    assert made.loc["tempreg_table1.pdf", "state"] == "made"
    assert (tmp_path / "out" / "tempreg_table1.pdf").read_bytes()[:4] == b"%PDF"
    assert b"/FontFile2" in (tmp_path / "out" / "tempreg_table1.pdf").read_bytes()  # embedded as TrueType
    assert (tmp_path / "out" / "tempreg_table1.png").exists()
    assert "made no variability" in made.loc["mvnet_fig6_variability.pdf", "state"]
    assert "01_segmentation has not run" in made.loc["cussp_segmentation_dice.pdf", "state"]
    everything = overview(made.reset_index())
    assert len(everything) == len(PIECES) + len(NOT_MADE) and everything["state"].str.len().min() > 0


def test_the_papers_values_stand_beside_ours(runs, tmp_path):
    table = make_tables("mine", runs, tmp_path / "out")["tempreg_table1"].set_index("method")
    assert table.loc["tempreg", "afd_ed"] == "0.5 (0.4 to 0.7)"
    assert table.loc["tempreg", "afd_ed (paper)"] == "0.38 ± 0.39"
    assert table.loc["level_set", "afd_es (paper)"] == "1.24 ± 1.64" and table.loc["mine", "afd_es (paper)"] == ""
    markdown = (tmp_path / "out" / "tempreg_table1.md").read_text()
    assert markdown.count("\n") == 5 and "0.38 ± 0.39" in markdown
    assert "level\\_set" in (tmp_path / "out" / "tempreg_table1.tex").read_text()


def test_undefined_and_missing_columns_are_said():
    ours = pd.DataFrame({"measure": ["mapse_mm"], "n": [8], "bias": [np.nan], "sd": [1.0]})
    table = beside_printed(ours, next(t for t in TABLES if t.item == "table 3"))
    assert table.loc[0, "bias"] == "undefined" and table.loc[0, "icc_a1 (paper)"] == "0.94" and table.loc[0, "n"] == "8"


def test_long_errors_become_the_papers_rows():
    """HeartMAE's table 1: a row a model, the paper's value beside the variant that it belongs to."""
    ours = pd.DataFrame([(model, target, value, value - 1, value + 1) for model, value in (("plain", 6.0), ("pca", 7.0))
                         for target in ("lvef_pct", "raef_pct", "lvedv_ml")],
                        columns=["model", "target", "mae", "mae_low", "mae_high"])
    table = next(t for t in TABLES if t.paper == "HeartMAE")
    shown = beside_printed(table.prepare(ours), table).set_index("model")
    assert shown.loc["plain", "lvef_mae_pct"] == "6 (5 to 7)" and shown.loc["plain", "raef_mae_pct (paper)"] == "5.39"
    assert shown.loc["pca", "lvef_mae_pct (paper)"] == "" and "lvedv_mae_ml" not in shown


def test_a_figure_is_scaled_as_a_whole():
    figure = Figure((14.4, 4))
    text = figure.add_subplot().set_title("x", fontsize=16)
    _scaled(figure, 7.2)
    assert tuple(figure.get_size_inches()) == (7.2, 2.0) and text.get_fontsize() == 8


def test_every_file_name_says_whose_figure_it_is():
    names = [piece.file for piece in PIECES]
    assert len(set(names)) == len(names)
    for piece in PIECES:
        assert piece.file.startswith(piece.paper.lower().split("-")[0])
