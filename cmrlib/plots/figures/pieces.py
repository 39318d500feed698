"""What is drawn: paper figure → file, notebook, tables, and the function that draws it. One line a figure."""

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from cmrlib import plots
from cmrlib.agreement.stratification import Groups
from cmrlib.papers import cussp, heartmae, sslhf
from cmrlib.papers.mvnet.evaluation import panels
from cmrlib.papers.tempreg.table1 import METHODS


class Piece(NamedTuple):
    """A figure of a paper. tables: of the run, CSV or kept pictures (NPZ). draw: (these by name, `Drawn`) → figure.
    columns: of a page."""

    paper: str
    item: str
    file: str
    notebook: str
    tables: tuple[str, ...]
    draw: Callable
    columns: int = 2


class Drawn(NamedTuple):
    """What a figure must know of its run: the notebook's parameters, and whether its hearts are synthetic."""

    parameters: dict
    synthetic: bool


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


EF = {"lvef_pct": "LVEF", "laef_pct": "LAEF", "rvef_pct": "RVEF", "raef_pct": "RAEF"}

PIECES = [
    Piece(
        "CUSSP",
        "§ 2.1 (Dice)",
        "cussp_segmentation_dice",
        "01_segmentation",
        ("scores",),
        lambda tables, run: plots.mark_synthetic(
            plots.overlap_figure(_volumes(tables["scores"]), "sax"), run.synthetic
        ),
    ),
    Piece(
        "CUSSP",
        "figures 2 and 6",
        "cussp_fig2_segmentation",
        "02_measurements",
        ("figure_2",),
        lambda tables, run: plots.outline_sheet(tables["figure_2"], run.synthetic),
    ),
    Piece(
        "TempReg-Net",
        "figure 1",
        "tempreg_fig1_sequence",
        "03_tempreg",
        ("figure_1",),
        lambda tables, run: plots.sequence_sheet(tables["figure_1"], "", run.synthetic),
    ),
    Piece(
        "TempReg-Net",
        "table 1, drawn",
        "tempreg_table1",
        "03_tempreg",
        ("table_1",),
        lambda tables, run: plots.frame_errors_by(tables["table_1"], "method", METHODS, run.synthetic),
    ),
    Piece(
        "MVnet",
        "figure 1",
        "mvnet_fig1_points",
        "04_mvnet",
        ("figure_1", "figure_1_motion"),
        lambda tables, run: plots.valve_overview(tables["figure_1"], tables["figure_1_motion"], run.synthetic),
    ),
    Piece(
        "MVnet",
        "figure 4",
        "mvnet_fig4_stages",
        "04_mvnet",
        ("stages",),
        lambda tables, run: plots.stage_figure(tables["stages"], run.synthetic),
    ),
    Piece(
        "MVnet",
        "figure 5",
        "mvnet_fig5_points",
        "04_mvnet",
        ("stages",),
        lambda tables, run: plots.stage_points_figure(tables["stages"], run.synthetic),
    ),
    Piece(
        "MVnet",
        "figure 6",
        "mvnet_fig6_variability",
        "04_mvnet",
        ("variability",),
        lambda tables, run: plots.variability_figure(tables["variability"], True),
    ),
    Piece(
        "MVnet",
        "figure 7",
        "mvnet_fig7_clinical",
        "04_mvnet",
        ("compared_hearts", "displacement", "table_3"),
        lambda tables, run: _clinical(*tables.values(), run.parameters["observer"], "mvnet", run.synthetic),
    ),
    Piece(
        "MVnet",
        "figure 8 (Yale)",
        "mvnet_fig8_yale",
        "04_mvnet",
        ("people_yale", "people_displacement_yale", "table_4_yale"),
        lambda tables, run: _clinical(*tables.values(), "yale", "yale2", run.synthetic),
    ),
    Piece(
        "MVnet",
        "figure 8 (Lund)",
        "mvnet_fig8_lund",
        "04_mvnet",
        ("people_lund", "people_displacement_lund", "table_4_lund"),
        lambda tables, run: _clinical(*tables.values(), "lund", "lund2", run.synthetic),
    ),
    Piece(
        "CUSSP",
        "figure 4",
        "cussp_fig4_pipeline",
        "05_cussp",
        ("figure_4",),
        lambda tables, run: plots.preparation_steps(tables["figure_4"], run.synthetic),
    ),
    Piece(
        "CUSSP",
        "figure 5",
        "cussp_fig5_roc_pr",
        "05_cussp",
        ("figure_5",),
        lambda tables, run: plots.roc_pr_figure(
            tables["figure_5"], cussp.MODELS, run.synthetic, _best(tables["figure_5"])
        ),
    ),
    Piece(
        "CUSSP",
        "figure 8",
        "cussp_fig8_preparation",
        "05_cussp",
        ("figure_8",),
        lambda tables, run: plots.preparation_steps(tables["figure_8"], run.synthetic),
    ),
    Piece(
        "CUSSP",
        "table 2, drawn",
        "cussp_table2",
        "05_cussp",
        ("table_2",),
        lambda tables, run: plots.model_intervals(tables["table_2"], run.synthetic),
    ),
    Piece(
        "SSLHF",
        "figure 3",
        "sslhf_fig3_restoration",
        "06_sslhf",
        ("figure_3",),
        lambda tables, run: plots.restoration_sheet(tables["figure_3"], run.synthetic),
    ),
    Piece(
        "SSLHF",
        "figure 4",
        "sslhf_fig4_roc",
        "06_sslhf",
        ("roc",),
        lambda tables, run: plots.roc_by_method(tables["roc"], _named(tables["roc"]), run.synthetic),
    ),
    Piece(
        "SSLHF",
        "tables I to III, drawn",
        "sslhf_tables1to3",
        "06_sslhf",
        ("tables_1_to_3",),
        lambda tables, run: plots.auc_by_method(
            tables["tables_1_to_3"], _named(tables["tables_1_to_3"]), run.synthetic
        ),
    ),
    Piece(
        "HeartMAE",
        "figure 1 (flow weights)",
        "heartmae_fig1_flow",
        "07_heartmae_pretrain",
        ("flow_weights",),
        lambda tables, run: plots.flow_sheet(tables["flow_weights"], run.synthetic),
    ),
    Piece(
        "HeartMAE",
        "figure 1 (restoration)",
        "heartmae_fig1_restored",
        "07_heartmae_pretrain",
        ("restored",),
        lambda tables, run: plots.restored_sheet(dict([list(tables["restored"].items())[-1]]), run.synthetic),
        1,
    ),
    Piece(
        "HeartMAE",
        "table 1, drawn",
        "heartmae_table1",
        "08_heartmae_predict",
        ("errors_cardiac",),
        lambda tables, run: plots.ratio_panels(tables["errors_cardiac"], EF, heartmae.MODELS, run.synthetic),
    ),
    Piece(
        "HeartMAE",
        "figure 2",
        "heartmae_fig2_diseases",
        "08_heartmae_predict",
        ("diseases",),
        lambda tables, run: plots.disease_figure(tables["diseases"], heartmae.MODELS, run.synthetic),
    ),
    Piece(
        "HeartMAE",
        "figure 3 a",
        "heartmae_fig3a_raw",
        "10_stratification",
        ("features_raw", "groups", "tree_raw", "subjects"),
        lambda tables, run: _tree(tables, run, "raw"),
    ),
    Piece(
        "HeartMAE",
        "figure 3 b",
        "heartmae_fig3b_adjusted",
        "10_stratification",
        ("features_adjusted", "groups", "tree_adjusted", "subjects"),
        lambda tables, run: _tree(tables, run, "adjusted"),
    ),
    Piece(
        "HeartMAE",
        "figure S1",
        "heartmae_figS1_features",
        "08_heartmae_predict",
        ("errors_cardiac",),
        lambda tables, run: plots.tasks_figure(tables["errors_cardiac"], heartmae.MODELS, run.synthetic),
    ),
    Piece(
        "HeartMAE",
        "figure S2",
        "heartmae_figS2_umap",
        "10_stratification",
        ("map_raw", "subjects"),
        lambda tables, run: _map(tables, run),
    ),
    Piece(
        "HeartMAE",
        "figure S3",
        "heartmae_figS3_laef",
        "10_stratification",
        ("subjects", "groups", "between_groups"),
        lambda tables, run: _laef(tables, run),
        1,
    ),
]

TABLES = [
    Table(
        "TempReg-Net",
        "table 1",
        "tempreg_table1",
        "03_tempreg",
        "table_1",
        "method",
        ("afd_ed", "afd_es", "afd_ed_cyclic", "afd_es_cyclic", "sd_ed", "sd_es"),
    ),
    Table(
        "CUSSP",
        "table 2",
        "cussp_table2",
        "05_cussp",
        "table_2",
        "model",
        ("auc", "ap", "f1", "precision", "recall", "pos_acc", "neg_acc", "n_runs"),
    ),
    Table(
        "SSLHF",
        "tables I to III",
        "sslhf_tables1to3",
        "06_sslhf",
        "tables_1_to_3",
        "method",
        ("patient_auc", "patient_acc", "patch_auc", "patch_acc"),
    ),
    Table(
        "HeartMAE",
        "table 1",
        "heartmae_table1",
        "08_heartmae_predict",
        "errors_cardiac",
        "model",
        tuple(f"{name.removesuffix('_pct')}_mae_pct" for name in ("lvef_pct", "laef_pct", "rvef_pct", "raef_pct")),
        lambda table: _ejection(table),
    ),
    Table("MVnet", "table 3", "mvnet_table3", "04_mvnet", "table_3", "measure", ("n", "bias", "sd", "icc_a1", "r")),
    *[
        Table(
            "MVnet",
            "table 4",
            f"mvnet_table4_{one}",
            "04_mvnet",
            f"table_4_{one}",
            "measure",
            ("n", "bias", "sd", "icc_a1", "r"),
        )
        for one in ("yale", "lund")
    ],
    Table(
        "HeartMAE",
        "table 2",
        "heartmae_table2",
        "08_heartmae_predict",
        "table_2",
        "model",
        ("age_mae_years", "age_r", "bmi_mae_kg_m2", "bmi_r"),
        lambda table: _extracardiac(table),
    ),
    Table("MVnet", "table 5", "mvnet_table5", "04_mvnet", "stages", "stage", ("n", "euclid_mm", "angle_deg")),
]

NOT_MADE = {
    "CUSSP figure 1": "patients with and without regurgitation, their valves drawn in by hand",
    "CUSSP figures 3, 7, 9": "drawings of networks and of their training",
    "CUSSP table 1": "a list of measures without values; 02_measurements fills it, a row a heart",
    "TempReg-Net figures 2, 3": "drawings of the networks",
    "MVnet figures 2, 3": "drawings of the method and of its data",
    "MVnet tables 1, 2": "counts of the paper's own patients; 00_cohort writes such a table of yours",
    "SSLHF figures 1, 2": "drawings of the method and of its networks",
}
"""Paper figure → why it is not regenerated."""


def _clinical(hearts, displacement, statistics, reference, test, synthetic):
    shown = panels(hearts, displacement, statistics, reference, test)
    return plots.clinical_figure(shown, f"{test} against {reference}", synthetic)


def _groups(tables, name) -> Groups:
    labels = tables["groups"].set_index("participant_id")[name].dropna().astype(int)
    return Groups(labels, tables[f"tree_{name}"].to_numpy(float) if f"tree_{name}" in tables else None)


def _tree(tables, run, name):
    features, people = (tables[one].set_index("participant_id") for one in (f"features_{name}", "subjects"))
    shown = [
        one
        for one in (run.parameters["disease"], *run.parameters["annotate"], *run.parameters["values"][:1])
        if one in people
    ]
    return plots.group_heatmap(features, _groups(tables, name), people[shown], run.synthetic)


def _map(tables, run):
    mapped = tables["map_raw"].merge(tables["subjects"], on="participant_id")
    disease = run.parameters["disease"]
    titles = {
        name: title for name, title in (("sex", "sex"), ("lvm_g", "LV mass (g)"), (disease, disease)) if name in mapped
    }
    return plots.coloured_maps(mapped, titles, run.synthetic)


def _laef(tables, run):
    """In the groups of adjusted features, as in the paper, where there are such."""
    name = "adjusted" if "adjusted" in tables["groups"] else "raw"
    tests = tables["between_groups"]
    values = tables["subjects"].set_index("participant_id")[run.parameters["values"][:1]]
    return plots.by_group(values, _groups(tables, name), tests[tests["features"] == name], run.synthetic)


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


def _extracardiac(table) -> pd.DataFrame:
    """The same for what is not of the heart: age and body mass index, error and correlation."""
    rows = []
    for model, part in table.groupby("model", sort=False):
        row, part = {"model": model}, part.set_index("target")
        for target, mae, r in (("age", "age_mae_years", "age_r"), ("bmi_kg_m2", "bmi_mae_kg_m2", "bmi_r")):
            if target in part.index:
                one = part.loc[target]
                row |= {f"{mae}{end}": one[f"mae{end}"] for end in ("", "_low", "_high")} | {r: one["r"]}
        rows.append(row)
    return pd.DataFrame(rows)
