"""Prepared cines as arrays on disk: made once, read as a memory map."""

import hashlib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from cmrlib.cohort.files import atomic, read_json, read_tsv, write_json, write_tsv
from cmrlib.cohort.progress import with_progress
from cmrlib.papers.cussp.preparation import Preprocessing, RefusedError, centre_crop, prepare

COLUMNS = ["participant_id", "session", "cine", "place", "ed", "es", "outside_pct", "refused"]


class Patches:
    """Prepared cines of a cohort.

    table: COLUMNS, a row a cine, refused ones too. pixels: (n, frames, size, size) uint8, a memory map; `table.place`
    is its first index, −1 where refused.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.table = read_tsv(self.folder / "patches.tsv").fillna({"refused": ""})
        self.pixels = np.load(self.folder / "patches.npy", mmap_mode="r")
        self.settings = read_json(self.folder / "patches.json")
        self.preprocessing = Preprocessing(**self.settings["preprocessing"])

    @property
    def digest(self) -> str:
        """Of what decides the pixels: cohort, observer, preprocessing, and what was made of it."""
        text = repr(sorted(self.settings.items())) + self.table.to_csv(index=False)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def usable(self, subjects=None) -> pd.DataFrame:
        """Rows that were not refused, of these subjects (default all)."""
        rows = self.table[self.table["place"] >= 0]
        return rows if subjects is None else rows[rows["participant_id"].isin(set(subjects))]

    def refusals(self) -> pd.DataFrame:
        """How many cines were refused, and why: reason, cines, share_pct."""
        counts = self.table["refused"].replace("", "none: prepared").value_counts()
        return pd.DataFrame(
            {"reason": counts.index, "cines": counts.to_numpy(), "share_pct": 100 * counts.to_numpy() / len(self.table)}
        )


def prepare_cohort(cohort, observer: str, preprocessing: Preprocessing, folder, subjects=None) -> Patches:
    """Prepare every 4CH cine of a cohort by one observer's masks, once: found again where nothing changed.

    Cines that the observer did not draw or that cannot be prepared are rows with a reason. Raises ValueError where
    nothing is left.
    """
    folder, looked = Path(folder), cohort.observer(observer)
    cines = cohort.cines[cohort.cines["view"] == "4ch"]
    cines = cines if subjects is None else cines[cines["participant_id"].isin(set(subjects))]
    names = hashlib.blake2b("\n".join(cines["cine"]).encode(), digest_size=8).hexdigest()
    settings = {"preprocessing": asdict(preprocessing), "cohort": cohort.digest, "observer": observer, "cines": names}
    if (folder / "patches.json").exists() and read_json(folder / "patches.json") == settings:
        return Patches(folder)
    (folder / "patches.json").unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    rows, place = [], 0
    with atomic(folder / "patches.npy") as part:
        pixels = np.lib.format.open_memmap(
            part,
            mode="w+",
            dtype=np.uint8,
            shape=(max(1, len(cines)), preprocessing.frames, preprocessing.size, preprocessing.size),
        )
        for row in with_progress(list(cines.itertuples()), "patches", "cine"):
            found = _prepared(cohort, looked, row, preprocessing)
            if not found["refused"]:
                pixels[place] = found.pop("pixels")
                found["place"], place = place, place + 1
            rows.append({"participant_id": row.participant_id, "session": row.session, "cine": row.cine} | found)
        pixels.flush()
    table = pd.DataFrame(rows, columns=COLUMNS)
    if not place:
        reasons = ", ".join(sorted(set(table["refused"]))) or "there is no 4CH cine"
        raise ValueError(f"no 4CH cine of {cohort.path.name} could be prepared by the masks of {observer!r}: {reasons}")
    write_tsv(table, folder / "patches.tsv")
    write_json(settings, folder / "patches.json")
    return Patches(folder)


def _prepared(cohort, looked, row, preprocessing):
    """Columns of one cine's row, and its pixels where it was not refused."""
    refused = {"place": -1, "ed": np.nan, "es": np.nan, "outside_pct": np.nan}
    if not looked.has(row.cine):
        return refused | {"refused": "not segmented"}
    annotation = looked.mask(row.cine)
    if looked.has(row.cine, "frames.tsv"):
        annotation.frames = looked.frames(row.cine)
    try:
        made = (prepare if preprocessing.kind == "valve" else centre_crop)(
            cohort.cine(row.cine), annotation, preprocessing
        )
    except RefusedError as error:
        return refused | {"refused": error.reason}
    return {"pixels": made.pixels, "ed": made.ed, "es": made.es, "outside_pct": 100 * made.outside, "refused": ""}
