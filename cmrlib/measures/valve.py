"""Mitral points through the cycle → displacement of the valve, MAPSE, s', e', a'.

Definitions: displacement is the mean signed distance of a view's two points from the line through them at end-diastole,
positive towards the apex; MAPSE its largest value, s' its fastest rise before that, e' and a' the first and the late
peak of its fall, as positive speeds. The mean of 2CH and 4CH counts, each view's time taken as a share of its own RR.
Gonzales et al., J Cardiovasc Magn Reson 2021;23:137, where the distance has no sign and the smoothing is not stated:
ours is a periodic smoothing spline through the true frame times, `smooth_ms` its only setting.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.signal import find_peaks

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import MITRAL_POINTS
from cmrlib.measures.curves import FEWEST_FRAMES, PeriodicFit, _basis
from cmrlib.measures.studies import cycle_ms, frame_times_ms, missing_frames

PHASES = np.linspace(0, 1, 501)
PROMINENCE = 0.15
"""A diastolic wave stands out by this share of the fastest recoil: less is drift or what is left of the noise."""
LATE_MS = 260.0
"""The atrium's wave peaks within this time before the next beat; an earlier second wave is an L wave."""
VIEWS_DIFFER_MM = 5.0
"""MAPSE of 2CH and 4CH that differ by more do not show one valve (ours): `views_disagree` beside their mean."""
METRICS = (
    "mapse_mm",
    "sprime_cm_s",
    "eprime_cm_s",
    "aprime_cm_s",
    "mapse_time_ms",
    "sprime_time_ms",
    "eprime_time_ms",
    "aprime_time_ms",
)


def point_array(table: pd.DataFrame, view: str, frames: int) -> np.ndarray:
    """A points table (POINT_COLUMNS) → (frames, 2, 2) (column, row), NaN where a frame has none."""
    points = np.full((frames, 2, 2), np.nan)
    for i, name in enumerate(MITRAL_POINTS[view]):
        own = table[table["name"] == name]
        points[own["frame"].to_numpy(int), i] = own[["column_px", "row_px"]].to_numpy(float)
    return points


@dataclass(frozen=True)
class ViewMotion:
    """The valve in one view. fit: displacement in mm over the phase from ED (0) to the next (1); phase: (frames,)
    where the frames lie; rr_ms: NaN where times are unknown, and then there are no velocities."""

    view: str
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
    waves = [es + int(at) for at in waves if diastole[at] > 0]
    if not waves:
        return {}
    late = waves[-1] if len(waves) > 1 and rr_ms * (1 - PHASES[waves[-1]]) <= LATE_MS else None
    early = [at for at in waves if at != late]
    found = {"eprime": max(early, key=lambda at: speed_cm_s[at])}
    return found | ({} if late is None else {"aprime": late})


def view_motion(cine: Cine, points_px, ed: int | None = None, smooth_ms: float = 0.0) -> ViewMotion:
    """Motion of the valve in one long-axis cine.

    points_px: (frames, 2, 2), two points as (column, row), NaN where unknown. ed: 0-based; default the cine's own, else
    the frame next to the trigger. Raises ValueError below 8 known frames and where spacing is unknown.
    """
    points = np.asarray(points_px, float)
    if points.shape != (cine.frames, 2, 2):
        raise ValueError(f"{cine.name}: points have shape {points.shape}, expected {(cine.frames, 2, 2)}")
    known = np.isfinite(points).all((1, 2))
    known[missing_frames(cine)] = False
    if known.sum() < FEWEST_FRAMES:
        raise ValueError(
            f"{cine.name}: mitral points in {known.sum()} of {cine.frames} frames; motion needs {FEWEST_FRAMES}"
        )
    times, rr, flags = frame_times_ms(cine), cycle_ms(cine), []
    if not np.isfinite(times).all() or not rr > 0:
        times, rr, flags = np.arange(cine.frames) / cine.frames, 1.0, ["times_unknown"]
    if ed is None:
        ed = cine.ed
    if ed is None:
        ed, flags = int(np.argmin(times % rr)), [*flags, "ed_at_trigger"]
    phase = ((times - times[ed]) / rr) % 1
    mm = points * np.array(cine.spacing_mm[:0:-1])
    share = smooth_ms / rr if "times_unknown" not in flags else smooth_ms / 1000
    coefficients = smooth_periodic(mm[known].reshape(-1, 4), phase[known], share).reshape(-1, 2, 2)
    at_ed = np.tensordot(_basis(np.zeros(1), (len(coefficients) - 1) // 2)[0], coefficients, 1)  # (2 points, 2)
    along = at_ed[1] - at_ed[0]
    normal = np.array([-along[1], along[0]]) / max(np.hypot(*along), 1e-9)
    path = coefficients.mean(1) @ normal
    path[0] -= _basis(np.zeros(1), (len(path) - 1) // 2)[0] @ path  # zero at ED
    # between two end-diastoles a valve is apical of where it was: the constant term is the mean over the cycle
    fit = PeriodicFit(path if path[0] >= 0 else -path)
    return ViewMotion(cine.view, fit, phase, rr if "times_unknown" not in flags else float("nan"), tuple(flags))


def smooth_periodic(values, phase, smooth_share: float) -> np.ndarray:
    """Fourier coefficients (1 + 2h, m) of the periodic smoothing spline through values (n, m) at phases (n,).

    Least squares plus smooth_share⁴ times the mean squared second derivative; evenly spaced, a wave of angular
    frequency ω per cycle keeps 1 / (1 + (ω · smooth_share)⁴) of its height. A little is always smoothed (.15 of a
    frame), so that uneven times cannot make the curve swing between frames.
    """
    values, phase = np.asarray(values, float), np.asarray(phase, float)
    harmonics = (len(phase) - 1) // 2
    basis = _basis(phase, harmonics)
    omega = 2 * np.pi * np.arange(1, harmonics + 1)
    bend = np.r_[0, omega**4, omega**4] / 2
    penalty = max(smooth_share, 0.15 / len(phase)) ** 4 * np.diag(bend)
    return np.linalg.solve(basis.T @ basis / len(phase) + penalty, basis.T @ values / len(phase))


def heart_motion(views, smooth_ms: float = 0.0, ed: dict | None = None) -> HeartMotion:
    """views: view → (cine, points (frames, 2, 2)). ed: view → frame. A view that gives no motion is left out and said
    so; raises ValueError where none is left."""
    found, flags = {}, []
    for view, (cine, points) in sorted(views.items()):
        try:
            found[view] = view_motion(cine, points, (ed or {}).get(view), smooth_ms)
            flags += [f"{view}_{flag}" for flag in found[view].flags]
        except ValueError as error:
            flags.append(f"{view}_not_used")
            last = error
    if not found:
        raise ValueError(f"no view gives the valve's motion: {last}")
    if len(found) == 1:
        flags.append(f"only_{next(iter(found))}")
    if np.ptp([HeartMotion({view: motion}).metrics()["mapse_mm"] for view, motion in found.items()]) > VIEWS_DIFFER_MM:
        flags.append("views_disagree")
    return HeartMotion(found, flags)


def valve_tables(
    cohort,
    observer: str,
    smooth_ms: float = 0.0,
    subjects=None,
    frames_from: str | None = None,
    least_confidence: float = 0.0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(valve_motion, valve_metrics) of all hearts that an observer put mitral points on.

    motion: participant_id, session, view (2ch, 4ch, mean), frame, phase, time_ms, displacement_mm, velocity_cm_s; the
    mean stands at the frames of the first view. metrics: participant_id, session, views, METRICS, mapse of each view,
    flags. frames_from: an observer whose ED counts. A cine whose points have a median confidence below
    `least_confidence` shows no valve that can be trusted: a flag, not a number.
    """
    motion, metrics = [], []
    wanted = cohort.cines if subjects is None else cohort.cines[cohort.cines["participant_id"].isin(list(subjects))]
    for (participant, session), rows in wanted.groupby(["participant_id", "session"], sort=True):
        views, ed, flags = _views(cohort, observer, rows, frames_from, least_confidence)
        if not views and not flags:
            continue
        keys = {"participant_id": participant, "session": session}
        row = dict.fromkeys([*METRICS, "mapse_2ch_mm", "mapse_4ch_mm"], np.nan)
        try:
            heart = heart_motion(views, smooth_ms, ed) if views else None
        except ValueError:
            heart, flags = None, [*flags, "no_motion"]
        if heart is not None:
            flags += heart.flags
            row |= heart.metrics()
            row |= {f"mapse_{v}_mm": HeartMotion({v: m}).metrics()["mapse_mm"] for v, m in heart.views.items()}
            motion += [keys | one for one in _curve_rows(heart)]
        used = "+".join(heart.views) if heart else ""
        metrics.append(keys | {"views": used} | row | {"flags": ";".join(flags)})
    columns = ["participant_id", "session", "view", "frame", "phase", "time_ms", "displacement_mm", "velocity_cm_s"]
    return pd.DataFrame(motion, columns=columns), pd.DataFrame(metrics)


def _views(cohort, observer, rows, frames_from, least_confidence):
    """view → (cine, points) of one heart, ED by view, flags."""
    looked, views, ed, flags = cohort.observer(observer), {}, {}, []
    for row in rows.sort_values(["view", "run"]).itertuples():
        if row.view not in MITRAL_POINTS or row.view in views or not looked.has(row.cine, "points.tsv"):
            continue
        table = looked.points(row.cine)
        if not table["confidence"].median() >= least_confidence:
            flags.append(f"{row.view}_valve_not_found")
            continue
        cine = cohort.cine(row.cine)
        views[row.view] = cine, point_array(table, row.view, cine.frames)
        for name in (frames_from, observer):
            if name and row.view not in ed and cohort.observer(name).has(row.cine, "frames.tsv"):
                ed[row.view] = int(cohort.observer(name).frames(row.cine)["ed"])
    return views, ed, flags


def _curve_rows(heart):
    """Rows of valve_motion of one heart."""
    first = next(iter(heart.views.values()))
    for name, phase, one in [
        *((v, m.phase, HeartMotion({v: m})) for v, m in heart.views.items()),
        ("mean", first.phase, heart),
    ]:
        d, v, rr = one.displacement_mm(phase), one.velocity_cm_s(phase), one.rr_ms
        for frame in range(len(phase)):
            yield {
                "view": name,
                "frame": frame,
                "phase": phase[frame],
                "time_ms": rr * phase[frame],
                "displacement_mm": d[frame],
                "velocity_cm_s": v[frame],
            }


def choose_smoothing(cohort, tracked: str, reference: str, subjects, candidates=(0, 5, 10, 15, 20, 25, 30, 40)):
    """(smooth_ms, table): of the candidates the one whose MAPSE and e' come nearest to the reference's on validation
    subjects. The reference itself is not smoothed, or much smoothing would agree perfectly with itself; error: mean
    absolute difference of MAPSE and of e', each over the reference's SD."""
    _, wanted = valve_tables(cohort, reference, 0.0, subjects)
    wanted, rows = wanted.set_index(["participant_id", "session"]), []
    for smooth_ms in candidates:
        _, got = valve_tables(cohort, tracked, float(smooth_ms), subjects)
        got = got.set_index(["participant_id", "session"])
        errors = {name: (got[name] - wanted[name]).abs().mean() for name in ("mapse_mm", "eprime_cm_s")}
        spread = {name: max(wanted[name].std(), 1e-6) for name in errors}
        rows.append(
            {
                "smooth_ms": float(smooth_ms),
                "mapse_mae_mm": errors["mapse_mm"],
                "eprime_mae_cm_s": errors["eprime_cm_s"],
                "error": sum(errors[name] / spread[name] for name in errors),
                "n": len(wanted),
            }
        )
    table = pd.DataFrame(rows)
    return float(table.loc[table["error"].idxmin(), "smooth_ms"]), table
