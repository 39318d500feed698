"""README.md and figures/RESULTS.md brought up to date: `make readme` writes their tables, `make gallery` the pictures.

Everything between a pair of marks is generated. A number is one row of results.tsv: topic, file of figures/record/,
metric, data, what it is, digits.
"""

import json
import sys
from pathlib import Path

import pandas as pd
from PIL import Image

from cmrlib.agreement import HEADLINE, compare, headline
from cmrlib.agreement.overlap import overlap_metrics
from cmrlib.agreement.resampling import MIN_SUBJECTS
from cmrlib.app.runs.parameters import ROOT
from cmrlib.app.runs.record import ROWS
from cmrlib.cohort.files import atomic, write_json
from cmrlib.plots.figures import paper_table
from cmrlib.plots.figures.drawing import labels

RESULTS = pd.read_csv(Path(__file__).with_name("results.tsv"), sep="\t")
IDS = {"participant_id": str, "session": str}

# Figure of a run → name in figures/gallery/. Pixels of real hearts: Sunnybrook (CC0) and samples/ only.
GALLERY = {
    "quick/01_segmentation/figures/sample.png": "real_heart.png",
    "sunnybrook/01_segmentation/figures/case_median.png": "sunnybrook_segmentation.png",
    "sunnybrook/02_measurements/figures/curves.png": "sunnybrook_curves.png",
    "acdc/09_agreement/figures/agreement_lvef_pct.png": "acdc_lvef_agreement.png",
    "quick/00_cohort/figures/view_4ch.png": "phantom_4ch.png",
    "carryover_sunnybrook/01_segmentation/figures/case_median.png": "phantom_trained_sunnybrook.png",
    "carryover_sunnybrook/00_cohort/figures/beside_phantom_sax.png": "real_beside_phantom.png",
    "valve_study/04c_mvnet_real/figures/sample_4ch.png": "mvnet_sample.png",
}
CUSSP = {"auc": "AUC", "ap": "average precision", "f1": "F1", "precision": "precision", "recall": "recall"}
WIDTH_PX = {"real_heart.png": 1280}  # a row of pictures; the others are 680 pixels at most


def results_table(topic: str) -> str:
    """One topic's table as Markdown, from figures/record/ alone; metrics that are not recorded are left out.

    The metric `lvef_loa_pct` stands for both limits of agreement. Intervals of fewer than MIN_SUBJECTS, and those in
    which nothing varied, are n/a. n are the subjects with a value, and in brackets those without one.
    """
    lines = ["| data | what | value (95 % interval) | n | commit |", "| --- | --- | --- | --- | --- |"]
    for row in RESULTS[RESULTS["topic"] == topic].itertuples():
        kept = _record(row.record)
        shown, (n, lost) = shown_value(kept["metrics"], row.metric, row.digits), _subjects(kept["metrics"], row.metric)
        n = "" if n is None else f"{n:.0f}" + f" ({lost:.0f} n/a)" * bool(lost)
        if shown:
            lines.append(f"| {row.data} | {row.what} | {shown} | {n} | {shown_commit(kept['commit'])} |")
    return "\n".join(lines)


def shown_value(metrics: dict, name: str, digits: int) -> str:
    """`0.971 (0.920 to 0.999)`; empty where it was not recorded."""
    if "_loa_" in name:
        ends = [metrics.get(name.replace("_loa_", f"_loa_{side}_")) for side in ("low", "high")]
        return "" if None in ends else " to ".join(f"{end:z.{digits}f}" for end in ends)
    if name not in metrics:
        return ""
    value, low, high = (metrics.get(f"{name}{end}") for end in ("", "_low", "_high"))
    shown, (n, _) = "undefined" if value is None else f"{value:z.{digits}f}", _subjects(metrics, name)
    if low is None or high is None:
        return shown
    none = low == high or (n is not None and n < MIN_SUBJECTS)
    return f"{shown} (n/a)" if none else f"{shown} ({low:z.{digits}f} to {high:z.{digits}f})"


def _subjects(metrics, name):
    """→ subjects behind a metric, None where the record does not say; how many more have no value."""
    name = name.removesuffix("_least").removesuffix("_most")
    stem = name.split("_")[0]
    n = next((metrics[key] for key in (f"n_{name}", f"{stem}_n", "n") if metrics.get(key) is not None), None)
    return n, metrics.get(f"{stem}_n_left_out") or 0


def shown_commit(commit: str) -> str:
    """Eight digits, and that files differed from it."""
    return commit[:8] + "-dirty" * commit.endswith("-dirty")


def _record(name: str) -> dict:
    path = ROOT / "figures" / "record" / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {"metrics": {}, "commit": ""}


def models_table(record: str, paper: str, columns: dict[str, str]) -> str:
    """Every model of a record with its metrics (column → title) as Markdown."""
    metrics, lines = _record(record)["metrics"], [f"| model | {' | '.join(columns.values())} |"]
    lines.append("| --- |" + " --- |" * len(columns))
    for model, label in labels(paper).items():
        values = [shown_value(metrics, f"{model}_{name}", 3) for name in columns]
        if any(values):
            lines.append(f"| {label} | {' | '.join(values)} |")
    return "\n".join(lines)


def looks_table() -> str:
    """How often each test set was looked at: of every record in results.tsv with several lines, mean Dice or its first
    metric."""
    lines = ["| record | metric | looks | values, first to last |", "| --- | --- | --- | --- |"]
    for name, metric in RESULTS.drop_duplicates("record")[["record", "metric"]].itertuples(index=False):
        path = ROOT / "figures" / "record" / f"{name}.csv"
        table = pd.read_csv(path) if path.exists() else pd.DataFrame()
        metric = "dice_mean" if "dice_mean" in table else metric
        values = table.get(metric, pd.Series(dtype=float)).dropna()
        if len(values) > 1:
            lines.append(f"| `{name}` | `{metric}` | {len(values)} | {', '.join(f'{one:.3g}' for one in values)} |")
    return "\n".join(lines)


def generated() -> dict[str, dict[str, str]]:
    """File → name → text of each generated part, with its marks."""
    texts = {f"results, {topic}": results_table(topic) for topic in RESULTS["topic"].unique()}
    texts |= {"figures": paper_table(), "looks": looks_table()}
    texts["models of CUSSP"] = models_table("cussp_05b_cussp_table2", "CUSSP", CUSSP)
    texts = {
        name: f"<!-- {name}: written by `make readme` -->\n{text}\n<!-- end of {name} -->"
        for name, text in texts.items()
    }
    headline = "results, headline"
    return {
        "README.md": {headline: texts[headline]},
        "figures/RESULTS.md": {name: text for name, text in texts.items() if name != headline},
    }


def pooled(profile: str, reference: str = "manual", test: str = "ternausnet") -> dict:
    """The record of all subjects of a profile's folds together: metrics with intervals from their rows."""
    folder, metrics = ROOT / "figures" / "record", {}
    scores, measures = (folder / f"{profile}_{notebook}_rows.csv" for notebook in ROWS)
    if scores.exists():
        rows = pd.read_csv(scores, dtype=IDS)
        metrics = overlap_metrics(rows) | {"n_dice": int(rows["participant_id"].nunique())}
    if measures.exists():
        rows = pd.read_csv(measures, dtype=IDS).fillna({"session": ""})
        result = compare(rows, reference, test, [name for name in HEADLINE if name in rows])
        metrics |= headline(result) | {"n": int(result["n"].max())}
    # the last digits depend on the processor
    metrics = {name: None if pd.isna(value) else round(value, 6) for name, value in metrics.items()}
    return {"profile": profile, "commit": "+".join(sorted(set(rows["commit"]))), "metrics": metrics}


def pool_profiles() -> dict[Path, dict]:
    """File of figures/record/ → its content, of every profile that keeps a row a subject."""
    folder = ROOT / "figures" / "record"
    profiles = {path.name.split("_0")[0] for path in folder.glob("*_rows.csv")}
    return {folder / f"{profile}_pooled.json": pooled(profile) for profile in sorted(profiles)}


def write_readme() -> None:
    """Pool the folds, and rewrite everything between the marks."""
    for path, kept in pool_profiles().items():
        write_json(kept, path)
    for file, texts in generated().items():
        written = (ROOT / file).read_text()
        for text in texts.values():
            begin, *_, end = text.splitlines()
            before, rest = written.split(begin)
            written = before + text + rest.split(end)[1]
        with atomic(ROOT / file) as part:
            part.write_text(written)


def write_gallery() -> None:
    """Copy the README's pictures from the runs that made them, and print which runs are missing."""
    for source, name in GALLERY.items():
        path = ROOT / "runs" / source
        if not path.exists():
            print(f"not there yet: runs/{source}")
            continue
        picture = Image.open(path).convert("RGB")
        picture.thumbnail((WIDTH_PX.get(name, 680), 680))  # every clone carries it
        with atomic(ROOT / "figures" / "gallery" / name) as part:
            picture.save(part, format="PNG", optimize=True)


if __name__ == "__main__":
    {"readme": write_readme, "gallery": write_gallery}[sys.argv[1]]()
