"""Attacks of benchmarks/attacks that take seconds: nothing is silently wrong, lost, or written elsewhere."""

import subprocess
import sys
from pathlib import Path

import pytest

HOSTILE = Path(__file__).parents[1] / "benchmarks" / "hostile.py"


@pytest.mark.parametrize("families", ["dicom", "files,nifti"])
def test_attacks_are_met(families):
    command = [sys.executable, "-W", "ignore", HOSTILE, "--families", families]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.splitlines()[-1].endswith("silently_wrong=0 tracebacks=0 hangs=0 lost=0 outside=0")
