"""Masks that lie beside a user's NIfTI images, in the user's own codes: observer `manual`.

A mask belongs to the image in its folder whose name is the same without mask and image words: `sax_seg.nii.gz` to
`sax.nii.gz`, `sub-1_view-4ch_dseg` to `sub-1_view-4ch_cine`, `frame03_gt` to `frame03` where a cine lies there frame by
frame. A mask of a 4-D image has as many frames; those that hold a label count as drawn, in all slices, the others as
not looked at.
"""

import re
from pathlib import Path

import numpy as np

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import NOT_ANNOTATED, STRUCTURES
from cmrlib.cohort import Annotation
from cmrlib.datasets.masks import recoded
from cmrlib.datasets.volumes import Volume, lies_elsewhere

_WORDS = r"(?<![a-z])(gt|d?seg|segmentation|masks?|labels?|cine|image|bold|4d)(?![a-z])"


def is_mask(stem: str) -> bool:
    """Whether a file's name speaks of a segmentation."""
    return bool(re.search(r"(?<![a-z])(gt|d?seg|segmentation|masks?|labels?)(?![a-z])", stem.lower()))


def key_of(path: Path) -> tuple[str, str]:
    """What a mask and its image share: folder, and name without suffixes and the words that tell them apart."""
    stem = re.sub(r"\.nii(\.gz)?$", "", path.name.lower())
    return str(path.parent), re.sub(r"[^a-z0-9]+", "-", re.sub(_WORDS, "", stem)).strip("-")


def check_labels(label: str, labels: dict):
    """Raise ValueError where the `labels` option names an unknown structure, or a code that is none or not its own."""
    codes = list(labels.values())
    strange = sorted(set(labels) - set(STRUCTURES))
    if strange or len(set(codes)) < len(codes) or not all(isinstance(n, int) and 0 < n < 255 for n in codes):
        raise ValueError(
            f"sub-{label}: the option `labels` is {labels}; expected structures "
            f"({', '.join(STRUCTURES)}) with a code of their own from 1 to 254, say lv=3 myo=2 rv=1"
        )


def annotation(cine: Cine, places: dict, masks: dict[tuple, Volume], labels: dict) -> tuple[Annotation | None, list]:
    """A cine's annotation from the masks of its files, and the keys of the masks that went into it.

    places: key of an image file → its frame, None for a whole cine. Raises ValueError naming subject, view, expected
    and got, where a mask has another shape or codes that `labels` does not name.
    """
    drawn = np.full(cine.pixels.shape, NOT_ANNOTATED, np.uint8)
    annotated, used, where = {}, [], f"the mask of view {cine.view}"
    for key, frame in places.items():
        if key not in masks:
            continue
        volume = masks[key]
        expected = cine.pixels.shape if frame is None else (1, *cine.pixels.shape[1:])
        if volume.pixels.shape != expected:
            raise ValueError(
                f"sub-{cine.subject}: {where} has shape {volume.pixels.shape} (frames, slices, rows, "
                f"columns); expected {expected}, its image's"
            )
        if lies_elsewhere(cine.affine, volume.affine, cine.pixels.shape[:0:-1]):
            raise ValueError(
                f"sub-{cine.subject}: {where} lies elsewhere than its image (affine); write both with one header"
            )
        codes = recoded(cine.subject, volume.pixels, labels, f"view {cine.view}")
        for t in [t for t, mask in enumerate(codes) if mask.any()]:
            drawn[t if frame is None else frame] = codes[t]
            annotated[t if frame is None else frame] = tuple(labels)
        used.append(key)
    return (Annotation(drawn, annotated) if annotated else None), used
