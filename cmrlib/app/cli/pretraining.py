"""Pretraining of HeartMAE on several cards or machines; see `cmrlib.learning.distributed`.

    torchrun --nproc-per-node 4 -m cmrlib.app.cli.pretraining --profile paper --cohort COHORT --out FOLDER

The settings are those of 07_heartmae_pretrain under the profile, `batch_size` that of all processes. FOLDER
is for the parameter `pretrained` of 08_heartmae_predict, as a run of 07 is. Started again, it goes on where it was.
"""

import argparse
from copy import deepcopy
from pathlib import Path

from cmrlib.app.runs import resolve
from cmrlib.cohort import Cohort
from cmrlib.cohort.files import write_json
from cmrlib.cohort.splits import committed_list, split_subjects
from cmrlib.learning.distributed import Together, barrier, join
from cmrlib.learning.training import set_threads_and_seed
from cmrlib.papers.heartmae import (
    Design,
    Embedder,
    Flow,
    Preprocessing,
    Recipe,
    flow_shards,
    learn_axes,
    pretrain,
    save_model,
    section_table,
)
from cmrlib.papers.heartmae.distributed import WholeBatchMasks


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="paper")
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(words)
    train(Cohort.open(given.cohort), given.out, resolve("07_heartmae_pretrain", given.profile))


def train(cohort, out, p: dict) -> dict:
    """All variants of 07_heartmae_pretrain's parameters `p`, this process its share; the first one writes weights."""
    rank, world = join()
    set_threads_and_seed(p["seeds"][0], p["threads"])
    preprocessing = Preprocessing(p["size"], p["frames"], p["crop_low"], p["crop_high"], p["spacing_mm"])
    design = Design(
        p["size"],
        p["frames"],
        p["patch"],
        p["tubelet"],
        p["width"],
        p["depth"],
        p["heads"],
        p["decoder_width"],
        p["decoder_depth"],
        p["decoder_heads"],
        p["patch_norm"],
    )
    split = split_subjects(
        cohort.subjects, p["fold"], p["n_folds"], p["validation_per_group"], lists=committed_list(p["split_list"])
    )
    sections = section_table(cohort, split, p["views"] or None, p["sax_share"])
    state = Path(out) / "state"
    state.mkdir(parents=True, exist_ok=True)
    settings = Flow(p["flow_step"], p["flow_sigma_px"], p["size"] if p["flow_resized"] else 0)
    flow_shards(cohort, sections, state, settings, share=(rank, world))
    barrier()
    flow = flow_shards(cohort, sections, state, settings)
    recipe = Recipe(
        p["epochs"],
        p["variant_epochs"],
        p["seeds"][0],
        p["base_rate"],
        p["batch_size"],
        p["repeats"],
        p["accumulate"],
        precision=p["precision"],
        asked=p["asked_share"],
    )
    if rank == 0:
        (Path(out) / "tables").mkdir(exist_ok=True)
        split.rename("split").rename_axis("participant_id").to_csv(Path(out) / "tables" / "split.csv")
    models, losses = {}, {}
    for variant in sorted({"plain", *p["variants"]}, key=lambda name: name != "plain"):
        models[variant], learner = pretrain(
            cohort,
            sections,
            preprocessing,
            design,
            variant,
            recipe,
            state,
            flow if variant == "flow" else None,
            None if variant == "plain" else models["plain"],
            [Together(recipe.seed), WholeBatchMasks(recipe.seed)],
        )
        losses[variant] = [list(row) for row in learner.recorder.values]
        if rank == 0:
            kept = deepcopy(models[variant])  # what others start from is alike in all processes
            learn_axes(Embedder(kept, preprocessing, p["precision"]), cohort, sections)
            save_model(
                kept,
                preprocessing,
                Path(out) / "weights" / variant,
                variant=variant,
                processes=world,
                cohort=cohort.description["Name"],
                synthetic=cohort.synthetic,
                cohort_digest=cohort.digest,
            )
            write_json(losses, Path(out) / "losses.json")
    return models


if __name__ == "__main__":
    main()
