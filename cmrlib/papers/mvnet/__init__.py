"""MVnet: mitral points in every frame of 2CH and 4CH cines, by two residual networks per view.

Gonzales et al., J Cardiovasc Magn Reson 2021;23:137. Stage 1 sees the whole frame, stage 2 the valve set upright at
.75 mm; stage 2 may be repeated on its own output (1+2+2 is the paper's choice).

    task, models, card = MitralTracking.load("runs/quick/04_mvnet")
    task.predict(models, cohort, out="observers/mvnet")

README.md maps the paper's figures and tables to functions and notebook cells, and says where we leave it.
"""

from cmrlib.papers.mvnet.data import frame_of, points_of
from cmrlib.papers.mvnet.evaluation import (
    compare_observers,
    mean_position,
    motion_metrics,
    plane_angle_deg,
    point_errors,
    summarise,
)
from cmrlib.papers.mvnet.geometry import apical_side, stage1_plane, stage2_plane
from cmrlib.papers.mvnet.loss import PointLoss, decode, expected_points, gaussian_maps
from cmrlib.papers.mvnet.network import MVNet, load_imagenet
from cmrlib.papers.mvnet.task import MitralPoints, MitralTracking

__all__ = [
    "MVNet",
    "MitralPoints",
    "MitralTracking",
    "PointLoss",
    "apical_side",
    "compare_observers",
    "decode",
    "expected_points",
    "frame_of",
    "gaussian_maps",
    "load_imagenet",
    "mean_position",
    "motion_metrics",
    "plane_angle_deg",
    "point_errors",
    "points_of",
    "stage1_plane",
    "stage2_plane",
    "summarise",
]
