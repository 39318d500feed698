"""Tissue at a point of the heart: compiled look-ups in the tables of one frame.

Codes 1 to 5 equal the labels of `cmrlib.cine.anatomy`; `LABEL_OF` says which label the other tissues carry. AORTA is
blood of all vessels at the heart: aorta, pulmonary artery, veins, appendage; it carries no label.
"""

import numpy as np
from numba import njit

LEVELS, ANGLES, OUTFLOW_ROWS, INFLOW_ROWS, ROWS = 56, 96, 8, 40, 22
"""Nodes of the tables: LV levels, angles, rows of the RV's outflow tract and body, rows of an atrium. They stand here
because numba's cache notices a change of a compiled function's own file only."""

BEND_MM = 26.0
"""Behind z = 0 the atria's centre lines bend away from the septum between them within this depth."""

AIR, LV, MYO, RV, LA, RA, PAPILLARY, LEAFLET_LV, TRABECULA_RV, HEART_WALL, FAT = range(11)
LUNG, VESSEL, MUSCLE, BONE, LIVER, STOMACH, MEDIASTINUM, AORTA, FLUID, SKIN = range(11, 21)
JET_LA, INFLOW_LV = 21, 22
TISSUES = 23

LABEL_OF = np.zeros(256, np.uint8)
LABEL_OF[[LV, MYO, RV, LA, RA]] = [1, 2, 3, 4, 5]
LABEL_OF[[PAPILLARY, LEAFLET_LV, TRABECULA_RV]] = [1, 1, 3]  # convention: muscle inside a cavity is cavity
LABEL_OF[[JET_LA, INFLOW_LV]] = [4, 1]

_SCALARS = (
    "zb length reach ring mitral_open tricuspid_open aortic_open inflow "
    "zt zpv zr rv_h rv_cos rv_sin rv_wall ra_x ra_y mouth la_length ra_length la_shift ra_shift atrial_wall "
    "papillary pap_cos_1 pap_sin_1 pap_cos_2 pap_sin_2 outlet_cos outlet_sin fat_lv fat_rv phase_1 phase_2 "
    "jet jet_x jet_y jet_cos jet_sin jet_lean jet_aside jet_width jet_spread jet_length "
    "decoy decoy_x decoy_y decoy_cos decoy_sin decoy_lean decoy_aside decoy_width decoy_spread decoy_length decoy_roof"
)
TABLES = {
    "tubes": (21,),
    "lv": (LEVELS, ANGLES + 1, 3),
    "rv": (OUTFLOW_ROWS + INFLOW_ROWS, ANGLES + 1, 2),
    "la": (ROWS, ANGLES + 1),
    "ra": (ROWS, ANGLES + 1),
}
SCALARS = np.dtype([(name, "f8") for name in _SCALARS.split()])
FRAME = np.dtype([(name, SCALARS[name]) for name in SCALARS.names] + [(n, "f4", size) for n, size in TABLES.items()])
"""One instant. zb, zt: mitral and tricuspid plane; zpv: pulmonary valve; length, reach: mitral plane to the apex of
cavity and of wall; ring, mouth: mitral and tricuspid radius. Tables of squared radii (mm²), see `ventricles` and
`atria`: lv = blood, cavity, outer surface; rv = beyond the LV's outer surface, with and without trabeculae. tubes:
aortic root, pulmonary trunk, appendage (ends and radius). jet, decoy: see `jets`. All mm; *_open, inflow: 0 … 1."""

_compiled = njit(cache=True, fastmath=True, error_model="numpy")
_inlined = njit(cache=True, fastmath=True, error_model="numpy", inline="always")
_LV_ROWS, _AT_ROWS = LEVELS - 1.0, ROWS - 1.0


@_compiled
def _rise(x):
    """Smooth step of a scalar."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3.0 - 2.0 * x)


@_inlined
def _mix(table, t, row, angle, channel):
    """Bilinear interpolation in a table (frames, rows, angles, channels); row and angle in nodes."""
    i, j = min(int(row), table.shape[1] - 2), int(angle)
    a, b = row - i, angle - j
    low = table[t, i, j, channel] + b * (table[t, i, j + 1, channel] - table[t, i, j, channel])
    high = table[t, i + 1, j, channel] + b * (table[t, i + 1, j + 1, channel] - table[t, i + 1, j, channel])
    return low + a * (high - low)


@_compiled
def _tube2(x, y, z, tubes, t, k):
    """Squared distance to the axis of tube k."""
    k = 7 * k
    dx, dy, dz = tubes[t, k + 3] - tubes[t, k], tubes[t, k + 4] - tubes[t, k + 1], tubes[t, k + 5] - tubes[t, k + 2]
    px, py, pz = x - tubes[t, k], y - tubes[t, k + 1], z - tubes[t, k + 2]
    along = min(max((px * dx + py * dy + pz * dz) / (dx * dx + dy * dy + dz * dz), 0.0), 1.0)
    return (px - along * dx) ** 2 + (py - along * dy) ** 2 + (pz - along * dz) ** 2


@_compiled
def _segment2(p, z, p0, p1, z1):
    """Squared distance in a plane to the segment from (p0, 0) to (p1, z1)."""
    dp = p1 - p0
    along = min(max(((p - p0) * dp + z * z1) / (dp * dp + z1 * z1), 0.0), 1.0)
    return (p - p0 - along * dp) ** 2 + (z - along * z1) ** 2


@_compiled
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


@_compiled
def _cavity(x, y, z, rho2, endo2, blood2, g):
    """Inside the LV: blood, papillary muscle, trabecula, leaflet or the inflow jet."""
    depth = z - g.zb
    if depth < 1.4 * g.ring and rho2 < g.ring * g.ring and _mitral_leaflet(x, y, depth, g):
        return LEAFLET_LV
    u = depth / g.length
    if 0.27 < u < 0.82:
        # heads stand free towards the valve, feet join the wall
        size = g.papillary * np.sqrt(max(0.0, 1.0 - ((u - 0.56) / 0.3) ** 2))
        middle = np.sqrt(endo2) - 0.7 * size - 4.0 * _rise((0.66 - u) / 0.25)
        for cosine, sine in ((g.pap_cos_1, g.pap_sin_1), (g.pap_cos_2, g.pap_sin_2)):
            out, aside = x * cosine + y * sine - middle, y * cosine - x * sine
            if 1.3 * out * out + 0.8 * aside * aside + 0.35 * out * aside < size * size:
                return PAPILLARY
    if rho2 > blood2:
        return PAPILLARY
    if g.inflow > 0.25 and depth < 50.0 * g.inflow and rho2 < (0.7 * g.ring) ** 2:
        return INFLOW_LV
    return LV


@_compiled
def _right(z, rho2, inner2, row, angle, ra_rho2, t, rv, g):
    """Inside the RV: blood, trabeculae, moderator band or a tricuspid leaflet."""
    depth = z - g.zt
    if 0.0 <= depth < 1.1 * g.mouth and ra_rho2 < g.mouth * g.mouth:
        rho, opened = np.sqrt(ra_rho2), g.tricuspid_open
        if _segment2(rho, depth, g.mouth, g.mouth * (0.04 + 0.66 * opened), g.mouth * (0.26 + 0.6 * opened)) < 0.5:
            return TRABECULA_RV
    if rho2 > inner2 + _mix(rv, t, row, angle, 1):
        return TRABECULA_RV
    return RV


@_inlined
def _plume(x, y, depth, cosine, sine, lean, aside, width, spread, length):
    """Whether a point lies in a plume that starts at x = y = depth = 0."""
    out, along = min(lean * depth, aside), depth / length
    px, py = x - out * cosine + 0.8 * np.sin(0.7 * depth), y - out * sine
    return px * px + py * py < (width + spread * depth) ** 2 * (1.0 - along * along)


@_compiled
def _left_atrium(x, y, z, g):
    """Blood, the jet of a leaking mitral valve, or what looks like one."""
    if g.jet > 0.05 and _plume(
        x - g.jet_x, y - g.jet_y, g.zb - z, g.jet_cos, g.jet_sin, g.jet_lean, g.jet_aside, g.jet_width, g.jet_spread,
        g.jet_length * g.jet,
    ):  # fmt: skip
        return JET_LA
    if g.decoy > 0.05 and _plume(
        x - g.decoy_x, y - g.decoy_y, g.decoy_roof + (g.zb - z) * (1.0 if g.decoy_roof == 0.0 else -1.0), g.decoy_cos,
        g.decoy_sin, g.decoy_lean, g.decoy_aside, g.decoy_width, g.decoy_spread, g.decoy_length * g.decoy,
    ):  # fmt: skip
        return JET_LA
    return LA


@_inlined
def _vessels(x, y, z, g, t, tubes):
    """Aortic root with its cusps, pulmonary trunk, appendage, coronary vessels in the grooves; AIR elsewhere."""
    if z > 16.0 + g.zb or y < -10.0:
        return AIR
    aorta2, radius = _tube2(x, y, z, tubes, t, 0), tubes[t, 6]
    if aorta2 < radius * radius:
        # closed cusps: a shallow cup above the valve
        cup = g.zb - z - 1.0 - 5.0 * aorta2 / (radius * radius)
        return HEART_WALL if g.aortic_open < 0.5 and abs(cup) < 0.8 else AORTA
    trunk2, wide = _tube2(x, y, z, tubes, t, 1), tubes[t, 13]
    if trunk2 < wide * wide:
        return AORTA
    if aorta2 < (radius + 1.6) ** 2 or trunk2 < (wide + 1.4) ** 2:
        return HEART_WALL
    finger2, thin = _tube2(x, y, z, tubes, t, 2), tubes[t, 20]
    if finger2 < thin * thin:
        return AORTA
    return HEART_WALL if finger2 < (thin + 1.2) ** 2 else AIR


@_inlined
def _outside(x, y, z, rho, inner2, room, la_rho, la_angle, ra_rho, ra_angle, g, t, la, ra):
    """Walls of atria and RV, then fat in the grooves and on the heart; AIR beyond."""
    reach = np.sqrt(inner2 + room)
    if z > g.zb + g.reach + g.fat_lv:
        return AIR
    if z > g.zt + 4.0 and rho > reach + g.rv_wall + g.fat_rv + g.fat_lv + 5.0:
        return AIR
    wall = g.rv_wall * min(1.0, room * 0.006)
    if room > 0.0 and rho < reach + wall and rho > np.sqrt(inner2):
        return HEART_WALL
    groove = False
    # looked up a wall's width nearer to the valve, so that the roof has its wall too
    behind_la, behind_ra = g.zb - z, g.zt - z
    w = max(behind_la - g.atrial_wall, 0.0) / g.la_length * _AT_ROWS
    if behind_la > 0.0 and w < _AT_ROWS:
        away = la_rho - np.sqrt(_mix(la, t, w, la_angle, 0))
        if away < g.atrial_wall * 0.8:
            return HEART_WALL
        groove = away < 2.0 + 7.0 * np.exp(-((behind_la / 11.0) ** 2))
    w = max(behind_ra - g.atrial_wall, 0.0) / g.ra_length * _AT_ROWS
    if behind_ra > 0.0 and w < _AT_ROWS:
        away = ra_rho - np.sqrt(_mix(ra, t, w, ra_angle, 0))
        if away < g.atrial_wall * 0.8:
            return HEART_WALL
        groove = groove or away < 2.0 + 7.0 * np.exp(-((behind_ra / 11.0) ** 2))
    # vessels of the atrioventricular grooves, in fat
    if abs(z - g.zb + 3.0) < 4.0 and (rho - g.ring - 7.0) ** 2 + (z - g.zb + 3.0) ** 2 < 5.0 and x > -0.5 * rho:
        return AORTA
    if x < g.ra_x and abs(z - g.zt + 1.0) < 4.0 and (ra_rho - g.mouth - 7.0) ** 2 + (z - g.zt + 1.0) ** 2 < 4.5:
        return AORTA
    if g.ra_x < x < -0.5 * g.ring and g.zb - 8.0 < z < g.zt and abs(y) < g.ring:
        return HEART_WALL  # fibrous skeleton between the valves
    if groove:
        return FAT
    behind = g.zb - z
    if behind > 9.0:
        return AIR
    towards = (x * g.rv_cos + y * g.rv_sin) / max(rho, 1e-3)
    uneven = 0.45 + 0.55 * np.sin(0.09 * y + 0.05 * z + g.phase_1)
    fat = g.fat_lv * _rise(1.0 - towards) + g.fat_rv * uneven * _rise(2.0 * towards + 0.2)
    fat += 5.0 * np.exp(-((behind / 11.0) ** 2))
    return FAT if rho < reach + wall + fat else AIR


@_inlined
def _tissue_at(point, polar, g, t, tubes, lv, rv, la, ra):
    """Tissue code at one point, given by distance and angle round the axis and the centre lines of LA and RA too."""
    x, y, z = point[0], point[1], point[2]
    rho, angle, la_rho, la_angle, ra_rho, ra_angle = polar[0], polar[1], polar[2], polar[3], polar[4], polar[5]
    rho2, inner2, room = rho * rho, 0.0, 0.0
    level = (z - g.zb) / g.reach * _LV_ROWS
    if level < _LV_ROWS:
        inner2 = _mix(lv, t, max(level, 0.0), angle, 2)
        if level >= 0.0 and rho2 < inner2:
            endo2 = _mix(lv, t, level, angle, 1)
            if rho2 >= endo2:
                return MYO
            return _cavity(x, y, z, rho2, endo2, _mix(lv, t, level, angle, 0), g)
    if z < g.zb:
        w = (g.zb - z) / g.la_length * _AT_ROWS
        if w < _AT_ROWS and la_rho * la_rho < _mix(la, t, w, la_angle, 0):
            return _left_atrium(x, y, z, g)
    if z < g.zt:
        w = (g.zt - z) / g.ra_length * _AT_ROWS
        if w < _AT_ROWS and ra_rho * ra_rho < _mix(ra, t, w, ra_angle, 0):
            return RA
    if g.zpv <= z < g.zr:
        if z < g.zt:
            row = (z - g.zpv) / (g.zt - g.zpv) * (OUTFLOW_ROWS - 1.0)
        else:
            row = OUTFLOW_ROWS + (z - g.zt) / (g.zr - g.zt) * (INFLOW_ROWS - 1.0)
        room = _mix(rv, t, row, angle, 0)
        if room > 0.0 and inner2 <= rho2 < inner2 + room:
            return _right(z, rho2, inner2, row, angle, ra_rho * ra_rho, t, rv, g)
        if g.zt - g.rv_wall < z < g.zt:  # the RV's base, beside the tricuspid ring
            room = max(room, _mix(rv, t, float(OUTFLOW_ROWS), angle, 0))
    code = _vessels(x, y, z, g, t, tubes)
    return (
        code if code != AIR else _outside(x, y, z, rho, inner2, room, la_rho, la_angle, ra_rho, ra_angle, g, t, la, ra)
    )


@_compiled
def _polar(points, g, out):
    """Distance and angle (in nodes) round the LV's axis and the centre lines of LA and RA; these never move."""
    scale = ANGLES / (2.0 * np.pi)
    for n in range(len(points)):
        x, y = points[n, 0], points[n, 1]
        bend = _rise(-points[n, 2] / BEND_MM)
        out[n, 0], out[n, 1] = np.sqrt(x * x + y * y), (np.arctan2(y, x) * scale) % ANGLES
        x = points[n, 0] - g.la_shift * bend
        out[n, 2], out[n, 3] = np.sqrt(x * x + y * y), (np.arctan2(y, x) * scale) % ANGLES
        x, y = points[n, 0] - g.ra_x - g.ra_shift * bend, y - g.ra_y
        out[n, 4], out[n, 5] = np.sqrt(x * x + y * y), (np.arctan2(y, x) * scale) % ANGLES
        for k in (1, 3, 5):
            out[n, k] = min(out[n, k], ANGLES - 1e-9)


@_compiled
def _paint(points, polar, frames, tubes, lv, rv, la, ra, static):
    codes = np.empty((len(frames), len(points)), np.uint8)
    for t in range(len(frames)):
        for n in range(len(points)):
            code = _tissue_at(points[n], polar[n], frames[t], t, tubes, lv, rv, la, ra)
            codes[t, n] = code if code != AIR else static[n]
    return codes


def paint(points, frames, static) -> np.ndarray:
    """Tissue codes (frames, n) uint8 at heart-coordinate points (n, 3); `static` (n,) where there is no heart."""
    around, scalars = np.empty((len(points), 6)), np.empty(len(frames), SCALARS)
    for name in SCALARS.names:
        scalars[name] = frames[name]
    _polar(points, scalars[0], around)
    tubes, lv, rv, la, ra = (np.ascontiguousarray(frames[name]) for name in TABLES)
    return _paint(points, around, scalars, tubes, lv, rv, la[..., None], ra[..., None], static)
