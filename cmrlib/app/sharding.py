"""A cohort too large for one job: shards of subjects, each a small cohort, and the merge that makes them one.

    STUDY/plan.tsv                  participant_id, source (a digest of the files' names, sizes and times), shard
    STUDY/shards/0000/subjects.txt  who is in it; with the private .source.pkl (mode 600) all that its jobs must know
    STUDY/shards/0000/cohort, …     what its jobs write
    STUDY/cohort, observers, tables the merge: tables written anew, subjects' folders as links into the shards

A shard never changes, as a cohort never does. Who is new, or whose files changed, comes into a new shard; the plan says
which shard counts for whom. So 100 more subjects are 100 subjects' work, and who withdraws is left out by the next
merge.
"""

import hashlib
import os
import pickle
from dataclasses import fields, is_dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import pandas as pd

from cmrlib.cohort.files import atomic, read_json, write_json, write_tsv
from cmrlib.datasets import KINDS, read_flagged
from cmrlib.datasets.finding import Part, files_of
from cmrlib.datasets.ingestion import build_cohort
from cmrlib.phantom import DESCRIPTION, make_orders, make_study

PLAN = "plan.tsv"
SOURCE = ".source.pkl"
UNDEFINED = "n/a"


def find_items(kind: str, src, options: dict):
    """(subject label → what the reader needs, reader, description) of a source; `phantom` needs no folder."""
    if kind == "phantom":
        if int(options.get("visits", 1)) > 1:
            raise ValueError("a phantom's visits are subjects of their own to a plan; choose visits: 1")
        return make_orders(**options), make_study, DESCRIPTION | {"Seed": int(options.get("seed", 1))}
    if kind not in KINDS:
        raise ValueError(f"unknown kind of data {kind!r}; known are {', '.join(KINDS)}, phantom")
    if not src or not Path(src).exists():
        raise FileNotFoundError(f"the source {src} does not exist; name the folder that holds the {kind} data")
    reader = import_module(f"cmrlib.datasets.{kind}")
    return (
        reader.find(Path(src).resolve()),
        partial(read_flagged, reader=reader.read, options=options),
        reader.DESCRIPTION | {"Options": options},
    )


def fingerprint(item) -> str:
    """Digest of a reader's item and of the name, size and time of every file that it names, files of folders too."""
    text = hashlib.blake2b(repr(item).encode(), digest_size=12)
    for path in _files(item):
        stat = path.stat()
        text.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return text.hexdigest()


def _files(item):
    if isinstance(item, Part):
        yield from files_of(item)
    elif isinstance(item, Path):
        yield from [item] if item.is_file() else files_of(item)
    elif isinstance(item, dict | list | tuple):
        for part in item.values() if isinstance(item, dict) else item:
            yield from _files(part)
    elif is_dataclass(item):
        for field in fields(item):
            yield from _files(getattr(item, field.name))


def plan_shards(kind: str, src, study, subjects_a_shard: int = 100, options: dict | None = None) -> pd.DataFrame:
    """Who is in which shard: participant_id, source, shard; written as STUDY/plan.tsv, with a folder a shard.

    Called again it keeps everybody whose source is as it was, puts the others into new shards, and forgets who is no
    longer there. Raises ValueError where the source is empty or the study was planned with another kind or options.
    """
    study, options = Path(study), options or {}
    items, read, description = find_items(kind, src, options)
    if not items:
        raise ValueError(f"no {kind} subject was found; check the folder and kind")
    _claim(study, {"kind": kind, "options": {name: value for name, value in options.items() if name != "subjects"}})
    before = (
        read_plan(study) if (study / PLAN).exists() else pd.DataFrame(columns=["participant_id", "source", "shard"])
    )
    known = before.set_index("participant_id")
    now = {label: fingerprint(item) for label, item in items.items()}
    kept = {
        label: known.at[label, "shard"]
        for label in now
        if label in known.index and known.at[label, "source"] == now[label]
    }
    new = [label for label in items if label not in kept]
    number = 1 + max((int(path.name) for path in (study / "shards").glob("[0-9]*")), default=-1)
    for start in range(0, len(new), subjects_a_shard):
        labels = new[start : start + subjects_a_shard]
        _write_shard(study / "shards" / f"{number:04d}", {label: items[label] for label in labels}, read, description)
        kept |= dict.fromkeys(labels, f"{number:04d}")
        number += 1
    table = pd.DataFrame(
        [(label, now[label], kept[label]) for label in items], columns=["participant_id", "source", "shard"]
    )
    if not table.equals(before):  # its time tells Snakemake that the merge is due
        write_tsv(table, study / PLAN)
    return table


def _claim(study, asked):
    mark = study / "study.json"
    if mark.exists() and read_json(mark) != asked:
        raise ValueError(f"{study} was planned as {read_json(mark)}, asked for is {asked}; choose another folder")
    if not mark.exists():
        write_json(asked, mark)


def read_plan(study) -> pd.DataFrame:
    """participant_id, source, shard, all text."""
    return pd.read_csv(Path(study) / PLAN, sep="\t", dtype=str, keep_default_na=False)


def _write_shard(folder, items, read, description):
    """The list comes last: Snakemake starts from it."""
    with atomic(folder / SOURCE) as part:
        part.write_bytes(pickle.dumps((items, read, description)))
    (folder / SOURCE).chmod(0o600)  # source paths name people
    with atomic(folder / "subjects.txt") as part:
        part.write_text("".join(f"{label}\n" for label in items))


def ingest_shard(folder, workers: int = 1):
    """The shard's cohort, made, continued or opened; None where nobody in it can be read: STUDY/shards/…/rejected.json
    says why."""
    folder = Path(folder)
    items, read, description = pickle.loads((folder / SOURCE).read_bytes())  # our own file, mode 600
    try:
        return build_cohort(items, read, folder / "cohort", description, workers, progress=False)
    except ValueError as error:
        if "no cine could be read" not in str(error):
            raise
        write_json({label: str(error) for label in items}, folder / "rejected.json")
        return None


def left_over(study, needs: dict[str, list[str]]) -> list[str]:
    """A line a job that could have been done and was not, after a run that went on past failures.

    needs: stage → the stages that it waits for.
    """
    lines = []
    for shard in sorted(set(read_plan(study)["shard"])):
        folder = Path(study) / "shards" / shard
        people = (folder / "subjects.txt").read_text().split()
        for stage, before in needs.items():
            if not (folder / f"{stage}.json").exists() and all((folder / f"{need}.json").exists() for need in before):
                lines.append(f"{stage} of shard {shard} failed ({len(people)} subjects, {people[0]} to {people[-1]})")
    return lines


# --- the merge -------------------------------------------------------------------------------------------------------


def merge_shards(study) -> dict:
    """All shards as one: STUDY/cohort (open it as any), observers, and tables/*.csv. Returns what was merged.

    Nothing is copied but tables: folders of subjects are links. Raises FileNotFoundError for a shard that is not
    ingested.
    """
    study = Path(study)
    plan = read_plan(study)
    groups = {shard: set(part["participant_id"]) for shard, part in plan.groupby("shard")}
    shards = {study / "shards" / shard: labels for shard, labels in groups.items()}
    absent = [path.name for path in shards if not (path / "ingest.json").exists()]
    if absent:
        raise FileNotFoundError(f"{len(absent)} shards are not ingested, first {absent[0]}; run the study to its end")
    read = {path: labels for path, labels in shards.items() if (path / "cohort" / "cines.tsv").exists()}
    if not read:
        raise ValueError("no subject of any shard could be read; shards/*/rejected.json say why")
    where = _where(read)
    merged = {"subjects": len(plan), "shards": len(shards), "tables": {}}
    for name in ("participants", "cines", "rejected"):
        _joined(read, f"cohort/{name}.tsv", study / "cohort" / f"{name}.tsv")
    for label in sorted({label for path, labels in shards.items() if path not in read for label in labels}):
        with (study / "cohort" / "rejected.tsv").open("a") as file:
            file.write(f"{label}\t{UNDEFINED}\tsub-{label}: nothing in it could be read\n")
    _link(study / "cohort", where, "cohort")
    for part in sorted(
        {
            path.relative_to(shard / "cohort")
            for shard in read
            for path in (shard / "cohort" / "derivatives").glob("*")
            if path.is_dir()
        }
    ):
        _link(study / "cohort" / part, where, f"cohort/{part}")
        _joined(read, f"cohort/{part}/measures.tsv", study / "cohort" / part / "measures.tsv")
    for name in sorted({path.name for shard in read for path in (shard / "observers").glob("*")}):
        _link(study / "observers" / name, where, f"observers/{name}")
        _joined(read, f"observers/{name}/measures.tsv", study / "observers" / name / "measures.tsv")
    names = sorted({path.name for shard in read for path in (shard / "parts").glob("*.csv")})
    for name in names:
        merged["tables"][name] = _joined(read, f"parts/{name}", study / "tables" / name, ",")
    description = read_json(next(iter(read)) / "cohort" / "dataset_description.json")
    description.pop("Plan")
    write_json(description | {"Shards": len(shards)}, study / "cohort" / "dataset_description.json")
    return merged


def _where(shards) -> dict[str, Path]:
    """participant_id → its shard."""
    found = {}
    for path, labels in shards.items():
        there = _text(path / "cohort" / "participants.tsv")["participant_id"]
        found |= dict.fromkeys(there[there.isin(labels)], path)
    return found


def _joined(shards, name, dest, separator="\t") -> int:
    """Rows of one table of all shards, of those whom the plan has there, as text: nothing is parsed or rounded."""
    parts = []
    for path, labels in shards.items():
        if (path / name).exists():
            table = _text(path / name, separator)
            parts.append(table[table["participant_id"].isin(labels)])
    if not parts:
        return 0
    missing = UNDEFINED if separator == "\t" else ""
    table = pd.concat(parts, ignore_index=True).fillna(missing)
    keys = [name for name in ("participant_id", "session", "cine", "view", "k") if name in table]
    table = table.sort_values(keys, kind="stable")
    with atomic(dest) as part:
        table.to_csv(part, sep=separator, index=False, lineterminator="\n")
    return len(table)


def _text(path, separator="\t"):
    return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)


def _link(folder, where, inside):
    """FOLDER/sub-… as links into the shards; links to who left, or moved to another shard, are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    there = {path.name: path for path in folder.glob("sub-*")}
    wanted = {}
    for label, shard in where.items():
        if (shard / inside / f"sub-{label}").is_dir():
            wanted[f"sub-{label}"] = os.path.relpath(shard / inside / f"sub-{label}", folder)
    for name, path in there.items():
        if wanted.get(name) != (target := str(path.readlink())):
            path.unlink()
        elif target:
            del wanted[name]
    for name, target in wanted.items():
        (folder / name).symlink_to(target)
