"""What a cine's pixels say about how it was taken, before anyone measures on it: numbers and flags, no corrections.

Everything is looked for near the heart, which is where grey values change most through the cycle. Methods and
thresholds are ours, set on phantom hearts of seed 101; tests/test_quality.py counts on hearts of another seed, and on
real ones where they are at hand, how many are found and how many flagged for nothing. A flag says: look at this cine.

* `slices_shifted`: a slice's heart lies elsewhere in its plane than between its neighbours' (another breath-hold).
* `slices_out_of_time`: a slice shows the heart at another instant of the cycle than the others (mis-triggered).
* `frames_out_of_order`: pictures follow each other more smoothly when two frames of a slice are exchanged.
* `contrast_low`: blood is hardly brighter than muscle, or the difference drowns in noise.
* `rr_differs_between_series`: cines of one session were taken at heart rates more than a tenth apart.
* `unlike_training`: grey values and sharpness are not those of the hearts that a network was trained on.

What they cannot see: a shift through the plane; slices that do not resemble their neighbours or move little (about
half, mostly at base and apex: NaN), with them most mis-triggered slices of the phantom, for these are blurred besides;
two neighbouring frames exchanged; mis-triggering of a single long-axis slice. benchmarks/quality.py prints the rates.
"""

from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np

from cmrlib.cine import Cine

SHIFT_MM, LAG_SHARE, DISORDER, CONTRAST, CNR, RR_SHARE = 4.0, 0.08, 1.5, 0.28, 6.0, 0.1
"""Where flags begin: mm, share of the cycle, mean steps between frames, (blood - muscle) / (blood + muscle), times the
noise, share of the RR interval."""

_REACH_MM, _NEAR_MM = 60.0, 45.0  # half the side of the square around the heart; of the smaller one for grey values
_NOMINAL_MM = 1.5  # pixels of unknown size: for the square only, nothing is given in mm then
_FEWEST_FRAMES = 8


def quality(cine: Cine) -> dict:
    """Largest numbers of one cine behind its flags, NaN where unknown: shift_mm, lag_share, disorder, contrast, cnr."""
    contrast, cnr = blood_contrast(cine)
    values = {"shift_mm": slice_shifts_mm(cine), "lag_share": np.abs(slice_lags(cine)), "disorder": disorder(cine)}
    largest = {name: float(np.nanmax(found)) if np.isfinite(found).any() else float("nan")
               for name, found in values.items()}
    return largest | {"contrast": contrast, "cnr": cnr}


def quality_flags(cine: Cine) -> tuple[str, ...]:
    """The first four flags of the module's text, for one cine."""
    found = quality(cine)
    low = bool(found["contrast"] < CONTRAST or found["cnr"] < CNR)
    return (("slices_shifted",) * (found["shift_mm"] > SHIFT_MM)
            + ("slices_out_of_time",) * (found["lag_share"] > LAG_SHARE)
            + ("frames_out_of_order",) * (found["disorder"] > DISORDER) + ("contrast_low",) * low)


def flagged(cines: list[Cine]) -> list[Cine]:
    """Cines of one subject with the flags of their pixels, and of heart rates that differ within a session."""
    rates = {}
    for cine in cines:
        if cine.rr_ms is not None and np.isfinite(cine.rr_ms).any():
            rates.setdefault(cine.session, []).append(float(np.nanmedian(cine.rr_ms)))
    apart = {session for session, rr in rates.items() if max(rr) > (1 + RR_SHARE) * min(rr)}
    return [replace(cine, flags=(*cine.flags, *quality_flags(cine),
                                 *["rr_differs_between_series"] * (cine.session in apart))) for cine in cines]


# --- where the heart is ----------------------------------------------------------------------------------------------


def _pixel_mm(cine):
    return cine.spacing_mm[1:] if cine.spacing_known else (_NOMINAL_MM, _NOMINAL_MM)


def _blurred(image, mm, pixel_mm):
    """Gaussian of a standard deviation in mm."""
    return cv2.GaussianBlur(image, (0, 0), sigmaX=mm / pixel_mm[1], sigmaY=mm / pixel_mm[0])


def heart_box(cine: Cine, reach_mm: float = _REACH_MM) -> tuple[slice, slice]:
    """(rows, columns) of a square around the place of most change through the cycle, within the image."""
    pixel_mm = _pixel_mm(cine)
    frames = cine.pixels[:: max(1, cine.frames // 10)]
    change = sum(frames[:, k].astype(np.float32).std(axis=0) for k in range(cine.slices))
    change = _blurred(change, 15, pixel_mm)
    centre = np.unravel_index(change.argmax(), change.shape)
    return tuple(slice(max(0, int(c - reach_mm / mm)), int(c + reach_mm / mm) + 1) for c, mm in zip(centre, pixel_mm))


def _window(shape):
    """Falls to zero at the edges, so that what enters or leaves the square does not count."""
    return np.outer(*(np.hanning(n + 2)[1:-1] for n in shape)).astype(np.float32)


def _blocks(cine, blur_mm):
    """Per slice the frames near the heart (frames, pixels): smoothed, windowed, without their mean over time."""
    box, pixel_mm = heart_box(cine), _pixel_mm(cine)
    for k in range(cine.slices):
        block = np.stack([_blurred(image.astype(np.float32), blur_mm, pixel_mm)[::2, ::2]
                          for image in cine.pixels[(slice(None), k, *box)]])
        block *= _window(block.shape[1:])
        yield (block - block.mean(0)).reshape(cine.frames, -1)


# --- between slices --------------------------------------------------------------------------------------------------


def slice_shifts_mm(cine: Cine) -> np.ndarray:
    """In-plane distance (slices,) of each slice's heart from the middle between its neighbours' hearts, in mm.

    By cross-correlation of edges in the pictures' mean over time; what rests around the heart makes them look smaller.
    NaN for the first and last slice, where spacing is unknown, and where the steps to the neighbours do not add up to
    the step between these (they do not resemble).
    """
    shifts = np.full(cine.slices, np.nan)
    if cine.slices < 3 or not cine.spacing_known:
        return shifts
    box, pixel_mm = heart_box(cine), _pixel_mm(cine)
    images = []
    for k in range(cine.slices):
        image = cine.pixels[(slice(None), k, *box)].mean(0, dtype=np.float32)
        edges = _blurred(image, 2, pixel_mm) - _blurred(image, 8, pixel_mm)
        images.append(edges / (_blurred(np.abs(edges), 12, pixel_mm) + 1e-3) * _window(image.shape))
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


def slice_lags(cine: Cine) -> np.ndarray:
    """How far ahead in the cycle each slice (slices,) shows the heart than most others do, as a share of the cycle.

    By the slices' first principal component over time. NaN where a slice moves little, or in another way. Needs three
    slices and eight frames.
    """
    lags = np.full(cine.slices, np.nan)
    if cine.slices < 3 or cine.frames < _FEWEST_FRAMES:
        return lags
    curves, energy = zip(*map(_curve, _blocks(cine, 4)))
    moving = np.array(energy) > 0.3 * max(energy)
    pairs = np.array([[_lag(one, other) for other in curves] for one in curves])  # lag, correlation
    found = pairs[:, np.where(moving, pairs[moving, :, 1].sum(0), 0).argmax()]
    usable = moving & (found[:, 1] > 0.9)
    if usable.sum() >= 3:
        lags[usable] = found[usable, 0] - np.median(found[usable, 0])
    return lags


def _curve(block, harmonics=4):
    """A slice's most common change through the cycle (frames,), its first harmonics of length 1; and its energy."""
    values, vectors = np.linalg.eigh(block @ block.T)
    spectrum = np.fft.rfft(vectors[:, -1])
    spectrum[0] = spectrum[harmonics + 1 :] = 0
    curve = np.fft.irfft(spectrum, len(block))
    return curve / (np.linalg.norm(curve) + 1e-12), values[-1]


def _lag(curve, template, fine=16):
    """(share of the cycle that a curve is ahead of a template, their correlation then); signs are arbitrary."""
    score = np.fft.irfft(np.conj(np.fft.rfft(curve)) * np.fft.rfft(template), fine * len(curve)) * fine
    fifth = len(score) // 5
    near = np.r_[0:fifth, -fifth:0]
    best = near[np.abs(score[near]).argmax()]
    return best / len(score), abs(score[best])


# --- between frames --------------------------------------------------------------------------------------------------


def disorder(cine: Cine, farthest: int = 4) -> np.ndarray:
    """By how many mean steps the way through a slice's pictures (slices,) gets shorter when two frames change places.

    Frames up to `farthest` apart; 0 where no exchange helps, NaN for slices that move little and below eight frames.
    """
    gains = np.full(cine.slices, np.nan)
    if cine.frames < _FEWEST_FRAMES:
        return gains
    energy = np.zeros(cine.slices)
    for k, block in enumerate(_blocks(cine, 3)):
        values, vectors = np.linalg.eigh(block @ block.T)
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


def blood_contrast(cine: Cine) -> tuple[float, float]:
    """(blood - muscle) / (blood + muscle), and that difference over the noise's standard deviation.

    Blood and muscle are the ends of what the pixels see that change most, where the wall moves to and fro; median over
    the middle slices. NaN where grey values are not positive there or nothing moves.
    """
    box, pixel_mm = heart_box(cine, _NEAR_MM), _pixel_mm(cine)
    found = []
    for k in range(cine.slices // 4, max(cine.slices // 4 + 1, 3 * cine.slices // 4)):
        block = cine.pixels[(slice(None), k, *box)].astype(np.float32)
        smooth = np.sort(np.stack([_blurred(image, 2, pixel_mm) for image in block]), axis=0)
        skip = 0 if cine.frames < 3 else max(1, cine.frames // 10)
        dark, bright = smooth[skip], smooth[-1 - skip]
        change = (bright - dark) * _window(dark.shape)
        most = change >= np.percentile(change, 99)
        blood, muscle = np.median(bright[most]), np.median(dark[most])
        noise = 1.4826 * np.median(np.abs(cv2.filter2D(block[0], -1, _LAPLACIAN))) / 6  # Immerkær, CVIU 1996
        if blood + muscle > 0 and blood > muscle:
            found.append(((blood - muscle) / (blood + muscle), (blood - muscle) / max(noise, 1e-6)))
    return tuple(map(float, np.median(found, axis=0))) if found else (float("nan"), float("nan"))


_LAPLACIAN = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_BANDS_MM = (64.0, 32.0, 16.0, 8.0, 4.0)


def appearance(cine: Cine) -> np.ndarray:
    """What the heart looks like to a network (11,), free of brightness: grey-value quantiles, log power in octaves of
    wavelengths from 64 to 4 mm relative to the first, contrast and log contrast-to-noise."""
    box, pixel_mm = heart_box(cine, _NEAR_MM), _pixel_mm(cine)
    image = cine.pixels[(0, cine.slices // 2, *box)].astype(np.float32)
    low, high = np.percentile(image, [1, 99])
    image = (image - low) / max(high - low, 1e-6)
    power = np.abs(np.fft.fft2((image - image.mean()) * _window(image.shape))) ** 2
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, mm) for n, mm in zip(image.shape, pixel_mm)), indexing="ij"))
    bands = [power[(frequency >= 1 / long) & (frequency < 1 / short)].sum() + 1e-6
             for long, short in pairwise(_BANDS_MM)]
    contrast, cnr = blood_contrast(cine)
    return np.r_[np.percentile(image, [5, 10, 25, 50, 75, 90]), np.log10(np.array(bands[1:]) / bands[0]),
                 np.nan_to_num(contrast), np.log10(max(np.nan_to_num(cnr), 1e-3))]


def appearance_reference(cines) -> dict:
    """The hearts a network is trained on, as plain numbers for its weights' card (`card["appearance"]`).

    mean, sd: of `appearance`; limit: the mean distance of these cines from their own mean and three standard
    deviations. Raises ValueError for fewer than five cines.
    """
    seen = np.array([appearance(cine) for cine in cines])
    if len(seen) < 5:
        raise ValueError(f"a reference of appearance needs at least 5 cines, got {len(seen)}")
    reference = {"mean": seen.mean(0), "sd": np.maximum(seen.std(0, ddof=1), 0.02)}
    apart = np.array([_distance(one, reference) for one in seen])
    return {name: value.tolist() for name, value in reference.items()} | {
        "limit": float(apart.mean() + 3 * apart.std(ddof=1)), "n": len(seen)}


def appearance_flags(cine: Cine, reference: dict) -> tuple[str, ...]:
    """`unlike_training` where a cine is farther from the reference than its limit."""
    return ("unlike_training",) if appearance_distance(cine, reference) > reference["limit"] else ()


def appearance_distance(cine: Cine, reference: dict) -> float:
    """Root mean square of the standard scores of a cine's appearance in a reference of `appearance_reference`."""
    return _distance(appearance(cine), reference)


def _distance(seen, reference) -> float:
    return float(np.sqrt(np.mean(((seen - reference["mean"]) / reference["sd"]) ** 2)))
