"""ED and ES as observer or cohort name them, complete sections, and the error of what cannot be measured."""

import numpy as np
import pandas as pd

from cmrlib.cine import Cine
from cmrlib.cohort import Annotation, Cohort


class RefusedError(ValueError):
    """A cine that cannot be measured or judged; `reason` is short and the same for all cines of a kind, so that it can
    be counted."""

    def __init__(self, name: str, reason: str, hint: str = ""):
        super().__init__(f"{name}: {reason}" + (f"; {hint}" if hint else ""))
        self.reason = reason


def whole_sections(cohort: Cohort, row: pd.Series) -> list[int]:
    """Slices of one row of `cohort.cines` of which no frame is missing; the cine is opened only where one may be."""
    if "missing_frames" not in str(row.flags).split(";"):
        return list(range(row.slices))
    return cohort.cine(row.cine).complete_slices


def named_phases(cine: Cine, annotation: Annotation) -> dict[str, int]:
    """Phase ("ed", "es") → frame (0-based) as the observer's frames name them, or the cohort where it names more.

    Empty where neither names one. Raises ValueError for a frame that the cine does not have.
    """
    sources = annotation.frames or {}, {"ed": cine.ed, "es": cine.es}
    known = [{p: int(s[p]) for p in ("ed", "es") if s.get(p) is not None and np.isfinite(s[p])} for s in sources]
    phases = max(known, key=len)
    for frame in phases.values():
        if not 0 <= frame < cine.frames:
            raise ValueError(
                f"{cine.name}: frame {frame} was named ED or ES; the cine has {cine.frames} frames, counted from 0"
            )
    return phases
