"""Tables in a terminal."""

import sys

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Column, Table

from cmrlib.cohort.files import read_tsv
from cmrlib.measures import withheld

SHOWN = ("lvedv_ml", "lvesv_ml", "lvef_pct", "lvm_g", "rvedv_ml", "rvesv_ml", "rvef_pct", "la_max_ml", "ra_max_ml")
MOST = 20


def show(table: pd.DataFrame, title: str = ""):
    """Print a DataFrame of text and numbers; undefined is n/a."""
    columns = [Column(str(name), overflow="fold") for name in table.columns]
    drawn = Table(*columns, title=title or None, title_justify="left")
    for row in table.itertuples(index=False):
        drawn.add_row(*map(_text, row))
    Console(width=None if sys.stdout.isatty() else 160, markup=False).print(drawn)


def _text(value):
    if isinstance(value, str):
        return value
    return "n/a" if pd.isna(value) else f"{value:.1f}" if isinstance(value, float | np.floating) else str(value)


def series(table: pd.DataFrame):
    """What `datasets.inspect` found: cines, and below them what is left out and why."""

    def joined(names, form):
        text = cines[names].map(lambda value: "" if pd.isna(value) else form.format(value))
        return text.apply(lambda row: " × ".join(filter(None, row)), axis=1)

    cines, left = table[table["content"] == "cine"], table[table["content"] != "cine"]
    private = [name for name in ("description", "folder") if name in table]
    if len(cines):
        session = cines["session"].map(lambda name: f" ses-{name}" if name else "")
        columns = {
            "subject": cines["subject"] + session,
            "view": cines["view"],
            "slices × frames": joined(["slices", "frames"], "{}"),
            "files": cines["files"].astype(str),
            "pixels": joined(["rows", "columns"], "{}"),
            "mm": joined(["row_spacing_mm", "column_spacing_mm", "slice_distance_mm"], "{:.2f}"),
            "step (ms)": cines["frame_step_ms"],
            "RR (ms)": cines["rr_ms"],
            "ordered by": cines["ordered_by"],
            "flags": cines["flags"].str.replace(";", " "),
        }
        show(pd.DataFrame(columns | {name: cines[name] for name in private}), "cines")
    if len(left):
        names = ["subject", "files", "reason", *[name for name in private if name == "folder"]]
        show(left[names].astype({"files": str}).fillna(""), "left out")
    print(f"cines: {len(cines)}, subjects: {table['subject'].nunique()}, files left out: {int(left['files'].sum())}")


def cohort(opened):
    print(f"{opened} in {opened.path}")


def rejected(opened):
    """How much became no cine, and why."""
    table = read_tsv(opened.path / "rejected.tsv")
    reasons = table["reason"].str.replace(r"^sub-[A-Za-z0-9_-]+: ", "", regex=True).value_counts()
    print(f"rejected: {len(table) or 'nothing'}")
    for reason, n in reasons.items():
        print(f"  {n} × {reason}")


def measures(table: pd.DataFrame, title: str):
    """The volumes of the first subjects, mean and SD of all, and why a number is n/a."""
    left_out = withheld(table)
    named = set(" ".join(left_out["measures"]).split())
    columns = [name for name in SHOWN if table[name].notna().any() or name in named]
    flags = table["flags"].str.split(";").map(lambda found: str(sum(map(bool, found))))
    rows = table[["participant_id", *columns]].assign(flags=flags).head(MOST)
    total = pd.DataFrame(
        [[f"mean ± SD of {len(table)}", *(_mean_sd(table[name]) for name in columns), ""]], columns=rows.columns
    )
    show(pd.concat([rows.astype(object), total]), title)
    if len(table) > MOST:
        print(f"the first {MOST} of {len(table)} rows")
    if len(left_out):
        show(left_out[["participant_id", "measures", "reason"]].head(MOST), "n/a, and why")
        who, everybody = left_out["participant_id"].nunique(), table["participant_id"].nunique()
        print(f"measures left out: of {who} of {everybody} subjects; {len(left_out)} reasons")


def _mean_sd(values):
    """Over the known values, whose number stands there where some are not known."""
    if values.count() < 2:
        return ""
    return f"{values.mean():.1f} ± {values.std():.1f}" + (f" (n={values.count()})" if values.isna().any() else "")


def before_after(table: pd.DataFrame):
    """Dice before and after fine-tuning, and their difference, with intervals."""
    rows = table[["view", "structure"]].copy()
    for name in ("before", "after", "difference"):
        estimate = table[[f"dice_{name}", f"dice_{name}_low", f"dice_{name}_high"]].to_numpy()
        sign = "+" if name == "difference" else ""
        rows[name] = [f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]" for value, low, high in estimate]
    show(rows.assign(n=table["n"].astype(str)), "Dice of subjects held out, with 95 % intervals over subjects")


def unknown_phases(table: pd.DataFrame, single: pd.DataFrame):
    """Why measures lack an ejection fraction, and the volumes of cines of one frame (`single_frames`)."""
    for flag, why in (("es_unknown", "ES is"), ("ed_unknown", "ED is"), ("ed_es_unknown", "ED and ES are")):
        if n := sum(flag in flags.split(";") for flags in table["flags"]):
            print(f"no ejection fraction of {n} of {len(table)}: {why} unknown")
    if len(single):
        title = "one frame, and nothing says whether it is ED or ES (cmr ingest --phase): its volumes"
        show(single.drop(columns="session").head(MOST), title)
