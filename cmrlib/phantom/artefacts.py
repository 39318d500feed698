"""Image formation: from signed tissue signal to grey values, through k-space.

Order: texture, coil sensitivity and banding multiply the signal; moving blood flickers; wrap-around folds in what lies
outside the field of view; respiration and pulsation send ghosts along the phase direction; neighbouring frames share
views; k-space is truncated, filtered and zero-filled; complex noise makes the magnitude Rician; the vendor corrects the
surface-coil shading and scales. All strengths are ours, by eye, within what textbooks call usual.
"""

from types import SimpleNamespace

import cv2
import numpy as np
from scipy import fft

from cmrlib.phantom import tissue as kind
from cmrlib.phantom.contrast import passband, smooth, table, texture_fields, texture_map
from cmrlib.phantom.protocol import EFFECTS, SCANNERS

GYROMAGNETIC_MHZ_PER_T = 42.577
TISSUE_AIR_PPM = 9.0
"""Difference of susceptibility between tissue and air (Schenck, Med Phys 1996: 9.4 ppm at 37 °C)."""

FAT_PPM = 3.5


def sample_artefacts(rng, effects, contrast, protocol, slices: int, subject, may_be_late: bool) -> SimpleNamespace:
    """Artefact parameters of one cine; those not in `effects` get their neutral value (the draws stay the same).

    subject: RR interval and its irregularity: about every 15th slice is mis-triggered in a steady rhythm, every fourth
    in atrial fibrillation. may_be_late: such slices may show another instant (a SAX stack); else they only blur.

    phase_axis: 0 rows, 1 columns. acquired: share of k-space along (rows, columns). wrap_px: what folds in on each
    side. ghosts: (pulsation, respiration) amplitudes; ghost_fraction: their distance as a share of the field of view.
    streaks: SD of the phase-encoding lines' gain. breath_mm: motion of the chest wall. shared: weight of the two
    neighbouring frames. banding: strength. shim_hz: residual off-resonance at the image's edges (columns, rows).
    late_ms: (slices,) delay of the slice's heart behind its frame times. mixed: (slices,) share of views from another
    instant, `mixed_frames` away.
    """
    on = {name: float(name in effects) for name in EFFECTS}
    # the phase direction is the image's shorter side, or any one of two
    rows, columns = protocol.size
    phase = int(rng.integers(2)) if rows == columns else int(columns < rows)
    along, read = (rng.uniform(*limits) for limits in SCANNERS[contrast.scanner].acquired)
    wrap = int(rng.uniform(0.03, 0.2) * protocol.size[phase]) * int(rng.random() < 0.3)
    ghosts = rng.uniform(0, [0.08, 0.12]) * (rng.random(2) < [0.5, 0.4])
    streaks = rng.uniform(0, 0.06)
    fraction, breath, shared = 1 / rng.integers(2, 9), rng.uniform(1, 5), rng.uniform(0, 0.3)
    if subject.unclear_valve:  # motion within a frame: it is half to all of the mean with its neighbours
        shared = 0.5 + shared / 0.6
    banding, shim = rng.uniform(0.2, 0.7), rng.normal(0, 35 * contrast.field_t / 1.5, 2)
    bad = (rng.random(slices) < min(0.03 + 1.2 * subject.rr_sd, 0.5)) * on["mistrigger"]
    late = bad * rng.choice([-1, 1], slices) * rng.uniform(0.05, 0.12, slices) * subject.rr_ms * may_be_late
    return SimpleNamespace(
        phase_axis=phase,
        acquired=((along, read) if phase == 0 else (read, along)) if on["gibbs"] else (1.0, 1.0),
        wrap_px=wrap * int(on["wrap"]),
        ghosts=ghosts * [on["ghost"], on["respiration"]],
        streaks=streaks * on["ghost"],
        ghost_fraction=float(fraction),
        breath_mm=breath,
        shared=shared * on["view_sharing"],
        banding=banding * on["banding"],
        shim_hz=shim * on["banding"],
        late_ms=late,
        mixed=bad * rng.uniform(0.15, 0.4, slices),
        mixed_frames=int(rng.integers(1, 4)),
    )


def off_resonance_hz(codes, contrast, artefacts, step_mm: float, field_px) -> np.ndarray:
    """Off-resonance (rows, columns) in Hz after shimming, from the air among tissue codes (rows, columns).

    The dipole kernel 1/3 - (b·k)²/k² of a body that goes on unchanged through the plane (b: `field_px`, the main
    field's direction in pixels of columns and rows); `artefacts.banding` scales it, since real bodies end.
    The shim removes a constant and slopes around the image's centre.
    """
    rows, columns = codes.shape
    small = (max(8, round(rows * step_mm / 6)), max(8, round(columns * step_mm / 6)))
    air = np.isin(codes, (kind.AIR, kind.LUNG)).astype(np.float32)
    air = cv2.resize(air, small[::-1], interpolation=cv2.INTER_AREA)
    pad = max(small) // 2
    padded = cv2.GaussianBlur(cv2.copyMakeBorder(air, pad, pad, pad, pad, cv2.BORDER_REPLICATE), (0, 0), 0.8)
    ky, kx = np.meshgrid(np.fft.fftfreq(padded.shape[0]), np.fft.fftfreq(padded.shape[1]), indexing="ij")
    k2 = np.maximum(kx**2 + ky**2, 1e-9)
    kernel = 1 / 3 - (kx * field_px[0] + ky * field_px[1]) ** 2 / k2
    field = np.fft.ifft2(np.fft.fft2(padded) * kernel).real[pad : pad + small[0], pad : pad + small[1]]
    field *= -TISSUE_AIR_PPM * GYROMAGNETIC_MHZ_PER_T * contrast.field_t * artefacts.banding
    y, x = np.meshgrid(np.linspace(-1, 1, small[0]), np.linspace(-1, 1, small[1]), indexing="ij")
    basis = np.stack([np.ones_like(x), x, y], -1).reshape(-1, 3)
    near = np.exp(-4 * (x**2 + y**2)).ravel()
    fit = np.linalg.lstsq(basis * near[:, None], field.ravel() * near, rcond=None)[0]
    field = field - (basis @ fit).reshape(small) + artefacts.shim_hz[0] * x + artefacts.shim_hz[1] * y
    return cv2.resize(field.astype(np.float32), (columns, rows), interpolation=cv2.INTER_CUBIC)


def bands(codes, field_hz, contrast) -> np.ndarray:
    """Factors (rows, columns) of the bSSFP pass band; fat has its own, 3.5 ppm away."""
    turn = 2 * np.pi * contrast.tr_ms / 1000
    factor = passband(turn * field_hz, contrast.blood_k)
    fat = codes == kind.FAT
    if fat.any():
        own = turn * FAT_PPM * GYROMAGNETIC_MHZ_PER_T * contrast.field_t
        middle = passband(own, 1.0)
        shifted = passband(own - turn * field_hz[fat], 1.0) / np.copysign(max(abs(middle), 0.3), middle)
        factor[fat] = np.clip(shifted, -1.5, 1.5)
    return factor.astype(np.float32)


def transfer(size, acquired, blur_px: float, sharpen: float) -> np.ndarray:
    """Transfer function (rows, columns // 2 + 1) float32 for `filtered`, on the frequencies of `scipy.fft.rfft2`.

    acquired: share of k-space sampled along (rows, columns), the rest is zero-filled. blur_px: point spread (σ).
    sharpen: how much the vendor's filter raises the middle frequencies.
    """
    ky, kx = np.abs(fft.fftfreq(size[0]))[:, None], fft.rfftfreq(size[1])
    k2 = ky**2 + kx**2
    sampled = (ky <= acquired[0] / 2 + 1e-9) & (kx <= acquired[1] / 2 + 1e-9)
    ring = 1 + sharpen * (1 - np.exp(-k2 / (2 * 0.12**2)))
    return (sampled * np.exp(-2 * (np.pi * blur_px) ** 2 * k2) * ring).astype(np.float32)


def filtered(image, kept) -> np.ndarray:
    """A real image (rows, columns) times a transfer function in k-space."""
    return fft.irfft2(fft.rfft2(image) * kept, image.shape)


def _shifted(field, rng):
    """The field (rows, columns), shifted cyclically by a random step."""
    return np.roll(field, rng.integers(field.shape), (0, 1))


def _ghosts(signal, artefacts, front_px, rng):
    """Pulsation repeats what moves, respiration repeats static edges, along the phase direction; in place."""
    axis = artefacts.phase_axis
    pixels = max(1, round(artefacts.ghost_fraction * signal.shape[1 + axis]))
    if not any(artefacts.ghosts):
        return
    mean = signal.mean(0)
    if artefacts.ghosts[1]:
        matrix = np.float32([[1, 0, front_px[0]], [0, 1, front_px[1]]])
        edge = cv2.warpAffine(mean, matrix, mean.shape[::-1], borderMode=cv2.BORDER_REPLICATE) - mean
        signal += artefacts.ghosts[1] * np.roll(cv2.GaussianBlur(edge, (0, 0), 1.5), pixels, axis)
    if artefacts.ghosts[0]:
        beat = np.cos(2 * np.pi * (np.arange(len(signal)) / len(signal) + rng.random())).astype(np.float32)
        moving = signal - mean
        for shift in (pixels, -pixels):
            signal += artefacts.ghosts[0] * beat[:, None, None] * np.roll(moving, shift, 1 + axis)


def _mix_frames(signal, weight: float, mixed: float, away: int):
    """View sharing between neighbouring frames, and views from `away` frames in a mis-triggered slice."""
    if weight:
        alone = signal.copy()
        for t in range(len(signal)):
            both = cv2.addWeighted(alone[t - 1], weight / 3, alone[(t + 1) % len(signal)], weight / 3, 0)
            cv2.addWeighted(alone[t], 1 - 2 * weight / 3, both, 1, 0, dst=signal[t])
    if mixed:
        signal[:] = np.float32(1 - mixed) * signal + np.float32(mixed) * np.roll(signal, away, 0)


def tissue_signal(contrast, codes) -> np.ndarray:
    """Tissue codes (subslices, …, rows, columns) → signed signal (…, rows, columns); partial volume is their mean."""
    shape, values = codes.shape[1:], table(contrast.signal / len(codes))
    flat = codes.reshape(len(codes), -1, shape[-1])
    signal = cv2.LUT(flat[0], values)
    for part in flat[1:]:
        signal += cv2.LUT(part, values)
    return signal.reshape(shape)


class Imager:
    """Images the slices of one cine. Random fields are sampled once and shifted for every slice and frame."""

    def __init__(self, contrast, artefacts, protocol, rng):
        self.contrast, self.artefacts, self.effects, self.rng = contrast, artefacts, protocol.effects, rng
        size, step = protocol.size, protocol.spacing_mm
        blur = "blur" in protocol.effects
        self.kept = transfer(size, artefacts.acquired, blur * contrast.blur_mm / step, blur * contrast.sharpen)
        # thermal noise passes the same filter as the signal
        self.noise = [
            contrast.noise * filtered(rng.standard_normal(size, np.float32), self.kept)
            for _ in range(4 if "noise" in protocol.effects else 0)
        ]
        self.texture = texture_fields(contrast, size, step, rng)
        self.streaks = contrast.flicker * smooth(rng, size, 4.0 / step)

    def __call__(self, k, codes, sensitivity, band, margin, front_px, speed) -> np.ndarray:
        """Tissue codes (subslices, frames, rows, columns) of slice k → pixels uint16 (frames, rows, columns).

        sensitivity, band: factors (rows, columns) of coil and off-resonance. margin: signed signal from outside the
        field of view, already folded to (rows, columns), or None. front_px: how far breathing moves the chest wall,
        (columns, rows). speed: (frames,) of the blood, 0 … 1.
        """
        contrast, artefacts, rng = self.contrast, self.artefacts, self.rng
        signal, resting = tissue_signal(contrast, codes), codes[len(codes) // 2]
        shade = sensitivity * band * texture_map(contrast, resting[0], [_shifted(f, rng) for f in self.texture])
        for t, image in enumerate(signal):
            if "flow" in self.effects:
                self._flow(image, resting[t], speed[t])
            image *= shade
            if margin is not None:
                image += margin
        _mix_frames(signal, artefacts.shared, artefacts.mixed[k], artefacts.mixed_frames)
        _ghosts(signal, artefacts, front_px, rng)
        # the noise is that of the coils; evening out the shading makes it uneven
        even = (1 / np.maximum(sensitivity, 0.05) ** contrast.evened).astype(np.float32)
        pixels = np.empty(signal.shape, np.uint16)
        for t, image in enumerate(signal):
            seen = filtered(image, self.kept * self._lines())
            grey = cv2.pow(self._magnitude(seen) * even, contrast.gamma) * np.float32(contrast.grey)
            pixels[t] = np.minimum(grey + np.float32(0.5), 4095)
        return pixels

    def _lines(self):
        """Gains of the phase-encoding lines, (rows, 1) or (columns // 2 + 1,): motion leaves a haze of streaks."""
        if not self.artefacts.streaks:
            return np.float32(1)
        axis = self.artefacts.phase_axis
        n = self.texture[0].shape[axis]
        gains = 1 + self.artefacts.streaks * self.rng.standard_normal(n // 2 + 1, np.float32)
        gains[:2] = 1  # the centre of k-space is the image's brightness
        return gains if axis else gains[np.minimum(np.arange(n), n - np.arange(n)), None]

    def _magnitude(self, real):
        """Magnitude of the complex image with noise in both parts: Rician."""
        if not self.noise:
            return np.abs(real)
        one, other = (self.noise[int(n)] for n in self.rng.integers(0, len(self.noise), 2))
        real = real + _shifted(one, self.rng) if self.rng.random() < 0.5 else real - _shifted(one, self.rng)
        imaginary = _shifted(other, self.rng)
        return np.sqrt(real * real + imaginary * imaginary)  # cv2.magnitude rounds by where its arrays lie

    def _flow(self, image, codes, speed):
        """In place: blood brightens with its speed (fresh spins) and flickers in streaks."""
        vary = _shifted(self.streaks, self.rng)
        vary += np.float32(self.contrast.inflow * (speed - 0.5))
        vary *= cv2.LUT(codes, table(self.contrast.moves))
        vary += 1
        image *= vary
