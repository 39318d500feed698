"""Both ventricles as tables of squared radii over level and angle, filled so that every volume is exact.

A surface is star-shaped round the LV's axis: R²(level, angle), linear between nodes. Its volume is ½ ∫∫ R² dz dθ, which
for such a table is a weighted sum, and prescribed volumes follow in closed form, whatever the shape:

* LV cavity: R² = ring² (1 - u) + κ u (1 - u) (1 + skew (½ - u)), u = 0 at the mitral plane, 1 at the apex. Its volume
  is π L (ring²/2 + κ/6), linear in κ; without skew it is a cut ellipsoid. Asymmetry (outlet, flattened septum) enters
  R² with mean zero or as a known sum; an infarcted territory keeps a share of its ED radius, and κ makes up for it.
* Wall: R²_epi - R²_endo = A(u, θ) · L(ED) / L(t): every element of the wall keeps its volume, so it thickens where and
  when the cavity shrinks, and stays thin where it does not.
* RV: a crescent of height k · s(v, θ) on the LV's outer surface, V = B k + C k².

Angles: 0 lateral, 90° anterior, 180° septal. Lengths in mm, volumes in mm³ unless the name says mL.
"""

import numpy as np

from cmrlib.phantom.cycle import rise
from cmrlib.phantom.tissue import ANGLES, INFLOW_ROWS, LEVELS, OUTFLOW_ROWS

THETA = np.arange(ANGLES + 1) * 2 * np.pi / ANGLES
"""The last column repeats the first one."""

OUTLET_RAD = np.deg2rad(135.0)
"""The aortic valve lies between septum and anterior wall; the 3CH plane passes through it."""

TRACT_RAD = np.deg2rad(32.0)
"""Half width of the RV's outflow tract seen from the LV's axis."""

APEX_WALL_SHARE = 0.75
"""The apex is thinner than the walls."""

TERRITORIES = {"lad": (115.0, 62.0, 0.35, 1.3), "rca": (-108.0, 48.0, 0.08, 0.78), "lcx": (-18.0, 48.0, 0.08, 0.8)}
"""Infarct: middle and half width in degrees, first and last level; after the 17-segment model, edges by eye."""


def weighted(table, rows=None):
    """Mean of a table (…, levels, angles + 1) over level and angle, as its linear interpolation has it."""
    table = np.asarray(table, float)
    ends = 0.5 * (table[..., 0, :-1].mean(-1) + table[..., -1, :-1].mean(-1))
    return (table[..., :-1].mean(-1).sum(-1) - ends) / (table.shape[-2] - 1)


def profile_terms(u, skew):
    """The two parts of the cavity's profile R² = ring² · base + κ · belly at levels u (any shape)."""
    inside = np.clip(1 - u, 0, None)
    return inside, u * inside * (1 + skew * (0.5 - u))


def bulge_coefficient(volume_mm3, ring_mm, length_mm):
    """κ in mm² of an undisturbed cavity; at least 0 unless ring and length are too large for the volume."""
    return 6 * (volume_mm3 / (np.pi * length_mm) - ring_mm**2 / 2)


def solve_wall(volume_mm3, ring_mm, length_mm, skew, wall_mm3):
    """Wall thickness and the outer profile (wall_mm, ring_mm, κ, length_mm) that enclose `wall_mm3` of muscle."""
    base, belly = profile_terms(0.45, skew)
    middle = np.sqrt(ring_mm**2 * base + bulge_coefficient(volume_mm3, ring_mm, length_mm) * belly)
    low, high = 0.0, 60.0
    for _ in range(60):
        wall = (low + high) / 2
        length, ring = length_mm + APEX_WALL_SHARE * wall, ring_mm + wall
        base, belly = profile_terms(0.45 * length_mm / length, skew)
        kappa = ((middle + wall) ** 2 - ring**2 * base) / belly
        low, high = (wall, high) if np.pi * length * (ring**2 / 2 + kappa / 6) < volume_mm3 + wall_mm3 else (low, wall)
    return wall, ring, kappa, length


class LeftVentricle:
    """The fixed part of one LV: where its outlet, thick and infarcted walls are. `tables` gives it at instants."""

    def __init__(self, subject, ring_ed_mm, ring_es_mm, shape, wall_mm3, septal_mm):
        s = subject
        self.subject, self.ring_ed, self.ring_es, self.skew = s, ring_ed_mm, ring_es_mm, shape["skew"]
        edv = 1000 * s.lvedv_ml
        self.wall_mm, outer_ring, outer_kappa, outer = solve_wall(edv, ring_ed_mm, s.lv_length_mm, self.skew, wall_mm3)
        self.reach = outer / s.lv_length_mm
        self.u = np.linspace(0, self.reach, LEVELS)
        self.base, self.belly = (p[:, None] for p in profile_terms(self.u, self.skew))
        outer_base, outer_belly = (p[:, None] for p in profile_terms(self.u / self.reach, self.skew))
        inside = ring_ed_mm**2 * self.base + bulge_coefficient(edv, ring_ed_mm, s.lv_length_mm) * self.belly
        wall = outer_ring**2 * outer_base + outer_kappa * outer_belly - inside
        if wall.min() < -1e-6:
            raise ValueError(
                f"{s.lvm_g:.0f} g of muscle do not cover a cavity of {s.lvedv_ml:.0f} mL: choose more mass"
            )
        self.harmonics = self._harmonics(shape)
        self.outlet_mm = min(shape["aortic_mm"], 0.8 * ring_ed_mm)
        self.outlet_centre_mm = ring_ed_mm + self.outlet_mm - 2.0
        self.stay = self._territory(shape["stay"])
        self._fit()
        taper = 1.35 - 0.7 * np.clip(self.u, 0, 1)[:, None]  # walls thin out towards the apex
        whole = weighted(wall * self._thickness(shape, septal_mm))
        self.wall = wall * taper * self._thickness(shape, septal_mm)
        self.wall *= whole / weighted(self.wall)
        self.at_ed = [table[0] for table in self.tables(np.zeros(1), np.zeros(1))]

    def length_mm(self, emptied, plane):
        """Mitral plane to the cavity's apex."""
        return self.subject.lv_length_mm - self.subject.mapse_mm * plane - self.subject.apex_motion_mm * emptied

    def ring_mm(self, emptied):
        return self.ring_ed + emptied * (self.ring_es - self.ring_ed)

    def tables(self, emptied, plane) -> tuple[np.ndarray, np.ndarray]:
        """R² of cavity and outer surface, both (n, LEVELS, ANGLES + 1) mm², for curves of n instants."""
        length, ring, kappa = self._solve(emptied, plane)
        ring, kappa = ring[:, None, None], kappa[:, None, None]
        free = (ring**2 * self.base + kappa * self.belly) * self.harmonics + self.outlet
        endo = (1 - self.stay) * free + self.stay * self.before
        return endo, endo + self.wall * (self.subject.lv_length_mm / length)[:, None, None]

    def _solve(self, emptied, plane):
        s, keep = self.subject, 1 - self.stay
        length, ring = self.length_mm(emptied, plane), self.ring_mm(emptied)
        mean = 1000 * (s.lvedv_ml - emptied * (s.lvedv_ml - s.lvesv_ml)) / (np.pi * length * self.reach)
        fixed = weighted(keep * self.outlet) + weighted(self.stay * self.before)
        free = mean - fixed - ring**2 * weighted(keep * self.base * self.harmonics)
        return length, ring, free / weighted(keep * self.belly * self.harmonics)

    def _fit(self):
        """Shrink the outlet, then the infarct, until the rest of the wall can make up for them."""
        stay, whole = self.stay, self._outlet()
        nothing = np.zeros_like(stay)
        for share in (1.0, 0.8, 0.6, 0.4, 0.2, 0.0):
            self.outlet, self.stay, self.before = share * whole, nothing, nothing
            kappas = self._solve(np.array([0.0, 1.0]), np.array([0.0, 1.0]))[2]
            if kappas.min() >= 0.15 * self.ring_es**2:
                break
        before = (self.ring_ed**2 * self.base + kappas[0] * self.belly) * self.harmonics + self.outlet
        for share in (1.0, 0.85, 0.7, 0.55, 0.4, 0.25, 0.0):
            self.stay, self.before = share * stay, before
            if self._solve(np.array([1.0]), np.array([1.0]))[2][0] >= 0.25 * self.ring_es**2:
                break

    def _harmonics(self, shape):
        """Shift of the axis towards the outlet, and a septum flattened by the RV: both of mean 1 at every level."""
        grown = rise(self.u / 0.3)[:, None]
        shift = 0.24 * np.cos(THETA - OUTLET_RAD)
        flat = -shape["flattening"] * np.cos(2 * (THETA - shape["rv_rad"]))
        uneven = sum(
            size * np.cos(m * THETA + shape[f"phase_{m % 2 + 1}"] + 3 * self.u[:, None])
            for m, size in ((3, 0.03), (4, 0.025), (5, 0.02))
        )
        return 1 + grown * (shift + flat + uneven)

    def _outlet(self):
        """R² added in front of the aortic valve, which lies beside the mitral ring; fades towards mid level."""
        across = THETA - OUTLET_RAD
        reach2 = self.outlet_mm**2 - (self.outlet_centre_mm * np.sin(across)) ** 2
        edge = self.outlet_centre_mm * np.cos(across) + np.sqrt(np.clip(reach2, 0, None))
        over = np.where((reach2 > 0) & (np.cos(across) > 0), edge**2 - self.ring_ed**2, 0)
        fade = np.clip(1 - self.u / 0.3, 0, 1) ** 2
        return np.clip(over, 0, None) * fade[:, None]

    def _territory(self, share):
        """Share of its ED radius that each point keeps; 0 without an infarct and at the ring."""
        territory = self.subject.infarct_territory
        if not territory:
            return np.zeros((LEVELS, ANGLES + 1))
        middle, half, first, last = TERRITORIES[territory]
        away = np.abs((np.rad2deg(THETA) - middle + 180) % 360 - 180)
        # at the apex the LAD goes all the way round
        half = half + 130 * (territory == "lad") * rise((self.u - 0.7) / 0.2)
        inside = rise((half[:, None] - away + 12) / 24)
        levels = rise((self.u - first) / 0.15) * rise((last - self.u) / 0.15)
        return share * inside * levels[:, None]

    def _thickness(self, shape, septal_mm):
        """How the wall's area is shared round the circumference: mean 1 at every level."""
        bump = np.exp((np.cos(THETA - shape["septum_rad"]) - 1) / 0.55)
        bump = bump - bump[:-1].mean()
        grown = 1 - 0.6 * rise((self.u - 0.55) / 0.4)[:, None]
        amount = shape["septal_share"]
        if septal_mm > self.wall_mm:
            middle = 0.45 * self.wall_mm + 0.55 * septal_mm  # the area grows with the square of the thickness
            amount = max(amount, (septal_mm / self.wall_mm * middle / self.wall_mm - 1) / bump.max() * 1.15)
        amount = min(max(amount, 0.5 * (septal_mm > 0)), 0.75 / -bump.min())
        thin = 1 - 0.45 * self.stay
        even = np.sqrt(self.before) + self.wall_mm / 2  # the same thickness takes more area where the cavity is wide
        share = (1 + amount * grown * bump) * thin * even
        return share / share[:, :-1].mean(1, keepdims=True)


def trabeculae(endo2, u, shape, depth_mm, basal: bool = False):
    """R² (n, LEVELS, ANGLES + 1) within which the LV is free of trabeculae; they close up as the cavity shrinks.

    Ridges of irregular width along the wall; the septum is smooth. basal: they reach up to the mitral ring.
    """
    v = u[:, None]
    angle = THETA + 0.35 * np.sin(THETA + 2.5 * v + shape["phase_1"])
    wave = sum(
        size * np.sin(m * angle + slant * v + shape["phase_2"] * m)
        for m, slant, size in ((4, 3, 0.6), (7, -5, 0.8), (11, 6, 0.7), (18, -8, 0.4))
    )
    smooth = 0.25 + 0.75 * rise(0.6 + 0.8 * np.cos(THETA))
    grown = np.ones_like(v) if basal else rise((v - 0.15) / 0.35) * (0.3 + 0.8 * v)
    depth = depth_mm * smooth * grown * np.clip(wave, 0, 1.3)
    radius = np.sqrt(endo2)
    return np.clip(radius - np.minimum(depth, 0.45 * radius), 0, None) ** 2


def crescent(shape):
    """Shape s (OUTFLOW_ROWS + INFLOW_ROWS, ANGLES + 1) of the RV's height: outflow tract, then body to the apex."""
    towards, across = np.cos(THETA - shape["rv_rad"]), np.sin(THETA - shape["rv_rad"])
    v = np.linspace(0, 1, INFLOW_ROWS)[:, None]
    edge = 0.42 + 0.24 * v  # spans about 120° of the LV at the base, 90° near the apex
    window = np.clip((towards - edge) / (1 - edge), 0, None) ** 0.75
    # fuller in front at the base, below towards the apex (acute margin); across > 0 is inferior
    window = window * (1 + np.where(v < 0.6, 0.9 * v - 0.22, 0.32) * across)
    body = window * (1 - v) ** 0.75 * (1 + 0.6 * v) * (1 - 0.12 * np.clip(1 - v / 0.16, 0, 1) ** 2)
    # the tract narrows towards the pulmonary valve and turns to the left
    r = np.r_[np.linspace(0, 1, OUTFLOW_ROWS), np.ones(INFLOW_ROWS)][:, None]
    rim = np.cos(TRACT_RAD * (0.55 + 0.45 * r))
    near = np.cos(THETA - shape["pulmonary_rad"] - np.deg2rad(10) * r) - rim
    tract = 0.75 * np.sqrt(np.clip(near / (1 - rim), 0, 1))
    body = np.maximum(body, tract[OUTFLOW_ROWS:] * np.clip(1 - v / 0.35, 0, 1))
    body = body * (1 + 0.06 * np.sin(5 * THETA + 4 * v + shape["phase_1"]))
    return np.concatenate([tract[:OUTFLOW_ROWS], body])


def right_ventricle(epi2, shape, planes, volume_mm3):
    """R²(RV) - R²(LV's outer surface) of the RV and of its blood without trabeculae, (n, rows, ANGLES + 1) each.

    planes: arrays (n,) zb, reach (LV's outer length), zpv, zt, zr. Also returns the heights k (n,).
    """
    s, n = crescent(shape), len(epi2)
    z = np.concatenate(
        [np.linspace(planes["zpv"], planes["zt"], OUTFLOW_ROWS), np.linspace(planes["zt"], planes["zr"], INFLOW_ROWS)]
    ).T
    level = np.clip((z - planes["zb"][:, None]) / planes["reach"][:, None] * (LEVELS - 1), 0, LEVELS - 1 - 1e-9)
    row, part = level.astype(int), (level % 1)[..., None]
    inner = np.sqrt((1 - part) * epi2[np.arange(n)[:, None], row] + part * epi2[np.arange(n)[:, None], row + 1])
    linear, square = np.zeros(n), np.zeros(n)
    for rows, low, high in ((slice(0, OUTFLOW_ROWS), "zpv", "zt"), (slice(OUTFLOW_ROWS, None), "zt", "zr")):
        extent = np.pi * (planes[high] - planes[low])
        linear += extent * weighted(2 * inner[:, rows] * s[rows])
        square += extent * weighted(np.broadcast_to(s[rows] ** 2, inner[:, rows].shape))
    k = (np.sqrt(linear**2 + 4 * square * volume_mm3) - linear) / (2 * square)
    height = k[:, None, None] * s
    v = np.r_[np.zeros(OUTFLOW_ROWS), np.linspace(0, 1, INFLOW_ROWS)][:, None]
    wave = np.sin(11 * THETA + 7 * v + shape["phase_2"]) + np.sin(17 * THETA - 15 * v + shape["phase_1"])
    free = height - np.minimum(0.5 * height, shape["trabecula_mm"] * 1.3 * rise(v / 0.5) * np.clip(wave, 0, None))
    # the moderator band crosses from the septum to the free wall
    band = (np.abs(v - 0.6) < 0.035) & (np.abs(THETA - shape["rv_rad"] - 0.1) < 0.13)
    free = np.where(band, 0.0, free)
    return height * (2 * inner + height), free * (2 * inner + free), k
