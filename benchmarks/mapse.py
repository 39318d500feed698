"""Whether networks for mitral points agree on MAPSE of real hearts: a gate before they are shipped.

    python benchmarks/mapse.py real runs/dsb2015/04c_mvnet_real runs/dsb2015/04c_mvnet_real/weights/seed_2

Two real examinations with 2CH and 4CH: MVnet's sample (below CMR_DATA_DIR), and that of the biv-me project, whose own
networks placed mitral points in every frame (a second opinion, not a truth). Prints MAPSE of each view by each network,
their range, and the distance of the points from those of biv-me; exits with 1 where a range is wider than 1.5 mm.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from cmrlib import datasets, measures
from cmrlib.cine.anatomy import MITRAL_POINTS
from cmrlib.learning.weightsets import places
from cmrlib.papers.mvnet import MitralTracking

WIDEST_MM = 1.5
"""MAPSE of one view by several networks must not differ by more (ours: about the paper's SD between two people)."""


def contoured(path, cine) -> np.ndarray:
    """Mitral points (frames, 2, 2) of biv-me in the pixels of a cine, named as that cine's are; NaN where it has none.

    path: `patient1_contours.csv.gz`, in patient coordinates (LPS mm).
    """
    table, points = pd.read_csv(path), np.full((cine.frames, 2, 2), np.nan)
    rows = table[(table["kind"] == "MITRAL_VALVE") & (table["view"] == cine.view)]
    to_pixel = np.linalg.inv(cine.affine)
    for t, pair in rows.groupby("frame"):
        ras = pair[["x_mm", "y_mm", "z_mm"]].to_numpy() * [-1, -1, 1]
        points[t] = (ras @ to_pixel[:3, :3].T + to_pixel[:3, 3])[:, :2]
    return points


def named_alike(points, like) -> np.ndarray:
    """Points whose two names were exchanged where that brings them nearer to others in most frames."""
    straight, crossed = (np.nanmedian(np.linalg.norm(one - like, axis=-1)) for one in (points, points[:, ::-1]))
    return points if straight <= crossed else points[:, ::-1]


def examinations(data_dir, folder):
    """Name of each examination → its cohort, ingested below `folder`."""
    sources = {"mvnet_sample": data_dir / "mvnet_sample", "biv-me": datasets.sample("patient1")}
    return {n: datasets.ingest("dicom", path, folder / n, workers=1, progress=False) for n, path in sources.items()}


def measured(cohort, networks, contours=None) -> pd.DataFrame:
    """One row per view and network: view, network, mapse_mm, confidence, and the median distance from biv-me's points
    in mm. networks: name → of `MitralTracking.load`."""
    rows = []
    for one in cohort.cines[cohort.cines["view"].isin(list(MITRAL_POINTS))].itertuples():
        cine, reference = cohort.cine(one.cine), None
        if contours is not None:
            reference = contoured(contours, cine)
        for name, (task, models, _) in networks.items():
            if one.view not in task.views:
                continue
            found, confidence = task.track(models[0] if len(models) == 1 else models, cine)
            row = {"view": one.view, "network": name, "mapse_mm": mapse_mm(cine, found, task.smooth_ms)}
            if reference is not None:
                apart = (found - named_alike(reference, found)) * np.array(cine.spacing_mm[:0:-1])
                row["from_biv-me_mm"] = float(np.nanmedian(np.linalg.norm(apart, axis=-1)))
            rows.append(row | {"confidence": float(np.nanmedian(confidence))})
        if reference is not None:
            rows.append({"view": one.view, "network": "biv-me", "mapse_mm": mapse_mm(cine, reference, 0.0)})
    return pd.DataFrame(rows)


def mapse_mm(cine, points, smooth_ms) -> float:
    motion = measures.valve.heart_motion({cine.view: (cine, points)}, smooth_ms)
    return motion.mapse_by_view_mm()[cine.view]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="+", help="a shipped set, a run of 04_mvnet or 04c_mvnet_real, or its weights")
    weights = parser.parse_args().weights
    data_dir = Path(os.environ.get("CMR_DATA_DIR") or parser.error("set CMR_DATA_DIR to the folder of real data"))
    networks = {name: MitralTracking.load(places(name, "04_mvnet")[0]) for name in weights}
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        for name, cohort in examinations(data_dir, Path(folder)).items():
            contours = data_dir / "study" / "patient1_contours.csv.gz" if name == "biv-me" else None
            tables.append(measured(cohort, networks, contours).assign(examination=name))
    table = pd.concat(tables, ignore_index=True)
    print(table.round(2).to_string(index=False))
    own = table[table["network"] != "biv-me"].groupby(["examination", "view"])["mapse_mm"]
    widest = own.agg(np.ptp)
    print(f"\nrange of MAPSE between networks (mm), at most {WIDEST_MM}:\n{widest.round(2).to_string()}")
    sys.exit(int((widest > WIDEST_MM).any()))


if __name__ == "__main__":
    main()
