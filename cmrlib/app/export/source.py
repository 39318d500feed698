"""Which images of a source folder a cohort's cine was made of, found again by their pixels and places.

A cohort stores no UID. The source is read anew: an image belongs to a slice and frame where its pixels are the cohort's
to the bit and it lies where the cohort says.
"""

from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom

from cmrlib.cine import Cine
from cmrlib.cine.display import Reorientation
from cmrlib.cohort import Cohort
from cmrlib.cohort.files import short_digest
from cmrlib.datasets import dicom
from cmrlib.datasets.decoding import pixels
from cmrlib.datasets.finding import FileSubset
from cmrlib.datasets.header import Refused, suppress_warnings
from cmrlib.datasets.order import SHIFT_MM

TO_LPS = np.array([-1.0, -1.0, 1.0])
PATIENT_AND_STUDY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"),
    *("StudyDate", "StudyTime", "SliceThickness"),
)
"""What DICOM lets be empty but not absent in an object that refers to an image."""


def in_source_order(cine: Cine, array) -> tuple[np.ndarray, np.ndarray]:
    """An array (frames, slices, rows, columns) on a cohort's cine, and its affine, in the order of pixels that the
    cine's source has."""
    by = Reorientation(**cine.meta.get("stored_as", {}))
    stored = by.back(np.asarray(array))
    return stored, np.asarray(cine.affine) @ np.linalg.inv(by.matrix(stored.shape))


class SourceImage(NamedTuple):
    """One image of a source: its file's header without pixels, and its number (from 1) in a multi-frame file."""

    header: pydicom.Dataset
    number: int | None

    @property
    def series(self) -> str:
        return str(self.header.SeriesInstanceUID)


class SourceFolder:
    """The DICOM files that a cohort was made of. Raises FileNotFoundError where the folder does not exist."""

    def __init__(self, folder, cohort: Cohort):
        self.folder, self.cohort = Path(folder).resolve(), cohort
        if not self.folder.is_dir():
            raise FileNotFoundError(f"the source {folder} is no folder; name the one that holds the DICOM files")
        self._index, self._headers = {}, {}

    @cached_property
    def _people(self) -> dict:
        """Subject → folder, or part of one; none where another reader than `dicom` named the subjects."""
        plain = self.cohort.description["Name"] == dicom.DESCRIPTION["Name"]
        return dicom.find(self.folder) if plain else {}

    def images_of(self, cine: Cine) -> list[list[SourceImage | None]]:
        """[slice][frame] in the source's order, None where the cohort lacks an image too.

        Raises ValueError naming cine, slice and frame where the source has no such image.
        """
        index = self._indexed(self._people.get(cine.subject, self.folder))
        stored, affine = in_source_order(cine, cine.pixels)
        missing, _ = in_source_order(cine, cine.missing.T[..., None, None])
        return [
            [
                None if missing[t, k, 0, 0] else self._image(index, cine, stored[t, k], affine @ [0, 0, k, 1], k, t)
                for t in range(cine.frames)
            ]
            for k in range(cine.slices)
        ]

    def _image(self, index, cine, image, corner_ras, k, t) -> SourceImage:
        found = [
            (np.linalg.norm(frame.position - corner_ras[:3] * TO_LPS), n, frame, path)
            for n, (frame, path) in enumerate(index.get(_digest(image), ()))
        ]
        if not found:
            raise ValueError(
                f"{cine.name}: no image in {self.folder} has the pixels of slice {k}, frame {t} of the cohort "
                f"({len(index)} different images are there); name the folder that this cohort was made of"
            )
        away_mm, _, frame, path = min(found)
        if away_mm > SHIFT_MM:
            raise ValueError(
                f"{cine.name}: the image of slice {k}, frame {t} lies {away_mm:.1f} mm from where the cohort has it; "
                f"expected at most {SHIFT_MM:g} mm: headers in {self.folder} changed, so ingest it again"
            )
        number = None if frame.source.index is None else frame.source.index + 1
        return SourceImage(self._header(path), number)

    def _indexed(self, item) -> dict:
        """Digest of an image → (frame, path) of those that show it, of one subject's files."""
        key = item if isinstance(item, Path | FileSubset) else str(item)
        if key not in self._index:
            index = defaultdict(list)
            with suppress_warnings():
                frames, _, sources = dicom.headers(item)
                for frame in frames:
                    try:
                        index[_digest(pixels(frame))].append((frame, sources[frame.source.mark]))
                    except Refused:  # nor did it become part of the cohort
                        continue
            self._index = {key: index}  # one subject's at a time
        return self._index[key]

    def _header(self, path) -> pydicom.Dataset:
        """The whole header of a file, once; what must be there but may be empty is."""
        if path not in self._headers:
            with suppress_warnings():
                header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            for keyword in PATIENT_AND_STUDY:
                if keyword not in header and not (keyword == "SliceThickness" and "NumberOfFrames" in header):
                    setattr(header, keyword, None)
            self._headers[path] = header
        return self._headers[path]


def _digest(image) -> str:
    """Of the numbers, however they are stored."""
    image = np.ascontiguousarray(image, float)
    return short_digest(repr(image.shape).encode() + image.tobytes())
