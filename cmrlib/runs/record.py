"""The small record of a run: figures/record/PROFILE_NOTEBOOK.json says how it stands, .csv how it came there.

Committed, one line an evaluation, so that every look at a test set can be counted. A profile with `pool: true` keeps a
row a subject too (PROFILE_NOTEBOOK_rows.csv), so that folds which ran on different days or machines are pooled:
PROFILE_pooled.json, written by `make readme`.
"""

import ast
import csv
import io
import json
from pathlib import Path

import pandas as pd
from PIL import Image

from cmrlib import agreement, summary
from cmrlib.files import atomic, write_json
from cmrlib.runs.parameters import ROOT

ROWS = {"01_segmentation": "scores", "02_measurements": "measures"}
"""Notebook → its table that is pooled over folds."""

KEPT = ("notebook", "profile", "date", "commit", "hardware", "seconds", "peak_mb", "cohort", "seed")


def keep(manifest: dict) -> None:
    """Replace the record's JSON by this run and append its line to the CSV."""
    folder = ROOT / "figures" / "record"
    kept = {name: manifest[name] for name in KEPT}
    parameters = {name: _public(value) for name, value in manifest["parameters"].items()}
    stem = f"{manifest['profile']}_{manifest['notebook']}"
    path = folder / f"{stem}.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text()))) if path.exists() else []
    rows.append(kept | manifest["metrics"])
    columns = list(dict.fromkeys(name for row in rows for name in row))  # metrics come and go over the years
    with atomic(path) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_json(kept | {"metrics": manifest["metrics"], "parameters": parameters}, folder / f"{stem}.json")


def keep_rows(manifest: dict, tables: Path) -> None:
    """Add a run's subjects to PROFILE_NOTEBOOK_rows.csv; a subject that stands there already is replaced."""
    if manifest["notebook"] not in ROWS:
        return
    rows = pd.read_csv(tables / f"{ROWS[manifest['notebook']]}.csv", dtype={"participant_id": str, "session": str})
    if "level" in rows:  # of overlap, whole volumes at ED and ES
        rows = rows[(rows["level"] == "all") & rows["phase"].notna()]
    rows = rows.assign(commit=manifest["commit"]).round(4)
    path = ROOT / "figures" / "record" / f"{manifest['profile']}_{manifest['notebook']}_rows.csv"
    if path.exists():
        before = pd.read_csv(path, dtype={"participant_id": str, "session": str})
        rows = pd.concat([before[~before["participant_id"].isin(rows["participant_id"])], rows], ignore_index=True)
    with atomic(path) as part:
        rows.sort_values("participant_id", kind="stable").to_csv(part, index=False, lineterminator="\n")


def pool(profile: str, reference: str = "manual", test: str = "ternausnet") -> dict:
    """Metrics over all subjects whose rows a profile has kept, to PROFILE_pooled.json; each with its interval."""
    folder, metrics = ROOT / "figures" / "record", {}
    scores, measures = (folder / f"{profile}_{notebook}_rows.csv" for notebook in ROWS)
    ids = {"participant_id": str, "session": str}
    if scores.exists():
        rows = pd.read_csv(scores, dtype=ids)
        metrics = summary.overlap_metrics(rows) | {"n_dice": int(rows["participant_id"].nunique())}
    if measures.exists():
        rows = pd.read_csv(measures, dtype=ids).fillna({"session": ""})
        result = agreement.compare(rows, reference, test, ["lvef_pct", "lvedv_ml", "lvesv_ml", "lvm_g"])
        metrics |= agreement.headline(result) | {"n": int(result["n"].max())}
    metrics = {name: round(value, 6) for name, value in metrics.items()}  # processors differ in the last digits
    kept = {"profile": profile, "commit": "+".join(sorted(set(rows["commit"].str[:8]))), "metrics": metrics}
    write_json(kept, folder / f"{profile}_pooled.json")
    return metrics


# What the README quotes of the record: file of figures/record/, metric, what it is, digits.
QUOTED = [
    *[("acdc_01_segmentation", f"dice_{s}", f"ACDC, test fold, Dice {name}", 3)
      for s, name in (("lv", "LV cavity"), ("myo", "myocardium"), ("rv", "RV cavity"))],
    ("acdc_09_agreement", "lvef_mae_pct", "ACDC, LVEF mean absolute error (points)", 2),
    ("acdc_09_agreement", "lvef_icc", "ACDC, LVEF ICC(A,1)", 3),
    ("acdc_09_agreement", "lvedv_mae_ml", "ACDC, LVEDV mean absolute error (mL)", 1),
    ("acdc_folds_pooled", "dice_mean", "ACDC, folds pooled, Dice, mean of three", 3),
    ("acdc_folds_pooled", "lvef_mae_pct", "ACDC, folds pooled, LVEF mean absolute error (points)", 2),
    ("acdc_folds_pooled", "lvef_icc", "ACDC, folds pooled, LVEF ICC(A,1)", 3),
    ("acdc_folds_01_segmentation", "confidence_rho", "ACDC, all folds, confidence against Dice, Spearman's rho", 2),
    ("sunnybrook_01_segmentation", "dice_lv", "Sunnybrook (ACDC-trained), Dice LV cavity", 3),
    ("sunnybrook_09_agreement", "lvef_mae_pct", "Sunnybrook, LVEF mean absolute error (points)", 2),
    *[("carryover_01_segmentation", f"dice_{s}", f"trained on phantoms alone, tested on {where}", 3)
      for s, where in (("lv", "ACDC, Dice LV cavity"), ("myo", "ACDC, myocardium"), ("rv", "ACDC, RV cavity"),
                       ("lv_4ch", "Kaggle 4CH, LV cavity"))],
    ("carryover_sunnybrook_01_segmentation", "dice_lv", "trained on phantoms alone, Sunnybrook, Dice LV cavity", 3),
    ("carryover_sunnybrook_09_agreement", "lvef_mae_pct", "the same, LVEF mean absolute error (points)", 2),
    *[("few_labels_01_segmentation", f"dice_gain_{n}", f"ACDC, {n} labelled patients: gain in Dice by that start", 3)
      for n in (5, 20)],
    *[("dsb2015_04_mvnet", f"annulus_pct_{name}", f"Kaggle 4CH, mitral points, {what} (% of the annulus)", 1)
      for name, what in (("both", "phantoms, then real images: mean error"), ("both_median", "the same: median"),
                         ("real", "real images alone: mean error"), ("phantom", "phantoms alone: mean error"))],
    *[("precision_09_agreement", f"{m}_rescan_cv_pct", f"phantom scanned twice (n: scans), network: {name}, CV (%)", 1)
      for m, name in (("lvedv", "LVEDV"), ("lvef", "LVEF"), ("lvm", "mass"))],
    ("full_01_segmentation", "dice_lv", "phantom, Dice LV cavity", 3),
    ("full_09_agreement", "lvef_bias_pct", "phantom, LVEF bias against 3-D truth (points)", 2),
    ("full_09_agreement", "lvef_icc", "phantom, LVEF ICC(A,1)", 3),
    *[("full_03_tempreg", f"afd_{phase}_cyclic", f"phantom, TempReg-Net, {phase.upper()} (frames off)", 2)
      for phase in ("ed", "es")],
    *[("sunnybrook_frames_03_tempreg", f"afd_{phase}_cyclic{end}", f"Sunnybrook, TempReg-Net, {phase.upper()}, {what} "
       "(frames off)", 2) for end, what in (("", "from phantoms alone"), ("_tuned", "tuned on two for the third"))
      for phase in ("ed", "es")],
    *[("study_03_tempreg", f"structured_loss_gain_{phase}",
       f"phantom, TempReg-Net, three seeds: {phase.upper()} closer by the structured loss (frames)", 3)
      for phase in ("ed", "es")],
    ("full_04_mvnet", "disp_err_sd_mm", "phantom, MVnet, SD of the displacement's error (mm)", 2),
    *[("full_04_mvnet", f"{measure}_icc", f"phantom, MVnet, {name} ICC(A,1)", 3)
      for measure, name in (("mapse", "MAPSE"), ("eprime", "e'"))],
    *[("valve_study_04_mvnet", f"people_{one}_mapse_icc", f"phantom, two people, {one.title()}-like, MAPSE ICC(A,1)", 3)
      for one in ("yale", "lund")],
    *[("valve_study_04_mvnet", f"euclid_mm_{one}_on_{other}",
       f"phantom, MVnet trained on {one.title()}-like hearts, tested on {other.title()}-like, distance (mm)", 2)
      for one in ("yale", "lund", "mixed") for other in ("yale", "lund")],
    *[("full_04_mvnet", metric, f"phantom, true masks, LVEF mean absolute error, {what} (points)", 2)
      for metric, what in (("lvef_mae_pct", "whole slices"), ("lvef_cut_mae_pct", "cut at the tracked valve"))],
    *[("full_05_cussp", f"{model}_auc", f"phantom, mitral regurgitation, {name}, AUC", 3)
      for model, name in (("rf", "random forest"), ("cnnlstm", "CNN-LSTM"), ("cussp3", "CUSSP-3"),
                          ("siam25", "SIAM-25"), ("scratch25", "labels alone"))],
    ("full_05_cussp", "gap_closed", "phantom, mitral regurgitation, SIAM-25, of the way from floor to ceiling", 2),
    *[("full_06_sslhf", metric, f"phantom, heart failure, {name}, AUC of patients", 3)
      for metric, name in (("patient_auc", "SSLHF"), ("scratch_patient_auc", "the same from scratch"))],
    *[("full_06_sslhf", f"more_few{n}_gain", f"phantom, heart failure, {n} labels, further patients: gain in AUC", 3)
      for n in (12, 110)],
    *[("study_06_sslhf", f"labels12_gain_over_{method}",
       f"phantom, heart failure, 12 labels, further patients: AUC above that {what}", 3)
      for method, what in (("no_frames", "without frame covering"), ("no_shuffle", "without local shuffling"),
                           ("no_patches", "without patch covering"))],
    *[("valve_real_05_cussp", metric, f"phantoms' network, Kaggle 4CH, valve centre, {name} (% of the annulus)", 1)
      for metric, name in (("valve_centre_pct_dsb2015", "mean error"), ("valve_centre_pct_dsb2015_median", "median"))],
    ("heart_failure_06_sslhf", "acdc_groups_acc", "ACDC, five groups by a forest on experts' masks, accuracy", 3),
    ("heart_failure_06_sslhf", "acdc_ef_class_acc", "ACDC, EF below 50 % by the phantoms' network, accuracy", 3),
    *[("heart_failure_06_sslhf", f"sunnybrook_{metric}", f"Sunnybrook restored after phantoms alone, {name} (SD²)", 3)
      for metric, name in (("restoration_mse", "mean squared error"), ("neighbours_mse", "by temporal neighbours"))],
    *[(f"{profile}_08_heartmae_predict", metric, f"phantom, HeartMAE, {what}", digits)
      for profile in ("full", "heartmae_tests")
      for metric, what, digits in (("lvef_mae_ratio", "LVEF error over that of the mean", 2),
                                   ("gain_vs_random_pct", "four EFs' error below the untrained encoder's (%)", 1),
                                   ("gain_vs_pca_pct", "four EFs' error below PCA's (%)", 1),
                                   ("lvef_gain_vs_random_pct", "LVEF error below the untrained encoder's (%)", 1),
                                   ("lvef_gain_vs_pca_pct", "LVEF error below PCA's (%)", 1),
                                   ("all_gain_vs_random_pct", "86 features' error below the untrained's (%)", 1),
                                   ("all_gain_vs_pca_pct", "86 features' error below PCA's (%)", 1),
                                   ("all_flow_gain_pct", "86 features' error below plain MAE's, one seed (%)", 1))],
    ("study_08_heartmae_predict", "flow_gain_pct", "phantom, HeartMAE, four EFs, flow below plain (%)", 1),
    *[("heartmae_real_08_heartmae_predict", f"told_apart_sax_{name.lower()}", f"HeartMAE, phantoms from {name}, AUC", 2)
      for name in ("Sunnybrook", "ACDC")],
]
FIGURE_MARKS = ("<!-- figures: written by `make readme` -->", "<!-- end of figures -->")
MARKS = ("<!-- record: written by `make readme` -->", "<!-- end of record -->")
PAGE_MARKS = ("<!-- data sets: written by `make readme` -->", "<!-- end of data sets -->")


def results_table() -> str:
    """The README's results as Markdown, from figures/record/ alone; what was not run yet is not listed."""
    lines = ["| what | value (95 % interval) | n | commit |", "| --- | --- | --- | --- |"]
    for stem, metric, what, digits in QUOTED:
        path = ROOT / "figures" / "record" / f"{stem}.json"
        if not path.exists():
            continue
        kept = json.loads(path.read_text())
        if metric not in kept["metrics"]:  # a run of before this was measured
            continue
        value, low, high = (kept["metrics"].get(f"{metric}{end}") for end in ("", "_low", "_high"))
        shown = "undefined" if value is None else f"{value:z.{digits}f}"
        shown += "" if low is None or high is None else f" ({low:z.{digits}f} to {high:z.{digits}f})"
        n = kept["metrics"].get(f"n_{metric}", kept["metrics"].get("n"))
        lines.append(f"| {what} | {shown} | {'' if n is None else f'{n:.0f}'} | {kept['commit'][:8]} |")
    return "\n".join(lines)


def dataset_pages() -> str:
    """A folded page a data set for the README: the docstring of its reader."""
    pages = []
    for path in sorted((ROOT / "cmrlib" / "datasets").glob("*.py")):
        title, _, text = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n\n")
        if text.startswith("Source"):
            pages.append(f"<details><summary><code>{path.stem}</code>: {title}</summary>\n\n{text}\n\n</details>")
    return "\n".join(pages)


def write_readme() -> None:
    """Pool what is to be pooled, and put results, the papers' figures and the data sets' pages between the README's
    marks."""
    from cmrlib.figures import paper_table

    for profile in {path.name.split("_0")[0] for path in (ROOT / "figures" / "record").glob("*_rows.csv")}:
        pool(profile)
    path = ROOT / "README.md"
    readme = path.read_text()
    made = ((MARKS, results_table()), (FIGURE_MARKS, paper_table()), (PAGE_MARKS, dataset_pages()))
    for (begin, end), text in made:
        before, rest = readme.split(begin)
        readme = f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}"
    with atomic(path) as part:
        part.write_text(readme)


# Pictures of the README: figure of a run → name in figures/gallery/. Pixels of real hearts: Sunnybrook (CC0) only.
GALLERY = {
    "sunnybrook/01_segmentation/figures/case_median.png": "sunnybrook_segmentation.png",
    "sunnybrook/02_measurements/figures/curves.png": "sunnybrook_curves.png",
    "acdc/09_agreement/figures/agreement_lvef_pct.png": "acdc_lvef_agreement.png",
    "quick/00_cohort/figures/view_4ch.png": "phantom_4ch.png",
    "carryover_sunnybrook/01_segmentation/figures/case_median.png": "phantom_trained_sunnybrook.png",
    "carryover_sunnybrook/00_cohort/figures/beside_phantom_sax.png": "real_beside_phantom.png",
    "valve_study/04_mvnet/figures/sample_4ch.png": "mvnet_sample.png",
}


def write_gallery() -> list[str]:
    """Copy the README's pictures from the runs that made them; returns those whose run is missing."""
    missing = []
    for source, name in GALLERY.items():
        path = ROOT / "runs" / source
        if not path.exists():
            missing.append(source)
            continue
        picture = Image.open(path).convert("RGB")
        picture.thumbnail((680, 680))  # enough for a README, and every clone carries it
        with atomic(ROOT / "figures" / "gallery" / name) as part:
            picture.save(part, format="PNG", optimize=True)
    return missing


def _public(value):
    """A path of this machine is nobody else's business: its last part stays."""
    outside = isinstance(value, str) and (Path(value).is_absolute() or value.startswith("~"))
    return Path(value).name if outside else value
