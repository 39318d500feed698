"""Named defects: what each one changes in a source, and what a correct reader must do about it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cmrlib.phantom.formats.source import EXPECTATIONS, Source, encode, quiet


@dataclass(frozen=True)
class Defect:
    """One trouble of real data.

    kinds: files that can have it. expectation, words: what a correct reader does with the cines it touches; one of the
    words stands in the flag or the reason. rows: of `notes.ROWS`. change: (source, generator) → names of the cines
    touched. late: 0 works on data sets and images, 1 on their bytes, 2 damages whole files, 3 copies folders: in this
    order.
    """

    name: str
    kinds: tuple[str, ...]
    text: str
    expectation: str
    words: tuple[str, ...]
    rows: tuple[str, ...]
    change: Callable
    late: int


DEFECTS: dict[str, Defect] = {}


def defect(kinds: str, expectation: str, words: str = "", rows: str = "", late: int = 0):
    """Register the function under its own name; its docstring's first line describes it. Lists are words in a string,
    alternatives of `words` are separated by |."""
    if expectation not in EXPECTATIONS:
        raise ValueError(f"expected one of {EXPECTATIONS}, got {expectation!r}")

    def register(change):
        alternatives = tuple(filter(None, words.split("|")))
        DEFECTS[change.__name__] = Defect(
            change.__name__,
            tuple(kinds.split()),
            change.__doc__.splitlines()[0],
            expectation,
            alternatives,
            tuple(rows.split()),
            change,
            late,
        )
        return change

    return register


def apply(name: str, source: Source):
    """Change a source by one defect; the same seed, subject and name make the same choices.

    Raises ValueError where an earlier defect took away what this one changes.
    Of several expectations for one cine the gravest stays: a correct reader of two defects at once meets it.
    """
    one = DEFECTS[name]
    text = f"{source.seed}/{source.label}/{name}".encode()
    rng = np.random.default_rng(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()))
    try:
        with quiet():
            touched = tuple(one.change(source, rng) or ())
    except Exception as error:
        if not source.defects:
            raise
        raise ValueError(
            f"the defect {name!r} cannot follow {', '.join(source.defects)}: what it changes is gone, or "
            f"is no longer what it was ({type(error).__name__})"
        ) from error
    for cine in touched:
        truth = source.cines[cine]
        grave = EXPECTATIONS.index(one.expectation) - EXPECTATIONS.index(truth["expectation"])
        if grave > 0:
            truth["expectation"], truth["words"] = one.expectation, []
        if grave >= 0:
            truth["words"] = [*truth["words"], *one.words]
    source.defects.append(name)


def some(rng, items):
    """One of the items."""
    return items[int(rng.integers(len(items)))]


def short_axis(source: Source) -> str:
    """The cine with most slices. Raises ValueError where it has fewer than three."""
    name = max(source.cines, key=lambda cine: len(source.cines[cine]["slices"]))
    if len(source.cines[name]["slices"]) < 3:
        raise ValueError(f"this defect needs a stack of at least 3 slices; {source.label} has none")
    return name


def other(source: Source, rng) -> str:
    """A cine other than the largest stack, or that where there is no other."""
    most = max(source.cines, key=lambda cine: len(source.cines[cine]["slices"]))
    return some(rng, [cine for cine in source.cines if cine != most] or [most])


def inner_slice(source: Source, cine: str, rng) -> int:
    """A slice with neighbours on both sides."""
    return some(rng, [one["slice"] for one in source.cines[cine]["slices"][1:-1]])


def as_bytes(file) -> bytes:
    """Encode a file for good and return its bytes."""
    file.content = encode(file)
    return file.content
