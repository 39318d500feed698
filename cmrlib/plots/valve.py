"""Mitral points on hearts, the valve's motion, and MVnet's figures 4 to 8."""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from cmrlib.agreement import observer_pairs
from cmrlib.cine.anatomy import MITRAL_POINTS
from cmrlib.plots.cines import show_slice, show_still
from cmrlib.plots.elements import bounded_text, chunks, image_grid, mark_synthetic, spread
from cmrlib.plots.statistics import bland_altman, regression

COLOURS = ("#E69F00", "#56B4E9")
STAGE_NAMES = {"stage1": "1", "stage12": "1+2", "stage122": "1+2+2", "person": "person"}


def points_sheet(cine, points, reference=None, frames=None, title="", margin_mm: float = 45.0, columns: int = 4):
    """Frames with the two points and the line between, `columns` side by side; the reference's points as crosses.
    points, reference: (frames, 2, 2) as (column, row)."""
    frames = np.linspace(0, cine.frames, 5)[:4].astype(int) if frames is None else frames
    box = _box(cine, points, margin_mm)
    places = [(f"frame {t}", partial(show_slice, cine=cine, t=t, k=0, box=box)) for t in frames]
    figure, axes = image_grid(chunks(places, columns), (2.8, 2.85), title=title)
    for ax, t in zip(axes.flat, frames):
        draw_points(ax, points[t], MITRAL_POINTS[cine.view])
        if reference is not None and np.isfinite(reference[t]).all():
            ax.plot(*reference[t].T, "x", color="white", ms=6, mew=1.2, label="reference")
    axes.flat[len(frames) - 1].legend(loc="lower right", fontsize=7, framealpha=0.6)
    return figure


def draw_points(ax, pair, names):
    ax.plot(*pair.T, color="white", lw=0.9)
    for point, name, colour, marker in zip(pair, names, COLOURS, "os"):
        ax.plot(*point, marker, color=colour, ms=5, mec="black", mew=0.6, label=name)


def _box(cine, points, margin_mm):
    rows, columns = cine.pixels.shape[2:]
    margin = margin_mm / np.array(cine.spacing_mm[:0:-1]) if cine.spacing_known else np.array([60.0, 60.0])
    low, high = np.nanmin(points, axis=(0, 1)) - margin, np.nanmax(points, axis=(0, 1)) + margin
    return max(0, low[1]), min(rows - 1, high[1]), max(0, low[0]), min(columns - 1, high[0])


def motion_curves(table, title="", reference=None, stacked: bool = False):
    """Displacement and velocity over time: views thin, their mean thick, the reference's mean dashed. table, reference:
    rows of valve_motion of one heart. stacked: above each other, for narrow pages."""
    figure, axes = plt.subplots(2, 1, figsize=(4.6, 5.4)) if stacked else plt.subplots(1, 2, figsize=(8.4, 3))
    _motion(*axes, table, reference)
    figure.suptitle(title, fontsize=10)
    return figure


def _motion(displacement, velocity, table, reference=None):
    for ax, value, label in (
        (displacement, "displacement_mm", "displacement (mm, apical +)"),
        (velocity, "velocity_cm_s", "velocity (cm/s, apical +)"),
    ):
        for view, part in table.groupby("view"):
            part = part.sort_values("time_ms")
            ax.plot(part["time_ms"], part[value], lw=2.2 if view == "mean" else 1, marker=".", ms=3, label=view)
        if reference is not None:
            part = reference[reference["view"] == "mean"].sort_values("time_ms")
            ax.plot(part["time_ms"], part[value], "k--", lw=1, label="reference")
        ax.axhline(0, color="#bbbbbb", lw=0.8, zorder=0)
        ax.set(xlabel="time from ED (ms)", ylabel=label)
    displacement.legend(frameon=False, fontsize=8)


def valve_overview(pictures: dict, motion, synthetic: bool):
    """MVnet's figure 1: points at ED and ES of both views, and what follows of them: displacement and velocity.

    pictures: title → `still` with `points` (2, 2) and `view`. motion: rows of valve_motion of that heart.
    """
    places = [["p0", "p1", "displacement_mm"], ["p2", "p3", "velocity_cm_s"]]
    figure, axes = plt.subplot_mosaic(places, figsize=(10, 5.6), width_ratios=[1, 1, 1.5])
    for n, (title, picture) in enumerate(pictures.items()):
        show_still(axes[f"p{n}"], picture, title)
        draw_points(axes[f"p{n}"], picture["points"], MITRAL_POINTS[picture["view"]])
        axes[f"p{n}"].legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, fontsize=7, frameon=False)
    for n in range(len(pictures), 4):
        axes[f"p{n}"].set_axis_off()
    _motion(axes["displacement_mm"], axes["velocity_cm_s"], motion)
    return mark_synthetic(figure, synthetic)


STAGE_PANELS = {
    "euclid_mm": "Euclidean distance (mm)",
    "angle_deg": "angle (°)",
    "mapse_icc": "ICC MAPSE",
    "eprime_icc": "ICC e'",
    "displacement_icc": "ICC displacement",
}


def stage_figure(stages, synthetic: bool):
    """Figure 4: Euclidean and angular error and three ICCs after each stage; rows of `mvnet.summarise`."""
    figure, axes = plt.subplots(1, len(STAGE_PANELS), figsize=(12, 2.9))
    names = [STAGE_NAMES.get(stage, stage) for stage in stages["stage"]]
    colours = sns.color_palette("colorblind", len(stages))
    low = min(0.0, *(stages[f"{name}_low"].min() for name in STAGE_PANELS if name.endswith("icc")))
    for ax, (name, label) in zip(axes, STAGE_PANELS.items()):
        ax.bar(names, stages[name], yerr=spread(stages, name), color=colours, capsize=3)
        ax.tick_params(axis="x", labelsize="small", rotation=35)
        ax.set(xlabel="stage", ylabel=label, ylim=(low, 1) if name.endswith("icc") else (0, None))
    return mark_synthetic(figure, synthetic)


def stage_points_figure(stages, synthetic: bool):
    """Figure 5: the same by point and view, all distances on one scale and all angles on another."""
    distances = {
        f"{view}_{name}_mm": f"{view.upper()}\n{name}" for view, pair in MITRAL_POINTS.items() for name in pair
    }
    angles = {f"{view}_angle_deg": view.upper() for view in MITRAL_POINTS}
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.4), width_ratios=[2, 1])
    colours = sns.color_palette("colorblind", len(stages))
    for ax, label, columns in zip(axes, ("Euclidean distance (mm)", "angle (°)"), (distances, angles)):
        columns = {name: text for name, text in columns.items() if name in stages}
        width, places = 0.8 / len(stages), np.arange(len(columns))
        for n, (_, row) in enumerate(stages.iterrows()):
            error = np.hstack([spread(row.to_frame().T, name) for name in columns])
            style = {"color": colours[n], "capsize": 3, "label": STAGE_NAMES.get(row["stage"], row["stage"])}
            ax.bar(places + (n - (len(stages) - 1) / 2) * width, row[list(columns)], width, yerr=error, **style)
        ax.set_xticks(places, columns.values())
        ax.set(ylabel=label, ylim=(0, None))
    figure.legend(*axes[0].get_legend_handles_labels(), title="stage", loc="outside right center", frameon=False)
    return mark_synthetic(figure, synthetic)


def variability_figure(table, synthetic: bool):
    """Figure 6: rows trained on, columns tested on, a heat map per measure, intervals below the values where there are
    any. table: columns trained, tested and the measures with _low, _high, n.

    Errors are coloured from 0, ICCs all on one scale that ends at 1."""
    figure, axes = plt.subplots(2, 3, figsize=(12, 6), sharey=True)
    order = list(dict.fromkeys(table["trained"]))
    tested = [f"{name}\n(n {table.loc[table['tested'] == name, 'n'].iloc[0]:.0f})" for name in order]
    lowest = min(0.5, table[[name for name in STAGE_PANELS if name.endswith("icc")]].min(axis=None))
    places = [*axes[0, :2], *axes[1]]
    for ax, (name, label) in zip(places, STAGE_PANELS.items()):
        bounds = zip(table[name], table[f"{name}_low"], table[f"{name}_high"])
        text = [f"{value:.2f}" + (f"\n({low:.2f} to {high:.2f})" if low == low else "") for value, low, high in bounds]
        grid = table.assign(text=text).pivot(index="trained", columns="tested").loc[order]
        icc = {"cmap": "Blues", "vmin": lowest, "vmax": 1}
        style = icc if name.endswith("icc") else {"cmap": "Oranges", "vmin": 0}
        style |= {"linewidths": 1, "xticklabels": tested, "annot_kws": {"fontsize": 8}}
        sns.heatmap(grid[name][order], annot=grid["text"][order], fmt="", ax=ax, **style)
        ax.set(title=label, xlabel="tested on", ylabel="trained on" if ax in axes[:, 0] else "")
        ax.tick_params(axis="y", rotation=0, length=0)
    axes[0, 2].set_axis_off()
    return mark_synthetic(figure, synthetic)


def clinical_panels(metrics, displacement, compared, reference: str, test: str) -> dict:
    """label → (pairs, row, unit) of `clinical_figure` for displacement, MAPSE and e'.

    metrics: MAPSE and e' of both observers. displacement: pairs over frames. compared: of `agreement.compare`.
    """
    rows = compared.set_index("measure")
    found = {"displacement": (displacement, rows.loc["displacement_mm"], "mm")}
    for label, measure, unit in (("MAPSE", "mapse_mm", "mm"), ("e'", "eprime_cm_s", "cm/s")):
        pairs = observer_pairs(metrics, reference, test, measure).dropna(subset=["reference", "test"])
        found[label] = pairs, rows.loc[measure], unit
    return found


def clinical_figure(panels, title: str, synthetic: bool):
    """Figures 7 and 8: regression above Bland–Altman, a column per measure. panels: of `clinical_panels`."""
    figure, axes = plt.subplots(2, len(panels), figsize=(3.9 * len(panels), 6.4), squeeze=False)
    for column, (label, (pairs, row, unit)) in zip(axes.T, panels.items()):
        regression(pairs, row, column[0], unit)
        icc = bounded_text(row, "icc_a1").replace(" ", "\n", 1)
        column[0].set_title(f"{label} · ICC(A,1) {icc}, r = {row['r']:.3f}", fontsize=9)
        bland_altman(pairs, row, column[1], unit)
    figure.suptitle(title, fontsize=10)
    return mark_synthetic(figure, synthetic)
