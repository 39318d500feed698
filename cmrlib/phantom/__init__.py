"""Analytic heart phantom: virtual subjects with ground truth for every measure, as a cohort like any other.

`make_cohort` samples subjects (physiology), their moving hearts (heart, tissue) and thorax (body), and images them
(acquisition, contrast, artefacts). Subject k depends on the seed and on k alone.
"""

from dataclasses import dataclass, replace

from cmrlib.cohort import Cohort
from cmrlib.cohort.study import Study
from cmrlib.datasets.ingestion import build_cohort
from cmrlib.phantom.acquisition import Protocol, Scan
from cmrlib.phantom.annotators import ANNOTATORS, annotate
from cmrlib.phantom.cohorts import COHORTS, sample_member
from cmrlib.phantom.diagnoses import ACDC_GROUPS, DIAGNOSES
from cmrlib.phantom.heart import Heart
from cmrlib.phantom.physiology import sample_subject
from cmrlib.phantom.protocol import EFFECTS, refuse_unknown
from cmrlib.phantom.subject import Subject

GENERATOR_VERSION = "5"
DESCRIPTION = {"Name": "phantom", "Synthetic": True, "License": "Apache-2.0", "GeneratorVersion": GENERATOR_VERSION}


@dataclass(frozen=True)
class SubjectSpec:
    """Specification of one phantom examination.

    diagnoses: names from `DIAGNOSES` that take turns. cohort: in their place a key of `COHORTS`. people: names from
    `ANNOTATORS`, observers beside the truth. visit: 0 for the only one; else the same heart under new planes,
    breath-holds, coils and noise. Raises ValueError for unknown names.
    """

    seed: int
    number: int
    protocol: Protocol
    diagnoses: tuple[str, ...] = ACDC_GROUPS
    people: tuple[str, ...] = ()
    cohort: str = ""
    visit: int = 0

    def __post_init__(self):
        refuse_unknown("diagnoses", self.diagnoses, DIAGNOSES)
        refuse_unknown("people", self.people, ANNOTATORS)
        refuse_unknown("cohort", [self.cohort] if self.cohort else [], COHORTS)


def make_study(label: str, spec: SubjectSpec) -> Study:
    """One phantom subject on one visit: cines of all views, observer `truth` and the simulated annotators."""
    if spec.cohort:
        subject = sample_member(spec.cohort, spec.seed, spec.number)
    else:
        subject = sample_subject(spec.seed, spec.number, spec.diagnoses)
    label = f"P{spec.number:04d}"
    scan = Scan(Heart(subject), spec.protocol, rescan=spec.visit)
    made = [scan.cine(view, label) for view in spec.protocol.views]
    made = [(replace(cine, session=str(spec.visit or "")), annotation) for cine, annotation in made]
    participant = {"participant_id": label, "sex": subject.sex, "age": subject.age_years}
    participant |= {name: getattr(subject, name) for name in ("height_m", "weight_kg", "heart_rate_bpm")}
    participant |= subject.labels()
    observers = {"truth": {cine.name: annotation for cine, annotation in made}}
    seeds = (spec.seed, spec.number, spec.visit)
    for name in spec.people:
        observers[name] = {cine.name: annotate(name, cine, annotation, seeds) for cine, annotation in made}
    return Study(participant, [cine for cine, _ in made], observers, {"truth": subject.measures()})


def make_cohort(
    dest, subjects: int = 40, seed: int = 1, workers: int | None = None, progress: bool = True, **settings
) -> Cohort:
    """Make, or open, a phantom cohort with subjects P0001 … in `dest`. settings: those of `subject_specs`.

    Raises ValueError for impossible settings, FileExistsError where `dest` holds something else.
    """
    specs = subject_specs(subjects, seed, **settings)
    return build_cohort(specs, make_study, dest, DESCRIPTION | {"Seed": int(seed)}, workers, progress)


def subject_specs(
    subjects: int = 40,
    seed: int = 1,
    diagnoses=None,
    people=(),
    visits: int = 1,
    cohort: str = "",
    size=(128, 128),
    **protocol,
) -> dict[str, SubjectSpec]:
    """Label (P0001 …, with several visits P0001-1 …) → specification, all of one protocol.

    size: one number or (rows, columns); None for that of each subject's scanner. protocol: other fields of `Protocol`.
    diagnoses: None for ACDC's five groups. visits: how often every heart is imaged, as sessions 1, 2, …
    Others: see `SubjectSpec`. Raises ValueError for impossible settings.
    """
    if cohort and diagnoses:
        raise ValueError(f"the cohort {cohort!r} decides who has which diagnosis: give one of cohort and diagnoses")
    if subjects < 1:
        raise ValueError(f"expected at least 1 subject, got {subjects}")
    size = (size, size) if isinstance(size, int) else size and tuple(int(n) for n in size)
    protocol = {name: tuple(value) if isinstance(value, list) else value for name, value in protocol.items()}
    given = Protocol(size=size, **protocol), tuple(diagnoses or ACDC_GROUPS), tuple(people), cohort
    times = [0] if visits == 1 else range(1, visits + 1)
    examinations = [(k, n) for k in range(1, subjects + 1) for n in times]
    return {f"P{k:04d}" + (f"-{n}" if n else ""): SubjectSpec(int(seed), k, *given, n) for k, n in examinations}


def make_hf_cohort(dest, subjects: int = 184, seed: int = 1, workers: int | None = None, **settings) -> Cohort:
    """Short-axis cines of the first `subjects` of the mix `hf` who have heart failure, reduced and preserved EF in the
    share of SSLHF's 63 and 121 patients. settings: of `subject_specs`.

    Raises ValueError for fewer than 10 subjects, too few for five folds with both kinds.
    """
    if subjects < 10:
        raise ValueError(f"{subjects} patients are too few for five folds with both kinds in each; ask for more")
    reduced = round(subjects * 63 / 184)
    wanted, chosen, number = {"HFrEF": reduced, "HFpEF": subjects - reduced}, [], 0
    while any(wanted.values()):
        number += 1
        kind = sample_member("hf", seed, number).labels()["hf_type"]
        if wanted.get(kind):
            wanted[kind] -= 1
            chosen.append(f"P{number:04d}")
    specs = subject_specs(number, seed, views=("sax",), cohort="hf", **settings)
    specs = {label: specs[label] for label in chosen}
    return build_cohort(specs, make_study, dest, DESCRIPTION | {"Seed": int(seed), "Mix": "hf"}, workers)
