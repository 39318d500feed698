"""SSLHF and HeartMAE: restored and reconstructed pictures, errors and areas of models, attention and attributions."""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.ticker import AutoLocator

from cmrlib.measures import label
from cmrlib.plots.elements import (
    attribution,
    beneath,
    grouped_intervals,
    image_grid,
    interval_plot,
    legend_below,
    mark_synthetic,
    spread,
)

GREY = {"cmap": "gray", "vmin": -1.5, "vmax": 3.0, "interpolation": "nearest"}
"""z-scores; the same window for every picture, so that restored patches can be compared."""

PALETTE = {
    "mean": "#bbbbbb",
    "random": "#999999",
    "pca": "#CC79A7",
    "motion": "#882255",
    "expert": "#E69F00",
    "natural": "#56B4E9",
    "plain": "#0072B2",
    "mask95": "#009E73",
    "tube": "#F0E442",
    "flow": "#D55E00",
}


def restoration_sheet(rows: dict, synthetic: bool, title: str = ""):
    """SSLHF's figure 3: a row per transformation; rows: name → {column title: picture (rows, columns)}."""
    figure, axes = image_grid([pictures.items() for pictures in rows.values()], names=rows, title=title, **GREY)
    for ax in axes[1:].flat:
        ax.set_title("")
    return mark_synthetic(figure, synthetic)


def restoration_bars(table, synthetic: bool):
    """Mean squared error by transformation, restored beside its comparators; table: kind, what, mse with interval."""
    names = {"restored": "restored", "neighbours": "temporal neighbours", "shown": "as shown"}
    kinds = list(dict.fromkeys(table["kind"]))
    parts = {name: table[table["what"] == what].set_index("kind").reindex(kinds) for what, name in names.items()}
    figure, ax = plt.subplots(figsize=(5.6, 3.3))
    for n, (name, part) in enumerate(parts.items()):
        places = np.arange(len(kinds)) + 0.27 * (n - 1)
        ax.bar(places, part["mse"], 0.25, yerr=spread(part, "mse"), capsize=3, label=name)
    ax.set_xticks(range(len(kinds)), kinds)
    ax.set(ylabel="mean squared error (SD² of a patch)", xlabel="transformation", yscale="log")
    legend_below(figure, ax)
    return mark_synthetic(figure, synthetic)


def gains_figure(table, labels: dict, synthetic: bool):
    """Paired gains in AUC over other methods with intervals; thin: from the worst single run to the best. table: of
    `sslhf.tables.paired_table`."""
    table = table[table["level"] == "patient"]
    figure, ax = plt.subplots(figsize=(5.8, 0.4 * len(table) + 1.2))
    ax.axvline(0, color="#bbbbbb", lw=0.8)
    ax.hlines(np.arange(len(table)), table["least"], table["most"], color="#999999", lw=0.8)
    interval_plot(ax, table, "gain", names=[labels.get(key, key) for key in table["method"]], horizontal=True)
    ax.set(xlabel="AUC of SSLHF − AUC of …, same patients")
    return mark_synthetic(figure, synthetic)


def evidence_sheet(cases: dict, synthetic: bool):
    """Attributions of a score and, at the right, each frame's share.

    cases: title → (clip, attributions, frames to show), clip and attributions (frames, size, size).
    """
    rows = []
    for clip, found, frames in cases.values():
        draw = partial(attribution, sigma_px=max(1.0, clip.shape[1] / 48), **GREY)
        pictures = [(f"frame {t}", partial(draw, picture=clip[t], values=found[t])) for t in frames]
        rows.append([*pictures, ("raises the logit, by frame", partial(_frame_shares, shares=found.sum((1, 2))))])
    return mark_synthetic(image_grid(rows, names=cases)[0], synthetic)


def _frame_shares(ax, shares):
    ax.bar(range(len(shares)), shares, color=np.where(shares > 0, "#b40426", "#3b4cc0"), width=1)
    ax.axhline(0, color="black", lw=0.6)
    ax.xaxis.set_major_locator(AutoLocator())
    ax.yaxis.set_major_locator(AutoLocator())


def reconstruction_sheet(cases: dict, synthetic: bool, most: int = 4):
    """Original, visible tokens and reconstruction in rows, frames in columns, a block per case.

    cases: title → `heartmae.reconstruction.reconstruct`.
    """
    rows = {"original": [], "visible": [], "reconstructed": []}
    for case in cases.values():
        low, high = np.percentile(case["original"], [1, 99])
        draw = partial(_over_blue, cmap="gray", interpolation="nearest", vmin=low, vmax=high)
        for n in np.linspace(0, len(case["frames"]) - 1, most).round().astype(int):
            for name, row in rows.items():
                title = f"frame {case['frames'][n]}" if name == "original" else ""
                row.append((title, partial(draw, picture=case[name][n])))
    figure, axes = image_grid(rows.values(), (1.25, 1.37), list(rows))
    for ax, title in zip(axes[-1, ::most], cases):
        ax.set_xlabel(title, fontsize=9, loc="left")
    return mark_synthetic(figure, synthetic)


def _over_blue(ax, picture, **imshow):
    ax.set_facecolor("#33475b")  # masked
    ax.imshow(picture, **imshow)


def flow_sheet(cases: dict, synthetic: bool):
    """Flow weights over a section's first frame; cases: title → (image, weights 0 to 1)."""
    figure, axes = image_grid([[(title, image) for title, (image, _) in cases.items()]], (2.6, 2.6))
    for ax, (image, weights) in zip(axes[0], cases.values()):
        ax.images[0].set_clim(*np.percentile(image, [1, 99.5]))
        shown = ax.imshow(weights, cmap="magma", alpha=0.45, vmin=0, vmax=1)
    figure.colorbar(shown, ax=axes[0, -1], label="W, weight of the loss", fraction=0.05)
    return mark_synthetic(figure, synthetic)


def explained_bars(table, labels: dict, synthetic: bool):
    """Share of the variance of masked pixels that is reconstructed, over all and where it moves.

    table: of `heartmae.reconstruction.explained_variance`.
    """
    figure, ax = plt.subplots(figsize=(1.8 + 1.2 * len(table), 3.1))
    where = {"explained": "all masked pixels", "explained_moving": "where it moves"}
    grouped_intervals(ax, beneath(table.replace({"variant": labels}), where, "where"), "value", "variant", "where")
    ax.set(ylabel="share of variance explained", xlim=(-0.6, len(table) - 0.4))
    legend_below(figure, ax)
    return mark_synthetic(figure, synthetic)


def ratio_panels(table, targets: dict, labels: dict, synthetic: bool):
    """Error relative to predicting the mean with intervals, a panel per target, a row per model.

    targets: name → title.
    """
    models = [m for m in table["model"].unique() if m != "mean"]
    size = (2.3 * len(targets) + 1.2, 0.32 * len(models) + 1.6)
    figure, axes = plt.subplots(1, len(targets), figsize=size, sharey=True, squeeze=False)
    for ax, (target, title) in zip(axes[0], targets.items()):
        own = table[table["target"] == target].set_index("model").reindex(models)
        for n, model in enumerate(models):
            interval_plot(ax, own.loc[[model]], "ratio", [n], horizontal=True, color=PALETTE.get(model, "black"))
        ax.axvline(1, color="#999999", lw=1, ls="--")
        ax.set_title(title, fontsize=10)
    axes[0, 0].set_yticks(range(len(models)), [labels.get(m, m) for m in models])
    axes[0, 0].invert_yaxis()
    figure.supxlabel("error relative to predicting the mean", fontsize=9)
    return mark_synthetic(figure, synthetic)


def tasks_figure(table, labels: dict, synthetic: bool):
    """HeartMAE's figure S1: mean absolute error in SDs of every target, a colour per model; of `error_table`."""
    shown = table[table["model"] != "mean"]
    order = shown.groupby("target")["mae_sd"].median().sort_values().index
    columns = np.array_split(order, 1 + (len(order) > 12))
    size = 7.2, 1.2 + 0.16 * len(columns[0])
    figure, axes = plt.subplots(1, len(columns), figsize=size, sharex=True, squeeze=False)
    for ax, names in zip(axes[0], columns):
        for model, part in shown.groupby("model", sort=False):
            values = part.set_index("target").reindex(names)["mae_sd"]
            style = {"ms": 3.5, "color": PALETTE.get(model, "black"), "label": labels.get(model, model)}
            ax.plot(values, range(len(names)), "o", **style)
        ax.set_yticks(range(len(names)), map(label, names), fontsize=7)
        ax.set(ylim=(len(names) - 0.5, -0.5), xlabel="mean absolute error (SD)")
        ax.grid(axis="y", lw=0.4, color="#dddddd")
    legend_below(figure, axes[0, 0], ncols=5)
    return mark_synthetic(figure, synthetic)


def disease_figure(table, labels: dict, synthetic: bool):
    """HeartMAE's figure 2: average precision and AUC of every disease and model with intervals; of `disease_table`."""
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.4))
    names = [f"{row.target}\n{row.n_positive} of {row.n}" for row in table.drop_duplicates("target").itertuples()]
    for ax, (value, name) in zip(axes, (("ap", "average precision"), ("auc", "area under the ROC curve"))):
        grouped_intervals(ax, table, value, "target", "model", labels, PALETTE, width=0.8)
        ax.set_xticks(range(len(names)), names)
        ax.set(ylabel=name, ylim=(0, 1.03))
    legend_below(figure, axes[0])
    return mark_synthetic(figure, synthetic)


def attention_figure(table, synthetic: bool):
    """Attention of single sections relative to equal shares, by view; columns view, relative."""
    figure, ax = plt.subplots(figsize=(4.6, 2.8))
    sns.boxplot(table, x="view", y="relative", color="#9ecae1", fliersize=2, ax=ax)
    ax.axhline(1, color="#999999", lw=1, ls="--")
    ax.set(xlabel="", ylabel="attention / equal share")
    return mark_synthetic(figure, synthetic)


def occlusion_figure(table, labels: dict, synthetic: bool):
    """A value (AUC or ratio) with the whole picture, without the heart and with the heart alone.

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
    """One UMAP of several cohorts' sections, a panel per view with the other views in grey.

    table: columns umap_1, umap_2, cohort, view; the first row's cohort is the reference, the others are triangles.
    """
    first, sizes = table["cohort"].iloc[0], table["cohort"].value_counts(sort=False)
    views = list(table["view"].unique())
    size = (2.9 * len(views) + 2.2, 3.3)
    figure, axes = plt.subplots(1, len(views), figsize=size, sharex=True, sharey=True, squeeze=False)
    for ax, view in zip(axes[0], views):
        ax.scatter(*table.loc[table["view"] != view, ["umap_1", "umap_2"]].to_numpy().T, s=3, color="#dddddd")
        for n, name in enumerate(sizes.index):
            own = table[(table["view"] == view) & (table["cohort"] == name)]
            style = {"marker": "o", "s": 8, "alpha": 0.5} if name == first else {"marker": "^", "s": 30}
            ax.scatter(own["umap_1"], own["umap_2"], color=f"C{n}", label=f"{name} ({sizes[name]} sections)", **style)
        ax.set(title=view.upper(), xlabel="UMAP 1", ylabel="UMAP 2" if view == views[0] else "")
    legend_below(figure, axes[0, 0], "right center", 1)
    return mark_synthetic(figure, synthetic, f"{first}: synthetic; triangles: real hearts")
