"""Costs of a large study by hand, from made-up jobs of a small one."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from cmrlib.cohort.sharding import Shard

SPEC = importlib.util.spec_from_file_location("plan", Path(__file__).parents[1] / "benchmarks" / "plan.py")
SPEC.loader.exec_module(benchmark := importlib.util.module_from_spec(SPEC))


def test_costs_by_hand():
    jobs = [("ingest", 2, 20.0), ("ingest", 1, 12.0), ("ingest", 0, 4.0), ("segment", 2, 60.0)]
    jobs = pd.DataFrame(jobs, columns=["stage", "subjects", "cpu_s"]).assign(peak_mb=500)
    table = benchmark.plan(jobs, 1000, 100, nodes=2, cores=4, memory_gb=2).set_index("stage")
    ingest = table.loc["ingest"]
    assert ingest["jobs"] == 10 and ingest["job_mb"] == 800
    assert [ingest["start_s"], ingest["cpu_s"], ingest["low"], ingest["high"]] == pytest.approx([4, 8, 8, 8])
    assert ingest["cpu_hours"] == pytest.approx((1000 * 8 + 10 * 4) / 3600)
    # 2 GB hold two jobs of 800 MB: four at once, three rounds of (100 × 8 + 4) s
    assert ingest["wall_hours"] == pytest.approx(3 * 804 / 3600)
    total = table.loc["all, one after another"]
    assert total["cpu_hours"] == pytest.approx(table["cpu_hours"].iloc[:2].sum()) and total["jobs"] == 20


def test_jobs_are_snakemakes_benchmarks_and_know_their_subjects(tmp_path):
    with pytest.raises(ValueError, match="no finished job"):
        benchmark.read_jobs(tmp_path, ["P0001"])
    (tmp_path / "benchmarks").mkdir()
    for k in range(2):
        text = f"s\th:m:s\tmax_rss\tcpu_time\n9.0\t0:00:09\t{400 + k}\t{7.5 + k}\n"
        (tmp_path / "benchmarks" / f"ingest_{k}.tsv").write_text(text)
    people = [f"P{k:04d}" for k in range(1, 9)]
    jobs = benchmark.read_jobs(tmp_path, people)
    assert jobs["stage"].tolist() == ["ingest"] * 2 and jobs["cpu_s"].tolist() == [7.5, 8.5]
    assert jobs["subjects"].tolist() == [sum(p in Shard(k, 2) for p in people) for k in range(2)]
    assert jobs["subjects"].sum() == 8
