"""Where the evidence lies: attribution of a prediction to tokens, drawn on the picture, and predictions without the
heart.

The paper names both as missing (§ 6). Integrated gradients (Sundararajan et al., ICML 2017, by captum) from a clip that
is the training set's mean everywhere: what a section adds to the prediction, token by token.
"""

import cv2
import numpy as np
import pandas as pd
import torch
from captum.attr import IntegratedGradients

from cmrlib.cine import Cine
from cmrlib.papers.heartmae.clips import even_cuts, stored_scale
from cmrlib.papers.heartmae.features import Embedder, moving
from cmrlib.papers.heartmae.flow import Flow, flow_weights
from cmrlib.papers.heartmae.heads import HeadRecipe, MultiTask, Tasks
from cmrlib.papers.heartmae.study import disease_table, error_table, predict_all
from cmrlib.papers.heartmae.tokens import patches


def attribution(embedder: Embedder, heads: MultiTask, task: str, cine: Cine, k: int, steps: int = 32):
    """(picture (size, size), map (rows, columns of tokens), prediction): what each place of slice k adds to a task.

    picture: the first clip's first frame, stored pixels. map: summed over a token's pixels and over time, in SDs of the
    target (or logits). The slice is looked at alone, as a bag of its own first view; where the pooling looks is kept.
    """
    clips, peak = embedder.clips(cine, k)
    model, number = embedder.model, heads.tasks.names.index(task)
    design = model.design
    clip = model.standardise(torch.from_numpy(clips[:1]).float(), torch.tensor([peak]))

    kind = heads.views.index(cine.view) if heads.views else 0
    with torch.no_grad():
        weights = moving(model.encoder.tokens(clip))[1]

    def predict(standard):
        features = embedder.pool(model.encoder.tokens(standard), weights)[:, None]
        return heads(features, torch.full((len(features), 1), kind))[0][:, number]

    found = IntegratedGradients(predict).attribute(clip, torch.zeros_like(clip), n_steps=steps, internal_batch_size=1)
    by_token = patches(found, design.patch, design.tubelet).sum(2).view(design.grid).sum(0)
    with torch.inference_mode():
        value = float(predict(clip)[0])
    return clips[0, 0], by_token.detach().numpy(), value


class Blinded(Embedder):
    """An embedder that does not see the heart (`hide="heart"`), or nothing but the heart (`hide="rest"`).

    The heart is where the section moves: flow weights above `threshold`. What is hidden becomes the mean of the pixels
    on the other side of that line, in every frame, so that neither shape nor motion is left.
    """

    def __init__(self, embedder: Embedder, hide: str = "heart", threshold: float = 0.35):
        if hide not in ("heart", "rest"):
            raise ValueError(f"hide={hide!r}; expected heart or rest")
        super().__init__(embedder.model, embedder.preprocessing, embedder.precision, crops=1, times=1)
        self.hide, self.threshold = hide, threshold

    def clips(self, cine: Cine, k: int):
        region = moving_region(cine, k, self.threshold)
        hidden = region if self.hide == "heart" else ~region
        pixels = np.array(cine.pixels[:, k])
        pixels[:, hidden] = pixels[:, ~hidden].mean() if (~hidden).any() else 0
        factor, peak = stored_scale(cine)
        cuts = even_cuts(cine, self.preprocessing, self.crops, self.times)
        return np.stack([cut.clip(pixels, self.preprocessing, factor) for cut in cuts]), peak


def moving_region(cine: Cine, k: int, threshold: float = 0.35) -> np.ndarray:
    """(rows, columns) bool: where flow weights exceed the threshold, rounded off."""
    weights = flow_weights(cine.pixels[:, k], Flow())
    region = (weights > threshold).astype(np.uint8)
    return cv2.morphologyEx(region, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)).astype(bool)


def blinded_table(sights: dict, goals: dict, split: pd.Series, recipe: HeadRecipe) -> pd.DataFrame:
    """What is told with and without the heart: a row a sight and target: measure, value with interval, chance.

    sights: name → bags. goals: `regression` and `classification` → targets. Errors are relative to predicting the
    mean (chance 1), areas under the ROC curve have chance .5.
    """
    rows = []
    for kind, targets in goals.items():
        if targets is None or not targets.shape[1]:
            continue
        found, _ = predict_all(sights, targets, Tasks(tuple(targets), kind), split, recipe, (recipe.seed,))
        table = error_table(found) if kind == "regression" else disease_table(found)
        column, measure, chance = (
            ("ratio", "error relative to the mean", 1.0) if kind == "regression" else ("auc", "AUC", 0.5)
        )
        for row in table[table["model"] != "mean"].to_dict("records"):
            rows.append(
                {
                    "sight": row["model"],
                    "target": row["target"],
                    "measure": measure,
                    "value": row[column],
                    "value_low": row[f"{column}_low"],
                    "value_high": row[f"{column}_high"],
                    "chance": chance,
                }
            )
    return pd.DataFrame(rows)
