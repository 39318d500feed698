"""Kinds of data that are read, and their readers by name."""

from contextlib import suppress
from importlib import import_module
from pathlib import Path

from cmrlib.datasets.finding import files_of

KINDS = (
    *("acdc", "sunnybrook", "dsb2015", "dicom", "nifti", "ukbb", "mnms", "mnms2", "dsb2015_dicom"),
    *("sunnybrook_endo", "dsb2015_sax"),
)
"""Kinds of data that are read: modules with `DESCRIPTION`, `find(src) -> {label: item}` and `read(label, item, …)`."""

ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".iso")


def reader_of(kind: str):
    """The module that reads a kind of data. Raises ValueError for an unknown one."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind of data {kind!r}; known are {', '.join(KINDS)}, and `phantom` by `cmr phantom`")
    return import_module(f"cmrlib.datasets.{kind}")


def other_kinds(src, kind: str) -> str:
    """`; this looks like acdc: …` where readers of other kinds find subjects in a source, else which archives it holds,
    else empty."""
    src, found = Path(src).resolve(), []
    for name in (one for one in KINDS if one not in (kind, "dicom")):
        with suppress(Exception):  # of a reader that does not know this layout
            found += [name] * bool(reader_of(name).find(src))
    found = [name for name in found if name != "nifti"] or found  # any NIfTI file is that kind
    if found:
        return f"; this looks like {' or '.join(found)}: name that kind"
    files = [src] if src.is_file() else files_of(src)
    packed = sorted(path.relative_to(src.parent).as_posix() for path in files if path.name.lower().endswith(ARCHIVES))
    more = f" and {len(packed) - 3} more" if len(packed) > 3 else ""
    return f"; archives are not opened, unpack them first: {', '.join(packed[:3])}{more}" if packed else ""
