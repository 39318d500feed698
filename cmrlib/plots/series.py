"""Thumbnails of what was found in a folder."""

from functools import partial

import pandas as pd

from cmrlib.plots.elements import chunks, image_grid


def thumbnails(table: pd.DataFrame, columns: int = 6):
    """One small picture per cine of `datasets.inspect(src, thumbnails=True)`: its row, view, slices × frames; a figure.

    Raises ValueError where the table has no cines.
    """
    cines = table[table["content"] == "cine"]
    if cines.empty or "thumbnail" not in table:
        raise ValueError("no thumbnail to draw: the table needs cines, and thumbnails=True when it was made")
    flags = cines["flags"].map(lambda text: " ⚑" if text else "")
    titles = [f"{n} · {r['view']} · {r['slices']} × {r['frames']}{flags[n]}" for n, r in cines.iterrows()]
    places = [(title, partial(_show, row=row)) for title, (_, row) in zip(titles, cines.iterrows())]
    return image_grid(chunks(places, columns), (1.9, 2.25), title="⚑ has flags" if flags.any() else "")[0]


def _show(ax, row):
    aspect = row["row_spacing_mm"] / row["column_spacing_mm"] if pd.notna(row["row_spacing_mm"]) else 1
    ax.imshow(row["thumbnail"], cmap="gray", vmin=0, vmax=255, aspect=aspect)
