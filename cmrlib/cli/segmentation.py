"""Training of TernausNet on several cards or machines; see `cmrlib.distributed`.

    torchrun --nproc-per-node 4 -m cmrlib.cli.segmentation --profile paper --cohort COHORT --out FOLDER

The settings are those of 01_segmentation under the profile, `batch_size` that of all processes, for its first fold; a
weights file a view comes to FOLDER, which `cmr segment` and 01_segmentation take as `weights`. Started again, it goes
on where it was.
"""

import argparse
from pathlib import Path

import torch

from cmrlib.blocks import sample_table
from cmrlib.cohort import Cohort
from cmrlib.distributed import Together, join
from cmrlib.files import write_json
from cmrlib.runs import resolve
from cmrlib.splits import committed_list, split_subjects
from cmrlib.ternausnet import Preprocessing, Segmenter
from cmrlib.ternausnet.learning import segmentation_learner
from cmrlib.training import fit, set_threads_and_seed


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="paper")
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(words)
    train(Cohort.open(given.cohort), given.out, resolve("01_segmentation", given.profile))


def train(cohort, out, p: dict) -> dict:
    """View → loss curve, of 01_segmentation's parameters `p`; this process takes its share of every batch, the first
    one writes weights and losses.json."""
    rank, _ = join()
    fold, losses = p["folds"][0], {}
    split = split_subjects(cohort.subjects, fold, lists=committed_list(p["split_list"]))
    for view in [view for view in p["views"] if view in set(cohort.cines["view"])]:
        set_threads_and_seed(p["seed"], p["threads"])
        samples = sample_table(cohort, p["observer"], view, split, p["sax_frames"] if view == "sax" else 0)
        learn, preprocessing = _learner(cohort, samples, view, p)
        settings = {"cohort": cohort.digest, "rows": len(samples)} | {name: p[name] for name in (
            "observer", "width", "spacing_mm", "size", "batch_size", "folds")}
        fit(learn, p["epochs"], p["learning_rate"], p["seed"], p["precision"], Path(out) / "state" / f"{view}.pt",
            settings, f"TernausNet {view}", validate_every=max(1, p["epochs"] // 8), callbacks=[Together(p["seed"])])
        losses[view] = [list(row) for row in learn.recorder.values]
        if rank == 0:
            structures = learn.loss_func.structures
            Segmenter(learn.model, preprocessing, structures, p["precision"]).save(
                Path(out) / view, cohort=cohort.description["Name"], synthetic=cohort.synthetic, seed=p["seed"],
                fold=fold, epochs=p["epochs"], cohort_digest=cohort.digest)
            write_json(losses, Path(out) / "losses.json")
    return losses


def _learner(cohort, samples, view, p):
    """(learner of the notebook's network, what its weights must know of pixels)."""
    torch.manual_seed(p["seed"])
    preprocessing = Preprocessing(view, p["spacing_mm"], p["size"])
    start = Path(p["start_from"]) / view if p["start_from"] else None
    learn = segmentation_learner(cohort, p["observer"], samples, preprocessing, p["width"], p["batch_size"],
                                 p["validation_size"], start, p["imagenet"] or None)
    return learn, preprocessing


if __name__ == "__main__":
    main()
