"""The segmentation networks that travel with the package, loaded."""

from cmrlib.report.page import SHIPPED
from cmrlib.ternausnet import Segmenter


def shipped_segmenters() -> dict[str, Segmenter]:
    """View → its network."""
    return {path.stem: Segmenter.load(path)
            for path in sorted((SHIPPED / "01_segmentation" / "weights").glob("*.safetensors"))}
