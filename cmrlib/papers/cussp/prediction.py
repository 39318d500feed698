"""A trained classifier at work: a cine and its masks in, the probability of mitral regurgitation out."""

from dataclasses import asdict

import numpy as np
import torch

from cmrlib.cine import Cine
from cmrlib.cohort import Annotation
from cmrlib.learning.weights import load_weights, save_weights
from cmrlib.papers.cussp.batches import Cines, scaled
from cmrlib.papers.cussp.network import Classifier, Encoder
from cmrlib.papers.cussp.patches import Patches
from cmrlib.papers.cussp.preparation import Preprocessing, prepare, window_frames

NAME = "CUSSP"


class MitralRegurgitation:
    """A classifier with its preparation and threshold.

    model = MitralRegurgitation.load("runs/quick/05_cussp/weights/siam25")
    model.predict(cine, annotation)  # annotation: masks of LV and LA, from a person or from TernausNet
    """

    def __init__(
        self,
        model: Classifier,
        preprocessing: Preprocessing,
        frames: int = 0,
        threshold: float = 0.5,
        precision: str = "bf16",
    ):
        self.model = model.eval()
        self.preprocessing, self.frames = preprocessing, frames
        self.threshold, self.precision = threshold, precision

    @classmethod
    def load(cls, path, precision: str = "bf16") -> "MitralRegurgitation":
        model, card = load_weights(path, build)
        return cls(model, Preprocessing(**card["preprocessing"]), card["frames"], card["threshold"], precision)

    def save(self, path, **card):
        own = {
            "architecture": architecture(self.model),
            "preprocessing": asdict(self.preprocessing),
            "frames": self.frames,
            "threshold": self.threshold,
        }
        save_weights(self.model, path, own | card)

    def predict(self, cine: Cine, annotation: Annotation) -> float:
        """Probability of mitral regurgitation; from `threshold` on it counts as positive.

        Raises RefusedError (a ValueError) with the reason where the cine cannot be prepared.
        """
        patch = prepare(cine, annotation, self.preprocessing)
        total = self.preprocessing.frames
        first, count = (patch.ed, self.frames) if self.frames else (0, total)
        return float(self.infer(torch.from_numpy(patch.pixels[window_frames(total, first, count)])[None])[0])

    def scores(self, patches: Patches, rows, batch_size: int = 64) -> np.ndarray:
        """Probabilities (rows,) of rows of `Patches.usable`."""
        return np.concatenate([self.infer(x) for x in self._batches(patches, rows, batch_size)])

    def embeddings(self, patches: Patches, rows, batch_size: int = 64) -> np.ndarray:
        """(rows, 8 · width) float32: what the encoder says of each cine."""
        return np.concatenate([self._run(self.model.encoder, x) for x in self._batches(patches, rows, batch_size)])

    def infer(self, pixels) -> np.ndarray:
        """(b, frames, size, size) uint8 → probabilities (b,)."""
        return 1 / (1 + np.exp(-self._run(self.model, pixels).astype(np.float64)))

    def _batches(self, patches, rows, batch_size):
        if patches.preprocessing != self.preprocessing:
            raise ValueError(
                f"these patches were prepared as {patches.preprocessing}, the network was trained on "
                f"{self.preprocessing}; prepare them anew"
            )
        cines = Cines(patches, rows, frames=self.frames)
        for start in range(0, len(cines), batch_size):
            yield torch.stack([cines[i][0] for i in range(start, min(start + batch_size, len(cines)))])

    def _run(self, network, pixels):
        device = next(network.parameters()).device
        x = scaled(pixels.to(device)).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return network(x).float().cpu().numpy()


def architecture(model: Classifier) -> dict:
    """What `build` needs to make the same network again."""
    return {
        "name": NAME,
        "frames": model.encoder.frames,
        "width": model.encoder.width,
        "hidden": model.head[0].out_features,
    }


def build(card: dict) -> Classifier:
    """The network of a weights card. Raises ValueError where the card is another network's."""
    if card.get("name") != NAME:
        raise ValueError(f"weights of {card.get('name')!r}; expected {NAME}")
    return Classifier(Encoder(card["frames"], card["width"]), card["hidden"])
