"""What happens to files with a named trouble: read right, refused with the right reason, or silently wrong.

    CMR_DATA_DIR=… python benchmarks/defects.py [--pairs 4] [--table defects.csv]

Half of the corpus mutates real files: MVnet's 2CH and 4CH cines and four slices of a Sunnybrook stack, all as DICOM.
Their truth (SHA-256 of every slice and phase, positions, times) is taken from the untouched files by sorting on facts
that were checked by hand, before anything is mutated. The other half is written by the phantom in six layouts. Both
are changed by the phantom's named defects, alone and in random pairs, and judged by `tests.corpus.judge`.
Beside it stand the scripts of plain_readers.py on the same files.

A case is `refused` where a cine was to be refused, and was, for a reason that names the trouble; `needless` where
something readable was refused; `silently wrong` where pixels, order, geometry or times are others than the truth's
without a flag, or a file vanished unlisted. A plain script that raises is `refused`.
"""

import argparse
import copy
import os
import sys
import tarfile
import tempfile
from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import plain_readers
import pydicom
from tqdm import tqdm

from cmrlib.cohort.study import Study
from cmrlib.phantom import make_study, subject_specs

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from corpus import DEFECTS, FORMATS, File, Source, apply, build, judge, write_source
from corpus.source import sha

TINY = {"frames": 6, "size": 32, "spacing_mm": 6.0, "slices": 5, "subslices": 1}
READERS = {"dicom": "dicom", "enhanced": "dicom", "nifti": "nifti", "nifti-3d": "nifti", "acdc": "acdc", "ukbb": "ukbb"}
PLAIN = {
    "dicom": plain_readers.dicom,
    "enhanced": plain_readers.dicom,
    "ukbb": plain_readers.dicom,
    "nifti": plain_readers.nifti,
    "nifti-3d": plain_readers.frames_3d,
    "acdc": plain_readers.acdc,
}
OUTCOMES = ("read", "refused", "needless", "silently wrong")
UNORDERED = ("refuse", ["cannot be ordered"])
ON_REAL = {
    ("mvnet", name): UNORDERED
    for name in (
        "first_trigger_absent",
        "trigger_absent",
        "trigger_is_constant",
        "trigger_is_scan_begin",
        "trigger_is_zero",
    )
}
"""What a correct reader does where it is something else than with the phantom: MVnet's files have no instance numbers,
so that nothing orders their frames once trigger times are gone."""
UNFIT = {
    ("sunnybrook", name)
    for name in ("slice_repeated", "two_slices_at_one_place", "two_patients_in_one_folder", "view_repeated_elsewhere")
}
"""Defects whose truth holds for the phantom only: repeats that are told by the phantom's clock (it scans at ten, from
its first slice on; Sunnybrook's patient was scanned before nine); and what needs a long-axis cine beside the stack."""
NAMING = {
    "descriptions_absent",
    "long_axes_in_one_series",
    "uids_per_file",
}
"""Defects of names: of two the second undoes the first, so they make no pair."""

SAX_SLICES = slice(3, 7)  # four of twelve: enough for every defect of a stack


@dataclass(frozen=True)
class Case:
    """One subject's files: what they are made from, and the defects they get."""

    origin: str
    kind: str
    defects: tuple[str, ...]


# --- real files ------------------------------------------------------------------------------------------------------


def real_sources(data_dir) -> dict[str, Source]:
    """Untouched real DICOM as sources with truth; empty where no real data is at hand."""
    data_dir = Path(data_dir or "/nonexistent")
    sources = {}
    if (data_dir / "mvnet_sample").is_dir():
        views = {
            view: [path.read_bytes() for path in sorted((data_dir / "mvnet_sample" / view).iterdir())]
            for view in ("2ch", "4ch")
        }
        sources["mvnet"] = real_source("mvnet", views, lambda data: float(data.TriggerTime))
    packed = data_dir / "sunnybrook" / "dicom" / "SCD0000101.tar.xz"
    if packed.exists():
        with tarfile.open(packed) as archive:
            images = [archive.extractfile(member).read() for member in archive if member.isfile()]
        sources["sunnybrook"] = real_source("sunnybrook", {"sax": images}, lambda data: int(data.InstanceNumber))
    return sources


def real_source(label, views, in_time) -> Source:
    """Files' bytes a view → files (still bytes) and truth. in_time: what orders one slice's frames, checked by hand."""
    files, cines, contents = [], {}, {}
    for view, stored in views.items():
        images = [pydicom.dcmread(BytesIO(content)) for content in stored]
        contents |= {id(data): content for data, content in zip(images, stored)}
        name = f"sub-{label}_view-{view}"
        along = np.cross(*np.reshape(np.array(images[0].ImageOrientationPatient, float), (2, 3)))
        places = {}
        for data in images:
            place = round(float(np.array(data.ImagePositionPatient, float) @ along), 1)
            places.setdefault(place, []).append(data)
        rows = [sorted(places[place], key=in_time) for place in sorted(places)]
        rows = rows[SAX_SLICES] if len(rows) > 8 else rows
        for k, row in enumerate(rows):
            files += [
                File(f"{label}/{view}/IM-0001-{k * len(row) + t:04d}.dcm", contents[id(data)], name, k, t)
                for t, data in enumerate(row)
            ]
        cines[name] = _truth(view, rows)
    person = images[0]
    age = str(person.get("PatientAge", ""))
    participant = {
        "participant_id": label,
        "sex": person.get("PatientSex") or None,
        "age": int(age[:3]) if age[:3].isdigit() else None,
        "height_m": person.get("PatientSize") and float(person.PatientSize),
        "weight_kg": person.get("PatientWeight") and float(person.PatientWeight),
    }
    return Source(label, 1, files, cines, participant)


def _truth(view, rows) -> dict:
    """What a correct reader must find in rows of data sets in time order, along the normal."""
    first, slices = rows[0][0], []
    for k, row in enumerate(rows):
        times = [float(data.TriggerTime) for data in row]
        slices.append(
            {
                "slice": k,
                "position_mm": (np.array(row[0].ImagePositionPatient, float) * [-1, -1, 1]).tolist(),
                "frame_times_ms": times,
                "rr_ms": len(row) * (times[-1] - times[0]) / (len(row) - 1),
                "sha256": [sha(data.pixel_array) for data in row],
            }
        )
    gap = np.linalg.norm(np.subtract(slices[-1]["position_mm"], slices[0]["position_mm"])) / max(len(rows) - 1, 1)
    return {
        "view": view,
        "rows": first.Rows,
        "columns": first.Columns,
        "frames": len(rows[0]),
        "spacing_mm": [float(x) for x in first.PixelSpacing],
        "slice_distance_mm": gap if len(rows) > 1 else None,
        "oriented": True,
        "ed": None,
        "es": None,
        "expectation": "read",
        "words": [],
        "slices": slices,
    }


# --- cases -----------------------------------------------------------------------------------------------------------


def cases(origins, pairs, rng) -> list[Case]:
    """Every defect alone on every origin that it suits, no defect at all, and random pairs; half of them real."""
    made = []
    for origin, kind in origins:
        names = sorted(name for name, one in DEFECTS.items() if kind in one.kinds and (origin, name) not in UNFIT)
        made += [Case(origin, kind, ()), *(Case(origin, kind, (name,)) for name in names)]
        drawn = [tuple(str(name) for name in rng.choice(names, 2, replace=False)) for _ in range(pairs)]
        made += [Case(origin, kind, pair) for pair in drawn if not set(pair) <= NAMING]
    return made


def made(case: Case, real: dict[str, Source], studies: dict) -> Source | None:
    """The case's files in memory; None where a defect does not suit them (no such tag, too few slices)."""
    try:
        if case.origin in real:
            still = real[case.origin]
            files = [
                File(file.path, pydicom.dcmread(BytesIO(file.content)), file.cine, file.k, file.t)
                for file in still.files
            ]
            source = Source(still.label, 1, files, copy.deepcopy(still.cines), dict(still.participant))
            for name in sorted(case.defects, key=lambda name: DEFECTS[name].late):
                apply(name, source)
                if (case.origin, name) in ON_REAL:
                    for truth in source.cines.values():
                        truth["expectation"], truth["words"] = ON_REAL[case.origin, name]
            return source
        study = studies[
            "three" if {"long_axes_in_one_series", "description_of_another_view"} & set(case.defects) else "two"
        ]
        return build(study, 1, case.origin, case.defects)
    except (ValueError, AttributeError, KeyError, IndexError, TypeError):
        return None


def ours(kind, folder) -> Study:
    """Whatever cmrlib's reader makes of a folder, all its subjects together."""
    reader = import_module(f"cmrlib.datasets.{READERS[kind]}")
    try:
        studies = [reader.read(label, item) for label, item in reader.find(folder).items()]
    except ValueError as error:
        return Study({}, [], rejected=[{"digest": "n/a", "reason": str(error)}])
    merged = studies[0] if studies else Study({}, [], rejected=[{"digest": "n/a", "reason": "nothing was found"}])
    for study in studies[1:]:
        merged.cines += study.cines
        merged.rejected += study.rejected
    return merged


def verdict(rows, plain=False) -> str:
    """One of OUTCOMES from the judge's rows; a plain script lists no refused files, so it is not asked for them."""
    rows = [row for row in rows if not plain or row["outcome"] != "not listed"]
    if any(row["outcome"] in ("wrong", "not listed") for row in rows):
        return "silently wrong"
    if any(row["outcome"] == "refused" and not row["met"] for row in rows):
        return "needless"
    return "refused" if any(row["outcome"] == "refused" and row["cine"].startswith("sub-") for row in rows) else "read"


def by_script(case, truth, folder) -> str:
    """The plain script's outcome: what raises is seen by its user, and so refused."""
    try:
        study = PLAIN[case.kind](folder)
    except Exception:
        return "refused"
    return verdict(judge(truth, study), plain=True)


def judged(case: Case, source: Source, folder) -> dict:
    """Write, read by both, judge."""
    (truth,) = write_source(folder, [source]).values()
    try:
        rows = judge(truth, ours(case.kind, folder))
        outcome, why = (
            verdict(rows),
            "; ".join(f"{row['cine']}: {', '.join(row['problems'])}" for row in rows if not row["met"]),
        )
    except Exception as error:  # what no reader may do
        outcome, why = "silently wrong", f"crashed: {type(error).__name__}: {error}"
    plain = "refused" if case.kind == "ukbb" else by_script(case, truth, folder)  # nobody's script reads zips in place
    return {
        "files": case.origin,
        "real": case.origin not in FORMATS,
        "defects": " + ".join(case.defects) or "none",
        "cmrlib": outcome,
        "plain script": plain,
        "why": why,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=6, help="random pairs of defects a layout")
    parser.add_argument("--only", default="", help="a word in the names of defects")
    parser.add_argument("--files", default="", help="one kind of files only: mvnet, sunnybrook, dicom, …")
    parser.add_argument("--table", help="CSV file for the whole table")
    arguments = parser.parse_args()
    rng = np.random.default_rng(1)
    real = real_sources(os.environ.get("CMR_DATA_DIR"))
    orders = {"two": subject_specs(1, **TINY, views=("sax", "4ch")), "three": subject_specs(1, **TINY)}
    studies = {name: make_study("P0001", next(iter(order.values()))) for name, order in orders.items()}
    forms = ("dicom", "dicom-enhanced", "nifti", "nifti-3d", "acdc", "ukbb")
    origins = [(name, "dicom") for name in real] + [(form, FORMATS[form].kind) for form in forms]
    rows = []
    todo = [
        case
        for case in cases(origins, arguments.pairs, rng)
        if arguments.only in " ".join(case.defects) and arguments.files in ("", case.origin)
    ]
    for case in tqdm(todo, unit="case", mininterval=10):
        source = made(case, real, studies)
        if source:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(judged(case, source, Path(folder) / "src"))
    report(pd.DataFrame(rows), arguments.table)


def report(table: pd.DataFrame, path=None):
    """Print what is not as it should be, counts a layout, and the last line."""
    if path:
        table.to_csv(path, index=False)
    bad = table[table["cmrlib"].isin(["needless", "silently wrong"])]
    for row in bad.to_dict("records"):
        print(f"{row['cmrlib']}: {row['files']}: {row['defects']}: {row['why']}")
    for reader in ("cmrlib", "plain script"):
        counts = pd.crosstab(table["files"], table[reader]).reindex(columns=OUTCOMES, fill_value=0)
        print(f"\n{reader}, cases\n{counts}")
    named = {name for defects in table["defects"] for name in defects.split(" + ")} - {"none"}
    plain = Counter(table["plain script"])
    print(
        f"\ncases={len(table)} real={int(table['real'].sum())} plain_read={plain['read']} "
        f"plain_refused={plain['refused'] + plain['needless']} plain_silently_wrong={plain['silently wrong']}"
    )
    ours = Counter(table["cmrlib"])
    print(
        f"defects={len(named)} read={ours['read']} refused={ours['refused']} needless={ours['needless']} "
        f"silently_wrong={ours['silently wrong']}"
    )


if __name__ == "__main__":
    main()
