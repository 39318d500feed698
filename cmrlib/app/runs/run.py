"""The Run that a notebook holds: where its results go, and the manifest that says how they came about."""

import json
import math
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from cmrlib.app.runs.parameters import ROOT, UsageError, checked, defaults
from cmrlib.app.runs.sources import making_digest
from cmrlib.cohort.files import atomic, digest, short_digest, without_formulas, write_arrays, write_json

# What a run leaves in its folder and a new one starts without. Of a cohort, `new_cohort` decides.
LEFT = ("manifest.json", "manifest.pending.json", "tables", "figures", "observers", "weights", "sample")
# Parameters that say how a run goes, not what comes out.
INDIFFERENT = ("profile", "threads", "workers")


def start(notebook: str, namespace: dict) -> "Run":
    """Begin a run of this notebook: `run = runs.start("01_segmentation", globals())` right after the parameters.

    Its parameters are the names of the notebook's parameters cell, with the values that they have now. The folder
    is runs/PROFILE/NOTEBOOK, emptied of an earlier run's results; PROFILE is the parameter `profile`.
    Raises UsageError for a parameter that is missing or has another type than its default.
    """
    declared = defaults(notebook)
    if missing := [name for name in declared if name not in namespace]:
        raise UsageError(f"{notebook}: run the cell tagged `parameters` first; {', '.join(missing)} have no value")
    given = {name: namespace[name] for name in declared}
    return Run(notebook, checked(given, declared, notebook))


class Run:
    """One execution of one notebook. Folders exist as soon as they are asked for."""

    def __init__(self, notebook, parameters):
        self.notebook = notebook
        self.parameters = parameters
        self.profile = parameters.get("profile", "interactive")
        # The runner says where; a notebook run by hand decides itself, and publishes its manifest itself.
        told = os.environ.get("CMR_RUN_FOLDER")
        self.folder = Path(told) if told else ROOT / "runs" / self.profile / notebook
        self._manifest = "manifest.pending.json" if told else "manifest.json"
        self._tables = {}
        self._started = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in LEFT:
            _remove(self.folder / name)
        if (self.folder / "cohort").exists():
            _ = self.new_cohort

    def __repr__(self):
        return f"Run({self.notebook}, profile {self.profile}, in {_short(self.folder)})"

    @property
    def cohort(self) -> Path:
        """The parameter `cohort`, or, where it is empty, the cohort that 00_cohort made in this profile."""
        given = self.parameters.get("cohort")
        return self.path(given) if given else self.sibling("00_cohort") / "cohort"

    @property
    def new_cohort(self) -> Path:
        """Folder of a cohort that this notebook makes; one that is there stays, unless other parameters or other code
        would make another."""
        decisive = {name: value for name, value in self.parameters.items() if name not in INDIFFERENT}
        origin, key = self.folder / ".cohort", short_digest(json.dumps([decisive, making_digest()]).encode())
        if not (origin.exists() and origin.read_text() == key):
            _remove(self.folder / "cohort")
        origin.write_text(key)
        return self.folder / "cohort"

    @property
    def data_dir(self) -> Path:
        """Folder of the real data: the parameter `data_dir`, or, where it is empty, $CMR_DATA_DIR."""
        given = self.parameters.get("data_dir") or os.environ.get("CMR_DATA_DIR")
        if given and self.path(given).is_dir():
            return self.path(given)
        wrong = f"{given} is no folder" if given else "neither data_dir nor CMR_DATA_DIR is set"
        raise UsageError(
            f"{self.notebook} with profile {self.profile} needs real data, but {wrong}; set the environment variable "
            "CMR_DATA_DIR to the folder that holds the data sets"
        )

    def local_file(self, given: str, what: str) -> Path:
        """A file that a parameter names, absolute or relative to the repository or $CMR_DATA_DIR. what: is in it.

        Raises UsageError where there is none.
        """
        for path in (Path(root) / Path(given).expanduser() for root in (ROOT, os.environ.get("CMR_DATA_DIR", ROOT))):
            if path.is_file():
                return path
        raise UsageError(
            f"{self.notebook} with profile {self.profile} starts from {what}, but there is no file {given} below the "
            "repository or CMR_DATA_DIR; put torchvision's state dict there (.safetensors or .pth), or name another "
            "file, or none for a random start, by -p with the parameter's `imagenet`"
        )

    def sibling(self, notebook: str) -> Path:
        """Folder of another notebook's finished run in this profile.

        A notebook run by hand may read what `make run` made, so that nobody has to run all those before it.
        """
        if folder := self.finished(notebook):
            return folder
        raise UsageError(
            f"{self.notebook} reads the results of {notebook}, but there is no {_short(self.folder.parent / notebook)}"
            "/manifest.json; run that notebook first, or `make run`"
        )

    def finished(self, notebook: str) -> Path | None:
        """As `sibling`, but None where there is no finished run."""
        profiles = [self.folder.parent] + ([ROOT / "runs" / "quick"] if self.profile == "interactive" else [])
        found = [folder / notebook for folder in profiles if (folder / notebook / "manifest.json").exists()]
        return found[0] if found else None

    @property
    def sample(self) -> Path | None:
        """Folder of the real heart that 01_segmentation opened with: `cohort`, and its outlines in `ternausnet`. None
        where it opened with none."""
        home = self.finished("01_segmentation")
        return home / "sample" if home and (home / "sample").is_dir() else None

    @staticmethod
    def path(text: str) -> Path:
        """A path of a parameter: absolute, ~, or relative to the repository."""
        return ROOT / Path(text).expanduser()

    def observer(self, name: str) -> Path:
        """Folder of an observer, to be laid over the cohort."""
        return self._made("observers", name)

    @property
    def weights(self) -> Path:
        return self._made("weights")

    @property
    def state(self) -> Path:
        """Folder for checkpoints, outside the run: runs/.state/03 for 03_tempreg and 03b_…, shared by profiles.

        A training names its file in it by its own settings, data and code (`ExactResume`), so that the same training,
        killed or finished, is found again, and another one never mistakes it for its own.
        """
        folder = self.folder.parents[1] / ".state" / self.notebook[:2]
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def table(self, table, name: str):
        """Write a DataFrame to tables/NAME.csv and return it. The index is written where it has a name."""
        path, named = self._made("tables") / f"{name}.csv", any(map(bool, table.index.names))
        with atomic(path) as part:
            without_formulas(table).to_csv(part, index=named, lineterminator="\n")
        self._tables[path.name] = digest(path)
        return table

    def arrays(self, pictures: dict, name: str) -> dict:
        """Write what a figure of pictures is drawn from to tables/NAME.npz (`files.read_arrays`) and return it."""
        path = self._made("tables") / f"{name}.npz"
        write_arrays(pictures, path)
        self._tables[path.name] = digest(path)
        return pictures

    def figure(self, figure, name: str) -> None:
        """Write a figure (or the figure of these axes, or of a seaborn grid) to figures/NAME.png and .pdf."""
        figure = getattr(figure, "figure", figure)
        # Without the date, the same figure is the same file.
        for suffix, undated in [("png", {"Software": None}), ("pdf", {"CreationDate": None})]:
            with atomic(self._made("figures") / f"{name}.{suffix}") as part:
                figure.savefig(part, format=suffix, dpi=150, bbox_inches="tight", metadata=undated)

    def finish(self, metrics: dict, cohort_digest: str | None = None) -> dict:
        """Write manifest.json, the last thing a notebook does, and return the metrics.

        metrics: name (unit at its end) → number; an undefined one is NaN and becomes null.
        """
        metrics = {name: _number(name, value) for name, value in metrics.items()}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        manifest = {
            "notebook": self.notebook,
            "profile": self.profile,
            "metrics": metrics,
            "parameters": self.parameters,
            "seed": self.parameters.get("seed"),
            "cohort": cohort_digest,
            "tables": self._tables,
            "seconds": round(time.monotonic() - self._started, 1),
            "peak_mb": round(peak, 1),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": _commit(),
            "hardware": _hardware(),
            "versions": _versions(),
        }
        write_json(manifest, self.folder / self._manifest)
        return metrics

    def _made(self, *parts):
        folder = self.folder.joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _remove(path):
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _number(name, value):
    """A plain int or float, None where undefined. Raises UsageError for anything that is no single number."""
    if hasattr(value, "item"):  # numpy and torch scalars
        with suppress(ValueError, RuntimeError):
            value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"metric {name} must be one number, got {value!r} ({type(value).__name__})")
    return value if math.isfinite(value) else None


def _commit():
    """Commit of the code, `-dirty` where files differ from it (but for the record), None outside git."""

    def git(*words):
        return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":!/figures/record")
        return git("rev-parse", "--short=12", "HEAD") + "-dirty" * bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return None


def _hardware():
    """Processor, cores and, where torch runs on one, the GPU."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE) if info.exists() else []
    torch = sys.modules.get("torch")
    gpu = f", {torch.cuda.get_device_name()}" if torch and torch.cuda.is_available() else ""
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores{gpu}"


def _versions():
    """Of Python and of what pyproject.toml asks for."""
    found = {"python": platform.python_version()}
    with suppress(metadata.PackageNotFoundError):
        for need in metadata.requires("cmrlib") or ():
            name = re.match(r"[\w.-]+", need)[0]
            with suppress(metadata.PackageNotFoundError):
                found[name] = metadata.version(name)
    return found


def _short(path):
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
