"""The two sets of weights that travel with the package, from the runs that made them: half precision, cards, errors."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cmrlib.app.runs.parameters import ROOT
from cmrlib.cohort.files import atomic, read_json, write_json
from cmrlib.learning.weightsets import NOTEBOOKS, SHIPPED

LEFT = ("without_tsc",)  # what a study compares with
NEVER = ("cohort_digest",)  # of a card: names a folder that nobody else has


@dataclass(frozen=True)
class Shipment:
    """What a set is made of. profiles: those that train its networks, a later one's go before. checked: one whose
    networks were tested on real hearts that they had not seen, by the same recipe where a shipped network knows them
    all; its errors go before those on phantoms. most_mb: of the whole set. about: the first words of its CARDS.md."""

    profiles: tuple[str, ...]
    checked: str
    most_mb: float
    about: str


SHIPMENTS = {
    "synthetic": Shipment(("carryover", "weights"), "few_labels", 20, "All learned from synthetic hearts alone"),
    "real": Shipment(
        ("weights_sax", "weights_lax"), "weights_check", 12, "All learned from patients, some from phantoms first"
    ),
}


def needed(*names) -> list[str]:
    """Profiles to run before these sets can be shipped: those that train, then the one that tests what was trained."""
    return [profile for name in names or SHIPMENTS for profile in (*SHIPMENTS[name].profiles, SHIPMENTS[name].checked)]


def ready(runs=ROOT / "runs") -> list[str]:
    """Sets whose profiles have all been run."""
    return [name for name, one in SHIPMENTS.items() if all((Path(runs) / profile).is_dir() for profile in one.profiles)]


def ship(name: str, runs=ROOT / "runs", dest=SHIPPED) -> float:
    """Copy the weights of a set's profiles to `dest`/NAME in half precision, with what is known of their errors.

    Returns the set's MB. LICENSE.md stays as it is. Raises FileNotFoundError where a profile made no weights,
    ValueError for an unknown set, a network whose card does not say from whom it learned, and a set beyond its budget.
    """
    from cmrlib.report.study import known_errors

    if name not in SHIPMENTS:
        raise ValueError(f"no set of weights called {name!r}; there are {', '.join(SHIPMENTS)}")
    one, runs, dest = SHIPMENTS[name], Path(runs), Path(dest) / name
    found = _made_by(one.profiles, runs)
    for notebook in NOTEBOOKS:
        shutil.rmtree(dest / notebook, ignore_errors=True)
    for place, path in found.items():
        _pack(path, dest / place, runs / one.checked / place)
    errors = {measure: error for profile in one.profiles for measure, error in known_errors(runs / profile).items()}
    if one.checked:
        errors |= {measure: error | {"real": True} for measure, error in known_errors(runs / one.checked).items()}
    table = pd.DataFrame(
        [{"measure": measure} | error for measure, error in errors.items()],
        columns=["measure", "bias", "sd", "n", "real"],
    )
    with atomic(dest / "errors.csv") as part:
        table.round(3).to_csv(part, index=False, lineterminator="\n")
    write_cards(dest, one.about)
    size = sum(path.stat().st_size for path in dest.rglob("*") if path.is_file()) / 1e6
    if size > one.most_mb:
        raise ValueError(
            f"{size:.1f} MB of weights; at most {one.most_mb} MB of the set {name} travel with the "
            "package: narrower networks"
        )
    return size


def _made_by(profiles, runs) -> dict[Path, Path]:
    """Place within a set (NOTEBOOK/weights/FILE) → the file that is to go there."""
    found = {}
    for profile in profiles:
        folders = [runs / profile / name / "weights" for name in NOTEBOOKS]
        made = [path for folder in folders for path in sorted(folder.glob("*.safetensors"))]
        if not made:
            raise FileNotFoundError(f"profile {profile} made no weights; `make run PROFILE={profile}` does")
        found |= {path.relative_to(runs / profile): path for path in made if path.stem not in LEFT}
    return found


def _pack(path, to, tested):
    """One network in half precision with its card. tested: where a run that tested its recipe would keep it."""
    from safetensors.torch import load_file, save_file

    from cmrlib.report.cards import by_whom

    card = read_json(path.with_suffix(".json"))
    if lacking := sorted({"licence", "trained_on"} - {name for name, value in card.items() if value}):
        raise ValueError(
            f"{path.with_suffix('.json')} lacks {', '.join(lacking)}: nobody could tell what may be done "
            "with it and on whom it must not be scored; train it again with this version"
        )
    to.parent.mkdir(parents=True, exist_ok=True)
    half = {name: value.half() if value.is_floating_point() else value for name, value in load_file(path).items()}
    with atomic(to) as part:
        save_file(half, part)
    rows, where = by_whom(path), _checked_on(path)
    if not rows and (rows := by_whom(tested)):
        where = f"{_checked_on(tested)}, by networks of the same recipe that had not seen them"
    kept = {name: value for name, value in card.items() if name not in NEVER}
    write_json(kept | {"stored": "half precision", "checked": rows, "checked_on": where}, to.with_suffix(".json"))
    if (path.parent / "smoothing.json").exists():
        shutil.copy(path.parent / "smoothing.json", to.parent)


def _checked_on(path) -> str:
    """The hearts behind `by_whom`: test subjects of the run's real sources, else of its own cohort."""
    manifest = path.parents[1] / "manifest.json"
    given = read_json(manifest)["parameters"] if manifest.exists() else {}
    real = [source.split(":")[0] for source in given.get("test_sources", [])]
    return f"test patients of {', '.join(real)}" if real else "test subjects of the cohort it learned from"


def write_cards(dest, about: str, record=ROOT / "figures" / "record" / "acdc_01_segmentation.json") -> None:
    """CARDS.md beside the weights: a model card each, from its JSON."""
    parts = [
        f"# Weights that travel with the package: {Path(dest).name}",
        "",
        "Research only; terms in LICENSE.md. "
        f"{about} (`make weights`); `errors.csv` holds what `cmr report` prints beside their measures.",
    ]
    if Path(record).exists():
        full = read_json(record)["metrics"]
        parts += [
            "",
            "Beside them the full-size network, trained and tested on ACDC's patients: Dice "
            + ", ".join(
                f"{name} {full[f'dice_{name}']:.3f} ({full[f'dice_{name}_low']:.3f} to {full[f'dice_{name}_high']:.3f})"
                for name in ("lv", "myo", "rv")
            )
            + ".",
        ]
    for path in sorted(Path(dest).rglob("weights/*.json")):
        card = read_json(path)
        if "architecture" in card:
            parts += _card_text(path, card)
    with atomic(Path(dest) / "CARDS.md") as part:
        part.write_text("\n".join(parts) + "\n")


def _card_text(path, card) -> list[str]:
    """One network's paragraph and table."""
    from cmrlib.report.cards import learned_text

    size = path.with_suffix(".safetensors").stat().st_size / 1e6
    design = ", ".join(
        f"{name} {' '.join(value) if isinstance(value, list) else value}"
        for name, value in card["architecture"].items()
        if name != "name"
    )
    rows = card.get("checked") or []
    head = ["", "| whose hearts | what | mean (95 % interval) | n |", "| --- | --- | --- | --- |"] if rows else []
    text = (
        f"{card['architecture']['name']}: {design}. {size:.1f} MB, {card['stored']}. Learned from "
        f"{learned_text(card)}; licence {card['licence']}. Checked on {card.get('checked_on', 'nothing yet')}."
    )
    return [
        "",
        f"## {path.parents[1].name}, {path.stem}",
        "",
        text,
        *head,
        *[
            f"| {row['who']} | {row['what']} | {row['value']} ({row['low']} to {row['high']}) | {row['n']} |"
            for row in rows
        ],
    ]
