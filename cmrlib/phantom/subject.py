"""Virtual subject: demographics, haemodynamics, ground-truth measures, labels."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cmrlib.measures.names import FEATURES
from cmrlib.measures.volumes import bsa_m2
from cmrlib.phantom.cycle import ISOVOLUMIC_RELAXATION_MS, peaks
from cmrlib.phantom.diagnoses import MR_GRADES
from cmrlib.phantom.jets import Plume, plain_plumes

LARGEST_LEAK = 0.75
"""Largest share of a stroke volume that regurgitates."""

TRUTH = (
    *FEATURES, "lv_pfr_ml_s", "mapse_mm", "sprime_cm_s", "eprime_cm_s", "aprime_cm_s", "lv_length_mm", "annulus_mm",
    "regurgitant_ml", "forward_sv_ml", "bsa_m2", "heart_rate_bpm",
)  # fmt: skip
"""Columns of the truth's table of measures."""


@dataclass(frozen=True)
class Subject:
    """One virtual subject. `diagnosis` is what was sampled, `group` the label (None where the EF fits no group).

    Raises ValueError where the numbers belong to no living heart.
    """

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
    aortic_fraction: float = 0.0  # share of the LV's stroke volume that comes back from the aorta
    tricuspid_fraction: float = 0.0  # share of the RV's stroke volume that goes back into the RA
    annulus_es_ratio: float = 1.0  # mitral ring's diameter, ES / ED
    infarct_territory: str = ""  # or "lad", "rca", "lcx"
    heart_failure: bool = False
    streams: tuple[Plume, Plume] | None = None  # jet and decoy of the mix `mr2`; others have the plain jet
    misread: bool = False  # the label `mr` is wrong
    unclear_valve: bool = False  # of the mix `valve`: trabeculae up to the ring, frames blurred by motion

    def __post_init__(self):
        s = self
        left, right = s.regurgitant_fraction + s.aortic_fraction, s.tricuspid_fraction
        least = min(s.regurgitant_fraction, s.aortic_fraction, right)
        systole_ms = s.es_ms + ISOVOLUMIC_RELAXATION_MS + 60
        rules = [
            (0.08 <= 1 - s.lvesv_ml / s.lvedv_ml <= 0.88, "an LVEF of 8 to 88 %", (s.lvedv_ml, s.lvesv_ml)),
            (0.05 <= 1 - s.rvesv_ml / s.rvedv_ml <= 0.85, "an RVEF of 5 to 85 %", (s.rvedv_ml, s.rvesv_ml)),
            (4 <= s.la_min_ml < s.la_max_ml <= 400, "an LA of 4 to 400 mL that empties", (s.la_max_ml, s.la_min_ml)),
            (4 <= s.ra_min_ml < s.ra_max_ml <= 400, "an RA of 4 to 400 mL that empties", (s.ra_max_ml, s.ra_min_ml)),
            (1 <= s.mapse_mm <= 0.26 * s.lv_length_mm, "MAPSE from 1 mm to 26 % of the LV's length", s.mapse_mm),
            (s.es_ms >= 120 and systole_ms <= s.rr_ms, "systole of 120 ms or more and 60 ms of filling", s.es_ms),
            (least >= 0 and max(left, right) <= LARGEST_LEAK, f"leaks from 0 to {LARGEST_LEAK}", (left, right)),
        ]
        for holds, expected, got in rules:
            if not holds:  # NaN fails every comparison, so it is refused too
                raise ValueError(f"subject {s.number} of seed {s.seed} ({s.diagnosis}): expected {expected}, got {got}")

    @property
    def bsa_m2(self) -> float:
        """Body surface area, Mosteller 1987."""
        return float(bsa_m2(self.height_m, self.weight_kg))

    @property
    def rr_ms(self) -> float:
        return 60_000 / self.heart_rate_bpm

    @property
    def lvef_pct(self) -> float:
        return 100 * (1 - self.lvesv_ml / self.lvedv_ml)

    @cached_property
    def plumes(self) -> tuple[Plume, Plume]:
        """Jet and decoy in the left atrium."""
        return self.streams or plain_plumes(self.regurgitant_fraction)

    @cached_property
    def peaks(self) -> dict[str, float]:
        """Fastest motion of the mitral plane and fastest filling, see `cycle.peaks`."""
        return peaks(self)

    def measures(self) -> dict:
        """Ground truth in 3-D from the model, not from label maps: `TRUTH`, names carry units."""
        values = vars(self) | self.peaks | {"bsa_m2": self.bsa_m2}
        for c in ("lv", "rv", "la", "ra"):
            largest, smallest = ("edv_ml", "esv_ml") if c in ("lv", "rv") else ("_max_ml", "_min_ml")
            values[f"{c}sv_ml"] = values[c + largest] - values[c + smallest]
            values[f"{c}ef_pct"] = 100 * values[f"{c}sv_ml"] / values[c + largest]
        lvsv, back = values["lvsv_ml"], self.regurgitant_fraction * values["lvsv_ml"]
        values |= {"lvef_pct": self.lvef_pct, "lvco_l_min": lvsv * self.heart_rate_bpm / 1000}
        values |= {"regurgitant_ml": back, "forward_sv_ml": lvsv * (1 - self.aortic_fraction) - back}
        values["lv_pfr_ml_s"] = float(np.nanmax([self.peaks["pfr_early_ml_s"], self.peaks["pfr_late_ml_s"]]))
        return {name: values[name] for name in TRUTH}

    def labels(self) -> dict:
        """Columns of participants.tsv on the diagnosis; None where a label does not apply.

        group: None where the EF fits no group. mr: 1 from mild on (`MR_GRADES`), unless
        misread; mr_severity is the truth. hf_type: by EF 50 %, as SSLHF.
        """
        severity = next(name for bound, name in MR_GRADES if self.regurgitant_fraction < bound)
        kind = ("HFrEF" if self.lvef_pct < 50 else "HFpEF") if self.heart_failure else None
        labels = {"group": self.group, "mr": int((severity != "none") != self.misread), "mr_severity": severity}
        return labels | {"hf": int(self.heart_failure), "hf_type": kind, "af": int(self.rhythm == "af")}
