"""`python -m cmrlib.cli` is `cmr`, for jobs that name their interpreter."""

from cmrlib.cli import app

app()
