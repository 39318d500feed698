"""Who: one virtual person from (seed, subject number) alone.

Timing: QS2 = 541 - 2.2 HR (men), 540 - 2.0 HR (women) ms; LVET = 379 - 1.8 HR ms (Lance). The other distributions and
their sources are in `diagnoses`, the curves through the cycle in `cycle`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cmrlib.phantom.cycle import cycle, plane_velocities_cm_s
from cmrlib.phantom.diagnoses import ACDC_GROUPS, BODY, DIAGNOSES, EMPTYING_PCT, RANGES_95, TERRITORIES

__all__ = ["ACDC_GROUPS", "DIAGNOSES", "RANGES_95", "Subject", "cycle", "draw_subject", "streams"]

Q_TO_TRIGGER_MS = 40.0
"""QS2 counts from the Q wave; scanners trigger on the R peak, about this much later (assumption)."""

ENLARGED_RING = 165.0
"""LVs larger than this (mL) widen the mitral ring."""


@dataclass(frozen=True)
class Subject:
    """One person. `diagnosis` is what was drawn, `group` the label (None where the EF fits no group)."""

    seed: int
    number: int
    sex: str
    age_years: float
    height_m: float
    weight_kg: float
    heart_rate_bpm: float
    diagnosis: str
    group: str | None
    lvedv_ml: float
    lvesv_ml: float
    lvm_g: float
    rvedv_ml: float
    rvesv_ml: float
    la_max_ml: float
    la_min_ml: float
    ra_max_ml: float
    ra_min_ml: float
    mapse_mm: float
    tapse_mm: float
    apex_motion_mm: float
    lv_length_mm: float
    annulus_mm: float
    es_ms: float
    lvet_ms: float
    early_filling: float  # share of the stroke volume that enters before atrial contraction
    trigger_delay: float  # share of the cycle by which the first frame follows the trigger
    filling_early_ms: float  # length of the early filling wave where diastole leaves room
    filling_late_ms: float
    plane_early: float  # share of the plane's recoil before atrial contraction
    plane_early_ms: float
    plane_late_ms: float
    rhythm: str = "sinus"  # or "af"
    rr_sd: float = 0.03  # SD of the RR interval as a share of its mean
    regurgitant_fraction: float = 0.0  # mitral: share of the LV's stroke volume that goes back into the LA
    annulus_es_ratio: float = 1.0  # mitral ring's diameter, ES / ED
    infarct_territory: str = ""  # or "lad", "rca", "lcx"
    heart_failure: bool = False

    @property
    def bsa_m2(self) -> float:
        """Body surface area, Mosteller 1987."""
        return float(np.sqrt(self.height_m * 100 * self.weight_kg / 3600))

    @property
    def rr_ms(self) -> float:
        return 60_000 / self.heart_rate_bpm

    @cached_property
    def _velocities(self):
        return plane_velocities_cm_s(self)

    @property
    def s_prime_cm_s(self) -> float:
        """Fastest descent of the mitral plane."""
        return self._velocities[0]

    @property
    def e_prime_cm_s(self) -> float:
        """Fastest early recoil of the mitral plane, as a positive speed."""
        return self._velocities[1]

    @property
    def a_prime_cm_s(self) -> float:
        """Fastest late recoil of the mitral plane, as a positive speed; NaN in atrial fibrillation."""
        return self._velocities[2]

    def measures(self) -> dict:
        """Truth in 3-D, from the formulas and never from label maps; the names carry the units."""
        lvsv, rvsv = self.lvedv_ml - self.lvesv_ml, self.rvedv_ml - self.rvesv_ml
        la, ra = self.la_max_ml - self.la_min_ml, self.ra_max_ml - self.ra_min_ml
        return {
            "lvedv_ml": self.lvedv_ml, "lvesv_ml": self.lvesv_ml, "lvsv_ml": lvsv,
            "lvef_pct": 100 * lvsv / self.lvedv_ml, "lvco_l_min": lvsv * self.heart_rate_bpm / 1000,
            "lvm_g": self.lvm_g, "rvedv_ml": self.rvedv_ml, "rvesv_ml": self.rvesv_ml, "rvsv_ml": rvsv,
            "rvef_pct": 100 * rvsv / self.rvedv_ml, "la_max_ml": self.la_max_ml, "la_min_ml": self.la_min_ml,
            "lasv_ml": la, "laef_pct": 100 * la / self.la_max_ml, "ra_max_ml": self.ra_max_ml,
            "ra_min_ml": self.ra_min_ml, "rasv_ml": ra, "raef_pct": 100 * ra / self.ra_max_ml,
            "mapse_mm": self.mapse_mm, "sprime_cm_s": self.s_prime_cm_s, "eprime_cm_s": self.e_prime_cm_s,
            "aprime_cm_s": self.a_prime_cm_s, "lv_length_mm": self.lv_length_mm, "annulus_mm": self.annulus_mm,
            "regurgitant_ml": self.regurgitant_fraction * lvsv, "forward_sv_ml": (1 - self.regurgitant_fraction) * lvsv,
            "bsa_m2": self.bsa_m2, "heart_rate_bpm": self.heart_rate_bpm,
        }


def streams(seed: int, number: int) -> dict[str, np.random.Generator]:
    """Independent generators for body, shape and scan of subject `number`; nothing else enters."""
    names = ("physiology", "anatomy", "acquisition")
    return {n: np.random.Generator(np.random.PCG64(s))
            for n, s in zip(names, np.random.SeedSequence([seed, number]).spawn(len(names)))}


def draw_subject(seed: int, number: int, diagnoses=ACDC_GROUPS) -> Subject:
    """The person `number` of `seed`; diagnoses take turns, so every cohort is balanced.

    Raises ValueError for a diagnosis that is not in `DIAGNOSES`.
    """
    unknown = [name for name in diagnoses if name not in DIAGNOSES]
    if unknown or not diagnoses:
        raise ValueError(f"unknown diagnoses {unknown}; known are {list(DIAGNOSES)}, at least one is needed")
    rng = streams(seed, number)["physiology"]
    name = diagnoses[number % len(diagnoses)]
    body = _draw_body(rng, DIAGNOSES[name])
    heart = _draw_ventricles(rng, DIAGNOSES[name], body)
    heart |= _draw_atria_and_motion(rng, DIAGNOSES[name], body, heart)
    heart |= _draw_valve_and_rhythm(rng, DIAGNOSES[name], body)
    lvef = 100 * (1 - heart["lvesv_ml"] / heart["lvedv_ml"])
    low, high = DIAGNOSES[name].ef_labelled
    plain = {key: value for key, value in body.items() if not key.startswith("z_")}
    group = name if low < lvef < high else None
    return Subject(seed=seed, number=number, diagnosis=name, group=group, **plain, **heart)


def _normal(rng, mean, sd, low=-np.inf, high=np.inf):
    """A normal draw, redrawn (at most 100 times) until inside; then clipped."""
    for _ in range(100):
        value = rng.normal(mean, sd)
        if low <= value <= high and abs(value - mean) <= 2.6 * sd:
            return float(value)
    return float(np.clip(mean, low, high))


def _from_range(sex, name, z):
    """Value at standard score z of the published 95 % range (mean = middle, SD = width / 3.92)."""
    low, high = RANGES_95[sex][name]
    return (low + high) / 2 + np.clip(z, -2.4, 2.6) * (high - low) / 3.92


def _mix(rng, *pairs):
    """A standard score with the given (correlation, score) parts and the rest independent."""
    rest = np.sqrt(max(0.05, 1 - sum(r * r for r, _ in pairs)))
    return sum(r * z for r, z in pairs) + rest * rng.standard_normal()


def _draw_body(rng, diagnosis):
    sex = "M" if rng.random() < 0.5 else "F"
    z_age, z_height, z_bmi, z_rate = np.clip(rng.standard_normal(4), -2.3, 2.3)
    height = BODY[sex]["height_m"][0] + z_height * BODY[sex]["height_m"][1]
    bmi = BODY[sex]["bmi"][0] + z_bmi * BODY[sex]["bmi"][1]
    rate = (BODY[sex]["heart_rate_bpm"][0] + z_rate * BODY[sex]["heart_rate_bpm"][1]) * diagnosis.heart_rate
    return {"sex": sex, "age_years": round(58 + 9 * z_age), "height_m": round(height, 2),
            "weight_kg": round(bmi * height**2, 1), "heart_rate_bpm": round(float(np.clip(rate, 42, 115)), 1),
            "z_size": 0.6 * z_height + 0.8 * z_bmi, "z_age": z_age, "z_rate": z_rate}


def _draw_ventricles(rng, diagnosis, body):
    """Volumes, mass and length; bodies that are larger, younger and slower have larger hearts."""
    sex, bsa = body["sex"], np.sqrt(body["height_m"] * 100 * body["weight_kg"] / 3600)
    z_edv = _mix(rng, (0.5, body["z_size"]), (-0.25, body["z_age"]), (-0.2, body["z_rate"]))
    z_rv = _mix(rng, (0.85, z_edv))
    z_mass = _mix(rng, (0.35, body["z_size"]), (0.45, z_edv))
    lvedv = _from_range(sex, "lvedv_ml", z_edv)
    if diagnosis.lvedv_index:
        lvedv = bsa * _normal(rng, *diagnosis.lvedv_index)
    lvef = _from_range(sex, "lvef_pct", _mix(rng, (-0.15, z_edv), (0.1, body["z_age"])))
    if diagnosis.lvef_pct:
        lvef = _normal(rng, *diagnosis.lvef_pct)
    lvsv = lvedv * lvef / 100
    # what does not go back into the LA passes both ventricles; CMR reads 5 % more on the right (Petersen 2017)
    back = _normal(rng, *diagnosis.regurgitant_fraction) if diagnosis.regurgitant_fraction else 0.0
    forward = lvsv * (1 - back)
    rvedv, rvsv = _from_range(sex, "rvedv_ml", z_rv), 1.05 * forward * (1 + 0.03 * rng.standard_normal())
    if diagnosis.rvedv_index:
        rvedv = bsa * _normal(rng, *diagnosis.rvedv_index)
    rvedv = max(rvedv, rvsv / 0.64)
    rvef = rvsv / rvedv
    if diagnosis.rvef_pct:
        rvef = _normal(rng, *diagnosis.rvef_pct) / 100
    lvm = _from_range(sex, "lvm_g", z_mass) * diagnosis.mass
    if diagnosis.lvm_index:
        lvm = bsa * _normal(rng, *diagnosis.lvm_index)
    length = 97 * (lvedv / 163.5) ** (1 / 3) * diagnosis.sphericity * np.exp(_normal(rng, 0, 0.035))
    return {"lvedv_ml": float(lvedv), "lvesv_ml": float(lvedv * (1 - lvef / 100)), "rvedv_ml": float(rvedv),
            "rvesv_ml": float(rvedv * (1 - rvef)), "lvm_g": float(lvm),
            "lv_length_mm": float(length), "regurgitant_fraction": back}


def _draw_atria_and_motion(rng, diagnosis, body, heart):
    sex, rate = body["sex"], body["heart_rate_bpm"]
    lvef = 1 - heart["lvesv_ml"] / heart["lvedv_ml"]
    z_la = _mix(rng, (0.4, body["z_size"]), (0.2, body["z_age"]))
    la, ra = _from_range(sex, "la_max_ml", z_la), _from_range(sex, "ra_max_ml", _mix(rng, (0.6, z_la)))
    la, ra = la * diagnosis.atria, ra * (1 + (diagnosis.atria - 1) / 2)
    emptying = {n: _normal(rng, *EMPTYING_PCT[sex][n]) / 100 * diagnosis.atrial_emptying for n in EMPTYING_PCT[sex]}
    mapse = 14.3 * (body["height_m"] / 1.70) * (lvef / 0.595) ** 0.6 * diagnosis.mapse * np.exp(_normal(rng, 0, 0.17))
    mapse = float(np.clip(mapse, 3.0, min(22.0, 0.21 * heart["lv_length_mm"])))
    annulus = _from_range(sex, "annulus_mm", _mix(rng, (0.5, z_la)))
    annulus *= max(1.0, heart["lvedv_ml"] / ENLARGED_RING) ** 0.25
    qs2 = (541 - 2.2 * rate if sex == "M" else 540 - 2.0 * rate) + 12 * np.clip(rng.standard_normal(), -2, 2)
    early = np.clip(0.68 - 0.05 * body["z_age"] + 0.05 * rng.standard_normal(), 0.45, 0.85)
    delay = rng.uniform(-0.12, 0.12) if rng.random() < 0.35 else 0.0
    return {"la_max_ml": float(la), "la_min_ml": float(la * (1 - emptying["laef_pct"])), "ra_max_ml": float(ra),
            "ra_min_ml": float(ra * (1 - emptying["raef_pct"])), "mapse_mm": mapse,
            "tapse_mm": float(mapse * rng.uniform(1.25, 1.5) * (0.8 if diagnosis.rvef_pct else 1)),
            "apex_motion_mm": float(rng.uniform(0.5, 2.0)), "annulus_mm": float(annulus),
            "es_ms": float(qs2 - Q_TO_TRIGGER_MS), "lvet_ms": float(379 - 1.8 * rate),
            "early_filling": float(early), "trigger_delay": float(delay)}


def _draw_valve_and_rhythm(rng, diagnosis, body):
    """Waves of filling and recoil, ring, rhythm; the spreads are ours."""
    z_age = body["z_age"]
    fibrillation = diagnosis.rhythm == "af"
    return {"filling_early_ms": _normal(rng, 190 + 10 * z_age, 20, 110, 280), "filling_late_ms": _normal(rng, 130, 10),
            "plane_early": float(np.clip(0.62 - 0.08 * z_age + 0.05 * rng.standard_normal(), 0.3, 0.85)),
            "plane_early_ms": _normal(rng, 150 + 8 * z_age, 15, 100, 220),
            "plane_late_ms": _normal(rng, 110, 8), "rhythm": diagnosis.rhythm,
            "rr_sd": _normal(rng, 0.18, 0.04, 0.10, 0.30) if fibrillation else _normal(rng, 0.03, 0.01, 0.01, 0.06),
            "annulus_es_ratio": _normal(rng, 0.98 if fibrillation else 1.03, 0.04, 0.85, 1.15),
            "infarct_territory": str(rng.choice(TERRITORIES, p=(0.5, 0.3, 0.2))) if diagnosis.infarct else "",
            "heart_failure": diagnosis.heart_failure}
