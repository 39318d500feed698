"""Simulated annotators: offset by convention, bias and jitter.

Two conventions for mitral points, as in MVnet's data (Gonzales 2021, methods): at Yale where the valve meets the
myocardium, at Lund on the most basal compact myocardium; two annotators each. Errors are as large as the paper's: two
annotators of one convention differ in points by 2.7 (Yale) and 3.9 mm (Lund) on average, yet Lund's agree better on
motion, so their error is steadier; displacement differs by 1.2 mm (SD). Outlines differ about as those of core
laboratories (Suinesiaputra, JCMR 2015). ED and ES are outlined, points are placed in every frame.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import BACKGROUND, NOT_ANNOTATED, STRUCTURES
from cmrlib.cohort import Annotation
from cmrlib.measures.valve import point_array, points_table
from cmrlib.measures.volumes import ring_fraction

LUND_OUTWARD_MM, LUND_APICAL_MM = 3.5, 1.5
"""From the hinge of the leaflet to the middle of the wall's basal end (ours)."""

CONTOUR_SD_MM, SLIP = 0.4, 0.15
"""SD of the bias of outlines between cases; chance of choosing the frame beside ED or ES."""


class Annotator(NamedTuple):
    """One simulated annotator. convention: hinge (Yale) or compact (Lund).

    point_sd_mm: steady error of a point in one cine; jitter_mm: error that drifts from frame to frame. contour_mm:
    outward bias of outlines. basal_ring: least share of the cavity's border that must be muscle for a basal slice to
    count.
    """

    convention: str
    point_sd_mm: float
    jitter_mm: float
    contour_mm: float = 0.0
    basal_ring: float = 0.5


ANNOTATORS = {
    "yale": Annotator("hinge", point_sd_mm=0.7, jitter_mm=1.4),
    "yale2": Annotator("hinge", point_sd_mm=0.7, jitter_mm=1.4, contour_mm=0.3, basal_ring=0.6),
    "lund": Annotator("compact", point_sd_mm=2.0, jitter_mm=0.9, contour_mm=-0.2, basal_ring=0.35),
    "lund2": Annotator("compact", point_sd_mm=2.0, jitter_mm=0.9, contour_mm=0.1, basal_ring=0.5),
}


def annotate(name: str, cine: Cine, truth: Annotation, seed) -> Annotation:
    """Annotation of a cine by annotator `name` of `ANNOTATORS`, from its ground truth. seed: ints; same seed and name,
    same result."""
    annotator = ANNOTATORS[name]
    rng = np.random.default_rng([*seed, *cine.view.encode(), *name.encode()])
    frames = _key_frames(cine, truth, rng)
    mask = np.full(cine.pixels.shape, NOT_ANNOTATED, np.uint8)
    drawn = sorted({frames["ed"], frames["es"]})
    steady = annotator.contour_mm + CONTOUR_SD_MM * rng.standard_normal()
    least = annotator.basal_ring + 0.1 * rng.standard_normal()
    for t in drawn:
        for k in range(mask.shape[1]):
            mask[t, k] = _outline(truth.mask[t, k], steady, cine.spacing_mm[1:], rng)
        if cine.view == "sax":
            _leave_out_base(mask[t], least)
    return Annotation(mask, {t: truth.annotated[t] for t in drawn}, _points(annotator, cine, truth, rng), frames)


def _key_frames(cine, truth, rng):
    """ED and ES, now and then the neighbour's frame; never the same one for both."""
    right = {phase: int(truth.frames[phase]) for phase in ("ed", "es")}
    slips = [int(rng.choice([-1, 1])) if rng.random() < SLIP else 0 for _ in right]
    chosen = {phase: (frame + slip) % cine.frames for (phase, frame), slip in zip(right.items(), slips)}
    chosen = right if chosen["ed"] == chosen["es"] else chosen
    return chosen | {"ed_frac": float(chosen["ed"]), "es_frac": float(chosen["es"]), "confidence": 1.0}


def _outline(labels, shift_mm, spacing_mm, rng):
    """Labels (rows, columns) of a slice with every border moved by the steady error and a slow wave."""
    seen = np.unique(labels)
    out = np.zeros_like(labels)
    lv, myo = STRUCTURES["lv"], STRUCTURES["myo"]
    free = labels == BACKGROUND
    for code in (c for c in seen if c not in (BACKGROUND, lv, myo)):
        moved = _moved(labels == code, shift_mm, spacing_mm, rng)
        out[moved & (free | (labels == code))] = code
    wall = np.isin(labels, [lv, myo])
    if wall.any():
        outer = _moved(wall, shift_mm, spacing_mm, rng) & (free | wall)
        inner = _moved(labels == lv, shift_mm, spacing_mm, rng)
        # a cavity stays inside its wall; at the valve plane, far from muscle, there is none to stay inside of
        open_end = (labels == lv) & ~ndimage.binary_dilation(labels == myo, iterations=3)
        out[outer] = myo
        out[outer & ((inner & ((labels == lv) | ndimage.binary_erosion(outer))) | open_end)] = lv
    return out


def _moved(region, shift_mm, spacing_mm, rng, wave_mm=0.6):
    """Region whose border lies `shift_mm` further out, plus a wave of two to four turns around its centre."""
    if not region.any():
        return region
    inside, outside = (ndimage.distance_transform_edt(side, sampling=spacing_mm) for side in (region, ~region))
    half = 0.5 * float(np.mean(spacing_mm))
    depth = np.where(region, inside - half, half - outside)
    r, c = np.nonzero(region)
    angle = np.arctan2(np.arange(len(region))[:, None] - r.mean(), np.arange(region.shape[1])[None] - c.mean())
    wave = sum(rng.normal(0, wave_mm / np.sqrt(3)) * np.cos(n * angle + rng.uniform(0, 2 * np.pi)) for n in (2, 3, 4))
    moved = depth + shift_mm + wave > 0
    return moved if moved.any() else region


def _leave_out_base(stack, least):
    """Basal slices in which too little muscle surrounds the cavity count as atrium: all but the RV is left out."""
    lv, myo = STRUCTURES["lv"], STRUCTURES["myo"]
    for image in stack:  # the first slices are basal
        if not (image == lv).any():
            continue
        if ring_fraction(image) >= least:
            return
        image[np.isin(image, [lv, myo])] = BACKGROUND


def _points(annotator, cine, truth, rng) -> pd.DataFrame | None:
    """The truth's points, moved by convention, a steady error and a wandering one; mm are in the image plane."""
    if truth.points is None:
        return None
    spacing = np.array(cine.spacing_mm[:0:-1], float)  # column, row
    mm = point_array(truth.points, cine.view, cine.frames) * spacing  # (frames, 2, 2)
    if annotator.convention == "compact":
        mm = mm + _compact(mm, truth.mask, spacing)
    for i in range(2):
        mm[:, i] += rng.normal(0, annotator.point_sd_mm, 2) + _wander(cine.frames, annotator.jitter_mm, rng)
    return points_table(cine, mm / spacing, np.ones(cine.frames))


def _compact(mm, mask, spacing):
    """Steps from the hinges to the compact myocardium: outward along the valve plane, a little towards the apex."""
    steps = np.zeros_like(mm)
    for t, pair in enumerate(mm):
        along = (pair[1] - pair[0]) / max(np.linalg.norm(pair[1] - pair[0]), 1e-6)
        r, c = np.nonzero(mask[t, 0] == STRUCTURES["lv"])
        apical = np.array([c.mean(), r.mean()]) * spacing - pair.mean(0) if len(r) else np.zeros(2)
        apical -= along * (apical @ along)
        apical /= max(np.linalg.norm(apical), 1e-6)
        steps[t] = np.outer([-LUND_OUTWARD_MM, LUND_OUTWARD_MM], along) + LUND_APICAL_MM * apical
    return steps


def _wander(n, sd_mm, rng, memory=0.7):
    """(n, 2) mm: an error that drifts from frame to frame, periodic with the cycle."""
    noise = rng.standard_normal((n, 2))
    kernel = memory ** np.minimum(np.arange(n), n - np.arange(n))
    wander = np.fft.ifft(np.fft.fft(noise, axis=0) * np.fft.fft(kernel)[:, None], axis=0).real
    return sd_mm * wander / np.sqrt((kernel**2).sum())
