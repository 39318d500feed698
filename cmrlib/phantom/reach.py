"""Which points the heart can come to in a cycle: everything else is painted once and for all."""

import numpy as np
from numba import njit

from cmrlib.phantom.tissue import polar


@njit(cache=True)
def _reached(points, around, reach, behind, boxes, out):
    for n in range(len(points)):
        z = points[n, 2]
        hit = boxes[3, 0] < z < boxes[3, 1] and around[n, 0] < reach[int(around[n, 1])]
        hit = hit or (z < boxes[0, 0] and z > boxes[0, 1] and around[n, 2] < behind[0])
        hit = hit or (z < boxes[1, 0] and z > boxes[1, 1] and around[n, 4] < behind[1])
        if not hit and boxes[2, 4] < z < boxes[2, 5]:
            hit = boxes[2, 0] < points[n, 0] < boxes[2, 1] and boxes[2, 2] < points[n, 1] < boxes[2, 3]
        out[n] = hit


def reached(points, frames) -> np.ndarray:
    """Which heart-coordinate points (n, 3) the heart or its vessels come to in any of the frames, (n,) bool."""
    g, points = frames, np.ascontiguousarray(points, np.float64)
    fat = g["fat_lv"][0] + g["fat_rv"][0] + 6.0
    lv, rv = g["lv"][..., 2].max((0, 1)), g["rv"][..., 0].max((0, 1))
    reach = np.sqrt(lv + rv) + fat + g["rv_wall"][0]
    reach = np.maximum(reach[:-1], reach[1:])
    behind = np.sqrt(np.array([g["la"].max(), g["ra"].max()])) + 10.0
    tubes = g["tubes"].reshape(-1, 3, 7)
    ends, size = tubes[..., :6].reshape(-1, 2, 3), tubes[..., 6].reshape(-1, 1, 1) + 2.0
    boxes = np.zeros((4, 6))
    boxes[0, :2] = g["zb"].max(), (g["zb"] - g["la_length"]).min() - 3
    boxes[1, :2] = g["zt"].max(), (g["zt"] - g["ra_length"]).min() - 3
    boxes[2] = np.stack([(ends - size).min((0, 1)), (ends + size).max((0, 1))], 1).ravel()
    boxes[3, :2] = g["zpv"].min() - 4, (g["zb"] + g["reach"]).max() + fat
    aside = abs(g["ra_x"][0]) + abs(g["ra_shift"][0]), abs(g["ra_y"][0])
    low = np.minimum(boxes[2, [0, 2]], -max(reach.max(), behind.max())) - aside
    high = np.maximum(boxes[2, [1, 3]], reach.max() + abs(g["la_shift"][0]))
    inside = ((points[:, :2] > low - 10) & (points[:, :2] < high + 10)).all(1)
    inside &= (points[:, 2] > min(boxes[0, 1], boxes[1, 1], boxes[2, 4])) & (points[:, 2] < boxes[3, 1])
    some = np.flatnonzero(inside)
    hit = np.empty(len(some), np.bool_)
    _reached(points[some], polar(points[some], g[0]), reach, behind, boxes, hit)
    inside[some] = hit
    return inside
