"""From whom networks learned: cards, flags on what they draw, and scores that are refused."""

import json
from importlib import import_module
from types import SimpleNamespace

import pandas as pd
import pytest
from hearts import save_segmentation

from cmrlib.agreement.overlap import score_observers
from cmrlib.cohort import Cohort
from cmrlib.cohort.provenance import (
    FILE,
    KNOWN,
    joined,
    known_to,
    learned,
    learned_from,
    people_of,
    phantoms_alone,
    record,
    refuse_known,
    refuse_known_rows,
)
from cmrlib.datasets import KINDS
from cmrlib.learning.task import Task
from cmrlib.measures import features
from cmrlib.phantom import make_cohort


def group(name, *people, licence="research only", view="sax"):
    """A cohort's tables; the digest of an image is its subject's name in capitals."""
    cines = pd.DataFrame({"participant_id": people, "view": view, "digest": [one.upper() for one in people]})
    return SimpleNamespace(
        description={"Name": name, "License": licence}, cines=cines, subjects=pd.DataFrame({"participant_id": people})
    )


def test_public_subjects_are_listed_by_id_and_others_by_their_images():
    acdc, clinic = group("ACDC", "patient002", "patient001", "patient003"), group("NIfTI", "anna", "bert")
    assert learned_from(acdc, ["patient001", "patient002"], "sax") == {
        "licence": "ACDC: research only",
        "trained_on": {"ACDC": ["patient001", "patient002"]},
    }
    assert learned_from(clinic, ["anna"], "sax")["trained_on"] == {"NIfTI": ["ANNA"]}
    assert learned_from(acdc, ["patient001"], "4ch")["trained_on"] == {"ACDC": []}
    long_axis = group("DSB2015", "DSB1", view="3ch")
    assert learned_from(long_axis, ["DSB1"], "lax")["trained_on"] == {"DSB2015": ["DSB1"]}


def test_several_sources_are_one_network():
    first = learned_from(group("ACDC", "patient001", "patient002"), ["patient001"], "sax")
    second = learned_from(group("SunnybrookEndo", "SCHFI1", licence="CC0 1.0; cite Radau"), ["SCHFI1"], "sax")
    again = learned_from(group("ACDC", "patient001", "patient002"), ["patient002"], "sax")
    whole = joined(first, second, {}, again, {"architecture": {}})
    assert whole["trained_on"] == {"ACDC": ["patient001", "patient002"], "SunnybrookEndo": ["SCHFI1"]}
    assert whole["licence"] == "ACDC: research only · SunnybrookEndo: CC0 1.0; cite Radau"
    assert joined(whole, whole) == whole and joined({}, {"cohort": "elsewhere"}) == {}
    assert learned({"cohort": "mine", "trained_on": ["ab"]})["trained_on"] == {"mine": ["ab"]}  # an early card


def test_the_same_people_under_two_names():
    same = {"ACDC": "ACDC", "SunnybrookEndo": "Sunnybrook", "Sunnybrook": "SunnybrookEndo", "DSB2015": "DSB2015 DICOM"}
    for taught, tested in [*same.items(), ("M&Ms", "M&Ms-2"), ("ACDC", "Sunnybrook"), ("ACDC", "NIfTI")]:
        card = {"licence": "", "trained_on": {taught: ["one", "two"]}}
        assert known_to(card, group(tested, "one", "three")) == ({"one"} if same.get(taught) == tested else set())
    private = {"DICOM", "NIfTI", "UK Biobank", "phantom"}
    names = {import_module(f"cmrlib.datasets.{kind}").DESCRIPTION["Name"] for kind in KINDS} | {"phantom"}
    assert {name for name in names if not people_of(name)} == private & names
    assert phantoms_alone({"trained_on": {"phantom": ["ab"]}}) and phantoms_alone({"synthetic": True})
    mixed = {"trained_on": {"phantom": ["ab"], "DSB2015": ["DSB1"]}, "synthetic": True}
    assert not phantoms_alone(mixed) and not phantoms_alone({}) and not phantoms_alone({"synthetic": False})


def test_a_hospitals_ids_are_its_own():
    """Somebody else's 001 is another person; the same image is the same person."""
    card = learned_from(group("DICOM", "001", "002"), ["001"], "sax")
    other = group("DICOM", "001", "009")
    other.cines["digest"] = ["elsewhere", "001".upper()]
    assert known_to(card, other) == {"009"}


def test_a_refusal_names_how_many_of_whom_and_what_to_do():
    card = {"trained_on": {"ACDC": [f"patient{n:03d}" for n in range(1, 101)], "SunnybrookEndo": ["SCHFI1"]}}
    patients = group("ACDC", *[f"patient{n:03d}" for n in range(99, 103)])
    with pytest.raises(
        ValueError, match="2 of 4 subjects .*patient099, patient100.*100 subjects of ACDC, 1 subjects of"
    ):
        refuse_known([{}, card], patients)
    refuse_known([card], patients, ["patient101", "patient102"])
    refuse_known([card], group("Sunnybrook", "SCHFI2"))


def test_a_table_of_measures_carries_the_flag():
    table = pd.DataFrame({"participant_id": ["a", "b", "c"], "flags": ["no_sax", None, f"no_sax;{KNOWN}:sax"]})
    with pytest.raises(ValueError, match="1 of 3 subjects to be scored on .c."):
        refuse_known_rows(table)
    refuse_known_rows(table[:2])
    refuse_known_rows(table[["participant_id"]])


def test_record_keeps_each_network_once(tmp_path):
    one, other = {"licence": "x", "trained_on": {"ACDC": ["a"]}}, {"licence": "x", "trained_on": {"ACDC": ["b"]}}
    record(tmp_path, [{}])
    assert not (tmp_path / FILE).exists()
    for cards in ([one, one], [other, {}], [one]):
        record(tmp_path, cards)
    assert json.loads((tmp_path / FILE).read_text()) == [one, other]


# -- a network at work ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    tiny = {"frames": 4, "size": 64, "spacing_mm": 3.2, "slices": 4, "views": ("sax",), "workers": 1}
    return make_cohort(tmp_path_factory.mktemp("hearts") / "cohort", 3, progress=False, **tiny)


@pytest.fixture(scope="module")
def drawn(hearts, tmp_path_factory):
    """The hearts with the masks of a network that learned from the first of them, and its table."""
    folder = tmp_path_factory.mktemp("drawn")
    save_segmentation(folder / "sax", cohort="phantom", synthetic=True, **learned_from(hearts, ["P0001"], "sax"))
    task, models, card = Task.load(folder / "sax")
    table = task.predict(models, hearts, out=folder / "network", card=card, n_tta=1)
    return Cohort.open(hearts.path, [folder / "network"]), table


def test_use_is_allowed_and_flagged(drawn):
    cohort, table = drawn
    flagged = table["flags"].str.split(";").map(lambda flags: KNOWN in flags)
    assert dict(zip(table["participant_id"], flagged)) == {"P0001": True, "P0002": False, "P0003": False}
    assert json.loads((cohort.observer("network").path / FILE).read_text())[0]["licence"] == "phantom: Apache-2.0"
    measured = features(cohort, "network", phases="curve").set_index("participant_id")["flags"]
    assert f"{KNOWN}:sax" in measured["P0001"].split(";") and KNOWN not in measured["P0002"]


def test_a_score_on_a_training_subject_is_refused(drawn):
    cohort, _ = drawn
    with pytest.raises(ValueError, match="1 of 3 subjects to be scored on .P0001.*1 images of phantom"):
        score_observers(cohort, "truth", "network")
    scores = score_observers(cohort, "truth", "network", ["P0002", "P0003"])
    assert set(scores["participant_id"]) == {"P0002", "P0003"}
    assert len(score_observers(cohort, "network", "truth"))  # as reference it is nobody's score
