"""Masks beside images: recoding to this library's labels, checks by anatomy, and pairing of a user's own files.

A user's mask belongs to the image in its folder whose name is the same without mask and image words: `sax_seg.nii.gz`
to `sax.nii.gz`, `sub-1_view-4ch_dseg` to `sub-1_view-4ch_cine`, `frame03_gt` to `frame03` where a cine lies there frame
by frame; or the same but for one word at the end (`sax_contour.nii.gz`). A mask of a 4-D image has as many frames;
those that hold a label count as drawn, in all slices, the others as not annotated.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import NOT_ANNOTATED, STRUCTURES
from cmrlib.cohort import Annotation
from cmrlib.cohort.study import Study
from cmrlib.datasets.volumes import Volume, lies_elsewhere, not_read, volume_of
from cmrlib.measures.flags import masks_turned

_MASK = r"(?<![a-z])(gt|d?seg|segmentation|masks?|labels?)(?![a-z])"
_IMAGE = r"(?<![a-z])(cine|image|bold|4d)(?![a-z])"
_RING = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)


def recoded(label: str, mask, codes: dict[str, int], where: str) -> np.ndarray:
    """A mask in a data set's codes → this library's, uint8.

    codes: structure → the data set's number. Raises ValueError naming subject and values where others occur.
    """
    mask = np.asarray(mask)
    strange = sorted(set(np.unique(mask).tolist()) - {0, *codes.values()})
    if strange:
        raise ValueError(f"sub-{label}: mask values {strange[:5]} in {where}; expected 0 and {codes}")
    table = np.zeros(max(codes.values()) + 1, np.uint8)
    for structure, code in codes.items():
        table[code] = STRUCTURES[structure]
    return table[mask.astype(np.uint8)]


def annotated(
    cine: Cine, masks: dict[int, np.ndarray], structures=("lv", "myo", "rv"), frames=None
) -> dict[str, Annotation]:
    """Cine name → annotation, from {frame: label map}; the other frames are not annotated. Empty without masks.

    frames: ED and ES, where they were named with the masks.
    """
    mask = np.full(cine.pixels.shape, NOT_ANNOTATED, np.uint8)
    for t, drawn in masks.items():
        mask[t] = drawn
    drawn = Annotation(mask, dict.fromkeys(masks, tuple(structures)), frames=frames)
    return {cine.name: drawn} if masks else {}


# --- public sets, checked by anatomy ---------------------------------------------------------------------------------


def with_ventricles_named(masks: dict) -> tuple[dict, list[str]]:
    """One heart's label maps with LV and RV as anatomy says, and the flag `labels_exchanged` where they changed.

    masks: key → (…, rows, columns), this library's codes, short-axis or four-chamber. The LV is the cavity of whose
    neighbours most are myocardium; where one of the three is missing, masks stay as they are.
    """
    share = {}
    for name in ("lv", "rv"):
        outside = myocardium = 0
        for mask in masks.values():
            inside = mask == STRUCTURES[name]
            ring = ndimage.binary_dilation(inside, _RING.reshape((1,) * (inside.ndim - 2) + (3, 3))) & ~inside
            outside += int(ring.sum())
            myocardium += int((ring & (mask == STRUCTURES["myo"])).sum())
        share[name] = myocardium / outside if outside else np.nan
    if not share["rv"] > share["lv"]:  # NaN compares as False
        return masks, []
    table = np.arange(256, dtype=np.uint8)
    table[[STRUCTURES["lv"], STRUCTURES["rv"]]] = STRUCTURES["rv"], STRUCTURES["lv"]
    return {key: table[mask] for key, mask in masks.items()}, ["labels_exchanged"]


def mask_of(label, path, what, image: Volume, codes) -> tuple[np.ndarray, list[str]]:
    """A mask file in this library's codes, (frames, slices, rows, columns), and a flag where its affine is another
    than its image's.

    Raises ValueError naming subject and part where it is missing, damaged, of another shape or of other codes.
    """
    mask = volume_of(label, path, what)
    if mask.pixels.shape != image.pixels.shape:
        raise ValueError(
            f"sub-{label}: {what} has shape {mask.pixels.shape}, its image {image.pixels.shape}; expected one shape"
        )
    elsewhere = lies_elsewhere(image.affine, mask.affine, image.pixels.shape[:0:-1])
    return recoded(label, mask.pixels, codes, what), ["mask_position_differs_from_image"] * elsewhere


def phases(drawn: dict, ed, es, frames):
    """ED, ES, masks and flags from {frame: mask} and the table's frames (None where it has none).

    Of two drawn frames ED is the one with the larger LV cavity; ventricles are exchanged back where anatomy says so.
    """
    drawn, flags = with_ventricles_named(drawn)
    if len(drawn) >= 2:
        size = {t: cavity(mask) for t, mask in drawn.items()}
        seen = max(size, key=size.get), min(size, key=size.get)
        if None not in (ed, es) and seen != (ed, es):
            flags.append("phases_differ_from_table")
        flags += ["more_than_two_frames_drawn"] * (len(drawn) > 2)
        return *seen, drawn, flags
    told = [t if t is not None and 0 <= t < frames else None for t in (ed, es)]
    return *told, drawn, flags


def labelled_study(participant, drawn: list[tuple[Cine, dict]], folder, read, rejected=()) -> Study:
    """A public set's subject: cines, each with {frame: label map} of observer `manual`; files of its folder that are
    not among those `read` are rejected. Masks that are turned are flagged."""
    manual = {}
    drawn = [(replace(cine, flags=(*cine.flags, *masks_turned(cine, masks))), masks) for cine, masks in drawn]
    for cine, masks in drawn:
        manual |= annotated(cine, masks, frames={"ed": cine.ed, "es": cine.es})
    rejected = [*rejected, *not_read(participant["participant_id"], folder, read)]
    return Study(participant, [cine for cine, _ in drawn], {"manual": manual}, rejected=rejected)


def with_mask_flags(study: Study) -> Study:
    """The study with `lv_at_edge` on cines whose LV reaches the picture's edge (masks inverted, filled or shifted), and
    `lv_missing` where other structures of its mask are drawn and no LV."""

    def flags(cine):
        drawn = [annotations[cine.name].mask for annotations in study.observers.values() if cine.name in annotations]
        drawn = [mask for mask in drawn if mask is not None]
        lv = [mask == STRUCTURES["lv"] for mask in drawn]
        at_edge = any(one[..., [0, -1], :].any() or one[..., [0, -1]].any() for one in lv)
        around = [np.isin(mask, [STRUCTURES["myo"], STRUCTURES["rv"]]).any() for mask in drawn]
        missing = any(others and not one.any() for others, one in zip(around, lv))
        return (*cine.flags, *["lv_at_edge"] * at_edge, *["lv_missing"] * missing)

    study.cines = [replace(cine, flags=flags(cine)) for cine in study.cines]
    return study


def number_in(row: dict, key: str) -> float | None:
    """A number of 0 or more from a table of texts, None where there is none."""
    try:
        value = float(row[key])
    except (KeyError, ValueError):
        return None
    return value if 0 <= value < float("inf") else None


def cavity(mask) -> int:
    """Pixels of LV cavity: what tells ED from ES."""
    return int((mask == STRUCTURES["lv"]).sum())


# --- a user's own ----------------------------------------------------------------------------------------------------


def is_mask(stem: str) -> bool:
    """Whether a file's name speaks of a segmentation."""
    return bool(re.search(_MASK, stem.lower()))


def key_of(path: Path) -> tuple[str, str]:
    """What a mask and its image share: folder, and name without suffixes and the words that tell them apart."""
    stem = re.sub(r"\.nii(\.gz)?$", "", path.name.lower())
    return str(path.parent), re.sub(r"[^a-z0-9]+", "-", re.sub(f"{_MASK}|{_IMAGE}", "", stem)).strip("-")


def check_labels(label: str, labels: dict):
    """Raise ValueError where the `labels` option names an unknown structure, or a code that is none or not its own."""
    codes = list(labels.values())
    strange = sorted(set(labels) - set(STRUCTURES))
    if strange or len(set(codes)) < len(codes) or not all(isinstance(n, int) and 0 < n < 255 for n in codes):
        raise ValueError(
            f"sub-{label}: the option `labels` is {labels}; expected structures "
            f"({', '.join(STRUCTURES)}) with a code of their own from 1 to 254, say lv=3 myo=2 rv=1"
        )


def paired(cine: Cine, places: dict, masks: dict[tuple, Volume], labels: dict) -> tuple[dict, list]:
    """`annotated` of a cine from the masks of its files, and the keys of the masks that went into it.

    places: key of an image file → its frame, None for a whole cine. Raises ValueError naming subject, view, expected
    and got, where a mask has another shape or codes that `labels` does not name.
    """
    drawn, used, where = {}, [key for key in places if key in masks], f"the mask of view {cine.view}"
    for key in used:
        volume, frame = masks[key], places[key]
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
        drawn |= {t if frame is None else frame: codes[t] for t in range(len(codes)) if codes[t].any()}
    return annotated(cine, drawn, labels), used
