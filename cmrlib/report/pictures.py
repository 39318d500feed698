"""Pictures of a report: players and contour sheets of cines, curves, bull's eyes. Each is a dict for the page: kind,
caption, data (a data URI); of a player also frames and ms (length of its cycle)."""

import base64
import io

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image

from cmrlib import plots
from cmrlib.cine.anatomy import MITRAL_POINTS, NAMES
from cmrlib.measures.crossings import LEAST_AGREEMENT, agreement
from cmrlib.measures.curves import ed_es_from_curve
from cmrlib.measures.names import AHA_SEGMENTS
from cmrlib.measures.valve import point_array

PLAYER_PX, SHEET_PX = 300, 220
"""Heights of a player and of one picture of a contour sheet."""
WIDEST_PX = 16000
"""Of a strip of frames; browsers refuse wider pictures."""


def pictures_of(found) -> list[dict]:
    """All pictures of `Findings`, in the order of the page."""
    phases = phases_of(found)
    made, cines = [], list(found.cohort.cines.sort_values("view").itertuples())
    made += _contour_sheets(found, phases)
    for row in cines:
        made += _players(found, row)
    made += _crossings(found) + _curves(found, phases) + _bullseyes(found)
    for row in cines:
        made += _mitral_points(found.cohort, row)
    return made


def phases_of(found) -> dict[tuple[str, str], tuple[int, int]]:
    """(view, structure) → its own ED and ES frame: largest and smallest volume, area in a long axis. The LV in the
    short axis has those of the measures; of an atrium ED is where it is largest."""
    chosen = {}
    for (view, structure), curve in found.curves.groupby(["view", "structure"]):
        curve = curve.sort_values("frame")
        values = curve["volume_ml" if view in ("sax", "2ch+4ch") else "area_mm2"].to_numpy(float)
        try:
            chosen[view, structure] = ed_es_from_curve(values)
        except ValueError:  # too few of them, or all the same
            continue
    if found.measured is not None and found.measured[["ed_frame", "es_frame"]].notna().all(axis=None):
        chosen["sax", "lv"] = tuple(int(found.measured[name].iloc[0]) for name in ("ed_frame", "es_frame"))
    return chosen


# --- cines -----------------------------------------------------------------------------------------------------------


def _contour_sheets(found, phases) -> list[dict]:
    """Every slice of the stack at ED above the same at ES, and every long axis likewise."""
    sheets = []
    if "sax" in found.views:
        cine, annotation = found.views["sax"]
        ed, es = phases.get(("sax", "lv"), (cine.ed, cine.es))
        both = [(name, t) for name, t in (("ED", ed), ("ES", es)) if t is not None]
        box = plots.heart_box(annotation.mask, 8)
        columns = [[(f"{name} slice {k + 1}", cine, t, k, annotation, box) for name, t in both] for k in _drawn(found)]
        if both and columns:
            told = ", ".join(f"{name} is frame {t + 1}" for name, t in both)
            sheets.append((columns, f"short axis, every slice with an outline and one beyond; {told} of {cine.frames}"))
    columns = []
    for view, (cine, annotation) in found.views.items():
        if view != "sax" and (view, "lv") in phases:
            box = plots.heart_box(annotation.mask, 8)
            frames = zip(("ED", "ES"), phases[view, "lv"])
            columns.append([(f"{view.upper()} {name}", cine, t, 0, annotation, box) for name, t in frames])
    if columns:
        sheets.append((columns, "long axes where the outlined LV is largest (ED) and smallest (ES)"))
    return [_picture(_sheet(columns), "sheet", caption) for columns, caption in sheets]


def _drawn(found) -> range:
    """Slices of the stack from the first to the last outlined ever, and one more at both ends."""
    mask = found.views["sax"][1].mask
    held = np.flatnonzero(((mask > 0) & (mask != 255)).any((0, 2, 3)))
    return range(max(0, held[0] - 1), min(mask.shape[1], held[-1] + 2)) if len(held) else range(0)


def _sheet(columns, most: int = 7):
    """Pictures (title, cine, frame, slice, annotation, box) of each column above each other, in lines of columns."""
    per_line = -(-len(columns) // -(-len(columns) // most))
    drawn = [
        np.concatenate(
            [
                _titled(plots.drawn_frame(cine, t, k, a.mask[t, k], SHEET_PX, box), title)
                for title, cine, t, k, a, box in column
            ]
        )
        for column in columns
    ]
    width = max(one.shape[1] for one in drawn)
    drawn = [np.pad(one, ((4, 4), (0, width - one.shape[1] + 4), (0, 0)), constant_values=255) for one in drawn]
    blank = np.full_like(drawn[0], 255)
    lines = [drawn[n : n + per_line] for n in range(0, len(drawn), per_line)]
    return np.concatenate([np.concatenate(line + [blank] * (per_line - len(line)), 1) for line in lines])


def _titled(rgb, title):
    place = (5, rgb.shape[0] - 6)
    for colour, thickness in ((0, 3), (255, 1)):
        cv2.putText(rgb, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (colour,) * 3, thickness, cv2.LINE_AA)
    return rgb


def _players(found, row) -> list[dict]:
    """One cine in motion with its outlines; base, middle and apex of a stack."""
    cine, (outlined, annotation) = found.cohort.cine(row.cine), found.views.get(row.view, (None, None))
    mask = annotation.mask if outlined is not None and outlined.name == row.cine else None
    levels, box = {"": 0}, None if mask is None else plots.heart_box(mask)
    if cine.slices > 1:
        shown = plots.base_mid_apex(mask[cine.ed or 0]) if mask is not None else None
        levels = dict(zip(("base", "middle", "apex"), shown)) if shown else {"middle": cine.slices // 2}
    made = []
    for level, k in levels.items():
        frames = [
            plots.drawn_frame(cine, t, k, None if mask is None else mask[t, k], PLAYER_PX, box)
            for t in range(cine.frames)
        ]
        strip = np.concatenate(frames[:: -(-len(frames) * frames[0].shape[1] // WIDEST_PX)], 1)
        step = cine.frame_step_ms if np.isfinite(cine.frame_step_ms) else 40
        still = {"width": frames[0].shape[1], "height": PLAYER_PX, "frames": strip.shape[1] // frames[0].shape[1]}
        caption = f"{cine.view.upper()} {level}".strip()
        made.append(_picture(strip, "cine", caption) | still | {"ms": round(step * cine.frames)})
    return made


def _mitral_points(cohort, row) -> list[dict]:
    if "mvnet" not in cohort.observers or not cohort.observer("mvnet").has(row.cine, "points.tsv"):
        return []
    cine = cohort.cine(row.cine)
    points = point_array(cohort.observer("mvnet").points(row.cine), cine.view, cine.frames)
    names = " and ".join(MITRAL_POINTS[cine.view])
    return [_plot(plots.points_sheet(cine, points), f"{cine.view.upper()}: mitral points, {names} (frames from 0)")]


# --- figures ---------------------------------------------------------------------------------------------------------


def _crossings(found) -> list[dict]:
    """Long axes with what the short axis has where the planes cross."""
    agreed = {view: agreement(lines) for view, lines in found.crossings.items() if lines}
    if not agreed:
        return []
    figure = plots.crossing_sheet(found.views, {view: found.crossings[view] for view in agreed}, agreed)
    off = [view.upper() for view, value in agreed.items() if not value >= LEAST_AGREEMENT]
    told = f"; {' and '.join(off)} below {LEAST_AGREEMENT}: its measures are not reported" if off else ""
    return [_plot(figure, f"the short axis (bars) where it crosses the long axes (outlines), ED{told}")]


def _curves(found, phases) -> list[dict]:
    """Volumes with the ED and ES of each chamber, but for those that are not reported; motion of the mitral valve."""
    made, table = [], found.curves.dropna(subset=["volume_ml"])
    view = "sax" if "sax" in set(table["view"]) else "2ch+4ch"
    refused, withheld = (set(found.measures.loc[found.measures[why], "measure"]) for why in ("refused", "withheld"))
    hidden = {
        name
        for name in ("lv", "rv")
        if view == "sax" and (f"{name}edv_ml" in refused or {f"{name}edv_ml", f"{name}esv_ml"} & withheld)
    }
    table = table[(table["view"] == view) & ~table["structure"].isin({"myo"} | hidden)].assign(phase="")
    for structure in set(table["structure"]):
        for phase, frame in zip(("ED", "ES"), phases.get((view, structure), ())):
            table.loc[(table["structure"] == structure) & (table["frame"] == frame), "phase"] = phase
    if len(table):
        timed = table["time_ms"].notna().all()
        table = table if timed else table.assign(time_ms=table["frame"] + 1)
        figure, ax = plt.subplots(figsize=(5.2, 3.2))
        plots.volume_curves(table, ax).legend(frameon=False, fontsize=8)
        ax.set_xlabel("time (ms)" if timed else "frame (times are unknown)")
        left = "".join(f"; {NAMES[structure]} is not reported" for structure in sorted(hidden))
        made.append(_plot(figure, f"volumes through the cycle, each chamber with its own ED and ES{left}"))
    if len(found.motion):
        made.append(_plot(plots.motion_curves(found.motion), "motion of the mitral valve"))
    return made


def _bullseyes(found) -> list[dict]:
    """Thickness at ED and ES, and thickening, of the AHA's segments."""
    if found.measured is None:
        return []
    made, row = [], found.measured.iloc[0]
    for names, label, limits, caption in (
        ({"ED": "wall_ed_{:02d}_mm", "ES": "wall_es_{:02d}_mm"}, "mm", (4, 16), "wall thickness"),
        ({"ED to ES": "thickening_{:02d}_pct"}, "%", (0, 100), "wall thickening"),
    ):
        table = pd.DataFrame(
            {title: [row.get(name.format(n), np.nan) for n in AHA_SEGMENTS] for title, name in names.items()},
            index=list(AHA_SEGMENTS),
        )
        if table.notna().any(axis=None):
            made.append(
                _plot(plots.bullseye(table, f"{caption} ({label})", limits), f"{caption}, AHA segments 1 to 16")
            )
    return made


def _plot(figure, caption) -> dict:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return {"kind": "plot", "caption": caption, "data": _uri("png", file.getvalue())}


def _picture(rgb, kind, caption) -> dict:
    """JPEG without subsampling of colours, which would blur the outlines."""
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=75, subsampling=0)
    return {"kind": kind, "caption": caption, "data": _uri("jpeg", file.getvalue())}


def _uri(kind, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
