"""The mitral points of a drawn LV cavity: its outline ends in a straight edge at the valve.

Hand-drawn long-axis cavities close at the mitral plane with a line, whose ends are the insertion points. Of the
straight edges across the two ends of the long axis, the base is the one beyond which blood goes on into the atrium;
beyond the apex lies muscle. Whatever is doubtful is refused with a reason.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pandas as pd

from cmrlib.cine.anatomy import MITRAL_POINTS, STRUCTURES
from cmrlib.cohort import Observer
from cmrlib.measures.valve import points_table

STRAIGHT_PX = 1.6
"""So near to the line a point of the outline belongs to the edge: lines on a pixel grid, through JPEG, bend by one."""
FEWEST_PIXELS = 150
ACROSS = 0.5
"""Least cosine between the edge's outward normal and the long axis: valves lie across, and up to 60° oblique."""
SHORTEST = 0.55
"""Least length of the edge as a share of the cavity's mean width: shorter ones are an apex or a contouring error."""
BLOOD = 0.3
"""Least brightness beyond the edge as a share of the way from the wall's to the cavity's: leaflets are darker."""
BESIDE_PX = (2.0, 9.0)


@dataclass(frozen=True)
class MitralEdge:
    """points_px: (2, 2) as (column, row), first the one that lies left when the apex is turned down (lateral, in an
    image that is not mirrored); NaN where refused. residual_px: RMS distance of the outline from the edge. blood:
    brightness beyond it between wall (0) and cavity (1). refused: why there are no points, else empty."""

    points_px: np.ndarray
    residual_px: float = float("nan")
    blood: float = float("nan")
    refused: str = ""

    @property
    def length_px(self) -> float:
        return float(np.hypot(*(self.points_px[1] - self.points_px[0])))


def mitral_edge(cavity, image=None, straight_px: float = STRAIGHT_PX) -> MitralEdge:
    """Points of the valve from one drawn cavity.

    cavity: (rows, columns) bool. image: (rows, columns) of any grey scale; without it the longer of the two ends'
    edges is the base.
    """
    nowhere = np.full((2, 2), np.nan)
    outline, why = _outline(cavity)
    if why:
        return MitralEdge(nowhere, refused=why)
    middle = outline.mean(0)
    rows, columns = np.nonzero(cavity)
    axis = np.linalg.eigh(np.cov(np.stack([columns, rows]).astype(float)))[1][:, 1]  # the long one
    width = np.count_nonzero(cavity) / np.ptp((outline - middle) @ axis)
    edges = [edge for side in (axis, -axis) if (edge := _longest_edge(outline, middle, side, straight_px)) is not None]
    edges = [edge for edge in edges if edge[3] >= SHORTEST * width]
    if not edges:
        return MitralEdge(nowhere, refused="no straight edge across an end of the long axis")
    blood = [_blood_beyond(image, cavity, ends, side) for ends, side, *_ in edges]
    best = int(np.argmax([edge[3] for edge in edges] if image is None else blood))
    if image is not None and not blood[best] >= BLOOD:
        return MitralEdge(nowhere, refused="no blood beyond the edge")
    ends, side, residual, _ = edges[best]
    along = ends[1] - ends[0]
    # `side` points to the atrium, so the apex lies the other way; apex down puts the first point left
    if along[0] * -side[1] - along[1] * -side[0] < 0:
        ends = ends[::-1]
    return MitralEdge(ends, residual, blood[best])


def _outline(cavity):
    """(n, 2) points (column, row) of the outer outline at steps of half a pixel, and why there is none."""
    cavity = np.asarray(cavity, np.uint8)
    count, regions, stats, _ = cv2.connectedComponentsWithStats(cavity)
    if count < 2 or stats[1:, cv2.CC_STAT_AREA].max() < FEWEST_PIXELS:
        return None, f"the cavity has fewer than {FEWEST_PIXELS} pixels"
    largest = (regions == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)
    border = np.r_[largest[0], largest[-1], largest[:, 0], largest[:, -1]]
    if border.any():
        return None, "the cavity touches the image's border"
    # the outline runs where a softened mask crosses one half, so that it does not follow the pixels' stairs
    soft = cv2.GaussianBlur(cv2.resize(largest.astype(np.float32), None, fx=2, fy=2), (0, 0), 1.2)
    contours, _ = cv2.findContours((soft > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = max(contours, key=len)[:, 0].astype(float)
    return (points + 0.5) / 2 - 0.5, ""


def _longest_edge(outline, middle, side, straight_px):
    """(ends, outward normal, residual, length) of the longest straight run at the end of the axis that `side` points
    to, None where there is none. The runs start anywhere; a run ends where a point leaves the line."""
    best = None
    n = len(outline)
    doubled = np.r_[outline, outline]
    for start in range(0, n, 3):
        stop = _run(doubled, start, n, straight_px)
        chord = doubled[stop] - doubled[start]
        length = np.hypot(*chord)
        if best is not None and length <= best[3]:
            continue
        centre = doubled[start : stop + 1].mean(0)
        normal = np.array([-chord[1], chord[0]]) / max(length, 1e-9)
        normal = normal if normal @ (centre - middle) > 0 else -normal
        if normal @ side >= ACROSS and (centre - middle) @ side > 0:
            best = (*_fitted(doubled[start : stop + 1], normal), length)
    return best


def _run(points, start, n, straight_px):
    """Last index such that all points from `start` lie within `straight_px` of their chord; found by halving."""
    low, high = start + 4, start + n // 2
    while low < high:
        stop = (low + high + 1) // 2
        chord = points[stop] - points[start]
        inner = points[start : stop + 1] - points[start]
        away = np.abs(inner[:, 0] * chord[1] - inner[:, 1] * chord[0]) / max(np.hypot(*chord), 1e-9)
        low, high = (stop, high) if away.max() <= straight_px else (low, stop - 1)
    return low


def _fitted(run, normal):
    """(ends on the line of least squares through the run's inner part, normal, residual) of a straight run."""
    cut = len(run) // 8  # the corners are round
    inner = run[cut : len(run) - cut]
    centre = inner.mean(0)
    _, _, vectors = np.linalg.svd(inner - centre, full_matrices=False)
    along = vectors[0]
    place = (run - centre) @ along
    ends = centre + np.outer([place.min(), place.max()], along)
    residual = float(np.sqrt((((inner - centre) @ vectors[1]) ** 2).mean()))
    fitted = np.array([-along[1], along[0]])
    return ends, fitted if fitted @ normal > 0 else -fitted, residual


def _blood_beyond(image, cavity, ends, normal):
    """Median brightness a little beyond the edge's middle half: 0 the wall's, 1 the cavity's; NaN without an image."""
    if image is None:
        return float("nan")
    image, inside = np.asarray(image, np.float32), np.asarray(cavity, bool)
    near = cv2.dilate(inside.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool) & ~inside
    blood, wall = np.median(image[inside]), np.percentile(image[near], 15)
    places = ends[0] + np.outer(np.linspace(0.2, 0.8, 19), ends[1] - ends[0])
    beyond = (places + np.linspace(*BESIDE_PX, 9)[:, None, None] * normal).astype(np.float32)  # (distances, places, 2)
    grey = cv2.remap(image, beyond[..., 0], beyond[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # a dark line anywhere between is a wall, however bright the fat behind it
    return float((np.median(grey, axis=1).min() - wall) / max(blood - wall, 1e-6))


def edge_repeatability_pct(cavity, image=None, turns_deg=(-20.0, -11.0, 7.0, 16.0, 33.0)) -> float:
    """Repeatability of the fitted ends over rotated copies of mask and image: mean distance from the plain fit in
    percent of the edge's length; NaN where a fit is refused."""
    plain = mitral_edge(cavity, image)
    if plain.refused:
        return float("nan")
    rows, columns = np.shape(cavity)
    moved = []
    for angle in turns_deg:
        turn = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), angle, 1.0)
        turned = cv2.warpAffine(np.asarray(cavity, np.float32), turn, (columns, rows)) > 0.5
        grey = None if image is None else cv2.warpAffine(np.asarray(image, np.float32), turn, (columns, rows))
        edge = mitral_edge(turned, grey)
        if edge.refused:
            continue
        back = cv2.invertAffineTransform(turn)
        moved.append(unordered_distance(edge.points_px @ back[:, :2].T + back[:, 2], plain.points_px).mean())
    return 100 * float(np.mean(moved)) / plain.length_px if moved else float("nan")


def unordered_distance(points, reference) -> np.ndarray:
    """Distances (2,) of two points from two reference points, under the better correspondence: in an image that may be
    mirrored either end may be the lateral one. points, reference: (2, 2)."""
    orders = [np.hypot(*(np.asarray(points)[order] - reference).T) for order in ([0, 1], [1, 0])]
    return min(orders, key=np.mean)


def write_edge_points(cohort, outlined_by: str, folder, view: str = "4ch", repeat_every: int = 8) -> pd.DataFrame:
    """Write an observer whose points are the ends of the straight edge of each LV cavity that `outlined_by` drew, whose
    masks it repeats.

    Returns one row per image: participant_id, cine, frame, length_px, residual_px, blood, refused (why there are no
    points), repeat_pct (`edge_repeatability_pct` of every so many images).
    """
    observer, rows = cohort.observer(outlined_by), []
    for row in cohort.cines[cohort.cines["view"] == view].itertuples():
        cine, annotation = cohort.cine(row.cine), observer.mask(row.cine)
        points = np.full((cine.frames, len(MITRAL_POINTS[view]), 2), np.nan)
        for t in sorted(annotation.annotated):
            cavity, image = annotation.mask[t, 0] == STRUCTURES["lv"], cine.pixels[t, 0]
            edge, repeated = mitral_edge(cavity, image), len(rows) % repeat_every == 0
            points[t] = edge.points_px
            found = {name: getattr(edge, name) for name in ("length_px", "residual_px", "blood", "refused")}
            found["repeat_pct"] = edge_repeatability_pct(cavity, image) if repeated else np.nan
            rows.append({"participant_id": row.participant_id, "cine": row.cine, "frame": t} | found)
        table = points_table(cine, points, np.ones(cine.frames)).dropna()
        if len(table):
            Observer(folder).write(cine, replace(annotation, points=table))
    return pd.DataFrame(rows)
