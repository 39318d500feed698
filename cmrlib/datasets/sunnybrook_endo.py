"""Sunnybrook's endocardium as single images: short-axis slices of 30 patients, LV cavity at ED and ES.

Source: github.com/mshunshin/SegNetCMR; images and contours are those of the Sunnybrook Cardiac Data (Radau et al.,
MIDAS Journal 2009). Licence: CC0 1.0 (the repository: MIT). Layout, anywhere below the source: `SC-HF-I-01_0048.png`
and `SC-HF-I-01_0048_mask.png`, 256×256; the number is the DICOM InstanceNumber, slice·20 + phase + 1, slices from the
base on. Labels there: 255 is the LV cavity. Fills participants (group: HF-I, HF-NI, HYP, N), observer `manual`
(structure lv only) and its LVEF, from areas summed over the slices outlined in each phase. Subjects have the labels of
kind `sunnybrook`: five people are in both sets.

The masks were filled with their border from coordinates cut to whole pixels, which makes a cavity 6 % too large (up to
24 %). The mask made here is what lies inside the line through the border's pixels, moved by a quarter of a pixel:
against the contours of the four people whose coordinates are at hand, it is 1 % too large, and Dice rises from .97 to
.99.

Known to be wrong with it: pixel size and orientation are unknown; grey values are scaled image by image
(`grey_values_per_image`); where a slice was outlined in one phase only, the other phase's picture is missing and left
black (`missing_frames`), unannotated, and counts no area; ED is the phase of the larger cavity, mostly the last; of the
whole cycle these two phases are all there is.
"""

import re
from pathlib import Path

import cv2
import numpy as np

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import NOT_ANNOTATED, STRUCTURES
from cmrlib.cohort import Annotation
from cmrlib.cohort.files import digest
from cmrlib.cohort.study import Study, rejected_rows, subject_label
from cmrlib.datasets.contours import grey_image, polygon_mask
from cmrlib.datasets.finding import content_of, files_of, is_regular
from cmrlib.datasets.sunnybrook import phases, unpadded

DESCRIPTION = {"Name": "Sunnybrook endocardium", "License": "CC0 1.0; cite Radau et al., MIDAS Journal 2009"}
PHASES = 20
SPACING_RANGE_MM = [1.2, 1.6]
"""Pixel sizes of the set's full series."""
_IMAGE = re.compile(r"(SC-([A-Z]+(?:-[A-Z]+)?)-\d+)_(\d+)\.png")
_FLOOR_TO_CENTRE_PX = 0.25 - 0.5  # whole and half pixels were cut to whole ones, and count from the pixel's corner


def find(src) -> dict[str, tuple]:
    """Subject label (SC-HF-I-01 → SCHFI1) → (group, (image, its mask) in the order of their numbers).

    Raises ValueError where one image lies there twice.
    """
    patients = {}
    for path in sorted(files_of(Path(src))):
        if match := _IMAGE.fullmatch(path.name):
            _, images = patients.setdefault(subject_label(unpadded(match[1])), (match[2], {}))
            if images.setdefault(int(match[3]), path) != path:
                raise ValueError(f"image {path.name} lies there twice; keep one copy")
    return {
        label: (group, tuple((path, path.with_name(f"{path.stem}_mask.png")) for _, path in sorted(images.items())))
        for label, (group, images) in sorted(patients.items())
    }


def read(label: str, item: tuple) -> Study:
    """One patient: a short-axis cine of the outlined phases, ED first; a damaged pair is rejected, not the patient."""
    group, pairs = item
    images, cavities, refused = {}, {}, []
    for path, mask in pairs:
        place = divmod(int(_IMAGE.fullmatch(path.name)[3]) - 1, PHASES)
        try:
            image, cavity = _pair(path, mask)
        except ValueError as error:
            refused.append((digest(path)[:16], str(error)))
            continue
        images[place], cavities[place] = image, cavity
    if len(shapes := {image.shape for image in images.values()}) > 1:
        raise ValueError(f"sub-{label}: images have shapes {sorted(shapes)}; expected one")
    participant = {"participant_id": label, "sex": None, "age": None, "group": group}
    rejected = rejected_rows(label, refused)
    return _study(participant, images, cavities, rejected) if images else Study(participant, [], rejected=rejected)


def _study(participant, images, cavities, rejected) -> Study:
    """{(slice number, phase): picture, cavity} → the cine with ED first, its masks and LVEF."""
    areas = {("i", *place): int(cavity.sum()) for place, cavity in cavities.items()}
    ed, es, flags = phases(areas)
    order = sorted({t for _, t in images}, key=lambda t: (t - (ed or 0)) % PHASES)
    numbers = sorted({k for k, _ in images})
    pixels = np.zeros((len(order), len(numbers), *next(iter(images.values())).shape), np.uint8)
    mask, missing = np.full(pixels.shape, NOT_ANNOTATED, np.uint8), []
    for t, phase in enumerate(order):
        for k, number in enumerate(numbers):
            if (number, phase) not in images:
                missing.append([k, t])
                continue
            pixels[t, k] = images[number, phase]
            mask[t, k] = np.where(cavities[number, phase], STRUCTURES["lv"], 0)
    flags = (
        *flags,
        "grey_values_per_image",
        *["missing_frames"] * bool(missing),
        *["irregular_slices"] * bool((np.diff(numbers) > 1).any()),
    )
    known = {"spacing_range_mm": SPACING_RANGE_MM}
    frames = {} if ed is None else {"ed": order.index(ed), "es": order.index(es)}
    cine = Cine(
        pixels,
        np.eye(4),
        "sax",
        participant["participant_id"],
        spacing_known=False,
        **frames,
        flags=flags,
        frames_of=(tuple(order), PHASES),
        meta=known | ({"missing": missing} if missing else {}),
    )
    annotation = Annotation(mask, dict.fromkeys(range(len(order)), ("lv",)), frames=frames or None)
    measures = {}
    if frames:  # the unknown pixel size and slice distance cancel
        edv, esv = (sum(area for (_, _, t), area in areas.items() if t == phase) for phase in (ed, es))
        measures = {"manual": {"lvef_pct": 100 * (edv - esv) / edv}}
    return Study(participant, [cine], {"manual": {cine.name: annotation}}, measures, rejected)


def _pair(path, mask_path) -> tuple[np.ndarray, np.ndarray]:
    """Picture (rows, columns) uint8 and its cavity, boolean; raises ValueError with the reason why it is refused."""
    if not is_regular(mask_path):
        raise ValueError("an image without a mask")
    image, mask = (grey_image(content_of(one)) for one in (path, mask_path))
    if image is None or mask is None:
        raise ValueError("an image or its mask is no readable PNG")
    if mask.shape != image.shape:
        raise ValueError(f"a mask of shape {mask.shape}, its image has {image.shape}")
    if not (mask > 127).any():
        raise ValueError("an empty mask")
    return image, _cavity(mask > 127)


def _cavity(filled) -> np.ndarray:
    """A mask (rows, columns) that was filled with its border → what lies inside the contour itself."""
    borders, _ = cv2.findContours(filled.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    inside = np.zeros(filled.shape, bool)
    for border in borders:
        inside |= polygon_mask(border[:, 0] + _FLOOR_TO_CENTRE_PX, filled.shape)
    return inside if inside.any() else filled  # of a pixel or two, nothing lies inside
