"""A study on Slurm against one process here: the same tables, whoever is killed, runs out of memory or goes down.

Slurm runs on the loopback interface (slurm.py); 200 subjects in 8 shards take minutes. SLURM_SUBJECTS=24 for fewer.
"""

import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from hearts import small_networks, write_heart
from repositories import ROOT, repository
from slurm import Cluster, absent

from cmrlib.app.cli.comparing import compare_runs
from cmrlib.app.cli.stages import run_stage
from cmrlib.app.sharding import merge_shards, plan_shards
from cmrlib.cohort import Cohort

SUBJECTS, SHARDS = int(os.environ.get("SLURM_SUBJECTS", 200)), 8
MISSING = absent() or (
    ""
    if find_spec("snakemake_executor_plugin_slurm")
    else "no snakemake-executor-plugin-slurm here: pip install -e .[cluster]"
)
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)
QUICK = "\nslurm-init-seconds-before-status-checks: 3\nlatency-wait: 20\n"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("slurm")) as started:
        yield started


def study_repository(folder, source, subjects_a_shard, stages, settings=None, more=""):
    for name in ("weights", "encoder", "copies", "precision") if settings else ():
        more += f", {name}: {settings[name]}"
    repository(
        folder,
        {},
        {
            "quick": f"study: {{kind: nifti, source: {source}, subjects_a_shard: {subjects_a_shard}, "
            f"stages: [{', '.join(stages)}]{more}}}"
        },
        needs={},
    )
    shutil.copytree(ROOT / "profiles" / "slurm", folder / "profiles" / "slurm", dirs_exist_ok=True)
    config = folder / "profiles" / "slurm" / "config.v9+.yaml"
    config.write_text(config.read_text().replace("latency-wait: 60", "# latency-wait: below") + QUICK)
    return folder


def started(root, cluster):
    command = [sys.executable, "-m", "cmrlib.app.runs", "all", "--cluster", "slurm"]
    log = (root / "said.txt").open("w")
    return subprocess.Popen(command, cwd=root, env=cluster.env | {"CMR_ROOT": str(root)}, stdout=log, stderr=log)


def hearts(folder, n):
    for k in range(n):
        write_heart(folder, f"S{k:03d}", k)
    return folder


def waited(process, condition, root, seconds=1800):
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < until, (root / "said.txt").read_text()[-3000:]
        time.sleep(0.2)


def test_a_study_on_slurm_has_the_tables_of_one_process(cluster, tmp_path):
    """One job is killed and one node goes down with its jobs: both are done again elsewhere, and nothing is lost."""
    source, stages = hearts(tmp_path / "source", SUBJECTS), ["ingest", "segment", "measure", "features"]
    models = small_networks(tmp_path / "models")
    root = study_repository(tmp_path / "cluster", source, -(-SUBJECTS // SHARDS), stages, models)
    process = started(root, cluster)
    waited(process, cluster.running, root)
    killed = next(iter(cluster.running()))
    cluster.tell("scancel", "--signal=KILL", "--full", killed)
    waited(process, lambda: "node2" in cluster.running().values(), root)
    assert cluster.node_down("node2")
    assert process.poll() is None
    cluster.node_up("node2")
    cluster.tell("scontrol", "update", "NodeName=node2", "State=RESUME")
    assert process.wait(7200) == 0, (root / "said.txt").read_text()[-3000:]

    local = tmp_path / "local"
    plan_shards("nifti", source, local, SUBJECTS)
    for stage in stages:
        run_stage(stage, local / "shards" / "0000", models)
    merge_shards(local)
    study = root / "runs" / "quick" / "study"
    assert len(list((study / "shards").iterdir())) == SHARDS
    differences, n_tables = compare_runs(study, local)
    assert n_tables == 3 and not differences
    assert Cohort.open(study / "cohort").check()["state"].eq("ok").sum() == SUBJECTS
    assert "Trying to restart" in (root / "said.txt").read_text()


def test_want_of_memory_is_retried_then_named_and_the_others_are_kept(cluster, tmp_path):
    source = hearts(tmp_path / "source", 4)
    root = study_repository(tmp_path / "r", source, 2, ["ingest", "measure"], more=", mem_mb: {measure: 40}")
    process = started(root, cluster)
    assert process.wait(3600) != 0
    said, study = (root / "said.txt").read_text(), root / "runs" / "quick" / "study"
    assert "measure of shard 0000 failed (2 subjects, S000 to S001)" in said
    assert "measure of shard 0001 failed (2 subjects, S002 to S003)" in said and "ingest of" not in said
    assert said.count("Trying to restart") >= 2
    kept = {path: path.stat().st_mtime_ns for path in study.glob("shards/*/ingest.json")}
    assert len(kept) == 2 and not (study / "merged.json").exists()
    study_repository(root, source, 2, ["ingest", "measure"])  # with memory enough
    assert started(root, cluster).wait(3600) == 0, (root / "said.txt").read_text()[-3000:]
    assert {path: path.stat().st_mtime_ns for path in study.glob("shards/*/ingest.json")} == kept


@pytest.mark.skipif(not os.environ.get("SLURM_SMOKE"), reason="minutes: SLURM_SMOKE=1 runs every notebook on Slurm")
def test_smoke_on_slurm_has_the_tables_of_smoke_here(cluster, tmp_path):
    words = [sys.executable, "-m", "cmrlib.app.runs", "all", "--profile", "smoke", "--runs"]
    for where, more in (("here", ["--cores", "2"]), ("slurm", ["--cluster", "slurm"])):
        done = subprocess.run(
            [*words, str(tmp_path / where), *more], env=cluster.env, cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    differences, n_tables = compare_runs(tmp_path / "slurm" / "smoke", tmp_path / "here" / "smoke")
    assert n_tables > 20 and not differences
    assert Path(tmp_path / "slurm" / "smoke" / "index.html").exists()
