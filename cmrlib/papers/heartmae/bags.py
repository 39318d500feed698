"""Every model's features of a cohort: pretrained encoders and comparators."""

from pathlib import Path

import pandas as pd

from cmrlib.papers.heartmae.clips import rows_digest
from cmrlib.papers.heartmae.comparators import COMPARATORS, MotionPicture, NaturalVideo, principal_bags, table_bags
from cmrlib.papers.heartmae.features import Embedder, feature_shards, learn_axes, make_bags
from cmrlib.papers.heartmae.learning import VARIANTS, load_model, random_model, weights_digest
from cmrlib.papers.heartmae.targets import expert_features


def open_embedders(folder, precision: str = "bf16", crops: int = 3, times: int = 2) -> dict[str, Embedder]:
    """Variant → embedder of the weights of 07_heartmae_pretrain, seed by seed (`flow`, `flow_seed2`, …); see Embedder.

    Raises FileNotFoundError where there are none.
    """
    found = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        if path.stem.split("_seed")[0] in VARIANTS:
            model, preprocessing, _ = load_model(path)
            found[path.stem] = Embedder(model, preprocessing, precision, crops, times)
            found[path.stem].key = weights_digest(path)
    if not found:
        raise FileNotFoundError(f"no weights of {', '.join(VARIANTS)} in {folder}; run 07_heartmae_pretrain first")
    return found


def model_bags(cohort, sections, embedders: dict, state) -> dict:
    """Model → bags, features cached in `state`."""
    return {
        name: make_bags(feature_shards(cohort, sections, one, state, one.key), sections)
        for name, one in embedders.items()
    }


def untrained(first: Embedder, cohort, sections: pd.DataFrame) -> Embedder:
    """The same network with random weights; its axes, like a trained one's, from the training sections."""
    one = Embedder(random_model(first.model), first.preprocessing, first.precision, first.crops, first.times)
    learn_axes(one, cohort, sections)
    one.key = f"random {first.model.design} {first.preprocessing} {rows_digest(sections[sections['split'] == 'train'])}"
    return one


def comparator_bags(
    cohort,
    sections,
    embedders: dict,
    names,
    truth: pd.DataFrame,
    split: pd.Series,
    state,
    natural_video="",
    components: int = 32,
) -> dict:
    """Comparator → bags; truth: of `cardiac_targets`, for the expert's 18. Raises ValueError for an unknown name."""
    if unknown := set(names) - set(COMPARATORS):
        raise ValueError(f"unknown comparators {sorted(unknown)}; there are {', '.join(COMPARATORS)}")
    first, train, found = next(iter(embedders.values())), split.index[split == "train"], {}
    for name in names:
        if name == "expert":
            found[name] = table_bags(expert_features(truth), train)
            continue
        if name == "random":
            one = untrained(first, cohort, sections)
        elif name == "pca":
            one = MotionPicture(first.preprocessing)
        else:
            one = NaturalVideo(natural_video, first.preprocessing, crops=first.crops, times=first.times)
        plain = f"{name} {first.model.design} {first.preprocessing} {natural_video} {first.crops}×{first.times}"
        key = one.key if name == "random" else plain
        bags = make_bags(feature_shards(cohort, sections, one, state, key), sections)
        found[name] = principal_bags(bags, train, components) if name == "pca" else bags
    return found
