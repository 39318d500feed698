"""Execution of notebooks: one through papermill, or all of a profile through Snakemake.

Nothing is ever half there. The notebook grows as running.ipynb; only a run that came to its end gets executed.ipynb
and then manifest.json, the one file that Snakemake knows. What fails stays as failed.ipynb.
"""

import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from cmrlib.app.runs.parameters import ROOT, Profile, UsageError, load_profile, resolve, unknown

UNRECORDED = "unrecorded.jsonl"
"""In a profile's folder: manifests of evaluations that `python -m cmrlib.app.runs record` has not yet appended."""
TRACEBACK_LINES = 12  # of a failure, on the terminal
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class NotebookFailed(RuntimeError):
    """A notebook did not come to its end; the message names it, the error and the notebook kept to look at."""


def execute(
    notebook: str, profile: str, runs: Path | str = ROOT / "runs", overrides: dict | None = None, part: str = ""
) -> dict:
    """Run one notebook into RUNS/PROFILE/NOTEBOOK and return its manifest.

    part: name of a run of some trainings alone; it goes to RUNS/PROFILE/NOTEBOOK@PART, and into no record. No tracked
    file changes: what a profile records waits in RUNS/PROFILE/unrecorded.jsonl.
    Raises UsageError for a wrong parameter or a folder that cannot be written, NotebookFailed for the rest.
    """
    chosen = load_profile(profile)
    parameters = resolve(notebook, chosen, overrides)
    folder = Path(runs).resolve() / profile / (f"{notebook}@{part}" if part else notebook)
    announce_cost(chosen, folder.parent, [notebook])
    with locked(folder):
        for name in ("manifest.json", "manifest.pending.json", "executed.ipynb", "failed.ipynb"):
            (folder / name).unlink(missing_ok=True)
        echo = Echo(notebook)
        running = folder / "running.ipynb"
        try:
            _papermill(notebook, parameters, running, echo)
            manifest = json.loads((folder / "manifest.pending.json").read_text())
        except Exception as error:
            raise NotebookFailed(_keep_failed(running, error, echo)) from error
        running.replace(folder / "executed.ipynb")
        if chosen.record and not part:
            with (folder.parent / UNRECORDED).open("a") as file:
                file.write(json.dumps(manifest) + "\n")
        (folder / "manifest.pending.json").replace(folder / "manifest.json")
        echo.say(f"done in {echo.elapsed()}")
    return manifest


def announce_cost(profile: Profile, folder: Path, notebooks=()):
    """Print disk and hours (`cost` in the profile) of these notebooks that have not been run in `folder`; default: all.

    Raises UsageError where the disk has less room.
    """
    asked = [name for name in notebooks or profile.cost if name in profile.cost]
    left = {name: profile.cost[name] for name in asked if not (folder / name / "manifest.json").exists()}
    if not left:
        return
    gb, hours = (sum(column) for column in zip(*left.values()))
    free_gb = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free / 1e9
    print(f"profile {profile.name} needs about {gb:.0f} GB of disk and {hours:.0f} hours of one GPU (A100):")
    print("\n".join(f"  {name}: {one_gb:.0f} GB, {h:.0f} h" for name, (one_gb, h) in left.items()), flush=True)
    if free_gb < gb:
        raise UsageError(
            f"{folder} has room for {free_gb:.0f} GB, about {gb:.0f} GB are needed; choose another folder by --runs, "
            "or run notebooks one at a time with fewer subjects by -p"
        )


def manifests(folder: Path) -> dict[str, dict]:
    """Notebook → manifest, of all finished runs in a profile's folder."""
    found = [path for path in sorted(folder.glob("*/manifest.json")) if "@" not in path.parent.name]
    return {path.parent.name: json.loads(path.read_text()) for path in found}


def snakemake(profile: str, runs: Path, cores: int, follow: bool = False, cluster: str = "") -> int:
    """Run Snakemake, holding the lock of runs/PROFILE until it ends; its exit status.

    Snakemake and its jobs end with this process: told to end, Snakemake itself would first wait for its jobs. On a
    cluster this process becomes Snakemake, which then cancels its jobs there.

    The profiles that this one runs after are brought up to date before. cluster: name of a folder in profiles/ with
    Snakemake's own settings (slurm, kubernetes); jobs then run there. Raises NotebookFailed where an earlier profile
    did not come to its end.
    """
    chosen, python = load_profile(profile), [sys.executable, "-m"]
    for first in chosen.after:
        words = ["cmrlib.app.runs", "all", "--profile", first, "--runs", str(runs), "--cores", str(cores), "--follow"]
        if subprocess.run([*python, *words, "--cluster", cluster], cwd=ROOT).returncode:
            raise NotebookFailed(f"profile {profile} reads what {first} makes, and {first} did not come to its end")
    folder = Path(runs).resolve() / profile
    announce_cost(chosen, folder)
    with locked(folder) as lock:
        print(f"profile {profile}: notebooks run into {folder}; what is up to date stays as it is", flush=True)
        words = [*python, "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
        words += where_jobs_run(cluster) if cluster else ["--cores", str(cores)]
        # The lock above is the better one: a kill frees it. Snakemake's own would ask for a manual unlock.
        words += ["--nolock", "--rerun-incomplete", "--keep-going", "--scheduler", "greedy"]
        # A notebook says itself what is wrong; of a job elsewhere, or killed in a shard, Snakemake names it.
        quiet = ["host", "progress", "reason", "rules"] if cluster or chosen.study else ["all"]
        words += ["--rerun-triggers", "params", "input", "mtime", "--quiet", *quiet]
        words += ["--config", f"profile={profile}", f"follow={follow or not cluster}"]
        if cluster:
            os.set_inheritable(lock.fileno(), True)
            os.execv(sys.executable, words)
        return subprocess.run(words, pass_fds=[lock.fileno()]).returncode


def where_jobs_run(cluster: str) -> list[str]:
    """Snakemake's options for a cluster, the name of a folder in profiles/. Raises UsageError for another name."""
    folders = {path.parent.name: path.parent for path in (ROOT / "profiles").glob("*/config*.yaml")}
    if cluster not in folders:
        raise unknown("cluster", cluster, folders)
    words = ["--workflow-profile", str(folders[cluster])]
    # Scripts of the folder are for Snakemake's generic executor, which runs them in runs/PROFILE.
    for name, given in (("submit", " {threads} {resources.mem_mb}"), ("status", ""), ("cancel", "")):
        if (folders[cluster] / name).exists():
            words += [f"--cluster-generic-{name}-cmd", shlex.quote(str(folders[cluster] / name)) + given]
    # Asked how jobs are, sacct fails where no accounts are kept, and Snakemake would wait for its answer for ever.
    asks = ["sacct", "-X", "--noheader"]
    if cluster == "slurm" and not (shutil.which(asks[0]) and subprocess.run(asks, capture_output=True).returncode == 0):
        words += ["--slurm-status-command", "squeue"]
    return words


@contextmanager
def locked(folder: Path, patience_s: float = 10):
    """Hold a folder for this process; the system frees it with the process, however that ends.

    A killed run takes a second or two to be gone, hence the patience. Raises UsageError where the folder is in use
    or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a+")
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; give another --runs") from None
    until = time.monotonic() + patience_s
    with file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    file.seek(0)
                    used = f"{folder} is in use by process {file.read().strip()}; wait for it or stop it"
                    raise UsageError(used) from None
            time.sleep(0.25)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield file


def follow_parent() -> None:
    """End this process within a second of its parent's end, so that a killed run leaves nobody writing."""
    parent = os.getppid()
    heeds = _make_catches_interrupts(parent)

    def watch():
        # a make that is interrupted alone waits for its recipe and tells it nothing, but no longer catches the signal
        while os.getppid() == parent and (not heeds or _make_catches_interrupts(parent)):
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _make_catches_interrupts(pid) -> bool:
    """Whether a process is a make that would notice SIGINT; False too where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = re.search(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)
    return status.startswith("Name:\tmake\n") and bool(caught) and bool(int(caught[1], 16) >> (signal.SIGINT - 1) & 1)


class Echo:
    """What a notebook says while it runs, on the terminal, line by line, with the notebook's name before it."""

    def __init__(self, notebook):
        self.notebook, self.heading = notebook, ""
        self._started, self._line = time.monotonic(), ""

    def say(self, text):
        print(f"[{self.notebook}] {text}", flush=True)

    def write(self, text):
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if state := line.rstrip().rsplit("\r")[-1]:  # of a bar, what it shows last
                self.say(state)

    def flush(self):
        pass

    def cell(self, number, total, heading):
        """Announce a cell, under the heading that stands over it."""
        self.write("\n")
        if heading != self.heading:
            self.heading = heading
            self.say(f"{self.elapsed()} · cell {number} of {total} · {heading}")

    def elapsed(self):
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        return f"{minutes}:{seconds:02d}"


def _papermill(notebook, parameters, running, echo):
    """Execute with a kernel of this interpreter, whatever kernels the user has registered."""
    import nbformat
    import papermill

    source = ROOT / "notebooks" / f"{notebook}.ipynb"
    headings, heading = [], notebook
    for cell in nbformat.read(source, as_version=4).cells:
        if cell.cell_type == "markdown":
            heading = next((line.strip("# ") for line in cell.source.splitlines() if line.startswith("#")), heading)
        headings.append(heading)

    def started(cell, cell_index):
        # papermill has put its own cell of parameters among them
        echo.cell(cell_index + 1, len(headings) + 1, headings[max(cell_index - 1, 0)])

    own = {"CMR_RUN_FOLDER": str(running.parent), "PYTHONHASHSEED": "0", "JUPYTER_PREFER_ENV_PATH": "1"}
    with patch.dict(os.environ, own | dict.fromkeys(THREADS, str(parameters.get("threads", 1)))):
        papermill.execute_notebook(
            source,
            running,
            parameters=parameters,
            kernel_name="python3",
            language="python",
            cwd=source.parent,
            progress_bar=False,
            stdout_file=echo,
            stderr_file=echo,
            on_cell_start=started,
            start_timeout=300,
            extra_arguments=["--log-level=50"],  # its log warns of each loopback port; errors come through papermill
        )


def _keep_failed(running, error, echo):
    """Rename the notebook to failed.ipynb, with the error in it, and return the message for the terminal."""
    import nbformat
    from nbclient.exceptions import DeadKernelError

    raised, lines = hasattr(error, "ename"), str(error).splitlines()[-TRACEBACK_LINES:]  # by a cell: papermill says so
    what = f"{error.ename}: {error.evalue}" if raised else f"{type(error).__name__}: {error}"
    if isinstance(error, DeadKernelError):
        what = "its kernel died; most often the system ended it for want of memory"
    elif "manifest.pending" in what:
        lines, what = [], "it ended without run.finish(...), which must be its last call"
    if running.exists():
        content = nbformat.read(running, as_version=4)
        if not raised:  # papermill has marked its own
            content.cells.insert(0, nbformat.v4.new_markdown_cell(f"**This run failed: {what}**"))
        nbformat.write(content, running)
        lines.append(f"look at it in JupyterLab: {running.replace(running.with_name('failed.ipynb'))}")
    where = f" under {echo.heading!r}" if echo.heading else ""
    return "\n    ".join([f"{echo.notebook} failed{where}: {what}", *lines])
