"""The plan of a large study: by hand from made-up stamps, and what is refused."""

import math

import pandas as pd
import pytest

from cmrlib.app.runs import UsageError
from cmrlib.app.runs.plan import plan, stamps, text
from cmrlib.cohort.files import write_json


def job(stage, subjects, cpu, **more):
    return {
        "stage": stage,
        "subjects": subjects,
        "made": subjects,
        "cpu_seconds": cpu,
        "startup_seconds": 4.0,
        "gpu_seconds": 0.0,
        "peak_mb": 500,
        "disk_mb": 10.0 * subjects,
    } | more


def test_costs_by_hand():
    jobs = pd.DataFrame([job("ingest", 2, 20.0), job("ingest", 1, 4.0), job("segment", 2, 60.0, gpu_seconds=6.0)])
    table = plan(jobs, 1000, 100, nodes=2, cores=4, memory_gb=2).set_index("stage")
    ingest = table.loc["ingest"]
    assert ingest["jobs"] == 10 and ingest["cpu_s_subject"] == 8  # 24 s for three people
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
    shown = text(table.reset_index())
    assert "8.00 (4.00 to 10.00)" in shown and "n/a" in shown


def test_twice_the_subjects_cost_twice():
    jobs = pd.DataFrame([job("measure", 5, 2.5), job("measure", 5, 3.0)])
    small, large = (plan(jobs, n, 100, 1, 1, 64).iloc[0] for n in (6500, 65000))
    for name in ("cpu_hours", "disk_gb", "wall_hours", "jobs"):
        assert large[name] == pytest.approx(10 * small[name]), name
    assert large["job_mb"] == small["job_mb"]


def test_costs_come_from_jobs_that_did_something(tmp_path):
    with pytest.raises(UsageError, match="no finished job"):
        stamps(tmp_path)
    write_json(job("ingest", 2, 1.0), tmp_path / "shards/0000/ingest.json")
    write_json(job("segment", 2, 1.0, made=0), tmp_path / "shards/0000/segment.json")  # found what it had made before
    assert stamps(tmp_path)["stage"].tolist() == ["ingest"]
    with pytest.raises(UsageError, match="got 0 subjects"):
        plan(stamps(tmp_path), 0, 100, 1, 1, 64)
