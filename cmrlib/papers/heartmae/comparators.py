"""What pretraining is compared with: a network of natural videos, the same network untrained, principal components of
the picture of motion, and what experts measure. Each gives bags of features as the encoder does.
"""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from sklearn.decomposition import PCA
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

VIDEO_NETWORKS = ("r3d_18", "mc3_18", "r2plus1d_18")
KINETICS = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
"""Mean and SD of the three channels that torchvision's video networks were trained with."""


def motion_picture(task, cine: Cine, k: int, side: int = 32) -> np.ndarray:
    """(1, side²): standard deviation over the cycle, where and how much a section changes, without learning."""
    cut = even_cuts(cine, task, 1, 1)[0]
    spread = np.asarray(cine.pixels[:, k], np.float32).std(0) / peak_of(cine)
    part = spread[cut.top : cut.top + cut.side, cut.left : cut.left + cut.side]
    return cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA).reshape(1, -1)


def principal_bags(bags: dict[str, Bag], train, components: int = 64) -> dict[str, Bag]:
    """The same bags with their principal components in place of features; directions from the `train` subjects
    alone."""
    known = np.concatenate([bags[subject].features for subject in train])
    axes = PCA(min(components, *known.shape), svd_solver="full").fit(known)
    return {
        subject: Bag(subject, axes.transform(bag.features).astype(np.float32), bag.where)
        for subject, bag in bags.items()
    }


def table_bags(table: pd.DataFrame, train) -> dict[str, Bag]:
    """Rows of numbers (indexed by participant_id) as bags of one instance: say, the 18 measurements.

    A missing value becomes the training subjects' mean and is told in a column of its own.
    """
    known = table.reindex(list(train))
    lacks = [name for name in table if table[name].isna().any()]
    filled = table.fillna(known.mean()).fillna(0.0).join(table[lacks].isna().astype(float), rsuffix="_missing")
    where = pd.DataFrame({"cine": [""], "view": ["table"], "k": [0]})
    return {subject: Bag(subject, row.to_numpy(np.float32)[None], where) for subject, row in filled.iterrows()}


def video_network(path, network: str = "r3d_18") -> torch.nn.Module:
    """A 3-D ResNet of torchvision trained on natural videos (Kinetics), from a local file of weights.

    The paper's is a ViT-L by masked autoencoding; whichever network is given stands for "not trained on hearts".
    """
    from torchvision.models import video

    path = Path(path)
    if network not in VIDEO_NETWORKS:
        raise ValueError(f"unknown video network {network!r}; there are {', '.join(VIDEO_NETWORKS)}")
    if not path.exists() or path.suffix != ".safetensors":
        raise FileNotFoundError(
            f"{path} is no weights file of {network}: save torchvision's state_dict of it with "
            "safetensors (pickles are never opened) and give that file, or leave out `natural`"
        )
    model = getattr(video, network)(weights=None)
    try:
        model.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise ValueError(f"{path.name} does not fit {network}: {str(error)[:300]}") from error
    model.fc = torch.nn.Identity()
    return model.eval()


def video_features(network, task, cine: Cine, k: int) -> np.ndarray:
    """(views, 512) of slice k: the encoder's views, the gray image in all three channels, 112 pixels a side."""
    gray = functional.interpolate(task.clips(cine, k), (112, 112), mode="bilinear", align_corners=False)
    mean, std = (torch.tensor(values)[None, :, None, None, None] for values in KINETICS)
    return infer(network, (gray[:, None] - mean) / std, "fp32").numpy()
