"""TempReg-Net: finds end-diastole (ED) and end-systole (ES) in a section through time, whatever its view or length.

Kong et al., "Recognizing end-diastole and end-systole frames via deep temporal regression network", MICCAI 2016: a
Zeiler–Fergus CNN encodes every frame, an LSTM reads the sequence, a linear read-out shared over time says how full the
ventricle is; a structured loss asks that it falls in systole and rises in diastole.

    task, models, card = Task.load("runs/quick/03_tempreg/weights/tempreg")
    task.predict(models, cohort)

README.md maps the paper's equations and table to functions and notebook cells, and says where we leave it.
"""

from cmrlib.papers.tempreg.clips import section_table
from cmrlib.papers.tempreg.network import TempRegLoss, TempRegNet, load_imagenet_encoder, structured_loss
from cmrlib.papers.tempreg.targets import decode, frame_difference, target_curve
from cmrlib.papers.tempreg.task import TempReg

__all__ = [
    "TempReg",
    "TempRegLoss",
    "TempRegNet",
    "decode",
    "frame_difference",
    "load_imagenet_encoder",
    "section_table",
    "structured_loss",
    "target_curve",
]
