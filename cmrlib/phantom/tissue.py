"""Which tissue is at a point of the heart: compiled look-ups in one instant's tables.

Codes 1 to 5 equal the labels of `cmrlib.anatomy`; `LABEL_OF` says which label the other tissues carry. AORTA is blood
of all vessels at the heart: aorta, pulmonary artery, veins, appendage; it carries no label.
"""

import numpy as np
from numba import njit

from cmrlib.phantom.atria import BEND_MM, ROWS
from cmrlib.phantom.ventricles import ANGLES, INFLOW_ROWS, LEVELS, OUTFLOW_ROWS

AIR, LV, MYO, RV, LA, RA, PAPILLARY, LEAFLET_LV, TRABECULA_RV, HEART_WALL, FAT = range(11)
LUNG, VESSEL, MUSCLE, BONE, LIVER, STOMACH, MEDIASTINUM, AORTA, FLUID, SKIN = range(11, 21)
JET_LA, INFLOW_LV = 21, 22
TISSUES = 23

LABEL_OF = np.zeros(TISSUES, np.uint8)
LABEL_OF[[LV, MYO, RV, LA, RA]] = [1, 2, 3, 4, 5]
LABEL_OF[[PAPILLARY, LEAFLET_LV, TRABECULA_RV]] = [1, 1, 3]  # convention: muscle inside a cavity is cavity
LABEL_OF[[JET_LA, INFLOW_LV]] = [4, 1]

_SCALARS = ("zb length reach ring mitral_open tricuspid_open aortic_open jet inflow "
            "zt zpv zr rv_h rv_cos rv_sin rv_wall ra_x ra_y mouth la_length ra_length la_shift ra_shift atrial_wall "
            "papillary pap_cos_1 pap_sin_1 pap_cos_2 pap_sin_2 outlet_cos outlet_sin fat_lv fat_rv phase_1 phase_2")
TABLES = {"lv": (LEVELS, ANGLES + 1, 3), "rv": (OUTFLOW_ROWS + INFLOW_ROWS, ANGLES + 1, 2),
          "la": (ROWS, ANGLES + 1), "ra": (ROWS, ANGLES + 1)}
SCALARS = np.dtype([(name, "f8") for name in _SCALARS.split()] + [("tubes", "f8", (21,))])
FRAME = np.dtype([(name, SCALARS[name]) for name in SCALARS.names] + [(n, "f4", s) for n, s in TABLES.items()])
"""One instant. zb, zt: mitral and tricuspid plane; zpv: pulmonary valve; length, reach: mitral plane to the apex of
cavity and of wall; ring, mouth: mitral and tricuspid radius. Tables of squared radii (mm²), see `ventricles` and
`atria`: lv = blood, cavity, outer surface; rv = beyond the LV's outer surface, with and without trabeculae. tubes:
aortic root, pulmonary trunk, appendage (ends and radius). All mm; *_open, jet, inflow: 0 … 1."""

_LV_ROWS, _AT_ROWS, _BEND = LEVELS - 1.0, ROWS - 1.0, BEND_MM


@njit(cache=True)
def _rise(x):
    """Smooth step of a scalar."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3.0 - 2.0 * x)


@njit(cache=True)
def _mix3(table, row, angle, channel):
    """Bilinear look-up; row and angle in nodes, row at most the last."""
    i, j = min(int(row), table.shape[0] - 2), int(angle)
    a, b = row - i, angle - j
    low = table[i, j, channel] + b * (table[i, j + 1, channel] - table[i, j, channel])
    high = table[i + 1, j, channel] + b * (table[i + 1, j + 1, channel] - table[i + 1, j, channel])
    return low + a * (high - low)


@njit(cache=True)
def _mix2(table, row, angle):
    i, j = min(int(row), table.shape[0] - 2), int(angle)
    a, b = row - i, angle - j
    low = table[i, j] + b * (table[i, j + 1] - table[i, j])
    high = table[i + 1, j] + b * (table[i + 1, j + 1] - table[i + 1, j])
    return low + a * (high - low)


@njit(cache=True)
def _tube2(x, y, z, tubes, k):
    """Squared distance to the axis of tube k."""
    k = 7 * k
    dx, dy, dz = tubes[k + 3] - tubes[k], tubes[k + 4] - tubes[k + 1], tubes[k + 5] - tubes[k + 2]
    px, py, pz = x - tubes[k], y - tubes[k + 1], z - tubes[k + 2]
    along = min(max((px * dx + py * dy + pz * dz) / (dx * dx + dy * dy + dz * dz), 0.0), 1.0)
    return (px - along * dx) ** 2 + (py - along * dy) ** 2 + (pz - along * dz) ** 2


@njit(cache=True)
def _segment2(p, z, p0, p1, z1):
    """Squared distance in a plane to the segment from (p0, 0) to (p1, z1)."""
    dp = p1 - p0
    along = min(max(((p - p0) * dp + z * z1) / (dp * dp + z1 * z1), 0.0), 1.0)
    return (p - p0 - along * dp) ** 2 + (z - along * z1) ** 2


@njit(cache=True)
def _mitral_leaflet(x, y, depth, g):
    """Two leaflets from the ring: the anterior one, beside the outlet, is twice as long as the posterior one."""
    p, q = x * g.outlet_cos + y * g.outlet_sin, y * g.outlet_cos - x * g.outlet_sin
    chord2 = g.ring * g.ring - q * q
    if chord2 <= 1.0:
        return False
    chord = np.sqrt(chord2)
    narrow, opened = chord / g.ring, g.mitral_open
    front_p, front_z = chord * (-0.25 + 0.85 * opened), narrow * g.ring * (0.30 + 0.95 * opened)
    back_p, back_z = chord * (-0.25 - 0.50 * opened), narrow * g.ring * (0.30 + 0.30 * opened)
    return min(_segment2(p, depth, chord, front_p, front_z), _segment2(p, depth, -chord, back_p, back_z)) < 0.6


@njit(cache=True)
def _cavity(x, y, z, rho2, endo2, blood2, g):
    """Inside the LV: blood, papillary muscle, trabecula, leaflet or the inflow jet."""
    depth = z - g.zb
    if depth < 1.4 * g.ring and rho2 < g.ring * g.ring and _mitral_leaflet(x, y, depth, g):
        return LEAFLET_LV
    u = depth / g.length
    if 0.27 < u < 0.82:
        # heads stand free towards the valve, feet join the wall
        size = g.papillary * np.sqrt(max(0.0, 1.0 - ((u - 0.56) / 0.3) ** 2))
        middle = np.sqrt(endo2) - 0.55 * size - 3.0 * _rise((0.62 - u) / 0.25)
        px, py = middle * g.pap_cos_1, middle * g.pap_sin_1
        if (x - px) ** 2 + (y - py) ** 2 < size * size:
            return PAPILLARY
        px, py = middle * g.pap_cos_2, middle * g.pap_sin_2
        if (x - px) ** 2 + (y - py) ** 2 < size * size:
            return PAPILLARY
    if rho2 > blood2:
        return PAPILLARY
    if g.inflow > 0.25 and depth < 50.0 * g.inflow and rho2 < (0.7 * g.ring) ** 2:
        return INFLOW_LV
    return LV


@njit(cache=True)
def _right(x, y, z, rho2, inner2, room, row, angle, ra_rho2, rv, g):
    """Inside the RV: blood, trabeculae, moderator band or a tricuspid leaflet."""
    depth = z - g.zt
    if 0.0 <= depth < 1.1 * g.mouth and ra_rho2 < g.mouth * g.mouth:
        rho, opened = np.sqrt(ra_rho2), g.tricuspid_open
        if _segment2(rho, depth, g.mouth, g.mouth * (0.04 + 0.66 * opened), g.mouth * (0.26 + 0.6 * opened)) < 0.5:
            return TRABECULA_RV
    if rho2 > inner2 + _mix3(rv, row, angle, 1):
        return TRABECULA_RV
    return RV


@njit(cache=True)
def _left_atrium(x, y, z, la_rho2, g):
    """Blood, or the jet of a leaking mitral valve: a cone from the ring that leans to the posterior wall."""
    if g.jet > 0.05:
        depth = g.zb - z
        lean = 0.25 * depth
        jx, jy = x + lean * g.outlet_cos, y + lean * g.outlet_sin
        if depth < 38.0 * g.jet and jx * jx + jy * jy < (2.5 + 0.22 * depth) ** 2:
            return JET_LA
    return LA


@njit(cache=True)
def _vessels(x, y, z, g):
    """Aortic root with its cusps, pulmonary trunk, appendage, coronary vessels in the grooves; AIR elsewhere."""
    if z > 16.0 + g.zb:
        return AIR
    aorta2, radius = _tube2(x, y, z, g.tubes, 0), g.tubes[6]
    if aorta2 < radius * radius:
        # closed cusps: a shallow cup above the valve
        cup = g.zb - z - 1.0 - 5.0 * aorta2 / (radius * radius)
        return HEART_WALL if g.aortic_open < 0.5 and abs(cup) < 0.8 else AORTA
    trunk2, wide = _tube2(x, y, z, g.tubes, 1), g.tubes[13]
    if trunk2 < wide * wide:
        return AORTA
    if aorta2 < (radius + 1.6) ** 2 or trunk2 < (wide + 1.4) ** 2:
        return HEART_WALL
    finger2, thin = _tube2(x, y, z, g.tubes, 2), g.tubes[20]
    if finger2 < thin * thin:
        return AORTA
    return HEART_WALL if finger2 < (thin + 1.2) ** 2 else AIR


@njit(cache=True)
def _outside(x, y, z, rho, inner2, room, angle, polar, g, la, ra):
    """Walls of atria and RV, then fat in the grooves and on the heart; AIR beyond."""
    reach = np.sqrt(inner2 + room)
    wall = g.rv_wall * min(1.0, room * 0.006)
    if room > 0.0 and rho < reach + wall and rho > np.sqrt(inner2):
        return HEART_WALL
    groove = 0.0
    for side in range(2):
        plane, length = (g.zb, g.la_length) if side == 0 else (g.zt, g.ra_length)
        if z < plane:
            table = la if side == 0 else ra
            # looked up a wall's width nearer to the valve, so that the roof has its wall too
            w = max(plane - z - g.atrial_wall, 0.0) / length * _AT_ROWS
            if w < _AT_ROWS:
                edge = np.sqrt(_mix2(table, w, polar[2 + 2 * side]))
                away = polar[1 + 2 * side] - edge
                if away < g.atrial_wall * 0.8:
                    return HEART_WALL
                fat = 2.0 + 7.0 * np.exp(-(((plane - z) / 11.0) ** 2))
                if away < fat:
                    groove = 1.0
    # vessels of the atrioventricular grooves, in fat
    if abs(z - g.zb + 3.0) < 4.0 and (rho - g.ring - 7.0) ** 2 + (z - g.zb + 3.0) ** 2 < 5.0 and x > -0.5 * rho:
        return AORTA
    if abs(z - g.zt + 1.0) < 4.0 and (polar[3] - g.mouth - 7.0) ** 2 + (z - g.zt + 1.0) ** 2 < 4.5:
        return AORTA
    if groove > 0.0:
        return FAT
    behind = g.zb - z
    if behind > 9.0:
        return AIR
    towards = (x * g.rv_cos + y * g.rv_sin) / max(rho, 1e-3)
    uneven = 0.45 + 0.55 * np.sin(0.09 * y + 0.05 * z + g.phase_1)
    fat = g.fat_lv * _rise(1.0 - towards) + g.fat_rv * uneven * _rise(2.0 * towards + 0.2)
    fat += 5.0 * np.exp(-((behind / 11.0) ** 2))
    return FAT if rho < reach + wall + fat else AIR


@njit(cache=True)
def _tissue_at(x, y, z, rho, polar, g, lv, rv, la, ra):
    """Tissue code at one point; polar: angle, then distance and angle round the centre lines of LA and RA."""
    rho2, angle, inner2, room = rho * rho, polar[0], 0.0, 0.0
    level = (z - g.zb) / g.reach * _LV_ROWS
    if level < _LV_ROWS:
        inner2 = _mix3(lv, max(level, 0.0), angle, 2)
        if level >= 0.0 and rho2 < inner2:
            endo2 = _mix3(lv, level, angle, 1)
            if rho2 >= endo2:
                return MYO
            return _cavity(x, y, z, rho2, endo2, _mix3(lv, level, angle, 0), g)
    if z < g.zb:
        w = (g.zb - z) / g.la_length * _AT_ROWS
        if w < _AT_ROWS and polar[1] * polar[1] < _mix2(la, w, polar[2]):
            return _left_atrium(x, y, z, polar[1] * polar[1], g)
    if z < g.zt:
        w = (g.zt - z) / g.ra_length * _AT_ROWS
        if w < _AT_ROWS and polar[3] * polar[3] < _mix2(ra, w, polar[4]):
            return RA
    if g.zpv <= z < g.zr:
        if z < g.zt:
            row = (z - g.zpv) / (g.zt - g.zpv) * (OUTFLOW_ROWS - 1.0)
        else:
            row = OUTFLOW_ROWS + (z - g.zt) / (g.zr - g.zt) * (INFLOW_ROWS - 1.0)
        room = _mix3(rv, row, angle, 0)
        if room > 0.0 and inner2 <= rho2 < inner2 + room:
            return _right(x, y, z, rho2, inner2, room, row, angle, polar[3] * polar[3], rv, g)
        if g.zt - g.rv_wall < z < g.zt:  # the RV's base, beside the tricuspid ring
            room = max(room, _mix3(rv, float(OUTFLOW_ROWS), angle, 0))
    code = _vessels(x, y, z, g)
    return code if code != AIR else _outside(x, y, z, rho, inner2, room, angle, polar, g, la, ra)


@njit(cache=True)
def _polar(points, g, out):
    """Distance and angle (in nodes) round the LV's axis and the centre lines of LA and RA; these never move."""
    scale = ANGLES / (2.0 * np.pi)
    for n in range(len(points)):
        x, y = points[n, 0], points[n, 1]
        bend = _rise(-points[n, 2] / _BEND)
        out[n, 0], out[n, 1] = np.sqrt(x * x + y * y), (np.arctan2(y, x) * scale) % ANGLES
        x = points[n, 0] - g.la_shift * bend
        out[n, 2], out[n, 3] = np.sqrt(x * x + y * y), (np.arctan2(y, x) * scale) % ANGLES
        x, y = points[n, 0] - g.ra_x - g.ra_shift * bend, y - g.ra_y
        out[n, 4], out[n, 5] = np.sqrt(x * x + y * y), (np.arctan2(y, x) * scale) % ANGLES


@njit(cache=True)
def _paint(points, polar, g, lv, rv, la, ra, static, codes):
    for n in range(len(points)):
        code = _tissue_at(points[n, 0], points[n, 1], points[n, 2], polar[n, 0], polar[n, 1:], g, lv, rv, la, ra)
        codes[n] = code if code != AIR else static[n]


def paint(points, frames, static, codes):
    """Fill `codes` (frames, n) uint8 for heart-coordinate points (n, 3); `static` (n,) where there is no heart."""
    polar = np.empty((len(points), 6))
    scalars = np.empty(len(frames), SCALARS)
    for name in SCALARS.names:
        scalars[name] = frames[name]
    _polar(points, scalars[0], polar)
    for t in range(len(frames)):
        tables = [np.ascontiguousarray(frames[name][t]) for name in TABLES]
        _paint(points, polar, scalars[t], *tables, static, codes[t])
