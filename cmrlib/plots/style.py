"""Style of every figure."""

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.ticker import MaxNLocator


def use_style():
    """One style for every figure: readable in print, fonts that can be edited, colours that everyone can tell apart."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind")
    plt.rcParams.update(
        {
            "figure.dpi": 80,
            "savefig.bbox": "tight",
            "pdf.fonttype": 42,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "figure.constrained_layout.use": True,
        }
    )


def mark_synthetic(figure, synthetic: bool):
    """Write on the figure itself that its hearts are synthetic."""
    if synthetic:
        # just above the figure, where no label can lie; saving crops to what is drawn
        figure.text(1, 1.01, "phantom (synthetic hearts)", ha="right", va="bottom", fontsize=8, color="#666666")
    return figure


def epoch_axis(ax):
    """Whole epochs from left to right."""
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
