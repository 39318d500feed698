"""Kaggle Data Science Bowl 2015, the hand-drawn short-axis images: LV cavities of 8 patients, slice by slice.

Source: github.com/woshialex/diagnose-heart, `manual_sax.zip`; the images are those of the challenge. Licence: Kaggle's
rules for its data, research only. Layout: `…/images/PATIENT_NNNN[_manual].jpg` and `…/contours/…` of the same name,
246×246; NNNN = slice·30 + frame, both from 0 (pictures of one slice resemble each other, those of two do not). Labels
there: dark on white is the LV cavity; a white one says that the slice lies beyond the ventricle. Fills observer
`manual` (structure lv only), a cine a slice, of the frames that somebody drew, with the slice's number + 1 as its run;
measures of observer `kaggle` as in `dsb2015`. Subjects have the labels of kind `dsb2015`, and stand in its list.

Known to be wrong with it: JPEG, resampled, so pixel size and orientation are lost; different frames in each slice, so
that no stack can be put together and neither ED nor ES is known; outlines of small cavities go well into the muscle.
Left out: 36 pairs of a "patient 0", at least four people under no number of the challenge, so that nobody can say on
which side of a split they belong; 12 pairs (`c_212…`, `c_222…`) whose contours are grey values instead of a mask,
listed as rejected.
"""

import re

import numpy as np

from cmrlib.cine import Cine
from cmrlib.cohort import Annotation
from cmrlib.cohort.files import short_digest
from cmrlib.cohort.study import Study, rejected_rows
from cmrlib.datasets.dsb2015 import drawn_images, images_of, person, volumes_of

DESCRIPTION = {"Name": "DSB2015 SAX", "License": "research only; Kaggle Data Science Bowl 2015"}
ZIP = "manual_sax.zip"
FRAMES = 30
SPACING_RANGE_MM = [1.0, 1.3]
"""Of the resampled images: the shorter side of these patients' matrices, 249 to 315 mm, is 246 pixels long in them."""
_IMAGE = re.compile(r".*images/(c_)?(?P<patient>[1-9]\d*)_s?\d+(_manual|_t\d+)?\.jpg")
_NUMBER = re.compile(r".*images/\d+_(\d+)(_manual)?\.jpg")


def find(src) -> dict[str, tuple]:
    """Subject label → (zip, patient number, images), for the zip or the folder that holds it."""
    return images_of(src, ZIP, _IMAGE)


def read(label: str, item: tuple) -> Study:
    """One patient: a short-axis cine a slice, of the frames that somebody drew."""
    path, number, names = item
    slices, grey_masks = {}, []
    for name in names:
        if match := _NUMBER.fullmatch(name):
            k, t = divmod(int(match[1]), FRAMES)
            slices.setdefault(k, []).append((t, name))
        else:
            grey_masks.append((short_digest(name.encode()), "a contour of grey values, not a mask"))
    cines, masks = [], {}
    for k, frames in sorted(slices.items()):
        cine, mask = _slice(label, path, k, sorted(frames))
        cines, masks[cine.name] = [*cines, cine], mask
    measures, rejected = volumes_of(path.parent, number)
    return Study(
        {"participant_id": label} | person(path.parent, number),
        cines,
        {"manual": masks} if masks else {},
        measures if cines else {},
        rejected + rejected_rows(label, grey_masks),
    )


def _slice(label, path, k, frames) -> tuple[Cine, Annotation]:
    """Slice k of a patient. frames: (frame, name of its image) in order."""
    pixels, mask = drawn_images(label, path, [name for _, name in frames])
    cine = Cine(
        pixels,
        np.eye(4),
        "sax",
        label,
        run=k + 1,
        spacing_known=False,
        frames_of=(tuple(t for t, _ in frames), FRAMES),
        meta={"spacing_range_mm": SPACING_RANGE_MM},
    )
    return cine, Annotation(mask, dict.fromkeys(range(len(frames)), ("lv",)))
