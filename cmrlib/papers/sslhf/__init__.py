"""SSLHF: heart failure with reduced or preserved EF from short-axis cines, after learning to restore them.

README.md maps the paper (Zhong et al.) to functions and notebook cells.

    task, models, card = Task.load("runs/quick/06_sslhf/weights/sslhf")
    task.predict(models, cohort, annotations="truth")
"""

from cmrlib.papers.sslhf import restoration, tables
from cmrlib.papers.sslhf.network import Classifier, Restorer
from cmrlib.papers.sslhf.patches import labelled, lv_slices, patient_split, section_patch
from cmrlib.papers.sslhf.task import HeartFailure, SslhfRestoration
from cmrlib.papers.sslhf.transformations import KINDS, PatchItem

__all__ = [
    "KINDS", "Classifier", "HeartFailure", "PatchItem", "Restorer", "SslhfRestoration", "labelled", "lv_slices",
    "patient_split", "restoration", "section_patch", "tables",
]  # fmt: skip
