"""Commands that apply and fine-tune trained networks."""

from pathlib import Path
from typing import Annotated

import typer

from cmrlib.app.cli.app import (
    REAL,
    RUN,
    SETS,
    Folder,
    ShardOf,
    Subjects,
    Threads,
    app,
    chosen,
    credited,
    trained,
    words,
)


@app.command()
def segment(
    cohort: Folder,
    weights: Annotated[str, typer.Option(metavar="RUN", help=RUN)] = REAL,
    out: Annotated[Path | None, typer.Option(help="The observer's folder; default COHORT-observers/OBSERVER.")] = None,
    observer: Annotated[str, typer.Option(help="Name of the new observer.")] = "ternausnet",
    copies: Annotated[int, typer.Option(min=1, help="Turned (above 3: and scaled) copies that are averaged.")] = 3,
    subjects: Subjects = None,
    shard: ShardOf = "",
    threads: Threads = 2,
):
    """Segment a cohort with trained networks; what these weights segmented before is not done again.

    With --shard no table is written; a call without it, after all shards, writes segmented.csv.
    """
    from cmrlib.app.cli.observers import observer_folder
    from cmrlib.app.cli.segmenting import load_weights_of, segment_rest
    from cmrlib.cohort import Cohort
    from cmrlib.learning.training import set_threads_and_seed

    set_threads_and_seed(0, threads)  # nothing is drawn at random
    folder = out or observer_folder(cohort, observer)
    hearts, networks = Cohort.open(cohort), load_weights_of(credited(weights, "01_segmentation"))
    people = chosen(subjects, shard, hearts.cines.loc[hearts.cines["view"].isin(networks), "participant_id"])
    table, new = segment_rest(hearts, networks, folder, people, copies, write_table=not shard)
    made = "masks" if shard else "masks and segmented.csv"
    typer.echo(f"{new} cines segmented now, {len(table) - new} before: {made} are in {folder}")


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
