"""Groups of patients: an annotated heat map with its tree, maps coloured by what is known, a value in each group."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from cmrlib.measures import MEASURES, label
from cmrlib.plots.elements import mark_synthetic

PALETTES = {"cluster": "Set2", "group": "colorblind", "sex": "Paired"}
"""Colours of classes by column, in every figure the same; others have Dark2."""


def group_heatmap(features, groups, tracks: pd.DataFrame, synthetic: bool):
    """Figure 3: dendrogram over subjects, annotation tracks, features as a heat map.

    features: of `stratification.top_features`. groups: `stratification.Groups`. tracks: indexed by participant_id.
    """
    numbers = features.loc[groups.labels.index].rename(columns=lambda name: label(name) if name in MEASURES else name)
    colours, legends = {}, []
    for name, column in [("cluster", groups.labels.astype(str)), *tracks.items()]:
        colours[label(name)], handles = _track(name, column.reindex(numbers.index))
        legends += handles
    height = 5.6 + 0.28 * tracks.shape[1]
    with plt.rc_context({"figure.constrained_layout.use": False}):
        grid = sns.clustermap(
            numbers.T.clip(-2.5, 2.5),
            col_linkage=groups.tree,
            row_cluster=False,
            col_colors=pd.DataFrame(colours, numbers.index),
            colors_ratio=0.25 / height,
            dendrogram_ratio=(0.01, 0.25),
            tree_kws={"colors": "#555555"},
            cbar_pos=None,
            figsize=(9.5, height),
            cmap="RdBu_r",
            vmin=-2.5,
            vmax=2.5,
            xticklabels=False,
            yticklabels=numbers.shape[1] <= 25,
        )
    grid.ax_heatmap.set(xlabel=f"{len(numbers)} subjects", ylabel=f"{numbers.shape[1]} features (SD)")
    grid.ax_heatmap.tick_params(axis="y", labelsize=7, rotation=0)
    grid.figure.legend(handles=legends, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=7)
    return mark_synthetic(grid.figure, synthetic)


def class_colours(name: str, values) -> dict[str, tuple]:
    """Class → colour of a column with classes."""
    classes = sorted(values.dropna().astype(str).unique())
    palette = PALETTES.get(name, "Dark2") if len(classes) <= 8 else "husl"
    return dict(zip(classes, sns.color_palette(palette, len(classes))))


def _track(name, values):
    """(colours, legend handles) of one row: classes, or a number's range."""
    of_class, name = class_colours(name, values), label(name)
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > 6:
        low, high = values.min(), values.max()
        colours = [plt.cm.viridis((v - low) / (high - low)) if pd.notna(v) else (1, 1, 1) for v in values]
        ends = [(plt.cm.viridis(0.0), f"{name} {low:.0f}"), (plt.cm.viridis(1.0), f"{name} {high:.0f}")]
    else:
        colours = [of_class.get(str(value), (1, 1, 1)) for value in values]
        ends = [(colour, f"{name} {c}") for c, colour in of_class.items()]
        ends += [((1, 1, 1), f"{name} unknown (white)")] if values.isna().any() else []
    return colours, [plt.Line2D([], [], marker="s", ls="", color=colour, label=label) for colour, label in ends]


def coloured_maps(table, columns: dict, synthetic: bool):
    """Figure S2: one map per column, coloured by it; table: umap_1, umap_2 and the columns; columns: name → title."""
    figure, axes = plt.subplots(1, len(columns), figsize=(3.7 * len(columns), 3.3), squeeze=False)
    for ax, (name, title) in zip(axes[0], columns.items()):
        if pd.api.types.is_numeric_dtype(table[name]) and table[name].nunique() > 6:
            shown = ax.scatter(table["umap_1"], table["umap_2"], c=table[name], cmap="viridis", s=16)
            figure.colorbar(shown, ax=ax, fraction=0.05)
        else:
            colours = class_colours(name, table[name])
            by = {"hue": table[name].astype(str), "hue_order": list(colours), "palette": colours}
            sns.scatterplot(table, x="umap_1", y="umap_2", **by, s=22, ax=ax)
            ax.legend(frameon=False, fontsize=7, title="", loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=5)
        ax.set(title=title, xlabel="UMAP 1", ylabel="UMAP 2", xticks=[], yticks=[])
        ax.title.set_size(10)
    return mark_synthetic(figure, synthetic)


def by_group(values, groups, tests, synthetic: bool):
    """Figure S3: each value in the groups, with p of Mann–Whitney (two groups) or Kruskal–Wallis (more).

    values: indexed by participant_id, a panel per column. tests: of `stratification.between_groups`.
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
        ax.set(ylabel=label(name, full=True), xlabel="cluster", title=title)
        ax.title.set_size(9)
    return mark_synthetic(figure, synthetic)
