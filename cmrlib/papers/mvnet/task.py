"""MVnet as tasks: one network finds points in single frames; tracking composes two of them per view."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from fastai.data.block import DataBlock, TransformBlock
from fastai.optimizer import OptimWrapper
from torch import nn

from cmrlib import cine
from cmrlib.cine import Cine, Plane
from cmrlib.cine.display import is_mirrored
from cmrlib.cohort import Annotation
from cmrlib.learning import training
from cmrlib.learning.inference import as_list, infer
from cmrlib.learning.task import Task, by_split
from cmrlib.measures import RefusedError
from cmrlib.measures.curves import FEWEST_FRAMES
from cmrlib.measures.valve import points_outside, points_table
from cmrlib.papers.mvnet import data, geometry, loss, network
from cmrlib.papers.mvnet.data import StandardFrame, frame_of, frame_table, pictures, points_of
from cmrlib.papers.mvnet.geometry import ORIENTATIONS, knows_orientation, spacing_or_one
from cmrlib.papers.mvnet.loss import PointLoss, decode, peak_confidence
from cmrlib.papers.mvnet.network import MVNet

ANNULUS_MM = 32.0
"""Where pixel size was lost, an annulus counts as so long (Ricci 2020: 24 to 41 mm): it only sets the enlargement."""
BATCH = 32
SHORTEST_MM = 2.0
"""Two points nearer than this are no annulus: there is no valve in what the network saw."""
FAR = 0.25
"""Passes that differ by this share of the annulus have nothing in common: a confidence of 0."""


@dataclass(frozen=True)
class MitralPoints(Task):
    """Two mitral points in single frames of one view: the network of one stage. `MitralTracking` predicts with it.

    stage: 1 sees the whole image, 2 the upright valve. scale: of the pictures' sides, 1 for the paper's 160×160 and
    118×162; less is the same field of view with fewer pixels. backbone, head: of `MVNet`. frames_per_cine: to learn
    from, spread over the cycle, 0 for all. n_repeats: of a training frame in an epoch (the paper has ten fixed copies).
    constant_rate: the paper's Adam at one rate, in place of one cycle. augment_…: ± scale, rotation and shift (pixels
    of the picture), and mirrored pictures for images that lost their orientation.
    """

    views: tuple[str, ...] = ("4ch",)
    stage: int = 1
    scale: float = 1.0
    backbone: str = "resnet50"
    head: str = "points"
    frames_per_cine: int = 0
    n_repeats: int = 10
    constant_rate: bool = False
    augment_scale: float = 0.1
    augment_rotation_deg: float = 10.0
    augment_shift_px: float = 3.0
    augment_mirror: bool = False

    code = (cine, cine.plane, cine.display, data, geometry, loss, network, training)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the network's picture."""
        whole = geometry.STAGE1_SHAPE if self.stage == 1 else geometry.STAGE2_SHAPE
        return tuple(round(n * self.scale) for n in whole)

    def plane(self, cine: Cine, points_px=None, mirrored: bool | None = None, by=None) -> Plane:
        """Where the network looks. points_px: (2, 2) of the frame that gives stage 2 its orientation and centre; in
        stage 1 they lay an image upright whose orientation is unknown. by, for stage 1: one of `ORIENTATIONS`."""
        if self.stage == 1:
            if by is None and points_px is not None and not knows_orientation(cine):
                by = geometry.orientation_from_points(points_px, self.views[0])
            return geometry.stage1_plane(cine, self.shape, by)
        mirrored, step = is_mirrored(cine) if mirrored is None else mirrored, geometry.STAGE2_MM / self.scale
        if not cine.spacing_known:
            step *= float(np.hypot(*(points_px[1] - points_px[0]))) / ANNULUS_MM
        return geometry.stage2_plane(points_px, spacing_or_one(cine), cine.pixels.shape[2:], mirrored, self.shape, step)

    def fit(self, learn, epochs, lr, cbs=()):
        learn.fit(epochs, lr, cbs=cbs) if self.constant_rate else super().fit(learn, epochs, lr, cbs)

    def optimiser(self, params, lr):
        return OptimWrapper(params, torch.optim.Adam, lr=lr) if self.constant_rate else super().optimiser(params, lr)

    def items(self, cohort, annotations, split):
        return frame_table(cohort, annotations, self.views[0], split, self.frames_per_cine, self.n_repeats)

    def block(self, cohort, annotations):
        points = points_of(cohort, annotations)
        return DataBlock(
            blocks=(TransformBlock, TransformBlock),
            get_x=frame_of(cohort, points),
            get_y=lambda row: points(row["cine"])[row["frame"]],
            splitter=by_split,
            item_tfms=self.transform(),
        )

    def transform(self) -> StandardFrame:
        return StandardFrame(self)

    def network(self):
        return MVNet(self.backbone, self.head)

    def loss(self):
        return PointLoss(self.shape)

    def points(self, models, cine, frames, planes, precision="bf16") -> np.ndarray:
        """(frames, 2, 2): points of these frames, each seen on its plane, as (column, row) of the native image."""
        seen = pictures(cine, frames, planes)
        outputs = torch.cat([infer(models, part, precision) for part in seen.split(BATCH)])
        found = decode(outputs, self.shape).double().numpy()
        return np.stack([plane.back_points(pair) for plane, pair in zip(planes, found)])


@dataclass(frozen=True)
class MitralTracking(Task):
    """Mitral points in every frame: stage 1, then stage 2 on what the last pass set upright, `n_passes` times.

    Not trained itself. points: settings that its networks share; its models are `nn.ModuleDict`s with the networks
    VIEW_stage1 and VIEW_stage2. least_confidence: a cine below it has the flag valve_not_found. smooth_ms: of the
    motion, as validation subjects chose it.
    """

    views: tuple[str, ...] = ("4ch", "2ch")
    points: MitralPoints = MitralPoints()
    n_passes: int = 2
    least_confidence: float = 0.0
    smooth_ms: float = 0.0

    def stages(self) -> dict[str, MitralPoints]:
        """Name of each network → the task that trains it."""
        return {f"{v}_stage{n}": replace(self.points, views=(v,), stage=n) for v in self.views for n in (1, 2)}

    def network(self):
        return nn.ModuleDict({name: stage.network() for name, stage in self.stages().items()})

    def passes(self, models, cine: Cine, n_passes: int | None = None, precision: str = "bf16") -> list[np.ndarray]:
        """Points (frames, 2, 2) after the last two passes (one where stage 2 never runs), NaN in missing frames.

        Raises RefusedError for a view without networks, and where every frame is missing.
        """
        n_passes = self.n_passes if n_passes is None else n_passes
        if cine.view not in self.views:
            raise RefusedError(cine.name, f"no network for view {cine.view}", f"there are {', '.join(self.views)}")
        there = np.flatnonzero(~cine.missing[0])
        if not len(there):
            raise RefusedError(cine.name, "every frame is missing", "read the study again")
        first, second = (self.stages()[f"{cine.view}_stage{n}"] for n in (1, 2))
        nets = [[model[f"{cine.view}_stage{n}"] for model in as_list(models)] for n in (1, 2)]
        by = None if knows_orientation(cine) else _most_confident_orientation(first, nets[0], cine, there, precision)
        # where one frame sets the picture upright for all, stage 1 need not look at the others
        seen = there[:1] if by is None and n_passes > 1 else there
        found = [first.points(nets[0], cine, seen, [first.plane(cine, by=by)] * len(seen), precision)]
        for _ in range(n_passes):
            used = found[-1][:1] if by is None else found[-1]
            lengths = _lengths(used, spacing_or_one(cine))
            if lengths.min() > SHORTEST_MM:
                planes = _upright(second, cine, there, found[-1], by)
                found.append(second.points(nets[1], cine, there, planes, precision))
            else:  # nothing can be set upright: no annulus in any frame, so a confidence of 0
                found.append(np.repeat(used[[lengths.argmin()]], len(there), 0))
        every = np.full((len(found[-2:]), cine.frames, 2, 2), np.nan)
        every[:, there] = found[-2:]
        return list(every)

    def predict_cine(self, models, cine, annotation=None, n_passes=None, precision="bf16"):
        """Annotation with points of every frame, and one row: confidence (median over frames) and flags.

        The confidence of a frame is how little the last pass moved its points. Flags: valve_not_found where the median
        is below `least_confidence`, points_outside the image.
        """
        found = self.passes(models, cine, n_passes, precision)
        confidence = agreement(found, spacing_or_one(cine))
        flags = ["valve_not_found"] if np.nanmedian(confidence) < self.least_confidence else []
        flags += ["points_outside"] if points_outside(cine, found[-1]) else []
        row = {"confidence": float(np.nanmedian(confidence)), "flags": ";".join(flags)}
        return Annotation(points=points_table(cine, found[-1], confidence)), [row]

    def save(self, models, path, **card):
        """Each network as VIEW_stageN in the folder `path`, with a card of its own task that also holds n_passes,
        least_confidence and smooth_ms."""
        own = {name: getattr(self, name) for name in ("n_passes", "least_confidence", "smooth_ms")}
        for name, stage in self.stages().items():
            stage.save([model[name] for model in as_list(models)], Path(path) / name, **own | card)

    @staticmethod
    def load(path) -> tuple["MitralTracking", list[nn.ModuleDict], dict]:
        """(task, models, card of the first network) of a run's folder or its folder of weights.

        Raises FileNotFoundError where there are none, ValueError for weights under another view's name.
        """
        folder = Path(path) / "weights" if (Path(path) / "weights").is_dir() else Path(path)
        views = tuple(view for view in MitralTracking.views if (folder / f"{view}_stage1.json").exists())
        if not views:
            raise FileNotFoundError(f"no weights of MVnet (4ch_stage1, 2ch_stage1) in {folder}; name a run of 04_mvnet")
        loaded = {f"{view}_stage{n}": Task.load(folder / f"{view}_stage{n}") for view in views for n in (1, 2)}
        tasks, models, (card, *others) = zip(*loaded.values())
        least = min(one["least_confidence"] for one in (card, *others))
        points = replace(tasks[0], views=MitralPoints.views)
        task = MitralTracking(views, points, card["n_passes"], least, card["smooth_ms"])
        if list(task.stages().values()) != list(tasks):
            raise ValueError(f"the weights in {folder} are of other views or stages than their names say")
        return task, [nn.ModuleDict(dict(zip(loaded, nets))) for nets in zip(*models)], card


def _most_confident_orientation(first: MitralPoints, models, cine, there, precision, most: int = 4):
    """Of the eight `ORIENTATIONS` the one in which stage 1 is most confident of its points. Four numbers per picture
    (head "points") come without a confidence: then as it is stored."""
    if first.head == "points":
        return ORIENTATIONS[0]
    seen = there[:: -(-len(there) // most)]
    looks = [pictures(cine, seen, [first.plane(cine, by=by)] * len(seen)) for by in ORIENTATIONS]
    return ORIENTATIONS[int(np.argmax([peak_confidence(infer(models, one, precision)).mean() for one in looks]))]


def _upright(second: MitralPoints, cine, there, points, by) -> list[Plane]:
    """Stage 2's planes, one per frame: all the first frame's, unless a cohort kept single frames of unknown size."""
    mirrored = None if by is None else geometry.is_reflection(by)
    if by is not None and len(there) >= FEWEST_FRAMES:
        ed = int(np.abs(there - (cine.ed or 0)).argmin())
        mirrored = geometry.apical_side(points, spacing_or_one(cine), ed) < 0
    if cine.spacing_known:
        return [second.plane(cine, points[0], mirrored)] * len(there)
    return [second.plane(cine, pair, mirrored) for pair in points]


def agreement(passes, spacing_mm) -> np.ndarray:
    """(frames,) 0 to 1: 1 where the last two passes agree, 0 where they differ by `FAR` of the annulus or more; NaN
    where there are no points."""
    known = np.isfinite(passes[-1]).all((1, 2))
    if len(passes) < 2:
        return np.where(known, 1.0, np.nan)
    before, after = (np.asarray(points) * spacing_mm for points in passes[-2:])
    annulus, moved = _lengths(after, 1.0), np.hypot(*np.moveaxis(after - before, -1, 0)).mean(1)
    agree = np.clip(1 - moved / (FAR * np.maximum(annulus, SHORTEST_MM)), 0, 1)
    return np.where(known, np.where(annulus > SHORTEST_MM, agree, 0.0), np.nan)


def _lengths(points, spacing_mm):
    """Distance (frames,) between the two points."""
    return np.hypot(*np.moveaxis((points[:, 1] - points[:, 0]) * spacing_mm, -1, 0))
