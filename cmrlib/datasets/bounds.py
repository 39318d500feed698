"""Bounds of what headers say of times, sizes and bodies; what lies beyond becomes n/a, with a flag.

The bounds are ours, and wide: a value outside has a wrong unit, is another quantity or a slip.
"""

import re
from dataclasses import replace

import numpy as np

from cmrlib.cine import Cine
from cmrlib.cohort.study import Study

BOUNDS = {
    "rr_ms": (300.0, 2000.0),  # heart rates from 200 to 30 a minute
    "frame_step_ms": (3.0, 500.0),
    "slice_distance_mm": (0.0, 50.0),  # three slices to a ventricle
    "pixel_size_mm": (0.3, 6.0),
    "field_of_view_mm": (100.0, 800.0),  # crops around the heart are common
    "age": (0.0, 120.0),
    "height_m": (0.4, 2.5),
    "weight_kg": (2.0, 400.0),
}
"""Quantity → lowest and highest possible value, both included."""

LARGEST_PIXEL_RATIO = 2.0
_SEXES = {"m": "M", "male": "M", "f": "F", "female": "F", "o": "O", "other": "O"}


def possible(quantity: str, values) -> np.ndarray:
    """Whether numbers lie within the bounds of a quantity, elementwise; NaN and text do not."""
    low, high = BOUNDS[quantity]
    try:
        values = np.asarray(values, float)
    except (TypeError, ValueError):
        return np.bool_(False)
    return (low <= values) & (values <= high)


def with_possible_values(study: Study) -> Study:
    """The study without impossible values: those of a participant and times become n/a, impossible sizes of pixels or
    distances of slices unknown spacing. Each is a flag `…_implausible` of the cines; a field of view is flagged only.
    """
    person, flags = dict(study.participant), ()
    if "sex" in person:
        person["sex"] = _SEXES.get(str(person["sex"]).strip().lower())
    for quantity in ("age", "height_m", "weight_kg"):
        if person.get(quantity) is not None and not possible(quantity, person[quantity]):
            person[quantity], flags = None, (*flags, _flag(quantity))
    return replace(study, participant=person, cines=[_possible_cine(cine, flags) for cine in study.cines])


def _flag(quantity):
    return f"{re.sub('_(ms|mm|m|kg)$', '', quantity)}_implausible"


def _possible_cine(cine: Cine, flags) -> Cine:
    times, rr, known = cine.frame_times_ms, cine.rr_ms, cine.spacing_known
    if times is not None:
        steps = [np.median(np.diff(row[np.isfinite(row)])) if np.isfinite(row).sum() > 1 else np.nan for row in times]
        times, flags = _only_possible(times, "frame_step_ms", np.array(steps), flags)
    if rr is not None:
        rr, flags = _only_possible(np.asarray(rr, float), "rr_ms", np.asarray(rr, float), flags)
    if known:
        distance_mm, *pixel_mm = cine.spacing_mm
        square = max(pixel_mm) <= LARGEST_PIXEL_RATIO * min(pixel_mm)
        judged = {
            "pixel_size_mm": square and possible("pixel_size_mm", pixel_mm).all(),
            "slice_distance_mm": possible("slice_distance_mm", distance_mm),
            "field_of_view_mm": possible("field_of_view_mm", np.multiply(pixel_mm, cine.pixels.shape[2:])).all(),
        }
        wrong = [quantity for quantity, right in judged.items() if not right]
        known, flags = set(wrong) <= {"field_of_view_mm"}, (*flags, *map(_flag, wrong))
    flags = tuple(dict.fromkeys((*cine.flags, *flags)))
    return replace(cine, frame_times_ms=times, rr_ms=rr, spacing_known=known, flags=flags)


def _only_possible(values, quantity, judged, flags):
    """Values (slices, …) as NaN in the slices whose judged number (slices,) is impossible, None where none is left."""
    wrong = np.isfinite(judged) & ~possible(quantity, judged)
    if not wrong.any():
        return values, flags
    values = np.array(values, float)
    values[wrong] = np.nan
    return values if np.isfinite(values).any() else None, (*flags, _flag(quantity))
