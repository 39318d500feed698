"""The phantom: beating hearts by formulas, with truth for everything, as a cohort like any other.

`make_cohort` draws people (physiology), moves their hearts (anatomy, tissue), lays them into bodies (body) and images
them (acquisition, appearance). Subject k depends on the seed and on k alone.
"""

from dataclasses import dataclass, replace

from cmrlib.cohort import Cohort
from cmrlib.cohort.study import Study
from cmrlib.datasets.ingestion import build_cohort
from cmrlib.phantom.acquisition import VIEWS, Protocol, Scan
from cmrlib.phantom.anatomy import Heart
from cmrlib.phantom.cohorts import COHORTS, draw_member
from cmrlib.phantom.observers import PEOPLE, look
from cmrlib.phantom.physiology import ACDC_GROUPS, DIAGNOSES, Subject, draw_subject
from cmrlib.phantom.protocol import EFFECTS

GENERATOR_VERSION = "3"
DESCRIPTION = {"Name": "phantom", "Synthetic": True, "License": "Apache-2.0", "GeneratorVersion": GENERATOR_VERSION}

__all__ = [
    "ACDC_GROUPS",
    "COHORTS",
    "DESCRIPTION",
    "DIAGNOSES",
    "EFFECTS",
    "PEOPLE",
    "Heart",
    "Order",
    "Protocol",
    "Scan",
    "Subject",
    "draw_member",
    "draw_subject",
    "make_cohort",
    "make_orders",
    "make_study",
]


@dataclass(frozen=True)
class Order:
    """What `make_study` needs to know about one subject."""

    seed: int
    number: int
    protocol: Protocol
    diagnoses: tuple[str, ...] = ACDC_GROUPS
    people: tuple[str, ...] = ()
    cohort: str = ""  # a key of COHORTS, which then draws the person
    visit: int = 0  # 0: the only one; else the same heart under new planes, breath-holds, coil and noise


def make_study(label: str, order: Order) -> Study:
    """One phantom subject on one visit: cines of all views, observer `truth` and the people who look."""
    subject = (
        draw_member(order.cohort, order.seed, order.number)
        if order.cohort
        else draw_subject(order.seed, order.number, order.diagnoses)
    )
    label, visit = f"P{order.number:04d}", str(order.visit or "")
    scan = Scan(Heart(subject), order.protocol, rescan=order.visit)
    made = [
        (replace(cine, session=visit), annotation)
        for view in order.protocol.views
        for cine, annotation in [scan.cine(view, label)]
    ]
    participant = {
        "participant_id": label,
        "sex": subject.sex,
        "age": subject.age_years,
        "height_m": subject.height_m,
        "weight_kg": subject.weight_kg,
        "heart_rate_bpm": subject.heart_rate_bpm,
    } | subject.labels()
    truth = {cine.name: annotation for cine, annotation in made}
    seeds = (order.seed, order.number, order.visit)
    seen = {
        name: {cine.name: look(name, cine, annotation, seeds) for cine, annotation in made} for name in order.people
    }
    return Study(participant, [cine for cine, _ in made], {"truth": truth} | seen, {"truth": subject.measures()})


def make_cohort(
    dest, subjects: int = 40, seed: int = 1, workers: int | None = None, progress: bool = True, **settings
) -> Cohort:
    """Make, or open, a phantom cohort with subjects P0001 … in `dest`. settings: those of `make_orders`.

    Raises ValueError for impossible settings, FileExistsError where `dest` holds something else.
    """
    orders = make_orders(subjects, seed, **settings)
    return build_cohort(orders, make_study, dest, DESCRIPTION | {"Seed": int(seed)}, workers, progress)


def make_orders(
    subjects: int = 40,
    seed: int = 1,
    frames: int = 20,
    views=VIEWS[:3],
    size=(128, 128),
    spacing_mm: float = 2.0,
    slices: int | None = None,
    subslices: int = 3,
    diagnoses=None,
    people=(),
    visits: int = 1,
    effects=EFFECTS,
    domain: str = "many",
    appearance: str = "real",
    cohort: str = "",
) -> dict[str, Order]:
    """Label (P0001 …, with several visits P0001-1 …) → what `make_study` needs.

    size: one number or (rows, columns). slices: of the SAX stack; None for as many as each heart needs.
    size, spacing_mm: None for what each subject's scanner uses. effects, domain, appearance: see `Protocol`.
    diagnoses: names from `DIAGNOSES` that take turns; None for ACDC's five groups. cohort: in their place a named mix
    of patients from `COHORTS` (mr, hf, population). people: names from `PEOPLE` who look at every cine, as observers
    beside the truth. visits: how often every heart is imaged, as sessions 1, 2, …
    Raises ValueError for impossible settings.
    """
    size = (size, size) if isinstance(size, int) else size and tuple(int(n) for n in size)
    protocol = Protocol(
        int(frames),
        tuple(views),
        size,
        spacing_mm and float(spacing_mm),
        slices,
        int(subslices),
        tuple(effects),
        domain,
        appearance,
    )
    _check(subjects, protocol, diagnoses, people, cohort)
    groups = tuple(diagnoses or ACDC_GROUPS)
    scans = [(k, visit) for k in range(1, subjects + 1) for visit in (range(1, visits + 1) if visits > 1 else [0])]
    return {
        f"P{k:04d}" + (f"-{visit}" if visit else ""): Order(
            int(seed), k, protocol, groups, tuple(people), cohort, visit
        )
        for k, visit in scans
    }


def _check(subjects, protocol, diagnoses, people, cohort):
    for kind, given, known in (
        ("views", protocol.views, VIEWS),
        ("diagnoses", diagnoses or (), DIAGNOSES),
        ("people", people, PEOPLE),
        ("cohort", [cohort] if cohort else (), COHORTS),
    ):
        if unknown := [name for name in given if name not in known]:
            raise ValueError(f"the phantom does not know the {kind} {unknown}; there are {', '.join(known)}")
    if cohort and diagnoses:
        raise ValueError(f"the cohort {cohort!r} decides who has which diagnosis: give one of cohort and diagnoses")
    side = min(protocol.size or (16,))
    if subjects < 1 or protocol.frames < 2 or side < 16 or protocol.subslices < 1 or not protocol.views:
        raise ValueError(
            f"expected at least 1 subject, 2 frames, 16×16 pixels, 1 sub-slice and 1 view; got {subjects} "
            f"subjects and {protocol}"
        )
    spacing_mm = 1.5 if protocol.spacing_mm is None else protocol.spacing_mm
    if not 0.3 <= spacing_mm <= 6 or (protocol.slices is not None and protocol.slices < 3):
        raise ValueError(
            f"expected spacing of 0.3 to 6 mm and at least 3 SAX slices; got {protocol.spacing_mm} mm and "
            f"{protocol.slices} slices"
        )
