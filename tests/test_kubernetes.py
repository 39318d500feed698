"""The scripts of profiles/kubernetes, and notebooks through them, with a `kubectl` that runs jobs on this machine."""

import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
import yaml
from repositories import ROOT, repository

from cmrlib.cohort.files import read_json

SCRIPTS = ROOT / "profiles" / "kubernetes"


@pytest.fixture
def env(tmp_path):
    """An environment whose kubectl is ours."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kubectl").write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/tests/kubectl "$@"\n')
    (tmp_path / "bin" / "kubectl").chmod(0o755)
    (tmp_path / "state").mkdir()
    return os.environ | {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "KUBECTL_STATE": str(tmp_path / "state"),
        "CMR_DATA_DIR": "/data of people",
    }


def said(env, name, *words):
    done = subprocess.run([SCRIPTS / name, *words], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def ended(env, name):
    while (state := said(env, "status", name)) == "running":
        time.sleep(0.1)
    return state


@pytest.mark.parametrize("code", [0, 3])
def test_a_job_is_made_asked_about_and_taken_away(env, tmp_path, code):
    script = tmp_path / "a job.sh"
    script.write_text(f'echo "$CMR_DATA_DIR" > {tmp_path}/seen\nexit {code}\n')
    name = said(env, "submit", "2", "4000", str(script))
    assert ended(env, name) == ("failed" if code else "success")
    assert (tmp_path / "seen").read_text() == "/data of people\n"
    container = yaml.safe_load((tmp_path / "state" / f"{name}.yaml").read_text())["spec"]["template"]["spec"]
    (container,) = container["containers"]
    assert container["resources"] == {"requests": {"cpu": "2", "memory": "4000M"}, "limits": {"memory": "4000M"}}
    said(env, "cancel", name, "never-was")
    assert said(env, "status", name) == "failed"


def test_a_cluster_that_does_not_answer_is_asked_again(env, tmp_path):
    (tmp_path / "bin" / "kubectl").write_text("#!/bin/sh\nexit 1\n")
    assert said(env, "status", "cmr-1") == "running"


@pytest.mark.skipif(
    not find_spec("snakemake_executor_plugin_cluster_generic"),
    reason="no snakemake-executor-plugin-cluster-generic here: pip install -e .[cluster]",
)
def test_notebooks_run_in_pods(env, tmp_path):
    root = tmp_path / "repository"
    root.mkdir()
    cells = ['profile = "interactive"\nseed = 0', "run.finish({'n': int(run.notebook[:2])})"]
    repository(root, {"00_a": cells, "01_b": cells}, needs={"00_a": [], "01_b": ["00_a"]})
    shutil.copytree(SCRIPTS, root / "profiles" / "kubernetes")
    command = [sys.executable, "-m", "cmrlib.app.runs", "all", "--cluster", "kubernetes"]
    done = subprocess.run(
        command, cwd=root, env=env | {"CMR_ROOT": str(root)}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    manifests = [read_json(root / "runs" / "quick" / name / "manifest.json") for name in ("00_a", "01_b")]
    assert [manifest["metrics"]["n"] for manifest in manifests] == [0, 1]
    assert len(list((tmp_path / "state").glob("*.end"))) >= 2
