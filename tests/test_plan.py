"""Costs of a large study by hand, from made-up jobs of a small one."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from cmrlib.cohort.sharding import Shard

SPEC = importlib.util.spec_from_file_location("plan", Path(__file__).parents[1] / "benchmarks" / "plan.py")
SPEC.loader.exec_module(benchmark := importlib.util.module_from_spec(SPEC))


def test_costs_by_hand():
    jobs = [("ingest", 2, 20.0, 500, 20.0), ("ingest", 1, 12.0, 400, 10.0), ("segment", 2, 60.0, 500, 1.0)]
    jobs = pd.DataFrame(jobs, columns=["stage", "subjects", "cpu_seconds", "peak_mb", "disk_mb"])
    table = benchmark.plan(jobs, 1000, 100, nodes=2, cores=4, memory_gb=2).set_index("stage")
    ingest = table.loc["ingest"]
    assert ingest["jobs"] == 10 and ingest["cpu_s_subject"] == pytest.approx(8)  # 20 = 4 + 2 × 8, 12 = 4 + 8
    assert ingest["cpu_hours"] == pytest.approx((1000 * 8 + 10 * 4) / 3600) == pytest.approx(ingest["cpu_hours_high"])
    assert ingest["job_mb"] == 800 and ingest["disk_gb"] == pytest.approx(10)
    # 2 GB hold two jobs of 800 MB: four at once, three rounds of (100 × 8 + 4) s
    assert ingest["wall_hours"] == pytest.approx(3 * 804 / 3600)
    assert table.loc["segment", "cpu_s_subject"] == 30
    total = table.loc["all, one after another"]
    assert total["cpu_hours"] == pytest.approx(table["cpu_hours"].iloc[:2].sum()) and total["jobs"] == 20


def test_costs_come_from_snakemakes_benchmarks(tmp_path):
    with pytest.raises(ValueError, match="no finished job"):
        benchmark.read_jobs(tmp_path)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "participants.tsv").write_text("participant_id\na\nb\nc\n")
    for k in range(2):
        (tmp_path / "benchmarks" / f"ingest_{k}.tsv").write_text("s\tmax_rss\tcpu_time\n9\t250.5\t3.5\n")
    jobs = benchmark.read_jobs(tmp_path)
    assert jobs["subjects"].tolist() == [sum(one in Shard(k, 2) for one in "abc") for k in range(2)]
    assert jobs["cpu_seconds"].tolist() == [3.5, 3.5] and jobs["peak_mb"].tolist() == [250.5, 250.5]
