"""What a confidence is worth: the overlap to expect at that confidence, and how far measures are off."""

import numpy as np
import pandas as pd
from sklearn.isotonic import IsotonicRegression

from cmrlib.agreement.observers import observer_pairs

STRUCTURES_OF = {"lvm": ("lv", "myo"), "lv": ("lv",), "rv": ("rv",), "la": ("la",), "ra": ("ra",)}
"""Start of a measure's name → the structures whose outlines it rests on; the first that fits."""


def calibration_curve(confidence, dice) -> pd.DataFrame:
    """Confidence and the Dice to expect there, rising: isotonic regression, reduced to its corners.

    Raises ValueError for fewer than ten known pairs.
    """
    confidence, dice = _known(confidence, dice)
    if len(dice) < 10:
        raise ValueError(f"{len(dice)} cases with confidence and Dice; a calibration takes ten or more")
    fit = IsotonicRegression(out_of_bounds="clip").fit(confidence, dice)
    return pd.DataFrame({"confidence": fit.X_thresholds_, "dice": fit.y_thresholds_})


def expected_dice(curve: pd.DataFrame, confidence) -> np.ndarray:
    """Dice to expect at these confidences by a `calibration_curve`; beyond its ends that of the end, NaN for NaN."""
    confidence = np.asarray(confidence, float)
    found = np.interp(confidence, curve["confidence"], curve["dice"])
    return np.where(np.isfinite(confidence), found, np.nan)


def calibration_error(confidence, dice, groups, bins: int = 5) -> tuple[float, np.ndarray]:
    """(expected calibration error, the Dice expected of each case): every group (a fold, say) by the curve of the
    others; then the mean over equally large bins of expectation of |mean expected − mean observed|.

    One group alone is judged by its own curve, which flatters.
    """
    confidence, dice, groups = np.asarray(confidence, float), np.asarray(dice, float), np.asarray(groups)
    expected = np.full(len(dice), np.nan)
    for group in np.unique(groups):
        own = groups == group
        others = ~own if (~own).any() else own
        expected[own] = expected_dice(calibration_curve(confidence[others], dice[others]), confidence[own])
    forecast, observed = _known(expected, dice)
    parts = np.array_split(np.argsort(forecast, kind="stable"), bins)
    errors = [len(part) * abs(forecast[part].mean() - observed[part].mean()) for part in parts if len(part)]
    return float(sum(errors) / len(forecast)), expected


def calibration_tables(cases: pd.DataFrame, groups) -> tuple[pd.DataFrame, pd.DataFrame]:
    """By view and structure: (n, mean confidence, mean Dice and `calibration_error`; the curves of all cases).

    cases: view, structure, confidence, dice, a row a heart. groups: of each row, as for `calibration_error`. Structures
    with fewer than ten cases on a side are left out.
    """
    rows, curves, groups = [], [pd.DataFrame(columns=["view", "structure", "confidence", "dice"])], np.asarray(groups)
    for (view, structure), part in cases.groupby(["view", "structure"], sort=False):
        keys, own = {"view": view, "structure": structure}, groups[cases.index.get_indexer(part.index)]
        try:
            error, _ = calibration_error(part["confidence"], part["dice"], own)
        except ValueError:  # too few
            continue
        means = {"confidence": part["confidence"].mean(), "dice": part["dice"].mean()}
        rows.append(keys | {"n": len(part)} | means | {"calibration_error": error})
        curves.append(calibration_curve(part["confidence"], part["dice"]).assign(**keys))
    columns = ["view", "structure", "n", "confidence", "dice", "calibration_error"]
    return pd.DataFrame(rows, columns=columns), pd.concat(curves, ignore_index=True)


def error_by_confidence(table: pd.DataFrame, reference: str, test: str, measures, parts: int = 3) -> pd.DataFrame:
    """Errors of measures in equally large parts of the hearts by confidence, a row each: measure, confidence_low,
    confidence_high, n, bias, sd. The confidence of a measure is the least of the structures it rests on.

    table: of all observers (`observer`, `confidence_…`). Measures without a confidence, and parts of fewer than five
    hearts, are left out.
    """
    rows, known = [], table[table["observer"] == test]
    for measure in measures:
        columns = [f"confidence_{name}" for name in structures_of(measure)]
        if not columns or not set(columns) <= set(table) or measure not in table:
            continue
        pairs = observer_pairs(table, reference, test, measure).dropna(subset=["reference", "test"])
        sure = known.assign(confidence=known[columns].min(axis=1, skipna=False))
        keys = [name for name in ("participant_id", "session") if name in pairs and name in sure]
        pairs = pairs.merge(sure[[*keys, "confidence"]], on=keys).dropna(subset="confidence")
        ordered = pairs.sort_values("confidence", kind="stable")
        for places in np.array_split(np.arange(len(ordered)), parts):
            part = ordered.iloc[places]
            if len(part) >= 5:
                error = part["test"] - part["reference"]
                ends = {"confidence_low": part["confidence"].min(), "confidence_high": part["confidence"].max()}
                values = {"n": len(part), "bias": error.mean(), "sd": error.std()}
                rows.append({"measure": measure} | ends | values)
    columns = ["measure", "confidence_low", "confidence_high", "n", "bias", "sd"]
    return pd.DataFrame(rows, columns=columns)


def structures_of(measure: str) -> tuple[str, ...]:
    """Structures whose outlines a measure rests on; none for the others."""
    return next((names for start, names in STRUCTURES_OF.items() if measure.startswith(start)), ())


def _known(confidence, dice):
    confidence, dice = np.asarray(confidence, float), np.asarray(dice, float)
    known = np.isfinite(confidence) & np.isfinite(dice)
    return confidence[known], dice[known]
