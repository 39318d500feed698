"""Study: what a reader or the phantom hands over, and how studies are written to become a cohort."""

import hashlib
import os
import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cmrlib.cine import Cine
from cmrlib.cine.display import Reorientation, displayed
from cmrlib.cohort import FORMAT_VERSION, Annotation, Cohort, Observer, digests
from cmrlib.cohort.files import atomic, read_json, write_json, write_nifti, write_tsv
from cmrlib.cohort.observer import check_mask, stem
from cmrlib.cohort.sidecar import cine_sidecar


@dataclass
class Study:
    """What a reader or the phantom returns for one subject and session: all that goes into a cohort.

    observers: observer → {cine name → Annotation}. measures: observer → {measure name → value}.
    rejected: rows (file digest, reason). sources: private, digest → path. origins: private, cine name → files (how
    many), description, folder.
    """

    participant: dict
    cines: list[Cine]
    observers: dict[str, dict[str, Annotation]] = field(default_factory=dict)
    measures: dict[str, dict] = field(default_factory=dict)
    rejected: list[dict] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    origins: dict[str, dict] = field(default_factory=dict)


_NO_LABEL = "[^A-Za-z0-9]"


def subject_label(text: str) -> str:
    """A legal BIDS label: letters and digits only (SC-HF-I-1 → SCHFI1)."""
    label = re.sub(_NO_LABEL, "", text)
    if not label:
        raise ValueError("a subject's name holds no letter or digit, so no subject label can be made from it")
    return label


_DATE = r"(?<!\d)(\d{4}|\d\d?)[-_. ](\d\d?|[A-Za-z]{3})[-_. ](\d{4}|\d\d?)(?!\d)"
_IDENTIFIER = re.compile(rf"\d{{6}}|\d([ .-]?\d){{7}}|{_DATE}")
_COMMON = re.compile(
    "(anon(ymi[sz]ed|ymous)?|ar?vc|axis|baseline|biobank|bids|cardiac|case|cent(er|re)|cine|cohort|control|copy|data(set)?"
    "|dicom|exam(ination)?|failure|follow|four|frame|group|healthy|heart|hfpef|hfref|human|image|infarct(ion)?|lax|long"
    "|magnetic|minf|mitral|nifti|normal|part(icipant)?|patient|person|phantom|phase|philips|pilot|proband|pseudonym|random"
    "|repeat|sample|scan(ner)?|series|session|short|siemens|site|stack|study|subj(ect)?|test(ing)?|three|train(ing)?|trial"
    "|two|user|validation|vendor|view|visit|volunteer)s?"
)
"""Words of study folders, which are no person's name."""


def names_somebody(text: str) -> bool:
    """Whether a folder's name looks like an identifier: six or more digits in a row (eight with spaces, dots or hyphens
    between them), a date, or beside digits a word that may be a name: one of four or more letters, or two of three,
    that is not among the common words of study folders."""
    words = [word for part in re.findall(r"[^\W\d_]+", text) for word in re.findall("[A-Z]?[^A-Z]+|[A-Z]+", part)]
    strange = [word for word in words if len(word) > 2 and not _COMMON.fullmatch(word.lower())]
    beside_digits = re.search(r"\d", text) and (len(strange) > 1 or any(len(word) > 3 for word in strange))
    return bool(_IDENTIFIER.search(text) or beside_digits)


def label_folders(folders, salt=None) -> dict[str, Path]:
    """Subject label → folder, from the folders' names.

    salt: folder → bytes; given, a name that `names_somebody` becomes a hash of name and salt, and how many did is said
    on stderr. Names that give no label, or one that others give too, are left out, which is said on stderr: a
    subject must not overwrite another. Raises ValueError where no folder is left.
    """
    named, hashed = {}, 0
    for folder in map(Path, folders):
        label = re.sub(_NO_LABEL, "", folder.name)
        if salt and names_somebody(folder.name):
            hashed += 1
            label = "H" + hashlib.blake2b(os.fsencode(folder.name) + salt(folder), digest_size=6).hexdigest()
        named.setdefault(label, []).append(folder)
    if hashed:
        print(
            f"{hashed} of {len(folders)} names of folders look like identifiers (6 or more digits, a date, a name "
            "beside digits): hashes stand for them; `cmr ingest --keep-names` (keep_names=True) keeps them",
            file=sys.stderr,
        )
    labels = {label: same[0] for label, same in named.items() if label and len(same) == 1}
    for label, same in named.items():
        if labels.get(label) is None:
            names = ", ".join(repr(folder.name) for folder in same)
            line = (
                f"{names}: {'two folders give' if label else 'gives'} the subject label {label!r}; rename to read them"
            )
            if not labels:
                raise ValueError(line)
            print(line, file=sys.stderr)
    return labels


def rejected_rows(label: str, refused) -> list[dict]:
    """(short digest of a file, reason) pairs → rows of rejected.tsv, in order."""
    return [{"participant_id": label, "digest": mark, "reason": why} for mark, why in sorted(refused)]


def cine_row(cine: Cine) -> dict:
    """A cine's row of cines.tsv, but for the size and digest of its file."""
    spacing = cine.spacing_mm if cine.spacing_known else (None,) * 3
    frames, slices, rows, columns = cine.pixels.shape
    return {
        "cine": cine.name,
        "participant_id": cine.subject,
        "session": cine.session,
        "view": cine.view,
        "run": cine.run,
        "frames": frames,
        "slices": slices,
        "rows": rows,
        "columns": columns,
        "slice_distance_mm": spacing[0],
        "row_spacing_mm": spacing[1],
        "column_spacing_mm": spacing[2],
        "frame_step_ms": round(cine.frame_step_ms, 4),
        "rr_ms": None if cine.rr_ms is None else round(float(np.nanmedian(cine.rr_ms)), 4),
        "ed": cine.ed,
        "es": cine.es,
        "flags": ";".join(cine.flags),
    }


def check_study(study: Study):
    """Raise ValueError before anything is written: where cines share a name, a mask does not fit its cine, or measures
    could belong to several sessions."""
    names, sessions = [cine.name for cine in study.cines], sorted({cine.session for cine in study.cines})
    if study.measures and len(sessions) > 1:
        label = study.participant["participant_id"]
        raise ValueError(f"sub-{label}: measures of one of the sessions {', '.join(sessions)}, and nothing tells which")
    if len(set(names)) < len(names):
        raise ValueError(f"{sorted(names)[0]}: several cines of one name; number them with `run`")
    for cine in study.cines:
        drawn = [annotations[cine.name] for annotations in study.observers.values() if cine.name in annotations]
        for annotation in drawn:
            if annotation.mask is not None:
                check_mask(cine, annotation)


def _displayed(annotation: Annotation, cine: Cine, by: Reorientation) -> Annotation:
    """What was drawn on a cine, in the order of pixels that `by` gives it."""
    mask, points = annotation.mask, annotation.points
    if points is not None and len(points):
        points, ijk1 = points.copy(), np.c_[points[["column_px", "row_px", "slice"]], np.ones(len(points))]
        moved = ijk1 @ np.linalg.inv(by.matrix(cine.pixels.shape)).T
        points["column_px"], points["row_px"] = moved[:, 0], moved[:, 1]
        points["slice"] = np.rint(moved[:, 2]).astype(int)
    return replace(annotation, mask=None if mask is None else by(mask), points=points)


def write_study(root, study: Study) -> dict:
    """Write one study's arrays and annotations below `root`, every cine in its canonical display; returns its table
    rows for `finish_cohort`."""
    root, rows = Path(root), []
    for stored in study.cines:
        cine, by = displayed(stored)
        path = root / stem(cine.name).with_name(f"{cine.name}_cine.nii")
        mark = write_nifti(path, cine.pixels, cine.affine, cine.frame_step_ms)
        write_json(cine_sidecar(cine), path.with_suffix(".json"))
        digests.note({path: mark, path.with_suffix(".json"): None})
        cine.memo["digest"] = mark
        rows.append(cine_row(cine) | {"bytes": path.stat().st_size, "digest": mark})
        for name, drawn in study.observers.items():
            if cine.name in drawn:
                annotation = _displayed(drawn[cine.name], stored, by)
                Observer(root / "derivatives" / name).write(cine, annotation)
    session = study.cines[0].session if study.cines else ""
    keys = {"participant_id": study.participant["participant_id"], "session": session}
    measures = {name: keys | values for name, values in study.measures.items()}
    return {"participant": study.participant, "cines": rows, "measures": measures, "rejected": study.rejected}


def finish_cohort(root, description: dict, rows: list[dict], rejected=()) -> Cohort:
    """Write the tables that make a folder of studies a cohort, their digests last. rejected: rows of no subject."""
    root = Path(root)
    rows = sorted(rows, key=lambda r: (r["participant"]["participant_id"], [c["cine"] for c in r["cines"]]))
    participants = _participants([r["participant"] for r in rows])
    _flag_shared(root, [cine for r in rows for cine in r["cines"]])
    for name in sorted({name for r in rows for name in r["measures"]}):
        table = pd.DataFrame([r["measures"][name] for r in rows if name in r["measures"]])
        Observer(root / "derivatives" / name).write_measures(table)
    rejected = [*(x for r in rows for x in r["rejected"]), *rejected]
    rejected = pd.DataFrame(rejected, columns=["participant_id", "digest", "reason"])
    tables = {"rejected": rejected, "participants": participants}
    tables["cines"] = pd.DataFrame([c for r in rows for c in r["cines"]])
    for name, table in tables.items():
        write_tsv(table, root / f"{name}.tsv")
    write_json({"FormatVersion": FORMAT_VERSION} | description, root / "dataset_description.json")
    digests.note(dict.fromkeys([root / "dataset_description.json", *(root / f"{name}.tsv" for name in tables)]))
    return Cohort.open(root)


def _flag_shared(root, cines: list[dict]):
    """Flag cines that two subjects have, to the pixel: a folder was copied, or holds somebody else's series."""
    owners = {}
    for cine in cines:
        owners.setdefault(cine["digest"], set()).add(cine["participant_id"])
    for cine in (cine for cine in cines if len(owners[cine["digest"]]) > 1):
        cine["flags"] = ";".join(filter(None, (cine["flags"], "same_as_another_subject")))
        path = root / stem(cine["cine"]).with_name(f"{cine['cine']}_cine.json")
        write_json(read_json(path) | {"flags": cine["flags"].split(";")}, path)
        digests.note({path: None})


def _participants(rows: list[dict]) -> pd.DataFrame:
    """One row per participant; raises ValueError where the rows of several sessions contradict each other."""
    table = pd.DataFrame(rows)
    twice = table[table.duplicated("participant_id", keep=False)].groupby("participant_id").nunique()
    if (twice > 1).any(axis=None):
        label, column = (twice > 1).stack().idxmax()
        values = table.loc[table["participant_id"] == label, column].dropna().unique().tolist()
        raise ValueError(f"sub-{label}: its sessions disagree on {column}: {values}")
    return table.groupby("participant_id", as_index=False, sort=False).first() if len(twice) else table


def write_sources(path, sources: dict[str, str]):
    """The private map from digests to source paths: outside the cohort, readable by its owner only."""
    with atomic(path) as part:
        safe = {mark: re.sub(r"[\t\r\n]", lambda found: repr(found[0])[1:-1], name) for mark, name in sources.items()}
        text = "digest\tpath\n" + "".join(f"{k}\t{v}\n" for k, v in sorted(safe.items()))
        part.write_bytes(os.fsencode(text))  # paths need not be UTF-8
    Path(path).chmod(0o600)
