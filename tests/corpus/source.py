"""A source folder before it is written: its files, and what a correct reader must find in them."""

import gzip
import hashlib
import io
import warnings
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import nibabel as nib
import numpy as np
import pydicom

from cmrlib.cine import Cine
from cmrlib.cohort.files import atomic, digest

EXPECTATIONS = ("read", "flag", "refuse")
"""What a correct reader does with a cine: reads it, reads it and flags the defect, or refuses it with a reason."""


@dataclass(eq=False)
class File:
    """One file to be written.

    path: below the source's folder; `a.zip/b` stands inside an archive. content: a pydicom Dataset, a nibabel image,
    bytes, text, or a path that a link points to. cine, k, t: the cine, slice and frame it shows (-1: all). refuse:
    words, separated by |, of which one stands in the reason for which a correct reader refuses it; empty where it must
    be read.
    """

    path: str
    content: object
    cine: str = ""
    k: int = -1
    t: int = -1
    refuse: str = ""


@dataclass(eq=False)
class Source:
    """One subject's files and truth. `cines`: cine name → the dict that `cine_truth` makes."""

    label: str
    seed: int
    files: list[File]
    cines: dict[str, dict]
    participant: dict
    defects: list[str] = field(default_factory=list)

    def images(self, cine=None, k=None, t=None) -> list[File]:
        """Files of images that must be read, of one cine, slice or frame where given."""
        asked = {"cine": cine, "k": k, "t": t}
        return [
            file
            for file in self.files
            if file.cine and not file.refuse and all(v in (None, getattr(file, name)) for name, v in asked.items())
        ]

    @property
    def folder(self) -> str:
        """The subject's own folder."""
        return self.files[0].path.split("/")[0]

    def slice(self, cine: str, k: int) -> dict:
        """Truth of one slice."""
        return next(one for one in self.cines[cine]["slices"] if one["slice"] == k)

    def remove(self, files):
        gone = set(map(id, files))
        self.files = [file for file in self.files if id(file) not in gone]

    def lose(self, cine: str, k: int, t: int):
        """State that a frame is absent."""
        self.slice(cine, k)["sha256"][t] = None

    def drop_slice(self, cine: str, k: int):
        """State that a slice is absent."""
        self.cines[cine]["slices"].remove(self.slice(cine, k))


def sha(image) -> str:
    """SHA-256 of an image's pixels as little-endian uint16 in C order; 'not uint16' where they are no such numbers."""
    image = np.asarray(image)
    if not np.isfinite(image).all() or (image.astype("<u2") != image).any():
        return "not uint16"
    return hashlib.sha256(np.ascontiguousarray(image, "<u2").tobytes()).hexdigest()


def cine_truth(cine: Cine, timed: bool = True) -> dict:
    """What a correct reader must find: geometry (RAS, mm), times (ms), and a SHA-256 of every slice and frame.

    Slices stand along the normal, row direction × column direction, whatever order the phantom made them in.
    """
    along = np.cross(cine.affine[:3, 0], cine.affine[:3, 1])
    positions = [cine.affine[:3] @ [0, 0, k, 1] for k in range(cine.slices)]
    timed = timed and cine.frame_times_ms is not None
    slices = [
        {
            "slice": k,
            "position_mm": np.round(positions[k], 4).tolist(),
            "frame_times_ms": np.round(cine.frame_times_ms[k], 2).tolist() if timed else None,
            "rr_ms": round(float(cine.rr_ms[k]), 2) if timed and cine.rr_ms is not None else None,
            "sha256": [sha(image) for image in cine.pixels[:, k]],
        }
        for k in sorted(range(cine.slices), key=lambda k: float(positions[k] @ along))
    ]
    distance, row, column = cine.spacing_mm
    return {
        "view": cine.view,
        "rows": cine.pixels.shape[2],
        "columns": cine.pixels.shape[3],
        "frames": cine.frames,
        "spacing_mm": [row, column],
        "slice_distance_mm": distance if cine.slices > 1 else None,
        "oriented": True,
        "ed": cine.ed,
        "es": cine.es,
        "expectation": "read",
        "words": [],
        "slices": slices,
    }


@contextmanager
def quiet():
    """Odd values are the purpose here: pydicom need not warn of them."""
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def encode(file: File) -> bytes:
    """A file's bytes; NIfTI is compressed where the path says so. The same content gives the same bytes."""
    content = file.content
    if isinstance(content, pydicom.Dataset):
        return _dicom_bytes(content)
    if isinstance(content, nib.Nifti1Image):
        content = content.to_bytes()
        return gzip.compress(content, 4, mtime=0) if file.path.endswith(".gz") else content
    return content.encode() if isinstance(content, str) else content


def _dicom_bytes(data) -> bytes:
    """Pixels are little-endian in memory; big-endian files get them swapped."""
    stored, swap = data.get("PixelData"), not data.file_meta.TransferSyntaxUID.is_little_endian
    if swap and stored:
        data.PixelData = np.frombuffer(stored, "<u2").astype(">u2").tobytes()
    buffer = io.BytesIO()
    with quiet():
        data.save_as(buffer, enforce_file_format=True)
    if swap and stored:
        data.PixelData = stored
    return buffer.getvalue()


def write_files(dest, files: list[File]) -> dict[str, str]:
    """Write all files below `dest`, archives as one file each; returns path → digest of those to be refused.

    Raises FileExistsError where a file exists.
    """
    archives, digests = {}, {}
    for file in files:
        outer, inside, name = file.path.partition(".zip/")
        if inside:
            archives.setdefault(outer + ".zip", []).append((name, encode(file)))
            continue
        path = Path(dest, file.path)
        if path.exists():
            raise FileExistsError(f"{path} exists: choose an empty folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(file.content, PurePosixPath):
            path.symlink_to(file.content)
            continue
        path.write_bytes(encode(file))
        if file.refuse:
            digests[file.path] = digest(path)[:16]
    for name, members in archives.items():
        with atomic(Path(dest, name)) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members:
                info = zipfile.ZipInfo(member, (1980, 1, 1, 0, 0, 0))  # a fixed date: the same archive, the same bytes
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, content)
    return digests
