"""Pictures: a table (or a cine) and an ax in, the ax out. Nothing is computed here that a table should hold."""

from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from PIL import Image

from cmrlib.anatomy import COLOURS, NAMES, NOT_ANNOTATED, STRUCTURES
from cmrlib.cine import Cine

LEVELS = ["base", "mid", "apex"]


def use_style():
    """One style for every figure: readable in print, fonts that can be edited, colours that everyone can tell apart."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind")
    plt.rcParams.update({"figure.dpi": 80, "savefig.bbox": "tight", "pdf.fonttype": 42, "axes.spines.top": False,
                         "axes.spines.right": False, "figure.constrained_layout.use": True})


def mark_synthetic(figure, synthetic: bool):
    """Write on the figure itself that its hearts are synthetic."""
    if synthetic:
        # just above the figure, where no label can lie; saving crops to what is drawn
        figure.text(1, 1.01, "phantom (synthetic hearts)", ha="right", va="bottom", fontsize=8, color="#666666")
    return figure


def show_slice(ax, cine: Cine, t: int, k: int, mask=None, reference=None, box=None, title=""):
    """One slice in grey; `mask` (rows, columns) as filled contours, `reference` as dashed white ones.

    box: (row0, row1, column0, column1) to look at. Pixels are drawn with their true aspect.
    """
    low, high = cine.intensity_window(1, 99.5)
    aspect = cine.spacing_mm[1] / cine.spacing_mm[2] if cine.spacing_known else 1
    ax.imshow(cine.pixels[t, k], cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="bilinear")
    for name, code in STRUCTURES.items():
        if mask is not None and (mask == code).any():
            ax.contourf(mask == code, levels=[0.5, 1.5], colors=[COLOURS[name]], alpha=0.25)
            ax.contour(mask == code, levels=[0.5], colors=[COLOURS[name]], linewidths=1.2)
        if reference is not None and (reference == code).any():
            ax.contour(reference == code, levels=[0.5], colors=["white"], linewidths=0.9, linestyles="--")
    if box is not None:
        ax.set(xlim=(box[2] - 0.5, box[3] + 0.5), ylim=(box[1] + 0.5, box[0] - 0.5))
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=9)
    sns.despine(ax=ax, left=True, bottom=True)
    return ax


def heart_box(mask, margin: int = 20):
    """(row0, row1, column0, column1) around all structures of (…, rows, columns), None where there are none."""
    drawn = ((mask > 0) & (mask != NOT_ANNOTATED)).reshape(-1, *mask.shape[-2:]).any(0)
    if not drawn.any():
        return None
    rows, columns = np.nonzero(drawn)
    return (max(rows.min() - margin, 0), min(rows.max() + margin, drawn.shape[0] - 1),
            max(columns.min() - margin, 0), min(columns.max() + margin, drawn.shape[1] - 1))


def base_mid_apex(mask, structure: str = "lv"):
    """Three slice numbers at 15, 50 and 85 % of the extent of a structure in (slices, rows, columns).

    Base first where the cavity there is the larger; thirds of the stack where the structure is absent.
    """
    found = np.flatnonzero((mask == STRUCTURES[structure]).any((1, 2)))
    found = found if len(found) else np.arange(len(mask))
    picks = [int(found[round(q * (len(found) - 1))]) for q in (0.15, 0.5, 0.85)]
    areas = [(mask[k] == STRUCTURES[structure]).sum() for k in picks]
    return picks if areas[0] >= areas[2] else picks[::-1]


def stack_picture(cine: Cine, mask=None, reference=None, frames=None, title=""):
    """Rows ED and ES, columns base, mid, apex (long axis: one column); returns the figure."""
    frames = frames or {"ED": cine.ed or 0, "ES": cine.es if cine.es is not None else cine.frames // 3}
    guide = mask if mask is not None else reference
    first = next(iter(frames.values()))
    picks = [0] if cine.slices == 1 else base_mid_apex(guide[first] if guide is not None else cine.pixels[first] * 0)
    figure, axes = plt.subplots(len(frames), len(picks), figsize=(2.6 * len(picks), 2.7 * len(frames)), squeeze=False)
    box = heart_box(guide) if guide is not None else None
    for row, (phase, t) in zip(axes, frames.items()):
        for ax, k, level in zip(row, picks, LEVELS if len(picks) == 3 else [cine.view]):
            show_slice(ax, cine, t, k, None if mask is None else mask[t, k],
                       None if reference is None else reference[t, k], box, f"{phase}, {level}")
    figure.suptitle(title, fontsize=10)
    _structure_legend(figure, mask, reference)
    return figure


def _structure_legend(figure, mask, reference):
    """Names of the structures drawn, beside their colours, below the pictures."""
    drawn = [s for s, code in STRUCTURES.items() if any(m is not None and (m == code).any() for m in (mask, reference))]
    handles = [Line2D([], [], color=COLOURS[s], lw=4, alpha=0.6, label=NAMES[s]) for s in drawn]
    handles += [Line2D([], [], color="grey", ls="--", label="reference")] if reference is not None else []
    if handles:
        figure.legend(handles=handles, loc="outside lower left", ncols=4, frameon=False, fontsize=8)


def animate(cine: Cine, path, k: int | None = None, mask=None, height: int = 256):
    """One slice through the cycle as a GIF in real time (40 ms a frame where times are unknown); returns the path."""
    k = cine.slices // 2 if k is None else k
    low, high = cine.intensity_window(1, 99.5)
    rows, columns = cine.pixels.shape[2:]
    aspect = cine.spacing_mm[1] / cine.spacing_mm[2] if cine.spacing_known else 1
    size, frames = (round(columns / aspect * height / rows), height), []
    for t in range(cine.frames):
        grey = np.clip((cine.pixels[t, k].astype(np.float32) - low) / (high - low), 0, 1)
        rgb = np.repeat(grey[..., None], 3, 2)
        for name, code in STRUCTURES.items() if mask is not None else ():
            region = (mask[t, k] == code).astype(np.uint8)
            rgb[cv2.morphologyEx(region, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > 0] = to_rgb(COLOURS[name])
        frames.append(Image.fromarray((255 * rgb).astype(np.uint8)).resize(size))
    step = cine.frame_step_ms if np.isfinite(cine.frame_step_ms) else 40
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=max(20, round(step)), loop=0)
    return path


def overlap_strips(table, ax, y="dice"):
    """Per-case values by structure and phase; table columns structure, phase and `y`."""
    order = [s for s in STRUCTURES if s in set(table["structure"])]
    sns.boxplot(table, x="structure", y=y, hue="phase", order=order, fliersize=0, boxprops={"alpha": 0.4}, ax=ax)
    sns.stripplot(table, x="structure", y=y, hue="phase", order=order, dodge=True, size=3, ax=ax, legend=False)
    ax.set(xlabel="", ylabel={"dice": "Dice", "hd95_mm": "95 % Hausdorff distance (mm)",
                              "assd_mm": "mean surface distance (mm)"}.get(y, y))
    ax.set_xticks(range(len(order)), [s if s == "myo" else s.upper() for s in order])
    return ax


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


def loss_curves(table, synthetic: bool):
    """Loss over epochs, a panel a view; columns view, fold, epoch, train, validation. Returns the figure."""
    views = table["view"].unique()
    figure, axes = plt.subplots(1, len(views), figsize=(3.6 * len(views), 2.8), squeeze=False, sharey=True)
    for ax, view in zip(axes[0], views):
        for fold, part in table[table["view"] == view].groupby("fold"):
            name = {"label": "training crops"} if fold == table["fold"].min() else {}
            ax.plot(part["epoch"], part["train"], color="C0", **name)
            checked = part.dropna(subset=["validation"])
            name = {"label": "validation subjects"} if name else {}
            ax.plot(checked["epoch"], checked["validation"], color="C1", marker="o", **name)
        ax.set(title=view, xlabel="epoch")
    axes[0, 0].set_ylabel("loss")
    axes[0, -1].legend(frameon=False)
    return mark_synthetic(figure, synthetic)


def overlap_figure(table, view: str):
    """Dice and 95 % Hausdorff distance of one view side by side; returns the figure."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
    for ax, value in zip(axes, ("dice", "hd95_mm")):
        overlap_strips(table, ax, value)
    axes[0].get_legend().remove()
    axes[0].set_ylim(max(0, table["dice"].min() - 0.05), 1)
    figure.suptitle(f"{view}, {table['participant_id'].nunique()} test subjects")
    return figure


def confidence(table, rho, synthetic: bool):
    """Dice over confidence, a point a cine; rho: row of `agreement.rank_correlation`. Returns the figure."""
    figure, ax = plt.subplots(figsize=(4.6, 3.4))
    sns.scatterplot(table, x="confidence", y="dice", hue="view", ax=ax)
    ax.set(xlabel="confidence (agreement of turned copies)", ylabel="mean Dice",
           title=f"Spearman {rho['rho']:.2f} ({rho['rho_low']:.2f} to {rho['rho_high']:.2f}), n = {int(rho['n'])}")
    return mark_synthetic(figure, synthetic)


def curve_panels(table, subjects, reference=None):
    """LV and RV volume over time, a panel a subject, the reference's frames as circles; returns the figure."""
    figure, axes = plt.subplots(1, max(1, len(subjects)), figsize=(3.6 * max(1, len(subjects)), 3), squeeze=False)
    for ax, subject in zip(axes[0], subjects):
        own = table[(table["participant_id"] == subject) & (table["view"] == "sax") & (table["structure"] != "myo")]
        drawn = None if reference is None else reference[
            (reference["participant_id"] == subject) & (reference["view"] == "sax") & (reference["structure"] != "myo")]
        volume_curves(own.dropna(subset=["volume_ml"]), ax, drawn)
        ax.set_title(subject, fontsize=9)
    if subjects:
        axes[0, -1].legend(frameon=False, fontsize=8)
    return figure


def segment_heatmap(table):
    """Wall thickness: rows AHA segments, columns groups, mm in the cells; returns the figure."""
    figure, ax = plt.subplots(figsize=(2 + 0.8 * table.shape[1], 4.6))
    if table.isna().all(axis=None):
        ax.text(0.5, 0.5, "no closed ring of myocardium\nin any heart", ha="center", va="center")
        return ax.set_axis_off() or figure
    numbers = {"annot": True, "fmt": ".1f", "annot_kws": {"fontsize": 8}}
    sns.heatmap(table, cmap="viridis", cbar_kws={"label": "mm"}, ax=ax, **numbers)
    ax.set(ylabel="AHA segment", xlabel="")
    ax.tick_params(axis="y", rotation=0)
    return figure


def agreement_figure(pairs, row, unit: str, title: str, band=None):
    """Bland–Altman and regression side by side; returns the figure."""
    figure, axes = plt.subplots(1, 2, figsize=(9.2, 3.6))
    bland_altman(pairs, row, axes[0], unit, band)
    regression(pairs, row, axes[1], unit)
    figure.suptitle(f"{title} · n = {len(pairs)}, ICC(A,1) {row['icc_a1']:.3f} "
                    f"({row['icc_a1_low']:.3f} to {row['icc_a1_high']:.3f})", fontsize=10)
    return figure
