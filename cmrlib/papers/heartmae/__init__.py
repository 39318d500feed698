"""HeartMAE: masked autoencoding of cine clips, its loss weighted by where the section moves; embeddings of hearts.

README.md maps the paper (Kim et al.) to functions and notebook cells.

    task, [model], card = Task.load("runs/full/07_heartmae_pretrain/weights/flow")
    task.embed(model, cine, k)  # (views, width)
"""

from cmrlib.papers.heartmae.clips import section_table
from cmrlib.papers.heartmae.features import learn_axes, make_bags, mean_features
from cmrlib.papers.heartmae.probe import Probe
from cmrlib.papers.heartmae.study import MODELS
from cmrlib.papers.heartmae.targets import EJECTION, cardiac_targets, first_session
from cmrlib.papers.heartmae.task import VARIANTS, HeartMAE

__all__ = [
    "EJECTION", "MODELS", "VARIANTS", "HeartMAE", "Probe", "cardiac_targets", "first_session", "learn_axes",
    "make_bags", "mean_features", "section_table",
]  # fmt: skip
