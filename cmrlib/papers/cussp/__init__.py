"""CUSSP: mitral regurgitation (MR) from four-chamber cines, with few labels and many cines without.

README.md maps the paper to functions and notebook cells.

    task, models, card = Task.load("runs/quick/05_cussp/weights/siam25")
    task.predict(models, cohort, annotations="ternausnet")  # masks of LV and LA
"""

from cmrlib.learning.blocks import TensorLabel
from cmrlib.measures import RefusedError
from cmrlib.papers.cussp import baselines, preparation, table2, tabular
from cmrlib.papers.cussp.cnnlstm import CnnLstm, load_imagenet
from cmrlib.papers.cussp.data import LABELLED, Distort, Scale
from cmrlib.papers.cussp.network import cross_correlation
from cmrlib.papers.cussp.preparation import locate, prepare
from cmrlib.papers.cussp.roles import assign_roles
from cmrlib.papers.cussp.table2 import MODELS
from cmrlib.papers.cussp.task import CusspJoint, CusspPairs, CusspPretraining, MitralRegurgitation
from cmrlib.papers.cussp.weak import weak_labels

__all__ = [
    "LABELLED", "MODELS", "CnnLstm", "CusspJoint", "CusspPairs", "CusspPretraining", "Distort", "MitralRegurgitation",
    "RefusedError", "Scale", "TensorLabel", "assign_roles", "baselines", "cross_correlation", "load_imagenet", "locate",
    "preparation", "prepare", "table2", "tabular", "weak_labels",
]  # fmt: skip
