"""`cmr predict WEIGHTS COHORT`, and its short names: segment, frames, valve, classify, embed."""

from pathlib import Path
from typing import Annotated

import typer

from cmrlib.app.cli.app import (
    REAL,
    RUN,
    SETS,
    TTA,
    Folder,
    ShardOf,
    Subjects,
    Threads,
    app,
    chosen,
    credited,
    near,
    words,
)
from cmrlib.learning.weightsets import N_TTA

Out = Annotated[Path | None, typer.Option(help="The observer's folder; default COHORT-observers/OBSERVER.")]
Name = Annotated[str, typer.Option(help="Name of the new observer.")]


def _open(cohort, threads):
    from cmrlib.cohort import Cohort
    from cmrlib.learning.training import set_threads_and_seed

    set_threads_and_seed(0, threads)  # nothing is drawn at random
    return Cohort.open(cohort)


@app.command()
def segment(
    cohort: Folder,
    weights: Annotated[str, typer.Option(metavar="RUN", help=RUN)] = REAL,
    out: Out = None,
    observer: Name = "ternausnet",
    n_tta: Annotated[int, typer.Option(min=1, help=TTA)] = N_TTA,
    subjects: Subjects = None,
    shard: ShardOf = "",
    threads: Threads = 2,
):
    """Segment a cohort with trained networks; what these weights segmented before is not done again.

    With --shard no table is written; a call without it, after all shards, writes segmented.csv.
    """
    from cmrlib.app.cli import predicting
    from cmrlib.app.cli.observers import observer_folder, write_table

    hearts, folder = _open(cohort, threads), out or observer_folder(cohort, observer)
    networks = predicting.load_segmenters(credited(weights, "01_segmentation"))
    people = chosen(subjects, shard, hearts.cines.loc[hearts.cines["view"].isin(networks), "participant_id"])
    table, new = predicting.draw(hearts, networks, folder, people, n_tta=n_tta)
    if not shard:
        table = write_table(predicting.noted(folder, hearts.cines), folder / "segmented.csv")
    made = "masks" if shard else "masks and segmented.csv"
    typer.echo(near(f"{new} cines segmented now, {len(table) - new} before: {made} are in {folder}"))


@app.command()
def frames(
    cohort: Folder,
    weights: Annotated[
        str, typer.Option(metavar="RUN", help=f"A run of 03_tempreg, its folder of weights, one weights file, {SETS}.")
    ] = REAL,
    out: Out = None,
    observer: Name = "tempreg",
    masks: Annotated[str, typer.Option(help="Whose masks of whole cycles help, where there are any.")] = "ternausnet",
    subjects: Subjects = None,
    threads: Threads = 2,
):
    """Find ED and ES of every cine: an observer, and frames.csv.

    TempReg-Net looks at sections, a row a slice. Where `cmr segment` outlined the LV of a whole cycle before, a network
    that is closer on patients' short axes decides for the whole cine from masks and what moves: one row, slice −1.
    """
    from cmrlib.app.cli import predicting
    from cmrlib.app.cli.observers import observer_folder, write_table
    from cmrlib.cohort import Cohort

    hearts, folder = _open(cohort, threads), out or observer_folder(cohort, observer)
    if masks not in hearts.observers and observer_folder(cohort, masks).is_dir():
        hearts = Cohort.open(cohort, [observer_folder(cohort, masks)])
    networks = predicting.load_tempreg(credited(weights, "03_tempreg", "03c_tempreg_patients"))
    networks = predicting.with_stacks(networks, weights, hearts, masks)
    table, _ = predicting.draw(hearts, networks, folder, words(subjects))
    write_table(table, folder / "frames.csv")
    typer.echo(near(f"ED and ES of {table['cine'].nunique()} cines of 8 or more frames: frames.csv is in {folder}"))


@app.command()
def valve(
    cohort: Folder,
    weights: Annotated[
        str, typer.Option(metavar="RUN", help=f"A run of 04_mvnet, its folder of weights, {SETS}.")
    ] = REAL,
    out: Out = None,
    observer: Name = "mvnet",
    smooth_ms: Annotated[float | None, typer.Option(min=0, help="Smoothing; default as the run chose it.")] = None,
    subjects: Subjects = None,
    threads: Threads = 2,
):
    """Track the mitral valve in 2CH and 4CH cines: points, MAPSE, s', e', a'.

    Where `cmr segment` looked before, a view whose points lie elsewhere than its outlines' valve is not used.
    """
    from cmrlib.app.cli import predicting, shown
    from cmrlib.app.cli.observers import observer_folder

    hearts, folder = _open(cohort, threads), out or observer_folder(cohort, observer)
    networks, people = predicting.load_mvnet(credited(weights, "04_mvnet")), words(subjects)
    _, new = predicting.draw(hearts, networks, folder, people)
    table = predicting.write_valve(hearts, next(iter(networks.values())), folder, people, smooth_ms)
    names = ["participant_id", "views", "mapse_mm", "sprime_cm_s", "eprime_cm_s", "aprime_cm_s", "flags"]
    shown.show(table[names].head(shown.MOST), "mitral valve")
    typer.echo(near(f"{new} cines tracked now; points, valve_motion.csv and valve_metrics.csv are in {folder}"))


@app.command()
def classify(
    cohort: Folder,
    weights: Annotated[
        str, typer.Option(metavar="RUN", help="A run of 05_cussp or 06_sslhf, its folder of weights, or one file.")
    ],
    observer: Annotated[str, typer.Option(metavar="NAME_OR_FOLDER", help="Whose masks say where the heart is.")],
    out: Annotated[Path | None, typer.Option(help="Folder for scores.csv; default COHORT-scores/NETWORK.")] = None,
    subjects: Subjects = None,
    threads: Threads = 2,
):
    """A probability for every cine, such as that of mitral regurgitation: scores.csv. Research only, no diagnosis."""
    from cmrlib.app.cli import predicting, shown
    from cmrlib.app.cli.observers import beside, laid_over
    from cmrlib.report.scores import load_classifier

    _open(cohort, threads)
    classifier, (hearts, name, _) = load_classifier(weights), laid_over(cohort, observer)
    folder = out or beside(cohort, "scores") / classifier.name.lower()
    table = predicting.classify(hearts, name, classifier, folder, words(subjects))
    text = table.assign(score=table["score"].map("{:.3f}".format), threshold=table["threshold"].map("{:.3f}".format))
    shown.show(text.drop(columns=["session", "view"]).head(shown.MOST), f"{classifier.name} · masks of {name}")
    typer.echo(
        f"{int(table['score'].notna().sum())} of {len(table)} cines judged, "
        f"{int(table['positive'].sum())} positive: {folder / 'scores.csv'}"
    )


@app.command()
def embed(
    cohort: Folder,
    weights: Annotated[
        str,
        typer.Option(
            metavar="RUN",
            help="HeartMAE in place of motion: a run of 08_heartmae_predict (its pooling counts) or "
            "07_heartmae_pretrain (mean over views), or a folder of weights.",
        ),
    ] = "",
    observer: Annotated[
        str, typer.Option(metavar="NAME_OR_FOLDER", help="Beside motion: volumes and EF from this observer's masks.")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for embeddings.csv; default COHORT-embeddings. Every shard needs its own."),
    ] = None,
    variant: Annotated[str, typer.Option(help="plain, mask95, tube or flow; default flow where it is.")] = "",
    subjects: Subjects = None,
    shard: ShardOf = "",
    threads: Threads = 2,
):
    """Numbers for any label of yours, a row a subject in embeddings.csv: twelve of motion, or HeartMAE's features.

    Motion needs no network and tells more: on 80 ACDC patients LVEF within 9.1 points, HeartMAE's features within 17.0,
    networks' masks 4.2 (08d_heartmae_patients). HeartMAE's own need `--weights`.
    """
    from cmrlib.app.cli import predicting
    from cmrlib.app.cli.observers import beside, laid_over

    if weights and observer:
        raise ValueError("--observer goes with numbers of motion, so without --weights")
    hearts, folder = _open(cohort, threads), out or beside(cohort, "embeddings")
    if shard and out is None:
        raise ValueError("a shard's embeddings need a folder of their own: --out")
    people = chosen(subjects, shard, hearts.cines["participant_id"])
    if weights:
        table = predicting.embed(hearts, weights, folder, people, variant)
    else:
        hearts, name, _ = laid_over(cohort, observer) if observer else (hearts, "", None)
        table = predicting.motion(hearts, folder, people, name)
    numbers = table.select_dtypes("number")
    without = f" ({n} without: see reason)" if (n := int(numbers.isna().all(axis=1).sum())) else ""
    typer.echo(near(f"{len(table)} subjects{without} × {numbers.shape[1]} numbers: {folder / 'embeddings.csv'}"))


VERBS = {"Segmentation": segment, "TempReg": frames, "StackPhases": frames, "MitralPoints": valve, "HeartMAE": embed}
"""Name on a weights card → the command for such networks; any other is a classifier's."""


@app.command()
def predict(
    weights: Annotated[str, typer.Argument(metavar="WEIGHTS", help=f"A run, its folder of weights, one file, {SETS}.")],
    cohort: Folder,
    out: Annotated[Path | None, typer.Option(help="Folder for what is found; default beside the cohort.")] = None,
    observer: Annotated[str, typer.Option(help="For classifiers: whose masks say where the heart is.")] = "ternausnet",
    subjects: Subjects = None,
    threads: Threads = 2,
):
    """Apply trained networks to a cohort, whatever they are: as segment, frames, valve, classify or embed would.

    Of a set that travels with the package all networks look that the cohort has a view for.
    """
    from cmrlib.app.cli.predicting import NoCineError
    from cmrlib.learning.weightsets import SETS, card_beside, weights_files

    if weights not in SETS:
        names = [card_beside(path).get("architecture", {}).get("name") for path in weights_files(weights)]
        verb = next((VERBS[name] for name in names if name in VERBS), classify)
        options = {"observer": observer} if verb is classify else {}
        return verb(cohort, weights, out=out, subjects=subjects, threads=threads, **options)
    for verb, folder in ((segment, "ternausnet"), (frames, "tempreg"), (valve, "mvnet")):
        try:
            verb(cohort, weights, out=out and out / folder, subjects=subjects, threads=threads)
        except NoCineError as error:
            typer.echo(f"{verb.__name__}: {error}")
