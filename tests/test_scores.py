"""What the report says beyond measures: scores of CUSSP and SSLHF, predictions of HeartMAE, or why there are none."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hearts import small_heartmae

from cmrlib.learning.task import Task
from cmrlib.measures import RefusedError
from cmrlib.papers import cussp, heartmae, sslhf
from cmrlib.phantom import make_cohort
from cmrlib.report.page import render
from cmrlib.report.scores import Classifier, classify_examination, score_cine
from cmrlib.report.study import homes_of


@pytest.fixture(scope="module")
def heart(tmp_path_factory):
    """One person whose true masks pass for the network's."""
    made = make_cohort(
        tmp_path_factory.mktemp("heart") / "cohort",
        1,
        frames=8,
        size=64,
        spacing_mm=3.2,
        slices=5,
        views=("sax", "4ch"),
        workers=1,
        progress=False,
    )
    made.observers["ternausnet"] = made.observer("truth")
    return made


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A profile's runs with untrained weights of 05, 06 and 08, and tables that say how good they were."""
    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    mr = cussp.MitralRegurgitation(size=32, frames=8, width=4, hidden=8)
    card = {"label": "mr", "synthetic": True, "cohort": "phantom", "threshold": 0.5}
    mr.save(mr.network(), folder / "05_cussp" / "weights" / "siam25", **card)
    hf = sslhf.HeartFailure(size=32, frames=8, spacing_mm=5.0, width=4)
    card = {"label": "hf_type", "positive": "HFrEF", "synthetic": False, "threshold": 0.5}
    hf.save(hf.network(), folder / "06_sslhf" / "weights" / "sslhf", **card)
    weights = folder / "08_heartmae_predict" / "weights"
    task = small_heartmae(sax_share=1.0, pooling="moving")
    task.save(task.network(), weights / "flow", synthetic=False, cohort="people")
    probe = heartmae.Probe((), ("lvef_pct", "laef_pct", "lvm_g"), width=320)
    heads = probe.network()  # untrained: the mean of all subjects
    heads.target_mean.copy_(torch.tensor([61.5, 40.25, 120.0]))
    probe.save(heads, weights / "heads", encoder="flow")
    auc = pd.DataFrame(
        [("rf", 0.6, 0.5, 0.7, 50), ("siam25", 0.88, 0.8, 0.95, 50)],
        columns=["model", "auc", "auc_low", "auc_high", "n"],
    )
    errors = pd.DataFrame(
        [
            (f"{n}", target, true + error, true, "flow", 1)
            for n, true in enumerate((40, 50, 60, 50))
            for target, error in (("lvef_pct", 2 - n % 2 * 4), ("lvm_g", 100))
        ],
        columns=["participant_id", "target", "predicted", "true", "model", "seed"],
    )
    for notebook, name, table in (("05_cussp", "table_2", auc), ("08_heartmae_predict", "predictions_cardiac", errors)):
        (folder / notebook / "tables").mkdir()
        table.to_csv(folder / notebook / "tables" / f"{name}.csv", index=False)
    return folder


def test_without_weights_the_page_says_so(heart, tmp_path):
    scores, missing, cards = classify_examination(heart, homes_of(tmp_path))
    assert scores == cards == [] and len(missing) == 3
    assert all(one.endswith("not computed, no weights") for one in missing)


def test_scores_are_the_networks_own(heart, runs):
    rows, missing, cards = classify_examination(heart, homes_of(runs))
    named = {row["name"]: row for row in rows}
    four, sax = "sub-P0001_view-4ch", "sub-P0001_view-sax"
    mr = named["probability of mitral regurgitation"]
    task, models, _ = Task.load(runs / "05_cussp" / "weights" / "siam25")
    found = task.predict_cine(models, heart.cine(four), heart.observer("truth").annotation(four))[1]
    assert mr["value"] == pytest.approx(found[0]["score"])
    assert mr["threshold"] == 0.5 and mr["checked"] == "AUC 0.88 (0.80 to 0.95), 50 phantoms"
    hf = named["probability of heart failure with HFrEF, if it is heart failure"]
    task, models, _ = Task.load(runs / "06_sslhf" / "weights" / "sslhf")
    found = task.predict_cine(models, heart.cine(sax), heart.observer("truth").annotation(sax))[1]
    assert hf["value"] == pytest.approx(np.mean([row["score"] for row in found[:-1]]))
    assert hf["checked"] == "" and not missing
    assert [card["weights"] for card in cards] == ["siam25", "sslhf", "flow"]


def test_scores_at_chance_are_withheld(heart, runs, tmp_path):
    """Its interval reaches .5; predictions that err as much as the mean of all subjects would."""
    shutil.copytree(runs, tmp_path / "runs")
    table = tmp_path / "runs" / "05_cussp" / "tables" / "table_2.csv"
    table.write_text(table.read_text().replace("0.88,0.8,", "0.6,0.45,"))
    table = tmp_path / "runs" / "08_heartmae_predict" / "tables" / "predictions_cardiac.csv"
    pd.read_csv(table).assign(true=50).to_csv(table, index=False)
    rows = {row["name"]: row for row in classify_examination(heart, homes_of(tmp_path / "runs"))[0]}
    for name, why in (
        ("probability of mitral regurgitation", "no better than chance: AUC 0.60 (0.45 to"),
        ("predicted LV ejection fraction, from 4CH, SAX", "no better than the mean of all"),
    ):
        assert np.isnan(rows[name]["value"]) and why in rows[name]["reason"]


def test_predictions_have_their_error_or_a_reason(heart, runs):
    rows = {row["name"]: row for row in classify_examination(heart, homes_of(runs))[0]}
    lvef = rows["predicted LV ejection fraction, from 4CH, SAX"]
    assert lvef["value"] == pytest.approx(61.5) and lvef["checked"] == "+0.0 ± 2.3, 4 hearts"
    mass = rows["predicted LV mass, from 4CH, SAX"]  # 100 g off on real hearts, where people differ by 20
    assert np.isnan(mass["value"]) and "more than twice" in mass["reason"]
    assert rows["predicted RV ejection fraction, from 4CH, SAX"]["reason"] == "not among what these heads learned"
    assert rows["predicted LA emptying fraction, from 4CH, SAX"]["value"] == pytest.approx(40.25)


def test_only_a_refusal_is_a_reason(heart):
    """Any ValueError of a network, a shape that does not fit say, was printed as the reason of a missing score."""
    row = next(heart.cines.itertuples())

    def scored(error):
        def predict_cine(models, cine, annotation):
            raise error

        classifier = Classifier(SimpleNamespace(predict_cine=predict_cine), [], {}, Path())
        return score_cine(heart, heart.observer("truth"), classifier, row)[1]

    assert scored(RefusedError(row.cine, "too few frames", "a cycle has 8")) == "too few frames"
    with pytest.raises(ValueError, match="shapes do not fit"):
        scored(ValueError("shapes do not fit"))


def test_a_missing_view_is_the_reason(heart, runs):
    long_axis = type(heart)(
        heart.path, heart.description, heart.subjects, heart.cines[heart.cines["view"] == "4ch"], heart.observers
    )
    rows = {row["name"]: row for row in classify_examination(long_axis, homes_of(runs))[0]}
    hf = rows["probability of heart failure with HFrEF, if it is heart failure"]
    assert np.isnan(hf["value"]) and hf["reason"] == "needs a SAX cine"
    said = {"scores": list(rows.values()), "measures": [], "series": [], "structures": [], "models": []}
    page = render(said | {"frames": [], "flags": [], "missing": []}, [])
    assert "needs a SAX cine" in page and "AUC 0.88" in page and "not reported" in page


def test_each_network_comes_from_the_first_folder_that_has_it(runs, tmp_path):
    mine = tmp_path / "06_sslhf" / "weights"
    mine.mkdir(parents=True)
    (mine / "own.safetensors").write_bytes(b"")
    homes = homes_of([tmp_path, runs])
    assert homes["06_sslhf"] == [tmp_path, runs] and homes["05_cussp"] == [runs] and homes["04_mvnet"] == []
    with pytest.raises(FileNotFoundError, match="no folder of weights: .*nowhere"):
        homes_of([runs, tmp_path / "nowhere"])
