"""ED and ES: curves of single sections, errors by method and view, gain by the structured loss."""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from cmrlib.datasets.qc import heart_box
from cmrlib.plots.cines import show_still, still
from cmrlib.plots.elements import beneath, chunks, grouped_intervals, image_grid, legend_below, mark_synthetic, panels

PHASES = {"ed": "ED", "es": "ES"}
COLOURS = {"ed": "#E69F00", "es": "#009E73"}


def frame_curves(cases, synthetic: bool):
    """Predicted and target curves of single sections, one panel each.

    cases: title → {"predicted", "target": (frames,), "ed", "es", "ed_true", "es_true": frame numbers}.
    """
    figure, axes = panels(len(cases), (3.4, 2.9), sharey=True)
    for ax, (title, case) in zip(axes, cases.items()):
        ax.plot(case["target"], color="#999999", ls="--", marker="o", ms=3, label="target")
        ax.plot(case["predicted"], color="C0", marker="o", ms=3, label="predicted")
        for phase, colour in COLOURS.items():
            ax.axvline(case[f"{phase}_true"], color=colour, ls="--", lw=1)
            ax.axvline(case[phase], color=colour, lw=1.4, label=PHASES[phase])
        ax.set_title(title, fontsize=9)
        ax.set_xlabel("frame")
    axes[0].set_ylabel("ED 1 … ES 0")
    legend_below(figure, axes[0])
    return mark_synthetic(figure, synthetic)


def sequence_pictures(cine, k: int, ed: int, es: int) -> dict:
    """Data of `sequence_sheet`: the frames of one section (frames, rows, columns) around the heart, their window and
    aspect, ED, ES."""
    pixels = np.array(cine.pixels[(slice(None), k, *heart_box(cine))])
    return still(cine, 0, k) | {"pixels": pixels, "ed": int(ed), "es": int(es)}


def sequence_sheet(case: dict, title: str, synthetic: bool, columns: int = 10):
    """TempReg-Net's figure 1: all frames of a section, ED framed in orange and ES in green; case: of
    `sequence_pictures`."""
    marks = {case[key]: key for key in PHASES}
    places = [
        (f"{t} {PHASES.get(marks.get(t), '')}".strip(), partial(show_still, picture=case | {"pixels": pixels}))
        for t, pixels in enumerate(case["pixels"])
    ]
    figure, axes = image_grid(chunks(places, columns), (1.3, 1.7), title=title)
    for t, phase in marks.items():
        ax = axes.flat[t]
        ax.spines[:].set(visible=True, color=COLOURS[phase], linewidth=3)
        ax.title.set(color=COLOURS[phase], fontweight="bold")
    return mark_synthetic(figure, synthetic)


def frame_errors_by(table, group: str, labels: dict, synthetic: bool):
    """Cyclic aFD of ED and ES with intervals, a row per group; table: of `tempreg`'s table 1."""
    figure, ax = plt.subplots(figsize=(6.2, 0.5 * len(table) + 1.5))
    columns = {f"afd_{phase}_cyclic": name for phase, name in PHASES.items()}
    long = beneath(table.replace({group: labels}), columns, "phase")
    grouped_intervals(ax, long, "value", group, "phase", horizontal=True)
    ax.set(xlabel="average frame difference (frames, round the cycle)", xlim=(0, None))
    ax.legend(frameon=False, fontsize=8)
    return mark_synthetic(figure, synthetic)


def seed_pairs(errors, gains: dict, synthetic: bool):
    """Cyclic aFD without and with the structured loss, a line per seed, over the sections that show the LV.

    errors: of `tempreg.frame_errors`; gains: phase → paired gain with its interval.
    """
    figure, axes = plt.subplots(1, 2, figsize=(6.2, 3), sharey=True)
    used = (errors["slice"] >= 0) & (errors["kind"] != "sax without LV")
    used &= errors["method"].isin(["without_tsc", "tempreg"])
    for ax, (phase, name) in zip(axes, PHASES.items()):
        subjects = errors[used].groupby(["seed", "method", "participant_id"])[f"afd_{phase}_cyclic"].mean()
        means = subjects.groupby(["seed", "method"]).mean().unstack("method")
        for seed, row in means.iterrows():
            ax.plot([0, 1], row[["without_tsc", "tempreg"]], marker="o", label=f"seed {seed}")
        gain, low, high = (gains[phase][f"gain{end}"] for end in ("", "_low", "_high"))
        ax.set_xticks([0, 1], ["without", "with L_temp"])
        ax.set_xlim(-0.3, 1.3)
        ax.set_title(f"{name}: closer by {gain:.2f} ({low:.2f} to {high:.2f})", fontsize=9)
    axes[0].set_ylabel("aFD (frames, round the cycle)")
    axes[1].legend(frameon=False, fontsize=8)
    return mark_synthetic(figure, synthetic)


def stack_phases(cases, synthetic: bool):
    """How likely every frame of a stack is ED and ES, over its LV area; one panel each.

    cases: title → {"probabilities": (2, frames), "lv": (frames,), "ed", "es": the reference's frames}.
    """
    figure, axes = panels(len(cases), (3.4, 2.9), sharey=True)
    for ax, (title, case) in zip(axes, cases.items()):
        area = case["lv"]
        ax.plot((area - area.min()) / max(np.ptp(area), 1e-6), color="#999999", lw=1, label="LV area")
        for (phase, colour), likely in zip(COLOURS.items(), case["probabilities"]):
            ax.bar(np.arange(len(area)), likely, color=colour, alpha=0.6, label=PHASES[phase])
            ax.axvline(case[phase], color=colour, ls="--", lw=1.2)
        ax.set_title(title, fontsize=9)
        ax.set_xlabel("frame")
    axes[0].set_ylabel("probability")
    legend_below(figure, axes[0])
    return mark_synthetic(figure, synthetic)


def confidence_error(errors, synthetic: bool):
    """Mean cyclic error of ED and ES over the confidence of a section."""
    figure, ax = plt.subplots(figsize=(4.6, 3.2))
    table = errors.assign(error=(errors["afd_ed_cyclic"] + errors["afd_es_cyclic"]) / 2)
    sns.scatterplot(table, x="confidence", y="error", hue="view", s=16, alpha=0.6, ax=ax)
    ax.set(xlabel="confidence", ylabel="error of ED and ES (frames)")
    return mark_synthetic(figure, synthetic)
