"""Figures and tables of the five papers, from the tables of runs alone: nothing is trained or computed again.

    made = make_figures("quick")      # PDF and PNG under figures/PROFILE/, one file a paper figure
    tables = make_tables("quick")     # CSV, Markdown and LaTeX, the paper's printed values beside ours

`PIECES` and `TABLES` say which run each comes from, `NOT_MADE` what no data can regenerate and why.
"""

from cmrlib.plots.figures.making import beside_printed, make_figures, make_tables, overview, paper_table, place
from cmrlib.plots.figures.pieces import NOT_MADE, PIECES, TABLES, Piece, Table

__all__ = [
    "NOT_MADE",
    "PIECES",
    "TABLES",
    "Piece",
    "Table",
    "beside_printed",
    "make_figures",
    "make_tables",
    "overview",
    "paper_table",
    "place",
]
