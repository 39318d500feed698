"""Patches of the left ventricle through time: which slices, where the patch lies, how it is scaled, how it is kept."""

import hashlib
import inspect
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cmrlib.cine import Cine, Plane
from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.cohort import Annotation
from cmrlib.cohort.files import atomic, code_of
from cmrlib.cohort.progress import with_progress
from cmrlib.cohort.splits import split_subjects
from cmrlib.measures.curves import FEWEST_FRAMES
from cmrlib.measures.phases import RefusedError
from cmrlib.papers.tempreg.clips import moving_centre

STORED = 1024
"""Patches are kept as 16-bit numbers, z-scores × STORED: steps of .001, up to ± 32 SD."""

SIDES = ("train", "validation", "test", "unlabelled")


@dataclass(frozen=True)
class Preprocessing:
    """How a slice reaches the network; stored beside the weights. size: pixels a side, frames: of a cycle.

    spacing_mm: of the patch's pixels, 0 for the image's own. clip: largest grey value (2000 in the paper, which means
    its scanner's units), 0 for the patch's 99.9th percentile. share: where no observer says which slices show the LV,
    the middle part of the stack that is taken.
    """

    size: int = 288
    frames: int = 40
    spacing_mm: float = 0.0
    clip: float = 2000.0
    share: float = 0.6


def section_patch(cine: Cine, k: int, preprocessing: Preprocessing) -> np.ndarray:
    """(frames, size, size) float32, z-scored: slice k around the heart, its cycle in evenly spaced frames.

    The centre is that of the largest moving region; no mask is asked. A cycle of another length is interpolated round
    the cycle, by true times where they are known. What lies outside the image is the cine's 1st percentile and counts
    for neither mean nor SD. A patch of one grey value is all zeros.
    Raises RefusedError for fewer than 8 frames: they are no cycle.
    """
    if cine.frames < FEWEST_FRAMES:
        whole = f"a patch shows a whole cycle of {FEWEST_FRAMES} or more"
        raise RefusedError(cine.name, f"{cine.frames} frames", whole)
    plane = patch_plane(cine, preprocessing)
    low = cine.intensity_window()[0]
    images = np.stack([plane.pixels(image, outside=low) for image in cine.pixels[:, k]])
    inside = plane.mask(np.ones(cine.pixels.shape[2:], np.uint8)) > 0
    seen = images[:, inside]
    top = preprocessing.clip or np.percentile(seen, 99.9)
    images = np.minimum(cine.section(k).resampled(images, preprocessing.frames), np.float32(top))
    seen = images[:, inside]
    spread = seen.std()
    return (images - seen.mean()) / spread if spread > 1e-6 * max(1.0, abs(float(top))) else np.zeros_like(images)


def patch_plane(cine: Cine, preprocessing: Preprocessing) -> Plane:
    """Where the patch lies in the image. Pixels of unknown size stay as they are."""
    own = not preprocessing.spacing_mm or not cine.spacing_known
    step = 1.0 if own else preprocessing.spacing_mm / np.array(cine.spacing_mm[1:])
    shape = (preprocessing.size, preprocessing.size)
    return Plane.around(cine.pixels.shape[2:], step, shape, moving_centre(cine))


def lv_slices(cine: Cine, annotation: Annotation | None = None, share: float = 0.6) -> list[int]:
    """Slices that show the LV: drawn at ED (in any frame where ED was not drawn), else the middle `share` of the stack;
    without those that lack a frame.

    An empty list where the observer looked and saw no LV.
    """
    whole = ~cine.missing.any(1)
    if annotation is None or annotation.mask is None:
        inner = max(1, round(share * cine.slices))
        first = (cine.slices - inner) // 2
        return [k for k in range(first, first + inner) if whole[k]]
    drawn = [t for t, structures in annotation.annotated.items() if "lv" in structures]
    frames = [cine.ed] if cine.ed in drawn else drawn
    seen = np.zeros(cine.slices, bool)
    for t in frames:
        seen |= (np.asarray(annotation.mask[t]) == STRUCTURES["lv"]).any((1, 2))
    return np.flatnonzero(seen & whole).tolist()


def labelled(subjects: pd.DataFrame, column: str, positive: str) -> pd.Series:
    """1 or 0 by participant_id for those who have a label; positive: the value (as text) that is 1.

    Raises ValueError where the column lacks, or where nobody or everybody is positive.
    """
    if column not in subjects:
        raise ValueError(f"participants.tsv has no column {column!r}; it has {', '.join(subjects.columns)}")
    known = subjects.dropna(subset=[column]).set_index("participant_id")[column].astype(str)
    known = known[~known.isin(["", "n/a", "None"])]
    if not 0 < (known == positive).sum() < len(known):
        raise ValueError(
            f"column {column!r} must hold {positive!r} and something else; it holds {known.value_counts().to_dict()}"
        )
    return (known == positive).astype(int)


def patient_split(
    subjects: pd.DataFrame, labels: pd.Series, fold: int, folds: int = 5, most: int = 0, draw: int = 0
) -> pd.Series:
    """`train` (three fifths), `validation` (one), `test` (one) by participant_id, stratified by label; and
    `unlabelled` for those without a label, who may only teach restoration.

    most: at most so many training patients keep their label, of each class its share and at least one; 0 for all.
    draw: which of them: 0 the first, any other number is the seed of a random draw.
    """
    people = labels.rename("label").rename_axis("participant_id").reset_index()
    split = split_subjects(people, fold, folds, validation_per_group=len(people), group="label")
    training = split.index[split == "train"]
    for _, members in labels[training].groupby(labels[training]) if 0 < most < len(training) else ():
        order = members.index if draw == 0 else members.sample(frac=1, random_state=draw).index
        split[order[max(1, round(most * len(members) / len(training))) :]] = "unlabelled"
    others = [one for one in subjects["participant_id"] if one not in split.index]
    return pd.concat([split, pd.Series("unlabelled", index=others)]).rename("split")


def patch_table(cohort, labels: pd.Series, observer: str = "", share: float = 0.6) -> pd.DataFrame:
    """One row a patch: participant_id, cine, k, label (NaN where unknown), row (its place in the store).

    observer: whose masks say which slices show the LV; "" for the middle `share` of every stack. Cines of fewer than 8
    frames, or on which the observer drew nothing, are left out. Raises ValueError where nothing is left.
    """
    looked, rows = cohort.observer(observer) if observer else None, []
    for row in cohort.cines[(cohort.cines["view"] == "sax") & (cohort.cines["frames"] >= FEWEST_FRAMES)].itertuples():
        if looked is not None and not looked.has(row.cine):
            continue
        annotation = looked.mask(row.cine) if looked is not None else None
        rows += [
            (row.participant_id, row.cine, k, labels.get(row.participant_id, np.nan))
            for k in lv_slices(cohort.cine(row.cine), annotation, share)
        ]
    if not rows:
        raise ValueError(
            f"no short-axis slice of {cohort.path.name} shows the LV by observer {observer or 'none'!r} "
            f"in a cycle of {FEWEST_FRAMES} or more frames; choose another observer or cohort"
        )
    table = pd.DataFrame(rows, columns=["participant_id", "cine", "k", "label"])
    return table.assign(row=range(len(table)))


@dataclass(frozen=True, eq=False)
class Patches:
    """All patches of a cohort: `pixels` (patches, frames, size, size) int16, a memory map, and `table`, a row each."""

    pixels: np.ndarray
    table: pd.DataFrame
    preprocessing: Preprocessing
    digest: str

    @classmethod
    def of(cls, cohort, table: pd.DataFrame, preprocessing: Preprocessing, folder) -> "Patches":
        """Patches of all rows of `patch_table`, made in `folder` or found again there.

        The file is named by the cohort, the rows, the preprocessing and this module's code.
        """
        text = "\n".join(
            [
                cohort.digest,
                table.to_csv(index=False),
                repr(sorted(asdict(preprocessing).items())),
                code_of(inspect.getsource(sys.modules[__name__])),
            ]
        )
        digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        path = Path(folder) / f"patches_{digest}.npy"
        if not path.exists():
            shape = (len(table), preprocessing.frames, preprocessing.size, preprocessing.size)
            with atomic(path) as part:
                store = np.lib.format.open_memmap(part, "w+", np.int16, shape)
                for n, row in enumerate(with_progress(table.to_dict("records"), "patches", "slice")):
                    store[n] = as_stored(section_patch(cohort.cine(row["cine"]), row["k"], preprocessing))
                store.flush()
        return _opened(path, table, preprocessing, digest)

    def __reduce__(self):
        """Another process gets the file's name, not the pixels."""
        return _opened, (self.pixels.filename, self.table, self.preprocessing, self.digest)

    def clip(self, row: int) -> np.ndarray:
        """(frames, size, size) float32, z-scored."""
        return from_stored(self.pixels[row])

    def side(self, split: pd.Series, side: str) -> pd.DataFrame:
        """The rows of `table` whose patients stand on one side of a split."""
        return self.table[self.table["participant_id"].map(split) == side]


def _opened(path, table, preprocessing, digest):
    return Patches(np.load(path, mmap_mode="r"), table, preprocessing, digest)


def as_stored(patch) -> np.ndarray:
    """z-scores float → int16."""
    return np.clip(np.rint(patch * STORED), -32768, 32767).astype(np.int16)


def from_stored(patch) -> np.ndarray:
    """int16 → z-scores float32."""
    return np.asarray(patch, np.float32) / STORED
