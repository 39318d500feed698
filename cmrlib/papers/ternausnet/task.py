"""TernausNet as a task: slices with masks in, the mask of every frame of a cine out."""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from fastai.data.block import DataBlock, TransformBlock
from torch import nn

from cmrlib import cine
from cmrlib.cine import Cine
from cmrlib.cine.anatomy import NOT_ANNOTATED, STRUCTURES, VIEW_STRUCTURES
from cmrlib.cine.display import displayed, orientation_known
from cmrlib.cohort import Annotation
from cmrlib.learning import blocks, training
from cmrlib.learning.blocks import CentrePlane, RandomPlane
from cmrlib.learning.task import Task, by_split
from cmrlib.learning.weightsets import N_TTA
from cmrlib.measures import clean_mask
from cmrlib.papers.ternausnet import data, network
from cmrlib.papers.ternausnet.data import SliceReader, StandardSlice, slice_table
from cmrlib.papers.ternausnet.network import SegmentationLoss, TernausNet
from cmrlib.papers.ternausnet.prediction import CineSegmentation, nan_mean


@dataclass(frozen=True)
class Segmentation(Task):
    """Masks of one view, or of all long-axis views (`views_of("lax")`).

    spacing_mm: of the grid that the network sees. size, validation_size: pixels a side of the training crop and of the
    central validation crop, multiples of 32. width: channels of the first convolution, 64 in the paper. antiphase: the
    network also sees each slice half a cycle later (`standard_slice`). elastic, resolution: how much training crops
    change a heart's shape, and the share that changes its sharpness (`RandomPlane`). frames_per_cine: to learn from,
    spread over the cycle, 0 for all. images: most labelled images to learn from, spread over subjects, slices and
    frames, 0 for all.
    """

    views: tuple[str, ...] = ("sax",)
    spacing_mm: float = 1.8
    size: int = 96
    validation_size: int = 128
    width: int = 16
    antiphase: bool = False
    elastic: float = 0.0
    resolution: float = 0.0
    frames_per_cine: int = 0
    images: int = 0

    code = (cine, cine.plane, cine.display, blocks, training, data, network)

    @property
    def structures(self) -> tuple[str, ...]:
        """What the network outlines: all that its views can show."""
        return tuple(name for name in STRUCTURES if any(name in VIEW_STRUCTURES[view] for view in self.views))

    def items(self, cohort, annotations, split):
        table = slice_table(cohort, annotations, self.views, split, self.frames_per_cine)
        train = np.flatnonzero(table["split"] == "train")
        if not 0 < self.images < len(train):
            return table
        few = train[np.arange(self.images) * len(train) // self.images]
        return table.drop(index=table.index[np.setdiff1d(train, few)]).reset_index(drop=True)

    def block(self, cohort, annotations):
        reader = SliceReader(cohort, annotations, self.structures)
        getters = {"get_x": lambda row: reader.slice(row), "get_y": lambda row: reader.labels(row)}
        return DataBlock((TransformBlock, TransformBlock), **getters, splitter=by_split, item_tfms=self.warp())

    def warp(self) -> StandardSlice:
        """The same warp of a slice and its labels: random in training, central elsewhere."""
        random = RandomPlane(self.spacing_mm, self.size, elastic=self.elastic, resolution=self.resolution)
        return StandardSlice(CentrePlane(self.spacing_mm, self.validation_size), random, self.antiphase)

    def network(self):
        return TernausNet(1 + len(self.structures), self.width, 4 if self.antiphase else 3)

    def loss(self):
        return SegmentationLoss(self.structures)

    def continue_from(self, known: "Segmentation", model) -> TernausNet:
        """A copy of a network of the task `known` to train further. Raises ValueError where it sees more than this
        task's, or other structures or widths."""
        if (known.structures, known.width) != (self.structures, self.width) or known.antiphase > self.antiphase:
            raise ValueError(f"cannot continue from a network of {known}\nwith {self}")
        model = deepcopy(model)
        if self.antiphase and not known.antiphase:  # weights of 0 for the new channel: at first it says what it said
            old = model.encoder[0][0]
            model.encoder[0][0] = nn.Conv2d(4, old.out_channels, 3, padding=1, bias=False)
            with torch.no_grad():
                model.encoder[0][0].weight.zero_()[:, : old.in_channels] = old.weight
        return model

    # --- prediction

    def segment(self, models, cine: Cine, frames=None, n_tta: int = N_TTA, clean: bool = True, precision: str = "bf16"):
        """Segment frames of a cine: (mask, confidence, flags).

        mask (frames, slices, rows, columns) uint8 on the native grid, 255 in frames not asked for and in images that
        are missing. n_tta: passes of test-time augmentation. confidence: (frames, structures) of
        `CineSegmentation.segment`, NaN where there is no mask. flags: what `clean_mask` corrected, and
        `orientation_searched`.
        """
        frames = range(cine.frames) if frames is None else frames
        if not len(frames):
            raise ValueError(f"{cine.name}: no frame to segment; give frame numbers, or None for the whole cycle")
        mask = np.full(cine.pixels.shape, NOT_ANNOTATED, np.uint8)
        confidence = np.full((cine.frames, len(self.structures)), np.nan)
        frames = [t for t in frames if not cine.missing[:, t].all()]
        if not frames:
            return mask, confidence, []
        shown, reorientation = displayed(cine)  # canonical display
        found, confidence[frames] = CineSegmentation(self, models, shown, precision).segment(frames, n_tta)
        found, flags = clean_mask(found, view=cine.view) if clean else (found, [])
        mask[frames] = reorientation.back(found)
        mask[cine.missing.T], confidence[cine.missing.any(0)] = NOT_ANNOTATED, np.nan
        return mask, confidence, [*flags, *([] if orientation_known(shown) else ["orientation_searched"])]

    def predict_cine(self, models, cine, annotation=None, n_tta=N_TTA, precision="bf16"):
        """Annotation with the mask, and one row: frames segmented, flags, and confidence, of all and of each structure
        (`confidence_lv`, …): mean over ED and ES where they are known, else over all frames.

        annotation: only frames that it has annotated are segmented, and no cine in which it has none.
        """
        frames = sorted(annotation.annotated) if annotation else list(range(cine.frames))
        if not frames:
            return None, []
        mask, confidence, flags = self.segment(models, cine, frames, n_tta, precision=precision)
        seen = [t for t in frames if (mask[t] != NOT_ANNOTATED).any()]
        phases = [t for t in (cine.ed, cine.es) if t in seen]
        sure = nan_mean(confidence[phases or seen], 0)
        drawn = tuple(name for name in self.structures if name in VIEW_STRUCTURES[cine.view])
        row = {"frames": len(seen), "confidence": float(nan_mean(sure)), "flags": ";".join(flags)}
        by_structure = {name: float(value) for name, value in zip(self.structures, sure) if name in drawn}
        row |= {f"confidence_{name}": value for name, value in by_structure.items()}
        return Annotation(mask, dict.fromkeys(seen, drawn), flags=tuple(flags), confidence=by_structure), [row]
