"""CUSSP's preparation as pictures (its figures 2, 4 and 8), and where on a patch a score comes from."""

import cv2
import matplotlib.pyplot as plt
import numpy as np

from cmrlib.cine.anatomy import COLOURS, STRUCTURES
from cmrlib.plots.cines import show_slice, show_still, still
from cmrlib.plots.style import mark_synthetic

RED = "#D62728"


def step_pictures(cine, mask, t: int, patch) -> dict:
    """What `preparation_steps` draws of one frame: `still`, where the patch lies in it, and what became of the patch.

    mask: (frames, slices, rows, columns). patch: of `cussp.prepare`.
    """
    shown, plane = shown_frame(cine, patch, t), patch.planes[min(t, len(patch.planes) - 1)]
    return (
        still(cine, t, 0, mask[t, 0])
        | patch_outline(plane, patch.valve, t)
        | {"cropped": patch.cropped[shown], "equalised": patch.pixels[shown]}
    )


def preparation_steps(cases, synthetic: bool):
    """The five steps, a row a cine: cine, segmented, localised, cropped, equalised; returns the figure.

    cases: title → `step_pictures`; where it has a `score` and its `threshold`, these are step 5.
    """
    steps = 6 if any("score" in case for case in cases.values()) else 5
    figure, axes = plt.subplots(len(cases), steps, figsize=(2.6 * steps, 2.75 * len(cases)), squeeze=False)
    for row, (title, case) in zip(axes, cases.items()):
        show_still(row[0], case, title, outlined=False)
        show_still(row[1], case, "1 segmented")
        show_still(row[2], case, "2 localised, 3 patch", outlined=False)
        _outline(row[2], case["mask"] == STRUCTURES["la"])
        draw_patch(row[2], case)
        for ax, name, words in (
            (row[3], "cropped", "3 cropped, valve across"),
            (row[4], "equalised", "4 equalised over the LA's range"),
        ):
            ax.imshow(case[name], cmap="gray", interpolation="bilinear")
            ax.set_title(words, fontsize=9)
            ax.set_axis_off()
        if steps == 6:
            _probability(row[5], case["score"], case["threshold"])
    return mark_synthetic(figure, synthetic)


def _probability(ax, score, threshold):
    ax.barh([0], [score], color=RED if score >= threshold else "#0072B2", height=0.3)
    ax.axvline(threshold, color="#333333", ls="--", lw=1)
    ax.set(xlim=(0, 1), ylim=(-0.5, 0.5), yticks=[], xlabel="probability of MR; dashed: threshold")
    ax.set_title(f"5 predicted: {score:.2f}", fontsize=9)


def shown_frame(cine, patch, t: int) -> int:
    """The patch's frame nearest to frame t of the cine."""
    return round(t * len(patch.pixels) / cine.frames) % len(patch.pixels)


def patch_outline(plane, valve, t: int) -> dict:
    """Where a patch lies in the image, all (column, row): corners (5, 2), centre of the valve in frame t, and tip of an
    arrow along the LV towards the apex."""
    rows, columns = plane.shape
    corners = plane.back_points(
        [[-0.5, -0.5], [columns - 0.5, -0.5], [columns - 0.5, rows - 0.5], [-0.5, rows - 0.5], [-0.5, -0.5]]
    )
    centre = valve.centres_px[t] if np.isfinite(valve.centres_px[t]).all() else valve.centre_px
    return {"corners": np.asarray(corners), "centre": centre, "tip": centre + 25 * valve.apical / valve.spacing_mm}


def draw_patch(ax, outline):
    """Corners, centre and tip of `patch_outline`."""
    limits = ax.get_xlim(), ax.get_ylim()
    ax.plot(*outline["corners"].T, color=RED, lw=1.2)
    ax.plot(*outline["centre"], "+", color=RED, ms=9, mew=1.6)
    ax.annotate("", outline["tip"], outline["centre"], arrowprops={"arrowstyle": "->", "color": RED})
    ax.set(xlim=limits[0], ylim=limits[1])  # a patch that leaves the image does not move it


def _outline(ax, region):
    if region.any():
        ax.contour(region, levels=[0.5], colors=[COLOURS["la"]], linewidths=1.2)


def patch_strips(strips, synthetic: bool, columns: int = 7):
    """Patches through the cycle, a row a cine; strips: title → (frames, size, size). Returns the figure."""
    figure, axes = plt.subplots(len(strips), columns, figsize=(1.75 * columns, 1.95 * len(strips)), squeeze=False)
    for row, (title, pixels) in zip(axes, strips.items()):
        for ax, t in zip(row, np.linspace(0, len(pixels), columns, endpoint=False).astype(int)):
            ax.imshow(pixels[t], cmap="gray", vmin=0, vmax=255)
            ax.set_axis_off()
            ax.set_title(f"frame {t}", fontsize=8)
        row[0].set_title(f"{title}\nframe 0", fontsize=8)
    return mark_synthetic(figure, synthetic)


def saliency_sheet(evidence, synthetic: bool, columns: int = 4):
    """What speaks for (red) and against (blue) the positive class, a row a cine; returns the figure.

    evidence: title → (pixels (frames, rows, columns), attributions of the same shape), here smoothed by a pixel. The
    frames shown are those in which most is attributed, in their order in time; the last picture sums over all frames.
    """
    figure, axes = plt.subplots(
        len(evidence), columns + 1, figsize=(2.0 * (columns + 1), 2.2 * len(evidence)), squeeze=False
    )
    for row, (title, (pixels, weights)) in zip(axes, evidence.items()):
        weights = np.stack([cv2.GaussianBlur(one.astype(np.float32), (0, 0), 1.0) for one in weights])
        frames = np.sort(np.argsort(-np.abs(weights).sum((1, 2)))[:columns])
        shown = [(pixels[t], weights[t], f"frame {t}") for t in frames]
        shown.append((pixels.mean(0), weights.sum(0), "all frames"))
        for ax, (picture, weight, name) in zip(row, shown):
            limit = max(np.percentile(np.abs(weight), 99.5), 1e-9)
            ax.imshow(picture, cmap="gray", vmin=0, vmax=255)
            ax.imshow(weight, cmap="seismic", vmin=-limit, vmax=limit, alpha=np.clip(np.abs(weight) / limit, 0, 0.75))
            ax.set_axis_off()
            ax.set_title(name, fontsize=8)
        row[0].set_title(f"{title}\n{shown[0][2]}", fontsize=8)
    return mark_synthetic(figure, synthetic)


def real_patches(cases):
    """Real images, what a network found in them, and the patch; cases: of `cussp.real_cases`. Returns the figure."""
    figure, axes = plt.subplots(2, max(1, len(cases)), figsize=(2.3 * max(1, len(cases)), 4.9), squeeze=False)
    for column, (title, (cine, mask, t, plane, valve, patch)) in zip(axes.T, cases.items()):
        show_slice(column[0], cine, t, 0, mask, title=title)
        draw_patch(column[0], patch_outline(plane, valve, t))
        column[1].imshow(patch, cmap="gray", vmin=0, vmax=255)
        column[1].set_title("patch, equalised", fontsize=9)
    for ax in axes[1]:
        ax.set_axis_off()
    return figure
