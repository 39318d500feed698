"""Attacks on files, archives and cohorts, and others that once were silently wrong, hung or named nothing;
benchmarks/hostile.py has all of them."""

import subprocess
import sys
from pathlib import Path

import pytest

HOSTILE = Path(__file__).parents[1] / "benchmarks" / "hostile.py"
ONCE_MET_BADLY = "|".join(
    [
        *("^slice", "two_", "unknown_syntax", "^zeros_behind", "^copy_", "recycle", "people_", "trigger_in_", "^rr_"),
        *("all_zero", "^ed_", "^info_", "label_map", "volumes_", "^masks_(all|without)", "link_table", "no_area"),
        *("contour_inv", "^card_", "weights_of", "there_twice", "_of_text$", "^mask_(of_halves|mirrored)", "own_table"),
        *(
            "no_preamble",
            "rows_0",
            "65535",
            "no_zip",
            "jpeg_",
            "gzip_",
            "^voxels_",
            "height_1e308",
            "age_of",
            "html_for",
        ),
    ]
)


@pytest.mark.parametrize(
    "words", [("--families", "files,archives,cohorts"), ("--only", ONCE_MET_BADLY)], ids=["families", "once"]
)
def test_attacks_are_met(words):
    done = subprocess.run([sys.executable, "-W", "ignore", HOSTILE, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.splitlines()[-1].endswith("silently_wrong=0 tracebacks=0 hangs=0 lost=0 outside=0")
