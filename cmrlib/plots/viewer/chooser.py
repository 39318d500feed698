"""A scatter plot whose points are subjects: a click chooses one, and a linked viewer shows it."""

from pathlib import Path

import anywidget
import numpy as np
import pandas as pd
import seaborn as sns
import traitlets

HERE = Path(__file__).parent


class Chooser(anywidget.AnyWidget):
    """Points of a table that can be clicked.

    table: a row a subject with participant_id and the columns `x` and `y`. colour: a column of groups. lines: name →
    height of horizontal lines (bias, limits). link: a CineViewer that shows who was clicked. `selected` is that name.
    """

    _esm = HERE / "scatter.js"
    _css = HERE / "viewer.css"
    points = traitlets.List().tag(sync=True)
    groups = traitlets.Dict().tag(sync=True)
    lines = traitlets.List().tag(sync=True)
    x_label = traitlets.Unicode().tag(sync=True)
    y_label = traitlets.Unicode().tag(sync=True)
    selected = traitlets.Unicode().tag(sync=True)

    def __init__(self, table: pd.DataFrame, x: str, y: str, colour: str = "", lines: dict | None = None, link=None):
        super().__init__()
        known = table[np.isfinite(table[x].astype(float)) & np.isfinite(table[y].astype(float))]
        groups = known[colour].fillna("n/a").astype(str) if colour else pd.Series("", index=known.index)
        palette = dict(zip(sorted(groups.unique()), sns.color_palette("colorblind").as_hex() * 9))
        self.points = [
            {"name": str(name), "x": float(a), "y": float(b), "colour": palette[group]}
            for name, a, b, group in zip(known["participant_id"], known[x], known[y], groups)
        ]
        self.groups = palette if colour else {}
        self.lines = [{"name": name, "y": float(height)} for name, height in (lines or {}).items()]
        self.x_label, self.y_label = x, y
        if link is not None:
            self.observe(lambda change: link.show(change["new"]), "selected")
