"""What moves where: a beating heart by formulas, in 3-D and time.

Heart coordinates (mm, right-handed): z from the centre of the mitral ring at ED along the long axis to the apex,
x from the septum to the lateral wall (the right ventricle lies at negative x), y from inferior to anterior.

* LV cavity: prolate ellipsoid cut by the valve plane. Length and ring are given at every instant, volume too, so
  its two half axes follow in closed form (`truncated_ellipsoid`).
* Myocardium: a second ellipsoid with the same cut, solved so that its volume never changes.
* RV: a crescent between the LV's outer surface and a free wall at distance H(t) · window(angle) · taper(z); its
  volume is a quadratic in H, solved at every instant.
* Atria: ellipsoids cut by the valve planes, volumes from the reservoir-conduit-booster curve.

Everything that bends (infarct, right atrium) is a shear along z, which keeps volumes.
"""

import numpy as np

from cmrlib.anatomy import MYOCARDIAL_DENSITY_G_PER_ML
from cmrlib.phantom.physiology import DIAGNOSES, Subject, cycle, streams
from cmrlib.phantom.tissue import FRAME, LABEL_OF, outer_radius, paint, rv_moments, rv_taper

RV_WALL_MM, ATRIAL_WALL_MM = 3.0, 2.0
APEX_WALL_SHARE = 0.75
"""The apex is thinner than the walls."""

SLIMMEST, WIDEST_AT_ED = 1.95, 2.6
"""Bounds of q (see `truncated_ellipsoid`): between a half ellipsoid (2) and an egg."""


def truncated_ellipsoid(volume_ml, ring_mm, length_mm):
    """Half axes of an ellipsoid of revolution cut by a plane, from volume, ring radius and length (all broadcast).

    With the cut τ c before the centre: V = π a² c (1+τ)² (2-τ) / 3, ring = a √(1-τ²), length = c (1+τ); hence
    (2-τ) / (1-τ) = q = 3 V / (π ring² length). Returns (a_mm, c_mm, τ). Raises ValueError unless q > 1.5.
    """
    q = 3000 * np.asarray(volume_ml, float) / (np.pi * ring_mm**2 * length_mm)
    if np.any(q <= 1.5):
        raise ValueError(f"no cut ellipsoid of {np.min(volume_ml):.1f} mL is that wide and long (q = {np.min(q):.2f}, "
                         "must exceed 1.5): choose a smaller ring or length")
    tau = (q - 2) / (q - 1)
    return ring_mm / np.sqrt(1 - tau**2), length_mm / (1 + tau), tau


def cut_volume_ml(a_mm, c_mm, cut_mm):
    """Volume of an ellipsoid of revolution (half axes a, a, c) beyond the plane `cut_mm` before its centre."""
    tau = np.clip(cut_mm / c_mm, -1, 1)
    return np.pi * a_mm**2 * c_mm * (2 / 3 + tau - tau**3 / 3) / 1000


class Heart:
    """A subject's moving heart; `geometry` gives everything at chosen instants, `tissue` what is at a point."""

    def __init__(self, subject: Subject):
        self.subject = s = subject
        self.shape = _draw_shape(streams(s.seed, s.number)["anatomy"], s)
        self.myocardium_ml = s.lvm_g / MYOCARDIAL_DENSITY_G_PER_ML
        # the ring keeps its width over the cycle unless so little blood is left that only a narrower one fits
        length_es = s.lv_length_mm - s.mapse_mm - s.apex_motion_mm
        self.ring_ed_mm = min(s.annulus_mm / 2, _ring(s.lvedv_ml, s.lv_length_mm, WIDEST_AT_ED))
        self.ring_es_mm = min(self.ring_ed_mm, _ring(s.lvesv_ml, length_es, SLIMMEST))
        ed = self._left(0.0)
        self.a_ed_mm, self.wall_ed_mm = float(ed["a"]), float(ed["wall"])
        # HCM: the septum must reach its thickness; else it is about a fifth thicker than the lateral wall
        wall = self.wall_ed_mm
        offset = max(self.shape["septal_share"] * wall, DIAGNOSES[s.diagnosis].septal_mm - wall)
        self.wall_offset_mm = float(np.clip(offset, 0, 0.66 * wall))

    def volumes(self, times_ms) -> dict[str, np.ndarray]:
        """Prescribed volumes in mL at times (n,): lv, rv, la, ra."""
        s, phase = self.subject, cycle(self.subject, times_ms)
        return {"lv": s.lvedv_ml - phase["emptied"] * (s.lvedv_ml - s.lvesv_ml),
                "rv": s.rvedv_ml - phase["emptied"] * (s.rvedv_ml - s.rvesv_ml),
                "la": s.la_min_ml + phase["atrial"] * (s.la_max_ml - s.la_min_ml),
                "ra": s.ra_min_ml + phase["atrial"] * (s.ra_max_ml - s.ra_min_ml)}

    def geometry(self, times_ms) -> np.ndarray:
        """Records of dtype `FRAME` (n,), one an instant; lengths in mm, angles as cosine and sine."""
        times = np.atleast_1d(np.asarray(times_ms, float))
        phase, volume, shape = cycle(self.subject, times), self.volumes(times), self.shape
        g = np.zeros(len(times), FRAME)
        left = self._left(phase["emptied"])
        for name in ("zb", "length", "a", "c", "zc", "ring", "ae", "ce"):
            g[name] = left[name]
        for name in ("eta", "rv_cos", "rv_sin", "pap_cos_1", "pap_sin_1", "pap_cos_2", "pap_sin_2", "trabecula_mm",
                     "fat_lv", "fat_rv", "phase_1", "phase_2"):
            g[name] = shape[name]
        self._uneven_walls(g, left["wall"])
        g["mitral_open"], g["rv_wall"], g["atrial_wall"] = phase["mitral_open"], RV_WALL_MM, ATRIAL_WALL_MM
        twist = shape["twist"] * phase["emptied"]
        g["twist_cos"], g["twist_sin"] = np.cos(twist), np.sin(twist)
        g["papillary"] = shape["papillary_mm"] * np.sqrt(self.subject.lv_length_mm / left["length"])
        extra = self.subject.tapse_mm - self.subject.mapse_mm
        g["zt"] = left["zb"] + shape["tricuspid_apical_mm"] + phase["emptied"] * extra
        g["zr"] = left["zc"] + left["ce"] - shape["rv_apex_gap"] * left["length"]
        _solve_rv(g, volume["rv"])
        self._atria(g, volume)
        return g

    def tissue(self, points_mm, time_ms: float) -> np.ndarray:
        """Tissue codes (n,) uint8 at heart-coordinate points (n, 3); 0 where there is no heart."""
        points = np.ascontiguousarray(points_mm, np.float64).reshape(-1, 3)
        codes = np.empty((1, len(points)), np.uint8)
        paint(points, self.geometry(time_ms), np.zeros(len(points), np.uint8), codes)
        return codes[0]

    def labels(self, points_mm, time_ms: float) -> np.ndarray:
        """Labels of `cmrlib.anatomy` (n,) uint8 at heart-coordinate points (n, 3)."""
        return LABEL_OF[self.tissue(points_mm, time_ms)]

    def _left(self, emptied) -> dict:
        """LV cavity and outer surface where the LV is `emptied` (any shape, 0 … 1): lengths in mm."""
        s, f = self.subject, np.asarray(emptied, float)
        volume = s.lvedv_ml - f * (s.lvedv_ml - s.lvesv_ml)
        zb, length = s.mapse_mm * f, s.lv_length_mm - (s.mapse_mm + s.apex_motion_mm) * f
        ring = self.ring_ed_mm - f * (self.ring_ed_mm - self.ring_es_mm)
        a, c, tau = truncated_ellipsoid(volume, ring, length)
        wall = _solve_wall(a, c, tau * c, volume + self.myocardium_ml)
        return {"zb": zb, "length": length, "a": a, "c": c, "zc": zb + tau * c, "ring": ring, "wall": wall,
                "ae": a + wall, "ce": c + APEX_WALL_SHARE * wall}

    def _uneven_walls(self, g, wall_mm):
        """Thicker septum; an infarcted wall is thinner and stays outside while the rest contracts towards it."""
        s, shape = DIAGNOSES[self.subject.diagnosis], self.shape
        inward = s.infarct * (self.a_ed_mm - g["a"])
        offset = self.wall_offset_mm * wall_mm / self.wall_ed_mm
        thin = 0.3 * wall_mm if s.infarct else 0.0
        for axis, direction in zip("xy", shape["infarct_direction"]):
            g[f"e{axis}"] = inward * direction
            g[f"o{axis}"] = -thin * direction
        g["ox"] += -offset if not s.infarct else 0.0
        g["oy"] += 0.25 * offset if not s.infarct else 0.0

    def _atria(self, g, volume):
        """Cut ellipsoids behind the planes; their roofs hardly move, so they lengthen as the planes descend."""
        s = self.subject
        for name, ring, plane in (("la", g["ring"], g["zb"]), ("ra", np.full(len(g), 0.47 * s.annulus_mm), g["zt"])):
            smallest = s.la_min_ml if name == "la" else s.ra_min_ml
            start = self.shape["tricuspid_apical_mm"] if name == "ra" else 0.0
            rest = min(46.0, 3000 * smallest / (np.pi * ring[0] ** 2 * 3.0))
            length = np.minimum(rest + plane - start, 3000 * volume[name] / (np.pi * ring**2 * SLIMMEST))
            a, c, tau = truncated_ellipsoid(volume[name], ring, length)
            g[f"{name}_a"], g[f"{name}_c"], g[f"{name}_z"] = a, c, plane - tau * c
            if name == "ra":
                g["ra_ring"], g["ra_depth"] = ring, 0.6 * length
        for t in range(len(g)):
            f = g[t]
            reach = outer_radius(f["rv_cos"], f["rv_sin"], f["zt"], f)
            reach += max(0.45 * rv_taper(0.0) * f["rv_h"], f["ra_ring"] + 1)
            g["ra_x"][t], g["ra_y"][t] = f["ox"] + f["rv_cos"] * reach, f["oy"] + f["rv_sin"] * reach
        # deeper, the right atrium gives way to the left one
        g["ra_deep_x"] = np.minimum(g["ra_x"], -(g["la_a"] + g["ra_a"] + 2 * ATRIAL_WALL_MM + 1))


def _ring(volume_ml, length_mm, q):
    """Ring radius in mm that gives the shape number q."""
    return float(np.sqrt(3000 * volume_ml / (np.pi * length_mm * q)))


def _solve_wall(a, c, cut, outer_ml):
    """Wall thickness in mm for which the outer ellipsoid holds `outer_ml` (bisection, all arrays)."""
    low, high = np.zeros_like(a), np.full_like(a, 60.0)
    for _ in range(60):
        wall = (low + high) / 2
        small = cut_volume_ml(a + wall, c + APEX_WALL_SHARE * wall, cut) < outer_ml
        low, high = np.where(small, wall, low), np.where(small, high, wall)
    return (low + high) / 2


def _solve_rv(g, volume_ml):
    """Set the crescent's height rv_h so that the RV holds `volume_ml` at every instant."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    angles = np.arange(256) * 2 * np.pi / 256
    for t in range(len(g)):
        first, second = rv_moments(g[t], (nodes + 1) / 2, weights / 2, np.cos(angles), np.sin(angles))
        g["rv_h"][t] = (np.sqrt(first**2 + 4000 * second * volume_ml[t]) - first) / (2 * second)


def _draw_shape(rng, subject: Subject) -> dict:
    """Individual anatomy that no published table describes; lengths in mm, angles in radians."""
    dilated = DIAGNOSES[subject.diagnosis].rvedv_index is not None
    rv, first, second = np.deg2rad(rng.normal([176, 50, -78], [6, 9, 9]))
    territory = np.deg2rad(rng.choice([105.0, 130.0, -85.0, -20.0]) + rng.normal(0, 10))
    papillary = rng.uniform(3.6, 5.0) * (subject.lvedv_ml / 150) ** 0.2
    return {
        "septal_share": rng.uniform(0.12, 0.28), "eta": rng.normal(1.07 if dilated else 1.0, 0.015),
        "infarct_direction": (np.cos(territory), np.sin(territory)), "twist": np.deg2rad(rng.uniform(6, 14)),
        "rv_cos": np.cos(rv), "rv_sin": np.sin(rv), "rv_apex_gap": rng.uniform(0.08, 0.18),
        "tricuspid_apical_mm": rng.uniform(2, 6), "papillary_mm": papillary,
        "pap_cos_1": np.cos(first), "pap_sin_1": np.sin(first),
        "pap_cos_2": np.cos(second), "pap_sin_2": np.sin(second),
        "trabecula_mm": rng.uniform(2.0, 5.0), "fat_lv": rng.uniform(0.5, 3), "fat_rv": rng.uniform(3, 10),
        "phase_1": rng.uniform(0, 6.28), "phase_2": rng.uniform(0, 6.28),
    }
