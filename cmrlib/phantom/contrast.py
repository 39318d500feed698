"""Contrast of a scan: bSSFP signal, inflow, texture, coil sensitivity; or randomised grey values for training.

Signal of a tissue at flip angle α (steady state, TR much shorter than T1 and T2):
S = ρ sin α / (1 + cos α + (1 - cos α) T1 / T2). Relaxation times after MRXCAT's cine defaults; the T2 of blood is
drawn between 140 and 280 ms because flow and oxygen change it. At TE = TR/2 fat is out of phase with water, so it
enters with a minus sign: that draws the dark lines between fat and muscle. Spreads, textures, coils: by eye.
"""

from types import SimpleNamespace

import cv2
import numpy as np

from cmrlib.phantom import tissue as kind
from cmrlib.phantom.protocol import SCANNERS

LEFT_BLOOD, RIGHT_BLOOD = (kind.LV, kind.LA, kind.AORTA, kind.JET_LA, kind.INFLOW_LV), (kind.RV, kind.RA)
BLOOD = (*LEFT_BLOOD, *RIGHT_BLOOD, kind.VESSEL)
TISSUES = dict.fromkeys(BLOOD, (95, 1200, None, 0)) | {
    kind.VESSEL: (95, 1200, None, 0.15),
    kind.MYO: (80, 900, 50, 0.08),
    kind.MUSCLE: (75, 900, 38, 0.25),
    kind.FAT: (72, 350, 85, 0.12),
    kind.LUNG: (22, 1100, 40, 0.3),
    kind.BONE: (40, 450, 45, 0.25),
    kind.LIVER: (65, 700, 46, 0.15),
    kind.STOMACH: (75, 900, 75, 0.5),
    kind.SKIN: (50, 800, 40, 0.1),
    kind.MEDIASTINUM: (58, 600, 55, 0.45),
    kind.FLUID: (100, 3000, 900, 0),
}
"""Proton density, T1 ms, T2 ms (None: sampled), SD of the log signal between places. Fat's T2 is longer than MRXCAT's
(fat is bright)."""

LIKE_MYOCARDIUM = (kind.PAPILLARY, kind.LEAFLET_LV, kind.TRABECULA_RV, kind.HEART_WALL)
OUT_OF_PHASE = (kind.FAT, kind.BONE)


def steady_state(density, t1_ms, t2_ms, flip_deg):
    """bSSFP signal on resonance for TR much shorter than T1 and T2 (all broadcast)."""
    cosine = np.cos(np.deg2rad(flip_deg))
    return density * np.sin(np.deg2rad(flip_deg)) / (1 + cosine + (1 - cosine) * np.asarray(t1_ms) / t2_ms)


def passband(theta, k):
    """bSSFP signal off resonance relative to on resonance, at phase `theta` (rad) gained in one TR.

    The magnetisation is locked along an axis whose tilt φ obeys tan φ = tan(α/2) / cos(θ/2); with
    S ∝ tan φ / (1 + tan² φ T1/T2) and k = tan²(α/2) T1/T2 this is c (1 + k) / (c² + k), c = cos(θ/2). The sign
    turns in every dark band (θ = π, 3π, …).
    """
    c = np.cos(theta / 2)
    return c * (1 + k) / (c * c + k)


def sample_contrast(rng, name: str, appearance: str = "real") -> SimpleNamespace:
    """Contrast of one scan of scanner `name`.

    appearance "random": every second subject, by a draw of its own, gets `_random_signal`: a network then meets
    contrasts of every kind and half the time what all bSSFP shares (bright blood, dark lung).

    signal, texture: (tissues,) float32, the brightest blood = 1, fat negative. moves: (tissues,) 1 for blood, 0 for
    static tissue. flicker: spatial variation of moving blood; inflow: from slowest to fastest blood. noise: of a
    coil-weighted signal of 1. blood_k: tan²(α/2) T1/T2 of blood, shapes the bands. coils: (n, 5) of right, anterior,
    superior mm, radius mm, gain. gamma: power of the grey scale, 1 where the vendor keeps it linear. shading: log
    amplitude of an unphysical smooth field (random appearance only).
    """
    scanner = SCANNERS[name]
    flip, blood_t2 = rng.uniform(*scanner.flip_deg), rng.uniform(140, 280)
    signal = _tissue_signal(rng, flip, blood_t2)
    texture = np.zeros(kind.TISSUES, np.float32)
    texture[list(TISSUES)] = [values[-1] for values in TISSUES.values()]
    texture *= rng.uniform(0.5, 1.4)
    moves = np.zeros(kind.TISSUES, np.float32)
    moves[list(BLOOD)] = 1.0
    random = appearance == "random" and rng.random() < 0.5
    if random:
        signal, texture = _random_signal(rng), rng.uniform(0, 0.25, kind.TISSUES).astype(np.float32)
    return SimpleNamespace(
        scanner=name,
        appearance="random" if random else "real",
        signal=signal,
        texture=texture,
        moves=moves,
        flicker=rng.uniform(0.01, 0.05),
        inflow=rng.uniform(0.0, 0.3),
        noise=1 / np.exp(rng.uniform(np.log(8), np.log(40))) if random else 1 / rng.uniform(35, 130),
        blur_mm=rng.uniform(0.6, 2.0 if random else 1.3),
        sharpen=rng.uniform(*scanner.sharpened),
        evened=rng.uniform(*scanner.evened),
        grey=rng.uniform(*scanner.grey),
        gamma=rng.uniform(*scanner.gamma),
        flip_deg=flip,
        tr_ms=rng.uniform(*scanner.tr_ms),
        field_t=scanner.field_t,
        blood_k=float(np.tan(np.deg2rad(flip / 2)) ** 2 * 1200 / blood_t2),
        coils=_sample_coils(rng),
        shading=rng.uniform(0.1, 0.5) if random else 0.0,
    )


def _tissue_signal(rng, flip, blood_t2):
    signal = np.zeros(kind.TISSUES, np.float32)
    for tissue, (density, t1, t2, _) in TISSUES.items():
        spread = 0.02 if t2 is None or t2 == 50 else 0.15
        signal[tissue] = steady_state(density, t1, t2 or blood_t2, flip) * np.exp(rng.normal(0, spread))
    signal[list(LIKE_MYOCARDIUM)] = signal[kind.MYO]
    signal[list(RIGHT_BLOOD)] *= rng.uniform(0.75, 1.02)  # venous blood: less oxygen, shorter T2
    signal[kind.VESSEL] *= rng.uniform(0.7, 1.2)
    # turbulence dephases: a regurgitant jet is a void, the stream through an open valve at most a shadow
    signal[[kind.JET_LA, kind.INFLOW_LV]] *= rng.uniform([0.2, 0.75], [0.7, 1.05])
    signal[kind.LUNG] *= rng.uniform(0.5, 1.4)
    signal[kind.FAT] *= rng.uniform(0.6, 1.2)
    fresh = rng.uniform(1.0, 1.4)  # spins that flow in are not yet in the steady state
    ratio = signal[kind.LV] / signal[kind.MYO]
    signal[list(BLOOD)] *= np.clip(fresh * ratio, 1.7, 4.2) / ratio
    signal[list(OUT_OF_PHASE)] *= -1
    return signal / signal[kind.LV]


def _random_signal(rng):
    """Random grey values as in SynthSeg (Billot et al., Med Image Anal 2023).

    Background tissues are merged into a few random groups; blood and myocardium may swap, but differ.
    """
    background = [c for c in range(kind.TISSUES) if c not in (kind.MYO, *LIKE_MYOCARDIUM, *LEFT_BLOOD, *RIGHT_BLOOD)]
    signal = np.zeros(kind.TISSUES, np.float32)
    groups = rng.uniform(0.02, 1.0, int(rng.integers(3, len(background))))
    signal[background] = groups[rng.integers(0, len(groups), len(background))]
    if rng.random() < 0.6:
        signal[[kind.AIR, kind.LUNG]] = rng.uniform(0, 0.1, 2)
    blood, muscle = rng.uniform(0.1, 1.0, 2)
    while abs(blood - muscle) < 0.2:
        blood, muscle = rng.uniform(0.1, 1.0, 2)
    signal[[kind.MYO, *LIKE_MYOCARDIUM]] = muscle
    signal[list(LEFT_BLOOD)] = blood
    signal[list(RIGHT_BLOOD)] = blood + (rng.uniform(0.0, 0.5) * (muscle - blood) if rng.random() < 0.5 else 0.0)
    if rng.random() < 0.5:
        signal[kind.HEART_WALL] = signal[kind.MEDIASTINUM]
    return signal / max(blood, muscle)


def _sample_coils(rng):
    """Loops on the chest (3 × 2) and under the back (2 × 2) with errors of placement: (10, 5).

    anterior is counted from the chest's front (upper six) and from its back (last four).
    """
    middle = rng.normal([0, 0], [20, 15])
    front = [(r, 20.0, s) for r in (-85, 0, 85) for s in (-55, 55)]
    back = [(r, -10.0, s) for r in (-60, 60) for s in (-60, 60)]
    place = np.array(front + back) + rng.normal(0, 8, (10, 3))
    place[:, [0, 2]] += middle
    radius = np.full(10, rng.uniform(70, 110))
    gain = np.r_[np.ones(6), np.full(4, rng.uniform(0.3, 1.0))] * rng.uniform(0.7, 1.3, 10)
    return np.c_[place, radius, gain]


def coil(contrast, body_mm, front_mm: float, back_mm: float) -> np.ndarray:
    """Root of the coils' summed squares at body coordinates (n, 3), 1 at the heart, (n,) float32.

    On a loop's axis B1 falls off as (1 + d²/r²)^-3/2. front_mm, back_mm: the skin's anterior mm.
    """
    centre = contrast.coils[:, :3].copy()
    centre[:, 1] += np.repeat([front_mm, back_mm], [6, 4])
    points = np.vstack([np.asarray(body_mm, np.float32), np.array([[0, 15, -15]], np.float32)])
    power = np.zeros(len(points), np.float32)
    for place, (radius, gain) in zip(centre.astype(np.float32), contrast.coils[:, 3:].astype(np.float32)):
        distance2 = ((points - place) ** 2).sum(1)
        power += (gain / (1 + distance2 / radius**2) ** 1.5) ** 2
    field = np.sqrt(power)
    return field[:-1] / field[-1]


def smooth(rng, shape, sigma_px) -> np.ndarray:
    """Standardised Gaussian random field (rows, columns) that continues itself across its edges, float32."""
    wide = int(4 * sigma_px) + 1
    field = rng.standard_normal(shape, np.float32)
    field = cv2.GaussianBlur(cv2.copyMakeBorder(field, wide, wide, wide, wide, cv2.BORDER_WRAP), (0, 0), sigma_px)
    field = field[wide:-wide, wide:-wide]
    return (field - field.mean()) / max(float(field.std()), 1e-6)


def texture_fields(contrast, size, step_mm: float, rng) -> list[np.ndarray]:
    """Fields (rows, columns) for `texture_map`: fine, middle, coarse and, in random appearance only, very coarse."""
    sigmas_mm = (1.2, 3.0, 8.0, 45.0) if contrast.shading else (1.2, 3.0, 8.0)
    fields = [smooth(rng, size, sigma / step_mm) for sigma in sigmas_mm]
    fields[1] = np.tanh(3 * fields[1])  # patches with edges: strands of fat, lobules, small vessels
    return fields


def texture_map(contrast, codes, fields) -> np.ndarray:
    """Factors (rows, columns) of resting tissue, codes (rows, columns): fields on the log scale, and any shading."""
    fine, patches, coarse = fields[:3]
    clumps = np.maximum(0.5 + 0.6 * coarse, 0)  # some places are crowded, others smooth
    field = cv2.LUT(codes, table(contrast.texture)) * np.minimum(clumps * (fine + patches) + 0.4 * coarse, 2)
    for extra in fields[3:]:
        field += contrast.shading * extra
    return np.exp(field)


def table(values) -> np.ndarray:
    """Values by tissue (tissues,) → a look-up table of 256 float32 for cv2.LUT."""
    return np.pad(values, (0, 256 - len(values))).astype(np.float32)
