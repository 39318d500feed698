"""Which file serves a view: sets with their stand-ins, runs, folders, single files; and what is said of them."""

import json
from pathlib import Path

import pytest

from cmrlib.cine.anatomy import views_of
from cmrlib.learning import weightsets
from cmrlib.learning.weightsets import by_view, credit, network, networks, of_fold, places

ACDC = {"synthetic": False, "licence": "ACDC: CC BY-NC-SA 4.0", "trained_on": {"ACDC": ["patient001", "patient002"]}}
PHANTOM = {"synthetic": True, "licence": "phantom: Apache-2.0", "trained_on": {"phantom": ["P0001"]}}


def put(folder, name, card, view=""):
    """A weights file that nobody opens, and its card."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.safetensors").touch()
    kind = {"architecture": {"name": "Segmentation" if view else "TempReg"}}
    kind["preprocessing"] = {"views": views_of(view) if view else ["sax"]}
    (folder / f"{name}.json").write_text(json.dumps(card | kind))


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    monkeypatch.setattr(weightsets, "SHIPPED", tmp_path)
    for view in ("sax", "2ch", "4ch"):
        put(tmp_path / "synthetic" / "01_segmentation" / "weights", view, PHANTOM, view)
    put(tmp_path / "synthetic" / "03_tempreg" / "weights", "tempreg", PHANTOM)
    (tmp_path / "real").mkdir()
    return tmp_path


def of_set(files):
    return {view: f"{path.parents[2].name} {path.stem}" for view, path in files.items()}


def test_the_synthetic_set_serves_what_the_real_one_lacks(shipped):
    real = shipped / "real" / "01_segmentation" / "weights"
    synthetic = {view: f"synthetic {view}" for view in ("sax", "2ch", "4ch")}
    assert of_set(networks("real")) == of_set(networks("synthetic")) == synthetic
    put(real, "sax", ACDC, "sax")
    assert of_set(networks("real")) == synthetic | {"sax": "real sax"}
    assert of_set(networks("synthetic")) == synthetic
    put(real, "lax", ACDC, "lax")
    expected = dict.fromkeys(("4ch", "2ch", "3ch", "lax"), "real lax") | {"sax": "real sax"}
    assert of_set(networks("real")) == expected
    assert network("real", "3ch") == real / "lax.safetensors"
    with pytest.raises(FileNotFoundError, match="no network for view 3ch in synthetic; there are networks for"):
        network("synthetic", "3ch")
    with pytest.raises(FileNotFoundError, match="no network for view sax in .*nowhere; there are networks for none"):
        network(shipped / "nowhere", "sax")


def test_each_notebook_has_its_own_places(shipped):
    assert places("real", "03_tempreg") == [shipped / "synthetic" / "03_tempreg" / "weights"]
    put(shipped / "real" / "03_tempreg" / "weights", "tempreg", ACDC)
    assert [place.parents[1].name for place in places("real", "03_tempreg")] == ["real", "synthetic"]
    assert [place.parents[1].name for place in places("synthetic", "03_tempreg")] == ["synthetic"]


def test_a_path_still_works(shipped, tmp_path, monkeypatch):
    """A run, its folder of weights, one file; relative to a root; also where a folder is called like a set."""
    put(tmp_path / "runs" / "mine" / "weights", "sax", PHANTOM, "sax")
    expected = tmp_path / "runs" / "mine" / "weights" / "sax.safetensors"
    for given in ("runs/mine", "runs/mine/weights", "runs/mine/weights/sax.safetensors"):
        assert networks(given, tmp_path) == {"sax": expected} == networks(tmp_path / given)
    put(tmp_path / "here" / "real", "4ch", ACDC, "4ch")
    monkeypatch.chdir(tmp_path / "here")
    assert networks("./real") == {"4ch": Path("real/4ch.safetensors")}
    assert set(networks("real")) == {"sax", "2ch", "4ch"}


def test_each_fold_has_its_own_network_where_several_were_trained(tmp_path):
    (tmp_path / "several" / "fold-3").mkdir(parents=True)
    assert of_fold("several", 3, tmp_path) == tmp_path / "several" / "fold-3"
    assert of_fold("several", 2, tmp_path) == "several" and of_fold("real", 3, tmp_path) == "real"


def test_two_networks_for_one_view_in_one_folder_are_refused(tmp_path):
    put(tmp_path / "a", "lax", ACDC, "lax")
    put(tmp_path / "b", "2ch", ACDC, "2ch")
    assert of_set(by_view([tmp_path / "b", tmp_path / "a"]))["2ch"].endswith("2ch")
    put(tmp_path / "a", "2ch", ACDC, "2ch")
    with pytest.raises(ValueError, match="are both for view 2ch"):
        by_view([tmp_path / "a"])
    put(tmp_path / "c", "tempreg", ACDC)
    with pytest.raises(ValueError, match="no weights card of a segmentation"):
        by_view([tmp_path / "c"])
    (tmp_path / "d").mkdir()
    with pytest.raises(FileNotFoundError, match="no weights"):
        by_view([tmp_path / "d"])


def test_one_line_says_whose_hearts_and_which_terms(shipped):
    line = credit("real", ["01_segmentation"])
    assert "real has none yet; 2ch, 4ch, sax of synthetic, trained on phantoms alone, licence phantom: Apache" in line
    put(shipped / "real" / "01_segmentation" / "weights", "sax", ACDC, "sax")
    line = credit("real")
    assert "sax of real, trained on ACDC (2 subjects), licence ACDC: CC BY-NC-SA 4.0" in line and "\n" not in line
    assert "2ch, 4ch, 03_tempreg of synthetic, trained on phantoms alone" in line
    assert "real" not in credit("synthetic").replace(str(shipped), "")
    assert credit("runs/acdc") == ""


def test_one_line_counts_each_source_once(shipped):
    """Networks that share phantoms and differ in patients: each data set and its terms stand there once."""
    more = {
        "licence": "phantom: Apache-2.0 · DSB2015: research only; Kaggle",
        "trained_on": {"phantom": ["ab"], "DSB2015": ["DSB1", "DSB2", "DSB3"]},
    }
    both = {
        "licence": f"phantom: Apache-2.0 · {ACDC['licence']}; cite Bernard",
        "trained_on": ACDC["trained_on"] | {"phantom": ["cd"]},
    }
    for view, card in (("lax", more), ("sax", both)):
        put(shipped / "real" / "01_segmentation" / "weights", view, card, view)
    line = credit("real", ["01_segmentation"])
    assert "4ch, 2ch, 3ch, sax of real, trained on phantom, DSB2015 (3 subjects), ACDC (2 subjects), licence" in line
    assert "licence phantom: Apache-2.0 · DSB2015: research only · ACDC: CC BY-NC-SA 4.0, see" in line
    assert "synthetic" not in line  # it serves no view that is left
