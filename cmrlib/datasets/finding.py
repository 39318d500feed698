"""Assigns files to subjects: by the folders of a DICOM source or, where files lie together, by patient.

A subject is a first-level folder. A source whose files lie loose, or whose first-level folders are series of one study
(named after views, or sharing a StudyInstanceUID), is one subject, or one a patient where headers name several. Labels
are made of folder names; of several patients in one folder they are salted hashes of their numbers.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pydicom

from cmrlib.cohort.study import label_folders
from cmrlib.datasets.header import header_of, starts_as_dicom, suppress_warnings, text
from cmrlib.datasets.views import view_in

_SERIES_NAME = r"(series|ser|se|cine|loc|img|im)[\W_]*\d*"


@dataclass(frozen=True)
class FileSubset:
    """Those files below a folder that are one patient's."""

    folder: Path
    names: tuple[str, ...]


def find(src) -> dict[str, Path | FileSubset]:
    """Subject label → folder, or part of one.

    Raises ValueError where two folders give one label, NotADirectoryError where `src` is a file.
    """
    src = Path(src).resolve()
    loose = any(_is_dicom(path) for path in src.iterdir() if path.name != "DICOMDIR")
    folders = [path for path in sorted(src.iterdir()) if path.is_dir() and next(files_of(path), None)]
    if loose or (len(folders) > 1 and _series_of_one_study(folders)):
        if parts := _patients(src):
            return parts
        folders = [src]
    return label_folders(folders, salt=_first_bytes)


def files_of(item: Path | FileSubset, without=frozenset()):
    """Files of a subject in a fixed order; hidden ones, links to folders and the folders `without` are passed by."""
    if isinstance(item, FileSubset):
        yield from (item.folder / name for name in item.names)
        return
    for root, folders, names in os.walk(item) if item not in without else ():
        folders[:] = sorted(name for name in folders if not name.startswith(".") and Path(root, name) not in without)
        yield from (Path(root, name) for name in sorted(names) if not name.startswith("."))


def unassigned_files(src, items) -> list[Path]:
    """Files below `src` that belong to no subject. items: of a reader's `find`, whatever holds folders and files."""
    folders, files = set(), set()

    def claim(value):
        if isinstance(value, FileSubset):
            files.update(value.folder / name for name in value.names)
        elif isinstance(value, Path):
            (folders if value.is_dir() else files).add(value)
        elif isinstance(value, dict | tuple | list):
            for part in value.values() if isinstance(value, dict) else value:
                claim(part)

    claim(items)
    return [path for path in files_of(Path(src), folders) if path not in files]


def _first_bytes(folder) -> bytes:
    """The first file's, to salt a label with."""
    return next((path.read_bytes() for path in files_of(folder) if path.is_file()), b"")


def _is_dicom(path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return starts_as_dicom(file.read(132))


def _series_of_one_study(folders) -> bool:
    """Whether folders side by side belong together: all named like series, or all of one study."""
    if all(view_in(path.name) or re.fullmatch(_SERIES_NAME, path.name.lower()) for path in folders):
        return True
    study = None
    for folder in folders:
        path = next(filter(_is_dicom, files_of(folder)), None)
        found = _tag(path, "StudyInstanceUID") if path else ""
        if not found or (study or found) != found:
            return False
        study = found
    return True


def _patients(src) -> dict[str, FileSubset]:
    """Parts by PatientID; none where there is one patient, or where (nearly) every file has its own number.

    Files without a number, damaged ones and letters, go with the file before them, so that none is lost.
    """
    owners, owner, images = {}, "", 0
    for path in files_of(src):
        found = _tag(path, "PatientID") if _is_dicom(path) else ""
        owner, images = found or owner, images + bool(found)
        owners.setdefault(owner, []).append(str(path.relative_to(src)))
    if len(owners.keys() - {""}) < 2 or 2 * len(owners) > images:
        return {}
    first = next(owner for owner in owners if owner)
    owners[first] = owners.pop("", []) + owners[first]
    return {
        _hashed(owner, (src / names[0]).read_bytes()): FileSubset(src, tuple(names)) for owner, names in owners.items()
    }


def _hashed(patient, salt) -> str:
    return "P" + hashlib.blake2b(patient.encode() + salt, digest_size=6).hexdigest()


def _tag(path, keyword) -> str:
    with suppress_warnings():
        try:
            data = pydicom.dcmread(path, specific_tags=[keyword], stop_before_pixels=True, force=True)
            return text(header_of(data), keyword)
        except Exception:
            return ""
