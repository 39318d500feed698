"""What a large study will cost, from the jobs of a small one with the same settings.

    python benchmarks/plan.py --size 65000 [--nodes 10 --cores 32 --memory-gb 128 --shard 100] [--profile NAME]

The default profile is run first, on DICOM files of eight full-size phantoms; of another one the finished run is read.
A job's cost is its start (imports; once a job) and its work (a subject's, times its subjects). The range is that of the
small study's shards. Assumed: subjects of the large study are like those of the small one, and the cluster's cores are
as fast as this machine's. Neither training nor GPU time is in it.
"""

import argparse
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from cmrlib.app.runs.parameters import STUDY
from cmrlib.cohort.files import read_tsv
from cmrlib.cohort.sharding import Shard

ROOT = Path(__file__).parents[1]
MARGIN = 1.5
"""Memory to ask for, over the highest peak that was seen."""
FOLDERS = {
    "ingest": "cohort",
    "segment": "observers",
    "measure": "measures",
    "embed": "embeddings",
    "report": "pages",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="plan", help="of the small study (default plan, which is run first)")
    parser.add_argument("--size", type=int, default=65000, help="subjects")
    for name, default in (("shard", 100), ("nodes", 10), ("cores", 32), ("memory-gb", 128)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    if given.profile == "plan":
        run_small_study()
    jobs = read_jobs(ROOT / "runs" / given.profile / "study")
    table = plan(jobs, given.size, given.shard, given.nodes, given.cores, given.memory_gb)
    print(table.round({"cpu_s_subject": 2, "wall_hours": 1}).round(1).to_string(index=False, na_rep="n/a"))


def run_small_study():
    """Run the profile `plan`, after writing its DICOM files into runs/plan-source."""
    sys.path.append(str(ROOT / "tests"))
    from corpus import build, write_source

    from cmrlib.phantom import make_orders, make_study

    source = ROOT / "runs" / "plan-source"
    if not source.exists():
        orders = make_orders(8, frames=50, size=208, spacing_mm=1.8)
        write_source(source, (build(make_study(label, order), 1) for label, order in orders.items()), "dicom")
    words = ["-m", "cmrlib.app.runs", "all", "--profile", "plan", "--cores", "1", "--follow"]
    subprocess.run([sys.executable, *words], env=os.environ | {"CMR_DATA_DIR": str(ROOT / "runs")}, check=True)


def read_jobs(study) -> pd.DataFrame:
    """One row per job of a finished study from Snakemake's benchmark files: stage, subjects, cpu_seconds, peak_mb, and
    disk_mb, the job's part of what its stage left. Raises ValueError where there is none."""
    study = Path(study)
    files = [path.stem.rpartition("_") for path in sorted((study / "benchmarks").glob("*.tsv"))]
    if not files:
        raise ValueError(f"{study} holds no finished job to take costs from; run its profile first")
    n = 1 + max(int(shard) for *_, shard in files)
    people = read_tsv(study / "cohort" / "participants.tsv")["participant_id"]
    rows = []
    for stage, _, shard in files:
        measured = pd.read_csv(study / "benchmarks" / f"{stage}_{shard}.tsv", sep="\t", na_values="NA").iloc[0]
        subjects = sum(one in Shard(int(shard), n) for one in people)
        disk_mb = sum(path.stat().st_size for path in (study / FOLDERS[stage]).rglob("*") if path.is_file()) / 1e6
        costs = {"cpu_seconds": measured["cpu_time"], "peak_mb": measured["max_rss"], "disk_mb": disk_mb / n}
        rows.append({"stage": stage, "subjects": subjects} | costs)
    return pd.DataFrame(rows)


def plan(jobs: pd.DataFrame, size: int, shard: int, nodes: int, cores: int, memory_gb: float) -> pd.DataFrame:
    """One row per stage and one for all: jobs, cpu_s_subject with its lowest and highest shard, cpu_hours likewise,
    job_mb (to ask for), disk_gb, wall_hours on nodes × cores with memory_gb each.

    jobs: of `read_jobs`. shard: subjects per job. A job's start is the intercept of its seconds over its subjects,
    where shards differ in size; cpu_hours include it once per job.
    """
    rows, n_jobs = [], math.ceil(size / shard)
    for stage in [name for name in STUDY["stages"] if name in set(jobs["stage"])]:
        own = jobs[jobs["stage"] == stage]
        n, seconds = own["subjects"].to_numpy(float), own["cpu_seconds"].to_numpy(float)
        start = max(0.0, np.polyfit(n, seconds, 1)[1]) if np.ptp(n) else 0.0
        each = np.maximum(seconds - start, 0)[n > 0] / n[n > 0]
        row = {"stage": stage, "jobs": n_jobs}
        for end, cost in (("", np.average(each, weights=n[n > 0])), ("_low", each.min()), ("_high", each.max())):
            row |= {f"cpu_s_subject{end}": cost, f"cpu_hours{end}": (size * cost + start * n_jobs) / 3600}
        # peaks include the imports and the largest subject, so they do not grow with the shard
        row["job_mb"] = math.ceil(MARGIN * own["peak_mb"].max() / 100) * 100
        at_once = min(nodes * max(1, min(cores, int(memory_gb * 1000 // row["job_mb"]))), n_jobs)
        row["wall_hours"] = math.ceil(n_jobs / at_once) * (shard * row["cpu_s_subject"] + start) / 3600
        row["disk_gb"] = own["disk_mb"].sum() / n.sum() * size / 1000
        rows.append(row)
    table = pd.DataFrame(rows)
    total = table.drop(columns=["stage", "job_mb"]).sum(min_count=1)
    total = dict(total) | {"stage": "all, one after another", "job_mb": table["job_mb"].max()}
    return pd.concat([table, pd.DataFrame([total])], ignore_index=True)


if __name__ == "__main__":
    main()
