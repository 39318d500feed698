"""Compares a reader's result with the truth beside the files."""

import numpy as np

from cmrlib.cine import Cine
from cmrlib.cohort.study import Study
from corpus.source import sha

POSITION_MM, SPACING_MM, TIME_MS, RR_SHARE, PERSON_SHARE = 0.1, 0.01, 0.5, 0.01, 0.02
"""How far a reader's numbers may lie from the truth (rounding of headers; ours)."""


def judge(truth: dict, study: Study) -> list[dict]:
    """One row per true cine: cine, expectation, outcome, met, problems; one more per file to be refused, and one where
    the participant is described wrongly.

    truth: one subject's of `write_source`. study: the reader's result (after a refusal of the whole subject: no cines,
    one rejected row with the reason). outcome: `read` (pixels and numbers right), `flagged` (right, and a flag names
    the defect), `refused`, or `wrong`: other pixels or numbers, or no flag where there must be one. met: the outcome is
    the expected one; flags and refusals contain one of the expected words.
    """
    found = [_fingerprint(cine) for cine in study.cines]
    reasons = [row["reason"] for row in study.rejected]
    rows = [_judged(name, true, found, reasons, study) for name, true in truth["cines"].items()]
    known = {image for true in truth["cines"].values() for one in true["slices"] for image in one["sha256"]}
    for mine in found:
        if not known & {image for row in mine["sha256"] for image in row}:
            rows.append(_row(mine["cine"].name, "nothing", "wrong", False, ["a cine that nobody made"]))
    if wrong := _person_wrong(truth["participant"], study.participant):
        rows.append(_row("participant", "read", "wrong", False, wrong))
    by_digest = {row["digest"]: row["reason"] for row in study.rejected}
    whole = not study.cines and set(by_digest) == {"n/a"}  # the subject was refused, so its files are not listed
    for file in truth["refused"] if not whole else []:
        words = file["word"].split("|")
        inside = [text for text in reasons if file["digest"] is None and _says(words, [text])]  # a member of an archive
        reason = inside[0] if inside else by_digest.get(file["digest"])
        rows.append(
            _row(
                file["path"],
                "refuse",
                "refused" if reason else "not listed",
                _says(words, [reason or ""]),
                [reason or "no reason"],
            )
        )
    return rows


def _row(name, expectation, outcome, met, problems):
    return {"cine": name, "expectation": expectation, "outcome": outcome, "met": met, "problems": problems}


def _says(words, texts):
    return any(word in text for word in words for text in texts)


def _fingerprint(cine: Cine) -> dict:
    return {"cine": cine, "sha256": [[sha(image) for image in cine.pixels[:, k]] for k in range(cine.slices)]}


def _judged(name, true, found, reasons, study):
    images = {image for one in true["slices"] for image in one["sha256"]} - {None}
    mine = [one for one in found if images & {image for row in one["sha256"] for image in row}]
    expected = true["expectation"]
    if not mine:
        right = expected == "refuse" and _says(true["words"], reasons)
        return _row(name, expected, "refused", right, sorted(set(reasons)))
    flags = [flag for one in mine for flag in one["cine"].flags]
    problems = [text for one in mine for text in _numbers_wrong(true, one["cine"])] + _pixels_wrong(true, mine)
    problems += _masks_wrong(true, mine, study)
    flagged = _says(true["words"], flags)
    if problems or expected == "refuse" or (expected == "flag" and not flagged):
        return _row(name, expected, "wrong", False, problems or ["silent"])
    return _row(name, expected, "flagged" if expected == "flag" else "read", True, [])


def _person_wrong(true: dict, found: dict) -> list[str]:
    """Wrong values of the participant; a missing one is not wrong."""
    wrong = []
    for key in ("sex", "age", "height_m", "weight_kg", "group"):
        mine, other = found.get(key), true.get(key)
        if mine is None or mine == other:
            continue
        if other is None or isinstance(mine, str) or abs(mine - other) > PERSON_SHARE * other:
            wrong.append(f"{key} {mine} for {other}")
    return wrong


def _pixels_wrong(true, mine) -> list[str]:
    """Slices that are missing, in the wrong order, hold other pixels, or are too many."""
    slices = [
        (one["cine"], k, one["cine"].affine[:3] @ [0, 0, k, 1], images)
        for one in mine
        for k, images in enumerate(one["sha256"])
    ]
    if len(slices) != len(true["slices"]):
        return [f"{len(slices)} slices for {len(true['slices'])}"]
    problems = []
    for n, one in enumerate(true["slices"] if true["oriented"] else sorted(true["slices"], key=lambda s: s["slice"])):
        cine, k, _, images = slices[n]
        if true["oriented"]:
            distances = [np.linalg.norm(np.subtract(one["position_mm"], other[2])) for other in slices]
            cine, k, _, images = slices[int(np.argmin(distances))]
            if min(distances) > POSITION_MM:
                problems.append(f"slice {one['slice']} lies {min(distances):.2f} mm away")
        if len(images) != len(one["sha256"]):
            problems.append(f"slice {one['slice']}: {len(images)} frames for {len(one['sha256'])}")
        elif any(a is not None and a != b for a, b in zip(one["sha256"], images)):
            problems.append(f"slice {one['slice']}: other pixels")
        problems += _times_wrong(one, cine, k)
    return problems


def _times_wrong(one, cine, k) -> list[str]:
    """Unknown times are never wrong; known ones must be those of the frames that are there."""
    problems = []
    if cine.frame_times_ms is not None and one["frame_times_ms"] is not None:
        there = [image is not None for image in one["sha256"]]
        if len(there) == cine.frames:
            error = (cine.frame_times_ms[k] - np.array(one["frame_times_ms"]))[there]
            if (abs(error[np.isfinite(error)]) > TIME_MS).any():
                problems.append(f"slice {one['slice']}: other times")
    rr = float("nan") if cine.rr_ms is None else float(cine.rr_ms[k])
    if one["rr_ms"] and abs(rr - one["rr_ms"]) > RR_SHARE * one["rr_ms"]:
        problems.append(f"slice {one['slice']}: RR {rr:.0f} ms for {one['rr_ms']:.0f}")
    return problems


def _numbers_wrong(true, cine) -> list[str]:
    problems = []
    if cine.view not in (true["view"], "unknown"):
        problems.append(f"view {cine.view} for {true['view']}")
    if cine.spacing_known:
        distance, row, column = cine.spacing_mm
        if true["spacing_mm"] is None or np.abs(np.subtract([row, column], true["spacing_mm"])).max() > SPACING_MM:
            problems.append(f"spacing {row:.3f}×{column:.3f} mm for {true['spacing_mm']}")
        if true["slice_distance_mm"] and cine.slices > 1 and abs(distance - true["slice_distance_mm"]) > POSITION_MM:
            problems.append(f"slice distance {distance:.2f} mm for {true['slice_distance_mm']:.2f}")
    if cine.ed is not None and cine.frames_of is None and (cine.ed, cine.es) != (true["ed"], true["es"]):
        problems.append(f"ED and ES {cine.ed}, {cine.es} for {true['ed']}, {true['es']}")
    return problems


def _masks_wrong(true, mine, study) -> list[str]:
    if "masks" not in true or "manual" not in study.observers:
        return []
    cine = mine[0]["cine"]
    mask = study.observers["manual"][cine.name].mask
    return [
        f"{phase.upper()} mask differs"
        for phase, t in (("ed", cine.ed), ("es", cine.es))
        if sha(mask[t]) != true["masks"][phase]
    ]
