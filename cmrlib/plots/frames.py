"""ED and ES: curves of single sections, errors by method and view, what the structured loss is worth."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from cmrlib.plots.cines import show_still, still
from cmrlib.plots.style import mark_synthetic

PHASES = {"ed": "ED", "es": "ES"}


def frame_curves(cases, synthetic: bool):
    """Predicted and target curves of single sections, one panel each; returns the figure.

    cases: title → {"predicted", "target": (frames,), "ed", "es", "ed_true", "es_true": frame numbers}.
    """
    figure, axes = plt.subplots(1, len(cases), figsize=(3.4 * len(cases), 2.9), sharey=True, squeeze=False)
    for ax, (title, case) in zip(axes[0], cases.items()):
        ax.plot(case["target"], color="#999999", ls="--", marker="o", ms=3, label="target")
        ax.plot(case["predicted"], color="C0", marker="o", ms=3, label="predicted")
        for phase, colour in (("ed", "C2"), ("es", "C3")):
            ax.axvline(case[f"{phase}_true"], color=colour, ls="--", lw=1)
            ax.axvline(case[phase], color=colour, lw=1.4, label=PHASES[phase])
        ax.set(title=title, xlabel="frame")
        ax.title.set_size(9)
    axes[0, 0].set_ylabel("ED 1 … ES 0")
    drawn = axes[0, 0].get_legend_handles_labels()
    figure.legend(*drawn, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return mark_synthetic(figure, synthetic)


def sequence_pictures(cine, k: int, ed: int, es: int) -> dict:
    """What `sequence_sheet` draws of one section: its frames (frames, rows, columns), their window and aspect."""
    return still(cine, 0, k) | {"pixels": np.array(cine.pixels[:, k]), "ed": int(ed), "es": int(es)}


def sequence_sheet(case: dict, title: str, synthetic: bool, columns: int = 10):
    """TempReg-Net's figure 1: all frames of a section, ED framed in orange and ES in green; case: of
    `sequence_pictures`. Returns the figure."""
    count = len(case["pixels"])
    columns = min(columns, count)
    rows = -(-count // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(1.3 * columns, 1.5 * rows + 0.3), squeeze=False)
    for t, ax in enumerate(axes.flat):
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        if t < count:
            show_still(ax, case | {"pixels": case["pixels"][t]})
            phase = next((name for key, name in PHASES.items() if case[key] == t), "")
            colour = {"ED": "#E69F00", "ES": "#009E73", "": "#333333"}[phase]
            ax.set_title(f"{t} {phase}".strip(), fontsize=8, color=colour, fontweight="bold" if phase else "normal")
            if phase:
                ax.spines[:].set(visible=True, color=colour, linewidth=3)
    figure.suptitle(title, fontsize=10)
    return mark_synthetic(figure, synthetic)


def frame_errors_by(table, group: str, labels: dict, synthetic: bool):
    """Cyclic aFD of ED and ES with intervals, a row a group; table: of `tempreg.afd_table`. Returns the figure."""
    figure, ax = plt.subplots(figsize=(6.2, 0.5 * len(table) + 1.5))
    places = np.arange(len(table))
    for shift, (phase, name) in zip((-0.13, 0.13), PHASES.items()):
        value = table[f"afd_{phase}_cyclic"]
        errors = np.abs(table[[f"afd_{phase}_cyclic_low", f"afd_{phase}_cyclic_high"]].T.to_numpy() - value.to_numpy())
        errors = np.nan_to_num(errors)  # no interval below three subjects
        ax.errorbar(value, places + shift, xerr=errors, fmt="o", capsize=3, label=name)
    ax.set_yticks(places, [labels.get(key, key) for key in table[group]])
    ax.invert_yaxis()
    ax.set(xlabel="average frame difference (frames, round the cycle)", xlim=(0, None))
    ax.legend(frameon=False, fontsize=8)
    return mark_synthetic(figure, synthetic)


def seed_pairs(errors, gains: dict, synthetic: bool):
    """Cyclic aFD without and with the structured loss, a line a seed, over the sections and subjects of the gains;
    gains: phase → `tempreg.paired_gain`."""
    figure, axes = plt.subplots(1, 2, figsize=(6.2, 3), sharey=True)
    used = (
        (errors["slice"] >= 0)
        & (errors["kind"] != "sax without LV")
        & errors["method"].isin(["without_tsc", "tempreg"])
    )
    for ax, (phase, name) in zip(axes, PHASES.items()):
        subjects = errors[used].groupby(["seed", "method", "participant_id"])[f"afd_{phase}_cyclic"].mean()
        means = subjects.groupby(["seed", "method"]).mean().unstack("method")
        for seed, row in means.iterrows():
            ax.plot([0, 1], row[["without_tsc", "tempreg"]], marker="o", label=f"seed {seed}")
        gain = gains[phase]
        ax.set_xticks([0, 1], ["without", "with L_temp"])
        ax.set(
            title=f"{name}: closer by {gain['gain']:.2f} ({gain['gain_low']:.2f} to {gain['gain_high']:.2f})",
            xlim=(-0.3, 1.3),
        )
        ax.title.set_size(9)
    axes[0].set_ylabel("aFD (frames, round the cycle)")
    axes[1].legend(frameon=False, fontsize=8)
    return mark_synthetic(figure, synthetic)


def confidence_error(errors, synthetic: bool):
    """Mean cyclic error of ED and ES over the confidence of a section; returns the figure."""
    figure, ax = plt.subplots(figsize=(4.6, 3.2))
    table = errors.assign(error=(errors["afd_ed_cyclic"] + errors["afd_es_cyclic"]) / 2)
    sns.scatterplot(table, x="confidence", y="error", hue="view", s=16, alpha=0.6, ax=ax)
    ax.set(xlabel="confidence", ylabel="error of ED and ES (frames)")
    return mark_synthetic(figure, synthetic)
