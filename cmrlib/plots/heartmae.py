"""HeartMAE: reconstructed clips, flow weights, errors over tasks, areas of diseases, attention and attributions."""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from cmrlib.plots.elements import attribution, grouped_intervals, image_grid, interval_plot, legend_below
from cmrlib.plots.style import mark_synthetic

PALETTE = {
    "mean": "#bbbbbb",
    "random": "#999999",
    "pca": "#CC79A7",
    "expert": "#E69F00",
    "natural": "#56B4E9",
    "plain": "#0072B2",
    "mask95": "#009E73",
    "tube": "#F0E442",
    "flow": "#D55E00",
}


def reconstruction_sheet(cases: dict, synthetic: bool, most: int = 4):
    """Original, visible tokens and reconstruction in rows, frames in columns, a block per case; returns the figure.

    cases: title → `heartmae.reconstruction.reconstruct`.
    """
    rows = {"original": [], "visible": [], "reconstructed": []}
    for case in cases.values():
        low, high = np.percentile(case["original"], [1, 99])
        window = {"cmap": "gray", "interpolation": "nearest", "vmin": low, "vmax": high}
        for n in np.linspace(0, len(case["frames"]) - 1, most).round().astype(int):
            for name, row in rows.items():
                title = f"frame {case['frames'][n]}" if name == "original" else ""
                row.append((title, partial(_over_blue, picture=case[name][n], **window)))
    figure, axes = image_grid(rows.values(), (1.25, 1.37), list(rows))
    for ax, title in zip(axes[-1, ::most], cases):
        ax.set_xlabel(title, fontsize=9, loc="left")
    return mark_synthetic(figure, synthetic)


def _over_blue(ax, picture, **imshow):
    ax.set_facecolor("#33475b")  # masked
    ax.imshow(picture, **imshow)


def flow_sheet(cases: dict, synthetic: bool):
    """Flow weights over a section's first frame; cases: title → (image, weights 0 to 1). Returns the figure."""
    window = [{"vmin": np.percentile(image, 1), "vmax": np.percentile(image, 99.5)} for image, _ in cases.values()]
    places = [(title, image) for title, (image, _) in cases.items()]
    figure, axes = image_grid([places], (2.6, 2.6))
    for ax, (_, weights), limits in zip(axes[0], cases.values(), window):
        ax.images[0].set_clim(*limits.values())
        shown = ax.imshow(weights, cmap="magma", alpha=0.45, vmin=0, vmax=1)
    figure.colorbar(shown, ax=axes[0, -1], label="W, weight of the loss", fraction=0.05)
    return mark_synthetic(figure, synthetic)


def token_evidence(cases: dict, synthetic: bool):
    """Attribution over tokens on the picture: red raises the prediction, blue lowers it. Returns the figure.

    cases: title → (picture (size, size), map (rows, columns)).
    """
    places = [
        (
            title,
            partial(
                attribution,
                picture=picture,
                values=values,
                percentile=100,
                vmin=np.percentile(picture, 1),
                vmax=np.percentile(picture, 99.5),
            ),
        )
        for title, (picture, values) in cases.items()
    ]
    figure, axes = image_grid([places], (2.6, 2.7))
    figure.colorbar(axes[0, -1].images[-1], ax=axes[0, -1], label="share of the largest", fraction=0.05)
    return mark_synthetic(figure, synthetic)


def explained_bars(table, labels: dict, synthetic: bool):
    """Share of the variance of masked pixels that is reconstructed, over all and where it moves; returns the figure.

    table: of `heartmae.reconstruction.explained_variance`.
    """
    figure, ax = plt.subplots(figsize=(1.8 + 1.2 * len(table), 3.1))
    ends = ("", "_low", "_high")
    long = pd.concat(
        pd.DataFrame(
            {f"share{end}": table[f"explained{where}{end}"] for end in ends}
            | {"variant": table["variant"].map(lambda key: labels.get(key, key)), "where": name}
        )
        for where, name in (("", "all masked pixels"), ("_moving", "where it moves"))
    )
    grouped_intervals(ax, long, "share", "variant", "where")
    ax.set(ylabel="share of variance explained", xlim=(-0.6, len(table) - 0.4))
    legend_below(figure, ax)
    return mark_synthetic(figure, synthetic)


def ratio_panels(table, targets: dict, labels: dict, synthetic: bool, value="ratio"):
    """Error relative to predicting the mean with intervals, a panel per target, a row per model; returns the figure.

    targets: name → title.
    """
    models = [m for m in table["model"].unique() if m != "mean"]
    size = (2.3 * len(targets) + 1.2, 0.32 * len(models) + 1.6)
    figure, axes = plt.subplots(1, len(targets), figsize=size, sharey=True, squeeze=False)
    for ax, (target, title) in zip(axes[0], targets.items()):
        own = table[table["target"] == target].set_index("model").reindex(models)
        for n, model in enumerate(models):
            interval_plot(ax, own.loc[[model]], value, [n], horizontal=True, color=PALETTE.get(model, "black"))
        ax.axvline(1 if value == "ratio" else 0.5, color="#999999", lw=1, ls="--")
        ax.set_title(title, fontsize=10)
    axes[0, 0].set_yticks(range(len(models)), [labels.get(m, m) for m in models])
    axes[0, 0].invert_yaxis()
    figure.supxlabel("error relative to predicting the mean" if value == "ratio" else value, fontsize=9)
    return mark_synthetic(figure, synthetic)


def tasks_figure(table, labels: dict, synthetic: bool):
    """Figure S1: mean absolute error in SDs of every target, a colour per model; table: of `error_table`."""
    shown = table[table["model"] != "mean"]
    order = shown.groupby("target")["mae_sd"].median().sort_values().index
    figure, ax = plt.subplots(figsize=(max(7, 0.17 * len(order)), 3.8))
    for model, part in shown.groupby("model", sort=False):
        values = part.set_index("target").reindex(order)["mae_sd"]
        style = {"ms": 3.5, "color": PALETTE.get(model, "black"), "label": labels.get(model, model)}
        ax.plot(range(len(order)), values, "o", **style)
    ax.set_xticks(range(len(order)), order, rotation=90, fontsize=6.5)
    ax.set(ylabel="mean absolute error (SD)", xlim=(-1, len(order)))
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", frameon=False, fontsize=8, ncols=5)
    return mark_synthetic(figure, synthetic)


def disease_figure(table, labels: dict, synthetic: bool):
    """Figure 2: average precision and AUC of every disease and model with intervals; of `disease_table`."""
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.4))
    counts = table.drop_duplicates("target")
    names = [f"{row.target}\n{row.n_positive} of {row.n}" for row in counts.itertuples()]
    for ax, (value, name) in zip(axes, (("ap", "average precision"), ("auc", "area under the ROC curve"))):
        grouped_intervals(ax, table, value, "target", "model", labels, PALETTE, width=0.8)
        ax.set_xticks(range(len(names)), names)
        ax.set(ylabel=name, ylim=(0, 1.03))
    legend_below(figure, axes[0])
    return mark_synthetic(figure, synthetic)


def attention_figure(table, synthetic: bool):
    """Attention of single sections relative to equal shares, by view; columns view, relative. Returns the figure."""
    figure, ax = plt.subplots(figsize=(4.6, 2.8))
    sns.boxplot(table, x="view", y="relative", color="#9ecae1", fliersize=2, ax=ax)
    ax.axhline(1, color="#999999", lw=1, ls="--")
    ax.set(xlabel="", ylabel="attention / equal share")
    return mark_synthetic(figure, synthetic)


def occlusion_figure(table, labels: dict, synthetic: bool):
    """A value (AUC or ratio) with the whole picture, without the heart and with the heart alone; returns the figure.

    table: columns target, sight, value with its interval, chance, measure. labels: sight → legend.
    """
    figure, ax = plt.subplots(figsize=(1.3 * table["target"].nunique() + 2, 3))
    grouped_intervals(ax, table, "value", "target", "sight", labels)
    ax.set_xticks(ax.get_xticks(), ax.get_xticklabels(), rotation=30, ha="right", fontsize=8)
    ax.axhline(table["chance"].iloc[0], color="#999999", lw=1, ls="--")
    ax.set(ylabel=table["measure"].iloc[0])
    legend_below(figure, ax)
    return mark_synthetic(figure, synthetic)


def cohort_map(table, synthetic: bool = False):
    """One UMAP of several cohorts' sections, a panel per view with the other views in grey. Returns the figure.

    table: columns umap_1, umap_2, cohort, view; the first row's cohort is the reference, the others are triangles.
    """
    sizes = table["cohort"].value_counts(sort=False)
    named = table.assign(cohort=[f"{name} ({sizes[name]} sections)" for name in table["cohort"]])
    names = list(named["cohort"].unique())
    first = table["cohort"].iloc[0]
    markers = {name: "o" if name.startswith(first) else "^" for name in names}
    views = list(table["view"].unique())
    size = (2.9 * len(views) + 2.2, 3.3)
    figure, axes = plt.subplots(1, len(views), figsize=size, sharex=True, sharey=True, squeeze=False)
    for ax, view in zip(axes[0], views):
        ax.scatter(*table.loc[table["view"] != view, ["umap_1", "umap_2"]].to_numpy().T, s=3, color="#dddddd")
        for n, name in enumerate(names):
            own, reference = named[(named["view"] == view) & (named["cohort"] == name)], markers[name] == "o"
            style = {"s": 8 if reference else 30, "alpha": 0.5 if reference else 1}
            ax.scatter(own["umap_1"], own["umap_2"], marker=markers[name], color=f"C{n}", label=name, **style)
        ax.set(title=view.upper(), xlabel="UMAP 1", ylabel="UMAP 2" if view == views[0] else "")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    if synthetic:
        note = f"{first}: synthetic; triangles: real hearts"
        figure.text(1, 1.01, note, ha="right", va="bottom", fontsize=8, color="#666666")
    return figure
