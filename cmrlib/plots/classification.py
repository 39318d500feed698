"""Two classes and a score: ROC and precision–recall curves, calibration, areas with intervals."""

import matplotlib.pyplot as plt
import seaborn as sns
from sklearn.metrics import ConfusionMatrixDisplay, PrecisionRecallDisplay, RocCurveDisplay

from cmrlib.plots.elements import interval_plot, legend_below, mark_synthetic, panels

BOUNDS = {"prevalence": ":", "siam25_oracle": "--", "fraction": "-."}
"""Models that are no competitors, drawn in grey, and their line style."""


def roc_pr_figure(curves, names: dict, synthetic: bool, highlight: str = ""):
    """ROC and precision–recall curves, a line per model, the point at the threshold marked; precision in steps.

    curves: of `agreement.roc_pr` with a column model. names: model → label. highlight: drawn thick, its point annotated
    with (recall, precision, F1, threshold).
    """
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 4.3))
    models = [name for name in names if name in set(curves["model"])]
    colours = dict(zip([name for name in models if name not in BOUNDS], sns.color_palette("colorblind")))
    for model in models:
        part, strong, colour = curves[curves["model"] == model], model == highlight, colours.get(model, "#777777")
        style = {"color": colour, "lw": 2.6 if strong else 1.2, "ls": BOUNDS.get(model, "-")}
        RocCurveDisplay(fpr=part["fpr"], tpr=part["recall"]).plot(axes[0], curve_kwargs=style | {"label": names[model]})
        style |= {"drawstyle": "steps-pre", "label": names[model]}
        PrecisionRecallDisplay(part["precision"], part["recall"]).plot(axes[1], curve_kwargs=style)
        point = part[part["chosen"]]
        for ax, x, y in ((axes[0], "fpr", "recall"), (axes[1], "recall", "precision")):
            ax.plot(point[x], point[y], "o", color=colour, ms=7 if strong else 4)
        if strong and len(point):
            one = point.iloc[0]
            numbers = ", ".join(f"{one[key]:.2f}" for key in ("recall", "precision", "f1", "threshold"))
            axes[1].set_title(f"{names[model]}: recall, precision, F1, threshold\n{numbers}", fontsize=9)
    n, positive = int(curves["n"].iloc[0]), int(curves["n_positive"].iloc[0])
    axes[0].plot([0, 1], [0, 1], color="#999999", lw=1, ls="--")
    axes[1].axhline(positive / n, color="#999999", lw=1, ls="--")
    for ax, x, y in ((axes[0], "1 − specificity", "sensitivity (recall)"), (axes[1], "recall", "precision")):
        ax.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="auto")
        ax.legend().remove()
    axes[0].set_title(f"{n} test subjects, {positive} positive", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    return mark_synthetic(figure, synthetic)


def roc_by_method(table, labels: dict, synthetic: bool):
    """SSLHF's figure 4: mean ROC curves of patches and of patients.

    table: method, level, fpr, recall. labels: method → name; those without curves are left out.
    """
    methods, levels = list(dict.fromkeys(table["method"])), list(dict.fromkeys(table["level"]))
    figure, axes = plt.subplots(1, len(levels), figsize=(4.2 * len(levels), 3.8), squeeze=False, sharey=True)
    for ax, level in zip(axes[0], levels):
        for n, method in enumerate(methods):
            part = table[(table["level"] == level) & (table["method"] == method)]
            style = {"color": f"C{n}", "lw": 2 if n == 0 else 1.2, "label": labels[method]}
            if len(part):
                RocCurveDisplay(fpr=part["fpr"], tpr=part["recall"]).plot(ax, curve_kwargs=style)
        ax.plot([0, 1], [0, 1], color="#bbbbbb", lw=0.8)
        ax.set(xlabel="1 − specificity", ylabel="sensitivity", title=f"{level} level")
        ax.legend(frameon=False, fontsize=8, loc="lower right")
    return mark_synthetic(figure, synthetic)


def calibration_figure(table, names: dict, synthetic: bool):
    """Observed share over predicted probability with intervals, a panel per model. table: model, predicted,
    observed, low, high, brier, brier_prevalence, a row a bin."""
    models = list(dict.fromkeys(table["model"]))
    figure, axes = panels(len(models), (3.1, 3.2))
    for ax, model in zip(axes, models):
        part = table[table["model"] == model].rename(columns={"low": "observed_low", "high": "observed_high"})
        ax.plot([0, 1], [0, 1], color="#999999", lw=1, ls="--")
        interval_plot(ax, part, "observed", part["predicted"], fmt="o-")
        one = part.iloc[0]
        title = f"{names[model]}\nBrier {one['brier']:.3f} (prevalence alone {one['brier_prevalence']:.3f})"
        ax.set_title(title, fontsize=8)
        ax.set(xlabel="predicted probability", ylabel="observed share", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return mark_synthetic(figure, synthetic)


def model_intervals(table, synthetic: bool, metrics=None, names=None):
    """Metrics of models with intervals, a row per model, the paper's printed value as a cross.

    table: one row per model with, for each of `metrics` (column → label), _low, _high and _paper. names: row labels,
    default the column name.
    """
    metrics = metrics or {"auc": "ROC AUC", "f1": "F1"}
    size = 4.4 * len(metrics), 0.42 * len(table) + 1.3
    figure, axes = plt.subplots(1, len(metrics), figsize=size, sharey=True, squeeze=False)
    names = list(table["name"] if names is None else names)
    for ax, (metric, label) in zip(axes[0], metrics.items()):
        interval_plot(ax, table, metric, names=names, horizontal=True, label="ours, 95 % interval")
        ax.plot(table[f"{metric}_paper"], range(len(table)), "x", color="black", label="the paper's, real patients")
        ax.set(xlabel=label)
    legend_below(figure, axes[0, 0])
    return mark_synthetic(figure, synthetic)


def confusion(table, title: str, synthetic: bool):
    """Counts of true (rows) against predicted (columns) groups. table: columns group, predicted."""
    n = table[["group", "predicted"]].stack().nunique()
    figure, ax = plt.subplots(figsize=(1.6 + 0.55 * n, 1.2 + 0.5 * n))
    ConfusionMatrixDisplay.from_predictions(table["group"], table["predicted"], cmap="Blues", colorbar=False, ax=ax)
    ax.set(xlabel="predicted", ylabel="group")
    ax.set_title(title, fontsize=10)
    return mark_synthetic(figure, synthetic)
