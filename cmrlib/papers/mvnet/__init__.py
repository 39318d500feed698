"""MVnet: mitral points in every frame of 2CH and 4CH cines, by two residual networks per view.

    task, models, card = MitralTracking.load("runs/quick/04_mvnet")
    task.predict(models, cohort, out="observers/mvnet")

README.md cites the paper, maps its figures and tables to functions and notebook cells, and says where we leave it.
"""

from cmrlib.papers.mvnet.data import frame_of, points_of
from cmrlib.papers.mvnet.evaluation import compare_observers, mean_position, motion_metrics, point_errors, summarise
from cmrlib.papers.mvnet.loss import decode, expected_points, gaussian_maps
from cmrlib.papers.mvnet.network import load_imagenet
from cmrlib.papers.mvnet.task import MitralPoints, MitralTracking

__all__ = [
    "MitralPoints", "MitralTracking", "compare_observers", "decode", "expected_points", "frame_of", "gaussian_maps",
    "load_imagenet", "mean_position", "motion_metrics", "point_errors", "points_of", "summarise",
]  # fmt: skip
