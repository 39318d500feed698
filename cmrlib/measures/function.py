"""Function beyond volumes: strain by lengths of outlines, phases of the LA, shape of the LV.

Strain here is geometric: the length of the endocardial outline at ES against ED. No tissue is followed, so values
differ from those of feature tracking and tagging, and only global ones are given. Tricuspid excursion is not: by
outlines it depends on the size of a pixel, even where they are perfect.
"""

import cv2
import numpy as np
from scipy.signal import find_peaks

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.cohort import Annotation
from cmrlib.measures.arealength import biplane_curve, chamber_curve, has_structure, valve_ends
from cmrlib.measures.curves import FEWEST_FRAMES, PeriodicFit, ed_es_from_curve
from cmrlib.measures.volumes import voxel_counts

_FINE_MM = 0.5
_SMOOTH_MM = 1.5
"""Outlines are found on masks of this pixel size, smoothed by this much (SD): a border's steps are no length."""
VIEWS_DIFFER_PCT = 8.0
"""Points of strain; two planes through one ventricle farther apart say that one outline is wrong (ours)."""
PROMINENCE = 0.1
"""Of the fastest emptying: how far it must slow down between the LA's passive and active emptying (ours)."""


def function_measures(views: dict, row: dict) -> dict:
    """Measures of one examination that rest on its outlines and on what `features` has in `row`.

    views: view → (cine, annotation); long axes that disagree with the short axis are not used. GLS: mean of 2CH and
    4CH, where these differ by no more than `VIEWS_DIFFER_PCT`. What the views cannot give is left out.
    """
    usable = {view: pair for view, pair in views.items() if pair[0].spacing_known}
    off = [view for view in ("2ch", "4ch") if f"{view}_off_sax" in str(row.get("flags", ""))]
    long = {view: usable[view] for view in ("2ch", "4ch") if view in usable and view not in off}
    found = {}
    strains = [longitudinal_strain_pct(*pair) for pair in long.values() if has_structure(pair[1], "lv")]
    if len(strains) == 2 and abs(strains[0] - strains[1]) <= VIEWS_DIFFER_PCT:
        found["lv_gls_pct"] = float(np.mean(strains))
    phases = [row.get(name, np.nan) for name in ("ed_frame", "es_frame")]
    if "sax" in usable and np.isfinite(np.array(phases, float)).all():
        found["lv_gcs_pct"] = circumferential_strain_pct(*usable["sax"], *map(int, phases))
    if np.isfinite(row.get("la_max_ml", np.nan)):
        found |= la_phases(biplane_curve(usable["2ch"], usable["4ch"], "la"), usable["4ch"][0].phase())
    lengths = []  # at the LV's largest
    for pair in long.values():
        area, length = chamber_curve(*pair, "lv")
        lengths += [length[np.nanargmax(area)]] if np.isfinite(area).any() else []
    return found | shape(row, float(np.nanmean(lengths)) if np.isfinite(lengths).any() else np.nan)


def longitudinal_strain_pct(cine: Cine, annotation: Annotation) -> float:
    """Change (%) of the LV's endocardial length, from one end of the mitral line round the apex to the other, from the
    frame of the largest cavity to that of the smallest; NaN below 8 frames with outline."""
    area, _ = chamber_curve(cine, annotation, "lv")
    length, phase = np.full(cine.frames, np.nan), cine.phase()
    for t in np.flatnonzero(area > 0):
        length[t] = endocardial_length_mm(np.asarray(annotation.mask[t, 0]), cine.spacing_mm[1:])
    try:
        ed, es = (phase[frame] for frame in ed_es_from_curve(np.where(area > 0, area, np.nan), phase))
        at_ed, at_es = PeriodicFit.of(length, phase).value(np.array([ed, es]))
    except ValueError:  # too few frames
        return float("nan")
    return float(100 * (at_es / at_ed - 1))


def endocardial_length_mm(mask2d, spacing_mm) -> float:
    """Length of the LV cavity's border in a long-axis mask (rows, columns) without the mitral line; NaN where the
    cavity does not touch the LA. spacing_mm: (row, column).

    The line's ends are the border's corners: where it reaches farthest both along the line and towards the LA.
    """
    ends = valve_ends(mask2d, spacing_mm, "lv")
    border = _border_mm(mask2d == STRUCTURES["lv"], spacing_mm)
    if ends is None or border is None:
        return float("nan")
    along = (ends[1] - ends[0]) / max(np.linalg.norm(ends[1] - ends[0]), 1e-9)
    towards = np.array([-along[1], along[0]])
    towards = towards if (ends.mean(0) - border.mean(0)) @ towards > 0 else -towards
    first, last = sorted(int((border @ (side * along + towards)).argmax()) for side in (-1, 1))
    steps = _steps_mm(border)
    one = steps[first:last].sum()
    return float(max(one, steps.sum() - one))


def _steps_mm(border) -> np.ndarray:
    """(n,) from each point of a closed line (n, 2) to the next one."""
    return np.linalg.norm(np.diff(border, axis=0, append=border[:1]), axis=1)


def _border_mm(region, spacing_mm):
    """(n, 2) x_mm, y_mm along the outer border of a region's largest piece (rows, columns), smoothed; else None."""
    if not region.any():
        return None
    rows, columns = (round(size * mm / _FINE_MM) for size, mm in zip(region.shape, spacing_mm))
    fine = cv2.resize(region.astype(np.float32), (columns, rows), interpolation=cv2.INTER_LINEAR)
    fine = cv2.GaussianBlur(fine, (0, 0), _SMOOTH_MM / _FINE_MM)
    lines, _ = cv2.findContours((fine >= 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not lines:
        return None
    line = max(lines, key=len)[:, 0].astype(float)
    # steps along rows and columns are longer than the border: the mean of neighbours is not
    width = min(9, len(line) // 2 * 2 - 1)
    padded = np.concatenate([line[-(width // 2) :], line, line[: width // 2]]) if width > 1 else line
    kernel = np.full(width, 1 / width) if width > 1 else np.ones(1)
    line = np.stack([np.convolve(padded[:, axis], kernel, "valid") for axis in (0, 1)], 1)
    return (line + 0.5) * _FINE_MM - 0.5 * np.array(spacing_mm[::-1])


def circumferential_strain_pct(cine: Cine, annotation: Annotation, ed: int, es: int) -> float:
    """Change (%) of the endocardial circumference from ED to ES, summed over the slices that hold cavity at both but
    for the first and the last of them; NaN below three slices."""
    counts = [voxel_counts(np.asarray(annotation.mask[t]), ("lv",))[:, 0] for t in (ed, es)]
    slices = np.flatnonzero(np.minimum(*counts) > 0)[1:-1]
    if not len(slices):
        return float("nan")
    around = []
    for t in (ed, es):
        borders = [_border_mm(annotation.mask[t, k] == STRUCTURES["lv"], cine.spacing_mm[1:]) for k in slices]
        around.append(sum(float(_steps_mm(border).sum()) for border in borders if border is not None))
    return float(100 * (around[1] / around[0] - 1)) if around[0] > 0 else float("nan")


def la_phases(volume_ml, phase) -> dict[str, float]:
    """LA volume before its contraction, and fractions (%): passive (conduit) of the largest volume, active (booster) of
    the volume before contraction; NaN without two waves of emptying, as in atrial fibrillation.

    volume_ml, phase: (frames,). The reservoir is the emptying fraction of `features`. Contraction begins where
    emptying is slowest between its two fastest moments.
    """
    nothing = dict.fromkeys(("la_prea_ml", "la_conduit_pct", "la_booster_pct"), np.nan)
    if np.isfinite(volume_ml).sum() < FEWEST_FRAMES:
        return nothing
    fit, fine = PeriodicFit.of(volume_ml, phase), np.arange(400) / 400
    start = int(fit.value(fine).argmax())
    after = fine[start] + fine
    value = fit.value(after)
    end = int(value.argmin())
    speed = -fit.slope(after[: end + 1])
    waves, _ = find_peaks(np.r_[0, speed, 0], prominence=PROMINENCE * max(float(speed.max(initial=0)), 1e-9))
    if len(waves) < 2:
        return nothing
    first, last = waves[0] - 1, waves[-1] - 1
    before = value[first + int(speed[first:last].argmin())]
    passive, active = 100 * (value[0] - before) / value[0], 100 * (before - value[end]) / before
    return {"la_prea_ml": float(before), "la_conduit_pct": float(passive), "la_booster_pct": float(active)}


def shape(row: dict, length_mm: float) -> dict[str, float]:
    """Sphericity (EDV over that of a sphere of the LV's length), mass over EDV (g/mL), peak filling rate over EDV."""
    edv = row.get("lvedv_ml", np.nan)
    return {
        "lv_sphericity": 1000 * edv / (np.pi / 6 * length_mm**3),
        "lv_mass_volume_g_ml": row.get("lvm_g", np.nan) / edv,
        "lv_pfr_edv_s": row.get("lv_pfr_ml_s", np.nan) / edv,
    }
