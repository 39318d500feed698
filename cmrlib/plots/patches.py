"""CUSSP's preparation as pictures (its figures 2, 4 and 8), and attributions on a patch."""

from functools import partial

import numpy as np

from cmrlib.cine.anatomy import COLOURS, STRUCTURES
from cmrlib.plots.cines import show_slice, show_still, still
from cmrlib.plots.elements import attribution, image_grid, mark_synthetic

RED = "#D62728"
BYTES = {"vmin": 0, "vmax": 255}


def step_pictures(cine, mask, t: int, patch) -> dict:
    """Data of `preparation_steps` for one frame: `still`, the patch's place in it, and the patch of each step.

    mask: (frames, slices, rows, columns). patch: of `cussp.prepare`.
    """
    frame = round(t * len(patch.pixels) / cine.frames) % len(patch.pixels)
    pixels = {"cropped": patch.cropped[frame], "equalised": patch.pixels[frame]}
    return still(cine, t, 0, mask[t, 0]) | patch_outline(patch.plane, patch.valve, t) | pixels


def preparation_steps(cases, synthetic: bool):
    """The five steps, a row per cine: cine, segmented, localised, cropped, equalised.

    cases: title → `step_pictures`; where it has a `score` and its `threshold`, these are step 5.
    """
    rows = []
    for title, case in cases.items():
        row = [
            (title, partial(show_still, picture=case, outlined=False)),
            ("1 segmented", partial(show_still, picture=case)),
            ("2 localised, 3 patch", partial(_localised, case=case)),
            ("3 cropped, valve across", case["cropped"]),
            ("4 equalised over the LA's range", case["equalised"]),
        ]
        if "score" in case:
            row.append((f"5 predicted: {case['score']:.2f}", partial(_probability, case=case)))
        rows.append(row)
    return mark_synthetic(image_grid(rows, (2.6, 2.75), interpolation="bilinear")[0], synthetic)


def _localised(ax, case):
    show_still(ax, case, outlined=False)
    if (case["mask"] == STRUCTURES["la"]).any():
        ax.contour(case["mask"] == STRUCTURES["la"], levels=[0.5], colors=[COLOURS["la"]], linewidths=1.2)
    draw_patch(ax, case)


def _probability(ax, case):
    score, threshold = case["score"], case["threshold"]
    ax.barh([0], [score], color=RED if score >= threshold else "#0072B2", height=0.3)
    ax.axvline(threshold, color="#333333", ls="--", lw=1)
    ax.set(xlim=(0, 1), ylim=(-0.5, 0.5), xticks=[0, 0.5, 1], xlabel="probability of MR; dashed: threshold")


def patch_outline(plane, valve, t: int) -> dict:
    """Place of a patch in the image, all (column, row): corners (5, 2), centre of the valve in frame t, and tip of an
    arrow along the LV towards the apex."""
    right, below = plane.shape[1] - 0.5, plane.shape[0] - 0.5
    corners = plane.back_points([[-0.5, -0.5], [right, -0.5], [right, below], [-0.5, below], [-0.5, -0.5]])
    centre = valve.centres_px[t] if np.isfinite(valve.centres_px[t]).all() else valve.centre_px
    return {"corners": np.asarray(corners), "centre": centre, "tip": centre + 25 * valve.apical / valve.spacing_mm}


def draw_patch(ax, outline):
    """Corners, centre and tip of `patch_outline`."""
    limits = ax.get_xlim(), ax.get_ylim()
    ax.plot(*outline["corners"].T, color=RED, lw=1.2)
    ax.plot(*outline["centre"], "+", color=RED, ms=9, mew=1.6)
    ax.annotate("", outline["tip"], outline["centre"], arrowprops={"arrowstyle": "->", "color": RED})
    ax.set(xlim=limits[0], ylim=limits[1])  # a patch that leaves the image does not move it


def patch_strips(strips, synthetic: bool, columns: int = 7):
    """Patches through the cycle, a row per cine; strips: title → (frames, size, size)."""
    rows = [
        [(f"frame {t}", pixels[t]) for t in np.linspace(0, len(pixels), columns, endpoint=False).astype(int)]
        for pixels in strips.values()
    ]
    return mark_synthetic(image_grid(rows, (1.75, 1.95), names=strips, **BYTES)[0], synthetic)


def saliency_sheet(evidence, synthetic: bool, columns: int = 4):
    """Attributions for (red) and against (blue) the positive class, a row per cine.

    evidence: title → (pixels (frames, rows, columns), attributions of the same shape). The frames shown are those with
    most attribution, in their order in time; the last picture sums over all frames.
    """
    rows = []
    for pixels, weights in evidence.values():
        frames = np.sort(np.argsort(-np.abs(weights).sum((1, 2)))[:columns])
        shown = [(f"frame {t}", pixels[t], weights[t]) for t in frames]
        shown.append(("all frames", pixels.mean(0), weights.sum(0)))
        draw = partial(attribution, sigma_px=1.0, **BYTES)
        rows.append([(name, partial(draw, picture=picture, values=values)) for name, picture, values in shown])
    return mark_synthetic(image_grid(rows, (2.0, 2.2), names=evidence)[0], synthetic)


def real_patches(cases):
    """Real images with masks and patch above the patches; cases: title → (cine, mask, frame, plane, valve, patch)."""
    above = [
        (title, partial(_in_image, cine=cine, t=t, mask=mask, outline=patch_outline(plane, valve, t)))
        for title, (cine, mask, t, plane, valve, _) in cases.items()
    ]
    below = [("patch, equalised", patch) for *_, patch in cases.values()]
    return image_grid([above, below] if cases else [[None]], (2.3, 2.45), **BYTES)[0]


def _in_image(ax, cine, t, mask, outline):
    show_slice(ax, cine, t, 0, mask)
    draw_patch(ax, outline)
