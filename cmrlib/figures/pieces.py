"""What is drawn: paper figure → file, notebook, tables, and the function that draws it. One line a figure."""

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from cmrlib import cussp, heartmae, plots, sslhf
from cmrlib.mvnet.evaluation import panels
from cmrlib.tempreg.study import METHODS


class Piece(NamedTuple):
    """A figure of a paper. draw: (tables by name, parameters of the run, synthetic) → figure. columns: of a page."""

    paper: str
    item: str
    file: str
    notebook: str
    tables: tuple[str, ...]
    draw: Callable
    columns: int = 2


class Table(NamedTuple):
    """A table of a paper. key: the column that names its rows; columns: ours, as they are printed. prepare: our table →
    a row a row of theirs."""

    paper: str
    item: str
    file: str
    notebook: str
    table: str
    key: str
    columns: tuple[str, ...]
    prepare: Callable = lambda table: table


def _clinical(tables, parameters, synthetic):
    reference = parameters["observer"]
    shown = panels(tables["compared_hearts"], tables["displacement"], tables["table_3"], reference, "mvnet")
    return plots.clinical_figure(shown, f"MVnet against {reference}", synthetic)


EF = {"lvef_pct": "LVEF", "laef_pct": "LAEF", "rvef_pct": "RVEF", "raef_pct": "RAEF"}

PIECES = [
    Piece("CUSSP", "§ 2.1 (Dice)", "cussp_segmentation_dice", "01_segmentation", ("scores",),
          lambda tables, parameters, synthetic: plots.mark_synthetic(plots.overlap_figure(_volumes(tables["scores"]),
                                                                                          "sax"), synthetic)),
    Piece("TempReg-Net", "table 1, drawn", "tempreg_table1", "03_tempreg", ("table_1",),
          lambda tables, parameters, synthetic: plots.frame_errors_by(tables["table_1"], "method", METHODS, synthetic)),
    Piece("CUSSP", "figure 5", "cussp_fig5_roc_pr", "05_cussp", ("figure_5",),
          lambda tables, parameters, synthetic: plots.roc_pr_figure(tables["figure_5"], cussp.MODELS, synthetic,
                                                                    _best(tables["figure_5"]))),
    Piece("CUSSP", "table 2, drawn", "cussp_table2", "05_cussp", ("table_2",),
          lambda tables, parameters, synthetic: plots.model_intervals(tables["table_2"], synthetic)),
    Piece("SSLHF", "figure 4", "sslhf_fig4_roc", "06_sslhf", ("roc",),
          lambda tables, parameters, synthetic: plots.roc_by_method(tables["roc"], _named(tables["roc"]), synthetic)),
    Piece("SSLHF", "tables I to III, drawn", "sslhf_tables1to3", "06_sslhf", ("tables_1_to_3",),
          lambda tables, parameters, synthetic: plots.auc_by_method(
              tables["tables_1_to_3"], _named(tables["tables_1_to_3"]), synthetic)),
    Piece("HeartMAE", "table 1, drawn", "heartmae_table1", "08_heartmae_predict", ("errors_cardiac",),
          lambda tables, parameters, synthetic: plots.ratio_panels(tables["errors_cardiac"], EF, heartmae.MODELS,
                                                                   synthetic)),
    Piece("HeartMAE", "figure 2", "heartmae_fig2_diseases", "08_heartmae_predict", ("diseases",),
          lambda tables, parameters, synthetic: plots.disease_figure(tables["diseases"], heartmae.MODELS, synthetic)),
    Piece("HeartMAE", "figure S1", "heartmae_figS1_features", "08_heartmae_predict", ("errors_cardiac",),
          lambda tables, parameters, synthetic: plots.tasks_figure(tables["errors_cardiac"], heartmae.MODELS,
                                                                   synthetic)),
    Piece("MVnet", "figure 4", "mvnet_fig4_stages", "04_mvnet", ("stages",),
          lambda tables, parameters, synthetic: plots.stage_figure(tables["stages"], synthetic)),
    Piece("MVnet", "figure 5", "mvnet_fig5_points", "04_mvnet", ("stages",),
          lambda tables, parameters, synthetic: plots.stage_points_figure(tables["stages"], synthetic)),
    Piece("MVnet", "figure 6", "mvnet_fig6_variability", "04_mvnet", ("variability",),
          lambda tables, parameters, synthetic: plots.variability_figure(tables["variability"], True)),
    Piece("MVnet", "figure 7", "mvnet_fig7_clinical", "04_mvnet", ("compared_hearts", "displacement", "table_3"),
          _clinical),
]

TABLES = [
    Table("TempReg-Net", "table 1", "tempreg_table1", "03_tempreg", "table_1", "method",
          ("afd_ed", "afd_es", "afd_ed_cyclic", "afd_es_cyclic", "sd_ed", "sd_es")),
    Table("CUSSP", "table 2", "cussp_table2", "05_cussp", "table_2", "model",
          ("auc", "ap", "f1", "precision", "recall", "pos_acc", "neg_acc", "n_runs")),
    Table("SSLHF", "tables I to III", "sslhf_tables1to3", "06_sslhf", "tables_1_to_3", "method",
          ("patient_auc", "patient_acc", "patch_auc", "patch_acc")),
    Table("HeartMAE", "table 1", "heartmae_table1", "08_heartmae_predict", "errors_cardiac", "model",
          tuple(f"{name.removesuffix('_pct')}_mae_pct" for name in ("lvef_pct", "laef_pct", "rvef_pct", "raef_pct")),
          lambda table: _ejection(table)),
    Table("MVnet", "table 3", "mvnet_table3", "04_mvnet", "table_3", "measure", ("n", "bias", "sd", "icc_a1", "r")),
    Table("MVnet", "table 5", "mvnet_table5", "04_mvnet", "stages", "stage", ("n", "euclid_mm", "angle_deg")),
]

NOT_MADE = {
    "CUSSP figures 1, 3, 6, 7, 9": "drawings of anatomy, method and data set",
    "TempReg-Net figures 1 to 3": "an example of patients' images, and drawings of the networks",
    "MVnet figures 1 to 3": "patients' images with annotations, and drawings of the method",
    "SSLHF figures 1, 2": "drawings of the method",
    "HeartMAE figure 1": "a drawing of the method",
}
"""Paper figure → why it is not regenerated."""


def _volumes(scores):
    """Whole volumes of the short axis at ED and ES."""
    return scores[(scores["view"] == "sax") & (scores["level"] == "all") & scores["phase"].notna()]


def _best(curves) -> str:
    """The paper's headline model, or the next one that was run."""
    return next((name for name in ("siam25", "siam", "cussp1") if name in set(curves["model"])), "rf")


def _named(table) -> dict:
    """Method → legend, in the order of the table."""
    return {method: sslhf.METHODS[method] for method in dict.fromkeys(table["method"])}


def _ejection(table) -> pd.DataFrame:
    """Long errors of `heartmae.error_table` → a row a model with lvef_mae_pct and its interval, and so on."""
    rows = []
    for model, part in table[table["target"].isin(EF)].groupby("model", sort=False):
        row = {"model": model}
        for one in part.to_dict("records"):
            name = f"{one['target'].removesuffix('_pct')}_mae_pct"
            row |= {f"{name}{end}": one[f"mae{end}"] for end in ("", "_low", "_high")}
        rows.append(row)
    return pd.DataFrame(rows)
