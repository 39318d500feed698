"""Which points the heart can come to in a cycle: everything else is painted once and for all."""

import numpy as np
from numba import njit

from cmrlib.phantom.atria import BEND_MM
from cmrlib.phantom.ventricles import ANGLES

_BEND, _ANGLES = BEND_MM, ANGLES


@njit(cache=True, fastmath=True, error_model="numpy")
def _reached(points, reach, atria, boxes, out):
    widest2 = reach.max() ** 2
    for n in range(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        out[n] = False
        if boxes[0, 0] < z < boxes[0, 1]:
            rho2 = x * x + y * y
            if rho2 < widest2:
                angle = np.arctan2(y, x) * (_ANGLES / (2.0 * np.pi)) % _ANGLES
                out[n] = rho2 < reach[min(int(angle), _ANGLES - 1)] ** 2
        if not out[n] and boxes[1, 4] < z < boxes[1, 5]:
            out[n] = boxes[1, 0] < x < boxes[1, 1] and boxes[1, 2] < y < boxes[1, 3]
        if not out[n]:
            bend = min(max(-z / _BEND, 0.0), 1.0)
            bend = bend * bend * (3.0 - 2.0 * bend)
            for k in range(2):
                if atria[k, 0] < z < atria[k, 1]:
                    dx, dy = x - atria[k, 2] - atria[k, 3] * bend, y - atria[k, 4]
                    out[n] = out[n] or dx * dx + dy * dy < atria[k, 5] ** 2


def reached(points, frames) -> np.ndarray:
    """Which heart-coordinate points (n, 3) the heart or its vessels come to in any of the frames, (n,) bool."""
    g, first = frames, frames[0]
    fat = first["fat_lv"] + first["fat_rv"] + 6.0
    reach = np.sqrt(g["lv"][..., 2].max((0, 1)) + g["rv"][..., 0].max((0, 1))) + fat + first["rv_wall"]
    tubes = g["tubes"].reshape(-1, 3, 7).astype(float)
    ends, size = tubes[..., :6].reshape(-1, 2, 3), tubes[..., 6].reshape(-1, 1, 1) + 2.0
    boxes = np.zeros((2, 6))
    boxes[0, :2] = g["zpv"].min() - 4, (g["zb"] + g["reach"]).max() + fat
    boxes[1] = np.stack([(ends - size).min((0, 1)), (ends + size).max((0, 1))], 1).ravel()
    atria = np.array(
        [
            [
                (g["zb"] - g["la_length"]).min() - 3,
                g["zb"].max(),
                0.0,
                first["la_shift"],
                0.0,
                np.sqrt(g["la"].max()) + 10,
            ],
            [
                (g["zt"] - g["ra_length"]).min() - 3,
                g["zt"].max(),
                first["ra_x"],
                first["ra_shift"],
                first["ra_y"],
                np.sqrt(g["ra"].max()) + 10,
            ],
        ]
    )
    out = np.empty(len(points), np.bool_)
    _reached(np.ascontiguousarray(points, np.float64), np.maximum(reach[:-1], reach[1:]), atria, boxes, out)
    return out
