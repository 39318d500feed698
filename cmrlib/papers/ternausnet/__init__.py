"""TernausNet: a U-Net whose encoder is VGG11. Segments SAX, 4CH and 2CH cines, one network a view.

Iglovikov & Shvets 2018, arXiv:1801.05746, as used by CUSSP (section 2.1) with 100 labelled images a view.

    task, models, card = Task.load("runs/quick/01_segmentation/weights/sax")
    task.predict(models, cohort, out="runs/mine/observers/ternausnet", card=card)

README.md maps the papers' blocks and tables to functions and notebook cells, and says where we leave them.
"""

from cmrlib.papers.ternausnet.data import Pooled, SliceReader
from cmrlib.papers.ternausnet.network import SegmentationLoss, TernausNet, load_imagenet_encoder
from cmrlib.papers.ternausnet.task import Segmentation

__all__ = ["Pooled", "Segmentation", "SegmentationLoss", "SliceReader", "TernausNet", "load_imagenet_encoder"]
