"""Figures and tables of the papers from tables alone: what is made, what is missing, whose values are whose."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from cmrlib import plots
from cmrlib.agreement.stratification import between_groups, cluster, top_features
from cmrlib.cohort.files import read_arrays, write_arrays
from cmrlib.plots.figures import (
    FIGURES,
    NOT_REPRODUCIBLE,
    ROOT,
    TABLES,
    drawing,
    make_figures,
    make_tables,
    overview,
    place,
    with_published_values,
)
from cmrlib.plots.figures.drawing import RunContext, labels


@pytest.fixture
def runs(tmp_path):
    """A profile in which 03b_tempreg_table1 has run, and 04b_mvnet_people without what figure 6 needs."""
    methods = ["level_set", "tempreg", "mine"]
    shifts = {"": 0, "_low": -0.1, "_high": 0.2}
    names = ("afd_ed", "afd_es", "afd_ed_cyclic", "afd_es_cyclic")
    values = {f"{name}{end}": [1.0 + shift, 0.5 + shift, 0.7] for end, shift in shifts.items() for name in names}
    for name in ("03b_tempreg_table1", "04b_mvnet_people"):
        (tmp_path / "runs" / "mine" / name / "tables").mkdir(parents=True)
        (tmp_path / "runs" / "mine" / name / "manifest.json").write_text('{"parameters": {"observer": "truth"}}')
    table = tmp_path / "runs" / "mine" / "03b_tempreg_table1" / "tables" / "table_1.csv"
    pd.DataFrame({"method": methods} | values).to_csv(table, index=False)
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
    assert len(everything) == len(FIGURES) + len(NOT_REPRODUCIBLE) and everything["state"].str.len().min() > 0


def test_the_papers_values_stand_beside_ours(runs, tmp_path):
    table = make_tables("mine", runs, tmp_path / "out")["tempreg_table1"].set_index("method")
    assert table.loc["tempreg", "afd_ed"] == "0.5 (0.4 to 0.7)"
    assert table.loc["tempreg", "afd_ed (paper)"] == "0.38 ± 0.39"
    assert table.loc["level_set", "afd_es (paper)"] == "1.24 ± 1.64" and table.loc["mine", "afd_es (paper)"] == ""
    markdown = (tmp_path / "out" / "tempreg_table1.md").read_text()
    assert markdown.count("\n") == 5 and "0.38 ± 0.39" in markdown
    latex = (tmp_path / "out" / "tempreg_table1.tex").read_text()
    assert "level set" in latex and "ED, cyclic (frames)" in latex and "afd" not in latex


def test_kept_pictures_come_back_as_they_were(tmp_path):
    """What a notebook keeps of a picture: nested names in their order, arrays with their type, texts, None, tuples."""
    kept = {
        "b, frame 3": {"pixels": np.arange(6, dtype=np.int16).reshape(2, 3), "window": (0.5, 2.0), "mask": None},
        "a": [np.zeros(0), "text", 3],
    }
    write_arrays(kept, tmp_path / "kept.npz")
    back = read_arrays(tmp_path / "kept.npz")
    assert list(back) == ["b, frame 3", "a"] and back["b, frame 3"]["window"] == [0.5, 2.0]
    assert back["b, frame 3"]["mask"] is None and back["a"][1:] == ["text", 3] and back["a"][0].size == 0
    assert back["b, frame 3"]["pixels"].dtype == np.int16
    np.testing.assert_array_equal(back["b, frame 3"]["pixels"], kept["b, frame 3"]["pixels"])
    first = (tmp_path / "kept.npz").read_bytes()
    write_arrays(kept, tmp_path / "kept.npz")
    assert (tmp_path / "kept.npz").read_bytes() == first  # the same bytes every time


def test_pictures_are_drawn_from_what_was_kept(runs, tmp_path):
    """TempReg-Net's figure 1 from its kept frames alone: ED and ES are framed, and the phantom is marked."""
    rng = np.random.default_rng(0)
    case = {"pixels": rng.integers(0, 99, (12, 8, 8)), "window": (0.0, 99.0), "aspect": 1.0, "mask": None}
    case |= {"ed": 0, "es": 5}
    kept = runs / "mine" / "03_tempreg" / "tables" / "figure_1.npz"
    write_arrays(case, kept)
    (kept.parents[1] / "manifest.json").write_text('{"parameters": {}}')
    made = make_figures("mine", runs, tmp_path / "out").set_index("file")
    assert made.loc["tempreg_fig1_sequence.pdf", "state"] == "made"
    figure = plots.sequence_sheet(read_arrays(kept), "", True)
    shown = [ax for ax in figure.axes if ax.images]
    assert len(shown) == 12 and [ax.get_title() for ax in shown][:6] == ["0 ED", "1", "2", "3", "4", "5 ES"]
    assert shown[5].spines["top"].get_visible() and not shown[4].spines["top"].get_visible()
    assert "phantom" in figure.texts[-1].get_text()


def test_groups_of_patients_are_drawn_from_tables(tmp_path):
    """HeartMAE's figures 3, S2, S3: tree, tracks, map and values as the notebook wrote them."""
    names = [f"{n:03d}" for n in range(8)]
    features = pd.DataFrame(
        np.r_[np.zeros((4, 3)), np.ones((4, 3))] + 0.01 * np.arange(24).reshape(8, 3), names, list("abc")
    ).rename_axis("participant_id")
    groups = cluster(features)
    people = pd.DataFrame(
        {"group": ["AF"] * 4 + ["NOR"] * 4, "sex": list("MF") * 4, "laef_pct": range(8)},
        pd.Index(names, name="participant_id"),
    )
    tests = between_groups(groups, people[["laef_pct"]].astype(float)).assign(features="raw")
    tables = {
        "features_raw": top_features(features, groups).reset_index(),
        "subjects": people.reset_index(),
        "groups": groups.labels.rename("raw").rename_axis("participant_id").reset_index(),
        "tree_raw": pd.DataFrame(groups.tree, columns=["left", "right", "height", "n"]),
        "between_groups": tests,
        "map_raw": features.assign(umap_1=range(8), umap_2=0.0).reset_index(),
    }
    run = RunContext({"disease": "group", "annotate": ["sex"], "values": ["laef_pct"]}, True)
    pieces = {piece.item: piece for piece in FIGURES if piece.notebook == "10_stratification"}
    for item, panels in (("figure 3 a", 4), ("figure S2", 2), ("figure S3", 1)):
        assert len(drawing.draw(pieces[item], tables, run).axes) == panels, item


def test_undefined_and_missing_columns_are_said():
    ours = pd.DataFrame({"measure": ["mapse_mm"], "n": [8], "bias": [np.nan], "sd": [1.0]})
    table = with_published_values(ours, next(t for t in TABLES if t.item == "table 3"))
    assert table.loc[0, "bias"] == "undefined" and table.loc[0, "icc_a1 (paper)"] == "0.94" and table.loc[0, "n"] == "8"


def test_long_errors_become_the_papers_rows():
    """HeartMAE's table 1: a row a model, the paper's value beside the variant that it belongs to."""
    models, targets = {"plain": 6.0, "pca": 7.0}, ("lvef_pct", "raef_pct", "lvedv_ml")
    rows = [(model, target, mae, mae - 1, mae + 1) for model, mae in models.items() for target in targets]
    ours = pd.DataFrame(rows, columns=["model", "target", "mae", "mae_low", "mae_high"])
    table = next(t for t in TABLES if t.paper == "HeartMAE")
    shown = with_published_values(ours, table).set_index("model")
    assert shown.loc["plain", "lvef_mae_pct"] == "6 (5 to 7)" and shown.loc["plain", "raef_mae_pct (paper)"] == "5.39"
    assert shown.loc["pca", "lvef_mae_pct (paper)"] == "" and "lvedv_mae_ml" not in shown


def test_figures_go_to_the_repository_unless_runs_lie_elsewhere(tmp_path):
    assert place(ROOT / "runs" / "quick" / "11_figures", "full") == ROOT / "figures" / "full"
    elsewhere = tmp_path / "runs" / "quick" / "11_figures"
    assert place(elsewhere, "full") == elsewhere / "figures"


def test_every_figure_has_a_file_and_a_function_of_its_own_paper():
    names = [one.file for one in FIGURES]
    assert len(set(names)) == len(names) and len({one.file for one in TABLES}) == len(TABLES)
    for one in FIGURES:
        assert one.file.startswith(one.paper.lower().split("-")[0])
        assert callable(getattr(drawing, one.function, None) or getattr(plots, one.function))


def test_names_of_models_are_those_of_the_papers():
    """plots imports no paper, so labels.tsv repeats them."""
    from cmrlib.papers import cussp, heartmae
    from cmrlib.papers.sslhf import tables

    for paper, names in (
        ("CUSSP", cussp.MODELS),
        ("SSLHF", tables.METHODS),
        ("HeartMAE", heartmae.MODELS),
    ):
        assert labels(paper) == dict(names), paper


def test_plots_load_no_torch_and_follow_the_repository_that_is_named(tmp_path):
    code = "import sys, cmrlib.plots.figures as made, cmrlib.plots.viewer; "
    code += "print({'torch', 'fastai'} & set(sys.modules), made.ROOT)"
    env = os.environ | {"CMR_ROOT": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == f"set() {tmp_path.resolve()}"
