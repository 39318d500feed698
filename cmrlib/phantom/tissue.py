"""Which tissue is at a point of the heart: compiled functions over one instant's geometry.

Codes 1 to 5 equal the labels of `cmrlib.anatomy`; `LABEL_OF` says which label the other tissues carry.
"""

import numpy as np
from numba import njit

AIR, LV, MYO, RV, LA, RA, PAPILLARY, LEAFLET_LV, TRABECULA_RV, HEART_WALL, FAT = range(11)
LUNG, VESSEL, MUSCLE, BONE, LIVER, STOMACH, MEDIASTINUM, AORTA, FLUID, SKIN = range(11, 21)
JET_LA, INFLOW_LV = 21, 22
TISSUES = 23

LABEL_OF = np.zeros(TISSUES, np.uint8)
LABEL_OF[[LV, MYO, RV, LA, RA]] = [1, 2, 3, 4, 5]
LABEL_OF[[PAPILLARY, LEAFLET_LV, TRABECULA_RV]] = [1, 1, 3]  # convention: muscle inside a cavity is cavity
LABEL_OF[[JET_LA, INFLOW_LV]] = [4, 1]

_FIELDS = ("zb length a c zc ring ae ce ex ey ox oy eta mitral_open zt zr rv_h rv_cos rv_sin rv_wall "
           "la_a la_c la_z ra_a ra_c ra_z ra_x ra_y ra_deep_x ra_depth ra_ring atrial_wall "
           "twist_cos twist_sin papillary pap_cos_1 pap_sin_1 pap_cos_2 pap_sin_2 trabecula_mm "
           "fat_lv fat_rv phase_1 phase_2")
FRAME = np.dtype([(name, "f8") for name in _FIELDS.split()])
"""One instant. zb, zt: mitral and tricuspid plane. a, c, zc (ae, ce): half axes and centre of the cavity (outer
surface). ring: mitral radius. ex, ey: bend of the apex; ox, oy: offset of the outer surface; eta: flattening.
rv_h, zr, rv_cos/sin, rv_wall: crescent's height, apical end, direction, wall. la_*, ra_*: atria. All mm."""


@njit(cache=True)
def rise(x):
    """Smooth step of a scalar."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3.0 - 2.0 * x)


@njit(cache=True)
def rv_window(cosine, sine, v):
    """Crescent's height against the angle from the RV's direction, v = 0 at its base, 1 at its apex.

    Fuller in front at the base (outflow tract) and below towards the apex (acute margin); sine > 0 is inferior.
    """
    edge = -0.12 + 0.45 * v
    w = (cosine - edge) / (1.0 - edge)
    if w <= 0.0:
        return 0.0
    return w**0.6 * (1.0 + (0.9 * v - 0.22 if v < 0.6 else 0.32) * sine)


@njit(cache=True)
def rv_taper(v):
    """Crescent's height from the tricuspid plane (v = 0) to the RV's apex (v = 1)."""
    return (1.0 - v * v) * (0.85 + 0.9 * v)


@njit(cache=True)
def outer_radius(cosine, sine, z, g):
    """Distance of the LV's outer surface from its axis in a direction, 0 beyond the apex."""
    section = 1.0 - ((z - g.zc) / g.ce) ** 2
    if section <= 0.0:
        return 0.0
    return g.ae * np.sqrt(section / ((cosine * g.eta) ** 2 + (sine / g.eta) ** 2))


@njit(cache=True)
def rv_moments(g, nodes, weights, cosines, sines):
    """Coefficients of the RV's volume: V = A H + B H², both in mm² and mm, by quadrature over z and angle.

    nodes, weights: Gauss-Legendre on 0…1. cosines, sines: equally spaced angles, measured from the RV's direction.
    """
    first, second = 0.0, 0.0
    for v, weight in zip(nodes, weights):
        z, taper = g.zt + v * (g.zr - g.zt), rv_taper(v)
        for cosine, sine in zip(cosines, sines):
            k = taper * rv_window(cosine, sine, v)
            if k > 0.0:
                x, y = cosine * g.rv_cos - sine * g.rv_sin, cosine * g.rv_sin + sine * g.rv_cos
                first += weight * outer_radius(x, y, z, g) * k
                second += weight * 0.5 * k * k
    scale = 2.0 * np.pi / len(cosines) * (g.zr - g.zt)
    return first * scale, second * scale


@njit(cache=True)
def _cavity(x, y, z, u, g):
    """Inside the LV: blood, papillary muscle, trabecula or leaflet. x, y from the cavity's axis."""
    rho = np.sqrt(x * x + y * y)
    if g.ring > 0.0 and z - g.zb < g.ring:  # two leaflets from the ring, closed to a shallow cone or open to a funnel
        tip_r, tip_z = g.ring * (0.04 + 0.62 * g.mitral_open), g.ring * (0.16 + 0.55 * g.mitral_open)
        dr, dz = tip_r - g.ring, tip_z
        along = min(max(((rho - g.ring) * dr + (z - g.zb) * dz) / (dr * dr + dz * dz), 0.0), 1.0)
        if (rho - g.ring - along * dr) ** 2 + (z - g.zb - along * dz) ** 2 < 0.5:
            return LEAFLET_LV
    section = 1.0 - ((z - g.zc) / g.c) ** 2
    radius = g.a * np.sqrt(max(section, 0.0))
    if u > 0.22 and u < 0.8:
        size = g.papillary * np.sqrt(max(0.0, 1.0 - ((u - 0.5) / 0.29) ** 2))
        middle = radius - 0.8 * size
        for cosine, sine in ((g.pap_cos_1, g.pap_sin_1), (g.pap_cos_2, g.pap_sin_2)):
            px, py = cosine * g.twist_cos - sine * g.twist_sin, cosine * g.twist_sin + sine * g.twist_cos
            if (x - middle * px) ** 2 + (y - middle * py) ** 2 < size * size:
                return PAPILLARY
    if u > 0.2 and radius - rho < 1.9 * g.trabecula_mm:
        nx, ny = x / max(rho, 1e-6), y / max(rho, 1e-6)
        wave = np.sin(9 * nx + 4 * u + g.phase_1) * np.sin(10 * ny - 5 * u + g.phase_2)
        wave += 0.5 * np.sin(17 * nx - 13 * ny + 9 * u)
        if radius - rho < g.trabecula_mm * (0.4 + u) * wave:
            return PAPILLARY
    return LV


@njit(cache=True)
def _atria(x, y, z, g):
    """Behind the valve planes: blood, wall, the fat around them, or nothing of the heart."""
    code = AIR
    wall = g.atrial_wall
    if z < g.zb:
        rho2, dz = x * x + y * y, z - g.la_z
        if rho2 / g.la_a**2 + (dz / g.la_c) ** 2 <= 1.0:
            return LA
        if rho2 / (g.la_a + wall) ** 2 + (dz / (g.la_c + wall)) ** 2 <= 1.0:
            code = HEART_WALL
        elif rho2 / (g.la_a + wall + 3.0) ** 2 + (dz / (g.la_c + wall + 1.0)) ** 2 <= 1.0:
            code = FAT
    if z < g.zt:
        rx = x - g.ra_x - (g.ra_deep_x - g.ra_x) * rise((g.zt - z) / g.ra_depth)
        rho2, dz = rx * rx + (y - g.ra_y) ** 2, z - g.ra_z
        if rho2 / g.ra_a**2 + (dz / g.ra_c) ** 2 <= 1.0:
            return RA
        if code != HEART_WALL and rho2 / (g.ra_a + wall) ** 2 + (dz / (g.ra_c + wall)) ** 2 <= 1.0:
            code = HEART_WALL
        elif code == AIR and rho2 / (g.ra_a + wall + 3.0) ** 2 + (dz / (g.ra_c + wall + 3.0)) ** 2 <= 1.0:
            code = FAT
    return code


@njit(cache=True)
def _right_ventricle(x, y, z, g):
    """The crescent, its wall and the fat on it; x, y from the axis of the LV's outer surface."""
    rho = np.sqrt(x * x + y * y)
    cosine, sine = x / max(rho, 1e-6), y / max(rho, 1e-6)
    v = (z - g.zt) / (g.zr - g.zt)
    inner = outer_radius(cosine, sine, z, g)
    towards = cosine * g.rv_cos + sine * g.rv_sin
    across = sine * g.rv_cos - cosine * g.rv_sin
    height = g.rv_h * rv_taper(v) * rv_window(towards, across, v)
    if height > 0.0 and rho < inner + height:
        if v > 0.25 and inner + height - rho < 5.0:
            wave = np.sin(0.55 * x + 0.35 * z + g.phase_2) + np.sin(0.5 * y - 0.4 * z + g.phase_1)
            if inner + height - rho < 2.2 * v * g.trabecula_mm * wave:
                return TRABECULA_RV
        return RV
    if towards > 0.02 and rho < inner + height + g.rv_wall:
        return HEART_WALL
    uneven = 0.55 + 0.45 * np.sin(0.09 * y + 0.05 * z + g.phase_1)
    if towards > -0.1 and rho < inner + height + g.rv_wall + g.fat_rv * uneven * rise(towards * 2 + 0.2):
        return FAT
    return AIR


@njit(cache=True)
def tissue_at(x, y, z, g):
    """Tissue code at one point in heart coordinates (mm); AIR (0) where there is no heart."""
    u = (z - g.zb) / g.length
    bend = rise(u)
    x, y = x - g.ex * bend, y - g.ey * bend
    xo, yo = x - g.ox, y - g.oy
    if z >= g.zb:
        flat = (x * g.eta) ** 2 + (y / g.eta) ** 2
        if flat / g.a**2 + ((z - g.zc) / g.c) ** 2 <= 1.0:
            return _cavity(x, y, z, u, g)
        flat = (xo * g.eta) ** 2 + (yo / g.eta) ** 2
        if flat / g.ae**2 + ((z - g.zc) / g.ce) ** 2 <= 1.0:
            return MYO
    if z >= g.zt and z < g.zr:
        code = _right_ventricle(xo, yo, z, g)
        if code != AIR:
            return code
    if z < max(g.zb, g.zt):
        code = _atria(x, y, z, g)
        if code != AIR:
            return code
    groove = 5.0 * np.exp(-((u / 0.12) ** 2))  # fat gathers in the groove between atrium and ventricle
    lateral = xo / max(np.sqrt(xo * xo + yo * yo), 1e-6)
    fat = g.fat_lv * rise(0.9 - lateral) + groove
    if z > g.zb - 9.0 and (xo * xo + yo * yo) / (g.ae + fat) ** 2 + ((z - g.zc) / (g.ce + fat)) ** 2 <= 1.0:
        return FAT
    return AIR


@njit(cache=True)
def paint(points, frames, static, codes):
    """Fill `codes` (frames, n) uint8 for heart-coordinate points (n, 3); `static` (n,) where there is no heart."""
    for t in range(len(frames)):
        g = frames[t]
        for n in range(len(points)):
            code = tissue_at(points[n, 0], points[n, 1], points[n, 2], g)
            codes[t, n] = code if code != AIR else static[n]
