"""What a cine's pixels say about how it was taken, before anyone measures on it: numbers and flags, no corrections.

Everything is looked for near the heart, which is where grey values change most through the cycle. Methods and
thresholds are ours, set on phantom hearts of seeds 101 and 202; tests/test_quality.py counts on hearts of another seed,
and on real ones where they are at hand, how many are found and how many flagged for nothing. A flag says: look at this
cine.

* `slices_shifted`: a slice's heart lies elsewhere in its plane than between its neighbours' (another breath-hold).
* `slices_out_of_time`: a slice shows the heart at another instant of the cycle than the others (mis-triggered).
* `frames_out_of_order`: pictures follow each other more smoothly when two frames of a slice are exchanged.
* `contrast_low`: blood is hardly brighter than muscle, or the difference drowns in noise.
* `rr_differs_between_series`: cines of one session were taken at heart rates more than a tenth apart.
* `coverage_short`: a short-axis stack of fewer slices, or of less length, than a left ventricle needs.

What they cannot see: a shift through the plane; slices that do not resemble their neighbours (about half, mostly at
base and apex) or, in time, other slices (a quarter): NaN; mis-triggering that moves a slice by less than a twentieth of
the cycle, or blurs it only; two neighbouring frames exchanged; mis-triggering of a single long-axis slice. Whether a
heart looks like those that a network learned from is told by `cmrlib.learning.appearance`. benchmarks/quality.py
prints the rates.
"""

from dataclasses import replace
from itertools import combinations, pairwise

import cv2
import numpy as np

from cmrlib.cine import Cine
from cmrlib.cine.display import displayed

SHIFT_MM, LAG_SHARE, DISORDER, CONTRAST, CNR, RR_SHARE = 4.0, 0.06, 1.5, 0.28, 6.0, 0.1
"""Where flags begin: mm, share of the cycle, mean steps between frames, (blood - muscle) / (blood + muscle), times the
noise, share of the RR interval."""

FEWEST_SLICES, SHORTEST_MM = 5, 40.0
"""Below either, a short-axis stack cannot hold a left ventricle (ours; low, so that children's hearts pass)."""

_REACH_MM, NEAR_MM = 60.0, 45.0  # half the side of the square around the heart; of the smaller one for grey values
_NOMINAL_MM = 1.5  # pixels of unknown size: for the square only, nothing is given in mm then
_FEWEST_FRAMES = 8
_LOW, _ALIKE = np.arange(-4, 5), 0.85  # harmonics that count when slices are compared in time; the least correlation


def quality(cine: Cine) -> dict:
    """Largest numbers of one cine behind its flags, NaN where unknown: shift_mm, lag_share, disorder, contrast, cnr."""
    centre = heart_centre(cine)
    (contrast, cnr), alike = blood_contrast(cine, centre), likeness(cine, centre)
    values = {
        "shift_mm": slice_shifts_mm(cine, centre),
        "lag_share": np.abs(slice_lags(alike)),
        "disorder": disorder(alike),
    }
    largest = {
        name: float(np.nanmax(found)) if np.isfinite(found).any() else float("nan") for name, found in values.items()
    }
    return largest | {"contrast": contrast, "cnr": cnr}


def quality_flags(cine: Cine) -> tuple[str, ...]:
    """The first four flags of the module's text, for one cine."""
    found = quality(cine)
    low = bool(found["contrast"] < CONTRAST or found["cnr"] < CNR)
    return (
        ("slices_shifted",) * (found["shift_mm"] > SHIFT_MM)
        + ("slices_out_of_time",) * (found["lag_share"] > LAG_SHARE)
        + ("frames_out_of_order",) * (found["disorder"] > DISORDER)
        + ("contrast_low",) * low
    )


def coverage_flags(slice_position_mm, view: str) -> tuple[str, ...]:
    """`coverage_short` for a short-axis stack that is too short for a heart, or of too few slices."""
    few = len(slice_position_mm) < FEWEST_SLICES or np.ptp(slice_position_mm) < SHORTEST_MM
    return ("coverage_short",) if view == "sax" and few else ()


def flagged(cines: list[Cine]) -> list[Cine]:
    """Cines of one subject with the flags of their pixels and length, and of heart rates that differ in a session."""
    rates = {}
    for cine in cines:
        if cine.rr_ms is not None and np.isfinite(cine.rr_ms).any():
            rates.setdefault(cine.session, []).append(float(np.nanmedian(cine.rr_ms)))
    apart = {session for session, rr in rates.items() if max(rr) > (1 + RR_SHARE) * min(rr)}
    return [
        replace(
            cine,
            flags=tuple(
                dict.fromkeys(
                    (  # a reader may have seen one of them too
                        # slices count as far apart where it is unknown how far: their number alone matters then
                        *cine.flags,
                        *coverage_flags(
                            np.arange(cine.slices) * (cine.spacing_mm[0] if cine.spacing_known else SHORTEST_MM),
                            cine.view,
                        ),
                        *quality_flags(displayed(cine)[0]),  # what is sampled must not depend on the order of the file
                        *["rr_differs_between_series"] * (cine.session in apart),
                    )
                )
            ),
        )
        for cine in cines
    ]


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


def likeness(cine: Cine, centre=None) -> np.ndarray:
    """(slices, frames, frames): products of a slice's smoothed frames near the heart, their mean over time taken off.

    Who compares slices or frames in time need not see more. NaN for slices that lack a frame.
    """
    box, pixel_mm, missing = heart_box(cine, centre=centre), nominal_mm(cine), cine.missing.any(1)
    alike = np.full((cine.slices, cine.frames, cine.frames), np.nan)
    for k in np.flatnonzero(~missing):
        block = np.stack(
            [_blurred(image.astype(np.float32), 3, pixel_mm)[::2, ::2] for image in cine.pixels[(slice(None), k, *box)]]
        )
        block *= window(block.shape[1:])
        block = (block - block.mean(0)).reshape(cine.frames, -1)
        alike[k] = block @ block.T
    return alike


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


def slice_lags(alike) -> np.ndarray:
    """How far ahead in the cycle each slice (slices,) shows the heart than most others do, as a share of the cycle.

    alike: of `likeness`. Which frames of a slice resemble each other, and how much, is a picture of its cycle that
    needs no common grey values, direction or place: of two slices it is the same but for a step along its diagonal.
    Each slice is put where most others that resemble it by more than `_ALIKE` ask it to be. NaN where fewer than two
    do. Needs three slices and eight frames.
    """
    slices, frames = alike.shape[:2]
    lags = np.full(slices, np.nan)
    if slices < 3 or frames < _FEWEST_FRAMES:
        return lags
    spectra = [_cycle_spectrum(one) for one in alike]
    steps, weights = np.zeros((slices, slices)), np.zeros((slices, slices))
    for i, j in combinations(range(slices), 2):
        steps[i, j], weights[i, j] = _step_between(spectra[i], spectra[j], frames)
        steps[j, i], weights[j, i] = -steps[i, j], weights[i, j]
    weights[weights < _ALIKE] = 0
    usable = (weights > 0).sum(1) >= 2
    if usable.sum() < 3:
        return lags
    place = np.zeros(slices)
    for _ in range(20):
        place = np.array([_weighted_median(steps[k] + place, weights[k]) for k in range(slices)])
        place -= np.median(place[usable])
    lags[usable] = place[usable]
    return lags


def _cycle_spectrum(products) -> np.ndarray:
    """Low harmonics (9, 9) of the distances between all frames of a slice, of length 1; 0 of none."""
    if not np.isfinite(products).all():
        return np.zeros((len(_LOW),) * 2, complex)
    frames, size = np.arange(len(products)), np.diag(products)
    distances = np.sqrt(np.maximum(size[:, None] + size - 2 * products, 0))
    # a frame's distance from itself is noise less than from any other: neighbours stand in
    distances[frames, frames] = (distances[frames, frames - 1] + distances[frames - 1, frames]) / 2
    spectrum = np.fft.fft2(distances - distances.mean())[np.ix_(_LOW, _LOW)]
    return spectrum / (np.linalg.norm(spectrum) + 1e-12)


def _step_between(one, other, frames, fine=8):
    """(share of the cycle that one slice is ahead of another, their correlation then), up to a fifth either way."""
    shared = np.zeros(fine * frames, complex)
    np.add.at(shared, _LOW[:, None] + _LOW, np.conj(one) * other)
    score = np.fft.ifft(shared).real * len(shared)
    fifth = len(score) // 5
    near = np.r_[0:fifth, -fifth:0]
    best = near[score[near].argmax()]
    return best / len(score), score[best]


def _weighted_median(values, weights) -> float:
    if not weights.any():
        return 0.0
    order = np.argsort(values)
    share = weights[order].cumsum()
    return values[order][np.searchsorted(share, share[-1] / 2)]


# --- between frames --------------------------------------------------------------------------------------------------


def disorder(alike, farthest: int = 4) -> np.ndarray:
    """By how many mean steps the way through a slice's pictures (slices,) gets shorter when two frames change places.

    alike: of `likeness`. Frames up to `farthest` apart; 0 where no exchange helps, NaN for slices that move little and
    below eight frames.
    """
    gains = np.full(len(alike), np.nan)
    if alike.shape[1] < _FEWEST_FRAMES:
        return gains
    energy = np.zeros(len(alike))
    for k in np.flatnonzero(np.isfinite(alike).all((1, 2))):
        values, vectors = np.linalg.eigh(alike[k])
        places = vectors[:, -6:] * np.sqrt(np.maximum(values[-6:], 0))
        distances = np.linalg.norm(places[:, None] - places[None], axis=2)
        gains[k], energy[k] = _shortening(distances, farthest), values[-1]
    return np.where(energy > 0.3 * energy.max(), gains, np.nan)


def _shortening(distances, farthest):
    frames, order = len(distances), np.arange(len(distances))
    way, best = np.diag(distances, 1).sum(), 0.0
    for i in range(frames):
        for j in range(i + 1, min(frames, i + farthest + 1)):
            other = order.copy()
            other[[i, j]] = j, i
            best = max(best, way - distances[other[:-1], other[1:]].sum())
    return best / (np.median(np.diag(distances, 1)) + 1e-12)


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
