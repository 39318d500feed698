"""What is in a source before anything is converted: one row per cine that ingest would make, and what is left out."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from cmrlib.cohort.study import cine_row
from cmrlib.datasets.bounds import with_possible_values
from cmrlib.datasets.ingestion import found_by, other_kinds, reader_of, reason_of
from cmrlib.datasets.views import check_views

COLUMNS = [
    *("subject", "session", "content", "view", "slices", "frames", "files", "rows", "columns", "row_spacing_mm"),
    *("column_spacing_mm", "slice_distance_mm", "frame_step_ms", "rr_ms", "ordered_by", "flags", "reason"),
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
    keep_names: bool = False,
) -> pd.DataFrame:
    """One row per cine of a source, and per reason for what is left out: COLUMNS, of which unknown ones are missing.

    The source is read as `ingest` reads it, and nothing is written. content: cine, or left out, with the reason and
    the number of files. views: the user's words for descriptions and folders, as for ingest. paths: PRIVATE columns
    too (of DICOM), which may name people. thumbnails: a column of small images (rows, columns) uint8, of the middle
    slice's first frame. limit: the first so many subjects only. kind, keep_names: of ingest.
    Raises FileNotFoundError where there is no such folder, ValueError where it holds no file.
    """
    reader, rows = reader_of(kind), []
    if not (Path(src).is_dir() or (kind != "dicom" and Path(src).exists())):
        like = other_kinds(src, kind) if Path(src).exists() else ""
        raise FileNotFoundError(f"the source {src} is no folder; name the one that holds the {kind} data{like}")
    check_views("all", views or {})
    for label, item in list(found_by(reader, Path(src).resolve(), keep_names).items())[:limit]:
        rows += _rows(reader, label, item, views)
    if not rows:
        raise ValueError(
            f"{src} holds no {kind} data below its first-level folders: nothing to inspect{other_kinds(src, kind)}"
        )
    table = pd.DataFrame(rows, columns=COLUMNS + PRIVATE * paths + ["thumbnail"] * thumbnails)
    texts = ("session", "view", "ordered_by", "flags", "reason", *PRIVATE * paths)
    whole = ("slices", "frames", "rows", "columns", "files")
    return table.fillna(dict.fromkeys(texts, "")).astype(dict.fromkeys(whole, "Int64"))


def _rows(reader, label, item, views) -> list[dict]:
    """Rows of one subject."""
    subject = {"subject": label, "content": "left out"}
    try:
        study = with_possible_values(reader.read(label, item, **({"views": views} if views else {})))
    except Exception as error:
        return [subject | {"reason": reason_of(error)}]
    cines = [
        cine_row(cine)
        | {"subject": label, "content": "cine", "ordered_by": cine.meta.get("ordered_by")}
        | {"thumbnail": _small(cine.pixels[0, cine.slices // 2])}
        | study.origins.get(cine.name, {})
        for cine in study.cines
    ]
    root = getattr(item, "folder", item)  # of DICOM: a folder, or a part of one

    def folder_of(row):  # below the source, where it is known
        path = study.sources.get(row["digest"])
        known = path and isinstance(root, Path) and Path(path).is_relative_to(root)
        return str(Path(path).parent.relative_to(root.parent)) if known else ""

    left = Counter((row["reason"], folder_of(row)) for row in study.rejected)
    return cines + [
        subject | {"reason": why, "folder": folder, "files": count} for (why, folder), count in sorted(left.items())
    ]


def _small(image) -> np.ndarray:
    image = np.asarray(image, np.float32)
    stride = max(1, max(image.shape) // THUMBNAIL_PX)
    low, high = np.percentile(image, [1, 99.5])
    return (np.clip((image[::stride, ::stride] - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
