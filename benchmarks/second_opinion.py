"""The shipped networks on the real examination beside another program's outlines: a second opinion, not a truth.

    python benchmarks/second_opinion.py [--weights real] [--whole]

Read is samples/patient1, or with --whole the unreduced examination study/patient1.tar.xz below $CMR_DATA_DIR. Beside it
are laid the outlines and mitral points of study/patient1_contours.csv.gz (biv-me's own networks, whole pixels, nowhere
stated to be corrected by hand). They come in patient coordinates and find their cine and slice by geometry. Dice of a
view counts all its slices with outlines together, frame by frame; the last line has medians over frames and views.
Mitral points: distance in mm, median over frames, views and points. MAPSE: ours minus theirs, both by `heart_motion`.
"""

import argparse
import os
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from cmrlib.agreement.overlap import dice
from cmrlib.cine.anatomy import MITRAL_POINTS, NOT_ANNOTATED, STRUCTURES, VIEW_STRUCTURES
from cmrlib.datasets import sample
from cmrlib.datasets.contours import polygon_mask
from cmrlib.learning.training import set_threads_and_seed
from cmrlib.learning.weightsets import places
from cmrlib.measures.valve import heart_motion, point_array
from cmrlib.papers.mvnet import MitralTracking
from cmrlib.report import examine

THEIRS = ("lv", "myo", "rv")
FARTHEST_MM = 2.0
"""A point this far out of a slice's plane is not of it."""
GAP_DEG = 20.0
"""Where neighbours of an epicardial outline lie farther apart, seen from the cavity, it is open: there the septum's
right side closes it."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="real", help="a profile's runs, or a shipped set; default real")
    parser.add_argument("--whole", action="store_true", help="the unreduced examination in place of the sample")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    study = Path(os.environ.get("CMR_DATA_DIR", "nowhere")) / "study"
    if not (study / "patient1_contours.csv.gz").exists():
        print(
            "CMR_DATA_DIR names no folder with study/patient1_contours.csv.gz, the other program's outlines",
            file=sys.stderr,
        )
        sys.exit(2)
    set_threads_and_seed(0, arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        source = unpacked(study, folder) if arguments.whole else sample("patient1")
        cohort = examine(source, Path(folder) / "found", arguments.weights).cohort
        theirs = placed(cohort, pd.read_csv(study / "patient1_contours.csv.gz"))
        scores, pairs = outlines(cohort, theirs), valves(cohort, theirs)
        apart, smooth = points_mm(pairs), smoothing_ms(arguments.weights)
        ours_mm, theirs_mm = (
            heart_motion({view: (one[0], one[side]) for view, one in pairs.items()}, smooth).metrics()["mapse_mm"]
            for side in (1, 2)
        )
    print("a second opinion, not a truth: another program's outlines, not stated to be corrected by hand")
    print(scores.groupby(["view", "structure"])["dice"].describe()[["count", "min", "50%", "max"]].round(3).to_string())
    print(apart.groupby(["view", "point"])["mm"].describe()[["count", "min", "50%", "max"]].round(1).to_string())
    unseen = sorted(set(theirs.loc[theirs["kind"].str.contains("LV_"), "view"]) - set(scores["view"]))
    print(f"views outlined by them and not by us: {', '.join(unseen) or 'none'}")
    print(f"MAPSE: ours {ours_mm:.1f} mm, theirs {theirs_mm:.1f} mm")
    medians = scores.groupby("structure")["dice"].median()
    print(
        *[f"dice_{name}={medians.get(name, np.nan):.3f}" for name in THEIRS],
        f"points_mm={apart['mm'].median():.2f}",
        f"mapse_difference_mm={ours_mm - theirs_mm:.2f}",
        f"views={'+'.join(scores['view'].unique())}",
    )


def smoothing_ms(weights) -> float:
    return MitralTracking.load(places(weights, "04_mvnet")[0])[0].smooth_ms


def unpacked(study, folder) -> Path:
    with tarfile.open(study / "patient1.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return Path(folder) / "patient1"


def placed(cohort, table) -> pd.DataFrame:
    """The other program's points in the cohort's own pixels: cine, view, slice, frame, kind, column_px, row_px.

    table: series, frame, kind and x_mm, y_mm, z_mm (LPS). Of each series those are kept that lie on a cine's slices.
    """
    found = []
    for _, rows in table.groupby("series"):
        ras = rows[["x_mm", "y_mm", "z_mm"]].to_numpy() * (-1, -1, 1)
        for row in cohort.cines.itertuples():
            cine = cohort.cine(row.cine)
            column, line, depth = cine.to_pixels(ras).T
            k = np.rint(depth)
            if (np.abs(depth - k) * cine.spacing_mm[0]).max() < FARTHEST_MM and 0 <= k.min() <= k.max() < cine.slices:
                found.append(
                    rows[["frame", "kind"]].assign(
                        cine=row.cine, view=row.view, slice=k.astype(int), column_px=column, row_px=line
                    )
                )
    return pd.concat(found, ignore_index=True)


def outlines(cohort, theirs) -> pd.DataFrame:
    """Rows view, frame, structure, dice: our masks against theirs, over the slices where they outlined a structure."""
    rows, looked = [], cohort.observer("ternausnet")
    for (name, view, t), drawn in theirs.groupby(["cine", "view", "frame"]):
        if not looked.has(name):
            continue
        ours = looked.mask(name).mask[t]
        reference = {one: np.full(ours.shape, NOT_ANNOTATED, np.uint8) for one in THEIRS}
        for k, points in drawn.groupby("slice"):
            for one, mask in masks(points, ours.shape[1:]).items():
                reference[one][k] = np.where(mask, STRUCTURES[one], 0)
        rows += [
            {"view": view, "frame": t, "structure": one, "dice": dice(ours, reference[one], STRUCTURES[one])}
            for one in set(THEIRS) & set(VIEW_STRUCTURES[view])
            if (reference[one] != NOT_ANNOTATED).any()
        ]
    return pd.DataFrame(rows)


def masks(points, shape) -> dict:
    """Structure → mask (rows, columns) of one image's outlines; what was not outlined is absent.

    LV cavity: endocardium. Myocardium: epicardium without it. RV: free wall and septum, closed by a straight line.
    """
    place = points[["column_px", "row_px"]].to_numpy()
    kinds = points["kind"].str.removeprefix("SAX_").str.removeprefix("LAX_").to_numpy()
    endo, epi, septum, wall = (
        place[kinds == kind] for kind in ("LV_ENDOCARDIAL", "LV_EPICARDIAL", "RV_SEPTUM", "RV_FREEWALL")
    )
    found = {}
    if len(endo) > 2 and len(epi) > 2:
        found["lv"] = polygon_mask(endo, shape)
        found["myo"] = polygon_mask(closed(epi, septum, endo.mean(0)), shape) & ~found["lv"]
    if len(wall) > 2:
        wall = in_one_piece(wall)
        septum = in_one_piece(septum) if len(septum) else septum
        if len(septum) and np.hypot(*(wall[-1] - septum[0])) > np.hypot(*(wall[-1] - septum[-1])):
            septum = septum[::-1]
        found["rv"] = polygon_mask(np.vstack([wall, septum]), shape)
    return found


def closed(epi, septum, centre) -> np.ndarray:
    """The epicardium around `centre`, by angle, with the septum's points where it is open."""

    def angle(points):
        return np.rad2deg(np.arctan2(*(points - centre).T[::-1]))

    around = np.sort(angle(epi))
    gaps = np.diff(np.r_[around, around[0] + 360])
    ends = np.r_[around, around[:1] + 360]
    inside = [
        point
        for point, at in zip(septum, angle(septum))
        if any(low < at + turn < low + gap for low, gap in zip(ends, gaps) if gap > GAP_DEG for turn in (0, 360))
    ]
    both = np.vstack([epi, *inside]) if inside else epi
    return both[np.argsort(angle(both))]


def in_one_piece(points) -> np.ndarray:
    """Points of an open line that were listed round a ring, from one of its ends to the other."""
    jumps = np.hypot(*(np.roll(points, -1, axis=0) - points).T)
    return np.roll(points, -(int(jumps.argmax()) + 1), axis=0)


def valves(cohort, theirs) -> dict:
    """View → (cine, our mitral points, theirs), (frames, 2, 2) as (column, row); theirs in the order that suits."""
    found, looked = {}, cohort.observer("mvnet")
    for (name, view), rows in theirs[theirs["kind"] == "MITRAL_VALVE"].groupby(["cine", "view"]):
        if view not in MITRAL_POINTS or not looked.has(name, "points.tsv"):
            continue
        cine = cohort.cine(name)
        ours, other = point_array(looked.points(name), view, cine.frames), np.full((cine.frames, 2, 2), np.nan)
        for t, pair in rows.groupby("frame"):
            pair = pair[["column_px", "row_px"]].to_numpy()
            other[t] = min((pair, pair[::-1]), key=lambda one: np.nansum(np.hypot(*(one - ours[t]).T)))
        found[view] = cine, ours, other
    return found


def points_mm(pairs) -> pd.DataFrame:
    """Rows view, point, frame, mm: how far our mitral points lie from theirs."""
    return pd.DataFrame(
        [
            {"view": view, "point": name, "frame": t, "mm": mm}
            for view, (cine, ours, other) in pairs.items()
            for name, line in zip(
                MITRAL_POINTS[view], np.hypot(*np.moveaxis((ours - other) * cine.spacing_mm[:0:-1], -1, 0)).T
            )
            for t, mm in enumerate(line)
        ]
    )


if __name__ == "__main__":
    main()
