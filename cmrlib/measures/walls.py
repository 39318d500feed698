"""Wall thickness by AHA segment from short-axis masks.

Both borders of the wall are found with subpixel precision on slightly smoothed masks, along rays from the cavity's
centre. Thickness is the distance from the middle of the wall to the nearest point of either border: it does not depend
on the obliquity of the ray, and concentric rings come out exact (centreline method, Sheehan et al., Circulation 1986).
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.spatial import cKDTree

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.cohort import Annotation
from cmrlib.measures.names import AHA_SEGMENTS
from cmrlib.measures.plausible import listed
from cmrlib.measures.postprocess import fill_holes
from cmrlib.measures.volumes import base_is_first

ANGLES = np.arange(360) * 2 * np.pi / 360
"""Directions of the rays, rad from columns to rows."""

_ACROSS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
_STEP_MM = 0.5
_CONTACT_MM = 4.0
_MARGIN_MM = 25.0
_EVEN_PX = 2.0
_ASSUMED = "wall_orientation_assumed"


class Ring(NamedTuple):
    """Wall of one slice. thickness_mm: (rays,) at ANGLES, NaN where open. septum: direction (rad) of the middle of the
    contact with the RV, else of the RV's centre, else NaN."""

    thickness_mm: np.ndarray
    septum: float


def ring_of(mask2d, spacing_mm) -> Ring | None:
    """Wall of one slice (rows, columns), spacing_mm (row, column); None where cavity or wall is missing."""
    cavity = fill_holes(mask2d == STRUCTURES["lv"])
    heart = fill_holes(cavity | (mask2d == STRUCTURES["myo"]))
    if not cavity.any() or not (mask2d == STRUCTURES["myo"]).any():
        return None
    margin = np.ceil(_MARGIN_MM / np.array(spacing_mm)).astype(int)  # what lies farther away does not matter
    ends = zip(ndimage.find_objects(heart.view(np.uint8))[0], margin)
    box = tuple(slice(max(0, s.start - m), s.stop + m) for s, m in ends)
    mask2d, cavity, heart = mask2d[box], cavity[box], heart[box]
    rows, columns = np.nonzero(cavity)
    centre = np.array([columns.mean() * spacing_mm[1], rows.mean() * spacing_mm[0]])  # x, y in mm
    endo, epi = (_border_mm(region, centre, spacing_mm) for region in (cavity, heart))
    wall = np.isfinite(endo) & np.isfinite(epi) & (epi > endo)
    wall &= _labels_at(mask2d, centre + _ACROSS * ((endo + epi) / 2)[:, None], spacing_mm) == STRUCTURES["myo"]
    if not wall.any():
        return None
    # pixel steps left in a border would make the nearest of its points too near
    endo, epi = (_even(border, wall, _EVEN_PX * max(spacing_mm)) for border in (endo, epi))
    endo_mm, epi_mm, middle_mm = ((_ACROSS * r[:, None])[wall] for r in (endo, epi, (endo + epi) / 2))
    thickness = np.full(len(ANGLES), np.nan)
    thickness[wall] = sum(cKDTree(border).query(middle_mm)[0] for border in (endo_mm, epi_mm))
    return Ring(thickness, _septum(mask2d, heart, centre, spacing_mm))


def _border_mm(region, centre, spacing_mm):
    """(rays,) distance from the centre at which a ray leaves the region for the last time, else NaN."""
    smooth = ndimage.gaussian_filter(region.astype(np.float32), 0.75 * max(spacing_mm) / np.array(spacing_mm))
    rows, columns = np.nonzero(region)
    farthest = np.hypot(columns * spacing_mm[1] - centre[0], rows * spacing_mm[0] - centre[1]).max()
    radius = np.arange(0, farthest + 2 * max(spacing_mm), _STEP_MM)
    points = centre + radius[:, None, None] * _ACROSS  # (radii, rays, 2)
    at = points[..., 1] / spacing_mm[0], points[..., 0] / spacing_mm[1]
    value = ndimage.map_coordinates(smooth, at, order=1, mode="constant")
    inside = value >= 0.5
    last = len(radius) - 1 - inside[::-1].argmax(axis=0)
    ray = np.arange(value.shape[1])
    valid = inside.any(axis=0) & (last < len(radius) - 1)
    here, there = value[last, ray], value[np.minimum(last + 1, len(radius) - 1), ray]
    share = np.divide(here - 0.5, here - there, out=np.zeros_like(here), where=here > there)
    return np.where(valid, radius[last] + share * _STEP_MM, np.nan)


def _even(border, wall, sigma_mm):
    """Border (rays,) mm evened out along its arc, over rays that see a wall only."""
    sigma = sigma_mm / (border[wall].mean() * 2 * np.pi / len(border))
    weight = ndimage.gaussian_filter1d(wall.astype(float), sigma, mode="wrap")
    value = ndimage.gaussian_filter1d(np.where(wall, border, 0.0), sigma, mode="wrap")
    return np.divide(value, weight, out=np.full(len(border), np.nan), where=wall)


def _labels_at(mask2d, points_mm, spacing_mm):
    at = np.nan_to_num(points_mm) / (spacing_mm[1], spacing_mm[0])
    columns, rows = np.clip(np.rint(at).astype(int), 0, np.array(mask2d.shape[::-1]) - 1).T
    return mask2d[rows, columns]


def _septum(mask2d, heart, centre, spacing_mm):
    rv = mask2d == STRUCTURES["rv"]
    if not rv.any():
        return float("nan")
    near = rv & (ndimage.distance_transform_edt(~heart, spacing_mm) <= _CONTACT_MM)
    rows, columns = np.nonzero(near if near.any() else rv)
    way = np.c_[columns * spacing_mm[1], rows * spacing_mm[0]] - centre
    mean = (way / np.linalg.norm(way, axis=1, keepdims=True)).mean(axis=0)
    return float(np.arctan2(mean[1], mean[0]))


def segment_sense(cine: Cine, base_first: bool) -> tuple[int, list[str]]:
    """Sense of anterior → septal → inferior → lateral in the image: +1 from columns towards rows, −1 against.

    Seen from the apex the segments run anticlockwise. The affine says from where the image is seen. A short axis that
    lies exactly along the scanner's axes is no real geometry (copies of ACDC): the usual display, from the apex (−1),
    is assumed and flagged.
    """
    direction = np.asarray(cine.affine)[:3, :3] / np.linalg.norm(np.asarray(cine.affine)[:3, :3], axis=0)
    if (np.abs(direction).max(axis=0) > np.cos(np.deg2rad(1))).all():
        return -1, [_ASSUMED]
    towards_apex = direction[:, 2] * (1 if base_first else -1)
    return int(np.sign(np.cross(direction[:, 0], direction[:, 1]) @ towards_apex)), []


def segment_numbers(angles, septum: float, sense: int, level: int) -> np.ndarray:
    """AHA segment (rays,) of each angle; level 0 base, 1 mid, 2 apex. `septum` parts segments 2 and 3."""
    turn = np.rad2deg(sense * (angles - septum))
    if level == 2:
        return np.floor((turn + 135) / 90).astype(int) % 4 + 13
    return np.floor((turn + 120) / 60).astype(int) % 6 + 1 + 6 * level


def wall_thickness(cine: Cine, annotation: Annotation, frame: int) -> tuple[pd.DataFrame, list[str]]:
    """16 rows: segment, name, thickness_mm, max_mm (largest mean of a slice's sector), valid_share; flags.

    Base, mid and apex are thirds of the slices with LV cavity in this frame. NaN with a flag where less than half of a
    segment's wall can be seen, or where no RV shows the septum. Raises ValueError where spacing is unknown or LV and
    myocardium were not annotated in the frame.
    """
    if not {"lv", "myo"} <= set(annotation.annotated.get(frame, ())):
        raise ValueError(f"{cine.name}: LV and myocardium are not annotated in frame {frame}")
    mask, spacing = np.asarray(annotation.mask[frame]), cine.spacing_mm[1:]
    slices = np.flatnonzero((mask == STRUCTURES["lv"]).any(axis=(1, 2)))
    if len(slices) == 0:
        return _summary([]), ["wall_no_lv"]
    base_first = base_is_first(mask)
    sense, flags = segment_sense(cine, base_first)
    rings = [ring_of(mask[k], spacing) for k in (slices if base_first else slices[::-1])]  # from the base
    known = [n for n, ring in enumerate(rings) if ring is not None and np.isfinite(ring.septum)]
    if not known:
        return _summary([]), [*flags, "wall_septum_unknown"]
    parts = []
    for n, ring in enumerate(rings):
        if ring is not None:
            septum = rings[min(known, key=lambda m: abs(m - n))].septum
            numbers = segment_numbers(ANGLES, septum, sense, level=int(3 * (n + 0.5) / len(rings)))
            parts.append(pd.DataFrame({"slice": n, "segment": numbers, "thickness_mm": ring.thickness_mm}))
    table = _summary(parts)
    undefined = table.loc[table["thickness_mm"].isna(), "segment"]
    return table, flags + ([f"wall_undefined:{listed(undefined)}"] if len(undefined) else [])


def _summary(parts) -> pd.DataFrame:
    """Rays of all slices → 16 rows; NaN where less than half of a segment's (or sector's) rays see a wall."""
    rays = pd.concat(parts or [pd.DataFrame({"slice": [], "segment": [], "thickness_mm": []})])

    def mean(groups):
        return groups["thickness_mm"].mean().where(groups["thickness_mm"].count() >= groups.size() / 2)

    by_segment = rays.groupby("segment")
    table = pd.DataFrame({"name": pd.Series(AHA_SEGMENTS)}).rename_axis("segment")
    table["thickness_mm"] = mean(by_segment)
    table["max_mm"] = mean(rays.groupby(["segment", "slice"])).groupby("segment").max()
    table["valid_share"] = (by_segment["thickness_mm"].count() / by_segment.size()).reindex(table.index).fillna(0.0)
    return table.reset_index()


def wall_measures(cine: Cine, annotation: Annotation, phases: dict[str, int]) -> tuple[dict[str, float], list[str]]:
    """Wall thickness at ED and ES and thickening of every segment, under the names of `MEASURES`; flags.

    phases: "ed" and "es" → frame.
    """
    values, flags = {}, []
    for phase, frame in phases.items():
        if not {"lv", "myo"} <= set(annotation.annotated.get(frame, ())):
            flags.append(f"{phase}_wall_not_annotated")
            continue
        table, found = wall_thickness(cine, annotation, frame)
        flags += [flag if flag == _ASSUMED else f"{phase}_{flag}" for flag in found]
        values[f"wall_{phase}_max_mm"] = table["max_mm"].max()
        values |= {f"wall_{phase}_{row.segment:02d}_mm": row.thickness_mm for row in table.itertuples()}
    for n in AHA_SEGMENTS:
        ed, es = (values.get(f"wall_{phase}_{n:02d}_mm", np.nan) for phase in ("ed", "es"))
        values[f"thickening_{n:02d}_pct"] = 100 * (es - ed) / ed
    return values, list(dict.fromkeys(flags))  # the display's orientation is one assumption, not two
