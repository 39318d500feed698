"""Commands that measure an observer's masks and prepare their correction."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cmrlib.app.cli.app import Folder, ShardOf, Subjects, app, chosen, near, words

Phases = StrEnum("Phases", ["curve", "given"])
Masks = Annotated[
    str,
    typer.Option(
        metavar="NAME_OR_FOLDER",
        help="Whose masks: an observer that came with the cohort, one that `cmr segment` made, or a folder.",
    ),
]


@app.command()
def measure(
    cohort: Folder,
    observer: Masks,
    papillary: Annotated[str, typer.Option(help="Papillary muscles: as drawn, or in cavity.")] = "as drawn",
    basal_rule: Annotated[str, typer.Option(help="Basal slices: all slices, or half ring.")] = "all slices",
    phases: Annotated[
        Phases | None, typer.Option(help="ED and ES: default from the volume curve where whole cycles were drawn.")
    ] = None,
    frames_from: Annotated[
        str, typer.Option(metavar="NAME_OR_FOLDER", help="Another observer whose ED and ES count, of `cmr frames`.")
    ] = "",
    subjects: Subjects = None,
    shard: ShardOf = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder for measures.tsv; default the observer's. Every shard needs its own.")
    ] = None,
    against: Annotated[
        str, typer.Option(metavar="NAME_OR_FOLDER", help="Another observer, measured alike: also as changes.csv.")
    ] = "",
):
    """Volumes, ejection fraction and mass from an observer's masks: a table, and measures.tsv."""
    from cmrlib.app.cli import shown
    from cmrlib.app.cli.observers import changed, drawn_by, laid_over, measured, require_outside
    from cmrlib.cohort import Observer
    from cmrlib.cohort.files import require_writable
    from cmrlib.measures import Conventions
    from cmrlib.measures.features import single_frames

    if shard and out is None:
        raise ValueError("a shard's measures need a folder of their own: --out")
    conventions = Conventions(papillary, basal_rule)
    hearts, name, folder = laid_over(cohort, observer)
    if frames_from:
        other, frames_from, _ = laid_over(cohort, frames_from)
        hearts.observers[frames_from] = other.observer(frames_from)
    folder = out or folder
    require_outside(folder, hearts)
    require_writable(folder / "measures.tsv")
    people = chosen(subjects, shard, drawn_by(hearts, name) if shard else ())
    table, counted = measured(hearts, name, conventions, phases, people, frames_from or None)
    Observer(folder).write_measures(table)
    shown.measures(table, f"{name} · {conventions} · ED and ES: {counted}")
    shown.unknown_phases(table, single_frames(hearts, name, conventions, people))
    typer.echo(near(f"all measures: {folder / 'measures.tsv'}"))
    if against:
        moved = changed(cohort, against, table, conventions, phases, folder / "changes.csv")
        shown.show(moved.drop(columns="session").head(shown.MOST), f"{name} against {against}")
        typer.echo(near(f"what changed: {folder / 'changes.csv'}"))


@app.command()
def correct(
    cohort: Folder,
    observer: Annotated[str, typer.Option(metavar="NAME_OR_FOLDER", help="Whose masks to start from.")],
    name: Annotated[str, typer.Option(help="Name of the new observer.")] = "corrected",
    subjects: Subjects = None,
    out: Annotated[Path | None, typer.Option(help="Its folder; default COHORT-observers/NAME.")] = None,
):
    """Lay masks out for ITK-SNAP or 3D Slicer, to be edited in place; what was corrected before stays."""
    from cmrlib.app.cli.observers import laid_over, lay_out, observer_folder

    hearts, start, _ = laid_over(cohort, observer)
    table = lay_out(hearts, start, out or observer_folder(cohort, name), words(subjects))
    for row in table.itertuples():
        typer.echo(near(f"itksnap -g {row.image} -s {row.mask}" + ("  # kept as it is" if row.state == "kept" else "")))
    typer.echo(
        f"{len(table)} masks to correct and to save under their own names; then: cmr measure {near(cohort)} "
        f"--observer {near(out or name)} --against {near(observer)}"
    )
