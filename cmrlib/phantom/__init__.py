"""The phantom: beating hearts by formulas, with truth for everything, as a cohort like any other.

`make_cohort` draws people (physiology), moves their hearts (anatomy, tissue), lays them into bodies (body) and images
them (acquisition, appearance). Subject k depends on the seed and on k alone.
"""

from dataclasses import dataclass

from cmrlib.cohort import Cohort
from cmrlib.ingest import build_cohort
from cmrlib.phantom.acquisition import VIEWS, Protocol, Scan
from cmrlib.phantom.anatomy import Heart
from cmrlib.phantom.physiology import ACDC_GROUPS, DIAGNOSES, Subject, draw_subject
from cmrlib.study import Study

GENERATOR_VERSION = "1"
DESCRIPTION = {"Name": "phantom", "Synthetic": True, "License": "Apache-2.0", "GeneratorVersion": GENERATOR_VERSION}

__all__ = ["ACDC_GROUPS", "DIAGNOSES", "DESCRIPTION", "Heart", "Order", "Protocol", "Scan", "Subject", "draw_subject",
           "make_cohort", "make_study"]


@dataclass(frozen=True)
class Order:
    """What `make_study` needs to know about one subject."""

    seed: int
    number: int
    protocol: Protocol
    diagnoses: tuple[str, ...] = ACDC_GROUPS


def make_study(label: str, order: Order) -> Study:
    """One phantom subject: cines of all views, and observer `truth`."""
    subject = draw_subject(order.seed, order.number, order.diagnoses)
    scan = Scan(Heart(subject), order.protocol)
    made = [scan.cine(view, label) for view in order.protocol.views]
    participant = {"participant_id": label, "sex": subject.sex, "age": subject.age_years, "height_m": subject.height_m,
                   "weight_kg": subject.weight_kg, "group": subject.group, "heart_rate_bpm": subject.heart_rate_bpm}
    truth = {cine.name: annotation for cine, annotation in made}
    return Study(participant, [cine for cine, _ in made], {"truth": truth}, {"truth": subject.measures()})


def make_cohort(dest, subjects: int = 40, seed: int = 1, frames: int = 20, views=VIEWS[:3], size=(128, 128),
                spacing_mm: float = 2.0, slices: int | None = None, subslices: int = 3, workers: int | None = None,
                diagnoses=None, progress: bool = True) -> Cohort:
    """Make, or open, a phantom cohort with subjects P0001 … in `dest`.

    size: one number or (rows, columns). slices: of the SAX stack; None for as many as each heart needs.
    diagnoses: names from `DIAGNOSES` that take turns; None for ACDC's five groups.
    Raises ValueError for impossible settings, FileExistsError where `dest` holds something else.
    """
    size = (size, size) if isinstance(size, int) else tuple(int(n) for n in size)
    protocol = Protocol(int(frames), tuple(views), size, float(spacing_mm), slices, int(subslices))
    _check(subjects, protocol, diagnoses)
    groups = tuple(diagnoses or ACDC_GROUPS)
    orders = {f"P{k:04d}": Order(int(seed), k, protocol, groups) for k in range(1, subjects + 1)}
    return build_cohort(orders, make_study, dest, DESCRIPTION | {"Seed": int(seed)}, workers, progress)


def _check(subjects, protocol, diagnoses):
    unknown = [v for v in protocol.views if v not in VIEWS] + [d for d in diagnoses or () if d not in DIAGNOSES]
    if unknown:
        raise ValueError(f"the phantom does not know {unknown}; views are {list(VIEWS)}, diagnoses {list(DIAGNOSES)}")
    if subjects < 1 or protocol.frames < 2 or min(protocol.size) < 16 or protocol.subslices < 1 or not protocol.views:
        raise ValueError(f"expected at least 1 subject, 2 frames, 16×16 pixels, 1 sub-slice and 1 view; got {subjects} "
                         f"subjects and {protocol}")
    if not 0.3 <= protocol.spacing_mm <= 6 or (protocol.slices is not None and protocol.slices < 3):
        raise ValueError(f"expected spacing of 0.3 to 6 mm and at least 3 SAX slices; got {protocol.spacing_mm} mm and "
                         f"{protocol.slices} slices")
