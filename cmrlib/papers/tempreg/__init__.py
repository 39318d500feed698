"""TempReg-Net: finds end-diastole (ED) and end-systole (ES) in a section through time, whatever its view or length.

    task, models, card = Task.load("runs/quick/03_tempreg/weights/tempreg")
    task.predict(models, cohort)

README.md cites the paper, maps its equations and table to functions and notebook cells, and says where we leave it.
"""

from cmrlib.papers.tempreg.network import load_imagenet_encoder, structured_loss
from cmrlib.papers.tempreg.stack import StackPhases
from cmrlib.papers.tempreg.targets import decode, frame_difference, target_curve
from cmrlib.papers.tempreg.task import TempReg

__all__ = [
    "StackPhases",
    "TempReg",
    "decode",
    "frame_difference",
    "load_imagenet_encoder",
    "structured_loss",
    "target_curve",
]
