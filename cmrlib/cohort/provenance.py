"""From whom a network learned, in its card and beside what it drew; whoever scores it on them is refused.

A card's `trained_on` is data set → who: participants' ids in public sets, where they are everybody's; in all others
(a hospital's 001 is not another's) the digests of the images, which say nothing to those who lack them. Validation
subjects count, for they decide too. Looking at such a heart stays allowed; what is drawn carries the flag KNOWN.
"""

from pathlib import Path

from cmrlib.cine.anatomy import views_of
from cmrlib.cohort.files import read_json, write_json

KNOWN = "trained_on_this_subject"
FILE = "weights.json"
"""In an observer's folder: from whom the networks learned that drew there, a row each."""
PEOPLE = ("ACDC", "Sunnybrook", "DSB2015", "M&Ms-2", "M&Ms")
"""Public data sets. One that is called after another (SunnybrookEndo, DSB2015 DICOM) holds the same people."""


def people_of(name: str) -> str:
    """The public data set whose people a data set holds, "" where its ids are its own."""
    return next((public for public in PEOPLE if name.startswith(public)), "")


def learned_from(cohort, subjects, view) -> dict:
    """What the card of a network for `view` (lax: all long-axis views), or for several, says of one source: `licence`,
    `trained_on`. subjects: participants who trained or validated. A network of several sources: `joined`."""
    name, views = cohort.description["Name"], views_of(view) if isinstance(view, str) else view
    seen = cohort.cines[cohort.cines["participant_id"].isin(list(subjects)) & cohort.cines["view"].isin(views)]
    who = seen["participant_id" if people_of(name) else "digest"]
    licence = cohort.description.get("License", "not stated")
    return {"licence": f"{name}: {licence}", "trained_on": {name: sorted(set(who))}}


def joined(*sources: dict) -> dict:
    """Several of `learned_from`, or cards, as one: a network that learned from all of them."""
    sources = [found for one in sources if (found := learned(one))]
    licences = dict.fromkeys(part for one in sources for part in one["licence"].split(" · "))
    who = {}
    for one in sources:
        for name, known in one["trained_on"].items():
            who[name] = sorted({*who.get(name, ()), *known})
    return {"licence": " · ".join(licences), "trained_on": who} if who else {}


def learned(card: dict) -> dict:
    """`licence` and `trained_on` of a card, empty where it says nothing; early cards list digests alone."""
    known = card.get("trained_on", {})
    known = {card.get("cohort", "not stated"): known} if isinstance(known, list) else known
    return {"licence": card.get("licence", "not stated"), "trained_on": known} if known else {}


def data_sets(card: dict) -> str:
    """Data sets of `trained_on`, with the number of subjects where their ids are listed; empty for a card without."""
    return ", ".join(
        f"{name} ({len(who)} subjects)" if people_of(name) else name
        for name, who in learned(card).get("trained_on", {}).items()
    )


def phantoms_alone(card: dict) -> bool:
    """Whether a network learned from no patient; a card that names nobody is believed in what it says of that."""
    return set(learned(card).get("trained_on", {"phantom": ()} if card.get("synthetic") else ())) == {"phantom"}


def known_to(card: dict, cohort, subjects=None) -> set[str]:
    """Participants of the cohort (default all) from whom the network learned: what it draws of them carries KNOWN."""
    cines, people, found = cohort.cines, people_of(cohort.description["Name"]), set()
    cines = cines if subjects is None else cines[cines["participant_id"].isin(list(subjects))]
    for name, who in learned(card).get("trained_on", {}).items():
        if people_of(name) in ("", people):
            by = cines["participant_id" if people_of(name) else "digest"]
            found |= set(cines.loc[by.isin(who), "participant_id"])
    return found


def refuse_known(cards, cohort, subjects=None):
    """Raise ValueError where one of these networks (their cards) learned from a subject that it is to be scored on."""
    asked = set(cohort.subjects["participant_id"] if subjects is None else subjects)
    for card in cards:
        if found := known_to(card, cohort, asked):
            _refuse(found, learned(card)["trained_on"], len(asked))


def record(folder, cards):
    """Note in an observer's folder from whom the networks learned that draw there, beside those that drew before."""
    path = Path(folder) / FILE
    rows = before = read_json(path) if path.exists() else []
    for one in map(learned, cards):
        rows = rows if one in rows or not one else [*rows, one]
    if rows != before:
        write_json(rows, path)


def refuse_known_masks(cohort, observer: str, reference: str, subjects=None):
    """Raise ValueError where a network drew an observer's mask of a subject (default all) from whom it learned, and
    the reference drew that subject too."""
    looked, human = cohort.observer(observer), cohort.observer(reference)
    if not (looked.path / FILE).exists():
        return
    cines = cohort.cines if subjects is None else cohort.cines[cohort.cines["participant_id"].isin(list(subjects))]
    both = [row for row in cines.itertuples() if looked.has(row.cine) and human.has(row.cine)]
    if found := {row.participant_id for row in both if KNOWN in looked.mask(row.cine).flags}:
        sets = {name: who for one in read_json(looked.path / FILE) for name, who in one["trained_on"].items()}
        _refuse(found, sets, len({row.participant_id for row in both}))


def refuse_known_rows(table):
    """The same of an observer's measures (participant_id, flags), in which a mask's flag stands as `KNOWN:view`."""
    if found := set(rows_known(table)):
        _refuse(found, {}, table["participant_id"].nunique())


def rows_known(table) -> list[str]:
    """Participants whose row of measures rests on a mask by a network that learned from them."""
    flags = table["flags"].fillna("").str.split("[;:]") if "flags" in table else []
    return [who for who, of in zip(table["participant_id"], flags) if KNOWN in of]


def _refuse(found, sets, n_asked):
    who, more = sorted(found), ", …" if len(found) > 5 else ""
    kinds = {name: "subjects" if people_of(name) else "images" for name in sets}
    taught = ", ".join(f"{len(known)} {kinds[name]} of {name}" for name, known in sets.items())
    raise ValueError(
        f"{len(who)} of {n_asked} subjects to be scored on ({', '.join(who[:5])}{more}) are among those from whom the "
        f"network learned{f' ({taught})' if taught else ''}, so the score would say nothing of other hearts; choose "
        "test subjects that it never saw, or weights that learned from others: the set synthetic learned from phantoms "
        "alone"
    )
