"""`cmr report`: one page per examination."""

from pathlib import Path
from typing import Annotated

import typer

from cmrlib.app.cli.app import REAL, SETS, ShardOf, Subjects, Threads, app, chosen, credited, near

Weights = Annotated[
    list[str] | None,
    typer.Option(
        metavar="RUNS",
        help=f"A profile's runs, runs/PROFILE, {SETS}; default real. May be repeated: each network "
        "comes from the first that has it.",
    ),
]


@app.command()
def report(
    study: Annotated[
        Path | None, typer.Argument(help="A folder of DICOM of one person, or a cohort; only read.")
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="The real examination of the repository, patient1.")] = False,
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="The page (JSON beside it); a folder for a page per subject of a cohort."),
    ] = Path("report.html"),
    weights: Weights = None,
    title: Annotated[str, typer.Option(help="The page's heading; no name of a patient belongs there.")] = "",
    sex: Annotated[str, typer.Option(help="M or F, for the reference ranges, where the headers lack it.")] = "",
    age: Annotated[float | None, typer.Option(help="Years; likewise.")] = None,
    height: Annotated[float | None, typer.Option(help="cm, for values by body surface area; likewise.")] = None,
    weight: Annotated[float | None, typer.Option(help="kg; likewise.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep cohort and observers in this folder.")] = None,
    observer: Annotated[
        str, typer.Option(metavar="NAME_OR_FOLDER", help="Of a cohort: masks of `cmr segment` to use.")
    ] = "",
    subjects: Subjects = None,
    shard: ShardOf = "",
    threads: Threads = 2,
):
    """One study on one page: what was found, moving pictures, measures with ranges and the models' errors.

    With a folder as --out, one page per subject of a cohort; those that exist stay.
    """
    from cmrlib.datasets import sample as sample_folder
    from cmrlib.learning.training import set_threads_and_seed
    from cmrlib.report import make_report

    if (study is None) != sample:
        raise ValueError(
            "a report is about one study: name its folder, or give --sample for the one that travels with "
            f"the repository; got {'both' if sample else 'neither'}"
        )
    set_threads_and_seed(0, threads)  # nothing is drawn at random
    sets = [credited(one) for one in weights or [REAL]]
    person = _person(sex, age, height, weight, several=not out.suffix and study is not None)
    if not out.suffix and study is not None:
        return _pages(study, observer, out, subjects, shard, sets)
    title = title or ("A real heart (biv-me, Apache-2.0)" if sample else "Cardiac MRI")
    said = make_report(sample_folder() if sample else study, out, sets, keep, title, person)
    known = sum(row["value"] == row["value"] for row in said["measures"])
    typer.echo(near(f"{known} measures in {said['seconds']:.0f} s: {out}"))
    for missing in said["missing"]:
        typer.echo(f"missing: {missing}")


def _person(sex, age, height_cm, weight_kg, several: bool) -> dict:
    """What the command says of the person. Raises ValueError where pages of several people are asked for."""
    height_m = None if height_cm is None else height_cm / 100
    person = {"sex": sex, "age": age, "height_m": height_m, "weight_kg": weight_kg}
    if several and any(value not in ("", None) for value in person.values()):
        raise ValueError("sex, age, height and weight are of one person; name one page, -o REPORT.html")
    return person


def _pages(cohort, observer, folder, subjects, shard, weights):
    """sub-ID.html of each subject of a cohort."""
    from cmrlib.app.cli.observers import laid_over
    from cmrlib.cohort import Cohort
    from cmrlib.report import make_report

    hearts = laid_over(cohort, observer)[0] if observer else Cohort.open(cohort)
    people = chosen(subjects, shard, hearts.cines["participant_id"]) or hearts.cines["participant_id"].unique()
    missing = [subject for subject in people if not (folder / f"sub-{subject}.html").exists()]
    for subject in missing:
        own = hearts.cines.loc[hearts.cines["participant_id"] == subject, "cine"]
        make_report(hearts.part(own), folder / f"sub-{subject}.html", weights, title=f"sub-{subject}")
    typer.echo(near(f"{len(missing)} pages made now, {len(people) - len(missing)} before: {folder}"))
