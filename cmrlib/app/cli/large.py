"""`cmr study`: a cohort too large for one job, in shards; the Snakefile calls these commands, and so may anybody."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cmrlib.app.cli.app import app

study = typer.Typer(no_args_is_help=True, help="A large cohort in shards of subjects: plan, run, merge.")
app.add_typer(study, name="study")


@study.command()
def plan(
    kind: Annotated[str, typer.Argument(help="Layout of the source, as for ingest, or phantom.")],
    src: Annotated[str, typer.Argument(help="The source's folder; it is only read. For phantom a word.")],
    folder: Annotated[Path, typer.Argument(metavar="STUDY", help="The study's folder.")],
    subjects_a_shard: Annotated[int, typer.Option(min=1)] = 100,
    options: Annotated[str, typer.Option(metavar="JSON", help="Of the reader.")] = "{}",
):
    """Deal subjects into shards; called again, only who is new or changed comes into new shards."""
    from cmrlib.app.sharding import plan_shards

    table = plan_shards(kind, src, folder, subjects_a_shard, json.loads(options))
    typer.echo(f"{len(table)} subjects in {table['shard'].nunique()} shards: {folder / 'plan.tsv'}")


@study.command()
def run(
    stage: Annotated[str, typer.Argument(help="ingest, segment, measure, flow, features or pages.")],
    shard: Annotated[Path, typer.Argument(help="STUDY/shards/0000.")],
    settings: Annotated[str, typer.Option(metavar="JSON", help="Of the stage; default as in profiles.")] = "{}",
    follow: Annotated[bool, typer.Option("--follow", help="End when the calling process ends.")] = False,
):
    """One stage of one shard; what was done before is not done again."""
    from cmrlib.app.cli.stages import run_stage
    from cmrlib.app.runs.execution import follow_parent
    from cmrlib.app.runs.parameters import STUDY

    if follow:
        follow_parent()
    done = run_stage(stage, shard, STUDY | json.loads(settings))
    typer.echo(
        f"[{shard.name} {stage}] {done['subjects']} subjects, {done['made']} made now, {done['seconds']} s, "
        f"{done['peak_mb']} MB"
    )


@study.command()
def merge(folder: Annotated[Path, typer.Argument(metavar="STUDY", help="The study's folder.")]):
    """All shards as one cohort with its observers and tables; nothing is copied but tables."""
    from cmrlib.app.sharding import merge_shards
    from cmrlib.cohort.files import write_json

    merged = merge_shards(folder)
    write_json(merged, folder / "merged.json")
    typer.echo(f"{merged['subjects']} subjects of {merged['shards']} shards: cohort, observers and tables in {folder}")
