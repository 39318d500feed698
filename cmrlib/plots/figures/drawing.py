"""Figures that need more than one table and the names of models: parameters of the run, tables put together.

Each function takes the run's tables (name → content) and a `RunContext`, and returns a figure. A function that
figures.tsv names and that is not here is one of `cmrlib.plots`: it takes the tables, the paper's names of models where
the column `labels` says so, and whether the hearts are synthetic.
"""

from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd

from cmrlib import plots
from cmrlib.agreement.stratification import Groups

EF = {"lvef_pct": "LVEF", "laef_pct": "LAEF", "rvef_pct": "RVEF", "raef_pct": "RAEF"}


class RunContext(NamedTuple):
    """The notebook's parameters, and whether its hearts are synthetic."""

    parameters: dict
    synthetic: bool


def labels(paper: str) -> dict[str, str]:
    """Model or method → its name in a paper's figures, in the order of its table."""
    table = pd.read_csv(Path(__file__).with_name("labels.tsv"), sep="\t").query("paper == @paper")
    return dict(zip(table["key"], table["label"]))


def draw(figure, tables: dict, run: RunContext):
    """A row of figures.tsv as a figure, from its tables by name."""
    if figure.function in globals():
        return globals()[figure.function](tables, run)
    named = [labels(figure.paper)] if figure.labels else []
    return getattr(plots, figure.function)(*tables.values(), *named, run.synthetic)


def segmentation_dice(tables, run):
    whole = tables["scores"].query("view == 'sax' and level == 'all' and phase.notna()")
    return plots.mark_synthetic(plots.overlap_figure(whole, "sax"), run.synthetic)


def sequence(tables, run):
    return plots.sequence_sheet(tables["figure_1"], "", run.synthetic)


def frame_errors(tables, run):
    return plots.frame_errors_by(tables["table_1"], "method", labels("TempReg-Net"), run.synthetic)


def variability(tables, run):
    """Both populations of figure 6 are phantoms, whatever the cohort."""
    return plots.variability_figure(tables["variability"], True)


def clinical(tables, run):
    """Two people (tables of `people_ONE`), or MVnet against the run's observer."""
    first = next(iter(tables))
    one = first.removeprefix("people_")
    reference, test = (one, f"{one}2") if one != first else (run.parameters["observer"], "mvnet")
    shown = plots.clinical_panels(*tables.values(), reference, test)
    return plots.clinical_figure(shown, f"{test} against {reference}", run.synthetic)


def roc_pr(tables, run):
    """The paper's headline model is highlighted, or the next one that was run."""
    curves = tables["figure_5"]
    best = next((name for name in ("siam25", "siam", "cussp1") if name in set(curves["model"])), "rf")
    return plots.roc_pr_figure(curves, labels("CUSSP"), run.synthetic, best)


def auc_by_method(tables, run):
    table = tables["tables_1_to_3"]
    metrics = {"patch_auc": "AUC, patch level", "patient_auc": "AUC, patient level"}
    figure = plots.model_intervals(table, run.synthetic, metrics, table["method"].map(labels("SSLHF")))
    low, high = zip(*(ax.get_xlim() for ax in figure.axes))
    plt.setp(figure.axes, xlim=(min(low), max(high)))  # both are areas under a curve
    return figure


def reconstruction(tables, run):
    title, case = list(tables["reconstruction"].items())[-1]
    return plots.reconstruction_sheet({title: case}, run.synthetic)


def error_ratios(tables, run):
    return plots.ratio_panels(tables["errors_cardiac"], EF, labels("HeartMAE"), run.synthetic)


def patient_groups(tables, run):
    name = next(iter(tables)).removeprefix("features_")
    features, people = (tables[one].set_index("participant_id") for one in (f"features_{name}", "subjects"))
    asked = (run.parameters["disease"], *run.parameters["annotate"], *run.parameters["values"][:1])
    tracks = people[[one for one in asked if one in people]]
    return plots.group_heatmap(features, _groups(tables, name), tracks, run.synthetic)


def patient_map(tables, run):
    mapped, disease = tables["map_raw"].merge(tables["subjects"], on="participant_id"), run.parameters["disease"]
    titles = {"sex": "sex", "lvm_g": "LV mass (g)", disease: disease}
    return plots.coloured_maps(mapped, {one: title for one, title in titles.items() if one in mapped}, run.synthetic)


def atrial_function(tables, run):
    """In the groups of adjusted features, as in the paper, where there are such."""
    name, tests = "adjusted" if "adjusted" in tables["groups"] else "raw", tables["between_groups"]
    values = tables["subjects"].set_index("participant_id")[run.parameters["values"][:1]]
    return plots.by_group(values, _groups(tables, name), tests[tests["features"] == name], run.synthetic)


def _groups(tables, name) -> Groups:
    members = tables["groups"].set_index("participant_id")[name].dropna().astype(int)
    return Groups(members, tables[f"tree_{name}"].to_numpy(float) if f"tree_{name}" in tables else None)
