"""MVnet: mitral points in every frame of 2CH and 4CH cines, by two residual networks a view.

Gonzales et al., J Cardiovasc Magn Reson 2021;23:137. Stage 1 looks at the whole frame, 160×160; stage 2 at the valve
set upright, .75 mm, 118×162, and may be repeated on its own output (1+2+2 is the paper's choice).

Where we leave the paper, and why:

* the image is first set upright by the affine, in quarter turns and a mirror (`geometry.stage1_plane`): stored in any
  of eight ways, a heart gives the same picture. Where the affine is lost, stage 1 looks at all eight and the one counts
  in which it is surest (`tracking`); which side the apex is then follows from the motion of the frames, as published;
  where there is no motion either, from the names of the points;
* head "maps" reads points from heat maps (cross-entropy and MSE) where the paper's head "points" has four numbers and
  MSE: without ImageNet weights it learns from far fewer hearts;
* augmentation is drawn anew each time in place of ten fixed copies, and grey values vary too;
* one-cycle rates around the given one, averaged weights and weight decay (`training.fit`), as all learners here;
* displacement has a sign (apical positive) and smoothing is stated: see `measures.valve`;
* 118 training subjects for Lund in the text contradict table 2 (442): the table is right. 118×162 are rows×columns.
"""

from cmrlib.papers.mvnet.blocks import Augmentation, Look, frame_table, points_block, standard_look
from cmrlib.papers.mvnet.drawn import annulus_errors, annulus_metrics, mean_position, points_from_edges, refusals
from cmrlib.papers.mvnet.evaluation import (
    by_stage,
    cut_summary,
    displacement_errors,
    gain_over,
    inter_observer,
    panels,
    people_metrics,
    point_errors,
    stage_metrics,
)
from cmrlib.papers.mvnet.geometry import apical_side, is_mirrored, stage1_plane, stage2_plane
from cmrlib.papers.mvnet.learning import Recipe, points_learner, train_network, train_tracker
from cmrlib.papers.mvnet.network import MVNet, PointLoss, build, decode, load_imagenet
from cmrlib.papers.mvnet.tracking import STAGES, ViewTracker, load_trackers, save_smoothing, save_trackers, track_cohort
from cmrlib.papers.mvnet.variability import Source, pipelines, variability, variability_metrics

__all__ = [
    "STAGES",
    "Augmentation",
    "Look",
    "MVNet",
    "PointLoss",
    "Recipe",
    "Source",
    "ViewTracker",
    "annulus_errors",
    "annulus_metrics",
    "apical_side",
    "build",
    "by_stage",
    "cut_summary",
    "decode",
    "displacement_errors",
    "frame_table",
    "gain_over",
    "inter_observer",
    "is_mirrored",
    "load_imagenet",
    "load_trackers",
    "mean_position",
    "panels",
    "people_metrics",
    "pipelines",
    "point_errors",
    "points_block",
    "points_from_edges",
    "points_learner",
    "refusals",
    "save_smoothing",
    "save_trackers",
    "stage1_plane",
    "stage2_plane",
    "stage_metrics",
    "standard_look",
    "track_cohort",
    "train_network",
    "train_tracker",
    "variability",
    "variability_metrics",
]
