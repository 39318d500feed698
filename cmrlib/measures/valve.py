"""Mitral points through the cycle → displacement of the valve, MAPSE, s', e', a'.

Definitions: displacement is the mean signed distance of a view's two points from the line through them at end-diastole,
positive towards the apex; MAPSE its largest value, s' its fastest rise before that, e' and a' the first and the late
peak of its fall, as positive speeds. The mean of 2CH and 4CH counts, each view's time taken as a share of its own RR.
Gonzales et al., J Cardiovasc Magn Reson 2021;23:137, where the distance has no sign and the smoothing is not stated;
here it is a periodic smoothing spline through the true frame times, `smooth_ms` its only setting.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.signal import find_peaks

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import MITRAL_POINTS
from cmrlib.cohort import POINT_COLUMNS
from cmrlib.measures.arealength import point_array, valve_ends
from cmrlib.measures.curves import FEWEST_FRAMES, PeriodicFit, fourier_basis
from cmrlib.measures.phases import RefusedError

PHASES = np.linspace(0, 1, 501)
PROMINENCE = 0.15
"""A diastolic wave stands out by this share of the fastest recoil: less is drift or what is left of the noise."""
LATE_MS = 260.0
"""The atrium's wave peaks within this time before the next beat; an earlier second wave is an L wave."""
VIEWS_DIFFER_MM = 5.0
"""MAPSE of 2CH and 4CH that differ by more do not show one valve (our choice): flag `views_disagree`."""
FARTHEST_PCT = 35.0
"""Points farther from the ends of the line where a mask's LV and LA meet, in percent of that line, and that mask do not
show one valve (04c: as 38 patients who chose it have it)."""
FASTEST_CM_S = 30.0
"""Points that go faster between two frames jump: no annulus does (lateral e' of the young is below 25 cm/s)."""
METRICS = ("mapse_mm", "sprime_cm_s", "eprime_cm_s", "aprime_cm_s")
METRICS += ("mapse_time_ms", "sprime_time_ms", "eprime_time_ms", "aprime_time_ms")


def points_table(cine: Cine, points, confidence) -> pd.DataFrame:
    """Points (frames, 2, 2) and confidence (frames,) → POINT_COLUMNS, two rows per frame; never rounded."""
    rows = []
    for t, pair in enumerate(points):
        world = cine.to_world(pair, 0)
        rows += [(t, 0, name, *pair[i], *world[i], confidence[t]) for i, name in enumerate(MITRAL_POINTS[cine.view])]
    return pd.DataFrame(rows, columns=POINT_COLUMNS)


def points_outside(cine: Cine, points_px) -> bool:
    """Whether any point (…, 2) as (column, row) lies a pixel or more beyond the image."""
    rows, columns = cine.pixels.shape[2:]
    return bool(((points_px <= -1) | (points_px >= [columns, rows])).any())


def points_jump(cine: Cine, points_px) -> bool:
    """Whether a point (frames, 2, 2) goes faster than `FASTEST_CM_S` from one frame to the next; not known without
    spacing or times."""
    steps_mm = np.linalg.norm(np.diff(points_px, axis=0) * cine.spacing_mm[:0:-1], axis=-1) * cine.spacing_known
    return bool((100 * steps_mm / cine.frame_step_ms > FASTEST_CM_S).any())


class ViewMotion(NamedTuple):
    """The valve in one view. fit: displacement in mm over the phase from ED (0) to the next (1); phase: (frames,)
    where the frames lie; rr_ms: NaN where times are unknown, and then there are no velocities."""

    fit: PeriodicFit
    phase: np.ndarray
    rr_ms: float
    flags: tuple[str, ...] = ()


@dataclass
class HeartMotion:
    """The valve of one heart from one or two views; displacement and velocity are the means of the views."""

    views: dict[str, ViewMotion]
    flags: list[str] = field(default_factory=list)

    @property
    def rr_ms(self) -> float:
        return float(np.mean([view.rr_ms for view in self.views.values()]))

    def displacement_mm(self, phase) -> np.ndarray:
        return np.mean([view.fit.value(phase) for view in self.views.values()], axis=0)

    def velocity_cm_s(self, phase) -> np.ndarray:
        """Per view by its own RR; towards the apex is positive."""
        return np.mean([100 * view.fit.slope(phase) / view.rr_ms for view in self.views.values()], axis=0)

    def mapse_by_view_mm(self) -> dict[str, float]:
        """View → largest displacement in that view alone."""
        return {view: float(motion.fit.value(PHASES).max()) for view, motion in self.views.items()}

    def metrics(self) -> dict:
        """METRICS; times in ms from ED. What does not exist is NaN: a' without a second diastolic wave."""
        d, v, rr = self.displacement_mm(PHASES), self.velocity_cm_s(PHASES), self.rr_ms
        es = int(d.argmax())
        row = dict.fromkeys(METRICS, np.nan) | {"mapse_mm": float(d[es]), "mapse_time_ms": rr * PHASES[es]}
        if not np.isfinite(rr) or not 5 < es < len(PHASES) - 5:
            return row
        fastest = int(v[:es].argmax())
        row |= {"sprime_cm_s": float(v[fastest]), "sprime_time_ms": rr * PHASES[fastest]}
        for name, at in diastolic_waves(-v, es, rr).items():
            row |= {f"{name}_cm_s": float(-v[at]), f"{name}_time_ms": rr * PHASES[at]}
        return row


def diastolic_waves(speed_cm_s, es: int, rr_ms: float) -> dict[str, int]:
    """Where e' and a' are on the grid PHASES: of the waves of the recoil (positive) after `es`, the last one late in
    the cycle is a', if another comes before it; e' is the fastest of the others. One wave alone is e'."""
    diastole = speed_cm_s[es:]
    waves, _ = find_peaks(np.r_[diastole, 0.0], prominence=PROMINENCE * max(float(diastole.max()), 1e-9))
    waves, found = [es + int(at) for at in waves if diastole[at] > 0], {}
    if len(waves) > 1 and rr_ms * (1 - PHASES[waves[-1]]) <= LATE_MS:
        found["aprime"] = waves.pop()
    return found | ({"eprime": max(waves, key=lambda at: speed_cm_s[at])} if waves else {})


def view_motion(cine: Cine, points_px, ed: int | None = None, smooth_ms: float = 0.0) -> ViewMotion:
    """Motion of the valve in one long-axis cine.

    points_px: (frames, 2, 2), two points as (column, row), NaN where unknown. ed: 0-based; default the cine's own, else
    the frame next to the trigger. Raises RefusedError below 8 known frames and where spacing is unknown, ValueError for
    points of another shape.
    """
    points = np.asarray(points_px, float)
    if points.shape != (cine.frames, 2, 2):
        raise ValueError(f"{cine.name}: points have shape {points.shape}, expected {(cine.frames, 2, 2)}")
    if not cine.spacing_known:
        raise RefusedError(cine.name, "pixel spacing is unknown", "give it when the data is ingested")
    known = np.isfinite(points).all((1, 2))
    known[cine.incomplete_frames] = False
    if known.sum() < FEWEST_FRAMES:
        few = f"mitral points in {known.sum()} of {cine.frames} frames"
        raise RefusedError(cine.name, few, f"motion needs {FEWEST_FRAMES}")
    flags, rr = [], cine.cycle_ms
    if not np.isfinite(cine.times_ms).all() or not rr > 0:
        flags, rr = ["times_unknown"], float("nan")
    ed = cine.ed if ed is None else ed
    if ed is None:
        ed, flags = int(np.argmin(cine.phase() % 1)), [*flags, "ed_at_trigger"]
    phase = cine.phase(ed)
    mm = (points * np.array(cine.spacing_mm[:0:-1]))[known].reshape(-1, 4)
    share = smooth_ms / (rr if np.isfinite(rr) else 1000)
    coefficients = smooth_periodic(mm, phase[known], share).reshape(-1, 2, 2)
    at_ed = fourier_basis(0.0, (len(coefficients) - 1) // 2)
    along = np.subtract(*np.tensordot(at_ed, coefficients, 1)[::-1])
    path = coefficients.mean(1) @ np.array([-along[1], along[0]]) / max(np.hypot(*along), 1e-9)
    path[0] -= at_ed @ path  # zero at ED
    # between two end-diastoles a valve is apical of where it was: the constant term is the mean over the cycle
    return ViewMotion(PeriodicFit(path if path[0] >= 0 else -path), phase, rr, tuple(flags))


def smooth_periodic(values, phase, smooth_share: float) -> np.ndarray:
    """Fourier coefficients (1 + 2h, m) of the periodic smoothing spline through values (n, m) at phases (n,).

    Least squares plus smooth_share⁴ times the mean squared second derivative; evenly spaced, a wave of angular
    frequency ω per cycle keeps 1 / (1 + (ω · smooth_share)⁴) of its height. A little is always smoothed (.15 of a
    frame), so that uneven times cannot make the curve swing between frames.
    """
    values, phase = np.asarray(values, float), np.asarray(phase, float)
    harmonics = (len(phase) - 1) // 2
    basis = fourier_basis(phase, harmonics)
    omega = 2 * np.pi * np.arange(1, harmonics + 1)
    bend = np.r_[0, omega**4, omega**4] / 2
    penalty = max(smooth_share, 0.15 / len(phase)) ** 4 * np.diag(bend)
    return np.linalg.solve(basis.T @ basis / len(phase) + penalty, basis.T @ values / len(phase))


def heart_motion(views, smooth_ms: float = 0.0, ed: dict | None = None) -> HeartMotion:
    """views: view → (cine, points (frames, 2, 2)). ed: view → frame. A view that gives no motion is left out with a
    flag; raises RefusedError where none is left."""
    found, flags, why = {}, [], "no points"
    for view, (cine, points) in sorted(views.items()):
        try:
            found[view] = view_motion(cine, points, (ed or {}).get(view), smooth_ms)
            flags += [f"{view}_{flag}" for flag in found[view].flags]
        except RefusedError as error:
            flags.append(f"{view}_not_used")
            why = str(error)
    if not found:
        raise RefusedError("mitral valve", "no view gives its motion", why)
    if len(found) == 1:
        flags.append(f"only_{next(iter(found))}")
    heart = HeartMotion(found, flags)
    if np.ptp(list(heart.mapse_by_view_mm().values())) > VIEWS_DIFFER_MM:
        flags.append("views_disagree")
    return heart


def off_mask_pct(cine: Cine, points_px, annotation) -> np.ndarray:
    """Distance (frames,) of the points from the ends of the line where a mask's LV and LA meet, mean of both whichever
    way round is nearer, in percent of that line; NaN in frames that lack points or line. points_px: (frames, 2, 2)."""
    found = np.full(cine.frames, np.nan)
    spacing = np.array(cine.spacing_mm[1:] if cine.spacing_known else (1.0, 1.0))  # (row, column)
    for t, drawn in annotation.annotated.items():
        ends = valve_ends(np.asarray(annotation.mask[t, 0]), spacing, "la") if {"lv", "la"} <= set(drawn) else None
        if ends is not None:
            points = points_px[t] * spacing[::-1]
            away = min(np.linalg.norm(one - ends, axis=1).mean() for one in (points, points[::-1]))
            found[t] = 100 * away / max(np.linalg.norm(ends[1] - ends[0]), 1e-6)
    return found


def valve_tables(
    cohort,
    observer: str,
    smooth_ms: float = 0.0,
    subjects=None,
    least_confidence: float = 0.0,
    masks: str | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(valve_motion, valve_metrics) of all hearts with mitral points of an observer.

    motion: participant_id, session, view (2ch, 4ch, mean), frame, phase, time_ms, displacement_mm, velocity_cm_s; the
    mean stands at the frames of the first view. metrics: participant_id, session, views, METRICS, mapse of each view,
    flags. A cine whose points have a median confidence below `least_confidence` is flagged `…_valve_not_found` and not
    used; one with points beyond the image `…_points_outside`, one with points that jump `…_points_jump`. masks: an
    observer whose outlines are a second opinion: a view whose points lie elsewhere is flagged `…_points_off_mask` and
    not used.
    """
    motion, metrics, looked = [], [], cohort.observer(masks) if masks else None
    for participant, session, found in cohort.examinations(observer, subjects, of="points"):
        found = {view: pair for view, pair in found.items() if view in MITRAL_POINTS}
        doubtful = [v for v, (_, a) in found.items() if not a.points["confidence"].median() >= least_confidence]
        flags = [f"{view}_valve_not_found" for view in doubtful]
        used = {view: pair for view, pair in found.items() if view not in doubtful}
        views = {view: (cine, point_array(a.points, view, cine.frames)) for view, (cine, a) in used.items()}
        flags += [f"{view}_points_outside" for view, pair in views.items() if points_outside(*pair)]
        flags += [f"{view}_points_jump" for view, pair in views.items() if points_jump(*pair)]
        for view in [v for v, pair in views.items() if looked and _off(looked, *pair)]:
            flags.append(f"{view}_points_off_mask")
            del views[view]
        ed = {view: int(a.frames["ed"]) for view, (_, a) in used.items() if a.frames}
        if not found:
            continue
        keys = {"participant_id": participant, "session": session}
        row = {"views": ""} | dict.fromkeys([*METRICS, "mapse_2ch_mm", "mapse_4ch_mm"], np.nan)
        try:
            heart = heart_motion(views, smooth_ms, ed)
            row |= {"views": "+".join(heart.views)} | heart.metrics()
            row |= {f"mapse_{view}_mm": value for view, value in heart.mapse_by_view_mm().items()}
            motion += [table.assign(**keys) for table in _motion(heart)]
            flags += heart.flags
        except RefusedError:
            flags += ["no_motion"] if views else ["valve_doubtful"]
        metrics.append(keys | row | {"flags": ";".join(flags)})
    columns = ["participant_id", "session", "view", "frame", "phase", "time_ms", "displacement_mm", "velocity_cm_s"]
    motion = pd.concat(motion, ignore_index=True)[columns] if motion else pd.DataFrame(columns=columns)
    return motion, pd.DataFrame(metrics)


def _off(looked, cine, points_px) -> bool:
    """Whether an observer's mask of the cine has the valve elsewhere, in the median of frames."""
    if not looked.has(cine.name):
        return False
    away = off_mask_pct(cine, points_px, looked.mask(cine.name))
    return bool(np.isfinite(away).any() and np.nanmedian(away) > FARTHEST_PCT)


def _motion(heart):
    """Tables of valve_motion of one heart, by view and their mean."""
    alone = {view: HeartMotion({view: motion}) for view, motion in heart.views.items()}
    for view, one in (alone | {"mean": heart}).items():
        phase = next(iter(one.views.values())).phase
        table = pd.DataFrame({"view": view, "frame": np.arange(len(phase)), "phase": phase})
        yield table.assign(
            time_ms=one.rr_ms * phase,
            displacement_mm=one.displacement_mm(phase),
            velocity_cm_s=one.velocity_cm_s(phase),
        )
