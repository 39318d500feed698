"""Where observers of a cohort lie when no notebook runs: beside it, for a cohort never changes."""

from pathlib import Path

import pandas as pd

from cmrlib.agreement import changes
from cmrlib.cohort import Cohort
from cmrlib.cohort.files import atomic
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
    raise KeyError(
        f"no observer {observer!r} looked at {cohort}, and no folder is called so; "
        f"there are {', '.join(known) or 'none'}"
    )


def measured(cohort: Cohort, observer: str, conventions: Conventions, phases: str | None = None, subjects=None):
    """(table of `features`, how ED and ES were found). Where `phases` is None: from the curve of those whose whole
    cycle was drawn, and as given for the others."""
    if phases:
        return features(cohort, observer, conventions, phases=str(phases), subjects=subjects), str(phases)
    people = cohort.subjects["participant_id"].tolist() if subjects is None else list(subjects)
    if unknown := sorted(set(people) - set(cohort.subjects["participant_id"])):
        raise ValueError(f"subjects {unknown} are not in {cohort.path}")
    drawn = _frames_drawn(cohort, observer, people)
    if not drawn:
        raise ValueError(f"observer {observer!r} drew no masks of these subjects of {cohort.path}")
    groups = {
        "curve": [p for p, n in drawn.items() if n >= FEWEST_FRAMES],
        "given": [p for p, n in drawn.items() if n < FEWEST_FRAMES],
    }
    groups = {kind: chosen for kind, chosen in groups.items() if chosen}
    tables = [features(cohort, observer, conventions, phases=kind, subjects=chosen) for kind, chosen in groups.items()]
    table = pd.concat(tables, ignore_index=True).sort_values(["participant_id", "session"], ignore_index=True)
    return table, " and ".join(f"{kind} for {len(chosen)} subjects" for kind, chosen in groups.items())


def changed(cohort, against: str, after: pd.DataFrame, conventions: Conventions, phases, path) -> pd.DataFrame:
    """`agreement.changes` from another observer's masks, measured alike, to `after`; written to `path`."""
    hearts, name, _ = laid_over(cohort, against)
    drawn = set(hearts.cines.loc[hearts.cines["cine"].map(hearts.observer(name).has), "participant_id"])
    people = [one for one in after["participant_id"].unique() if one in drawn]
    if not people:
        raise ValueError(f"observer {name!r} drew none of these subjects, so there is nothing to compare with")
    before, _ = measured(hearts, name, conventions, phases, people)
    if rows_known(before) != rows_known(after[after["participant_id"].isin(people)]):
        for table in (before, after):  # where one comes from the other, both stand for the same network's masks
            refuse_known_rows(table)
    table = changes(before, after, FEATURES)
    with atomic(path) as part:
        table.to_csv(part, index=False, lineterminator="\n")
    return table


def _frames_drawn(cohort, observer, people) -> dict[str, int]:
    """Participant → fewest frames that were drawn in one of its short-axis cines (or others, where it has none)."""
    looked, fewest = cohort.observer(observer), {}
    cines = cohort.cines[cohort.cines["participant_id"].isin(people)]
    for participant, rows in cines.groupby("participant_id"):
        seen = [row for row in rows.itertuples() if looked.has(row.cine)]
        seen = [row for row in seen if row.view == "sax"] or seen
        if seen:
            fewest[participant] = min(len(looked.mask(row.cine).annotated) for row in seen)
    return fewest
