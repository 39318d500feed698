"""What an observer drew and what was measured of it, in files that other systems open."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from cmrlib.app.cli.observers import measured, require_outside, require_subjects, write_table
from cmrlib.app.export.source import SourceFolder, in_source_order
from cmrlib.cine.anatomy import NOT_ANNOTATED, STRUCTURES
from cmrlib.cohort import Cohort
from cmrlib.cohort.files import atomic, write_nifti
from cmrlib.datasets.header import suppress_warnings
from cmrlib.measures import MEASURES, Conventions

__all__ = ["FORMATS", "SourceFolder", "export", "in_source_order"]

FORMATS = ("dicom-seg", "dicom-sr", "nifti", "csv")


def export(cohort: Cohort, observer: str, to: str, out, source=None, subjects=None) -> list[Path]:
    """Write an observer's masks or measures below the folder `out`; returns the files.

    to: of FORMATS. dicom-seg: a Segmentation object for each phase of each source series. dicom-sr: a report by
    TID 1500 for each examination. nifti: masks on the grid of the source, 255 where nobody looked. csv: measures.csv
    and what its columns mean. source: the DICOM files that the cohort was made of, to which DICOM objects refer.
    Raises ValueError for another format, unknown subjects, nothing to export, a missing source, and images that are
    not the cohort's; FileExistsError where `out` holds anything.
    """
    out = Path(out)
    if to not in FORMATS:
        raise ValueError(f"unknown format {to!r}; expected {', '.join(FORMATS)}")
    if to.startswith("dicom") and source is None:
        raise ValueError(f"{to} refers to the images that the cohort was made of: name their folder with --source")
    require_outside(out, cohort)
    require_subjects(cohort, subjects)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is not empty; name a new folder")
    if to == "csv":
        return _csv(cohort, observer, out, subjects)
    found = None if source is None else SourceFolder(source, cohort)
    write = {"dicom-seg": _segmentations, "dicom-sr": _reports, "nifti": _nifti}[to]
    with suppress_warnings():  # pydicom's and highdicom's quote patients' names
        files = list(write(cohort, observer, out, found, subjects))
    if not files:
        raise ValueError(f"observer {observer!r} drew nothing of these subjects that becomes {to}")
    return files


def _csv(cohort, observer, out, subjects) -> list[Path]:
    table, _ = measured(cohort, observer, Conventions(), subjects=subjects)
    names = [name for name in table if name in MEASURES]
    meaning = pd.DataFrame(
        [(name, *MEASURES[name]) for name in names], columns=["column", "unit", "description", "short"]
    )
    write_table(table, out / "measures.csv")
    write_table(meaning, out / "columns.csv")
    return [out / "measures.csv", out / "columns.csv"]


def _annotated(cohort, observer, subjects) -> Iterator:
    """(cine, annotation, folder below `out`) of each cine that was outlined."""
    looked = cohort.observer(observer)
    for row in cohort.cines.itertuples():
        if looked.has(row.cine) and (subjects is None or row.participant_id in subjects):
            yield cohort.cine(row.cine), looked.mask(row.cine), Path(f"sub-{row.participant_id}")


def _nifti(cohort, observer, out, source, subjects) -> Iterator[Path]:
    for cine, annotation, folder in _annotated(cohort, observer, subjects):
        if source:
            source.images_of(cine)  # refused where they are not the cohort's
        mask, affine = in_source_order(cine, annotation.mask)
        path = out / folder / f"{cine.name}_dseg.nii.gz"
        write_nifti(path, mask, affine, cine.frame_step_ms)
        yield path
    if out.exists():
        labels = [*STRUCTURES.items(), ("not annotated", NOT_ANNOTATED)]
        write_table(pd.DataFrame(labels, columns=["name", "label"]), out / "labels.csv")


def _segmentations(cohort, observer, out, source, subjects) -> Iterator[Path]:
    from cmrlib.app.export.segmentations import segmentations

    for cine, annotation, folder in _annotated(cohort, observer, subjects):
        for name, found in segmentations(cine, annotation, source.images_of(cine), cohort.observer(observer)):
            yield _saved(found, out / folder / name)


def _reports(cohort, observer, out, source, subjects) -> Iterator[Path]:
    from cmrlib.app.export.measurements import report

    table, _ = measured(cohort, observer, Conventions(), subjects=subjects)
    drawn = list(_annotated(cohort, observer, subjects))
    for values in table.to_dict("records"):
        label, session, headers = values["participant_id"], values["session"], {}
        for cine, annotation, _ in drawn:
            if (cine.subject, cine.session) == (label, session):
                every = [row[t] for row in source.images_of(cine) for t in annotation.annotated if row[t]]
                headers |= {image.header.SOPInstanceUID: image.header for image in every}
        if (found := report(values, list(headers.values()), cohort.observer(observer))) is not None:
            name = f"sub-{label}" + (f"_ses-{session}" if session else "") + "_measures_sr.dcm"
            yield _saved(found, out / f"sub-{label}" / name)


def _saved(found, path) -> Path:
    with atomic(path) as part:
        found.save_as(part, enforce_file_format=True)
    return path
