"""Who: one virtual person from (seed, subject number) alone, and how the heart's volumes run through a cycle.

Sources (as collected in field-notes.md, section 5):
* Petersen et al., JCMR 2017, UK Biobank 95 % ranges, ages 45-74: LV, RV, LA and RA volumes, EF, mass.
* Kawel-Boehm et al., JCMR 2020: atrial minima (as emptying fractions), peak filling rates.
* Seemann et al., 2017: MAPSE 14±3 mm. Ricci et al., 2020: mitral annulus. Aquaro et al., 2017: LV length.
* QS2 = 541 - 2.2 HR (men), 540 - 2.0 HR (women) ms; LVET = 379 - 1.8 HR ms (Lance).
* Bernard et al., TMI 2018 (ACDC): what defines its five groups; EF between 40 and 50 belongs to none of them.

Convention: papillary muscles and trabeculae belong to the cavity (Petersen 2017 and ACDC do so), not to the mass.
"""

from dataclasses import dataclass

import numpy as np

Q_TO_TRIGGER_MS = 40.0
"""QS2 counts from the Q wave; scanners trigger on the R peak, about this much later (assumption)."""

ISOVOLUMIC_RELAXATION_MS = 65.0

RANGES_95 = {
    "M": {"lvedv_ml": (109, 218), "lvef_pct": (48, 69), "lvm_g": (64, 141), "rvedv_ml": (124, 248),
          "la_max_ml": (37, 108), "ra_max_ml": (43, 143), "annulus_mm": (24, 41)},
    "F": {"lvedv_ml": (88, 161), "lvef_pct": (51, 70), "lvm_g": (46, 93), "rvedv_ml": (85, 168),
          "la_max_ml": (33, 93), "ra_max_ml": (38, 101), "annulus_mm": (24, 36)},
}
"""95 % ranges of healthy people: Petersen 2017, annulus Ricci 2020."""

BODY = {"M": {"height_m": (1.76, 0.065), "bmi": (27.0, 3.2), "heart_rate_bpm": (64, 9)},
        "F": {"height_m": (1.63, 0.062), "bmi": (26.3, 3.6), "heart_rate_bpm": (67, 9)}}

EMPTYING_PCT = {"M": {"laef_pct": (65, 6), "raef_pct": (51, 7)}, "F": {"laef_pct": (65, 6), "raef_pct": (56, 7)}}
"""Atrial emptying fractions from Kawel-Boehm's mean maxima and minima; the spread is ours."""


@dataclass(frozen=True)
class Diagnosis:
    """How a disease moves a healthy draw: factors, and replaced distributions (mean, SD, low, high)."""

    lvedv_index: tuple | None = None  # mL/m²
    lvef_pct: tuple | None = None
    rvedv_index: tuple | None = None  # mL/m²
    rvef_pct: tuple | None = None
    mass: float = 1.0  # factor
    lvm_index: tuple | None = None  # g/m²
    atria: float = 1.0
    atrial_emptying: float = 1.0
    mapse: float = 1.0
    heart_rate: float = 1.0
    sphericity: float = 1.0  # shortens the ventricle
    septal_mm: float = 0.0  # least thickness of the septum at ED
    infarct: float = 0.0  # share of the inward motion that one wall loses
    ef_labelled: tuple = (0.0, 100.0)  # EF outside: the person belongs to no group


DIAGNOSES = {
    "NOR": Diagnosis(ef_labelled=(50, 100)),
    "DCM": Diagnosis((138, 24, 102, 220), (28, 8, 9, 49), mass=1.45, atria=1.45, atrial_emptying=0.62, mapse=0.85,
                     heart_rate=1.12, sphericity=0.93, ef_labelled=(0, 40)),
    "HCM": Diagnosis((72, 11, 48, 98), (66, 5, 55.5, 82), lvm_index=(104, 14, 86, 150), atria=1.4, atrial_emptying=0.8,
                     mapse=0.72, septal_mm=15.5, ef_labelled=(55, 100)),
    "MINF": Diagnosis((104, 18, 70, 160), (32, 7, 12, 49), mass=1.2, atria=1.2, atrial_emptying=0.78, mapse=0.85,
                      heart_rate=1.08, infarct=0.8, ef_labelled=(0, 40)),
    "RV": Diagnosis((74, 10, 50, 89), (57, 4, 50.5, 68), (136, 20, 112, 200), (42, 8, 20, 58), atria=1.1, mapse=0.9,
                    heart_rate=1.08, ef_labelled=(50, 100)),
    "HFPEF": Diagnosis((68, 11, 45, 96), (61, 5, 50.5, 75), mass=1.25, atria=1.5, atrial_emptying=0.68, mapse=0.72,
                       heart_rate=1.08, ef_labelled=(50, 100)),
}
"""ACDC's five groups and one hook more; ranges follow ACDC's definitions, the means within them are ours."""

ACDC_GROUPS = ("NOR", "DCM", "HCM", "MINF", "RV")


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

    @property
    def bsa_m2(self) -> float:
        """Body surface area, Mosteller 1987."""
        return float(np.sqrt(self.height_m * 100 * self.weight_kg / 3600))

    @property
    def rr_ms(self) -> float:
        return 60_000 / self.heart_rate_bpm

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
            "mapse_mm": self.mapse_mm, "bsa_m2": self.bsa_m2,
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
    # without shunt or regurgitation both ventricles eject the same; CMR reads 5 % more on the right (Petersen 2017)
    rvedv, rvsv = _from_range(sex, "rvedv_ml", z_rv), 1.05 * lvsv * (1 + 0.03 * rng.standard_normal())
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
            "lv_length_mm": float(length)}


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
    annulus *= max(1.0, heart["lvedv_ml"] / 165) ** 0.25
    qs2 = (541 - 2.2 * rate if sex == "M" else 540 - 2.0 * rate) + 12 * np.clip(rng.standard_normal(), -2, 2)
    early = np.clip(0.68 - 0.05 * body["z_age"] + 0.05 * rng.standard_normal(), 0.45, 0.85)
    delay = rng.uniform(-0.12, 0.12) if rng.random() < 0.35 else 0.0
    return {"la_max_ml": float(la), "la_min_ml": float(la * (1 - emptying["laef_pct"])), "ra_max_ml": float(ra),
            "ra_min_ml": float(ra * (1 - emptying["raef_pct"])), "mapse_mm": mapse,
            "tapse_mm": float(mapse * rng.uniform(1.25, 1.5) * (0.8 if diagnosis.rvef_pct else 1)),
            "apex_motion_mm": float(rng.uniform(0.5, 2.0)), "annulus_mm": float(annulus),
            "es_ms": float(qs2 - Q_TO_TRIGGER_MS), "lvet_ms": float(379 - 1.8 * rate),
            "early_filling": float(early), "trigger_delay": float(delay)}


def _rise(x):
    """Smooth step from 0 (x ≤ 0) to 1 (x ≥ 1)."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def cycle(subject: Subject, times_ms) -> dict[str, np.ndarray]:
    """The cycle at times after the trigger (any shape; periodic with the RR interval).

    Returns `emptied` (0 at end diastole, 1 at end systole: ventricles and valve plane), `atrial` (0 smallest,
    1 fullest: reservoir, conduit, booster) and `mitral_open` (0 closed … 1 open). Dimensionless.
    """
    rr, es = subject.rr_ms, subject.es_ms
    t = np.mod(np.asarray(times_ms, float), rr)
    opening = es + ISOVOLUMIC_RELAXATION_MS
    # 30 ms before ejection the valve plane already moves; a hint of slope keeps ED and ES single instants
    start = max(10.0, es - subject.lvet_ms - 30)
    slack = 0.012
    systole = slack * t / es + (1 - slack) * _rise((t - start) / (es - start))
    early_ms = min(190.0, 0.6 * (rr - opening))
    late_ms = min(130.0, 0.4 * (rr - opening))
    early, late = _rise((t - opening) / early_ms), _rise((t - (rr - late_ms)) / late_ms)
    share = subject.early_filling
    conduit = _rise((t - opening) / (rr - opening))  # diastasis is nearly, not wholly, flat
    filled = slack * np.clip((t - es) / (opening - es), 0, 1)
    filled = filled + (1 - slack) * (0.94 * (share * early + (1 - share) * late) + 0.06 * conduit)
    emptied = np.where(t <= es, systole, 1 - filled)
    passive = 0.62 * early + 0.05 * conduit
    atrial = np.where(t <= opening, _rise(t / opening), 1 - passive - 0.33 * late)
    mitral_open = np.clip(_rise((t - opening) / 60) - 0.55 * _rise((t - opening - 140) / 80)
                          + 0.5 * late - _rise((t - rr + 45) / 45), 0, 1)
    return {"emptied": emptied, "atrial": atrial, "mitral_open": mitral_open}
