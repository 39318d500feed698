"""What `cmr phantom` makes: a cohort, or files in the formats of others, with defects on request."""

from pathlib import Path

import pandas as pd

from cmrlib.app.cli import shown
from cmrlib.cohort.progress import with_progress
from cmrlib.phantom import make_cohort, make_orders, make_study
from cmrlib.phantom.formats import DEFECTS, FORMATS, build, check_defects, truth_path, write_source


def make(dest: Path, form: str, defects: list[str], workers: int | None, settings: dict):
    """Write a cohort (`form` "cohort") or files of one of FORMATS, and say where.

    settings: those of `make_orders`. Raises ValueError for unknown formats, and defects that do not suit them.
    """
    if form == "cohort":
        if defects:
            raise ValueError(f"a cohort has no defects: --defect goes with --as {', '.join(FORMATS)}")
        shown.cohort(make_cohort(dest, workers=workers, **settings))
        return
    check_defects(defects, form)
    orders = make_orders(**settings)
    sources = (
        build(make_study(label, order), order.seed, form, defects)
        for label, order in with_progress(orders.items(), f"phantom as {form}", "subject")
    )
    write_source(dest, sources, form)
    print(f"{len(orders)} subjects as {form} in {dest}; their truth: {truth_path(dest)}")


def list_defects():
    """All defects: name, the files that have them, what a correct reader does, what they are."""
    ordered = sorted(DEFECTS.values(), key=lambda one: (one.kinds, one.name))
    shown.show(
        pd.DataFrame(
            [
                {"defect": one.name, "files": " ".join(one.kinds), "a reader must": one.expectation, "what": one.text}
                for one in ordered
            ]
        )
    )
