"""Seconds for ED and ES of a 20-frame section (TempReg-Net) and for the mitral points of a 30-frame cine (MVnet, stages
1+2+2), each against plain fp32 of the same network in the same run.

    python benchmarks/motion.py [--weights runs/PROFILE/04_mvnet] [--threads 2] [--rounds 9]

Both sides go the whole way from a phantom's cine to its answer, cropping and decoding included; the plain side runs the
network as it is written, fp32, contiguous, and MVnet's stage 1 on every frame, of which `predict` needs the first only.
Sizes are the papers': TempReg-Net of 96 channels, 1024 features and 224² pixels, ResNet-50 on 160×160 and 118×162.
Rounds are interleaved and medians taken. mapse_change_mm: the largest difference in MAPSE between both ways on phantom
hearts; without --weights by networks trained for about two minutes.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from cmrlib.cohort.splits import split_subjects
from cmrlib.learning.training import set_threads_and_seed
from cmrlib.measures.valve import heart_motion, point_array
from cmrlib.papers.mvnet import Recipe, ViewTracker, load_trackers, standard_look, train_tracker
from cmrlib.papers.mvnet.network import MVNet
from cmrlib.papers.tempreg import Design, FrameFinder, Preprocessing
from cmrlib.papers.tempreg.network import TempRegNet
from cmrlib.phantom import make_cohort

HEARTS = {"size": 192, "spacing_mm": 1.4, "views": ("4ch",), "workers": 1, "progress": False}
LEARNERS = {"frames": 16, "size": 112, "spacing_mm": 2.2, "views": ("4ch", "2ch"), "workers": 1, "progress": False}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="folder of a run of 04_mvnet, for the change in MAPSE")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    set_threads_and_seed(0, arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        section, cine = (heart(Path(folder) / f"heart{frames}", frames) for frames in (20, 30))
        finders = [fast_finder(), plain_finder()]
        tempreg = paired([lambda f=f: f.predict(section) for f in finders], arguments.rounds, "TempReg-Net, 20 frames")
        trackers = [fast_tracker(), PlainTracker(fast_tracker())]
        ways = [lambda: trackers[0].stages(cine, every_stage=False), lambda: trackers[1].stages(cine)]
        mvnet = paired(ways, arguments.rounds, "MVnet, 30 frames, 1+2+2")
        learners = make_cohort(Path(folder) / "learners", 15, **LEARNERS)
        change = mapse_change_mm(load_trackers(arguments.weights) if arguments.weights else trained(learners), learners)
    print(
        f"tempreg_seconds={tempreg[0]:.3f} tempreg_speedup={tempreg[1] / tempreg[0]:.2f} "
        f"mvnet_seconds={mvnet[0]:.3f} mvnet_speedup={mvnet[1] / mvnet[0]:.2f} mapse_change_mm={change:.3f}"
    )


def heart(folder, frames):
    """A phantom's four-chamber cine."""
    cohort = make_cohort(folder, 1, frames=frames, **HEARTS)
    return cohort.cine(cohort.cines["cine"].iloc[0])


def paired(ways, rounds, what) -> list[float]:
    """Median seconds of each way, rounds interleaved."""
    taken = [[] for _ in ways]
    for n in range(rounds + 2):
        for i in range(len(ways))[:: 1 if n % 2 else -1]:
            start = time.perf_counter()
            ways[i]()
            taken[i] += [time.perf_counter() - start] if n >= 2 else []
    medians = [float(np.median(values)) for values in taken]
    print(
        f"{what}, {torch.get_num_threads()} threads, median of {rounds}: as it works {medians[0]:.3f} s, "
        f"plain fp32 {medians[1]:.3f} s",
        flush=True,
    )
    return medians


def fast_finder(precision="int8") -> FrameFinder:
    torch.manual_seed(0)
    design = Design(size=224, width=96, features=1024, hidden=1024)
    return FrameFinder(TempRegNet(design), Preprocessing(size=224, spacing_mm=1.4, frames=20), precision)


def plain_finder() -> FrameFinder:
    finder = fast_finder("fp32")
    finder.network = finder.model  # as it is written: nothing folded, contiguous
    return finder


def fast_tracker() -> ViewTracker:
    torch.manual_seed(0)
    looks = [standard_look("4ch", stage) for stage in (1, 2)]
    return ViewTracker(MVNet("resnet50"), looks[0], MVNet("resnet50"), looks[1])


class PlainTracker(ViewTracker):
    """The same networks as they are written: fp32, contiguous, nothing folded."""

    def __init__(self, tracker: ViewTracker):
        super().__init__(tracker.models[0], tracker.looks[0], tracker.models[1], tracker.looks[1], "fp32")
        self.networks = self.models

    def infer(self, stage, pictures):
        return super().infer(stage, pictures.contiguous())


def trained(cohort) -> dict[str, ViewTracker]:
    """Small trackers that have seen the phantom's training subjects."""
    recipe = Recipe(
        backbone="resnet10", head="maps", scale=0.5, epochs=8, frames=6, copies=1, batch_size=16, learning_rate=2e-3
    )
    split = split_subjects(cohort.subjects)
    return {view: train_tracker(cohort, "truth", view, split, recipe, seed=1)[0] for view in ("4ch", "2ch")}


def mapse_change_mm(trackers, cohort) -> float:
    """Largest |difference| of MAPSE between both ways, over all subjects."""
    plain = {view: PlainTracker(tracker) for view, tracker in trackers.items()}
    changes = []
    for _, rows in cohort.cines.groupby("participant_id"):
        cines = [cohort.cine(name) for name in rows["cine"]]
        mapse = [
            heart_motion({cine.view: (cine, points_of(way[cine.view], cine)) for cine in cines}, 20.0).metrics()[
                "mapse_mm"
            ]
            for way in (trackers, plain)
        ]
        changes.append(abs(mapse[0] - mapse[1]))
    print(f"MAPSE of {len(changes)} phantom hearts changes by {np.mean(changes):.3f} mm in the mean", flush=True)
    return float(np.max(changes))


def points_of(tracker, cine) -> np.ndarray:
    return point_array(tracker.predict(cine)[0], cine.view, cine.frames)


if __name__ == "__main__":
    main()
