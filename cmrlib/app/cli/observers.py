"""Observers of a cohort where no notebook runs: they lie beside it, for a cohort never changes."""

from pathlib import Path

import pandas as pd

from cmrlib.agreement import changes
from cmrlib.cohort import Cohort, Observer, stem
from cmrlib.cohort.files import atomic, read_json, without_formulas, write_json
from cmrlib.cohort.provenance import refuse_known_rows, rows_known
from cmrlib.measures import FEATURES, Conventions, features
from cmrlib.measures.curves import FEWEST_FRAMES


def beside(cohort, what: str) -> Path:
    """A folder beside the cohort and named after it: `hearts` → `hearts-WHAT`."""
    path = Path(cohort).resolve()
    return path.with_name(f"{path.name}-{what}")


def observer_folder(cohort, name: str) -> Path:
    """The folder of an observer that the command line makes: `COHORT-observers/NAME`."""
    if Path(name).name != name:
        raise ValueError(f"an observer's name is one word without slashes, got {name!r}; name a folder with --out")
    return beside(cohort, "observers") / name


def claim(folder, cohort: Cohort, made_by: dict, taken: str = "sub-*"):
    """Take a folder without files `taken`, or one that was made by the same: nobody else's work is written over.

    Raises ValueError for a folder inside the cohort, FileExistsError where it is somebody else's.
    """
    folder, mark = Path(folder), Path(folder) / "made_by.json"
    require_outside(folder, cohort)
    if read_json(mark) != made_by if mark.exists() else any(folder.glob(taken)):
        raise FileExistsError(
            f"{folder} holds what another command made, or this one with other weights, labels, settings or cohort; "
            "choose another folder or name"
        )
    write_json(made_by, mark)


def require_outside(folder, cohort: Cohort):
    """Raise ValueError for a folder inside the cohort."""
    if Path(folder).resolve().is_relative_to(cohort.path.resolve()):
        raise ValueError(f"{folder} lies inside the cohort, which never changes; choose a folder outside")


def require_subjects(cohort: Cohort, subjects):
    """Raise ValueError for participants who are not in the cohort; None stands for all."""
    if unknown := sorted(set(subjects or ()) - set(cohort.subjects["participant_id"])):
        raise ValueError(f"subjects {unknown} are not in {cohort.path}; participants.tsv lists who is")


def write_table(table: pd.DataFrame, path) -> pd.DataFrame:
    """Write a CSV, whole or not at all, and return the table."""
    with atomic(path) as part:
        without_formulas(table).to_csv(part, index=False, lineterminator="\n")
    return table


def laid_over(cohort, observer: str) -> tuple[Cohort, str, Path]:
    """(cohort with the observer, the observer's name, the folder that its measures go to).

    observer: one that came with the cohort, one that `cmr segment` made beside it, or any folder, in this order.
    Raises KeyError, with the names there are, where it is none of these.
    """
    opened, made = Cohort.open(cohort), beside(cohort, "observers")
    if observer in opened.observers:
        return opened, observer, made / observer
    for folder in (made / observer, Path(observer)):
        if folder.is_dir():
            folder = folder.resolve()
            inside = folder.is_relative_to(Path(cohort).resolve())
            return Cohort.open(cohort, [folder]), folder.name, made / folder.name if inside else folder
    known = [*opened.observers, *sorted(path.name for path in made.glob("*") if path.is_dir())]
    nobody = "none (`cmr ingest nifti … --label lv=1` takes your own masks along, `cmr segment` draws some)"
    raise KeyError(
        f"no observer {observer!r} looked at {cohort}, and no folder is called so; "
        f"there are {', '.join(known) or nobody}"
    )


def drawn_by(cohort: Cohort, observer: str) -> list[str]:
    """Participants of whom the observer drew masks."""
    drawn = cohort.cines["cine"].map(cohort.observer(observer).has)
    return sorted(set(cohort.cines.loc[drawn, "participant_id"]))


def measured(cohort: Cohort, observer: str, conventions: Conventions, phases=None, subjects=None, frames_from=None):
    """(table of `features`, how ED and ES were found). Where `phases` is None: from the curve of those whose whole
    cycle was drawn, and as given for the others. frames_from: an observer whose ED and ES count, then as given."""
    require_subjects(cohort, subjects)
    if phases or frames_from:
        given = {"phases": str(phases or "given"), "subjects": subjects, "frames_from": frames_from}
        return features(cohort, observer, conventions, **given), f"{given['phases']} by {frames_from or observer}"
    groups = {"curve": [], "given": []}
    for subject in drawn_by(cohort, observer) if subjects is None else subjects:
        if frames := _fewest_drawn(cohort, observer, subject):
            groups["curve" if frames >= FEWEST_FRAMES else "given"].append(subject)
    groups = {kind: chosen for kind, chosen in groups.items() if chosen}
    if not groups:
        raise ValueError(f"observer {observer!r} drew no masks of these subjects of {cohort.path}")
    tables = [features(cohort, observer, conventions, phases=kind, subjects=chosen) for kind, chosen in groups.items()]
    table = pd.concat(tables, ignore_index=True).sort_values(["participant_id", "session"], ignore_index=True)
    return table, " and ".join(f"{kind} for {len(chosen)} subjects" for kind, chosen in groups.items())


def _fewest_drawn(cohort, observer, subject) -> int:
    """Fewest frames that were drawn in one of the subject's short-axis cines (or others, where there is none)."""
    looked, cines = cohort.observer(observer), cohort.cines[cohort.cines["participant_id"] == subject]
    seen = cines[cines["cine"].map(looked.has)]
    seen = seen[seen["view"] == "sax"] if (seen["view"] == "sax").any() else seen
    return min((len(looked.mask(cine).annotated) for cine in seen["cine"]), default=0)


def changed(cohort, against: str, after: pd.DataFrame, conventions: Conventions, phases, path) -> pd.DataFrame:
    """`agreement.changes` from another observer's masks, measured alike, to `after`; written to `path`."""
    hearts, name, _ = laid_over(cohort, against)
    people = [one for one in after["participant_id"].unique() if one in drawn_by(hearts, name)]
    if not people:
        raise ValueError(f"observer {name!r} drew none of these subjects, so there is nothing to compare with")
    before, _ = measured(hearts, name, conventions, phases, people)
    if rows_known(before) != rows_known(after[after["participant_id"].isin(people)]):
        for table in (before, after):  # where one comes from the other, both stand for the same network's masks
            refuse_known_rows(table)
    return write_table(changes(before, after, FEATURES), path)


def lay_out(cohort: Cohort, observer: str, folder, subjects=None) -> pd.DataFrame:
    """Copies of an observer's masks in `folder`, as compressed NIfTI to be edited in place: a row a cine: cine, image,
    mask (paths), state (new, or kept: what was corrected before is never written over).

    Raises ValueError for unknown subjects, nobody drawn, and a folder inside the cohort; FileExistsError where the
    folder is somebody else's.
    """
    folder, looked, hand, rows = Path(folder), cohort.observer(observer), Observer(folder), []
    require_subjects(cohort, subjects)
    claim(folder, cohort, {"made_by": "cmr correct", "of": observer, "cohort": cohort.digest})
    for row in cohort.cines.itertuples():
        if (subjects is not None and row.participant_id not in subjects) or not looked.has(row.cine):
            continue
        there = hand.has(row.cine)
        if not there:
            hand.write(cohort.cine(row.cine), looked.mask(row.cine), to_correct=True)
        image = cohort.path / stem(row.cine).with_name(f"{row.cine}_cine.nii")
        mask = folder / stem(row.cine).with_name(f"{row.cine}_dseg.nii.gz")
        rows.append({"cine": row.cine, "image": str(image), "mask": str(mask), "state": "kept" if there else "new"})
    if not rows:
        raise ValueError(f"observer {observer!r} drew no masks of these subjects of {cohort.path}")
    return pd.DataFrame(rows)
