"""Attacks on the command line: hostile and malformed inputs, what must come out of each, and what did.

An attack changes the untouched files of a base (`bases.py`) and runs a command on them. `words` is a regular expression
that must be heard: in the one line of a refusal, in a flag, or in a reason of rejected.tsv. Without words the command
must read what it reads of the untouched files. Whatever the words: what is neither flagged nor refused is the same as
untouched, what is gone is said, and nothing is written but where it was asked for.
"""

import hashlib
import os
import re
import resource
import shlex
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from corpus.source import quiet

OUTCOMES = ("silently wrong", "traceback", "hang", "lost", "outside", "identifier", "unclear")
"""What may not come out. hang: too slow, or too much memory. unclear: refused needlessly, or in other words than must
be heard. Besides: refused, flagged, listed (in rejected.tsv), read."""

SECONDS, PATIENCE_S, LARGEST_BYTES = 60, 300, 2_800_000_000
"""Of one command: seconds of the processor, and in all, and memory; this counts what the process had before."""
WRITTEN = r"far/down/here/\.?(dest|out)([/.-]|$)"
"""Where a command may write: a cohort with its private map, or what it was given as --out."""


@dataclass(frozen=True)
class Attack:
    """change: (place) → None, edits its files. command: in place of the base's. right: (place) → what is wrong with
    the result, for what no other check sees. may: names of values that rightly are others than untouched. secrets:
    words that may stand in no file that is written. labelled: False where subjects rightly get other labels.
    like: the command whose result on untouched files counts, where it is another."""

    name: str
    base: str
    change: Callable
    words: str = ""
    command: str = ""
    right: Callable | None = None
    may: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    labelled: bool = True
    like: str = ""


@dataclass(frozen=True)
class Row:
    """One thing that came out, a cine, a participant, a mask: its values and flags."""

    values: dict
    flags: frozenset = frozenset()


class Place:
    """An attack's own folder. source: the files of the first subject in memory, until `src` is asked for."""

    def __init__(self, root, base):
        self.root, self.base = Path(root) / "far" / "down" / "here", base
        self.dest, self.out, self.work = (self.root / name for name in ("dest", "out", "work"))
        self.work.mkdir(parents=True)
        self._sources, self._src, self.code, self.said = None, None, None, ""

    @property
    def sources(self):
        self._sources = self._sources or self.base.sources()
        return self._sources

    @property
    def source(self):
        return self.sources[0]

    @property
    def src(self) -> Path:
        """The base's folder, written when this is first asked for."""
        if self._src is None:
            self._src = self.root / "src"
            if self._sources is None and self.base.kept:
                shutil.copytree(self.base.kept, self._src, symlinks=True)
            else:
                self.base.write(self._src, self.sources)
        return self._src

    def words_of(self, command: str) -> list[str]:
        """The words of a command, its folders filled in."""
        names = {"src": self.src, "dest": self.dest, "out": self.out, "root": self.root} | self.base.extra()
        return [word.format(**names) for word in shlex.split(command)]


def run(attack: Attack, base, untouched: dict) -> dict:
    """Attack, and judge what comes out: name, base, outcome, why. untouched: rows of the untouched base."""
    with tempfile.TemporaryDirectory(prefix="attack-") as root:
        place = Place(root, base)
        try:
            with quiet():
                attack.change(place)
                place.src.exists()
        except Exception as error:
            return {"name": attack.name, "base": attack.base, "outcome": "unclear", "why": f"cannot be made: {error!r}"}
        command = attack.command or base.command
        before = snapshot(root)
        signalled, memory = perform(place, command)
        outcome, why = judged(attack, place, untouched, before, signalled, memory, root)
        return {"name": attack.name, "base": attack.base, "outcome": outcome, "why": why}


def rows_untouched(base, command: str) -> dict:
    """Rows of a base that nobody changed."""
    with tempfile.TemporaryDirectory(prefix="attack-") as root:
        place = Place(root, base)
        perform(place, command)
        if place.code != 0 and command == base.command:
            raise RuntimeError(f"the untouched files of {base.name} are refused by {command!r}: {place.said}")
        return base.rows(place)[0]


def perform(place: Place, command: str) -> tuple[int, int]:
    """Run a command in a process of its own; returns the signal that ended it, 0 for none, and its peak of memory."""
    words, log = place.words_of(command), place.root.parent / "log"
    child = os.fork()
    if child == 0:
        os.setsid()  # what it starts ends with it
        signal.alarm(PATIENCE_S)  # nobody handles it: it ends the process
        _child(words, log, place.work)
    _, status, used = os.wait4(child, 0)
    place.said = log.read_text(errors="replace") if log.exists() else ""
    log.unlink(missing_ok=True)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    place.code = os.waitstatus_to_exitcode(status)
    return max(0, -place.code), used.ru_maxrss * 1024


def _child(words, log, folder):
    """The command in this process, which it ends."""
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS,) * 2)
        stream = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.chdir(folder)
        from cmrlib.app.cli import app

        app(words)
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


# --- what came out ---------------------------------------------------------------------------------------------------


def judged(attack, place, untouched, before, signalled, memory, root) -> tuple[str, str]:
    """One of OUTCOMES, or how the attack was met; and what is wrong, or what was heard."""
    said = re.sub(r"[^\n]*\r", "", place.said)
    if signalled or memory > LARGEST_BYTES:
        return "hang", f"signal {signalled}, {memory / 1e9:.1f} GB"
    if "Traceback (most" in said or place.code not in (0, 1, 2):
        return "traceback", said.strip()[-300:]
    after = snapshot(root)
    if changed := sorted(name for name in before if after.get(name) != before[name]):
        return "lost", f"changed or gone: {changed[:3]}"
    new = sorted(set(after) - set(before))
    named = r"far/down/here/(src/)?\.?(dest|out)([/.-]|$)" if "{src}/dest" in attack.command else WRITTEN
    if strange := [name for name in new if not re.match(named, name)]:
        return "outside", f"written: {strange[:3]}"
    if found := leaked(place, [Path(root) / name for name in new], said, attack.secrets):
        return "identifier", found
    if place.code == 2:
        return refused(attack, said)
    return result(attack, place, untouched, said)


def refused(attack, said) -> tuple[str, str]:
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    one_line = len(lines) == 1 or "Usage:" in said
    heard = attack.words and re.search(attack.words, said)
    return "refused" if one_line and heard else "unclear", (lines or [said.strip()])[0][:300]


def result(attack, place, untouched, said) -> tuple[str, str]:
    rows, reasons = place.base.rows(place)
    if not attack.labelled:
        rows, untouched = _by_pixels(rows), _by_pixels(untouched)
    fresh = {key: row.flags - (untouched[key].flags if key in untouched else frozenset()) for key, row in rows.items()}
    flags = sorted({flag for some in fresh.values() for flag in some})
    heard = {"flagged": " ".join(flags), "listed": " | ".join(reasons), "said": said}
    how = next((how for how, text in heard.items() if attack.words and re.search(attack.words, text)), "")
    if attack.words and not how:
        return "silently wrong", f"not heard in {flags}, {reasons[:2]}, {said.strip()[-120:]!r}"
    if (gone := sorted(set(untouched) - set(rows))) and not (how or reasons):
        return "lost", f"gone without a word: {gone}"
    if not attack.words and (more := sorted(set(rows) - set(untouched))):
        return "silently wrong", f"nobody made {more}"
    for key, row in rows.items():
        values = row.values
        if str(key).startswith("participant"):  # who is not known is not wrong
            values = {name: value for name, value in values.items() if value == value}
        wrong = differing(values, untouched[key].values, attack.may) if key in untouched else []
        if wrong and not fresh[key]:
            return "silently wrong", f"{key}: {', '.join(wrong)}"
    if attack.right and (problem := attack.right(place)):
        return "silently wrong", problem
    return how or "read", f"{flags} {reasons[:2]}"


def _by_pixels(rows) -> dict:
    return {row.values["pixels"]: row for row in rows.values() if "pixels" in row.values}


def differing(values: dict, expected: dict, may=()) -> list[str]:
    """Names of values that are others than expected; numbers to half a percent."""
    wrong = []
    for name in sorted(set(expected) & set(values) - set(may)):
        mine, other = values.get(name), expected[name]
        if mine == other or (mine != mine and other != other):
            continue
        numbers = isinstance(mine, int | float) and isinstance(other, int | float)
        if not (numbers and np.isclose(mine, other, rtol=5e-3, atol=1e-6)):
            wrong.append(f"{name} {mine} for {other}")
    return wrong


def snapshot(root) -> dict[str, str]:
    """Name → digest of every file below a folder, what links lead to left alone; folders with an empty one."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in files + folders:
            path = Path(folder, name)
            key = os.fsencode(path.relative_to(root)).decode(errors="backslashreplace")
            if path.is_symlink():
                found[key] = str(path.readlink())
            elif path.is_file():
                few = path.stat().st_size < 2**27
                found[key] = hashlib.blake2b(path.read_bytes() if few else b"large", digest_size=8).hexdigest()
            else:
                found[key] = ""
    return found


def leaked(place, new, said, secrets) -> str:
    """The first of the marks, or an attack's secrets, that stands in a new file or, a mark, on the terminal."""
    from corpus.dicom import MARKS

    if mark := next((mark for mark in MARKS if mark in said), ""):
        return f"{mark!r} on the terminal"
    for path in new:
        if path.is_file() and not path.is_symlink() and not path.name.endswith(".sources.tsv"):
            text = os.fsencode(path.name) + path.read_bytes()
            if found := next((word for word in (*MARKS, *secrets) if word.encode() in text), ""):
                return f"{found!r} in {path.name}"
    return ""


def emptied(folder):
    """Remove a folder's content."""
    for path in Path(folder).iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
