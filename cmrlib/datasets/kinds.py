"""The kinds of data that are read, by name."""

from importlib import import_module

KINDS = (
    "acdc",
    "sunnybrook",
    "dsb2015",
    "dicom",
    "nifti",
    "ukbb",
    "mnms",
    "mnms2",
    "dsb2015_dicom",
    "sunnybrook_endo",
    "dsb2015_sax",
)
"""Every module named here has `DESCRIPTION`, `find(src) -> {label: item}` and `read(label, item, **options)`."""


def reader_of(kind: str):
    """The module that reads a kind of data. Raises ValueError for an unknown one."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind of data {kind!r}; known are {', '.join(KINDS)}, and `phantom` by `cmr phantom`")
    return import_module(f"cmrlib.datasets.{kind}")
