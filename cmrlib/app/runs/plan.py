"""What a study of any size will cost, from what a small one of the same settings did: stamps of its stages' jobs.

A job's cost is its start (imports; once a job) and its work (a subject's, times its subjects). The spread is that of
the small study's shards: the cheapest and the dearest of them, a subject. Nothing is assumed but that subjects of the
large study are like those of the small one, and that a core of the cluster is as fast as one of this machine.
"""

import math
from pathlib import Path

import pandas as pd

from cmrlib.app.runs.parameters import STUDY, UsageError
from cmrlib.cohort.files import read_json

MARGIN = 1.5
"""Memory to ask for, over the highest peak that was seen."""


def stamps(study) -> pd.DataFrame:
    """A row a job of a finished study: what `cmr study run` left of it. Raises UsageError where there is none."""
    rows = [read_json(path) for path in sorted(Path(study).glob("shards/*/*.json")) if path.stem in STUDY["stages"]]
    rows = [row for row in rows if row["made"] and row["subjects"]]
    if not rows:
        raise UsageError(f"{study} holds no finished job to take costs from; run its profile first")
    return pd.DataFrame(rows)


def plan(jobs: pd.DataFrame, size: int, shard: int, nodes: int, cores: int, memory_gb: float) -> pd.DataFrame:
    """A row a stage and one for all: jobs, cpu_s_subject with its lowest and highest shard, cpu_hours likewise,
    gpu_hours, job_mb (to ask for), disk_gb, wall_hours on nodes × cores with memory_gb each.

    jobs: of `stamps`. shard: subjects a job. cpu_hours hold the start of every job; gpu_hours is NaN where no job had a
    card. Raises UsageError for sizes below 1.
    """
    if min(size, shard, nodes, cores) < 1 or memory_gb <= 0:
        raise UsageError(f"expected sizes of 1 or more, got {size} subjects, {shard} a shard, {nodes} × {cores} cores")
    rows, n_jobs = [], math.ceil(size / shard)
    for stage in [name for name in STUDY["stages"] if name in set(jobs["stage"])]:
        own = jobs[jobs["stage"] == stage]
        each = own["cpu_seconds"] / own["subjects"]
        mean, low, high = own["cpu_seconds"].sum() / own["subjects"].sum(), each.min(), each.max()
        start = own["startup_seconds"].mean() * n_jobs
        hours = [(size * seconds + start) / 3600 for seconds in (mean, low, high)]
        # peaks hold the imports and the largest subject, so they do not grow with the shard
        job_mb = math.ceil(MARGIN * own["peak_mb"].max() / 100) * 100
        at_once = nodes * max(1, min(cores, int(memory_gb * 1000 // job_mb)))
        longest = math.ceil(n_jobs / min(at_once, n_jobs)) * (shard * mean + start / n_jobs) / 3600
        gpu = own["gpu_seconds"].sum() / own["subjects"].sum() * size / 3600 if own["gpu_seconds"].any() else math.nan
        rows.append(
            {
                "stage": stage,
                "jobs": n_jobs,
                "cpu_s_subject": mean,
                "cpu_s_subject_low": low,
                "cpu_s_subject_high": high,
                "cpu_hours": hours[0],
                "cpu_hours_low": hours[1],
                "cpu_hours_high": hours[2],
                "gpu_hours": gpu,
                "job_mb": job_mb,
                "disk_gb": own["disk_mb"].sum() / own["subjects"].sum() * size / 1000,
                "wall_hours": longest,
            }
        )
    table = pd.DataFrame(rows)
    added = [name for name in table.columns if name not in ("stage", "job_mb")]
    total = dict(table[added].sum(min_count=1))
    total |= {"stage": "all, one after another", "job_mb": table["job_mb"].max()}
    return pd.concat([table, pd.DataFrame([total])], ignore_index=True)


def text(table: pd.DataFrame) -> str:
    """The plan as people read it; n/a is what was not measured."""
    shown = pd.DataFrame({"stage": table["stage"], "jobs": table["jobs"].map("{:.0f}".format)})
    for name, unit, form in (("cpu_s_subject", "CPU s a subject", "{:.2f}"), ("cpu_hours", "CPU hours", "{:.0f}")):
        shown[f"{unit} (range of shards)"] = [
            f"{form.format(row[name])} ({form.format(row[f'{name}_low'])} to {form.format(row[f'{name}_high'])})"
            for row in table.to_dict("records")
        ]
    for name, unit, form in (
        ("gpu_hours", "GPU hours", "{:.0f}"),
        ("job_mb", "MB a job", "{:.0f}"),
        ("disk_gb", "disk GB", "{:.0f}"),
        ("wall_hours", "wall hours", "{:.1f}"),
    ):
        shown[unit] = ["n/a" if math.isnan(value) else form.format(value) for value in table[name]]
    return shown.to_string(index=False)
