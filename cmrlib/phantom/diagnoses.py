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
from importlib.resources import files

import yaml


def read_yaml(name: str) -> dict:
    """A table of this package."""
    return yaml.safe_load(files("cmrlib.phantom").joinpath(name).read_text(encoding="utf-8"))


_TABLES = read_yaml("diagnoses.yaml")
RANGES_95, BODY, FILLING_MS = (_TABLES[name] for name in ("ranges_95", "body", "filling_ms"))
"""By sex: 95 % ranges of healthy people; mean and SD of the body; mean and SD of the LV's filling waves."""

MAPSE_MM = (14.0, 3.0)

RV_OVER_LV = {"M": 1.038, "F": 0.985}
"""Stroke volumes by CMR, right over left: nature's 1 as Petersen's ranges show it (96.5 / 95.5 and 73.5 / 74.5 mL),
shifted so that RVEDV, RVESV and RVEF, whose middles do not quite fit together, all come out."""

MR_GRADES = ((0.05, "none"), (0.30, "mild"), (0.50, "moderate"), (1.0, "severe"))
"""Upper bounds of the regurgitant fraction: Zoghbi 2017 (two moderate grades in one); below .05 is a trace (ours)."""

TERRITORIES = ("lad", "rca", "lcx")


@dataclass(frozen=True)
class Diagnosis:
    """Changes of a healthy sample: factors, and replaced distributions (mean, SD, low, high)."""

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
    ef_labelled: tuple = (0.0, 100.0)  # with an EF outside the subject belongs to no group


DIAGNOSES = {name: Diagnosis(**values) for name, values in _TABLES["diagnoses"].items()}
ACDC_GROUPS = ("NOR", "DCM", "HCM", "MINF", "RV")
