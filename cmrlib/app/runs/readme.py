"""What the README shows of runs: results by topic, the papers' figures, a page a data set, pictures.

Everything between a pair of marks is written by `make readme` from figures/record/ and the code, nothing by hand.
"""

import ast
import json

from PIL import Image

from cmrlib.app.runs.parameters import ROOT
from cmrlib.app.runs.record import pool
from cmrlib.cohort.files import atomic

PHANTOM, ACDC, SUNNYBROOK, KAGGLE = "phantom", "ACDC", "Sunnybrook", "Kaggle 4CH"

_DICE = (("lv", "LV cavity"), ("myo", "myocardium"), ("rv", "RV cavity"))
_PHASES = (("ed", "ED"), ("es", "ES"))

QUOTED = {
    "segmentation": [
        *[("acdc_01_segmentation", f"dice_{s}", ACDC, f"test fold, Dice {name}", 3) for s, name in _DICE],
        ("acdc_09_agreement", "lvef_mae_pct", ACDC, "test fold, LVEF mean absolute error (points)", 2),
        ("acdc_09_agreement", "lvef_icc", ACDC, "test fold, LVEF ICC(A,1)", 3),
        ("acdc_09_agreement", "lvedv_mae_ml", ACDC, "test fold, LVEDV mean absolute error (mL)", 1),
        ("acdc_folds_pooled", "dice_mean", ACDC, "five folds pooled, Dice, mean of three", 3),
        ("acdc_folds_pooled", "lvef_mae_pct", ACDC, "five folds pooled, LVEF mean absolute error (points)", 2),
        ("acdc_folds_pooled", "lvef_icc", ACDC, "five folds pooled, LVEF ICC(A,1)", 3),
        ("acdc_folds_01_segmentation", "confidence_rho", ACDC, "confidence against Dice, Spearman's rho", 2),
        ("sunnybrook_01_segmentation", "dice_lv", SUNNYBROOK, "by ACDC's network, Dice LV cavity", 3),
        ("sunnybrook_09_agreement", "lvef_mae_pct", SUNNYBROOK, "the same, LVEF mean absolute error (points)", 2),
        ("full_01_segmentation", "dice_lv", PHANTOM, "Dice LV cavity", 3),
        ("full_09_agreement", "lvef_bias_pct", PHANTOM, "LVEF bias against 3-D truth (points)", 2),
        ("full_09_agreement", "lvef_icc", PHANTOM, "LVEF ICC(A,1)", 3),
        *[
            ("precision_09_agreement", f"{m}_rescan_cv_pct", PHANTOM, f"scanned twice (n: scans): {name}, CV (%)", 1)
            for m, name in (("lvedv", "LVEDV"), ("lvef", "LVEF"), ("lvm", "mass"))
        ],
    ],
    "phantoms": [
        *[("carryover_01_segmentation", f"dice_{s}", ACDC, f"Dice {name}", 3) for s, name in _DICE],
        ("carryover_01_segmentation", "dice_lv_4ch", KAGGLE, "Dice LV cavity", 3),
        ("carryover_sunnybrook_01_segmentation", "dice_lv", SUNNYBROOK, "Dice LV cavity", 3),
        ("carryover_sunnybrook_09_agreement", "lvef_mae_pct", SUNNYBROOK, "LVEF mean absolute error (points)", 2),
        *[
            (
                "few_labels_01_segmentation",
                f"dice_gain_{n}",
                ACDC,
                f"{n} labelled patients: gain in Dice by such a start",
                3,
            )
            for n in (5, 20)
        ],
    ],
    "tempreg": [
        *[("full_03_tempreg", f"afd_{phase}_cyclic", PHANTOM, f"{name} (frames off)", 2) for phase, name in _PHASES],
        *[
            (
                "study_03_tempreg",
                f"structured_loss_gain_{phase}",
                PHANTOM,
                f"three seeds: {name} closer by the structured loss (frames)",
                3,
            )
            for phase, name in _PHASES
        ],
        *[
            ("sunnybrook_frames_03_tempreg", f"afd_{phase}_cyclic{end}", SUNNYBROOK, f"{name}, {what} (frames off)", 2)
            for end, what in (("", "from phantoms alone"), ("_tuned", "tuned on two for the third"))
            for phase, name in _PHASES
        ],
    ],
    "mvnet": [
        *[
            ("dsb2015_04_mvnet", f"annulus_pct_{name}", KAGGLE, f"mitral points, {what} (% of the annulus)", 1)
            for name, what in (
                ("both", "phantoms, then real images: mean error"),
                ("both_median", "the same: median"),
                ("real", "real images alone: mean error"),
                ("phantom", "phantoms alone: mean error"),
            )
        ],
        ("full_04_mvnet", "disp_err_sd_mm", PHANTOM, "SD of the displacement's error (mm)", 2),
        *[
            ("full_04_mvnet", f"{measure}_icc", PHANTOM, f"{name} ICC(A,1)", 3)
            for measure, name in (("mapse", "MAPSE"), ("eprime", "e'"))
        ],
        *[
            (
                "valve_study_04_mvnet",
                f"people_{one}_mapse_icc",
                PHANTOM,
                f"two people, {one.title()}-like, MAPSE ICC(A,1)",
                3,
            )
            for one in ("yale", "lund")
        ],
        *[
            (
                "valve_study_04_mvnet",
                f"euclid_mm_{one}_on_{other}",
                PHANTOM,
                f"trained on {one.title()}-like hearts, tested on {other.title()}-like, distance (mm)",
                2,
            )
            for one in ("yale", "lund", "mixed")
            for other in ("yale", "lund")
        ],
        *[
            ("full_04_mvnet", metric, PHANTOM, f"true masks, LVEF mean absolute error, {what} (points)", 2)
            for metric, what in (("lvef_mae_pct", "whole slices"), ("lvef_cut_mae_pct", "cut at the tracked valve"))
        ],
    ],
    "cussp": [
        *[
            ("full_05_cussp", f"{model}_auc", PHANTOM, f"mitral regurgitation, {name}, AUC", 3)
            for model, name in (
                ("rf", "random forest"),
                ("cnnlstm", "CNN-LSTM"),
                ("cussp3", "CUSSP-3"),
                ("siam25", "SIAM-25"),
                ("scratch25", "labels alone"),
            )
        ],
        ("full_05_cussp", "gap_closed", PHANTOM, "SIAM-25, of the way from floor to ceiling", 2),
        *[
            (
                "valve_real_05_cussp",
                f"valve_centre_pct_dsb2015{end}",
                KAGGLE,
                f"phantoms' network, valve centre, {name} (% of the annulus)",
                1,
            )
            for end, name in (("", "mean error"), ("_median", "median"))
        ],
    ],
    "sslhf": [
        *[
            ("full_06_sslhf", metric, PHANTOM, f"heart failure, {name}, AUC of patients", 3)
            for metric, name in (("patient_auc", "SSLHF"), ("scratch_patient_auc", "the same from scratch"))
        ],
        *[
            ("full_06_sslhf", f"more_few{n}_gain", PHANTOM, f"{n} labels, further patients: gain in AUC", 3)
            for n in (12, 110)
        ],
        *[
            (
                "study_06_sslhf",
                f"labels12_gain_over_{method}",
                PHANTOM,
                f"12 labels, further patients: AUC above that without {what}",
                3,
            )
            for method, what in (
                ("no_frames", "frame covering"),
                ("no_shuffle", "local shuffling"),
                ("no_patches", "patch covering"),
            )
        ],
        ("heart_failure_06_sslhf", "acdc_groups_acc", ACDC, "five groups by a forest on experts' masks, accuracy", 3),
        ("heart_failure_06_sslhf", "acdc_ef_class_acc", ACDC, "EF below 50 % by the phantoms' network, accuracy", 3),
        *[
            (
                "heart_failure_06_sslhf",
                f"sunnybrook_{what}_mse",
                SUNNYBROOK,
                f"restored after phantoms alone, {name} (SD²)",
                3,
            )
            for what, name in (("restoration", "mean squared error"), ("neighbours", "by temporal neighbours"))
        ],
    ],
    "heartmae": [
        *[
            (f"{profile}_08_heartmae_predict", metric, PHANTOM, what, digits)
            for metric, what, digits in (
                ("lvef_mae_ratio", "LVEF error over that of the mean", 2),
                ("gain_vs_random_pct", "four EFs' error below the untrained encoder's (%)", 1),
                ("gain_vs_pca_pct", "four EFs' error below PCA's (%)", 1),
                ("lvef_gain_vs_random_pct", "LVEF error below the untrained encoder's (%)", 1),
                ("lvef_gain_vs_pca_pct", "LVEF error below PCA's (%)", 1),
                ("all_gain_vs_random_pct", "86 features' error below the untrained's (%)", 1),
                ("all_gain_vs_pca_pct", "86 features' error below PCA's (%)", 1),
                ("all_flow_gain_pct", "86 features' error below plain MAE's, one seed (%)", 1),
            )
            for profile in ("full", "heartmae_tests")
        ],
        ("study_08_heartmae_predict", "flow_gain_pct", PHANTOM, "four EFs, flow below plain (%)", 1),
        *[
            (
                "heartmae_real_08_heartmae_predict",
                f"told_apart_sax_{name.lower()}",
                name,
                "told apart from phantoms by its features, AUC",
                2,
            )
            for name in (SUNNYBROOK, ACDC)
        ],
    ],
}
"""Topic → rows of its table: file of figures/record/, metric, data, what it is, digits."""


def results_table(topic: str) -> str:
    """One of the README's tables as Markdown, from figures/record/ alone; what was not run yet is not listed."""
    lines = ["| data | what | value (95 % interval) | n | commit |", "| --- | --- | --- | --- | --- |"]
    for stem, metric, data, what, digits in QUOTED[topic]:
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
        lines.append(f"| {data} | {what} | {shown} | {'' if n is None else f'{n:.0f}'} | {kept['commit'][:8]} |")
    return "\n".join(lines)


def dataset_pages() -> str:
    """A folded page a data set for the README: the docstring of its reader."""
    pages = []
    for path in sorted((ROOT / "cmrlib" / "datasets").glob("*.py")):
        title, _, text = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n\n")
        if text.startswith("Source"):
            pages.append(f"<details><summary><code>{path.stem}</code>: {title}</summary>\n\n{text}\n\n</details>")
    return "\n".join(pages)


def written() -> dict[str, str]:
    """What stands in the README between marks: name → text with its marks."""
    from cmrlib.plots.figures import paper_table

    texts = {f"results, {topic}": results_table(topic) for topic in QUOTED}
    texts |= {"figures": paper_table(), "data sets": dataset_pages()}
    return {
        name: f"<!-- {name}: written by `make readme` -->\n{text}\n<!-- end of {name} -->"
        for name, text in texts.items()
    }


def write_readme() -> None:
    """Pool what is to be pooled, and bring everything between the README's marks up to date."""
    for profile in {path.name.split("_0")[0] for path in (ROOT / "figures" / "record").glob("*_rows.csv")}:
        pool(profile)
    path = ROOT / "README.md"
    readme = path.read_text()
    for text in written().values():
        begin, *_, end = text.splitlines()
        before, rest = readme.split(begin)
        readme = before + text + rest.split(end)[1]
    with atomic(path) as part:
        part.write_text(readme)


# Pictures of the README: figure of a run → name in figures/gallery/. Pixels of real hearts: Sunnybrook (CC0) and the
# samples (samples/README.md) only.
GALLERY = {
    "quick/01_segmentation/figures/sample.png": "real_heart.png",
    "sunnybrook/01_segmentation/figures/case_median.png": "sunnybrook_segmentation.png",
    "sunnybrook/02_measurements/figures/curves.png": "sunnybrook_curves.png",
    "acdc/09_agreement/figures/agreement_lvef_pct.png": "acdc_lvef_agreement.png",
    "quick/00_cohort/figures/view_4ch.png": "phantom_4ch.png",
    "carryover_sunnybrook/01_segmentation/figures/case_median.png": "phantom_trained_sunnybrook.png",
    "carryover_sunnybrook/00_cohort/figures/beside_phantom_sax.png": "real_beside_phantom.png",
    "valve_study/04_mvnet/figures/sample_4ch.png": "mvnet_sample.png",
}


WIDE_PX = {"real_heart.png": 1280}
"""A row of pictures; the others are 680 pixels at most."""


def write_gallery() -> list[str]:
    """Copy the README's pictures from the runs that made them; returns those whose run is missing."""
    missing = []
    for source, name in GALLERY.items():
        path = ROOT / "runs" / source
        if not path.exists():
            missing.append(source)
            continue
        picture = Image.open(path).convert("RGB")
        picture.thumbnail((WIDE_PX.get(name, 680), 680))  # enough for a README, and every clone carries it
        with atomic(ROOT / "figures" / "gallery" / name) as part:
            picture.save(part, format="PNG", optimize=True)
    return missing
