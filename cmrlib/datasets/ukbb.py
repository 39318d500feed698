"""UK Biobank's cine MRI, fields 20208 (long axis) and 20209 (short axis): zips of DICOM files, read in place.

Source: https://www.ukbiobank.ac.uk. Licence: its transfer agreement, for approved researchers; nothing made from it may
name a participant. Layout, anywhere below the source: `EID_20208_2_0.zip`, `EID_20209_2_0.zip`; `_3_0` is the repeat
visit. Inside: DICOM files side by side and `manifest.csv`. Labels: none. Fills participants (sex, age, height, weight
where the headers say so); the visit is the session (2, 3); a further archive of one visit (`_2_1`) is a session of its
own (2array1), and both are flagged. Participants' numbers are hashed with the archive's own checksums as salt: keep no
table of them.

No real sample was read: layout and quirks follow public code (ukbb_cardiac, Heart_Pipeline) and its issues. Known to be
wrong with it: the manifest is called `manifest.cvs` at times, and lists files that are missing, which is flagged; a
folder of one visit holds several series of one view, or all long axes in one; derived InlineVF series lie beside the
cines. Paths that climb out, encrypted members and zip bombs are refused.
"""

import hashlib
import re
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from cmrlib.cohort.files import digest, short_digest
from cmrlib.cohort.study import Study, rejected_rows
from cmrlib.datasets.dicom import check_one_person, cines_of, distinct
from cmrlib.datasets.finding import files_of
from cmrlib.datasets.header import LARGEST_BYTES, Refused, parsed, suppress_warnings
from cmrlib.datasets.images import frames_of, participant, reason
from cmrlib.datasets.views import check_views

DESCRIPTION = {"Name": "UK Biobank", "License": "UK Biobank material transfer agreement; approved researchers only"}
SHORT_AXIS, LONG_AXIS = "20209", "20208"
_NAME = re.compile(rf"(\d+)_({LONG_AXIS}|{SHORT_AXIS})_(\d)_(\d)\.zip")
_MANIFESTS = ("manifest.csv", "manifest.cvs")
_EXPANSION, _FREE_BYTES = 50, 2**20
"""A member may unpack to 50 times its size and 1 MiB (black images pack well)."""


def find(src) -> dict[str, tuple[Path, ...]]:
    """Subject label (a salted hash) → the participant's zips in order of visit and field.

    Raises ValueError where two archives of one participant, field and visit are there.
    """
    found = {}
    for path in sorted(files_of(Path(src))):
        if match := _NAME.fullmatch(path.name):
            found.setdefault(match[1], {}).setdefault((match[3], match[4], match[2]), []).append(path)
    items = {}
    for number, archives in found.items():
        if any(len(paths) > 1 for paths in archives.values()):
            raise ValueError("a participant's archive of one field and visit lies there twice; keep one")
        paths = tuple(archives[key][0] for key in sorted(archives))
        items[_label(number, paths[0])] = paths
    return dict(sorted(items.items()))


def _label(number, path) -> str:
    """Hash of the participant's number, salted with the checksums of all files in the first archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            salt = repr([info.CRC for info in archive.infolist()])
    except (OSError, zipfile.BadZipFile):
        with path.open("rb") as file:
            salt = hashlib.file_digest(file, hashlib.blake2b).hexdigest()
    return "H" + hashlib.blake2b(f"{number}/{salt}".encode(), digest_size=6).hexdigest()


def read(label: str, paths: tuple[Path, ...], views: dict | None = None, min_frames: int = 2) -> Study:
    """One participant: the cines of all visits. views: {series description: view}.

    Raises ValueError where the images of a visit name several people.
    """
    check_views(label, views or {})
    cines, rejected, sources, person = [], [], {}, {}
    sessions = {}
    for path in paths:
        sessions.setdefault(_session(path), []).append(path)
    with suppress_warnings():
        for session, mine in sorted(sessions.items()):
            archives = [_Archive(path, sources) for path in mine]
            frames, copies = distinct([frame for archive in archives for frame in archive.frames])
            check_one_person(label, [frame.source.file.header for frame in frames])
            found, left_out, _ = cines_of(label, frames, views or {}, min_frames)
            twice = any(other != session and other[0] == session[0] for other in sessions)
            runs = Counter()
            for cine in found:
                runs[cine.view] += 1
                mine = [archive for archive in archives if (archive.field == SHORT_AXIS) == (cine.view == "sax")]
                lacking = ("manifest_lists_missing_files",) * any(archive.lacking for archive in mine)
                flags = (*cine.flags, *("visit_archived_twice",) * twice, *lacking)
                cines.append(replace(cine, session=session, run=runs[cine.view], flags=flags))
            rejected += [*copies, *left_out, *(row for archive in archives for row in archive.refused)]
            if frames and not person:
                person = participant(frames[0].source.header)
    return Study(
        {"participant_id": label} | (person or participant({})),
        cines,
        rejected=rejected_rows(label, rejected),
        sources=sources,
    )


def _session(path) -> str:
    """The visit's number; of further archives of one visit with theirs (2array1), so that their scans do not mix."""
    _, _, visit, array = _NAME.fullmatch(path.name).groups()
    return visit + (f"array{array}" if array != "0" else "")


class _Archive:
    """One zip: its frames, refused members as (digest, reason), and whether its manifest lists more than there is."""

    def __init__(self, path: Path, sources: dict):
        self.field, self.frames, self.refused, self.lacking = _NAME.fullmatch(path.name)[2], [], [], False
        try:
            with zipfile.ZipFile(path) as archive:
                if not archive.infolist():
                    raise zipfile.BadZipFile("nothing in it")
                self.lacking = self._lacks(archive)
                for info in archive.infolist():
                    if not info.is_dir() and Path(info.filename).name not in _MANIFESTS:
                        self._member(archive, info, path, sources)
        except (OSError, zipfile.BadZipFile) as error:
            self.refused.append((digest(path)[:16], f"the archive is damaged ({type(error).__name__})"))

    def _lacks(self, archive) -> bool:
        """Whether a manifest, whose first column names files, lists any that is not there."""
        names = {info.filename for info in archive.infolist()}
        listed = set()
        for info in archive.infolist():
            if Path(info.filename).name in _MANIFESTS and _safe(info):
                lines = archive.read(info).decode(errors="replace").splitlines()[1:]
                listed |= {line.split(",", 1)[0].strip(' "') for line in lines}
        return bool(listed - names - {""})

    def _member(self, archive, info, path, sources):
        mark = short_digest(f"{info.filename}/{info.CRC}/{info.file_size}".encode())
        try:
            _check_member(info)
            content = archive.read(info)
            mark = short_digest(content)
            if mark in sources:
                raise Refused("the same file twice")
            good, bad = frames_of(parsed(content), mark, name=Path(info.filename).name)
            self.frames += good
            self.refused += [(mark, why) for why in bad]
        except (zipfile.BadZipFile, EOFError, OSError) as error:
            self.refused.append((mark, f"the member is damaged ({type(error).__name__})"))
        except Exception as error:
            self.refused.append((mark, reason(error)))
        sources[mark] = f"{path}/{info.filename}"


def _safe(info) -> bool:
    return info.file_size <= min(_EXPANSION * info.compress_size + _FREE_BYTES, LARGEST_BYTES)


def _check_member(info):
    """Raise Refused for members that attack or cannot be opened; nothing is ever written where they say."""
    parts = info.filename.replace("\\", "/").split("/")
    if ".." in parts or parts[0] == "" or ":" in parts[0]:
        raise Refused("its path leads out of the archive")
    if not _safe(info):
        raise Refused("it unpacks to far more than its packed size: a damaged or hostile archive")
    if info.flag_bits & 1:
        raise Refused("it is encrypted; decrypt the archive first")
