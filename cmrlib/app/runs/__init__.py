"""Runs: one execution of one notebook with one set of parameters, kept in one folder with its manifest.

In a notebook:           `run = runs.start("01_segmentation", globals())` … `run.finish(metrics)`
From Python and tests:   `runs.execute("01_segmentation", "smoke")`
From a shell:            `python -m cmrlib.app.runs execute 01_segmentation --profile smoke`

parameters.py says what a notebook may be told, run.py is the object inside the notebook, execution.py the process
around it, sources.py finds out which code a notebook depends on.
"""

from cmrlib.app.runs.execution import NotebookFailed, execute
from cmrlib.app.runs.parameters import ROOT, UsageError, load_profile, resolve
from cmrlib.app.runs.run import Run, start
from cmrlib.app.runs.sources import code_digest

__all__ = [
    "ROOT", "NotebookFailed", "Run", "UsageError", "code_digest", "execute", "load_profile", "resolve", "start",
]  # fmt: skip
