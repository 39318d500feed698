"""Costs of a large study by hand, from made-up jobs of a small one."""

import importlib.util
import math
from pathlib import Path

import pandas as pd
import pytest

from cmrlib.cohort.files import write_json

SPEC = importlib.util.spec_from_file_location("plan", Path(__file__).parents[1] / "benchmarks" / "plan.py")
SPEC.loader.exec_module(benchmark := importlib.util.module_from_spec(SPEC))


def job(stage, subjects, cpu, **more):
    costs = {"cpu_seconds": cpu, "startup_seconds": 4.0, "gpu_seconds": 0.0, "peak_mb": 500, "disk_mb": 10.0 * subjects}
    return {"stage": stage, "subjects": subjects, "made": subjects} | costs | more


def test_costs_by_hand():
    jobs = pd.DataFrame([job("ingest", 2, 20.0), job("ingest", 1, 4.0), job("segment", 2, 60.0, gpu_seconds=6.0)])
    table = benchmark.plan(jobs, 1000, 100, nodes=2, cores=4, memory_gb=2).set_index("stage")
    ingest = table.loc["ingest"]
    assert ingest["jobs"] == 10 and ingest["cpu_s_subject"] == 8  # 24 s for three subjects
    assert (ingest["cpu_s_subject_low"], ingest["cpu_s_subject_high"]) == (4, 10)
    assert ingest["cpu_hours"] == pytest.approx((1000 * 8 + 10 * 4) / 3600)
    assert ingest["cpu_hours_high"] == pytest.approx((1000 * 10 + 10 * 4) / 3600)
    assert ingest["job_mb"] == 800 and ingest["disk_gb"] == pytest.approx(10)
    # 2 GB hold two jobs of 800 MB: four at once, three rounds of (100 × 8 + 4) s
    assert ingest["wall_hours"] == pytest.approx(3 * 804 / 3600)
    assert math.isnan(ingest["gpu_hours"])
    assert table.loc["segment", "gpu_hours"] == pytest.approx(3 * 1000 / 3600)
    total = table.loc["all, one after another"]
    assert total["cpu_hours"] == pytest.approx(table["cpu_hours"].iloc[:2].sum()) and total["jobs"] == 20


def test_costs_come_from_jobs_that_did_something(tmp_path):
    with pytest.raises(ValueError, match="no finished job"):
        benchmark.read_jobs(tmp_path)
    write_json(job("ingest", 2, 1.0), tmp_path / "shards/0000/ingest.json")
    write_json(job("segment", 2, 1.0, made=0), tmp_path / "shards/0000/segment.json")  # its result was there before
    assert benchmark.read_jobs(tmp_path)["stage"].tolist() == ["ingest"]
