"""Named case mixes: diagnoses, prevalence of regurgitation, class overlap.

The parameters were fixed before any image classifier existed. Classes overlap as in clinics: positives are mostly mild;
negatives have traces, large atria from atrial fibrillation, age or sport, leaking aortic and tricuspid valves that
unbalance the stroke volumes, and stiff hearts with a normal EF.

* mr2: the labelled subjects of CUSSP (98 of 704 with mitral regurgitation, UK Biobank). Traces run into mild leaks,
  jets are those of `jets.sample_plumes`, and 5 % of the labels are wrong, as if read once. Calibrated on seeds 901 and
  902 without any network, then frozen: on 450 of each, AUC of a forest on true features .63 and .67, of a systolic
  shadow .71 and .69, of 50 principal components .64 and .74.
* hf: heart failure (63 reduced, 121 preserved EF, as SSLHF's 184 patients) against as many subjects without.
* valve: MVnet's patients. Trabeculae reach up to the ring and frames are blurred by motion (`unclear_valve`), so that
  no edge says where the valve ends.
* population: a UK-Biobank-like mix; shares of diagnoses at about 60 years are ours.
Shares of leaks follow the common finding that most people have a trace or mild tricuspid leak; the numbers are ours.
"""

from dataclasses import replace

import numpy as np

from cmrlib.phantom.diagnoses import DIAGNOSES, MR_GRADES, read_yaml
from cmrlib.phantom.jets import sample_plumes
from cmrlib.phantom.physiology import sample_patient, streams
from cmrlib.phantom.subject import Subject

SEVERITIES = {"mild": (0.06, 0.30), "moderate": (0.30, 0.50), "severe": (0.50, 0.66)}
"""Mitral regurgitant fractions within a grade (flat); the gap from a trace (.04) to mild (.06) is ours."""

COHORTS = read_yaml("cohorts.yaml")
TRACE = 0.04
"""Largest fraction without mitral regurgitation."""


def sample_member(cohort: str, seed: int, number: int) -> Subject:
    """Subject `number` of a case mix of `COHORTS`, from the name, the seed and the number alone."""
    plan, rng = COHORTS[cohort], streams(seed, number)["membership"]
    diagnosis = str(rng.choice(list(plan["shares"]), p=list(plan["shares"].values())))
    leaks = {"mitral": _mitral(rng, plan, diagnosis)}
    for valve in ("aortic", "tricuspid"):
        rule, leaking = plan[valve], rng.random() < plan[valve]["prevalence"]
        span = rule.get("with_mitral", rule["fraction"]) if leaks["mitral"] > TRACE else rule["fraction"]
        leaks[valve] = rng.uniform(*span) if leaking else 0.0
    if DIAGNOSES[diagnosis].tricuspid:
        del leaks["tricuspid"]  # the diagnosis says it
    subject = sample_patient(seed, number, diagnosis, **leaks)
    subject = replace(subject, unclear_valve=plan.get("unclear_valve", False))
    if "misread" not in plan:
        return subject
    rng, leaking = streams(seed, number)["jets"], leaks["mitral"] >= MR_GRADES[0][0]
    wrong = rng.random() < plan["misread"]["missed" if leaking else "invented"]
    radius = 0.62 * (1000 * subject.la_max_ml) ** (1 / 3)
    plumes = sample_plumes(rng, leaks["mitral"], subject.annulus_mm / 2, radius)
    return replace(subject, misread=wrong, streams=plumes)


def _mitral(rng, plan, diagnosis):
    """Regurgitant fraction; diagnoses with higher odds have more of the cohort's prevalence."""
    rule = plan["mitral"]
    leaking = rng.random() < _prevalence(plan)[diagnosis]
    if "excess" in rule:  # half of the others have a trace, up to the smallest mild leak
        mild = MR_GRADES[0][0]
        return mild + min(rng.exponential(rule["excess"]), 0.5) if leaking else max(0.0, rng.uniform(-mild, mild))
    if not leaking:
        return rng.uniform(0, TRACE)
    grade = str(rng.choice(list(rule["severity"]), p=list(rule["severity"].values())))
    return rng.uniform(*SEVERITIES[grade])


def _prevalence(plan) -> dict[str, float]:
    """Share of each diagnosis with mitral regurgitation, so that the cohort has the prevalence it was given."""
    rule, low, high = plan["mitral"], 1e-6, 1e6
    weights = {name: rule["odds"].get(name, 1.0) for name in plan["shares"]}
    for _ in range(80):  # bisection on the common odds
        odds = np.sqrt(low * high)
        share = {name: odds * w / (1 + odds * w) for name, w in weights.items()}
        small = sum(plan["shares"][n] * share[n] for n in share) < rule["prevalence"]
        low, high = (odds, high) if small else (low, odds)
    return share
