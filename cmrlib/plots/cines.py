"""Pictures of hearts: slices, stacks, animations, with outlines; thumbnails of what was found in a folder."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from PIL import Image

from cmrlib.cine import Cine
from cmrlib.cine.anatomy import COLOURS, NAMES, NOT_ANNOTATED, STRUCTURES
from cmrlib.plots.elements import chunks, image_grid, mark_synthetic

LEVELS = ["base", "mid", "apex"]


def still(cine: Cine, t: int, k: int = 0, mask=None) -> dict:
    """One image of a cine as it is drawn: pixels, their window and aspect, and a mask (rows, columns) or None."""
    aspect = cine.spacing_mm[1] / cine.spacing_mm[2] if cine.spacing_known else 1
    return {
        "pixels": np.array(cine.pixels[t, k]),
        "window": cine.intensity_window(1, 99.5),
        "aspect": float(aspect),
        "mask": None if mask is None else np.array(mask, np.uint8),
    }


def show_still(ax, picture: dict, title: str = "", outlined: bool = True):
    """A picture of `still` in grey, its structures as filled contours where `outlined`."""
    low, high = picture["window"]
    ax.imshow(picture["pixels"], cmap="gray", vmin=low, vmax=high, aspect=picture["aspect"], interpolation="bilinear")
    mask = picture["mask"] if outlined else None
    for name, code in STRUCTURES.items():
        if mask is not None and (mask == code).any():
            ax.contourf(mask == code, levels=[0.5, 1.5], colors=[COLOURS[name]], alpha=0.25)
            ax.contour(mask == code, levels=[0.5], colors=[COLOURS[name]], linewidths=1.2)
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=9)
    sns.despine(ax=ax, left=True, bottom=True)
    return ax


def show_slice(ax, cine: Cine, t: int, k: int, mask=None, reference=None, box=None, title=""):
    """One slice in grey; `mask` (rows, columns) as filled contours, `reference` as dashed white ones.

    box: (row0, row1, column0, column1) to look at. Pixels are drawn with their true aspect.
    """
    show_still(ax, still(cine, t, k, mask), title)
    for code in STRUCTURES.values() if reference is not None else ():
        if (reference == code).any():
            ax.contour(reference == code, levels=[0.5], colors=["white"], linewidths=0.9, linestyles="--")
    if box is not None:
        ax.set(xlim=(box[2] - 0.5, box[3] + 0.5), ylim=(box[1] + 0.5, box[0] - 0.5))
    return ax


def outline_sheet(pictures: dict, synthetic: bool):
    """CUSSP's figures 2 and 6: images above, the same with outlines below; pictures: title → `still`."""
    above = [(title, partial(show_still, picture=one, outlined=False)) for title, one in pictures.items()]
    below = [("", partial(show_still, picture=one)) for one in pictures.values()]
    figure, _ = image_grid([above, below], (2.9, 2.95))
    _structure_legend(figure, *(picture["mask"] for picture in pictures.values()))
    return mark_synthetic(figure, synthetic)


def heart_box(mask, margin: int = 20):
    """(row0, row1, column0, column1) around all structures of (…, rows, columns), None where there are none."""
    rows, columns = np.nonzero(((mask > 0) & (mask != NOT_ANNOTATED)).reshape(-1, *mask.shape[-2:]).any(0))
    if not len(rows):
        return None
    sides = ((one.min() - margin, one.max() + margin, n - 1) for one, n in zip((rows, columns), mask.shape[-2:]))
    return tuple(edge for low, high, last in sides for edge in (max(0, low), min(last, high)))


def base_mid_apex(mask, structure: str = "lv"):
    """Three slice numbers at 15, 50 and 85 % of the extent of a structure in (slices, rows, columns).

    Base first where the cavity there is the larger; thirds of the stack where the structure is absent.
    """
    found = np.flatnonzero((mask == STRUCTURES[structure]).any((1, 2)))
    found = found if len(found) else np.arange(len(mask))
    picks = [int(found[round(q * (len(found) - 1))]) for q in (0.15, 0.5, 0.85)]
    areas = [(mask[k] == STRUCTURES[structure]).sum() for k in picks]
    return picks if areas[0] >= areas[2] else picks[::-1]


def _levels(cine: Cine, mask=None) -> dict[str, int]:
    """Name → slice to show of one frame: base, mid and apex of a stack, "" of a long-axis view."""
    if cine.slices == 1:
        return {"": 0}
    return dict(zip(LEVELS, base_mid_apex(np.zeros(cine.pixels.shape[1:]) if mask is None else mask)))


def stack_picture(cine: Cine, mask=None, reference=None, frames=None, title=""):
    """Rows ED and ES, columns base, mid, apex (long axis: one column)."""
    frames = frames or {"ED": cine.ed or 0, "ES": cine.es if cine.es is not None else cine.frames // 3}
    guide = mask if mask is not None else reference
    picks = _levels(cine, None if guide is None else guide[next(iter(frames.values()))])
    box = None if guide is None else heart_box(guide)
    rows = []
    for phase, t in frames.items():
        rows.append([])
        for level, k in picks.items():
            drawn = {"mask": None if mask is None else mask[t, k]}
            drawn["reference"] = None if reference is None else reference[t, k]
            place = partial(show_slice, cine=cine, t=t, k=k, box=box, **drawn)
            rows[-1].append((f"{phase}, {level or cine.view}", place))
    figure, _ = image_grid(rows, (2.6, 2.7), title=title)
    _structure_legend(figure, mask, reference, reference=reference is not None)
    return figure


def examination_row(cines: dict):
    """A whole examination at end-diastole in one row: the stack at base, mid and apex, then the long-axis views.

    cines: view → (cine, mask (frames, slices, rows, columns) or None). Where there are masks the pictures are squares
    of one size in mm around what is outlined.
    """
    shown = []
    for view, (cine, mask) in cines.items():
        t = cine.ed or 0
        box = None if mask is None or not cine.spacing_known else heart_box(mask[t], 8)
        for level, k in _levels(cine, None if mask is None else mask[t]).items():
            drawn = None if mask is None else mask[t, k]
            shown.append((f"{view.upper()} {level}".strip(), {"cine": cine, "t": t, "k": k, "mask": drawn}, box))
    sides = [max(np.diff(box)[[0, 2]] * one["cine"].spacing_mm[1:]) for _, one, box in shown if box]
    places = [
        (title, partial(show_slice, **one, box=_square(box, max(sides), one["cine"].spacing_mm) if box else None))
        for title, one, box in shown
    ]
    figure, axes = image_grid([places], (2.2, 2.6))
    for ax in axes[0]:
        ax.set_facecolor("black")
    _structure_legend(figure, *(one["mask"] for _, one, _ in shown))
    return figure


def crossing_sheet(views: dict, lines: dict, agreements: dict[str, float]):
    """Each long axis at ED with its outlines, and across it what the short axis has on the lines that both share: bars
    and outlines of one colour should end at the same place. Title: Dice of the LV cavity along all lines.

    views: view → (cine, annotation). lines: view → its `measures.crossings`. agreements: view → `agreement`.
    """
    row, ed = [], views["sax"][0].ed or 0
    for view, found in lines.items():
        cine, annotation = views[view]
        place = partial(_crossed, cine=cine, mask=annotation.mask, lines=found, ed=ed)
        row.append((f"{view.upper()}: Dice {agreements[view]:.2f}", place))
    figure, _ = image_grid([row], (2.9, 3.0))
    _structure_legend(figure, *(views[view][1].mask for view in lines))
    return figure


def _crossed(ax, cine, mask, lines, ed):
    t = cine.ed or 0
    show_slice(ax, cine, t, 0, mask[t, 0], box=heart_box(mask[t]))
    for line in lines:
        labels = line.short()[line.frames.index(ed) if ed in line.frames else 0]
        for name in ("lv", "myo", "rv"):
            points = np.where((labels == STRUCTURES[name])[:, None], line.long_px, np.nan)
            ax.plot(*points.T, color=COLOURS[name], lw=2.4, solid_capstyle="butt")


def _square(box, side_mm, spacing_mm):
    """The box (row0, row1, column0, column1) of this size around the middle of another one."""
    middle, half = np.mean(np.reshape(box, (2, 2)), axis=1), side_mm / np.array(spacing_mm[1:]) / 2
    return tuple(np.stack([middle - half, middle + half], axis=1).ravel())


def _structure_legend(figure, *masks, reference: bool = False):
    """Names of the structures drawn, beside their colours, below the pictures."""
    drawn = [s for s, code in STRUCTURES.items() if any(m is not None and (m == code).any() for m in masks)]
    handles = [Line2D([], [], color=COLOURS[s], lw=4, alpha=0.6, label=NAMES[s]) for s in drawn]
    handles += [Line2D([], [], color="grey", ls="--", label="reference")] if reference else []
    if handles:
        figure.legend(handles=handles, loc="outside lower left", ncols=4, frameon=False, fontsize=8)


def drawn_frame(cine: Cine, t: int, k: int = 0, mask=None, height: int = 256, box=None) -> np.ndarray:
    """One image as pixels of the screen, (height, width, 3) uint8, with the outlines of `mask` (rows, columns) drawn at
    that resolution. box: (row0, row1, column0, column1) to look at, of `heart_box`."""
    low, high = cine.intensity_window(1, 99.5)
    window = np.s_[box[0] : box[1] + 1, box[2] : box[3] + 1] if box else np.s_[:, :]
    pixels = cine.pixels[t, k][window].astype(np.float32)
    aspect = cine.spacing_mm[1] / cine.spacing_mm[2] if cine.spacing_known else 1
    scale = height / len(pixels)
    size = (round(pixels.shape[1] / aspect * scale), height)
    grey = np.clip((cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR) - low) / (high - low), 0, 1)
    rgb = np.repeat((255 * grey).astype(np.uint8)[..., None], 3, 2)
    for name, code in reversed(STRUCTURES.items()) if mask is not None else ():  # a cavity's outline over its wall's
        region = (np.asarray(mask)[window] == code).astype(np.float32)
        if region.any():
            smooth = cv2.GaussianBlur(cv2.resize(region, size, interpolation=cv2.INTER_LINEAR), (0, 0), 0.5 * scale)
            lines, _ = cv2.findContours((smooth >= 0.5).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
            colour = tuple(round(255 * channel) for channel in to_rgb(COLOURS[name]))
            cv2.drawContours(rgb, lines, -1, colour, max(1, round(height / 140)), cv2.LINE_AA)
    return rgb


def animate(cine: Cine, path, k: int | None = None, mask=None, height: int = 256, box=None):
    """One slice through the cycle as a GIF or WebP in real time (40 ms a frame where times are unknown); returns the
    path. mask: (frames, slices, rows, columns). box: of `heart_box`."""
    k = cine.slices // 2 if k is None else k
    masks = [None] * cine.frames if mask is None else mask[:, k]
    return save_animation([drawn_frame(cine, t, k, masks[t], height, box) for t in range(cine.frames)], cine, path)


def save_animation(frames, cine: Cine, path):
    """Pictures (rows, columns, 3) of a cine as a GIF or WebP in real time; returns the path."""
    step = cine.frame_step_ms if np.isfinite(cine.frame_step_ms) else 40
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    first, *others = [Image.fromarray(frame) for frame in frames]
    first.save(path, save_all=True, append_images=others, duration=max(20, round(step)), loop=0)
    return path


def phase_sheet(cines: dict[str, Cine], k: int | None = 0):
    """Several hearts beside each other, ED above ES; cines: title → cine, k: slice, None for the middle one."""

    def place(title, cine, phase):
        shown = cine.slices // 2 if k is None else min(k, cine.slices - 1)
        return f"{title}, {phase}", partial(show_slice, cine=cine, t=getattr(cine, phase.lower()) or 0, k=shown)

    return image_grid([[place(*one, phase) for one in cines.items()] for phase in ("ED", "ES")], (2.1, 2.2))[0]


def thumbnails(table: pd.DataFrame, columns: int = 6):
    """One small picture per cine of `datasets.inspect(src, thumbnails=True)`: its row, view, slices × frames.

    Raises ValueError where the table has no cines.
    """
    cines = table[table["content"] == "cine"]
    if cines.empty or "thumbnail" not in table:
        raise ValueError("no thumbnail to draw: the table needs cines, and thumbnails=True when it was made")
    places = []
    for n, row in cines.iterrows():
        flag = " ⚑" if row["flags"] else ""
        places.append((f"{n} · {row['view']} · {row['slices']} × {row['frames']}{flag}", partial(_thumbnail, row=row)))
    title = "⚑ has flags" if cines["flags"].any() else ""
    return image_grid(chunks(places, columns), (1.9, 2.25), title=title)[0]


def _thumbnail(ax, row):
    aspect = row["row_spacing_mm"] / row["column_spacing_mm"] if pd.notna(row["row_spacing_mm"]) else 1
    ax.imshow(row["thumbnail"], cmap="gray", vmin=0, vmax=255, aspect=aspect)
