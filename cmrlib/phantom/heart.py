"""Analytic heart geometry in 3-D and time.

Heart coordinates (mm, right-handed): z from the centre of the mitral ring at ED along the long axis to the apex,
x from the septum to the lateral wall (the right ventricle lies at negative x), y from inferior to anterior.

Cavities and walls are tables of squared radii (`ventricles`, `atria`) that hold the prescribed volumes exactly at every
instant; `tissue` says what is at a point of them.
"""

import numpy as np

from cmrlib.cine.anatomy import MYOCARDIAL_DENSITY_G_PER_ML
from cmrlib.phantom import atria
from cmrlib.phantom.cycle import cycle
from cmrlib.phantom.diagnoses import DIAGNOSES
from cmrlib.phantom.physiology import streams
from cmrlib.phantom.subject import Subject
from cmrlib.phantom.tissue import FRAME, LABEL_OF, paint
from cmrlib.phantom.ventricles import LEVELS, OUTLET_RAD, THETA, LeftVentricle, right_ventricle, trabeculae

RV_WALL_MM, ATRIAL_WALL_MM = 3.0, 2.0
PULMONARY_BEHIND_MM = 12.0
"""The pulmonary valve lies this far behind the tricuspid plane at ED and descends half as much as the mitral one."""

SLIMMEST, WIDEST_AT_ED = 1.78, 2.6
"""Bounds of 3 V / (π ring² length): 1.5 is a paraboloid on the mitral ring, 2 a half ellipsoid, more an egg."""


class Heart:
    """Moving heart of a subject: `geometry` at given times, `tissue` at given points.

    Raises ValueError where the subject's volumes, mass and lengths are inconsistent.
    """

    def __init__(self, subject: Subject):
        self.subject = s = subject
        self.shape = shape = _sample_shape(streams(s.seed, s.number)["anatomy"], s)
        self.myocardium_ml = s.lvm_g / MYOCARDIAL_DENSITY_G_PER_ML
        # the ring is as wide as prescribed unless so little blood is left that only a narrower one fits
        length_es = s.lv_length_mm - s.mapse_mm - s.apex_motion_mm
        self.ring_ed_mm = min(s.annulus_mm / 2, _ring(s.lvedv_ml, s.lv_length_mm, WIDEST_AT_ED))
        self.ring_es_mm = min(self.ring_ed_mm * s.annulus_es_ratio, _ring(s.lvesv_ml, length_es, SLIMMEST))
        wall_mm3, septal_mm = 1000 * self.myocardium_ml, DIAGNOSES[s.diagnosis].septal_mm
        self.left = LeftVentricle(s, self.ring_ed_mm, self.ring_es_mm, shape, wall_mm3, septal_mm)
        self.wall_ed_mm = self.left.wall_mm
        self._place_right_side()
        self.at_ed = self.geometry(0.0)

    def volumes(self, times_ms) -> dict[str, np.ndarray]:
        """Prescribed volumes in mL at times (n,): lv, rv, la, ra."""
        s, phase = self.subject, cycle(self.subject, times_ms)
        return {
            "lv": s.lvedv_ml - phase["emptied"] * (s.lvedv_ml - s.lvesv_ml),
            "rv": s.rvedv_ml - phase["rv_emptied"] * (s.rvedv_ml - s.rvesv_ml),
            "la": s.la_min_ml + phase["atrial"] * (s.la_max_ml - s.la_min_ml),
            "ra": s.ra_min_ml + phase["ra_fullness"] * (s.ra_max_ml - s.ra_min_ml),
        }

    def geometry(self, times_ms) -> np.ndarray:
        """Records of dtype `FRAME` (n,), one per time; lengths in mm, tables in mm²."""
        times = np.atleast_1d(np.asarray(times_ms, float))
        phase, volume, shape, left = cycle(self.subject, times), self.volumes(times), self.shape, self.left
        g = np.zeros(len(times), FRAME)
        g["zb"], g["ring"] = self.subject.mapse_mm * phase["plane"], left.ring_mm(phase["emptied"])
        g["length"] = left.length_mm(phase["emptied"], phase["plane"])
        g["reach"] = g["length"] * left.reach
        endo, epi = left.tables(phase["emptied"], phase["plane"])
        thicker = np.sqrt(self.subject.lv_length_mm / g["length"])
        blood = trabeculae(endo, left.u, shape, shape["trabecula_mm"], self.subject.unclear_valve)
        g["lv"] = np.stack([blood, endo, epi], axis=-1)
        for name in ("mitral_open", "tricuspid_open", "aortic_open", "jet", "decoy", "inflow"):
            g[name] = phase[name]
        for name, plume in zip(("jet", "decoy"), self.subject.plumes):
            towards = OUTLET_RAD + np.pi + plume.direction_rad
            g[f"{name}_cos"], g[f"{name}_sin"] = np.cos(towards), np.sin(towards)
            for part in ("x", "y", "aside", "width", "length"):
                g[f"{name}_{part}"] = getattr(plume, f"{part}_mm")
            g[f"{name}_lean"], g[f"{name}_spread"] = plume.lean, plume.spread
        twist = shape["twist"] * phase["emptied"]
        for n in "12":
            g[f"pap_cos_{n}"], g[f"pap_sin_{n}"] = np.cos(shape[f"pap_{n}"] + twist), np.sin(shape[f"pap_{n}"] + twist)
        g["papillary"] = shape["papillary_mm"] * thicker
        g["outlet_cos"], g["outlet_sin"] = np.cos(OUTLET_RAD), np.sin(OUTLET_RAD)
        g["rv_cos"], g["rv_sin"] = np.cos(shape["rv_rad"]), np.sin(shape["rv_rad"])
        for name in ("fat_lv", "fat_rv", "phase_1", "phase_2"):
            g[name] = shape[name]
        g["rv_wall"], g["atrial_wall"] = RV_WALL_MM, ATRIAL_WALL_MM
        self._right(g, phase["rv_emptied"], volume["rv"], epi)
        self._atria(g, volume)
        g["decoy_roof"] = g["la_length"] * self.subject.plumes[1].roof
        g["tubes"] = atria.tubes(left, shape, g).reshape(len(g), -1)
        return g

    def tissue(self, points_mm, time_ms: float) -> np.ndarray:
        """Tissue codes (n,) uint8 at heart-coordinate points (n, 3); 0 where there is no heart."""
        points = np.ascontiguousarray(points_mm, np.float64).reshape(-1, 3)
        frames = self.at_ed if time_ms == 0 else self.geometry(time_ms)
        return paint(points, frames, np.zeros(len(points), np.uint8))[0]

    def labels(self, points_mm, time_ms: float) -> np.ndarray:
        """Labels of `cmrlib.cine.anatomy` (n,) uint8 at heart-coordinate points (n, 3)."""
        return LABEL_OF[self.tissue(points_mm, time_ms)]

    def box_mm(self, geometry) -> np.ndarray:
        """Corners (2, 3) of a box that holds the heart, its fat and its moving vessels in all frames of `geometry`."""
        g, first, tubes = geometry, geometry[0], geometry["tubes"].reshape(-1, 7).astype(float)
        fat = first["fat_lv"] + first["fat_rv"] + 6
        ventricles = np.sqrt(g["lv"][..., 2].max() + g["rv"][..., 0].max()) + RV_WALL_MM + fat
        la, ra = (np.sqrt(g[name].max()) + 10 for name in ("la", "ra"))  # with fat of the grooves
        x, y = first["ra_x"], first["ra_y"]
        circles = [(0, 0, ventricles), (0, 0, la), (first["la_shift"], 0, la)]
        circles += [(x, y, ra), (x + first["ra_shift"], y, ra)]
        x, y, radius = np.vstack([circles, tubes[:, [0, 1, 6]] + [0, 0, 2], tubes[:, [3, 4, 6]] + [0, 0, 2]]).T
        behind = g["zb"] - g["la_length"], g["zt"] - g["ra_length"], g["zb"] - 9, g["zpv"]
        low = min(np.min(behind) - 3, (tubes[:, [2, 5]] - tubes[:, 6:] - 2).min())
        high = (g["zb"] + g["reach"]).max() + fat
        return np.array([[(x - radius).min(), (y - radius).min(), low], [(x + radius).max(), (y + radius).max(), high]])

    def _place_right_side(self):
        """Positions of the tricuspid ring, the interatrial septum and the atria's bent centre lines."""
        s, outer = self.subject, np.sqrt(self.left.at_ed[1])
        column = int(np.argmin(np.abs(THETA - self.shape["tricuspid_rad"])))
        self.mouth_mm = min(0.53 * s.annulus_mm, 0.37 * (1000 * s.rvesv_ml) ** (1 / 3))
        away = outer[:3, column].max() + self.mouth_mm + 1.0
        self.tricuspid_xy = away * np.array([np.cos(THETA[column]), np.sin(THETA[column])])
        sizes = [0.62 * (1000 * ml) ** (1 / 3) for ml in (s.la_max_ml, s.ra_max_ml)]
        # a large left atrium pushes the septum over, a large right one pushes it back
        self.septum_x = -max(self.ring_ed_mm, self.ring_es_mm) - 3.0 - np.clip(0.2 * (sizes[0] - sizes[1]), -2, 7)
        right = self.septum_x - atria.SEPTUM_MM - 0.72 * sizes[1] - self.tricuspid_xy[0]
        self.shift_x = self.septum_x + 0.72 * sizes[0], right

    def _right(self, g, rv_emptied, volume_ml, epi):
        """Tricuspid plane, apex and crescent of the RV.

        TAPSE is measured at the free wall, so the plane's centre moves half way between MAPSE and TAPSE.
        """
        s = self.subject
        g["zt"] = self.shape["tricuspid_apical_mm"] + g["zb"] + rv_emptied * max(0.0, s.tapse_mm - s.mapse_mm) / 2
        g["zpv"] = self.shape["tricuspid_apical_mm"] - PULMONARY_BEHIND_MM + 0.45 * g["zb"]
        g["zr"] = g["zb"] + g["reach"] - self.shape["rv_apex_gap"] * g["length"]
        height, free, g["rv_h"] = right_ventricle(epi, self.shape, g, 1000 * volume_ml)
        g["rv"] = np.stack([height, free], axis=-1)

    def _atria(self, g, volume):
        """Both atria, their lengths and centre lines."""
        n = len(g)
        ra_mouth = np.full(n, self.mouth_mm)
        g["la_length"] = atria.lengths(volume["la"], g["ring"], g["zb"])
        g["ra_length"] = atria.lengths(volume["ra"], ra_mouth, g["zt"] - self.shape["tricuspid_apical_mm"])
        g["ra_x"], g["ra_y"] = self.tricuspid_xy
        g["la_shift"], g["ra_shift"] = self.shift_x
        g["mouth"] = self.mouth_mm
        room = atria.limits(0.0, self.shift_x[0], g["zb"], g["la_length"], self.septum_x, 1)
        g["la"] = atria.fill(volume["la"], g["ring"], g["la_length"], room, self.shape["la_section"])
        septum_x = self.septum_x - atria.SEPTUM_MM
        room = atria.limits(self.tricuspid_xy[0], self.shift_x[1], g["zt"], g["ra_length"], septum_x, -1)
        # before the mitral plane the LV's wall is its neighbour, behind it the LA
        septal = np.abs(THETA - np.pi) < 0.6
        wall = np.sqrt(g["lv"][:, : LEVELS // 8, septal, 2].max((1, 2))) + 0.5
        before = atria.heights(g["zt"], g["ra_length"]) > g["zb"][:, None] - 1
        room = np.where(before[..., None], atria.beside(self.tricuspid_xy, wall)[:, None], room)
        g["ra"] = atria.fill(volume["ra"], ra_mouth, g["ra_length"], room, self.shape["ra_section"])


def _ring(volume_ml, length_mm, q):
    """Ring radius in mm that gives the shape number q."""
    return float(np.sqrt(3000 * volume_ml / (np.pi * length_mm * q)))


def _sample_shape(rng, subject: Subject) -> dict:
    """Individual anatomy that no published table describes; lengths in mm, angles in radians."""
    s, diagnosis = subject, DIAGNOSES[subject.diagnosis]
    dilated = diagnosis.rvedv_index is not None
    rv, first, second = np.deg2rad(rng.normal([176, 38, -104], [5, 9, 9]))
    scale = (s.lvedv_ml / 150) ** 0.2
    return {
        "septal_share": rng.uniform(0.10, 0.28),
        "septum_rad": np.deg2rad(rng.normal(165, 8)),
        "flattening": 0.16 if dilated else rng.normal(0.02, 0.015),
        "skew": rng.uniform(0.2, 0.9),
        "stay": rng.uniform(0.75, 1.0),
        "twist": np.deg2rad(rng.uniform(6, 14)),
        "rv_rad": rv,
        "tricuspid_rad": rv + np.deg2rad(rng.normal(10, 3)),
        "rv_apex_gap": rng.uniform(0.08, 0.18),
        "pulmonary_rad": np.deg2rad(rng.normal(108, 4)),
        "aortic_mm": rng.normal(11.5, 0.8) * (s.height_m / 1.7),
        "tricuspid_apical_mm": rng.uniform(3, 7),
        "papillary_mm": rng.uniform(4.0, 6.0) * scale,
        "pap_1": first,
        "pap_2": second,
        "appendage_mm": rng.uniform(6, 9),
        "trabecula_mm": rng.uniform(2.0, 4.5),
        "fat_lv": rng.uniform(0.2, 1.6),
        "fat_rv": rng.uniform(3, 10),
        "la_section": atria.oval(rng.uniform(1.15, 1.45), np.deg2rad(rng.normal(48, 12))),
        "ra_section": atria.oval(rng.uniform(1.35, 1.65), np.deg2rad(rng.normal(8, 10))),
        "phase_1": rng.uniform(0, 6.28),
        "phase_2": rng.uniform(0, 6.28),
    }
