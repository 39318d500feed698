"""What pretraining is compared with; each gives bags of features as the encoder does."""

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from torch.nn import functional

from cmrlib.cine import Cine
from cmrlib.learning.inference import infer
from cmrlib.papers.heartmae.clips import even_cuts, peak_of
from cmrlib.papers.heartmae.features import Bag

COMPARATORS = {
    "random": "untrained encoder",
    "pca": "PCA of the temporal SD",
    "expert": "18 measurements",
    "natural": "natural videos",
}

KINETICS = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
"""Mean and SD of the three channels that torchvision's video networks were trained with."""


def motion_picture(task, cine: Cine, k: int, side: int = 32) -> np.ndarray:
    """(1, side²): standard deviation over the cycle, where and how much a section changes, without learning."""
    spread = np.asarray(cine.pixels[:, k], np.float32).std(0) / peak_of(cine)
    return even_cuts(cine, task, 1, 1)[0].image(spread, side).reshape(1, -1)


def principal_bags(bags: dict[str, Bag], train, components: int = 64) -> dict[str, Bag]:
    """The same bags with principal components of the `train` subjects' features in place of features."""
    known = np.concatenate([bags[subject].features for subject in train])
    axes = PCA(min(components, *known.shape), svd_solver="full").fit(known)
    return {s: Bag(s, axes.transform(bag.features).astype(np.float32), bag.where) for s, bag in bags.items()}


def table_bags(table: pd.DataFrame, train) -> dict[str, Bag]:
    """Rows of numbers (indexed by participant_id) as bags of one instance: say, the 18 measurements.

    A missing value becomes the training subjects' mean; where they miss one too, a column of its own tells so.
    """
    imputer = SimpleImputer(add_indicator=True, keep_empty_features=True).fit(table.reindex(list(train)))
    where = pd.DataFrame({"cine": [""], "view": ["table"], "k": [0]})
    rows = imputer.transform(table).astype(np.float32)
    return {subject: Bag(subject, row[None], where) for subject, row in zip(table.index, rows)}


def video_network(path) -> torch.nn.Module:
    """torchvision's r3d_18 trained on natural videos (Kinetics), from a local .safetensors of its state_dict.

    The paper's is a ViT-L by masked autoencoding; this one stands for "not trained on hearts".
    """
    from torchvision.models.video import r3d_18

    model = r3d_18(weights=None)
    model.load_state_dict(load_file(path))
    model.fc = torch.nn.Identity()
    return model.eval()


def video_features(network, task, cine: Cine, k: int) -> np.ndarray:
    """(views, 512) of slice k: the encoder's views, the gray image in all three channels, 112 pixels a side."""
    gray = functional.interpolate(task.clips(cine, k), (112, 112), mode="bilinear", align_corners=False)
    mean, std = (torch.tensor(values)[None, :, None, None, None] for values in KINETICS)
    return infer(network, (gray[:, None] - mean) / std, "fp32").numpy()
