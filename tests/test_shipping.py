"""Weights that travel with the package: half precision, same answers, known errors, a limit."""

import json

import numpy as np
import pandas as pd
import pytest
import ship_weights
import torch
from hearts import save_segmentation
from ship_weights import SHIPMENTS, Shipment, main, ready, required_profiles, ship

from cmrlib.cohort.files import read_tsv
from cmrlib.cohort.provenance import people_of, phantoms_alone
from cmrlib.cohort.splits import committed_list
from cmrlib.learning.inference import infer
from cmrlib.learning.task import Task
from cmrlib.learning.weightsets import SETS, SHIPPED, card_beside, networks

TAUGHT = {"licence": "ACDC: CC BY-NC-SA 4.0", "trained_on": {"ACDC": ["patient001", "patient002"]}}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(
        ship_weights, "SHIPMENTS", {"real": Shipment(("mine",), "tested", 12, "All learned from patients")}
    )
    weights = tmp_path / "mine" / "01_segmentation" / "weights"
    save_segmentation(weights / "sax", 0, 2.0, cohort="ACDC", synthetic=False, cohort_digest="abc", **TAUGHT)
    for profile, bias in (("mine", 1.0), ("tested", -3.0)):
        tables = tmp_path / profile / "09_agreement" / "tables"
        tables.mkdir(parents=True)
        pd.DataFrame(
            [("lvef_pct", bias, 2.0, 9), ("lvm_g", bias, 5.0, 9)][: 2 if profile == "mine" else 1],
            columns=["measure", "bias", "sd", "n"],
        ).to_csv(tables / "agreement.csv", index=False)
    return tmp_path


def test_half_the_size_and_the_same_answers(runs, tmp_path):
    place = tmp_path / "out" / "real"
    for path in (place / "LICENSE.md", place / "03_tempreg" / "weights" / "tempreg.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old")
    size = ship("real", runs, tmp_path / "out")
    assert (place / "LICENSE.md").read_text() == "old", "it is written by hand"
    assert not (place / "03_tempreg").exists(), "a network that a set no longer has goes"
    before, after = (folder / "01_segmentation" / "weights" / "sax" for folder in (runs / "mine", place))
    lengths = [path.with_suffix(".safetensors").stat().st_size for path in (before, after)]
    assert lengths[1] < 0.6 * lengths[0] and size < 1
    x = torch.rand(1, 3, 64, 64)
    one, other = (infer(Task.load(path)[1], x, "fp32") for path in (before, after))
    assert 0 < (one - other).abs().max() < 5e-3
    card = json.loads(after.with_suffix(".json").read_text())
    assert card["stored"] == "half precision" and not card["synthetic"] and "cohort_digest" not in card
    assert {name: card[name] for name in TAUGHT} == TAUGHT
    errors = pd.read_csv(place / "errors.csv").set_index("measure")  # on hearts that were not seen, where there are any
    assert errors.loc["lvef_pct", "bias"] == -3.0 and bool(errors.loc["lvef_pct", "real"])
    assert errors.loc["lvm_g", "bias"] == 1.0 and np.isfinite(errors["sd"]).all()


def by_characteristics(folder):
    """A run's table, its rows of SAX and of 4CH, and what its manifest says of real test hearts."""
    (folder / "tables").mkdir(parents=True)
    rows = [
        ("sex", "F", "lv, sax", 0.91, 0.88, 0.93, 12),
        ("sex", "M", "lv, 4ch", 0.5, 0.4, 0.6, 9),
        ("sex", np.nan, "lv, sax", 0.2, 0.1, 0.3, 3),
    ]
    columns = ["characteristic", "level_of_it", "structure", "dice", "dice_low", "dice_high", "n"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "tables" / "by_characteristics.csv", index=False)
    (folder / "manifest.json").write_text(json.dumps({"parameters": {"testing": {"sources": ["acdc:acdc/training"]}}}))


def shipped_card(runs, out):
    ship("real", runs, out)
    return json.loads((out / "real" / "01_segmentation" / "weights" / "sax.json").read_text())


def test_cards_give_errors_by_subgroup(runs, tmp_path):
    """Rows of the weights' own view, with the hearts behind them, in the JSON and in CARDS.md."""
    by_characteristics(runs / "mine" / "01_segmentation")
    row = {"who": "sex F", "what": "dice lv, sax", "value": 0.91, "low": 0.88, "high": 0.93, "n": 12}
    assert shipped_card(runs, tmp_path / "out")["checked"] == [row]
    text = (tmp_path / "out" / "real" / "CARDS.md").read_text()
    assert "| sex F | dice lv, sax | 0.91 (0.88 to 0.93) | 12 |" in text and "test patients of acdc" in text
    assert "lv, 4ch" not in text and "Dice lv 0.9" in text  # beside the full-size network's
    assert "Learned from ACDC (2 subjects); licence ACDC: CC BY-NC-SA 4.0." in text


def test_a_network_that_knows_all_patients_is_checked_by_its_recipe(runs, tmp_path):
    """Where its own run tested nobody, the rows are those of the profile that tested networks of the same recipe; never
    those of another network there."""
    weights = runs / "tested" / "01_segmentation" / "weights"
    by_characteristics(weights.parent)
    weights.mkdir()
    (weights / "sax.json").write_text((runs / "mine" / "01_segmentation" / "weights" / "sax.json").read_text())
    card = shipped_card(runs, tmp_path / "out")
    assert card["checked"][0]["value"] == 0.91 and "same recipe" in card["checked_on"]
    (weights / "sax.json").rename(weights / "lax.json")
    assert shipped_card(runs, tmp_path / "out")["checked"] == []


def test_too_much_and_nothing_and_strangers_are_refused(runs, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="no set of weights called 'best'"):
        ship("best", runs, out)
    path = runs / "mine" / "01_segmentation" / "weights" / "sax.json"
    card = path.read_text()
    path.write_text(json.dumps({name: value for name, value in json.loads(card).items() if name != "licence"}))
    with pytest.raises(ValueError, match="sax.json lacks licence"):
        ship("real", runs, out)
    path.write_text(card)
    given = ship_weights.SHIPMENTS["real"]
    monkeypatch.setitem(ship_weights.SHIPMENTS, "real", Shipment(given.profiles, given.tested_by, 0.01, given.about))
    with pytest.raises(ValueError, match="MB of weights; at most 0.01 MB of the set real"):
        ship("real", runs, out)
    monkeypatch.setitem(ship_weights.SHIPMENTS, "real", Shipment(("nothing",), "", 1, ""))
    with pytest.raises(FileNotFoundError, match="made no weights"):
        ship("real", runs, out)


def test_sets_ship_when_their_profiles_have_been_run(runs, monkeypatch, capsys):
    assert ready(runs) == ["real"] and required_profiles("real") == ["mine", "tested"]
    monkeypatch.setattr(ship_weights, "SHIPMENTS", {"real": Shipment(("mine", "lacking"), "", 1, "")})
    assert ready(runs) == []
    assert main(["--profiles", "real"]) == 0 and capsys.readouterr().out.split() == ["mine", "lacking"]
    assert main(["best"]) == 1 and "no set of weights" in capsys.readouterr().err


# -- what the repository holds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETS)
def test_a_shipped_set_keeps_to_its_budget_and_says_its_terms(name):
    """At most 30 MB of all sets together; every card has licence and subjects."""
    files = [path for path in (SHIPPED / name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= SHIPMENTS[name].max_mb * 1e6
    assert (
        sum(one.max_mb for one in SHIPMENTS.values()) <= 30 and "Terms" in (SHIPPED / name / "LICENSE.md").read_text()
    )
    assert {"sax", "2ch", "4ch"} <= set(networks(name))
    cards = [card_beside(path) for path in files if path.suffix == ".safetensors"]
    assert all(card["licence"] and any(card["trained_on"].values()) for card in cards)
    if name == "synthetic":
        assert all(set(card["trained_on"]) == {"phantom"} and card["synthetic"] for card in cards)
    else:
        assert not any(phantoms_alone(card) or card["synthetic"] for card in cards)


@pytest.mark.parametrize("path", sorted((SHIPPED / "real").rglob("*.safetensors")), ids=lambda path: path.stem)
def test_shipped_networks_never_saw_the_committed_test_subjects(path):
    """But for ACDC's, whose hundred patients all train; folds of the same recipe test it."""
    for name, known in card_beside(path)["trained_on"].items():
        if people_of(name) in ("Sunnybrook", "DSB2015"):
            listed = read_tsv(committed_list(people_of(name).lower()))
            assert not set(listed.loc[listed["split"] == "test", "participant_id"]) & set(known)
            assert set(known) <= set(listed["participant_id"])
    assert any(people_of(name) for name in card_beside(path)["trained_on"])
