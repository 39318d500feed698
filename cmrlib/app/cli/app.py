"""The command's frame: errors that become one line, and what commands share."""

import errno
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

_ERRORS = (ValueError, LookupError, OSError, TypeError, AttributeError, ArithmeticError, RuntimeError, MemoryError)


def near(text) -> str:
    """A message with paths as seen from the working folder, or from home: whole ones name people and machines."""
    here, home = f"{Path.cwd()}/", f"{Path.home()}/"
    text = str(text).replace(here, "") if here != "//" else str(text)
    return text.replace(home, "~/") if home != "//" else text


class Commands(TyperGroup):
    """Errors that say what to do become one line; --debug, which may stand anywhere, shows where they came from."""

    def parse_args(self, ctx, args):
        return super().parse_args(ctx, sorted(args, key=lambda word: word != "--debug"))

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except _ERRORS as error:
            if ctx.params["debug"] or getattr(error, "errno", None) == errno.EPIPE:
                raise
            # of a KeyError, str() would be the message in quotes
            text = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
            if " " not in text or not isinstance(error, (ValueError, KeyError, OSError)):  # not written to be read
                text = f"{type(error).__name__}: {text or 'no more is known'} (--debug shows where)"
            typer.echo(near(f"error: {text}"), err=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="Cardiac MRI: any study in, measured hearts out. Research only, not a medical device.",
)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="End when the calling process ends.")] = False,
):
    if follow:
        from cmrlib.app.runs.execution import follow_parent

        follow_parent()


Folder = Annotated[Path, typer.Argument(metavar="COHORT", help="A cohort's folder.")]
Subjects = Annotated[list[str] | None, typer.Option(help="Participants (repeat, or separate by commas); default all.")]
ShardOf = Annotated[
    str, typer.Option("--shard", metavar="K/N", help="Only the K-th of N shards of subjects (K from 0), one a job.")
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; default one a core.")]
Threads = Annotated[int, typer.Option(min=1, help="Processor threads; never taken from the machine.")]
SETS = "or a set that travels with the package: real (learned from patients, research only), open or synthetic"
RUN = f"A segmentation run's folder, its folder of weights, one weights file, {SETS}."
REAL = "real"
TTA = "Passes of test-time augmentation: rotated (above 3 also scaled) and averaged."


def credited(weights: str, *notebooks: str) -> str:
    """The weights that a command was told to use; of a shipped set it says from whom they learned, and the licence."""
    from cmrlib.learning.weightsets import NOTEBOOKS, credit

    if line := credit(weights, notebooks or NOTEBOOKS):
        typer.echo(line, err=True)
    return weights


def words(given):
    """Values of an option that may be repeated or hold commas, None where there are none."""
    return [word for part in given or [] for word in part.split(",") if word] or None


def chosen(subjects, shard: str, available) -> list[str] | None:
    """Participants that --subjects and --shard select, None for all.

    available: participants with the data that the command needs; a shard without any ends the command, not in error.
    """
    from cmrlib.cohort.sharding import Shard

    named = words(subjects)
    if not shard:
        return named
    part = Shard.parse(shard)
    own = sorted({one for one in available if one in part and (named is None or one in named)})
    if not own:
        typer.echo(f"shard {shard}: no subject")
        raise typer.Exit()
    return own
