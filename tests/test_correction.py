"""The correction loop: masks laid out, saved again as other programs save them, measured, and what changed."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cmrlib.app.cli import app
from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.cohort import Cohort, Observer
from cmrlib.measures import features
from cmrlib.phantom import make_cohort

CINE = "sub-P0001_view-sax"


TINY = {"frames": 8, "size": 64, "spacing_mm": 3.2, "workers": 1, "progress": False}


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    return make_cohort(tmp_path_factory.mktemp("correction") / "hearts", 1, slices=5, views=("sax",), **TINY)


@pytest.fixture
def laid(hearts, tmp_path):
    """(cohort, the folder `corrected`, the mask's file), as `cmr correct` lays it out."""
    folder = tmp_path / "corrected"
    done = CliRunner().invoke(app, ["correct", str(hearts.path), "--observer", "truth", "--out", str(folder)])
    assert done.exit_code == 0, done.output
    assert f"itksnap -g {hearts.path}" in done.output and f"--observer {folder} --against truth" in done.output
    return hearts, folder, next(folder.rglob("*_dseg.nii.gz"))


def cut(hearts):
    """The truth without the LV cavity of its basal slice, which is what the reader corrects; (mask, slice). A hole in
    the middle would make the volume n/a."""
    mask = np.array(hearts.observer("truth").mask(CINE).mask)
    ed = hearts.cine(CINE).ed
    k = int((mask[ed] == STRUCTURES["lv"]).any((1, 2)).argmax())
    mask[:, k][mask[:, k] == STRUCTURES["lv"]] = 0
    return mask, k


def saved(path, mask, affine, dtype=np.uint8, sform=True, qform=True, turn=None):
    """As some program would save (frames, slices, rows, columns), without our units, times and intents."""
    data = mask.T.astype(dtype)
    if turn is not None:
        affine = affine @ nib.orientations.inv_ornt_aff(turn, data.shape[:3])
        data = nib.orientations.apply_orientation(data, turn)
    image = nib.Nifti1Image(data, affine.astype(np.float32))
    image.set_sform(affine if sform else None, code=int(sform))
    image.set_qform(affine if qform else None, code=int(qform))
    nib.save(image, path)


PROGRAMS = {
    "itk-snap": {"dtype": np.uint16},
    "signed": {"dtype": np.int16, "qform": False},
    "float, sform only": {"dtype": np.float32, "qform": False},
    "qform only": {"dtype": np.uint8, "sform": False},
    "axes flipped": {"dtype": np.int16, "turn": np.array([[0, -1], [1, -1], [2, 1]])},
    "axes exchanged": {"dtype": np.float64, "turn": np.array([[2, 1], [0, -1], [1, 1]])},
}


@pytest.mark.parametrize("how", PROGRAMS.values(), ids=PROGRAMS)
def test_whatever_program_saved_it_the_mask_is_the_same(laid, how):
    hearts, folder, path = laid
    mask, _ = cut(hearts)
    saved(path, mask, hearts.cine(CINE).affine, **how)
    read = Observer(folder).mask(CINE)
    np.testing.assert_array_equal(read.mask, mask)
    assert read.mask.dtype == np.uint8 and read.annotated == hearts.observer("truth").mask(CINE).annotated


def test_a_long_axis_mask_may_lose_the_axis_of_its_one_slice(tmp_path):
    hearts = make_cohort(tmp_path / "hearts", 1, views=("4ch",), **TINY)
    name, hand = "sub-P0001_view-4ch", Observer(tmp_path / "corrected")
    cine, drawn = hearts.cine(name), hearts.observer("truth").mask(name)
    hand.write(cine, drawn, to_correct=True)
    nib.save(nib.Nifti1Image(np.asarray(drawn.mask)[:, 0].T, cine.affine), next(hand.path.rglob("*_dseg.nii.gz")))
    np.testing.assert_array_equal(hand.mask(name).mask, drawn.mask)


def test_measure_says_what_changed(laid):
    """A slice of the cavity is erased: EDV falls by its pixels, times pixel area and slice distance, counted here."""
    hearts, folder, path = laid
    cine, (mask, k) = hearts.cine(CINE), cut(hearts)
    saved(path, mask, cine.affine, np.int16, qform=False)
    args = ["measure", str(hearts.path), "--observer", str(folder), "--against", "truth", "--phases", "given"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    table = pd.read_csv(folder / "changes.csv").set_index("measure")
    before = hearts.observer("truth").mask(CINE).mask
    distance, rows_mm, columns_mm = cine.spacing_mm
    lost = (before[cine.ed, k] == STRUCTURES["lv"]).sum() * distance * rows_mm * columns_mm / 1000
    assert table.loc["lvedv_ml", "difference"] == pytest.approx(-lost, rel=0.01) and lost > 5
    assert table.loc["rvedv_ml", "difference"] == 0  # untouched
    assert table.loc["lvedv_ml", "after"] == pytest.approx(
        features(Cohort.open(hearts.path, [folder]), "corrected", phases="given")["lvedv_ml"].iloc[0]
    )
    assert "truth" in done.output and "lvedv_ml" in done.output


def test_what_was_corrected_is_not_written_over(laid):
    hearts, folder, path = laid
    saved(path, cut(hearts)[0], hearts.cine(CINE).affine)
    corrected = path.read_bytes()
    args = ["correct", str(hearts.path), "--observer", "truth", "--out", str(folder)]
    assert "kept as it is" in CliRunner().invoke(app, args).output and path.read_bytes() == corrected
    (folder / "made_by.json").write_text("{}")
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 2 and "another command made" in done.output
    for more, words in ((["--out", str(hearts.path / "x")], "inside the cohort"), (["--subjects", "nobody"], "not in")):
        done = CliRunner().invoke(app, ["correct", str(hearts.path), "--observer", "truth", *more])
        assert done.exit_code == 2 and words in done.output


def test_a_mask_that_cannot_be_meant_is_refused(laid):
    hearts, folder, path = laid
    mask, affine = cut(hearts)[0], hearts.cine(CINE).affine
    moved, unknown = affine.copy(), mask.copy()
    moved[0, 3] += 10
    unknown[3, 0, 0, 0] = 9
    for what, where, dtype, problem in (
        (mask * 0.5, affine, np.float32, "smoothed or resampled"),
        (mask[:1], affine, np.uint8, "all frames in one file"),
        (mask, moved, np.uint8, "10.00 mm from its cine's place"),
        (unknown, affine, np.uint8, r"labels \[9\] in frame 3"),
    ):
        saved(path, what, where, dtype)
        with pytest.raises(ValueError, match=problem):
            Observer(folder).mask(CINE)
