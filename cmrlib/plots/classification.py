"""Two classes and a score: ROC and precision–recall, calibration, models beside each other."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from cmrlib.plots.style import epoch_axis, mark_synthetic


def roc_pr_figure(curves, names: dict, synthetic: bool, highlight: str = "", bounds=None):
    """ROC and precision–recall curves, a line a model, the point at the threshold marked; returns the figure.

    curves: of `agreement.roc_pr` with a column model. names: model → label. highlight: drawn thick, its point annotated
    with (recall, precision, F1, threshold). bounds: models that are no competitors → their line style, in grey.
    """
    bounds = {"floor": ":", "ceiling": "-."} if bounds is None else bounds
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 4.3))
    models = [name for name in names if name in set(curves["model"])]
    colours = dict(zip([name for name in models if name not in bounds], sns.color_palette("colorblind")))
    for model in models:
        part, strong, colour = curves[curves["model"] == model], model == highlight, colours.get(model, "#777777")
        style = {"color": colour, "lw": 2.6 if strong else 1.2, "ls": "-" if model in colours else bounds[model]}
        axes[0].plot(part["fpr"], part["recall"], label=names[model], **style)
        axes[1].plot(part["recall"], part["precision"], **style)
        point = part[part["chosen"]]
        axes[0].plot(point["fpr"], point["recall"], "o", color=colour, ms=7 if strong else 4)
        axes[1].plot(point["recall"], point["precision"], "o", color=colour, ms=7 if strong else 4)
        if strong and len(point):
            one = point.iloc[0]
            numbers = ", ".join(f"{one[key]:.2f}" for key in ("recall", "precision", "f1", "threshold"))
            axes[1].set_title(f"{names[model]}: recall, precision, F1, threshold = {numbers}", fontsize=9)
    share = curves["n_positive"].iloc[0] / curves["n"].iloc[0]
    axes[0].plot([0, 1], [0, 1], color="#999999", lw=1, ls="--")
    axes[1].axhline(share, color="#999999", lw=1, ls="--")
    limits = {"xlim": (-0.02, 1.02), "ylim": (-0.02, 1.02)}
    axes[0].set(xlabel="1 − specificity", ylabel="sensitivity (recall)", **limits)
    axes[1].set(xlabel="recall", ylabel="precision", **limits)
    axes[0].set_title(
        f"{int(curves['n'].iloc[0])} test subjects, {int(curves['n_positive'].iloc[0])} positive", fontsize=9
    )
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    return mark_synthetic(figure, synthetic)


def calibration_figure(table, names: dict, synthetic: bool):
    """Observed share over predicted probability, a line a model; table: of `cussp.calibration`. Returns the figure."""
    models = list(dict.fromkeys(table["model"]))
    lines, columns = -(-len(models) // 4), min(4, len(models))
    figure, axes = plt.subplots(lines, columns, figsize=(3.1 * columns, 3.2 * lines), squeeze=False)
    for ax in axes.flat[len(models) :]:
        ax.set_axis_off()
    for ax, model in zip(axes.flat, models):
        part = table[table["model"] == model]
        errors = np.abs(part[["low", "high"]].T.to_numpy() - part["observed"].to_numpy())
        ax.plot([0, 1], [0, 1], color="#999999", lw=1, ls="--")
        ax.errorbar(part["predicted"], part["observed"], errors, marker="o", capsize=3)
        ax.set_title(
            f"{names[model]}\nBrier {part['brier'].iloc[0]:.3f} (prevalence alone "
            f"{part['brier_prevalence'].iloc[0]:.3f})",
            fontsize=8,
        )
        ax.set(xlabel="predicted probability", ylabel="observed share", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return mark_synthetic(figure, synthetic)


def model_intervals(table, synthetic: bool, metrics=("auc", "f1"), labels=("ROC AUC", "F1")):
    """Each model's metrics with intervals, the paper's printed value as a cross; table: of `cussp.table_2`."""
    figure, axes = plt.subplots(
        1, len(metrics), figsize=(4.6 * len(metrics), 0.42 * len(table) + 1.3), sharey=True, squeeze=False
    )
    places = np.arange(len(table))
    for ax, metric, label in zip(axes[0], metrics, labels):
        errors = np.nan_to_num(
            np.abs(table[[f"{metric}_low", f"{metric}_high"]].T.to_numpy() - table[metric].to_numpy())
        )
        ax.errorbar(table[metric], places, xerr=errors, fmt="o", capsize=3, label="ours, 95 % interval")
        ax.plot(table[f"{metric}_paper"], places, "x", color="black", label="the paper's, real patients")
        ax.set(xlabel=label, xlim=(-0.04, 1.06), xticks=np.arange(0, 1.1, 0.2))  # ends of two panels stay apart
    axes[0, 0].set_yticks(places, table["name"])
    axes[0, 0].invert_yaxis()
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8
    )
    return mark_synthetic(figure, synthetic)


def loss_panels(table, synthetic: bool):
    """Loss over epochs, a panel a training, each with its own scale; columns view (the training's name), epoch, train,
    validation. Returns the figure."""
    names = list(dict.fromkeys(table["view"]))
    lines = -(-len(names) // 4)
    columns = min(4, len(names))
    figure, axes = plt.subplots(lines, columns, figsize=(3.1 * columns, 2.5 * lines), squeeze=False)
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    for ax, name in zip(axes.flat, names):
        part = table[table["view"] == name].drop_duplicates("epoch", keep="last")
        ax.plot(part["epoch"], part["train"], color="C0", marker=".", label="training")
        checked = part.dropna(subset=["validation"])
        ax.plot(checked["epoch"], checked["validation"], color="C1", marker="o", ms=3, label="watched subjects")
        ax.set_title(name, fontsize=8)
        epoch_axis(ax)
    axes[0, 0].set_ylabel("loss")
    axes[0, 0].legend(frameon=False, fontsize=7)
    return mark_synthetic(figure, synthetic)
