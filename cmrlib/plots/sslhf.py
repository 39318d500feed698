"""SSLHF's pictures: what was transformed and restored, ROC curves, methods side by side, where a score comes from."""

import cv2
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from cmrlib.plots.style import mark_synthetic

GREY = {"cmap": "gray", "vmin": -1.5, "vmax": 3.0, "interpolation": "nearest"}
"""z-scores; the same window for every picture, so that what is restored can be compared."""

SIDES = {"restored": "restored", "neighbours": "temporal neighbours", "shown": "as shown"}


def restoration_sheet(rows: dict, synthetic: bool, title: str = ""):
    """Figure 3: a row a transformation. rows: name → {column title: picture (rows, columns)}. Returns the figure."""
    columns = list(next(iter(rows.values())))
    figure, axes = plt.subplots(
        len(rows), len(columns), figsize=(2.2 * len(columns), 2.3 * len(rows) + 0.3), squeeze=False
    )
    for line, (name, pictures) in zip(axes, rows.items()):
        for ax, column in zip(line, columns):
            ax.imshow(pictures[column], **GREY)
            ax.set(xticks=[], yticks=[])
            if ax in axes[0]:
                ax.set_title(column, fontsize=9)
        line[0].set_ylabel(name, fontsize=9)
    for ax in axes.flat:
        sns.despine(ax=ax, left=True, bottom=True)
    figure.suptitle(title, fontsize=10)
    return mark_synthetic(figure, synthetic)


def restoration_bars(table, synthetic: bool):
    """Mean squared error by transformation, restored beside its comparators, with intervals. table: kind, what, mse,
    mse_low, mse_high. Returns the figure."""
    kinds = list(dict.fromkeys(table["kind"]))
    figure, ax = plt.subplots(figsize=(5.6, 3.3))
    for n, (what, label) in enumerate(SIDES.items()):
        part = table[table["what"] == what].set_index("kind").reindex(kinds)
        errors = np.nan_to_num(np.abs(part[["mse_low", "mse_high"]].T.to_numpy() - part["mse"].to_numpy()))
        ax.bar(np.arange(len(kinds)) + 0.27 * (n - 1), part["mse"], 0.25, yerr=errors, capsize=3, label=label)
    ax.set_xticks(range(len(kinds)), kinds)
    ax.set(ylabel="mean squared error (SD² of a patch)", xlabel="what was done to the pixels", yscale="log")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return mark_synthetic(figure, synthetic)


def roc_by_method(table, labels: dict, synthetic: bool):
    """Figure 4: mean ROC curves of patches and of patients. table: of `sslhf.mean_roc`; labels: method → legend."""
    levels = list(dict.fromkeys(table["level"]))
    figure, axes = plt.subplots(1, len(levels), figsize=(4.2 * len(levels), 3.8), squeeze=False, sharey=True)
    for ax, level in zip(axes[0], levels):
        ax.plot([0, 1], [0, 1], color="#bbbbbb", lw=0.8)
        for n, (method, label) in enumerate(labels.items()):
            part = table[(table["level"] == level) & (table["method"] == method)]
            if len(part):
                ax.plot(part["fpr"], part["recall"], color=f"C{n}", lw=2 if n == 0 else 1.2, label=label)
        ax.set(xlabel="1 − specificity", title=f"{level} level", xlim=(-0.01, 1), ylim=(0, 1.01), aspect="equal")
    axes[0, 0].set_ylabel("sensitivity")
    axes[0, -1].legend(frameon=False, fontsize=8, loc="lower right")
    return mark_synthetic(figure, synthetic)


def auc_by_method(table, labels: dict, synthetic: bool):
    """AUC with intervals, a row a method; the paper's printed value as a cross. table: of `sslhf.study_table`."""
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 0.38 * len(table) + 1.3), sharey=True)
    places = np.arange(len(table))
    for ax, level in zip(axes, ("patch", "patient")):
        name = f"{level}_auc"
        errors = np.abs(table[[f"{name}_low", f"{name}_high"]].T.to_numpy() - table[name].to_numpy())
        ax.errorbar(table[name], places, xerr=np.nan_to_num(errors), fmt="o", capsize=3, label="here")
        ax.plot(table[f"{name}_paper"], places, "x", color="black", ms=6, label="paper (its own patients)")
        ax.set(xlabel=f"AUC, {level} level")
    axes[0].set_yticks(places, [labels.get(key, key) for key in table["method"]])
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return mark_synthetic(figure, synthetic)


def gains_figure(table, labels: dict, synthetic: bool):
    """Paired gains in AUC over other methods with intervals; thin: from the worst single run to the best. table: of
    `sslhf.paired_table`."""
    table = table[table["level"] == "patient"]
    figure, ax = plt.subplots(figsize=(5.8, 0.4 * len(table) + 1.2))
    places = np.arange(len(table))
    errors = np.abs(table[["gain_low", "gain_high"]].T.to_numpy() - table["gain"].to_numpy())
    ax.axvline(0, color="#bbbbbb", lw=0.8)
    ax.hlines(places, table["least"], table["most"], color="#999999", lw=0.8)
    ax.errorbar(table["gain"], places, xerr=np.nan_to_num(errors), fmt="o", capsize=3)
    ax.set_yticks(places, [labels.get(key, key) for key in table["method"]])
    ax.set(xlabel="AUC of SSLHF − AUC of …, same patients", ylim=(len(table) - 0.5, -0.5))
    return mark_synthetic(figure, synthetic)


def evidence_sheet(cases: dict, synthetic: bool):
    """Where a score comes from. cases: title → (clip, attributions, frames to show), clip and attributions (frames,
    size, size). Red raises the score, blue lowers it; below, how much each frame contributes. Returns the figure."""
    most = max(len(frames) for _, _, frames in cases.values())
    figure, axes = plt.subplots(
        len(cases), most + 1, figsize=(2 * most + 2.6, 2.2 * len(cases)), squeeze=False, width_ratios=[1] * most + [1.3]
    )
    for line, (title, (clip, found, frames)) in zip(axes, cases.items()):
        smooth = np.stack([cv2.GaussianBlur(image, (0, 0), max(1.0, clip.shape[1] / 48)) for image in found])
        limit = np.percentile(np.abs(smooth), 99.5) or 1.0
        for ax, t in zip(line, frames):
            ax.imshow(clip[t], **GREY)
            strength = np.clip(np.abs(smooth[t]) / limit, 0, 1)
            ax.imshow(smooth[t], cmap="coolwarm", vmin=-limit, vmax=limit, alpha=0.75 * strength)
            ax.set(xticks=[], yticks=[])
            ax.set_title(f"frame {t}", fontsize=8)
            sns.despine(ax=ax, left=True, bottom=True)
        line[0].set_ylabel(title, fontsize=8)
        share = found.sum((1, 2))
        line[-1].bar(range(len(share)), share, color=np.where(share > 0, "#b40426", "#3b4cc0"), width=1)
        line[-1].set(ylabel="raises the logit")
        line[-1].axhline(0, color="black", lw=0.6)
    axes[-1, -1].set(xlabel="frame")
    return mark_synthetic(figure, synthetic)


def confusion(table, title: str, synthetic: bool):
    """Counts of true (rows) against predicted (columns) groups. table: columns group, predicted. Returns the figure."""
    names = sorted(set(table["group"]) | set(table["predicted"]))
    counts = table.groupby(["group", "predicted"]).size().unstack(fill_value=0)
    counts = counts.reindex(index=names, columns=names, fill_value=0)
    figure, ax = plt.subplots(figsize=(1.6 + 0.55 * len(names), 1.2 + 0.5 * len(names)))
    sns.heatmap(counts, annot=True, fmt="d", cmap="Blues", cbar=False, linewidths=1, ax=ax)
    ax.set(xlabel="predicted", ylabel="group")
    ax.set_title(title, fontsize=10)
    ax.tick_params(axis="y", rotation=0)
    return mark_synthetic(figure, synthetic)
