"""Figures and tables of the papers, from the figures and tables of runs: nothing is computed again.

    made = make_figures("quick")      # PDF and PNG under figures/PROFILE/, one file per paper figure
    tables = make_tables("quick")     # CSV, Markdown and LaTeX, the paper's printed values beside ours

figures.tsv and tables.tsv say which notebook and file each comes from, not_reproducible.tsv what no data can regenerate
and why, printed.tsv what the papers print.
"""

import os
import shutil
from pathlib import Path

import pandas as pd

from cmrlib.cohort.files import atomic
from cmrlib.measures import label

ROOT = Path(os.environ.get("CMR_ROOT") or Path(__file__).parents[3]).resolve()
"""The repository, as in `cmrlib.app.runs.parameters`."""


def _listed(name) -> pd.DataFrame:
    return pd.read_csv(Path(__file__).with_name(f"{name}.tsv"), sep="\t", dtype=str, keep_default_na=False)


FIGURES = list(_listed("figures").itertuples(index=False, name="PaperFigure"))
"""Figures of the papers: paper, item, file, notebook, figure (the notebook's own; of several the first)."""
TABLES = list(_listed("tables").itertuples(index=False, name="PaperTable"))
"""Tables of the papers: paper, item, file, notebook, table, key (the column that names its rows), columns (ours, as
they are printed, with commas)."""
NOT_REPRODUCIBLE = _listed("not_reproducible")
"""Figures that are not regenerated: paper, item, reason."""


def labels(paper: str) -> dict[str, str]:
    """Model or method → its name in a paper's figures, in the order of its table."""
    table = _listed("labels").query("paper == @paper")
    return dict(zip(table["key"], table["label"]))


def place(run_folder, profile: str) -> Path:
    """Where figures of a profile go: figures/PROFILE of the repository, or the run's own folder where runs are kept
    elsewhere, as in tests."""
    inside = Path(run_folder).parents[1] == ROOT / "runs"
    return ROOT / "figures" / profile if inside else Path(run_folder) / "figures"


def make_figures(profile: str, runs=None, dest=None) -> pd.DataFrame:
    """Gather every figure that a profile's runs hold, as PDF and PNG; returns one row per figure with `state`."""
    runs, dest = _folders(profile, runs, dest)
    rows = []
    for one in FIGURES:
        drawn = [runs / one.notebook / "figures" / f"{name}.pdf" for name in one.figure.split(",")]
        found, state = [path for path in drawn if path.exists()], "made"
        if not (runs / one.notebook / "manifest.json").exists():
            state = f"{one.notebook} has not run"
        elif not found:
            state = f"{one.notebook} of this profile made no {one.figure}"
        for suffix in (".pdf", ".png") if state == "made" else ():
            shutil.copyfile(found[0].with_suffix(suffix), dest / f"{one.file}{suffix}")
        row = {"paper": one.paper, "item": one.item, "file": f"{one.file}.pdf", "notebook": one.notebook}
        rows.append(row | {"state": state})
    return pd.DataFrame(rows)


def make_tables(profile: str, runs=None, dest=None) -> dict[str, pd.DataFrame]:
    """Every table with the paper's values beside ours, as CSV, and as Markdown and LaTeX with the names of labels.tsv
    and of measures; file → DataFrame."""
    runs, dest = _folders(profile, runs, dest)
    made = {}
    for one in TABLES:
        path = runs / one.notebook / "tables" / f"{one.table}.csv"
        if path.exists() and (runs / one.notebook / "manifest.json").exists():
            made[one.file] = table = with_published_values(pd.read_csv(path), one)
            titles, names = labels("columns"), labels(one.paper)
            shown = table.assign(**{one.key: [names.get(name, label(str(name))) for name in table[one.key]]})
            shown = shown.rename(columns=titles | {f"{k} (paper)": f"{title} (paper)" for k, title in titles.items()})
            latex = shown.to_latex(index=False, escape=True)
            for suffix, text in (("csv", table.to_csv(index=False)), ("md", _markdown(shown)), ("tex", latex)):
                with atomic(dest / f"{one.file}.{suffix}") as part:
                    part.write_text(text)
    return made


def with_published_values(ours: pd.DataFrame, table) -> pd.DataFrame:
    """Rows as text: ours with interval, and the paper's value in a column of its own where it printed one.

    ours: one row per row of the paper, or HeartMAE's long errors (columns model, target, mae, r). table: of TABLES.
    """
    ours = _one_row_per_model(ours) if "target" in ours else ours
    printed = _listed("printed").query("paper == @table.paper.lower().replace('-net', '') and item == @table.item")
    printed = printed.set_index(["row", "metric"])
    rows = []
    for row in ours.to_dict("records"):
        out = {table.key: row[table.key]}
        for name in table.columns.split(","):
            if name in row:
                out[name] = _value(row, name)
            if pd.notna(row.get(f"{name}_paper", float("nan"))):
                out[f"{name} (paper)"] = f"{row[f'{name}_paper']:g}"
            if (row[table.key], name) in printed.index:
                value, sd = printed.loc[(row[table.key], name), ["printed", "printed_sd"]]
                out[f"{name} (paper)"] = value + (f" ± {sd}" if sd else "")
        rows.append(out)
    return pd.DataFrame(rows).fillna("")


def _one_row_per_model(table):
    """Long errors of HeartMAE → one row per model: lvef_pct becomes lvef_mae_pct with its interval, and lvef_r."""
    parts = []
    for one in table.to_dict("records"):
        name, _, unit = {"age": "age_years"}.get(one["target"], one["target"]).partition("_")
        values = {f"{name}_mae_{unit}{end}": one[f"mae{end}"] for end in ("", "_low", "_high")}
        parts.append({"model": one["model"]} | values | ({f"{name}_r": one["r"]} if "r" in one else {}))
    return pd.DataFrame(parts).groupby("model", sort=False).first().reset_index()


def _value(row, name) -> str:
    value = row[name]
    if not isinstance(value, float) or (value.is_integer() and name == "n"):
        return str(int(value) if isinstance(value, float) else value)
    if pd.isna(value):
        return "undefined"
    low, high = (row.get(f"{name}{end}") for end in ("_low", "_high"))
    return f"{value:.3g}" + (f" ({low:.3g} to {high:.3g})" if pd.notna(low) and pd.notna(high) else "")


def _markdown(table) -> str:
    """pandas' own needs tabulate."""
    lines = [list(table.columns), ["---"] * table.shape[1], *table.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def overview(figures: pd.DataFrame) -> pd.DataFrame:
    """Every paper figure: where it is made, or why it is not."""
    state = "not made: " + NOT_REPRODUCIBLE["reason"]
    left = NOT_REPRODUCIBLE.drop(columns="reason").assign(file="", notebook="", state=state)
    return pd.concat([figures, left], ignore_index=True)


def paper_table() -> str:
    """The README's map as Markdown: paper figure → file → notebook, and what is not made with the reason. The run is
    runs/PROFILE/NOTEBOOK."""
    rows = [(f"{one.paper} {one.item}", f"`{one.file}`", f"`{one.notebook}`") for one in (*FIGURES, *TABLES)]
    rows = sorted(rows, key=lambda row: row[1].split("_")[0])
    rows += [(f"{one.paper} {one.item}", "", f"not made: {one.reason}") for one in NOT_REPRODUCIBLE.itertuples()]
    return _markdown(pd.DataFrame(rows, columns=["paper", "file", "from"])).rstrip("\n")


def _folders(profile, runs, dest):
    dest = Path(dest or ROOT / "figures" / profile)
    dest.mkdir(parents=True, exist_ok=True)
    return Path(runs or ROOT / "runs") / profile, dest
