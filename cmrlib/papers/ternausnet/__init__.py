"""TernausNet: a U-Net whose encoder is VGG11. Segments SAX, 4CH and 2CH cines, one network a view.

Iglovikov & Shvets 2018, arXiv:1801.05746, as used by CUSSP (section 2.1) with 100 labelled images a view.

Where we leave the papers, and why:

* batch norm after every convolution: from random weights the plain form hardly trains (ImageNet weights fit both);
* three input channels are the slice between its neighbours about 10 mm away, not three copies of it: base and apex
  are decided by what comes next to them. Without neighbours (long axis) the slice is repeated, as in the papers;
* `width` 64 is the paper's; smaller widths are the same network, narrower. The last convolution keeps `width`
  channels where the published one halves them;
* cross-entropy + Dice over classes of a batch, with un-annotated pixels left out (loss not stated in CUSSP).
"""

from cmrlib.papers.ternausnet.data import Pooled
from cmrlib.papers.ternausnet.network import SegmentationLoss, TernausNet, load_imagenet_encoder
from cmrlib.papers.ternausnet.task import Segmentation

__all__ = ["Pooled", "Segmentation", "SegmentationLoss", "TernausNet", "load_imagenet_encoder"]
