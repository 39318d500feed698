"""Rows of table 2 in which no network has learned: a shadow, principal components, filters as they were drawn."""

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cmrlib.learning.inference import infer
from cmrlib.papers.cussp.data import scaled
from cmrlib.papers.cussp.network import Encoder
from cmrlib.papers.cussp.preparation import window_frames

COMPONENTS, BLOCK_PX = 50, 4
"""Principal components of cines whose pixels are averaged over blocks of this side: fixed on calibration seeds."""


def cines_from_ed(task, cohort, annotations: str, subjects) -> tuple[np.ndarray, np.ndarray, pd.Index]:
    """((n, frames, size, size) uint8 from ED on, (n,) frames of systole, participant_id) of usable cines, one each."""
    table = task.prepared(cohort, annotations, subjects)
    table, patches = table[table["refused"] == ""].drop_duplicates("participant_id"), task.patches(cohort, annotations)
    frames = [window_frames(task.frames, ed, task.frames) for ed in table["ed"]]
    cines = np.stack([np.asarray(patches[name])[chosen] for name, chosen in zip(table["cine"], frames)])
    systole = ((table["es"] - table["ed"]) % task.frames).clip(lower=1).to_numpy()
    return cines, systole, pd.Index(table["participant_id"])


def systolic_shadow(cines, systole) -> np.ndarray:
    """(n,) how much darker, in shares of the grey scale, the places above the valve get in systole that darken most:
    the 90th percentile over the middle half of the columns, from a sixth of the side to the valve."""
    side, found = cines.shape[-1], []
    for cine, frames in zip(cines, systole):
        grey = cine[:, side // 6 : side // 2, side // 4 : -(side // 4)] / 255
        now = np.arange(len(grey)) < frames
        found.append(np.percentile(grey[~now].mean(0) - grey[now].mean(0), 90))
    return np.array(found)


def features_of(name: str, task, cines, systole, seed: int) -> np.ndarray:
    """(n, numbers) of the row `prevalence`, `shadow`, `pca` or `random` (an encoder that never learned)."""
    if name == "prevalence":
        return np.zeros((len(cines), 1))
    if name == "shadow":
        return systolic_shadow(cines, systole)[:, None]
    if name == "pca":
        side = cines.shape[-1] // BLOCK_PX * BLOCK_PX
        blocks = cines[..., :side, :side].reshape(*cines.shape[:2], side // BLOCK_PX, BLOCK_PX, -1, BLOCK_PX)
        return blocks.mean((3, 5)).reshape(len(cines), -1)
    torch.manual_seed(seed)
    encoder = Encoder(task.frames, task.width).eval()
    parts = map(torch.from_numpy, np.array_split(cines, 20))
    return np.concatenate([infer(encoder, scaled(part), "fp32") for part in parts])


def probabilities(name: str, x, people, labels: pd.Series) -> pd.Series:
    """participant_id → probability by logistic regression, whose penalty training subjects choose by cross-validation.

    x: of `features_of`. labels: of training subjects alone.
    """
    train = np.isin(people, labels.index)
    if name == "prevalence":
        return pd.Series(float(labels.mean()), people)
    first = [PCA(min(COMPONENTS, train.sum() - 1), random_state=0)] if name == "pca" else []
    folds = int(min(5, labels.sum(), (1 - labels).sum()))
    last = GridSearchCV(LogisticRegression(max_iter=2000), {"C": np.logspace(-4, 0, 5)}, scoring="roc_auc", cv=folds)
    model = make_pipeline(*first, StandardScaler(), last).fit(x[train], labels[people[train]])
    return pd.Series(model.predict_proba(x)[:, 1], people)
