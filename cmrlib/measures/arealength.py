"""Long-axis masks → atrial and ventricular volumes by the area–length method.

V = 8/(3π) · A₂ · A₄ / L from 2CH and 4CH, L the shorter of the two lengths; single-plane 8/(3π) · A² / L
(Dodge et al. 1960; Lang et al., JASE 2015). Both are exact for ellipsoids cut along their axis.
"""

import cv2
import numpy as np
import pandas as pd

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import MITRAL_POINTS, STRUCTURES
from cmrlib.cohort import Annotation
from cmrlib.measures.volumes import voxel_counts

_PARTNER = {"la": "lv", "lv": "la", "ra": "rv", "rv": "ra"}
_CONTACT_MM = 5.0
_FACTOR = 8 / (3 * np.pi)


def biplane_ml(area_2ch_mm2, area_4ch_mm2, length_2ch_mm, length_4ch_mm):
    """Biplane area–length volume in mL; numbers or arrays, NaN where one of them is unknown. Single-plane with one
    view for both."""
    length = np.minimum(length_2ch_mm, length_4ch_mm)  # np.minimum hands NaN on
    with np.errstate(divide="ignore", invalid="ignore"):
        volume = _FACTOR * np.asarray(area_2ch_mm2, float) * area_4ch_mm2 / length / 1000
    return np.where(np.asarray(length) > 0, volume, np.nan)


def point_array(table: pd.DataFrame, view: str, frames: int) -> np.ndarray:
    """A points table (POINT_COLUMNS) → (frames, 2, 2) (column, row), NaN where a frame has none."""
    points = np.full((frames, 2, 2), np.nan)
    for i, name in enumerate(MITRAL_POINTS[view]):
        own = table[table["name"] == name]
        points[own["frame"].to_numpy(int), i] = own[["column_px", "row_px"]].to_numpy(float)
    return points


def valve_middle(mask2d, spacing_mm, structure: str):
    """Middle of the valve line, (x_mm, y_mm) in the plane, which a lopsided contact does not pull; None without one."""
    ends = valve_ends(mask2d, spacing_mm, structure)
    return None if ends is None else ends.mean(0)


def valve_ends(mask2d, spacing_mm, structure: str):
    """Both ends (2, 2) of the valve line, (x_mm, y_mm) in the plane, where a chamber touches its partner, else None.

    mask2d (rows, columns), spacing_mm (row, column). The line is fitted to the chamber's pixels within 5 mm
    of the partner (LA–LV, RA–RV).
    """
    chamber, partner = (mask2d == STRUCTURES[s] for s in (structure, _PARTNER[structure]))
    if not (chamber.any() and partner.any()):
        return None
    rows, columns = (2 * max(1, round(_CONTACT_MM / s)) + 1 for s in spacing_mm)
    near = (cv2.dilate(m.astype(np.uint8), np.ones((rows, columns), np.uint8)) > 0 for m in (chamber, partner))
    band = np.logical_and(*near) & (chamber | partner)
    if not (band & chamber).any():
        return None
    rows, columns = np.nonzero(band)
    points = np.c_[columns, rows] * np.array(spacing_mm[::-1])
    centre = points.mean(axis=0)
    along = np.linalg.svd(points - centre, full_matrices=False)[2][0]
    position = (points - centre) @ along
    return centre + np.outer([position.min(), position.max()], along)


def area_length(mask2d, spacing_mm, structure: str, valve_mm=None) -> tuple[float, float]:
    """Area (mm²) and length (mm) of a chamber in a long-axis mask (rows, columns), spacing_mm (row, column).

    The length runs from the middle of the valve (`valve_mm`, x and y in the plane, or where the chamber
    touches its partner) to the far border of the farthest pixel of the roof. NaN length where the valve
    cannot be found.
    """
    rows, columns = np.nonzero(mask2d == STRUCTURES[structure])
    area = len(rows) * spacing_mm[0] * spacing_mm[1]
    valve = valve_middle(mask2d, spacing_mm, structure) if valve_mm is None else np.asarray(valve_mm, float)
    if len(rows) == 0 or valve is None:
        return area, float("nan")
    spoke = np.c_[columns, rows] * np.array(spacing_mm[::-1]) - valve
    distance = np.hypot(*spoke.T)
    farthest = int(distance.argmax())
    # a pixel's centre lies half a pixel inside the border that it stands for
    half = np.abs(spoke[farthest]) / max(distance[farthest], 1e-9) @ np.array(spacing_mm[::-1]) / 2
    return area, float(distance[farthest] + half)


def chamber_curve(cine: Cine, annotation: Annotation, structure: str) -> tuple[np.ndarray, np.ndarray]:
    """Area (mm²) and length (mm) of a chamber in every frame, (frames,) each; NaN where not annotated.

    Mitral points of the annotation give the valve line of LA and LV where both lie in a frame. Uses slice 0.
    """
    area, length = np.full((2, cine.frames), np.nan)
    spacing, middles = cine.spacing_mm[1:], np.full((cine.frames, 2), np.nan)
    if annotation.points is not None and cine.view in MITRAL_POINTS and structure in ("la", "lv"):
        middles = point_array(annotation.points, cine.view, cine.frames).mean(axis=1) * np.array(spacing[::-1])
    for t, drawn in annotation.annotated.items():
        if structure in drawn:
            valve = middles[t] if np.isfinite(middles[t]).all() else None
            area[t], length[t] = area_length(np.asarray(annotation.mask[t, 0]), spacing, structure, valve)
    gone = cine.incomplete_frames
    area[gone] = length[gone] = np.nan
    return area, length


def resample_cyclic(values, phase, wanted) -> np.ndarray:
    """Values at phases → values at wanted phases, linear and cyclic; NaN next to a NaN and where phases are unknown."""
    phase, wanted, values = np.mod(phase, 1), np.mod(wanted, 1), np.asarray(values, float)
    if not np.isfinite(phase).all():
        return np.full(wanted.shape, np.nan)
    if phase.shape == wanted.shape and np.allclose(phase, wanted, atol=1e-3):
        return values  # the same frames: no neighbour's NaN may spread
    order = np.argsort(phase)
    return np.interp(wanted, phase[order], values[order], period=1)


def biplane_curve(two: tuple[Cine, Annotation], four: tuple[Cine, Annotation], structure: str) -> np.ndarray:
    """Biplane volume (frames of the 4CH,) mL of LA or LV, the 2CH brought to the 4CH's phases."""
    area4, length4 = chamber_curve(*four, structure)
    phases = two[0].phase(), four[0].phase()
    area2, length2 = (resample_cyclic(values, *phases) for values in chamber_curve(*two, structure))
    volume = biplane_ml(area2, area4, length2, length4)
    # an empty chamber is a failed segmentation here, not a volume of 0
    return np.where((area2 > 0) & (area4 > 0), volume, np.nan)


def single_plane_curve(cine: Cine, annotation: Annotation, structure: str = "ra") -> np.ndarray:
    """Single-plane volume (frames,) mL."""
    area, length = chamber_curve(cine, annotation, structure)
    return np.where(area > 0, biplane_ml(area, area, length, length), np.nan)


def has_structure(annotation: Annotation, structure: str) -> bool:
    """Whether any annotated frame holds a voxel of the structure."""
    return any(
        structure in drawn and voxel_counts(annotation.mask[t], (structure,)).any()
        for t, drawn in annotation.annotated.items()
    )
