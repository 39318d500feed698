"""The player and the chooser: what they send to the browser, and the browser itself where there is one."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cmrlib.app.runs import load_profile, resolve
from cmrlib.cohort import Cohort
from cmrlib.measures import RefusedError
from cmrlib.phantom import make_cohort
from cmrlib.plots.viewer import Chooser, CineViewer, player

ROOT = Path(__file__).parent.parent
RUN_ALL = ["00_cohort", "01_segmentation", "02_measurements", "09_agreement", "12_explore"]
BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), "")


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    size = {"frames": 8, "size": 48, "spacing_mm": 4.0, "slices": 4}
    return make_cohort(tmp_path_factory.mktemp("hearts") / "c", 2, **size, visits=2, workers=1, progress=False)


def test_pixels_masks_and_points_are_those_of_the_cohort(hearts):
    viewer = CineViewer(hearts, "P0002")
    sax, four, two = viewer.views
    assert [view["name"] for view in viewer.views] == ["SAX", "4CH", "2CH"] and viewer.slices == [2, 0, 0]
    cine = hearts.cine("sub-P0002_ses-1_view-sax")
    shown = np.frombuffer(sax["pixels"], np.uint8).reshape(8, 48, 48)
    low, high = cine.intensity_window(0.1, 99.9)
    back = shown / 255 * (high - low) + low
    inside = (cine.pixels[:, 2] > low) & (cine.pixels[:, 2] < high)
    assert np.abs(back - cine.pixels[:, 2])[inside].max() <= (high - low) / 255
    labels = np.frombuffer(sax["layers"][0]["labels"], np.uint8).reshape(8, 48, 48)
    assert (labels == hearts.observer("truth").mask(cine.name).mask[:, 2]).all()
    table = hearts.observer("truth").points("sub-P0002_ses-1_view-4ch")
    first = table[(table["frame"] == 0)].iloc[0]
    assert four["layers"][1]["points"][0][0] == pytest.approx([first["column_px"], first["row_px"]])
    assert two["slices"] == 1 and "synthetic" in viewer.title and "session 1" in viewer.title


def test_another_slice_sends_that_view_only(hearts):
    viewer = CineViewer(hearts)
    before = list(viewer.views)
    viewer.slices = [0, 0, 0]
    assert viewer.views[0]["pixels"] != before[0]["pixels"] and viewer.views[1] is before[1]


def test_curves_are_the_volumes_and_observers_can_be_chosen(hearts):
    viewer = CineViewer(hearts, observers=["truth", "nobody"])
    assert viewer.observers == ["truth"]
    names = {curve["name"]: curve for curve in viewer.curves}
    assert set(names) == {"LV cavity, truth", "RV cavity, truth"}
    curve = names["LV cavity, truth"]
    assert curve["x"] == sorted(curve["x"]) and len(curve["y"]) == 8 and min(curve["y"]) > 5 and curve["unit"] == "mL"


def test_only_what_cannot_be_a_curve_is_left_out(hearts, monkeypatch):
    """Any ValueError, a defect too, was shown as a heart without curves."""

    def refused(*args, **kwargs):
        raise RefusedError("sub-P0001_view-sax", "pixel spacing is unknown")

    monkeypatch.setattr(player, "curves", refused)
    assert not [curve for curve in CineViewer(hearts).curves if curve["unit"] == "mL"]

    def broken(*args, **kwargs):
        raise ValueError("shapes do not fit")

    monkeypatch.setattr(player, "curves", broken)
    with pytest.raises(ValueError, match="shapes do not fit"):
        CineViewer(hearts)


def test_sessions_and_strangers(hearts):
    viewer = CineViewer(hearts)
    first = viewer.views[0]["pixels"]
    viewer.show("P0001", "2")
    assert "session 2" in viewer.title and viewer.views[0]["pixels"] != first
    with pytest.raises(ValueError, match="no cine of 'nobody'"):
        viewer.show("nobody")


def test_a_cohort_without_observers(hearts):
    bare = Cohort.open(hearts.path)
    bare.observers.clear()
    viewer = CineViewer(bare)
    assert viewer.observers == [] and viewer.curves == [] and viewer.views[0]["layers"] == []


def test_a_click_shows_that_heart(hearts):
    viewer = CineViewer(hearts)
    rows = [("P0001", 1.0, 0.5, "a"), ("P0002", 2.0, -1.0, None), ("P0003", np.nan, 2.0, "b")]
    table = pd.DataFrame(rows, columns=["participant_id", "x", "y", "group"])
    chooser = Chooser(table, "x", "y", "group", {"bias": 0.1}, viewer)
    assert [point["name"] for point in chooser.points] == ["P0001", "P0002"]  # who has no place is not shown
    assert set(chooser.groups) == {"a", "n/a"} and chooser.lines == [{"name": "bias", "y": 0.1}]
    chooser.selected = "P0002"
    assert viewer.title.startswith("P0002")


def node(code):
    run = subprocess.run(["node", "--input-type=module", "-e", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_what_the_browser_computes():
    """The frame nearest to a phase goes round the cycle; borders are found on all four sides, the rest is tinted."""
    path = (ROOT / "cmrlib" / "plots" / "viewer" / "viewer.js").as_uri()
    said = node(f"""
      import {{ nearestFrame, paintLabels }} from "{path}";
      const out = new Uint8ClampedArray(4 * 25).fill(100), labels = new Uint8Array(25);
      for (const i of [6, 7, 8, 11, 12, 13, 16, 17, 18]) labels[i] = 1;
      paintLabels(out, labels, 5, 5, {{ 1: [200, 0, 0] }}, 0.5, true);
      console.log(JSON.stringify({{ near: [0.02, 0.98, 0.3, 0.49].map((p) => nearestFrame([0, 0.25, 0.5, 0.75], p)),
        red: [0, 6, 12].map((i) => out[4 * i]) }}));""")
    assert said["near"] == [0, 0, 1, 2]
    assert said["red"] == [100, 185, 120]  # outside; border: 85 % of 200; inside: 20 %


def answers(port, patience_s=120):
    for _ in range(patience_s):
        with socket.socket() as one:
            if one.connect_ex(("localhost", port)) == 0:
                return True
        time.sleep(1)
    return False


def has_playwright():
    command = ["node", "-e", "require('playwright-core')"]
    return bool(BROWSER and shutil.which("node")) and subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """(folder of notebooks, address) of a JupyterLab whose runs go to a folder of their own."""
    root = tmp_path_factory.mktemp("lab")
    for name in ("profiles", "samples", "cmrlib"):
        (root / name).symlink_to(ROOT / name)
    (root / "notebooks").mkdir()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        (root / "notebooks" / path.name).write_text(with_parameters(path))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    options = ["--allow-root", "--no-browser", f"--port={port}", "--IdentityProvider.token="]
    command = [sys.executable, "-m", "jupyterlab", *options, f"--ServerApp.root_dir={root / 'notebooks'}"]
    env = os.environ | {"CMR_ROOT": str(root), "PYTHONPATH": str(ROOT), "JUPYTER_PREFER_ENV_PATH": "1"}
    with subprocess.Popen(command, cwd=root, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            assert answers(port), "JupyterLab did not come up"
            yield root / "notebooks", f"http://localhost:{port}"
        finally:
            server.terminate()


def with_parameters(path) -> str:
    """The notebook with the parameters of profile `smoke`."""
    notebook, values = json.loads(path.read_text()), resolve(path.stem, load_profile("smoke"))
    cell = next(cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", []))
    cell["source"] += ["\n", *(f"{name} = {value!r}\n" for name, value in values.items())]
    return json.dumps(notebook)


@pytest.mark.skipif(
    not has_playwright(), reason="needs chromium, node and playwright-core (NODE_PATH names its folder)"
)
@pytest.mark.parametrize("name", RUN_ALL)
def test_run_all_in_a_real_browser(name, lab):
    """In turn, as a reader does; of 12 also: play, another slice, a click on the plot."""
    folder, address = lab
    command = ["node", ROOT / "tests" / "browser" / "run_all.cjs", f"{address}/lab/tree/{name}.ipynb?reset"]
    seen = Path(os.environ.get("CMR_SCREENSHOTS") or folder) / f"{name}.png"
    run = subprocess.run([*command, seen, BROWSER], capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr
    code = [cell for cell in json.loads((folder / f"{name}.ipynb").read_text())["cells"] if cell["cell_type"] == "code"]
    failed = [one for cell in code for one in cell["outputs"] if one["output_type"] == "error"]
    assert not failed and all(cell["execution_count"] for cell in code if cell["source"])
    said = json.loads(run.stdout)
    assert not said["errors"] and seen.exists()
    if name == "12_explore":
        table = next(folder.parent.glob("runs/*/12_explore/tables/observers.csv"))
        assert pd.read_csv(table, index_col="observer").loc["ternausnet", "masks"] > 0  # networks beside truth
        assert said["stepped"] and said["sliced"] and said["clicked"] != said["heading"] and said["rate"] > 0
