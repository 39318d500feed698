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
    keep: Annotated[
        Path | None, typer.Option(help="Keep cohort and observers here; of several pages a folder each.")
    ] = None,
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
        raise ValueError(f"name a study's folder, or --sample; got {'both' if sample else 'neither'}")
    set_threads_and_seed(0, threads)  # nothing is drawn at random
    sets = [credited(one) for one in weights or [REAL]]
    several, of_one = not out.suffix and study is not None, {"sex": sex, "age": age, "height": height, "weight": weight}
    _require_fitting(several, of_one | {"title": title}, {"observer": observer, "subjects": subjects, "shard": shard})
    if several:
        return _pages(study, observer, out, subjects, shard, sets, keep)
    person = {"sex": sex, "age": age, "height_m": height and height / 100, "weight_kg": weight}
    title = title or ("A real heart (biv-me, Apache-2.0)" if sample else "Cardiac MRI")
    said = make_report(sample_folder() if sample else study, out, sets, keep, title, person)
    known = sum(row["value"] == row["value"] for row in said["measures"])
    typer.echo(near(f"{known} measures in {said['seconds']:.0f} s: {out}"))
    for missing in said["missing"]:
        typer.echo(f"missing: {missing}")


def _require_fitting(several: bool, of_one: dict, of_many: dict):
    """Raise ValueError for options of one person where pages of several are asked for, and the other way round."""
    given = [f"--{name}" for name, value in (of_one if several else of_many).items() if value not in ("", None, [])]
    if given and several:
        raise ValueError(f"{', '.join(given)}: of one person, and -o names a folder; name one page, -o REPORT.html")
    if given:
        raise ValueError(f"{', '.join(given)}: of a cohort's pages, and -o names one page; name a folder, -o PAGES")


def _pages(cohort, observer, folder, subjects, shard, weights, keep):
    """sub-ID.html of each subject of a cohort; what is kept of each goes to a folder of the same name."""
    from cmrlib.app.cli.observers import laid_over
    from cmrlib.cohort import Cohort
    from cmrlib.report import make_report

    hearts = laid_over(cohort, observer)[0] if observer else Cohort.open(cohort)
    people = chosen(subjects, shard, hearts.cines["participant_id"]) or hearts.cines["participant_id"].unique()
    missing = [subject for subject in people if not (folder / f"sub-{subject}.html").exists()]
    for subject in missing:
        own = hearts.cines.loc[hearts.cines["participant_id"] == subject, "cine"]
        name = f"sub-{subject}"
        make_report(hearts.part(own), folder / f"{name}.html", weights, keep and keep / name, title=name)
    typer.echo(near(f"{len(missing)} pages made now, {len(people) - len(missing)} before: {folder}"))
