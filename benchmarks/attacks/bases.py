"""Untouched files that attacks change: tiny phantoms in every layout, and cohorts with networks to look at them."""

import copy
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pandas as pd
import trees
from corpus import build
from corpus.source import write_files

from attacks import Row
from cmrlib.cohort.files import read_tsv
from cmrlib.datasets import KINDS
from cmrlib.phantom import make_cohort, make_study, subject_specs

TINY = {"frames": 6, "size": 36, "spacing_mm": 5.0, "slices": 5, "subslices": 1}
SAX, FOUR = "sub-P0001_view-sax", "sub-P0001_view-4ch"
_VALUES = ("view", "frames", "slices", "rows", "columns", "slice_distance_mm", "row_spacing_mm", "column_spacing_mm")


@dataclass
class Base:
    """sources: → corpus sources of its subjects, or none. write: (folder, sources) → None. rows: (place) → rows of what
    came out, and reasons of what did not. extra: what else a command's words may name.
    kept: where the untouched files stand already."""

    name: str
    command: str
    sources: Callable = list
    write: Callable = None
    rows: Callable = None
    extra: Callable = dict
    kept: Path | None = None


# --- sources ---------------------------------------------------------------------------------------------------------


@cache
def studies():
    """Two subjects' short axes and four-chambers."""
    specs = subject_specs(2, **TINY, views=("sax", "4ch"), seed=3)
    return tuple(make_study(label, spec) for label, spec in specs.items())


@cache
def _built(form, stack):
    """The first subject with or without the stack, the second without; of ACDC, which knows no other view, with it."""

    def views(study, stack):
        return replace(study, cines=[cine for cine in study.cines if stack or cine.view == "4ch"])

    first, second = studies()
    return [build(views(first, stack), 1, form), build(views(second, form == "acdc"), 1, form)]


def _write(folder, sources):
    for source in sources:
        write_files(folder, source.files)


def _corpus_base(name, form, kind, stack=True):
    """sources are built once; each attack has a process of its own, so what it changes is its own."""
    command = f"ingest {kind} {{src}} {{dest}} --workers 1"
    return Base(name, command, lambda: list(_built(form, stack)), _write, cohort_rows)


def cohort_rows(place):
    """Rows of the cohort that an ingest made, and reasons of what it left out."""
    if not (place.dest / "cines.tsv").exists():
        return {}, []
    cines, people = read_tsv(place.dest / "cines.tsv"), read_tsv(place.dest / "participants.tsv")
    rows = {}
    for cine in cines.to_dict("records"):
        values = {name: cine[name] for name in (*_VALUES, "frame_step_ms", "rr_ms", "ed", "es")}
        values |= {"pixels": pixels_of(next(place.dest.rglob(f"{cine['cine']}_cine.nii")))}
        rows[cine["cine"]] = Row(values, frozenset(filter(None, cine["flags"].split(";"))))
    for person in people.to_dict("records"):
        own = [row.flags for name, row in rows.items() if name.startswith(f"sub-{person['participant_id']}_")]
        rows[f"participant {person['participant_id']}"] = Row(person, frozenset().union(*own))
    for path in sorted(place.dest.glob("derivatives/*/**/*_dseg.nii*")):
        name = path.name.partition("_dseg")[0]
        rows[f"mask {name}"] = Row({"mask": pixels_of(path)}, rows[name].flags)
    return rows, read_tsv(place.dest / "rejected.tsv")["reason"].tolist()


def pixels_of(path) -> int:
    """A hash of an image's numbers, whatever their type."""
    return hash(np.asarray(nib.load(path).dataobj, np.float64).tobytes())


def _sunnybrook(folder, _):
    trees.write_sunnybrook(folder)


def jpeg(pixels) -> bytes:
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def _kaggle(folder, _):
    """Patients 7 and 12: two drawn frames each."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "manual_lax4ch.zip", "w") as archive:
        for patient in (7, 12):
            for frame, width in ((3, 12), (20, 6)):
                name, contour = f"ch4_{patient}_{frame:04d}.jpg", np.full((40, 40), 255, np.uint8)
                contour[10:30, 8 : 8 + width] = 0
                archive.writestr(f"manual_lax4ch/images/{name}", jpeg(np.full((40, 40), 50 + frame, np.uint8)))
                archive.writestr(f"manual_lax4ch/contours/{name}", jpeg(contour))
    (folder / "train.csv").write_text("Id,Systole,Diastole\n7,60.0,150.0\n12,50.0,120.0\n")
    (folder / "patient_metadata.tsv").write_text("pid\tPatientsSex\tPatientsAgeYears\n7\tF\t58\n12\tM\t40\n")


def _kaggle_dicom(folder, sources):
    """Kaggle's own tree: train/NNN/study/sax_5/IM-….dcm, no series UIDs."""
    for number, source in enumerate(sources, 1):
        for file in source.files:
            _, series, name = file.path.split("/")
            file.content.pop("SeriesInstanceUID", None)
            file.path = f"train/{number}/study/{series}/{name}"
    _write(folder, sources)
    (folder / "train.csv").write_text("Id,Systole,Diastole\n1,60.0,150.0\n2,50.0,120.0\n")


# --- cohorts ---------------------------------------------------------------------------------------------------------


def _cohort(folder, _):
    shutil.copytree(hearts(), folder)


@cache
def hearts() -> Path:
    """Two subjects' short axes with truth, of 8 frames."""
    path = cache_folder() / "hearts"
    make_cohort(path, 2, seed=3, frames=8, size=36, spacing_mm=5.0, slices=6, views=("sax",), workers=1, progress=False)
    return path


@cache
def weights() -> Path:
    """An untrained network that is inclined to see a left ventricle."""
    from hearts import save_segmentation

    folder = cache_folder() / "weights"
    save_segmentation(folder / "sax", lv=2, spacing_mm=5.0, size=32)
    return folder


@cache
def cache_folder() -> Path:
    return Path(os.environ["ATTACKS_FOLDER"])


def measured_rows(place):
    """Rows of measures.tsv, and of masks in the observer's folder."""
    rows = {}
    if (path := place.out / "measures.tsv").exists():
        for row in read_tsv(path).to_dict("records"):
            flags = frozenset(filter(None, str(row.pop("flags", "")).split(";")))
            rows[f"measures {row['participant_id']}"] = Row(row, flags)
    for path in sorted(place.out.rglob("*_dseg.nii")):
        rows[path.name] = Row({"pixels": pixels_of(path)})
    if (path := place.out / "segmented.csv").exists():
        for row in pd.read_csv(path, keep_default_na=False).to_dict("records"):
            name = f"{row['cine']}_dseg.nii"
            rows[name] = Row(
                rows[name].values if name in rows else {}, frozenset(filter(None, row["flags"].split(";")))
            )
    return rows, []


def prepare(base: Base):
    """What all attacks on a base share, made and imported once."""
    names = ["shown", *(["observers", "predicting"] if base.name == "cohort" else [])]
    for name in [
        *(f"cmrlib.app.cli.{name}" for name in ("app", *names)),
        *(f"cmrlib.datasets.{kind}" for kind in KINDS),
    ]:
        import_module(name)
    base.extra()
    base.kept = cache_folder() / "kept" / base.name
    base.kept.parent.mkdir(exist_ok=True)
    base.write(base.kept, copy.deepcopy(base.sources()))


def nothing(place):
    return {}, []


MEASURE = "measure {src} --observer truth --out {out} --phases given"
SEGMENT = "segment {src} --weights {weights} --n-tta 1 --threads 1 --out {out}"


@cache
def bases() -> dict[str, Base]:
    """Name → base."""
    made = [
        _corpus_base("dicom", "dicom", "dicom"),
        _corpus_base("one view", "dicom", "dicom", stack=False),
        _corpus_base("ukbb", "ukbb", "ukbb"),
        _corpus_base("nifti", "nifti", "nifti"),
        _corpus_base("nifti-3d", "nifti-3d", "nifti"),
        _corpus_base("acdc", "acdc", "acdc"),
    ]
    ingest = "ingest {} {{src}} {{dest}} --workers 1"
    made += [
        Base("sunnybrook", ingest.format("sunnybrook"), write=_sunnybrook, rows=cohort_rows),
        Base("dsb2015", ingest.format("dsb2015"), write=_kaggle, rows=cohort_rows),
        Base(
            "dsb2015_dicom",
            ingest.format("dsb2015_dicom"),
            lambda: list(_built("dicom", False)),
            _kaggle_dicom,
            cohort_rows,
        ),
        Base("cohort", MEASURE, write=_cohort, rows=measured_rows, extra=lambda: {"weights": weights()}),
        Base("words", "datasets", write=lambda folder, _: folder.mkdir(), rows=nothing),
    ]
    return {base.name: base for base in made}
