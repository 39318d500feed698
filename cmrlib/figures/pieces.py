"""What is drawn: paper figure → file, notebook, tables, and the function that draws it. One line a figure."""

from collections.abc import Callable
from typing import NamedTuple

from cmrlib import plots
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
    """A table of a paper. key: the column that names its rows; columns: ours, as they are printed."""

    paper: str
    item: str
    file: str
    notebook: str
    table: str
    key: str
    columns: tuple[str, ...]


def _clinical(tables, parameters, synthetic):
    reference = parameters["observer"]
    shown = panels(tables["compared_hearts"], tables["displacement"], tables["table_3"], reference, "mvnet")
    return plots.clinical_figure(shown, f"MVnet against {reference}", synthetic)


PIECES = [
    Piece("CUSSP", "§ 2.1 (Dice)", "cussp_segmentation_dice", "01_segmentation", ("scores",),
          lambda tables, parameters, synthetic: plots.mark_synthetic(plots.overlap_figure(_volumes(tables["scores"]),
                                                                                          "sax"), synthetic)),
    Piece("TempReg-Net", "table 1, drawn", "tempreg_table1", "03_tempreg", ("table_1",),
          lambda tables, parameters, synthetic: plots.frame_errors_by(tables["table_1"], "method", METHODS, synthetic)),
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
