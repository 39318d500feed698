"""Groups of patients: an annotated heat map with its tree, maps coloured by what is known, a value in each group."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from scipy.cluster.hierarchy import dendrogram

from cmrlib.measures import MEASURES
from cmrlib.plots.style import mark_synthetic

TRACKS = ("Set2", "colorblind", "Paired", "Dark2")
"""Colours of the tracks with classes, one set each, so that no colour means two things."""


def group_heatmap(features, groups, tracks: pd.DataFrame, synthetic: bool):
    """Figure 3: dendrogram over subjects, annotation tracks, features as a heat map; returns the figure.

    features: of `stratification.top_features`. groups: `stratification.Groups`. tracks: indexed by participant_id.
    """
    numbers, chosen = features.loc[groups.labels.index], features.columns
    heights = [2, *[0.22] * (tracks.shape[1] + 1), 4]
    figure, axes = plt.subplots(
        len(heights), 1, figsize=(9.5, 2.2 + 0.28 * tracks.shape[1] + 3.4), gridspec_kw={"height_ratios": heights}
    )
    plain = {"no_labels": True, "color_threshold": 0, "above_threshold_color": "#555555"}
    order = dendrogram(groups.tree, ax=axes[0], **plain)["leaves"]
    axes[0].set_axis_off()
    people, legends = numbers.index[order], []
    for n, (name, column) in enumerate([("cluster", groups.labels.astype(str)), *tracks.items()]):
        legends.append(_track(axes[1 + n], _named(name, short=True), column.reindex(people), TRACKS[n % len(TRACKS)]))
    axes[-1].imshow(
        numbers.loc[people, chosen].T.clip(-2.5, 2.5),
        aspect="auto",
        cmap="RdBu_r",
        vmin=-2.5,
        vmax=2.5,
        interpolation="nearest",
    )
    axes[-1].set(xticks=[], xlabel=f"{len(people)} subjects", ylabel=f"{len(chosen)} features (SD)")
    axes[-1].set_yticks(range(len(chosen)), chosen, fontsize=7) if len(chosen) <= 25 else axes[-1].set_yticks([])
    figure.legend(
        handles=[handle for part in legends for handle in part], loc="outside right center", frameon=False, fontsize=7
    )
    return mark_synthetic(figure, synthetic)


def _named(name: str, short: bool = False) -> str:
    """A measure's name as people write it, with its unit; other columns as they are."""
    if name not in MEASURES:
        return name
    words = name.split("_")[0].upper() if short else MEASURES[name].description.split(":")[0]
    return f"{words} ({MEASURES[name].unit})"


def _track(ax, name, values, palette):
    """One row of colours; returns legend handles: classes, or the ends of a number's range."""
    number = pd.api.types.is_numeric_dtype(values) and values.nunique() > 6
    if number:
        low, high = values.min(), values.max()
        ax.imshow(values.to_numpy(float)[None], aspect="auto", cmap="viridis", vmin=low, vmax=high)
        ends = [(plt.cm.viridis(0.0), f"{name} {low:.0f}"), (plt.cm.viridis(1.0), f"{name} {high:.0f}")]
    else:
        classes = sorted(values.dropna().astype(str).unique())
        colours = dict(zip(classes, sns.color_palette(palette if len(classes) <= 8 else "husl", len(classes))))
        row = np.array([colours.get(str(v), (1, 1, 1)) for v in values])[None]
        ax.imshow(row, aspect="auto", interpolation="nearest")
        ends = [(colours[c], f"{name} {c}") for c in classes]
        ends += [((1, 1, 1), f"{name} unknown (white)")] if values.isna().any() else []
    ax.set(xticks=[], yticks=[])
    ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    return [plt.Line2D([], [], marker="s", ls="", color=colour, label=label) for colour, label in ends]


def coloured_maps(table, columns: dict, synthetic: bool):
    """Figure S2: one map a column, coloured by it; table: umap_1, umap_2 and the columns; columns: name → title."""
    figure, axes = plt.subplots(1, len(columns), figsize=(3.7 * len(columns), 3.3), squeeze=False)
    for ax, (name, title) in zip(axes[0], columns.items()):
        if pd.api.types.is_numeric_dtype(table[name]) and table[name].nunique() > 6:
            shown = ax.scatter(table["umap_1"], table["umap_2"], c=table[name], cmap="viridis", s=16)
            figure.colorbar(shown, ax=ax, fraction=0.05)
        else:
            sns.scatterplot(
                table, x="umap_1", y="umap_2", hue=table[name].astype(str), s=22, ax=ax, palette="colorblind"
            )
            ax.legend(frameon=False, fontsize=7, title="", loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=5)
        ax.set(title=title, xlabel="UMAP 1", ylabel="UMAP 2", xticks=[], yticks=[])
        ax.title.set_size(10)
    return mark_synthetic(figure, synthetic)


def by_group(values, groups, tests, synthetic: bool):
    """Figure S3: each value in the groups, with p of Mann–Whitney (two groups) or Kruskal–Wallis (more).

    values: indexed by participant_id, a panel a column. tests: of `stratification.between_groups`.
    """
    figure, axes = plt.subplots(1, values.shape[1], figsize=(2.7 * values.shape[1] + 0.4, 3), squeeze=False)
    tests = tests.drop_duplicates("value").set_index("value")
    test = "Mann–Whitney" if groups.n == 2 else "Kruskal–Wallis"
    for ax, name in zip(axes[0], values):
        known = pd.DataFrame({"cluster": groups.labels, "value": values[name].reindex(groups.labels.index)}).dropna()
        sns.boxplot(known, x="cluster", y="value", color="#9ecae1", fliersize=0, ax=ax)
        sns.stripplot(known, x="cluster", y="value", size=3, color="#333333", ax=ax)
        p = tests.loc[name, "p_all"] if name in tests.index else np.nan
        title = f"{test} p = {p:.2g}" if np.isfinite(p) else "too few for a test"
        ax.set(ylabel=_named(name), xlabel="cluster", title=title)
        ax.title.set_size(9)
    return mark_synthetic(figure, synthetic)
