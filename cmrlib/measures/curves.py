"""Volume–time curves of every chamber; ED and ES from the curve; peak ejection and filling rates; frames that jump.

Smoothing is periodic as the heart is: a Fourier series fitted by least squares at the true times.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.cohort import Cohort
from cmrlib.measures.arealength import biplane_curve, has_structure, single_plane_curve
from cmrlib.measures.phases import RefusedError
from cmrlib.measures.volumes import Conventions, volumes

HARMONICS = 6
"""Separates e' and a' waves at 60 beats per minute and leaves out the noise of a 30-frame segmentation."""

FEWEST_FRAMES = 8
"""Fewer frames are a set of phases, not a curve."""

JUMP_SHARE, LEAST_SHARE = 0.2, 0.1
"""How far a frame must lie beyond both its neighbours to be a jump: of the curve's range, and of its mean (ours)."""

COLUMNS = ["participant_id", "session", "view", "structure"]
COLUMNS += ["frame", "time_ms", "volume_ml", "area_mm2", "convention"]


@dataclass(frozen=True)
class PeriodicFit:
    """Fourier series of a curve over one cycle: `value(phase)`, `slope(phase)` per cycle, phase in 0…1."""

    coefficients: np.ndarray

    @classmethod
    def of(cls, values, phase) -> "PeriodicFit":
        """Least squares over the finite values (n,), with at most a third as many harmonics as values.

        Raises ValueError below `FEWEST_FRAMES` finite values: nothing can be smoothed then.
        """
        values, phase = np.asarray(values, float), np.asarray(phase, float)
        known = np.isfinite(values) & np.isfinite(phase)
        if known.sum() < FEWEST_FRAMES:
            raise ValueError(f"{known.sum()} known values in a cycle; a curve needs at least {FEWEST_FRAMES}")
        basis = fourier_basis(phase[known], min(HARMONICS, int(known.sum()) // 3))
        return cls(np.linalg.lstsq(basis, values[known], rcond=None)[0])

    @property
    def harmonics(self) -> int:
        return (len(self.coefficients) - 1) // 2

    def value(self, phase) -> np.ndarray:
        return fourier_basis(phase, self.harmonics) @ self.coefficients

    def slope(self, phase) -> np.ndarray:
        n = np.arange(1, self.harmonics + 1) * 2 * np.pi
        cosine, sine = self.coefficients[1 : self.harmonics + 1], self.coefficients[self.harmonics + 1 :]
        return fourier_basis(phase, self.harmonics) @ np.r_[0, n * sine, -n * cosine]


def fourier_basis(phase, harmonics):
    """(…, 1 + 2 · harmonics) at phases (…): 1, cosines, sines."""
    angle = 2 * np.pi * np.multiply.outer(np.asarray(phase, float), np.arange(1, harmonics + 1))
    return np.concatenate([np.ones((*angle.shape[:-1], 1)), np.cos(angle), np.sin(angle)], axis=-1)


def ed_es_from_curve(volume_ml, phase=None) -> tuple[int, int]:
    """ED (largest) and ES (smallest) frame, 0-based, of a periodic volume curve (frames,).

    Chosen on the smoothed curve among frames whose volume is known; with fewer than 8 of them on the values themselves.
    phase: (frames,) position in the cycle, default evenly spaced. Raises ValueError where fewer than two volumes are
    known or all are the same.
    """
    volume = np.asarray(volume_ml, float)
    phase = np.arange(len(volume)) / len(volume) if phase is None else np.asarray(phase, float)
    known = np.flatnonzero(np.isfinite(volume))
    if len(known) < 2 or np.ptp(volume[known]) == 0:
        raise ValueError(f"{len(known)} known volumes, too few or all the same; ED and ES cannot be found")
    usable = np.isfinite(phase[known]).all() and len(known) >= FEWEST_FRAMES
    smooth = PeriodicFit.of(volume, phase).value(phase[known]) if usable else volume[known]
    return int(known[smooth.argmax()]), int(known[smooth.argmin()])


def peak_rates(volume_ml, times_ms, rr_ms) -> dict[str, float]:
    """Peak ejection and filling rates of a volume curve (frames,) at true times (frames,).

    per_ml_s and pfr_ml_s: steepest fall and rise of the fitted curve, both positive. per_time_ms: after its
    largest volume (ED); pfr_time_ms: after its smallest (ES). NaN where times are unknown or fewer than 8
    volumes known.
    """
    times = np.asarray(times_ms, float)
    known = np.isfinite(volume_ml) & np.isfinite(times)
    if known.sum() < FEWEST_FRAMES or not np.isfinite(rr_ms):
        return dict.fromkeys(("per_ml_s", "per_time_ms", "pfr_ml_s", "pfr_time_ms"), float("nan"))
    fit = PeriodicFit.of(volume_ml, times / rr_ms)
    fine = np.linspace(0, 1, 2000, endpoint=False)
    value, slope = fit.value(fine), fit.slope(fine)
    fall, rise = slope.argmin(), slope.argmax()
    return {
        "per_ml_s": float(-slope[fall] * 1000 / rr_ms),
        "per_time_ms": float((fine[fall] - fine[value.argmax()]) % 1 * rr_ms),
        "pfr_ml_s": float(slope[rise] * 1000 / rr_ms),
        "pfr_time_ms": float((fine[rise] - fine[value.argmin()]) % 1 * rr_ms),
    }


def curves(cohort: Cohort, observer: str, conventions: Conventions | None = None, subjects=None) -> pd.DataFrame:
    """Long table of every chamber in every frame: participant_id, session, view, structure, frame, time_ms,
    volume_ml, area_mm2, convention.

    Short axis: volume of LV, myocardium, RV. Long axis: area of every structure, RA volume (single plane); view
    `2ch+4ch`: LA and LV volume (biplane) at the 4CH's frames. Raises RefusedError where the cohort kept a few frames or
    where spacing is unknown.
    """
    conventions, tables = conventions or Conventions(), [pd.DataFrame(columns=COLUMNS)]
    for participant, session, views in cohort.examinations(observer, subjects):
        keys = {"participant_id": participant, "session": session, "convention": str(conventions)}
        for view, structure, cine, values in _curves(views, conventions):
            frames = {"frame": np.arange(cine.frames), "time_ms": cine.times_ms}
            tables.append(pd.DataFrame(keys | {"view": view, "structure": structure} | frames | values))
    return pd.concat(tables[1:] or tables, ignore_index=True).reindex(columns=COLUMNS)


def _curves(views, conventions):
    """Yield (view, structure, cine, {column: (frames,)}) of one examination."""
    for view, (cine, annotation) in views.items():
        if cine.frames_of is not None and cine.frames < FEWEST_FRAMES:
            kept = f"this cohort keeps {cine.frames} of {cine.frames_of[1]} frames, so there is no volume–time curve"
            raise RefusedError(cine.name, kept, "ingest the whole cine, or use volumes at ED and ES")
        if not cine.spacing_known:
            raise RefusedError(cine.name, "pixel spacing is unknown", "give it when the data is ingested")
        drawn = set().union(*annotation.annotated.values())
        drawn = [s for s in STRUCTURES if s in drawn]
        if view == "sax":
            tables = {"volume_ml": volumes(cine, annotation, drawn, conventions)}
        else:  # one slice: its voxels times the size of a pixel
            pixel_mm2 = cine.spacing_mm[1] * cine.spacing_mm[2]
            tables = {"area_mm2": volumes(cine, annotation, drawn, relative=True) * pixel_mm2}
        for n, structure in enumerate(drawn):
            values = {column: table[:, n] for column, table in tables.items()}
            if view == "4ch" and structure == "ra":
                values["volume_ml"] = single_plane_curve(cine, annotation)
            yield view, structure, cine, values
    for structure in ("la", "lv"):
        if all(view in views and has_structure(views[view][1], structure) for view in ("2ch", "4ch")):
            volume = biplane_curve(views["2ch"], views["4ch"], structure)
            yield "2ch+4ch", structure, views["4ch"][0], {"volume_ml": volume}


def with_phases(table: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """`curves` with a column phase: "ED" and "ES" at the frames of `features`, else empty."""
    frames = measured[["participant_id", "session", "ed_frame", "es_frame"]]
    joined = table.merge(frames, on=["participant_id", "session"], how="left")
    ed, es = ((joined["frame"] == joined[name]).fillna(False) for name in ("ed_frame", "es_frame"))
    return joined.assign(phase=np.where(ed, "ED", np.where(es, "ES", "")))


def jumps(values) -> list[int]:
    """Frames (0-based) of a periodic curve (frames,) of volumes or areas that lie above both neighbours, or below both,
    by more than `JUMP_SHARE` of the range of the other frames and `LEAST_SHARE` of the mean. NaN frames do not
    count."""
    values = np.asarray(values, float)
    before, after = values - np.roll(values, 1), values - np.roll(values, -1)
    off = np.where(before * after > 0, np.minimum(abs(before), abs(after)), 0.0)
    found = []
    for t in np.flatnonzero(off > LEAST_SHARE * np.nanmean(values) if np.isfinite(values).any() else off > np.inf):
        others = np.delete(values, t)
        found += [int(t)] if off[t] > JUMP_SHARE * (np.nanmax(others) - np.nanmin(others)) else []
    return found


def jump_flags(curves) -> list[str]:
    """Flags `view: structure_jump:frames` (from 1) of a table of `measures.curves`."""
    flags = []
    for (view, structure), curve in curves.groupby(["view", "structure"], sort=False):
        if view != "2ch+4ch":  # made of the two views' areas
            column = "volume_ml" if view == "sax" else "area_mm2"
            found = jumps(curve.sort_values("frame")[column])
            flags += [f"{view}: {structure}_jump:{','.join(str(t + 1) for t in found)}"] if found else []
    return flags
