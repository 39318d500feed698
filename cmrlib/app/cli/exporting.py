"""`cmr export`: masks and measures for other systems."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cmrlib.app.cli.app import Folder, Subjects, app, words
from cmrlib.app.cli.measuring import Masks

Format = StrEnum("Format", ["dicom-seg", "dicom-sr", "nifti", "csv"])


@app.command()
def export(
    cohort: Folder,
    observer: Masks,
    to: Annotated[Format, typer.Option(help="Masks: dicom-seg, nifti. Measures: dicom-sr (TID 1500), csv.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new folder.")],
    source: Annotated[
        Path | None,
        typer.Option(
            help="The DICOM files that the cohort was made of. DICOM objects refer to them and name the patient as "
            "they do."
        ),
    ] = None,
    subjects: Subjects = None,
):
    """Write masks or measures in files that other systems open: a PACS, OHIF, 3D Slicer, a spreadsheet."""
    from cmrlib.app.cli.observers import laid_over
    from cmrlib.app.export import export as write

    hearts, name, _ = laid_over(cohort, observer)
    files = write(hearts, name, str(to), out, source, words(subjects))
    typer.echo(f"{len(files)} files: {out}")
