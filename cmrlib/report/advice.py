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
        name = flag.split(": ")[-1].partition(":")[0]
        pattern = next(one for one in FLAGS if fnmatchcase(name, one))
        found.setdefault(pattern, []).append(re.sub(r"(frames|slices)=\d+,|=", " ", flag).replace("_", " "))
    return [
        {"flag": "; ".join(found[pattern]), "means": means, "do": do}
        for pattern, (means, do) in FLAGS.items()
        if pattern in found
    ]
