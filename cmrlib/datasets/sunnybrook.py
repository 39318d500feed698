"""Sunnybrook Cardiac Data (MICCAI LV segmentation challenge 2009): SAX cines of 45 patients, contours at ED and ES.

Source: https://www.cardiacatlas.org/sunnybrook-cardiac-data (Radau et al., MIDAS Journal 2009). Licence: CC0 1.0.
Layout, anywhere below the source: images as `SCD0000101.tar.xz` (read in place) or a folder `SCD0000101`; contours as
`SC-HF-I-1/…/IM-0001-NNNN-icontour-manual.txt` (i: endocardium at ED and ES, o: epicardium at ED only), one "x y" a
line; `link.csv` and `scd_patientdata.csv` tie the two names together. The full release's zero-padded names (SC-HF-I-01)
and deeper folders are read too. Labels: contours, no masks. Fills participants (sex, age, group: HF-I, HF-NI, HYP, N)
and observer `manual`: LV cavity at ED and ES, myocardium at ED, measures from exact polygon areas × slice distance.

NNNN is the DICOM InstanceNumber, slice·20 + phase + 1. Coordinates count from the corner of the first pixel, so half a
pixel is taken off: around the 56 endocardial contours of the three cines at hand the strongest edge lies (-0.7, -0.4) ±
0.1 pixel beside the coordinates as written. Areas do not depend on it.

Known to be wrong with it: ED is the last or second-last frame; SliceLocation steps by two thirds of the true slice
distance; 9 to 11 of the 10 to 13 slices are contoured, the others are 255; the o-contours of SC-HF-I-6 belong to other
images than its i-contours (as little as 41 % of the cavity lies inside), so a subject with any such pair loses its
o-contours and is flagged; RR differs from slice to slice; copies with two phases only (SC-N-2) hold no whole cine.
"""

import lzma
import os
import re
import tarfile
import zlib
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from cmrlib.cine.anatomy import NOT_ANNOTATED, STRUCTURES
from cmrlib.cohort import Annotation
from cmrlib.cohort.files import read_csv, short_digest
from cmrlib.cohort.study import Study, rejected_rows, subject_label
from cmrlib.datasets.contours import polygon_area, polygon_coverage, polygon_mask
from cmrlib.datasets.dicom import check_one_person, cine_of, decoded_stacks
from cmrlib.datasets.finding import content_of, files_of, walk
from cmrlib.datasets.header import LARGEST_BYTES, TOO_LARGE, Refused, parsed, suppress_warnings
from cmrlib.datasets.images import frame_of, reason

DESCRIPTION = {"Name": "Sunnybrook", "License": "CC0 1.0; cite Radau et al., MIDAS Journal 2009"}
CORNER_TO_CENTRE_PX = 0.5
GROUPS = {
    "Heart failure with infarct": "HF-I",
    "Heart failure without infarct": "HF-NI",
    "Hypertrophy": "HYP",
    "Normal": "N",
}
DAMAGED = "the archive is damaged or cut short: only what lies before the damage was read; fetch it again"
_COLUMNS = {"patient_id": "scd", "PatientID": "scd", "original_id": "original", "OriginalID": "original"}
_CONTOUR = re.compile(r"IM-\d+-(\d+)-([io])contour-manual\.txt")


def find(src) -> dict[str, dict]:
    """Subject label (SC-HF-I-1 → SCHFI1) → {images, contours: path or None, person: participants' columns}."""
    images, contours, tables = {}, {}, []
    files = set(files_of(Path(src)))
    for path in sorted(files.union(*(path.parents for path in files))):
        if match := re.fullmatch(r"(SCD\d{7})(_\w+)?(\.tar\.xz)?", path.name):
            if match[1] not in images or not match[2]:  # SCD0003701_ED_ES only where SCD0003701 is not there
                images[match[1]] = path
        elif re.fullmatch(r"SC-[A-Z]+(-[A-Z]+)?-\d+", path.name) and path not in files:
            contours.setdefault(unpadded(path.name), path)
        elif path.name in ("link.csv", "scd_patientdata.csv"):
            table = read_csv(path).rename(columns=_COLUMNS)
            if not {"scd", "original"} <= set(table):
                raise ValueError(f"{path} lacks the columns that tie names together: {', '.join(_COLUMNS)}; restore it")
            tables += table.to_dict("records")
    people = {}
    for row in tables:
        people.setdefault(row["scd"], {}).update(row)
    originals = {scd: unpadded(row["original"]) for scd, row in people.items()}
    items = {original: {"images": None, "contours": path, "person": {}} for original, path in contours.items()}
    for scd, path in images.items():
        name = originals.get(scd, scd)
        items[name] = {"images": path, "contours": contours.get(name), "person": {}}
    for scd, original in originals.items():
        if original in items:
            row, age = people[scd], str(people[scd].get("Age", ""))
            items[original]["person"] = {
                "sex": {"Male": "M", "Female": "F"}.get(row.get("Gender")),
                "age": int(age) if age.isdigit() else None,
                "group": GROUPS.get(row.get("Pathology")),
            }
    return {subject_label(name): items[name] for name in sorted(items)}


def unpadded(name: str) -> str:
    """SC-HF-I-01 → SC-HF-I-1, the spelling of the patient table."""
    return re.sub(r"-0+(\d)", r"-\1", name)


def read(label: str, item: dict) -> Study:
    """One patient: the SAX cine, and its contours as masks, ED and ES, and measures of observer `manual`.

    Raises ValueError where the images name several people.
    """
    participant = {"participant_id": label, "sex": None, "age": None, "group": None} | item["person"]
    if item["images"] is None:
        return Study(participant, [], rejected=rejected_rows(label, [("n/a", "contours without images")]))
    with suppress_warnings():
        frames, refused, sources = _frames(item["images"])
        check_one_person(label, [frame.source.file.header for frame in frames])
        stacks, images = decoded_stacks(frames, 2, refused)
        rejected = rejected_rows(label, refused)
        if not stacks:
            return Study(participant, [], rejected=rejected, sources=sources)
        stack, *others = stacks
        outside = [(f.source.mark, "not of the largest stack") for s in others for f in s.frames]
        rejected += rejected_rows(label, outside)
        numbers = [[frame.instance for frame in row if frame is not None] for row in stack.grid]
        in_order = all((np.diff(row) == 1).all() for row in numbers)  # contours are named by them
        cine = cine_of(label, stack, images, "sax", () if in_order else ("instances_not_in_time_order",))
    places = {int(f.instance): (k, t) for k, row in enumerate(stack.grid) for t, f in enumerate(row) if f is not None}
    contours, strays = load_contours(item["contours"], places, cine.pixels.shape[2:]) if item["contours"] else ({}, [])
    rejected += rejected_rows(label, strays)
    return _study(participant, cine, contours, rejected, sources)


def _study(participant, cine, contours, rejected, sources) -> Study:
    """Put cine and contours together: {(kind, slice, frame): points} becomes masks, phases and measures: LV
    volumes in mL by disc summation of the contours' own areas, and EF in percent."""
    contours, flags = matching_pairs(contours)
    areas = {place: polygon_area(points) for place, points in contours.items()}
    ed, es, phase_flags = phases(areas)
    annotators, measures = {}, {}
    if ed is not None:
        cine = replace(cine, ed=ed, es=es, flags=cine.flags + flags + phase_flags)
        annotators = {"manual": {cine.name: annotation(contours, cine.pixels.shape, ed, es)}}
        distance, row, column = cine.spacing_mm
        edv, esv = (
            sum(area for (kind, _, at), area in areas.items() if kind == "i" and at == t)
            * row
            * column
            * distance
            / 1000
            for t in (ed, es)
        )
        volumes = {"lvedv_ml": edv, "lvesv_ml": esv, "lvsv_ml": edv - esv, "lvef_pct": 100 * (edv - esv) / edv}
        measures = {"manual": volumes}
    return Study(participant, [cine], annotators, measures, rejected, sources)


def _frames(path):
    """Frames, (digest, reason) of refused files and digest → path of a tar.xz or folder of DICOM files."""
    frames, refused, sources = [], [], {}
    for name, data, wanted in _files(path, refused):
        mark = short_digest(data)
        if mark in sources:
            refused.append((mark, "the same file twice"))
            continue
        sources[mark] = f"{path}/{name}"
        if not wanted:
            refused.append((mark, "another series than the short-axis cine"))
            continue
        try:
            frames.append(frame_of(parsed(data), mark))
        except Exception as error:
            refused.append((mark, reason(error)))
    return frames, refused, sources


def _files(path, refused):
    """(name, bytes, whether it is wanted) of every file; in the full release's folders with several series the CINESAX
    ones are. What is no file, or of an archive lies behind damage, goes to `refused` as (digest, reason)."""
    if path.is_dir():
        refused += [("n/a", why) for _, why in walk(path) if why]
        found = sorted(files_of(path))
        cines = {p for p in found if any(part.startswith("CINESAX") for part in p.relative_to(path).parts[:-1])}
        wanted = cines or set(found)
        for p in found:
            try:
                yield str(p.relative_to(path)), content_of(p), p in wanted
            except (OSError, Refused) as error:
                refused.append(("n/a", reason(error)))
        return
    try:
        with tarfile.open(path) as archive:  # one pass: going back in an xz stream starts it anew
            for member in archive:
                why = "a link, pipe or device in the archive" if not member.isfile() else ""
                if why or member.size > LARGEST_BYTES:
                    refused += [(short_digest(os.fsencode(member.name)), why or TOO_LARGE)] * (not member.isdir())
                else:
                    yield member.name, archive.extractfile(member).read(), True
            for block in islice(iter(lambda: archive.fileobj.read(2**20), b""), LARGEST_BYTES >> 20):
                if block.strip(b"\0"):  # tarfile takes a damaged header for the end
                    raise tarfile.ReadError
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError, zlib.error) as error:
        refused.append(("n/a", f"{DAMAGED} ({type(error).__name__})"))


def load_contours(folder, places, shape):
    """{(kind, slice, frame): points (n, 2), pixel centres at integers}, and (digest, reason) of the unusable files."""
    contours, strays = {}, [("n/a", why) for _, why in walk(folder) if why]
    for path in sorted(files_of(folder)):
        data = path.read_bytes()
        if not path.name.endswith("contour-manual.txt"):
            strays.append((short_digest(data), "no contour that somebody drew"))
            continue
        try:
            number, kind = _CONTOUR.fullmatch(path.name).groups()
            points = np.array([line.split() for line in data.decode().splitlines() if line.strip()], float)
            if len(points) < 3 or points.shape[1] != 2 or not np.isfinite(points).all():
                raise ValueError
        except (AttributeError, ValueError):
            strays.append((short_digest(data), "contour file is not three or more pairs of numbers named IM-…-NNNN"))
            continue
        if polygon_area(points) < 1:
            strays.append((short_digest(data), "contour of no area"))
            continue
        points -= CORNER_TO_CENTRE_PX
        inside = ((points >= -0.5) & (points <= np.array(shape[::-1]) - 0.5)).all()
        if int(number) not in places or not inside:
            why = "contour leaves its image" if int(number) in places else "contour of no image"
            strays.append((short_digest(data), why))
            continue
        contours[kind, *places[int(number)]] = points
    return contours, strays


def matching_pairs(contours, least=0.95):
    """Contours without the o-contours where any holds less than `least` of its i-contour's area: they are another's."""
    for kind, k, t in contours:
        if kind == "i" or ("i", k, t) not in contours:
            continue
        inner, outer = contours["i", k, t], contours["o", k, t]
        low = np.floor(np.minimum(inner.min(0), outer.min(0)))
        columns, rows = np.ceil(np.maximum(inner.max(0), outer.max(0)) - low).astype(int) + 2
        one, other = (polygon_coverage(points - low, (rows, columns)) for points in (inner, outer))
        if np.minimum(one, other).sum() < least * one.sum():
            return {place: p for place, p in contours.items() if place[0] == "i"}, ("o_contours_dropped",)
    return contours, ()


def phases(areas) -> tuple[int | None, int | None, tuple[str, ...]]:
    """ED and ES frames and flags from {(kind, slice, frame): area}; (None, None, ()) where no two phases are drawn.

    The two frames with most i-contours; of them ED is the larger over the slices that both have.
    """
    frames = Counter(t for kind, _, t in areas if kind == "i")
    if len(frames) < 2:
        return None, None, ()
    a, b = sorted(sorted(frames), key=lambda t: -frames[t])[:2]
    both = [k for kind, k, t in areas if kind == "i" and t == a and ("i", k, b) in areas]
    size = {t: sum(areas["i", k, t] for k in both) or frames[t] for t in (a, b)}
    ed, es = (a, b) if size[a] >= size[b] else (b, a)
    outer = {t for kind, _, t in areas if kind == "o"}
    flags = ["contours_of_other_frames"] * (len(frames) > 2) + ["o_contours_not_at_ed"] * bool(outer - {ed})
    return ed, es, tuple(flags)


def annotation(contours, shape, ed: int, es: int) -> Annotation:
    """Masks of ED and ES; 255 on all that was not contoured.

    Masks keep the contours' areas (contours.polygon_mask). Where a slice at ED has an i- but no o-contour, all outside
    the cavity is 255: myocardium was not looked for there.
    """
    mask = np.full(shape, NOT_ANNOTATED, np.uint8)
    myocardium = any(kind == "o" and t == ed for kind, _, t in contours)
    for kind, k, t in contours:
        if kind != "i" or t not in (ed, es):
            continue
        outer = contours.get(("o", k, t)) if t == ed else None
        mask[t, k] = NOT_ANNOTATED if outer is None and t == ed and myocardium else 0
        if outer is not None:
            mask[t, k][polygon_mask(outer, shape[2:])] = STRUCTURES["myo"]
        mask[t, k][polygon_mask(contours["i", k, t], shape[2:])] = STRUCTURES["lv"]
    annotated = {ed: ("lv", "myo") if myocardium else ("lv",), es: ("lv",)}
    return Annotation(mask, annotated, frames={"ed": ed, "es": es})
