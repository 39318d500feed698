"""The page about one study: refusals, ranges, escaping, what is missing; on a phantom and on real samples."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import trees
from hearts import save_segmentation
from typer.testing import CliRunner

from cmrlib.app.cli import app
from cmrlib.cohort import Cohort
from cmrlib.learning.weightsets import SHIPPED
from cmrlib.measures import MEASURES, features
from cmrlib.phantom import make_cohort
from cmrlib.report import HUMAN_SD, RANGES, known_errors, make_report, refused, render
from cmrlib.report.advice import advice
from cmrlib.report.errors import errors_of
from cmrlib.report.page import _require_page
from cmrlib.report.reference import place
from cmrlib.report.study import _took_part, homes_of, measured_rows

DATA = Path(os.environ.get("CMR_DATA_DIR", "nowhere"))
SOURCE = """<script>alert(1)</script>"""
TINY = {"frames": 8, "size": 64, "spacing_mm": 3.2, "slices": 5, "workers": 1, "progress": False}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A profile's runs with segmentation weights for SAX and 4CH, untrained: they see an LV everywhere."""
    folder = tmp_path_factory.mktemp("runs")
    for view in ("sax", "4ch"):
        path = folder / "01_segmentation" / "weights" / view
        save_segmentation(path, spacing_mm=3.0, views=(view,), cohort=SOURCE, synthetic=True)
    return folder


@pytest.fixture(scope="module")
def heart(tmp_path_factory):
    return make_cohort(tmp_path_factory.mktemp("heart") / "cohort", 1, views=("sax", "4ch"), **TINY)


@pytest.fixture(scope="module")
def said(heart, weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "report.html"
    return make_report(heart.path, out, weights, title="A <b>heart</b>"), out


def test_page_stands_alone_and_says_what_it_is(said):
    text, page = said[0], said[1].read_text()
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)  # nothing from a network
    assert "Not a medical device" in page and "synthetic hearts only" in page
    assert page.count('role="img"') == 4  # players: base, middle and apex of the stack, and 4CH
    assert "<b>heart</b>" not in page and "A &lt;b&gt;heart&lt;/b&gt;" in page
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page  # where the weights learned from
    assert render(text, []) == render(json.loads(said[1].with_suffix(".json").read_text()), [])
    missing = " ".join(text["missing"])
    assert "valve motion: no weights" in missing and "ED and ES by TempReg-Net" in missing
    rows = {row["measure"]: row for row in text["measures"]}
    assert not np.isfinite(rows["la_max_ml"]["value"]) and "2CH and 4CH" in rows["la_max_ml"]["reason"]
    assert rows["la_max_ml"]["reason"][1:] in page


def test_masks_of_an_opened_cohort_are_taken_as_they_are(heart, weights, tmp_path):
    """The networks of `weights` see an LV everywhere; the page measures what lies over the cohort."""
    shutil.copytree(heart.path / "derivatives" / "truth", tmp_path / "ternausnet")
    page = make_report(Cohort.open(heart.path, [tmp_path / "ternausnet"]), tmp_path / "page.html", weights)
    values = {row["measure"]: row["value"] for row in page["measures"]}
    expected = features(heart, "truth", phases="curve").iloc[0]
    for name in ("lvef_pct", "lvedv_ml", "rvedv_ml"):
        assert values[name] == pytest.approx(expected[name], rel=1e-6)


@pytest.mark.parametrize("name, words", [
    ("x.dcm", "x.dcm is no report"), ("x.html", "x.json is no report"), ("", "is a folder"),
    ("x.dcm/r.html", "cannot write"),
])  # fmt: skip
def test_nothing_but_a_report_is_written_over(tmp_path, monkeypatch, name, words):
    monkeypatch.setattr("cmrlib.report.page.examine", None)  # never reached
    for kind in ("dcm", "json"):
        (tmp_path / f"x.{kind}").write_text("somebody's own")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match=words):
        make_report(tmp_path, tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before and (tmp_path / "x.dcm").read_text() == "somebody's own"


def test_a_report_is_written_over(said):
    before = said[1].read_text(), said[1].with_suffix(".json").read_text()
    assert _require_page(said[1]) is None  # it raises where something else lies there
    assert (said[1].read_text(), said[1].with_suffix(".json").read_text()) == before


def test_lvef_with_its_error_is_the_headline(said, heart):
    """Where it is not reported, its reason stands there."""
    error = {"bias": -0.4, "sd": 3.6, "n": 100, "real": True}
    for measured, shown in (
        ({"lvef_pct": 61.2}, ("61.2 %", "errs by -7.5 to +6.7 (100 real hearts)")),
        ({}, ("not reported", "not found; needs a short-axis stack")),
    ):
        table = measured_rows(measured | {"lvedv_ml": 120.0}, heart, {"lvef_pct": error})
        page = render(said[0] | {"measures": table.to_dict("records")}, [])
        first = re.search(r'<div class="key">(.*?)</div>', page, re.DOTALL)[1]
        assert "ejection fraction" in first and all(text in first for text in shown)


def test_one_gate_for_every_number(said, heart):
    """What nobody has checked is no headline, has no verdict, and stands apart; ESV stands beside EF with its error."""
    errors = {name: {"bias": 0.5, "sd": 5.0, "n": 80, "real": True} for name in ("lvedv_ml", "lvesv_ml")}
    values = {"lvef_pct": 30.0, "lvedv_ml": 150.0, "lvesv_ml": 125.0, "rvesv_ml": 20.0}
    table = measured_rows(values, heart, errors)
    rows = table.set_index("measure")
    assert rows.loc["lvesv_ml", "place"] == "above" and rows.loc["rvesv_ml", "place"] == ""
    page = render(said[0] | {"measures": table.to_dict("records")}, [])
    heads = page[page.index('<div class="key">') : page.index("<h2>Outlines")]
    assert "not validated" in heads and "125 mL" in heads and "errs by -9.3 to +10.3" in heads
    assert "30.0 %" not in heads and "RV end-systolic" not in heads
    small = page[page.index("<strong>Not validated") :]
    assert "30.0 %" in small and "20.0 mL" in small and "20.0 mL" not in heads


def test_values_by_body_surface_area(heart):
    """Cohort of one phantom, whose height and weight are known: index, range and error by the same area."""
    cohort = heart.part(heart.cines["cine"])
    cohort.subjects = cohort.subjects.assign(sex="M", age=25)
    errors = {"rvedv_ml": {"bias": 0.0, "sd": 4.0, "n": 80, "real": True}}
    row = measured_rows({"rvedv_ml": 260.0, "bsa_m2": 2.0}, cohort, errors).set_index("measure").loc["rvedv_ml"]
    assert (row["index_value"], row["index_unit"]) == (130.0, "mL/m²")
    assert (row["index_range"], row["index_place"]) == ("56–129", "unclear")  # of men from 20 to 29
    row = measured_rows({"rvedv_ml": 260.0}, cohort, errors).set_index("measure").loc["rvedv_ml"]
    assert np.isnan(row["index_value"]) and row["index_range"] == ""


def test_flags_say_what_to_do():
    rows = advice(["sax: slices_shifted", "es_late:0.71_of_cycle", "lv_hole_filled:slices=1:sax", "new_one"])
    assert [row["flag"] for row in rows] == [
        "es late:0.71 of cycle", "lv hole filled:slices 1:sax", "sax: slices shifted", "new one",
    ]  # fmt: skip
    assert all(row["do"] for row in rows) and "breath-holds" in rows[2]["means"]


def test_no_observer_stays_where_nothing_was_drawn(heart, tmp_path):
    (tmp_path / "ternausnet").mkdir()
    (tmp_path / "ternausnet" / "weights.json").write_text("[]")
    assert not _took_part(heart, tmp_path / "ternausnet", "dseg.json")
    assert not (tmp_path / "ternausnet").exists() and "ternausnet" not in heart.observers


def test_the_sample_makes_its_page(weights, tmp_path):
    """One command, without a folder of one's own; exactly one of STUDY and --sample."""
    asked = ["report", "--weights", str(weights), "-o", str(tmp_path / "r.html")]
    done = CliRunner().invoke(app, [*asked, "--sample"])
    assert done.exit_code == 0, done.output
    said = json.loads((tmp_path / "r.json").read_text())
    assert "Apache-2.0" in said["title"] and {row["view"] for row in said["series"]} >= {"sax", "4ch", "2ch", "3ch"}
    for words, got in (((), "neither"), (("--sample", str(tmp_path)), "both")):
        done = CliRunner().invoke(app, [*asked, *words])
        assert done.exit_code == 2 and got in done.output and "--sample" in done.output


def test_refusal_at_twice_what_people_differ_by():
    """LVEF: people differ by 4.6 points, so an error above 9.2 on real hearts is refused; on phantoms it is not."""
    assert HUMAN_SD["lvef_pct"] == 4.6
    for sd, real, kept in ((9.0, True, True), (9.3, True, False), (9.3, False, True)):
        assert (refused("lvef_pct", {"bias": 0.0, "sd": sd, "n": 20, "real": real}) == "") is kept


def test_refused_measure_is_not_shown(said, heart):
    """A bias counts like a spread; the value stays out of page and JSON, the reason stands in its place."""
    errors = {"lvedv_ml": {"bias": -40.0, "sd": 5.0, "n": 16, "real": True}}
    table = measured_rows({"lvedv_ml": 151.7, "lvef_pct": 55.0, "lvsv_ml": 83.3, "rvsv_ml": 70.0}, heart, errors)
    rows = table.set_index("measure")
    assert np.isnan(rows.loc["lvedv_ml", "value"]) and "40.3" in rows.loc["lvedv_ml", "reason"]
    assert np.isnan(rows.loc["lvsv_ml", "value"]) and "rests on" in rows.loc["lvsv_ml", "reason"]  # falls with it
    assert rows.loc["rvsv_ml", "value"] == 70.0
    assert "16 real hearts" in rows.loc["lvedv_ml", "reason"] and rows.loc["lvef_pct", "value"] == 55.0
    page = render(said[0] | {"measures": table.to_dict("records")}, [])
    assert "not reported" in page and "151.7" not in page and "152" not in page and "55.0 %" in page


def test_each_measures_error_is_of_the_networks_behind_it(tmp_path):
    """SAX from one place, long axis from another: each measure has the error that is known there, mixed ones none."""
    for home, views, bias in (("mine", ("sax", "4ch"), 1.0), ("others", ("sax", "2ch", "4ch"), 2.0)):
        weights = tmp_path / home / "01_segmentation" / "weights"
        weights.mkdir(parents=True)
        for view in views:
            (weights / f"{view}.safetensors").touch()
            (weights / f"{view}.json").write_text(
                json.dumps({"architecture": {"name": "Segmentation"}, "preprocessing": {"views": [view]}})
            )
        rows = [f"{name},{bias},1.0,9,True" for name in ("lvef_pct", "ra_max_ml", "la_max_ml", "mapse_mm")]
        (tmp_path / home / "errors.csv").write_text("\n".join(["measure,bias,sd,n,real", *rows]) + "\n")
    (tmp_path / "others" / "04_mvnet" / "weights").mkdir(parents=True)
    (tmp_path / "others" / "04_mvnet" / "weights" / "4ch_stage1.safetensors").touch()
    errors = errors_of(homes_of([tmp_path / "mine", tmp_path / "others"]))
    assert {name: error["bias"] for name, error in errors.items()} == {
        "lvef_pct": 1.0,
        "ra_max_ml": 1.0,
        "mapse_mm": 2.0,
    }
    with pytest.raises(FileNotFoundError, match="or a set: real, open, synthetic"):
        homes_of("shipped")


def test_errors_come_from_the_runs_own_tables(tmp_path):
    tables = tmp_path / "09_agreement" / "tables"
    tables.mkdir(parents=True)
    pd.DataFrame([("lvef_pct", 1.0, 2.0, 7), ("lvm_g", 1.0, np.nan, 1)], columns=["measure", "bias", "sd", "n"]).to_csv(
        tables / "agreement.csv", index=False
    )
    card = tmp_path / "01_segmentation" / "weights" / "sax.json"
    card.parent.mkdir(parents=True)
    card.write_text(json.dumps({"synthetic": False}))
    assert known_errors(tmp_path) == {"lvef_pct": {"bias": 1.0, "sd": 2.0, "n": 7, "real": True}}


def test_ranges_by_sex_and_age():
    assert place("lvef_pct", 47.9, "M", 60) == ("48–69", "below")
    error = {"bias": 30.0, "sd": 20.0, "n": 16, "real": True}  # reads 30 g too much: 170 may be 101 to 179
    assert place("lvm_g", 170.0, "M", 60) == ("64–141", "above")
    assert place("lvm_g", 170.0, "M", 60, error) == ("64–141", "unclear")
    assert place("lvm_g", 215.0, "M", 60, error) == ("64–141", "above")
    assert place("lvm_g", 60.0, "M", 60, error) == ("64–141", "unclear")
    assert place("lvm_g", 20.0, "M", 60, error) == ("64–141", "below")
    assert place("lvef_pct", 50.0, "F", 60) == ("51–70", "below")
    assert place("lvef_pct", 60.0, "M", 30) == ("48–69 at 45–74 years", "within")
    assert place("rvedvi_ml_m2", 115.0, "M", None) == ("47–116", "within")
    assert place("rvedvi_ml_m2", 115.0, "M", 72) == ("52–106", "above")
    assert place("lvef_pct", 60.0, None, 60) == ("48–69 (M), 51–70 (F)", "within")
    assert place("lvef_pct", 50.0, None, 60) == ("48–69 (M), 51–70 (F)", "")  # low for a woman only
    assert place("lvco_l_min", 5.0, "M", 60) == ("", "")
    assert (RANGES["low"] < RANGES["high"]).all() and set(RANGES["measure"]) <= set(MEASURES)


def test_two_people_a_folder_without_images_and_still_pictures_are_refused(weights, tmp_path):
    two = make_cohort(tmp_path / "two", 2, views=("sax",), **TINY)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "notes.txt").write_text("no image")
    trees.write_cine(tmp_path / "still" / "a", 1, 12, pixels=lambda k, t: trees.image(0, 0))
    still = (tmp_path / "still", "error: nothing moves (view unknown)")
    for study, why in ((two.path, "2 people"), (tmp_path / "s", "error: "), still):
        words = ["report", str(study), "--weights", str(weights), "-o", str(tmp_path / "r.html")]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 2 and why in result.output and not (tmp_path / "r.html").exists()


def test_pages_of_a_cohort_keep_an_observer_each_and_refuse_what_is_one_persons(weights, tmp_path):
    two = make_cohort(tmp_path / "two", 2, views=("sax",), **TINY)
    words = ["report", str(two.path), "--weights", str(weights), "--keep", str(tmp_path / "kept")]
    pages = ["-o", str(tmp_path / "pages"), "--subjects", "P0002"]
    result = CliRunner().invoke(app, [*words, *pages])
    assert "1 pages made now" in result.output, result.output
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["sub-P0002"]
    assert any((tmp_path / "kept" / "sub-P0002" / "ternausnet").rglob("*_dseg.nii*"))
    for more, why in (
        ([*pages, "--title", "x", "--age", "61"], "--age, --title: of one person, and -o names a folder"),
        (["-o", str(tmp_path / "one.html"), "--observer", "truth"], "--observer: of a cohort's pages"),
    ):
        result = CliRunner().invoke(app, [*words, *more])
        assert result.exit_code == 2 and why in result.output, result.output


@pytest.mark.skipif(not (DATA / "mvnet_sample").is_dir(), reason="CMR_DATA_DIR names no folder with mvnet_sample")
def test_real_study_without_a_stack_and_without_names(weights, tmp_path):
    """Two long-axis cines of one person; marked header texts appear nowhere."""
    for series in ("2ch", "4ch"):
        for path in sorted((DATA / "mvnet_sample" / series).iterdir()):
            image = pydicom.dcmread(path)
            image.PatientName, image.PatientID, image.SeriesDescription = "Marked^Name", "MARKED1", "<i>MARKED</i>"
            image.InstitutionName = "MARKED"
            (tmp_path / "study" / series).mkdir(parents=True, exist_ok=True)
            image.save_as(tmp_path / "study" / series / path.name)
    (tmp_path / "study" / "broken.dcm").write_bytes(b"\x00" * 200)
    said = make_report(tmp_path / "study", tmp_path / "r.html", weights)
    page = (tmp_path / "r.html").read_text() + (tmp_path / "r.json").read_text()
    assert "MARKED" not in page.upper()
    assert {row["view"] for row in said["series"] if row["content"] == "cine"} == {"2ch", "4ch"}
    assert any(row["content"] != "cine" for row in said["series"])  # the broken file is named
    assert {row["measure"]: row for row in said["measures"]}["lvef_pct"]["reason"].endswith("a short-axis stack")


@pytest.mark.skipif(not (DATA / "mvnet_sample").is_dir(), reason="CMR_DATA_DIR names no folder with mvnet_sample")
def test_a_broken_series_among_good_ones_is_left_out_and_named(weights, tmp_path):
    """4CH files cut short: the 2CH cine is judged, and the page says what happened to the other."""
    for series, share in (("2ch", 1.0), ("4ch", 0.6)):
        (tmp_path / "study" / series).mkdir(parents=True)
        for path in sorted((DATA / "mvnet_sample" / series).iterdir()):
            data = path.read_bytes()
            (tmp_path / "study" / series / path.name).write_bytes(data[: int(share * len(data))])
    said = make_report(tmp_path / "study", tmp_path / "r.html", weights, person={"sex": "F", "age": 61})
    assert "30 files left out: pixels cannot be read" in said["missing"][0]
    assert said["person"] == "F, 61 years"
    assert {row["measure"]: row["range"] for row in said["measures"]}["lvedv_ml"] == "88–161"  # women's
    for person, why in (({"sex": "female"}, "sex is M or F"), ({"height_m": 17.0}, "height_m is 17; expected 0.4 to")):
        with pytest.raises(ValueError, match=why):
            make_report(tmp_path / "study", tmp_path / "r.html", weights, person=person)


def test_shipped_weights_fit_their_budget_and_look_at_a_heart(heart, tmp_path):
    """The set synthetic: six networks, trained on phantoms alone."""
    cards = [json.loads(path.read_text()) for path in (SHIPPED / "synthetic").rglob("weights/*.json")]
    cards = [card for card in cards if "architecture" in card]
    assert len(cards) == 6 and all(card["synthetic"] and card["stored"] == "half precision" for card in cards)
    said = make_report(heart.path, tmp_path / "r.html", "synthetic")
    rows = {row["measure"]: row for row in said["measures"]}
    assert np.isfinite(rows["mapse_mm"]["value"])
    assert len(said["missing"]) == 3 and all("not computed, no weights" in one for one in said["missing"])  # scores
    assert (
        all(one["checked"] for one in said["models"] if one["model"] != "valve")
        and "group DCM" in (tmp_path / "r.html").read_text()
    )
    assert rows["lvef_pct"]["refused"]  # its error on real hearts is far beyond what people differ by
