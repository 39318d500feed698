"""How fast a folder of DICOM becomes a cohort, beside a plain pydicom loop that writes the same arrays, in one run.

    python benchmarks/ingest.py [--subjects 6] [--rounds 3] [--processes]

The files: a subject is a SAX stack of 10 slices and one 4CH cine, 25 frames each, 208×192 pixels of 16 bits, 275 files
with full headers, as the phantom writes them. The plain loop reads every file once with pydicom, sorts by slice
location and trigger time, stacks and saves NIfTI; it checks nothing. Ours is `datasets.ingest("dicom", …)` in one
process: geometry, times, views, duplicates, digests of every file and array, tables. Rounds are interleaved and the
median of their ratios is taken: a busy machine slows both sides alike. The arrays must be the same, else it fails.

`--processes` compares one with two processes (`scaling_2`) on 32 times as many subjects; it needs two cores at rest
and 5 GB where temporary files lie. Both sides share the disk: TMPDIR=/dev/shm takes that out. Each side is a fresh
Python, timed from the call of `ingest` to its end: two processes start their workers, which import the library, within
that time. Beside it stands what one process takes at most, over what it takes before it reads, as a multiple of the
largest study's pixels (`peak_of_studies`, below 3), and the machine's load.
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from scipy.ndimage import gaussian_filter

from cmrlib.cine import Cine
from cmrlib.cohort.study import Study
from cmrlib.datasets import ingest

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from corpus.dicom import classic
from corpus.source import write_files

FRAMES, SLICES, ROWS, COLUMNS = 25, 10, 208, 192
SPACING_MM, SLICE_MM, STEP_MS = 1.8, 10.0, 40.0
COPIES = 32
"""Of every subject where processes are compared."""

PERSON = {"participant_id": "", "sex": "F", "age": 60.0, "height_m": 1.7, "weight_kg": 70.0}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", action="store_true", help="one process against two; needs two cores at rest")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        files = write_source(folder / "src", arguments.subjects)
        megabytes = sum(path.stat().st_size for path in files) / 1e6
        print(f"{len(files)} files, {megabytes:.0f} MB, {arguments.subjects} subjects")
        if arguments.processes:
            link_subjects(folder / "src", COPIES)
            compare_processes(folder, arguments.rounds)
        else:
            compare_readers(folder, arguments.rounds, len(files), megabytes)


def write_source(folder, subjects) -> list[Path]:
    """Subjects as DICOM files below `folder`; smooth noise for pictures, since only their bytes matter here."""
    rng = np.random.default_rng(0)
    short = np.diag([SPACING_MM, SPACING_MM, SLICE_MM, 1.0])
    long = np.array([[0, 0, -8.0, 50], [SPACING_MM, 0, 0, 10], [0, SPACING_MM, 0, -90], [0, 0, 0, 1.0]])
    for number in range(subjects):
        label = f"B{number:03d}"
        cines = [_cine("sax", SLICES, short, label, rng), _cine("4ch", 1, long, label, rng)]
        write_files(folder, classic(Study(PERSON | {"participant_id": label}, cines), number))
    return [path for path in folder.rglob("*") if path.is_file()]


def link_subjects(folder, copies):
    """Every subject so often again, as hard links: enough work that starting a worker counts for little."""
    for subject in sorted(folder.iterdir()):
        for copy in range(1, copies):
            for path in list(subject.rglob("*.dcm")):
                link = folder / f"{subject.name}C{copy}" / path.relative_to(subject)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.hardlink_to(path)


def _cine(view, slices, affine, label, rng) -> Cine:
    one = gaussian_filter(rng.random((slices, ROWS, COLUMNS)), (0, 2, 2))
    moving = one[None] * (1 + 0.2 * np.sin(2 * np.pi * np.arange(FRAMES) / FRAMES))[:, None, None, None]
    pixels = (2000 * moving + rng.integers(0, 60, moving.shape)).astype(np.uint16)
    return Cine(
        pixels,
        affine,
        view,
        label,
        frame_times_ms=np.tile(np.arange(FRAMES) * STEP_MS, (slices, 1)),
        rr_ms=np.full(slices, FRAMES * STEP_MS),
        meta={"slice_thickness_mm": 8.0},
    )


# --- both sides ------------------------------------------------------------------------------------------------------


def plain(src, dest):
    """Every file read once, sorted by slice location and trigger time, stacked, saved: what a script does."""
    for subject in sorted(src.iterdir()):
        stacks = defaultdict(list)
        for path in sorted(subject.rglob("*.dcm")):
            data = pydicom.dcmread(path)
            stacks[tuple(data.ImageOrientationPatient)].append(
                (float(data.SliceLocation), float(data.TriggerTime), data.pixel_array, data)
            )
        for number, images in enumerate(stacks.values()):
            images.sort(key=lambda image: image[:2])
            slices = len({image[0] for image in images})
            pixels = np.stack([image[2] for image in images]).reshape(slices, -1, ROWS, COLUMNS).swapaxes(0, 1)
            save(dest / subject.name / f"{number}.nii", pixels, images)


def save(path, pixels, images):
    """Array (frames, slices, rows, columns) with an affine from the first and last image's header."""
    first, last = images[0][3], images[-1][3]
    row, column = np.reshape(np.array(first.ImageOrientationPatient, float), (2, 3))
    origin = np.array(first.ImagePositionPatient, float)
    step = (np.array(last.ImagePositionPatient, float) - origin) / max(pixels.shape[1] - 1, 1)
    step = step if pixels.shape[1] > 1 else np.cross(row, column) * float(first.SliceThickness)
    lps = np.eye(4)
    lps[:3] = np.c_[row * float(first.PixelSpacing[1]), column * float(first.PixelSpacing[0]), step, origin]
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(pixels.T, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps), path)


def compare_readers(folder, rounds, n_files, megabytes):
    """Interleaved rounds in one process; prints files and MB a second, and vs_pydicom."""
    seconds = {"ours": [], "plain": []}
    for number in range(rounds):
        for name in ("ours", "plain") if number % 2 else ("plain", "ours"):
            start = time.perf_counter()
            if name == "ours":
                cohort = ingest("dicom", folder / "src", folder / "ours", workers=1, progress=False)
            else:
                plain(folder / "src", folder / "plain")
            seconds[name].append(time.perf_counter() - start)
        same_arrays(cohort, folder / "plain")
        shutil.rmtree(folder / "ours")
        shutil.rmtree(folder / "plain")
    for name, values in seconds.items():
        best = min(values)
        print(f"{name}: {n_files / best:.0f} files/s, {megabytes / best:.0f} MB/s in the best of {rounds} rounds")
    ratios = np.array(seconds["plain"]) / np.array(seconds["ours"])
    print(
        f"files_per_s={n_files / min(seconds['ours']):.0f} mb_per_s={megabytes / min(seconds['ours']):.0f} "
        f"vs_pydicom={np.median(ratios):.2f} vs_pydicom_low={ratios.min():.2f} vs_pydicom_high={ratios.max():.2f}"
    )


def same_arrays(cohort, folder):
    """Raise AssertionError where the two sides wrote other pixels or affines."""
    for row in cohort.cines.itertuples():
        mine = cohort.cine(row.cine)
        images = [nib.load(path) for path in sorted((folder / row.participant_id).iterdir())]
        (other,) = [image for image in images if image.shape[2] == mine.slices]
        assert np.array_equal(np.asanyarray(other.dataobj).T, mine.pixels), f"{row.cine}: other pixels"
        assert np.allclose(other.affine, mine.affine, atol=1e-3), f"{row.cine}: another affine"


def compare_processes(folder, rounds):
    """One process against two, workers started within the time; prints scaling_2 and the memory of one process."""
    ratios, peaks = [], []
    for number in range(rounds):
        taken = {}
        for workers in (1, 2) if number % 2 else (2, 1):
            process = multiprocessing.get_context("spawn").Process(target=_ingest, args=(folder, workers))
            process.start()
            process.join()
            assert process.exitcode == 0
            taken[workers], peak = map(float, (folder / "taken").read_text().split())
            peaks += [peak] * (workers == 1)
            shutil.rmtree(folder / f"cohort{workers}")
        ratios.append(taken[1] / taken[2])
    study_mb = 2 * FRAMES * (SLICES + 1) * ROWS * COLUMNS / 1e6
    print(
        f"study_mb={study_mb:.0f} peak_over_start_mb={max(peaks):.0f} peak_of_studies={max(peaks) / study_mb:.1f} "
        f"load_before={os.getloadavg()[0]:.1f} scaling_2={np.median(ratios):.2f} "
        f"scaling_2_low={min(ratios):.2f} scaling_2_high={max(ratios):.2f}"
    )


def _ingest(folder, workers):
    """In a process of its own: leaves the seconds it took, and by how many MB its memory grew, in the file `taken`."""
    before, start = _highest_mb(), time.perf_counter()
    ingest("dicom", folder / "src", folder / f"cohort{workers}", workers=workers, progress=False)
    (folder / "taken").write_text(f"{time.perf_counter() - start} {_highest_mb() - before}")


def _highest_mb() -> float:
    """Largest resident memory of this process so far; `ru_maxrss` would begin with its parent's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1e3


if __name__ == "__main__":
    main()
