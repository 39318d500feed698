"""Image quality control at ingest: numbers and flags from a cine's pixels, no corrections.

The heart is where grey values change most through the cycle. Methods and thresholds are our choice, set on phantom
hearts of seeds 101 and 202; benchmarks/quality.py prints how often they are right on others. A flag says: look at this
cine.

* `slices_shifted`: a slice's heart lies elsewhere in its plane than between its neighbours' (another breath-hold).
* `contrast_low`: blood is hardly brighter than muscle, or the difference drowns in noise.
* `grey_inverted`: a frame, or a slice, is the negative of those beside it.
* `slice_turned`: turned or mirrored, a slice resembles its neighbours more than as it is.
* `slices_exchanged`: neighbours resemble each other more where two slices change places.
* `frames_repeated`, `no_motion`: a frame is the same picture as the one before it; all of them are.
* `constant_images`: a picture is of one grey value.
* `rr_differs_between_series`: cines of one session were taken at heart rates more than a tenth apart.
* `coverage_short`: a short-axis stack of fewer slices, or of less length, than a left ventricle needs.

Not detected: shifts through the plane, shifts of slices that do not resemble their neighbours (mostly base and apex),
mis-triggered slices, exchanged frames, whole stacks that are mirrored. Whether a heart looks like those that a network
learned from is told by `cmrlib.learning.appearance`.
"""

from dataclasses import replace
from itertools import combinations, pairwise

import cv2
import numpy as np

from cmrlib.cine import Cine
from cmrlib.cine.display import displayed

SHIFT_MM, CONTRAST, CNR, RR_SHARE = 4.0, 0.28, 6.0, 0.1
"""Where flags begin: mm, (blood - muscle) / (blood + muscle), times the noise, share of the RR interval."""

INVERTED = -0.2
"""Correlation of two pictures below which one is the other's negative."""

MORE_ALIKE = 0.2
"""By so much correlation must another orientation, or another order, of slices be better than theirs."""

FEWEST_SLICES, SHORTEST_MM = 5, 40.0
"""Below either, a short-axis stack cannot hold a left ventricle (ours; low, so that children's hearts pass)."""

_REACH_MM, NEAR_MM = 60.0, 45.0  # half the side of the square around the heart; of the smaller one for grey values
_NOMINAL_MM = 1.5  # pixels of unknown size: for the square only, nothing is given in mm then


def qc_flags(cine: Cine) -> tuple[str, ...]:
    """The flags of one cine that its pixels tell."""
    centre = heart_centre(cine)
    shifts_mm, (contrast, cnr) = slice_shifts_mm(cine, centre), blood_contrast(cine, centre)
    shifted = np.isfinite(shifts_mm).any() and np.nanmax(shifts_mm) > SHIFT_MM
    low = contrast < CONTRAST or cnr < CNR
    flags = ("slices_shifted",) * bool(shifted) + ("contrast_low",) * bool(low)
    return flags + ("grey_inverted",) * inverted(cine) + neighbour_flags(cine) + still_flags(cine)


def coverage_flags(slice_position_mm, view: str) -> tuple[str, ...]:
    """`coverage_short` for a short-axis stack that is too short for a heart, or of too few slices."""
    few = len(slice_position_mm) < FEWEST_SLICES or np.ptp(slice_position_mm) < SHORTEST_MM
    return ("coverage_short",) if view == "sax" and few else ()


def with_qc_flags(cines: list[Cine]) -> list[Cine]:
    """Cines of one subject with the flags of their pixels and length, and of heart rates that differ in a session."""
    rates = {}
    for cine in cines:
        if cine.rr_ms is not None and np.isfinite(cine.rr_ms).any():
            rates.setdefault(cine.session, []).append(float(np.nanmedian(cine.rr_ms)))
    apart = {session for session, rr in rates.items() if max(rr) > (1 + RR_SHARE) * min(rr)}

    def flags(cine):
        # where the slice distance is unknown, the number of slices alone decides
        step_mm = cine.spacing_mm[0] if cine.spacing_known else SHORTEST_MM
        coverage = coverage_flags(np.arange(cine.slices) * step_mm, cine.view)
        pixels = qc_flags(displayed(cine)[0])  # what is sampled must not depend on the order of the file
        rate = ("rr_differs_between_series",) * (cine.session in apart)
        return tuple(dict.fromkeys((*cine.flags, *coverage, *pixels, *rate)))  # a reader may have seen one of them too

    return [replace(cine, flags=flags(cine)) for cine in cines]


# --- where the heart is ----------------------------------------------------------------------------------------------


def nominal_mm(cine):
    """Pixel size (row, column) in mm, a usual one where it is unknown."""
    return cine.spacing_mm[1:] if cine.spacing_known else (_NOMINAL_MM, _NOMINAL_MM)


def _blurred(image, mm, pixel_mm):
    """Gaussian of a standard deviation in mm."""
    return cv2.GaussianBlur(image, (0, 0), sigmaX=mm / pixel_mm[1], sigmaY=mm / pixel_mm[0])


def heart_centre(cine: Cine) -> tuple[int, int]:
    """(row, column) of the place of most change through the cycle."""
    frames, there = slice(None, None, max(1, cine.frames // 10)), ~cine.missing
    change = sum(
        cine.pixels[frames, k][there[k, frames]].astype(np.float32).std(axis=0)
        for k in range(cine.slices)
        if there[k, frames].any()
    )
    change = _blurred(change, 15, nominal_mm(cine))
    return np.unravel_index(change.argmax(), change.shape)


def heart_box(cine: Cine, reach_mm: float = _REACH_MM, centre=None) -> tuple[slice, slice]:
    """(rows, columns) of a square around `centre`, by default `heart_centre`, within the image."""
    centre = heart_centre(cine) if centre is None else centre
    return tuple(
        slice(max(0, int(c - reach_mm / mm)), int(c + reach_mm / mm) + 1) for c, mm in zip(centre, nominal_mm(cine))
    )


def window(shape):
    """Falls to zero at the edges, so that what enters or leaves the square does not count."""
    return np.outer(*(np.hanning(n + 2)[1:-1] for n in shape)).astype(np.float32)


# --- between slices --------------------------------------------------------------------------------------------------


def slice_shifts_mm(cine: Cine, centre=None) -> np.ndarray:
    """In-plane distance (slices,) of each slice's heart from the middle between its neighbours' hearts, in mm.

    By cross-correlation of edges in the pictures' mean over time; what rests around the heart makes them look smaller.
    NaN for the first and last slice, where spacing is unknown, and where the steps to the neighbours do not add up to
    the step between these (they do not resemble).
    """
    shifts = np.full(cine.slices, np.nan)
    if cine.slices < 3 or not cine.spacing_known:
        return shifts
    box, pixel_mm, there = heart_box(cine, centre=centre), nominal_mm(cine), ~cine.missing
    images = []
    for k in range(cine.slices):
        image = cine.pixels[(there[k], k, *box)].mean(0, dtype=np.float32)
        edges = _blurred(image, 2, pixel_mm) - _blurred(image, 8, pixel_mm)
        images.append(edges / (_blurred(np.abs(edges), 12, pixel_mm) + 1e-3) * window(image.shape))
    one = np.array([_displacement(a, b, pixel_mm) for a, b in pairwise(images)])
    two = np.array([_displacement(a, b, pixel_mm) for a, b in zip(images, images[2:])])
    gap_mm = np.linalg.norm(one[:-1, :2] + one[1:, :2] - two[:, :2], axis=1)
    alike = np.minimum(np.minimum(one[:-1, 2], one[1:, 2]), two[:, 2] / 0.6) > 0.5
    away_mm = np.linalg.norm(one[:-1, :2] - one[1:, :2], axis=1) / 2
    shifts[1:-1] = np.where(alike & (gap_mm < 3), away_mm, np.nan)
    return shifts


def _displacement(one, other, pixel_mm, reach_mm=12.0):
    """(rows, columns) in mm from `one` to `other`, up to `reach_mm`, and their correlation there (0 at the limit)."""
    reach = min(int(reach_mm / min(pixel_mm)), (min(one.shape) - 1) // 2)
    score = np.fft.irfft2(np.conj(np.fft.rfft2(one)) * np.fft.rfft2(other), one.shape)
    score /= np.linalg.norm(one) * np.linalg.norm(other) + 1e-6
    score = np.roll(score, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]
    i, j = np.unravel_index(score.argmax(), score.shape)
    if not (0 < i < score.shape[0] - 1 and 0 < j < score.shape[1] - 1):
        return 0.0, 0.0, 0.0
    rows, columns = i + _top(*score[i - 1 : i + 2, j]), j + _top(*score[i, j - 1 : j + 2])
    return (rows - reach) * pixel_mm[0], (columns - reach) * pixel_mm[1], score[i, j]


def _top(before, at, after):
    """Where the parabola through three values has its top, from the middle one."""
    bend = before - 2 * at + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0


def neighbour_flags(cine: Cine) -> tuple[str, ...]:
    """`slice_turned` and `slices_exchanged`, by correlation of the slices' means over time, reduced to 48 pixels."""
    if cine.slices < 3 or cine.missing.all(axis=1).any():
        return ()
    small = [_small(cine.pixels[~cine.missing[k], k].mean(axis=0)) for k in range(cine.slices)]

    turned = False
    for k, one in enumerate(small):
        beside = [small[n] for n in (k - 1, k + 1) if 0 <= n < cine.slices]
        ways = [way[::rows, ::columns] for way in (one, one.T) for rows in (1, -1) for columns in (1, -1)]
        as_it_is, *others = [np.mean([_correlation(way, other) for other in beside]) for way in ways]
        turned |= bool(max(others) > as_it_is + MORE_ALIKE)
    alike = np.array([[_correlation(one, other) for other in small] for one in small])

    chains = []
    for a, b in [(0, 0), *combinations(range(cine.slices), 2)]:  # first the order as it is
        order = np.arange(cine.slices)
        order[[a, b]] = b, a
        chains.append(sum(alike[one, other] for one, other in pairwise(order)))
    exchanged = max(chains[1:]) > chains[0] + MORE_ALIKE
    return ("slice_turned",) * turned + ("slices_exchanged",) * bool(exchanged)


def _small(picture, size=48):
    """The middle square of a picture."""
    top, left = ((n - min(picture.shape)) // 2 for n in picture.shape)
    side = min(picture.shape)
    middle = picture[top : top + side, left : left + side].astype(np.float32)
    return cv2.resize(middle, (size, size), interpolation=cv2.INTER_AREA)


# --- between frames --------------------------------------------------------------------------------------------------


def still_flags(cine: Cine) -> tuple[str, ...]:
    """`no_motion` where all frames are one picture, `frames_repeated` where some are; `constant_images`, which do not
    count as repeated."""
    constant = any(np.ptp(cine.pixels[t, k]) == 0 for k, t in zip(*np.nonzero(~cine.missing)))
    repeated = [
        np.array_equal(cine.pixels[t, k], cine.pixels[t + 1, k]) and np.ptp(cine.pixels[t, k]) > 0
        for k, t in zip(*np.nonzero(~cine.missing[:, 1:] & ~cine.missing[:, :-1]))
    ]
    still = ("no_motion",) * (all(repeated) and bool(repeated)) or ("frames_repeated",) * any(repeated)
    return still + ("constant_images",) * constant


def inverted(cine: Cine) -> bool:
    """Whether a frame is the negative of its slice's other frames, or a slice that of its neighbour."""
    means = []
    for k in range(cine.slices):
        frames = cine.pixels[~cine.missing[k], k].astype(np.float32)
        means.append(frames.mean(axis=0))
        if any(_correlation(frame, means[-1]) < INVERTED for frame in frames):
            return True
    return any(_correlation(*two) < INVERTED for two in pairwise(means))


def _correlation(one, other) -> float:
    one, other = one - one.mean(), other - other.mean()
    return float((one * other).sum() / (np.linalg.norm(one) * np.linalg.norm(other) + 1e-6))


# --- grey values -----------------------------------------------------------------------------------------------------


def blood_contrast(cine: Cine, centre=None) -> tuple[float, float]:
    """(blood - muscle) / (blood + muscle), and that difference over the noise's standard deviation.

    Blood and muscle are the ends of what the pixels see that change most, where the wall moves to and fro; median over
    the middle slices. NaN where grey values are not positive there or nothing moves.
    """
    box, pixel_mm, there = heart_box(cine, NEAR_MM, centre), nominal_mm(cine), ~cine.missing
    found = []
    for k in range(cine.slices // 4, max(cine.slices // 4 + 1, 3 * cine.slices // 4)):
        block = cine.pixels[(there[k], k, *box)].astype(np.float32)
        smooth = np.sort(np.stack([_blurred(image, 2, pixel_mm) for image in block]), axis=0)
        skip = 0 if len(block) < 3 else max(1, len(block) // 10)
        dark, bright = smooth[skip], smooth[-1 - skip]
        change = (bright - dark) * window(dark.shape)
        most = change >= np.percentile(change, 99)
        blood, muscle = np.median(bright[most]), np.median(dark[most])
        noise = 1.4826 * np.median(np.abs(cv2.filter2D(block[0], -1, _LAPLACIAN))) / 6  # Immerkær, CVIU 1996
        if blood + muscle > 0 and blood > muscle:
            found.append(((blood - muscle) / (blood + muscle), (blood - muscle) / max(noise, 1e-6)))
    return tuple(map(float, np.median(found, axis=0))) if found else (float("nan"), float("nan"))


_LAPLACIAN = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
