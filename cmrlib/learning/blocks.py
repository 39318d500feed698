"""What several papers' DataBlocks share: typed tensors that draw themselves, and one joint augmentation.

Each paper's own items, getters and transforms stand beside its task (`cmrlib.papers.*.task`).
"""

from dataclasses import dataclass, replace

import cv2
import fastai.vision.learner  # noqa: F401  registers grids of images for show_batch and show_results
import numpy as np
import torch
from fastai.torch_core import TensorBase, TensorImage
from fastai.vision.data import get_grid
from plum import dispatch

from cmrlib.cine import Cine, Plane
from cmrlib.cine.display import orientation_known


@dataclass(frozen=True)
class SliceRef:
    """One slice of one frame of a cine, before it becomes a tensor. centre_px: (column, row) or None."""

    cine: Cine
    frame: int
    k: int
    centre_px: tuple[float, float] | None = None


class TensorClip(TensorImage):
    """(frames, rows, columns) float: a section through time; shows four frames side by side."""

    def show(self, ctx=None, **kwargs):
        frames = np.linspace(0, self.shape[0] - 1, min(4, self.shape[0])).round().astype(int)
        return TensorImage(torch.cat([self[t] for t in frames], 1)).show(ctx=ctx, cmap="gray", **kwargs)


class TensorLabel(TensorBase):
    """A class 0 or 1, or its probability: the title of what it belongs to. NaN, which fastai takes for a target where
    there is none, shows nothing."""

    def show(self, ctx=None, **kwargs):
        if self.numel() == 1 and torch.isfinite(self):
            ctx.set_title(f"{float(self):.2g}", fontsize=9)
        return ctx


@dispatch
def show_results(x: TensorImage, y: TensorBase | tuple, samples, outs, ctxs=None, max_n=6, figsize=None, **kwargs):
    """Input, targets and predictions of typed tensors that draw themselves; titles read target → prediction.

    fastai 2.8 dispatches by plum, under which its own method does not reach these types.
    """
    ctxs = get_grid(min(len(samples), max_n), figsize=figsize) if ctxs is None else ctxs
    for (image, *targets), predicted, ctx in zip(samples, outs, ctxs):
        for one in (image, *targets):
            one.show(ctx=ctx)
        title = ctx.get_title()
        for target, one in zip(targets, predicted):
            type(target)(one).show(ctx=ctx)
        if title:
            ctx.set_title(f"{title} → {ctx.get_title()}", fontsize=9)
    return ctxs


def spacing_range_mm(cine: Cine) -> tuple[float, float]:
    """Between which pixel sizes an image lies that lost its own (JPEG); a reader may know better."""
    return tuple(cine.meta.get("spacing_range_mm", (0.9, 1.9)))


class CentrePlane:
    """Resample to `spacing_mm`, crop `size` pixels around the image's centre: no mask says where the heart is."""

    def __init__(self, spacing_mm: float, size: int):
        self.spacing_mm, self.size = spacing_mm, size

    def plane(self, reference) -> Plane:
        return Plane.around(reference.cine.pixels.shape[2:], self._step(reference), (self.size, self.size))

    def _step(self, reference):
        """Pixels of the image per pixel of the output, (rows, columns)."""
        if not reference.cine.spacing_known:
            return np.full(2, self.spacing_mm / self._guess(*spacing_range_mm(reference.cine)))
        _, row_mm, column_mm = reference.cine.spacing_mm
        return np.array([self.spacing_mm / row_mm, self.spacing_mm / column_mm])

    def _guess(self, low_mm, high_mm):
        return np.sqrt(low_mm * high_mm)

    def intensities(self, image):
        return image


class RandomPlane(CentrePlane):
    """Training crops: around the heart (most), anywhere (some), rotated, scaled, stretched, deformed; then intensities
    vary. One warp per sample for image and labels.

    rotation_deg: up to an eighth of a turn each way, since hearts differ that much in their canonical display. elastic:
    strength of deformations, 0 to 1, so that cavities and walls have other sizes than those of the patients at hand: in
    half of the crops a place near the heart swells or shrinks (by a spread of .3 · elastic, 15 to 40 mm around), in
    another half all is shifted smoothly (by a spread of 2 · elastic mm). reorient: share of cines of unknown
    orientation that is shown in any of the eight orders of rows and columns; others are never mirrored, for no
    patient's heart is. Where the pixel size is unknown, any of its range. resolution: share of crops that lose the
    detail that coarser scanners lose, or have their edges sharpened.
    """

    def __init__(
        self,
        spacing_mm,
        size,
        rotation_deg=45.0,
        scale=0.15,
        stretch=0.05,
        shift_mm=17.0,
        anywhere=0.15,
        elastic=0.0,
        reorient=0.3,
        resolution=0.0,
    ):
        super().__init__(spacing_mm, size)
        self.rotation_deg, self.scale, self.stretch = rotation_deg, scale, stretch
        self.shift_mm, self.anywhere, self.elastic = shift_mm, anywhere, elastic
        self.reorient, self.resolution = reorient, resolution

    def plane(self, reference):
        rows, columns = reference.cine.pixels.shape[2:]
        step = self._step(reference)
        if reference.centre_px is None or np.random.random() < self.anywhere:
            centre = np.random.uniform(0.2, 0.8, 2) * (columns, rows)
        else:
            centre = reference.centre_px + np.random.normal(0, self.shift_mm, 2) / self.spacing_mm * step[::-1]
        stretch = np.exp(np.random.normal(0, self.stretch)) ** np.array([1, -1])
        step = step * np.exp(np.random.normal(0, self.scale)) * stretch
        angle, mirror = np.random.uniform(-self.rotation_deg, self.rotation_deg), False
        if not orientation_known(reference.cine) and np.random.random() < self.reorient:
            angle, mirror = angle + 90 * np.random.randint(4), bool(np.random.randint(2))
        flat = Plane.around((rows, columns), step, (self.size, self.size), centre, angle, mirror)
        if not self.elastic:
            return flat
        return replace(flat, bend_px=self._deformation_px(flat.points([reference.centre_px or centre])[0]))

    def _deformation_px(self, heart_px):
        """Displacement of every place of a crop, (rows, columns, 2) float32, or None."""
        chance, shift = np.random.random(2), np.zeros((self.size, self.size, 2), np.float32)
        if chance[0] < 0.5:
            middle = heart_px + np.random.normal(0, 12 / self.spacing_mm, 2)
            radius = np.random.uniform(15, 40) / self.spacing_mm
            strength = np.clip(np.random.normal(0, 0.3 * self.elastic), -0.6, 1.2)  # beyond, places would fold over
            grid = np.arange(self.size)
            away = np.stack(np.meshgrid(grid - middle[0], grid - middle[1]), -1)
            shift += strength * np.exp(-(away**2).sum(-1, keepdims=True) / radius**2) * away
        if chance[1] < 0.5:
            knots = np.random.randint(4, 9)
            field = np.random.normal(0, 2 * self.elastic / self.spacing_mm, (knots, knots, 2)).astype(np.float32)
            shift += cv2.resize(field, (self.size, self.size), interpolation=cv2.INTER_CUBIC)
        return shift if chance.min() < 0.5 else None

    def _guess(self, low_mm, high_mm):
        return np.exp(np.random.uniform(np.log(low_mm), np.log(high_mm)))

    def intensities(self, image):
        chance = np.random.random(5)
        if self.resolution and np.random.random() < self.resolution:
            image = _resolved(image, np.random.uniform(-1, 1))
        if chance[0] < 0.5:  # gamma: vendors' grey scales
            image = image ** np.exp(np.random.normal(0, 0.3))
        if chance[1] < 0.7:  # contrast and brightness
            image = image * np.exp(np.random.normal(0, 0.2)) + np.random.normal(0, 0.1)
        if chance[2] < 0.3:  # coil shading, smooth over a third of the field
            field = np.random.normal(0, 0.3, (3, 3)).astype(np.float32)
            image = image * np.exp(cv2.resize(field, image.shape[1::-1], interpolation=cv2.INTER_CUBIC))[..., None]
        if chance[3] < 0.2:
            image = cv2.GaussianBlur(image.astype(np.float32), (0, 0), np.random.uniform(0.4, 1.2))
        if chance[4] < 0.4:
            image = image + np.random.normal(0, np.random.uniform(0.01, 0.08), image.shape)
        return image


def _resolved(image, change):
    """change below 0: through a grid up to twice as coarse and back; above 0: edges sharpened by up to that much."""
    if change < 0:
        coarse = cv2.resize(image, None, fx=2.0**change, fy=2.0**change, interpolation=cv2.INTER_AREA)
        return cv2.resize(coarse, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.maximum(image + change * (image - cv2.GaussianBlur(image, (0, 0), 1.0)), 0)  # a gamma may come next
