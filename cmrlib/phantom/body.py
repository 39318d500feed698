"""Static thorax: chest wall, lungs, diaphragm, liver, stomach, spine, great vessels.

Body coordinates (mm): right, anterior, superior of the mitral ring's centre at ED. Proportions are those of
ordinary adults, chosen by eye on 4CH, 2CH and SAX cines, not measured.
"""

import numpy as np
from numba import njit
from scipy.spatial.transform import Rotation

from cmrlib.phantom import tissue as kind  # numba's cache holds its codes: touch this file when they change
from cmrlib.phantom.heart import RV_WALL_MM, Heart
from cmrlib.phantom.ventricles import LEVELS, OUTFLOW_ROWS, THETA

_FIELDS = (
    "mid_r mid_a half_r half_a power muscle fat dome_s dome_drop dome_right liver_left aorta_mm rib_pitch rib_phase "
    "phase_1 phase_2 pectoral pad"
)
TUBES = 11
BODY = np.dtype([(name, "f8") for name in _FIELDS.split()] + [("tubes", "f8", (TUBES, 8))])
"""Thorax of one subject; mm. mid, half, power: superellipse of the inner chest wall. dome: diaphragm.
tubes: great vessels and veins that do not move, both ends and both radii."""


def sample_axes(rng) -> np.ndarray:
    """(3, 3): heart's x, y, z as columns in RAS. The mean is a usual heart (4CH plane of the MVnet sample), ±6°."""
    across = np.array([0.0, -0.80, 0.59])  # within the 4CH plane, at right angles to left (RAS)
    z = np.array([-0.70, 0.0, 0.0]) - 0.714 * across
    z /= np.linalg.norm(z)
    y = np.cross(np.array([1.0, 0, 0]), across)
    y *= np.sign(y[2]) / np.linalg.norm(y)
    axes = np.stack([np.cross(y, z), y, z], axis=1)
    first, second, third = np.deg2rad(rng.normal(0, 6, 3))
    return Rotation.from_euler("zxy", [first, second, -third]).as_matrix() @ axes


def sample_body(rng, heart: Heart, axes) -> np.ndarray:
    """A `BODY` record that holds the heart: the chest is widened and the diaphragm lowered until it fits."""
    s = heart.subject
    bmi = s.weight_kg / s.height_m**2
    b = np.zeros(1, BODY)
    b["mid_r"], b["mid_a"] = rng.normal(22, 4), rng.normal(-2, 4)
    b["half_r"], b["half_a"] = 128 * s.height_m / 1.7 * rng.normal(1, 0.03), 86 * rng.normal(1, 0.04)
    b["power"], b["muscle"] = rng.uniform(2.3, 2.8), rng.uniform(11, 16)
    b["fat"] = max(4.0, 1.5 * (bmi - 19) + rng.normal(0, 2))
    b["dome_drop"], b["dome_right"] = rng.uniform(45, 65), rng.uniform(6, 16)
    b["liver_left"] = rng.uniform(-45, 5)
    _skip(rng, 3, 1)
    b["aorta_mm"], b["rib_pitch"], b["rib_phase"] = rng.uniform([9.5, 24, 0], [13, 30, 6.28])
    _skip(rng, 0, 1)
    b["pectoral"] = rng.uniform(4, 14)
    b["phase_1"], b["phase_2"] = rng.uniform(0, 6.28, 2)
    b["pad"] = rng.uniform(8, 16) + 0.4 * max(0.0, bmi - 24)
    _skip(rng, 1, 1)
    _skip(rng, 1, 0)
    surface = _surface(heart) @ axes.T
    across, front = np.abs((surface[:, :2] - np.c_[b["mid_r"], b["mid_a"]]) / np.c_[b["half_r"], b["half_a"]]).T
    over = (across ** b["power"] + front ** b["power"]) ** (1 / b["power"])
    widen = max(0.88, float(over.max()) * rng.uniform(0.97, 1.02))
    b["half_r"], b["half_a"] = b["half_r"] * widen**0.5, b["half_a"] * widen
    b["half_r"] *= max(1.0, float((np.abs(surface[:, 0] - b["mid_r"]) / b["half_r"]).max()) * 1.12)
    b["tubes"] = _vessels(heart, axes, b[0])
    clearance = [p[2] - _dome(p[0], p[1], b[0]) for p in surface]
    b["dome_s"] = min(clearance) + rng.uniform(12, 24)  # the heart rests in a dent of the diaphragm
    return b[0]


def _skip(rng, normals, uniforms):
    """Unused draws: a seed keeps the body that it had when bodies had more parts."""
    rng.normal(size=normals)
    rng.random(uniforms)


def _surface(heart: Heart) -> np.ndarray:
    """Points (n, 3) of the ventricles' outer surface at ED, heart coordinates."""
    g = heart.at_ed[0]
    outer = np.sqrt(g["lv"][::4, :, 2]) + g["fat_lv"]
    inner = np.sqrt(g["lv"][LEVELS // 4, :, 2])
    beyond = np.sqrt(inner**2 + g["rv"][OUTFLOW_ROWS::4, :, 0]) + RV_WALL_MM + g["fat_rv"]
    levels = g["zb"] + g["reach"] * np.linspace(0, 1, LEVELS)[::4]
    rows = np.linspace(g["zt"], g["zr"], len(g["rv"]) - OUTFLOW_ROWS)[::4]
    radius, z = np.vstack([outer, beyond]), np.repeat(np.r_[levels, rows][:, None], len(THETA), 1)
    return np.stack([radius * np.cos(THETA), radius * np.sin(THETA), z], -1).reshape(-1, 3)


def _vessels(heart: Heart, axes, b) -> np.ndarray:
    """(TUBES, 8): ends (right, anterior, superior) and radii of what joins the heart, from its own positions."""
    g = heart.at_ed[0]
    tubes = g["tubes"].reshape(3, 7)
    root, trunk = tubes[:2, 3:6] @ axes.T
    la_size = 0.62 * (1000 * heart.subject.la_min_ml) ** (1 / 3)
    la = axes @ np.array([g["la_shift"], 0, -0.62 * g["la_length"]])
    ra = axes @ np.array([g["ra_x"] + g["ra_shift"], g["ra_y"], -0.5 * g["ra_length"]])
    arch = root + np.array([2.0, -8.0, 42.0])
    back = np.array([b["mid_r"] - 25.0, b["mid_a"] - b["half_a"] + 38.0, arch[2] + 4])
    aorta = float(b["aorta_mm"])
    lines = [
        (root, arch, tubes[0, 6]),
        (arch, back, 1.05 * aorta),
        (trunk, [root[0] + 30, root[1] - 22, trunk[2] + 6], 9.5),
        (trunk, trunk + np.array([-24, -34, 8]), 10.5),
        (ra, [ra[0] + 6, ra[1] - 2, ra[2] + 110], 9.0),
        (ra, [ra[0] + 2, ra[1] - 12, ra[2] - 110], 11.5),
    ]
    for side, up in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        start = la + la_size * np.array([0.45 * side, -0.3, 0.4 * up])
        lines.append((start, start + np.array([side * 38.0, -17.0 + 3 * side, 9.0 * up - 2]), 7.5, 2.5))
    lines.append((back, [back[0], back[1], back[2] - 1], 1.05 * aorta))
    return np.array([np.r_[start, end, radii, radii[-1:]][:8] for start, end, *radii in lines])


@njit(cache=True)
def _rise(x):
    """Smooth step; not imported, because numba's cache does not notice when another module's function changes."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3.0 - 2.0 * x)


@njit(cache=True)
def _dome(r, a, b):
    """Height of the diaphragm relative to its reference `dome_s`."""
    out = ((r - b.mid_r) / b.half_r) ** 2 + ((a - b.mid_a - 10.0) / b.half_a) ** 2
    return -b.dome_drop * out + b.dome_right * _rise((r - b.mid_r - 5.0) / 50.0)


@njit(cache=True)
def _wall(depth, r, a, s, b):
    """Chest wall at `depth` outside the lung: ribs in muscle, fat, skin, then air."""
    front = a > b.mid_a
    muscle = b.muscle
    if front and abs(r - b.mid_r) > 22.0:
        muscle += b.pectoral * _rise((s + 60.0) / 60.0)
    fat = b.fat * (0.75 if front else 1.0)
    if depth < muscle:
        if front and abs(r - b.mid_r) < 17.0:
            return kind.BONE if 2.0 < depth < 12.0 else kind.MUSCLE
        slope = s + 0.45 * (a - b.mid_a) * (1.0 if front else 0.6)
        if 2.0 < depth < 10.0 and np.sin(6.283 * slope / b.rib_pitch + b.rib_phase) > 0.35:
            return kind.BONE
        return kind.FAT if depth < 2.0 and b.fat > 14.0 else kind.MUSCLE
    if depth < muscle + fat:
        return kind.FAT
    if depth < muscle + fat + 1.5:
        return kind.SKIN
    return kind.AIR


@njit(cache=True)
def _abdomen(below, r, a, s, b):
    """Under the diaphragm: liver to the right, stomach and spleen to the left, fat between."""
    if below < 2.5:
        return kind.MUSCLE
    if r > b.liver_left + 0.35 * (s + 60.0) - 0.3 * (a - b.mid_a):
        wave = np.sin(r / 6.0 + b.phase_1) + np.sin(a / 7.0 + b.phase_2) + np.sin(s / 6.5 + r / 11.0)
        return kind.VESSEL if wave > 2.62 else kind.LIVER
    if below < 8.0 + 4.0 * np.sin(r / 13.0 + b.phase_2):
        return kind.FAT
    return kind.STOMACH if np.sin(r / 15.0 + b.phase_1) + np.sin(a / 14.0) + np.sin(s / 17.0) > -0.9 else kind.FAT


@njit(cache=True)
def _centre(r, a, s, b):
    """Spine, its canal, descending aorta, vessels above the heart; AIR where none of them is."""
    spine_a = b.mid_a - b.half_a + 18.0
    back = a - spine_a
    side = r - b.mid_r
    if (side / 20.0) ** 2 + (back / 16.0) ** 2 < 1.0:
        return kind.MUSCLE if np.sin(s / 4.6 + b.phase_1) > 0.86 else kind.BONE
    if side**2 + (back + 24.0) ** 2 < 60.0:
        return kind.FLUID
    if abs(side) < 40.0 and back < -8.0:
        return kind.MUSCLE if abs(side) > 9.0 else kind.BONE
    aorta = (side + 25.0) ** 2 + (back - 20.0) ** 2
    if aorta < b.aorta_mm**2:
        return kind.AORTA
    if aorta < (b.aorta_mm + 1.5) ** 2:
        return kind.MUSCLE
    return kind.AIR


@njit(cache=True)
def _tube(r, a, s, tubes):
    """Blood or wall of the static vessels; AIR elsewhere."""
    wall = False
    for k in range(len(tubes)):
        dr, da, ds = tubes[k, 3] - tubes[k, 0], tubes[k, 4] - tubes[k, 1], tubes[k, 5] - tubes[k, 2]
        pr, pa, ps = r - tubes[k, 0], a - tubes[k, 1], s - tubes[k, 2]
        along = min(max((pr * dr + pa * da + ps * ds) / (dr * dr + da * da + ds * ds), 0.0), 1.0)
        d2 = (pr - along * dr) ** 2 + (pa - along * da) ** 2 + (ps - along * ds) ** 2
        radius = tubes[k, 6] + along * (tubes[k, 7] - tubes[k, 6])
        if d2 < radius * radius:
            return kind.AORTA
        wall = wall or d2 < (radius + 1.3) ** 2
    return kind.MUSCLE if wall else kind.AIR


@njit(cache=True)
def body_at(r, a, s, b):
    """Tissue code at one point of the body."""
    dr, da = (r - b.mid_r) / b.half_r, (a - b.mid_a) / b.half_a
    e = (abs(dr) ** b.power + abs(da) ** b.power) ** (1.0 / b.power)
    depth = np.sqrt((r - b.mid_r) ** 2 + (a - b.mid_a) ** 2) * (1.0 - 1.0 / max(e, 1e-6))
    code = _centre(r, a, s, b)
    if code != kind.AIR and depth < b.muscle + 6.0:
        return code
    if depth > 0.0:
        return _wall(depth, r, a, s, b)
    if abs(r - 10.0) < 85.0:
        code = _tube(r, a, s, b.tubes)
        if code != kind.AIR:
            return code
    below = b.dome_s + _dome(r, a, b) - s
    if below > 0.0:
        return _abdomen(below, r, a, s, b)
    # behind and above the heart the lungs leave a column for gullet, airways and vessels
    if ((r - 14.0) / 34.0) ** 2 + ((a + 32.0) / 34.0) ** 2 < 1.0:
        return kind.MEDIASTINUM if np.sin(r / 5.0 + s / 9.0) + np.sin(a / 5.0 + b.phase_2) < 1.1 else kind.FAT
    if s > 15.0 and ((r - 12.0) / (34.0 + 0.1 * s)) ** 2 + ((a - 22.0) / 48.0) ** 2 < 1.0:
        return kind.MEDIASTINUM
    # fat between sternum and heart, thinning out to both sides
    pad = 1.0 - ((r - 8.0 - 5.0 * np.sin(s / 14.0)) / 44.0) ** 2
    if a > 0.0 and pad > 0.0 and depth > -b.pad * pad * (1.0 + 0.25 * np.sin(s / 12.0 + b.phase_1 + r / 23.0)):
        return kind.FAT
    return kind.LUNG


@njit(cache=True)
def paint_body(points, axes, b, heart_at_ed):
    """Tissue codes (n,) uint8 at heart-coordinate points (n, 3); `axes` (3, 3) turns them to the body.

    heart_at_ed: (n,) tissue codes. Where the heart withdraws in systole it leaves fat on the right ventricle's side
    and at the base, else lung.
    """
    codes = np.empty(len(points), np.uint8)
    for n in range(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        r = axes[0, 0] * x + axes[0, 1] * y + axes[0, 2] * z
        a = axes[1, 0] * x + axes[1, 1] * y + axes[1, 2] * z
        s = axes[2, 0] * x + axes[2, 1] * y + axes[2, 2] * z
        code = body_at(r, a, s, b)
        if code == kind.LUNG and (x < 0.0 or z < 8.0) and heart_at_ed[n] != kind.AIR:
            code = kind.FAT
        codes[n] = code
    return codes
