"""Named case mixes: diagnoses, prevalence of regurgitation, class overlap.

The parameters were fixed before any image classifier existed. Classes overlap as in clinics: positives are mostly mild;
negatives have traces, large atria from atrial fibrillation, age or sport, leaking aortic and tricuspid valves that
unbalance the stroke volumes, and stiff hearts with a normal EF.

* mr: the labelled subjects of CUSSP (98 of 704 with mitral regurgitation, UK Biobank).
* hf: heart failure (63 reduced, 121 preserved EF, as SSLHF's 184 patients) against as many subjects without.
* population: a UK-Biobank-like mix; shares of diagnoses at about 60 years are ours.
Shares of leaks follow the common finding that most people have a trace or mild tricuspid leak; the numbers are ours.
"""

import numpy as np

from cmrlib.phantom.diagnoses import DIAGNOSES, read_yaml
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
    return sample_patient(seed, number, diagnosis, **leaks)


def _mitral(rng, plan, diagnosis):
    """Regurgitant fraction; diagnoses with higher odds have more of the cohort's prevalence."""
    rule = plan["mitral"]
    if rng.random() >= _prevalence(plan)[diagnosis]:
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
