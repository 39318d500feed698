"""Patches of the left ventricle through time: which slices, where a patch lies, how it is scaled; folds."""

import numpy as np
import pandas as pd

from cmrlib.cine import Cine, Plane
from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.cohort import Annotation
from cmrlib.cohort.splits import split_subjects
from cmrlib.measures import RefusedError
from cmrlib.measures.curves import FEWEST_FRAMES
from cmrlib.measures.motion import moving_centre


def section_patch(cine: Cine, k: int, size: int, frames: int, spacing_mm: float = 0.0, clip: float = 0.0) -> np.ndarray:
    """(frames, size, size) float32, z-scored: slice k around the heart, its cycle in evenly spaced frames.

    spacing_mm: of the patch's pixels, 0 for the image's own. clip: largest grey value, 0 for the patch's 99.9th
    percentile. The centre is that of the largest moving region; no mask is asked. A cycle of another length is
    interpolated round the cycle, by true times where they are known. What lies outside the image is the cine's 1st
    percentile and counts for neither mean nor SD. A patch of one grey value is all zeros.
    Raises RefusedError for fewer than 8 frames: they are no cycle.
    """
    if cine.frames < FEWEST_FRAMES:
        whole = f"a patch shows a whole cycle of {FEWEST_FRAMES} or more"
        raise RefusedError(cine.name, f"{cine.frames} frames", whole)
    own = not spacing_mm or not cine.spacing_known
    step = 1.0 if own else spacing_mm / np.array(cine.spacing_mm[1:])
    plane = Plane.around(cine.pixels.shape[2:], step, (size, size), moving_centre(cine))
    low = cine.intensity_window()[0]
    images = np.stack([plane.pixels(image, outside=low) for image in cine.pixels[:, k]])
    inside = plane.mask(np.ones(cine.pixels.shape[2:], np.uint8)) > 0
    top = np.float32(clip or np.percentile(images[:, inside], 99.9))
    images = np.minimum(cine.section(k).resampled(images, frames), top)
    seen = images[:, inside]
    spread = seen.std()
    return (images - seen.mean()) / spread if spread > 1e-6 * max(1.0, abs(top)) else np.zeros_like(images)


def lv_slices(cine: Cine, annotation: Annotation | None = None, share: float = 0.6) -> list[int]:
    """Slices that show the LV: drawn at ED (in any frame where ED was not drawn), else the middle `share` of the stack;
    without those that lack a frame.

    An empty list where the observer saw no LV, or annotated no mask of this cine.
    """
    whole = ~cine.missing.any(1)
    if annotation is None:
        inner = max(1, round(share * cine.slices))
        first = (cine.slices - inner) // 2
        return [k for k in range(first, first + inner) if whole[k]]
    drawn = [t for t, structures in annotation.annotated.items() if "lv" in structures]
    seen = np.zeros(cine.slices, bool)
    for t in [cine.ed] if cine.ed in drawn else drawn:
        seen |= (np.asarray(annotation.mask[t]) == STRUCTURES["lv"]).any((1, 2))
    return np.flatnonzero(seen & whole).tolist()


def patient_split(
    subjects: pd.DataFrame, labels: pd.Series, fold: int, folds: int = 5, most: int = 0, draw: int = 0
) -> pd.Series:
    """`train` (three fifths), `validation` (one), `test` (one) by participant_id, stratified by label; and `unlabelled`
    for those without a label, who may only teach restoration.

    most, draw: of `labelled`, for the training patients.
    """
    people = labels.rename("label").rename_axis("participant_id").reset_index()
    split = split_subjects(people, fold, folds, validation_per_group=len(people), group="label")
    training = split.index[split == "train"]
    split[training.difference(labelled(labels[training], most, draw))] = "unlabelled"
    others = [one for one in subjects["participant_id"] if one not in split.index]
    return pd.concat([split, pd.Series("unlabelled", index=others)]).rename("split")


def labelled(labels: pd.Series, most: int, draw: int = 0) -> pd.Index:
    """Who of the patients in `labels` keeps the label: `most`, of each class its share and at least one; all for 0.

    draw: 0 the first, any other number is the seed of a random draw.
    """
    if not 0 < most < len(labels):
        return labels.index
    kept = []
    for _, members in labels.groupby(labels):
        order = members.index if draw == 0 else members.sample(frac=1, random_state=draw).index
        kept += order[: max(1, round(most * len(members) / len(labels)))].tolist()
    return pd.Index(kept)
