"""What is in a source before anything is converted: a row a series, cine or left out."""

from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from cmrlib.datasets.dicom import TWICE, headers, named_stacks, studies_of
from cmrlib.datasets.geometry import Stack, assemble
from cmrlib.datasets.header import quiet, text
from cmrlib.datasets.images import pixels
from cmrlib.datasets.ingestion import reason_of
from cmrlib.datasets.kinds import reader_of
from cmrlib.datasets.views import check_views

COLUMNS = [
    "subject",
    "session",
    "content",
    "view",
    "slices",
    "frames",
    "files",
    "rows",
    "columns",
    "row_spacing_mm",
    "column_spacing_mm",
    "slice_distance_mm",
    "frame_step_ms",
    "rr_ms",
    "ordered_by",
    "flags",
    "reason",
]
PRIVATE = ["description", "folder"]
THUMBNAIL_PX = 96


def inspect(
    src,
    views: dict | None = None,
    paths: bool = False,
    thumbnails: bool = False,
    limit: int | None = None,
    kind: str = "dicom",
) -> pd.DataFrame:
    """One row a series of a source, read and never written: COLUMNS, of which unknown ones are missing.

    content: cine, or left out, with the reason and the number of files. views: the user's words for descriptions and
    folders, as for ingest. paths: PRIVATE columns too, which may name people. thumbnails: a column of small images
    (rows, columns) uint8, of the middle slice's first frame, None where it cannot be decoded. limit: the first so many
    subjects only. kind: of ingest; other files than DICOM are read whole, and paths are not told.
    Raises FileNotFoundError where there is no such folder, ValueError where it holds no file.
    """
    reader, rows = reader_of(kind), []
    if not (Path(src).is_dir() or (kind != "dicom" and Path(src).exists())):
        raise FileNotFoundError(f"the source {src} is no folder; name the one that holds the {kind} data")
    check_views("all", views or {})
    with quiet():
        for label, item in list(reader.find(Path(src).resolve()).items())[:limit]:
            rows += (
                _subject(label, item, views or {}, thumbnails)
                if kind == "dicom"
                else _read_whole(reader, label, item, views, thumbnails)
            )
    if not rows:
        raise ValueError(f"{src} holds no {kind} data below its first-level folders: nothing to inspect")
    wanted = COLUMNS + PRIVATE * paths + ["thumbnail"] * thumbnails
    text = ("session", "view", "ordered_by", "flags", *PRIVATE * paths)
    return (
        pd.DataFrame(rows, columns=wanted)
        .fillna(dict.fromkeys(text, ""))
        .astype(dict.fromkeys(("slices", "frames", "rows", "columns", "files"), "Int64"))
    )


def _subject(label, item, views, thumbnails) -> list[dict]:
    frames, refused, sources = headers(item, views)
    patients = len({text(frame.source.header, "PatientID") for frame in frames})
    closed, twice = (
        [why for mark, why in refused if test(mark, why)]
        for test in (lambda mark, why: mark == "n/a", lambda mark, why: why == TWICE)
    )
    rows, left, refused = [], {}, {mark: why for mark, why in refused if why != TWICE and mark != "n/a"}
    studies = studies_of(frames)
    for number, study in enumerate(studies, 1):
        stacks, gone = assemble(study)
        parts, computed = named_stacks(stacks, views, partial(pixels, keep=True))
        refused |= {frame.source.mark: why for frame, why in gone + computed}
        session = str(number) if len(studies) > 1 else ""
        rows += [_row(label, session, *part, thumbnails) for part in parts]
    root = getattr(item, "folder", item)
    paths = {mark: Path(path).parent for mark, path in sources.items()}
    for mark, why in refused.items():
        folder = str(paths[mark].relative_to(root.parent))
        left.setdefault((why, folder), set()).add(mark)
    rows += [
        {"subject": label, "content": "left out", "reason": found[0], "files": len(found)}
        for found in (twice, closed)
        if found
    ]
    for (why, folder), marks in sorted(left.items()):
        rows.append({"subject": label, "content": "left out", "reason": why, "files": len(marks), "folder": folder})
    if patients > 1:
        for row in rows:
            row["flags"] = ";".join(filter(None, [row.get("flags", ""), "several_patients"]))
    return rows


def _row(label, session, stack: Stack, view, flags, thumbnails) -> dict:
    first, affine = stack.first, stack.affine
    spacing = dict.fromkeys(("row_spacing_mm", "column_spacing_mm", "slice_distance_mm"))
    if first.spacing_mm:
        distance = abs(np.linalg.det(affine[:3, :3])) / np.prod(first.spacing_mm) if len(stack.grid) > 1 else None
        spacing = dict(zip(spacing, (*first.spacing_mm, distance)))
    times = stack.frame_times_ms
    return spacing | {
        "subject": label,
        "session": session,
        "content": "cine",
        "view": view,
        "slices": len(stack.grid),
        "frames": len(stack.grid[0]),
        "files": len({frame.source.mark for frame in stack.frames}),
        "rows": first.shape[0],
        "columns": first.shape[1],
        "ordered_by": stack.meta["ordered_by"],
        "frame_step_ms": None if times is None else float(np.nanmedian(np.diff(times, axis=1))),
        "rr_ms": None if stack.rr_ms is None else float(np.nanmedian(stack.rr_ms)),
        "flags": ";".join([*stack.flags, *flags]),
        "reason": "",
        "description": first.description,
        "folder": first.folder,
        "thumbnail": _thumbnail(stack) if thumbnails else None,
    }


def _read_whole(reader, label, item, views, thumbnails) -> list[dict]:
    """Rows of one subject by the cines that its reader makes."""
    try:
        study = reader.read(label, item, **({"views": views} if views else {}))
    except Exception as error:
        return [{"subject": label, "content": "left out", "reason": reason_of(error), "files": pd.NA}]
    left = Counter(row["reason"] for row in study.rejected)
    return [_cine_row(cine, thumbnails) for cine in study.cines] + [
        {"subject": label, "content": "left out", "reason": why, "files": n} for why, n in sorted(left.items())
    ]


def _cine_row(cine, thumbnails) -> dict:
    spacing = cine.spacing_mm if cine.spacing_known else (None,) * 3
    frames, slices, rows, columns = cine.pixels.shape
    return {
        "subject": cine.subject,
        "session": cine.session,
        "content": "cine",
        "view": cine.view,
        "slices": slices,
        "frames": frames,
        "rows": rows,
        "columns": columns,
        "row_spacing_mm": spacing[1],
        "column_spacing_mm": spacing[2],
        "slice_distance_mm": spacing[0] if slices > 1 else None,
        "frame_step_ms": cine.frame_step_ms,
        "rr_ms": None if cine.rr_ms is None else np.nanmedian(cine.rr_ms),
        "ordered_by": cine.meta.get("ordered_by", ""),
        "flags": ";".join(cine.flags),
        "reason": "",
        "thumbnail": _small(cine.pixels[0, slices // 2]) if thumbnails else None,
    }


def _thumbnail(stack):
    row = stack.grid[len(stack.grid) // 2]
    try:
        return _small(pixels(next(frame for frame in row if frame is not None), keep=True))
    except ValueError:
        return None


def _small(image):
    image = np.asarray(image, np.float32)
    stride = max(1, max(image.shape) // THUMBNAIL_PX)
    low, high = np.percentile(image, [1, 99.5])
    return (np.clip((image[::stride, ::stride] - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
