"""Whether a heart looks like those that a network was trained on: grey values, sharpness, contrast near the heart.

    card["appearance"] = training_appearance([(cohort, subjects)], views)   # where weights are saved
    appearance_flags(cine, card["appearance"])                               # ("unlike_training",) or ()

A network may fail confidently on a look it never saw. Numbers and limit are ours; benchmarks/quality.py prints how
many hearts of the same and of other scanners get the flag.
"""

from itertools import pairwise

import numpy as np

from cmrlib.cine import Cine
from cmrlib.datasets.qc import NEAR_MM, blood_contrast, heart_box, heart_centre, nominal_mm, window

UNLIKE = "unlike_training"
FEWEST, MOST = 5, 100
"""Cines that a reference needs, and that it looks at."""

_BANDS_MM = (64.0, 32.0, 16.0, 8.0, 4.0)


def appearance(cine: Cine) -> np.ndarray:
    """What the heart looks like to a network (11,), free of brightness: grey-value quantiles, log power in octaves of
    wavelengths from 64 to 4 mm relative to the first, contrast and log contrast-to-noise."""
    centre, k, pixel_mm = heart_centre(cine), cine.slices // 2, nominal_mm(cine)
    first = int((~cine.missing[k]).argmax())
    image = cine.pixels[(first, k, *heart_box(cine, NEAR_MM, centre))].astype(np.float32)
    low, high = np.percentile(image, [1, 99])
    image = (image - low) / max(high - low, 1e-6)
    power = np.abs(np.fft.fft2((image - image.mean()) * window(image.shape))) ** 2
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, mm) for n, mm in zip(image.shape, pixel_mm)), indexing="ij"))
    bands = [
        power[(frequency >= 1 / long) & (frequency < 1 / short)].sum() + 1e-6 for long, short in pairwise(_BANDS_MM)
    ]
    contrast, cnr = blood_contrast(cine, centre)
    return np.r_[
        np.percentile(image, [5, 10, 25, 50, 75, 90]),
        np.log10(np.array(bands[1:]) / bands[0]),
        np.nan_to_num(contrast),
        np.log10(max(np.nan_to_num(cnr), 1e-3)),
    ]


def appearance_reference(cines) -> dict:
    """The hearts a network is trained on, as plain numbers for its weights' card (`card["appearance"]`).

    mean, sd: of `appearance`; limit: the mean distance of these cines from their own mean and three standard
    deviations. Raises ValueError for fewer than five cines.
    """
    seen = np.array([appearance(cine) for cine in cines])
    if len(seen) < FEWEST:
        raise ValueError(f"a reference of appearance needs at least {FEWEST} cines, got {len(seen)}")
    reference = {"mean": seen.mean(0), "sd": np.maximum(seen.std(0, ddof=1), 0.02)}
    apart = np.array([appearance_distance(one, reference) for one in seen])
    return {name: value.tolist() for name, value in reference.items()} | {
        "limit": float(apart.mean() + 3 * apart.std(ddof=1)),
        "n": len(seen),
    }


def training_appearance(sources, views) -> list[dict]:
    """References of the cines of these views that a network learned from: one per cohort of `sources` (cohort, its
    subjects), of at most MOST cines spread over them, none of fewer than FEWEST."""
    references = []
    for cohort, subjects in sources:
        known = cohort.cines["view"].isin(list(views)) & cohort.cines["participant_id"].isin(list(subjects))
        names = cohort.cines.loc[known, "cine"].to_numpy()
        names = names[np.linspace(0, len(names) - 1, min(MOST, len(names))).round().astype(int)]
        if len(names) >= FEWEST:
            references.append(appearance_reference(map(cohort.cine, names)))
    return references


def appearance_flags(cine: Cine, references: list[dict]) -> tuple[str, ...]:
    """`unlike_training` where a cine is farther from each reference than its limit; nothing without a reference."""
    seen = appearance(cine) if references else None
    unlike = [appearance_distance(seen, one) > one["limit"] for one in references]
    return (UNLIKE,) if unlike and all(unlike) else ()


def appearance_distance(seen, reference: dict) -> float:
    """Root mean square of the standard scores of a cine's `appearance` in a reference of `appearance_reference`."""
    return float(np.sqrt(np.mean(((seen - reference["mean"]) / reference["sd"]) ** 2)))
