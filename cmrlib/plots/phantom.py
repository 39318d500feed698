"""The phantom as a tour: what moves, and how its people compare with published ones."""

import matplotlib.pyplot as plt
import seaborn as sns

from cmrlib.plots.style import mark_synthetic

_CURVES = {
    "lv_ml": "LV volume (mL)",
    "la_ml": "LA volume (mL)",
    "plane_mm": "mitral plane descent (mm)",
    "plane_cm_s": "its velocity (cm/s)",
}


def cycle_figure(table):
    """Curves of `phantom.cycles` through one cycle, a panel a quantity, a line a diagnosis; returns the figure."""
    figure, axes = plt.subplots(1, len(_CURVES), figsize=(3.4 * len(_CURVES), 3))
    for ax, (name, label) in zip(axes, _CURVES.items()):
        sns.lineplot(table, x="time_ms", y=name, hue="diagnosis", ax=ax, legend=ax is axes[-1])
        ax.set(xlabel="time after the R wave (ms)", ylabel=label)
    axes[-1].legend(frameon=False, fontsize=8, bbox_to_anchor=(1, 1), loc="upper left")
    return mark_synthetic(figure, True)


def published_figure(table):
    """Generated against published, of `published.compare`: difference of means in SDs, and ratio of SDs."""
    table = table.assign(quantity=table["quantity"].where(table["counts"], table["quantity"] + " *"))
    order = table.sort_values("counts", ascending=False, kind="stable")["quantity"].unique()
    figure, axes = plt.subplots(1, 2, figsize=(9, 0.26 * len(order) + 1), sharey=True)
    for ax, value, middle, band, label in (
        (axes[0], "z", 0, (-0.2, 0.2), "difference of means (published SDs)"),
        (axes[1], "sd_ratio", 1, (0.8, 1.25), "SD, generated / published"),
    ):
        ax.axvspan(*band, color="#999999", alpha=0.2, lw=0)
        ax.axvline(middle, color="black", lw=0.8)
        sns.stripplot(
            table, x=value, y="quantity", hue="sex", order=order, jitter=False, dodge=True, ax=ax, legend=ax is axes[1]
        )
        ax.set(xlabel=label, ylabel="")
        ax.tick_params(axis="y", labelsize=8)
    figure.suptitle(
        f"healthy phantoms, n = {int(table.groupby('sex')['n'].max().sum())} (* for orientation only: see the table)",
        fontsize=10,
    )
    return mark_synthetic(figure, True)
