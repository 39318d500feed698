"""What holds for the repository as a whole: who imports whom, sizes, one lock, clean notebooks, no machine in it."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import readme
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from cmrlib.app.runs import load_profile, parameters, resolve
from cmrlib.datasets import KINDS
from cmrlib.datasets.ingestion import reader_of

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "cmrlib").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROFILES = sorted((ROOT / "profiles").glob("*.yaml"))
LOCK = {
    match[1]: Version(match[2])
    for match in re.finditer(r"^([a-z0-9-]+)==([^ ;\n]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
}

# Modules of more than 300 lines, or with a function of more than 50; the list only gets shorter.
TOO_LONG = set()

# A room imports from those before it.
ORDER = [
    *["cine", "cohort", "measures", "agreement", "datasets", "phantom", "plots", "learning"],
    *(f"papers.{name}" for name in ["ternausnet", "tempreg", "mvnet", "cussp", "sslhf", "heartmae"]),
    *["report", "app"],
]
WITHOUT_TORCH = ["cine", "cohort", "measures", "agreement", "datasets", "phantom", "plots", "app.runs"]


def relative(path):
    return str(path.relative_to(ROOT))


def room(name):
    """The name in ORDER that a dotted name of cmrlib belongs to: its room's, of a paper also the paper's."""
    parts = name.split(".")[1:]
    return ".".join(parts[: 2 if parts[:1] == ["papers"] else 1])


def dotted(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path):
    """Dotted names that a file imports, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            holders = "cmrlib", "cmrlib.papers"
            assert node.level == 0, f"{relative(path)}:{node.lineno}: write `from cmrlib.x import y`"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module in holders)


# -- the library ------------------------------------------------------------------------------------------------


def test_imports_go_one_way():
    wrong = []
    for path in MODULES:
        here = room(dotted(path))
        if here in ("", "papers"):  # hold rooms, import nothing
            continue
        assert here in ORDER, f"give cmrlib.{here} its place in ORDER"
        below = {*ORDER[: ORDER.index(here)], here}
        named = [name for name in imported(path) if name.startswith("cmrlib.")]
        wrong += [f"{relative(path)} imports {name}" for name in named if room(name) not in {*below, "papers"}]
    assert not wrong, "these stand higher"


def test_no_torch_where_numbers_suffice():
    heavy = {"torch", "torchvision", "fastai"}
    light = [path for path in MODULES if dotted(path).removeprefix("cmrlib.").startswith(tuple(WITHOUT_TORCH))]
    assert not [relative(path) for path in light if {name.split(".")[0] for name in imported(path)} & heavy]


def faults_of_size(path):
    text = path.read_text()
    if len(text.splitlines()) > 300:
        yield f"{relative(path)}: over 300 lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 50:
            yield f"{relative(path)}: {node.name} is over 50 lines"
        if isinstance(node, ast.ImportFrom) and "*" in [alias.name for alias in node.names]:
            yield f"{relative(path)}: import *"


def test_thin_enough_to_read():
    long = [path for path in MODULES if list(faults_of_size(path))]
    assert {relative(path) for path in long} <= TOO_LONG, "split it where a noun is missing"
    assert {relative(path) for path in long} == TOO_LONG, "no longer too long: take it off the list"


@pytest.mark.parametrize("how", ["check", "format --check"])
def test_ruff_has_nothing_to_say(how):
    done = subprocess.run([sys.executable, "-m", "ruff", *how.split(), "."], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_import_of_cmrlib_brings_nothing_heavy():
    code = "import sys; before = set(sys.modules); import cmrlib; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert {name.split(".")[0] for name in done.stdout.split()} - sys.stdlib_module_names == {"cmrlib"}


# -- one source of truth for versions ---------------------------------------------------------------------------


def test_the_lock_satisfies_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = {(need := Requirement(text)).name: need for text in project["dependencies"]}
    asked = "jupyterlab papermill torch torchvision fastai opencv-python-headless seaborn scikit-learn umap-learn"
    assert {*asked.split(), "pingouin"} <= set(direct)
    for need in [*direct.values(), *map(Requirement, project["optional-dependencies"]["dev"])]:
        assert need.name in LOCK and LOCK[need.name] in need.specifier, f"{need}: run `make lock`"


def test_the_lock_has_one_version_each_and_forces_no_build_of_torch():
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line and line[0] != " "]
    assert len(lines) == len(LOCK), "a package is listed twice: constrain it in pyproject.toml"
    assert not [name for name in LOCK if name.startswith(("nvidia-", "cuda-", "triton"))]
    assert not [name for name, version in LOCK.items() if version.local] and "--hash" not in "".join(lines)


def test_environment_yml_is_python_pip_and_the_lock():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    python, pip, packages = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert (pip, packages) == ("pip", {"pip": ["-r requirements.lock"]})
    assert python.startswith(f"python {project['requires-python']}")


@pytest.mark.parametrize("file, texts", readme.generated().items())
def test_the_readme_shows_the_record_as_it_is(file, texts):
    written = (ROOT / file).read_text()
    assert not [name for name, text in texts.items() if text not in written], "run `make readme`"
    assert file != "README.md" or len(written.splitlines()) <= 250


def test_pooled_records_are_those_of_their_rows():
    for path, kept in readme.pool_profiles().items():
        written = json.loads(path.read_text())
        assert written["metrics"] == pytest.approx(kept.pop("metrics"), rel=1e-4, nan_ok=True), "run `make readme`"
        assert written | kept == written


def test_bad_news_is_shown():
    metrics = {"n": 3, "a": 0.95, "a_low": 0.9, "a_high": 1.0, "b": 1.0, "b_low": 1.0, "b_high": 1.0, "n_b": 40}
    metrics |= {
        "c_mae": 2.0,
        "c_mae_low": 1.0,
        "c_mae_high": 3.0,
        "c_n": 38,
        "c_loa_low_pct": -8.04,
        "c_loa_high_pct": 9.0,
    }
    shown = [readme.shown_value(metrics, name, 2) for name in ("a", "b", "c_mae", "c_loa_pct", "d")]
    assert shown == ["0.95 (n/a)", "1.00 (n/a)", "2.00 (1.00 to 3.00)", "-8.04 to 9.00", ""]
    assert readme.shown_commit("86caafed91b0-dirty") == "86caafed-dirty"


def test_every_quoted_number_stands_in_the_record():
    topics = readme.RESULTS["topic"].unique()
    assert sum(len(readme.results_table(topic).splitlines()) - 2 for topic in topics) == len(readme.RESULTS)


def test_there_is_a_whole_page_on_each_data_set():
    for kind in KINDS:
        page = " ".join(reader_of(kind).__doc__.split()).lower()
        parts = ("source: ", "licence: ", "layout", "labels", "fills ", "known to be wrong with")
        assert not [part for part in parts if part not in page], kind


def test_pictures_are_small_enough_to_clone():
    pictures = [path for path in tracked() if path.suffix in (".png", ".gif", ".pdf", ".jpg")]
    assert not [relative(path) for path in pictures if path.stat().st_size > 300 * 1024]
    quoted = re.findall(r"\((figures/[^)]+png)\)", (ROOT / "README.md").read_text())
    assert quoted and set(quoted) <= {relative(path) for path in pictures}


# -- profiles and notebooks -------------------------------------------------------------------------------------


def test_every_profile_resolves_for_every_notebook():
    for name in [path.stem for path in PROFILES]:
        profile = load_profile(name)
        assert all(resolve(notebook.stem, profile)["profile"] == name for notebook in NOTEBOOKS), name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_clean_and_tells_its_parameters(path):
    content = json.loads(path.read_text())["cells"]
    code = [cell for cell in content if cell["cell_type"] == "code"]
    assert content[0]["cell_type"] == "markdown" and "".join(content[0]["source"]).startswith("# "), "title first"
    assert parameters.defaults(path.stem)["profile"] == "interactive"
    listed = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    assert len(listed) == 1 and len("".join(listed[0]["source"]).splitlines()) <= 50, "a list is read line by line"
    assert max(len("".join(cell["source"]).splitlines()) for cell in content if cell not in listed) <= 40
    sources = "\n".join("".join(cell["source"]) for cell in content)
    assert not re.findall(r"(?<!\d)\d{7}(?!\d)", sources), "looks like a participant's number"
    text = "\n".join("".join(cell["source"]) for cell in code)
    assert f'runs.start("{path.stem}", globals())' in text and "run.finish(" in text


def test_what_runs_before_a_commit_leaves_the_notebooks_as_they_are():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    tool, *options = next(hook["entry"] for hook in hooks if hook["id"] == "nbstripout").split()
    command = [sys.executable, "-m", Path(tool).name, *options, "--verify", *map(str, NOTEBOOKS)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"run nbstripout {' '.join(options)}\n{done.stdout}"


def test_the_workflow_lists_every_notebook():
    listed = re.findall(r'^    "(\d\d\w?_\w+)": \[', (ROOT / "Snakefile").read_text(), re.MULTILINE)
    assert listed == [path.stem for path in NOTEBOOKS]


# -- nothing of one machine in it -------------------------------------------------------------------------------

# Written with a class in each, so that this file does not match itself.
MACHINE = [r"(?<![\w.~-])[/]work/", r"(?<![\w.])[/]root/", r"[/]opt/wheels", r"[/]tmp/w/"]
HOSTS = [r"pyp[i]\.org", r"pythonhoste[d]\.org", r"download\.pytorc[h]\.org", r"anacond[a]\.(org|com)", r"index-ur[l]"]
SAMPLES = r"\.\./share[d]"  # .ci/run alone may know them
HOME = r"(?<![\w.])/(hom[e]|User[s])/\w"  # tests may make one up


def tracked():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


def test_no_machine_path_and_no_registry_host():
    for path in tracked():
        if path.suffix in (".png", ".pdf", ".gif", ".safetensors", ".nii", ".gz", ".dcm"):
            continue
        text = path.read_text(errors="replace")
        patterns = [*MACHINE, *HOSTS]
        patterns += [SAMPLES] if relative(path) != ".ci/run" else []
        patterns += [HOME] if path.parent.name != "tests" else []
        for pattern in patterns:
            assert not (found := re.search(pattern, text)), f"{relative(path)} names {found[0]}"


def test_no_pickle_is_written_or_opened():
    """Pickles can run code. torch.load takes weights alone; tests hold pickles to see that they are refused."""
    never = r"\b(import|from) (pickle|joblib|dill|cloudpickle|shelve)\b|(to|read)_pickle|load_learner|allow_pickle=True"
    for path in [*MODULES, *NOTEBOOKS, *(ROOT / "tools").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]:
        text = path.read_text()
        assert not re.search(never, text), relative(path)
        assert all("weights_only=True" in call for call in re.findall(r"torch\.load\([^\n]*", text)), relative(path)


def test_git_ignores_no_module():
    assert set(MODULES) | set(NOTEBOOKS) | set(PROFILES) <= set(tracked())


def test_only_the_agreed_files_stand_at_the_top():
    folders = {"notebooks", "cmrlib", "tests", "figures", "profiles", "benchmarks", "samples", "tools"}
    files = {
        "environment.yml",
        "README.md",
        "Makefile",
        "Snakefile",
        "pyproject.toml",
        "requirements.lock",
        "LICENSE",
        "CITATION.cff",
    }
    top = {relative(path).split("/")[0] for path in tracked()}
    assert {name for name in top if not name.startswith(".")} <= folders | files
