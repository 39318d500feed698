"""Weights that travel with the package: half precision, same answers, known errors, a limit."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from cmrlib.runs import shipping
from cmrlib.runs.shipping import ship
from cmrlib.ternausnet import Preprocessing, Segmenter, TernausNet


@pytest.fixture
def runs(tmp_path):
    torch.manual_seed(0)
    weights = tmp_path / "mine" / "01_segmentation" / "weights"
    segmenter = Segmenter(TernausNet(4, 4), Preprocessing("sax", 2.0, 64), ("lv", "myo", "rv"), "fp32")
    segmenter.save(weights / "sax", cohort="phantom", synthetic=True, cohort_digest="abc")
    for profile, bias in (("mine", 1.0), ("real", -3.0)):
        tables = tmp_path / profile / "09_agreement" / "tables"
        tables.mkdir(parents=True)
        pd.DataFrame([("lvef_pct", bias, 2.0, 9), ("lvm_g", bias, 5.0, 9)][: 2 if profile == "mine" else 1],
                     columns=["measure", "bias", "sd", "n"]).to_csv(tables / "agreement.csv", index=False)
    return tmp_path


def test_half_the_size_and_the_same_answers(runs, tmp_path):
    size = ship(["mine"], "real", runs, tmp_path / "out")
    before, after = (folder / "01_segmentation" / "weights" / "sax" for folder in (runs / "mine", tmp_path / "out"))
    lengths = [path.with_suffix(".safetensors").stat().st_size for path in (before, after)]
    assert lengths[1] < 0.6 * lengths[0] and size < 1
    x = torch.rand(1, 3, 64, 64)
    one, other = (Segmenter.load(path, "fp32").infer(x) for path in (before, after))
    assert 0 < (one - other).abs().max() < 5e-3
    card = json.loads(after.with_suffix(".json").read_text())
    assert card["stored"] == "half precision" and card["synthetic"] and "cohort_digest" not in card


def test_errors_on_real_hearts_go_before_those_on_phantoms(runs, tmp_path):
    ship(["mine"], "real", runs, tmp_path / "out")
    errors = pd.read_csv(tmp_path / "out" / "errors.csv").set_index("measure")
    assert errors.loc["lvef_pct", "bias"] == -3.0 and bool(errors.loc["lvef_pct", "real"])
    assert errors.loc["lvm_g", "bias"] == 1.0 and not bool(errors.loc["lvm_g", "real"])
    assert np.isfinite(errors["sd"]).all()


def test_cards_say_by_whom_the_weights_err(runs, tmp_path):
    """Rows of the weights' own view, with the hearts behind them, in the JSON and in CARDS.md."""
    folder = runs / "mine" / "01_segmentation"
    (folder / "tables").mkdir()
    rows = [("sex", "F", "lv, sax", 0.91, 0.88, 0.93, 12), ("sex", "M", "lv, 4ch", 0.5, 0.4, 0.6, 9),
            ("sex", np.nan, "lv, sax", 0.2, 0.1, 0.3, 3)]
    columns = ["characteristic", "level_of_it", "structure", "dice", "dice_low", "dice_high", "n"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "tables" / "by_characteristics.csv", index=False)
    (folder / "manifest.json").write_text(json.dumps({"parameters": {"test_sources": ["acdc:acdc/training"]}}))
    ship(["mine"], "real", runs, tmp_path / "out")
    card = json.loads((tmp_path / "out" / "01_segmentation" / "weights" / "sax.json").read_text())
    assert card["checked"] == [{"who": "sex F", "what": "dice lv, sax", "value": 0.91, "low": 0.88, "high": 0.93,
                                "n": 12}]
    text = (tmp_path / "out" / "CARDS.md").read_text()
    assert "| sex F | dice lv, sax | 0.91 (0.88 to 0.93) | 12 |" in text and "test patients of acdc" in text
    assert "lv, 4ch" not in text and "Dice lv 0.9" in text  # beside the full-size network's


def test_too_much_and_nothing_are_refused(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(shipping, "MOST_MB", 0.01)
    with pytest.raises(ValueError, match="MB of weights; at most"):
        ship(["mine"], "", runs, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="made no weights"):
        ship(["nothing"], "", runs, tmp_path / "out")
