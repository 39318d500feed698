"""Overlap, agreement, learning and volumes: a table and an ax in, the ax or the figure out."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.ticker import MaxNLocator

from cmrlib.cine.anatomy import COLOURS, NAMES, STRUCTURES
from cmrlib.measures import label
from cmrlib.plots.elements import bounded_text, grouped_intervals, interval_plot, mark_synthetic, panels

LABELS = {"dice": "Dice", "hd95_mm": "95 % Hausdorff distance (mm)"}


def overlap_figure(table, view: str):
    """Dice and 95 % Hausdorff distance (where pixel sizes are known) of one view side by side, a point per case; table
    columns structure, phase, dice, hd95_mm."""
    values = [value for value in ("dice", "hd95_mm") if table[value].notna().any()] or ["dice"]
    order = [s for s in STRUCTURES if s in set(table["structure"])]
    by = {"x": "structure", "order": order, "hue": "phase", "hue_order": sorted(table["phase"].unique())}
    figure, axes = plt.subplots(1, len(values), figsize=(4.5 * len(values), 3.4), squeeze=False)
    for ax, value in zip(axes[0], values):
        last = ax is axes[0, -1]
        sns.boxplot(table, **by, y=value, fliersize=0, boxprops={"alpha": 0.4}, legend=last, ax=ax)
        sns.stripplot(table, **by, y=value, dodge=True, size=3, ax=ax, legend=False)
        ax.set(xlabel="", ylabel=LABELS[value])
        ax.set_xticks(range(len(order)), [s if s == "myo" else s.upper() for s in order])
    if ax.get_legend():
        sns.move_legend(ax, "center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axes[0, 0].set_ylim(max(0, table["dice"].min() - 0.05), 1)
    figure.suptitle(f"{view.upper()}, {table['participant_id'].nunique()} test subjects")
    return figure


def bland_altman(pairs, row, ax, unit: str, band=None, hue=None):
    """Differences over means with bias and limits, their intervals shaded; band: inter-observer limits (low, high).

    pairs: columns reference, test. row: one row of `agreement.compare` (bias, loa_low, loa_high and intervals).
    """
    mean, difference = (pairs["reference"] + pairs["test"]) / 2, pairs["test"] - pairs["reference"]
    if band is not None:
        ax.axhspan(*band, color="#999999", alpha=0.15, lw=0, label="inter-observer limits")
    sns.scatterplot(x=mean, y=difference, hue=None if hue is None else pairs[hue], ax=ax, s=28)
    for name, style in (("bias", "-"), ("loa_low", "--"), ("loa_high", "--")):
        ax.axhline(row[name], color="black", ls=style, lw=1)
        if np.isfinite(row.get(f"{name}_low", np.nan)):
            ax.axhspan(row[f"{name}_low"], row[f"{name}_high"], color="#0072B2", alpha=0.12, lw=0)
        ax.annotate(f"{row[name]:.1f}", (1.01, row[name]), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    ax.set(xlabel=f"mean of both ({unit})", ylabel=f"test − reference ({unit})")
    return ax


def regression(pairs, row, ax, unit: str):
    """Test over reference with the identity and the fitted line; row: slope, intercept, r."""
    sns.scatterplot(x=pairs["reference"], y=pairs["test"], ax=ax, s=28)
    ends = np.array([pairs[["reference", "test"]].min().min(), pairs[["reference", "test"]].max().max()])
    ax.plot(ends, ends, color="#999999", lw=1)
    ax.plot(ends, row["intercept"] + row["slope"] * ends, color="black", lw=1, ls="--")
    ax.set(xlabel=f"reference ({unit})", ylabel=f"test ({unit})", title=f"r = {row['r']:.3f}, slope {row['slope']:.2f}")
    return ax


def agreement_figure(pairs, row, unit: str, title: str, band=None):
    """Bland–Altman and regression side by side."""
    figure, axes = plt.subplots(1, 2, figsize=(9.2, 3.6))
    bland_altman(pairs, row, axes[0], unit, band)
    regression(pairs, row, axes[1], unit)
    left_out = f" ({row['n_left_out']} left out)" if row.get("n_left_out", 0) else ""
    figure.suptitle(f"{title} · n = {len(pairs)}{left_out}, ICC(A,1) {bounded_text(row, 'icc_a1')}", fontsize=10)
    return figure


def confidence(table, rho, synthetic: bool):
    """Dice over confidence, a point per cine; rho: a row of `agreement.rank_correlation` per view."""
    figure, ax = plt.subplots(figsize=(4.6, 3.4))
    sns.scatterplot(table, x="confidence", y="dice", hue="view", ax=ax)
    ax.set(xlabel="confidence", ylabel="mean Dice")
    rows = [(row["view"].upper(), bounded_text(row, "rho", 2), row["n"]) for row in rho.to_dict("records")]
    ax.set_title("\n".join(f"{view}: Spearman {text}, n = {n}" for view, text, n in rows), fontsize=9)
    return mark_synthetic(figure, synthetic)


def loss_curves(table, synthetic: bool, sharey: bool = True):
    """Loss over epochs, a panel per view (or variant), a line per training.

    table: columns view or variant, epoch, train, validation, and fold, seed or member where there are several.
    sharey: one scale for all.
    """
    by = "variant" if "variant" in table else "view"
    trainings = [by, *(name for name in ("fold", "seed", "member") if name in table)]
    table = table.drop_duplicates([*trainings, "epoch"], keep="last")
    table = table.rename(columns={"train": "training", "validation": "validation subjects"})
    long = table.melt([*trainings, "epoch"], ["training", "validation subjects"], "of", "loss").dropna(subset="loss")
    long = long.assign(run=long.groupby(trainings).ngroup())
    lines = {"kind": "line", "x": "epoch", "y": "loss", "hue": "of", "units": "run", "estimator": None}
    style = {"marker": "o", "ms": 4, "facet_kws": {"sharey": sharey, "sharex": False, "legend_out": False}}
    size = {"col": by, "col_wrap": min(4, long[by].nunique()), "height": 2.7, "aspect": 1.26}
    with plt.rc_context({"figure.constrained_layout.use": False}):
        grid = sns.relplot(long, **lines, **style, **size)
    grid.set_titles("{col_name}", size=10)
    for ax in grid.axes.flat:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    sns.move_legend(grid, "upper left", bbox_to_anchor=(1, 0.9), title="", frameon=False)
    return mark_synthetic(grid.figure, synthetic)


def calibration_curves(cases, curves):
    """Dice over confidence, a panel per view and structure: every heart, and the Dice that is expected there.

    cases: view, structure, confidence, dice; curves: the same columns.
    """
    kinds = list(curves.groupby(["view", "structure"], sort=False))
    figure, axes = panels(len(kinds), (3, 2.9), columns=3, sharey=True)
    for ax, ((view, structure), curve) in zip(axes, kinds):
        own = cases[(cases["view"] == view) & (cases["structure"] == structure)]
        ax.scatter(own["confidence"], own["dice"], s=14, color=COLOURS[structure], alpha=0.6)
        ax.plot(curve["confidence"], curve["dice"], color="black", lw=1.2)
        ax.set(xlabel="confidence", title=f"{view.upper()}, {NAMES[structure]}, n = {len(own)}")
        ax.title.set_fontsize(9)
    axes[0].set_ylabel("Dice")
    return figure


def volume_curves(table, ax, reference=None):
    """Volume over time by structure, ED and ES marked; columns structure, time_ms, volume_ml, phase."""
    for structure, curve in table.groupby("structure"):
        curve = curve.sort_values("time_ms")
        ax.plot(curve["time_ms"], curve["volume_ml"], color=COLOURS[structure], label=NAMES[structure])
        marked = curve[curve["phase"].isin(["ED", "ES"])]
        ax.scatter(marked["time_ms"], marked["volume_ml"], color=COLOURS[structure], zorder=3)
        for point in marked.itertuples():
            where = {"textcoords": "offset points", "xytext": (3, 4), "fontsize": 8}
            ax.annotate(point.phase, (point.time_ms, point.volume_ml), **where)
    for structure, curve in reference.groupby("structure") if reference is not None else ():
        ax.scatter(curve["time_ms"], curve["volume_ml"], facecolors="none", edgecolors=COLOURS[structure], s=50)
    ax.set(xlabel="time (ms)", ylabel="volume (mL)", ylim=(0, None))
    return ax


def curve_panels(table, subjects, reference=None):
    """LV and RV volume over time, a panel per subject, the reference's frames as circles."""
    figure, axes = panels(max(1, len(subjects)), (3.6, 3), columns=max(1, len(subjects)))
    for ax, subject in zip(axes, subjects):
        rows = f"participant_id == {subject!r} and view == 'sax' and structure != 'myo'"
        drawn = None if reference is None else reference.query(rows)
        volume_curves(table.query(rows).dropna(subset=["volume_ml"]), ax, drawn)
        ax.set_title(subject, fontsize=9)
    if len(subjects):
        axes[-1].legend(frameon=False, fontsize=8)
    return figure


def bullseye(table, label: str = "wall thickness (mm)", limits=None):
    """Numbers of the AHA's segments 1 to 16 (rows) as bull's eyes, one per column of `table`: base outside, apex
    inside, anterior up, septum left; segments without a number grey. limits: ends of the colours, default the data's.
    """
    if table.isna().all(axis=None):
        figure, ax = plt.subplots(figsize=(3, 3))
        ax.text(0.5, 0.5, "no closed ring of myocardium\nin any heart", ha="center", va="center")
        return ax.set_axis_off() or figure
    figure, axes = panels(table.shape[1], (2.5, 2.6), 5, subplot_kw={"projection": "polar"}, layout="constrained")
    colours = plt.cm.ScalarMappable(plt.Normalize(*(limits or (np.nanmin(table), np.nanmax(table)))), "viridis")
    for ax, (name, values) in zip(axes, table.items()):
        ax.set_axis_off()
        ax.set_title(name, fontsize=10)
        for number, value in zip(table.index.astype(int) - 1, values):
            _segment(ax, number, value, colours)
    for angle, wall in zip((0.5, 1, 1.5, 2), ("anterior", "septum", "inferior", "lateral")):
        upright = 0 if wall in ("anterior", "inferior") else 90
        axes[0].text(angle * np.pi, 1.1, wall, ha="center", va="center", fontsize=7, rotation=upright)
    figure.colorbar(colours, ax=list(axes), label=label, shrink=0.8)
    return figure


def _segment(ax, number, value, colours):
    """Segment `number` (from 0) of a bull's eye, with its value."""
    ring, place = divmod(number, 6)
    width = np.pi / (3 if ring < 2 else 2)
    angle, inner, known = np.pi / 2 + place * width, (2 - ring) / 3, np.isfinite(value)
    ax.bar(angle, 1 / 3, width, inner, color=colours.to_rgba(value) if known else "#dddddd", edgecolor="white")
    text, colour = (
        (f"{value:.0f}" if abs(value) >= 20 else f"{value:.1f}") if known else "–",
        "white" if known and colours.norm(value) < 0.6 else "black",
    )
    ax.text(angle, inner + 1 / 6, text, ha="center", va="center", fontsize=7, color=colour)


def few_labels(table, synthetic: bool, ylabel: str = "mean Dice"):
    """Mean Dice (or what `ylabel` says) over the number of labelled subjects, both starts with intervals; of
    01b_few_labels. Returns the figure."""
    figure, ax = plt.subplots(figsize=(max(4.6, 1.6 * len(table)), 3.6))
    for shift, name in ((-0.01, "scratch"), (0.01, "pretrained")):
        interval_plot(ax, table, name, table["labelled"] * (1 + shift), fmt="o-", label=name)
    gains = [
        f"{row.labelled}\n{row.gain:+.3f}\n({row.gain_low:+.3f} to {row.gain_high:+.3f})" for row in table.itertuples()
    ]
    ax.set(xlabel="labelled subjects, and what pretraining gains", ylabel=ylabel, xscale="log")
    ax.set_xticks(table["labelled"], gains, fontsize=8)
    ax.minorticks_off()
    ax.margins(x=0.15)
    ax.legend(frameon=False, loc="lower right")
    return mark_synthetic(figure, synthetic)


def precision_figure(table):
    """Coefficient of variation of two scans with intervals: a group per measure, a colour per observer."""
    figure, ax = plt.subplots(figsize=(1.6 + 1.1 * table["measure"].nunique(), 3.2))
    grouped_intervals(ax, table.assign(measure=table["measure"].map(label)), "cv_pct", "measure", "observer")
    ax.tick_params(axis="x", rotation=20)
    ax.set(ylabel="coefficient of variation (%)", ylim=(0, None))
    ax.legend(frameon=False, fontsize=8, bbox_to_anchor=(1, 1), loc="upper left")
    return figure
