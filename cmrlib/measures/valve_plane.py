"""LV volumes that end at the tracked mitral plane, not at a slice's border.

Slices are thick and the base moves through them: which basal slice counts is the largest source of error of volumes.
The points of two long-axis views give the plane in every frame. Of each slice the part on its apical side counts, and
the most basal slice reaches up to the plane, by one slice distance at most: further, plane and stack contradict.
"""

import numpy as np

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.measures.curves import FEWEST_FRAMES, PeriodicFit
from cmrlib.measures.phases import RefusedError
from cmrlib.measures.volumes import ejection_fraction_pct, slice_widths_mm


def plane_through(points_mm, apex_mm) -> tuple[np.ndarray, np.ndarray]:
    """(point, unit normal towards the apex) of the plane of least squares through mitral points (n, 3).

    apex_mm: (3,) any point on the apical side. Raises RefusedError for fewer than 3 points, or points on one line.
    """
    points = np.asarray(points_mm, float)
    centre = points.mean(0)
    _, sizes, vectors = np.linalg.svd(points - centre, full_matrices=False)
    if len(points) < 3 or sizes[1] < 0.15 * sizes[0]:
        raise RefusedError("valve plane", f"{len(points)} mitral points on one line", "a plane takes two views")
    normal = vectors[2]
    return centre, normal if normal @ (np.asarray(apex_mm) - centre) > 0 else -normal


def cut_volumes_ml(cine: Cine, mask, planes) -> np.ndarray:
    """LV cavity (frames,) mL up to the valve's plane; NaN where a frame has no plane.

    mask: (frames, slices, rows, columns). planes: frame → (point, normal) in RAS mm.
    """
    result, widths = np.full(cine.frames, np.nan), slice_widths_mm(cine)
    axes = np.asarray(cine.affine, float)[:3, :3]
    stack = np.cross(axes[:, 0], axes[:, 1])
    stack = stack / np.linalg.norm(stack)
    for t, (point, normal) in planes.items():
        steep = max(abs(stack @ normal), 0.2)  # how fast the distance to the plane grows along the stack
        length_mm, base = 0.0, (np.inf, 0.0)  # summed over pixels; depth of the most basal slice and its extension
        for k, image in enumerate(mask[t]):
            rows, columns = np.nonzero(image == STRUCTURES["lv"])
            if len(rows):
                depth = (cine.to_world(np.c_[columns, rows], k) - point) @ normal / steep  # (n,) mm, apical +
                share = np.clip(0.5 + depth / widths[k], 0, 1)
                length_mm += share.sum() * widths[k]
                beyond = np.clip(depth - widths[k] / 2, 0, widths[k])[share > 0].sum()
                base = min(base, (depth.mean(), beyond)) if share.any() else base
        result[t] = (length_mm + base[1]) * cine.spacing_mm[1] * cine.spacing_mm[2] / 1000
    return result


def stack_planes(sax: Cine, views, apex_mm) -> dict:
    """SAX frame → plane of the valve. views: view → (cine, points (frames, 2, 2)); the long-axis points are taken at
    the SAX frame's phase, each cine by its own RR. Raises RefusedError for fewer than two views or too few points."""
    if len(views) < 2:
        raise RefusedError(sax.name, f"mitral points in {list(views) or 'no view'}", "a plane takes 2CH and 4CH")
    wanted, placed = sax.phase(sax.ed or 0), []
    for cine, points in views.values():
        known = np.isfinite(points).all((1, 2))
        if known.sum() < FEWEST_FRAMES:
            raise RefusedError(cine.name, f"mitral points in {known.sum()} frames", f"it takes {FEWEST_FRAMES}")
        world = np.stack([cine.to_world(p, 0) for p in points[known]])  # (frames, 2, 3)
        phase = cine.phase(cine.ed or 0)[known]
        fits = [PeriodicFit.of(world[:, i, axis], phase) for i in range(2) for axis in range(3)]
        placed.append(np.stack([fit.value(wanted) for fit in fits], -1).reshape(len(wanted), 2, 3))
    points = np.concatenate(placed, 1)  # (SAX frames, 4, 3)
    return {t: plane_through(points[t], apex_mm) for t in range(sax.frames)}


def compare_basal_cut(sax: Cine, mask, views) -> dict:
    """EDV, ESV and EF by discs, and by discs cut at the valve (`_cut`); both at ED and ES of the plain volumes.

    mask: (frames, slices, rows, columns), all frames annotated. views: as for `stack_planes`. Where the points make no
    plane, `_cut` is NaN and `note` says why.
    """
    cavity = np.asarray(mask) == STRUCTURES["lv"]
    k, row, column = np.argwhere(cavity.any(0)).mean(0)
    centre_mm = sax.to_world([[column, row]], k)[0]  # the cavity's centre lies on the apical side of its valve
    plain = cavity.sum((2, 3)) @ slice_widths_mm(sax) * sax.spacing_mm[1] * sax.spacing_mm[2] / 1000
    try:
        cut, note = cut_volumes_ml(sax, mask, stack_planes(sax, views, centre_mm)), ""
    except RefusedError as error:
        cut, note = np.full(sax.frames, np.nan), str(error)
    ed, es, result = int(plain.argmax()), int(plain.argmin()), {"note": note}
    for name, curve in (("", plain), ("_cut", cut)):
        ef = ejection_fraction_pct(curve[ed], curve[es])
        result |= {f"lvedv{name}_ml": curve[ed], f"lvesv{name}_ml": curve[es], f"lvef{name}_pct": ef}
    return result
