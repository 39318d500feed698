"""Weights that travel with the package: half precision, small networks, trained on phantoms alone (`make weights`)."""

import shutil
from pathlib import Path

import pandas as pd

from cmrlib.files import atomic, read_json, write_json
from cmrlib.runs.parameters import ROOT

SHIPPED = ROOT / "cmrlib" / "shipped"
MADE_BY, CHECKED_BY = ("carryover", "weights"), "few_labels"
"""Profiles that train them, and the one that tests them on ACDC's test patients."""
MOST_MB = 20
NOTEBOOKS = ("01_segmentation", "03_tempreg", "04_mvnet")
LEFT = ("without_tsc",)  # what a study compares with
NEVER = ("cohort_digest",)  # of a card: names a folder that nobody else has


def ship(profiles, checked: str = "", runs=ROOT / "runs", dest=SHIPPED) -> float:
    """Copy weights of these profiles to `dest` in half precision, with what is known of their errors; returns MB.

    checked: a profile that tested these weights on real hearts, whose errors go before those on phantoms. Raises
    ValueError where they are more than MOST_MB, FileNotFoundError where a profile made none.
    """
    from safetensors.torch import load_file, save_file

    from cmrlib.report.cards import by_whom
    from cmrlib.report.study import known_errors

    runs, dest, found = Path(runs), Path(dest), {}
    for profile in profiles:
        folders = [runs / profile / name / "weights" for name in NOTEBOOKS]
        made = [path for folder in folders for path in sorted(folder.glob("*.safetensors"))]
        if not made:
            raise FileNotFoundError(f"profile {profile} made no weights; `make run PROFILE={profile}` does")
        found |= {path.relative_to(runs / profile): path for path in made if path.stem not in LEFT}
    shutil.rmtree(dest, ignore_errors=True)
    for place, path in found.items():
        to = dest / place
        to.parent.mkdir(parents=True, exist_ok=True)
        half = {name: value.half() if value.is_floating_point() else value for name, value in load_file(path).items()}
        with atomic(to) as part:
            save_file(half, part)
        card = read_json(path.with_suffix(".json"))
        kept = {name: value for name, value in card.items() if name not in NEVER}
        write_json(kept | {"stored": "half precision", "checked": by_whom(path), "checked_on": _checked_on(path)},
                   to.with_suffix(".json"))
        if (path.parent / "smoothing.json").exists():
            shutil.copy(path.parent / "smoothing.json", to.parent)
    errors = {name: error for profile in profiles for name, error in known_errors(runs / profile).items()}
    if checked:
        errors |= {name: error | {"real": True} for name, error in known_errors(runs / checked).items()}
    table = pd.DataFrame([{"measure": name} | error for name, error in errors.items()],
                         columns=["measure", "bias", "sd", "n", "real"])
    table.round(3).to_csv(dest / "errors.csv", index=False, lineterminator="\n")
    write_cards(dest)
    size = sum(path.stat().st_size for path in dest.rglob("*") if path.is_file()) / 1e6
    if size > MOST_MB:
        raise ValueError(f"{size:.1f} MB of weights; at most {MOST_MB} MB travel with the package: narrower networks")
    return size


def _checked_on(path) -> str:
    """The hearts behind `by_whom`: test subjects of the run's real sources, else of its own cohort."""
    manifest = path.parents[1] / "manifest.json"
    given = read_json(manifest)["parameters"] if manifest.exists() else {}
    real = [source.split(":")[0] for source in given.get("test_sources", [])]
    return f"test patients of {', '.join(real)}" if real else "test subjects of the cohort it learned from"


def write_cards(dest=SHIPPED, record=ROOT / "figures" / "record" / "acdc_01_segmentation.json") -> None:
    """CARDS.md beside the weights: a model card each, from its JSON."""
    parts = ["# The networks that travel with the package", "", "Research only. All learned from synthetic hearts "
             "alone (`make weights`); `errors.csv` holds what `cmr report` prints beside their measures."]
    if Path(record).exists():
        full = read_json(record)["metrics"]
        parts += ["", "Beside them the full-size network, trained and tested on ACDC's patients: Dice "
                  + ", ".join(f"{name} {full[f'dice_{name}']:.3f} ({full[f'dice_{name}_low']:.3f} to "
                              f"{full[f'dice_{name}_high']:.3f})" for name in ("lv", "myo", "rv")) + "."]
    for path in sorted(Path(dest).rglob("weights/*.json")):
        card = read_json(path)
        if "architecture" not in card:
            continue
        size = path.with_suffix(".safetensors").stat().st_size / 1e6
        design = ", ".join(f"{name} {' '.join(value) if isinstance(value, list) else value}"
                           for name, value in card["architecture"].items() if name != "name")
        parts += ["", f"## {path.parents[1].name}, {path.stem}", "", f"{card['architecture']['name']}: {design}. "
                  f"{size:.1f} MB, {card['stored']}. Learned from {card['cohort']}. Checked on "
                  f"{card.get('checked_on', 'nothing yet')}."]
        rows = card.get("checked") or []
        parts += ["", "| whose hearts | what | mean (95 % interval) | n |", "| --- | --- | --- | --- |"] if rows else []
        parts += [f"| {row['who']} | {row['what']} | {row['value']} ({row['low']} to {row['high']}) | {row['n']} |"
                  for row in rows]
    with atomic(Path(dest) / "CARDS.md") as part:
        part.write_text("\n".join(parts) + "\n")
