"""What a large study will cost, from the jobs of a small one with the same settings.

    python benchmarks/plan.py --size 65000 [--nodes 10 --cores 32 --memory-gb 128 --shard 100] [--profile NAME]
    python benchmarks/plan.py --subjects 200 --jobs 2   # from DICOM to tables and pages: measured= is the point then

The default profile is run first, on DICOM files of eight full-size phantoms; of another one the finished run is read.
Last come what was measured: seconds on the clock (0 where the run was only read), processor seconds, the highest peak.
A job's CPU time is a line over its number of subjects: its start (imports) and the work for each subject; the range is
that of single shards. Assumed: subjects of the large study are like those of the small one, and the cluster's cores are
as fast as this machine's. Training and GPU time are not in it.
"""

import argparse
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from cmrlib.cohort.sharding import Shard

ROOT = Path(__file__).parents[1]
MARGIN = 1.5
"""Memory to ask for, over the highest peak that was seen."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="plan", help="of the small study (default plan, which is run first)")
    parser.add_argument("--size", type=int, default=65000, help="subjects")
    for name, default in (("shard", 100), ("nodes", 10), ("cores", 32), ("memory-gb", 128)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--subjects", type=int, default=8, help="of the small study, where this program makes it")
    parser.add_argument("--jobs", type=int, default=1, help="of the small study at once")
    given = parser.parse_args()
    wall_s = run_small_study(given.subjects, given.jobs) if given.profile == "plan" else 0
    study = ROOT / "runs" / given.profile / "study"
    subjects = pd.read_csv(study / "cohort" / "participants.tsv", sep="\t", dtype=str)["participant_id"]
    jobs = read_jobs(study, subjects)
    table = plan(jobs, given.size, given.shard, given.nodes, given.cores, given.memory_gb)
    print(table.round(2).to_string(index=False, na_rep="n/a"))
    disk = sum(path.stat().st_size for path in study.rglob("*") if path.is_file()) / len(subjects)
    print(f"disk: {disk * given.size / 1e9:.0f} GB for {given.size} subjects; measured on {len(subjects)}")
    cpu_s, peak_mb = jobs["cpu_s"].sum(), jobs["peak_mb"].max()
    print(f"measured={len(subjects)} wall_s={wall_s:.0f} cpu_s={cpu_s:.0f} peak_mb={peak_mb:.0f}")


def run_small_study(subjects: int, jobs: int) -> float:
    """Seconds that the profile `plan` takes, once its DICOM files are written into runs/plan-source. Raises ValueError
    where that folder holds another number of subjects."""
    sys.path.append(str(ROOT / "tests"))
    from corpus import build, write_source

    from cmrlib.phantom import make_study, subject_specs

    source = ROOT / "runs" / "plan-source"
    if not source.exists():
        specs = subject_specs(subjects, frames=50, size=208, spacing_mm=1.8)
        write_source(source, (build(make_study(label, spec), 1) for label, spec in specs.items()))
    if (found := len(list(source.iterdir()))) != subjects:
        raise ValueError(f"{source} holds {found} subjects, expected {subjects}: delete it and runs/plan")
    words = ["-m", "cmrlib.app.runs", "all", "--profile", "plan", "--cores", str(jobs), "--follow"]
    start = time.monotonic()
    subprocess.run([sys.executable, *words], env=os.environ | {"CMR_DATA_DIR": str(ROOT / "runs")}, check=True)
    return time.monotonic() - start


def read_jobs(study, subjects) -> pd.DataFrame:
    """One row per job of a finished study: stage, subjects, cpu_s, peak_mb, of Snakemake's benchmark files.

    Raises ValueError where there is none with a subject.
    """
    files = {path: path.stem.rpartition("_") for path in sorted(Path(study).glob("benchmarks/*_*.tsv"))}
    shards = pd.Series([stage for stage, *_ in files.values()]).value_counts()
    rows = []
    for path, (stage, _, k) in files.items():
        job = pd.read_csv(path, sep="\t").iloc[0]
        n = sum(subject in Shard(int(k), int(shards[stage])) for subject in subjects)
        rows.append({"stage": stage, "subjects": n, "cpu_s": job["cpu_time"], "peak_mb": job["max_rss"]})
    if not any(row["subjects"] for row in rows):
        raise ValueError(f"{study} holds no finished job to take costs from; run its profile first")
    return pd.DataFrame(rows)


def plan(jobs: pd.DataFrame, size: int, shard: int, nodes: int, cores: int, memory_gb: float) -> pd.DataFrame:
    """One row per stage and one for all: jobs, start_s of a job, cpu_s of a subject with its lowest and highest shard,
    cpu_hours, job_mb (to ask for), wall_hours on nodes × cores with memory_gb each.

    jobs: of `read_jobs`. shard: subjects per job.
    """
    rows, n_jobs = [], math.ceil(size / shard)
    for stage, own in jobs.groupby("stage", sort=False):
        work = own[own["subjects"] > 0]
        if own["subjects"].nunique() > 1:
            cpu_s, start = np.clip(np.polyfit(own["subjects"], own["cpu_s"], 1), 0, None)
        else:
            cpu_s, start = work["cpu_s"].sum() / work["subjects"].sum(), 0.0
        each = (work["cpu_s"] - start).clip(lower=0) / work["subjects"]
        # peaks include the imports and the largest subject, so they do not grow with the shard
        job_mb = math.ceil(MARGIN * own["peak_mb"].max() / 100) * 100
        at_once = min(nodes * max(1, min(cores, int(memory_gb * 1000 // job_mb))), n_jobs)
        row = {"stage": stage, "jobs": n_jobs, "start_s": start, "cpu_s": cpu_s, "low": each.min(), "high": each.max()}
        row |= {"cpu_hours": (size * cpu_s + n_jobs * start) / 3600, "job_mb": job_mb}
        rows.append(row | {"wall_hours": math.ceil(n_jobs / at_once) * (shard * cpu_s + start) / 3600})
    table = pd.DataFrame(rows)
    total = dict(table[["jobs", "cpu_s", "cpu_hours", "wall_hours"]].sum()) | {"job_mb": table["job_mb"].max()}
    return pd.concat([table, pd.DataFrame([total | {"stage": "all, one after another"}])], ignore_index=True)


if __name__ == "__main__":
    main()
