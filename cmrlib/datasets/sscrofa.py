"""Pig hearts by three readings: contour areas of 40 short-axis cines of 11 pigs, ED and ES, no millimetres.

Source: chfc-cmi/cmr-cine-sscrofa, Zenodo 7684034. Licence: no file of one in the snapshot. Layout: `contour_areas.csv`,
a row a contour: observer, scan, pig, slice, phase, contour, area_px2. Labels there: endo, epi; 3 and 4 are RV. Fills no
cohort but a table of ejection fractions (`contour_ef`), for tests of agreement: obs0_rep0 against obs0_rep1 is intra-,
against obs1_rep0 inter-observer. The pixel size is unknown: ejection fraction is all that is comparable.

Known to be wrong with it: scan A15 has no ED by obs1, whose EF is therefore missing.
"""

from pathlib import Path

import pandas as pd

_COLUMNS = ["observer", "scan", "pig", "slice", "phase", "contour", "area_px2"]


def contour_ef(path) -> pd.DataFrame:
    """LV ejection fraction per scan and observer, from sums of endocardial areas over the slices of a stack.

    path: contour_areas.csv or its folder. Returns a long measures table: participant_id, session (the scan),
    observer, measure ("lvef_pct"), value in percent, NaN where an observer lacks ED or ES.
    Raises ValueError for missing columns, or a slice that one observer contoured twice.
    """
    path = Path(path)
    path = path / "contour_areas.csv" if path.is_dir() else path
    contours = pd.read_csv(path)
    if lacking := [c for c in _COLUMNS if c not in contours.columns]:
        raise ValueError(f"{path}: expected columns {lacking}, got {list(contours.columns)}")
    endo = contours[contours["contour"] == "endo"]
    twice = endo.duplicated(["observer", "scan", "phase", "slice"], keep=False)
    if twice.any():
        where = endo[twice].iloc[0][["observer", "scan", "phase", "slice"]].to_dict()
        raise ValueError(f"{path}: {twice.sum()} endocardial contours share a slice, first {where}; keep one")
    keys = ["pig", "scan", "observer"]
    area = endo.pivot_table(index=keys, columns="phase", values="area_px2", aggfunc="sum")
    table = (100 * (area["ED"] - area["ES"]) / area["ED"]).rename("value").reset_index()
    # t2_2 and t22 are two pigs: dropping the underscore for a BIDS label would make one of them
    table["participant_id"] = table["pig"].str.replace("_", "x")
    table = table.rename(columns={"scan": "session"}).assign(measure="lvef_pct")
    return table[["participant_id", "session", "observer", "measure", "value"]]
