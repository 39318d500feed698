"""The sets of weights that travel with the package, and which file of which set serves a view.

`real` learned from patients and goes first; `open` from phantoms and from patients whose images anybody may use for
anything. Both hold only what differs from `synthetic`, which learned from phantoms alone and serves the rest. Wherever
weights are asked for, a set's name stands for its files; a path still works.
"""

from pathlib import Path

SHIPPED = Path(__file__).parents[1] / "shipped"
SETS = ("real", "open", "synthetic")
"""Each with those after it for what it lacks."""
DEFAULT = SETS[0]
NOTEBOOKS = ("01_segmentation", "03_tempreg", "04_mvnet", "03c_tempreg_patients")
"""Whose networks travel with the package."""
N_TTA = 3
"""Passes of test-time augmentation wherever nobody asks for another number: those that the printed errors were measured
with."""
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt")


def folders(weights, root=Path()) -> list[Path]:
    """Folders that hold a folder a notebook: a set's own first, then those that help it out; or a path below `root`."""
    if str(weights) in SETS:
        return [SHIPPED / name for name in SETS[SETS.index(str(weights)) :]]
    return [Path(root) / Path(weights).expanduser()]


def places(weights, notebook: str, root=Path()) -> list[Path]:
    """Where networks of a notebook lie, first come, first served. weights: a set's name, or a path (below `root` where
    it is relative) of a run, of its folder of weights, or of one file."""
    if str(weights) not in SETS:
        return folders(weights, root)
    found = [folder / notebook / "weights" for folder in folders(weights)]
    return [folder for folder in found if any(folder.glob("*.safetensors"))]


def networks(weights, root=Path()) -> dict[str, Path]:
    """View → file of the segmentation network that serves it; see `places`, and `by_view` for what is raised."""
    return by_view(places(weights, "01_segmentation", root))


def network(weights, view: str, root=Path()) -> Path:
    """File of the segmentation network that serves a view. Raises FileNotFoundError where there is none."""
    found = {name: path for name, path in networks(weights, root).items() if path.with_suffix(".json").exists()}
    if view not in found:
        raise FileNotFoundError(
            f"no network for view {view} in {weights}; there are networks for {', '.join(found) or 'none'}"
        )
    return found[view]


def of_fold(weights, fold: int, root=Path()):
    """The folder `fold-K` within these weights, where a run trained several folds; else the weights as named."""
    if str(weights) in SETS:
        return weights
    folder = Path(root) / Path(weights).expanduser() / f"fold-{fold}"
    return folder if folder.is_dir() else weights


def by_view(found: list[Path]) -> dict[str, Path]:
    """View → file of the network that serves it: that of the first of these places that has one.

    A network that serves several views stands under each of them. Raises FileNotFoundError where a folder holds no
    weights, ValueError for cards of other networks and for two networks for one view in one folder.
    """
    files = {}
    for place in found:
        here = {}
        for path in weights_files(place):
            views = views_served(path)
            if not views:
                raise ValueError(
                    f"{path.with_suffix('.json')} is no weights card of a segmentation; "
                    "cards are written beside the weights by 01_segmentation and cmr finetune"
                )
            for view in views:
                if view in here:
                    raise ValueError(f"{here[view].name} and {path.name} are both for view {view}; name one of them")
                here[view] = path
        files = here | files
    return files


def weights_files(place) -> list[Path]:
    """The weights of a run's folder, of its folder of weights, or the one file that is named."""
    place = Path(place)
    folder = place / "weights" if (place / "weights").is_dir() else place
    if not folder.is_dir():
        return [place]  # its name, its suffix and whether it exists are load_weights' business
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        pickles = [file.name for file in sorted(folder.iterdir()) if file.suffix in PICKLES]
        hint = f"; {', '.join(pickles)}: pickled weights can run code and are never opened" if pickles else ""
        raise FileNotFoundError(f"no weights (.safetensors with a .json) in {folder}{hint}")
    return found


def views_served(path) -> tuple[str, ...]:
    """Views that a segmentation network serves by the card beside it, none for other networks; where there is no card,
    its name, for loading it will say what is wrong."""
    if not Path(path).with_suffix(".json").exists():
        return (Path(path).stem,)
    card = card_beside(path)
    segments = card.get("architecture", {}).get("name") == "Segmentation"
    return tuple(card["preprocessing"]["views"]) if segments else ()


def card_beside(path) -> dict:
    """The card (JSON) beside a weights file. Raises ValueError where it is none."""
    from cmrlib.cohort.files import read_json  # brings pandas and nibabel, which a command's help does not need

    card = read_json(Path(path).with_suffix(".json"))
    if not isinstance(card, dict):
        raise ValueError(f"{path} has no card beside it; restore the JSON that was written with the weights")
    return card


def credit(weights, notebooks=NOTEBOOKS) -> str:
    """One line about the shipped networks that a set's name stands for: from whom they learned, licence, errors.
    Empty for a path."""
    if str(weights) not in SETS:
        return ""
    from cmrlib.cohort.provenance import data_sets, joined, phantoms_alone

    parts, served = [], {"lax"}
    for folder in folders(weights):
        cards = {}
        for notebook, path in [
            (n, p) for n in notebooks for p in sorted((folder / n / "weights").glob("*.safetensors"))
        ]:
            names = views_served(path) if notebook == NOTEBOOKS[0] else [notebook]
            cards |= {name: card_beside(path) for name in names if name not in served}
        served |= set(cards)
        if cards:
            known = list(cards.values())
            terms = [part.split(";")[0] for card in known for part in card.get("licence", "not stated").split(" · ")]
            taught = data_sets(joined(*known)) or "what no card states"
            parts.append(
                f"{', '.join(cards)} of {folder.name}, trained on "
                f"{'phantoms alone' if all(map(phantoms_alone, known)) else taught}, licence "
                f"{' · '.join(dict.fromkeys(terms))}, see {folder}/LICENSE.md, and CARDS.md for how much they err"
            )
        elif folder.name == str(weights):
            parts.append(f"{folder.name} has none yet")
    return f"networks that travel with the package: {'; '.join(parts)}"
