"""Points from drawn cavities, and errors where pixel size and handedness are lost: Kaggle's four-chamber images."""

import numpy as np
import pandas as pd

from cmrlib import agreement
from cmrlib.cine.anatomy import MITRAL_POINTS, NOT_ANNOTATED, STRUCTURES
from cmrlib.cohort import POINT_COLUMNS, Annotation, Observer
from cmrlib.datasets.mitral_edge import edge_repeatability_pct, mitral_edge, unordered_distance
from cmrlib.measures.valve import point_array

GROSS_PCT = 30.0


def points_from_edges(cohort, drawn: str, folder, view: str = "4ch", repeat_every: int = 8) -> pd.DataFrame:
    """Write an observer whose points are the ends of the straight edge of each LV cavity that `drawn` outlined.

    Returns a row an image: participant_id, cine, frame, length_px, residual_px, blood, repeat_pct (how far the fit
    moves when the drawing is turned on the pixel grid, percent of its length; every so many images), refused.
    """
    looked, rows, names = cohort.observer(drawn), [], MITRAL_POINTS[view]
    for row in cohort.cines[cohort.cines["view"] == view].itertuples():
        cine, annotation, table = cohort.cine(row.cine), looked.mask(row.cine), []
        for t in sorted(annotation.annotated):
            mask = annotation.mask[t, 0]
            cavity, image = (mask == STRUCTURES["lv"]) & (mask != NOT_ANNOTATED), cine.pixels[t, 0]
            edge = mitral_edge(cavity, image)
            repeat = edge_repeatability_pct(cavity, image) if len(rows) % repeat_every == 0 else np.nan
            rows.append(
                {
                    "participant_id": row.participant_id,
                    "cine": row.cine,
                    "frame": t,
                    "length_px": edge.length_px,
                    "residual_px": edge.residual_px,
                    "blood": edge.blood,
                    "repeat_pct": repeat,
                    "refused": edge.refused,
                }
            )
            if not edge.refused:
                world = cine.to_world(edge.points_px, 0)
                table += [(t, 0, name, *edge.points_px[i], *world[i], 1.0) for i, name in enumerate(names)]
        if table:
            Observer(folder).write(cine, Annotation(points=pd.DataFrame(table, columns=POINT_COLUMNS)))
    return pd.DataFrame(rows)


def refusals(edges: pd.DataFrame) -> pd.DataFrame:
    """How many images gave no points, and why: refused, images, share_pct."""
    counts = edges["refused"].replace("", "none: points found").value_counts()
    return pd.DataFrame(
        {"refused": counts.index, "images": counts.to_numpy(), "share_pct": 100 * counts.to_numpy() / len(edges)}
    )


def annulus_errors(cohort, reference: str, test: str, subjects=None) -> pd.DataFrame:
    """A row an image that both have: participant_id, cine, frame, error_px, error_pct (mean distance of the two points
    in percent of the reference's annulus, whichever way round they are nearer)."""
    a, b, rows = cohort.observer(reference), cohort.observer(test), []
    for row in cohort.cines.itertuples():
        if (subjects is not None and row.participant_id not in set(subjects)) or not (
            a.has(row.cine, "points.tsv") and b.has(row.cine, "points.tsv")
        ):
            continue
        want, got = (point_array(o.points(row.cine), row.view, row.frames) for o in (a, b))
        for t in np.flatnonzero(np.isfinite(want).all((1, 2)) & np.isfinite(got).all((1, 2))):
            error = float(unordered_distance(got[t], want[t]).mean())
            rows.append(
                {
                    "participant_id": row.participant_id,
                    "cine": row.cine,
                    "frame": int(t),
                    "error_px": error,
                    "error_pct": 100 * error / float(np.hypot(*(want[t, 1] - want[t, 0]))),
                }
            )
    if not rows:
        raise ValueError(f"no image has points of both {reference!r} and {test!r}")
    return pd.DataFrame(rows)


def mean_position(cohort, reference: str, subjects, folder, view: str = "4ch"):
    """Write an observer that always answers with the mean place of the training subjects, as shares of the image."""
    looked, places = cohort.observer(reference), []
    cines = cohort.cines[cohort.cines["view"] == view]
    for row in cines[cines["participant_id"].isin(list(subjects))].itertuples():
        if looked.has(row.cine, "points.tsv"):
            points = point_array(looked.points(row.cine), view, row.frames)
            places += list(points[np.isfinite(points).all((1, 2))] / [row.columns, row.rows])
    mean = np.mean(places, axis=0)
    for row in cines.itertuples():
        cine, table = cohort.cine(row.cine), []
        pair = mean * [row.columns, row.rows]
        world = cine.to_world(pair, 0)
        for t in range(row.frames):
            table += [(t, 0, name, *pair[i], *world[i], 0.0) for i, name in enumerate(MITRAL_POINTS[view])]
        Observer(folder).write(cine, Annotation(points=pd.DataFrame(table, columns=POINT_COLUMNS)))


def annulus_metrics(errors: pd.DataFrame, name: str) -> dict:
    """annulus_pct_NAME with _median, _p90, _gross (share of images beyond 30 %), each with _low and _high."""
    statistics = {
        "": np.mean,
        "_median": np.median,
        "_p90": lambda values, axis=-1: np.quantile(values, 0.9, axis=axis),
        "_gross": lambda values, axis=-1: (values > GROSS_PCT).mean(axis),
    }
    metrics = {}
    for suffix, statistic in statistics.items():
        one = agreement.bootstrap(errors["error_pct"], statistic, errors["participant_id"]).iloc[0]
        metrics |= {
            f"annulus_pct_{name}{suffix}": one["estimate"],
            f"annulus_pct_{name}{suffix}_low": one["low"],
            f"annulus_pct_{name}{suffix}_high": one["high"],
        }
    return metrics
