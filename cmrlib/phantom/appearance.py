"""From tissues to grey values: bSSFP signal, texture, coil, point spread, Rician noise, the vendor's grey scale.

Signal of a tissue at flip angle α (steady state, TR much shorter than T1 and T2):
S = ρ sin α / (1 + cos α + (1 - cos α) T1 / T2). Relaxation times after MRXCAT's cine defaults; the T2 of blood is
drawn between 100 and 280 ms because flow changes it, which spans blood : myocardium = 1.6 … 3 at 54°. At TE = TR/2
fat is out of phase with water, so it enters with a minus sign: that draws the dark lines between fat and muscle.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from cmrlib.phantom import tissue as kind

_MYOCARDIUM, _BLOOD = (80, 900, 50), (95, 1200, None)
PROPERTIES = dict.fromkeys((kind.LV, kind.RV, kind.LA, kind.RA, kind.AORTA, kind.VESSEL, kind.JET_LA, kind.INFLOW_LV), _BLOOD) | {
    kind.MYO: _MYOCARDIUM, kind.MUSCLE: (75, 900, 38), kind.FAT: (72, 350, 85), kind.LUNG: (6, 1100, 40),
    kind.BONE: (40, 450, 45), kind.LIVER: (90, 700, 46), kind.STOMACH: (75, 900, 75), kind.SKIN: (50, 800, 40),
    kind.MEDIASTINUM: (58, 600, 55), kind.FLUID: (100, 3000, 900),
}
"""Tissue → (proton density, T1 ms, T2 ms); blood's T2 is drawn. Fat's T2 is longer than MRXCAT's (fat is bright)."""

OUT_OF_PHASE = (kind.FAT, kind.BONE)


@dataclass(frozen=True)
class Look:
    """One scan's appearance. signal: (tissues,) float32, LV blood = 1, fat negative. Blur in pixels."""

    signal: np.ndarray
    noise: float
    blur_px: float
    texture: float
    flow: float
    coil_mm: float
    coil_floor: float
    grey: float


def steady_state(density, t1_ms, t2_ms, flip_deg):
    """bSSFP signal for TR much shorter than T1 and T2 (all broadcast)."""
    cosine = np.cos(np.deg2rad(flip_deg))
    return density * np.sin(np.deg2rad(flip_deg)) / (1 + cosine + (1 - cosine) * np.asarray(t1_ms) / t2_ms)


def draw_look(rng, spacing_mm: float) -> Look:
    """Tune the scanner: flip angle, blood's T2, small deviations of every tissue, coil, noise, grey scale.

    The next stage's switch for appearance far beyond realism belongs here: another draw of `signal`.
    """
    flip, blood_t2 = rng.uniform(48, 65), rng.uniform(110, 260)
    signal = np.zeros(kind.TISSUES, np.float32)
    for tissue, (density, t1, t2) in PROPERTIES.items():
        spread = 0.02 if t2 is None or t2 == 50 else 0.10
        signal[tissue] = steady_state(density, t1, t2 or blood_t2, flip) * np.exp(rng.normal(0, spread))
    signal[[kind.PAPILLARY, kind.LEAFLET_LV, kind.TRABECULA_RV, kind.HEART_WALL]] = signal[kind.MYO]
    signal[kind.RV] *= rng.uniform(0.9, 1.02)
    signal[kind.VESSEL] *= rng.uniform(0.7, 1.2)
    ratio = np.clip(signal[kind.LV] / signal[kind.MYO], 1.6, 3.0)
    signal[[kind.LV, kind.RV, kind.LA, kind.RA, kind.AORTA, kind.VESSEL, kind.JET_LA, kind.INFLOW_LV]] *= ratio * signal[kind.MYO] / signal[kind.LV]
    signal[list(OUT_OF_PHASE)] *= -1
    return Look(signal / signal[kind.LV], noise=1 / rng.uniform(14, 40), blur_px=rng.uniform(0.9, 1.5) / spacing_mm,
                texture=rng.uniform(0.03, 0.08), flow=rng.uniform(0.02, 0.06), coil_mm=rng.uniform(65, 140),
                coil_floor=rng.uniform(0.12, 0.5), grey=rng.uniform(180, 900))


def coil(look: Look, body_mm, front_mm: float) -> np.ndarray:
    """Sensitivity of a chest coil `front_mm` before the heart at body coordinates (n, 3); about 1 at the heart."""

    def field(r, a, s):
        distance2 = (r + 15) ** 2 + (a - front_mm) ** 2 + (s + 5) ** 2
        return look.coil_floor + 1 / (1 + distance2 / look.coil_mm**2)
    return (field(*np.asarray(body_mm, np.float32).T) / field(0, 20, -20)).astype(np.float32)


def _smooth(rng, shape, sigma_px):
    """Standardised Gaussian random field."""
    field = cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (0, 0), sigma_px)
    return field / max(float(field.std()), 1e-6)


def image(look: Look, tissue, sensitivity, rng) -> np.ndarray:
    """Tissue codes (subslices, frames, rows, columns) → pixels uint16 (frames, rows, columns).

    sensitivity: (rows, columns). Sub-slices are averaged with their sign, which is partial volume.
    """
    _, frames, rows, columns = tissue.shape
    signal = look.signal[tissue[0]]
    for part in tissue[1:]:
        signal += look.signal[part]
    signal /= len(tissue)
    texture = 1 + look.texture * (0.6 * _smooth(rng, (rows, columns), 1.2) + 0.6 * _smooth(rng, (rows, columns), 5.0))
    signal *= texture * sensitivity
    flow = 1 + look.flow * _smooth(rng, (rows + 32, columns + 32), 2.5)
    noise = rng.standard_normal((frames, rows, columns, 2), np.float32)
    # blur averages noise too: standard deviation 1 / (2 √π σ) for σ well above half a pixel
    noise *= look.noise * max(1.0, 2 * np.sqrt(np.pi) * look.blur_px * 0.9)
    pixels = np.empty((frames, rows, columns), np.uint16)
    for t in range(frames):
        dy, dx = rng.integers(0, 33, 2)
        both = noise[t]
        both[..., 0] += signal[t] * flow[dy:dy + rows, dx:dx + columns]
        both = cv2.GaussianBlur(both, (0, 0), look.blur_px)
        magnitude = cv2.magnitude(both[..., 0], both[..., 1])
        pixels[t] = np.minimum(magnitude * look.grey + 0.5, 4095)
    return pixels
