"""SIGKILL at random moments of ingest, `cmr segment`, a training and notebooks, each then run again to its end.

    python benchmarks/kills.py [--jobs ingest,segment,training,00_cohort,01_segmentation] [--kills 10]

What a killed and continued job leaves must be what an undisturbed one leaves: tables, arrays, masks and weights byte by
byte, tables of notebooks but for their `seconds`. stuck: a job that did not end after its kill, in ten times its time.
"""

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a fork must not need threads of its parent

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from hearts import save_segmentation, write_heart  # noqa: E402

from cmrlib.app.cli import app, predicting, shown  # noqa: E402, F401  what jobs need is imported before they part
from cmrlib.app.cli.comparing import compare_runs  # noqa: E402
from cmrlib.cohort import Cohort  # noqa: E402
from cmrlib.datasets import ingest, nifti  # noqa: E402, F401
from cmrlib.learning.training import set_threads_and_seed  # noqa: E402
from cmrlib.papers.ternausnet import Segmentation  # noqa: E402
from cmrlib.phantom import make_cohort  # noqa: E402


class Job:
    """prepare: (place) → None, once. run: (place, folder) → None, in a process of its own. equal: (folder, folder)."""

    def prepare(self, place):
        pass

    def equal(self, one, other) -> bool:
        return digests(one) == digests(other)


class Ingest(Job):
    """Thirty subjects, in one process, so that a kill meets it at work and not while a pool starts."""

    def prepare(self, place):
        for k in range(30):
            write_heart(place / "source", f"P{k:03d}", seed=k)

    def run(self, place, folder):
        ingest("nifti", place / "source", folder / "cohort", workers=1, progress=False)


class Segment(Job):
    """Eight cines of a phantom, an untrained network."""

    def prepare(self, place):
        sizes = {"frames": 8, "size": 48, "spacing_mm": 4.3, "slices": 6}
        make_cohort(place / "hearts", 8, **sizes, views=("sax",), workers=1, progress=False)
        save_segmentation(place / "weights" / "sax", lv=2)

    def run(self, place, folder):
        words = ["segment", place / "hearts", "--weights", place / "weights", "--out", folder / "net", "--threads", 1]
        app([*map(str, words), "--n-tta", "2"], standalone_mode=False)


class Training(Job):
    """Four epochs of a tiny segmentation of the same phantoms, resumed from its checkpoints."""

    def run(self, place, folder):
        cohort = Cohort.open(place / "hearts")
        split = cohort.subjects.set_index("participant_id")["sex"].map(lambda _: "train")
        split.iloc[-2:] = "validation"
        set_threads_and_seed(1, 1)
        task = Segmentation(("sax",), 6.4, 32, 32, 4)
        learn = task.train(cohort, "truth", split, 4, 2e-3, bs=8, precision="fp32", state=folder / "state")
        task.save(learn.model, folder / "weights" / "sax")


class Notebook(Job):
    """A notebook of the smoke profile as `make run` executes it, upon those before it."""

    def __init__(self, name, *before):
        self.name, self.before = name, before

    def prepare(self, place):
        (place / "runs").mkdir(exist_ok=True)
        for name in self.before:
            subprocess.run([sys.executable, *_execute(name, place / "runs")], check=True, cwd=ROOT)

    def run(self, place, folder):
        if not any(folder.iterdir()):
            shutil.copytree(place / "runs", folder, dirs_exist_ok=True)
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, *_execute(self.name, folder)])

    def equal(self, one, other) -> bool:
        return not compare_runs(one / "smoke" / self.name, other / "smoke" / self.name)[0]


def _execute(name, runs) -> list[str]:
    return ["-m", "cmrlib.app.runs", "execute", name, "--profile", "smoke", "--runs", str(runs)]


JOBS = {
    "ingest": Ingest(),
    "segment": Segment(),
    "training": Training(),
    "00_cohort": Notebook("00_cohort"),
    "01_segmentation": Notebook("01_segmentation", "00_cohort"),
}
HALF = ("00_cohort", "01_segmentation")
"""Jobs that are killed half as often as the others."""


def digests(folder) -> dict[str, str]:
    """Name → digest of the files that a job leaves, but for checkpoints."""
    files = [path for path in Path(folder).rglob("*") if path.is_file() and "state" not in path.parts]
    return {
        str(path.relative_to(folder)): hashlib.blake2b(path.read_bytes().replace(bytes(folder), b"")).hexdigest()
        for path in files
    }


def started(job, place, folder) -> int:
    """The job in a process and session of its own; its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        stream = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        job.run(place, folder)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(child, within_s: float) -> bool | None:
    """Whether a process ended well; None where it had to be killed after so many seconds."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status == 0
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def attacked(name, place, kills, rng) -> tuple[int, int, int]:
    """Numbers of kills, unequal results and stuck jobs."""
    job, counts = JOBS[name], np.zeros(3, int)
    job.prepare(place)
    whole, begun = place / f"{name}-whole", time.monotonic()
    whole.mkdir()
    assert ended(started(job, place, whole), 3600), (place / f"{name}-whole.log").read_text()[-3000:]
    seconds = time.monotonic() - begun
    for n in range(kills // 2 if name in HALF else kills):
        folder, share = place / f"{name}-{n}", rng.uniform(0.02, 0.95)
        folder.mkdir()
        while ended(started(job, place, folder), share * seconds) is not None:  # it was faster: sooner, and from anew
            share *= 0.7
            shutil.rmtree(folder)
            folder.mkdir()
        done = ended(started(job, place, folder), 10 * seconds + 60)
        if done is False:
            print(f"{name} {n}: {(place / f'{name}-{n}.log').read_text()[-800:]}", flush=True)
        counts += [1, done is not None and not (done and job.equal(whole, folder)), done is None]
    print(f"{name}: {seconds:.1f} s undisturbed, kills={counts[0]} unequal={counts[1]} stuck={counts[2]}", flush=True)
    return tuple(counts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", default=",".join(JOBS), help="of " + ", ".join(JOBS))
    parser.add_argument("--kills", type=int, default=10, help="of each job")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rng, total = np.random.default_rng(1), np.zeros(3, int)
    with tempfile.TemporaryDirectory(prefix="kills-") as place:
        for name in arguments.jobs.split(","):
            if name == "training" and not Path(place, "hearts").exists():
                Segment().prepare(Path(place))
            total += attacked(name, Path(place), arguments.kills, rng)
    print(f"kills={total[0]} unequal={total[1]} stuck={total[2]}")
    sys.exit(int(total[1:].any()))


if __name__ == "__main__":
    main()
