"""Seconds and highest memory of the commands that a reader tries first, each in a process of its own.

    python benchmarks/commands.py [--cohort FOLDER]

--cohort: what `cmr segment` and `cmr measure` take, default the sample, ingested before. Bars: 15 s for the sample's
page on two quiet cores, 2 GB for every command.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohort", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cohort, masks = given.cohort or Path(folder) / "cohort", Path(folder) / "masks"
        commands = [["report", "--sample", "--out", f"{folder}/sample.html"]]
        commands += [] if given.cohort else [["ingest", "dicom", ROOT / "samples" / "patient1", cohort]]
        commands += [["segment", cohort, "--out", masks], ["measure", cohort, "--observer", masks, "--out", folder]]
        taken = {words[0]: seconds_and_mb(words) for words in commands}
    for name, (seconds, mb) in taken.items():
        print(f"cmr {name}: {seconds:.1f} s, {mb:.0f} MB")
    print(f"report_seconds={taken['report'][0]:.1f} peak_mb={max(mb for _, mb in taken.values()):.0f}")


def seconds_and_mb(words) -> tuple[float, float]:
    """Of one `cmr` command. Raises CalledProcessError where it fails."""
    start, command = time.monotonic(), [sys.executable, "-m", "cmrlib.app.cli", *map(str, words)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), command)
    return time.monotonic() - start, used.ru_maxrss / 1e3


if __name__ == "__main__":
    main()
