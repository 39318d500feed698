"""Reads clips of a store of sparse cines, 600 MB in all: the process may not keep more than 60 MB of it."""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from cmrlib.cine import Cine
from cmrlib.cohort.study import Study, finish_cohort, write_study
from cmrlib.papers.heartmae import HeartMAE

FRAMES, SLICES, SIDE, ROOM = 50, 12, 208, 60 * 2**20


def make(folder, n=12):
    """Cohort of n cines whose pixels are holes in a sparse file but for one corner."""
    rows = []
    for k in range(n):
        cine = Cine(np.ones((2, 1, 8, 8), np.int16), np.diag([2.0, 2.0, 8.0, 1.0]), "sax", f"P{k}")
        rows.append(write_study(folder, Study({"participant_id": f"P{k}"}, [cine])))
        path = folder / f"sub-P{k}" / f"{cine.name}_cine.nii"
        header = nib.load(path).header
        header.set_data_shape((SIDE, SIDE, SLICES, FRAMES))
        with path.open("wb") as file:
            file.write(header.binaryblock + b"\0" * 4)
            file.write(b"\1\0" * 64)
            file.truncate(352 + 2 * SIDE * SIDE * SLICES * FRAMES)
        side = path.with_suffix(".json")
        side.write_text(side.read_text().replace('"slice_position_mm": [0]', '"slice_position_mm": null'))
        rows[-1]["cines"][0] |= {
            "frames": FRAMES,
            "slices": SLICES,
            "rows": SIDE,
            "columns": SIDE,
            "bytes": path.stat().st_size,
        }
    return finish_cohort(folder, {"Name": "sparse"}, rows)


def kept_bytes():
    """Memory of this process that is not pages of files, which the system takes back whenever it likes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return 1024 * int(line.split()[1])
    raise SystemExit("no RssAnon in /proc: this check needs Linux")


cohort = make(Path(sys.argv[1]) / "c")
size = sum(cohort.cines["bytes"])
people = cohort.subjects["participant_id"]
split = pd.Series(["validation"] + ["train"] * (len(people) - 1), people)
dls = HeartMAE(size=64, repeats=2, sax_share=1 / 6).dataloaders(cohort, "", split, 2)
dls.train.one_batch()
before, most = kept_bytes(), 0
for part in (dls.train, dls.valid):
    for batch in part:
        assert batch[0].shape[1:] == (2, 24, 64, 64)
        most = max(most, kept_bytes() - before)
assert size > 9 * ROOM > 9 * most, f"{most >> 20} MB more of {size >> 20} MB"
print(f"read {len(cohort.cines)} cines of {size >> 20} MB, keeping {most >> 20} MB at most")
