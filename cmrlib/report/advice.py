"""Flags of a report in words: what each means and what to do about it."""

import re
from fnmatch import fnmatchcase
from importlib.resources import files

import yaml

FLAGS = yaml.safe_load(files("cmrlib.report").joinpath("flags.yaml").read_text(encoding="utf-8"))
"""Pattern of a flag's name → what it means, what to do."""


def advice(flags: list[str]) -> list[dict]:
    """Rows flag, means, do; flags of one kind share a row, in the order of FLAGS.

    flags: `name`, `name:detail`, or of a cine `view: name`.
    """
    found = {}
    for flag in flags:
        pattern = next(one for one in FLAGS if fnmatchcase(_name(flag), one))
        found.setdefault(pattern, []).append(re.sub(r"(frames|slices)=\d+,|=", " ", flag).replace("_", " "))
    return [
        {"flag": "; ".join(found[pattern]), "means": means, "do": do}
        for pattern, (means, do) in FLAGS.items()
        if pattern in found
    ]


def _name(flag) -> str:
    first, _, rest = flag.partition(": ")
    return (rest or first).partition(":")[0]
