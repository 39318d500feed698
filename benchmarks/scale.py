"""What a study costs as it grows: processor seconds and peak memory against the number of subjects.

    python benchmarks/scale.py [--subjects 100 1000 10000 65000] [--rounds 3]

Synthetic tables of a UK-Biobank-like study, a subject a SAX stack of 13 slices and 4CH, 3CH, 2CH cines, 50 frames:
`open` reads the cohort's tables, `split` deals subjects, `sample` lists the sections of one epoch of pretraining and
draws their order, `agree` compares two observers in one measure with 2,000 bootstrap resamples, `merge` joins the
tables of shards of 100. No pixel is read or there. `measure` needs masks: one small heart (64×64, 3 slices, 8 frames),
linked as often as there are subjects; 65,000 take some ten minutes a round, `--steps` leaves it out.

Every step runs in a process of its own, rounds times, the least is taken: a busy machine can only add. Seconds are the
processor's, and the clock's beside them for `open`. growth: seconds a subject at the most over those at a tenth of the
subjects (1,000 against 100, …); 1 is linear.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from cmrlib.cohort import FORMAT_VERSION, TABLES, Cohort, digests, stem
from cmrlib.cohort.files import read_json, write_json, write_tsv

VIEWS = {"sax": 13, "4ch": 1, "3ch": 1, "2ch": 1}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, nargs="+", default=[100, 1000, 10000, 65000])
    parser.add_argument("--steps", nargs="+", default=list(STEPS), choices=STEPS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("STEP", "FOLDER"), help="used by this program itself")
    given = parser.parse_args()
    if given.one:
        return one(*given.one)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for n in sorted(set(given.subjects)):
            path = Path(folder) / str(n)
            tables(path, n)
            for step in given.steps:
                prepared(step, path, n)
                rows.append({"step": step, "subjects": n} | best(step, path, given.rounds))
                print(" ".join(f"{name}={value}" for name, value in rows[-1].items()), flush=True)
    print(growth(pd.DataFrame(rows)).to_string(index=False))
    print(" ".join(f"{row['step']}_{row['subjects']}_{unit}={row[unit]}" for row in rows for unit in ("seconds", "mb")))


def growth(table) -> pd.DataFrame:
    """Processor seconds and megabytes a subject at one size over those at the size before."""
    rows = []
    for step, part in table.groupby("step", sort=False):
        part = part.sort_values("subjects")
        for before, after in zip(part.to_dict("records")[:-1], part.to_dict("records")[1:]):
            more = after["subjects"] / before["subjects"]
            rows.append(
                {
                    "step": step,
                    "from": before["subjects"],
                    "to": after["subjects"],
                    "seconds_growth": round(after["cpu_seconds"] / max(before["cpu_seconds"], 1e-3) / more, 2),
                    "mb_growth": round(max(after["mb"], 1) / max(before["mb"], 1) / more, 2),
                }
            )
    return pd.DataFrame(rows, columns=["step", "from", "to", "seconds_growth", "mb_growth"])


def best(step, path, rounds) -> dict:
    """The least of several runs, each in a fresh process."""
    found = []
    for _ in range(rounds):
        done = subprocess.run([sys.executable, __file__, "--one", step, str(path)], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{step} at {path.name} subjects failed\n{done.stderr[-2000:]}")
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return {name: min(row[name] for row in found) for name in found[0]}


def one(step, folder):
    """One step in this process: its cost, without imports and without what it starts from."""
    work = STEPS[step](Path(folder))
    before = _peak_mb()
    cpu, clock = time.process_time(), time.monotonic()
    work()
    done = {
        "cpu_seconds": round(time.process_time() - cpu, 3),
        "seconds": round(time.monotonic() - clock, 3),
        "mb": round(_peak_mb() - before, 1),
    }
    print(json.dumps(done))


def _peak_mb():
    status = Path("/proc/self/status")  # getrusage's would hold the calling process's peak, too
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# --- what there is to work on ----------------------------------------------------------------------------------------


def tables(path, n):
    """A cohort's tables without its arrays."""
    rng = np.random.default_rng(1)
    people = [f"H{k:012x}" for k in rng.permutation(n)]
    subjects = pd.DataFrame(
        {
            "participant_id": people,
            "sex": rng.choice(["F", "M"], n),
            "age": rng.integers(45, 82, n),
            "height_m": rng.normal(1.7, 0.1, n).round(2),
            "group": rng.choice(["NOR", "HTN"], n),
        }
    )
    parts = []
    for view, slices in VIEWS.items():
        parts.append(
            pd.DataFrame(
                {
                    "cine": [f"sub-{p}_view-{view}" for p in people],
                    "participant_id": people,
                    "session": None,
                    "view": view,
                    "run": 1,
                    "frames": 50,
                    "slices": slices,
                    "rows": 208,
                    "columns": 180,
                    "slice_distance_mm": 10.0,
                    "row_spacing_mm": 1.8269230127,
                    "column_spacing_mm": 1.8269230127,
                    "frame_step_ms": 19.4,
                    "rr_ms": rng.normal(970, 90, n).round(1),
                    "ed": 0,
                    "es": rng.integers(14, 22, n),
                    "flags": rng.choice([None, "slices_shifted"], n, p=[0.9, 0.1]),
                    "bytes": 352 + 3744000 * slices,
                    "digest": [f"{k:032x}" for k in rng.integers(0, 2**62, n)],
                }
            )
        )
    described = {"Name": "synthetic tables", "Synthetic": True, "FormatVersion": FORMAT_VERSION}
    _write_tables(path, subjects, pd.concat(parts).sort_values("cine"), described)


def _write_tables(path, subjects, cines, description):
    tables = {"participants": subjects, "cines": cines, "rejected": pd.DataFrame(columns=["participant_id", "reason"])}
    for name, table in tables.items():
        write_tsv(table, path / f"{name}.tsv")
    write_json(description, path / "dataset_description.json")
    digests.note(dict.fromkeys(path / name for name in TABLES))


def prepared(step, path, n):
    """What a step needs besides tables."""
    if step == "measure":
        _linked_hearts(path / "hearts", n)
    if step == "merge":
        _shards(path)


def _sparse(path, row, name):
    """A cine's file of full size that takes no room, older than the tables."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((row["columns"], row["rows"], row["slices"], row["frames"]))
    header["vox_offset"], header["sform_code"] = 352, 1
    header["srow_x"], header["srow_y"], header["srow_z"] = np.diag([1.8, 1.8, 10, 1])[:3]
    file = path / stem(name).with_name(f"{name}_cine.nii")
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as raw:
        raw.write(header.binaryblock + b"\0" * 4)
        raw.truncate(row["bytes"])
        raw.seek(352)
        raw.write(b"\1\0")  # one pixel that is not black
    os.utime(file, (0, 0))
    side = dict.fromkeys(["frame_times_ms", "rr_ms", "slice_position_mm", "ed", "es", "frames_of"])
    write_json(
        side
        | {
            "view": row["view"],
            "subject": row["participant_id"],
            "session": "",
            "run": 1,
            "meta": {},
            "spacing_known": True,
            "flags": [],
        },
        file.with_suffix(".json"),
    )
    digests.note({file: row["digest"], file.with_suffix(".json"): None})


def _linked_hearts(folder, n):
    """One phantom heart n times: files are links to a copy every 10,000 (ext4 stops at 65,000), tables differ."""
    from cmrlib.phantom import make_cohort

    made = make_cohort(
        folder / "one", 1, frames=8, size=64, spacing_mm=3.2, slices=3, views=("sax",), workers=1, progress=False
    )
    many, row = folder / "many", made.cines.iloc[0].to_dict()
    rows, person = [], made.subjects.iloc[0].to_dict()
    for k in range(n):
        label, copied = f"N{k:06d}", f"N{k // 10000 * 10000:06d}"
        name = row["cine"].replace("P0001", label)
        for source in [made.path, made.path / "derivatives" / "truth"]:
            target = many / source.relative_to(made.path) / f"sub-{label}"
            target.mkdir(parents=True)
            for file in (source / "sub-P0001").iterdir():
                linked = target.with_name(f"sub-{copied}") / file.name.replace("P0001", copied)
                mine = target / file.name.replace("P0001", label)
                if file.name.endswith("_cine.json"):
                    write_json(read_json(file) | {"subject": label}, mine)
                elif label == copied:
                    shutil.copy2(file, mine)
                else:
                    os.link(linked, mine)
            (target / digests.NAME).unlink()
            drawn = dict.fromkeys(target.iterdir())
            digests.note(drawn, "" if source == made.path else row["digest"])
        rows.append(row | {"cine": name, "participant_id": label})
    people = pd.DataFrame([person | {"participant_id": row["participant_id"]} for row in rows])
    _write_tables(many, people, pd.DataFrame(rows), made.description)


def _shards(path, size=100):
    """The table of cines as shards leave it, so many subjects each."""
    cines = pd.read_csv(path / "cines.tsv", sep="\t", dtype=str, keep_default_na=False)
    for number, part in cines.groupby(cines["participant_id"].factorize()[0] // size):
        write_tsv(part, path / "shards" / f"{number:04d}.tsv")


# --- steps: prepare, then return what is timed -----------------------------------------------------------------------


def _open(path):
    return lambda: Cohort.open(path)


def _split(path):
    from cmrlib.cohort.splits import split_subjects

    cohort = Cohort.open(path)
    return lambda: split_subjects(cohort.subjects)


def _sample(path):
    from cmrlib.cohort.splits import split_subjects
    from cmrlib.papers.heartmae import HeartMAE

    cohort = Cohort.open(path)
    split = split_subjects(cohort.subjects)
    first = HeartMAE().items(cohort, "", split).drop_duplicates("split")
    for name in first["cine"]:  # fastai tries its pipeline on the first item
        _sparse(path, cohort.cines.set_index("cine").loc[name], name)

    def work():
        loader = HeartMAE().dataloaders(cohort, "", split, 56).train
        loader.randomize()
        assert len(loader.get_idxs()) == (split == "train").sum()

    return work


def _agree(path):
    from cmrlib.agreement import compare

    n, rng = int(path.name), np.random.default_rng(0)
    ids, truth = [f"H{k}" for k in range(n)], rng.normal(60, 8, n)
    table = pd.concat(
        [
            pd.DataFrame(
                {"participant_id": ids, "session": "", "lvef_pct": truth + rng.normal(0, 2, n), "observer": name}
            )
            for name in "ab"
        ]
    )
    return lambda: compare(table, "a", "b", ["lvef_pct"])


def _measure(path):
    from cmrlib.measures import features

    cohort = Cohort.open(path / "hearts" / "many")
    return lambda: features(cohort, "truth")


def _merge(path):
    from cmrlib.cohort.sharding import join_tables

    return lambda: join_tables(sorted((path / "shards").glob("*.tsv")), path / "joined.tsv")


STEPS = {"open": _open, "split": _split, "sample": _sample, "agree": _agree, "merge": _merge, "measure": _measure}

if __name__ == "__main__":
    sys.exit(main())
