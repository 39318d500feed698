"""Commands that make, read, check and compare data; heavy imports stand inside them, so that help comes at once."""

from pathlib import Path
from typing import Annotated

import typer

from cmrlib.app.cli.app import Folder, ShardOf, Workers, app, words

Views = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VIEW", help="Your word for the view of a series description or folder; repeat for more."
    ),
]

KeepNames = Annotated[
    bool,
    typer.Option(
        "--keep-names",
        help="dicom, nifti: call subjects after their folders also where a name looks like an identifier (6 or more "
        "digits, a date, a name beside digits); such names are replaced by hashes otherwise.",
    ),
]


@app.command()
def phantom(
    dest: Annotated[Path, typer.Argument(help="Where the cohort goes.")],
    subjects: int = 40,
    seed: int = 1,
    frames: Annotated[int, typer.Option(help="Frames a cycle.")] = 20,
    views: Annotated[list[str] | None, typer.Option(help="Of sax, 4ch, 2ch, 3ch; default the first three.")] = None,
    diagnoses: Annotated[list[str] | None, typer.Option(help="Diagnoses that take turns; default ACDC's five.")] = None,
    mix: Annotated[str, typer.Option(help="In place of diagnoses a named case mix: mr2, hf, population.")] = "",
    people: Annotated[
        list[str] | None,
        typer.Option(help="Simulated annotators, observers beside the truth: yale, yale2, lund, lund2."),
    ] = None,
    visits: Annotated[int, typer.Option(min=1, help="How often every heart is scanned.")] = 1,
    size: Annotated[int, typer.Option(help="Pixels a side.")] = 128,
    spacing_mm: Annotated[float, typer.Option(help="Pixel size.")] = 2.0,
    slices: Annotated[int | None, typer.Option(help="Of the SAX stack; default as many as a heart needs.")] = None,
    domain: Annotated[str, typer.Option(help="Scanners: one vendor and centre, or many.")] = "many",
    appearance: Annotated[str, typer.Option(help="real, or random for grey values beyond realism.")] = "real",
    workers: Workers = None,
):
    """Make a cohort of virtual subjects with ground truth for every measure."""
    from cmrlib.app.cli import shown
    from cmrlib.phantom import make_cohort

    settings = {"frames": frames, "size": size, "spacing_mm": spacing_mm, "slices": slices, "visits": visits}
    settings |= {"domain": domain, "appearance": appearance, "diagnoses": words(diagnoses), "cohort": mix}
    settings |= {"people": words(people) or ()} | ({"views": words(views)} if views else {})
    shown.cohort(make_cohort(dest, subjects, seed, workers=workers, **settings))


@app.command()
def ingest(
    kind: Annotated[str, typer.Argument(help="Layout of the source: acdc, sunnybrook, dicom, …")],
    src: Annotated[Path, typer.Argument(help="The source's folder; it is only read.")],
    dest: Annotated[Path, typer.Argument(help="Where the cohort goes.")],
    workers: Workers = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many subjects only.")] = None,
    view: Views = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STRUCTURE=CODE", help="nifti: what a number in your masks means, say lv=3; repeat for more."
        ),
    ] = None,
    min_frames: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="What has fewer is no cine; dicom takes short-axis "
            "stacks of single images with 1 (default 2; nifti: 1).",
        ),
    ] = None,
    phase: Annotated[str, typer.Option(help="ed or es: what stacks of one frame show.")] = "",
    keep_names: KeepNames = False,
    shard: ShardOf = "",
):
    """Turn a folder of studies into a cohort; a finished one is opened, an interrupted one continued.

    With --shard only those subjects are read; a call without it, after all shards, writes the cohort's tables.
    """
    from cmrlib.app.cli import shown
    from cmrlib.cohort.sharding import Shard
    from cmrlib.datasets import ingest

    part = Shard.parse(shard) if shard else None
    options = reader_options(kind, view, label, min_frames, phase)
    cohort = ingest(kind, src, dest, workers, limit=limit, shard=part, keep_names=keep_names, **options)
    if cohort is None:
        typer.echo(f"shard {shard} is read; `cmr ingest` without --shard, after all shards, makes the cohort")
        return
    shown.cohort(cohort)
    shown.rejected(cohort)


def reader_options(kind, view=None, label=None, min_frames=None, phase="") -> dict:
    """What `cmr ingest` was told as options of the kind's reader, checked before a single file is read.

    Raises ValueError for words of another form, and for what this kind of data knows by itself.
    """
    from inspect import signature

    from cmrlib.cine.anatomy import STRUCTURES, VIEWS
    from cmrlib.datasets import reader_of
    from cmrlib.datasets.purpose import PHASES

    if phase not in ("", *PHASES):
        raise ValueError(f"--phase {phase}: expected ed or es")
    views, labels = ([word.rpartition("=")[::2] for word in given or []] for given in (view, label))
    if wrong := [f"{name}={of}" for name, of in views if not name or of not in VIEWS]:
        raise ValueError(f"--view {wrong[0]}: expected NAME=VIEW with a view of {', '.join(VIEWS)}")
    if wrong := [f"{name}={code}" for name, code in labels if name not in STRUCTURES or not code.isdigit()]:
        raise ValueError(f"--label {wrong[0]}: expected STRUCTURE=CODE with a structure of {', '.join(STRUCTURES)}")
    given = {
        "views": dict(views) or None,
        "labels": {name: int(code) for name, code in labels} or None,
        "min_frames": min_frames,
        "phase": phase or None,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if unknown := set(given) - set(signature(reader_of(kind).read).parameters):
        option = min(unknown).removesuffix("s" if min(unknown) in ("views", "labels") else "").replace("_", "-")
        raise ValueError(f"--{option} is not for {kind}: its files say so themselves")
    return given


@app.command()
def inspect(
    src: Annotated[Path, typer.Argument(help="A folder of DICOM files, any nesting; it is only read.")],
    kind: Annotated[str, typer.Option(help="Of ingest, where the files are no DICOM.")] = "dicom",
    view: Views = None,
    paths: Annotated[bool, typer.Option("--paths", help="Folders and descriptions too; they may name people.")] = False,
    keep_names: KeepNames = False,
):
    """What is in a folder before anything is converted: a row a series; exit code 1 where no cine is found."""
    from cmrlib.app.cli import shown
    from cmrlib.datasets import inspect
    from cmrlib.datasets.ingestion import other_kinds

    table = inspect(src, reader_options(kind, view).get("views"), paths, kind=kind, keep_names=keep_names)
    shown.series(table)
    if not (table["content"] == "cine").any():
        typer.echo(f"no cine found{other_kinds(src, kind)}", err=True)
        raise typer.Exit(1)


@app.command()
def check(
    cohort: Folder,
    observer: Annotated[
        list[str] | None,
        typer.Option(metavar="FOLDER", help="An observer laid over it; default those in COHORT-observers. Repeat."),
    ] = None,
):
    """Compare every file of a cohort and of its observers with its digest (digests.json in each folder, BLAKE2b as by
    `b2sum --length 128`); exit code 1 where one is missing or changed, or was drawn on another image."""
    from cmrlib.app.cli.observers import beside
    from cmrlib.cohort import Cohort

    found = observer or sorted(path for path in beside(cohort, "observers").glob("*") if path.is_dir())
    states = Cohort.open(cohort, found).check()
    other = states[states["state"] != "ok"]
    for row in other.itertuples():
        typer.echo(f"{row.state}: {row.file}")
    added = (other["state"] == "added").sum()
    typer.echo(
        f"{len(states) - len(other)} of {len(states) - added} files are as they were written; {added} were added"
    )
    if len(other) > added:
        raise typer.Exit(1)


@app.command()
def join(
    out: Annotated[Path, typer.Argument(help="The table of all, .tsv or .csv.")],
    tables: Annotated[list[Path], typer.Argument(help="Tables of the shards.")],
):
    """Put the tables of shards together, ordered by subject."""
    from cmrlib.cohort.sharding import join_tables

    typer.echo(f"{len(join_tables(tables, out))} rows: {out}")


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(help="A run's folder, a whole profile's, or one table.")],
    run_b: Annotated[Path, typer.Argument(help="What to compare it with.")],
    rtol: Annotated[float, typer.Option(min=0, help="Relative tolerance of floating-point numbers.")] = 1e-5,
):
    """Compare two runs' tables: text and integers identical, floats within a tolerance; exit code 1 where they differ.

    Columns named `seconds` are left out: no clock repeats.
    """
    from cmrlib.app.cli.comparing import compare_runs

    differences, n_tables = compare_runs(run_a, run_b, rtol)
    if differences:
        typer.echo("\n".join(differences[:10]))
        more = "; the first 10 are shown" if len(differences) > 10 else ""
        typer.echo(f"{len(differences)} differences in {n_tables} tables{more}")
        raise typer.Exit(1)
    typer.echo(f"{n_tables} tables agree (floats within {rtol:g} relative)")


@app.command()
def datasets(kind: Annotated[str, typer.Argument(help="One of them: its whole page.")] = ""):
    """Kinds of data that are read; of one its source, licence, layout, labels, and known troubles."""
    from cmrlib.datasets import KINDS, reader_of

    for name in [kind] if kind else KINDS:
        text = reader_of(name).__doc__
        print(text if kind else f"{name:16}{text.splitlines()[0]}")
