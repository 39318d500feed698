"""TernausNet: a U-Net whose encoder is VGG11. Segments SAX, 4CH and 2CH cines, one network a view.

    task, models, card = Task.load("runs/quick/01_segmentation/weights/sax")
    task.predict(models, cohort, out="runs/mine/observers/ternausnet", card=card)

README.md cites the papers, maps their blocks and tables to functions and notebook cells, and says where we leave them.
"""

from cmrlib.papers.ternausnet.data import SliceReader
from cmrlib.papers.ternausnet.network import SegmentationLoss, TernausNet, load_imagenet_encoder
from cmrlib.papers.ternausnet.task import Segmentation

__all__ = ["Segmentation", "SegmentationLoss", "SliceReader", "TernausNet", "load_imagenet_encoder"]
