"""Volumes from label maps: disc summation on the native grid, with every convention in one object.

Label maps (slices, rows, columns) are those of short-axis stacks. Voxels that nobody annotated (255) never count,
structures that were not annotated in a frame give NaN.
"""

import itertools
from dataclasses import dataclass

import cv2
import numpy as np

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import BACKGROUND, MYOCARDIAL_DENSITY_G_PER_ML, NOT_ANNOTATED, STRUCTURES, codes
from cmrlib.cohort import Annotation

_CHOICES = {"papillary": ("as drawn", "in cavity"), "basal_rule": ("all slices", "half ring")}


@dataclass(frozen=True)
class Conventions:
    """How masks become volumes, by summation of discs (area × slice distance); its text stands beside every volume.

    papillary: "as drawn", or "in cavity": everything in the convex hull of a slice's LV cavity is cavity. Papillary
        muscles that an observer drew as cavity cannot be taken out of a label map again.
    basal_rule: "all slices", or "half ring": basal slices of LV and myocardium count where myocardium surrounds at
        least half of the cavity (SCMR, Schulz-Menger et al., JCMR 2020).
    """

    papillary: str = "as drawn"
    basal_rule: str = "all slices"

    def __post_init__(self):
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r}; expected one of {list(choices)}")

    def __str__(self):
        return f"papillary {self.papillary}, basal {self.basal_rule}, discs"


def slice_widths_mm(cine: Cine) -> np.ndarray:
    """Extent that each slice stands for, (slices,) mm: from slice positions where given, else the affine.

    A slice reaches half-way to its neighbours, the first and last as far outwards as inwards.
    Raises ValueError where spacing is unknown or positions do not run one way.
    """
    distance = cine.spacing_mm[0]
    position = cine.slice_position_mm
    if cine.slices == 1 or position is None or not np.isfinite(position).all():
        return np.full(cine.slices, distance)
    gaps = np.diff(np.asarray(position, float))
    if not ((gaps > 0).all() or (gaps < 0).all()):
        raise ValueError(
            f"{cine.name}: slice positions {np.round(position, 1).tolist()} mm are not in order; "
            "sort the slices along the stack when the data is ingested"
        )
    gaps = np.abs(gaps)
    return (np.r_[gaps[0], gaps] + np.r_[gaps, gaps[-1]]) / 2


def voxel_counts(mask, structures=tuple(STRUCTURES)) -> np.ndarray:
    """Voxels of each structure: mask (..., rows, columns) uint8 → (..., structures) int."""
    mask = np.asarray(mask)
    flat = mask.reshape(-1, mask.shape[-2] * mask.shape[-1])
    wanted = codes(structures)
    # one image at a time: it stays in the processor's cache while all its labels are counted
    counts = np.array([[np.count_nonzero(image == code) for code in wanted] for image in flat])
    return counts.reshape(*mask.shape[:-2], len(wanted))


def base_is_first(mask) -> bool:
    """Whether slice 0 of a stack (slices, rows, columns) is the basal end: ventricles are larger there.

    Raises ValueError where the mask holds no ventricle.
    """
    area = voxel_counts(mask, ("lv", "myo", "rv")) @ np.array([1, 0.5, 1])
    if not area.any():
        raise ValueError("the mask holds neither LV nor RV, so base and apex cannot be told apart")
    slices = np.flatnonzero(area)
    return bool(np.average(slices, weights=area[slices]) <= slices.mean())


def ring_fraction(mask2d, structures=("myo",)) -> float:
    """Share of the LV cavity's annotated border that these structures cover; NaN without a cavity."""
    cavity = (mask2d == STRUCTURES["lv"]).astype(np.uint8)
    around = (cv2.dilate(cavity, np.ones((3, 3), np.uint8)) > cavity) & (mask2d != NOT_ANNOTATED)
    return float(np.isin(mask2d[around], codes(structures)).mean()) if around.any() else float("nan")


def apply_papillary(mask) -> np.ndarray:
    """Copy of (..., rows, columns): myocardium and background in the cavity's convex hull become cavity."""
    mask = np.array(mask)
    for image in mask.reshape(-1, *mask.shape[-2:]):
        rows, columns = np.nonzero(image == STRUCTURES["lv"])
        if len(rows):
            hull = np.zeros(image.shape, np.uint8)
            cv2.fillConvexPoly(hull, cv2.convexHull(np.c_[columns, rows].astype(np.int32)), 1)
            image[(hull == 1) & np.isin(image, (BACKGROUND, STRUCTURES["myo"]))] = STRUCTURES["lv"]
    return mask


def excluded_slices(mask, conventions: Conventions) -> list[int]:
    """Slices of one frame (slices, rows, columns) that the basal rule leaves out, from the base inwards."""
    lv = voxel_counts(mask, ("lv",))[:, 0]
    if conventions.basal_rule == "all slices" or not lv.any():
        return []
    from_base = np.flatnonzero(lv)[:: 1 if base_is_first(mask) else -1]
    return [int(k) for k in itertools.takewhile(lambda k: not ring_fraction(mask[k]) >= 0.5, from_base)]


def volumes(
    cine: Cine,
    annotation: Annotation,
    structures=("lv", "myo", "rv"),
    conventions: Conventions | None = None,
    relative: bool = False,
) -> np.ndarray:
    """Volumes (frames, structures) in mL of a stack; NaN where a structure was not annotated in a frame, or where a
    slice of the frame is missing.

    relative: in voxels of equally spaced slices, for cohorts whose spacing is unknown (fractions still hold). Raises
    ValueError where spacing is unknown, and where the mask does not fit the cine.
    """
    conventions = conventions or Conventions()
    if annotation.mask is None or annotation.mask.shape != cine.pixels.shape:
        shape = None if annotation.mask is None else annotation.mask.shape
        raise ValueError(f"{cine.name}: the mask has shape {shape}, the cine {cine.pixels.shape}")
    widths = np.ones(cine.slices) if relative else slice_widths_mm(cine)
    pixel = 1.0 if relative else cine.spacing_mm[1] * cine.spacing_mm[2] / 1000
    result = np.full((cine.frames, len(structures)), np.nan)
    ventricle = [s for s, structure in enumerate(structures) if structure in ("lv", "myo")]
    for t, drawn in annotation.annotated.items():
        mask = np.asarray(annotation.mask[t])
        mask = apply_papillary(mask) if conventions.papillary == "in cavity" else mask
        counts = voxel_counts(mask, structures).astype(float)
        if basal_rule_applies(mask, drawn, conventions):
            counts[np.ix_(excluded_slices(mask, conventions), ventricle)] = 0
        else:
            counts[:, ventricle] = np.nan
        for s, structure in enumerate(structures):
            if structure in drawn:
                result[t, s] = float(counts[:, s] @ widths) * pixel
    result[cine.incomplete_frames] = np.nan
    return result


def basal_rule_applies(mask, drawn, conventions: Conventions) -> bool:
    """Whether the basal rule means something in a frame: "half ring" needs a wall, and one slice must remain."""
    if conventions.basal_rule == "half ring" and "myo" not in drawn:
        return False
    left_out = excluded_slices(mask, conventions)
    return not left_out or len(left_out) < np.count_nonzero(voxel_counts(mask, ("lv",)))


def mass_g(myocardium_ml):
    """Mass in g of a myocardial volume in mL."""
    return MYOCARDIAL_DENSITY_G_PER_ML * myocardium_ml


def ejection_fraction_pct(largest, smallest):
    """100 × (largest − smallest) / largest; NaN where the largest is 0 or unknown."""
    return 100 * (largest - smallest) / largest if largest > 0 else float("nan")


BSA_FORMULAS = {
    "mosteller": lambda cm, kg: np.sqrt(cm * kg / 3600),
    "dubois": lambda cm, kg: 0.007184 * cm**0.725 * kg**0.425,
}
"""Body surface area in m² from cm and kg: Mosteller, NEJM 1987; Du Bois and Du Bois 1916."""


def bsa_m2(height_m, weight_kg, formula: str = "mosteller"):
    """Body surface area in m² from m and kg (numbers or arrays); NaN where either is missing or not positive.

    formula: a key of `BSA_FORMULAS`.
    """
    height, weight = np.asarray(height_m, float), np.asarray(weight_kg, float)
    if np.nanmax(height, initial=0) > 3:
        raise ValueError(f"height_m holds {np.nanmax(height):g}; expected metres, not centimetres")
    known = (height > 0) & (weight > 0)
    return BSA_FORMULAS[formula](100 * np.where(known, height, np.nan), np.where(known, weight, np.nan))
