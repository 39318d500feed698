"""A trained classifier at work: cine in, score out; and how well stage one restores."""

from contextlib import nullcontext
from copy import deepcopy
from dataclasses import asdict

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cmrlib.agreement.summary import with_intervals
from cmrlib.cine import Cine
from cmrlib.cohort import Annotation
from cmrlib.learning.weights import load_weights, save_weights
from cmrlib.measures.phases import RefusedError
from cmrlib.papers.sslhf.comparators import architecture, build
from cmrlib.papers.sslhf.network import Restorer
from cmrlib.papers.sslhf.patches import Patches, Preprocessing, as_stored, from_stored, lv_slices, section_patch
from cmrlib.papers.sslhf.transformations import KINDS, Transformations, neighbour_average

BATCH = 4
"""Patches a pass; a patch's score does not depend on which others it comes with."""


class HeartFailure:
    """A trained classifier with its preprocessing: a short-axis cine in, the probability of the positive class out.

    threshold: for patients, chosen on validation patients; patch_threshold: for single patches.
    """

    def __init__(
        self,
        model: nn.Module,
        preprocessing: Preprocessing,
        threshold: float = 0.5,
        patch_threshold: float = 0.5,
        precision: str = "bf16",
    ):
        self.model, self.network = model.eval(), fold_batch_norm(model)
        self.preprocessing, self.precision = preprocessing, precision
        self.threshold, self.patch_threshold = threshold, patch_threshold

    @classmethod
    def load(cls, path, precision: str = "bf16") -> "HeartFailure":
        model, card = load_weights(path, build)
        if isinstance(model, Restorer):
            raise ValueError(f"{path} is a network of stage one: it restores and does not classify")
        return cls(model, Preprocessing(**card["preprocessing"]), card["threshold"], card["patch_threshold"], precision)

    def save(self, path, **card):
        own = {
            "architecture": architecture(self.model),
            "preprocessing": asdict(self.preprocessing),
            "threshold": self.threshold,
            "patch_threshold": self.patch_threshold,
        }
        save_weights(self.model, path, own | card)

    def predict(self, cine: Cine, annotation: Annotation | None = None) -> float:
        """Score of one patient, 0 to 1: the mean over patches (equation 3).

        annotation: masks that say which slices show the LV; without, the middle part of the stack. Raises RefusedError
        for other views, short cines, and where no slice shows the LV.
        """
        scores = self.patch_scores(cine, annotation)["score"]
        if scores.empty:
            raise RefusedError(cine.name, "no slice shows the LV by these masks", "there is no patch to judge")
        return float(scores.mean())

    def patch_scores(self, cine: Cine, annotation: Annotation | None = None) -> pd.DataFrame:
        """slice, score of every slice that shows the LV. Raises RefusedError for other views and short cines."""
        if cine.view != "sax":
            raise RefusedError(cine.name, f"view {cine.view}", "the classifier takes short-axis stacks")
        slices = lv_slices(cine, annotation, self.preprocessing.share)
        clips = [from_stored(as_stored(section_patch(cine, k, self.preprocessing))) for k in slices]
        return pd.DataFrame({"slice": slices, "score": self.scores(clips)})

    def scores(self, clips) -> np.ndarray:
        """Clips (frames, size, size) z-scored → (clips,) 0 to 1."""
        return infer(self.network, clips, self.precision, lambda logits: torch.sigmoid(logits))


def infer(network, clips, precision: str = "bf16", after=lambda x: x) -> np.ndarray:
    """Clips through a network in batches of BATCH, fp32 out."""
    device, found = next(network.parameters()).device, []
    cast = torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
    for n in range(0, len(clips), BATCH):
        batch = torch.from_numpy(np.stack(clips[n : n + BATCH])).to(device)
        with torch.inference_mode(), cast:
            found.append(after(network(batch).float()).cpu().numpy())
    return np.concatenate(found) if found else np.zeros(0, np.float32)


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Copy for prediction, channels last: each batch norm becomes part of the convolution before it, which is exact."""
    folded = deepcopy(model).eval()
    for part in folded.modules():
        if isinstance(part, nn.Sequential) and len(part) > 1 and isinstance(part[1], nn.BatchNorm3d):
            part[0], part[1] = fuse_conv_bn_eval(part[0], part[1]), nn.Identity()
    return folded.to(memory_format=torch.channels_last_3d)


def score_patches(found: Patches, rows: pd.DataFrame, model: HeartFailure) -> pd.DataFrame:
    """`rows` of the patches' table with their score."""
    parts = [
        model.scores([found.clip(row) for row in rows["row"].iloc[n : n + BATCH]]) for n in range(0, len(rows), BATCH)
    ]
    return rows.assign(score=np.concatenate(parts) if parts else np.zeros(0))


def auc(labels, scores) -> float:
    """Area under the ROC curve, by ranks; NaN where one class lacks."""
    positive = np.asarray(labels) > 0.5
    p, q = int(positive.sum()), int((~positive).sum())
    if not p or not q:
        return float("nan")
    return float((rankdata(scores)[positive].sum() - p * (p + 1) / 2) / (p * q))


def by_patient(scores: pd.DataFrame) -> pd.DataFrame:
    """Equation 3: participant_id, label, score (mean over patches), n_patches."""
    groups = scores.groupby("participant_id", sort=True)
    return pd.DataFrame(
        {"label": groups["label"].first(), "score": groups["score"].mean(), "n_patches": groups.size()}
    ).reset_index()


def restoration_errors(
    found: Patches, rows: pd.DataFrame, model: Restorer, task: Transformations, seed: int = 0, precision: str = "bf16"
) -> pd.DataFrame:
    """How well each transformation alone is undone, a row a patch and kind: participant_id, cine, k, kind, and mean
    squared errors on the pixels that it changed, in SD² of the patch: restored, neighbours (the temporal-neighbour
    average, which is told what was changed), shown (what the network was given), n_pixels."""
    network, table = fold_batch_norm(model), []
    for row in rows.to_dict("records"):
        clip = found.clip(row["row"])
        rng = np.random.RandomState([seed, row["row"]])
        shown = [task(clip, (kind,), rng) for kind in KINDS]
        restored = infer(network, shown, precision)
        for kind, given, result in zip(KINDS, shown, restored):
            changed = given != clip
            if not changed.any():  # a constant patch has nothing to shuffle
                continue
            average = neighbour_average(given, changed)
            errors = {
                name: float(np.mean((one[changed] - clip[changed]) ** 2))
                for name, one in (("restored", result), ("neighbours", average), ("shown", given))
            }
            keys = {name: row[name] for name in ("participant_id", "cine", "k")}
            table.append(keys | {"kind": kind} | errors | {"n_pixels": int(changed.sum())})
    return pd.DataFrame(table)


def restoration_table(errors: pd.DataFrame) -> pd.DataFrame:
    """`restoration_errors` as means over patients with intervals: kind, what (restored, neighbours, shown), mse,
    mse_low, mse_high, n."""
    long = errors.melt(["participant_id", "kind"], ["restored", "neighbours", "shown"], "what", "mse")
    return with_intervals(long, ["mse"], ["kind", "what"])


def restoration_metrics(table: pd.DataFrame, prefix: str = "") -> dict:
    """restoration_mse, neighbours_mse, shown_mse over all three kinds, and restoration_mse_KIND, neighbours_mse_KIND
    with intervals, of `restoration_table`."""
    names = {"restored": "restoration_mse", "neighbours": "neighbours_mse", "shown": "shown_mse"}
    metrics = {f"{prefix}{name}": table.loc[table["what"] == what, "mse"].mean() for what, name in names.items()}
    for row in table.to_dict("records"):
        name = f"{prefix}{names[row['what']]}_{row['kind']}"
        metrics |= {f"{name}{end}": row[f"mse{end}"] for end in ("", "_low", "_high")}
    return metrics
