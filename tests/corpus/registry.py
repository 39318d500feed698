"""Named defects: what each one changes in a source, and what a correct reader must do about it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from corpus.source import EXPECTATIONS, Source, encode, quiet

DEFECTS: dict[str, "Defect"] = {}


@dataclass(frozen=True)
class Defect:
    """One defect of real data.

    kinds: files that can have it. expectation, words: what a correct reader does with the cines it touches; one of the
    words stands in the flag or the reason. change: (source, generator) → names of the cines touched. late: 0 works on
    data sets and images, 1 on their bytes, 2 damages whole files, 3 copies folders: in this order.
    """

    kinds: tuple[str, ...]
    expectation: str
    words: tuple[str, ...]
    change: Callable
    late: int


def defect(kinds: str, expectation: str, words: str = "", late: int = 0, name: str = ""):
    """Decorator: registers a change under its own or the given name; alternatives of `words` are separated by |."""

    def register(change):
        alternatives = tuple(filter(None, words.split("|")))
        DEFECTS[name or change.__name__] = Defect(tuple(kinds.split()), expectation, alternatives, change, late)
        return change

    return register


def edit_files(kinds: str, edits: dict[str, Callable], of: str = "all", late: int = 0, refuse: str = ""):
    """Registers defects that must be read, or refused with the words `refuse`: name → edit of each image, of all or
    of one cine beside the stack."""
    for name, edit in edits.items():

        def changed(source, rng, edit=edit):
            for file in source.images(None if of == "all" else other(source, rng)):
                edit(file)
            return source.cines if refuse else ()

        defect(kinds, "refuse" if refuse else "read", refuse, late, name)(changed)


def all_cines(change: Callable):
    """A change of the source alone, as one that touches all its cines."""

    def changed(source, rng):
        change(source)
        return source.cines

    return changed


def apply(name: str, source: Source):
    """Change a source by one defect; the same seed, subject and name make the same choices.

    Of several expectations for one cine the gravest stays: a correct reader of two defects at once meets it.
    Raises ValueError where an earlier defect removed what this one changes.
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
        before = ", ".join(source.defects)
        raise ValueError(f"the defect {name!r} cannot follow {before} ({type(error).__name__})") from error
    for truth in (source.cines[cine] for cine in touched):
        grave = EXPECTATIONS.index(one.expectation) - EXPECTATIONS.index(truth["expectation"])
        if grave > 0:
            truth["expectation"], truth["words"] = one.expectation, []
        if grave >= 0:
            truth["words"] = [*truth["words"], *one.words]
    source.defects.append(name)


def some(rng, items):
    """One of the items."""
    return items[int(rng.integers(len(items)))]


def _largest(source):
    return max(source.cines, key=lambda cine: len(source.cines[cine]["slices"]))


def short_axis(source: Source) -> str:
    """The cine with most slices. Raises ValueError where it has fewer than three."""
    if len(source.cines[_largest(source)]["slices"]) < 3:
        raise ValueError(f"this defect needs a stack of at least 3 slices; {source.label} has none")
    return _largest(source)


def other(source: Source, rng) -> str:
    """A cine other than the largest stack, or that where there is no other."""
    return some(rng, [cine for cine in source.cines if cine != _largest(source)] or list(source.cines))


def inner_slice(source: Source, cine: str, rng) -> int:
    """A slice with neighbours on both sides."""
    return some(rng, [one["slice"] for one in source.cines[cine]["slices"][1:-1]])


def as_bytes(file) -> bytes:
    """Encode a file for good and return its bytes."""
    file.content = encode(file)
    return file.content
