"""The command's frame: errors that become one line, and what commands share."""

import errno
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


Folder = Annotated[Path, typer.Argument(metavar="COHORT", help="A cohort's folder.")]
Subjects = Annotated[list[str] | None, typer.Option(help="Participants (repeat, or separate by commas); default all.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; default one a core.")]
Threads = Annotated[int, typer.Option(min=1, help="Processor threads; never taken from the machine.")]
RUN = "A segmentation run's folder, its folder of weights, one weights file, or shipped."
SHIPPED = Path("shipped")


def trained(weights: Path, notebook: str) -> Path:
    """Where the weights are that a command was told to use; `shipped`: those that travel with the package."""
    if weights != SHIPPED:
        return weights
    folder = Path(__file__).parents[1] / "shipped"
    typer.echo(f"networks that travel with the package, trained on phantoms alone: how much they err stands in {folder}"
               "/CARDS.md", err=True)
    return folder / notebook


def words(given):
    """Values of an option that may be repeated or hold commas, None where there are none."""
    return [word for part in given or [] for word in part.split(",") if word] or None
