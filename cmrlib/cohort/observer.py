"""Observer: whoever annotated a cohort, human, truth or network; and Annotation, what is known of one cine."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from nibabel import orientations

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import NOT_ANNOTATED, codes
from cmrlib.cohort import digests
from cmrlib.cohort.files import map_nifti, read_json, read_tsv, short_digest, write_json, write_nifti, write_tsv

LARGEST_SHIFT_MM = 0.5
"""As far as a mask may lie from its cine: programs keep affines in single precision, or as a quaternion."""

POINT_COLUMNS = ["frame", "slice", "name", "column_px", "row_px", "x_mm", "y_mm", "z_mm", "confidence"]


@dataclass
class Annotation:
    """What one observer saw on one cine.

    mask: (frames, slices, rows, columns) uint8, 255 where nobody looked.
    annotated: frame → structures drawn in it; a structure that is not listed was not drawn, so its absence
    says nothing. points: POINT_COLUMNS. frames: ed, es, ed_frac, es_frac, confidence (0-based). flags: what whoever
    drew the mask warns of. confidence: structure → how sure a network is of its outlines, 0 to 1, NaN where unknown.
    """

    mask: np.ndarray | None = None
    annotated: dict[int, tuple[str, ...]] = field(default_factory=dict)
    points: pd.DataFrame | None = None
    frames: dict | None = None
    flags: tuple[str, ...] = ()
    confidence: dict[str, float] = field(default_factory=dict)


def stem(cine_name: str) -> Path:
    """Folder and name stem inside a cohort or an observer: sub-1[/ses-2]/sub-1[_ses-2]_view-…"""
    folders = [part for part in cine_name.split("_") if part.startswith(("sub-", "ses-"))]
    return Path(*folders) / cine_name


class Observer:
    """A folder of masks, points, frames and measures laid over a cohort: human, truth or network.

    cines: name → digest of the cohort's cines; what was drawn on another image is refused. What changed after it was
    written is refused too (`cohort.digests`), but for masks that were laid out to be corrected.
    """

    def __init__(self, path, name: str | None = None, cines: dict[str, str] | None = None):
        self.path = Path(path)
        self.name = name or self.path.name
        self.cines = cines or {}

    def _file(self, cine_name: str, suffix: str) -> Path:
        return self.path / stem(cine_name).with_name(f"{cine_name}_{suffix}")

    def _checked(self, cine_name: str, suffix: str) -> Path:
        """The path of a file that is there and as it was written."""
        path = self._file(cine_name, suffix)
        digests.require_unchanged(path, self.cines.get(cine_name, ""))
        return path

    def has(self, cine_name: str, what: str = "dseg.json") -> bool:
        return self._file(cine_name, what).exists()

    @property
    def digest(self) -> str:
        """Digest of all that this observer wrote: names and contents of its files."""
        files = sorted(path for path in self.path.rglob("*") if path.is_file() and path.name != digests.NAME)
        told = "\n".join(f"{path.relative_to(self.path)} {digests.current(path)}" for path in files)
        return short_digest(told.encode())

    def mask(self, cine_name: str) -> Annotation:
        """The annotation's mask (a memory map) and what was annotated; raises FileNotFoundError where none."""
        if not self.has(cine_name):
            raise FileNotFoundError(f"observer {self.name} drew no mask of {cine_name}")
        sidecar = read_json(self._checked(cine_name, "dseg.json"))
        try:
            annotated = {int(t): tuple(s) for t, s in sidecar["annotated"].items()}
            codes({one for structures in annotated.values() for one in structures})
            sure = {name: np.nan if value is None else value for name, value in sidecar.get("confidence", {}).items()}
            said = {"flags": tuple(sidecar.get("flags", ())), "confidence": sure}
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(
                f"{self._file(cine_name, 'dseg.json')} does not list what was drawn ({type(error).__name__}: {error}); "
                "restore it, or draw the mask again"
            ) from error
        kinds = [kind for kind in ("dseg.nii", "dseg.nii.gz") if self.has(cine_name, kind)]
        if len(kinds) > 1:
            raise ValueError(
                f"{self._file(cine_name, kinds[0])}: a mask with and one without .gz, and nothing says which counts; "
                "remove one of them. To correct masks by hand use `cmr correct`"
            )
        path = self._checked(cine_name, *(kinds or ["dseg.nii"]))
        mask, affine = map_nifti(path)
        if "affine" in sidecar:
            mask = to_cohort_grid(mask, affine, np.array(sidecar["affine"]), sidecar["shape"], annotated, path)
        return Annotation(_as_labels(mask, path), annotated, **said)

    def annotation(self, cine_name: str) -> Annotation:
        """All that was annotated on one cine: mask, points and frames, each where it is there."""
        annotation = self.mask(cine_name) if self.has(cine_name) else Annotation()
        if self.has(cine_name, "points.tsv"):
            annotation.points = self.points(cine_name)
        if self.has(cine_name, "frames.tsv"):
            annotation.frames = self.frames(cine_name)
        return annotation

    def points(self, cine_name: str) -> pd.DataFrame:
        return read_tsv(self._checked(cine_name, "points.tsv"))

    def frames(self, cine_name: str) -> dict:
        """ed, es, ed_frac, es_frac, confidence of the cine."""
        return read_tsv(self._checked(cine_name, "frames.tsv")).iloc[0].to_dict()

    def measures(self) -> pd.DataFrame:
        """A row a subject and session, a column a measure (`lvedv_ml`, …); empty where nothing was measured."""
        path = self.path / "measures.tsv"
        if not path.exists():
            return pd.DataFrame(columns=["participant_id", "session"])
        digests.require_unchanged(path)
        return read_tsv(path)

    def write(self, cine: Cine, annotation: Annotation, to_correct: bool = False):
        """Write one cine's annotation; the JSON comes last, so that its presence means the mask is whole.

        A mask of few frames is nearly all 255: compressed, it takes next to nothing. to_correct: other programs will
        save it again, so it is compressed, the JSON says which grid it must come back on, and both may change.
        """
        written = {}
        if annotation.mask is not None:
            check_mask(cine, annotation)
            small = to_correct or 4 * len(annotation.annotated) < cine.frames
            suffix, other = ("dseg.nii.gz", "dseg.nii") if small else ("dseg.nii", "dseg.nii.gz")
            mask, older, side = (self._file(cine.name, name) for name in (suffix, other, "dseg.json"))
            written[mask] = write_nifti(mask, annotation.mask, cine.affine, cine.frame_step_ms)
            older.unlink(missing_ok=True)
            sidecar = {
                "annotated": {str(t): list(s) for t, s in annotation.annotated.items()},
                "labels": "lv 1, myo 2, rv 3, la 4, ra 5, not annotated 255",
            }
            sidecar |= {"shape": annotation.mask.shape, "affine": cine.affine} if to_correct else {}
            sidecar |= {"flags": list(annotation.flags)} if annotation.flags else {}
            sidecar |= {"confidence": annotation.confidence} if annotation.confidence else {}
            write_json(sidecar, side)
            written |= {older: None, side: None}
            written = dict.fromkeys(written, "") if to_correct else written
        if annotation.points is not None:
            written[path := self._file(cine.name, "points.tsv")] = None
            write_tsv(annotation.points[POINT_COLUMNS], path)
        if annotation.frames is not None:
            written[path := self._file(cine.name, "frames.tsv")] = None
            write_tsv(pd.DataFrame([annotation.frames]), path)
        if written:
            digests.note(written, cine.memo.get("digest", ""))

    def write_measures(self, table: pd.DataFrame):
        path = self.path / "measures.tsv"
        write_tsv(table, path)
        digests.note({path: None})


def check_mask(cine: Cine, annotation: Annotation):
    if annotation.mask.shape != cine.pixels.shape:
        raise ValueError(f"{cine.name}: the mask has shape {annotation.mask.shape}, the cine {cine.pixels.shape}")
    drawn = {code for structures in annotation.annotated.values() for code in codes(structures)}
    strange = set(np.unique(annotation.mask).tolist()) - drawn - {0, NOT_ANNOTATED}
    if strange:
        raise ValueError(f"{cine.name}: mask values {sorted(strange)} belong to no annotated structure")


def to_cohort_grid(mask, affine, wanted_affine, wanted_shape, annotated: dict, path) -> np.ndarray:
    """A mask as another program saved it (other number type, other order or direction of axes) → as it was handed out.

    mask: (frames, slices, rows, columns). Raises ValueError naming the file where values lie between labels, where it
    covers another grid, and where something was drawn that the JSON beside it does not list.
    """
    values = np.asarray(_as_labels(mask, path))
    if len(values) == 1 and wanted_shape[1] == 1 and values.shape[1] == wanted_shape[0] > 1:
        values = values.swapaxes(0, 1)  # of one slice, saved without that axis: time became the third
    turn = orientations.ornt_transform(*map(orientations.io_orientation, (affine, wanted_affine)))
    affine = affine @ orientations.inv_ornt_aff(turn, values.T.shape[:3])
    values = np.ascontiguousarray(orientations.apply_orientation(values.T, turn).T)
    corners = np.array([[0, 0, 0, 1], [*(n - 1 for n in wanted_shape[:0:-1]), 1]], float)
    apart = np.abs((corners @ affine.T - corners @ wanted_affine.T)[:, :3]).max()
    if values.shape != tuple(wanted_shape) or apart > LARGEST_SHIFT_MM:
        raise ValueError(
            f"{path}: shape {values.shape} (frames, slices, rows, columns), {apart:.2f} mm from its "
            f"cine's place; expected {tuple(wanted_shape)} in the same place: save it on the cine's own "
            "grid, all frames in one file"
        )
    for t, frame in enumerate(values):
        drawn = {0, NOT_ANNOTATED, *codes(annotated.get(t, ()))}
        if strange := sorted(set(np.unique(frame).tolist()) - drawn):
            raise ValueError(
                f"{path}: labels {strange} in frame {t}, which is listed with "
                f"{', '.join(annotated.get(t, ())) or 'nothing'}; add what was drawn to `annotated` in "
                "the JSON beside it, or erase it"
            )
    return values


def _as_labels(values, path) -> np.ndarray:
    """A mask as uint8, itself where it is. Raises ValueError naming the file where values are no labels."""
    if values.dtype == np.uint8:
        return values
    whole = np.rint(values)
    if not np.array_equal(whole, values) or whole.min() < 0 or whole.max() > 255:
        raise ValueError(
            f"{path}: values from {values.min():g} to {values.max():g}, not all of them labels; was it smoothed or "
            "resampled? save the label map itself"
        )
    return whole.astype(np.uint8)
