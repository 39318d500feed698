"""A large cohort on Slurm against one process here: the same tables, whichever job is killed or runs out of memory.

Slurm runs on the loopback interface (slurm.py); 24 subjects in 4 shards take minutes.
"""

import shutil
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
from hearts import write_heart
from repositories import ROOT, repository
from slurm import Cluster, absent

from cmrlib.cohort import Cohort
from cmrlib.datasets import ingest

SUBJECTS = 24
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


def study_repository(folder, source, mem_mb=2000):
    study = (
        f"{{kind: nifti, source: {source}, shards: 4, stages: [ingest, segment, measure], weights: synthetic, n_tta: 1"
    )
    repository(folder, {}, {"quick": f"study: {study}, mem_mb: {{measure: {mem_mb}}}}}"}, needs={})
    shutil.copytree(ROOT / "profiles" / "slurm", folder / "profiles" / "slurm", dirs_exist_ok=True)
    config = folder / "profiles" / "slurm" / "config.v9+.yaml"
    config.write_text(config.read_text().replace("latency-wait: 60", "# latency-wait: below") + QUICK)
    return folder


def started(root, cluster):
    command = [sys.executable, "-m", "cmrlib.app.runs", "all", "--cluster", "slurm"]
    log = (root / "said.txt").open("w")
    return subprocess.Popen(command, cwd=root, env=cluster.env | {"CMR_ROOT": str(root)}, stdout=log, stderr=log)


def test_jobs_killed_or_out_of_memory_run_again_and_the_tables_are_those_of_one_process(cluster, tmp_path):
    for k in range(SUBJECTS):
        write_heart(tmp_path / "source", f"S{k:03d}", k)
    root = study_repository(tmp_path / "cluster", tmp_path / "source", mem_mb=40)  # too little to measure
    process = started(root, cluster)
    until = time.monotonic() + 1800
    while not cluster.running():
        assert process.poll() is None and time.monotonic() < until, (root / "said.txt").read_text()[-3000:]
        time.sleep(0.2)
    cluster.tell("scancel", "--signal=KILL", "--full", next(iter(cluster.running())))
    assert process.wait(7200) != 0
    said, study = (root / "said.txt").read_text(), root / "runs" / "quick" / "study"
    assert said.count("Trying to restart") >= 3 and "study_measure" in said
    kept = {path: path.stat().st_mtime_ns for path in study.glob("segment/*.done")}
    assert len(kept) == 4 and not (study / "measure.done").exists()

    study_repository(root, tmp_path / "source")
    assert started(root, cluster).wait(3600) == 0, (root / "said.txt").read_text()[-3000:]
    assert {path: path.stat().st_mtime_ns for path in study.glob("segment/*.done")} == kept
    whole = ingest("nifti", tmp_path / "source", tmp_path / "whole", workers=1, progress=False)
    made = Cohort.open(study / "cohort", [study / "observers" / "ternausnet"])
    assert made.cines["digest"].tolist() == whole.cines["digest"].tolist()
    assert len(made.observer("ternausnet").measures()) == SUBJECTS
