"""Profiles, parameters, digests and the Run object, without executing a notebook."""

import base64
import csv
import json
import math
import os
import re
import subprocess
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import readme
from repositories import repository, write_notebook

from cmrlib.app import runs
from cmrlib.app.runs import execution, parameters, record, run, sources
from cmrlib.app.runs.pages import CARDS, write_pages

PARAMETERS = 'profile = "interactive"\nseed = 0\nepochs = 3\nlr = 0.001\naugment = True\nviews = ["4ch"]  # of these'


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A repository with notebooks 00_a and 01_b, seen as the real one."""
    for module in (parameters, run, record, execution, readme):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.delenv("CMR_RUN_FOLDER", raising=False)
    monkeypatch.delenv("CMR_DATA_DIR", raising=False)
    return repository(tmp_path, {"00_a": [PARAMETERS], "01_b": ['profile = "interactive"\nseed = 0\ncohort = ""']})


def profile(root, text, name="mine"):
    repository(root, profiles={name: text})
    return name


def started(notebook="00_a", **values):
    return runs.start(notebook, parameters.defaults(notebook) | values)


# -- profiles and parameters ------------------------------------------------------------------------------------


def test_a_profile_overlays_what_it_extends_and_the_notebooks_own_defaults(root):
    profile(root, "record: true\nnotebooks: [00_a]\ncommon: {seed: 7}\n00_a: {epochs: 5, lr: 1e-4}", "base")
    name = profile(root, "extends: base\n00_a: {epochs: 9, views: [2ch, sax]}")
    found = runs.load_profile(name)
    assert (found.record, found.notebooks) == (True, ["00_a"])
    wanted = {"profile": "mine", "seed": 7, "epochs": 9, "lr": 1e-4, "augment": True, "views": ["2ch", "sax"]}
    assert runs.resolve("00_a", name) == wanted
    assert runs.resolve("01_b", found) == {"profile": "mine", "seed": 7, "cohort": ""}
    assert runs.resolve("00_a", name, {"epochs": 1})["epochs"] == 1


def test_a_profile_does_not_run_where_one_before_it_failed(root, monkeypatch):
    profile(root, "", "first")
    name, asked = profile(root, "after: [first]"), []

    def fails(words, **_):
        asked.append(words)
        return subprocess.CompletedProcess(words, 1)

    monkeypatch.setattr(execution.subprocess, "run", fails)
    with pytest.raises(execution.NotebookFailed, match="mine reads what first makes, and first did not come to"):
        execution.snakemake(name, root / "runs", 2)
    assert len(asked) == 1 and "first" in asked[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("00_a: {epoch: 1}", "unknown parameter 'epoch'. Did you mean 'epochs'"),
        ("common: {sead: 1}", "unknown parameter 'sead'. Did you mean 'seed'"),
        ("00_aa: {epochs: 1}", "unknown notebook '00_aa'. Did you mean '00_a'"),
        ("notebooks: [01_c]", "unknown notebook '01_c'. Did you mean '01_b'"),
        ("extends: quik", "unknown profile 'quik'. Did you mean 'quick'"),
        ("extends: mine", "in a circle: mine → mine"),
        ("after: [mine]", "after each other in a circle: mine → mine"),
        ("after: [quik]", "unknown profile 'quik'"),
        ("00_a: 3", "00_a must hold"),
        ("00_a: [", "not valid YAML"),
        ("- seed", "must hold `notebook: parameters` blocks, got a list"),
        ("00_a: {epochs: many}", "epochs must be int like 3, got 'many' (str)"),
        ("00_a: {epochs: true}", "epochs must be int"),
        ("00_a: {lr: fast}", "lr must be float"),
        ("00_a: {views: 4ch}", "views must be list"),
        ("00_a: {views: [4]}", "views[0] must be str"),
    ],
)
def test_a_wrong_profile_is_refused_and_told_what_there_is(root, text, message):
    with pytest.raises(runs.UsageError) as error:
        runs.load_profile(profile(root, text))
    assert message in str(error.value)


def test_parameters_cell_holds_literals_only(root):
    for cell in ("n = 2 * 3", "import os", "n += 1", "a = b = 1", "a, b = 1, 2", "n: int", "print(1)"):
        write_notebook(root, "00_a", cell)
        with pytest.raises(runs.UsageError, match="only `name = literal`"):
            parameters.defaults("00_a")
    write_notebook(root, "00_a", "n: int = -3\nsize = (64, 64)\nnote = None")
    assert parameters.defaults("00_a") == {"n": -3, "size": [64, 64], "note": None}
    write_notebook(root, "00_a", None)
    with pytest.raises(runs.UsageError, match="exactly one cell tagged `parameters`, found 0"):
        parameters.defaults("00_a")


# -- which code counts ------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "cmrlib"
    modules = {
        "__init__": "",
        "low": "X = 1",
        "measures": "from cmrlib.low import X",
        "plots": "import seaborn",
        "net": "def f():\n    import torch\n    from cmrlib.low import X",
        "datasets/__init__": "from importlib import import_module",
        "datasets/acdc": "A = 1",
    }
    for name, text in modules.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(text)
    return folder


def test_digest_follows_imports_and_nothing_else(root, package):
    assert sources.imports("from cmrlib import low, plots as p\nimport cmrlib.measures", package) == {
        "cmrlib",
        "cmrlib.low",
        "cmrlib.plots",
        "cmrlib.measures",
    }

    def digests():
        sources.imports.cache_clear()
        return sources.code_digest("00_a", package)

    cells = ["%matplotlib inline\nif True:\n    !ls\n    from cmrlib import measures, net", "import cmrlib.datasets"]
    write_notebook(root, "00_a", "n = 1", *cells)
    before = digests()
    (package / "plots.py").write_text("import seaborn\nY = 2")  # not imported
    (package / "measures.py").write_text('"""Prose."""\n# a remark\nfrom cmrlib.low import  X\n')  # not the code
    write_notebook(root, "00_a", "n = 2", *cells)
    assert digests() == before

    seen = {before}
    for name, text in [
        ("measures.py", "from cmrlib.low import X\nY = 2"),
        ("low.py", "X = 2"),
        ("datasets/acdc.py", "A = 2"),
        ("datasets/lists/test.tsv", "participant_id\n"),
    ]:
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text(text)
        assert digests() not in seen, name
        seen.add(digests())
    write_notebook(root, "00_a", "n = 2", "%matplotlib widget", *cells)
    assert digests() not in seen


# -- the Run ----------------------------------------------------------------------------------------------------


def test_run_by_hand_writes_its_manifest_last(root):
    one = started(seed=5, epochs=np.int64(4).item())
    assert one.folder == root / "runs/interactive/00_a"
    one.table(pd.DataFrame({"x": [0.1, np.nan]}), "numbers")
    assert not (one.folder / "manifest.json").exists()
    metrics = {"n": np.int64(3), "dice_lv": np.float32(0.5), "rho": math.nan, "hd_mm": math.inf, "a": np.array([2.0])}
    one.finish(metrics, cohort_digest="abc")
    manifest = json.loads((one.folder / "manifest.json").read_text())
    assert manifest["metrics"] == {"n": 3, "dice_lv": 0.5, "rho": None, "hd_mm": None, "a": 2.0}
    assert manifest["parameters"]["seed"] == manifest["seed"] == 5
    assert (manifest["notebook"], manifest["profile"], manifest["cohort"]) == ("00_a", "interactive", "abc")
    assert {"versions", "seconds", "peak_mb", "commit", "hardware", "date"} <= set(manifest)
    assert list(manifest["tables"]) == ["numbers.csv"]
    assert [path.name for path in one.folder.iterdir() if path.name.startswith(".part")] == []


@pytest.mark.parametrize("value", ["0.5", True, None, [1.0], np.array([1.0, 2.0])])
def test_a_metric_is_one_number(root, value):
    with pytest.raises(runs.UsageError, match="metric dice_lv must be one number"):
        started().finish({"dice_lv": value})


def test_a_new_run_starts_without_the_old_results_but_keeps_the_cohort(root):
    one = started()
    one.table(pd.DataFrame({"x": [1]}), "old")
    one.new_cohort.mkdir()
    assert one.observer("net").is_dir() and one.weights.is_dir()
    one.finish({"n": 1})
    assert (one.folder / "manifest.json").exists()
    two = started(profile="interactive")
    assert sorted(path.name for path in two.folder.iterdir()) == [".cohort", "cohort"] and two.new_cohort.exists()
    started(epochs=7)
    assert not (one.folder / "cohort").exists(), "other parameters make another cohort"


def test_tables_and_figures_are_the_same_bytes_every_time(root):
    from matplotlib.figure import Figure

    def results(one):
        table = pd.DataFrame({"lvef_pct": [1 / 3, 2 / 3]}, index=pd.Index(["a", "b"], name="participant_id"))
        one.table(table, "t")
        axes = Figure().subplots()
        axes.plot([1, 2])
        one.figure(axes, "f")
        return {path.name: path.read_bytes() for path in sorted(one.folder.rglob("*.*")) if path.stem in "tf"}

    first = results(started())
    assert sorted(first) == ["f.pdf", "f.png", "t.csv"]
    assert first["t.csv"].splitlines()[0] == b"participant_id,lvef_pct"
    assert results(started()) == first


def test_sibling_is_of_the_same_profile_or_says_what_to_run(root):
    with pytest.raises(runs.UsageError, match="00_a.*run that notebook first, or `make run`"):
        started("01_b", profile="mine").sibling("00_a")
    for profile in ("quick", "interactive"):  # by hand: what `make run` made, where there is nothing nearer
        started(profile=profile).finish({})
        assert started("01_b").sibling("00_a") == root / "runs" / profile / "00_a"
    assert started("01_b", cohort="cohorts/x").cohort == root / "cohorts/x"


@pytest.mark.parametrize(
    ("folder", "words"), [("", "neither data_dir nor CMR_DATA_DIR is set"), ("x", "x is no folder")]
)
def test_data_dir_says_what_to_set(root, monkeypatch, folder, words):
    monkeypatch.setenv("CMR_DATA_DIR", folder)
    with pytest.raises(runs.UsageError, match=words):
        _ = started().data_dir
    monkeypatch.setenv("CMR_DATA_DIR", str(root))
    assert started().data_dir == root


def test_record_keeps_every_evaluation_and_no_path_of_this_machine(root):
    started(seed=1).finish({"dice": 0.9})
    manifest = json.loads((root / "runs/interactive/00_a/manifest.json").read_text())
    manifest |= {"profile": "acdc", "parameters": {"data_dir": str(root / "data"), "seed": 1}}
    again = manifest | {"metrics": {"dice": 0.95, "n": 16}}
    profile(root, "record: true", "acdc")
    waiting = root / "runs/acdc" / execution.UNRECORDED
    waiting.parent.mkdir()
    waiting.write_text(f"{json.dumps(manifest)}\n{json.dumps(again)}\n")
    assert record.append("acdc", root / "runs") == ["00_a", "00_a"] and not waiting.exists()
    with pytest.raises(runs.UsageError, match="no evaluation of profile acdc waits"):
        record.append("acdc", root / "runs")
    kept = json.loads((root / "figures/record/acdc_00_a.json").read_text())
    assert kept["metrics"] == {"dice": 0.95, "n": 16} and kept["parameters"] == {"data_dir": "data", "seed": 1}
    rows = list(csv.DictReader((root / "figures/record/acdc_00_a.csv").open()))
    assert [(row["dice"], row["n"]) for row in rows] == [("0.9", ""), ("0.95", "16")]
    assert {"date", "commit", "hardware", "seconds"} <= set(rows[0])
    assert str(root) not in "".join(path.read_text() for path in (root / "figures/record").iterdir())


def test_folds_that_ran_apart_are_pooled(root):
    """Two folds of four subjects; the second fold is run twice, and its subjects count once."""
    parts = [(structure, phase, "all") for structure in ("lv", "myo") for phase in ("ED", "ES")] + [
        ("lv", "ED", "base")
    ]

    def fold(subjects, error):
        rows = [(s, *part, "sax", 0.9 - error, 3.0) for s in subjects for part in parts]
        keys = ["participant_id", "structure", "phase", "level", "view", "dice", "hd95_mm"]
        run = started()
        run.table(pd.DataFrame(rows, columns=keys), "scores")
        rows = [(who, s, "", 50 + k + e, 45 + k, 120 + k, 60 + k, 90 + k) for k, s in enumerate(subjects)
                for who, e in (("manual", 0), ("ternausnet", error * 10))]  # fmt: skip
        keys = ["observer", "participant_id", "session", "lvef_pct", "rvef_pct", "lvedv_ml", "lvesv_ml", "lvm_g"]
        run.table(pd.DataFrame(rows, columns=keys), "measures")
        for notebook in record.ROWS:
            record.keep_rows({"notebook": notebook, "profile": "folds", "commit": "c0ffee"}, run.folder / "tables")

    (root / "figures/record").mkdir(parents=True)
    for subjects, error in (("1234", 0.0), ("5678", 0.5), ("5678", 0.1)):
        fold([f"0{one}" for one in subjects], error)
    metrics = readme.pooled("folds")["metrics"]
    assert metrics["n"] == metrics["n_dice"] == 8
    assert metrics["dice_lv"] == pytest.approx(0.85) == metrics["dice_mean"]
    assert metrics["lvef_mae_pct"] == pytest.approx(0.5) == metrics["lvef_bias_pct"]
    rows = pd.read_csv(root / "figures/record/folds_01_segmentation_rows.csv", dtype=str)
    assert len(rows) == 32 and set(rows["level"]) == {"all"} and rows["participant_id"].iloc[0] == "01"
    assert readme.pooled("folds")["commit"] == "c0ffee"


def test_pages_open_without_a_network_and_read_without_code_logs_and_repeated_parameters(tmp_path):
    """Code and logs stand behind a toggle, a GIF is a picture, the last dict is left out; a page is made again only
    where the notebook is newer; text of metrics cannot inject markup."""
    made = tmp_path / "smoke" / "01_segmentation"
    (made / "figures").mkdir(parents=True)
    (made / "figures" / "all.png").write_bytes(b"PNG of all")
    new = nbformat.v4
    outputs = [
        new.new_output("stream", name="stdout", text="epoch 1 of 9"),
        new.new_output("display_data", {"image/gif": "R0lGODlh", "text/plain": "<Image>"}),
    ]
    end = [new.new_output("execute_result", {"text/plain": "{'n': 1234.5}"}, execution_count=2)]
    cells = [
        new.new_markdown_cell("# Title\n\n$x^2$"),
        new.new_code_cell("subjects = 1", metadata={"tags": ["parameters"]}),
        new.new_code_cell("subjects = 77", metadata={"tags": ["injected-parameters"]}),
        new.new_code_cell("train()", outputs=outputs),
        new.new_code_cell("finish()", outputs=end),
    ]
    nbformat.write(new.new_notebook(cells=cells), made / "executed.ipynb")
    metrics = {"dice_lv": 0.91234, "dice_lv_low": 0.9, "dice_lv_high": 0.95, "n": 8, "lvef_icc": None, "<b>": 1.0}
    given = {"source": "phantom", "subjects": 77, "dest": "<i>"}
    said = {"metrics": metrics, "parameters": given, "seconds": 60, "commit": "abc"}
    (made / "manifest.json").write_text(json.dumps(said))
    text = write_pages("smoke", tmp_path).read_text()
    assert "dice_lv_low" not in text and "undefined" in text and "1.0 minutes" in text
    assert "<b>" not in text and "synthetic" in text and "01_segmentation/page.html" in text
    assert "<h2>Title</h2>" in text and base64.b64encode(b"PNG of all").decode() in text
    assert "<li>0.912 (0.9 to 0.95) overlap of the LV cavity" in text
    page = (made / "page.html").read_text()
    assert "Title" in page and "<script" not in page and not re.search(r"<link[^>]+href=.https?:", page)
    assert page.count(">77<") == 1 and "subjects = " not in re.sub("<[^>]+>", "", page) and "&lt;i&gt;" in page
    assert 'src="data:image/gif;base64,R0lGODlh"' in page and "1234.5" not in page
    assert len(re.findall("<details><summary>code</summary>", page)) == 2
    assert re.search(r"<details><summary>log</summary>[^§]*epoch 1 of 9", page)
    (made / "page.html").write_text("kept")
    write_pages("smoke", tmp_path)
    assert (made / "page.html").read_text() == "kept"
    os.utime(made / "executed.ipynb", (2e9, 2e9))
    write_pages("smoke", tmp_path)
    assert "Title" in (made / "page.html").read_text()


def test_cards_name_notebooks_that_exist():
    assert set(CARDS) == {path.stem for path in (Path(__file__).parents[1] / "notebooks").glob("*.ipynb")}
    for one in CARDS.values():
        assert len(one["numbers"]) <= 3 and all(text.count("{}") == 1 for text in one["numbers"].values())
