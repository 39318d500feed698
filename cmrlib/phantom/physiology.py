"""Samples a virtual subject from (seed, subject number).

Standard scores that share parts give the correlations; published tables (`diagnoses`) give means and spreads.
Timing: QS2 = 541 - 2.2 HR (men), 540 - 2.0 HR (women) ms; LVET = 379 - 1.8 HR ms (Lance). The shares of the scores are
ours, their signs as in published_correlations.tsv.
"""

import numpy as np

from cmrlib.phantom.diagnoses import ACDC_GROUPS, BODY, DIAGNOSES, FILLING_MS, RANGES_95
from cmrlib.phantom.subject import LARGEST_LEAK, Subject

MAPSE_MM = (14.0, 3.0)

RV_OVER_LV = {"M": 1.038, "F": 0.985}
"""Stroke volumes by CMR, right over left: nature's 1 as Petersen's ranges show it (96.5 / 95.5 and 73.5 / 74.5 mL),
shifted so that RVEDV, RVESV and RVEF, whose middles do not quite fit together, all come out."""

Q_TO_TRIGGER_MS = 40.0
"""QS2 counts from the Q wave; scanners trigger on the R peak, about this much later (assumption)."""

ENLARGED_LV_ML = 190.0
"""LVs larger than this widen the mitral ring."""

SHIFT_PCT = {"M": {"rvef": -0.45, "laef": 0.0}, "F": {"rvef": 0.7, "laef": -0.5}}
"""Petersen's middles of volumes and fractions do not quite fit together; so they all come out (see `RV_OVER_LV`)."""

LARGEST_GROWTH = 2.2
"""An LV grows to no more than this multiple under a leak (ours); beyond, forward flow falls."""

LEAST_FORWARD_ML_M2 = 18.0
"""Forward stroke volume for which a failing LV dilates (ours)."""

ONLY_WAVE = 1.45
"""Without atrial contraction the early wave does all the filling and lasts longer (ours)."""

NO_LEAKS = {"mitral": 0.0, "aortic": 0.0, "tricuspid": 0.0}


def streams(seed: int, number: int) -> dict[str, np.random.Generator]:
    """Independent generators for body, shape, scan and membership of subject `number`; nothing else enters."""
    names = ("physiology", "anatomy", "acquisition", "membership", "jets", "grey")
    return dict(zip(names, np.random.default_rng([seed, number]).spawn(len(names))))


def sample_subject(seed: int, number: int, diagnoses=ACDC_GROUPS) -> Subject:
    """Subject `number` of `seed`; diagnoses (names in `DIAGNOSES`) take turns, so every cohort is balanced."""
    return sample_patient(seed, number, diagnoses[number % len(diagnoses)])


def sample_patient(seed: int, number: int, diagnosis: str, **leaks: float) -> Subject:
    """Subject `number` of `seed` with this diagnosis.

    leaks: regurgitant fractions `mitral`, `aortic`, `tricuspid` (0 … .75) instead of the diagnosis' own.
    """
    rng, disease = streams(seed, number)["physiology"], DIAGNOSES[diagnosis]
    body = _sample_body(rng, disease)
    own = {name: _normal(rng, *getattr(disease, name)) for name in ("mitral", "tricuspid") if getattr(disease, name)}
    leaks = NO_LEAKS | own | leaks
    over = max(1.0, (leaks["mitral"] + leaks["aortic"]) / (LARGEST_LEAK - 1e-9))
    leaks |= {"mitral": leaks["mitral"] / over, "aortic": leaks["aortic"] / over}
    heart = _sample_ventricles(rng, disease, body, leaks)
    heart |= _sample_atria(rng, disease, body, leaks) | _sample_plane(rng, disease, body, heart, leaks)
    heart |= _sample_timing(rng, disease, body)
    low, high = disease.ef_labelled
    group = diagnosis if low < 100 * (1 - heart["lvesv_ml"] / heart["lvedv_ml"]) < high else None
    plain = {key: value for key, value in (body | heart).items() if not key.startswith("z_")}
    plain = {key: float(value) if isinstance(value, np.floating) else value for key, value in plain.items()}
    fractions = {"regurgitant": leaks["mitral"], "aortic": leaks["aortic"], "tricuspid": leaks["tricuspid"]}
    plain |= {f"{name}_fraction": value for name, value in fractions.items()}
    return Subject(seed, number, diagnosis=diagnosis, group=group, heart_failure=disease.heart_failure, **plain)


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


def _sample_body(rng, disease):
    sex = "M" if rng.random() < 0.5 else "F"
    z_height, z_bmi, z_rate = np.clip(rng.standard_normal(3), -2.4, 2.4)
    age = _normal(rng, *disease.age_years)
    height = BODY[sex]["height_m"][0] + z_height * BODY[sex]["height_m"][1]
    bmi = (BODY[sex]["bmi"][0] + z_bmi * BODY[sex]["bmi"][1]) * disease.bmi
    rate = (BODY[sex]["heart_rate_bpm"][0] + z_rate * BODY[sex]["heart_rate_bpm"][1]) * disease.heart_rate
    return {
        "sex": sex,
        "age_years": round(age),
        "height_m": round(height, 2),
        "weight_kg": round(bmi * height**2, 1),
        "heart_rate_bpm": round(float(np.clip(rate, 40, 115)), 1),
        "z_size": 0.73 * z_height + 0.69 * z_bmi,
        "z_height": z_height,
        "z_age": (age - 59) / 8.5,
        "z_rate": z_rate,
    }


def _sample_ventricles(rng, disease, body, leaks):
    """Volumes, mass and length; bodies that are larger, younger and slower have larger hearts."""
    sex, bsa = body["sex"], np.sqrt(body["height_m"] * 100 * body["weight_kg"] / 3600)
    z_edv = _mix(rng, (0.5, body["z_size"]), (-0.25, body["z_age"]), (-0.3, body["z_rate"]))
    z_ef, z_mass = _mix(rng, (0.1, body["z_age"])), _mix(rng, (0.3, body["z_size"]), (0.4, z_edv))
    lvedv, lvef = _from_range(sex, "lvedv_ml", z_edv), _from_range(sex, "lvef_pct", z_ef) / 100
    if disease.lvedv_index:
        lvedv = bsa * _normal(rng, *disease.lvedv_index)
    if disease.lvef_pct:
        lvef = _normal(rng, *disease.lvef_pct) / 100
    lvm = _from_range(sex, "lvm_g", z_mass) * disease.mass
    if disease.lvm_index:
        lvm = bsa * _normal(rng, *disease.lvm_index)
    left = leaks["mitral"] + leaks["aortic"]
    restored = _normal(rng, 0.8, 0.15)
    if lvef >= 0.5:  # a leaking valve loads a good ventricle until forward flow is nearly restored
        growth = min(LARGEST_GROWTH, 1 + restored * left / (1 - left))
    else:  # a bad one only until the body survives
        growth = np.clip(LEAST_FORWARD_ML_M2 * bsa / (lvedv * lvef * (1 - left)), 1, 1 + left)
    lvedv, lvm = lvedv * growth, lvm * (1 + 0.5 * (growth - 1))
    lvedv *= min(1.0, LARGEST_GROWTH * (1 - leaks["tricuspid"]))  # torrential: less arrives on the left
    lvsv = lvedv * lvef
    net = lvsv * (1 - left)  # what reaches the body passes both ventricles
    rvsv = RV_OVER_LV[sex] * net * (1 + 0.03 * np.clip(rng.standard_normal(), -2.5, 2.5)) / (1 - leaks["tricuspid"])
    z_sv = (lvsv - sum(RANGES_95[sex]["lvsv_ml"]) / 2) / np.diff(RANGES_95[sex]["lvsv_ml"])[0] * 3.92
    rvef = _from_range(sex, "rvef_pct", _mix(rng, (0.45, np.clip(z_sv, -2, 2)))) + SHIFT_PCT[sex]["rvef"]
    smallest = 0.75 * _from_range(sex, "rvedv_ml", z_edv)  # low flow empties an RV less, it does not shrink it
    rvedv = max(rvsv / np.clip(rvef * disease.rvef, 25, 75) * 100, smallest)
    if disease.rvedv_index:
        rvedv = max(bsa * _normal(rng, *disease.rvedv_index), rvsv / 0.65)
    length = _from_range(sex, "lv_length_mm", _mix(rng, (0.5, z_edv), (0.3, body["z_height"])))
    # a ventricle that dilates widens more than it lengthens
    length *= (lvedv / _from_range(sex, "lvedv_ml", z_edv)) ** 0.28 * disease.sphericity
    length = min(length, 120 + 0.3 * (length - 120)) if length > 120 else length
    return {
        "lvedv_ml": lvedv,
        "lvesv_ml": lvedv * (1 - lvef),
        "rvedv_ml": rvedv,
        "rvesv_ml": rvedv - rvsv,
        "lvm_g": lvm,
        "lv_length_mm": length,
        "z_ef": z_ef,
    }


def _sample_atria(rng, disease, body, leaks):
    """Larger atria empty less; leaks fill them."""
    sex, values = body["sex"], {}
    z_la = _mix(rng, (0.4, body["z_size"]), (0.2, body["z_age"]))
    scores = {"la": (z_la, leaks["mitral"], 2.8, disease.atria)}
    scores["ra"] = _mix(rng, (0.6, z_la)), leaks["tricuspid"], 1.6, 1 + (disease.atria - 1) / 2
    for name, (z, leak, gain, factor) in scores.items():
        largest = _from_range(sex, f"{name}_max_ml", z) * factor * (1 + gain * leak**2)  # mild leaks hardly show
        emptying = _from_range(sex, f"{name}ef_pct", _mix(rng, (-0.37, z), (-0.1, body["z_age"])))
        shift = SHIFT_PCT[sex]["laef"] if name == "la" else 0.0
        emptying = (emptying + shift) * disease.atrial_emptying * (1 - 0.6 * leak**2)
        values |= {f"{name}_max_ml": largest, f"{name}_min_ml": largest * (1 - emptying / 100)}
    return values


def _sample_plane(rng, disease, body, heart, leaks):
    """Mitral and tricuspid planes: excursion, shape of the recoil, ring."""
    z_age, lvef = body["z_age"], 1 - heart["lvesv_ml"] / heart["lvedv_ml"]
    z = _mix(rng, (0.3, heart["z_ef"]), (0.25, body["z_height"]), (-0.35, z_age))
    mapse = (MAPSE_MM[0] + MAPSE_MM[1] * np.clip(z, -2.4, 2.4)) * disease.mapse
    if disease.lvef_pct:  # the plane moves as well as the ventricle empties
        mapse *= (lvef / 0.595) ** 0.6
    mapse = np.clip(mapse, 2.5, min(23.0, 0.24 * heart["lv_length_mm"]))
    slow = disease.relaxation - 1
    annulus = _from_range(body["sex"], "annulus_mm", _mix(rng, (0.4, body["z_size"])))
    annulus *= max(1.0, heart["lvedv_ml"] / ENLARGED_LV_ML) ** 0.25 * (1 + 0.6 * leaks["mitral"] ** 2)
    right = 0.85 if disease.rvedv_index or disease.rvef < 1 else 1.0
    share = 0.62 - 0.07 * z_age - 0.3 * slow + 0.05 * rng.standard_normal()
    kick = disease.rhythm != "af"
    return {
        "mapse_mm": mapse,
        "tapse_mm": np.clip(mapse * rng.uniform(1.25, 1.5) * right, 3, 32),
        "apex_motion_mm": rng.uniform(0.5, 2.0),
        "annulus_mm": min(annulus, 60.0),
        "annulus_es_ratio": _normal(rng, 1.03 if kick else 0.98, 0.04, 0.85, 1.15),
        "plane_early": np.clip(share, 0.3, 0.85) if kick else 1.0,
        "plane_early_ms": (138 * (1 + 0.4 * slow) + 6 * z_age + _normal(rng, 0, 12)) * (1 if kick else ONLY_WAVE),
        "plane_late_ms": _normal(rng, 105, 8),
    }


def _sample_timing(rng, disease, body):
    """Systole by heart rate; filling slower and later with age and stiffness; rhythm, and where an infarct lies."""
    sex, rate, slow = body["sex"], body["heart_rate_bpm"], disease.relaxation - 1
    qs2 = (541 - 2.2 * rate if sex == "M" else 540 - 2.0 * rate) + 12 * np.clip(rng.standard_normal(), -2, 2)
    early = np.clip(0.675 - 0.05 * body["z_age"] - 0.4 * slow + 0.045 * rng.standard_normal(), 0.4, 0.85)
    delay = rng.uniform(-0.12, 0.12) if rng.random() < 0.35 else 0.0
    waves, kick = FILLING_MS[sex], disease.rhythm != "af"
    length = _normal(rng, waves["early"][0] * (1 + 0.4 * slow), waves["early"][1], 120, 330)
    return {
        "es_ms": qs2 - Q_TO_TRIGGER_MS,
        "lvet_ms": 379 - 1.8 * rate,
        "early_filling": early if kick else 1.0,
        "filling_early_ms": length * (1 if kick else ONLY_WAVE),
        "filling_late_ms": _normal(rng, *waves["late"], 90, 260),
        "trigger_delay": delay,
        "rhythm": disease.rhythm,
        "rr_sd": _normal(rng, 0.03, 0.01, 0.01, 0.06) if kick else _normal(rng, 0.18, 0.04, 0.10, 0.30),
        "infarct_territory": str(rng.choice(("lad", "rca", "lcx"), p=(0.5, 0.3, 0.2))) if disease.infarct else "",
    }
