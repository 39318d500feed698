"""A folder of DICOM files as it leaves a scanner or PACS: MR cines, any nesting, any file names.

Source: yours. Licence: the source's own. Layout: `SRC/PATIENT/…/any file`, one subject a first-level folder; a source
that is one folder of files, or of series of one study, is one subject, or one a patient where headers name several (see
finding.py). Several studies of a subject become sessions. Classic images, a file a frame, and enhanced multi-frame
files (see images.py), with or without preamble. Labels: none. Fills participants (sex, age, height, weight) and, in
each cine's sidecar, vendor, field strength and the header fields that ordered its frames. Views are named as views.py
says; `views={series or folder: view}` is the user's word.

Known to be wrong with such data: UIDs that differ in every file, absent instance numbers, file order that is not time
order, trigger times that are none, SliceLocation that is no distance, the same slice twice (order.py has the rule),
other images of the examination (purpose.py), images missing. Files that are no image of a cine, or cannot be decoded,
are listed as rejected; a hole in a cine stays black, without time, and flagged. Names, UIDs, dates, descriptions and
paths are read for sorting only and never written; but subject labels come from folder names. Those that look like
identifiers (six or more digits, a date, a name beside digits) become hashes, unless `keep_names` says otherwise: rename
folders that are called after people without a digit.
"""

from functools import cache
from pathlib import Path

import numpy as np

from cmrlib.cine import Cine
from cmrlib.cohort.files import short_digest
from cmrlib.cohort.study import Study, rejected_rows
from cmrlib.datasets.decoding import pixels
from cmrlib.datasets.finding import FileSubset, content_of, find, mark_of, walk
from cmrlib.datasets.geometry import Stack, assemble
from cmrlib.datasets.header import Refused, parsed, starts_as_dicom, suppress_warnings, text
from cmrlib.datasets.images import frames_of, participant, reason, scanner
from cmrlib.datasets.order import Frame, without_copies
from cmrlib.datasets.purpose import at_phase, check_phase, no_stack
from cmrlib.datasets.qc import coverage_flags
from cmrlib.datasets.views import check_views, name_views, repeated_beside

__all__ = ["DESCRIPTION", "find", "read"]

DESCRIPTION = {"Name": "DICOM", "License": "the source's own"}
TWICE = "the same file twice"


def read(
    label: str, folder: Path | FileSubset, views: dict | None = None, min_frames: int = 2, phase: str = ""
) -> Study:
    """One folder, or one patient's part of it → the cines, whatever the files are called.

    views: {series description or folder name: view}. min_frames: what has fewer frames is no cine; with 1, short-axis
    stacks of single images are taken too (purpose.py). phase: ed or es, what these show.
    """
    check_views(label, views or {})
    check_phase(label, phase)
    with suppress_warnings():
        frames, refused, sources = headers(folder, views or {})
        check_one_person(label, [frame.source.file.header for frame in frames])
        cines, left_out, origins = cines_of(label, frames, views or {}, min_frames, phase)
        person = participant(frames[0].source.header if frames else {})
    rejected = rejected_rows(label, [*refused, *set(left_out)])  # of a multi-frame file's frames one row a reason
    return Study({"participant_id": label} | person, cines, rejected=rejected, sources=sources, origins=origins)


def check_one_person(label, headers):
    """Raise ValueError where headers name several people. Sex and date of birth may be missing from some of them."""
    for keyword, name, unknown in (
        ("PatientID", "patient numbers", set()),
        *([] if any(text(header, "PatientID") for header in headers) else [("PatientName", "patients", {""})]),
        ("PatientBirthDate", "dates of birth", {""}),
        ("PatientSex", "sexes", {"", "O"}),
    ):
        if len(found := {text(header, keyword) for header in headers} - unknown) > 1:
            raise ValueError(
                f"sub-{label}: images of several patients in one folder: {len(found)} {name} in their headers; "
                "give each a folder"
            )


def headers(folder, views=()) -> tuple[list[Frame], list[tuple[str, str]], dict]:
    """Frames with their bytes, (digest, reason) of refused files, and digest → path."""
    frames, refused, sources = [], [], {}
    named, root = {name.lower() for name in views}, getattr(folder, "folder", folder)
    where = cache(lambda parent: str(parent.relative_to(root.parent)))
    for path, why in walk(folder):
        if why:
            refused.append(("n/a", why))
            continue
        try:
            content, mark = _content(path)
        except (OSError, Refused) as error:
            why = str(error) if isinstance(error, Refused) else f"file cannot be opened ({type(error).__name__})"
            refused.append(("n/a", why))
            continue
        if mark in sources:
            refused.append((mark, TWICE))
            continue
        sources[mark] = str(path)
        try:
            good, bad = frames_of(parsed(content), mark, where(path.parent), path.name, named)
            frames += good
            refused += [(mark, why) for why in bad]
        except Exception as error:
            refused.append((mark, reason(error)))
    frames, copies = distinct(frames)
    return frames, refused + copies, sources


def distinct(frames) -> tuple[list[Frame], list[tuple[str, str]]]:
    """Frames without further copies of one instance, and (digest, reason) of these."""
    copies = []

    def same_pixels(*two):
        try:
            return np.array_equal(*(pixels(frame, keep=True) for frame in two))
        except Refused:
            return False

    frames = without_copies(frames, same_pixels, copies)
    return frames, [(frame.source.mark, why) for frame, why in copies]


def _content(path) -> tuple[bytes, str]:
    """A file's bytes and digest; of what cannot be DICOM the first bytes only. Raises Refused where it is too large."""
    with path.open("rb", buffering=0) as file:
        first = file.read(132)
        if first and not starts_as_dicom(first):
            return first, mark_of(path)
    content = content_of(path)
    return content, short_digest(content)


def cines_of(label: str, frames: list[Frame], views: dict, min_frames: int = 2, phase: str = ""):
    """All cines in one subject's frames, (digest, reason) of the frames that went into none, and `Study.origins`.

    Several studies of the subject become sessions 1, 2, … in the order of their dates.
    """
    refused, named = [], []
    for study in studies_of(frames):
        stacks, images = decoded_stacks(study, min_frames, refused)
        parts = []
        for one in named_stacks(stacks, views, images.__getitem__):
            if why := no_stack(*one):
                refused += [(frame.source.mark, why) for frame in one[0].frames]
            else:
                parts.append(one)
        named += [(parts, images)] if parts else []
    cines, runs, origins = [], {}, {}
    for number, (parts, images) in enumerate(named, 1):
        session = str(number) if len(named) > 1 else ""
        for stack, view, flags in parts:
            runs[session, view] = runs.get((session, view), 0) + 1
            cines.append(at_phase(cine_of(label, stack, images, view, flags, runs[session, view], session), phase))
            files = len({frame.source.mark for frame in stack.frames})
            place = {"description": stack.first.description, "folder": stack.first.folder}
            origins[cines[-1].name] = place | {"files": files}
    return cines, refused, origins


def named_stacks(stacks, views: dict, image_of) -> list[tuple[Stack, str, tuple[str, ...]]]:
    """(stack, view, flags) of one study, long-axis views that were repeated beside each other as cines of their own.
    image_of: frame → its pixels (rows, columns)."""

    def slices_of(stack):
        return [np.stack([image_of(frame) for frame in row if frame is not None]) for row in stack.grid]

    named = []
    for stack, (view, flags) in zip(stacks, name_views(stacks, views, slices_of)):
        parts = [stack]
        if repeated_beside(stack, view):
            parts = [part for row in stack.grid for part in assemble([f for f in row if f is not None])[0]]
        named += [(part, view, flags + coverage_flags(part.slice_position_mm, view)) for part in parts]
    return named


def studies_of(frames) -> list[list[Frame]]:
    """Frames by StudyInstanceUID in the order of dates; all together where that UID differs in (nearly) every file."""
    studies = {}
    for frame in frames:
        studies.setdefault(text(frame.source.header, "StudyInstanceUID"), []).append(frame)
    if 2 * len(studies) > len(frames):
        return [frames]
    return sorted(
        studies.values(),
        key=lambda study: tuple(
            text(study[0].source.header, keyword) for keyword in ("StudyDate", "StudyTime", "StudyInstanceUID")
        ),
    )


def decoded_stacks(frames, min_frames, refused):
    """Stacks and their images; frames that fail to decode leave, and the rest is assembled anew without them."""
    images = {}
    while True:
        stacks, left_out = assemble(frames, min_frames)
        failures = {}
        for frame in (frame for stack in stacks for frame in stack.frames if frame not in images):
            try:
                images[frame] = pixels(frame)
            except Refused as error:
                failures[frame] = str(error)
        refused += [(frame.source.mark, why) for frame, why in failures.items()]
        if not failures:
            refused += [(frame.source.mark, why) for frame, why in left_out]
            return stacks, images
        frames = [frame for frame in frames if frame not in failures]


def cine_of(label, stack: Stack, images: dict, view: str, flags=(), run: int = 1, session: str = "") -> Cine:
    """The Cine of one assembled stack, emptying `images` on the way; holes are zero."""
    kinds = {images[frame].dtype for frame in stack.frames}
    kind = kinds.pop() if len(kinds) == 1 else np.float32
    array = np.zeros((len(stack.grid[0]), len(stack.grid), *stack.first.shape), kind)
    constant = False
    for k, row in enumerate(stack.grid):
        for t, frame in enumerate(row):
            if frame is not None:
                array[t, k] = image = images.pop(frame)
                constant |= bool((image[0] == image[0, 0]).all() and (image == image[0, 0]).all())
    return Cine(
        array,
        stack.affine,
        view,
        label,
        session,
        run,
        frame_times_ms=stack.frame_times_ms,
        rr_ms=stack.rr_ms,
        slice_position_mm=stack.slice_position_mm,
        spacing_known=stack.first.spacing_mm is not None,
        flags=(*stack.flags, *flags, *["constant_images"] * constant),
        meta=stack.meta | scanner(stack.first.source.header),
    )
