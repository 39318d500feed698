"""Readers of NIfTI trees, UK Biobank's zips, M&Ms, M&Ms-2 and Kaggle's DICOM tree, on files with known truth.

No real sample of M&Ms' masks, of M&Ms-2 or of UK Biobank is at hand: their layouts are written here as documented.
"""

import re

import nibabel as nib
import numpy as np
import pytest
from corpus import DEFECTS, build, judge, write_source
from corpus.nifti import image_of
from trees import LABEL, SHORT_AXIS, cut_short, image, long_axis, read, write_cine, write_sunnybrook, written

from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.datasets import dicom, dsb2015_dicom, ingest, mnms, mnms2, nifti, sunnybrook, ukbb
from cmrlib.phantom import make_study, subject_specs

TINY = {"frames": 5, "size": 32, "spacing_mm": 6.0, "slices": 5, "subslices": 1}


@pytest.fixture(scope="module")
def study():
    (spec,) = subject_specs(1, **TINY, views=("sax", "4ch")).values()
    return make_study(LABEL, spec)


def of_kind(kind):
    return sorted(name for name, one in DEFECTS.items() if kind in one.kinds)


def check(truth, found):
    rows = judge(truth, found)
    assert all(row["met"] for row in rows), rows
    return rows


# --- NIfTI -----------------------------------------------------------------------------------------------------------


def save(path, array, affine=None, step_s=0.16):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([1.5, 1.5, 8, 1]) if affine is None else affine
    nib.save(image_of(array, affine, step_s if array.ndim == 4 else None), path)


def cube(frames=5, slices=2):
    return np.arange(frames * slices * 6 * 7, dtype=np.int16).reshape(frames, slices, 6, 7)


def test_subjects_sessions_and_people_of_a_bids_tree(tmp_path):
    for n, session in enumerate(("1", "b-2")):
        save(tmp_path / "sub-A1" / f"ses-{session}" / "cine" / f"sub-A1_ses-{session}_view-4ch.nii.gz", cube() + n)
    save(tmp_path / "sub-B2" / "sub-B2_view-2ch.nii", cube())
    save(tmp_path / "derivatives" / "net" / "sub-B2" / "sub-B2_view-2ch_dseg.nii.gz", cube())
    (tmp_path / "participants.tsv").write_text("participant_id\tsex\tage\tname\nsub-A1\tF\t44\tMARKED\n")
    items = nifti.find(tmp_path)
    assert list(items) == ["A1", "B2"]
    first, second = (nifti.read(label, item) for label, item in items.items())
    assert [(cine.session, cine.view) for cine in first.cines] == [("1", "4ch"), ("b2", "4ch")]
    assert first.participant == {"participant_id": "A1", "sex": "F", "age": 44, "group": None}
    assert [cine.view for cine in second.cines] == ["2ch"] and "segmentation" in second.rejected[0]["reason"]


def test_files_side_by_side_and_views_by_the_users_word(tmp_path):
    for name in ("case 1_sax", "case 1_lax A", "case2_sax"):
        save(tmp_path / f"{name}.nii.gz", cube(slices=1 + len(name)))
    items = nifti.find(tmp_path)
    assert list(items) == ["case1", "case2"]
    study = nifti.read("case1", items["case1"], views={"Case 1_LAX a": "3ch"})
    assert {cine.view: cine.flags for cine in study.cines} == {"3ch": ("view_as_named",), "sax": ()}
    with pytest.raises(ValueError, match="unknown views"):
        nifti.read("case1", items["case1"], views={"x": "5ch"})


def test_folders_of_views_are_one_person_and_numbers_are_hashed(tmp_path):
    for n, view in enumerate(("sax", "4ch")):
        for t in range(4):
            save(tmp_path / "patient 7" / view / f"t{t}.nii", cube()[t] + n)
    ((label, item),) = nifti.find(tmp_path / "patient 7").items()
    assert label == "patient7" and {cine.view for cine in nifti.read(label, item).cines} == {"sax", "4ch"}
    save(tmp_path / "many" / "1234567" / "sax.nii", cube())
    (label,) = nifti.find(tmp_path / "many")
    assert re.fullmatch("H[0-9a-f]{12}", label) and list(nifti.find(tmp_path / "many", keep_names=True)) == ["1234567"]


@pytest.mark.parametrize(("unit", "factor"), [("meter", 0.001), ("micron", 1000), ("meter", 1)])
def test_lengths_in_other_units_become_millimetres(tmp_path, unit, factor):
    img = nib.Nifti1Image(cube().T, np.diag([1.5 * factor, 1.5 * factor, 8 * factor, 1]))
    img.header.set_xyzt_units(unit, "sec")
    img.header["pixdim"][4] = 0.16
    (tmp_path / "p").mkdir()
    nib.save(img, tmp_path / "p" / "sax.nii")
    (cine,) = read(nifti, tmp_path).cines
    assert cine.spacing_mm == pytest.approx((8, 1.5, 1.5), rel=1e-5)
    assert ("length_unit_disbelieved" in cine.flags) == (factor == 1)


def test_sidecar_times_are_used_or_said_to_be_unusable(tmp_path):
    save(tmp_path / "p" / "sax.nii.gz", cube(), step_s=0)
    side = tmp_path / "p" / "sax.json"
    side.write_text('{"FrameTimes": [0, 0.1, 0.25, 0.3, 0.4], "RepetitionTime": 0.0035}')
    (cine,) = read(nifti, tmp_path).cines
    np.testing.assert_allclose(cine.frame_times_ms, [[0, 100, 250, 300, 400]] * 2)
    assert cine.rr_ms == pytest.approx([500, 500]) and "time_unknown" not in cine.flags
    side.write_text('{"FrameTimes": [0, 0.2, 0.1, 0.3, 0.4]}')
    (cine,) = read(nifti, tmp_path).cines
    assert cine.frame_times_ms is None and {"time_unknown", "sidecar_times_unusable"} <= set(cine.flags)


# --- a user's own masks ----------------------------------------------------------------------------------------------


LABELS = {"lv": 3, "myo": 2, "rv": 1}


def drawing(shape, frames=(0, 2)):
    """A mask in LABELS' codes, drawn in some frames only."""
    mask = np.zeros(shape, np.uint8)
    for t in frames:
        mask[t, :, 1:3, 1:3], mask[t, :, 4, 4], mask[t, :, 5, 5] = 3, 2, 1
    return mask


def test_masks_beside_images_become_the_observer_manual(tmp_path):
    images = cube()
    save(tmp_path / "p1" / "sax_cine.nii.gz", images)
    save(tmp_path / "p1" / "sax_seg.nii.gz", drawing(images.shape))
    ((label, item),) = nifti.find(tmp_path).items()
    assert "segmentation by its name" in nifti.read(label, item).rejected[0]["reason"]
    study = nifti.read(label, item, labels=LABELS)
    (annotation,) = study.observers["manual"].values()
    assert annotation.annotated == {0: tuple(LABELS), 2: tuple(LABELS)} and not study.rejected
    assert (annotation.mask[[1, 3, 4]] == 255).all() and (annotation.mask[0] == 0).any()
    for name, code in LABELS.items():
        np.testing.assert_array_equal(annotation.mask[2] == STRUCTURES[name], drawing(images.shape)[2] == code)
    cohort = ingest("nifti", tmp_path, tmp_path / "cohort", workers=1, progress=False, labels=LABELS)
    assert cohort.observer("manual").mask("sub-p1_view-sax").annotated == annotation.annotated


def test_masks_of_single_frames_find_their_frame(tmp_path):
    for t in (0, 1, 2, 3):
        save(tmp_path / "p1" / "sax" / f"frame{t:02d}.nii", cube()[t])
    save(tmp_path / "p1" / "sax" / "frame02_gt.nii", drawing((5, 2, 6, 7))[2])
    save(tmp_path / "p1" / "sax" / "frame09_gt.nii", drawing((5, 2, 6, 7))[0])
    for n, word in enumerate(("contour", "roi"), 1):  # a word of the user's own, once an image
        save(tmp_path / "p1" / "sax" / f"frame01_{word}.nii", np.roll(drawing((5, 2, 6, 7))[0], n, -1))
    ((label, item),) = nifti.find(tmp_path).items()
    study = nifti.read(label, item, labels=LABELS)
    (annotation,) = study.observers["manual"].values()
    assert sorted(annotation.annotated) == [1, 2] and (annotation.mask[3] == 255).all()
    assert [row["reason"] for row in study.rejected] == ["a mask, and no image of its name in its folder"] * 2
    told = [row["reason"] for row in nifti.read(label, item).rejected]
    assert sum("`labels` of the reader says what it shows" in why for why in told) == 3  # and a file there twice


@pytest.mark.parametrize(
    ("mask", "labels", "words"),
    [
        (drawing((5, 2, 6, 7)) * 2, LABELS, "mask values [4, 6] in view sax; expected 0 and"),
        (
            drawing((5, 2, 6, 7))[0],
            LABELS,
            r"shape (1, 2, 6, 7) (frames, slices, rows, columns); expected (5, 2, 6, 7)",
        ),
        (drawing((5, 2, 6, 7))[:, :, :4], LABELS, "has shape (5, 2, 4, 7)"),
        (drawing((5, 2, 6, 7)), {"lv": 3, "wall": 2}, "expected structures (lv, myo, rv, la, ra)"),
        (drawing((5, 2, 6, 7)), {"lv": 3, "myo": 3}, "a code of their own"),
        (drawing((5, 2, 6, 7)), {"lv": 0}, "1 to 254"),
    ],
)
def test_masks_that_do_not_fit_say_what_was_expected(tmp_path, mask, labels, words):
    save(tmp_path / "p1" / "sax.nii.gz", cube())
    save(tmp_path / "p1" / "sax_mask.nii.gz", mask)
    ((label, item),) = nifti.find(tmp_path).items()
    with pytest.raises(ValueError, match="sub-p1: .*" + re.escape(words)):
        nifti.read(label, item, labels=labels)


# --- stacks of one frame ---------------------------------------------------------------------------------------------


def stack(slices=6, n=0):
    return cube(slices=slices)[0] + n


def test_a_3d_file_is_a_cine_of_one_frame(tmp_path):
    save(tmp_path / "p1" / "sax.nii.gz", stack())
    save(tmp_path / "p1" / "sax_seg.nii.gz", drawing((1, 6, 6, 7), (0,))[0])
    ((label, item),) = nifti.find(tmp_path).items()
    study = nifti.read(label, item, labels=LABELS)
    (cine,) = study.cines
    assert cine.pixels.shape == (1, 6, 6, 7) and cine.ed is cine.es is cine.frame_times_ms is None
    assert cine.view == "sax" and "single_frame" in cine.flags and not study.rejected
    assert study.observers["manual"][cine.name].annotated == {0: tuple(LABELS)}
    assert nifti.read(label, item, phase="es").cines[0].es == 0
    assert [row["reason"] for row in nifti.read(label, item, min_frames=2).rejected][:1] == ["only 1 frames, no cine"]
    with pytest.raises(ValueError, match="the option `phase` is 'late'; expected ed or es"):
        nifti.read(label, item, phase="late")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lge/sax", "late enhancement, no cine"),
        ("scout", "localiser, no cine"),
        ("sax_t1_map", "parametric map"),
    ],
)
def test_other_3d_files_of_an_examination_stay_out(tmp_path, name, reason):
    save(tmp_path / "p1" / f"{name}.nii.gz", stack())
    save(tmp_path / "p1" / "two.nii.gz", stack(2))
    found = sorted(row["reason"] for row in read(nifti, tmp_path).rejected)
    assert len(found) == 2 and found[0].startswith("a single 3-D frame of 2 slices") and found[1].startswith(reason)


def test_names_tell_ed_and_es(tmp_path):
    for n, name in enumerate(("p1_sax_ED", "p1_sax_ES", "p2_ED")):
        save(tmp_path / f"{name}.nii.gz", stack(n=n))
    save(tmp_path / "p1_sax_ES_gt.nii.gz", drawing((1, 6, 6, 7), (0,))[0])
    one, other = (
        nifti.read(label, item, views={"p2_ED": "sax"}, labels=LABELS, phase="es")
        for label, item in nifti.find(tmp_path).items()
    )
    (both,), (alone,) = one.cines, other.cines
    assert (both.frames, both.ed, both.es, both.frames_of) == (2, 0, 1, ((0, 1), 0)) and both.name == "sub-p1_view-sax"
    assert "phases_by_name" in both.flags and both.pixels[:, 0, 0, 0].tolist() == [0, 1]
    assert one.observers["manual"][both.name].annotated == {1: tuple(LABELS)} and not one.rejected
    assert (alone.frames, alone.ed, alone.es) == (1, 0, None)  # the name goes before the option


def single_images(folder, slices=6, **tags):
    write_cine(folder, slices=slices, frames=1, orientation=SHORT_AXIS, CardiacNumberOfImages=None, **tags)


@pytest.mark.parametrize(
    ("description", "slices", "tags", "why"),
    [
        ("cine_sa_ED", 6, {}, ""),
        ("", 6, {}, "single image"),
        ("cine_sa_ED", 4, {}, "single image"),
        ("sa_psir_lge", 6, {}, "late enhancement"),
        ("localizer_sa", 6, {}, "localiser"),
        ("sax", 6, {"ImageType": ["DERIVED", "PRIMARY", "T1 MAP"]}, "map"),
        ("axial_haste", 6, {}, "single image"),
    ],
)
def test_dicom_takes_single_images_where_it_is_told_to(tmp_path, description, slices, tags, why):
    single_images(tmp_path / "p1", slices, SeriesDescription=description, **tags)
    assert not read(dicom, tmp_path).cines
    study = dicom.read("p1", tmp_path / "p1", min_frames=1, phase="ed")
    if why:
        assert not study.cines and len(study.rejected) == slices
        assert all(why in row["reason"] for row in study.rejected)
        return
    (cine,) = study.cines
    assert cine.pixels.shape[:2] == (1, 6) and (cine.view, cine.ed, cine.es) == ("sax", 0, None)
    assert "single_frame" in cine.flags and not study.rejected


# --- UK Biobank ------------------------------------------------------------------------------------------------------


def test_both_visits_are_sessions_and_no_number_is_written(study, tmp_path):
    written(study, tmp_path / "src", "ukbb")
    write_source(tmp_path / "src" / "deeper", [build(study, 2, "ukbb", ["repeat_visit"])])
    cohort = ingest("ukbb", tmp_path / "src", tmp_path / "cohort", workers=1, progress=False)
    assert cohort.cines["session"].tolist() == ["2", "2", "3", "3"] and len(cohort.subjects) == 1
    files = [path for path in cohort.path.rglob("*") if path.is_file()]
    everything = b"".join(str(path.relative_to(cohort.path)).encode() + path.read_bytes() for path in files)
    assert b"9000001" not in everything and b"MARKED" not in everything
    private = tmp_path / ".cohort.sources.tsv"
    assert private.stat().st_mode & 0o777 == 0o600 and "9000001" in private.read_text()


def test_a_participant_keeps_the_label_when_a_later_visit_comes(study, tmp_path):
    written(study, tmp_path / "src", "ukbb")
    label = list(ukbb.find(tmp_path / "src"))
    for path in list((tmp_path / "src").iterdir()):
        path.with_name(path.name.replace("_2_0", "_3_0")).write_bytes(path.read_bytes())
    assert list(ukbb.find(tmp_path / "src")) == label and re.fullmatch("H[0-9a-f]{12}", label[0])


def test_two_archives_of_one_visit_are_kept_apart_and_flagged(study, tmp_path):
    written(study, tmp_path / "src", "ukbb")
    for path in list((tmp_path / "src").iterdir()):
        path.with_name(path.name.replace("_2_0", "_2_1")).write_bytes(path.read_bytes())
    found = read(ukbb, tmp_path / "src")
    assert {reason["reason"] for reason in found.rejected} == {"the same file twice"}  # byte for byte: once is enough
    other = make_study(LABEL, next(iter(subject_specs(1, **TINY, views=("sax", "4ch"), seed=5).values())))
    write_source(tmp_path / "other", [build(other, 1, "ukbb", [])])
    for path in (tmp_path / "other").iterdir():
        path.replace(tmp_path / "src" / path.name.replace("_2_0", "_2_1"))
    found = read(ukbb, tmp_path / "src")
    assert {(cine.session, cine.view) for cine in found.cines} == {
        (session, view) for session in ("2", "2array1") for view in ("sax", "4ch")
    }
    assert all("visit_archived_twice" in cine.flags for cine in found.cines) and not found.rejected


# --- M&Ms, M&Ms-2, Kaggle --------------------------------------------------------------------------------------------

HEADER = ",External code,VendorName,Vendor,Centre,ED,ES,Age,Pathology,Sex,Height,Weight\n"


def view_of(study, view):
    cine = next(cine for cine in study.cines if cine.view == view)
    return cine, study.observers["truth"][cine.name].mask


def in_mnms_codes(mask):
    return np.where(np.isin(mask, [1, 2, 3]), mask, 0).astype(np.uint8)


def write_mnms(study, root, folder="Training/Labeled", row=None, drawn=True, exchange=False):
    """Patient A0S9V9 with the phantom's short-axis cine; returns the cine."""
    cine, truth = view_of(study, "sax")
    mask = np.zeros(cine.pixels.shape, np.uint8)
    for t in (cine.ed, cine.es) if drawn else ():
        mask[t] = in_mnms_codes(truth[t])
        mask[t] = np.array([0, 3, 2, 1], np.uint8)[mask[t]] if exchange else mask[t]
    patient = root / folder / "A0S9V9"
    patient.mkdir(parents=True)
    nib.save(image_of(cine.pixels, cine.affine, cine.frame_step_ms / 1000), patient / "A0S9V9_sa.nii.gz")
    nib.save(image_of(mask, cine.affine), patient / "A0S9V9_sa_gt.nii.gz")
    row = row or f"0,A0S9V9,Siemens,A,1,{cine.ed},{cine.es},61,HCM,F,,70.0"
    (root / "211230_M&Ms_Dataset_information_diagnosis_opendataset.csv").write_text(HEADER + row + "\n")
    return cine


def same_heart(found, mask, ed, es):
    """Whether a manual mask is the truth's LV, myocardium and RV at ED and ES."""
    (mine,) = (annotation.mask for annotation in found.observers["manual"].values())
    return all((mine[t] == in_mnms_codes(mask[t])).all() for t in (ed, es)) and (mine == 255).any()


@pytest.mark.parametrize("exchange", [False, True])
def test_mnms_masks_count_from_the_lv(study, tmp_path, exchange):
    cine, truth = write_mnms(study, tmp_path / "src", exchange=exchange), view_of(study, "sax")[1]
    found = read(mnms, tmp_path / "src")
    (mine,) = found.cines
    assert (mine.ed, mine.es) == (cine.ed, cine.es) and same_heart(found, truth, cine.ed, cine.es)
    assert mine.flags == (("labels_exchanged",) if exchange else ())
    assert STRUCTURES["lv"] == mnms.CODES["lv"] and mine.spacing_mm == pytest.approx(cine.spacing_mm, rel=1e-4)
    np.testing.assert_array_equal(mine.pixels, cine.pixels)
    person = {key: found.participant[key] for key in ("sex", "age", "height_m", "weight_kg", "group", "centre")}
    assert person == {"sex": "F", "age": 61, "height_m": None, "weight_kg": 70, "group": "HCM", "centre": "1"}


def test_mnms_unlabelled_patients_have_no_observer(study, tmp_path):
    cine = write_mnms(study, tmp_path / "src", "Training/Unlabeled", drawn=False)
    found = read(mnms, tmp_path / "src")
    assert not found.observers["manual"] and found.cines[0].flags == ("masks_empty",)
    assert (found.cines[0].ed, found.cines[0].es) == (cine.ed, cine.es)  # as the table says, from 0


def write_mnms2(study, root):
    """Patient 001 with both views; the table has lost the zeros and ends in empty rows."""
    folder = root / "MnM2" / "dataset" / "001"
    folder.mkdir(parents=True)
    for word, view in (("SA", "sax"), ("LA", "4ch")):
        cine, truth = view_of(study, view)
        nib.save(image_of(cine.pixels, cine.affine, cine.frame_step_ms / 1000), folder / f"001_{word}_CINE.nii.gz")
        for phase, t in (("ED", cine.ed), ("ES", cine.es)):
            nib.save(image_of(cine.pixels[t], cine.affine), folder / f"001_{word}_{phase}.nii.gz")
            nib.save(image_of(in_mnms_codes(truth[t]), cine.affine), folder / f"001_{word}_{phase}_gt.nii.gz")
    (root / "MnM2" / "dataset_information.csv").write_text(
        "SUBJECT_CODE,DISEASE,VENDOR,SCANNER,FIELD\n1,LV,SIEMENS,Avanto,1.5\n" + ",,,,\n" * 50
    )
    return folder


def test_mnms2_has_two_views_and_finds_ed_and_es_by_picture(study, tmp_path):
    write_mnms2(study, tmp_path)
    found = read(mnms2, tmp_path / "MnM2")
    assert {cine.view for cine in found.cines} == {"sax", "4ch"} and found.participant["group"] == "LV"
    for mine in found.cines:
        cine, truth = view_of(study, mine.view)
        assert (mine.ed, mine.es, mine.flags) == (cine.ed, cine.es, ())
        mask = found.observers["manual"][mine.name].mask
        assert all((mask[t] == in_mnms_codes(truth[t])).all() for t in (cine.ed, cine.es))


def test_mnms2_what_is_wrong_with_a_view_costs_that_view(study, tmp_path):
    folder = write_mnms2(study, tmp_path)
    cut_short(folder / "001_LA_CINE.nii.gz")
    (folder / "001_SA_CINE.nii.gz").unlink()
    found = read(mnms2, tmp_path)  # the table lies one level deeper: no group then
    (mine,) = found.cines
    assert mine.view == "sax" and mine.frames == 2 and {"cine_missing", "time_unknown"} <= set(mine.flags)
    assert (mine.ed, mine.es) == (0, 1) and "LA cine: the file is damaged" in found.rejected[0]["reason"]


def test_kaggles_tree_is_read_like_dicom_with_its_volumes(tmp_path):
    root = tmp_path / "validate" / "validate" / "501" / "study"
    for number, place in enumerate((0.0, 10.0, 20.0)):
        along = place * np.cross(*SHORT_AXIS)
        write_cine(
            root / f"sax_{9 - number}",
            SeriesInstanceUID=None,
            SeriesDescription="sax",
            position=lambda k, t, along=along: along,
            pixels=lambda k, t, n=number: image(n, t),
        )
    write_cine(root / "4ch_22", orientation=long_axis(118), SeriesInstanceUID=None, SeriesDescription="")
    (tmp_path / "validate" / "validate.csv").write_text("Id,Systole,Diastole\n501,50.0,120.0\n")
    ((label, folder),) = dsb2015_dicom.find(tmp_path).items()
    found = dsb2015_dicom.read(label, folder)
    assert label == "DSB501" and {cine.view for cine in found.cines} == {"sax", "4ch"}
    sax = next(cine for cine in found.cines if cine.view == "sax")
    assert sax.slices == 3 and sax.spacing_mm[0] == pytest.approx(10)
    assert found.measures == {"kaggle": {"lvedv_ml": 120, "lvesv_ml": 50, "lvef_pct": pytest.approx(100 * 70 / 120)}}
    (tmp_path / "train" / "501" / "study").mkdir(parents=True)
    (tmp_path / "train" / "501" / "study" / "x.dcm").write_bytes(b"another copy")
    with pytest.raises(ValueError, match="501 lies there twice"):
        dsb2015_dicom.find(tmp_path)


# --- nothing is lost -------------------------------------------------------------------------------------------------


def test_other_series_and_contours_of_sunnybrook_are_listed(tmp_path):
    write_sunnybrook(tmp_path / "src", packed=False)
    images = tmp_path / "src" / "work" / "SCD0000101"
    (images / "CINESAX_300").mkdir()
    for path in list(images.glob("*.dcm")):
        path.rename(images / "CINESAX_300" / path.name)
    (images / "LOC_100").mkdir()
    (images / "LOC_100" / "a.dcm").write_bytes(b"another series")
    (tmp_path / "src" / "contours" / "SC-HF-I-1" / "IM-0001-0019-icontour-auto.txt").write_text("1 2")
    items = sunnybrook.find(tmp_path / "src")
    reasons = [row["reason"] for row in sunnybrook.read("SCHFI1", items["SCHFI1"]).rejected]
    assert reasons == ["another series than the short-axis cine", "no contour that somebody drew"]
