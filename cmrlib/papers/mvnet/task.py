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
from cmrlib.papers.mvnet.data import StandardFrame, frame_of, frame_table, labels_of, pictures, points_of
from cmrlib.papers.mvnet.geometry import ORIENTATIONS, knows_orientation, spacing_or_one
from cmrlib.papers.mvnet.loss import PointLoss, decode, peak_confidence
from cmrlib.papers.mvnet.network import MVNet

ANNULUS_MM = 32.0
"""Where pixel size was lost, an annulus counts as so long (Ricci 2020: 24 to 41 mm): it only sets the enlargement."""
BATCH = 32
SHORTEST_MM = 2.0
"""Two points nearer than this are no annulus: there is no valve in what the network saw."""
BESIDE_MM = 8.0
"""Half the width, and the depth, of the two fields on both sides of the valve in which `below` looks for the cavity."""
TTA = ((1.0, 0.0, False), (0.9, 8.0, True), (1.1, -8.0, True), (0.9, -8.0, False), (1.1, 8.0, False))
"""Passes of test-time augmentation: scale, rotation (degrees), mirrored."""
N_ORIENTATIONS = 3
"""Of an image that lost its orientation, so many of the most confident in stage 1 are followed through stage 2."""
FAR = 0.25
"""Passes that differ by this share of the annulus have nothing in common: a confidence of 0."""


OWN = ("n_passes", "least_confidence", "smooth_ms", "joint", "n_tta")
"""Fields of `MitralTracking` that the cards of its networks hold."""


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
                by = geometry.orientation_from_points(points_px, cine.view)
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
        return frame_table(cohort, annotations, self.views, split, self.frames_per_cine, self.n_repeats)

    def block(self, cohort, annotations):
        points = points_of(cohort, annotations)
        wanted = [lambda row: points(row["cine"])[row["frame"]]]
        wanted += [labels_of(cohort, annotations)] if self.head == "masks" else []
        return DataBlock(
            blocks=[TransformBlock] * (1 + len(wanted)),
            n_inp=1,
            get_x=frame_of(cohort, points),
            get_y=wanted,
            splitter=by_split,
            item_tfms=self.transform(),
        )

    def transform(self) -> StandardFrame:
        return StandardFrame(self)

    def network(self):
        return MVNet(self.backbone, self.head)

    def loss(self):
        return PointLoss(self.shape)

    def outputs(self, models, cine, frames, planes, precision="bf16") -> torch.Tensor:
        """What the network says of these frames, each seen on its plane."""
        seen = pictures(cine, frames, planes)
        return torch.cat([infer(models, part, precision) for part in seen.split(BATCH)])

    def points(self, models, cine, frames, planes, precision="bf16", n_tta: int = 1) -> np.ndarray:
        """(frames, 2, 2): points of these frames, each seen on its plane, as (column, row) of the native image; their
        mean over the first `n_tta` of `TTA`."""
        found = []
        for scale, rotation_deg, mirror in TTA[:n_tta]:
            mirror = mirror and self.augment_mirror
            moved = [geometry.jittered(plane, scale, rotation_deg, (0, 0), mirror) for plane in planes]
            pairs = decode(self.outputs(models, cine, frames, moved, precision), self.shape).double().numpy()
            pairs = np.stack([plane.back_points(pair) for plane, pair in zip(moved, pairs)])
            found.append(pairs[:, ::-1] if mirror else pairs)
        return np.mean(found, 0)

    def below(self, models, cine, frames, planes, precision="bf16") -> np.ndarray:
        """(frames,) how much more cavity a network with head "masks" sees on the apical side of the valve than beyond
        it, −1 to 1. planes: each set upright by its frame's points."""
        cavity = self.outputs(models, cine, frames, planes, precision)[:, 2].sigmoid().numpy()
        (rows, columns), cells = cavity.shape[1:], round(BESIDE_MM / geometry.STAGE2_MM * self.scale / 4)
        beside = cavity[:, :, columns // 2 - cells : columns // 2 + cells + 1].mean(2)  # (frames, rows)
        apical, atrial = rows // 2 + 1, rows // 2 - 1 - cells  # the row between counts for neither
        return beside[:, apical : apical + cells].mean(1) - beside[:, atrial : atrial + cells].mean(1)


@dataclass(frozen=True)
class MitralTracking(Task):
    """Mitral points in every frame: stage 1, then stage 2 on what the last pass set upright, `n_passes` times.

    Not trained itself. points: settings that its networks share; its models are `nn.ModuleDict`s with the networks
    VIEW_stage1 and VIEW_stage2; joint: one pair for all views, lax_stage1 and lax_stage2. n_tta: passes of test-time
    augmentation in stage 2. least_confidence: a cine below it has the flag valve_not_found. smooth_ms: of the motion,
    as validation subjects chose it.
    """

    views: tuple[str, ...] = ("4ch", "2ch")
    points: MitralPoints = MitralPoints()
    n_passes: int = 2
    least_confidence: float = 0.0
    smooth_ms: float = 0.0
    joint: bool = False
    n_tta: int = 1

    def stages(self) -> dict[str, MitralPoints]:
        """Name of each network → the task that trains it."""
        served = {self.network_of(v, n): (self.views if self.joint else (v,), n) for v in self.views for n in (1, 2)}
        return {name: replace(self.points, views=views, stage=n) for name, (views, n) in served.items()}

    def network_of(self, view: str, stage: int) -> str:
        """Name of the network that serves a view in a stage."""
        return f"{'lax' if self.joint else view}_stage{stage}"

    def network(self):
        return nn.ModuleDict({name: stage.network() for name, stage in self.stages().items()})

    def track(self, models, cine: Cine, n_passes: int | None = None, precision: str = "bf16"):
        """Points (frames, 2, 2) and confidence (frames,), NaN in missing frames.

        The confidence of a frame is how little the last pass moved its points; with head "masks", at most how much more
        of the cavity lies on their apical side. Where the orientation was lost, the most confident one counts. Raises
        RefusedError for a view without networks, and where every frame is missing.
        """
        n_passes = self.n_passes if n_passes is None else n_passes
        if cine.view not in self.views:
            raise RefusedError(cine.name, f"no network for view {cine.view}", f"there are {', '.join(self.views)}")
        there = np.flatnonzero(~cine.missing[0])
        if not len(there):
            raise RefusedError(cine.name, "every frame is missing", "read the study again")
        names = [self.network_of(cine.view, n) for n in (1, 2)]
        nets = [[model[name] for model in as_list(models)] for name in names]
        first, second = (replace(self.stages()[name], views=(cine.view,)) for name in names)
        looks = [None] if knows_orientation(cine) else _likely_orientations(first, nets[0], cine, there, precision)
        tried = [self._followed(first, second, nets, cine, there, by, n_passes, precision) for by in looks]
        points, confidence = np.full((cine.frames, 2, 2), np.nan), np.full(cine.frames, np.nan)
        points[there], confidence[there] = max(tried, key=lambda found: np.median(found[1]))
        return points, confidence

    def _followed(self, first, second, nets, cine, there, by, n_passes, precision):
        """Points and confidence of the frames `there` by both stages; by: one of `ORIENTATIONS` for an image that lost
        its own."""
        # where one frame sets the picture upright for all, stage 1 need not look at the others
        seen, spacing = there[:1] if by is None and n_passes > 1 else there, spacing_or_one(cine)
        found = [first.points(nets[0], cine, seen, [first.plane(cine, by=by)] * len(seen), precision)]
        for _ in range(n_passes):
            used = found[-1][:1] if by is None else found[-1]
            lengths = _lengths(used, spacing)
            if lengths.min() > SHORTEST_MM:
                planes = _upright(second, cine, there, found[-1], by)
                found.append(second.points(nets[1], cine, there, planes, precision, self.n_tta))
            else:  # nothing can be set upright: no annulus in any frame, so a confidence of 0
                found.append(np.repeat(used[[lengths.argmin()]], len(there), 0))
        confidence, valves = agreement(found[-2:], spacing), _lengths(found[-1], spacing) > SHORTEST_MM
        if n_passes and second.head == "masks" and valves.any():
            mirrored = None if by is None else geometry.is_reflection(by)
            planes = [second.plane(cine, pair, mirrored) for pair in found[-1][valves]]
            below = second.below(nets[1], cine, there[valves], planes, precision)
            confidence[valves] = np.minimum(confidence[valves], np.clip(below, 0, 1))
        return found[-1], confidence

    def predict_cine(self, models, cine, annotation=None, n_passes=None, precision="bf16"):
        """Annotation with points of every frame, and one row: confidence (median over frames) and flags.

        Flags: valve_not_found where the median confidence is below `least_confidence`, points_outside the image.
        """
        found, confidence = self.track(models, cine, n_passes, precision)
        flags = ["valve_not_found"] if np.nanmedian(confidence) < self.least_confidence else []
        flags += ["points_outside"] if points_outside(cine, found) else []
        row = {"confidence": float(np.nanmedian(confidence)), "flags": ";".join(flags)}
        return Annotation(points=points_table(cine, found, confidence)), [row]

    def save(self, models, path, **card):
        """Each network as VIEW_stageN in the folder `path`, with a card of its own task that also holds
        `OWN`."""
        own = {name: getattr(self, name) for name in OWN}
        for name, stage in self.stages().items():
            stage.save([model[name] for model in as_list(models)], Path(path) / name, **own | card)

    @staticmethod
    def load(path) -> tuple["MitralTracking", list[nn.ModuleDict], dict]:
        """(task, models, card of the first network) of a run's folder or its folder of weights.

        Raises FileNotFoundError where there are none, ValueError for weights under another view's name.
        """
        folder = Path(path) / "weights" if (Path(path) / "weights").is_dir() else Path(path)
        names = [name for name in ("lax", *MitralTracking.views) if (folder / f"{name}_stage1.json").exists()]
        if not names:
            raise FileNotFoundError(
                f"no weights of MVnet (lax_stage1, 4ch_stage1, …) in {folder}; name a run of 04_mvnet"
            )
        loaded = {f"{name}_stage{n}": Task.load(folder / f"{name}_stage{n}") for name in names for n in (1, 2)}
        tasks, models, (card, *others) = zip(*loaded.values())
        own = {name: card[name] for name in OWN if name in card}
        own["least_confidence"] = min(one["least_confidence"] for one in (card, *others))
        views = tasks[0].views if own.get("joint") else tuple(names)
        task = MitralTracking(views, replace(tasks[0], views=MitralPoints.views), **own)
        if list(task.stages().values()) != list(tasks):
            raise ValueError(f"the weights in {folder} are of other views or stages than their names say")
        return task, [nn.ModuleDict(dict(zip(loaded, nets))) for nets in zip(*models)], card


def _likely_orientations(first: MitralPoints, models, cine, there, precision, most: int = 4) -> list:
    """The `N_ORIENTATIONS` in which stage 1 is most confident of its points; mirrored ones are not tried where pictures
    of both hands were learned from. Head "points" comes without a confidence: then as it is stored."""
    if first.head == "points":
        return ORIENTATIONS[:1]
    seen = there[:: -(-len(there) // most)]
    tried = [by for by in ORIENTATIONS if not (first.augment_mirror and geometry.is_reflection(by))]
    looks = [first.outputs(models, cine, seen, [first.plane(cine, by=by)] * len(seen), precision) for by in tried]
    return [tried[n] for n in np.argsort([-float(peak_confidence(one).mean()) for one in looks])[:N_ORIENTATIONS]]


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
