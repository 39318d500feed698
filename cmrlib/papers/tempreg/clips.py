"""Sections through time as the network sees them: where the heart moves, how a cycle is cut, what training varies."""

import numpy as np
import pandas as pd
import torch
from fastai.torch_core import TensorBase
from fasttransform import ItemTransform

from cmrlib.cine import Cine, Plane, Section
from cmrlib.cine.anatomy import STRUCTURES
from cmrlib.learning.blocks import RandomPlane, TensorClip
from cmrlib.measures import whole_sections
from cmrlib.measures.curves import FEWEST_FRAMES
from cmrlib.measures.motion import moving_centre
from cmrlib.papers.tempreg.targets import target_curve


def section_table(cohort, observer: str, split: pd.Series, views=None) -> pd.DataFrame:
    """One row a section whose ED and ES an observer knows: participant_id, cine, view, k, kind, frames, ed, es, split.

    kind: the view; of a short-axis slice whether the observer drew the LV there at ED, `sax with LV` or `sax without
    LV`: beyond base and apex its phases show only in what lies around it. split: participant_id → train, validation,
    test; subjects who are not in it are left out. views: default all.
    Cines of fewer than 8 frames are no cycle and are left out, and sections that lack a frame. Raises ValueError where
    nothing is left.
    """
    looked, rows = cohort.observer(observer), []
    cines = cohort.cines[(cohort.cines["frames"] >= FEWEST_FRAMES) & cohort.cines["participant_id"].isin(split.index)]
    cines = cines if views is None else cines[cines["view"].isin(list(views))]
    for row in cines.itertuples():
        if not looked.has(row.cine, "frames.tsv"):
            continue
        ed, es = (int(looked.frames(row.cine)[phase]) for phase in ("ed", "es"))
        kinds = np.full(row.slices, row.view, object)
        if row.view == "sax" and looked.has(row.cine):
            drawn = (looked.mask(row.cine).mask[ed] == STRUCTURES["lv"]).any((1, 2))
            kinds = np.where(drawn, "sax with LV", "sax without LV")
        keys = row.participant_id, row.cine, row.view
        rows += [(*keys, k, kinds[k], row.frames, ed, es) for k in whole_sections(cohort, row)]
    if not rows:
        raise ValueError(
            f"observer {observer!r} knows ED and ES of no cine with {FEWEST_FRAMES} or more frames in "
            f"{cohort.path.name}; choose another observer, views or cohort"
        )
    table = pd.DataFrame(rows, columns=["participant_id", "cine", "view", "k", "kind", "frames", "ed", "es"])
    return table.assign(split=table["participant_id"].map(split))


def cut_frames(n: int, ed: int, es: int, most: int, random) -> np.ndarray:
    """The frames of n that are left when 0 to `most` neighbours, never ED or ES, and never so many that fewer than 8
    stay, are left out at a random place. random: `numpy.random`, or a generator."""
    draw = getattr(random, "integers", None) or random.randint
    gone = (draw(n) + np.arange(min(draw(most + 1), n - FEWEST_FRAMES))) % n
    frames = np.arange(n)
    return frames if {ed, es} & set(gone.tolist()) else np.setdiff1d(frames, gone)


def clip_of(section: Section, plane: Plane, frames: int) -> np.ndarray:
    """(rows, columns, frames) float32, 0 to 1: a section on the plane's grid, its cycle in `frames` even steps."""
    low, high = section.cine.intensity_window()
    images = np.stack([plane.pixels(image, outside=low) for image in section.pixels])
    images = np.moveaxis(section.resampled(images, frames), 0, -1)  # in memory a frame stays in one piece
    return np.clip((images - low) / (high - low), 0, 1)


def central_plane(cine: Cine, task) -> Plane:
    """The grid of a `TempReg` around the moving region; pixels of unknown size count as 1.4 mm, as in most cines."""
    step = task.spacing_mm / np.array(cine.spacing_mm[1:] if cine.spacing_known else (1.4, 1.4))
    return Plane.around(cine.pixels.shape[2:], step, (task.size, task.size), moving_centre(cine))


def section_clip(cine: Cine, k: int, task, order=None) -> np.ndarray:
    """(frames, size, size) float32, 0 to 255, around the moving region: what the network of a task sees of slice k.

    order: of the cine's frames; default all, from the first on."""
    return 255 * clip_of(cine.section(k, order), central_plane(cine, task), task.frames).transpose(2, 0, 1)


class TensorCurve(TensorBase):
    """(frames,) float: a target or a prediction; shows itself as a title."""

    def show(self, ctx=None, **kwargs):
        if ctx is not None:
            ctx.set_title(f"ED {int(self.argmax())}, ES {int(self.argmin())}", fontsize=9)
        return ctx


class SectionClip(ItemTransform):
    """(SliceRef, (ed, es)) → (TensorClip, TensorCurve): one warp for all frames, the cycle in `frames` even steps.

    In training the crop is shifted, turned and scaled, grey values vary, up to `cut` neighbouring frames are left out,
    and the recording begins anywhere (not with target `paper`, which knows a first frame): both before the cycle comes
    in even steps, whose blur would tell where frames lay.
    """

    def __init__(self, task):
        self.task, self.training = task, False
        self.random = RandomPlane(task.spacing_mm, task.size, rotation_deg=30.0, shift_mm=8.0, anywhere=0.0)

    def __call__(self, pair, split_idx=None, **kwargs):
        self.training = split_idx == 0  # as blocks.StandardSlice: one transform that looks at the split
        return super().__call__(pair, split_idx=split_idx, **kwargs)

    def encodes(self, pair):
        (reference, (ed, es)), frames, target = pair, self.task.frames, self.task.target
        cine, k, order = reference.cine, reference.k, None
        if self.training and target == "cyclic":
            order = cut_frames(cine.frames, ed, es, self.task.cut, np.random)
            order = np.roll(order, np.random.randint(len(order)))
            ed, es = (int(np.flatnonzero(order == frame)[0]) for frame in (ed, es))
        plane = self.random.plane(reference) if self.training else central_plane(cine, self.task)
        section = cine.section(k, order)
        clip = clip_of(section, plane, frames)
        ed, es = (section.to_even(frame, frames) for frame in (ed, es))
        if self.training:
            clip = self.random.intensities(clip)
        clip = np.ascontiguousarray(255 * np.clip(clip, 0, 1).transpose(2, 0, 1), np.float32)
        curve = target_curve(ed, es, frames, target).astype(np.float32)
        return TensorClip(torch.from_numpy(clip)), TensorCurve(torch.from_numpy(curve))
