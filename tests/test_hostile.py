"""Attacks that once were silently wrong, hung or named nothing; benchmarks/hostile.py has all of them."""

import subprocess
import sys
from pathlib import Path

HOSTILE = Path(__file__).parents[1] / "benchmarks" / "hostile.py"
ONCE_MET_BADLY = "|".join(
    [
        *("^slice", "two_names", "unknown_syntax", "^zeros_behind", "newline", "40_GB", "^copy_", "recycle", "people_"),
        *("all_zero", "^ed_", "label_map", "volumes_", "^masks_(all|without)", "link_table", "no_area", "contour_inv"),
        *("empty_zip", "tar_damaged", "^card_", "weights_of", "there_twice", "_of_text$", "^mask_(of_halves|mirrored)"),
        "own_table",
    ]
)


def test_attacks_are_met():
    command = [sys.executable, "-W", "ignore", HOSTILE, "--only", ONCE_MET_BADLY]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.splitlines()[-1].endswith("silently_wrong=0 tracebacks=0 hangs=0 lost=0 outside=0")
