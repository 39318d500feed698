"""The command line from end to end on tiny phantoms; what is wrong ends in one line, and nothing of others is lost."""

import json
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import trees
from hearts import save_segmentation, small_heartmae
from typer.testing import CliRunner

from cmrlib.app.cli import app
from cmrlib.app.cli.app import near
from cmrlib.app.cli.comparing import compare_runs
from cmrlib.app.cli.finetuning import before_after, fold_splits
from cmrlib.cine.anatomy import NOT_ANNOTATED, views_of
from cmrlib.cohort import Annotation, Cohort, Observer
from cmrlib.cohort.provenance import learned_from
from cmrlib.learning.weightsets import SHIPPED
from cmrlib.papers.ternausnet import Segmentation

TINY = ["--size", 64, "--spacing-mm", 3.2, "--slices", 5, "--views", "sax", "--workers", 1]
QUICK = ["--n-tta", 1, "--threads", 1]


def cmr(*words, code=0):
    """Run a command, expect an exit code, return what it printed."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result.output


def refused(*words):
    """The one line of a command that cannot do what it was asked."""
    output = cmr(*words, code=2)
    lines = [line for line in output.splitlines() if line and not line.startswith("ingest ")]  # the progress bar
    assert len(lines) == 1 and lines[0].startswith("error: ") and "Traceback" not in output, output
    return lines[0]


def save_network(folder, seed=0, view="sax", **card):
    card = {"cohort": "elsewhere", "cohort_digest": "0"} | card
    save_segmentation(folder / view, 0, views=views_of(view), width=8, seed=seed, **card)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folder of the cohorts `hearts` (6 subjects, 4 frames) and `mine` (5 others, 8 frames), a run's weights, and the
    observer `doctor` of `mine`."""
    place = tmp_path_factory.mktemp("cli")
    cmr("phantom", place / "hearts", "--subjects", 6, "--frames", 4, *TINY)
    cmr("phantom", place / "mine", "--subjects", 5, "--seed", 2, "--frames", 8, *TINY)
    save_network(place / "run" / "weights")
    draw(Cohort.open(place / "mine"), place / "doctor")
    return place


def draw(cohort, folder, n=None):
    """An observer who drew ED and ES of the first n subjects, just as they are."""
    for cine in map(cohort.cine, cohort.cines["cine"][:n]):
        truth = cohort.observer("truth").mask(cine.name)
        mask = np.full(truth.mask.shape, NOT_ANNOTATED, np.uint8)
        mask[[cine.ed, cine.es]] = truth.mask[[cine.ed, cine.es]]
        Observer(folder).write(cine, Annotation(mask, {t: truth.annotated[t] for t in (cine.ed, cine.es)}))


# -- the command itself, phantom, ingest, check -----------------------------------------------------------------


def test_help_needs_nothing_heavy():
    code = "import sys, cmrlib.app.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "fastai", "numpy", "pandas", "cv2", "matplotlib"} & set(done.stdout.split())
    names = "phantom inspect ingest check segment frames valve classify embed predict measure correct finetune compare"
    for name in [*names.split(), "report", "join", "datasets"]:
        assert name in cmr("--help") and "Usage" in cmr(name, "--help")


def test_an_error_is_one_line_and_debug_shows_where(tmp_path, monkeypatch):
    assert "is no complete cohort" in refused("check", tmp_path / "nowhere")
    for words in (["--debug", "check", tmp_path / "nowhere"], ["check", tmp_path / "nowhere", "--debug"]):
        assert isinstance(CliRunner().invoke(app, [str(word) for word in words]).exception, FileNotFoundError)
    monkeypatch.setattr("cmrlib.cohort.Cohort.open", lambda *_: {}["digest"])  # a fault of the program
    assert refused("check", "somewhere") == "error: KeyError: digest (--debug shows where)"


@pytest.mark.parametrize("error", [TypeError, AttributeError, IndexError, RuntimeError, MemoryError, RecursionError])
def test_no_error_is_a_traceback(monkeypatch, error):
    def broken(*_):
        raise error("a list has\nno keys") if error is not MemoryError else error

    monkeypatch.setattr("cmrlib.cohort.Cohort.open", broken)
    assert f"error: {error.__name__}" in (line := refused("check", "somewhere")) and "--debug" in line
    assert isinstance(CliRunner().invoke(app, ["check", "somewhere", "--debug"]).exception, error)


def test_phantom_makes_a_cohort_once(place, tmp_path):
    output = cmr("phantom", place / "hearts", "--subjects", 6, "--frames", 4, *TINY)
    assert "6 subjects, 6 cines, observers truth" in output
    assert "holds another cohort" in refused("phantom", place / "hearts", "--subjects", 7, "--frames", 4, *TINY)
    assert "does not know the views ['5ch']" in refused("phantom", tmp_path / "x", "--views", "sax,5ch")
    (tmp_path / "file").touch()
    assert "cannot write" in refused("phantom", tmp_path / "file" / "hearts", "--subjects", 1, "--frames", 2, *TINY)
    more = ["--subjects", 1, "--frames", 3, "--visits", 2, "--mix", "mr2", "--people", "yale,lund", *TINY]
    assert "1 subjects, 2 cines, observers lund, truth, yale" in cmr("phantom", tmp_path / "c", *more)


def test_ingest_says_what_came_out_and_refuses_what_it_cannot_use(tmp_path):
    src, dest = tmp_path / "src", tmp_path / "cohort"
    for name in ("anna", "bert"):
        trees.write_cine(src / name / "mystery", slices=1, frames=4)
        (src / name / "notes.txt").write_text("no image")
    output = cmr("ingest", "dicom", src, dest, "--workers", 1, "--view", "mystery=4ch")
    assert "2 subjects, 2 cines" in output and "rejected: 2" in output and re.search(r"(?m)^  2 × \w", output)
    assert set(Cohort.open(dest).cines["view"]) == {"4ch"}
    assert "1 subjects" in cmr("ingest", "dicom", src, tmp_path / "one", "--limit", 1, "--workers", 1)
    (tmp_path / "empty" / "anna").mkdir(parents=True)
    assert "nothing to ingest" in refused("ingest", "dicom", tmp_path / "empty", tmp_path / "c", "--workers", 1)
    (tmp_path / "patient001").mkdir()
    for name in ("patient001_frame01", "patient001_frame01_gt", "patient001_frame12", "patient001_frame12_gt"):
        (tmp_path / "patient001" / f"{name}.nii.gz").touch()
    (tmp_path / "patient001" / "Info.cfg").write_text("ED: 1")
    assert "looks like acdc" in refused("ingest", "dicom", tmp_path / "patient001", tmp_path / "d", "--workers", 1)
    for words, problem in (
        (("xyz", src), "unknown kind of data 'xyz'"),
        (("acdc", tmp_path / "nowhere"), "does not exist"),
        (("dicom", src, "--view", "a=5ch"), "expected NAME=VIEW"),
        (("acdc", src, "--view", "a=sax"), "--view is not for acdc"),
        (("acdc", src, "--min-frames", 1), "--min-frames is not for acdc"),
        (("nifti", src, "--label", "liver=3"), "expected STRUCTURE=CODE"),
        (("nifti", src, "--phase", "late"), "expected ed or es"),
    ):
        assert problem in refused("ingest", *words[:2], tmp_path / "c", *words[2:])
    assert not (tmp_path / "c").exists()


def test_check_names_missing_and_changed_files(place, tmp_path):
    assert "35 of 35 files" in cmr("check", place / "hearts")
    shutil.copytree(place / "hearts", tmp_path / "hearts")
    arrays = sorted((tmp_path / "hearts").rglob("*_cine.nii"))
    arrays[0].unlink()
    content = bytearray(arrays[1].read_bytes())
    content[-1] ^= 1
    arrays[1].write_bytes(content)
    output = cmr("check", tmp_path / "hearts", code=1)
    for state, path in (("missing", arrays[0]), ("changed", arrays[1])):
        assert f"{state}: {path.relative_to(tmp_path / 'hearts')}" in output
    assert "33 of 35 files" in output
    for subject, problem in (("P0001", "is missing; a cohort never changes"), ("P0002", "changed after digests.json")):
        words = ["--weights", place / "run", *QUICK, "--subjects", subject]
        assert problem in refused("segment", tmp_path / "hearts", *words)


# -- predict ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def segmented(place):
    """What `cmr segment` said of two subjects of `mine`, and then of all five."""
    words = ["segment", place / "mine", *QUICK, "--weights"]
    first = cmr(*words, place / "run", "--subjects", "P0001,P0002")
    return first, cmr(*words, place / "run" / "weights" / "sax.safetensors")


def test_a_mask_changed_in_place_is_found_and_not_drawn_over(place, segmented, tmp_path):
    for name in ("mine", "mine-observers"):
        shutil.copytree(place / name, tmp_path / name)
    assert "0 were added" in cmr("check", tmp_path / "mine")
    mask = next((tmp_path / "mine-observers").rglob("sub-P0003*_dseg.nii"))
    mask.write_bytes(content := mask.read_bytes()[:-1] + b"\7")
    assert f"changed: {mask}" in cmr("check", tmp_path / "mine", code=1)
    words = ["segment", tmp_path / "mine", *QUICK, "--weights", place / "run" / "weights" / "sax.safetensors"]
    assert "to correct masks by hand use `cmr correct`" in refused(*words)
    assert mask.read_bytes() == content
    (mask.parent / "digests.json").unlink()
    assert "0 cines segmented now, 5 before" in cmr(*words)


def test_segment_goes_on_where_it_was(place, segmented, tmp_path):
    assert "2 cines segmented now, 0 before" in segmented[0] and "3 cines segmented now, 2 before" in segmented[1]
    folder = place / "mine-observers" / "ternausnet"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*_dseg.nii")}
    table = (folder / "segmented.csv").read_bytes()
    next(folder.rglob("sub-P0003*_predicted.json")).unlink()  # killed between the mask and its note
    words = ["segment", place / "mine", *QUICK]
    assert "1 cines segmented now, 4 before" in cmr(*words, "--weights", place / "run" / "weights" / "sax")
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*_dseg.nii")}
    assert [path.name for path in before if before[path] != after[path]] == ["sub-P0003_view-sax_dseg.nii"]
    assert (folder / "segmented.csv").read_bytes() == table
    assert len(pd.read_csv(folder / "segmented.csv")) == 5
    save_network(tmp_path / "other" / "weights", seed=5)
    words += ["--subjects", "P0001", "--out", tmp_path / "o", "--weights"]
    for run, n in (("run", 1), ("run", 0), (tmp_path / "other", 1)):
        assert f"{n} cines segmented now" in (said := cmr(*words, place / run))
        assert "travel with the package" not in said


def test_predict_does_what_the_weights_are_for(place, tmp_path):
    words = [place / "mine", "--subjects", "P0001", "--threads", 1, "--out"]
    assert "1 cines segmented now" in cmr("predict", place / "run", *words, tmp_path / "masks")
    task = small_heartmae()
    task.save(task.network(), tmp_path / "encoder" / "plain")
    assert "1 subjects × " in cmr("predict", tmp_path / "encoder", *words, tmp_path / "features")
    said = cmr("predict", "synthetic", *words, tmp_path / "all")
    assert "1 cines segmented now" in said and "ED and ES of 1 cines" in said and "valve: the weights are for" in said
    assert (tmp_path / "all" / "tempreg" / "frames.csv").exists() and not (tmp_path / "all" / "mvnet").exists()


@pytest.mark.parametrize("command", ["segment", "frames", "valve"])
def test_without_weights_those_that_travel_with_the_package_look(place, tmp_path, command):
    hearts = place / "mine"
    if command == "valve":
        hearts = tmp_path / "long_axis"
        cmr("phantom", hearts, "--subjects", 1, "--frames", 8, "--size", 64, "--spacing-mm", 3.6, "--views", "4ch")
    for name, words in (("default", []), ("synthetic", ["--weights", "synthetic"])):
        said = cmr(command, hearts, "--out", tmp_path / name, "--subjects", "P0001", "--threads", 1, *words)
        lines = [line for line in said.splitlines() if "travel with the package" in line]
        assert len(lines) == 1 and "licence" in lines[0] and list((tmp_path / name).glob("*sv"))
    assert "of synthetic, trained on phantoms alone, licence phantom: Apache-2.0" in lines[0]
    assert "real" not in lines[0].replace(str(SHIPPED), "")


def test_segment_never_writes_over_others(place, tmp_path):
    words = ["segment", place / "mine", "--weights", place / "run", "--threads", 1, "--out"]
    derivatives = place / "mine" / "derivatives"
    assert "lies inside the cohort" in refused(*words, derivatives / "truth")
    shutil.copytree(derivatives / "truth", tmp_path / "doctor")
    assert "another command made" in refused(*words, tmp_path / "doctor")
    (tmp_path / "file").touch()
    assert "cannot write" in refused(*words, tmp_path / "file" / "masks")
    assert "no complete cohort" in refused("segment", tmp_path, *words[2:], tmp_path / "x")
    assert "['P9']" in refused(*words, tmp_path / "x", "--subjects", "P9") and not (tmp_path / "x").exists()
    assert "without slashes" in refused(*words[:-1], "--observer", "../mine")


class Marker:
    """Whoever unpickles this leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_is_never_opened(place, tmp_path):
    save_network(tmp_path / "weights")
    evil = pickle.dumps(Marker(tmp_path / "marker"))
    for name in ("sax.safetensors", "sax.pt", "alone/sax.pkl"):
        (tmp_path / "weights" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "weights" / name).write_bytes(evil)
    words = ["segment", place / "mine", "--out", tmp_path / "out", "--weights"]
    assert "does not fit the architecture" in refused(*words, tmp_path)
    assert "never opened" in refused(*words, tmp_path / "weights" / "sax.pt")
    assert "never opened" in refused(*words, tmp_path / "weights" / "alone")
    assert not (tmp_path / "marker").exists() and not (tmp_path / "out").exists()
    pickle.loads(evil)
    assert (tmp_path / "marker").exists(), "the pickle was harmless, so this test showed nothing"


def test_weights_of_another_network_are_refused(place, tmp_path):
    words = ["segment", place / "mine", "--out", tmp_path / "out", "--weights"]
    save_network(tmp_path)
    card = json.loads((tmp_path / "sax.json").read_text())
    for change, problem in (
        ({"architecture": {"name": "HeartMAE"}}, "no weights card of a segmentation"),
        ({"preprocessing": card["preprocessing"] | {"spacing_mm": 1e-6}}, "spacing_mm is 1e-06"),
        ({"preprocessing": card["preprocessing"] | {"width": 10**9}}, "no card of these weights"),
        ({"preprocessing": card["preprocessing"] | {"width": 16}}, "does not fit the architecture"),
    ):
        (tmp_path / "sax.json").write_text(json.dumps(card | change))
        assert problem in refused(*words, tmp_path)
    (tmp_path / "sax.json").unlink()
    assert "sax.json not found" in refused(*words, tmp_path)
    assert "not found" in refused(*words, tmp_path / "nothing")
    save_network(tmp_path / "long_axis", view="4ch")
    assert "the weights are for 4ch" in refused(*words, tmp_path / "long_axis")


# -- measure ----------------------------------------------------------------------------------------------------


def test_messages_name_paths_as_seen_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert near(f"all measures: {tmp_path / 'a' / 'b.tsv'}") == "all measures: a/b.tsv"
    assert near(f"{Path.home() / 'c'} and {tmp_path.parent}") == f"~/c and {tmp_path.parent}"


def test_measure_prints_and_writes(place, segmented):
    output = cmr("measure", place / "mine", "--observer", "ternausnet", "--papillary", "in cavity")
    assert "lvef_pct" in output and "papillary in cavity" in output and "curve for 5 subjects" in output
    table = Observer(place / "mine-observers" / "ternausnet").measures()
    assert table["participant_id"].tolist() == [f"P000{k}" for k in range(1, 6)] and "mean ± SD of 5" in output


def test_measure_writes_nothing_into_the_cohort_and_tests_its_folder_first(place, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr("cmrlib.app.cli.observers.measured", None)  # never reached
    words = ["measure", place / "hearts", "--observer", "truth", "--out"]
    assert "lies inside the cohort" in refused(*words, place / "hearts" / "derivatives")
    assert "cannot write" in refused(*words, tmp_path / "file")
    assert not (place / "hearts" / "measures.tsv").exists()


def test_measure_of_truth_takes_given_phases_and_leaves_the_cohort_alone(place, tmp_path):
    hearts = place / "hearts"
    before = (hearts / "derivatives" / "truth" / "measures.tsv").read_bytes()
    assert "ED and ES: given for 6 subjects" in cmr("measure", hearts, "--observer", "truth")
    assert (hearts / "derivatives" / "truth" / "measures.tsv").read_bytes() == before
    written = Observer(place / "hearts-observers" / "truth").measures().set_index("participant_id")
    truth = Cohort.open(hearts).observer("truth").measures().set_index("participant_id")
    off = (written["lvef_pct"] - truth["lvef_pct"]).abs()  # four frames and five slices: ES is hit by chance
    assert off.mean() < 8 and off.max() < 15
    folder = hearts / "derivatives" / "truth"  # the same masks, named by their folder
    cmr("measure", hearts, "--observer", folder, "--out", tmp_path, "--phases", "given", "--subjects", "P0002")
    assert Observer(tmp_path).measures()["lvef_pct"].tolist() == [written["lvef_pct"]["P0002"]]
    timed = [*("measure", hearts, "--observer", "truth", "--out", tmp_path), "--frames-from", folder]
    assert "given by truth" in cmr(*timed)
    assert "expected one of" in refused("measure", hearts, "--observer", "truth", "--papillary", "maybe")
    assert "there are truth" in refused("measure", hearts, "--observer", "nobody", "--out", tmp_path)
    assert "['P9']" in refused("measure", hearts, "--observer", "truth", "--subjects", "P9")


def test_a_network_is_not_compared_on_those_from_whom_it_learned(place, tmp_path):
    """Against a person: refused. Against masks that were corrected from its own: what the correction changed."""
    hearts, seen = place / "mine", ["--subjects", "P0001,P0002"]
    save_network(tmp_path / "run", **learned_from(Cohort.open(hearts), ["P0001"], "sax"))
    cmr("segment", hearts, "--weights", tmp_path / "run", *QUICK, "--observer", "knowing", *seen)
    table = pd.read_csv(place / "mine-observers" / "knowing" / "segmented.csv")
    assert table["flags"].str.contains("trained_on_this_subject").tolist() == [True, False]
    measure = ["measure", hearts, "--phases", "given", "--observer"]
    for pair in (("knowing", "truth"), ("truth", "knowing")):
        assert "1 of 2 subjects to be scored on (P0001)" in cmr(*measure, pair[0], "--against", pair[1], *seen, code=2)
    assert "what changed" in cmr(*measure, "knowing", "--against", "truth", "--subjects", "P0002")
    cmr("correct", hearts, "--observer", "knowing", "--name", "mended", *seen)
    assert "what changed" in cmr(*measure, "mended", "--against", "knowing", *seen)


# -- finetune ---------------------------------------------------------------------------------------------------


def tune(place, out, *words, code=0):
    asked = ["--cohort", place / "mine", "--observer", place / "doctor", "--epochs", 1, "--folds", 2, *QUICK]
    return cmr("finetune", place / "run", *asked, "--out", out, *words, code=code)


@pytest.fixture(scope="module")
def tuned(place):
    """Folder of a fine-tuning; subjects of each training and of each test, in order; what was printed."""
    trained, tested = [], []
    with pytest.MonkeyPatch.context() as patch:

        def train(task, cohort, observer, split, *args, train=Segmentation.train, **kwargs):
            trained.append(set(split.index[split != "test"]))
            return train(task, cohort, observer, split, *args, **kwargs)

        def predict(task, models, cohort, subjects=None, *args, predict=Segmentation.predict, **kwargs):
            tested.append("all" if subjects is None else set(subjects))
            return predict(task, models, cohort, subjects, *args, **kwargs)

        patch.setattr(Segmentation, "train", train)
        patch.setattr(Segmentation, "predict", predict)
        output = tune(place, place / "tuned")
    return place / "tuned", trained, tested, output


def test_finetune_tests_on_subjects_it_did_not_learn_from(tuned):
    folder, trained, tested, output = tuned
    everyone = {f"P000{k}" for k in range(1, 6)}
    assert tested[0] == "all" and len(tested) == 3 and len(trained) == 3
    for learned, held_out in zip(trained, tested[1:]):
        assert learned and held_out and not learned & held_out and learned | held_out == everyone
    assert tested[1] | tested[2] == everyone and not tested[1] & tested[2] and trained[2] == everyone
    table = pd.read_csv(folder / "tables" / "before_after.csv")
    assert table["structure"].tolist() == ["lv", "myo", "rv", "mean"] and (table["n"] == 5).all()
    shown = re.search(r"mean\s+.\s+([0-9.]+) \[([0-9.]+), ([0-9.]+)\]", output)
    assert float(shown[1]) == pytest.approx(table["dice_before"].iloc[-1], abs=6e-4)
    split = pd.read_csv(folder / "tables" / "split_sax.csv")
    assert (split[split["split"] == "test"]["participant_id"].value_counts() == 1).all()


def test_finetune_leaves_weights_that_say_where_they_come_from(place, tuned):
    folder = tuned[0]
    card = json.loads((folder / "weights" / "sax.json").read_text())
    assert card["finetuned_from"]["cohort"] == "elsewhere" and card["observer"] == "doctor" and card["epochs"] == 1
    assert card["trained_on"] == {"phantom": sorted(Cohort.open(place / "mine").cines["digest"])}
    assert card["licence"] == "phantom: Apache-2.0" and str(place) not in json.dumps(card)
    cmr("segment", place / "hearts", "--weights", folder, *QUICK, "--subjects", "P0001", "--observer", "tuned")
    again = ["finetune", folder, "--observer", "truth", "--cohort"]
    assert "5 of 5 subjects to be scored on (P0001, " in refused(*again, place / "mine", "--out", place / "x")


def test_finetune_twice_is_finetune_once(place, tuned):
    kept = {path.name: path.read_bytes() for path in tuned[0].rglob("*") if path.suffix in (".csv", ".safetensors")}
    assert "Segmentation: epoch" not in tune(place, tuned[0])  # nothing is trained again
    assert kept == {name: next(tuned[0].rglob(name)).read_bytes() for name in kept}
    assert "other weights, labels, settings" in tune(place, tuned[0], "--seed", 2, code=2)


def test_finetune_refuses_before_it_trains(place, tmp_path):
    words = ["finetune", place / "run", "--cohort", place / "mine", "--out", tmp_path / "out"]
    assert "no observer 'manual'" in refused(*words)
    cohort = Cohort.open(place / "mine")
    draw(cohort, tmp_path / "doctor", 2)
    assert "2 labelled subjects" in refused(*words, "--observer", tmp_path / "doctor")
    assert "another folder" in refused(*words[:4], "--observer", "truth", "--out", tmp_path)
    assert "lies inside the cohort" in refused(*words[:4], "--observer", "truth", "--out", place / "mine" / "out")
    save_network(tmp_path / "known", cohort_digest=cohort.digest)
    assert "learned from this very cohort" in refused("finetune", tmp_path / "known", *words[2:], "--observer", "truth")
    assert not (tmp_path / "out").exists() and not (place / "mine" / "out").exists()


@pytest.mark.parametrize(("n", "folds"), [(3, 3), (4, 2), (5, 3), (7, 5), (20, 5)])
def test_every_subject_is_tested_once(place, n, folds):
    cohort = Cohort.open(place / "mine")
    cohort.subjects = pd.DataFrame({"participant_id": [f"S{k}" for k in range(n)]})
    table = fold_splits(cohort, folds)
    assert table["fold"].nunique() == folds and len(table) == n * folds
    assert (table[table["split"] == "test"].groupby("participant_id").size() == 1).all()
    sides = table.groupby(["fold", "split"]).size().unstack()
    assert (sides["validation"] == 1).all() and (sides["train"] >= 1).all() and sides["test"].sum() == n
    with pytest.raises(ValueError, match="ask for more folds"):
        cohort.subjects = cohort.subjects[:3]
        fold_splits(cohort, 2)


def test_before_after_by_hand():
    scores = pd.DataFrame(
        {
            "participant_id": ["a", "a", "b", "c", "c"],
            "view": "sax",
            "structure": "lv",
            "dice_before": [0.4, 0.6, 0.6, 0.7, None],
            "dice_after": [0.6, 0.8, 0.9, 0.7, 0.9],
        }
    )
    row = before_after(scores).iloc[0]  # subjects: .5, .6, .7 before; .7, .9, .7 after
    assert (row["dice_before"], row["dice_after"], row["dice_difference"]) == pytest.approx((0.6, 2.3 / 3, 0.5 / 3))
    assert (row["n"], row["n_undefined"]) == (3, 1)
    assert np.isnan([row["dice_difference_low"], row["dice_difference_high"]]).all()  # three subjects


# -- compare ----------------------------------------------------------------------------------------------------


def write_run(folder, **columns):
    table = {"participant_id": ["a", "b"], "n": [1, 2], "dice": [0.5, 1e-17], "seconds": [1.0, 2.0]} | columns
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    pd.DataFrame(table).to_csv(folder / "tables" / "scores.csv", index=False)
    return folder


def test_compare_equal_runs(tmp_path):
    a = write_run(tmp_path / "a")
    b = write_run(tmp_path / "b", dice=[0.5000001, -1e-17], seconds=[3.0, 4.0])
    assert "1 tables agree" in cmr("compare", a, b)
    assert "1 tables agree" in cmr("compare", a / "tables" / "scores.csv", b / "tables" / "scores.csv")
    assert "row 1, dice: 0.5 against 0.5000001" in cmr("compare", a, b, "--rtol", "1e-9", code=1)
    (tmp_path / "empty").mkdir()
    assert "holds no tables" in refused("compare", a, tmp_path / "empty")
    assert "does not exist" in refused("compare", a, tmp_path / "nowhere")


@pytest.mark.parametrize("columns, line", [
    ({"n": [1, 3]}, "scores.csv: row 2, n: 2 against 3"),
    ({"n": [1, 10**9 + 2]}, "scores.csv: row 2, n: 2 against 1000000002"),
    ({"participant_id": ["a", "c"]}, "scores.csv: row 2, participant_id: b against c"),
    ({"dice": [0.5, None]}, "scores.csv: row 2, dice: 1e-17 against nothing"),
    ({"dice": [0.51, 0]}, "scores.csv: row 1, dice: 0.5 against 0.51"),
    ({"more": [1, 2]}, "only in the first [], only in the second ['more']"),
])  # fmt: skip
def test_compare_names_differences(tmp_path, columns, line):
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b", **columns)
    output = cmr("compare", a, b, code=1)
    assert line in output and "1 differences in 1 tables" in output


def test_compare_counts_tables_rows_and_integers(tmp_path):
    a, b = write_run(tmp_path / "a", n=[10**9, 2]), write_run(tmp_path / "b", n=[10**9 + 1, 2])
    (b / "tables" / "extra.csv").write_text("x\n1\n")
    differences, n_tables = compare_runs(a, b)
    assert n_tables == 2 and len(differences) == 2, "integers have no tolerance"
    assert f"not in {a}" in differences[0]
    (b / "tables" / "scores.csv").write_text((a / "tables" / "scores.csv").read_text() + "c,3,0.1,1\n")
    assert "2 rows against 3" in cmr("compare", a, b, code=1)
