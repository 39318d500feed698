"""From whom networks learned: cards, flags on what they draw, and scores that are refused."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest
from hearts import save_segmentation

from cmrlib.agreement.overlap import score_observers
from cmrlib.cohort import Cohort
from cmrlib.cohort.provenance import FILE, KNOWN, joined, known_to, learned, learned_from, record, refuse_known
from cmrlib.learning.task import Task
from cmrlib.measures import features


def group(name, *people, licence="research only", view="sax"):
    """A cohort's tables; the digest of an image is its subject's name in capitals."""
    cines = pd.DataFrame({"participant_id": people, "view": view, "digest": [one.upper() for one in people]})
    subjects = pd.DataFrame({"participant_id": people})
    return SimpleNamespace(description={"Name": name, "License": licence}, cines=cines, subjects=subjects)


def test_public_subjects_are_listed_by_id_and_others_by_their_images():
    acdc, clinic = group("ACDC", "patient002", "patient001", "patient003"), group("NIfTI", "anna", "bert")
    trained = {"ACDC": ["patient001", "patient002"]}
    assert learned_from(acdc, trained["ACDC"], "sax") == {"licence": "ACDC: research only", "trained_on": trained}
    assert learned_from(clinic, ["anna"], "sax")["trained_on"] == {"NIfTI": ["ANNA"]}
    assert learned_from(acdc, ["patient001"], "4ch")["trained_on"] == {"ACDC": []}
    assert learned_from(group("DSB2015", "DSB1", view="3ch"), ["DSB1"], "lax")["trained_on"] == {"DSB2015": ["DSB1"]}


def test_several_sources_are_one_network():
    first, again = (learned_from(group("ACDC", "p1", "p2"), [one], "sax") for one in ("p1", "p2"))
    second = learned_from(group("SunnybrookEndo", "SCHFI1", licence="CC0 1.0; cite Radau"), ["SCHFI1"], "sax")
    whole = joined(first, second, {}, again, {"architecture": {}})
    assert whole["trained_on"] == {"ACDC": ["p1", "p2"], "SunnybrookEndo": ["SCHFI1"]}
    assert whole["licence"] == "ACDC: research only · SunnybrookEndo: CC0 1.0; cite Radau"
    assert joined(whole, whole) == whole and joined({}, {"cohort": "elsewhere"}) == {}
    assert learned({"cohort": "mine", "trained_on": ["ab"]})["trained_on"] == {"mine": ["ab"]}  # an early card


@pytest.mark.parametrize("taught, tested, same", [
    ("ACDC", "ACDC", True), ("SunnybrookEndo", "Sunnybrook", True), ("DSB2015", "DSB2015 DICOM", True),
    ("M&Ms", "M&Ms-2", False), ("ACDC", "NIfTI", False),
])  # fmt: skip
def test_the_same_people_under_two_names(taught, tested, same):
    card = {"licence": "", "trained_on": {taught: ["one", "two"]}}
    assert known_to(card, group(tested, "one", "three")) == ({"one"} if same else set())


def test_a_hospitals_ids_are_its_own():
    """Somebody else's 001 is another person; the same image is the same person."""
    card, other = learned_from(group("DICOM", "001", "002"), ["001"], "sax"), group("DICOM", "001", "009")
    other.cines["digest"] = ["elsewhere", "001"]
    assert known_to(card, other) == {"009"}


def test_a_refusal_names_how_many_of_whom_and_what_to_do():
    card = {"trained_on": {"ACDC": [f"patient{n:03d}" for n in range(1, 101)], "SunnybrookEndo": ["SCHFI1"]}}
    patients = group("ACDC", *[f"patient{n:03d}" for n in range(99, 103)])
    wanted = "2 of 4 subjects .*patient099, patient100.* 100 subjects of ACDC, 1 subjects of SunnybrookEndo"
    with pytest.raises(ValueError, match=wanted.replace(" 100", ".*100")):
        refuse_known([{}, card], patients)
    refuse_known([card], patients, ["patient101", "patient102"])
    refuse_known([card], group("Sunnybrook", "SCHFI2"))


def test_record_keeps_each_network_once(tmp_path):
    one, other = ({"licence": "x", "trained_on": {"ACDC": [who]}} for who in "ab")
    for cards in ([{}], [one, one], [other, {}], [one]):
        record(tmp_path, cards)
    assert json.loads((tmp_path / FILE).read_text()) == [one, other]


def test_a_network_draws_those_it_learned_from_with_a_flag_and_is_not_scored_on_them(cohort, tmp_path):
    save_segmentation(tmp_path / "sax", cohort="phantom", synthetic=True, **learned_from(cohort, ["P0001"], "sax"))
    task, models, card = Task.load(tmp_path / "sax")
    table = task.predict(models, cohort, out=tmp_path / "network", card=card, n_tta=1).set_index("participant_id")
    assert table.index[table["flags"].str.contains(KNOWN)].tolist() == ["P0001"]
    drawn = Cohort.open(cohort.path, [tmp_path / "network"])
    assert json.loads((drawn.observer("network").path / FILE).read_text())[0]["licence"] == "phantom: Apache-2.0"
    measured = features(drawn, "network", phases="curve").set_index("participant_id")["flags"]
    assert f"{KNOWN}:sax" in measured["P0001"].split(";") and KNOWN not in measured["P0002"]
    with pytest.raises(ValueError, match="1 of 6 subjects to be scored on .P0001.*1 images of phantom"):
        score_observers(drawn, "truth", "network")
    assert set(score_observers(drawn, "truth", "network", ["P0002", "P0003"])["participant_id"]) == {"P0002", "P0003"}
    assert len(score_observers(drawn, "network", "truth", ["P0001"]))  # as reference it is nobody's score
