"""Commands of networks that look at whole hearts; their heavy imports stand inside, as in `cmrlib.cli`."""

from pathlib import Path
from typing import Annotated

import typer


def embed(
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="A cohort's folder.")],
    weights: Annotated[Path, typer.Option(metavar="RUN", help="A run of 08_heartmae_predict (its pooling counts) or "
                                          "07_heartmae_pretrain (mean over views), or a folder of weights.")],
    out: Annotated[Path | None, typer.Option(help="Folder for embeddings.csv; default COHORT-embeddings.")] = None,
    variant: Annotated[str, typer.Option(help="plain, mask95, tube or flow; default flow where it is.")] = "",
    part: Annotated[str, typer.Option(metavar="K/N", help="Every N-th shard from the K-th on (from 0), "
                                      "the others on other machines.")] = "0/1",
    subjects: Annotated[list[str] | None, typer.Option(help="Participants (repeat, or by commas).")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads; never taken from the machine.")] = 2,
):
    """Embeddings of HeartMAE: one row a subject in embeddings.csv; what was made before is found again."""
    from cmrlib.cli import embedding
    from cmrlib.cli.observers import beside
    from cmrlib.cohort import Cohort
    from cmrlib.training import set_threads_and_seed

    set_threads_and_seed(0, threads)  # nothing is drawn at random
    people = [word for given in subjects or [] for word in given.split(",") if word] or None
    folder = out or beside(cohort, "embeddings")
    table, made, missing = embedding.embed(Cohort.open(cohort), weights, folder, people, variant,
                                           embedding.parse_part(part))
    typer.echo(f"{made} shards made now; " + (f"{missing} are still missing" if table is None else
               f"{len(table)} subjects × {table.shape[1] - 1} numbers: {folder / 'embeddings.csv'}"))
