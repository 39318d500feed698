"""What one observer saw of one subject and session, and which of its frames are ED and ES."""

import numpy as np
import pandas as pd

from cmrlib.cine import Cine
from cmrlib.cohort import Annotation, Cohort, Observer


def studies(cohort: Cohort, observer: str, subjects=None, frames_from: str | None = None):
    """Yield (participant_id, session, view → (cine, annotation)) for all that an observer drew masks on.

    subjects: participant ids, all where None. frames_from: another observer (TempReg-Net) whose ED and ES
    count. Raises ValueError for unknown subjects, KeyError for unknown observers.
    """
    seen_by = cohort.observer(observer)
    timed_by = cohort.observer(frames_from) if frames_from else seen_by
    cines = cohort.cines
    if subjects is not None:
        unknown = sorted(set(subjects) - set(cohort.subjects["participant_id"]))
        if unknown:
            raise ValueError(f"subjects {unknown} are not in {cohort.path}")
        cines = cines[cines["participant_id"].isin(list(subjects))]
    ordered = cines.sort_values(["participant_id", "session", "view", "run"])
    for (participant, session), rows in ordered.groupby(["participant_id", "session"], sort=True):
        found = _open(cohort, seen_by, timed_by, rows)
        if found:
            yield participant, session, found


def _open(cohort: Cohort, seen_by: Observer, timed_by: Observer, rows: pd.DataFrame):
    """view → (cine, annotation); of several runs of a view the first that was looked at."""
    found = {}
    for name, view in zip(rows["cine"], rows["view"], strict=True):
        if view in found or not seen_by.has(name):
            continue
        annotation = seen_by.mask(name)
        if seen_by.has(name, "points.tsv"):
            annotation.points = seen_by.points(name)
        if timed_by.has(name, "frames.tsv"):
            annotation.frames = timed_by.frames(name)
        found[view] = cohort.cine(name), annotation
    return found


def missing_frames(cine: Cine) -> list[int]:
    """Frames of which at least one slice has no picture: nothing is measured on them."""
    return cine.incomplete_frames


def whole_sections(cohort: Cohort, row) -> list[int]:
    """Slices of one row of `cohort.cines` of which every frame is there; what looks at cycles leaves out the others."""
    if "missing_frames" not in str(row.flags).split(";"):
        return list(range(row.slices))
    return cohort.cine(row.cine).complete_slices


def given_phases(cine: Cine, annotation: Annotation) -> tuple[int, int] | None:
    """ED and ES (0-based) that the observer's frames or else the cohort name, None where neither does."""
    named = annotation.frames or {}
    for ed, es in ((named.get("ed"), named.get("es")), (cine.ed, cine.es)):
        if all(frame is not None and np.isfinite(frame) for frame in (ed, es)):
            for frame in (ed, es):
                if not 0 <= int(frame) < cine.frames:
                    raise ValueError(
                        f"{cine.name}: frame {int(frame)} was named ED or ES; the cine has "
                        f"{cine.frames} frames, counted from 0"
                    )
            return int(ed), int(es)
    return None


def only_phase(cine: Cine, annotation: Annotation) -> tuple[str, int] | None:
    """("ed" or "es", its frame) where the observer's frames, or else the cohort, name one of the two alone."""
    for named in (annotation.frames or {}, {"ed": cine.ed, "es": cine.es}):
        known = {
            name: int(named[name]) for name in ("ed", "es") if named.get(name) is not None and np.isfinite(named[name])
        }
        if len(known) == 1 and all(0 <= frame < cine.frames for frame in known.values()):
            return next(iter(known.items()))
    return None


def frame_times_ms(cine: Cine) -> np.ndarray:
    """Time of each frame (frames,), the median over slices; NaN where unknown."""
    times = cine.frame_times_ms
    if times is None or not np.isfinite(times).any(axis=0).all():
        return np.full(cine.frames, np.nan)
    return np.nanmedian(times, axis=0)


def cycle_ms(cine: Cine) -> float:
    """RR interval in ms, the median over slices, else frames × frame step; NaN where neither is known."""
    rr = cine.rr_ms
    if rr is not None and np.isfinite(rr).any():
        return float(np.nanmedian(rr))
    return float(cine.frames * cine.frame_step_ms)


def systole_fraction(cine: Cine, ed: int, es: int) -> float:
    """Time from ED to ES as a fraction of the cycle, by frame number where times are unknown."""
    times, cycle = frame_times_ms(cine), cycle_ms(cine)
    if np.isfinite(times[[ed, es]]).all() and np.isfinite(cycle):
        return float((times[es] - times[ed]) / cycle % 1)
    if cine.frames_of is not None:
        kept, total = cine.frames_of
        return (kept[es] - kept[ed]) % total / total if total else float("nan")
    return (es - ed) % cine.frames / cine.frames
