"""README.md and figures/RESULTS.md brought up to date: `make readme` writes their tables, `make gallery` the pictures.

Everything between a pair of marks is generated. A number is one row of results.tsv: topic, file of figures/record/,
metric, data, what it is, digits.
"""

import json
import sys
from pathlib import Path

import pandas as pd
from PIL import Image

from cmrlib.agreement import compare, headline
from cmrlib.agreement.overlap import overlap_metrics
from cmrlib.app.runs.parameters import ROOT
from cmrlib.app.runs.record import ROWS
from cmrlib.cohort.files import atomic, write_json

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
WIDTH_PX = {"real_heart.png": 1280}  # a row of pictures; the others are 680 pixels at most


def results_table(topic: str) -> str:
    """One topic's table as Markdown, from figures/record/ alone; metrics that are not recorded are left out."""
    lines = ["| data | what | value (95 % interval) | n | commit |", "| --- | --- | --- | --- | --- |"]
    for row in RESULTS[RESULTS["topic"] == topic].itertuples():
        path = ROOT / "figures" / "record" / f"{row.record}.json"
        kept = json.loads(path.read_text()) if path.exists() else {"metrics": {}}
        metrics = kept["metrics"]
        if row.metric not in metrics:
            continue
        value, low, high = (metrics.get(f"{row.metric}{end}") for end in ("", "_low", "_high"))
        shown = "undefined" if value is None else f"{value:z.{row.digits}f}"
        shown += "" if low is None or high is None else f" ({low:z.{row.digits}f} to {high:z.{row.digits}f})"
        n = metrics.get(f"n_{row.metric}", metrics.get("n"))
        lines.append(
            f"| {row.data} | {row.what} | {shown} | {'' if n is None else f'{n:.0f}'} | {kept['commit'][:8]} |"
        )
    return "\n".join(lines)


def generated() -> dict[str, dict[str, str]]:
    """File → name → text of each generated part, with its marks."""
    from cmrlib.plots.figures import paper_table

    texts = {f"results, {topic}": results_table(topic) for topic in RESULTS["topic"].unique()}
    texts |= {"figures": paper_table()}
    texts = {
        name: f"<!-- {name}: written by `make readme` -->\n{text}\n<!-- end of {name} -->"
        for name, text in texts.items()
    }
    headline = "results, headline"
    return {
        "README.md": {headline: texts[headline]},
        "figures/RESULTS.md": {name: text for name, text in texts.items() if name != headline},
    }


def pool_folds(profile: str, reference: str = "manual", test: str = "ternausnet") -> dict:
    """Metrics with intervals over all subjects of a profile's folds, written to figures/record/PROFILE_pooled.json."""
    folder, metrics = ROOT / "figures" / "record", {}
    scores, measures = (folder / f"{profile}_{notebook}_rows.csv" for notebook in ROWS)
    if scores.exists():
        rows = pd.read_csv(scores, dtype=IDS)
        metrics = overlap_metrics(rows) | {"n_dice": int(rows["participant_id"].nunique())}
    if measures.exists():
        rows = pd.read_csv(measures, dtype=IDS).fillna({"session": ""})
        result = compare(rows, reference, test, ["lvef_pct", "rvef_pct", "lvedv_ml", "lvesv_ml", "lvm_g"])
        metrics |= headline(result) | {"n": int(result["n"].max())}
    metrics = {name: round(value, 6) for name, value in metrics.items()}  # the last digits depend on the processor
    kept = {"profile": profile, "commit": "+".join(sorted(set(rows["commit"].str[:8]))), "metrics": metrics}
    write_json(kept, folder / f"{profile}_pooled.json")
    return metrics


def write_readme() -> None:
    """Pool the folds, and rewrite everything between the marks."""
    for profile in {path.name.split("_0")[0] for path in (ROOT / "figures" / "record").glob("*_rows.csv")}:
        pool_folds(profile)
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
