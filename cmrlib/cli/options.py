"""Options that several commands share; light, for the command line's help comes at once."""

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Argument(metavar="COHORT", help="A cohort's folder.")]
Subjects = Annotated[list[str] | None, typer.Option(help="Participants (repeat, or separate by commas); default all.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; default one a core.")]
Threads = Annotated[int, typer.Option(min=1, help="Processor threads; never taken from the machine.")]
RUN = "A segmentation run's folder, its folder of weights, or one weights file."


def words(given):
    """Values of an option that may be repeated or hold commas, None where there are none."""
    return [word for part in given or [] for word in part.split(",") if word] or None
