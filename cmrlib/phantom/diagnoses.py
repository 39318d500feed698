"""What healthy people look like, and how a disease moves them.

Sources (as collected in field-notes.md, section 5):
* Petersen et al., JCMR 2017, UK Biobank 95 % ranges, ages 45-74: LV, RV, LA and RA volumes, EF, mass.
* Kawel-Boehm et al., JCMR 2020: atrial minima (as emptying fractions), peak filling rates.
* Seemann et al., 2017: MAPSE 14±3 mm. Ricci et al., 2020: mitral annulus. Aquaro et al., 2017: LV length.
* Bernard et al., TMI 2018 (ACDC): what defines its five groups; EF between 40 and 50 belongs to none of them.

Convention: papillary muscles and trabeculae belong to the cavity (Petersen 2017 and ACDC do so), not to the mass.
"""

from dataclasses import dataclass

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
    regurgitant_fraction: tuple | None = None  # mitral
    rhythm: str = "sinus"
    heart_failure: bool = False
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
    "HFREF": Diagnosis((118, 24, 75, 200), (31, 6, 12, 40), mass=1.4, atria=1.5, atrial_emptying=0.6, mapse=0.8,
                       heart_rate=1.15, sphericity=0.95, heart_failure=True, ef_labelled=(0, 40)),
    "HFPEF": Diagnosis((68, 11, 45, 96), (61, 5, 50.5, 75), mass=1.25, atria=1.5, atrial_emptying=0.68, mapse=0.72,
                       heart_rate=1.08, heart_failure=True, ef_labelled=(50, 100)),
    "AF": Diagnosis(lvef_pct=(56, 5, 50.5, 66), atria=1.6, atrial_emptying=0.5, mapse=0.8, heart_rate=1.15,
                    rhythm="af", ef_labelled=(50, 100)),
    "MR": Diagnosis((105, 18, 72, 160), (62, 5, 50.5, 75), mass=1.15, atria=1.6, atrial_emptying=0.8,
                    regurgitant_fraction=(0.38, 0.12, 0.12, 0.68), ef_labelled=(50, 100)),
}
"""ACDC's five groups, then others; ranges follow ACDC's definitions, the means within them are ours."""

ACDC_GROUPS = ("NOR", "DCM", "HCM", "MINF", "RV")
TERRITORIES = ("lad", "rca", "lcx")
