"""Flags of a measured stack: what to look at before a number is believed.

A flag of this module never changes a number; those of `plausible`, which it collects too, withhold some.
"""

import numpy as np

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import NOT_ANNOTATED, STRUCTURES
from cmrlib.cohort import Annotation
from cmrlib.measures.plausible import listed, slice_faults
from cmrlib.measures.postprocess import open_slices
from cmrlib.measures.volumes import (
    Conventions,
    basal_rule_applies,
    base_is_first,
    ejection_fraction_pct,
    excluded_slices,
    ring_fraction,
    slice_widths_mm,
    voxel_counts,
)

SYSTOLE = (0.15, 0.65)
"""Plausible time from ED to ES as a fraction of the cycle: .41 at 60 beats per minute, .51 at 90."""

LOWEST_EF_PCT = 5.0
"""Below this a ventricle hardly ejects: possible, and rarely true."""


def stack_flags(
    cine: Cine, annotation: Annotation, phases: dict[str, int], volume, conventions: Conventions | None = None
) -> list[str]:
    """Flags of one measured stack: text `name` or `name:detail`, in a fixed order.

    phases: "ed" and "es", or one of them → frame. volume: (frames, 3) LV, myocardium, RV in any one unit. Per phase:
    `not_annotated`, `slices_not_annotated`, `myo_open`, `basal_excluded`; the phase that is not known is `…_unknown`.
    Then `masks_turned`, `plausible.slice_faults`, `lv_reaches_stack_base`, ejection fractions of 0 to 5 %, stroke or
    myocardial volumes that disagree, ES early or late.
    """
    flags, counts, drawn = [f"{phase}_unknown" for phase in ("ed", "es") if phase not in phases], {}, {}
    for phase, frame in phases.items():
        if not annotation.annotated.get(frame):
            flags.append(f"{phase}_not_annotated")
            continue
        mask, drawn[phase] = np.asarray(annotation.mask[frame]), annotation.annotated[frame]
        counts[phase] = voxel_counts(mask, ("lv", "myo", "rv"))
        found = _frame_flags(mask, drawn[phase], conventions or Conventions())
        flags += [f"{phase}_{flag}" for flag in found]
    flags += masks_turned(cine, {phases[phase]: np.asarray(annotation.mask[phases[phase]]) for phase in drawn})
    flags += slice_faults(counts, drawn, slice_widths_mm(cine) if cine.spacing_known else np.ones(cine.slices))
    if len(phases) < 2:
        return flags
    ed, es = phases["ed"], phases["es"]
    if "es" in drawn and _base_cut(np.asarray(annotation.mask[es])):
        flags.append("lv_reaches_stack_base")
    flags, systole = flags + _volume_flags(volume[ed], volume[es]), float(cine.phase(ed)[es])
    if systole < SYSTOLE[0] or systole > SYSTOLE[1]:  # NaN where times are unknown
        flags.append(f"es_{'early' if systole < SYSTOLE[0] else 'late'}:{systole:.2f}_of_cycle")
    return flags


def _frame_flags(mask, drawn, conventions):
    """Flags of one frame (slices, rows, columns); a structure that was not annotated is no finding."""
    applies = basal_rule_applies(mask, drawn, conventions)
    found = {
        "slices_not_annotated": np.flatnonzero((mask == NOT_ANNOTATED).all(axis=(1, 2))),
        "myo_open": open_slices(mask) if {"lv", "myo"} <= set(drawn) else [],
        "basal_excluded": excluded_slices(mask, conventions) if applies else [],
    }
    flags = [f"{name}:{listed(slices)}" for name, slices in found.items() if len(slices)]
    return flags + ([] if applies else ["basal_rule_undefined"])


def _base_cut(mask):
    """Whether the stack's basal end cuts a closed, wide ring at ES, when the base has come down."""
    area = voxel_counts(mask, ("lv",))[:, 0]
    if len(mask) < 2 or not area.any():
        return False
    base = 0 if base_is_first(mask) else len(mask) - 1
    return area[base] > 0.75 * area.max() and ring_fraction(mask[base]) > 0.95


def _volume_flags(ed, es):
    """ed, es: (3,) LV, myocardium, RV."""
    flags = []
    for name, column in (("lv", 0), ("rv", 2)):
        if 0 <= ejection_fraction_pct(ed[column], es[column]) < LOWEST_EF_PCT:
            flags.append(f"{name}ef_very_low")
    stroke = ed - es
    if stroke[0] > 0 and stroke[2] > 0 and abs(stroke[0] - stroke[2]) > 0.4 * max(stroke[0], stroke[2]):
        flags.append("stroke_volumes_differ")
    if ed[1] > 0 and abs(es[1] - ed[1]) > 0.3 * ed[1]:
        flags.append("mass_ed_es_differ")
    return flags


def masks_turned(cine: Cine, masks: dict[int, np.ndarray]) -> list[str]:
    """`masks_turned` where masks {frame: (slices, rows, columns)} fit better upside down or mirrored: blood, labelled
    LV, is brighter than muscle."""

    def fit(rows, columns):
        return sum(_contrast(cine.pixels[t], mask[:, ::rows, ::columns]) for t, mask in masks.items())

    own, *others = [fit(rows, columns) for rows in (1, -1) for columns in (1, -1)]
    return ["masks_turned"] * bool(max(others) > own + 0.1)


def _contrast(picture, mask) -> float:
    """(LV − myocardium) / the picture's standard deviation, 0 where one of them is not drawn."""
    lv, myo = (picture[mask == STRUCTURES[name]] for name in ("lv", "myo"))
    return (lv.mean() - myo.mean()) / max(picture.std(), 1e-6) if len(lv) and len(myo) else 0.0
