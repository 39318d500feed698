"""A cine's JSON sidecar: all of a Cine but its pixels and affine; unknown times are null. And its row in cines.tsv."""

import re
from dataclasses import fields

import numpy as np
import pandas as pd

from cmrlib.cine import Cine

_TIMES = ("frame_times_ms", "rr_ms", "slice_position_mm")
_KEPT = [one.name for one in fields(Cine) if one.init and one.name not in ("pixels", "affine")]
LABEL = "[A-Za-z0-9]+"
_NAME = re.compile(rf"sub-({LABEL})(?:_ses-({LABEL}))?_view-({LABEL})(?:_run-([0-9]+))?")
_COLUMNS = ("cine", "participant_id", "session", "view", "run", "frames", "rr_ms", "flags", "bytes", "digest")

_WHOLE = {"cine", "participant_id", "view", "run", "frames", "bytes", "digest"}


def check_tables(path, subjects: pd.DataFrame, cines: pd.DataFrame):
    """Raise ValueError naming the table in the folder `path` where columns are missing, or labels are not what file
    names are made of: letters and digits, and each cine's name made of its subject, session, view and run."""
    for name, table, columns in (("participants", subjects, _COLUMNS[1:2]), ("cines", cines, _COLUMNS)):
        if lacking := [column for column in columns if column not in table]:
            raise ValueError(f"{path / name}.tsv lacks the columns {', '.join(lacking)}; ingest the cohort again")
        if table[columns[0]].duplicated().any() or table[list(_WHOLE & set(columns))].isna().any(axis=None):
            raise ValueError(
                f"{path / name}.tsv is cut short, or names one twice; restore it or ingest the cohort again"
            )
    if wrong := [name for name in ("frames", "bytes") if not pd.api.types.is_integer_dtype(cines[name])]:
        raise ValueError(
            f"{path / 'cines.tsv'}: {wrong[0]} must be whole numbers; restore it or ingest the cohort again"
        )
    for label in subjects["participant_id"]:
        if not re.fullmatch(LABEL, str(label)):
            raise ValueError(
                f"{path / 'participants.tsv'}: participant_id {label!r}; expected letters and digits: ingest again"
            )
    known = set(subjects["participant_id"])
    for row in cines.itertuples():
        found = _NAME.fullmatch(str(row.cine))
        labels = (row.participant_id, row.session, row.view, "" if row.run == 1 else str(row.run))
        if not found or found.groups("") != labels or row.participant_id not in known:
            raise ValueError(
                f"{path / 'cines.tsv'}: {row.cine!r} is no name of a cine of {labels[0]!r}, session {labels[1]!r}, "
                f"view {labels[2]!r}, run {row.run}, in participants.tsv; restore the table or ingest the cohort again"
            )


def cine_sidecar(cine: Cine) -> dict:
    """What `write_json` writes beside a cine's array."""
    side = {name: getattr(cine, name) for name in _KEPT}
    return side | {name: np.round(side[name], 4) for name in _TIMES if side[name] is not None}


def cine_from_sidecar(pixels, affine, side: dict, name: str) -> Cine:
    """The cine `name` from its array and its sidecar, whose digest was compared before. Raises ValueError where it is
    another cine's."""
    times = {name: None if side[name] is None else np.array(side[name], float) for name in _TIMES}
    frames_of = None if side["frames_of"] is None else (tuple(side["frames_of"][0]), side["frames_of"][1])
    rest = {name: side[name] for name in _KEPT}
    cine = Cine(pixels, affine, **rest | times | {"flags": tuple(side["flags"]), "frames_of": frames_of})
    if cine.name != name:
        raise ValueError(f"{name}: its sidecar {name}_cine.json is that of {cine.name}; ingest the subject again")
    return cine
