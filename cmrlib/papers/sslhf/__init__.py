"""SSLHF: heart failure with reduced or preserved EF from short-axis cines, after learning to restore them.

Zhong et al., "A self-supervised learning based framework for automatic heart failure classification on cine cardiac
magnetic resonance image": stage one restores patches of the left ventricle through time that were shuffled and covered;
stage two is its encoder with three fully connected layers; a patient's score is the mean over his patches.

    task, models, card = Task.load("runs/quick/06_sslhf/weights/sslhf")
    task.predict(models, cohort, annotations="truth")

README.md maps the paper's equations, tables and figures to functions and notebook cells, and says where we leave it.
"""

from cmrlib.papers.sslhf import restoration, tables
from cmrlib.papers.sslhf.network import Classifier, Restorer
from cmrlib.papers.sslhf.patches import lv_slices, patient_split, section_patch
from cmrlib.papers.sslhf.task import HeartFailure, SslhfRestoration
from cmrlib.papers.sslhf.transformations import KINDS, PatchItem

__all__ = [
    "KINDS", "Classifier", "HeartFailure", "PatchItem", "Restorer", "SslhfRestoration", "lv_slices", "patient_split",
    "restoration", "section_patch", "tables",
]  # fmt: skip
