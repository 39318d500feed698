"""Commands that judge and describe whole hearts; heavy imports stand inside them."""

from pathlib import Path
from typing import Annotated

import typer

from cmrlib.app.cli.app import Folder, ShardOf, Subjects, Threads, app, chosen, words


@app.command()
def classify(
    cohort: Folder,
    weights: Annotated[
        Path, typer.Option(metavar="RUN", help="A run of 05_cussp, its folder of weights, or one weights file.")
    ],
    observer: Annotated[str, typer.Option(metavar="NAME_OR_FOLDER", help="Whose masks say where the heart is.")],
    out: Annotated[Path | None, typer.Option(help="Folder for scores.csv; default COHORT-scores/NETWORK.")] = None,
    subjects: Subjects = None,
    threads: Threads = 2,
):
    """A probability for every cine, such as that of mitral regurgitation: scores.csv. Research only, no diagnosis."""
    from cmrlib.app.cli import shown
    from cmrlib.app.cli.classifying import classify
    from cmrlib.app.cli.observers import beside, laid_over
    from cmrlib.learning.training import set_threads_and_seed
    from cmrlib.report.classifiers import load_classifier

    set_threads_and_seed(0, threads)  # nothing is drawn at random
    classifier = load_classifier(weights)
    hearts, name, _ = laid_over(cohort, observer)
    folder = out or beside(cohort, "scores") / classifier.name.lower()
    table = classify(hearts, name, classifier, folder, words(subjects))
    text = table.assign(score=table["score"].map("{:.3f}".format), threshold=table["threshold"].map("{:.3f}".format))
    shown.show(text.drop(columns=["session", "view"]).head(shown.MOST), f"{classifier.name} · masks of {name}")
    typer.echo(
        f"{int(table['score'].notna().sum())} of {len(table)} cines judged, "
        f"{int(table['positive'].sum())} positive: {folder / 'scores.csv'}"
    )


@app.command()
def embed(
    cohort: Folder,
    weights: Annotated[
        Path,
        typer.Option(
            metavar="RUN",
            help="A run of 08_heartmae_predict (its pooling counts) or "
            "07_heartmae_pretrain (mean over views), or a folder of weights.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for embeddings.csv; default COHORT-embeddings. Every shard needs its own."),
    ] = None,
    variant: Annotated[str, typer.Option(help="plain, mask95, tube or flow; default flow where it is.")] = "",
    subjects: Subjects = None,
    shard: ShardOf = "",
    threads: Threads = 2,
):
    """Embeddings of HeartMAE: one row a subject in embeddings.csv; what was made before is found again."""
    from cmrlib.app.cli import embedding
    from cmrlib.app.cli.observers import beside
    from cmrlib.cohort import Cohort
    from cmrlib.learning.training import set_threads_and_seed

    set_threads_and_seed(0, threads)  # nothing is drawn at random
    if shard and out is None:
        raise ValueError("a shard's embeddings need a folder of their own: --out")
    folder, hearts = out or beside(cohort, "embeddings"), Cohort.open(cohort)
    people = chosen(subjects, shard, hearts.cines["participant_id"])
    table = embedding.embed(hearts, weights, folder, people, variant)
    typer.echo(f"{len(table)} subjects × {table.shape[1] - 1} numbers: {folder / 'embeddings.csv'}")
