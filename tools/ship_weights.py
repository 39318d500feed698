"""The sets of weights that travel with the package, packed from the runs that trained them (`make weights`).

    python tools/ship_weights.py [synthetic] [open] [real]     default: every set whose profiles have been run
    python tools/ship_weights.py --profiles real        the profiles to run before

Networks are stored in half precision with their cards; `errors.csv` and CARDS.md hold their errors.
"""

import argparse
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cmrlib.app.runs.parameters import ROOT
from cmrlib.cohort.files import atomic, read_json, write_json
from cmrlib.learning.weightsets import NOTEBOOKS, SHIPPED

NOT_SHIPPED = ("without_tsc",)  # comparators
PICTURE = "![A real heart with the outlines of the networks](../../../figures/gallery/real_heart.png)"
PRIVATE = ("cohort_digest",)  # card entries that mean nothing elsewhere


@dataclass(frozen=True)
class Shipment:
    """What a set is made of.

    profiles: those that train its networks; a later one replaces an earlier one's. tested_by: a profile whose networks
    of the same recipe were tested on patients that they had not seen; its errors replace those on phantoms.
    max_mb: limit for the whole set. about: first words of its CARDS.md. points: folder below runs/ of the networks for
    mitral points, and the profile that tests them, on phantoms: of MAPSE no patient's truth is known.
    left_out: notebooks whose networks do not travel, for the size of all sets together.
    """

    profiles: tuple[str, ...]
    tested_by: str
    max_mb: float
    about: str
    points: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


SHIPMENTS = {
    "synthetic": Shipment(
        ("carryover", "weights"),
        "few_labels",
        14.5,
        "All learned from synthetic hearts alone",
        ("dsb2015/04c_mvnet_real/weights/phantom", "valve_check_phantom"),
    ),
    "open": Shipment(
        ("weights_open",), "", 3.3, "All learned from phantoms and from patients whose images are in the public domain"
    ),
    "real": Shipment(
        ("weights_sax", "weights_lax", "acdc_cine"),
        "weights_check",
        12.2,
        "All learned from patients, some from phantoms first",
        ("dsb2015/04c_mvnet_real/weights", "valve_check"),
        ("03_tempreg",),
    ),
}


def required_profiles(*names) -> list[str]:
    """Profiles to run before these sets can be shipped: those that train, then the one that tests."""
    wanted = []
    for one in (SHIPMENTS[name] for name in names or SHIPMENTS):
        wanted += [*one.profiles, one.tested_by]
        wanted += [place.split("/")[0] for place in one.points]
    return wanted


def ready(runs=ROOT / "runs") -> list[str]:
    """Sets whose profiles have all been run."""
    return [name for name, one in SHIPMENTS.items() if all((Path(runs) / profile).is_dir() for profile in one.profiles)]


def ship(name: str, runs=ROOT / "runs", dest=SHIPPED) -> float:
    """Write the weights of a set's profiles to DEST/NAME with cards and known errors; returns the set's MB.

    LICENSE.md stays. Raises FileNotFoundError where a profile made no weights, ValueError for an unknown set, a network
    whose card does not say what it learned from, and a set over its limit.
    """
    from cmrlib.report.errors import ERROR, PART, known_errors

    if name not in SHIPMENTS:
        raise ValueError(f"no set of weights called {name!r}; there are {', '.join(SHIPMENTS)}")
    shipment, runs, dest = SHIPMENTS[name], Path(runs), Path(dest) / name
    sources = _trained_by(shipment, runs)
    for path in sorted((runs / shipment.points[0]).glob("*.safetensors")) if shipment.points else ():
        sources[Path("04_mvnet", "weights", path.name)] = path
    for notebook in NOTEBOOKS:
        shutil.rmtree(dest / notebook, ignore_errors=True)
    for place, path in sources.items():
        _pack(path, dest / place, runs / shipment.tested_by / place)
    errors = {
        measure: error for profile in shipment.profiles for measure, error in known_errors(runs / profile).items()
    }
    if shipment.tested_by:
        tested = known_errors(runs / shipment.tested_by)
        errors |= {measure: error | {"real": True} for measure, error in tested.items()}
    for profile in shipment.points[1:]:
        errors |= {measure: error | {"real": False} for measure, error in known_errors(runs / profile).items()}
    rows = []
    for measure, error in errors.items():
        parts = [part | {"real": error["real"]} for part in error.get("by_confidence", [])]
        rows += [{"measure": measure} | one for one in (error, *parts)]
    with atomic(dest / "errors.csv") as part:
        pd.DataFrame(rows, columns=["measure", *ERROR, *PART]).round(3).to_csv(part, index=False, lineterminator="\n")
    write_cards(dest, shipment.about)
    size_mb = sum(path.stat().st_size for path in dest.rglob("*") if path.is_file()) / 1e6
    if size_mb > shipment.max_mb:
        raise ValueError(
            f"{size_mb:.1f} MB of weights; at most {shipment.max_mb} MB of the set {name} travel with the "
            "package: narrower networks"
        )
    return size_mb


def _trained_by(shipment, runs) -> dict[Path, Path]:
    """Place within a set (NOTEBOOK/weights/FILE) → the file to pack."""
    found = {}
    for profile in shipment.profiles:
        folders = [runs / profile / name / "weights" for name in NOTEBOOKS if name not in shipment.left_out]
        weights = [path for folder in folders for path in sorted(folder.glob("*.safetensors"))]
        if not weights:
            raise FileNotFoundError(f"profile {profile} made no weights; `make run PROFILE={profile}` does")
        found |= {path.relative_to(runs / profile): path for path in weights if path.stem not in NOT_SHIPPED}
    return found


def _pack(path, dest, tested):
    """One network in half precision with its card. tested: the same file of a run that tested this recipe."""
    from safetensors.torch import load_file, save_file

    from cmrlib.learning.weights import settings_digest
    from cmrlib.report.cards import error_by_subgroup

    card = read_json(path.with_suffix(".json"))
    if lacking := sorted({"licence", "trained_on"} - {name for name, value in card.items() if value}):
        raise ValueError(
            f"{path.with_suffix('.json')} lacks {', '.join(lacking)}, so its terms of use and the subjects it must not "
            "be scored on are unknown; train it again with this version"
        )
    dest.parent.mkdir(parents=True, exist_ok=True)
    half = {name: value.half() if value.is_floating_point() else value for name, value in load_file(path).items()}
    with atomic(dest) as part:
        save_file(half, part, {"settings": settings_digest(card)})
    rows, tested_on = error_by_subgroup(path), _tested_on(path)
    there = any(tested.parent.rglob(f"{tested.stem}.json"))  # in folders of their own where folds were tested
    if not rows and there and (rows := error_by_subgroup(tested)):
        tested_on = f"{_tested_on(tested)}, by networks of the same recipe that had not seen them"
    kept = {name: value for name, value in card.items() if name not in PRIVATE} | {"stored": "half precision"}
    if rows or "checked" not in card:  # one that was shipped before keeps what its card says
        kept |= {"checked": rows, "checked_on": tested_on}
    curves = card.get("calibration", {}) | _calibration(path, card) | _calibration(tested, card)
    write_json(kept | ({"calibration": curves} if curves else {}), dest.with_suffix(".json"))


def _calibration(path, card) -> dict:
    """View → structure → confidence and expected Dice, of the run beside a weights file, on real hearts."""
    path = path.parents[1] / "tables" / "calibration_curves.csv"
    table = pd.read_csv(path).round(4) if path.exists() else pd.DataFrame(columns=["view", "structure", "synthetic"])
    found = {}
    for (view, structure), curve in table[~table["synthetic"].astype(bool)].groupby(["view", "structure"]):
        if view in card["preprocessing"].get("views", ()):
            found.setdefault(view, {})[structure] = curve[["confidence", "dice"]].to_dict("list")
    return found


def _tested_on(path) -> str:
    """Subjects behind `error_by_subgroup`: test subjects of the run's real sources, else of its own cohort."""
    manifest = path.parents[1] / "manifest.json"
    given = read_json(manifest)["parameters"] if manifest.exists() else {}
    real = [source.split(":")[0] for source in given.get("testing", {}).get("sources", []) if source]
    return f"test patients of {', '.join(real)}" if real else "test subjects of the cohort it learned from"


def write_cards(dest, about: str, record=ROOT / "figures" / "record" / "acdc_01_segmentation.json") -> None:
    """CARDS.md beside the weights: errors of measures, a picture, then one model card per network, from its JSON."""
    parts = [
        f"# Weights that travel with the package: {Path(dest).name}",
        "",
        "Research only; terms in LICENSE.md. "
        f"{about} (`make weights`); `errors.csv` holds what `cmr report` prints beside their measures.",
    ]
    if Path(record).exists():
        full = read_json(record)["metrics"]
        dice = ", ".join(
            f"{name} {full[f'dice_{name}']:.3f} ({full[f'dice_{name}_low']:.3f} to {full[f'dice_{name}_high']:.3f})"
            for name in ("lv", "myo", "rv")
        )
        parts += ["", f"Beside them the full-size network, trained and tested on ACDC's patients: Dice {dice}."]
    parts += ["", *_error_table(Path(dest) / "errors.csv"), *(["", PICTURE] if Path(dest).name == "real" else [])]
    for path in sorted(Path(dest).rglob("weights/*.json")):
        card = read_json(path)
        if "architecture" in card:
            parts += _card_text(path, card)
    with atomic(Path(dest) / "CARDS.md") as part:
        part.write_text("\n".join(parts) + "\n")


def _error_table(path) -> list[str]:
    """Rows of all hearts of `errors.csv`, with limits of agreement."""
    from cmrlib.measures import MEASURES
    from cmrlib.report.reference import limits

    table = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["measure", "n"])
    table = table[table["confidence_low"].isna()] if "confidence_low" in table else table
    rows = []
    for row in table[table["measure"].isin(MEASURES)].to_dict("records"):
        low, high = limits(row)
        hearts = f"{row['n']:.0f} {'patients' if row['real'] else 'phantoms'}"
        name, unit = MEASURES[row["measure"]].description.partition(":")[0], MEASURES[row["measure"]].unit
        rows.append(f"| {name} ({unit}) | {row['bias']:+.1f} | {low:+.1f} to {high:+.1f} | {hearts} |")
    return ["| measure | bias | limits of agreement | on |", "| --- | --- | --- | --- |", *rows] if rows else []


def _overall(rows) -> list[dict]:
    """Means over all hearts, from those of both sexes, first; intervals are known of subgroups only."""
    sexes, overall = [row for row in rows if row["who"].startswith("sex ")], []
    for what in dict.fromkeys(row["what"] for row in sexes):
        own = [row for row in sexes if row["what"] == what]
        n = sum(row["n"] for row in own)
        overall.append(
            {
                "who": "all of known sex",
                "what": what,
                "value": round(sum(r["value"] * r["n"] for r in own) / n, 3),
                "n": n,
            }
        )
    return overall


def _card_text(path, card) -> list[str]:
    """One network's paragraph and table."""
    from cmrlib.report.cards import learned_text

    size_mb = path.with_suffix(".safetensors").stat().st_size / 1e6
    settings = card["preprocessing"] if "n_models" in card["architecture"] else card["architecture"]
    design = ", ".join(
        f"{name} {' '.join(value) if isinstance(value, list) else value}"
        for name, value in settings.items()
        if name != "name"
    )
    text = (
        f"{card['architecture']['name']}: {design}. {size_mb:.1f} MB, {card['stored']}. Learned from "
        f"{learned_text(card)}; licence {card['licence']}. Checked on {card.get('checked_on', 'nothing yet')}."
    )
    rows = card.get("checked") or []
    head = ["", "| subgroup | what | mean (95 % interval) | n |", "| --- | --- | --- | --- |"] if rows else []
    table = [f"| {row['who']} | {row['what']} | {row['value']} | {row['n']} |" for row in _overall(rows)]
    table += [
        f"| {row['who']} | {row['what']} | {row['value']} ({row['low']} to {row['high']}) | {row['n']} |"
        for row in rows
    ]
    return ["", f"## {path.parents[1].name}, {path.stem}", "", text, *head, *table]


def main(words=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", help=f"{' or '.join(SHIPMENTS)}; default: all whose profiles have been run")
    parser.add_argument("--profiles", action="store_true", help="only print the profiles to run before")
    given = parser.parse_args(words)
    if given.profiles:
        return print(*required_profiles(*given.sets)) or 0
    for name in [] if given.sets else sorted(set(SHIPMENTS) - set(ready())):
        print(f"{name}: not packed, since {', '.join(SHIPMENTS[name].profiles)} have not all been run")
    try:
        for name in given.sets or ready():
            print(f"{name}: {ship(name):.1f} MB from {', '.join(SHIPMENTS[name].profiles)}")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
