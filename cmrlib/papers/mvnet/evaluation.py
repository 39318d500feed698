"""Errors of points, of the valve's plane and of its motion between any two observers: figures 4 to 8, tables 3 to 5."""

import numpy as np
import pandas as pd

from cmrlib import agreement
from cmrlib.cine.anatomy import MITRAL_POINTS
from cmrlib.measures.valve import point_array, valve_tables
from cmrlib.papers.mvnet.tracking import STAGES

CLINICAL = ("mapse_mm", "sprime_cm_s", "eprime_cm_s", "aprime_cm_s")


def point_errors(cohort, reference: str, test: str, subjects=None) -> pd.DataFrame:
    """A row a frame that both observers annotated: participant_id, session, cine, view, frame, euclid_mm (mean of the
    two points), first_mm, second_mm (anterior or lateral; inferior or septal), angle_deg between the two planes (0 to
    90). On the native images, as the paper has it."""
    a, b, rows = cohort.observer(reference), cohort.observer(test), []
    for row in cohort.cines[cohort.cines["view"].isin(list(MITRAL_POINTS))].itertuples():
        if (subjects is not None and row.participant_id not in set(subjects)) or not (
            a.has(row.cine, "points.tsv") and b.has(row.cine, "points.tsv")
        ):
            continue
        cine = cohort.cine(row.cine)
        spacing = np.array(cine.spacing_mm[:0:-1])
        want, got = (point_array(o.points(row.cine), row.view, cine.frames) * spacing for o in (a, b))
        far = np.hypot(*np.moveaxis(got - want, -1, 0))  # (frames, 2)
        angle = plane_angle_deg(got, want)
        for t in np.flatnonzero(np.isfinite(far).all(1)):
            rows.append(
                {
                    "participant_id": row.participant_id,
                    "session": row.session,
                    "cine": row.cine,
                    "view": row.view,
                    "frame": int(t),
                    "euclid_mm": far[t].mean(),
                    "first_mm": far[t, 0],
                    "second_mm": far[t, 1],
                    "angle_deg": angle[t],
                }
            )
    if not rows:
        raise ValueError(f"no frame has points of both {reference!r} and {test!r}")
    return pd.DataFrame(rows)


def plane_angle_deg(a, b) -> np.ndarray:
    """Inner angle (frames,) between the lines through two pairs of points (frames, 2, 2) mm: 0 to 90°."""
    one, two = (np.asarray(p)[:, 1] - np.asarray(p)[:, 0] for p in (a, b))
    cross, dot = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0], (one * two).sum(1)
    return np.degrees(np.arctan2(np.abs(cross), np.abs(dot)))


def displacement_errors(motion_reference, motion_test) -> pd.DataFrame:
    """Displacement of both observers in every frame, mean of the views: participant_id, session, frame, reference,
    test (mm). Tables of `measures.valve_tables`."""
    keys = ["participant_id", "session", "frame"]
    a, b = (
        table[table["view"] == "mean"][[*keys, "displacement_mm"]].fillna({"session": ""})
        for table in (motion_reference, motion_test)
    )
    both = a.merge(b, on=keys, suffixes=("_a", "_b"), validate="one_to_one")
    return both.rename(columns={"displacement_mm_a": "reference", "displacement_mm_b": "test"})


def inter_observer(
    cohort,
    reference: str,
    test: str,
    smooth_ms: float,
    reference_smooth_ms: float | None = None,
    subjects=None,
    least_confidence: float = 0.0,
):
    """(points, displacement, metrics, compared) of two observers: tables 3 to 5 and figures 7 and 8 in one call.

    metrics: both observers' valve_metrics with a column observer. compared: see `compare_motion`.
    """
    own = smooth_ms if reference_smooth_ms is None else reference_smooth_ms
    motion_a, metrics_a = valve_tables(cohort, reference, own, subjects)
    motion_b, metrics_b = valve_tables(cohort, test, smooth_ms, subjects, least_confidence=least_confidence)
    metrics = pd.concat([metrics_a.assign(observer=reference), metrics_b.assign(observer=test)], ignore_index=True)
    displacement = displacement_errors(motion_a, motion_b)
    both = set(displacement["participant_id"])
    metrics = metrics[metrics["participant_id"].isin(both)].reset_index(drop=True)
    points = point_errors(cohort, reference, test, sorted(both))
    return points, displacement, metrics, compare_motion(metrics, displacement, reference, test)


def compare_motion(metrics, displacement, reference: str, test: str) -> pd.DataFrame:
    """`agreement.compare` of MAPSE, s', e', a' and, with repeats within a heart, of displacement: a row a measure."""
    keys = ["participant_id", "session", "frame"]
    frames = pd.concat(
        [
            displacement[keys].assign(observer=name, displacement_mm=displacement[side])
            for name, side in ((reference, "reference"), (test, "test"))
        ]
    )
    return pd.concat(
        [
            agreement.compare(metrics, reference, test, list(CLINICAL)),
            agreement.compare(frames, reference, test, ["displacement_mm"], on=keys),
        ],
        ignore_index=True,
    )


def panels(metrics, displacement, compared, reference: str, test: str) -> dict:
    """label → (pairs, row, unit) of figures 7 and 8: displacement, MAPSE, e'."""
    rows = compared.set_index("measure")
    found = {"displacement": (displacement, rows.loc["displacement_mm"], "mm")}
    for label, measure, unit in (("MAPSE", "mapse_mm", "mm"), ("e'", "eprime_cm_s", "cm/s")):
        pairs = agreement.observer_pairs(metrics, reference, test, measure).dropna(subset=["reference", "test"])
        found[label] = pairs, rows.loc[measure], unit
    return found


def by_stage(
    cohort, reference: str, tests: dict[str, str], smooth_ms: float, reference_smooth_ms: float, subjects
) -> pd.DataFrame:
    """One row a stage (figures 4 and 5): means with intervals over subjects of euclid_mm, angle_deg and both points of
    each view, SDs over frames, ICC of displacement, MAPSE and e'. tests: stage → observer."""
    rows = []
    for stage, test in tests.items():
        points, _, _, compared = inter_observer(cohort, reference, test, smooth_ms, reference_smooth_ms, subjects)
        row = {"stage": stage}
        for name, part, column in _spatial(points):
            row |= _mean(name, part[column], part["participant_id"]) | {f"{name}_sd": part[column].std()}
        row |= iccs(compared)
        rows.append(row | {"n": points["participant_id"].nunique(), "n_images": len(points)})
    return pd.DataFrame(rows)


def iccs(compared) -> dict:
    """displacement_icc, mapse_icc, eprime_icc with _low and _high."""
    rows = compared.set_index("measure")
    return {
        f"{name}_icc{end}": rows.loc[measure, f"icc_a1{end}"]
        for end in ("", "_low", "_high")
        for name, measure in (("displacement", "displacement_mm"), ("mapse", "mapse_mm"), ("eprime", "eprime_cm_s"))
    }


def gain_over(points_baseline, points_test, baseline: str) -> dict:
    """euclid_gain_over_BASELINE_mm: how much nearer a test is than a baseline on the same images, with its interval
    over subjects."""
    keys = ["participant_id", "session", "cine", "frame"]
    a, b = (table[[*keys, "euclid_mm"]] for table in (points_baseline, points_test))
    both = a.merge(b, on=keys, suffixes=("_a", "_b"))
    return _mean(f"euclid_gain_over_{baseline}_mm", both["euclid_mm_a"] - both["euclid_mm_b"], both["participant_id"])


def _spatial(points):
    """(name, rows, column) of the spatial errors of figures 4 and 5."""
    yield "euclid_mm", points, "euclid_mm"
    yield "angle_deg", points, "angle_deg"
    for view, names in MITRAL_POINTS.items():
        part = points[points["view"] == view]
        if len(part):
            yield f"{view}_{names[0]}_mm", part, "first_mm"
            yield f"{view}_{names[1]}_mm", part, "second_mm"
            yield f"{view}_angle_deg", part, "angle_deg"


def _mean(name, values, subjects) -> dict:
    one = agreement.bootstrap(values, np.mean, subjects).iloc[0]
    return {name: one["estimate"], f"{name}_low": one["low"], f"{name}_high": one["high"]}


def stage_metrics(stages: pd.DataFrame, compared: pd.DataFrame, displacement: pd.DataFrame) -> dict:
    """Numbers for the manifest, each with _low and _high: disp_err_mean_mm, disp_err_sd_mm, mapse_icc, eprime_icc,
    mapse_bias_mm, eprime_bias_cm_s, euclid_mm_stage1, _stage12, _stage122, angle_deg (of the last stage)."""
    ends, rows = ("", "_low", "_high"), compared.set_index("measure")
    error = displacement["test"] - displacement["reference"]
    spread = agreement.bootstrap(
        error, lambda values, axis=-1: values.std(axis, ddof=1), displacement["participant_id"]
    ).iloc[0]
    metrics = {f"disp_err_mean_mm{end}": rows.loc["displacement_mm", f"bias{end}"] for end in ends}
    metrics |= {
        "disp_err_sd_mm": spread["estimate"],
        "disp_err_sd_mm_low": spread["low"],
        "disp_err_sd_mm_high": spread["high"],
    }
    metrics |= _agreed(compared)
    by = stages.set_index("stage")
    for stage in STAGES:
        if stage in by.index:
            metrics |= {f"euclid_mm_{stage}{end}": by.loc[stage, f"euclid_mm{end}"] for end in ends}
    metrics |= {f"angle_deg{end}": stages.iloc[-1][f"angle_deg{end}"] for end in ends}
    return metrics | {"n": int(stages["n"].iloc[-1])}


def cut_summary(volumes: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Mean absolute error and bias against true volumes, with and without the plane, and the change that it makes: a
    row a measure. truth: an observer's measures."""
    both, rows = volumes.merge(truth, on=["participant_id", "session"], suffixes=("", "_true")), []
    for name, unit in (("lvedv", "ml"), ("lvesv", "ml"), ("lvef", "pct")):
        true = both[f"{name}_{unit}_true"]
        row = {"measure": f"{name}_{unit}"}
        for way in ("", "_cut"):
            error = both[f"{name}{way}_{unit}"] - true
            for what, values in (("mae", error.abs()), ("bias", error)):
                one = agreement.bootstrap(values, np.mean).iloc[0]
                row |= {
                    f"{what}{way}": one["estimate"],
                    f"{what}{way}_low": one["low"],
                    f"{what}{way}_high": one["high"],
                }
        change = agreement.bootstrap(both[f"{name}_cut_{unit}"] - both[f"{name}_{unit}"], np.mean).iloc[0]
        rows.append(
            row
            | {"change": change["estimate"], "change_low": change["low"], "change_high": change["high"], "n": len(both)}
        )
    return pd.DataFrame(rows)


def people_metrics(points: pd.DataFrame, compared: pd.DataFrame, name: str) -> dict:
    """people_NAME_euclid_mm, mapse_icc, mapse_bias_mm, eprime_icc, eprime_bias_cm_s of two people, each with _low and
    _high. points, compared: of `inter_observer`."""
    found = _mean("euclid_mm", points["euclid_mm"], points["participant_id"]) | _agreed(compared)
    return {f"people_{name}_{metric}": value for metric, value in found.items()}


def _agreed(compared):
    """mapse_icc, mapse_bias_mm, eprime_icc, eprime_bias_cm_s with _low and _high."""
    rows = compared.set_index("measure")
    return {
        f"{name}_{what}{end}": rows.loc[f"{name}_{unit}", f"{of}{end}"]
        for end in ("", "_low", "_high")
        for name, unit in (("mapse", "mm"), ("eprime", "cm_s"))
        for what, of in (("icc", "icc_a1"), (f"bias_{unit}", "bias"))
    }
