"""TempReg-Net: finds end-diastole (ED) and end-systole (ES) in a section through time, whatever its view or length.

Kong et al., "Recognizing end-diastole and end-systole frames via deep temporal regression network", MICCAI 2016: a
Zeiler–Fergus CNN encodes every frame, an LSTM reads the sequence, a linear read-out shared over time says how full the
ventricle is; a structured loss asks that it falls in systole and rises in diastole.

    finder = FrameFinder.load("runs/quick/03_tempreg/weights/tempreg")
    finder.predict(cine)

Where we leave the paper, and why; the profile `paper` goes back where a setting allows it:

* the target is cyclic (`targets.target_curve`): to the letter, equation 4 is largest in the last frame, not at ED, and
  has no systole where ED comes late. The structured loss wraps around with it; every section is trained from a random
  frame on, so that the network cannot know ED from where a recording begins;
* the LSTM goes round the cycle twice and the second time counts: the first frames then have a past, too;
* the three input channels are not three copies of a frame but the frame, its difference from the cycle's mean, and the
  change from the frame before to the one after, which with little data is worth more than anything else here;
* features are taken relative to their mean over the cycle: what is asked for is change, not size;
* the candidate of equation 1 shares the input gate's weights, probably by a slip: `lstm="paper"`, default standard;
* batch norm in place of local response normalisation where no ImageNet weights are given: from random weights the plain
  form hardly trains; convolutions are padded, so that every stride halves exactly;
* crops lie around the largest moving region, not the image's middle; a cycle is resampled to a fixed number of even
  steps by its true times (not at all where it has them), so that one network serves any length;
* ED and ES come from the target that fits the whole curve best, not from its largest and smallest value alone
  (`decoding="extremes"`): the target is nearly flat before ES. Validation subjects decide between the two;
* Adam with decoupled weight decay for stochastic gradient descent with an L2 term (which, by the way, makes no weights
  sparse); learning rates keep the paper's ratio of ten. LSTM width and crop size are not stated there.
"""

from cmrlib.papers.tempreg.clips import Preprocessing, section_table
from cmrlib.papers.tempreg.learning import Objective, Recipe, tempreg_learner, train_tempreg
from cmrlib.papers.tempreg.network import Design, TempRegLoss, TempRegNet, structured_loss
from cmrlib.papers.tempreg.prediction import FrameFinder, find_frames
from cmrlib.papers.tempreg.study import (
    AREAS,
    LEARNED,
    METHODS,
    Setup,
    afd_metrics,
    afd_table,
    curve_case,
    found_by_areas,
    found_by_constant,
    frame_errors,
    leave_one_out,
    offset_spread,
    paired_gain,
    showing_lv,
    train_method,
)
from cmrlib.papers.tempreg.targets import decode, frame_difference, target_curve

__all__ = [
    "AREAS",
    "LEARNED",
    "METHODS",
    "Design",
    "FrameFinder",
    "Objective",
    "Preprocessing",
    "Recipe",
    "Setup",
    "TempRegLoss",
    "TempRegNet",
    "afd_metrics",
    "afd_table",
    "curve_case",
    "decode",
    "find_frames",
    "found_by_areas",
    "found_by_constant",
    "frame_difference",
    "frame_errors",
    "leave_one_out",
    "offset_spread",
    "paired_gain",
    "section_table",
    "showing_lv",
    "structured_loss",
    "target_curve",
    "tempreg_learner",
    "train_method",
    "train_tempreg",
]
