"""`python -m cmrlib.app.cli` is `cmr`, for jobs that name their interpreter."""

from cmrlib.app.cli import app

app()
