"""Thumbnails of what was found in a folder."""

import matplotlib.pyplot as plt
import pandas as pd

COLUMNS = 6


def thumbnails(table: pd.DataFrame):
    """One small picture per cine of `datasets.inspect(src, thumbnails=True)`: its row, view, slices × frames; a figure.

    Raises ValueError where the table has no cines.
    """
    cines = table[table["content"] == "cine"]
    if cines.empty or "thumbnail" not in table:
        raise ValueError("no thumbnail to draw: the table needs cines, and thumbnails=True when it was made")
    columns = min(COLUMNS, len(cines))
    lines = -(-len(cines) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(1.9 * columns, 2.25 * lines), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, (number, row) in zip(axes.flat, cines.iterrows()):
        title = f"{number} · {row['view']} · {row['slices']} × {row['frames']}"
        ax.set_title(title + (" ⚑" if row["flags"] else ""), fontsize=8)
        known = pd.notna(row["row_spacing_mm"])
        ax.imshow(
            row["thumbnail"],
            cmap="gray",
            vmin=0,
            vmax=255,
            aspect=row["row_spacing_mm"] / row["column_spacing_mm"] if known else 1,
        )
    if (cines["flags"] != "").any():
        figure.suptitle("⚑ has flags", fontsize=8)
    return figure
