"""Figures and tables of the papers, from the tables of runs alone: nothing is trained or computed again.

    made = make_figures("quick")      # PDF and PNG under figures/PROFILE/, one file per paper figure
    tables = make_tables("quick")     # CSV, Markdown and LaTeX, the paper's printed values beside ours

figures.tsv and tables.tsv say which notebook and tables each comes from, not_reproducible.tsv what no data can
regenerate and why, printed.tsv what the papers print.
"""

import json
import os
from pathlib import Path
from string import ascii_lowercase

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.text import Text

from cmrlib import plots
from cmrlib.cohort.files import atomic, read_arrays
from cmrlib.measures import label
from cmrlib.plots.figures import drawing

ROOT = Path(os.environ.get("CMR_ROOT") or Path(__file__).parents[3]).resolve()
"""The repository, as in `cmrlib.app.runs.parameters`."""
WIDTH_IN = {"1": 3.5, "2": 7.2}
"""Inches of one and two columns, as most journals have them."""
PUBLICATION = {"pdf.fonttype": 42, "ps.fonttype": 42, "savefig.dpi": 300, "savefig.bbox": "tight"}
"""Type 42: fonts are embedded, so that a journal's system takes the file."""


def _listed(name) -> pd.DataFrame:
    return pd.read_csv(Path(__file__).with_name(f"{name}.tsv"), sep="\t", dtype=str, keep_default_na=False)


FIGURES = list(_listed("figures").itertuples(index=False, name="PaperFigure"))
"""Figures of the papers: paper, item, file, notebook, tables (CSV, or NPZ of kept pictures, with commas), function,
labels (whether it takes names of models), columns of a page (1 or 2)."""
TABLES = list(_listed("tables").itertuples(index=False, name="PaperTable"))
"""Tables of the papers: paper, item, file, notebook, table, key (the column that names its rows), columns (ours, as
they are printed, with commas)."""
NOT_REPRODUCIBLE = _listed("not_reproducible")
"""Figures that are not regenerated: paper, item, reason."""


def place(run_folder, profile: str) -> Path:
    """Where figures of a profile go: figures/PROFILE of the repository, or the run's own folder where runs are kept
    elsewhere, as in tests."""
    inside = Path(run_folder).parents[1] == ROOT / "runs"
    return ROOT / "figures" / profile if inside else Path(run_folder) / "figures"


def make_figures(profile: str, runs=None, dest=None) -> pd.DataFrame:
    """Draw every figure whose tables a profile's runs hold, as PDF and PNG; returns one row per figure with `state`."""
    runs, dest = _folders(profile, runs, dest)
    plots.use_style()
    rows = []
    for one in FIGURES:
        state = _missing(runs, one.notebook, one.tables)
        if not state:
            _draw(one, runs, dest)
        row = {"paper": one.paper, "item": one.item, "file": f"{one.file}.pdf", "notebook": one.notebook}
        rows.append(row | {"state": state or "made"})
    return pd.DataFrame(rows)


def _draw(one, runs, dest):
    parameters = json.loads((runs / one.notebook / "manifest.json").read_text())["parameters"]
    tables = {name: _read(runs, one.notebook, name) for name in one.tables.split(",")}
    figure = drawing.draw(one, tables, drawing.RunContext(parameters, _synthetic(runs)))
    _letter(figure)
    _scale(figure, WIDTH_IN[one.columns])
    with plt.rc_context(PUBLICATION):
        for suffix in ("pdf", "png"):
            with atomic(dest / f"{one.file}.{suffix}") as part:
                figure.savefig(part, format=suffix)
    plt.close(figure)


def _letter(figure):
    """a, b, c, … at the upper left of every panel with axes of its own; none in sheets of pictures and heat maps."""
    panels = [ax for ax in figure.axes if ax.axison and len(ax.get_xticks())]
    panels = [ax for ax in panels if ax.get_label() != "<colorbar>" and ax.get_subplotspec() is not None]
    if any(ax.images for ax in figure.axes) or len(panels) < 2:
        return
    for letter, ax in zip(ascii_lowercase, panels):
        place = {"xy": (0, 1), "xycoords": "axes fraction", "xytext": (-16, 4), "textcoords": "offset points"}
        ax.annotate(letter, **place, ha="right", va="bottom", fontweight="bold")


def _scale(figure, width_in):
    """The whole figure as wide as that, words and lines with it, words from 5 to 10 points."""
    factor = width_in / figure.get_size_inches()[0]
    figure.set_size_inches(figure.get_size_inches() * factor)
    for text in figure.findobj(Text):
        text.set_fontsize(min(10, max(5, text.get_fontsize() * factor)))
    for line in figure.findobj(Line2D):
        line.set(linewidth=line.get_linewidth() * factor, markersize=line.get_markersize() * factor)


def make_tables(profile: str, runs=None, dest=None) -> dict[str, pd.DataFrame]:
    """Every table with the paper's values beside ours, as CSV, and as Markdown and LaTeX with the names of labels.tsv
    and of measures; file → DataFrame."""
    runs, dest = _folders(profile, runs, dest)
    made = {}
    for one in TABLES:
        if not _missing(runs, one.notebook, one.table):
            table = with_published_values(_read(runs, one.notebook, one.table), one)
            made[one.file], shown = table, _titled(table, one)
            latex = shown.to_latex(index=False, escape=True)
            for suffix, text in (("csv", table.to_csv(index=False)), ("md", _markdown(shown)), ("tex", latex)):
                with atomic(dest / f"{one.file}.{suffix}") as part:
                    part.write_text(text)
    return made


def _titled(table, one) -> pd.DataFrame:
    """The same with models, measures and columns called as people call them."""
    titles, rows = drawing.labels("columns"), drawing.labels(one.paper)
    table = table.assign(**{one.key: table[one.key].map(lambda name: rows.get(name, label(str(name))))})
    titles |= {f"{name} (paper)": f"{title} (paper)" for name, title in titles.items()}
    return table.rename(columns=titles)


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


def _missing(runs, notebook, tables: str) -> str:
    if not (runs / notebook / "manifest.json").exists():
        return f"{notebook} has not run"
    lost = [name for name in tables.split(",") if not _file(runs, notebook, name).exists()]
    return f"{notebook} of this profile made no {', '.join(lost)}" if lost else ""


def _file(runs, notebook, name) -> Path:
    """Of a table, or of the pictures that a notebook kept."""
    stem = runs / notebook / "tables" / name
    return stem.with_suffix(".npz") if stem.with_suffix(".npz").exists() else stem.with_suffix(".csv")


def _read(runs, notebook, name):
    path = _file(runs, notebook, name)
    if path.suffix == ".npz":
        return read_arrays(path)
    columns = pd.read_csv(path, nrows=0).columns
    return pd.read_csv(path, dtype={name: str for name in ("participant_id", "session") if name in columns})


def _synthetic(runs) -> bool:
    """Whether the profile's cohort is a phantom."""
    path = runs / "00_cohort" / "manifest.json"
    return not path.exists() or json.loads(path.read_text())["parameters"].get("source") == "phantom"
