"""Plane: an in-plane map and its inverse, for pixels, masks and points together."""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Plane:
    """An in-plane map for pixels, masks and points together, and the way back.

    matrix: (2, 3), takes (column, row) of the *output* grid to (column, row) of the input.
    shape: (rows, columns) of the output. One warp does crop, resampling, rotation and mirror at once.
    bend_px: (rows, columns, 2) or None, what is added to each output (column, row) before the matrix: training crops
    change the shape of a heart by it. Only `pixels` and `mask` know of it.
    """

    matrix: np.ndarray
    shape: tuple[int, int]
    source_shape: tuple[int, int]
    bend_px: np.ndarray | None = None

    @classmethod
    def around(cls, source_shape, spacing_px, shape, centre_px=None, rotation_deg=0.0, mirror=False) -> "Plane":
        """Output of `shape` around `centre_px` (column, row; default the image's centre).

        spacing_px: input pixels per output pixel, (rows, columns) or one number. rotation_deg turns the
        sampling grid, mirror flips its columns.
        """
        rows, columns = source_shape
        centre = np.array([(columns - 1) / 2, (rows - 1) / 2] if centre_px is None else centre_px, float)
        step_row, step_column = np.broadcast_to(np.asarray(spacing_px, float), (2,))
        angle = np.deg2rad(rotation_deg)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        # rotate in a square grid of output pixels, then stretch to the input's (possibly anisotropic) pixels
        linear = np.diag([step_column, step_row]) @ turn @ np.diag([-1.0 if mirror else 1.0, 1.0])
        middle = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
        return cls(np.c_[linear, centre - linear @ middle], tuple(shape), tuple(source_shape))

    @property
    def inverse(self) -> np.ndarray:
        """(2, 3): (column, row) of the input → output."""
        return cv2.invertAffineTransform(self.matrix)

    def pixels(self, image, interpolation=cv2.INTER_LINEAR, outside: float = 0) -> np.ndarray:
        """Image (rows, columns[, channels]) → float32 on the output grid; `outside` where the input ends.

        8- and 16-bit images are warped as they are and converted after: the output is usually the smaller one.
        """
        small = image.dtype in (np.uint8, np.uint16, np.int16)
        image = np.ascontiguousarray(image) if small else np.ascontiguousarray(image, np.float32)
        return self._taken(image, interpolation, outside).astype(np.float32, copy=False)

    def mask(self, mask, outside: int = 0) -> np.ndarray:
        """Label map → output grid by nearest neighbour; labels never mix."""
        return self._taken(np.ascontiguousarray(mask, np.uint8), cv2.INTER_NEAREST, outside)

    def _taken(self, image, interpolation, outside):
        if self.bend_px is None:
            return self._warp(image, self.matrix, self.shape, interpolation, outside)
        columns, rows = np.meshgrid(np.arange(self.shape[1]), np.arange(self.shape[0]))
        places = (np.stack([columns, rows], -1) + self.bend_px) @ self.matrix[:, :2].T + self.matrix[:, 2]
        return cv2.remap(image, places.astype(np.float32), None, interpolation, borderValue=(outside,) * 4)

    def points(self, points_px) -> np.ndarray:
        """Points (n, 2) of the input → output."""
        return np.asarray(points_px, float) @ self.inverse[:, :2].T + self.inverse[:, 2]

    def back_pixels(self, image, interpolation=cv2.INTER_LINEAR) -> np.ndarray:
        """Output grid → input grid, zero where the output did not reach."""
        return self._warp(np.ascontiguousarray(image, np.float32), self.inverse, self.source_shape, interpolation)

    def back_points(self, points_px) -> np.ndarray:
        return np.asarray(points_px, float) @ self.matrix[:, :2].T + self.matrix[:, 2]

    @staticmethod
    def _warp(image, matrix, shape, interpolation, outside=0):
        flags = interpolation | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(image, matrix, shape[::-1], flags=flags, borderValue=(outside,) * 4)
