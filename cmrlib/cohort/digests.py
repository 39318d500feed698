"""digests.json: the files of one folder of a cohort or an observer as they were written, so that a change shows.

    {"sub-1_view-sax_dseg.nii": {"bytes": 655712, "digest": "…", "of": "…"}}

digest: BLAKE2b of 16 bytes, which `b2sum --length 128` prints too; a file without one may be edited (`cmr correct`).
of: digest of the cine that it was drawn on. A folder without digests.json is somebody's own, and taken as it is.
"""

from functools import lru_cache
from pathlib import Path

from cmrlib.cohort.files import digest, read_json, write_json

NAME = "digests.json"
_HANDS = (
    "to correct masks by hand use `cmr correct`, which makes an observer of its own; to keep the folder as it is now, "
    f"and vouch for it yourself, delete its {NAME}"
)


def note(files: dict, of: str = ""):
    """Note files of one folder. files: path → digest, None where it is still to be taken, "" where the file may be
    edited; those that do not exist are forgotten. of: digest of the cine that they were drawn on."""
    folder = Path(next(iter(files))).parent
    known = dict(noted(folder))
    for path, mark in files.items():
        known.pop(path.name, None)
        if path.exists():
            entry = {"bytes": path.stat().st_size, "digest": digest(path) if mark is None else mark}
            known[path.name] = (entry if mark != "" else {}) | ({"of": of} if of else {})
    write_json(dict(sorted(known.items())), folder / NAME)


def noted(folder) -> dict:
    """File name → what was noted; empty where nothing was."""
    path = Path(folder) / NAME
    return _read(str(path), _identity(path)) if path.exists() else {}


def state(path, of: str = "") -> str:
    """ok, missing, changed, added (not noted, though others in its folder are), of another image, or unknown, where
    nothing is noted in its folder. of: digest of the cine that the file must have been drawn on, where that is known.

    The digest is taken where the file was touched after it was noted. Digests are read once.
    """
    path = Path(path)
    known = noted(path.parent)
    entry = known.get(path.name)
    if not path.exists():
        return "missing"
    if entry is None:
        return "added" if known else "unknown"
    if "digest" in entry and not _as_noted(path, entry):
        return "changed"
    return "of another image" if of and entry.get("of", of) != of else "ok"


def require_unchanged(path, of: str = "", own: bool = True):
    """Raise ValueError, or FileNotFoundError, where a file's `state` is not ok. own: of an observer, where it may also
    be unknown; else of a cohort."""
    found, hint = state(path, of), _HANDS if own else "a cohort never changes: restore it or ingest it again"
    if found == "ok" or (found == "unknown" and own):
        return
    if found == "missing":
        raise FileNotFoundError(f"{path} is missing; {hint}")
    entry, named = _entry(path), f"{Path(path).name} of {Path(path).parent}"
    if found == "of another image":
        raise ValueError(
            f"{named} was drawn on another image than this cohort's (digest {entry['of'][:8]}…, expected {of[:8]}…): "
            "the cohort was ingested anew, or files changed places; draw it again"
        )
    expected = f"{entry['bytes']} bytes, digest {entry['digest'][:8]}…" if "digest" in entry else "no such file"
    what = {"changed": f"changed after {NAME} was written", "added": f"is not in {NAME}", "unknown": f"has no {NAME}"}
    raise ValueError(f"{named} {what[found]} (expected {expected}); {hint}")


def current(path) -> str:
    """A file's digest as it is now; taken from what was noted where the file was not touched since."""
    entry = _entry(path)
    return entry["digest"] if "digest" in entry and _as_noted(path, entry) else digest(path)


def compare(folder, of: dict) -> dict[str, str]:
    """Path below `folder` → `state`, digests taken anew, of all files noted below it and those added beside them.

    of: cine's name → its digest, for what was drawn.
    """
    found = {}
    for listed in sorted(Path(folder).rglob(NAME)):
        known, here = noted(listed.parent), listed.parent
        for name in sorted({*known, *(path.name for path in here.iterdir() if path.is_file())} - {NAME}):
            path, entry = here / name, known.get(name, {})
            touched = path.exists() and "digest" in entry and digest(path) != entry["digest"]
            found[str(path.relative_to(folder))] = "changed" if touched else state(path, of.get(cine_of(name), ""))
    return found


def cine_of(name: str) -> str:
    """The cine that a file belongs to by its name, `CINE_suffix`."""
    return name.rpartition("_")[0]


def _entry(path) -> dict:
    return noted(Path(path).parent).get(Path(path).name, {})


def _as_noted(path, entry) -> bool:
    stat, since = path.stat(), (path.parent / NAME).stat().st_mtime
    if stat.st_size != entry["bytes"]:
        return False
    # the time of the inode's change tells of files that were exchanged or replaced with their old times kept
    return max(stat.st_mtime, stat.st_ctime) <= since or _digest(str(path), _identity(path)) == entry["digest"]


def _identity(path) -> tuple:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@lru_cache(4096)
def _read(path, identity) -> dict:
    known = read_json(path)
    if not isinstance(known, dict) or not all(isinstance(entry, dict) for entry in known.values()):
        raise ValueError(f"{path} is no table of files and digests; restore it from its source")
    return known


@lru_cache(65536)
def _digest(path, identity) -> str:
    return digest(path)
