"""Assigns files to subjects: by the folders of a DICOM source or, where files lie together, by patient.

A subject is a first-level folder. A source whose files lie loose, or whose first-level folders are series of one study
(named after views, or sharing a StudyInstanceUID), is one subject, or one a patient where headers name several. Labels
are made of folder names; of several patients in one folder they are salted hashes of their numbers.
"""

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

import pydicom

from cmrlib.cohort.files import digest, short_digest
from cmrlib.cohort.study import label_folders
from cmrlib.datasets import header
from cmrlib.datasets.header import LARGEST_BYTES, TOO_LARGE, Refused, starts_as_dicom
from cmrlib.datasets.views import view_in

_SERIES_NAME = r"(series|ser|se|cine|loc|img|im)[\W_]*\d*"
STRAY = "belongs to no subject: a table, not of this kind of data, or in a folder whose name gives no label of its own"
READ_ALREADY = "a link to a folder that is read already"
MOST_FILES, MOST_DEPTH = 5_000_000, 50
_SYSTEM = re.compile(r"/(proc|sys|dev(?!/shm))?(/|$)")
"""Paths of the whole machine and of what the system only shows as files; memory may serve as a disk."""
_OF_SYSTEMS = {"$RECYCLE.BIN", "System Volume Information", "RECYCLER", "@eaDir", "#recycle", "__MACOSX", "lost+found"}
"""Folders of Windows, network drives and Macs, with files that somebody deleted, or thumbnails."""


@dataclass(frozen=True)
class FileSubset:
    """Those files below a folder that are one patient's."""

    folder: Path
    names: tuple[str, ...]


def find(src, keep_names: bool = False) -> dict[str, Path | FileSubset]:
    """Subject label → folder, or part of one. keep_names: also where a folder's name looks like an identifier.

    Raises ValueError where two folders give one label, NotADirectoryError where `src` is a file.
    """
    src = Path(src).resolve()
    loose = any(_is_dicom(path) for path in src.iterdir() if path.name != "DICOMDIR")
    walked = [(path.relative_to(src).parts, why) for path, why in walk(src)]
    folders = sorted({src / parts[0] for parts, why in walked if not why and len(parts) > 1})
    if loose or (len(folders) > 1 and _series_of_one_study(folders)):
        if parts := _patients(src):
            return parts
        folders = [src]

    def salt(folder):  # the first file's bytes, of one that is too large none
        return next((path.read_bytes() for path in files_of(folder) if path.stat().st_size <= LARGEST_BYTES), b"")

    labels = label_folders(folders, salt=None if keep_names else salt)
    # of folders with a link, perhaps to another subject's: the files as the walk of the whole source found them
    own = {parts[0]: [] for parts, why in walked if why == READ_ALREADY}
    for parts, why in walked:
        if parts[0] in own and not why and len(parts) > 1:
            own[parts[0]].append(str(Path(*parts[1:])))
    return {
        label: FileSubset(folder, tuple(own[folder.name])) if folder.name in own else folder
        for label, folder in labels.items()
    }


def is_regular(path) -> bool:
    """Whether a path, or what it links to, may be opened: a file, no pipe or device, nor the machine's own."""
    return stat.S_ISREG(_status(path)[0]) and not (path.is_symlink() and _SYSTEM.match(os.path.realpath(path)))


def _status(path) -> tuple[int, int, int]:
    """Mode, inode and device of what a path leads to; zeros where that is nothing."""
    try:
        return path.stat()[:3]
    except OSError:
        return 0, 0, 0


def walk(item: Path | FileSubset, without=frozenset()):
    """(path, "") of a subject's regular files in a fixed order, and (path, reason) of what is never opened.

    Hidden names and the folders `without` are passed by. Links to folders come last and are followed once each, but
    not upwards and not into the machine's own folders.
    """
    if isinstance(item, FileSubset):
        yield from ((item.folder / name, "") for name in item.names)
        return
    links, seen, count = [Path(item)], set(), 0
    for link in links:  # more are found on the way
        why = _not_followed(link, seen, without)
        for path, reason in [(link, why)] if why else _below(link, without, links, seen, MOST_DEPTH):
            count += 1
            if count > MOST_FILES:
                yield path, f"a folder of more than {MOST_FILES} files: neither this one nor those behind it are read"
                return
            yield path, reason


def _not_followed(link, seen, without) -> str:
    """Why a link to a folder is not followed, empty for other folders."""
    if not link.is_symlink():
        return ""
    target, parent = Path(os.path.realpath(link)), Path(os.path.realpath(link.parent))
    if _SYSTEM.match(str(target)):
        return "a link to the machine's own folders"
    if parent.is_relative_to(target):
        return "a link to a folder that it lies in"
    read = _status(link) in seen or not {target, *target.parents}.isdisjoint(without)
    return READ_ALREADY if read else ""


def _below(folder, without, links, seen, depth):
    """As `walk`, but links to folders are put off: they go to `links`."""
    if folder in without:
        seen.add(_status(folder))
        return
    if not depth:
        yield folder, f"a folder more than {MOST_DEPTH} deep"
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield folder, f"a folder that cannot be opened ({type(error).__name__})"
        return
    seen.add(_status(folder))
    folders = []
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith("."):
            continue
        if entry.name in _OF_SYSTEMS:
            yield path, "a folder of the operating system, with deleted files or thumbnails"
        elif entry.is_dir(follow_symlinks=False):
            folders.append(path)
        elif not entry.is_symlink():
            yield path, "" if entry.is_file() else "a pipe, socket or device, no file"
        elif stat.S_ISDIR(_status(path)[0]):
            links.append(path)
        else:
            yield path, "" if is_regular(path) else "a link to what is no file"
    for path in folders:
        yield from _below(path, without, links, seen, depth - 1)


def mark_of(path) -> str:
    """The first half of a file's digest; of its name where the file is too large to be read for that."""
    try:
        if path.stat().st_size <= LARGEST_BYTES:
            return digest(path)[:16]
    except OSError:
        pass
    return short_digest(os.fsencode(path.name))


def content_of(path) -> bytes:
    """A file's bytes. Raises Refused where they are more than `LARGEST_BYTES`, OSError where it cannot be opened."""
    if path.stat().st_size > LARGEST_BYTES:
        raise Refused(TOO_LARGE)
    return path.read_bytes()


def files_of(item: Path | FileSubset, without=frozenset()):
    """The paths that `walk` lets be opened."""
    return (path for path, why in walk(item, without) if not why)


def unassigned_files(src, items) -> list[tuple[Path, str]]:
    """Files below `src` that belong to no subject, and what is never opened beside the subjects' folders, with the
    reason. items: of a reader's `find`, whatever holds folders and files."""
    folders, files, left = set(), set(), list(items.values())
    for value in left:  # what they hold is appended on the way
        if isinstance(value, FileSubset):
            files.update(value.folder / name for name in value.names)
        elif isinstance(value, Path):
            (folders if value.is_dir() else files).add(value)
        elif isinstance(value, dict | tuple | list):
            left += value.values() if isinstance(value, dict) else value
    return [(path, why or STRAY) for path, why in walk(Path(src), folders) if path not in files]


def fingerprint(src: Path, limit=None, without: Path | None = None) -> str:
    """Digest of the names, sizes and times of a source's files, but for those below the folder `without`."""
    text = hashlib.blake2b(repr(limit).encode(), digest_size=16)
    for path, _ in walk(src, {without}) if src.is_dir() else [(src, "")]:
        stat = path.lstat()
        text.update(os.fsencode(f"{path.relative_to(src)}\0{stat.st_size}\0{stat.st_mtime_ns}\n"))
    return text.hexdigest()


def _is_dicom(path) -> bool:
    if not is_regular(path) or path.stat().st_size > LARGEST_BYTES:
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
    labels = [
        hashlib.blake2b(who.encode() + (src / names[0]).read_bytes(), digest_size=6) for who, names in owners.items()
    ]
    return {f"P{one.hexdigest()}": FileSubset(src, tuple(names)) for one, names in zip(labels, owners.values())}


def _tag(path, keyword) -> str:
    """A header's text, empty where the file cannot be read or is too large: pydicom walks through all of its zeros."""
    try:
        with path.open("rb") as file, header.suppress_warnings():
            if path.stat().st_size > LARGEST_BYTES or header.is_deflated(file.read(4096)):
                return ""
            data = pydicom.dcmread(path, specific_tags=[keyword], stop_before_pixels=True, force=True)
            return header.text(header.header_of(data), keyword)
    except Exception:
        return ""
