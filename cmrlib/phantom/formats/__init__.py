"""The phantom as scanners, archives and public sets write it, with named defects and the truth beside them.

`build` makes one subject's files in memory, applies defects, and knows what a correct reader must find; `write_source`
writes many subjects and `DEST.truth.json` beside the folder, never inside. `judge` compares a reader's result with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from cmrlib.cohort.files import write_json
from cmrlib.cohort.study import Study
from cmrlib.phantom.formats import dicom, nifti, ukbb
from cmrlib.phantom.formats.defects import DEFECTS, apply
from cmrlib.phantom.formats.judge import judge
from cmrlib.phantom.formats.source import EXPECTATIONS, File, Source, cine_truth, write_files

__all__ = [
    "DEFECTS",
    "EXPECTATIONS",
    "FORMATS",
    "File",
    "Format",
    "Source",
    "build",
    "check_defects",
    "judge",
    "truth_path",
    "write_source",
]


@dataclass(frozen=True)
class Format:
    """kind: which defects suit it. files: study → its files. root: participants → files above all subjects."""

    kind: str
    text: str
    files: Callable
    root: Callable | None = None
    seeded: bool = False  # `files` takes the seed, for UIDs
    times: str = "slice"  # what of time the files can say: slice, step, none


FORMATS = {
    "dicom": Format("dicom", "classic MR images, a folder a series, explicit VR", dicom.classic, seeded=True),
    "dicom-flat": Format(
        "dicom",
        "classic MR images, all in one folder, implicit VR",
        partial(dicom.classic, flat=True, syntax=ImplicitVRLittleEndian),
        seeded=True,
    ),
    "dicom-big-endian": Format(
        "dicom",
        "classic MR images, a folder a series, explicit VR big-endian",
        partial(dicom.classic, syntax=ExplicitVRBigEndian),
        seeded=True,
    ),
    "dicom-enhanced": Format("enhanced", "Enhanced MR, a multi-frame file a cine", dicom.enhanced, seeded=True),
    "ukbb": Format("ukbb", "zips of fields 20208 and 20209 as others describe them", ukbb.zips, seeded=True),
    "nifti": Format("nifti", "a 4-D file a view", nifti.four_d, times="step"),
    "nifti-3d": Format("nifti-3d", "a 3-D file a frame", nifti.three_d, times="none"),
    "bids": Format("nifti", "a tree in the manner of BIDS, times in sidecars", nifti.bids, root=nifti.bids_root),
    "acdc": Format("acdc", "ACDC's layout: SAX, ED and ES with masks", nifti.acdc, times="none"),
}
"""What `cmr phantom --as` can write besides a cohort."""


def build(study: Study, seed: int, form: str = "dicom", defects=()) -> Source:
    """One subject's files and truth in memory, with defects applied in the order given, those on bytes last.

    study: as `phantom.make_study` makes it. seed: makes UIDs and the defects' random choices.
    Raises ValueError for an unknown format or defect, or one that does not suit the format.
    """
    check_defects(defects, form)
    layout = FORMATS[form]
    files = layout.files(study, seed) if layout.seeded else layout.files(study)
    shown = {file.cine for file in files if file.cine}
    cines = {}
    for cine in (cine for cine in study.cines if cine.name in shown):
        timed = nifti.evenly_timed(cine) if layout.times == "step" else cine
        cines[cine.name] = cine_truth(timed, layout.times != "none")
        if form == "acdc":
            cines[cine.name]["masks"] = nifti.mask_sha(study, cine)
    source = Source(study.participant["participant_id"], seed, files, cines, dict(study.participant))
    for name in sorted(defects, key=lambda name: DEFECTS[name].late):  # those on bytes come last
        apply(name, source)
    return source


def check_defects(names, form: str):
    """Raise ValueError where a format or a defect is unknown, or one does not suit the other."""
    if form not in FORMATS:
        raise ValueError(f"unknown format {form!r}; known are cohort, {', '.join(FORMATS)}")
    for name in names:
        if name not in DEFECTS:
            raise ValueError(f"unknown defect {name!r}; `cmr phantom --list-defects` names all")
        if FORMATS[form].kind not in DEFECTS[name].kinds:
            raise ValueError(
                f"the defect {name!r} belongs to {' and '.join(DEFECTS[name].kinds)} files, "
                f"the format {form!r} is {FORMATS[form].kind}"
            )


def truth_path(dest) -> Path:
    """Where the truth of a source folder lies: beside it."""
    dest = Path(dest)
    return dest.with_name(f"{dest.name}.truth.json")


def write_source(dest, sources, form: str) -> dict:
    """Write built subjects (any iterable) below `dest`, and their truth beside it; returns the truth.

    Raises FileExistsError where `dest` holds anything.
    """
    dest = Path(dest)
    if dest.exists() and any(dest.iterdir()):
        raise FileExistsError(f"{dest} is not empty: choose an empty folder")
    subjects, people = {}, []
    for source in sources:
        digests = write_files(dest, source.files)
        subjects[source.label] = subject_truth(source, digests)
        people.append(source.participant)
    if FORMATS[form].root:
        write_files(dest, FORMATS[form].root(people))
    truth = {"format": form, "synthetic": True, "subjects": subjects}
    write_json(truth, truth_path(dest))
    return truth


def subject_truth(source: Source, digests: dict[str, str]) -> dict:
    """One subject's truth; `refused` lists the files that become no part of a cine, with a word of the reason."""
    refused = [
        {"path": file.path, "digest": digests.get(file.path), "word": file.refuse}
        for file in source.files
        if file.refuse
    ]
    return {
        "seed": source.seed,
        "defects": source.defects,
        "participant": source.participant,
        "cines": source.cines,
        "refused": refused,
    }
