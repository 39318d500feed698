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

from importlib.resources import files
from types import SimpleNamespace

import yaml


def read_yaml(name: str) -> dict:
    """A table of this package."""
    return yaml.safe_load(files("cmrlib.phantom").joinpath(name).read_text(encoding="utf-8"))


_TABLES = read_yaml("diagnoses.yaml")
RANGES_95, BODY, FILLING_MS = (_TABLES[name] for name in ("ranges_95", "body", "filling_ms"))
"""By sex: 95 % ranges of healthy people; mean and SD of the body; mean and SD of the LV's filling waves."""

MR_GRADES = ((0.05, "none"), (0.30, "mild"), (0.50, "moderate"), (1.0, "severe"))
"""Upper bounds of the regurgitant fraction: Zoghbi 2017 (two moderate grades in one); below .05 is a trace (ours)."""


DIAGNOSES = {name: SimpleNamespace(**_TABLES["defaults"] | values) for name, values in _TABLES["diagnoses"].items()}
"""How each diagnosis changes a healthy sample: the fields of `defaults` in diagnoses.yaml."""

ACDC_GROUPS = ("NOR", "DCM", "HCM", "MINF", "RV")
