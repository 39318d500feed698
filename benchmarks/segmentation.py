"""Seconds for a SAX volume of 16 slices at 192×192, against plain fp32 eager of the same network, in one run.

    python benchmarks/segmentation.py [--weights runs/PROFILE/01_segmentation/weights/sax] [--width 32] [--threads 2]

A volume is one frame's 16 slices as prediction sees them: bf16, channels last, batch norm folded, one pass,
probabilities out; the other side is the network as it is written, fp32, contiguous. Rounds are interleaved and medians
taken. dice_change: mean over LV, myocardium and RV of |Dice(truth, fast) − Dice(truth, fp32)| on phantom hearts, masks
on the native grid at ED and ES. Without --weights a network of width 16 is trained on a phantom for about a minute.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from cmrlib.agreement.overlap import dice
from cmrlib.cohort.splits import split_subjects
from cmrlib.learning.inference import infer, optimise_for_inference
from cmrlib.learning.task import Task
from cmrlib.learning.training import set_threads_and_seed
from cmrlib.papers.ternausnet import Segmentation
from cmrlib.phantom import make_cohort

SLICES, SIDE = 16, 192
PHANTOM = {"frames": 4, "size": 112, "spacing_mm": 2.2, "slices": 8, "views": ("sax",), "workers": 1, "progress": False}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="weights of a trained SAX network, with or without suffix")
    parser.add_argument("--width", type=int, default=32, help="of the timed network where no weights are given")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=24, help="of the training where no weights are given")
    arguments = parser.parse_args()
    set_threads_and_seed(0, arguments.threads)
    given = None
    if arguments.weights:
        task, [model], _ = Task.load(arguments.weights)
        given = task, model
    timed = given[1] if given else Segmentation(width=arguments.width).network()
    fast, plain = time_volumes(timed.eval(), arguments.rounds)
    with tempfile.TemporaryDirectory() as folder:
        cohort = make_cohort(Path(folder) / "c", 15, **PHANTOM)
        change = dice_change(*(given or trained(cohort, arguments.epochs)), cohort)
    print(f"seconds={fast:.3f} speedup_vs_fp32={plain / fast:.2f} dice_change={change:.4f}")


def time_volumes(model, rounds) -> tuple[float, float]:
    """(seconds of a pass as in prediction, seconds of plain fp32 eager) a volume."""
    volume, network = torch.rand(SLICES, 3, SIDE, SIDE), optimise_for_inference(model)
    model = model.to(memory_format=torch.contiguous_format)
    stack = volume.contiguous(memory_format=torch.channels_last)  # as they come from `standard_slice`

    def plain():
        with torch.inference_mode():
            return model(volume).softmax(1)

    def fast():
        return infer(network, stack)

    taken = {plain: [], fast: []}
    for n in range(rounds + 2):
        for way, values in list(taken.items())[:: 1 if n % 2 else -1]:
            start = time.perf_counter()
            way()
            values += [time.perf_counter() - start] if n >= 2 else []
    seconds = {way: float(np.median(values)) for way, values in taken.items()}
    width = model.encoder[0][0].out_channels
    print(
        f"width {width}, {SLICES} slices {SIDE}×{SIDE}, {torch.get_num_threads()} threads, median of {rounds}: "
        f"plain fp32 {seconds[plain]:.3f} s, bf16 channels last folded {seconds[fast]:.3f} s "
        f"(best {min(taken[plain]):.3f} and {min(taken[fast]):.3f})",
        flush=True,
    )
    return seconds[fast], seconds[plain]


def trained(cohort, epochs):
    """(task, network of width 16 that has seen the phantom's training subjects)."""
    task = Segmentation(("sax",), 2.2, 96, 96, 16, frames_per_cine=2)
    return task, task.train(cohort, "truth", split_subjects(cohort.subjects), epochs, 2e-3).model


def dice_change(task, model, cohort) -> float:
    """Mean |difference| of Dice with the truth between both ways, on the cohort's test subjects."""
    split, rows = split_subjects(cohort.subjects), []
    ways = ((optimise_for_inference(model), "bf16"), (model, "fp32"))  # as it works, and as it is written
    for subject in split.index[split == "test"]:
        cine = cohort.cine(f"sub-{subject}_view-sax")
        truth = cohort.observer("truth").mask(cine.name).mask
        masks = [task.segment(one, cine, [cine.ed, cine.es], 1, precision=precision)[0] for one, precision in ways]
        rows += [[dice(mask[t], truth[t], code) for mask in masks] for t in (cine.ed, cine.es) for code in (1, 2, 3)]
    rows = np.array(rows)
    print(
        f"Dice on {len(rows) // 6} phantom hearts: {np.nanmean(rows[:, 0]):.4f} as it works, "
        f"{np.nanmean(rows[:, 1]):.4f} in plain fp32"
    )
    return float(np.nanmean(np.abs(rows[:, 0] - rows[:, 1])))


if __name__ == "__main__":
    main()
