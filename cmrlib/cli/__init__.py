"""cmr: the library from a shell, for any cohort and without a notebook. `cmr COMMAND --help` tells the options.

Heavy imports stand inside the commands, so that help comes at once. What whoever called can mend (a wrong name, a
missing file, a full disk) is one line and exit code 2; `check` and `compare` end with 1 when they find something.
"""

import errno
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup


class Commands(TyperGroup):
    """Errors that say what to do become one line; --debug, which may stand anywhere, shows where they came from."""

    def parse_args(self, ctx, args):
        return super().parse_args(ctx, sorted(args, key=lambda word: word != "--debug"))

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except (ValueError, KeyError, OSError) as error:
            if ctx.params["debug"] or getattr(error, "errno", None) == errno.EPIPE:
                raise
            # of a KeyError, str() would be the message in quotes
            text = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
            foreign = " " not in text  # a bare key says nothing without its error's name
            typer.echo(f"error: {type(error).__name__ + ': ' if foreign else ''}{text}", err=True)
            raise typer.Exit(2) from None


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False,
                  help="Cardiac MRI: any study in, measured hearts out. Research only, not a medical device.")


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False):
    pass


class Phases(StrEnum):
    curve = "curve"
    given = "given"


Folder = Annotated[Path, typer.Argument(metavar="COHORT", help="A cohort's folder.")]
Subjects = Annotated[list[str] | None, typer.Option(help="Participants (repeat, or separate by commas); default all.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; default one a core.")]
Threads = Annotated[int, typer.Option(min=1, help="Processor threads; never taken from the machine.")]
RUN = "A segmentation run's folder, its folder of weights, or one weights file."


def _words(given):
    """Values of an option that may be repeated or hold commas, None where there are none."""
    return [word for part in given or [] for word in part.split(",") if word] or None


def _list_defects(asked: bool):
    if asked:
        from cmrlib.cli import phantoms

        phantoms.list_defects()
        raise typer.Exit()


@app.command()
def phantom(
    dest: Annotated[Path, typer.Argument(help="Where the cohort or the files go.")],
    subjects: int = 40,
    seed: int = 1,
    frames: Annotated[int, typer.Option(help="Frames a cycle.")] = 20,
    views: Annotated[list[str] | None, typer.Option(help="Views, default all that the phantom knows.")] = None,
    diagnoses: Annotated[list[str] | None, typer.Option(help="Diagnoses that take turns; default ACDC's five.")] = None,
    size: Annotated[int, typer.Option(help="Pixels a side.")] = 128,
    spacing_mm: Annotated[float, typer.Option(help="Pixel size.")] = 2.0,
    slices: Annotated[int | None, typer.Option(help="Of the SAX stack; default as many as a heart needs.")] = None,
    domain: Annotated[str, typer.Option(help="Scanners: one vendor and centre, or many.")] = "many",
    appearance: Annotated[str, typer.Option(help="real, or random for grey values beyond realism.")] = "real",
    workers: Workers = None,
    form: Annotated[str, typer.Option("--as", help="cohort, or files as others write them: dicom, dicom-flat, "
                    "dicom-big-endian, dicom-enhanced, ukbb, nifti, nifti-3d, bids, acdc.")] = "cohort",
    defect: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A named trouble of such files, in every "
                      "subject; repeat for more.")] = None,
    list_defects: Annotated[bool, typer.Option("--list-defects", is_eager=True, callback=_list_defects,
                                               help="Name all defects and end.")] = False,
):
    """Make hearts by formulas, with truth for everything: a cohort, or files with their truth in DEST.truth.json."""
    from cmrlib.cli import phantoms

    settings = {"subjects": subjects, "seed": seed, "frames": frames, "size": size, "spacing_mm": spacing_mm,
                "slices": slices, "diagnoses": _words(diagnoses), "domain": domain, "appearance": appearance}
    settings |= {"views": _words(views)} if views else {}
    phantoms.make(dest, form, _words(defect) or [], workers, settings)


@app.command()
def ingest(
    kind: Annotated[str, typer.Argument(help="Layout of the source: acdc, sunnybrook, dicom, …")],
    src: Annotated[Path, typer.Argument(help="The source's folder; it is only read.")],
    dest: Annotated[Path, typer.Argument(help="Where the cohort goes.")],
    workers: Workers = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many subjects only.")] = None,
    view: Annotated[list[str] | None, typer.Option(metavar="NAME=VIEW", help="Your word for the view of a series "
                                                   "description or folder; repeat for more.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="STRUCTURE=CODE", help="nifti: what a number in your masks "
                                                    "means, say lv=3; repeat for more.")] = None,
):
    """Turn a folder of studies into a cohort; a finished one is opened, an interrupted one continued."""
    from cmrlib.cli import shown
    from cmrlib.cli.reading import named_labels, named_views
    from cmrlib.datasets import ingest

    options = named_views(kind, view or []) | named_labels(kind, label or [])
    cohort = ingest(kind, src, dest, workers, limit=limit, **options)
    shown.cohort(cohort)
    shown.rejected(cohort)


@app.command()
def inspect(
    src: Annotated[Path, typer.Argument(help="A folder of DICOM files, any nesting; it is only read.")],
    view: Annotated[list[str] | None, typer.Option(metavar="NAME=VIEW", help="As for ingest.")] = None,
    paths: Annotated[bool, typer.Option("--paths", help="Folders and descriptions too; they may name people.")] = False,
):
    """What is in a folder before anything is converted: a row a series; exit code 1 where no cine is found."""
    from cmrlib.cli import shown
    from cmrlib.cli.reading import named_views
    from cmrlib.datasets import inspect

    table = inspect(src, named_views("dicom", view or []).get("views"), paths)
    shown.series(table)
    if not (table["content"] == "cine").any():
        raise typer.Exit(1)


@app.command()
def check(cohort: Folder):
    """Compare every array of a cohort with its digest; exit code 1 where one is missing or changed."""
    from cmrlib.cohort import Cohort

    states = Cohort.open(cohort).check()
    wrong = states[states["state"] != "ok"]
    for row in wrong.itertuples():
        typer.echo(f"{row.state}: {row.cine}")
    typer.echo(f"{len(states) - len(wrong)} of {len(states)} arrays are as they were at ingest")
    if len(wrong):
        raise typer.Exit(1)


@app.command()
def segment(
    cohort: Folder,
    weights: Annotated[Path, typer.Option(metavar="RUN", help=RUN)],
    out: Annotated[Path | None, typer.Option(help="The observer's folder; default COHORT-observers/OBSERVER.")] = None,
    observer: Annotated[str, typer.Option(help="Name of the new observer.")] = "ternausnet",
    copies: Annotated[int, typer.Option(min=1, help="Turned copies of a slice that are averaged.")] = 3,
    subjects: Subjects = None,
    threads: Threads = 2,
):
    """Segment a cohort with trained networks; what these weights segmented before is not done again."""
    from cmrlib.cli.observers import observer_folder
    from cmrlib.cli.segmenting import load_weights_of, segment_rest
    from cmrlib.cohort import Cohort
    from cmrlib.training import set_threads_and_seed

    set_threads_and_seed(0, threads)  # nothing is drawn at random
    folder = out or observer_folder(cohort, observer)
    table, new = segment_rest(Cohort.open(cohort), load_weights_of(weights), folder, _words(subjects), copies)
    typer.echo(f"{new} cines segmented now, {len(table) - new} before: masks and segmented.csv are in {folder}")


@app.command()
def frames(
    cohort: Folder,
    weights: Annotated[Path, typer.Option(metavar="RUN", help="A run of 03_tempreg, its folder of weights, or one "
                                          "weights file.")],
    out: Annotated[Path | None, typer.Option(help="The observer's folder; default COHORT-observers/OBSERVER.")] = None,
    observer: Annotated[str, typer.Option(help="Name of the new observer.")] = "tempreg",
    subjects: Subjects = None,
    threads: Threads = 2,
):
    """Find ED and ES of every cine with TempReg-Net: an observer, and frames.csv with a row a slice."""
    from cmrlib.cli import finding
    from cmrlib.cli.observers import observer_folder
    from cmrlib.cohort import Cohort
    from cmrlib.training import set_threads_and_seed

    set_threads_and_seed(0, threads)  # nothing is drawn at random
    folder = out or observer_folder(cohort, observer)
    table, skipped = finding.find(Cohort.open(cohort), weights, folder, _words(subjects))
    typer.echo(f"ED and ES of {table['cine'].nunique()} cines"
               + (f" ({skipped} of fewer than 8 frames left out)" if skipped else "") + f": frames.csv is in {folder}")


@app.command()
def valve(
    cohort: Folder,
    weights: Annotated[Path, typer.Option(metavar="RUN", help="A run of 04_mvnet, or its folder of weights.")],
    out: Annotated[Path | None, typer.Option(help="The observer's folder; default COHORT-observers/OBSERVER.")] = None,
    observer: Annotated[str, typer.Option(help="Name of the new observer.")] = "mvnet",
    smooth_ms: Annotated[float | None, typer.Option(min=0, help="Smoothing; default as the run chose it.")] = None,
    subjects: Subjects = None,
    threads: Threads = 2,
):
    """Track the mitral valve in 2CH and 4CH cines: points, MAPSE, s', e', a'."""
    from cmrlib.cli import shown
    from cmrlib.cli.observers import observer_folder
    from cmrlib.cli.valves import track
    from cmrlib.cohort import Cohort
    from cmrlib.training import set_threads_and_seed

    set_threads_and_seed(0, threads)  # nothing is drawn at random
    folder = out or observer_folder(cohort, observer)
    table, new = track(Cohort.open(cohort), weights, folder, _words(subjects), smooth_ms)
    names = ["participant_id", "views", "mapse_mm", "sprime_cm_s", "eprime_cm_s", "aprime_cm_s", "flags"]
    shown.show(table[names].head(shown.MOST), "mitral valve")
    typer.echo(f"{new} cines tracked now; points, valve_motion.csv and valve_metrics.csv are in {folder}")


@app.command()
def measure(
    cohort: Folder,
    observer: Annotated[str, typer.Option(metavar="NAME_OR_FOLDER", help="Whose masks: an observer that came with the "
                                          "cohort, one that `cmr segment` made, or a folder.")],
    papillary: Annotated[str, typer.Option(help="Papillary muscles: as drawn, or in cavity.")] = "as drawn",
    basal_rule: Annotated[str, typer.Option(help="Basal slices: all slices, no remnant, or half ring.")] = "all slices",
    summation: Annotated[str, typer.Option(help="discs or trapezoid.")] = "discs",
    phases: Annotated[Phases | None, typer.Option(help="ED and ES from the volume curve, or those given; default the "
                                                  "curve where whole cycles were drawn.")] = None,
    subjects: Subjects = None,
    out: Annotated[Path | None, typer.Option(help="Folder for measures.tsv; default the observer's.")] = None,
):
    """Volumes, ejection fraction and mass from an observer's masks: a table, and measures.tsv."""
    from cmrlib.cli import shown
    from cmrlib.cli.observers import laid_over, measured
    from cmrlib.cohort import Observer
    from cmrlib.measures import Conventions

    conventions = Conventions(papillary, basal_rule, summation)
    hearts, name, folder = laid_over(cohort, observer)
    table, counted = measured(hearts, name, conventions, phases, _words(subjects))
    Observer(out or folder).write_measures(table)
    shown.measures(table, f"{name} · {conventions} · ED and ES: {counted}")
    typer.echo(f"all measures: {(out or folder) / 'measures.tsv'}")


@app.command()
def finetune(
    run: Annotated[Path, typer.Argument(metavar="RUN", help=RUN)],
    cohort: Annotated[Path, typer.Option(help="A cohort of your own labelled cases, 5 to 20 or more.")],
    observer: Annotated[str, typer.Option(metavar="NAME_OR_FOLDER", help="Whose masks to learn from.")] = "manual",
    epochs: Annotated[int, typer.Option(min=1)] = 20,
    seed: int = 1,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the cross-validation; never more than subjects.")] = 5,
    learning_rate: float = 5e-4,
    copies: Annotated[int, typer.Option(min=1, help="Turned copies of a slice that are averaged in the test.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Folder for weights and tables; default COHORT-finetuned.")] = None,
    threads: Threads = 2,
):
    """Fine-tune a network on your own labelled cases; before and after on subjects that it did not learn from."""
    from cmrlib.cli import shown
    from cmrlib.cli.finetuning import Recipe, finetune
    from cmrlib.cli.observers import beside, laid_over
    from cmrlib.cli.segmenting import load_weights_of

    hearts, name, _ = laid_over(cohort, observer)
    folder = out or beside(cohort, "finetuned")
    recipe = Recipe(epochs, seed, folds, learning_rate, copies, threads)
    shown.before_after(finetune(hearts, name, load_weights_of(run), folder, recipe))
    typer.echo(f"weights, tables and both observers: {folder}; use them with `cmr segment COHORT --weights {folder}`")


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(help="A run's folder, a whole profile's, or one table.")],
    run_b: Annotated[Path, typer.Argument(help="What to compare it with.")],
    rtol: Annotated[float, typer.Option(min=0, help="Relative tolerance of floating-point numbers.")] = 1e-5,
):
    """Compare two runs' tables: text and integers identical, floats within a tolerance; exit code 1 where they differ.

    Columns named `seconds` are left out: no clock repeats.
    """
    from cmrlib.cli.comparing import compare_runs

    differences, n_tables = compare_runs(run_a, run_b, rtol)
    for line in differences[:10]:
        typer.echo(line)
    if differences:
        typer.echo(f"{len(differences)} differences in {n_tables} tables" + ("; the first 10 are shown" if
                   len(differences) > 10 else ""))
        raise typer.Exit(1)
    typer.echo(f"{n_tables} tables agree (floats within {rtol:g} relative)")
