"""Attacks on every command: what is refused, flagged, listed or read right, and what is silently wrong.

    python benchmarks/hostile.py [--families dicom,nifti] [--only WORD] [--workers 2] [--table hostile.csv]

benchmarks/attacks holds the attacks, a module a family. The last line counts them, and what may not come out: silently
wrong; tracebacks; hangs (a minute, or 2.8 GB); lost (a source changed, or a cine gone without a word); outside (written
elsewhere than asked); identifiers.
"""

import argparse
import os
import re
import sys
import tempfile
from collections import Counter
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a fork must not need threads of its parent

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parent / "tests")]

import pandas as pd  # noqa: E402
from attacks import OUTCOMES, rows_untouched, run  # noqa: E402
from attacks.bases import bases, prepare  # noqa: E402
from tqdm import tqdm  # noqa: E402

FAMILIES = sorted(path.stem for path in (HERE / "attacks").glob("*.py") if path.stem not in ("__init__", "bases"))


def _untouched(key):
    base, command = key
    return key, rows_untouched(bases()[base], command)


def _attacked(job):
    family, number, untouched = job
    attack = import_module(f"attacks.{family}").ATTACKS[number]
    row = {"family": family} | run(attack, bases()[attack.base], untouched)
    if row["outcome"] in OUTCOMES:
        tqdm.write(f"{row['outcome']}: {family}: {row['name']}: {row['why']}")
    return row


def attacked(families, only: str, workers: int) -> pd.DataFrame:
    """A row an attack: family, name, base, outcome, why. Each has a process of its own, forked from this one."""
    chosen = [
        (family, number, attack)
        for family in families
        for number, attack in enumerate(import_module(f"attacks.{family}").ATTACKS)
        if re.search(only, attack.name)
    ]

    def key(attack):
        return attack.base, attack.like or attack.command or bases()[attack.base].command

    keys = list(dict.fromkeys(key(attack) for *_, attack in chosen))
    for base in {base for base, _ in keys}:
        prepare(bases()[base])
    with get_context("fork").Pool(workers, maxtasksperchild=1) as pool:
        untouched = dict(pool.imap(_untouched, keys, chunksize=1))
        jobs = [(family, number, untouched[key(attack)]) for family, number, attack in chosen]
        done = tqdm(pool.imap(_attacked, jobs, chunksize=1), total=len(jobs), unit="attack", mininterval=10)
        return pd.DataFrame(list(done))


def report(table: pd.DataFrame, path=None):
    """Print counts a family, and the last line."""
    if path:
        table.to_csv(path, index=False)
    print(f"\n{pd.crosstab(table['family'], table['outcome'])}\n")
    n = Counter(table["outcome"])
    print(f"met={len(table) - sum(n[one] for one in OUTCOMES)} unclear={n['unclear']} identifiers={n['identifier']}")
    print(
        f"attacks={len(table)} silently_wrong={n['silently wrong']} tracebacks={n['traceback']} hangs={n['hang']} "
        f"lost={n['lost']} outside={n['outside']}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=",".join(FAMILIES), help="of " + ", ".join(FAMILIES))
    parser.add_argument("--only", default="", help="a regular expression that attacks' names hold")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--table", help="CSV file for the whole table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="attacks-") as folder:
        os.environ["ATTACKS_FOLDER"] = folder
        table = attacked(arguments.families.split(","), arguments.only, arguments.workers)
    report(table, arguments.table)
    sys.exit(int(table["outcome"].isin(OUTCOMES).any()))


if __name__ == "__main__":
    main()
