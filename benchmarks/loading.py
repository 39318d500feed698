"""How much faster a cohort's memory maps are than reading the same pixels from DICOM or .nii.gz, in one run.

    python benchmarks/loading.py [--clips 40] [--subjects 8]

A clip is one section (one slice) through 24 frames, as a contiguous array of its own. The file cache is warm for every
side, so that formats are compared and not disks. Rounds are interleaved and medians taken: a busy machine slows all
sides alike. The loader side trains on a phantom: the DataBlock of `Segmentation` with its augmentation, over a cohort
and over the same cohort as .nii.gz whose pixels are read again for every sample (masks and intensity windows are kept,
as they are in ours).
"""

import argparse
import gzip
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import torch
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from cmrlib.cine import Cine
from cmrlib.cohort import Annotation, Cohort
from cmrlib.cohort.files import map_nifti
from cmrlib.cohort.splits import split_subjects
from cmrlib.cohort.study import Study, finish_cohort, write_study
from cmrlib.papers.ternausnet import Segmentation
from cmrlib.phantom import make_cohort

FRAMES, SLICES, ROWS, COLUMNS = 24, 10, 256, 208
SPACING_MM = (8.0, 1.4, 1.4)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=40, help="clips read a side")
    parser.add_argument("--subjects", type=int, default=6, help="phantom subjects of the loader's cohort")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        ratios = compare_clips(Path(folder) / "clips", arguments.clips)
        ratios["loader_vs_reread"] = compare_loaders(Path(folder) / "loader", arguments.subjects)
    print(" ".join(f"{name}={ratio:.1f}" for name, ratio in ratios.items()))


# --- one clip --------------------------------------------------------------------------------------------------------


def compare_clips(folder, clips) -> dict:
    """Seconds a clip from the cohort, from 24 DICOM files and from an int16 .nii.gz of the whole stack → ratios."""
    rng = np.random.default_rng(0)
    pixels = heartlike(rng)
    affine = np.diag([*SPACING_MM[::-1], 1.0])
    rows = [write_study(folder / "cohort", Study({"participant_id": "a"}, [Cine(pixels, affine, "sax", "a")]))]
    finish_cohort(folder / "cohort", {"Name": "benchmark"}, rows)
    files = write_dicom(folder / "dicom", pixels)
    zipped = folder / "stack.nii.gz"
    nib.save(nib.Nifti1Image(pixels.astype(np.int16).T, affine), zipped)
    cohort = Cohort.open(folder / "cohort")

    def from_cohort(k):
        return np.array(cohort.cine("sub-a_view-sax").section(k).pixels)

    def from_dicom(k):
        datasets = sorted((pydicom.dcmread(f) for f in files[k]), key=lambda d: float(d.TriggerTime))
        return np.stack([d.pixel_array for d in datasets])

    def from_niigz(k):
        return np.ascontiguousarray(np.asanyarray(nib.load(zipped).dataobj)[:, :, k].T)

    ways = {"cohort": from_cohort, "DICOM": from_dicom, ".nii.gz": from_niigz}
    for way in ways.values():  # warms the file cache, and they must agree
        np.testing.assert_array_equal(way(3), pixels[:, 3])
    seconds = interleaved({name: lambda way=way: way(int(rng.integers(SLICES))) for name, way in ways.items()}, clips)
    print(
        f"one section of {FRAMES} frames {ROWS}×{COLUMNS}, uint16, warm cache, median of {clips}: "
        + ", ".join(f"{name} {1000 * s:.3f} ms" for name, s in seconds.items())
    )
    own = seconds["cohort"]
    return {"clip_vs_dicom": seconds["DICOM"] / own, "clip_vs_niigz": seconds[".nii.gz"] / own}


def heartlike(rng):
    """A stack with air, smooth tissue and noise, so that gzip has as much to do as with a patient."""
    rows, columns = np.indices((ROWS, COLUMNS))
    body = np.hypot((rows - 128) / 110, (columns - 104) / 90) < 1
    tissue = 600 + 300 * np.sin(rows / 17) * np.cos(columns / 13)
    noise = rng.normal(0, 25, (FRAMES, SLICES, ROWS, COLUMNS))
    return np.clip(body * tissue + np.abs(noise), 0, 4095).astype(np.uint16)


def write_dicom(folder, pixels):
    """Slice → its files, one a frame, uncompressed as most scanners export."""
    folder.mkdir(parents=True)
    series, files = generate_uid(), {k: [] for k in range(SLICES)}
    for t, k in np.ndindex(FRAMES, SLICES):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
        dataset = pydicom.Dataset()
        dataset.file_meta = meta
        dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, generate_uid()
        meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.SeriesInstanceUID, dataset.Modality = series, "MR"
        dataset.TriggerTime, dataset.InstanceNumber = f"{t * 35.0:.1f}", t + 1
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 8.0 * k], [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness = [1.4, 1.4], 8
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = ROWS, COLUMNS, 1
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.PhotometricInterpretation, dataset.PixelData = "MONOCHROME2", pixels[t, k].tobytes()
        files[k].append(folder / f"{k}_{t}.dcm")
        dataset.save_as(files[k][-1], enforce_file_format=True)
    return files


# --- the whole loader ------------------------------------------------------------------------------------------------


def compare_loaders(folder, subjects) -> float:
    """Slices a second of the training loader, over a cohort against over .nii.gz read again for every sample."""
    cohort = make_cohort(
        folder / "cohort",
        subjects,
        frames=FRAMES,
        views=("sax",),
        size=(COLUMNS, COLUMNS),
        spacing_mm=1.6,
        slices=SLICES,
        workers=1,
        progress=False,
    )
    zip_arrays(cohort)
    split = split_subjects(cohort.subjects)
    mapped = loader(cohort, split)
    reread = loader(Rereading(cohort.path), split)
    batches = {name: iter(endless(dl)) for name, dl in (("cohort", mapped), (".nii.gz", reread))}
    seconds = interleaved({name: lambda it=it: next(it) for name, it in batches.items()}, 12, warm=3)
    print(
        f"loader with augmentation, batches of {mapped.bs}, cines of {FRAMES} × {SLICES} × {COLUMNS} × {COLUMNS}, "
        "warm cache: " + ", ".join(f"{name} {mapped.bs / s:.0f} slices/s" for name, s in seconds.items())
    )
    return seconds[".nii.gz"] / seconds["cohort"]


def zip_arrays(cohort):
    for path in cohort.path.rglob("*.nii"):
        with gzip.open(path.with_name(path.name.replace(".nii", "_zipped.nii.gz")), "wb", compresslevel=6) as zipped:
            zipped.write(path.read_bytes())


class Rereading(Cohort):
    """The same cohort, its pixels decompressed from .nii.gz for every sample, its masks once (the block keeps them)."""

    def __init__(self, path):
        plain = Cohort.open(path)
        super().__init__(path, plain.description, plain.subjects, plain.cines, plain.observers)
        self.cine = self._reread
        self.observers = {name: RereadingObserver(observer) for name, observer in plain.observers.items()}
        self._plain = plain

    def _reread(self, name):
        cine = self._plain.cine(name)
        path = next(self.path.glob(f"sub-*/**/{name}_cine_zipped.nii.gz"))
        return ReadCine(**{**vars(cine), "pixels": map_nifti(path)[0]})


class ReadCine(Cine):
    """Compared and hashed by name: what is remembered of a cine (its intensity window) is remembered here too."""

    def __eq__(self, other):
        return self.name == other.name

    def __hash__(self):
        return hash(self.name)


class RereadingObserver:
    """Masks by the same rule; the frames that were annotated are known from the sidecar."""

    def __init__(self, observer):
        self.observer, self.has, self.digest = observer, observer.has, observer.digest

    def mask(self, name):
        path = next(self.observer.path.glob(f"sub-*/**/{name}_dseg_zipped.nii.gz"))
        return Annotation(map_nifti(path)[0], self.observer.mask(name).annotated)


def loader(cohort, split, batch_size=8):
    return Segmentation(("sax",), 1.6, 128, 128).dataloaders(cohort, "truth", split, batch_size).train


def endless(loader):
    while True:
        yield from loader


def interleaved(calls, rounds, warm=0) -> dict:
    """Median seconds of each call, all called in turn, in alternating order."""
    taken = {name: [] for name in calls}
    for n in range(warm + rounds):
        for name in list(calls)[:: 1 if n % 2 else -1]:
            start = time.perf_counter()
            calls[name]()
            if n >= warm:
                taken[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in taken.items()}


if __name__ == "__main__":
    main()
