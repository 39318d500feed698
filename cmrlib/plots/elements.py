"""Style and elements of figures: grids of panels and pictures, attributions over pictures, values with intervals."""

from itertools import zip_longest

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

ENDS = ("", "_low", "_high")
"""Suffixes of an estimate's columns."""


def use_style():
    """One style for every figure: readable in print, fonts that can be edited, colours that everyone can tell apart."""
    frame = {"axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True}
    saved = {"figure.dpi": 80, "savefig.bbox": "tight", "pdf.fonttype": 42}
    sns.set_theme(context="notebook", style="ticks", palette="colorblind", rc=frame | saved)


def mark_synthetic(figure, synthetic: bool, text: str = "phantom (synthetic hearts)"):
    """Write on the figure itself that its hearts are synthetic; returns the figure."""
    if synthetic:
        # just above the figure, where no label can lie; saving crops to what is drawn
        figure.text(1, 1.01, text, ha="right", va="bottom", fontsize=8, color="#666666")
    return figure


def panels(n: int, size, columns: int = 4, **options):
    """(figure, its first n axes) in lines of at most `columns`, each of `size` (inches); the rest stays empty."""
    columns = max(1, min(columns, n))
    lines = max(1, -(-n // columns))
    figsize = (size[0] * columns, size[1] * lines)
    figure, axes = plt.subplots(lines, columns, figsize=figsize, squeeze=False, **options)
    for ax in axes.flat[n:]:
        ax.set_axis_off()
    return figure, axes.flat[:n]


def image_grid(rows, size=(2.2, 2.4), names=(), title: str = "", **imshow):
    """Pictures in rows and columns, without axes; returns (figure, axes).

    rows: lists of (title, picture) or None for an empty place; a picture is an array (rows, columns) or a function that
    draws on the ax that it is given. size: inches of one place. names: of the rows, at their left. imshow: its options.
    """
    rows = [list(row) for row in rows]
    width = max(map(len, rows))
    figsize = (size[0] * width, size[1] * len(rows))
    figure, axes = plt.subplots(len(rows), width, figsize=figsize, squeeze=False)
    for line, row in zip(axes, rows):
        for ax, place in zip_longest(line, row):
            ax.set(xticks=[], yticks=[])
            sns.despine(ax=ax, left=True, bottom=True)
            if place is None:
                ax.set_axis_off()
                continue
            name, picture = place
            picture(ax) if callable(picture) else ax.imshow(picture, **{"cmap": "gray"} | imshow)
            ax.set_title(name, fontsize=9)
    for ax, name in zip(axes[:, 0], names):
        ax.set_ylabel(name, fontsize=9)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure, axes


def chunks(places: list, columns: int) -> list[list]:
    """Lines of at most `columns` places, for `image_grid`."""
    return [places[n : n + columns] for n in range(0, len(places), columns)]


def attribution(ax, picture, values, sigma_px: float = 0.0, percentile: float = 99.5, **imshow):
    """A picture in grey under its attribution: red raises the prediction, blue lowers it, small values are clear.

    picture: (rows, columns). values: of the same extent, also coarser; smoothed by `sigma_px` and relative to their
    percentile. Returns the image of the attribution, from −1 to 1.
    """
    values = np.asarray(values, np.float32)
    values = cv2.GaussianBlur(values, (0, 0), sigma_px) if sigma_px else values
    values = np.clip(values / (np.percentile(np.abs(values), percentile) or 1.0), -1, 1)
    ax.imshow(picture, **{"cmap": "gray"} | imshow)
    extent = (-0.5, picture.shape[1] - 0.5, picture.shape[0] - 0.5, -0.5)
    colours = {"cmap": "seismic", "vmin": -1, "vmax": 1, "alpha": np.minimum(np.abs(values), 0.75)}
    return ax.imshow(values, extent=extent, interpolation="nearest", **colours)


def bounded_text(row, name: str, digits: int = 3) -> str:
    """`0.98 (0.96 to 0.99)` of an estimate in a table's row; (n/a) where there is no interval."""
    value, low, high = (row[f"{name}{end}"] for end in ENDS)
    known = np.isfinite(low) and np.isfinite(high)
    return f"{value:.{digits}f} " + (f"({low:.{digits}f} to {high:.{digits}f})" if known else "(n/a)")


def spread(table, value: str):
    """Lengths (2, rows) of the error bars from `value` to `value`_low and _high; 0 where an interval is undefined."""
    return np.nan_to_num(np.abs(table[[f"{value}_low", f"{value}_high"]].T.to_numpy() - table[value].to_numpy()))


def beneath(table, columns: dict[str, str], by: str, value: str = "value") -> pd.DataFrame:
    """Columns with their intervals beneath each other as `value`; the column `by` has their names."""
    parts = [
        table.drop(columns=value, errors="ignore")
        .rename(columns={f"{column}{end}": f"{value}{end}" for end in ENDS})
        .assign(**{by: name})
        for column, name in columns.items()
    ]
    return pd.concat(parts, ignore_index=True)


def interval_plot(ax, table, value: str, places=None, names=None, horizontal: bool = False, **style):
    """`value` with its interval (`_low`, `_high`), a point per row; returns the ax.

    places: of the rows, default 0, 1, …, from above where `horizontal`. names: tick labels at 0, 1, ….
    """
    places = np.arange(len(table)) if places is None else places
    points = (table[value], places) if horizontal else (places, table[value])
    error = {"xerr" if horizontal else "yerr": spread(table, value)}
    ax.errorbar(*points, **error, **{"fmt": "o", "capsize": 3} | style)
    if names is not None:
        (ax.set_yticks if horizontal else ax.set_xticks)(range(len(names)), names)
        if horizontal:
            ax.set_ylim(len(names) - 0.5, -0.5)
    return ax


def grouped_intervals(ax, table, value: str, x: str, hue: str, labels=None, palette=None, width=0.6, horizontal=False):
    """`interval_plot` of every group (column `hue`) beside each other at every `x`; returns the ax.

    labels: group → legend. palette: group → colour.
    """
    places, groups = list(dict.fromkeys(table[x])), list(dict.fromkeys(table[hue]))
    for n, group in enumerate(groups):
        own = table[table[hue] == group].set_index(x).reindex(places)
        shift = (n - (len(groups) - 1) / 2) * width / len(groups)
        style = {"label": (labels or {}).get(group, group), "color": (palette or {}).get(group, f"C{n}"), "ms": 5}
        interval_plot(ax, own, value, np.arange(len(places)) + shift, places, horizontal, **style)
    return ax


def legend_below(figure, ax, place: str = "lower center", ncols: int = 4):
    """The legend of an ax in one place outside of all panels."""
    drawn = ax.get_legend_handles_labels()
    return figure.legend(*drawn, loc=f"outside {place}", ncols=ncols, frameon=False, fontsize=8)
