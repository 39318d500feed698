"""One segmentation against another: Dice, Hausdorff and mean surface distance, per structure and slice level.

Arrays are label volumes (slices, rows, columns), spacing is (dz, dy, dx) in mm. Voxels that either side marks 255 (not
annotated) are left out for both. Undefined is NaN: Dice of two empty masks, distance to an empty one.
"""

import numpy as np
import pandas as pd
from scipy import ndimage

from cmrlib.agreement.summary import with_intervals
from cmrlib.cine.anatomy import NOT_ANNOTATED, STRUCTURES, codes
from cmrlib.cohort.provenance import refuse_known_masks
from cmrlib.measures.volumes import base_is_first

LEVELS = ("base", "mid", "apex")


def dice(pred, ref, label: int) -> float:
    """2 |P ∩ R| / (|P| + |R|) in 3-D over voxels that both annotated; both empty NaN, one empty 0."""
    return _dice(*_masks(pred, ref, label))


def _dice(pred, ref):
    total = np.count_nonzero(pred) + np.count_nonzero(ref)
    return 2 * np.count_nonzero(pred & ref) / total if total else np.nan


def _masks(pred, ref, label):
    """→ boolean masks of one label, within what both annotated."""
    pred, ref = np.asarray(pred), np.asarray(ref)
    if pred.shape != ref.shape or ref.ndim != 3:
        raise ValueError(f"expected two volumes (slices, rows, columns) of one shape, got {pred.shape} and {ref.shape}")
    annotated = (pred != NOT_ANNOTATED) & (ref != NOT_ANNOTATED)
    return (pred == label) & annotated, (ref == label) & annotated


def _surface_gaps(pred, ref, spacing):
    """→ distances mm from each surface voxel of one mask to the other surface, and its slice, both ways; none where
    a mask is empty or spacing unknown."""
    if spacing is None or not (pred.any() and ref.any()):
        return [(np.empty(0), np.empty(0, int))] * 2
    box = ndimage.find_objects((pred | ref).view(np.uint8))[0]  # both lie within, so the distances do too
    pred, ref = _surface(pred[box]), _surface(ref[box])
    return [
        (ndimage.distance_transform_edt(~there, sampling=spacing)[here], here.nonzero()[0] + box[0].start)
        for here, there in ((pred, ref), (ref, pred))
    ]


def _surface(mask):
    """Voxels with a face neighbour outside; a lone slice has no neighbours above and below."""
    faces = ndimage.generate_binary_structure(3, 1)
    if mask.shape[0] == 1:
        faces[[0, 2]] = False
    return mask & ~ndimage.binary_erosion(mask, faces)


def slice_levels(ref) -> np.ndarray:
    """base, mid or apex for each slice: thirds of the reference LV's extent at ED, "" beyond it.

    ref: (slices, rows, columns) reference labels at ED; `measures.base_is_first` tells the basal end. Raises ValueError
    where there is no LV.
    """
    there = np.flatnonzero((np.asarray(ref) == STRUCTURES["lv"]).any(axis=(1, 2)))
    if not len(there):
        raise ValueError("the reference has no LV in any slice, so there are no levels; give its ED frame")
    first, n = there[0], there[-1] - there[0] + 1
    third = 3 * (2 * np.arange(n) + 1) // (2 * n)  # which third a slice's centre lies in
    levels = np.full(len(ref), "", dtype="<U4")
    levels[first : first + n] = np.array(LEVELS if base_is_first(ref) else LEVELS[::-1])[third]
    return levels


def compare_masks(pred, ref, spacing_mm, structures, levels=None) -> pd.DataFrame:
    """Scores of one predicted volume, one row per structure (and level).

    structures: names of what both annotated; no others are scored. spacing_mm: (dz, dy, dx), or None where unknown: mm
    and mL are then NaN. levels: of `slice_levels`; adds rows for base, mid, apex, whose distances go from those slices'
    surface voxels to the whole other surface: levels have no cut faces.
    Returns structure, level ("all" first), dice, hd95_mm, assd_mm, volume_pred_ml, volume_ref_ml (of the voxels that
    both annotated), n_one_sided (voxels that one of them did not annotate, left out), note.

    hd95: the larger of the two directed 95th percentiles; assd: mean over the surface voxels of both. A surface voxel
    has a face neighbour outside the mask, distances are 3-D between voxel centres; masks that share one slice are a 2-D
    problem. A mask's end slices are surface as a whole (its caps), as in MONAI and medpy, and lie close together: in
    thick slices that lowers both measures, most at base and apex. NaN where either mask is empty.
    Source: Taha & Hanbury, BMC Med Imaging 2015;15:29; Heimann et al., IEEE TMI 2009;28:1251.
    """
    spacing = None if spacing_mm is None else np.asarray(spacing_mm, dtype=float)
    if spacing is not None and not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError(f"expected a spacing (dz, dy, dx) in mm, got {spacing_mm}; None where it is unknown")
    parts = {"all": np.ones(len(ref), bool)}
    if levels is not None:
        parts |= {level: np.asarray(levels) == level for level in LEVELS}
    one_sided = ((np.asarray(pred) == NOT_ANNOTATED) != (np.asarray(ref) == NOT_ANNOTATED)).sum(axis=(1, 2))
    table = []
    for structure, label in zip(structures, codes(structures), strict=True):
        masks = _masks(pred, ref, label)
        gaps = _surface_gaps(*masks, spacing)
        for level, inside in parts.items():
            scores = _scores(masks, gaps, inside, spacing, int(one_sided[inside].sum()))
            table.append({"structure": structure, "level": level} | scores)
    return pd.DataFrame(table)


def _scores(masks, gaps, inside, spacing, n_one_sided):
    """One row of compare_masks; inside: (slices,) bool, the slices that count."""
    pred, ref = (m[inside] for m in masks)
    ml = np.nan if spacing is None else spacing.prod() / 1000  # 1 mL = 1000 mm³
    row = {"dice": _dice(pred, ref), "hd95_mm": np.nan, "assd_mm": np.nan}
    forth, back = (distances[inside[z]] for distances, z in gaps)
    if len(forth) and len(back):
        row["hd95_mm"] = max(np.percentile(forth, 95), np.percentile(back, 95))
        row["assd_mm"] = np.concatenate([forth, back]).mean()
    row |= {"volume_pred_ml": np.count_nonzero(pred) * ml, "volume_ref_ml": np.count_nonzero(ref) * ml}
    empty = [name for name, mask in (("prediction", pred), ("reference", ref)) if not mask.any()]
    notes = [f"{' and '.join(empty)} empty" * bool(empty), "spacing unknown" * (spacing is None)]
    notes.append(f"{n_one_sided} voxels annotated by one side only" * bool(n_one_sided))
    return row | {"n_one_sided": n_one_sided, "note": "; ".join(filter(None, notes))}


def score_observers(cohort, reference: str, test: str, subjects=None) -> pd.DataFrame:
    """Scores of one observer against another over a cohort, one row per cine, annotated frame, structure and level.

    Frames that `test` did not annotate are left out. Returns participant_id, session, cine, view, frame, phase (ED, ES
    or empty) and the columns of `compare_masks`. Raises ValueError where the two have no frame in common, and where
    `test` is a network that learned from one of these subjects.
    """
    refuse_known_masks(cohort, test, reference, subjects)
    human, machine, tables = cohort.observer(reference), cohort.observer(test), []
    cines = cohort.cines if subjects is None else cohort.cines[cohort.cines["participant_id"].isin(set(subjects))]
    for row in cines[["participant_id", "session", "cine", "view"]].to_dict("records"):
        name = row["cine"]
        if not (machine.has(name) and human.has(name)):
            continue
        truth, guess, cine = human.mask(name), machine.mask(name), cohort.cine(name)
        phases = {cine.ed: "ED", cine.es: "ES"}
        spacing, levels = cine.spacing_mm if cine.spacing_known else None, _levels(truth, cine)
        for frame in sorted(set(truth.annotated) & set(guess.annotated)):
            both = [s for s in truth.annotated[frame] if s in guess.annotated[frame]]
            scores = compare_masks(guess.mask[frame], truth.mask[frame], spacing, both, levels)
            keys = row | {"frame": frame, "phase": phases.get(frame, "")}
            tables.append(pd.DataFrame(keys, scores.index).join(scores))
    if not tables:
        raise ValueError(f"{reference} and {test} have no frame in common; segment the subjects that {reference} drew")
    return pd.concat(tables, ignore_index=True)


def _levels(truth, cine):
    """Levels of a stack by the reference LV at ED (else its first frame); None for long axis and without an LV."""
    mask = truth.mask[cine.ed if cine.ed in truth.annotated else next(iter(truth.annotated))]
    return slice_levels(mask) if cine.slices > 1 and (mask == STRUCTURES["lv"]).any() else None


def overlap_metrics(scores: pd.DataFrame) -> dict:
    """dice_lv, dice_myo, … (mean over subjects and phases), dice_mean (over structures too) and hd95_lv_mm.

    Each with its interval, and n_dice_lv, …: the subjects. SAX where there is SAX, else all views; `dice_lv_4ch` and
    the like for the others.
    """
    metrics = {}
    for view, part in scores.groupby("view", sort=False):
        suffix = "" if view == "sax" or "sax" not in set(scores["view"]) else f"_{view}"
        part = pd.concat([part, part.assign(structure="mean")])
        for row in with_intervals(part, ["dice", "hd95_mm"], ["structure"]).to_dict("records"):
            name = row["structure"]
            metrics |= {f"dice_{name}{suffix}{end}": row[f"dice{end}"] for end in ("", "_low", "_high")}
            metrics[f"n_dice_{name}{suffix}"] = row["n"]
            if name == "lv":
                metrics |= {f"hd95_lv{suffix}_mm{end}": row[f"hd95_mm{end}"] for end in ("", "_low", "_high")}
    return metrics
