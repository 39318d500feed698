"""The curve that the network learns, the way back from a curve to frames, and the error in frames: numbers only."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

SYSTOLE, DIASTOLE = 3.0, 1 / 3
"""Exponents of the paper (equation 4): emptying starts fast and ends slowly, and so does filling."""

DECODINGS = ("fit", "extremes")


def target_curve(ed: float, es: float, frames: int, kind: str = "cyclic") -> np.ndarray:
    """What the network should say in every frame: (frames,), 1 at ED and 0 at ES.

    ed, es: frame numbers from 0, whole or fractional. kind: `cyclic`, where frame 0 follows the last one: with s frames
    from ED to ES and p from ED to frame k, both counted round the cycle, (1 − p/s)³ in systole and ((p − s)/(T − s))^⅓
    in diastole. `paper`: equation 4 to the letter; as soon as diastole is longer than systole its largest value is in
    the last frame and not at ED, and with ES before ED nothing is systole.
    Raises ValueError for an unknown kind, frames outside the cycle, or ED and ES in one frame.
    """
    if kind not in ("cyclic", "paper"):
        raise ValueError(f"unknown target {kind!r}; expected cyclic or paper")
    if not (0 <= ed < frames and 0 <= es < frames) or ed == es:
        raise ValueError(f"ED {ed} and ES {es} must be two different frames from 0 to {frames - 1}")
    k = np.arange(frames)
    if kind == "paper":
        share = np.abs((k - es) / (es - ed))
        return np.where((ed < k) & (k <= es), share**SYSTOLE, share**DIASTOLE)
    systole, passed = (es - ed) % frames, (k - ed) % frames
    emptying = np.clip(1 - passed / systole, 0, 1) ** SYSTOLE
    return np.where(passed <= systole, emptying, np.clip((passed - systole) / (frames - systole), 0, 1) ** DIASTOLE)


class Phases(NamedTuple):
    """ED and ES in frames from 0, fractional.

    confidence: how much the curve looks like a cycle with this ED and ES, 0 to 1: correlation with their target × share
    of the target's height that it reaches. A network that learned by squared error says little where it is unsure.
    """

    ed: float
    es: float
    confidence: float


def decode(curve, how: str = "fit", kind: str = "cyclic") -> Phases:
    """ED and ES of a periodic curve (frames,), between frames by a parabola through three values.

    how: `extremes`, the paper: ED at the largest, ES at the smallest value. `fit`: the ED and ES whose target has the
    highest correlation with the whole curve; the target is so flat just before ES that its smallest value alone says
    little. kind: of that target.
    Raises ValueError for fewer than 3 frames, values that are no numbers, a constant, or an unknown way.
    """
    curve = np.asarray(curve, float)
    if how not in DECODINGS or len(curve) < 3 or not np.isfinite(curve).all() or np.ptp(curve) == 0:
        raise ValueError(f"expected a curve of 3 or more different numbers and fit or extremes; got {how}, {curve}")
    centred = curve - curve.mean()
    units, height = _unit_targets(len(curve), kind), np.linalg.norm(centred)
    fits = units @ (centred / height)  # (frames of ED, frames of ES)
    if how == "extremes":
        ed, es = int(curve.argmax()), int(curve.argmin())
        around_ed = around_es = curve
    else:
        ed, es = map(int, np.unravel_index(fits.argmax(), fits.shape))
        around_ed, around_es = fits[:, es], fits[ed]
    target = target_curve(ed, es, len(curve), kind)
    reached = min(1.0, fits[ed, es] * height / np.linalg.norm(target - target.mean()))
    confidence = max(0.0, fits[ed, es]) * max(0.0, reached)
    return Phases(_vertex(around_ed, ed), _vertex(around_es, es), float(confidence))


@lru_cache(maxsize=64)
def _unit_targets(frames: int, kind: str) -> np.ndarray:
    """(frames of ED, frames of ES, frames): every target, mean 0 and norm 1; 0 where ED and ES are one frame."""
    targets = np.zeros((frames, frames, frames))
    for ed, es in np.ndindex(frames, frames):
        if ed != es:
            one = target_curve(ed, es, frames, kind)
            targets[ed, es] = (one - one.mean()) / np.linalg.norm(one - one.mean())
    return targets


def _vertex(values, k) -> float:
    """Where the parabola through value k and its two neighbours has its vertex, 0 to frames."""
    before, here, after = values[k - 1], values[k], values[(k + 1) % len(values)]
    bend = before - 2 * here + after
    shift = 0.0 if bend == 0 else 0.5 * (before - after) / bend
    return float((k + np.clip(shift, -0.5, 0.5)) % len(values))


def frame_difference(found, true, frames=None):
    """Absolute difference of frame numbers (arrays or numbers); with `frames` the shorter way round the cycle."""
    difference = np.abs(np.asarray(found, float) - np.asarray(true, float))
    return difference if frames is None else np.minimum(difference, np.asarray(frames) - difference)
