"""Hearts at one instant, end-diastole say: every command on stacks of one frame, and what they say is unknown."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hearts import save_segmentation, small_heartmae
from typer.testing import CliRunner

from cmrlib.app.cli import app
from cmrlib.cohort import Annotation, Cohort
from cmrlib.datasets import ingest
from cmrlib.measures import features, volumes
from cmrlib.measures.features import single_frames
from cmrlib.measures.phases import named_phases

LABELS = {"lv": 1, "myo": 2, "rv": 3}


def cmr(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code and "Traceback" not in result.output, f"{result.output}\n{result.exception!r}"
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def place(cohort, tmp_path_factory):
    """Cohorts `ed`, whose files say so, and `plain`, of the phantom's hearts at ED with their masks; and networks."""
    place = tmp_path_factory.mktemp("single")
    for cine in map(cohort.cine, cohort.cines["cine"]):
        mask = np.asarray(cohort.observer("truth").mask(cine.name).mask)
        for kind, name in (("ed", "sax_ED"), ("plain", "sax")):
            folder = place / "src" / kind / cine.subject
            folder.mkdir(parents=True)
            for pixels, end in ((np.asarray(cine.pixels), ""), (mask, "_gt")):
                nib.save(
                    nib.Nifti1Image(np.ascontiguousarray(pixels[cine.ed].T), cine.affine),
                    folder / f"{name}{end}.nii.gz",
                )
    for kind in ("ed", "plain"):
        labels = [word for name, code in LABELS.items() for word in ("--label", f"{name}={code}")]
        cmr("ingest", "nifti", place / "src" / kind, place / kind, "--workers", 1, *labels)
    path = place / "runs" / "01_segmentation" / "weights" / "sax"
    save_segmentation(path, cohort="elsewhere", synthetic=True)
    task = small_heartmae()
    task.save(task.network(), place / "runs" / "07_heartmae_pretrain" / "weights" / "plain")
    return place


@pytest.fixture(scope="module")
def truth(cohort):
    return features(cohort, "truth").set_index("participant_id")


def test_volumes_are_edv_where_the_file_says_ed(place, truth):
    table = features(Cohort.open(place / "ed"), "manual", walls=True).set_index("participant_id")
    names = ["lvedv_ml", "rvedv_ml", "lvm_g"]
    np.testing.assert_allclose(table[names], truth[names], rtol=1e-5)
    assert table[["lvesv_ml", "lvef_pct", "rvef_pct", "lvsv_ml"]].isna().all(axis=None)
    assert (table["ed_frame"] == 0).all() and table["es_frame"].isna().all()
    assert all({"es_unknown", "single_frame"} <= set(flags.split(";")) for flags in table["flags"])
    assert single_frames(Cohort.open(place / "ed"), "manual").empty


def test_end_systole_alone_has_no_mass(place, truth):
    hearts = ingest("nifti", place / "src" / "plain", place / "es", 1, False, phase="es", labels=LABELS)
    table = features(hearts, "manual").set_index("participant_id")
    np.testing.assert_allclose(table["lvesv_ml"], truth["lvedv_ml"], rtol=1e-5)
    assert table[["lvedv_ml", "lvm_g", "lvef_pct"]].isna().all(axis=None)


def test_a_frame_of_no_known_phase_has_volumes_but_no_edv(place, truth):
    plain = Cohort.open(place / "plain")
    table = features(plain, "manual")
    assert table["lvedv_ml"].isna().all() and all("ed_es_unknown" in flags for flags in table["flags"])
    measured = single_frames(plain, "manual").set_index("participant_id")["lv_ml"]
    np.testing.assert_allclose(measured, truth["lvedv_ml"], rtol=1e-5)


def test_the_only_phase_may_be_the_observers(place):
    hearts = Cohort.open(place / "plain")
    cine = hearts.cine(hearts.cines["cine"].iloc[0])
    annotation = hearts.observer("manual").mask(cine.name)
    assert named_phases(cine, annotation) == {}
    annotation.frames = {"ed": float("nan"), "es": 0.0}
    assert named_phases(cine, annotation) == {"es": 0}
    assert named_phases(cine, Annotation(frames={"ed": 0, "es": 0})) == {"ed": 0, "es": 0}
    with pytest.raises(ValueError, match="frame 3 was named ED or ES; the cine has 1 frames"):
        named_phases(cine, Annotation(frames={"ed": 3}))
    assert volumes(cine, annotation).shape == (1, 3)


@pytest.mark.parametrize("kind", ["ed", "plain"])
def test_segment_measure_and_correct(place, kind):
    weights = place / "runs" / "01_segmentation"
    assert "6 cines segmented now" in cmr("segment", place / kind, "--weights", weights, "--n-tta", 1, "--threads", 1)
    said = cmr("measure", place / kind, "--observer", "ternausnet")
    unknown = "ES is" if kind == "ed" else "ED and ES are"
    assert f"no ejection fraction of 6 of 6: {unknown} unknown" in said
    assert ("nothing says whether it is ED or ES" in said) == (kind == "plain") == ("lv_ml" in said)
    assert ("lvedv_ml" in said) == (kind == "ed")
    cmr("correct", place / kind, "--observer", "manual")
    assert "against manual" in cmr("measure", place / kind, "--observer", "corrected", "--against", "manual")


def test_what_needs_a_cycle_says_so_and_embeddings_do_not(place):
    assert "no cine of 8 or more frames" in cmr("frames", place / "ed", code=2)
    assert "has no cine among these subjects" in cmr("valve", place / "ed", code=2)
    encoder = place / "runs" / "07_heartmae_pretrain"
    assert "6 subjects" in cmr("embed", place / "ed", "--weights", encoder, "--out", place / "e", "--threads", 1)
    table = pd.read_csv(place / "e" / "embeddings.csv")
    assert len(table) == 6 and np.isfinite(table.iloc[:, 1:].to_numpy(float)).all()


@pytest.mark.parametrize("kind", ["ed", "plain"])
def test_a_page_about_one_frame(place, kind):
    cmr("ingest", "nifti", place / "src" / kind, place / f"one_{kind}", "--limit", 1, "--workers", 1)
    page, weights = place / f"{kind}.html", ["--weights", place / "runs", "--threads", 1]
    said = cmr("report", place / f"one_{kind}", "-o", page, *weights)
    rows = {row["measure"]: row for row in json.loads((place / f"{kind}.json").read_text())["measures"]}
    why = "one frame, at ED" if kind == "ed" else "one frame, and nothing says whether it is ED or ES"
    assert rows["rvesv_ml"]["reason"] == why  # the LV that a smoke network drew may be withheld for its size
    assert rows["lvef_biplane_pct"]["reason"] == "not found; needs 2CH and 4CH cines"
    assert ("which phase the one frame shows; there, LV" in said) == (kind == "plain")
    assert (place / f"{kind}.html").read_text().count("data:image/jpeg") == (
        4 if kind == "ed" else 3
    )  # without a phase, no sheet
