"""Cohort: a folder of cines and tables that nothing changes after ingest. Observer: whoever looked at it."""

import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from cmrlib.anatomy import NOT_ANNOTATED, codes
from cmrlib.cine import Cine
from cmrlib.files import atomic, digest, map_nifti, read_json, read_tsv, write_json, write_nifti, write_tsv

FORMAT_VERSION = "1"
POINT_COLUMNS = ["frame", "slice", "name", "column_px", "row_px", "x_mm", "y_mm", "z_mm", "confidence"]


@dataclass
class Annotation:
    """What one observer saw on one cine.

    mask: (frames, slices, rows, columns) uint8, 255 where nobody looked.
    annotated: frame → structures drawn in it; a structure that is not listed was not drawn, so its absence
    says nothing. points: POINT_COLUMNS. frames: ed, es, ed_frac, es_frac, confidence (0-based).
    """

    mask: np.ndarray | None = None
    annotated: dict[int, tuple[str, ...]] = field(default_factory=dict)
    points: pd.DataFrame | None = None
    frames: dict | None = None


@dataclass
class Study:
    """What a reader or the phantom returns for one subject and session: all that goes into a cohort.

    observers: observer → {cine name → Annotation}. measures: observer → {measure name → value}.
    rejected: rows (file digest, reason). sources: private, digest → path.
    """

    participant: dict
    cines: list[Cine]
    observers: dict[str, dict[str, Annotation]] = field(default_factory=dict)
    measures: dict[str, dict] = field(default_factory=dict)
    rejected: list[dict] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)


def subject_label(text: str) -> str:
    """A legal BIDS label: letters and digits only (SC-HF-I-1 → SCHFI1)."""
    label = re.sub(r"[^A-Za-z0-9]", "", text)
    if not label:
        raise ValueError("a subject's name holds no letter or digit, so no subject label can be made from it")
    return label


def label_folders(folders, salt=None) -> dict[str, Path]:
    """Subject label → folder, from the folders' names.

    salt: folder → bytes; given, a name that holds a seven-digit number (a UK Biobank participant) becomes a hash of
    name and salt. Raises ValueError where two names give one label: a subject must not overwrite another.
    """
    labels = {}
    for folder in map(Path, folders):
        label = subject_label(folder.name)
        if salt and re.search(r"(?<![A-Za-z0-9])[0-9]{7}(?![A-Za-z0-9])", folder.name):
            label = "H" + hashlib.blake2b(folder.name.encode() + salt(folder), digest_size=6).hexdigest()
        if label in labels:
            raise ValueError(f"two folders give the subject label {label!r}; rename one of them")
        labels[label] = folder
    return labels


def _stem(cine_name: str) -> Path:
    """Folder and name stem inside a cohort or an observer: sub-1[/ses-2]/sub-1[_ses-2]_view-…"""
    folders = [part for part in cine_name.split("_") if part.startswith(("sub-", "ses-"))]
    return Path(*folders) / cine_name


class Observer:
    """A folder of masks, points, frames and measures laid over a cohort: human, truth or network."""

    def __init__(self, path, name: str | None = None):
        self.path = Path(path)
        self.name = name or self.path.name

    def _file(self, cine_name: str, suffix: str) -> Path:
        return self.path / _stem(cine_name).with_name(f"{cine_name}_{suffix}")

    def has(self, cine_name: str, what: str = "dseg.json") -> bool:
        return self._file(cine_name, what).exists()

    def mask(self, cine_name: str) -> Annotation:
        """The annotation's mask (a memory map) and what was annotated; raises FileNotFoundError where none."""
        sidecar = read_json(self._file(cine_name, "dseg.json"))
        corrected = self._file(cine_name, "dseg.nii.gz")  # only people write .nii.gz: it goes before the .nii
        mask, _ = map_nifti(corrected if corrected.exists() else self._file(cine_name, "dseg.nii"))
        return Annotation(mask, {int(t): tuple(s) for t, s in sidecar["annotated"].items()})

    def points(self, cine_name: str) -> pd.DataFrame:
        return read_tsv(self._file(cine_name, "points.tsv"))

    def frames(self, cine_name: str) -> dict:
        """ed, es, ed_frac, es_frac, confidence of the cine."""
        return read_tsv(self._file(cine_name, "frames.tsv")).iloc[0].to_dict()

    def measures(self) -> pd.DataFrame:
        """A row a subject and session, a column a measure (`lvedv_ml`, …); empty where nothing was measured."""
        path = self.path / "measures.tsv"
        return read_tsv(path) if path.exists() else pd.DataFrame(columns=["participant_id", "session"])

    def write(self, cine: Cine, annotation: Annotation):
        """Write one cine's annotation; the JSON comes last, so that its presence means the mask is whole."""
        if annotation.mask is not None:
            _check_mask(cine, annotation)
            write_nifti(self._file(cine.name, "dseg.nii"), annotation.mask, cine.affine, cine.frame_step_ms)
            annotated = {str(t): list(s) for t, s in annotation.annotated.items()}
            write_json({"annotated": annotated, "labels": "lv 1, myo 2, rv 3, la 4, ra 5, not annotated 255"},
                       self._file(cine.name, "dseg.json"))
        if annotation.points is not None:
            write_tsv(annotation.points[POINT_COLUMNS], self._file(cine.name, "points.tsv"))
        if annotation.frames is not None:
            write_tsv(pd.DataFrame([annotation.frames]), self._file(cine.name, "frames.tsv"))

    def write_measures(self, table: pd.DataFrame):
        write_tsv(table, self.path / "measures.tsv")


def _check_mask(cine: Cine, annotation: Annotation):
    if annotation.mask.shape != cine.pixels.shape:
        raise ValueError(f"{cine.name}: the mask has shape {annotation.mask.shape}, the cine {cine.pixels.shape}")
    drawn = {code for structures in annotation.annotated.values() for code in codes(structures)}
    strange = set(np.unique(annotation.mask).tolist()) - drawn - {0, NOT_ANNOTATED}
    if strange:
        raise ValueError(f"{cine.name}: mask values {sorted(strange)} belong to no annotated structure")


class Cohort:
    """Subjects, cines and observers of one folder. Opening reads tables only; pixels are mapped when asked for."""

    def __init__(self, path, description: dict, subjects: pd.DataFrame, cines: pd.DataFrame, observers: dict):
        self.path, self.description = Path(path), description
        self.subjects, self.cines, self.observers = subjects, cines, observers
        self._rows = {row["cine"]: row for row in cines.to_dict("records")}
        self._written = (self.path / "cines.tsv").stat().st_mtime
        self.cine = lru_cache(maxsize=256)(self._open_cine)

    @classmethod
    def open(cls, path, observers=()) -> "Cohort":
        """Open a cohort, with further observers' folders (a run's `observers/NAME`) laid over it."""
        path = Path(path)
        missing = [n for n in ("dataset_description.json", "participants.tsv", "cines.tsv") if not (path / n).exists()]
        if missing:
            hint = "its ingest was interrupted: run it again" if (path / ".ingest").exists() else "make one: cmr ingest"
            raise FileNotFoundError(f"{path} is no complete cohort, it lacks {', '.join(missing)} ({hint})")
        description = read_json(path / "dataset_description.json")
        if description.get("FormatVersion") != FORMAT_VERSION:
            raise ValueError(f"{path} has cohort format {description.get('FormatVersion')}, expected {FORMAT_VERSION}: "
                             "ingest it again with this version")
        found = {p.name: Observer(p) for p in sorted((path / "derivatives").glob("*")) if p.is_dir()}
        for folder in observers:
            observer = Observer(folder)
            if not observer.path.is_dir():
                raise FileNotFoundError(f"observer folder {folder} does not exist; run the notebook that writes it")
            found[observer.name] = observer
        return cls(path, description, read_tsv(path / "participants.tsv"), read_tsv(path / "cines.tsv"), found)

    def __repr__(self):
        return (f"Cohort {self.description['Name']}: {len(self.subjects)} subjects, {len(self.cines)} cines, "
                f"observers {', '.join(self.observers) or 'none'}")

    @property
    def synthetic(self) -> bool:
        return bool(self.description.get("Synthetic", False))

    @property
    def digest(self) -> str:
        """Digest of the tables; they hold a digest of every array."""
        parts = [digest(self.path / name) for name in ("participants.tsv", "cines.tsv")]
        return hashlib.blake2b("".join(parts).encode(), digest_size=16).hexdigest()

    def observer(self, name: str) -> Observer:
        if name not in self.observers:
            raise KeyError(f"no observer {name!r} looked at this cohort; there are {list(self.observers) or 'none'}")
        return self.observers[name]

    def _open_cine(self, name: str) -> Cine:
        row = self._rows.get(name)
        if row is None:
            raise KeyError(f"no cine {name!r} in this cohort; Cohort.cines lists them")
        path = self.path / _stem(name).with_name(f"{name}_cine.nii")
        self._check_file(path, row)
        pixels, affine = map_nifti(path)
        return cine_from_sidecar(pixels, affine, read_json(path.with_suffix(".json")))

    def _check_file(self, path, row):
        """A size differs: changed. Written after the tables (or copied): the digest decides."""
        if not path.exists():
            raise FileNotFoundError(f"{row['cine']}: its array {path.name} is missing from the cohort; ingest it again")
        stat = path.stat()
        if stat.st_size != row["bytes"] or (stat.st_mtime > self._written and digest(path) != row["digest"]):
            raise ValueError(f"{row['cine']}: {path.name} changed after ingest (expected {row['bytes']} bytes, digest "
                             f"{row['digest'][:8]}…); a cohort never changes: ingest it again")

    def check(self) -> pd.DataFrame:
        """Compare every array with its digest: cine, state (ok, missing, changed)."""
        def state(row):
            path = self.path / _stem(row["cine"]).with_name(f"{row['cine']}_cine.nii")
            return "missing" if not path.exists() else "ok" if digest(path) == row["digest"] else "changed"
        return pd.DataFrame([{"cine": row["cine"], "state": state(row)} for row in self._rows.values()])


def cine_from_sidecar(pixels, affine, side: dict) -> Cine:
    """Cine from its array and its JSON sidecar."""
    arrays = {key: None if side[key] is None else np.array(side[key], float)
              for key in ("frame_times_ms", "rr_ms", "slice_position_mm")}
    of = side["frames_of"]
    plain = {key: side[key] for key in ("view", "subject", "session", "run", "spacing_known", "ed", "es", "meta")}
    return Cine(pixels, affine, **arrays, **plain, flags=tuple(side["flags"]),
                frames_of=None if of is None else (tuple(of[0]), of[1]))


def cine_sidecar(cine: Cine) -> dict:
    """JSON sidecar of a cine; unknown times are null."""
    def plain(value):
        return None if value is None else np.round(value, 4)
    of = cine.frames_of
    return {"view": cine.view, "subject": cine.subject, "session": cine.session, "run": cine.run,
            "frame_times_ms": plain(cine.frame_times_ms), "rr_ms": plain(cine.rr_ms),
            "slice_position_mm": plain(cine.slice_position_mm), "spacing_known": cine.spacing_known,
            "ed": cine.ed, "es": cine.es, "flags": list(cine.flags), "meta": cine.meta,
            "frames_of": None if of is None else [list(of[0]), of[1]]}


def _cine_row(cine: Cine, path: Path) -> dict:
    spacing = cine.spacing_mm if cine.spacing_known else (None,) * 3
    frames, slices, rows, columns = cine.pixels.shape
    return {"cine": cine.name, "participant_id": cine.subject, "session": cine.session, "view": cine.view,
            "run": cine.run, "frames": frames, "slices": slices, "rows": rows, "columns": columns,
            "slice_distance_mm": spacing[0], "row_spacing_mm": spacing[1], "column_spacing_mm": spacing[2],
            "frame_step_ms": round(cine.frame_step_ms, 4),
            "rr_ms": None if cine.rr_ms is None else round(float(np.nanmedian(cine.rr_ms)), 4),
            "ed": cine.ed, "es": cine.es, "flags": ";".join(cine.flags),
            "bytes": path.stat().st_size, "digest": digest(path)}


def check_study(study: Study):
    """Raise ValueError where cines share a name or a mask does not fit its cine: before anything is written."""
    names = [cine.name for cine in study.cines]
    if len(set(names)) < len(names):
        raise ValueError(f"{sorted(names)[0]}: several cines of one name; number them with `run`")
    for cine in study.cines:
        for annotations in study.observers.values():
            if cine.name in annotations and annotations[cine.name].mask is not None:
                _check_mask(cine, annotations[cine.name])


def write_study(root, study: Study) -> dict:
    """Write one study's arrays and annotations below `root`; returns its table rows for `finish_cohort`."""
    root, rows = Path(root), []
    for cine in study.cines:
        path = root / _stem(cine.name).with_name(f"{cine.name}_cine.nii")
        write_nifti(path, cine.pixels, cine.affine, cine.frame_step_ms)
        write_json(cine_sidecar(cine), path.with_suffix(".json"))
        rows.append(_cine_row(cine, path))
        for name, annotations in study.observers.items():
            if cine.name in annotations:
                Observer(root / "derivatives" / name).write(cine, annotations[cine.name])
    session = study.cines[0].session if study.cines else ""
    keys = {"participant_id": study.participant["participant_id"], "session": session}
    measures = {name: keys | values for name, values in study.measures.items()}
    return {"participant": study.participant, "cines": rows, "measures": measures, "rejected": study.rejected}


def finish_cohort(root, description: dict, rows: list[dict]) -> Cohort:
    """Write the tables that make a folder of studies a cohort, the description last."""
    root = Path(root)
    rows = sorted(rows, key=lambda r: (r["participant"]["participant_id"], [c["cine"] for c in r["cines"]]))
    participants = pd.DataFrame([r["participant"] for r in rows]).drop_duplicates("participant_id")
    for name in sorted({name for r in rows for name in r["measures"]}):
        table = pd.DataFrame([r["measures"][name] for r in rows if name in r["measures"]])
        Observer(root / "derivatives" / name).write_measures(table)
    rejected = pd.DataFrame([x for r in rows for x in r["rejected"]], columns=["participant_id", "digest", "reason"])
    write_tsv(rejected, root / "rejected.tsv")
    write_tsv(participants, root / "participants.tsv")
    write_tsv(pd.DataFrame([c for r in rows for c in r["cines"]]), root / "cines.tsv")
    write_json({"FormatVersion": FORMAT_VERSION} | description, root / "dataset_description.json")
    return Cohort.open(root)


def write_sources(path, sources: dict[str, str]):
    """The private map from digests to source paths: outside the cohort, readable by its owner only."""
    with atomic(path) as part:
        part.write_text("digest\tpath\n" + "".join(f"{k}\t{v}\n" for k, v in sorted(sources.items())))
    Path(path).chmod(0o600)
