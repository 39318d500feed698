"""Subjects of the phantom as scanners, archives and public sets write them, with named defects and the truth beside.

`build` makes one subject's files in memory, applies defects, and knows what a correct reader must find; `write_source`
writes subjects and returns that truth. `judge` compares a reader's result with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from cmrlib.cohort.study import Study
from corpus import dicom, nifti, ukbb
from corpus.judge import judge
from corpus.registry import DEFECTS, apply
from corpus.source import File, Source, cine_truth, write_files

for module in sorted(Path(__file__).parent.glob("*_defects.py")):
    import_module(f"corpus.{module.stem}")

__all__ = ["DEFECTS", "FORMATS", "File", "Format", "Source", "apply", "build", "judge", "write_source"]


@dataclass(frozen=True)
class Format:
    """kind: which defects suit it. files: study and seed (for UIDs) → its files. times: what of time the files
    can say: slice, step, none."""

    kind: str
    files: Callable
    times: str = "slice"


FORMATS = {
    "dicom": Format("dicom", dicom.classic),
    "dicom-flat": Format("dicom", partial(dicom.classic, flat=True, syntax=ImplicitVRLittleEndian)),
    "dicom-big-endian": Format("dicom", partial(dicom.classic, syntax=ExplicitVRBigEndian)),
    "dicom-enhanced": Format("enhanced", dicom.enhanced),
    "ukbb": Format("ukbb", ukbb.zips),
    "nifti": Format("nifti", nifti.four_d, times="step"),
    "nifti-3d": Format("nifti-3d", nifti.three_d, times="none"),
    "acdc": Format("acdc", nifti.acdc, times="none"),
}


def build(study: Study, seed: int, form: str = "dicom", defects=()) -> Source:
    """One subject's files and truth in memory, with defects applied in the order given, those on bytes last.

    study: as `phantom.make_study` makes it. seed: makes UIDs and the defects' random choices.
    Raises ValueError for a defect that does not suit the format.
    """
    layout = FORMATS[form]
    for name in defects:
        if layout.kind not in DEFECTS[name].kinds:
            kinds = " and ".join(DEFECTS[name].kinds)
            raise ValueError(f"the defect {name!r} belongs to {kinds} files, the format {form!r} is {layout.kind}")
    files, cines = layout.files(study, seed), {}
    shown = {file.cine for file in files}
    for cine in (cine for cine in study.cines if cine.name in shown):
        timed = nifti.evenly_timed(cine) if layout.times == "step" else cine
        cines[cine.name] = cine_truth(timed, layout.times != "none")
        if form == "acdc":
            cines[cine.name]["masks"] = nifti.mask_sha(study, cine)
    source = Source(study.participant["participant_id"], seed, files, cines, dict(study.participant))
    for name in sorted(defects, key=lambda name: DEFECTS[name].late):
        apply(name, source)
    return source


def write_source(dest, sources) -> dict[str, dict]:
    """Write built subjects (any iterable) below `dest`; returns label → truth, whose `refused` lists the files that
    become no part of a cine, with words of the reason."""
    subjects = {}
    for source in sources:
        digests = write_files(dest, source.files)
        refused = [
            {"path": file.path, "digest": digests.get(file.path), "word": file.refuse}
            for file in source.files
            if file.refuse
        ]
        subjects[source.label] = {"participant": source.participant, "cines": source.cines, "refused": refused}
    return subjects
