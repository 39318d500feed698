"""Wall thickness by AHA segment from short-axis masks.

Both borders of the wall are found to a fraction of a pixel on slightly smoothed masks, along rays from the
cavity's centre. Thickness is measured midway between them, as the way to the nearest point of either border:
no obliquity of the ray enters, and concentric rings come out exact (the centreline idea of Sheehan et al.,
Circulation 1986).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.spatial import cKDTree

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.cohort import Annotation, Cohort
from cmrlib.measures.names import AHA_SEGMENTS
from cmrlib.measures.postprocess import fill_holes
from cmrlib.measures.studies import given_phases, studies
from cmrlib.measures.volumes import base_is_first

RAYS = 360
_STEP_MM = 0.5
_CONTACT_MM = 4.0
_MARGIN_MM = 25.0
_EVEN_PX = 2.0
_ASSUMED = "wall_orientation_assumed"
_TABLE = ["segment", "name", "thickness_mm", "max_mm", "valid_share"]


@dataclass(frozen=True)
class Ring:
    """One slice's wall: angles (rays,) rad from columns to rows, thickness_mm (rays,), NaN where open."""

    angles: np.ndarray
    thickness_mm: np.ndarray
    septum: float


def ring_of(mask2d, spacing_mm) -> Ring | None:
    """Wall of one slice (rows, columns), spacing_mm (row, column); None where cavity or wall lacks.

    Ring.septum: direction (rad) of the middle of the contact with the RV, else of the RV's centre, else NaN.
    """
    cavity = fill_holes(mask2d == STRUCTURES["lv"])
    heart = fill_holes(cavity | (mask2d == STRUCTURES["myo"]))
    if not cavity.any() or not (mask2d == STRUCTURES["myo"]).any():
        return None
    box = _box(heart, [int(np.ceil(_MARGIN_MM / s)) for s in spacing_mm])  # nothing farther away matters
    mask2d, cavity, heart = mask2d[box], cavity[box], heart[box]
    rows, columns = np.nonzero(cavity)
    centre = np.array([columns.mean() * spacing_mm[1], rows.mean() * spacing_mm[0]])  # x, y in mm
    angles = np.arange(RAYS) * 2 * np.pi / RAYS
    across = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    endo, epi = (_border_mm(region, centre, across, spacing_mm) for region in (cavity, heart))
    wall = np.isfinite(endo) & np.isfinite(epi) & (epi > endo)
    wall &= _labels_at(mask2d, centre + across * ((endo + epi) / 2)[:, None], spacing_mm) == STRUCTURES["myo"]
    if not wall.any():
        return None
    # pixel steps left in a border would make the nearest of its points too near
    endo, epi = (_even(border, wall, _EVEN_PX * max(spacing_mm)) for border in (endo, epi))
    middle = centre + across * ((endo + epi) / 2)[:, None]
    thickness = np.full(RAYS, np.nan)
    thickness[wall] = sum(
        cKDTree(centre + across[wall] * border[wall, None]).query(middle[wall])[0] for border in (endo, epi)
    )
    return Ring(angles, thickness, _septum(mask2d, heart, centre, spacing_mm))


def _box(region, margin):
    """Slices of rows and columns around a region (rows, columns)."""

    def span(line, extra):
        inside = np.flatnonzero(line)
        return slice(max(0, inside[0] - extra), inside[-1] + extra + 1)

    return span(region.any(axis=1), margin[0]), span(region.any(axis=0), margin[1])


def _border_mm(region, centre, across, spacing_mm):
    """(rays,) distance from the centre at which a ray leaves the region for the last time, else NaN."""
    smooth = ndimage.gaussian_filter(region.astype(np.float32), 0.75 * max(spacing_mm) / np.array(spacing_mm))
    radius = np.arange(0, _farthest_mm(region, centre, spacing_mm) + 2 * max(spacing_mm), _STEP_MM)
    points = centre + radius[:, None, None] * across  # (radii, rays, 2)
    value = ndimage.map_coordinates(
        smooth, [points[..., 1] / spacing_mm[0], points[..., 0] / spacing_mm[1]], order=1, mode="constant"
    )
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


def _farthest_mm(region, centre, spacing_mm):
    rows, columns = np.nonzero(region)
    return np.hypot(columns * spacing_mm[1] - centre[0], rows * spacing_mm[0] - centre[1]).max()


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

    Seen from the apex the segments run anticlockwise. The affine says from where the image is seen. A short
    axis that lies exactly along the scanner's axes is no real geometry (ACDC's copies): then the usual
    display is assumed (seen from the apex, −1) and flagged.
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

    Base, mid and apex are thirds of the slices with LV cavity in this frame. NaN with a flag where less than
    half of a segment's wall can be seen, or where no RV tells the septum. Raises ValueError where spacing is
    unknown or LV and myocardium were not annotated in the frame.
    """
    if not {"lv", "myo"} <= set(annotation.annotated.get(frame, ())):
        raise ValueError(f"{cine.name}: LV and myocardium are not annotated in frame {frame}")
    mask, spacing = np.asarray(annotation.mask[frame]), cine.spacing_mm[1:]
    slices = np.flatnonzero((mask == STRUCTURES["lv"]).any(axis=(1, 2)))
    if len(slices) == 0:
        return _summary([]), ["wall_no_lv"]
    rings = [(k, ring_of(mask[k], spacing)) for k in slices]
    base_first = base_is_first(mask)
    sense, flags = segment_sense(cine, base_first)
    order = rings if base_first else rings[::-1]
    known = [n for n, (_, ring) in enumerate(order) if ring is not None and np.isfinite(ring.septum)]
    if not known:
        return _summary([]), [*flags, "wall_septum_unknown"]
    parts = []
    for n, (k, ring) in enumerate(order):
        if ring is not None:
            septum = order[min(known, key=lambda m: abs(m - n))][1].septum
            level = int(3 * (n + 0.5) / len(order))
            numbers = segment_numbers(ring.angles, septum, sense, level)
            parts.append(pd.DataFrame({"slice": k, "segment": numbers, "thickness_mm": ring.thickness_mm}))
    table = _summary(parts)
    undefined = table.loc[table["thickness_mm"].isna(), "segment"]
    if len(undefined):
        flags.append("wall_undefined:" + ",".join(map(str, undefined)))
    return table, flags


def _summary(parts) -> pd.DataFrame:
    """Rays of all slices → 16 rows; NaN where less than half of a segment's (or sector's) rays see a wall."""
    empty = pd.DataFrame({"slice": [], "segment": [], "thickness_mm": []})
    rays = pd.concat(parts) if parts else empty

    def mean(groups):
        return groups["thickness_mm"].mean().where(groups["thickness_mm"].count() >= groups.size() / 2)

    by_segment = rays.groupby("segment")
    sectors = mean(rays.groupby(["segment", "slice"])).groupby("segment").max()
    table = pd.DataFrame({"name": pd.Series(AHA_SEGMENTS)}).rename_axis("segment")
    table["thickness_mm"], table["max_mm"] = mean(by_segment), sectors
    table["valid_share"] = (by_segment["thickness_mm"].count() / by_segment.size()).reindex(table.index).fillna(0.0)
    return table.reset_index()[_TABLE]


def walls(cohort: Cohort, observer: str, subjects=None, frames_from: str | None = None) -> pd.DataFrame:
    """Long table by segment: participant_id, session, segment, name, ed_mm, es_mm, thickening_pct, flags.

    ED and ES are those that the observer's frames or the cohort name; studies without are flagged
    `wall_no_phases`.
    """
    tables = []
    for participant, session, found in studies(cohort, observer, subjects, frames_from):
        if "sax" in found:
            table = study_walls(*found["sax"])
            table.insert(0, "participant_id", participant)
            table.insert(1, "session", session)
            tables.append(table)
    columns = ["participant_id", "session", "segment", "name", "ed_mm", "es_mm", "thickening_pct", "flags"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def study_walls(cine: Cine, annotation: Annotation, phases: tuple[int, int] | None = None) -> pd.DataFrame:
    """16 rows: segment, name, ed_mm, es_mm, ed_max_mm, es_max_mm, thickening_pct, flags (repeated)."""
    phases = phases or given_phases(cine, annotation)
    tables, flags = [], [] if phases else ["wall_no_phases"]
    for phase, frame in zip(("ed", "es"), phases or (None, None), strict=True):
        if frame is not None and {"lv", "myo"} <= set(annotation.annotated.get(frame, ())):
            table, found = wall_thickness(cine, annotation, frame)
        else:
            table, found = _summary([]), ["wall_not_annotated"] if phases else []
        flags += [flag if flag == _ASSUMED else f"{phase}_{flag}" for flag in found]
        tables.append(table.rename(columns={"thickness_mm": f"{phase}_mm", "max_mm": f"{phase}_max_mm"}))
    flags = list(dict.fromkeys(flags))  # the display's orientation is one assumption, not two
    both = tables[0][["segment", "name", "ed_mm", "ed_max_mm"]].join(tables[1][["es_mm", "es_max_mm"]])
    both["thickening_pct"] = 100 * (both["es_mm"] - both["ed_mm"]) / both["ed_mm"]
    return both.assign(flags=";".join(flags))


def wide_walls(table: pd.DataFrame) -> dict[str, float]:
    """16 rows of `study_walls` → {name of `MEASURES`: value}."""
    values = {"wall_ed_max_mm": table["ed_max_mm"].max(), "wall_es_max_mm": table["es_max_mm"].max()}
    for row in table.itertuples():
        values[f"wall_ed_{row.segment:02d}_mm"] = row.ed_mm
        values[f"wall_es_{row.segment:02d}_mm"] = row.es_mm
        values[f"thickening_{row.segment:02d}_pct"] = row.thickening_pct
    return values
