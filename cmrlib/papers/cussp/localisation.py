"""How near the valve's centre, found in a network's masks, comes to that of the drawn mitral edge or of points."""

import numpy as np
import pandas as pd

from cmrlib.agreement import bootstrap
from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.datasets.mitral_edge import mitral_edge
from cmrlib.measures.valve import point_array
from cmrlib.papers.cussp.preparation import (
    Preprocessing,
    RefusedError,
    atrial_range,
    equalise,
    locate,
    patch_planes,
)


def centre_errors(cohort, masks: str, reference: str, subjects=None) -> pd.DataFrame:
    """A row an image that the reference knows: participant_id, cine, frame, error_pct (distance of the centres in
    percent of the annulus), tilt_deg (angle between the LV's axis and the line across the annulus, from 90°), refused.

    masks: the observer in whose masks the valve is looked for. reference: an observer with mitral points, or with drawn
    LV cavities, whose straight edge is the annulus. Refused images have NaN and a reason: they are counted, not hidden.
    """
    rows, looked, known = [], cohort.observer(masks), cohort.observer(reference)
    for row in cohort.cines[cohort.cines["view"] == "4ch"].itertuples():
        if (subjects is not None and row.participant_id not in set(subjects)) or not looked.has(row.cine):
            continue
        cine, annotation = cohort.cine(row.cine), looked.mask(row.cine)
        try:
            valve, why = locate(cine, annotation), ""
        except RefusedError as error:
            valve, why = None, error.reason
        for t, ends in reference_ends(cine, known).items():
            found = {
                "participant_id": row.participant_id,
                "cine": row.cine,
                "frame": t,
                "error_pct": np.nan,
                "tilt_deg": np.nan,
                "refused": why
                or ("" if np.isfinite(valve.centres_px[t]).all() else "LA and LV do not meet in this frame"),
            }
            if not found["refused"]:
                found |= _error(valve, t, ends)
            rows.append(found)
    if not rows:
        raise ValueError(f"no 4CH image of {cohort.path.name} has masks of {masks!r} and a valve of {reference!r}")
    return pd.DataFrame(rows)


def reference_ends(cine, observer) -> dict[int, np.ndarray]:
    """Frame → (2, 2) ends of the annulus: the observer's points, else the straight edge of the drawn cavity."""
    if observer.has(cine.name, "points.tsv"):
        points = point_array(observer.points(cine.name), cine.view, cine.frames)
        return {int(t): points[t] for t in np.flatnonzero(np.isfinite(points).all((1, 2)))}
    if not observer.has(cine.name):
        return {}
    annotation, ends = observer.mask(cine.name), {}
    for t, structures in annotation.annotated.items():
        if "lv" in structures:
            edge = mitral_edge(np.asarray(annotation.mask[t, 0]) == STRUCTURES["lv"], cine.pixels[t, 0])
            ends |= {} if edge.refused else {t: edge.points_px}
    return ends


def _error(valve, t, ends):
    along = (ends[1] - ends[0]) * valve.spacing_mm
    distance = np.hypot(*((valve.centres_px[t] - ends.mean(0)) * valve.spacing_mm))
    length = np.hypot(*along)
    across = np.degrees(np.arcsin(np.clip(abs(along @ valve.apical) / length, 0, 1)))
    return {"error_pct": 100 * float(distance / length), "tilt_deg": float(across)}


def centre_metrics(errors: pd.DataFrame, name: str) -> dict:
    """valve_centre_pct_NAME (mean) and _median with intervals over subjects, and the share refused in percent."""
    metrics, known = {}, errors.dropna(subset=["error_pct"])
    for suffix, statistic in (("", np.mean), ("_median", np.median)):
        one = bootstrap(known["error_pct"], statistic, known["participant_id"]).iloc[0]
        metrics |= {
            f"valve_centre_pct_{name}{suffix}": one["estimate"],
            f"valve_centre_pct_{name}{suffix}_low": one["low"],
            f"valve_centre_pct_{name}{suffix}_high": one["high"],
            f"n_valve_centre_pct_{name}{suffix}": int(known["participant_id"].nunique()),
        }
    return metrics | {f"valve_refused_pct_{name}": 100 * float((errors["refused"] != "").mean())}


def real_cases(cohort, masks: str, preprocessing: Preprocessing, subjects=None, most: int = 6) -> dict:
    """Title → (cine, mask, frame, plane, valve, equalised patch) of the first usable images, for a figure.

    Refused cines are passed over; `centre_errors` counts them.
    """
    looked, found = cohort.observer(masks), {}
    for row in cohort.cines[cohort.cines["view"] == "4ch"].itertuples():
        if len(found) == most:
            break
        if (subjects is not None and row.participant_id not in set(subjects)) or not looked.has(row.cine):
            continue
        cine, annotation = cohort.cine(row.cine), looked.mask(row.cine)
        try:
            valve = locate(cine, annotation)
        except RefusedError:
            continue
        t = int(np.flatnonzero(np.isfinite(valve.centres_px).all(1))[0])
        plane = patch_planes(cine, valve, preprocessing)[0]
        low, high = atrial_range(cine, annotation)
        cropped = equalise(plane.pixels(cine.pixels[t, 0], outside=low), (low, high))
        found[f"{row.participant_id}, frame {t}"] = (cine, annotation.mask[t, 0], t, plane, valve, cropped)
    return found
