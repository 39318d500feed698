"""What `cmr ingest` is told about views and labels, checked before a single file is read."""

import inspect

from cmrlib.cine.anatomy import STRUCTURES, VIEWS
from cmrlib.datasets import reader_of
from cmrlib.datasets.single import PHASES


def named_views(kind: str, given: list[str]) -> dict:
    """NAME=VIEW words → the reader's option `views`; nothing where none were given.

    Raises ValueError for words of another form, unknown views, and kinds of data that know their views.
    """
    pairs = [word.rpartition("=") for word in given]
    for word, (name, _, view) in zip(given, pairs):
        if not name or view not in VIEWS:
            raise ValueError(f"--view {word}: expected NAME=VIEW with a view of {', '.join(VIEWS)}")
    if pairs and "views" not in inspect.signature(reader_of(kind).read).parameters:
        raise ValueError(f"--view is not for {kind}: its files say which view they show")
    return {"views": {name: view for name, _, view in pairs}} if pairs else {}


def named_labels(kind: str, given: list[str]) -> dict:
    """STRUCTURE=CODE words → the reader's option `labels`; nothing where none were given.

    Raises ValueError for words of another form and kinds of data whose codes are known, or which have no masks.
    """
    pairs = [word.partition("=") for word in given]
    for word, (name, _, code) in zip(given, pairs):
        if name not in STRUCTURES or not code.isdigit():
            raise ValueError(f"--label {word}: expected STRUCTURE=CODE with a structure of {', '.join(STRUCTURES)}")
    if pairs and "labels" not in inspect.signature(reader_of(kind).read).parameters:
        raise ValueError(f"--label is not for {kind}: it is for masks beside your own NIfTI images")
    return {"labels": {name: int(code) for name, _, code in pairs}} if pairs else {}


def single_stacks(kind: str, min_frames: int | None, phase: str) -> dict:
    """The reader's options `min_frames` and `phase`; nothing where none were given.

    Raises ValueError for a phase that is none, and kinds of data whose frames are known.
    """
    if phase not in ("", *PHASES):
        raise ValueError(f"--phase {phase}: expected ed or es")
    options = {"min_frames": min_frames} if min_frames is not None else {}
    options |= {"phase": phase} if phase else {}
    known = inspect.signature(reader_of(kind).read).parameters
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"--{unknown[0].replace('_', '-')} is not for {kind}: its files say which frames they hold")
    return options
