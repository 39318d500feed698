"""What a pretrained start is worth where labels are few: the same labelled hearts, from scratch and from weights.

table = from_few_labels(cohort, "manual", split, [5, 20], [1, 2, 3], "weights/sax", Preprocessing())
gains(table)
"""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from cmrlib.agreement import bootstrap
from cmrlib.agreement.overlap import dice
from cmrlib.cine.anatomy import codes
from cmrlib.cohort.files import atomic
from cmrlib.cohort.progress import with_progress
from cmrlib.learning.blocks import sample_table
from cmrlib.learning.training import job_file
from cmrlib.papers.ternausnet.learning import train_segmenter
from cmrlib.papers.ternausnet.network import TernausNet
from cmrlib.papers.ternausnet.prediction import Preprocessing, Segmenter

STARTS = ("scratch", "pretrained")


def from_few_labels(
    cohort,
    observer: str,
    split: pd.Series,
    counts,
    seeds,
    pretrained,
    preprocessing: Preprocessing,
    steps: int = 600,
    batch_size: int = 16,
    lr: float = 2e-3,
    precision: str = "bf16",
    state=None,
) -> pd.DataFrame:
    """Train on so many labelled subjects from scratch and from `pretrained` weights, and test both.

    split: participant_id → train, validation, test. counts: numbers of training subjects; a seed draws the same ones
    for both starts. steps: batches of every training. state: folder in which finished trainings and their scores are
    found again. Returns labelled, start, seed, participant_id, phase, structure, dice; a row a tested volume.
    Raises ValueError where fewer subjects train than are asked for.
    """
    trained = sorted(split.index[split == "train"])
    if max(counts) > len(trained):
        raise ValueError(f"{max(counts)} labelled subjects were asked for, but only {len(trained)} train")
    width = Segmenter.load(pretrained).model.encoder[0][0].out_channels
    jobs = [(count, seed, start) for count in counts for seed in seeds for start in STARTS]
    tables = []
    for count, seed, start in with_progress(jobs, "few labels", "training"):
        chosen = np.random.default_rng([seed, count]).choice(trained, count, replace=False)
        kept = split[[name in {*chosen} or side != "train" for name, side in split.items()]]
        samples = sample_table(cohort, observer, preprocessing.view, kept)
        batches = max(1, int((samples["split"] == "train").sum()) // batch_size)
        segmenter, _ = train_segmenter(
            cohort,
            observer,
            samples,
            preprocessing,
            max(1, round(steps / batches)),
            seed,
            lr,
            precision,
            state,
            batch_size=batch_size,
            width=width,
            **({"start_from": pretrained} if start == "pretrained" else {}),
        )
        scores = _scores(cohort, observer, segmenter, split.index[split == "test"], state)
        tables.append(scores.assign(labelled=count, start=start, seed=seed))
    return pd.concat(tables, ignore_index=True)


def _scores(cohort, observer, segmenter, subjects, state):
    """Dice of every annotated volume of the subjects; kept under the weights' digest where there is a state folder."""
    weights = hashlib.blake2b(digest_size=8)
    for value in segmenter.model.state_dict().values():
        weights.update(value.numpy().tobytes())
    path = (
        None
        if state is None
        else job_file(
            state,
            "few",
            {
                "weights": weights.hexdigest(),
                "cohort": cohort.digest,
                "observer": cohort.observer(observer).digest,
                "subjects": sorted(subjects),
            },
            (TernausNet,),
        ).with_suffix(".csv")
    )
    if path is not None and Path(path).exists():
        return pd.read_csv(path, dtype={"participant_id": str})
    rows, looked = [], cohort.observer(observer)
    for row in cohort.cines[cohort.cines["participant_id"].isin(set(subjects))].itertuples():
        if row.view != segmenter.preprocessing.view or not looked.has(row.cine):
            continue
        cine, truth = cohort.cine(row.cine), looked.mask(row.cine)
        phases = {cine.ed: "ED", cine.es: "ES"}
        frames = [t for t in sorted(truth.annotated) if t in phases]
        mask, _, _ = segmenter.predict(cine, frames, copies=1)
        rows += [
            (row.participant_id, phases[t], structure, dice(mask[t], truth.mask[t], code))
            for t in frames
            for structure, code in zip(segmenter.structures, codes(segmenter.structures), strict=True)
        ]
    table = pd.DataFrame(rows, columns=["participant_id", "phase", "structure", "dice"])
    if path is not None:
        with atomic(path) as part:
            table.to_csv(part, index=False)
    return table


def gains(table: pd.DataFrame) -> pd.DataFrame:
    """Mean Dice by number of labelled subjects, from scratch and pretrained, and the paired gain of the latter.

    A subject's value is its mean over seeds, structures and phases; intervals are bootstrapped over subjects. Returns
    labelled, n, n_seeds, then scratch, pretrained and gain, each with _low and _high.
    """

    def mean(column, axis=-1):
        return np.mean(column, axis=axis)

    rows = []
    for count, part in table.groupby("labelled"):
        values = part.groupby(["participant_id", "start"])["dice"].mean().unstack("start")
        values["gain"] = values["pretrained"] - values["scratch"]
        row = {"labelled": count, "n": len(values), "n_seeds": part["seed"].nunique()}
        for name in (*STARTS, "gain"):
            result = bootstrap(values[name], mean).iloc[0]
            row |= {name: result["estimate"], f"{name}_low": result["low"], f"{name}_high": result["high"]}
        rows.append(row)
    return pd.DataFrame(rows)
