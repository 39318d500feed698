"""Commands that judge hearts; the work is done in `classifying`, imported when it is asked for."""

from pathlib import Path
from typing import Annotated

import typer

from cmrlib.cli.app import Folder, Subjects, Threads, app, words


@app.command()
def classify(
    cohort: Folder,
    weights: Annotated[Path, typer.Option(metavar="RUN", help="A run of 05_cussp, its folder of weights, or one "
                                          "weights file.")],
    observer: Annotated[str, typer.Option(metavar="NAME_OR_FOLDER", help="Whose masks say where the heart is.")],
    out: Annotated[Path | None, typer.Option(help="Folder for scores.csv; default COHORT-scores/NETWORK.")] = None,
    subjects: Subjects = None,
    threads: Threads = 2,
):
    """A probability for every cine, such as that of mitral regurgitation: scores.csv. Research only, no diagnosis."""
    from cmrlib.cli import shown
    from cmrlib.cli.classifying import classify, load_classifier
    from cmrlib.cli.observers import beside, laid_over
    from cmrlib.training import set_threads_and_seed

    set_threads_and_seed(0, threads)  # nothing is drawn at random
    classifier = load_classifier(weights)
    hearts, name, _ = laid_over(cohort, observer)
    folder = out or beside(cohort, "scores") / classifier.name.lower()
    table = classify(hearts, name, classifier, folder, words(subjects))
    text = table.assign(score=table["score"].map("{:.3f}".format), threshold=table["threshold"].map("{:.3f}".format))
    shown.show(text.drop(columns=["session", "view"]).head(shown.MOST), f"{classifier.name} · masks of {name}")
    typer.echo(f"{int(table['score'].notna().sum())} of {len(table)} cines judged, "
               f"{int(table['positive'].sum())} positive: {folder / 'scores.csv'}")
