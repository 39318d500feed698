"""SSLHF's pictures: transformed and restored patches, gains over other methods, attributions."""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import AutoLocator

from cmrlib.plots.elements import attribution, image_grid, interval_plot, legend_below, spread
from cmrlib.plots.style import mark_synthetic

GREY = {"cmap": "gray", "vmin": -1.5, "vmax": 3.0, "interpolation": "nearest"}
"""z-scores; the same window for every picture, so that restored patches can be compared."""

SIDES = {"restored": "restored", "neighbours": "temporal neighbours", "shown": "as shown"}


def restoration_sheet(rows: dict, synthetic: bool, title: str = ""):
    """Figure 3: a row per transformation. rows: name → {column title: picture (rows, columns)}. Returns the figure."""
    figure, axes = image_grid([pictures.items() for pictures in rows.values()], names=rows, title=title, **GREY)
    for ax in axes[1:].flat:
        ax.set_title("")
    return mark_synthetic(figure, synthetic)


def restoration_bars(table, synthetic: bool):
    """Mean squared error by transformation, restored beside its comparators, with intervals. table: kind, what, mse,
    mse_low, mse_high. Returns the figure."""
    kinds = list(dict.fromkeys(table["kind"]))
    figure, ax = plt.subplots(figsize=(5.6, 3.3))
    for n, (what, label) in enumerate(SIDES.items()):
        part = table[table["what"] == what].set_index("kind").reindex(kinds)
        places = np.arange(len(kinds)) + 0.27 * (n - 1)
        ax.bar(places, part["mse"], 0.25, yerr=spread(part, "mse"), capsize=3, label=label)
    ax.set_xticks(range(len(kinds)), kinds)
    ax.set(ylabel="mean squared error (SD² of a patch)", xlabel="transformation", yscale="log")
    legend_below(figure, ax)
    return mark_synthetic(figure, synthetic)


def gains_figure(table, labels: dict, synthetic: bool):
    """Paired gains in AUC over other methods with intervals; thin: from the worst single run to the best. table: of
    `sslhf.tables.paired_table`. Returns the figure."""
    table = table[table["level"] == "patient"]
    figure, ax = plt.subplots(figsize=(5.8, 0.4 * len(table) + 1.2))
    ax.axvline(0, color="#bbbbbb", lw=0.8)
    ax.hlines(np.arange(len(table)), table["least"], table["most"], color="#999999", lw=0.8)
    interval_plot(ax, table, "gain", names=[labels.get(key, key) for key in table["method"]], horizontal=True)
    ax.set(xlabel="AUC of SSLHF − AUC of …, same patients")
    return mark_synthetic(figure, synthetic)


def evidence_sheet(cases: dict, synthetic: bool):
    """Attributions of a score and, at the right, each frame's share. Returns the figure.

    cases: title → (clip, attributions, frames to show), clip and attributions (frames, size, size).
    """
    rows = []
    for clip, found, frames in cases.values():
        sigma = max(1.0, clip.shape[1] / 48)
        pictures = [
            (f"frame {t}", partial(attribution, picture=clip[t], values=found[t], sigma_px=sigma, **GREY))
            for t in frames
        ]
        rows.append([*pictures, ("raises the logit, by frame", partial(_frame_shares, shares=found.sum((1, 2))))])
    figure, _ = image_grid(rows, names=cases)
    return mark_synthetic(figure, synthetic)


def _frame_shares(ax, shares):
    ax.bar(range(len(shares)), shares, color=np.where(shares > 0, "#b40426", "#3b4cc0"), width=1)
    ax.axhline(0, color="black", lw=0.6)
    ax.xaxis.set_major_locator(AutoLocator())
    ax.yaxis.set_major_locator(AutoLocator())
