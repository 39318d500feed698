"""Prediction: a cine in, its mitral points in every frame out, stage by stage, with a confidence."""

import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import MITRAL_POINTS
from cmrlib.cohort import POINT_COLUMNS, Annotation, Observer
from cmrlib.cohort.files import write_json
from cmrlib.cohort.progress import with_progress
from cmrlib.learning.weights import load_weights, save_weights
from cmrlib.measures.curves import FEWEST_FRAMES
from cmrlib.papers.mvnet.blocks import Look, picture
from cmrlib.papers.mvnet.geometry import (
    WAYS,
    apical_side,
    knows_orientation,
    require_valve_view,
    spacing_or_one,
    stage1_plane,
    turns_over,
)
from cmrlib.papers.mvnet.network import build, decode, fold_batch_norm, sureness

STAGES = ("stage1", "stage12", "stage122")
"""After stage 1, 1+2 and 1+2+2."""
BATCH = 32
SHORTEST_MM = 2.0
"""Two points nearer than this are no annulus: there is no valve in what the network saw."""
FAR = 0.25
"""Passes that differ by this share of the annulus have nothing in common: a confidence of 0."""


class ViewTracker:
    """The two networks of one view with the way each sees. `second` None: stage 1 alone."""

    def __init__(
        self,
        first,
        first_look: Look,
        second=None,
        second_look: Look | None = None,
        precision: str = "bf16",
        least_confidence: float = 0.0,
    ):
        self.view, self.looks = first_look.view, (first_look, second_look)
        self.models = (first.eval(), None if second is None else second.eval())
        self.networks = tuple(None if m is None else fold_batch_norm(m) for m in self.models)
        self.precision, self.least_confidence = precision, least_confidence

    def stages(self, cine: Cine, passes: int = 2, every_stage: bool = True) -> dict[str, np.ndarray]:
        """Stage → points (frames, 2, 2) as (column, row) of the native image, NaN in frames that are missing.

        passes: how often stage 2 runs. every_stage False: the last two passes are all that is asked for; stage 1 then
        looks at the first frame only, where that frame alone sets the picture upright for all. Same points, a third
        less work. Raises ValueError for another view, and where no frame is there.
        """
        require_valve_view(cine)
        if cine.view != self.view:
            raise ValueError(f"{cine.name}: these networks are for view {self.view}, the cine is {cine.view}")
        there = np.flatnonzero(~cine.missing[0])
        if not len(there):
            raise ValueError(f"{cine.name}: every frame is missing; read the study again")
        passes = passes if self.networks[1] is not None else 0
        first_sets_up = cine.spacing_known and knows_orientation(cine)  # see _upright
        seen = there[:1] if first_sets_up and passes > 1 and not every_stage else there
        way = None if knows_orientation(cine) else self._surest_way(cine, there)
        points = self._pass(0, cine, seen, [stage1_plane(cine, self.looks[0].shape, way)] * len(seen))
        found = {STAGES[0]: points} if len(seen) == len(there) else {}
        for n in range(passes):
            used = points[:1] if first_sets_up else points
            lengths = _lengths(used, spacing_or_one(cine))
            if lengths.min() > SHORTEST_MM:
                points = self._pass(1, cine, there, self._upright(cine, there, points, way))
            else:  # nothing can be set upright: no annulus in any frame, so a confidence of 0
                points = np.repeat(used[[lengths.argmin()]], len(there), 0)
            found[STAGES[n + 1] if n < 2 else f"stage1{'2' * (n + 1)}"] = points
        return {stage: _spread(points, there, cine.frames) for stage, points in found.items()}

    def _surest_way(self, cine, there, looked_at: int = 4):
        """How to lay an image that does not know how it lies: of all eight ways the one in which stage 1 is surest of
        its points. Four numbers a picture (head "points") do not say how sure they are: then as it is stored."""
        if self.models[0].architecture["head"] == "points":
            return WAYS[0]
        seen = there[:: -(-len(there) // looked_at)]
        planes = [stage1_plane(cine, self.looks[0].shape, way) for way in WAYS]
        sure = [sureness(self.infer(0, self._pictures(cine, seen, [plane] * len(seen)))).mean() for plane in planes]
        return WAYS[int(np.argmax(sure))]

    def _upright(self, cine, there, points, way):
        """A plane a frame: all share the first frame's, unless a cohort kept single frames of unknown geometry."""
        look, mirrored = self.looks[1], None if way is None else turns_over(way)
        if not knows_orientation(cine) and len(there) >= FEWEST_FRAMES:
            ed = int(np.abs(there - (cine.ed or 0)).argmin())
            mirrored = apical_side(points, spacing_or_one(cine), ed) < 0
        if cine.spacing_known:
            return [look.plane(cine, points[0], mirrored)] * len(there)
        return [look.plane(cine, pair, mirrored) for pair in points]

    def _pass(self, stage, cine, there, planes):
        pictures = self._pictures(cine, there, planes)
        found = [self.infer(stage, pictures[start : start + BATCH]) for start in range(0, len(pictures), BATCH)]
        points = decode(torch.cat(found), self.looks[stage].shape).double().numpy()
        return np.stack([plane.back_points(pair) for plane, pair in zip(planes, points)])

    def _pictures(self, cine, there, planes):
        pictures = np.stack([picture(cine.pixels[t, 0], plane) for t, plane in zip(there, planes)])[:, None]
        return torch.from_numpy(pictures.astype(np.float32)).contiguous(memory_format=torch.channels_last)

    def infer(self, stage: int, pictures) -> torch.Tensor:
        """Pictures (b, 1, rows, columns) → what the network says of them, fp32."""
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
            return self.networks[stage](pictures).float()

    def predict(self, cine: Cine, passes: int = 2) -> tuple[pd.DataFrame, list[str]]:
        """(points table (POINT_COLUMNS) of every frame, flags). The confidence of a frame is how little the last pass
        moved the points; `valve_not_found` where its median is below what validation hearts had. Both are NaN in
        frames that are missing."""
        found = list(self.stages(cine, passes, every_stage=False).values())
        confidence = agreement(found, spacing_or_one(cine))
        flags = [] if np.nanmedian(confidence) >= self.least_confidence else ["valve_not_found"]
        rows, columns = cine.pixels.shape[2:]
        if ((found[-1] <= -1) | (found[-1] >= [columns, rows])).any():
            flags.append("points_outside")
        return points_table(cine, found[-1], confidence), flags


def agreement(passes, spacing_mm) -> np.ndarray:
    """(frames,) 0 to 1: 1 where the last two passes agree, 0 where they differ by `FAR` of the annulus or more; NaN
    where there are no points."""
    known = np.isfinite(passes[-1]).all((1, 2))
    if len(passes) < 2:
        return np.where(known, 1.0, np.nan)
    before, after = (np.asarray(points) * spacing_mm for points in passes[-2:])
    annulus = _lengths(after, 1.0)
    moved = np.hypot(*np.moveaxis(after - before, -1, 0)).mean(1)
    agree = np.clip(1 - moved / (FAR * np.maximum(annulus, SHORTEST_MM)), 0, 1)
    return np.where(known, np.where(annulus > SHORTEST_MM, agree, 0.0), np.nan)


def _spread(points, there, frames):
    """Points of the frames that are there → of all frames (frames, 2, 2), NaN in the others."""
    every = np.full((frames, *points.shape[1:]), np.nan)
    every[there] = points
    return every


def _lengths(points, spacing_mm):
    """Distance (frames,) between the two points."""
    return np.hypot(*np.moveaxis((points[:, 1] - points[:, 0]) * spacing_mm, -1, 0))


def points_table(cine: Cine, points, confidence) -> pd.DataFrame:
    """Points (frames, 2, 2) and confidence (frames,) → POINT_COLUMNS, two rows a frame; never rounded."""
    rows = []
    for t, pair in enumerate(points):
        world = cine.to_world(pair, 0)
        rows += [(t, 0, name, *pair[i], *world[i], confidence[t]) for i, name in enumerate(MITRAL_POINTS[cine.view])]
    return pd.DataFrame(rows, columns=POINT_COLUMNS)


def save_trackers(trackers: dict[str, ViewTracker], folder, **card):
    """Weights of each view and stage as VIEW_stageN in a folder, each with its card."""
    for view, tracker in trackers.items():
        for n, (model, look) in enumerate(zip(tracker.models, tracker.looks), 1):
            if model is not None:
                own = {"architecture": model.architecture, "preprocessing": asdict(look)}
                confidence = {"least_confidence": tracker.least_confidence}
                save_weights(model, Path(folder) / f"{view}_stage{n}", own | confidence | card)


def save_smoothing(folder, smooth_ms: float):
    """The smoothing that validation hearts chose, beside the weights: who tracks later uses the same."""
    write_json({"smooth_ms": smooth_ms}, Path(folder) / "smoothing.json")


def load_trackers(folder, precision: str = "bf16") -> dict[str, ViewTracker]:
    """View → its tracker, of a run's folder or its folder of weights. Raises FileNotFoundError where there is none."""
    folder = Path(folder)
    folder = folder / "weights" if (folder / "weights").is_dir() else folder
    trackers = {}
    for view in MITRAL_POINTS:
        if not (folder / f"{view}_stage1.json").exists():
            continue
        found = [
            load_weights(folder / f"{view}_stage{n}", build)
            for n in (1, 2)
            if n == 1 or (folder / f"{view}_stage2.json").exists()
        ]
        parts = [part for model, card in found for part in (model, _look(card["preprocessing"]))]
        if {look.view for look in parts[1::2]} != {view}:
            raise ValueError(f"{view}_stage1 and {view}_stage2 in {folder} are weights of another view; name them so")
        trackers[view] = ViewTracker(*parts, precision=precision, least_confidence=found[0][1]["least_confidence"])
    if not trackers:
        raise FileNotFoundError(
            f"no weights of MVnet (4ch_stage1, 2ch_stage1) in {folder}; name the folder of a run "
            "of 04_mvnet, or its folder of weights"
        )
    return trackers


def _look(preprocessing):
    return Look(**(preprocessing | {"shape": tuple(preprocessing["shape"])}))


def track_cohort(
    cohort, trackers: dict[str, ViewTracker], folders: dict, subjects=None, passes: int = 2
) -> pd.DataFrame:
    """Track every cine of the views that have a tracker, and lay the points over the cohort as observers.

    folders: stage (of STAGES) → the folder of an observer that gets its points. Returns a row a cine: participant_id,
    session, cine, view, frames, confidence (median over frames), seconds, flags.
    """
    wanted = cohort.cines[cohort.cines["view"].isin(list(trackers))]
    wanted = wanted if subjects is None else wanted[wanted["participant_id"].isin(list(subjects))]
    if wanted.empty:
        raise ValueError(f"no cine of the views {', '.join(trackers)} among these subjects of {cohort.path.name}")
    rows = []
    for row in with_progress(list(wanted.itertuples()), "track", "cine"):
        cine, start, tracker = cohort.cine(row.cine), time.monotonic(), trackers[row.view]
        found = tracker.stages(cine, passes, every_stage=not set(folders).isdisjoint(STAGES[:passes]))
        names, confidence = list(found), agreement(list(found.values()), spacing_or_one(cine))
        seconds = time.monotonic() - start
        for stage, folder in folders.items():
            if stage in found:
                so_far = [found[name] for name in names[: names.index(stage) + 1]]
                table = points_table(cine, found[stage], agreement(so_far, spacing_or_one(cine)))
                Observer(folder).write(cine, Annotation(points=table))
        low = np.nanmedian(confidence) < tracker.least_confidence
        rows.append(
            {
                "participant_id": row.participant_id,
                "session": row.session,
                "cine": row.cine,
                "view": row.view,
                "frames": cine.frames,
                "confidence": float(np.nanmedian(confidence)),
                "seconds": round(seconds, 3),
                "flags": "valve_not_found" if low else "",
            }
        )
    return pd.DataFrame(rows)
