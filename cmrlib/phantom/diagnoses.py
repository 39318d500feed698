"""Published ranges of healthy subjects, and how diagnoses change them.

One convention: papillary muscles and trabeculae belong to the cavity, not to the mass (Petersen 2017 and ACDC do so).
Where tables contradict each other, Petersen's people (UK Biobank, 45-74 years) win over Kawel-Boehm's pooled rows:
the pooled LA minimum (25 mL) and LA maximum (72 mL) come from different people and do not give the pooled LAEF.

Sources:
* Petersen et al., J Cardiovasc Magn Reson 2017 (19:18): LV, RV, LA, RA volumes and fractions, mass.
* Ricci et al., J Cardiovasc Magn Reson 2020 (23:5): mitral annulus, 4CH, end diastole.
* Aquaro et al., 2017: LV length, 4CH, end diastole. Seemann et al., 2017: MAPSE.
* Bernard et al., IEEE TMI 2018 (ACDC): what defines its five groups; EF between 40 and 50 belongs to none of them.
* Zoghbi et al., J Am Soc Echocardiogr 2017 (ASE with SCMR): grades of mitral regurgitation.
Means and spreads within a diagnosis are ours where ACDC's definitions and the papers named beside them leave room.
"""

from dataclasses import dataclass

RANGES_95 = {
    "M": {
        "lvedv_ml": (109, 218),
        "lvesv_ml": (39, 97),
        "lvsv_ml": (59, 132),
        "lvef_pct": (48, 69),
        "lvm_g": (64, 141),
        "rvedv_ml": (124, 248),
        "rvesv_ml": (47, 123),
        "rvsv_ml": (62, 131),
        "rvef_pct": (45, 65),
        "la_max_ml": (37, 108),
        "lasv_ml": (23, 62),
        "laef_pct": (47, 73),
        "ra_max_ml": (43, 143),
        "raef_pct": (23, 58),
        "annulus_mm": (24, 41),
        "lv_length_mm": (85, 112),
    },
    "F": {
        "lvedv_ml": (88, 161),
        "lvesv_ml": (31, 68),
        "lvsv_ml": (49, 100),
        "lvef_pct": (51, 70),
        "lvm_g": (46, 93),
        "rvedv_ml": (85, 168),
        "rvesv_ml": (27, 77),
        "rvsv_ml": (48, 99),
        "rvef_pct": (47, 68),
        "la_max_ml": (33, 93),
        "lasv_ml": (21, 53),
        "laef_pct": (49, 74),
        "ra_max_ml": (38, 101),
        "raef_pct": (31, 63),
        "annulus_mm": (24, 36),
        "lv_length_mm": (67, 100),
    },
}
"""95 % ranges of healthy people: Petersen 2017, annulus Ricci 2020, LV length Aquaro 2017."""

BODY = {
    "M": {"height_m": (1.765, 0.066), "bmi": (24.9, 2.7), "heart_rate_bpm": (64, 8.2)},
    "F": {"height_m": (1.635, 0.062), "bmi": (22.7, 2.8), "heart_rate_bpm": (66, 8.5)},
}
"""Mean and SD of people like Petersen's (BMI below 30); recalled, and checked against the mass index they print."""

FILLING_MS = {"M": {"early": (252, 22), "late": (206, 45)}, "F": {"early": (224, 14), "late": (183, 42)}}
"""Lengths of the LV's filling waves that give the peak rates of Ruijsink et al., JACC Cardiovasc Imaging 2020."""

MAPSE_MM = (14.0, 3.0)

RV_OVER_LV = {"M": 1.038, "F": 0.985}
"""Stroke volumes by CMR, right over left: nature's 1 as Petersen's ranges show it (96.5 / 95.5 and 73.5 / 74.5 mL),
shifted so that RVEDV, RVESV and RVEF, whose middles do not quite fit together, all come out."""

MR_GRADES = ((0.05, "none"), (0.30, "mild"), (0.50, "moderate"), (1.0, "severe"))
"""Upper bounds of the regurgitant fraction: Zoghbi 2017 (two moderate grades in one); below .05 is a trace (ours)."""

TERRITORIES = ("lad", "rca", "lcx")


@dataclass(frozen=True)
class Diagnosis:
    """How a disease moves a healthy draw: factors, and replaced distributions (mean, SD, low, high)."""

    lvedv_index: tuple | None = None  # mL/m²
    lvef_pct: tuple | None = None
    rvedv_index: tuple | None = None  # mL/m²
    rvef: float = 1.0  # factor
    mass: float = 1.0  # factor
    lvm_index: tuple | None = None  # g/m²
    atria: float = 1.0
    atrial_emptying: float = 1.0
    mapse: float = 1.0
    heart_rate: float = 1.0
    sphericity: float = 1.0  # shortens the ventricle
    septal_mm: float = 0.0  # least thickness of the septum at ED
    infarct: float = 0.0  # share of the inward motion that one wall loses
    relaxation: float = 1.0  # above 1: early waves are slower and smaller, the atrium does more
    mitral: tuple | None = None  # regurgitant fraction
    tricuspid: tuple | None = None  # regurgitant fraction of the right side
    rhythm: str = "sinus"
    heart_failure: bool = False
    age_years: tuple = (59, 8.5, 40, 80)
    bmi: float = 1.0  # factor
    ef_labelled: tuple = (0.0, 100.0)  # EF outside: the person belongs to no group


DIAGNOSES = {
    "NOR": Diagnosis(ef_labelled=(50, 100)),
    "DCM": Diagnosis(
        (138, 24, 102, 220),
        (28, 8, 9, 49),
        rvef=0.85,
        mass=1.45,
        atria=1.45,
        atrial_emptying=0.62,
        mapse=0.85,
        heart_rate=1.12,
        sphericity=0.93,
        relaxation=1.2,
        age_years=(55, 11, 25, 80),
        bmi=1.05,
        ef_labelled=(0, 40),
    ),
    "HCM": Diagnosis(
        (72, 11, 48, 98),
        (66, 5, 55.5, 82),
        lvm_index=(104, 14, 86, 150),
        atria=1.4,
        atrial_emptying=0.8,
        mapse=0.72,
        septal_mm=15.5,
        relaxation=1.25,
        age_years=(54, 12, 25, 80),
        bmi=1.05,
        ef_labelled=(55, 100),
    ),
    "MINF": Diagnosis(
        (104, 18, 70, 160),
        (32, 7, 12, 49),
        rvef=0.93,
        mass=1.2,
        atria=1.2,
        atrial_emptying=0.78,
        mapse=0.85,
        heart_rate=1.08,
        infarct=0.8,
        relaxation=1.15,
        age_years=(61, 9, 38, 82),
        bmi=1.06,
        ef_labelled=(0, 40),
    ),
    "RV": Diagnosis(
        (74, 10, 50, 89),
        (57, 4, 50.5, 68),
        (136, 20, 112, 200),
        tricuspid=(0.22, 0.1, 0.0, 0.45),
        atria=1.1,
        mapse=0.9,
        heart_rate=1.08,
        age_years=(48, 13, 22, 78),
        ef_labelled=(50, 100),
    ),
    "HFREF": Diagnosis(
        (118, 24, 75, 200),
        (33, 7, 12, 49),
        rvef=0.85,
        mass=1.4,
        atria=1.5,
        atrial_emptying=0.6,
        mapse=0.8,
        heart_rate=1.15,
        sphericity=0.95,
        relaxation=1.3,
        heart_failure=True,
        age_years=(65, 10, 35, 88),
        bmi=1.1,
        ef_labelled=(0, 50),
    ),
    "HFPEF": Diagnosis(
        (68, 11, 45, 96),
        (61, 5, 50.5, 75),
        mass=1.2,
        atria=1.32,
        atrial_emptying=0.82,
        mapse=0.8,
        heart_rate=1.08,
        relaxation=1.35,
        heart_failure=True,
        age_years=(70, 8, 48, 90),
        bmi=1.2,
        ef_labelled=(50, 100),
    ),
    "AF": Diagnosis(
        lvef_pct=(56, 5, 50.5, 66),
        atria=1.6,
        atrial_emptying=0.5,
        mapse=0.8,
        heart_rate=1.2,
        rhythm="af",
        age_years=(68, 8, 45, 88),
        bmi=1.12,
        ef_labelled=(50, 100),
    ),
    "MR": Diagnosis(mass=1.05, mitral=(0.40, 0.12, 0.12, 0.68), age_years=(63, 10, 35, 85), ef_labelled=(50, 100)),
    "HTN": Diagnosis(
        mass=1.22,
        atria=1.18,
        atrial_emptying=0.9,
        mapse=0.9,
        relaxation=1.2,
        age_years=(64, 8, 40, 85),
        bmi=1.15,
        ef_labelled=(50, 100),
    ),
    "ATHLETE": Diagnosis(
        (112, 12, 88, 145),
        (58, 4, 50.5, 66),
        mass=1.4,
        atria=1.35,
        mapse=1.08,
        heart_rate=0.82,
        age_years=(48, 9, 25, 68),
        bmi=0.96,
        ef_labelled=(50, 100),
    ),
}
"""ACDC's five groups; heart failure with reduced and preserved EF, atrial fibrillation, primary mitral regurgitation;
hypertension and athletes, whom a classifier takes for patients."""

ACDC_GROUPS = ("NOR", "DCM", "HCM", "MINF", "RV")
