"""Commands that let trained networks look, and measure what they saw; heavy imports stand inside them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cmrlib.app.cli.app import REAL, RUN, SETS, Folder, Subjects, Threads, app, credited, trained, words


class Phases(StrEnum):
    curve = "curve"
    given = "given"


@app.command()
def segment(
    cohort: Folder,
    weights: Annotated[str, typer.Option(metavar="RUN", help=RUN)] = REAL,
    out: Annotated[Path | None, typer.Option(help="The observer's folder; default COHORT-observers/OBSERVER.")] = None,
    observer: Annotated[str, typer.Option(help="Name of the new observer.")] = "ternausnet",
    copies: Annotated[int, typer.Option(min=1, help="Turned (above 3: and scaled) copies that are averaged.")] = 3,
    subjects: Subjects = None,
    threads: Threads = 2,
):
    """Segment a cohort with trained networks; what these weights segmented before is not done again."""
    from cmrlib.app.cli.observers import observer_folder
    from cmrlib.app.cli.segmenting import load_weights_of, segment_rest
    from cmrlib.cohort import Cohort
    from cmrlib.learning.training import set_threads_and_seed

    set_threads_and_seed(0, threads)  # nothing is drawn at random
    folder = out or observer_folder(cohort, observer)
    table, new = segment_rest(
        Cohort.open(cohort), load_weights_of(credited(weights, "01_segmentation")), folder, words(subjects), copies
    )
    typer.echo(f"{new} cines segmented now, {len(table) - new} before: masks and segmented.csv are in {folder}")


@app.command()
def frames(
    cohort: Folder,
    weights: Annotated[
        str, typer.Option(metavar="RUN", help=f"A run of 03_tempreg, its folder of weights, one weights file, {SETS}.")
    ] = REAL,
    out: Annotated[Path | None, typer.Option(help="The observer's folder; default COHORT-observers/OBSERVER.")] = None,
    observer: Annotated[str, typer.Option(help="Name of the new observer.")] = "tempreg",
    subjects: Subjects = None,
    threads: Threads = 2,
):
    """Find ED and ES of every cine with TempReg-Net: an observer, and frames.csv with a row a slice."""
    from cmrlib.app.cli import finding
    from cmrlib.app.cli.observers import observer_folder
    from cmrlib.cohort import Cohort
    from cmrlib.learning.training import set_threads_and_seed

    set_threads_and_seed(0, threads)  # nothing is drawn at random
    folder = out or observer_folder(cohort, observer)
    table, skipped = finding.find(Cohort.open(cohort), trained(weights, "03_tempreg"), folder, words(subjects))
    typer.echo(
        f"ED and ES of {table['cine'].nunique()} cines"
        + (f" ({skipped} of fewer than 8 frames left out)" if skipped else "")
        + f": frames.csv is in {folder}"
    )


@app.command()
def valve(
    cohort: Folder,
    weights: Annotated[
        str, typer.Option(metavar="RUN", help=f"A run of 04_mvnet, its folder of weights, {SETS}.")
    ] = REAL,
    out: Annotated[Path | None, typer.Option(help="The observer's folder; default COHORT-observers/OBSERVER.")] = None,
    observer: Annotated[str, typer.Option(help="Name of the new observer.")] = "mvnet",
    smooth_ms: Annotated[float | None, typer.Option(min=0, help="Smoothing; default as the run chose it.")] = None,
    subjects: Subjects = None,
    threads: Threads = 2,
):
    """Track the mitral valve in 2CH and 4CH cines: points, MAPSE, s', e', a'."""
    from cmrlib.app.cli import shown
    from cmrlib.app.cli.observers import observer_folder
    from cmrlib.app.cli.valves import track
    from cmrlib.cohort import Cohort
    from cmrlib.learning.training import set_threads_and_seed

    set_threads_and_seed(0, threads)  # nothing is drawn at random
    folder = out or observer_folder(cohort, observer)
    table, new = track(Cohort.open(cohort), trained(weights, "04_mvnet"), folder, words(subjects), smooth_ms)
    names = ["participant_id", "views", "mapse_mm", "sprime_cm_s", "eprime_cm_s", "aprime_cm_s", "flags"]
    shown.show(table[names].head(shown.MOST), "mitral valve")
    typer.echo(f"{new} cines tracked now; points, valve_motion.csv and valve_metrics.csv are in {folder}")


@app.command()
def measure(
    cohort: Folder,
    observer: Annotated[
        str,
        typer.Option(
            metavar="NAME_OR_FOLDER",
            help="Whose masks: an observer that came with the cohort, one that `cmr segment` made, or a folder.",
        ),
    ],
    papillary: Annotated[str, typer.Option(help="Papillary muscles: as drawn, or in cavity.")] = "as drawn",
    basal_rule: Annotated[str, typer.Option(help="Basal slices: all slices, no remnant, or half ring.")] = "all slices",
    summation: Annotated[str, typer.Option(help="discs or trapezoid.")] = "discs",
    phases: Annotated[
        Phases | None,
        typer.Option(
            help="ED and ES from the volume curve, or those given; default the curve where whole cycles were drawn."
        ),
    ] = None,
    subjects: Subjects = None,
    out: Annotated[Path | None, typer.Option(help="Folder for measures.tsv; default the observer's.")] = None,
    against: Annotated[
        str,
        typer.Option(
            metavar="NAME_OR_FOLDER",
            help="Another observer, measured in the same way: what changed, also as changes.csv.",
        ),
    ] = "",
):
    """Volumes, ejection fraction and mass from an observer's masks: a table, and measures.tsv."""
    from cmrlib.app.cli import shown
    from cmrlib.app.cli.observers import changed, laid_over, measured
    from cmrlib.cohort import Observer
    from cmrlib.measures import Conventions
    from cmrlib.measures.features import single_frames

    conventions = Conventions(papillary, basal_rule, summation)
    hearts, name, folder = laid_over(cohort, observer)
    table, counted = measured(hearts, name, conventions, phases, words(subjects))
    Observer(out or folder).write_measures(table)
    shown.measures(table, f"{name} · {conventions} · ED and ES: {counted}")
    for flag, why in (("es_unknown", "ES is"), ("ed_unknown", "ED is"), ("ed_es_unknown", "ED and ES are")):
        if n := sum(flag in flags.split(";") for flags in table["flags"]):
            typer.echo(f"no ejection fraction of {n} of {len(table)}: {why} unknown")
    if len(alone := single_frames(hearts, name, conventions, words(subjects))):
        shown.show(
            alone.drop(columns="session").head(shown.MOST),
            "one frame, and nothing says whether it is ED or ES (cmr ingest --phase): its volumes",
        )
    typer.echo(f"all measures: {(out or folder) / 'measures.tsv'}")
    if against:
        moved = changed(cohort, against, table, conventions, phases, (out or folder) / "changes.csv")
        shown.show(moved.drop(columns="session").head(shown.MOST), f"{name} against {against}")
        typer.echo(f"what changed: {(out or folder) / 'changes.csv'}")


@app.command()
def correct(
    cohort: Folder,
    observer: Annotated[str, typer.Option(metavar="NAME_OR_FOLDER", help="Whose masks to start from.")],
    name: Annotated[str, typer.Option(help="Name of the new observer.")] = "corrected",
    subjects: Subjects = None,
    out: Annotated[Path | None, typer.Option(help="Its folder; default COHORT-observers/NAME.")] = None,
):
    """Lay masks out for ITK-SNAP or 3D Slicer, to be edited in place; what was corrected before stays."""
    from cmrlib.app.cli.correcting import lay_out
    from cmrlib.app.cli.observers import laid_over, observer_folder

    hearts, start, _ = laid_over(cohort, observer)
    table = lay_out(hearts, start, out or observer_folder(cohort, name), words(subjects))
    for row in table.itertuples():
        typer.echo(f"itksnap -g {row.image} -s {row.mask}" + ("  # kept as it is" if row.state == "kept" else ""))
    typer.echo(
        f"{len(table)} masks to correct and to save under their own names; then: cmr measure {cohort} "
        f"--observer {out or name} --against {observer}"
    )


@app.command()
def finetune(
    run: Annotated[str, typer.Argument(metavar="RUN", help=RUN)],
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
    from cmrlib.app.cli import shown
    from cmrlib.app.cli.finetuning import Recipe, finetune
    from cmrlib.app.cli.observers import beside, laid_over
    from cmrlib.app.cli.segmenting import load_weights_of

    hearts, name, _ = laid_over(cohort, observer)
    folder = out or beside(cohort, "finetuned")
    recipe = Recipe(epochs, seed, folds, learning_rate, copies, threads)
    shown.before_after(finetune(hearts, name, load_weights_of(credited(run, "01_segmentation")), folder, recipe))
    typer.echo(f"weights, tables and both observers: {folder}; use them with `cmr segment COHORT --weights {folder}`")


@app.command()
def report(
    study: Annotated[
        Path | None, typer.Argument(help="A folder of DICOM of one person, or a cohort of one; only read.")
    ] = None,
    sample: Annotated[
        bool,
        typer.Option(
            "--sample",
            help="In place of STUDY the real examination that travels with the repository, samples/patient1.",
        ),
    ] = False,
    out: Annotated[Path, typer.Option("-o", "--out", help="The page; what it says stands as JSON beside it.")] = Path(
        "report.html"
    ),
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUNS",
            help=f"A profile's runs, runs/PROFILE, {SETS}; default real. May be repeated: each network "
            "comes from the first that has it.",
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="The page's heading; no name of a patient belongs there.")] = "",
    sex: Annotated[str, typer.Option(help="M or F, for the reference ranges; default as the headers say.")] = "",
    age: Annotated[float | None, typer.Option(min=0, help="Years; likewise.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep cohort and observers in this folder.")] = None,
    threads: Threads = 2,
):
    """One study on one page: what was found, moving pictures, measures with ranges and the models' errors."""
    from cmrlib.datasets import sample as sample_folder
    from cmrlib.learning.training import set_threads_and_seed
    from cmrlib.report import make_report

    if (study is None) != sample:
        raise ValueError(
            "a report is about one study: name its folder, or give --sample for the one that travels with "
            f"the repository; got {'both' if sample else 'neither'}"
        )
    set_threads_and_seed(0, threads)  # nothing is drawn at random
    title = title or ("A real heart (biv-me, Apache-2.0)" if sample else "Cardiac MRI")
    sets = [credited(one) for one in weights or [REAL]]
    said = make_report(sample_folder() if sample else study, out, sets, keep, title, sex, age)
    known = sum(row["value"] == row["value"] for row in said["measures"])
    typer.echo(f"{known} measures in {said['seconds']:.0f} s: {out}")
    for missing in said["missing"]:
        typer.echo(f"missing: {missing}")
