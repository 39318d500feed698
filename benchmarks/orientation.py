"""Whether the order in which a file stores its pixels changes a result: it must not.

    python benchmarks/orientation.py [--study FOLDER_OF_DICOM] [--orders 8] [--threads 2]

A real examination (default: the sample) and a phantom are written as NIfTI in the eight orders of rows and columns,
every second one with its slices reversed, affines to match; each is ingested, and seen by every command: segment,
measure, valve, frames, classify, embed, report. The networks of classify and embed are untrained: what is asked is
whether they see the same. worst_dice: lowest Dice of a structure of a cine with the first order's, masks compared on
the canonical grid; worst_relative: largest difference of a number, relative to the first order's (or to 1, where that
is smaller); frames and yes-or-no answers must be equal.
"""

import argparse
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cmrlib.agreement.overlap import dice
from cmrlib.app.cli import predicting
from cmrlib.cine.display import Reorientation, reoriented
from cmrlib.cohort import Cohort
from cmrlib.cohort.files import write_json, write_nifti
from cmrlib.datasets import ingest, sample
from cmrlib.learning.training import set_threads_and_seed
from cmrlib.measures import features
from cmrlib.papers import cussp, heartmae
from cmrlib.phantom import make_cohort
from cmrlib.report import make_report
from cmrlib.report.scores import load_classifier

ORDERS = [
    Reorientation(crossed, n % 2 == 1, rows, columns)
    for n, (crossed, rows, columns) in enumerate(product((False, True), repeat=3))
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", help="a folder of DICOM of one person; default: the sample")
    parser.add_argument("--orders", type=int, default=8, help="how many of the eight orders")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    set_threads_and_seed(0, arguments.threads)
    worst_dice, worst_relative = 1.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        real = ingest("dicom", arguments.study or sample("patient1"), folder / "real", workers=1, progress=False)
        phantom = make_cohort(
            folder / "phantom",
            1,
            frames=12,
            size=112,
            spacing_mm=2.2,
            workers=1,
            progress=False,
            views=("sax", "4ch", "2ch", "3ch"),
        )
        untrained_networks(folder / "networks")
        for cohort in (real, phantom):
            looks = [
                look(stored(cohort, by, folder / f"{cohort.path.name}{n}"), folder / "networks")
                for n, by in enumerate(ORDERS[: arguments.orders])
            ]
            for by, one in zip(ORDERS[1:], looks[1:]):
                overlap, relative = difference(looks[0], one)
                print(f"{cohort.path.name}: {by}: Dice {overlap:.4f}, numbers {relative:.2e}")
                worst_dice, worst_relative = min(worst_dice, overlap), max(worst_relative, relative)
    print(f"worst_dice={worst_dice:.4f} worst_relative={worst_relative:.2e}")


def stored(cohort, by: Reorientation, folder, every: int = 1) -> Cohort:
    """A cohort's cines (every n-th frame) written as NIfTI in another order of pixels, and ingested from there."""
    for row in cohort.cines.itertuples():
        cine = cohort.cine(row.cine)
        cine = reoriented(cine.select(range(0, cine.frames, every)), by)
        path = folder / "files" / row.participant_id / f"{row.view}_{row.run}.nii"
        write_nifti(path, cine.pixels, cine.affine, cine.frame_step_ms)
        side = {}
        if cine.frame_times_ms is not None:
            side = {"FrameTimes": (cine.frame_times_ms / 1000).tolist(), "RRInterval": (cine.rr_ms / 1000).tolist()}
        write_json(side, path.with_suffix(".json"))
    return ingest("nifti", folder / "files", folder / "cohort", workers=1, progress=False)


def untrained_networks(folder):
    """A classifier and an encoder with random weights."""
    torch.manual_seed(0)
    task = cussp.MitralRegurgitation(size=32, frames=8, width=4, hidden=8)
    card = {"label": "mr", "synthetic": True, "cohort": "none", "threshold": 0.5}
    task.save(task.network(), folder / "classifier" / "mr", **card)
    sizes = {"size": 64, "frames": 8, "crop_low": 72, "crop_high": 80, "patch": 8, "width": 32, "depth": 1, "heads": 2}
    task = heartmae.HeartMAE(**sizes, sax_share=1.0, decoder_width=16, decoder_depth=1, decoder_heads=2)
    task.save(task.network(), folder / "encoder" / "plain", synthetic=True, cohort="none")


def look(cohort: Cohort, networks, weights="real", n_tta: int = 3) -> dict:
    """What every command says of a cohort: name → masks by cine and structure, or a table."""
    made = cohort.path.parent / "made"
    predicting.draw(cohort, predicting.load_segmenters(weights), made / "ternausnet", n_tta=n_tta)
    seen = Cohort.open(cohort.path, observers=[made / "ternausnet"])
    observer = seen.observer("ternausnet")
    masks = {
        row.cine: np.array(observer.mask(row.cine).mask) for row in seen.cines.itertuples() if observer.has(row.cine)
    }
    report, tracking = make_report(seen, made / "report.html", weights), predicting.load_mvnet(weights)
    predicting.draw(seen, tracking, made / "mvnet")
    classifier = load_classifier(networks / "classifier" / "mr")
    return {
        "masks": masks,
        "measure": features(seen, "ternausnet", phases="curve", walls=True),
        "valve": predicting.write_valve(seen, next(iter(tracking.values())), made / "mvnet"),
        "frames": predicting.draw(seen, predicting.load_tempreg(weights), made / "tempreg")[0],
        "classify": predicting.classify(seen, "ternausnet", classifier, made / "scores"),
        "embed": predicting.embed(seen, networks / "encoder", made / "embeddings"),
        "report": pd.DataFrame(report["measures"]),
    }


def difference(one: dict, other: dict) -> tuple[float, float]:
    """(lowest Dice of a structure of a cine, largest relative difference of a number). Raises AssertionError where
    texts, whole numbers or columns differ, or a number is missing on one side only."""
    assert set(one["masks"]) == set(other["masks"])
    pairs = {
        name: [m.reshape(-1, *m.shape[2:]) for m in (mask, other["masks"][name])] for name, mask in one["masks"].items()
    }  # all frames as one volume
    overlaps = [dice(a, b, code) for a, b in pairs.values() for code in np.unique(a) if code not in (0, 255)]
    relative = [0.0]
    for name in sorted(set(one) - {"masks"}):
        a, b = one[name], other[name]
        assert list(a) == list(b) and len(a) == len(b), f"{name}: another table"
        for column in a.columns.drop([c for c in ("seconds", "bytes", "digest") if c in a]):
            if pd.api.types.is_float_dtype(a[column]):
                x, y = a[column].to_numpy(float), b[column].to_numpy(float)
                assert (np.isnan(x) == np.isnan(y)).all(), f"{name}.{column}: n/a on one side only"
                relative.append(np.nanmax(np.abs(x - y) / np.maximum(np.abs(x), 1), initial=0))
            else:
                assert a[column].astype(str).tolist() == b[column].astype(str).tolist(), f"{name}.{column} differs"
    return float(np.min(overlaps, initial=1)), float(max(relative))


if __name__ == "__main__":
    main()
