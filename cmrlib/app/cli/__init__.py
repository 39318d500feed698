"""cmr: the library from a shell, for any cohort and without a notebook. `cmr COMMAND --help` tells the options.

Heavy imports stand inside the commands, so that help comes at once. What whoever called can mend (a wrong name, a
missing file, a full disk) is one line and exit code 2; `check` and `compare` end with 1 when they find something.
"""

from cmrlib.app.cli import data, exporting, measuring, predict, reporting, tuning  # noqa: F401  give the app its commands
from cmrlib.app.cli.app import app

__all__ = ["app"]
