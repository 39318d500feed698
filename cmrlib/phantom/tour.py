"""The phantom's own curves and single scans, for looking at what a diagnosis changes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cmrlib.cine import Cine
from cmrlib.phantom.acquisition import Protocol, Scan
from cmrlib.phantom.anatomy import Heart
from cmrlib.phantom.cycle import cycle
from cmrlib.phantom.physiology import Subject, draw_subject


def one_of_each(diagnoses: Sequence[str], seed: int = 1, sex: str = "M") -> list[Subject]:
    """The first man (or woman) of each diagnosis."""
    found = []
    for name in diagnoses:
        drawn = (draw_subject(seed, number, (name,)) for number in range(1, 200))
        found.append(next(subject for subject in drawn if subject.sex == sex))
    return found


def cycles(subjects: Sequence[Subject], instants: int = 200) -> pd.DataFrame:
    """Curves through one cycle, a row a subject and instant: diagnosis, number, time_ms, lv_ml, la_ml, plane_mm
    (descent of the mitral plane since ED) and plane_cm_s (towards the apex positive)."""
    tables = []
    for subject in subjects:
        times = np.arange(instants) / instants * subject.rr_ms
        volumes, plane = Heart(subject).volumes(times), subject.mapse_mm * cycle(subject, times)["plane"]
        speed = 100 * np.gradient(np.r_[plane[-1], plane, plane[0]], subject.rr_ms / instants)[1:-1]  # mm/ms → cm/s
        tables.append(
            pd.DataFrame(
                {
                    "diagnosis": subject.diagnosis,
                    "number": subject.number,
                    "time_ms": times,
                    "lv_ml": volumes["lv"],
                    "la_ml": volumes["la"],
                    "plane_mm": plane,
                    "plane_cm_s": speed,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def scan(subject: Subject, view: str, frames: int = 20, **protocol) -> Cine:
    """One view of one person. protocol: of `Protocol`."""
    order = Protocol(frames, (view,), **({"size": (160, 160), "spacing_mm": 1.6} | protocol))
    return Scan(Heart(subject), order).cine(view, f"P{subject.number:04d}")[0]
