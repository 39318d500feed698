"""HeartMAE: restored clips, flow weights, errors over tasks, areas of diseases, attention and evidence."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from cmrlib.plots.style import epoch_axis, mark_synthetic

GRAY = {"cmap": "gray", "interpolation": "nearest"}
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


def restored_sheet(cases: dict, synthetic: bool, most: int = 4):
    """Original, what the encoder sees, what the decoder says: rows, frames as columns; a block a case.

    cases: title → `heartmae.restore`. Returns the figure.
    """
    count = len(cases)
    figure, axes = plt.subplots(3, most * count, figsize=(1.25 * most * count, 4.1), squeeze=False)
    for block, (title, case) in enumerate(cases.items()):
        low, high = np.percentile(case["original"], [1, 99])
        shown = np.linspace(0, len(case["frames"]) - 1, most).round().astype(int)
        for row, name in enumerate(("original", "seen", "restored")):
            for column, n in enumerate(shown):
                ax = axes[row, block * most + column]
                ax.set_facecolor("#33475b")  # what is hidden
                ax.imshow(case[name][n], vmin=low, vmax=high, **GRAY)
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set_visible(False)
                if row == 0:
                    ax.set_title(f"frame {case['frames'][n]}", fontsize=8)
            if block == 0:
                axes[row, 0].set_ylabel(name, fontsize=9)
        axes[2, block * most].set_xlabel(title, fontsize=9, loc="left")
    return mark_synthetic(figure, synthetic)


def flow_sheet(cases: dict, synthetic: bool):
    """Flow weights over a section's first frame; cases: title → (image, weights 0 to 1). Returns the figure."""
    figure, axes = plt.subplots(1, len(cases), figsize=(2.5 * len(cases) + 0.6, 2.6), squeeze=False)
    for ax, (title, (image, weights)) in zip(axes[0], cases.items()):
        ax.imshow(image, vmin=np.percentile(image, 1), vmax=np.percentile(image, 99.5), **GRAY)
        shown = ax.imshow(weights, cmap="magma", alpha=0.45, vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        ax.set_title(title, fontsize=9)
        ax.spines[:].set_visible(False)
    figure.colorbar(shown, ax=axes[0, -1], label="W, weight of the loss", fraction=0.05)
    return mark_synthetic(figure, synthetic)


def pretraining_curves(losses, labels: dict, synthetic: bool):
    """Loss over epochs, a panel a variant; columns variant, seed, epoch, train, validation. Returns the figure."""
    variants = losses["variant"].unique()
    figure, axes = plt.subplots(1, len(variants), figsize=(3.2 * len(variants), 2.8), squeeze=False, sharey=True)
    for ax, variant in zip(axes[0], variants):
        for seed, part in losses[losses["variant"] == variant].groupby("seed"):
            first = seed == losses["seed"].min()
            ax.plot(part["epoch"], part["train"], color="C0", label="training clips" if first else None)
            checked = part.dropna(subset=["validation"])
            ax.plot(
                checked["epoch"],
                checked["validation"],
                color="C1",
                marker="o",
                ms=3,
                label="validation subjects" if first else None,
            )
        ax.set_title(labels.get(variant, variant))
        epoch_axis(ax)
    axes[0, 0].set_ylabel("loss on hidden pixels")
    axes[0, -1].legend(frameon=False, fontsize=8)
    return mark_synthetic(figure, synthetic)


def explained_bars(table, labels: dict, synthetic: bool):
    """Share of hidden variance restored, over all and where it moves; table: of `heartmae.explained`."""
    figure, ax = plt.subplots(figsize=(1.8 + 1.2 * len(table), 3.1))
    for shift, (end, name) in zip((-0.15, 0.15), (("", "all hidden pixels"), ("_moving", "where it moves"))):
        value = table[f"explained{end}"].to_numpy()
        spread = np.nan_to_num(np.abs(table[[f"explained{end}_low", f"explained{end}_high"]].T.to_numpy() - value))
        ax.errorbar(np.arange(len(table)) + shift, value, spread, fmt="o", capsize=3, label=name)
    ax.set_xticks(range(len(table)), [labels.get(v, v) for v in table["variant"]])
    ax.set(ylabel="share of variance restored", xlim=(-0.6, len(table) - 0.4))
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", frameon=False, fontsize=8, ncols=2)
    return mark_synthetic(figure, synthetic)


def ratio_panels(table, targets: dict, labels: dict, synthetic: bool, value="ratio"):
    """Error relative to predicting the mean with intervals, a panel a target, a row a model; targets: name → title."""
    size = (2.3 * len(targets) + 1.2, 0.32 * table["model"].nunique() + 1.3)
    figure, axes = plt.subplots(1, len(targets), figsize=size, sharey=True, squeeze=False)
    models = [m for m in table["model"].unique() if m != "mean"]
    for ax, (target, title) in zip(axes[0], targets.items()):
        own = table[table["target"] == target].set_index("model").reindex(models)
        spread = np.nan_to_num(np.abs(own[[f"{value}_low", f"{value}_high"]].T.to_numpy() - own[value].to_numpy()))
        for place, model in enumerate(models):
            ax.errorbar(
                own[value].iloc[place],
                place,
                xerr=spread[:, [place]],
                fmt="o",
                capsize=3,
                color=PALETTE.get(model, "black"),
            )
        ax.axvline(1 if value == "ratio" else 0.5, color="#999999", lw=1, ls="--")
        ax.set(title=title)
        ax.title.set_size(10)
    axes[0, 0].set_yticks(range(len(models)), [labels.get(m, m) for m in models])
    axes[0, 0].invert_yaxis()
    figure.supxlabel("error relative to predicting the mean" if value == "ratio" else value, fontsize=9)
    return mark_synthetic(figure, synthetic)


def tasks_figure(table, labels: dict, synthetic: bool):
    """Figure S1: mean absolute error in SDs of every target, a colour a model; table: of `heartmae.error_table`."""
    shown = table[table["model"] != "mean"]
    order = shown.groupby("target")["mae_sd"].median().sort_values().index
    figure, ax = plt.subplots(figsize=(max(7, 0.17 * len(order)), 3.8))
    for model, part in shown.groupby("model", sort=False):
        part = part.set_index("target").reindex(order)
        ax.plot(
            range(len(order)),
            part["mae_sd"],
            "o",
            ms=3.5,
            color=PALETTE.get(model, "black"),
            label=labels.get(model, model),
        )
    ax.set_xticks(range(len(order)), order, rotation=90, fontsize=6.5)
    ax.set(ylabel="mean absolute error (SD)", xlim=(-1, len(order)))
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", frameon=False, fontsize=8, ncols=5)
    return mark_synthetic(figure, synthetic)


def disease_figure(table, labels: dict, synthetic: bool):
    """Figure 2: average precision and AUC of every disease and model with intervals; of `heartmae.disease_table`."""
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.4))
    targets, models = list(table["target"].unique()), list(table["model"].unique())
    for ax, (value, name) in zip(axes, (("ap", "average precision"), ("auc", "area under the ROC curve"))):
        for n, model in enumerate(models):
            own = table[table["model"] == model].set_index("target").reindex(targets)
            spread = np.nan_to_num(np.abs(own[[f"{value}_low", f"{value}_high"]].T.to_numpy() - own[value].to_numpy()))
            places = np.arange(len(targets)) + (n - (len(models) - 1) / 2) * 0.8 / len(models)
            ax.errorbar(
                places,
                own[value],
                spread,
                fmt="o",
                ms=4,
                capsize=2,
                lw=1,
                color=PALETTE.get(model, "black"),
                label=labels.get(model, model),
            )
        counts = table.drop_duplicates("target").set_index("target")
        shares = [f"{name}\n{counts.loc[name, 'n_positive']} of {counts.loc[name, 'n']}" for name in targets]
        ax.set_xticks(range(len(targets)), shares)
        ax.set(ylabel=name, ylim=(0, 1.03))
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside lower center",
        frameon=False,
        fontsize=8,
        ncols=min(4, len(models)),
    )
    return mark_synthetic(figure, synthetic)


def attention_figure(table, synthetic: bool):
    """Attention of single sections relative to equal shares, by view; columns view, relative. Returns the figure."""
    figure, ax = plt.subplots(figsize=(4.6, 2.8))
    sns.boxplot(table, x="view", y="relative", color="#9ecae1", fliersize=2, ax=ax)
    ax.axhline(1, color="#999999", lw=1, ls="--")
    ax.set(xlabel="", ylabel="attention / equal share")
    return mark_synthetic(figure, synthetic)


def token_evidence(cases: dict, synthetic: bool):
    """Attribution over tokens on the picture: red raises the prediction, blue lowers it.

    cases: title → (picture (size, size), map (rows, columns)). Returns the figure.
    """
    figure, axes = plt.subplots(1, len(cases), figsize=(2.5 * len(cases) + 0.7, 2.7), squeeze=False)
    for ax, (title, (picture, values)) in zip(axes[0], cases.items()):
        limit = np.abs(values).max() or 1.0
        extent = (-0.5, picture.shape[1] - 0.5, picture.shape[0] - 0.5, -0.5)
        ax.imshow(picture, vmin=np.percentile(picture, 1), vmax=np.percentile(picture, 99.5), **GRAY)
        shown = ax.imshow(
            values / limit, cmap="RdBu_r", alpha=0.45, vmin=-1, vmax=1, extent=extent, interpolation="nearest"
        )
        ax.set(xticks=[], yticks=[])
        ax.set_title(title, fontsize=8)
        ax.spines[:].set_visible(False)
    figure.colorbar(shown, ax=axes[0, -1], label="share of the largest", fraction=0.05)
    return mark_synthetic(figure, synthetic)


def blinded_figure(table, labels: dict, synthetic: bool):
    """A value (auc or ratio) with the whole picture, without the heart and with the heart alone, a panel a target."""
    figure, ax = plt.subplots(figsize=(1.3 * table["target"].nunique() + 2, 3))
    sights = list(labels)
    for n, sight in enumerate(sights):
        own = table[table["sight"] == sight]
        spread = np.nan_to_num(np.abs(own[["value_low", "value_high"]].T.to_numpy() - own["value"].to_numpy()))
        ax.errorbar(np.arange(len(own)) + (n - 1) * 0.2, own["value"], spread, fmt="o", capsize=3, label=labels[sight])
    names = table["target"].unique()
    ax.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
    ax.axhline(table["chance"].iloc[0], color="#999999", lw=1, ls="--")
    ax.set(ylabel=table["measure"].iloc[0])
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", frameon=False, fontsize=8, ncols=3)
    return mark_synthetic(figure, synthetic)


def cohort_map(table, synthetic: bool = False):
    """One UMAP of several cohorts' sections, a panel a view with the other views in grey. Returns the figure.

    table: columns umap_1, umap_2, cohort, view; of a cohort the first rows' is the one that the others lie beside.
    """
    views, names = list(table["view"].unique()), list(table["cohort"].unique())
    first = names[0]
    figure, axes = plt.subplots(
        1, len(views), figsize=(2.9 * len(views) + 2.2, 3.3), sharex=True, sharey=True, squeeze=False
    )
    colours = dict(zip(names, plt.rcParams["axes.prop_cycle"].by_key()["color"]))
    for ax, view in zip(axes[0], views):
        there = table["view"] == view
        ax.scatter(*table.loc[~there, ["umap_1", "umap_2"]].to_numpy().T, s=3, color="#dddddd")
        for name in names:
            own, base = table[there & (table["cohort"] == name)], name.startswith(first)
            if len(own):
                ax.scatter(
                    own["umap_1"],
                    own["umap_2"],
                    s=8 if base else 30,
                    marker="o" if base else "^",
                    alpha=0.5 if base else 1,
                    color=colours[name],
                )
        ax.set(title=view.upper(), xlabel="UMAP 1", ylabel="UMAP 2" if view == views[0] else "")
    sizes = table["cohort"].value_counts()
    handles = [
        plt.Line2D(
            [],
            [],
            linestyle="",
            marker="o" if name.startswith(first) else "^",
            color=colours[name],
            label=f"{name} ({sizes[name]} sections)",
        )
        for name in names
    ]
    figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize=8)
    if synthetic:
        figure.text(
            1, 1.01, f"{first}: synthetic; triangles: real hearts", ha="right", va="bottom", fontsize=8, color="#666666"
        )
    return figure
