"""Figures and tables of the papers, from the tables of runs alone: nothing is trained or computed again.

    made = make_figures("quick")      # PDF and PNG under figures/PROFILE/, one file per paper figure
    tables = make_tables("quick")     # CSV, Markdown and LaTeX, the paper's printed values beside ours

figures.tsv and tables.tsv say which notebook and tables each comes from, not_reproducible.tsv what no data can
regenerate and why, printed.tsv what the papers print.
"""

from cmrlib.plots.figures.drawing import RunContext
from cmrlib.plots.figures.making import (
    FIGURES,
    NOT_REPRODUCIBLE,
    TABLES,
    PaperFigure,
    PaperTable,
    make_figures,
    make_tables,
    overview,
    paper_table,
    place,
    with_published_values,
)

__all__ = [
    "FIGURES",
    "NOT_REPRODUCIBLE",
    "TABLES",
    "PaperFigure",
    "PaperTable",
    "RunContext",
    "make_figures",
    "make_tables",
    "overview",
    "paper_table",
    "place",
    "with_published_values",
]
