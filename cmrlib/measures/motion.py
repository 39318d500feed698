"""What moves in a short-axis stack, without any mask: the moving region, its centre, twelve numbers of its motion."""

import cv2
import numpy as np
import pandas as pd

from cmrlib.cine import Cine, Plane
from cmrlib.measures.curves import FEWEST_FRAMES
from cmrlib.measures.phases import RefusedError

MOTION = (
    "sd_mean", "sd_p95", "sd_p99", "moving_40", "moving_60", "bright_largest", "bright_smallest", "bright_change",
    "centre_mean", "harmonic_1", "harmonic_2", "harmonic_3",
)  # fmt: skip
"""Names of `motion_scalars`."""

SIDE, SPACING_MM, SLICES = 64, 2.0, 3
BRIGHT, MOST_MOVING = 0.8, 0.15


def motion_scalars(cine: Cine) -> dict[str, float]:
    """Twelve numbers of a short-axis cine, named in MOTION: a baseline for any network that looks at motion.

    Of the three middle slices, 64×64 pixels of 2 mm around the moving centre, each slice with mean 0 and SD 1 (pixels
    outside the image count for nothing). sd_…: mean, 95th and 99th percentile of the pixels' SD over time. moving_40,
    moving_60: share of pixels whose SD exceeds .4 and .6. bright_…: share of pixels above .8 in the central half
    (32×32), its largest and smallest value over the cycle, and (largest − smallest) / largest, NaN where nothing is
    bright. centre_mean: mean of the central eighth (8×8). harmonic_N: amplitude of the N-th harmonic of the mean over
    the 15 % of pixels that move most. None depends on the frame at which the recording begins; frames count as evenly
    spaced. Raises RefusedError for other views, fewer than 8 frames, unknown pixel size, and where every slice lacks
    a frame.
    """
    clips, inside = _middle_slices(cine)  # (slices, frames, 64, 64), (64, 64)
    spread = clips.std(1)
    spread_inside = spread[:, inside]
    central = _central(clips, 32)[..., _central(inside, 32)]
    bright = (central > BRIGHT).mean((0, 2))  # (frames,)
    moving = (spread >= np.quantile(spread_inside, 1 - MOST_MOVING)) & inside
    curve = clips.transpose(0, 2, 3, 1)[moving].mean(0)
    harmonics = 2 * np.abs(np.fft.rfft(curve))[1:4] / len(curve)
    shares = [(spread_inside > limit).mean() for limit in (0.4, 0.6)]
    values = [
        spread_inside.mean(), *np.percentile(spread_inside, [95, 99]), *shares,
        bright.max(), bright.min(), np.ptp(bright) / bright.max() if bright.max() else np.nan,
        _central(clips, 8)[..., _central(inside, 8)].mean(), *harmonics,
    ]  # fmt: skip
    return dict(zip(MOTION, map(float, values)))


def motion_table(cohort, subjects=None) -> pd.DataFrame:
    """`motion_scalars` of each subject: participant_id, cine, MOTION, reason (why a row has no numbers, else empty).

    Of a subject's short-axis stacks the first session's with a whole cycle and the most slices. subjects: participants,
    default all.
    """
    stacks = cohort.cines[cohort.cines["view"] == "sax"]
    stacks = stacks.assign(short=stacks["frames"] < FEWEST_FRAMES, thin=-stacks["slices"])
    stacks = stacks.sort_values(["short", "session", "thin"], kind="stable").drop_duplicates("participant_id")
    rows, names = [], stacks.set_index("participant_id")["cine"]
    for one in cohort.subjects["participant_id"].unique() if subjects is None else subjects:
        row = {"participant_id": one, "cine": names.get(one, "")} | dict.fromkeys(MOTION, np.nan) | {"reason": ""}
        try:
            rows.append(row | motion_scalars(cohort.cine(names[one])) if one in names else row | {"reason": "no sax"})
        except RefusedError as error:
            rows.append(row | {"reason": str(error)})
    return pd.DataFrame(rows)


def _middle_slices(cine):
    """Z-scored slices (slices, frames, 64, 64), 0 outside the image, and which pixels lie inside (64, 64)."""
    whole = np.flatnonzero(~cine.missing.any(1))
    if cine.view != "sax" or cine.frames < FEWEST_FRAMES or not cine.spacing_known or not len(whole):
        got = f"view {cine.view}, {cine.frames} frames, {len(whole)} complete slices, pixel size "
        got += "known" if cine.spacing_known else "unknown"
        raise RefusedError(cine.name, got, f"motion takes sax, {FEWEST_FRAMES} or more frames, pixels of known size")
    middle = max(0, (len(whole) - SLICES) // 2)
    step = SPACING_MM / np.array(cine.spacing_mm[1:])
    plane = Plane.around(cine.pixels.shape[2:], step, (SIDE, SIDE), moving_centre(cine))
    inside = plane.mask(np.ones(cine.pixels.shape[2:], np.uint8)) > 0
    clips = [[plane.pixels(image) for image in cine.pixels[:, k]] for k in whole[middle : middle + SLICES]]
    clips = np.asarray(clips, float) * inside
    seen = clips[..., inside]
    mean, spread = seen.mean((1, 2))[:, None, None, None], seen.std((1, 2))[:, None, None, None]
    return (clips - mean) / np.maximum(spread, 1e-9) * inside, inside


def _central(pictures, side):
    """The central `side` × `side` of the last two axes."""
    first = (pictures.shape[-1] - side) // 2
    return pictures[..., first : first + side, first : first + side]


def moving_region(cine: Cine) -> np.ndarray:
    """(rows, columns) bool: the largest connected region that changes over the cycle, over all slices together.

    Standard deviation over time, smoothed, split by Otsu's threshold. No mask is asked where the heart is.
    """
    frames = np.linspace(0, cine.frames, min(cine.frames, 12), endpoint=False).astype(int)
    low, high = cine.intensity_window()
    stack = np.clip((np.asarray(cine.pixels[frames], np.float32) - low) / (high - low), 0, 1)
    there = ~cine.missing[:, frames]
    motion = np.mean([stack[there[k], k].std(0) for k in range(cine.slices)], axis=0)
    motion = cv2.GaussianBlur(motion, (0, 0), max(1.0, min(motion.shape) / 40))
    motion = cv2.normalize(motion, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    _, moving = cv2.threshold(motion, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    count, regions, stats, _ = cv2.connectedComponentsWithStats(moving)
    return regions == 1 + stats[1:, cv2.CC_STAT_AREA].argmax() if count > 1 else np.ones(moving.shape, bool)


def moving_centre(cine: Cine) -> tuple[float, float]:
    """(column, row) of the moving region's centre; computed once."""
    if "moving_centre" not in cine.memo:
        rows, columns = np.nonzero(moving_region(cine))
        cine.memo["moving_centre"] = float(columns.mean()), float(rows.mean())
    return cine.memo["moving_centre"]
