"""Notebooks executed: by papermill one at a time, by Snakemake together; killed, broken, refused, resumed.

Each case starts real processes; a repository of tiny notebooks keeps them short.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from repositories import ROOT, repository, write_notebook

from cmrlib.app.runs import UsageError
from cmrlib.app.runs.execution import Echo, locked, where_jobs_run

FIRST = """
import time
for epoch in range(2):
    print("epoch", epoch)
    time.sleep(slow_s)
run.table(pd.DataFrame({"x": [seed, 0.1], "hash": hash("sub-001")}), "numbers")
"""
FINISH = 'run.finish({"n": 2})'
SECOND = """
table = pd.read_csv(run.sibling("00_a") / "tables" / "numbers.csv")
run.table(table * factors[0], "numbers")
"""


def cmr_runs(root, *words):
    """`python -m cmrlib.app.runs …` in this repository, as a started process."""
    env = os.environ | {"CMR_ROOT": str(root)}
    command = [sys.executable, "-m", "cmrlib.app.runs", *words]
    return subprocess.Popen(command, env=env, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(root, *words):
    """Exit status and everything on the terminal."""
    process = cmr_runs(root, *words)
    out, err = process.communicate(timeout=900)
    return process.returncode, out + err


def tables(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.glob("runs/quick/*/tables/*"))}


def moments(root):
    return {path.parent.name: path.stat().st_mtime_ns for path in root.glob("runs/quick/*/manifest.json")}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two notebooks, the second after the first, and the path of a run that nothing disturbed."""
    folder = repository(
        tmp_path_factory.mktemp("repository"),
        {
            "00_a": ['profile = "interactive"\nseed = 0\nslow_s = 0.0', FIRST, FINISH],
            "01_b": ['profile = "interactive"\nfactors = [2]', SECOND, FINISH],
        },
        {"quick": "common: {seed: 3}\nafter: [first]", "first": "record: true\nnotebooks: [00_a]"},
        needs={"00_a": [], "01_b": ["00_a"]},
    )
    status, said = finished(folder, "all")
    assert status == 0, said
    (folder / "said.txt").write_text(said)
    return folder


def test_all_notebooks_ran_in_order_and_said_so(root):
    said = (root / "said.txt").read_text()
    assert said.index("profile first: ") < said.index("profile quick: "), "it runs before the one that reads it"
    said = said[said.index("profile quick: ") :]
    assert said.index("[00_a] epoch 1") < said.index("[00_a] done in") < said.index("[01_b]")
    for name in ("00_a", "01_b"):
        left = sorted(path.name for path in (root / "runs/quick" / name).iterdir() if path.name[0] != ".")
        assert left == ["executed.ipynb", "manifest.json", "page.html", "tables"]
    manifest = json.loads((root / "runs/quick/00_a/manifest.json").read_text())
    assert manifest["parameters"] == {"profile": "quick", "seed": 3, "slow_s": 0.0}
    assert manifest["metrics"] == {"n": 2}
    waiting = (root / "runs/first/unrecorded.jsonl").read_text().splitlines()
    assert [json.loads(line)["notebook"] for line in waiting] == ["00_a"] and not (root / "figures").exists()


def test_a_second_run_does_nothing_and_a_changed_parameter_what_it_touches(root):
    before = moments(root)
    status, said = finished(root, "all")
    assert (status, moments(root)) == (0, before), said
    (root / "profiles" / "quick.yaml").write_text(
        "common: {seed: 3}\n01_b: {factors: [3, 4]}\nparts: {01_b: [factors]}"
    )
    try:
        status, said = finished(root, "all")
        after = moments(root)
        assert status == 0 and after["00_a"] == before["00_a"] and after["01_b"] != before["01_b"], said
        for name, factors in (("01_b", [3, 4]), ("01_b@3", [3]), ("01_b@4", [4])):
            manifest = json.loads((root / "runs/quick" / name / "manifest.json").read_text())
            assert manifest["parameters"]["factors"] == factors and after[name] <= after["01_b"]
        assert "01_b@" not in (root / "runs/quick/index.html").read_text()
    finally:
        (root / "profiles" / "quick.yaml").write_text("common: {seed: 3}")


def test_killed_and_started_again_gives_the_tables_of_an_undisturbed_run(root, tmp_path):
    undisturbed = tables(root)["runs/quick/00_a/tables/numbers.csv"]
    again = repository(tmp_path, profiles={"quick": "common: {seed: 3}\n00_a: {slow_s: 60}"}, needs={"00_a": []})
    write_notebook(again, "00_a", 'profile = "interactive"\nseed = 0\nslow_s = 0.0', FIRST, FINISH)
    process = cmr_runs(again, "all", "--follow")
    while "epoch 0" not in (line := process.stdout.readline()):
        assert line, process.stderr.read()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)  # the notebook's own process held these pipes: it has gone, too
    assert not (again / "runs/quick/00_a/manifest.json").exists()
    (again / "profiles" / "quick.yaml").write_text("common: {seed: 3}")
    status, said = finished(again, "all", "--follow")
    assert status == 0, said
    assert tables(again) == {"runs/quick/00_a/tables/numbers.csv": undisturbed}


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_what_ends_make_alone_ends_snakemake_and_kernels(tmp_path, name):
    code = 'import os, time\nprint("kernel", os.getpid())\ntime.sleep(600)'
    root = repository(tmp_path, {"00_a": ['profile = "interactive"\nseed = 0', code, FINISH]}, needs={"00_a": []})
    (tmp_path / "ready").touch()
    words = ["make", "-f", ROOT / "Makefile", "run", f"PY={sys.executable}", f"READY={tmp_path / 'ready'}"]
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it
    given = {"cwd": ROOT, "preexec_fn": heed, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    env = os.environ | {"CMR_ROOT": str(root), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(words, env=env, **given)
    while not (said := re.search(r"kernel (\d+)", line := process.stdout.readline())):
        assert line
    process.send_signal(getattr(signal, name))
    process.communicate(timeout=60)  # whoever could write here has gone
    until, kernel = time.monotonic() + 60, Path(f"/proc/{said[1]}/stat")
    while kernel.exists() and kernel.read_text().rsplit(")", 1)[1].split()[0] != "Z":
        assert time.monotonic() < until, "its kernel lives on"
        time.sleep(0.1)


FAILING = {
    "an error": ('raise ValueError("no heart in sub-007")', "ValueError: no heart in sub-007"),
    "a dead kernel": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "its kernel died"),
    "no finish": ("seed", "ended without run.finish"),
}


@pytest.mark.parametrize("case", FAILING)
def test_a_failing_notebook_is_named_and_kept(tmp_path, case):
    code, message = FAILING[case]
    root = repository(tmp_path, {"00_a": ['profile = "interactive"\nseed = 0', code]})
    status, said = finished(root, "execute", "00_a")
    assert status == 1
    assert "error: 00_a failed" in said and message in said and str(root / "runs/quick/00_a/failed.ipynb") in said
    left = sorted(path.name for path in (root / "runs/quick/00_a").iterdir() if path.name[0] != ".")
    assert left == ["failed.ipynb"]
    assert message.split(": ")[-1] in (root / "runs/quick/00_a/failed.ipynb").read_text()


def test_refusals_come_before_anything_runs(tmp_path):
    root = repository(tmp_path, {"00_a": ['profile = "interactive"\nseed = 0']})
    (tmp_path / "file").write_text("")
    for words, message in [
        (["00_a", "-p", "sead=1"], "unknown parameter 'sead'. Did you mean 'seed'"),
        (["00_a", "-p", "seed=one"], "seed must be int"),
        (["00_b"], "unknown notebook '00_b'. Did you mean '00_a'"),
        (["00_a", "--profile", "quik"], "unknown profile 'quik'. Did you mean 'quick'"),
        (["00_a", "--runs", str(tmp_path / "file")], "cannot write to"),
    ]:
        status, said = finished(root, "execute", *words)
        assert status == 1 and message in said and "Traceback" not in said
    assert not (root / "runs").exists()


def test_a_second_run_of_the_same_folder_is_refused_and_the_lock_ends_with_its_process(tmp_path):
    with locked(tmp_path), pytest.raises(UsageError, match=f"in use by process {os.getpid()}"), locked(tmp_path, 0):
        pass
    code = "import sys, pathlib, cmrlib.app.runs.execution as e\nwith e.locked(pathlib.Path(sys.argv[1])): input()"
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE)
    while not (tmp_path / ".lock").read_text().endswith(str(holder.pid)):
        time.sleep(0.05)
    with pytest.raises(UsageError, match=f"in use by process {holder.pid}"), locked(tmp_path, 0):
        pass
    holder.kill()
    holder.wait()
    with locked(tmp_path, 0):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())


def test_a_cluster_without_accounts_is_asked_by_squeue(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "--slurm-status-command" in where_jobs_run("slurm")  # no sacct at all
    program = tmp_path / "sacct"
    for code in (0, 1):
        program.write_text(f"#!/bin/sh\nexit {code}\n")
        program.chmod(0o755)
        assert ("--slurm-status-command" in where_jobs_run("slurm")) == bool(code)
    assert "squeue" not in where_jobs_run("kubernetes")
    with pytest.raises(UsageError, match="slrum.*slurm"):
        where_jobs_run("slrum")


def test_echo_prefixes_lines_and_shows_a_bars_last_state(capsys):
    echo = Echo("01_b")
    for text in ("epo", "ch 1\nepoch 2\r\n", "10%\r50%\r100%\n", "\n", "rest"):
        echo.write(text)
    echo.cell(3, 9, "Training")
    said = [line.removeprefix("[01_b] ") for line in capsys.readouterr().out.splitlines()]
    assert said == ["epoch 1", "epoch 2", "100%", "rest", "0:00 · cell 3 of 9 · Training"]
