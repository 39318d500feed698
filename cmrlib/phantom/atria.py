"""Both atria as tables of squared radii behind their valve planes, and the great vessels as tubes.

R²(w, θ) round a bent centre line, w = 0 at the valve plane (a circle: the ring), 1 at the roof; cross-sections are
ovals that grow with κ until the volume is right, and stop at the septum between the atria. Roofs hardly move, so an
atrium lengthens as its plane descends. Veins, appendage and great arteries are blood without a label, as in the usual
contouring convention: volumes are those of the atria alone. Positions are ours, chosen by eye on cines.
"""

import numpy as np

from cmrlib.phantom.cycle import rise
from cmrlib.phantom.tissue import BEND_MM, ROWS
from cmrlib.phantom.ventricles import OUTLET_RAD, THETA, weighted

SEPTUM_MM = 3.0
_W = np.linspace(0, 1, ROWS)[:, None]
_BASE, _BELLY = 1 - _W, _W**0.66 * np.clip(1 - _W, 0, None) ** 0.52


def oval(ratio, axis_rad):
    """R² of an ellipse of unit area factor (mean 1 over the angles) that is `ratio` times longer along an axis."""
    shape = 1 / (np.cos(THETA - axis_rad) ** 2 / ratio + np.sin(THETA - axis_rad) ** 2 * ratio)
    return shape / shape[:-1].mean()


def fill(volume_ml, mouth_mm, length_mm, limit_mm, section):
    """R² (n, ROWS, angles + 1) that holds `volume_ml` (n,); limit_mm (n, ROWS, angles + 1): never beyond.

    Raises ValueError where mouth and length alone hold more than the volume, or the limit leaves no room.
    """
    volume, extent = 1000 * np.asarray(volume_ml, float), np.pi * length_mm
    grown = 1 + rise(_W / 0.35) * (section - 1)
    base = (mouth_mm**2)[:, None, None] * _BASE * grown
    low, high = np.zeros(len(volume)), np.full(len(volume), 60_000.0)
    for _ in range(34):
        kappa = (low + high) / 2
        table = np.minimum(base + kappa[:, None, None] * _BELLY * grown, limit_mm**2)
        small = extent * weighted(table) < volume
        low, high = np.where(small, kappa, low), np.where(small, high, kappa)
    if (high < 1e-4).any() or (low > 59_000).any():
        worst = float(volume_ml[np.argmax((high < 1e-4) | (low > 59_000))])
        mouth, length = f"a mouth of {mouth_mm.max():.1f} mm radius", f"a length of {length_mm.max():.0f} mm"
        raise ValueError(f"no atrium of {worst:.1f} mL fits {mouth} and {length}: choose a smaller annulus")
    return table


def lengths(volume_ml, mouth_mm, depth_mm):
    """Length of an atrium (n,): its roof rests, the plane moves by `depth_mm`; shorter where little blood is left."""
    rest = 0.86 * (6000 * np.max(volume_ml) / np.pi) ** (1 / 3)
    longest = 1000 * volume_ml / (np.pi * mouth_mm**2 * 0.62)
    return np.minimum(np.maximum(rest + depth_mm - np.max(depth_mm), 0.6 * rest), longest)


def heights(plane, length):
    """z of the rows (n, ROWS)."""
    return plane[:, None] - length[:, None] * _W[:, 0]


def limits(centre_x, shift_x, plane, length, wall_x, side):
    """Distance (n, ROWS, angles + 1) from the centre line to the plane x = wall_x (a number or (n, ROWS)) along each
    direction; large away from it. side: +1 for an atrium at larger x (left), -1 for one at smaller x (right)."""
    z = heights(plane, length)
    gap = np.maximum(side * (centre_x + shift_x * rise(-z / BEND_MM) - wall_x), 4.0)
    towards = -side * np.cos(THETA)
    return np.where(towards > 0.05, gap[:, :, None] / np.maximum(towards, 0.05), 1e3)


def beside(centre_xy, radius_mm):
    """Distance (n, angles + 1) from a centre to the circles (n,) round the LV's axis along each direction."""
    along = centre_xy[0] * np.cos(THETA) + centre_xy[1] * np.sin(THETA)
    gap = centre_xy @ centre_xy - radius_mm[:, None] ** 2
    meets = (along < 0) & (along**2 > gap)
    return np.where(meets, -along - np.sqrt(np.where(meets, along**2 - gap, 0)), 1e3)


def tubes(left, shape, planes):
    """Moving vessels (n, 3, 7): x, y, z of both ends and the radius of aortic root, pulmonary trunk and appendage.

    Near the valves they follow the planes; their far ends rest.
    """
    zb, radius, ring, angle = planes["zb"], left.outlet_mm, left.ring_ed, shape["pulmonary_rad"]
    root = left.outlet_centre_mm * np.array([np.cos(OUTLET_RAD), np.sin(OUTLET_RAD)])
    valve = (np.sqrt(left.at_ed[1][0].max()) + 0.8 * radius) * np.array([np.cos(angle), np.sin(angle)])
    vessels = [
        (*root, zb, *np.add(root, [-6.0, 16.0]), -34.0, 1.08 * radius),
        (*valve, planes["zpv"] + 2, *np.add(valve, [20.0, 4.0]), -42.0, 1.05 * radius),
        (0.9 * ring, 0.9 * ring, -14 + 0.6 * zb, 0.85 * ring + 3, 1.5 * ring + 10, 2 + 0.8 * zb, shape["appendage_mm"]),
    ]
    return np.stack([np.stack(np.broadcast_arrays(*vessel), -1) for vessel in vessels], 1, dtype=float)
