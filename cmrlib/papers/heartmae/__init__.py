"""HeartMAE: masked autoencoding of cine clips, its loss weighted by where the section moves; embeddings of hearts.

Kim et al., "HeartMAE: Advancing Cardiac MRI Analysis through Optical Flow Guided Masked Autoencoding". An encoder (ViT)
sees a tenth of a clip's tokens and a light decoder reconstructs the others; the encoder, frozen, gives features of many
views of a heart, pooled by gated attention for many targets at once.

    task, [model], card = Task.load("runs/full/07_heartmae_pretrain/weights/flow")
    task.embed(model, cine, k)  # (views, width)

README.md maps the paper's equations, tables and figures to functions and notebook cells, and says where we leave it.
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
