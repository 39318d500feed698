"""Errors of points, of the valve's plane and of its motion between any two observers: figures 4 to 8, tables 3 to 5."""

from itertools import product

import numpy as np
import pandas as pd

from cmrlib import agreement
from cmrlib.cine.anatomy import MITRAL_POINTS
from cmrlib.cohort import Annotation, Observer
from cmrlib.datasets.mitral_edge import unordered_distance
from cmrlib.measures.valve import point_array, points_table, valve_tables
from cmrlib.papers.mvnet.geometry import spacing_or_one

CLINICAL = ("mapse_mm", "sprime_cm_s", "eprime_cm_s", "aprime_cm_s")
GROSS_MM = 10.0
"""A mean distance of both points beyond which an image counts as a gross failure (ours)."""
MOTION = {"displacement": "displacement_mm", "mapse": "mapse_mm", "eprime": "eprime_cm_s"}


def point_errors(cohort, reference: str, test: str, subjects=None) -> pd.DataFrame:
    """One row per frame that both observers annotated, on the native images: participant_id, session, cine, view,
    frame, euclid_mm (mean of the two points), first_mm, second_mm (anterior or lateral; inferior or septal), angle_deg
    between the two planes (0 to 90); in percent of the reference's annulus named_pct (euclid), annulus_pct (the same,
    whichever way round is nearer) and middle_pct (between the middles).

    Where pixel size is lost, mm are NaN. Raises ValueError where nothing is left.
    """
    a, b, tables = cohort.observer(reference), cohort.observer(test), []
    cines = cohort.cines[cohort.cines["view"].isin(list(MITRAL_POINTS))]
    cines = cines if subjects is None else cines[cines["participant_id"].isin(set(subjects))]
    for row in cines.itertuples():
        if not (a.has(row.cine, "points.tsv") and b.has(row.cine, "points.tsv")):
            continue
        cine = cohort.cine(row.cine)
        want, got = (point_array(one.points(row.cine), row.view, cine.frames) * spacing_or_one(cine) for one in (a, b))
        frames = np.flatnonzero(np.isfinite(want).all((1, 2)) & np.isfinite(got).all((1, 2)))
        want, got = want[frames], got[frames]
        apart = np.hypot(*np.moveaxis(got - want, -1, 0))  # (frames, 2)
        mm = apart * (1 if cine.spacing_known else np.nan)
        nearest = np.array([unordered_distance(*pair).mean() for pair in zip(got, want)])
        table = pd.DataFrame({"frame": frames, "euclid_mm": mm.mean(1), "first_mm": mm[:, 0], "second_mm": mm[:, 1]})
        share = 100 / np.hypot(*(want[:, 1] - want[:, 0]).T)
        table = table.assign(angle_deg=plane_angle_deg(got, want), annulus_pct=share * nearest)
        table = table.assign(named_pct=share * apart.mean(1), middle_pct=share * np.hypot(*(got - want).mean(1).T))
        keys = {name: getattr(row, name) for name in ("participant_id", "session", "cine", "view")}
        tables.append(pd.DataFrame(keys, index=table.index).join(table))
    if not sum(map(len, tables)):
        raise ValueError(f"no frame has points of both {reference!r} and {test!r}")
    return pd.concat(tables, ignore_index=True)


def plane_angle_deg(a, b) -> np.ndarray:
    """Inner angle (frames,) between the lines through two pairs of points (frames, 2, 2) mm: 0 to 90°."""
    one, two = (np.subtract(p[:, 1], p[:, 0]) for p in (a, b))
    cross = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    return np.degrees(np.arctan2(np.abs(cross), np.abs((one * two).sum(1))))


def compare_observers(cohort, reference: str, test: str, smooth_ms: float, reference_smooth_ms=None, subjects=None):
    """(points, displacement, metrics, compared) of two observers: tables 3 to 5 and figures 7 and 8 in one call.

    points: of `point_errors`. displacement: participant_id, session, frame, reference, test (mm, mean of the views).
    metrics: both observers' valve_metrics with a column observer. compared: `agreement.compare` of MAPSE, s', e', a'
    and, with repeats within a heart, of displacement. reference_smooth_ms: where the reference has its own smoothing.
    """
    own = smooth_ms if reference_smooth_ms is None else reference_smooth_ms
    motion_a, metrics_a = valve_tables(cohort, reference, own, subjects)
    motion_b, metrics_b = valve_tables(cohort, test, smooth_ms, subjects)
    keys = ["participant_id", "session", "frame"]
    frames = pd.concat([motion_a.assign(observer=reference), motion_b.assign(observer=test)], ignore_index=True)
    frames = frames.loc[frames["view"] == "mean", [*keys, "observer", "displacement_mm"]].fillna({"session": ""})
    pairs = agreement.observer_pairs(frames, reference, test, "displacement_mm", on=keys)
    pairs = pairs[pairs["missing"] == ""].drop(columns="missing").reset_index(drop=True)
    both = sorted(set(pairs["participant_id"]))
    metrics = pd.concat([metrics_a.assign(observer=reference), metrics_b.assign(observer=test)], ignore_index=True)
    metrics = metrics[metrics["participant_id"].isin(both)].reset_index(drop=True)
    compared = [
        agreement.compare(metrics, reference, test, list(CLINICAL)),
        agreement.compare(frames.merge(pairs[keys]), reference, test, ["displacement_mm"], on=keys),
    ]
    return point_errors(cohort, reference, test, both), pairs, metrics, pd.concat(compared, ignore_index=True)


def summarise(points: pd.DataFrame, compared: pd.DataFrame) -> dict:
    """One row of figures 4 to 6 from tables of `compare_observers`: means with intervals over subjects of euclid_mm,
    angle_deg and both points of each view, medians, SDs over frames, gross (share of images off by more than GROSS_MM),
    ICCs of displacement, MAPSE and e', n, n_images."""
    parts = [("euclid_mm", points, "euclid_mm"), ("angle_deg", points, "angle_deg")]
    for view, part in points.groupby("view", sort=False):
        first, second = (f"{view}_{name}_mm" for name in MITRAL_POINTS[view])
        parts += [(first, part, "first_mm"), (second, part, "second_mm"), (f"{view}_angle_deg", part, "angle_deg")]
    row = {}
    for name, part, column in parts:
        one = agreement.bootstrap(part[column], np.mean, part["participant_id"]).iloc[0]
        row |= {name: one["estimate"], f"{name}_low": one["low"], f"{name}_high": one["high"]}
        row |= {f"{name}_sd": part[column].std(), f"{name}_median": part[column].median()}
    row["gross"] = (points["euclid_mm"] > GROSS_MM).mean()
    iccs = {name: value for name, value in motion_metrics(compared).items() if "_icc" in name}
    return row | iccs | {"n": points["participant_id"].nunique(), "n_images": len(points)}


def motion_metrics(compared: pd.DataFrame) -> dict:
    """displacement_icc, displacement_bias_mm, mapse_icc, mapse_bias_mm, eprime_icc and eprime_bias_cm_s, each with _low
    and _high. compared: of `compare_observers`."""
    rows, metrics = compared.set_index("measure"), {}
    for (name, measure), end in product(MOTION.items(), ("", "_low", "_high")):
        metrics[f"{name}_icc{end}"] = rows.loc[measure, f"icc_a1{end}"]
        metrics[f"{name}_bias_{measure.split('_', 1)[1]}{end}"] = rows.loc[measure, f"bias{end}"]
    return metrics


def mean_position(cohort, reference: str, subjects, folder, view: str = "4ch"):
    """Write an observer that always answers with the mean place of the training subjects, as shares of the image."""
    observer, places = cohort.observer(reference), []
    cines = cohort.cines[cohort.cines["view"] == view]
    for row in cines[cines["participant_id"].isin(list(subjects))].itertuples():
        if observer.has(row.cine, "points.tsv"):
            points = point_array(observer.points(row.cine), view, row.frames)
            places += list(points[np.isfinite(points).all((1, 2))] / [row.columns, row.rows])
    for row in cines.itertuples():
        points = np.repeat([np.mean(places, axis=0) * [row.columns, row.rows]], row.frames, 0)
        cine = cohort.cine(row.cine)
        Observer(folder).write(cine, Annotation(points=points_table(cine, points, np.zeros(row.frames))))
