"""`cmr finetune`; heavy imports stand inside it."""

from pathlib import Path
from typing import Annotated

import typer

from cmrlib.app.cli.app import RUN, TTA, Threads, app, credited, near
from cmrlib.learning.weightsets import N_TTA


@app.command()
def finetune(
    run: Annotated[str, typer.Argument(metavar="RUN", help=RUN)],
    cohort: Annotated[Path, typer.Option(help="A cohort of your own labelled cases, 5 to 20 or more.")],
    observer: Annotated[str, typer.Option(metavar="NAME_OR_FOLDER", help="Whose masks to learn from.")] = "manual",
    epochs: Annotated[int, typer.Option(min=1)] = 20,
    seed: int = 1,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the cross-validation; never more than subjects.")] = 5,
    learning_rate: float = 5e-4,
    n_tta: Annotated[int, typer.Option(min=1, help=TTA)] = N_TTA,
    out: Annotated[Path | None, typer.Option(help="Folder for weights and tables; default COHORT-finetuned.")] = None,
    threads: Threads = 2,
):
    """Fine-tune a network on your own labelled cases; before and after on subjects that it did not learn from."""
    from cmrlib.app.cli import shown
    from cmrlib.app.cli.finetuning import Recipe, finetune
    from cmrlib.app.cli.observers import beside, laid_over
    from cmrlib.app.cli.predicting import load_segmenters

    hearts, name, _ = laid_over(cohort, observer)
    folder = out or beside(cohort, "finetuned")
    recipe = Recipe(epochs, seed, folds, learning_rate, n_tta, threads)
    shown.before_after(finetune(hearts, name, load_segmenters(credited(run, "01_segmentation")), folder, recipe))
    typer.echo(
        near(f"weights, tables and both observers: {folder}; use them with `cmr segment COHORT --weights {folder}`")
    )
