"""Cines as NIfTI files in any folders: 4-D files, a 3-D file a frame, plain trees and trees in the manner of BIDS.

Source: yours. Licence: yours. Layout: `SRC/SUBJECT/…/any.nii[.gz]`, `sub-X/[ses-Y/]…` as in BIDS, or files side by side
named `SUBJECT_VIEW.nii.gz`; 3-D files of one folder that differ in a number are frames in its order, those that differ
in ED and ES the two frames of one cine, others cines of one frame (purpose.py; ED or ES where the name, `Phase` in the
JSON or `phase` says so). Views come from geometry where a short-axis stack is there, else from file or folder names, or
`views={file or folder: view}`. Times come from `pixdim` (the unit must make a human heart rate), or from a JSON of the
same name: FrameTimes and RRInterval in seconds, a row a slice or one for all. Labels: files called gt, seg, mask or
label, and those of whole numbers below 16, are left out, unless `labels={structure: code}` (`--label lv=3 …`) says what
their numbers mean; masks.py has the rule by which they find their images. Fills participants (from BIDS'
participants.tsv), with `labels` observer `manual`.

Known to be wrong with such files: sform against qform, units absent or wrong, spacing of zero repaired to 1 mm by
readers, gzip's checksum never compared, dcm2niix's -m n splitting a cine into 3-D files. RepetitionTime in a sidecar is
not the frame step of a cine and is never read.
"""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from cmrlib.cine import Cine
from cmrlib.cohort.files import read_tsv
from cmrlib.cohort.study import Study, label_folders, rejected_rows, subject_label
from cmrlib.datasets.finding import files_of, is_regular, mark_of
from cmrlib.datasets.frame_files import Found, from_frames, stem_of
from cmrlib.datasets.geometry import Frame, Stack
from cmrlib.datasets.masks import check_labels, is_mask, key_of, paired
from cmrlib.datasets.purpose import at_phase, check_phase
from cmrlib.datasets.views import check_views, name_views, view_in
from cmrlib.datasets.volumes import Damaged, cine_of, read_volume

DESCRIPTION = {"Name": "NIfTI", "License": "the source's own"}
_HEAD = re.compile(
    r"[_\-. ]+(?=(?:view|cine|4d|frame|sax?|lax?|short|long|[234].?c|two|three|four|e[ds](?![a-z])))", re.IGNORECASE
)
_NAMELESS = ("orientation_unknown", "sform_of_1mm", "sform_against_qform", "sform_against_pixdim")


def find(src, keep_names: bool = False) -> dict[str, dict]:
    """Subject label → {files, person: participants' columns}; see the module's docstring for what makes a subject.

    keep_names: a label is made of the subject's name also where that looks like an identifier.
    """
    src = Path(src)
    subjects = {}
    files = list(files_of(src))
    heads = {path.relative_to(src).parts[0] for path in files if len(path.relative_to(src).parts) > 1}
    alone = heads and all(view_in(head) for head in heads)  # folders named after views: one person
    for path in files:
        parts = path.relative_to(src).parts
        name = next((part[4:].partition("_")[0] for part in parts if re.match(r"sub-[A-Za-z0-9]", part)), "")
        if not name and parts[0] != "derivatives":
            name = (src.name if alone else parts[0]) if len(parts) > 1 else _HEAD.split(stem_of(path))[0]
        if name and (len(parts) > 1 or _is_nifti(path)):
            subjects.setdefault(name, []).append(path)
    subjects = {name: paths for name, paths in subjects.items() if any(map(_is_nifti, paths))}
    salt = None if keep_names else lambda name: subjects[name.name][0].read_bytes()
    labels = label_folders(sorted(subjects), salt)
    people = _people(src)
    return {
        label: {"files": tuple(subjects[name.name]), "person": people.get(name.name, {})}
        for label, name in labels.items()
    }


def _is_nifti(path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz"))


def _people(src) -> dict[str, dict]:
    """Columns of BIDS' participants.tsv that a cohort keeps, by subject; None where its rows contradict each other."""
    table = src / "participants.tsv"
    if not is_regular(table):
        return {}
    rows = read_tsv(table)
    if "participant_id" not in rows:
        raise ValueError(f"{table} lacks a column participant_id; expected tabs between cells")
    rows["participant_id"] = rows["participant_id"].astype(str).str.removeprefix("sub-")
    keep = [name for name in ("sex", "age", "height_m", "weight_kg", "group") if name in rows]
    groups = rows.groupby("participant_id")[keep]
    if unsure := groups.nunique().gt(1).any(axis=1).sum():
        print(f"{table.name}: rows of {unsure} subjects contradict each other; what they say is n/a", file=sys.stderr)
    return {
        name: {key: mine[key].dropna().iloc[0] if mine[key].nunique() == 1 else None for key in keep}
        for name, mine in groups
    }


def read(
    label: str, item: dict, views: dict | None = None, min_frames: int = 1, labels: dict | None = None, phase: str = ""
) -> Study:
    """One subject's files → its cines. views: {file or folder name: view}. min_frames: what has fewer is no cine.

    labels: {structure: code in the user's masks}. phase: ed or es, what stacks of one frame show where their names do
    not say. Raises ValueError where a mask does not fit its image or `labels`.
    """
    check_views(label, views or {})
    check_phase(label, phase)
    check_labels(label, labels or {})
    rejected, sources, masks = [], {}, {}
    whole, single = _volumes(item["files"], rejected, sources, masks if labels else None)
    found = [*whole, *from_frames(single, rejected)]
    for one in [one for one in found if len(one.volume.pixels) < min_frames]:
        rejected += [(mark, f"only {len(one.volume.pixels)} frames, no cine") for mark in one.marks]
        found.remove(one)
    found.sort(key=lambda one: str(one.path))
    masks = _by_image(masks, {key for one in found for key in one.places})
    cines, runs, manual, unpaired = [], {}, {}, set(masks)
    for one, (view, flags) in zip(found, _views(found, views or {})):
        session = _session(one.path)
        runs[session, view] = runs.get((session, view), 0) + 1
        cine = replace(_cine(label, one, view, flags), session=session, run=runs[session, view])
        cine = at_phase(cine, "" if one.phases else phase)
        drawn, used = paired(cine, one.places, {key: mask for key, (_, mask) in masks.items()}, labels or {})
        manual |= drawn
        unpaired -= set(used)
        cines.append(cine)
    rejected += [(masks[key][0], "a mask, and no image of its name in its folder") for key in unpaired]
    return Study(
        {"participant_id": label, "sex": None, "age": None, "group": None} | item["person"],
        cines,
        {"manual": manual},
        rejected=rejected_rows(label, rejected),
        sources=sources,
    )


def _session(path) -> str:
    return next((subject_label(part[4:]) for part in path.parts if re.match(r"ses-[A-Za-z0-9]", part)), "")


def _volumes(files, rejected, sources, masks=None):
    """4-D files, and single frames; what is neither goes to `rejected` as (digest, reason).

    masks: where segmentations go, key → (digest, volume); None to leave them out.
    """
    whole, single = [], []
    for path in sorted(files, key=lambda path: (not view_in(stem_of(path)), path)):  # of copies, one with a view
        if path.suffix.lower() in (".json", ".tsv"):
            continue
        mark = mark_of(path)
        mask = _is_nifti(path) and is_mask(stem_of(path))
        if mark in sources and not (mask and masks is not None):  # two frames may well have one mask
            rejected.append((mark, "the same file twice"))
            continue
        sources[mark] = str(path)
        if not _is_nifti(path):
            rejected.append((mark, "not a NIfTI file (.nii, .nii.gz)"))
        elif mask and masks is None:
            rejected.append((mark, "a segmentation by its name, no image; `labels` of the reader says what it shows"))
        else:
            try:
                volume, key = read_volume(path), key_of(path)
                by_values = _is_label_map(volume.pixels)
                if mask or (by_values and masks is not None):
                    masks[key] = mark, volume
                    continue
                if by_values:
                    why = "whole numbers below 16 only: a label map by its values, no image"
                    rejected.append((mark, f"{why}; `labels` of the reader says what it shows"))
                    continue
                one = Found(volume, path, (mark,), _sidecar(path), places={key: None})
                (whole if len(one.volume.pixels) > 1 else single).append(one)
            except Damaged as error:
                rejected.append((mark, str(error)))
    return whole, single


def _by_image(masks, images) -> dict:
    """Masks by the key of their image, which a word of the user's own may follow: `sa_ed_contour` of `sa_ed`."""
    keys = {}
    for folder, name in masks:
        image, _, word = name.rpartition("-")
        own = word.isalpha() and word not in ("ed", "es") and not view_in(word)
        alone = (folder, name) not in images and (folder, image) in images - masks.keys() - set(keys.values())
        keys[folder, name] = (folder, image) if own and alone else (folder, name)
    return {keys[key]: mask for key, mask in masks.items()}


def _is_label_map(pixels) -> bool:
    """Whether an image holds labels, whatever it is called: whole numbers below 16, and not only zeros."""
    return 1 <= pixels.max() < 16 and pixels.min() >= 0 and bool((pixels == np.rint(pixels)).all())


def _sidecar(path) -> dict:
    beside = path.with_name(stem_of(path) + ".json")
    try:
        side = json.loads(beside.read_text()) if is_regular(beside) else {}
        return side if isinstance(side, dict) else {}
    except (OSError, ValueError, RecursionError):
        return {}


# --- cines -----------------------------------------------------------------------------------------------------------


def _views(found, views):
    """(view, flags) of each; geometry counts among those whose orientation is believable."""
    stacks = [_stack(one) for one in found]
    believed = [n for n, one in enumerate(found) if not set(one.volume.flags) & set(_NAMELESS)]
    pixels = {id(stack): one.volume.pixels for stack, one in zip(stacks, found)}

    def slices_of(stack):
        return list(pixels[id(stack)].swapaxes(0, 1))

    named = dict(zip(believed, name_views([stacks[n] for n in believed], views, slices_of)))
    for n, stack in enumerate(stacks):
        if n not in named:
            named[n] = name_views([stack], views)[0]
    return [named[n] for n in range(len(found))]


def _stack(one: Found) -> Stack:
    """The volume as views.py looks at stacks: directions in LPS, names as description and folder."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ one.volume.affine
    directions = (lps[:3, :2] / np.linalg.norm(lps[:3, :2], axis=0)).T
    name, folder = re.sub(r"sub-[A-Za-z0-9]+_?", "", stem_of(one.path)), one.path.parent.name
    told = one.side.get("View") or (name if view_in(name) else folder)
    frame = Frame(
        None,
        one.volume.pixels.shape[2:],
        lps[:3, 3],
        directions,
        description=str(told),
        folder=f"{folder}/{one.path.name}/{stem_of(one.path)}",
    )
    slices = one.volume.pixels.shape[1]
    return Stack(((frame,),) * slices, one.volume.affine, None, None, np.zeros(slices))


def _cine(label, one: Found, view, view_flags) -> Cine:
    volume, slices, frames = one.volume, one.volume.pixels.shape[1], len(one.volume.pixels)
    times, rr, flags = _times(one, slices, frames)
    meta = {"missing": [[k, t] for k in range(slices) for t in one.missing]} if one.missing else {}
    return cine_of(
        volume,
        view,
        label,
        frame_times_ms=times,
        rr_ms=rr,
        flags=(*flags, *view_flags),
        meta=meta,
        **one.phases,
        frames_of=((0, 1), 0) if len(one.phases) == 2 else None,
    )


def _times(one: Found, slices, frames):
    """Frame times (slices, frames) and RR (slices,) in ms, by the sidecar, else by the header's step; and flags."""
    flags = list(one.volume.flags)
    if "FrameTimes" in one.side:
        times = _row_a_slice(one.side["FrameTimes"], (slices, frames))
        if times is not None and (np.diff(times, axis=1) > 0).all() and times.max() < 3000:
            rr = _row_a_slice(one.side.get("RRInterval"), (slices,))
            step = np.median(np.diff(times, axis=1), axis=1)
            flags = [flag for flag in flags if not flag.startswith("time_")]
            return times, step * frames if rr is None else rr, flags
        flags.append("sidecar_times_unusable")
    return *one.volume.timing, flags


def _row_a_slice(value, shape):
    """Seconds of a sidecar → ms of the shape given, one row standing for all slices; None where it does not fit."""
    try:
        ms = np.broadcast_to(1000 * np.array(value, float), shape).copy()
    except (TypeError, ValueError):
        return None
    return ms if (ms >= 0).all() else None  # None and NaN are not
