"""`cmr finetune`: a trained network learns from a user's own labels; before and after on subjects held out.

Cross-validation by subject: each subject is tested once, by a network that learned from others; one of those others is
set aside to watch the loss. The number of epochs is fixed beforehand, so a test subject decides nothing. The weights
that are saved learned, by the same recipe, from all labelled subjects but the one that is watched.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from cmrlib.agreement import with_intervals
from cmrlib.agreement.overlap import score_observers
from cmrlib.app.cli.observers import claim, write_table
from cmrlib.app.cli.predicting import Network
from cmrlib.cohort import Cohort
from cmrlib.cohort.files import short_digest
from cmrlib.cohort.provenance import joined, learned_from, refuse_known
from cmrlib.cohort.splits import assign_folds, check_split
from cmrlib.learning.appearance import training_appearance
from cmrlib.learning.training import set_threads_and_seed
from cmrlib.learning.weightsets import N_TTA

FEWEST_SUBJECTS = 3
"""One to test, one to watch, one to learn from; and below it there is no interval."""
BEFORE, AFTER = "before_finetuning", "after_finetuning"


@dataclass(frozen=True)
class Recipe:
    """How to fine-tune and test; `folds` becomes the number of subjects where that is smaller."""

    epochs: int = 20
    seed: int = 1
    folds: int = 5
    learning_rate: float = 5e-4
    n_tta: int = N_TTA
    threads: int = 2


def finetune(cohort: Cohort, observer: str, weights: dict[str, Network], out, recipe: Recipe) -> pd.DataFrame:
    """Fine-tune every network that serves a view which `observer` drew; returns the table of `before_after`.

    out gets weights/VIEW.safetensors with cards, tables/before_after.csv, scores.csv and split.csv, and both observers.
    A network for all long-axis views (lax) learns from all of them. A killed run goes on where it was. Raises
    ValueError for too few subjects and for a network that knows these subjects already, FileExistsError where `out`
    holds something else.
    """
    out, networks = Path(out), {one.path.stem: one for one in weights.values()}
    parts = {view: labelled(cohort, observer, one.task.views) for view, one in networks.items()}
    parts = {view: part for view, part in parts.items() if len(part.cines)}
    if not parts:
        raise ValueError(
            f"observer {observer!r} drew no {' or '.join(weights)} cine of {cohort.path}, for which the "
            "weights are; choose another observer"
        )
    splits = {view: fold_splits(part, recipe.folds) for view, part in parts.items()}
    for view, part in parts.items():
        refuse_known_subjects(part, networks[view])
    claim(out, cohort, {view: _key(part, observer, networks[view], recipe) for view, part in parts.items()}, taken="*")
    scores = []
    for view, part in parts.items():
        set_threads_and_seed(recipe.seed, recipe.threads)
        scores.append(_tested(part, observer, networks[view], splits[view], out, recipe))
        write_table(splits[view], out / "tables" / f"split_{view}.csv")
        _train_on_all(part, observer, networks[view], splits[view], out, recipe)
    scores = pd.concat(scores, ignore_index=True)
    write_table(scores, out / "tables" / "scores.csv")
    return write_table(before_after(scores), out / "tables" / "before_after.csv")


def labelled(cohort: Cohort, observer: str, views) -> Cohort:
    """The cohort as if it held only the cines of these views that the observer drew, and their subjects."""
    looked, cines = cohort.observer(observer), cohort.cines.loc[cohort.cines["view"].isin(list(views)), "cine"]
    return cohort.part([cine for cine in cines if looked.has(cine) and looked.mask(cine).annotated])


def fold_splits(cohort: Cohort, folds: int) -> pd.DataFrame:
    """A row a subject and fold: participant_id, fold, split; each subject is `test` in one fold."""
    n = len(cohort.subjects)
    folds = min(folds, n)
    if n < FEWEST_SUBJECTS or n - -(-n // folds) < 2:
        raise ValueError(
            f"{n} labelled subjects in {folds} folds: each fold needs one to test, one to watch and one "
            f"to learn from; label at least {FEWEST_SUBJECTS}, or ask for more folds"
        )
    fold_of, rows = assign_folds(cohort.subjects, folds), []
    for fold in range(folds):
        split = pd.Series("train", index=fold_of.index, name="split")
        split[fold_of == fold] = "test"
        split[fold_of.index[fold_of == (fold + 1) % folds][0]] = "validation"  # the first of the next fold
        check_split(split)
        rows.append(split.rename_axis("participant_id").reset_index().assign(fold=fold))
    return pd.concat(rows, ignore_index=True)[["participant_id", "fold", "split"]]


def refuse_known_subjects(cohort: Cohort, weights: Network):
    """Raise ValueError where the network learned from these very subjects: none would be unseen."""
    refuse_known([weights.card], cohort)
    if cohort.digest == weights.card.get("cohort_digest"):
        raise ValueError(
            f"{weights.path.name} learned from this very cohort, so no test would be on unseen subjects; "
            "start from weights that learned from others"
        )


def _key(cohort, observer, weights, recipe):
    """All that decides the outcome, labels included: they may be corrected between two runs."""
    looked = cohort.observer(observer)
    masks = [(row.cine, row.digest, looked.mask(row.cine)) for row in cohort.cines.itertuples()]
    labels = [
        f"{cine} {digest} {drawn.annotated} {short_digest(drawn.mask.tobytes())}" for cine, digest, drawn in masks
    ]
    return asdict(recipe) | {"weights": weights.digest, "labels": short_digest("\n".join(labels).encode())}


def _tested(cohort, observer, weights, splits, out, recipe):
    """Dice of each subject, frame and structure before and after, each by a network that never saw the subject."""
    view, task, made = weights.path.stem, weights.task, out / "observers"
    look = {"annotations": observer, "n_tta": recipe.n_tta}
    task.predict(weights.models, cohort, out=made / BEFORE, card=weights.card, **look)
    for fold, rows in splits.groupby("fold"):
        split = rows.set_index("participant_id")["split"]
        print(f"{view}, fold {fold + 1} of {splits['fold'].nunique()}: {split.value_counts().to_dict()}", flush=True)
        tuned = _train(cohort, observer, weights, split, out, recipe)
        task.predict(tuned, cohort, split.index[split == "test"], out=made / AFTER, **look)
    for name in (BEFORE, AFTER):
        cohort.lay_over(made / name)
    keys = ["participant_id", "session", "cine", "view", "frame", "structure"]
    scores = [score_observers(cohort, observer, name) for name in (BEFORE, AFTER)]
    whole = [table[table["level"] == "all"][[*keys, "dice"]] for table in scores]
    return whole[0].merge(whole[1], on=keys, suffixes=("_before", "_after"), validate="one_to_one")


def _train(cohort, observer, weights, split, out, recipe):
    """The networks of the weights, each trained further on all labelled frames of the training subjects."""
    task, state = replace(weights.task, frames_per_cine=0), out / ".state"
    state.mkdir(parents=True, exist_ok=True)
    return [
        task.train(
            cohort,
            observer,
            split,
            recipe.epochs,
            recipe.learning_rate,
            bs=8,
            seed=recipe.seed + n,
            state=state,
            model=task.continue_from(task, model),
        ).model
        for n, model in enumerate(weights.models)
    ]


def _train_on_all(cohort, observer, weights, splits, out, recipe):
    """The weights to keep, with a card that says what they started from and whom they know."""
    view = weights.path.stem
    print(f"{view}: the weights to keep", flush=True)
    split = splits[splits["fold"] == 0].set_index("participant_id")["split"].replace("test", "train")
    tuned = _train(cohort, observer, weights, split, out, recipe)
    start = {key: weights.card.get(key) for key in ("cohort", "cohort_digest", "seed", "epochs")}
    weights.task.save(
        tuned,
        out / "weights" / view,
        cohort=cohort.description["Name"],
        synthetic=cohort.synthetic,
        cohort_digest=cohort.digest,
        observer=observer,
        n_subjects=len(split),
        finetuned_from=start | {"weights": weights.digest},
        appearance=training_appearance([(cohort, split.index[split == "train"])], weights.task.views),
        **joined(weights.card, learned_from(cohort, split.index, weights.task.views)),
        **asdict(recipe),
    )


def before_after(scores: pd.DataFrame) -> pd.DataFrame:
    """Dice before and after, and their paired difference, a row a view and structure and one for their mean.

    scores: participant_id, view, structure, dice_before, dice_after, a row a frame. A subject's frames are averaged
    first. Each estimate has _low and _high (bootstrap over subjects, the same resamples for all three); n counts
    subjects, n_undefined frames where either has no Dice (both masks empty), which are left out.
    """
    values = ["dice_before", "dice_after", "dice_difference"]
    scores = scores.assign(dice_difference=scores["dice_after"] - scores["dice_before"])
    undefined = scores["dice_difference"].isna().groupby([scores["view"], scores["structure"]]).sum()
    defined = scores.dropna(subset=values)
    subject = defined.groupby(["view", "structure", "participant_id"], sort=False)[values].mean().reset_index()
    mean = subject.groupby(["view", "participant_id"], sort=False)[values].mean().reset_index().assign(structure="mean")
    table = with_intervals(pd.concat([subject, mean]), values, ["view", "structure"])
    counts = [undefined[view].get(name, undefined[view].sum()) for view, name in zip(table["view"], table["structure"])]
    return table.drop(columns=table.filter(regex="^n_").columns).assign(n_undefined=counts)
