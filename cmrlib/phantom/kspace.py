"""K-space of real images (rows, columns) float32 in the packed order of cv2.dft, and cyclic moves."""

import cv2
import numpy as np


def transfer(size, acquired, blur_px: float, sharpen: float) -> np.ndarray:
    """What k-space keeps, for `filtered`: (rows, columns) float32 in the packed order of cv2.dft.

    acquired: share of k-space sampled along (rows, columns), the rest is zero-filled. blur_px: point spread (σ).
    sharpen: how much the vendor's filter raises the middle frequencies.
    """
    sides = []
    for n, share in zip(size, acquired):
        k = np.arange(n // 2 + 1) / n
        sides.append(np.where(k <= share / 2 + 1e-9, np.exp(-2 * (np.pi * blur_px * k) ** 2), 0.0))
    # a centre of k-space that is slightly lower than a ring around it
    ky, kx = np.meshgrid(*(np.arange(n // 2 + 1) / n for n in size), indexing="ij")
    whole = np.outer(*sides) * (1 + sharpen * (1 - np.exp(-(kx**2 + ky**2) / (2 * 0.12**2))))
    rows, columns = size
    fold = np.minimum(np.arange(rows), rows - np.arange(rows))
    real_imaginary = (np.arange(columns) + 1) // 2
    packed = whole[fold][:, real_imaginary]
    packed_rows = (np.arange(rows) + 1) // 2
    packed[:, 0] = whole[packed_rows, 0]
    if columns % 2 == 0:
        packed[:, -1] = whole[packed_rows, columns // 2]
    return packed.astype(np.float32)


def filtered(image, kept, lines=None):
    """A real image (rows, columns) seen through `transfer`; lines: see `_uneven`."""
    k = cv2.dft(image)
    k *= kept
    if lines is not None:
        _uneven(k, *lines)
    return cv2.dft(k, flags=cv2.DFT_INVERSE | cv2.DFT_SCALE)


def _uneven(k, axis, factors):
    """In place: phase-encoding lines of a packed spectrum times `factors` (n // 2 + 1,), alike at ±k."""
    n = k.shape[axis]
    if axis == 1:
        k *= factors[(np.arange(n) + 1) // 2]
        return
    edges = [0, -1] if k.shape[1] % 2 == 0 else [0]
    both = k[:, edges] * factors[(np.arange(n) + 1) // 2, None]
    k *= factors[np.minimum(np.arange(n), n - np.arange(n)), None]
    k[:, edges] = both


def add_moved(target, image, pixels: int, axis: int, weight):
    """target += weight · image moved cyclically by `pixels` along `axis`; in place."""
    cut = [slice(None)] * image.ndim
    for to, of in _wrapped(image.shape[axis], pixels):
        left, right = list(cut), list(cut)
        left[axis], right[axis] = to, of
        target[tuple(left)] += weight * image[tuple(right)]


def moved(field, rng):
    """A copy of the field (rows, columns), moved cyclically to another place."""
    dy, dx = (int(rng.integers(n)) for n in field.shape)
    out = np.empty_like(field)
    for to_y, of_y in _wrapped(field.shape[0], dy):
        for to_x, of_x in _wrapped(field.shape[1], dx):
            out[to_y, to_x] = field[of_y, of_x]
    return out


def _wrapped(n, shift):
    """Pairs of slices (to, of) that move n samples cyclically by 0 ≤ shift < n."""
    return (slice(shift, n), slice(0, n - shift)), (slice(0, shift), slice(n - shift, n))
