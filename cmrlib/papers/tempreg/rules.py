"""Rules that find ED and ES of a whole stack with little or no learning, which a network must beat on patients; and the
recordings on which all are tested.

A rule takes the `StackSignals` of a stack and the frames that are shown, in their order round the cycle, and answers
with places among these.
"""

import numpy as np
import pandas as pd

from cmrlib.measures.curves import ed_es_from_curve
from cmrlib.papers.tempreg.clips import cut_frames
from cmrlib.papers.tempreg.curves import StackSignals
from cmrlib.papers.tempreg.targets import frame_difference

STEPS = 8, 16
"""Steps of a template in systole and in diastole."""
SYSTOLE = 0.2, 0.6
"""Shares of the cycle from ED to ES that a template considers."""


def area(kept: StackSignals, frames) -> tuple[int, int]:
    """Largest and smallest LV area of all slices, on the smoothed curve."""
    return ed_es_from_curve(kept.areas[frames, 0])


def component(kept: StackSignals, frames) -> tuple[int, int]:
    """Extremes of the first principal component of the pixels that move most, a mean over three frames."""
    curve = kept.component(frames)
    smooth = curve + np.roll(curve, 1) + np.roll(curve, -1)
    return int(smooth.argmax()), int(smooth.argmin())


def seam(kept: StackSignals, frames) -> tuple[int, int]:
    """ED after the largest step from frame to frame, as if a recording always began there; ES: least like that ED."""
    frames = np.asarray(frames)
    ed = int(kept.distances[np.roll(frames, 1), frames].argmax())
    return ed, int(kept.distances[frames[ed], frames].argmax())


RULES = {"area": area, "component": component, "seam": seam}


def visible_seam(kept: StackSignals) -> bool:
    """Whether the step from the last frame to the first is the largest of the whole cycle: the recording left out a
    part of it."""
    frames = np.arange(len(kept.areas))
    return bool(kept.distances[np.roll(frames, 1), frames].argmax() == 0)


class Template:
    """Mean course of LV area and first component over stacks whose ED and ES are known, laid over another's."""

    def __init__(self, stacks):
        """stacks: of (StackSignals, ED, ES)."""
        courses = [self._warped(self._curves(kept, np.arange(len(kept.areas))), ed, es) for kept, ed, es in stacks]
        course = np.mean(courses, axis=0)
        self.course = course - course.mean(1, keepdims=True)

    def __call__(self, kept: StackSignals, frames) -> tuple[int, int]:
        """The two frames as ED and ES with which the course fits best (sum of both correlations)."""
        curves, n = self._curves(kept, frames), len(frames)

        def fit(pair):
            warped = self._warped(curves, *pair)
            centred = warped - warped.mean(1, keepdims=True)
            norms = np.linalg.norm(centred, axis=1) * np.linalg.norm(self.course, axis=1)
            return ((centred * self.course).sum(1) / (norms + 1e-9)).sum()

        systoles = range(max(1, round(SYSTOLE[0] * n)), round(SYSTOLE[1] * n) + 1)
        return max(((ed, (ed + systole) % n) for ed in range(n) for systole in systoles), key=fit)

    @staticmethod
    def _curves(kept, frames):
        """(2, frames), each of mean 0 and SD 1."""
        curves = np.stack([kept.areas[frames, 0], kept.component(frames)])
        return (curves - curves.mean(1, keepdims=True)) / (curves.std(1, keepdims=True) + 1e-6)

    @staticmethod
    def _warped(curves, ed, es):
        """(2, sum of STEPS): from ED to ES and from ES to the next ED, each in even steps."""
        n = curves.shape[1]
        systole = (es - ed) % n
        spans = zip((0, systole), (systole, n), STEPS)
        places = np.concatenate([np.linspace(*span, endpoint=False) for span in spans])
        return np.stack([np.interp((ed + places) % n, np.arange(n + 1), np.r_[curve, curve[0]]) for curve in curves])


def recordings(row, cuts: int, most: int = 5):
    """Frames shown of a stack, the same for every method: (`whole`, all), then `cuts` times (`cut`, without up to
    `most` neighbours). Each begins anywhere. row: of `StackPhases.items`."""
    random = np.random.default_rng([*row.cine.encode()])
    shown = [("whole", np.arange(row.frames))]
    shown += [("cut", cut_frames(row.frames, row.ed, row.es, most, random)) for _ in range(cuts)]
    return [(name, np.roll(frames, random.integers(len(frames)))) for name, frames in shown]


def stack_errors(items: pd.DataFrame, read, find, cuts: int, **keys) -> pd.DataFrame:
    """A row a stack and recording: shown, ed, es (frames of the cine), confidence where there is one, afd_ed_cyclic and
    afd_es_cyclic (frames shown).

    read: what `find` looks at, from a row of items. find: that and the frames shown → places of ED and ES among them,
    or a dict of `likeliest`. keys: further columns.
    """
    rows = []
    for row in items.itertuples():
        for shown, frames in recordings(row, cuts):
            found = find(read(row._asdict()), frames)
            found = found if isinstance(found, dict) else dict(zip(("ed", "es"), found))
            one = {name: getattr(row, name) for name in ("participant_id", "cine", "view", "frames")}
            one |= {"shown": shown, "confidence": found.get("confidence", np.nan)}
            for phase in ("ed", "es"):
                true = int(np.flatnonzero(frames == getattr(row, phase))[0])
                one[phase] = int(frames[int(found[phase])])
                one[f"afd_{phase}_cyclic"] = float(frame_difference(found[phase], true, len(frames)))
            rows.append(one | keys)
    return pd.DataFrame(rows)


class Constant:
    """The one answer, as shares of the cycle, that errs least on stacks whose ED and ES are known. It is told where
    recordings begin."""

    def __init__(self, items):
        """items: with columns frames, ed, es."""
        shares, n = np.arange(0, 1, 0.01), items["frames"].to_numpy(float)
        self.shares = []
        for true in (items[phase].to_numpy(float) for phase in ("ed", "es")):
            away = [frame_difference(np.round(one * n) % n, true, n).mean() for one in shares]
            self.shares.append(float(shares[np.argmin(away)]))

    def __call__(self, kept: StackSignals, frames) -> tuple[int, int]:
        n = len(kept.areas)
        return tuple(int(np.abs(frames - round(share * n) % n).argmin()) for share in self.shares)


def told_nothing(n: int) -> float:
    """Mean cyclic error in frames of any one answer to a cycle of n frames shown from a random frame on."""
    away = np.arange(n)
    return float(np.minimum(away, n - away).mean())
