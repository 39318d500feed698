"""One segmentation against another: Dice, Hausdorff and mean surface distance, per structure and slice level.

Arrays are label volumes (slices, rows, columns), spacing is (dz, dy, dx) in mm. Voxels that the reference
marks 255 (not annotated) are ignored everywhere. Undefined is NaN: Dice of two empty masks, distance to an
empty one.
"""

import numpy as np
import pandas as pd
from scipy import ndimage

from cmrlib.cine.anatomy import NOT_ANNOTATED, STRUCTURES, codes
from cmrlib.cohort.provenance import refuse_known_masks

LEVELS = ("base", "mid", "apex")


def dice(pred, ref, label: int) -> float:
    """2 |P ∩ R| / (|P| + |R|) in 3-D over annotated voxels; both empty NaN, one empty 0."""
    return _dice(*_masks(pred, ref, label))


def _dice(pred, ref):
    total = np.count_nonzero(pred) + np.count_nonzero(ref)
    return 2 * np.count_nonzero(pred & ref) / total if total else np.nan


def _masks(pred, ref, label):
    """→ boolean masks of one label, both without what nobody annotated."""
    pred, ref = np.asarray(pred), np.asarray(ref)
    if pred.shape != ref.shape or ref.ndim != 3:
        raise ValueError(
            f"expected two volumes (slices, rows, columns) of one shape, got {pred.shape} and "
            f"{ref.shape}; score frame by frame, on the reference's grid"
        )
    return (pred == label) & (ref != NOT_ANNOTATED), ref == label


def surface_distances(pred, ref, label: int, spacing_mm) -> dict:
    """hd95_mm and assd_mm of one label; NaN where either mask is empty.

    hd95: the larger of the two directed 95th percentiles; assd: mean over the surface voxels of both. A
    surface voxel has a face neighbour outside the mask, distances are 3-D between voxel centres; masks that
    share one slice are a 2-D problem. A mask's end slices are surface as a whole (its caps), as in MONAI and
    medpy, and lie close together: in thick slices that lowers both measures, most at base and apex.
    Source: Taha & Hanbury, BMC Med Imaging 2015;15:29; Heimann et al., IEEE TMI 2009;28:1251.
    """
    (forth, _), (back, _) = _surface_gaps(*_masks(pred, ref, label), _spacing(spacing_mm))
    return _summary(forth, back)


def _spacing(spacing_mm):
    spacing = np.asarray(spacing_mm, dtype=float) if spacing_mm is not None else np.empty(0)
    if spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError(
            f"distances need a spacing (dz, dy, dx) in mm, got {spacing_mm}; without one only Dice is defined"
        )
    return spacing


def _surface_gaps(pred, ref, spacing):
    """→ distances mm from each surface voxel of one mask to the other surface, and its slice, both ways."""
    if not (pred.any() and ref.any()):
        return [(np.empty(0), np.empty(0, int))] * 2
    box = ndimage.find_objects((pred | ref).view(np.uint8))[0]  # both lie within, so the distances do too
    pred, ref = _surface(pred[box]), _surface(ref[box])
    ways = (pred, ref), (ref, pred)
    return [
        (ndimage.distance_transform_edt(~there, sampling=spacing)[here], here.nonzero()[0] + box[0].start)
        for here, there in ways
    ]


def _surface(mask):
    """Voxels with a face neighbour outside; a lone slice has no neighbours above and below."""
    faces = ndimage.generate_binary_structure(3, 1)
    if mask.shape[0] == 1:
        faces[[0, 2]] = False
    return mask & ~ndimage.binary_erosion(mask, faces)


def _summary(forth, back):
    if not (len(forth) and len(back)):
        return {"hd95_mm": np.nan, "assd_mm": np.nan}
    hd95 = max(np.percentile(forth, 95), np.percentile(back, 95))
    return {"hd95_mm": float(hd95), "assd_mm": float(np.concatenate([forth, back]).mean())}


def slice_levels(ref_lv, base_first=True) -> np.ndarray:
    """base, mid or apex for each slice: thirds of the reference LV's extent at ED, "" beyond it.

    ref_lv: (slices, rows, columns) reference labels at ED, or a mask of the LV cavity. base_first: slice 0 is
    the most basal; False for stacks stored from the apex up. Raises ValueError where there is no LV.
    """
    ref_lv = np.asarray(ref_lv)
    lv = ref_lv if ref_lv.dtype == bool else ref_lv == STRUCTURES["lv"]
    there = np.flatnonzero(lv.any(axis=(1, 2)))
    if not len(there):
        raise ValueError("the reference has no LV in any slice, so there are no levels; give its ED frame")
    first, n = there[0], there[-1] - there[0] + 1
    third = 3 * (2 * np.arange(n) + 1) // (2 * n)  # which third a slice's centre lies in
    levels = np.full(len(lv), "", dtype="<U4")
    levels[first : first + n] = np.array(LEVELS if base_first else LEVELS[::-1])[third]
    return levels


def compare_masks(pred, ref, spacing_mm, structures, levels=None) -> pd.DataFrame:
    """Scores of one predicted volume, a row a structure (and level).

    structures: names of what the reference annotated; no others are scored. spacing_mm: (dz, dy, dx), or None
    where unknown: mm and mL are then NaN. levels: of `slice_levels`; adds rows for base, mid, apex, whose
    distances go from those slices' surface voxels to the whole other surface: levels have no cut faces.
    Returns structure, level ("all" first), dice, hd95_mm, assd_mm, volume_pred_ml, volume_ref_ml, note.
    """
    spacing = None if spacing_mm is None else _spacing(spacing_mm)
    if levels is not None and len(levels) != len(ref):
        raise ValueError(f"expected a level for each of {len(ref)} slices, got {len(levels)}")
    parts = {"all": np.ones(len(ref), bool)}
    if levels is not None:
        parts |= {level: np.asarray(levels) == level for level in LEVELS}
    table = []
    for structure, label in zip(structures, codes(structures), strict=True):
        masks = _masks(pred, ref, label)
        gaps = None if spacing is None else _surface_gaps(*masks, spacing)
        for level, inside in parts.items():
            table.append({"structure": structure, "level": level} | _scores(masks, gaps, inside, spacing))
    return pd.DataFrame(table)


def _scores(masks, gaps, inside, spacing):
    """One row of compare_masks; inside: (slices,) bool, the slices that count."""
    pred, ref = (m[inside] for m in masks)
    ml = np.nan if spacing is None else spacing.prod() / 1000  # 1 mL = 1000 mm³
    row = {"dice": _dice(pred, ref), "hd95_mm": np.nan, "assd_mm": np.nan}
    if gaps is not None:
        row |= _summary(*(distances[inside[z]] for distances, z in gaps))
    row |= {"volume_pred_ml": np.count_nonzero(pred) * ml, "volume_ref_ml": np.count_nonzero(ref) * ml}
    empty = [name for name, mask in (("prediction", pred), ("reference", ref)) if not mask.any()]
    notes = [f"{' and '.join(empty)} empty"] if empty else []
    return row | {"note": "; ".join(notes + (["spacing unknown"] if spacing is None else []))}


def score_observers(cohort, reference: str, test: str, subjects=None) -> pd.DataFrame:
    """Scores of one observer against another over a cohort, a row a cine, annotated frame, structure and level.

    Frames that `test` did not look at are left out. Returns participant_id, session, cine, view, frame, phase
    (ED, ES or empty) and the columns of `compare_masks`. Raises ValueError where the two have no frame in
    common, and where `test` is a network that learned from one of these subjects.
    """
    refuse_known_masks(cohort, test, reference, subjects)
    human, machine, tables = cohort.observer(reference), cohort.observer(test), []
    for row in cohort.cines.itertuples():
        if (
            (subjects is not None and row.participant_id not in set(subjects))
            or not machine.has(row.cine)
            or not human.has(row.cine)
        ):
            continue
        truth, guess, cine = human.mask(row.cine), machine.mask(row.cine), cohort.cine(row.cine)
        phases = {cine.ed: "ED", cine.es: "ES"}
        levels = _levels(truth, cine)
        for frame in sorted(set(truth.annotated) & set(guess.annotated)):
            both = [s for s in truth.annotated[frame] if s in guess.annotated[frame]]
            spacing = cine.spacing_mm if cine.spacing_known else None
            scores = compare_masks(guess.mask[frame], truth.mask[frame], spacing, both, levels)
            keys = {
                "participant_id": row.participant_id,
                "session": row.session,
                "cine": row.cine,
                "view": row.view,
                "frame": frame,
                "phase": phases.get(frame, ""),
            }
            tables.append(pd.DataFrame([keys] * len(scores)).join(scores))
    if not tables:
        raise ValueError(f"{reference} and {test} have no frame in common; segment the subjects that {reference} drew")
    return pd.concat(tables, ignore_index=True)


def _levels(truth, cine):
    """Levels of a stack by the reference LV at ED (else its first frame); None for long axis and without an LV."""
    frame = cine.ed if cine.ed in truth.annotated else next(iter(truth.annotated))
    lv = truth.mask[frame] == STRUCTURES["lv"]
    if cine.slices == 1 or not lv.any():
        return None
    areas = lv.sum((1, 2))[lv.any((1, 2))]
    half = len(areas) // 2  # the larger half of the stack is the base: stored order differs between archives
    return slice_levels(lv, base_first=areas[:half].sum() >= areas[len(areas) - half :].sum())
