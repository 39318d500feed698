"""The tracked mitral plane cuts the short-axis stack: LV volumes that end at the valve, not at a slice's border.

Slices are thick and the base moves through them, so which basal slice counts is the largest source of error of volumes.
With the points of two long-axis views the plane is known in every frame: of each slice that part counts which lies on
the plane's apical side, and the most basal slice reaches up to the plane.
"""

import numpy as np
import pandas as pd

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import MITRAL_POINTS, STRUCTURES
from cmrlib.measures.curves import FEWEST_FRAMES, PeriodicFit
from cmrlib.measures.studies import cycle_ms, frame_times_ms
from cmrlib.measures.valve import point_array
from cmrlib.measures.volumes import slice_widths_mm

FURTHEST = 1.0
"""The most basal slice is extended by at most so many slice distances: further, plane and stack contradict."""


def plane_through(points_mm, apex_mm) -> tuple[np.ndarray, np.ndarray]:
    """(point, unit normal towards the apex) of the plane of least squares through mitral points (n, 3); n ≥ 3 and not
    on one line. apex_mm: (3,) any point on the apical side."""
    points = np.asarray(points_mm, float)
    centre = points.mean(0)
    _, sizes, vectors = np.linalg.svd(points - centre, full_matrices=False)
    if len(points) < 3 or sizes[1] < 0.15 * sizes[0]:
        raise ValueError(f"{len(points)} mitral points on one line make no plane: it takes two views")
    normal = vectors[2]
    return centre, normal if normal @ (np.asarray(apex_mm) - centre) > 0 else -normal


def cut_volumes_ml(cine: Cine, mask, planes, frames=None) -> np.ndarray:
    """LV cavity (frames,) mL up to the valve's plane; NaN where a frame has no plane or no mask.

    mask: (frames, slices, rows, columns). planes: frame → (point, normal) in RAS mm.
    """
    result = np.full(cine.frames, np.nan)
    widths = slice_widths_mm(cine)
    area_mm2 = cine.spacing_mm[1] * cine.spacing_mm[2]
    axes = np.asarray(cine.affine, float)[:3, :3]
    stack = np.cross(axes[:, 0], axes[:, 1])
    stack = stack / np.linalg.norm(stack)
    for t in planes if frames is None else frames:
        point, normal = planes[t]
        voxels = [np.argwhere(image == STRUCTURES["lv"]) for image in mask[t]]
        steep = abs(stack @ normal)  # how fast the distance to the plane grows along the stack
        volume, base, drawn = 0.0, None, np.zeros(cine.slices)
        for k, found in enumerate(voxels):
            if len(found):
                depth = (cine.to_world(found[:, ::-1], k) - point) @ normal / max(steep, 0.2)  # (n,) mm, apical +
                share = np.clip(0.5 + depth / widths[k], 0, 1)
                drawn[k] = share.sum()
                volume += share.sum() * widths[k] * area_mm2 / 1000
                if drawn[k] and (base is None or depth.mean() < base[0]):
                    base = depth.mean(), depth - widths[k] / 2, share, widths[k]
        if base is not None:
            beyond = np.clip(base[1], 0, FURTHEST * base[3]) * (base[2] > 0)
            volume += beyond.sum() * area_mm2 / 1000
        result[t] = volume
    return result


def stack_planes(sax: Cine, views, apex_mm) -> dict:
    """SAX frame → plane of the valve. views: view → (cine, points (frames, 2, 2)); the long-axis points are taken at
    the SAX frame's phase, each cine by its own RR. Raises ValueError where fewer than two views are given."""
    if len(views) < 2:
        raise ValueError(f"{sax.name}: the valve's plane takes points in 2CH and 4CH, got {list(views) or 'none'}")
    wanted = _phases(sax)
    placed = []
    for cine, points in views.values():
        known = np.isfinite(points).all((1, 2))
        if known.sum() < FEWEST_FRAMES:
            raise ValueError(f"{cine.name}: mitral points in {known.sum()} frames, expected {FEWEST_FRAMES}")
        world = np.stack([cine.to_world(p, 0) for p in points[known]])  # (frames, 2, 3)
        phase = _phases(cine)[known]
        fits = [PeriodicFit.of(world[:, i, axis], phase) for i in range(2) for axis in range(3)]
        placed.append(np.stack([fit.value(wanted) for fit in fits], -1).reshape(len(wanted), 2, 3))
    points = np.concatenate(placed, 1)  # (SAX frames, 4, 3)
    return {t: plane_through(points[t], apex_mm) for t in range(sax.frames)}


def _phases(cine):
    """Share of the cycle since ED of each frame; by frame number where times are unknown."""
    times, rr = frame_times_ms(cine), cycle_ms(cine)
    if not np.isfinite(times).all() or not rr > 0:
        times, rr = np.arange(cine.frames, dtype=float), float(cine.frames)
    return ((times - times[cine.ed or 0]) / rr) % 1


def with_and_without(cohort, masks: str, points: str, subjects=None) -> pd.DataFrame:
    """EDV, ESV and EF by discs, and by discs cut at the valve (`_cut`): a row a heart that has a whole SAX cycle drawn
    by observer `masks` and points of both views by observer `points`. ED and ES are those of the plain volumes.
    Where the points make no plane, `_cut` is NaN and `note` says why."""
    drew, pointed, rows = cohort.observer(masks), cohort.observer(points), []
    wanted = cohort.cines if subjects is None else cohort.cines[cohort.cines["participant_id"].isin(list(subjects))]
    for (participant, session), cines in wanted.groupby(["participant_id", "session"], sort=True):
        names = cines.drop_duplicates("view").set_index("view")["cine"]
        views = {v: names[v] for v in MITRAL_POINTS if v in names and pointed.has(names[v], "points.tsv")}
        if "sax" not in names or not drew.has(names["sax"]) or len(views) < 2:
            continue
        sax, drawn = cohort.cine(names["sax"]), drew.mask(names["sax"])
        if len(drawn.annotated) < sax.frames:
            continue
        opened = {v: cohort.cine(name) for v, name in views.items()}
        found = {v: (c, point_array(pointed.points(c.name), v, c.frames)) for v, c in opened.items()}
        rows.append({"participant_id": participant, "session": session} | _volumes(sax, drawn.mask, found))
    if not rows:
        raise ValueError(
            f"no heart has a whole short-axis cycle drawn by {masks!r} and points in two views by {points!r}"
        )
    return pd.DataFrame(rows)


def _volumes(sax, mask, views):
    cavity = np.asarray(mask) == STRUCTURES["lv"]
    k, row, column = np.argwhere(cavity.any(0)).mean(0)
    centre_mm = sax.to_world([[column, row]], k)[0]  # the cavity's middle lies on the apical side of its valve
    plain = cavity.sum((2, 3)) @ slice_widths_mm(sax) * sax.spacing_mm[1] * sax.spacing_mm[2] / 1000
    note = ""
    try:
        cut = cut_volumes_ml(sax, mask, stack_planes(sax, views, centre_mm))
    except ValueError as error:
        cut, note = np.full(sax.frames, np.nan), str(error)
    ed, es, result = int(plain.argmax()), int(plain.argmin()), {"note": note}
    for name, curve in (("", plain), ("_cut", cut)):
        edv, esv = curve[ed], curve[es]
        result |= {f"lvedv{name}_ml": edv, f"lvesv{name}_ml": esv, f"lvef{name}_pct": 100 * (1 - esv / edv)}
    return result
